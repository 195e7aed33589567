// SPDX-License-Identifier: GPL-2.0-only
/*
 * A QED (QEMU Enhanced Disk) image as a block device.
 *
 * This is the target: it maps bios, and writes to new clusters. What it knows
 * about the image comes from dm-qed-meta.h.
 */

#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/device-mapper.h>
#include <linux/err.h>
#include <linux/jiffies.h>
#include <linux/list.h>
#include <linux/mempool.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/rbtree.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>

#include "dm-qed-compat.h"
#include "dm-qed-format.h"
#include "dm-qed-meta.h"
#include "dm-qed-reclaim.h"

#define DM_MSG_PREFIX "qed"

#define QED_DEFAULT_CACHE_KIB		16384
#define QED_MIN_CACHE_KIB		64
#define QED_DEFAULT_COMMIT_MS		1000
#define QED_MAX_COMMIT_MS		(60 * 60 * 1000)

/* Longest wait for space, in seconds; 0: no end */
#define QED_NO_SPACE_TIMEOUT		60

/* NEED_CHECK is cleared after so much time without an allocation */
#define QED_IDLE			(5 * HZ)

/* Cells and bios that can be had without memory */
#define QED_MIN_CELLS			64
#define QED_MIN_BIOS			64

/* Up to so much is filled with zeroes in the bio that has the data, in bytes */
#define QED_MAX_COMPOSED_FILL		SZ_1M

/* A piece of zeroes to compose bios of, in bytes */
#define QED_ZEROES_SIZE			SZ_64K

/**
 * enum qed_mode - what the target is able to do
 * @QED_MODE_RW: everything
 * @QED_MODE_OUT_OF_SPACE: all but writes that need a cluster; these wait, or
 *	fail under error_if_no_space
 * @QED_MODE_RO: reads; asked for, or because the metadata has failed
 * @QED_MODE_FAIL: nothing, there is no metadata
 */
enum qed_mode {
	QED_MODE_RW,
	QED_MODE_OUT_OF_SPACE,
	QED_MODE_RO,
	QED_MODE_FAIL,
};

static const char * const mode_names[] = {
	[QED_MODE_RW] = "rw",
	[QED_MODE_OUT_OF_SPACE] = "out_of_space",
	[QED_MODE_RO] = "ro",
	[QED_MODE_FAIL] = "fail",
};

struct qed_features {
	bool read_only;
	bool error_if_no_space;
	bool ignore_discard;
	bool no_discard_passdown;
	bool zeroed;
	u64 zeroed_from;		/* clusters */
	u64 low_water;			/* clusters */
	unsigned int cache_kib;
	unsigned int commit_ms;
};

struct qed {
	/* What .map needs; constant but for the mode. */
	struct qed_meta *meta;
	struct block_device *bdev;
	enum qed_mode mode;		/* changed by set_mode() only */

	struct dm_target *ti;
	struct dm_dev *dev;
	struct qed_features features;
	struct qed_meta_client client;

	struct workqueue_struct *wq;		/* of bios that have to wait */
	struct workqueue_struct *commit_wq;	/* what the others may wait for */
	struct delayed_work commit_work;
	bool commit_fails;		/* without space; only commit_work sets it */
	struct delayed_work idle_work;
	struct delayed_work no_space_work;

	/*
	 * Protects the members up to the next comment. Taken in bio completion
	 * context; the locks of metadata and space map nest inside.
	 */
	spinlock_t lock;
	struct rb_root cells;		/* by guest cluster, none overlap */
	struct bio_list commit_bios;	/* complete when all is durable */
	struct bio_list nospace_bios;	/* wait for clusters */
	unsigned int nr_nospace;	/* length of that list */
	unsigned long nospace_seq;	/* counts when they should try again */
	bool lower_full;		/* the image device itself has no space */
	bool commit_full;		/* not even for tables: commit_bios wait */
	bool flush_wanted;		/* by those that wait for clusters */
	bool lost;			/* writes, and no flush has told */

	mempool_t cell_pool;
	struct bio_set bs;

	/* Serialises changes of the mode, what depends on it, low_water events. */
	struct mutex mode_mutex;
	bool no_space_expired;		/* who waits for space has waited too long */
	bool low_water_reached;

	/* Serialises load and unload of the metadata with messages. */
	struct mutex life_mutex;

	/* Among the active mappings; under claims_mutex. */
	struct list_head claim;
};

/**
 * struct qed_io - a bio of the guest that could not be mapped at once
 * @work: to go on with it
 * @qed: the target
 * @pending: bios below, and one for the work itself
 * @status: of the first of them that failed
 * @sync: complete it only after a commit and a flush
 * @lower_full: the image device has had no space for some of it: try all again
 * @flush: it has gone to the image device; of flushes only
 * @end_io: the one to restore when the bio itself comes back from below
 * @cell: that it writes to then, or NULL
 * @hold: of the extent that the bio itself was mapped to, or NULL
 * @iter: of the whole bio
 *
 * Its bio is advanced over what was submitted so far. Of a bio that could be mapped
 * at once only @hold and, if it writes, @iter are valid.
 */
struct qed_io {
	struct work_struct work;
	struct qed *qed;
	atomic_t pending;
	blk_status_t status;
	bool sync;
	bool lower_full;
	bool flush;
	bio_end_io_t *end_io;
	struct qed_cell *cell;
	struct percpu_ref *hold;
	struct bvec_iter iter;
};

/**
 * struct qed_cell - guest clusters whose first write is under way
 * @node: in the tree of cells
 * @first: first guest cluster
 * @run: where they go to
 * @block: their pinned table block
 * @refs: writes under way
 * @open: nothing has to be filled, other writes may go to @run at once
 * @mapped: the mapping has been entered
 * @waiters: bios to be looked at again when the cell is gone
 */
struct qed_cell {
	struct rb_node node;
	u64 first;
	struct qed_run run;
	struct qed_block *block;
	unsigned int refs;
	bool open;
	bool mapped;
	struct bio_list waiters;
};

/* A bio for the image device */
struct qed_clone {
	struct qed_io *io;
	struct qed_cell *cell;		/* or NULL */
	struct percpu_ref *hold;	/* or NULL */
	struct bio bio;
};

static unsigned int no_space_timeout_secs = QED_NO_SPACE_TIMEOUT;

static struct kmem_cache *cell_slab;
static struct page *zeroes;

/* All active mappings, to refuse a second one that would write. */
static LIST_HEAD(claims);
static DEFINE_MUTEX(claims_mutex);

static const char *qed_name(struct qed *qed)
{
	return dm_table_device_name(qed->ti->table);
}

static struct bio *io_bio(struct qed_io *io)
{
	return dm_bio_from_per_bio_data(io, sizeof(*io));
}

static struct qed_io *bio_io(struct bio *bio)
{
	return dm_per_bio_data(bio, sizeof(struct qed_io));
}

/*----------------------------------------------------------------
 * Modes
 *----------------------------------------------------------------
 */

static enum qed_mode get_mode(struct qed *qed)
{
	return READ_ONCE(qed->mode);
}

static bool is_writable(struct qed *qed)
{
	return get_mode(qed) < QED_MODE_RO;
}

static void retry_bios(struct qed *qed, struct bio_list *bios)
{
	struct bio *bio;

	while ((bio = bio_list_pop(bios)))
		queue_work(qed->wq, &bio_io(bio)->work);
}

/* Caller holds the lock. */
static struct bio_list take_nospace(struct qed *qed)
{
	struct bio_list bios = qed->nospace_bios;

	bio_list_init(&qed->nospace_bios);
	qed->nr_nospace = 0;
	return bios;
}

/* Caller says whether the image device itself may have space now. */
static void __retry_nospace(struct qed *qed, bool lower)
{
	struct bio_list bios;
	unsigned long flags;
	bool commit;

	spin_lock_irqsave(&qed->lock, flags);
	bios = take_nospace(qed);
	qed->nospace_seq++;
	if (lower)
		WRITE_ONCE(qed->lower_full, false);
	commit = qed->commit_full;
	WRITE_ONCE(qed->commit_full, false);
	spin_unlock_irqrestore(&qed->lock, flags);

	retry_bios(qed, &bios);
	if (commit)
		mod_delayed_work(qed->commit_wq, &qed->commit_work, 0);
}

/* Let the writes that wait for space try again. Context: Any. */
static void retry_nospace(struct qed *qed)
{
	__retry_nospace(qed, true);
}

/*
 * The way back from a worse mode leads over a load of the metadata, except from
 * out of space. Returns whether the mode has changed.
 */
static bool __set_mode(struct qed *qed, enum qed_mode mode, bool load)
{
	lockdep_assert_held(&qed->mode_mutex);

	if (qed->mode == mode ||
	    (!load && qed->mode >= QED_MODE_RO && mode < qed->mode))
		return false;

	if (!load)
		DMINFO("%s: switching from mode %s to %s", qed_name(qed),
		       mode_names[qed->mode], mode_names[mode]);
	WRITE_ONCE(qed->mode, mode);
	WRITE_ONCE(qed->no_space_expired, false);
	return true;
}

/* Who waits for space fails after some time. */
static void limit_wait(struct qed *qed)
{
	unsigned int timeout = READ_ONCE(no_space_timeout_secs);

	if (timeout && !qed->features.error_if_no_space)
		queue_delayed_work(qed->commit_wq, &qed->no_space_work,
				   (unsigned long)timeout * HZ);
}

static void set_mode(struct qed *qed, enum qed_mode mode, bool load)
{
	bool changed;

	mutex_lock(&qed->mode_mutex);
	changed = __set_mode(qed, mode, load);
	mutex_unlock(&qed->mode_mutex);
	if (!changed)
		return;

	if (mode == QED_MODE_OUT_OF_SPACE) {
		limit_wait(qed);
	} else {
		/* Those that waited in the old mode have to see the new one. */
		cancel_delayed_work(&qed->no_space_work);
		retry_nospace(qed);
	}
	dm_table_event(qed->ti->table);
}

/* Those that wait try once more, and fail. */
static void do_no_space(struct work_struct *work)
{
	struct qed *qed = container_of(to_delayed_work(work), struct qed,
				       no_space_work);

	bool expired;

	mutex_lock(&qed->mode_mutex);
	expired = qed->mode == QED_MODE_OUT_OF_SPACE;
	WRITE_ONCE(qed->no_space_expired, expired);
	mutex_unlock(&qed->mode_mutex);
	if (!expired)
		return;
	DMWARN("%s: no space for %u seconds: writes that need it fail now",
	       qed_name(qed), READ_ONCE(no_space_timeout_secs));
	__retry_nospace(qed, false);
}

/* Is a write to fail, rather than wait for space? */
static bool fails_without_space(struct qed *qed)
{
	return qed->features.error_if_no_space ||
	       READ_ONCE(qed->no_space_expired);
}

static void check_low_water(struct qed *qed)
{
	bool low, event;

	if (!qed->features.low_water)
		return;
	low = qed_space_nr_free(qed_meta_space(qed->meta)) <
	      qed->features.low_water;
	if (low == READ_ONCE(qed->low_water_reached))
		return;

	mutex_lock(&qed->mode_mutex);
	event = low && !qed->low_water_reached;
	WRITE_ONCE(qed->low_water_reached, low);
	mutex_unlock(&qed->mode_mutex);
	if (event) {
		DMWARN("%s: less than %llu clusters are free", qed_name(qed),
		       qed->features.low_water);
		dm_table_event(qed->ti->table);
	}
}

/*----------------------------------------------------------------
 * Callbacks of the metadata
 *----------------------------------------------------------------
 */

static struct qed *client_to_qed(struct qed_meta_client *client)
{
	return container_of(client, struct qed, client);
}

static void set_lost(struct qed *qed, bool lost)
{
	spin_lock_irq(&qed->lock);
	qed->lost |= lost;
	spin_unlock_irq(&qed->lock);
}

/* Have writes been lost that no flush has told of? One is to do so, not all. */
static bool take_lost(struct qed *qed)
{
	bool lost;

	spin_lock_irq(&qed->lock);
	lost = qed->lost;
	qed->lost = false;
	spin_unlock_irq(&qed->lock);
	return lost;
}

static void meta_failed(struct qed_meta_client *client, const char *why,
			bool lost)
{
	struct qed *qed = client_to_qed(client);

	DMERR("%s: %s: going read-only", qed_name(qed), why);
	set_lost(qed, lost);
	set_mode(qed, QED_MODE_RO, false);
}

static void meta_want_commit(struct qed_meta_client *client, bool now)
{
	struct qed *qed = client_to_qed(client);

	if (now)
		mod_delayed_work(qed->commit_wq, &qed->commit_work, 0);
	else
		queue_delayed_work(qed->commit_wq, &qed->commit_work,
				   msecs_to_jiffies(qed->features.commit_ms));
}

static void meta_flush_failed(struct qed_meta_client *client)
{
	set_lost(client_to_qed(client), true);
}

static void meta_more_space(struct qed_meta_client *client)
{
	retry_nospace(client_to_qed(client));
}

static void meta_event(struct qed_meta_client *client)
{
	dm_table_event(client_to_qed(client)->ti->table);
}

/*----------------------------------------------------------------
 * Bios that have to wait
 *----------------------------------------------------------------
 */

/* Complete a bio when all that was completed before it is durable. */
static void complete_after_commit(struct qed *qed, struct bio *bio)
{
	unsigned long flags;

	spin_lock_irqsave(&qed->lock, flags);
	bio_list_add(&qed->commit_bios, bio);
	spin_unlock_irqrestore(&qed->lock, flags);
	mod_delayed_work(qed->commit_wq, &qed->commit_work, 0);
}

/* Begin with a bio again, from the worker. Context: Any. */
static void io_restart(struct qed_io *io)
{
	struct bio *bio = io_bio(io);

	bio->bi_iter = io->iter;
	bio->bi_status = BLK_STS_OK;
	/* It may have been split below. */
	bio_clear_flag(bio, BIO_CHAIN);
	atomic_set(&bio->__bi_remaining, 1);
	atomic_set(&io->pending, 1);
	io->status = BLK_STS_OK;
	queue_work(io->qed->wq, &io->work);
}

static void io_put(struct qed_io *io, blk_status_t status)
{
	struct bio *bio = io_bio(io);

	if (unlikely(status))
		cmpxchg(&io->status, BLK_STS_OK, status);
	if (!atomic_dec_and_test(&io->pending))
		return;

	if (unlikely(io->lower_full)) {
		io_restart(io);
		return;
	}
	bio->bi_status = io->status;
	if (io->sync && !io->status)
		complete_after_commit(io->qed, bio);
	else
		bio_endio(bio);
}

/* Requeued bios are kept by dm core until the device is resumed. */
static void requeue_nospace(struct qed *qed)
{
	struct bio_list bios, commit_bios = BIO_EMPTY_LIST;
	struct bio *bio;

	spin_lock_irq(&qed->lock);
	bios = take_nospace(qed);
	if (qed->commit_full) {
		commit_bios = qed->commit_bios;
		bio_list_init(&qed->commit_bios);
	}
	spin_unlock_irq(&qed->lock);

	while ((bio = bio_list_pop(&bios)))
		io_put(bio_io(bio), BLK_STS_DM_REQUEUE);
	while ((bio = bio_list_pop(&commit_bios))) {
		bio->bi_status = BLK_STS_DM_REQUEUE;
		bio_endio(bio);
	}
}

/* Make clusters free that only lack a commit. */
static void want_flush(struct qed *qed)
{
	spin_lock_irq(&qed->lock);
	qed->flush_wanted = true;
	spin_unlock_irq(&qed->lock);
	mod_delayed_work(qed->commit_wq, &qed->commit_work, 0);
}

/*
 * There was no space for this bio when nospace_seq was @seq. Returns like
 * do_io().
 */
static int io_no_space(struct qed *qed, struct qed_io *io, unsigned long seq)
{
	bool wait = qed_meta_reclaiming(qed->meta);

	if (wait)
		want_flush(qed);
	if (!wait || READ_ONCE(qed->commit_fails)) {
		set_mode(qed, QED_MODE_OUT_OF_SPACE, false);
		if (fails_without_space(qed))
			return -ENOSPC;
	}

	spin_lock_irq(&qed->lock);
	wait = qed->nospace_seq == seq;
	if (wait) {
		bio_list_add(&qed->nospace_bios, io_bio(io));
		qed->nr_nospace++;
	}
	spin_unlock_irq(&qed->lock);

	/* Presuspend may have come too early to see it. */
	if (wait && dm_noflush_suspending(qed->ti))
		requeue_nospace(qed);
	return wait;
}

/* The image device itself had no space for some of it. Returns like do_io(). */
static int io_lower_full(struct qed *qed, struct qed_io *io)
{
	unsigned long seq;

	io->lower_full = false;
	spin_lock_irq(&qed->lock);
	WRITE_ONCE(qed->lower_full, true);
	seq = qed->nospace_seq;
	spin_unlock_irq(&qed->lock);
	return io_no_space(qed, io, seq);
}

/* There may be a cluster while others wait for more of them, for a table. */
static void found_space(struct qed *qed)
{
	bool wait;

	spin_lock_irq(&qed->lock);
	wait = !bio_list_empty(&qed->nospace_bios) || qed->lower_full ||
	       qed->commit_full || READ_ONCE(qed->commit_fails);
	spin_unlock_irq(&qed->lock);
	if (!wait)
		set_mode(qed, QED_MODE_RW, false);
}

/*----------------------------------------------------------------
 * Commits
 *----------------------------------------------------------------
 */

/*
 * The image device has no space for the tables. What waits for the commit goes on
 * to do so until there is some. Returns whether it does.
 */
static bool commit_no_space(struct qed *qed, struct bio_list *bios,
			    unsigned long seq)
{
	bool again;

	set_mode(qed, QED_MODE_OUT_OF_SPACE, false);
	if (fails_without_space(qed)) {
		/* So does what waits for clusters that it would have made free. */
		WRITE_ONCE(qed->commit_fails, true);
		__retry_nospace(qed, false);
		return false;
	}

	spin_lock_irq(&qed->lock);
	bio_list_merge_head(&qed->commit_bios, bios);
	again = qed->nospace_seq != seq;
	WRITE_ONCE(qed->commit_full, !again);
	spin_unlock_irq(&qed->lock);

	if (again)
		mod_delayed_work(qed->commit_wq, &qed->commit_work, 0);
	else if (dm_noflush_suspending(qed->ti))
		requeue_nospace(qed);
	return true;
}

/* One commit serves all bios that have come so far. */
static void do_commit(struct work_struct *work)
{
	struct qed *qed = container_of(to_delayed_work(work), struct qed,
				       commit_work);
	struct bio_list bios;
	unsigned long seq;
	bool flush, tell = false;
	struct bio *bio;
	int r;

	spin_lock_irq(&qed->lock);
	bios = qed->commit_bios;
	bio_list_init(&qed->commit_bios);
	flush = qed->flush_wanted || !bio_list_empty(&bios);
	qed->flush_wanted = false;
	seq = qed->nospace_seq;
	spin_unlock_irq(&qed->lock);

	/* Clusters become free only when it is durable that they are not mapped. */
	r = qed_meta_commit(qed->meta, flush || qed_meta_reclaiming(qed->meta));
	if (r == -ENOSPC && commit_no_space(qed, &bios, seq))
		return;
	if (!r)
		WRITE_ONCE(qed->commit_fails, false);
	bio_list_for_each(bio, &bios)
		tell |= !!(bio->bi_opf & REQ_PREFLUSH);
	if (tell && take_lost(qed))
		r = -EIO;
	while ((bio = bio_list_pop(&bios))) {
		bio->bi_status = errno_to_blk_status(r);
		bio_endio(bio);
	}
}

static void do_idle(struct work_struct *work)
{
	struct qed *qed = container_of(to_delayed_work(work), struct qed,
				       idle_work);
	unsigned long delay = qed_meta_idle(qed->meta, QED_IDLE);

	if (delay)
		queue_delayed_work(qed->commit_wq, &qed->idle_work, delay);
}

/*----------------------------------------------------------------
 * Cells
 *----------------------------------------------------------------
 */

static u64 cell_end(struct qed_cell *cell)
{
	return cell->first + cell->run.nr;
}

/* The first cell that ends behind a guest cluster. Caller holds the lock. */
static struct qed_cell *cell_find(struct qed *qed, u64 cluster)
{
	struct rb_node *node = qed->cells.rb_node;
	struct qed_cell *found = NULL;

	while (node) {
		struct qed_cell *cell = rb_entry(node, struct qed_cell, node);

		if (cluster < cell_end(cell)) {
			found = cell;
			node = node->rb_left;
		} else {
			node = node->rb_right;
		}
	}
	return found;
}

static bool cell_before(struct rb_node *a, const struct rb_node *b)
{
	return rb_entry(a, struct qed_cell, node)->first <
	       rb_entry(b, struct qed_cell, node)->first;
}

/* Free a cell that is not in the tree, and look again at those it held up. */
static void cell_free(struct qed *qed, struct qed_cell *cell, bool ended)
{
	retry_bios(qed, &cell->waiters);
	if (!ended)
		qed_meta_end(qed->meta, cell->block);
	mempool_free(cell, &qed->cell_pool);
}

/*
 * A write to a cell has completed. The first success enters the mapping: what
 * is still to be written reads as zeroes until then. Without any success the
 * clusters are given back. Returns the status of the write.
 */
static blk_status_t cell_put(struct qed *qed, struct qed_cell *cell,
			     blk_status_t status)
{
	bool last, mapped, ended = false;
	unsigned long flags;

	spin_lock_irqsave(&qed->lock, flags);
	last = !--cell->refs;
	if (!status && !cell->mapped) {
		/* The only write of a cell, as most are: all of it in one go. */
		if (qed_meta_map(qed->meta, cell->block, cell->first,
				 &cell->run, last)) {
			status = BLK_STS_IOERR;
		} else {
			cell->mapped = true;
			ended = last;
		}
	}
	mapped = cell->mapped;
	if (last)
		rb_erase(&cell->node, &qed->cells);
	spin_unlock_irqrestore(&qed->lock, flags);

	if (!last)
		return status;
	if (!mapped) {
		qed_meta_give_back(qed->meta, &cell->run);
		/* Nor is there space for others if the device itself has none. */
		if (status != BLK_STS_NOSPC)
			retry_nospace(qed);
	}
	cell_free(qed, cell, ended);
	return status;
}

/*----------------------------------------------------------------
 * Bios for the image device
 *----------------------------------------------------------------
 */

static void bio_done(struct qed_io *io, struct qed_cell *cell,
		     struct percpu_ref *hold, blk_status_t status)
{
	if (unlikely(status == BLK_STS_NOSPC) &&
	    bio_data_dir(io_bio(io)) == WRITE)
		WRITE_ONCE(io->lower_full, true);
	if (cell)
		status = cell_put(io->qed, cell, status);
	if (hold)
		qed_meta_release(hold);
	io_put(io, status);
}

static void clone_endio(struct bio *bio)
{
	struct qed_clone *clone = container_of(bio, struct qed_clone, bio);
	struct qed_cell *cell = clone->cell;
	blk_status_t status = bio->bi_status;
	struct qed_io *io = clone->io;
	struct percpu_ref *hold = clone->hold;

	bio_put(bio);
	bio_done(io, cell, hold, status);
}

static void io_endio(struct bio *bio)
{
	struct qed_io *io = bio_io(bio);
	struct percpu_ref *hold = io->hold;

	bio->bi_end_io = io->end_io;
	io->hold = NULL;
	bio_done(io, io->cell, hold, bio->bi_status);
}

static void prepare_bio(struct bio *bio, struct qed_io *io, sector_t sector)
{
	bio->bi_iter.bi_sector = sector;
	/* The commit makes it durable. */
	if (io->sync)
		bio->bi_opf &= ~REQ_FUA;
	bio_clear_polled(bio);
}

static void clone_init(struct bio *bio, struct qed_io *io,
		       struct qed_cell *cell, const struct qed_extent *to)
{
	struct qed_clone *clone = container_of(bio, struct qed_clone, bio);

	clone->io = io;
	clone->cell = cell;
	clone->hold = to->hold;
	bio->bi_end_io = clone_endio;
	prepare_bio(bio, io, to->sector);
	atomic_inc(&io->pending);
}

/* A bio for the first sectors of the guest's bio, which is advanced. */
static struct bio *clone_bio(struct qed *qed, struct qed_io *io,
			     struct qed_cell *cell, const struct qed_extent *to)
{
	struct bio *bio = io_bio(io), *clone;

	clone = bio_alloc_clone(qed->bdev, bio, GFP_NOIO, &qed->bs);
	bio_trim(clone, 0, to->nr);
	clone_init(clone, io, cell, to);
	bio_advance(bio, to->nr << SECTOR_SHIFT);
	return clone;
}

/*
 * Submit the first sectors of the guest's bio. The bio that nothing else is
 * left of goes by itself: that saves a tenth of an allocating write.
 *
 * Returns 1 if it did, for it is not to be touched any more, and 0 otherwise.
 */
static int submit_head(struct qed *qed, struct qed_io *io,
		       struct qed_cell *cell, const struct qed_extent *to)
{
	struct bio *bio = io_bio(io);

	if (to->nr < bio_sectors(bio)) {
		submit_bio_noacct(clone_bio(qed, io, cell, to));
		return 0;
	}

	io->cell = cell;
	io->hold = to->hold;
	io->end_io = bio->bi_end_io;
	bio->bi_end_io = io_endio;
	bio_set_dev(bio, qed->bdev);
	prepare_bio(bio, io, to->sector);
	submit_bio_noacct(bio);
	return 1;
}

static unsigned int nr_zero_vecs(unsigned int sectors)
{
	return DIV_ROUND_UP(sectors << SECTOR_SHIFT, QED_ZEROES_SIZE);
}

static void add_zeroes(struct bio *bio, unsigned int sectors)
{
	unsigned int bytes = sectors << SECTOR_SHIFT, len;

	for (; bytes; bytes -= len) {
		len = min_t(unsigned int, bytes, QED_ZEROES_SIZE);
		__bio_add_page(bio, zeroes, len, 0);
	}
}

/* Like clone_bio(), with zeroes around; NULL where that makes it too large. */
static struct bio *compose_bio(struct qed *qed, struct qed_io *io,
			       struct qed_cell *cell, unsigned int nr,
			       unsigned int head, unsigned int tail)
{
	struct bio *bio = io_bio(io), *composed;
	struct bvec_iter start = bio->bi_iter, iter;
	unsigned int vecs = nr_zero_vecs(head) + nr_zero_vecs(tail);
	struct qed_extent to = {
		.sector = cell->run.first << qed_meta_cluster_bits(qed->meta),
	};
	struct bio_vec vec;

	start.bi_size = nr << SECTOR_SHIFT;
	__bio_for_each_bvec(vec, bio, iter, start)
		vecs++;
	if (vecs > BIO_MAX_VECS ||
	    (head + tail) << SECTOR_SHIFT > QED_MAX_COMPOSED_FILL)
		return NULL;

	composed = bio_alloc_bioset(qed->bdev, vecs, bio->bi_opf, GFP_NOIO,
				    &qed->bs);
	composed->bi_ioprio = bio->bi_ioprio;
	bio_clone_blkg_association(composed, bio);
	clone_init(composed, io, cell, &to);

	add_zeroes(composed, head);
	__bio_for_each_bvec(vec, bio, iter, start)
		__bio_add_page(composed, vec.bv_page, vec.bv_len,
			       vec.bv_offset);
	add_zeroes(composed, tail);
	bio_advance(bio, nr << SECTOR_SHIFT);
	return composed;
}

static int zero_sectors(struct qed *qed, sector_t sector, unsigned int nr)
{
	return nr ? blkdev_issue_zeroout(qed->bdev, sector, nr, GFP_NOIO, 0) :
		    0;
}

/*
 * Write the head of the guest's bio to a cell. New clusters that are not known
 * to be zero are filled, in the same bio unless they are very large. Returns
 * like submit_head(), or an error.
 */
static int cell_write(struct qed *qed, struct qed_io *io,
		      struct qed_cell *cell)
{
	unsigned int bits = qed_meta_cluster_bits(qed->meta);
	sector_t to = cell->run.first << bits;
	struct bio *bio = io_bio(io), *composed;
	sector_t offset = bio->bi_iter.bi_sector - (cell->first << bits);
	sector_t room = (cell->run.nr << bits) - offset;
	unsigned int nr = min_t(sector_t, bio_sectors(bio), room);
	unsigned int tail = room - nr;
	struct qed_extent ext = { .sector = to + offset, .nr = nr };
	int r;

	if (cell->open || (!offset && !tail))
		return submit_head(qed, io, cell, &ext);

	composed = compose_bio(qed, io, cell, nr, offset, tail);
	if (composed) {
		submit_bio_noacct(composed);
		return 0;
	}

	r = zero_sectors(qed, to, offset);
	if (!r)
		r = zero_sectors(qed, to + offset + nr, tail);
	if (r) {
		io->lower_full = r == -ENOSPC;
		cell_put(qed, cell, errno_to_blk_status(r));
		return r;
	}
	return submit_head(qed, io, cell, &ext);
}

/*----------------------------------------------------------------
 * Allocating writes
 *----------------------------------------------------------------
 */

/*
 * Find the cell of a cluster, or put in the new one, with space for as many of
 * the unmapped clusters as there is no other cell for. Returns NULL if the cluster
 * has been mapped, if the bio is to wait for a cell, or if there is no space; then
 * @r is 0, 1, or an error.
 */
static struct qed_cell *cell_enter(struct qed *qed, struct qed_io *io,
				   struct qed_cell *new, int *r)
{
	struct qed_cell *cell = NULL, *next;
	u64 nr;

	*r = 0;
	spin_lock_irq(&qed->lock);
	nr = qed_block_hole(new->block, new->first, new->run.nr);
	if (!nr)
		goto out;

	next = cell_find(qed, new->first);
	if (next && next->first <= new->first) {
		if (next->open) {
			next->refs++;
			cell = next;
		} else {
			bio_list_add(&next->waiters, io_bio(io));
			*r = 1;
		}
		goto out;
	}
	if (next)
		nr = min(nr, next->first - new->first);
	*r = qed_space_alloc(qed_meta_space(qed->meta), 1, nr, &new->run);
	if (*r)
		goto out;
	new->open = new->run.zero;
	rb_add(&new->node, &qed->cells, cell_before);
	cell = new;
out:
	spin_unlock_irq(&qed->lock);
	return cell;
}

/*
 * A cell for the unmapped clusters at the head of a bio, not yet in the tree.
 * Takes over the pinned block; there is none without an L2 table.
 */
static struct qed_cell *cell_alloc(struct qed *qed, struct bio *bio,
				   struct qed_block *block)
{
	unsigned int bits = qed_meta_cluster_bits(qed->meta);
	u64 first = bio->bi_iter.bi_sector >> bits;
	u64 last = (bio_end_sector(bio) - 1) >> bits;
	struct qed_cell *cell;
	int r;

	r = qed_meta_begin(qed->meta);
	if (r) {
		if (block)
			qed_block_put(qed->meta, block);
		return ERR_PTR(r);
	}
	if (!delayed_work_pending(&qed->idle_work))
		queue_delayed_work(qed->commit_wq, &qed->idle_work, QED_IDLE);

	if (!block)
		block = qed_block_get(qed->meta, first, true);
	if (IS_ERR(block)) {
		qed_meta_end(qed->meta, NULL);
		return ERR_CAST(block);
	}

	cell = mempool_alloc(&qed->cell_pool, GFP_NOIO);
	cell->first = first;
	cell->run.nr = last - first + 1;
	cell->block = block;
	cell->refs = 1;
	cell->mapped = false;
	bio_list_init(&cell->waiters);
	return cell;
}

/*
 * Write the head of a bio to clusters that are not mapped, or not any more by
 * now. Takes over the pinned block, if any. Returns like do_io().
 */
static int io_allocate(struct qed *qed, struct qed_io *io,
		       struct qed_block *block)
{
	unsigned long seq = READ_ONCE(qed->nospace_seq);
	struct qed_cell *new, *cell;
	int r;

	new = cell_alloc(qed, io_bio(io), block);
	if (IS_ERR(new)) {
		r = PTR_ERR(new);
		return r == -ENOSPC ? io_no_space(qed, io, seq) : r;
	}

	cell = cell_enter(qed, io, new, &r);
	if (cell != new)
		cell_free(qed, new, false);
	if (!cell)
		return r == -ENOSPC ? io_no_space(qed, io, seq) : r;

	if (cell == new) {
		if (unlikely(get_mode(qed) == QED_MODE_OUT_OF_SPACE))
			found_space(qed);
		check_low_water(qed);
	}
	return cell_write(qed, io, cell);
}

/*----------------------------------------------------------------
 * The worker
 *----------------------------------------------------------------
 */

static int io_write_hole(struct qed *qed, struct qed_io *io,
			 struct qed_block *block)
{
	if (io_bio(io)->bi_opf & REQ_FUA || !qed->features.commit_ms)
		io->sync = true;
	return io_allocate(qed, io, block);
}

static int io_write(struct qed *qed, struct qed_io *io,
		    const struct qed_extent *ext)
{
	if (!is_writable(qed)) {
		qed_meta_release(ext->hold);
		return -EROFS;
	}
	if (io_bio(io)->bi_opf & REQ_FUA) {
		smp_rmb();	/* see qed_meta_is_durable() */
		if (!qed_meta_is_durable(qed->meta))
			io->sync = true;
	}
	return submit_head(qed, io, NULL, ext);
}

static int io_read_hole(struct qed *qed, struct qed_io *io, unsigned int nr)
{
	struct qed_extent nowhere = { .nr = nr };
	struct bio *clone = clone_bio(qed, io, NULL, &nowhere);

	zero_fill_bio(clone);
	bio_endio(clone);
	return 0;
}

/*----------------------------------------------------------------
 * Discards and zeroes
 *----------------------------------------------------------------
 */

static bool is_unmapping(struct bio *bio)
{
	return bio_op(bio) == REQ_OP_DISCARD ||
	       bio_op(bio) == REQ_OP_WRITE_ZEROES;
}

static int io_skip(struct qed_io *io, unsigned int nr)
{
	bio_advance(io_bio(io), nr << SECTOR_SHIFT);
	return 0;
}

/*
 * The first sectors of a bio that unmap nothing: a discard leaves them as they
 * are, zeroes are written in place. Returns like do_io().
 */
static int io_keep(struct qed *qed, struct qed_io *io, unsigned int nr)
{
	struct bio *bio = io_bio(io);
	struct qed_extent ext;

	if (bio_op(bio) == REQ_OP_DISCARD)
		return io_skip(io, nr);

	switch (qed_meta_lookup(qed->meta, bio->bi_iter.bi_sector, nr, &ext)) {
	case QED_EXTENT_DATA:
		return io_write(qed, io, &ext);
	case QED_EXTENT_HOLE:
		return io_skip(io, ext.nr);
	case QED_EXTENT_UNCACHED:
		/* Not any more, or not yet: look again. */
		return 0;
	default:
		return -EIO;
	}
}

/*
 * Unmap the clusters at the head of a bio, up to one whose first write is under
 * way: the bio waits for that. Takes the drop over if it needs it. Returns the
 * number of clusters that are unmapped now, 0 if the bio waits, or an error.
 */
static int cells_unmap(struct qed *qed, struct qed_io *io,
		       struct qed_block *block, u64 cluster, unsigned int nr,
		       struct qed_drop *drop)
{
	struct qed_cell *cell;
	int r = 0;

	spin_lock_irq(&qed->lock);
	cell = cell_find(qed, cluster);
	if (cell && cell->first <= cluster) {
		bio_list_add(&cell->waiters, io_bio(io));
	} else {
		if (cell)
			nr = min_t(u64, nr, cell->first - cluster);
		r = qed_meta_unmap(qed->meta, block, cluster, nr, drop);
	}
	if (!r || !drop->nr)
		kfree(drop);
	spin_unlock_irq(&qed->lock);
	return r;
}

/* Unmap whole clusters that @block maps. Returns like do_io(). */
static int io_unmap(struct qed *qed, struct qed_io *io,
		    struct qed_block *block, unsigned int nr)
{
	unsigned int bits = qed_meta_cluster_bits(qed->meta);
	struct bio *bio = io_bio(io);
	u64 cluster = bio->bi_iter.bi_sector >> bits;
	struct qed_drop *drop;
	sector_t end;
	int r;

	drop = qed_drop_alloc(qed_block_runs(qed->meta, block, cluster, nr));
	r = drop ? qed_meta_begin(qed->meta) : -ENOMEM;
	if (r) {
		kfree(drop);
		/* Without memory for it the space stays in use: that is no error. */
		return r == -ENOMEM || r == -ENOSPC ?
		       io_keep(qed, io, min(nr << bits, bio_sectors(bio))) : r;
	}
	if (!delayed_work_pending(&qed->idle_work))
		queue_delayed_work(qed->commit_wq, &qed->idle_work, QED_IDLE);
	/* The bio may be gone when it waits. */
	end = bio_end_sector(bio);
	r = cells_unmap(qed, io, block, cluster, nr, drop);
	qed_meta_end(qed->meta, NULL);
	if (r <= 0)
		return r ? r : 1;
	return io_skip(io, min_t(sector_t, (cluster + r) << bits, end) -
			   (cluster << bits));
}

/* Zeroes may have to keep their space. What is mapped may not be known yet. */
static bool may_unmap(struct qed *qed, struct bio *bio)
{
	return !(bio->bi_opf & REQ_NOUNMAP) && qed_meta_can_unmap(qed->meta);
}

/* Go on with a discard or with zeroes, up to the end of a table block. */
static int io_unmap_step(struct qed *qed, struct qed_io *io)
{
	unsigned int bits = qed_meta_cluster_bits(qed->meta), nr;
	struct bio *bio = io_bio(io);
	sector_t sector = bio->bi_iter.bi_sector, end = bio_end_sector(bio);
	u64 cluster = sector >> bits, stop;
	struct qed_block *block;
	int r;

	io->sync |= !!(bio->bi_opf & REQ_FUA);
	r = qed_meta_throttle(qed->meta);
	if (r && r != -ENOSPC)
		return r;
	block = qed_block_get(qed->meta, cluster, false);
	if (IS_ERR(block))
		return PTR_ERR(block);

	/* The last cluster of the image may be a part: it is a whole one. */
	stop = end == qed_meta_guest_sectors(qed->meta) ?
	       ((end - 1) >> bits) + 1 : end >> bits;
	stop = min(stop, qed_block_end(cluster));
	end = min(end, qed_block_end(cluster) << bits);
	nr = stop > cluster ? stop - cluster : 0;
	if (sector != cluster << bits)
		nr = 0;

	if (!block)
		return io_skip(io, end - sector);
	if (!nr)
		r = io_keep(qed, io, min(end, (cluster + 1) << bits) - sector);
	else if (!qed_block_runs(qed->meta, block, cluster, nr))
		r = io_skip(io, min(end, (cluster + nr) << bits) - sector);
	else if (!may_unmap(qed, bio))
		r = io_keep(qed, io, end - sector);
	else
		r = io_unmap(qed, io, block, nr);
	qed_block_put(qed->meta, block);
	return r;
}

/* Go on with the head of a bio, as far as it is of one kind. */
static int io_step(struct qed *qed, struct qed_io *io)
{
	struct bio *bio = io_bio(io);
	bool write = bio_data_dir(bio) == WRITE;
	sector_t sector = bio->bi_iter.bi_sector;
	u64 cluster = sector >> qed_meta_cluster_bits(qed->meta);
	enum qed_extent_kind kind;
	struct qed_block *block;
	struct qed_extent ext;

	if (is_unmapping(bio))
		return io_unmap_step(qed, io);

	block = qed_block_get(qed->meta, cluster, false);
	if (IS_ERR(block))
		return PTR_ERR(block);
	if (write && (!block || qed_block_hole(block, cluster, 1)))
		return io_write_hole(qed, io, block);
	kind = qed_meta_lookup(qed->meta, sector, bio_sectors(bio), &ext);
	if (block)
		qed_block_put(qed->meta, block);

	switch (kind) {
	case QED_EXTENT_DATA:
		return write ? io_write(qed, io, &ext) :
			       submit_head(qed, io, NULL, &ext);
	case QED_EXTENT_HOLE:
		return io_read_hole(qed, io, ext.nr);
	case QED_EXTENT_UNCACHED:
		/* Somebody has just made the table. */
		return 0;
	default:
		return -EIO;
	}
}

/*
 * A step returns 0 to go on with the rest of the bio, 1 if the bio has been
 * handed over, to the image device or to a list that will bring it back here,
 * and otherwise an error.
 */
static void do_io(struct work_struct *work)
{
	struct qed_io *io = container_of(work, struct qed_io, work);
	struct bio *bio = io_bio(io);
	int r = 0;

	if (unlikely(io->lower_full))
		r = io_lower_full(io->qed, io);
	while (bio_sectors(bio) && !r)
		r = io_step(io->qed, io);
	if (r <= 0)
		io_put(io, errno_to_blk_status(r));
}

/*----------------------------------------------------------------
 * Mapping
 *----------------------------------------------------------------
 */

static void io_init(struct qed *qed, struct qed_io *io)
{
	INIT_WORK(&io->work, do_io);
	io->qed = qed;
	atomic_set(&io->pending, 1);
	io->status = BLK_STS_OK;
	io->sync = false;
	io->lower_full = false;
	io->hold = NULL;
}

static int map_later(struct qed *qed, struct bio *bio)
{
	struct qed_io *io = bio_io(bio);

	if (bio->bi_opf & REQ_NOWAIT) {
		bio_wouldblock_error(bio);
		return DM_MAPIO_SUBMITTED;
	}

	io_init(qed, io);
	io->iter = bio->bi_iter;
	queue_work(qed->wq, &io->work);
	return DM_MAPIO_SUBMITTED;
}

static int map_flush(struct qed *qed, struct bio *bio)
{
	struct qed_io *io = bio_io(bio);

	io->flush = qed_meta_is_durable(qed->meta) && !READ_ONCE(qed->lost);
	if (io->flush) {
		bio_set_dev(bio, qed->bdev);
		return DM_MAPIO_REMAPPED;
	}
	complete_after_commit(qed, bio);
	return DM_MAPIO_SUBMITTED;
}

static int qed_map(struct dm_target *ti, struct bio *bio)
{
	enum qed_mode mode;
	enum qed_extent_kind kind;
	struct qed *qed = ti->private;
	struct qed_io *io = bio_io(bio);
	struct qed_extent ext;

	io->hold = NULL;
	mode = get_mode(qed);
	if (unlikely(mode == QED_MODE_FAIL))
		return DM_MAPIO_KILL;
	if (unlikely(bio->bi_opf & REQ_PREFLUSH))
		return map_flush(qed, bio);
	if (bio_data_dir(bio) == WRITE) {
		if (unlikely(mode == QED_MODE_RO))
			return DM_MAPIO_KILL;
		if (unlikely(is_unmapping(bio)))
			return map_later(qed, bio);
	}

	/* One target per table: guest sectors are device sectors. */
	kind = qed_meta_lookup(qed->meta, bio->bi_iter.bi_sector,
			       bio_sectors(bio), &ext);
	if (ext.nr < bio_sectors(bio))
		dm_accept_partial_bio(bio, ext.nr);

	switch (kind) {
	case QED_EXTENT_DATA:
		/* A mapping that is not durable needs a commit after FUA. */
		if (unlikely(bio->bi_opf & REQ_FUA)) {
			smp_rmb();	/* see qed_meta_is_durable() */
			if (!qed_meta_is_durable(qed->meta)) {
				qed_meta_release(ext.hold);
				return map_later(qed, bio);
			}
		}
		io->hold = ext.hold;
		io->iter = bio->bi_iter;
		bio_set_dev(bio, qed->bdev);
		bio->bi_iter.bi_sector = ext.sector;
		return DM_MAPIO_REMAPPED;

	case QED_EXTENT_HOLE:
		if (bio_data_dir(bio) == WRITE)
			return map_later(qed, bio);
		zero_fill_bio(bio);
		bio_endio(bio);
		return DM_MAPIO_SUBMITTED;

	case QED_EXTENT_UNCACHED:
		return map_later(qed, bio);

	default:
		return DM_MAPIO_KILL;
	}
}

/*
 * The image device had no space for a bio that was mapped at once: it goes on in the
 * worker, which waits for space. Not inline, for the sake of those that had.
 */
static noinline int end_io_no_space(struct qed *qed, struct bio *bio)
{
	struct qed_io *io = bio_io(bio);
	bool again = io->hold && bio_data_dir(bio) == WRITE;

	if (io->hold)
		qed_meta_release(io->hold);
	if (!again)
		return DM_ENDIO_DONE;
	io_init(qed, io);
	io->lower_full = true;
	io_restart(io);
	return DM_ENDIO_INCOMPLETE;
}

/* Called for every bio that qed_map() has got, also if it was mapped later. */
static int qed_end_io(struct dm_target *ti, struct bio *bio,
		      blk_status_t *error)
{
	struct qed *qed = ti->private;
	struct qed_io *io = bio_io(bio);

	if (unlikely(*error && bio->bi_opf & REQ_PREFLUSH && io->flush))
		qed_meta_flush_failed(qed->meta);
	if (unlikely(*error == BLK_STS_NOSPC))
		return end_io_no_space(qed, bio);
	if (io->hold)
		qed_meta_release(io->hold);
	return DM_ENDIO_DONE;
}

/*----------------------------------------------------------------
 * Activation
 *----------------------------------------------------------------
 */

/*
 * Did the table that this one replaces fail, and lose writes, or had it no space
 * for its tables? It is not closed as long as it keeps them. Caller holds
 * claims_mutex.
 */
static void inherit_lost(struct qed *qed)
{
	struct mapped_device *md = dm_table_get_md(qed->ti->table);
	struct qed *other;

	list_for_each_entry(other, &claims, claim)
		if (dm_table_get_md(other->ti->table) == md &&
		    (take_lost(other) ||
		     (is_writable(other) && !qed_meta_is_durable(other->meta))))
			set_lost(qed, true);
	if (qed->lost)
		DMWARN("%s: writes since the last flush are lost, the next flush fails",
		       qed_name(qed));
}

/* Caller holds claims_mutex. */
static bool is_claimed(struct qed *qed)
{
	struct mapped_device *md = dm_table_get_md(qed->ti->table);
	struct qed *other;

	list_for_each_entry(other, &claims, claim)
		if (other->bdev->bd_dev == qed->bdev->bd_dev &&
		    dm_table_get_md(other->ti->table) != md &&
		    !(other->features.read_only && qed->features.read_only))
			return true;
	return false;
}

static int claim(struct qed *qed)
{
	int r = 0;

	mutex_lock(&claims_mutex);
	if (is_claimed(qed)) {
		DMERR("%s: the image device %s is in use by another qed mapping",
		      qed_name(qed), qed->dev->name);
		r = -EBUSY;
	} else {
		inherit_lost(qed);
		list_add(&qed->claim, &claims);
	}
	mutex_unlock(&claims_mutex);
	return r;
}

static void unclaim(struct qed *qed)
{
	mutex_lock(&claims_mutex);
	list_del_init(&qed->claim);
	mutex_unlock(&claims_mutex);
}

static void deactivate(struct qed *qed)
{
	qed_meta_unload(qed->meta);
	unclaim(qed);
}

static int check_length(struct qed *qed)
{
	sector_t size = qed_meta_guest_sectors(qed->meta);

	if (qed->ti->len <= size)
		return 0;
	DMERR("%s: table length %llu exceeds the image size of %llu sectors",
	      qed_name(qed), (unsigned long long)qed->ti->len,
	      (unsigned long long)size);
	return -EINVAL;
}

static int activate(struct qed *qed)
{
	struct qed_load_args args = {
		.readonly = qed->features.read_only,
		.zeroed = qed->features.zeroed,
		.zeroed_from = qed->features.zeroed_from,
	};
	unsigned int noio;
	int r;

	r = claim(qed);
	if (r)
		return r;

	/* Memory must not come from writing to this very device. */
	noio = memalloc_noio_save();
	r = qed_meta_load(qed->meta, &args);
	memalloc_noio_restore(noio);
	if (r) {
		unclaim(qed);
		return r;
	}
	r = check_length(qed);
	if (r) {
		deactivate(qed);
		return r;
	}

	/* The promise was about this moment, and allocations break it. */
	qed->features.zeroed = false;
	qed->low_water_reached = false;
	return 0;
}

static int qed_preresume(struct dm_target *ti)
{
	struct qed *qed = ti->private;
	int r = 0;

	mutex_lock(&qed->life_mutex);
	/* Failed metadata is kept: it serves reads until it is replaced. */
	if (!qed_meta_is_loaded(qed->meta)) {
		r = activate(qed);
		if (r)
			set_mode(qed, QED_MODE_FAIL, true);
		else
			set_mode(qed, qed->features.read_only ? QED_MODE_RO :
							       QED_MODE_RW,
				 true);
	}
	mutex_unlock(&qed->life_mutex);
	if (r)
		DMERR("%s: cannot activate the image: error %d", qed_name(qed),
		      r);
	return r;
}

static void qed_resume(struct dm_target *ti)
{
	struct qed *qed = ti->private;
	struct qed_meta_stats stats;

	if (get_mode(qed) == QED_MODE_OUT_OF_SPACE)
		limit_wait(qed);
	retry_nospace(qed);
	qed_meta_get_stats(qed->meta, &stats);
	if (stats.needs_check && is_writable(qed))
		queue_delayed_work(qed->commit_wq, &qed->idle_work, QED_IDLE);
}

/*
 * Suspend has to wait for the writes that wait for space. They go on if the
 * device has grown; a suspend without flush takes them back.
 */
static void qed_presuspend(struct dm_target *ti)
{
	struct qed *qed = ti->private;

	if (dm_noflush_suspending(ti))
		requeue_nospace(qed);
	else if (qed_meta_grow(qed->meta) > 0 ||
		 READ_ONCE(qed->lower_full) || READ_ONCE(qed->commit_full))
		retry_nospace(qed);
}

static void cancel_works(struct qed *qed)
{
	cancel_delayed_work_sync(&qed->no_space_work);
	cancel_delayed_work_sync(&qed->idle_work);
	cancel_delayed_work_sync(&qed->commit_work);
}

static void qed_postsuspend(struct dm_target *ti)
{
	struct qed *qed = ti->private;
	int r = 0;

	cancel_works(qed);
	flush_workqueue(qed->wq);

	mutex_lock(&qed->life_mutex);
	if (qed_meta_is_loaded(qed->meta)) {
		if (!qed->features.read_only)
			r = qed_meta_close(qed->meta);
		if (!r)
			deactivate(qed);
		/* What could not be committed is kept for a resume. */
		if (r == -ENOSPC) {
			set_mode(qed, QED_MODE_OUT_OF_SPACE, false);
			cancel_delayed_work_sync(&qed->no_space_work);
		}
	}
	mutex_unlock(&qed->life_mutex);
}

/*----------------------------------------------------------------
 * Status and messages
 *----------------------------------------------------------------
 */

static void status_count(char *result, unsigned int maxlen, unsigned int *pos,
			 bool known, u64 count, u64 of)
{
	unsigned int sz = *pos;

	if (known)
		DMEMIT(" %llu/%llu", count, of);
	else
		DMEMIT(" -/%llu", of);
	*pos = sz;
}

static void status_space(struct qed *qed, const struct qed_meta_stats *stats,
			 char *result, unsigned int maxlen, unsigned int *pos)
{
	unsigned int sz = *pos;

	if (stats->known)
		DMEMIT(" %llu/%llu/%llu", stats->free, stats->zero,
		       stats->reclaiming);
	else
		DMEMIT(" -");
	DMEMIT(" %u", READ_ONCE(qed->nr_nospace));
	if (stats->trimming)
		DMEMIT(" %llu/%llu", stats->trimmed, stats->trim_end);
	else
		DMEMIT(" -");
	switch (stats->check) {
	case QED_CHECK_NONE:
		DMEMIT(" -");
		break;
	case QED_CHECK_RUNNING:
		DMEMIT(" %llu/%llu", stats->checked, stats->blocks);
		break;
	case QED_CHECK_DONE:
		DMEMIT(" %llu,%llu", stats->leaks, stats->defects);
		break;
	}
	*pos = sz;
}

/*
 * <cluster size in sectors> <used>/<total clusters of the device>
 * <mapped>/<virtual clusters> <cached KiB>/<limit KiB> <dirty blocks>
 * <allocations in flight> <commits> <mode> <needs_check|->
 * <free>/<zeroed>/<reclaiming clusters> <queued bios> <trim> <check>
 */
static void status_info(struct qed *qed, char *result, unsigned int maxlen)
{
	struct qed_meta_stats stats;
	unsigned int sz = 0;

	qed_meta_get_stats(qed->meta, &stats);
	DMEMIT("%u", 1U << qed_meta_cluster_bits(qed->meta));
	status_count(result, maxlen, &sz, stats.known, stats.used, stats.total);
	status_count(result, maxlen, &sz, stats.known, stats.mapped,
		     stats.virtual);
	DMEMIT(" %llu/%llu %llu %llu %llu %s %s", stats.cached_kib,
	       stats.cache_limit_kib, stats.dirty_blocks, stats.changes,
	       stats.commits, mode_names[get_mode(qed)],
	       stats.needs_check ? "needs_check" : "-");
	status_space(qed, &stats, result, maxlen, &sz);
}

/* zeroed_from is left out: it has been true once, before the image was used. */
static void status_table(struct qed *qed, char *result, unsigned int maxlen)
{
	const struct qed_features *f = &qed->features;
	bool cache = f->cache_kib != QED_DEFAULT_CACHE_KIB;
	bool commit = f->commit_ms != QED_DEFAULT_COMMIT_MS;
	unsigned int sz = 0;
	unsigned int nr = f->read_only + f->error_if_no_space +
			  f->ignore_discard + f->no_discard_passdown +
			  2 * cache + 2 * commit + 2 * !!f->low_water;

	DMEMIT("%s", qed->dev->name);
	if (nr)
		DMEMIT(" %u", nr);
	if (f->read_only)
		DMEMIT(" read_only");
	if (cache)
		DMEMIT(" cache_kib %u", f->cache_kib);
	if (commit)
		DMEMIT(" commit_interval %u", f->commit_ms);
	if (f->error_if_no_space)
		DMEMIT(" error_if_no_space");
	if (f->low_water)
		DMEMIT(" low_water %llu", f->low_water);
	if (f->ignore_discard)
		DMEMIT(" ignore_discard");
	if (f->no_discard_passdown)
		DMEMIT(" no_discard_passdown");
}

static void status_ima(struct qed *qed, char *result, unsigned int maxlen)
{
	const struct qed_features *f = &qed->features;
	unsigned int sz = 0;

	DMEMIT_TARGET_NAME_VERSION(qed->ti->type);
	DMEMIT(",image_device_name=%s,cluster_sectors=%u,image_sectors=%llu",
	       qed->dev->name, 1U << qed_meta_cluster_bits(qed->meta),
	       (unsigned long long)qed_meta_guest_sectors(qed->meta));
	DMEMIT(",read_only=%c,error_if_no_space=%c,ignore_discard=%c,no_discard_passdown=%c;",
	       f->read_only ? 'y' : 'n', f->error_if_no_space ? 'y' : 'n',
	       f->ignore_discard ? 'y' : 'n',
	       f->no_discard_passdown ? 'y' : 'n');
}

static void qed_status(struct dm_target *ti, status_type_t type,
		       unsigned int status_flags, char *result,
		       unsigned int maxlen)
{
	struct qed *qed = ti->private;

	switch (type) {
	case STATUSTYPE_INFO:
		status_info(qed, result, maxlen);
		break;
	case STATUSTYPE_TABLE:
		status_table(qed, result, maxlen);
		break;
	case STATUSTYPE_IMA:
		status_ima(qed, result, maxlen);
		break;
	}
}

/* Make everything durable that has been completed. */
static int message_commit(struct qed *qed)
{
	int r = qed_meta_commit(qed->meta, true);

	if (r == -ENOSPC)
		set_mode(qed, QED_MODE_OUT_OF_SPACE, false);
	/* It is the guest's flush that tells, too. */
	return READ_ONCE(qed->lost) ? -EIO : r;
}

static int message_resize(struct qed *qed, const char *arg)
{
	u64 sectors;

	if (kstrtou64(arg, 10, &sectors)) {
		DMWARN("%s: resize needs a number of sectors, not %s",
		       qed_name(qed), arg);
		return -EINVAL;
	}
	return qed_meta_resize(qed->meta, sectors);
}

/* Returns 1 if there is no such message. Caller holds life_mutex. */
static int do_message(struct qed *qed, unsigned int argc, char **argv)
{
	bool loaded = qed_meta_is_loaded(qed->meta);

	/* Nothing is left to commit while the device is suspended. */
	if (argc == 1 && !strcasecmp(argv[0], "commit"))
		return loaded ? message_commit(qed) : 0;
	if (argc == 1 && !strcasecmp(argv[0], "trim"))
		return loaded ? qed_meta_trim(qed->meta) : -ENODATA;
	if (argc == 1 && !strcasecmp(argv[0], "check"))
		return loaded ? qed_meta_check(qed->meta) : -ENODATA;
	if (argc == 2 && !strcasecmp(argv[0], "resize"))
		return loaded ? message_resize(qed, argv[1]) : -ENODATA;
	return 1;
}

static int qed_message(struct dm_target *ti, unsigned int argc, char **argv,
		       char *result, unsigned int maxlen)
{
	struct qed *qed = ti->private;
	int r;

	mutex_lock(&qed->life_mutex);
	r = do_message(qed, argc, argv);
	mutex_unlock(&qed->life_mutex);
	if (r <= 0)
		return r;

	DMWARN("%s: unrecognised message %s", qed_name(qed), argv[0]);
	return -EINVAL;
}

static int qed_iterate_devices(struct dm_target *ti,
			       iterate_devices_callout_fn fn, void *data)
{
	struct qed *qed = ti->private;

	return fn(ti, qed->dev, 0, bdev_nr_bytes(qed->bdev) >> SECTOR_SHIFT,
		  data);
}

/* Bios of any size: they cost what has to change in the tables. */
static void qed_io_hints(struct dm_target *ti, struct queue_limits *limits)
{
	struct qed *qed = ti->private;
	unsigned int size = 1U << qed_meta_cluster_bits(qed->meta);
	unsigned int max = round_down(UINT_MAX >> SECTOR_SHIFT, size);

	limits->max_write_zeroes_sectors = max;
	if (qed->features.ignore_discard)
		return;
	limits->discard_granularity = size << SECTOR_SHIFT;
	limits->max_discard_sectors = max;
	limits->max_hw_discard_sectors = max;
}

/*----------------------------------------------------------------
 * Construction
 *----------------------------------------------------------------
 */

static int parse_u64(struct dm_arg_set *as, u64 *value, const char *name,
		     char **error)
{
	const char *arg = dm_shift_arg(as);

	if (arg && !kstrtou64(arg, 10, value))
		return 0;
	DMERR("%s needs a number, not %s", name, arg ? arg : "nothing");
	*error = "Invalid number of clusters";
	return -EINVAL;
}

static int parse_feature(struct dm_arg_set *as, struct qed_features *f,
			 char **error)
{
	static const struct dm_arg cache_arg = {
		QED_MIN_CACHE_KIB, UINT_MAX, "Invalid cache_kib"
	};
	static const struct dm_arg commit_arg = {
		0, QED_MAX_COMMIT_MS, "Invalid commit_interval"
	};
	const char *arg = dm_shift_arg(as);

	if (!strcasecmp(arg, "read_only")) {
		f->read_only = true;
		return 0;
	}
	if (!strcasecmp(arg, "error_if_no_space")) {
		f->error_if_no_space = true;
		return 0;
	}
	if (!strcasecmp(arg, "ignore_discard")) {
		f->ignore_discard = true;
		return 0;
	}
	if (!strcasecmp(arg, "no_discard_passdown")) {
		f->no_discard_passdown = true;
		return 0;
	}
	if (!strcasecmp(arg, "cache_kib"))
		return dm_read_arg(&cache_arg, as, &f->cache_kib, error);
	if (!strcasecmp(arg, "commit_interval"))
		return dm_read_arg(&commit_arg, as, &f->commit_ms, error);
	if (!strcasecmp(arg, "low_water"))
		return parse_u64(as, &f->low_water, arg, error);
	if (!strcasecmp(arg, "zeroed_from")) {
		f->zeroed = true;
		return parse_u64(as, &f->zeroed_from, arg, error);
	}

	DMERR("unrecognised feature argument %s", arg);
	*error = "Unrecognised feature argument";
	return -EINVAL;
}

static int parse_features(struct dm_arg_set *as, struct qed_features *f,
			  char **error)
{
	/* Every argument once, the value options with their values */
	static const struct dm_arg count_arg = {
		0, 12, "Invalid number of feature arguments"
	};
	struct dm_arg_set group;
	unsigned int argc;
	int r;

	f->cache_kib = QED_DEFAULT_CACHE_KIB;
	f->commit_ms = QED_DEFAULT_COMMIT_MS;
	if (!as->argc)
		return 0;

	r = dm_read_arg_group(&count_arg, as, &argc, error);
	if (r)
		return r;
	/* The counted arguments are a set of their own: none is read beyond. */
	group.argc = argc;
	group.argv = as->argv;
	dm_consume_args(as, argc);
	if (as->argc) {
		*error = "Too many arguments";
		return -EINVAL;
	}

	while (group.argc && !r)
		r = parse_feature(&group, f, error);
	return r;
}

static int check_device(struct qed *qed, char **error)
{
	int r = 0;

	if (!qed->features.read_only && bdev_read_only(qed->bdev)) {
		*error = "Image device is read-only";
		return -EACCES;
	}
	if (bdev_logical_block_size(qed->bdev) > QED_MIN_CLUSTER_SIZE) {
		*error = "Logical blocks of the image device are too large";
		return -EINVAL;
	}

	/* Not the last word, see claim(), but at the right time for the user. */
	mutex_lock(&claims_mutex);
	if (is_claimed(qed)) {
		*error = "Image device is in use by another qed mapping";
		r = -EBUSY;
	}
	mutex_unlock(&claims_mutex);
	return r;
}

static int open_device(struct qed *qed, const char *path, char **error)
{
	blk_mode_t mode = dm_table_get_mode(qed->ti->table);
	int r;

	if (!(mode & BLK_OPEN_WRITE))
		qed->features.read_only = true;
	if (qed->features.read_only)
		mode &= ~BLK_OPEN_WRITE;

	r = dm_get_device(qed->ti, path, mode, &qed->dev);
	if (r) {
		*error = "Cannot open the image device";
		return r;
	}
	qed->bdev = qed->dev->bdev;

	r = check_device(qed, error);
	if (r)
		dm_put_device(qed->ti, qed->dev);
	return r;
}

static void init_state(struct qed *qed)
{
	qed->mode = QED_MODE_FAIL;
	spin_lock_init(&qed->lock);
	qed->cells = RB_ROOT;
	bio_list_init(&qed->commit_bios);
	bio_list_init(&qed->nospace_bios);
	mutex_init(&qed->mode_mutex);
	mutex_init(&qed->life_mutex);
	INIT_LIST_HEAD(&qed->claim);
	INIT_DELAYED_WORK(&qed->commit_work, do_commit);
	INIT_DELAYED_WORK(&qed->idle_work, do_idle);
	INIT_DELAYED_WORK(&qed->no_space_work, do_no_space);
	qed->client.failed = meta_failed;
	qed->client.want_commit = meta_want_commit;
	qed->client.flush_failed = meta_flush_failed;
	qed->client.more_space = meta_more_space;
	qed->client.event = meta_event;
	qed->client.name = qed_name(qed);
}

static int alloc_resources(struct qed *qed)
{
	int r;

	r = mempool_init_slab_pool(&qed->cell_pool, QED_MIN_CELLS, cell_slab);
	if (r)
		return r;
	r = bioset_init(&qed->bs, QED_MIN_BIOS, offsetof(struct qed_clone, bio),
			BIOSET_NEED_BVECS);
	if (r)
		goto bad_bioset;
	r = -ENOMEM;
	qed->wq = alloc_workqueue("dm-qed", WQ_UNBOUND | WQ_MEM_RECLAIM, 0);
	if (!qed->wq)
		goto bad_wq;
	qed->commit_wq = alloc_ordered_workqueue("dm-qed-commit",
						 WQ_MEM_RECLAIM);
	if (!qed->commit_wq)
		goto bad_commit_wq;
	return 0;

bad_commit_wq:
	destroy_workqueue(qed->wq);
bad_wq:
	bioset_exit(&qed->bs);
bad_bioset:
	mempool_exit(&qed->cell_pool);
	return r;
}

static void free_resources(struct qed *qed)
{
	destroy_workqueue(qed->commit_wq);
	destroy_workqueue(qed->wq);
	bioset_exit(&qed->bs);
	mempool_exit(&qed->cell_pool);
}

static void init_target(struct dm_target *ti, const struct qed_features *f)
{
	ti->num_flush_bios = 1;
	ti->flush_supported = true;
	/* Space becomes free even if the image device does not take it. */
	ti->num_discard_bios = !f->ignore_discard;
	ti->discards_supported = !f->ignore_discard;
	/* Device mapper offers it if the image device can do it in place. */
	ti->num_write_zeroes_bios = 1;
	ti->per_io_data_size = sizeof(struct qed_io);
	/* Swapping out must not need more memory than there are bios for. */
	ti->limit_swap_bios = true;
}

/*
 * <image_dev> [<#feature args> <feature arg>...]
 *
 * See Documentation/admin-guide/device-mapper/dm-qed.rst.
 */
static int qed_ctr(struct dm_target *ti, unsigned int argc, char **argv)
{
	struct dm_arg_set as = { .argc = argc, .argv = argv };
	const char *path = dm_shift_arg(&as);
	struct qed *qed;
	int r;

	if (!path) {
		ti->error = "Image device is missing";
		return -EINVAL;
	}

	qed = kzalloc(sizeof(*qed), GFP_KERNEL);
	if (!qed) {
		ti->error = "Cannot allocate the target";
		return -ENOMEM;
	}
	qed->ti = ti;
	init_state(qed);

	r = parse_features(&as, &qed->features, &ti->error);
	if (r)
		goto bad_args;
	r = open_device(qed, path, &ti->error);
	if (r)
		goto bad_args;
	r = alloc_resources(qed);
	if (r) {
		ti->error = "Cannot allocate resources";
		goto bad_resources;
	}
	qed->meta = qed_meta_create(qed->bdev, &qed->client,
				    qed->features.cache_kib,
				    !qed->features.no_discard_passdown,
				    &ti->error);
	if (IS_ERR(qed->meta)) {
		r = PTR_ERR(qed->meta);
		goto bad_meta;
	}
	r = check_length(qed);
	if (r) {
		ti->error = "Table length exceeds the image size";
		goto bad_length;
	}

	init_target(ti, &qed->features);
	ti->private = qed;
	return 0;

bad_length:
	qed_meta_destroy(qed->meta);
bad_meta:
	free_resources(qed);
bad_resources:
	dm_put_device(ti, qed->dev);
bad_args:
	kfree(qed);
	return r;
}

static void qed_dtr(struct dm_target *ti)
{
	struct qed *qed = ti->private;

	unclaim(qed);
	qed_meta_unload(qed->meta);
	/* The last commit, and what has gone on until now, may have asked for one. */
	cancel_works(qed);
	qed_meta_destroy(qed->meta);
	free_resources(qed);
	dm_put_device(ti, qed->dev);
	kfree(qed);
}

static struct target_type qed_target = {
	.name = "qed",
	.version = {1, 0, 0},
	.features = DM_TARGET_SINGLETON | DM_TARGET_NOWAIT,
	.module = THIS_MODULE,
	.ctr = qed_ctr,
	.dtr = qed_dtr,
	.map = qed_map,
	.end_io = qed_end_io,
	.presuspend = qed_presuspend,
	.postsuspend = qed_postsuspend,
	.preresume = qed_preresume,
	.resume = qed_resume,
	.status = qed_status,
	.message = qed_message,
	.iterate_devices = qed_iterate_devices,
	.io_hints = qed_io_hints,
};

static int __init dm_qed_init(void)
{
	int r;

	cell_slab = KMEM_CACHE(qed_cell, 0);
	if (!cell_slab)
		return -ENOMEM;
	zeroes = alloc_pages(GFP_KERNEL | __GFP_ZERO | __GFP_COMP,
			     get_order(QED_ZEROES_SIZE));
	r = -ENOMEM;
	if (!zeroes)
		goto bad_zeroes;
	r = qed_meta_module_init();
	if (r)
		goto bad_meta;
	r = dm_register_target(&qed_target);
	if (r)
		goto bad_register;
	return 0;

bad_register:
	qed_meta_module_exit();
bad_meta:
	__free_pages(zeroes, get_order(QED_ZEROES_SIZE));
bad_zeroes:
	kmem_cache_destroy(cell_slab);
	return r;
}

static void __exit dm_qed_exit(void)
{
	dm_unregister_target(&qed_target);
	qed_meta_module_exit();
	__free_pages(zeroes, get_order(QED_ZEROES_SIZE));
	kmem_cache_destroy(cell_slab);
}

module_param_named(no_space_timeout, no_space_timeout_secs, uint, 0644);
MODULE_PARM_DESC(no_space_timeout,
		 "Seconds that writes wait for space before they fail; 0: no end");

module_init(dm_qed_init);
module_exit(dm_qed_exit);

MODULE_ALIAS("dm-qed");
MODULE_DESCRIPTION(DM_NAME " target for QED (QEMU Enhanced Disk) images");
MODULE_AUTHOR("The dm-qed authors");
MODULE_LICENSE("GPL");
