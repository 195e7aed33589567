// SPDX-License-Identifier: GPL-2.0-only
/*
 * The header of the image, and NEED_CHECK in it, see dm-qed-header.h.
 */

#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/completion.h>
#include <linux/device-mapper.h>
#include <linux/jiffies.h>
#include <linux/mutex.h>

#include "dm-qed-header.h"
#include "dm-qed-record.h"

#define DM_MSG_PREFIX "qed"

/*----------------------------------------------------------------
 * The end of all writing
 *----------------------------------------------------------------
 */

void qed_meta_fail(struct qed_meta *meta, const char *why)
{
	bool first, lost;

	spin_lock_irq(&meta->cache.lock);
	first = !meta->frozen;
	lost = meta->txn != QED_TXN_DURABLE;
	meta->frozen = true;
	if (first) {
		WRITE_ONCE(meta->txn, QED_TXN_FAILED);
		qed_cache_set_stuck(&meta->cache, true);
	}
	spin_unlock_irq(&meta->cache.lock);

	qed_cache_wake(&meta->cache);
	if (first)
		meta->client->failed(meta->client, why, lost);
}

/*
 * Mappings that are new, or about to be made, may refer to what a failed flush has lost.
 * No later flush makes up for that.
 */
void qed_meta_flush_failed(struct qed_meta *meta)
{
	unsigned long flags;

	qed_reclaim_flush_failed(&meta->reclaim);
	spin_lock_irqsave(&meta->cache.lock, flags);
	if (meta->changes || meta->txn != QED_TXN_DURABLE)
		WRITE_ONCE(meta->doubtful, true);
	spin_unlock_irqrestore(&meta->cache.lock, flags);
}

void qed_flush_lost(struct qed_meta *meta)
{
	/* First what makes flushes of the guest fail. */
	meta->client->flush_failed(meta->client);
	qed_meta_flush_failed(meta);
}

/*----------------------------------------------------------------
 * Waiting for the image device
 *----------------------------------------------------------------
 */

/* Whether a write without space has come as far as a flush is open: see end_open(). */
static bool is_open(struct qed_wait *wait)
{
	return wait->fua && wait->bio.bi_status == BLK_STS_NOSPC;
}

static void wait_settled(struct qed_flush *flush)
{
	complete(&container_of(flush, struct qed_wait, under_way)->done);
}

/*
 * Whoever waits may come late: a flush of the guest that comes next is to know. Nothing is
 * known to be durable by a flush as long as others are under way; the header is written
 * before a commit that waits for them, and needs not wait by itself.
 */
static void wait_endio(struct bio *bio)
{
	struct qed_wait *wait = container_of(bio, struct qed_wait, bio);
	bool waits = wait->flush && !bio->bi_status;
	bool open = is_open(wait);

	if (bio->bi_status && (wait->flush || wait->fua) && !open)
		qed_flush_lost(wait->meta);
	if (open || !qed_flush_end(&wait->meta->flushes, &wait->under_way,
				   waits ? wait_settled : NULL))
		complete(&wait->done);
}

/* Before the metadata is loaded no guest has written anything. */
static void wait_start(struct qed_wait *wait, struct qed_meta *meta)
{
	bool loaded = READ_ONCE(meta->loaded);
	struct bio *bio = &wait->bio;

	wait->meta = meta;
	wait->flush = loaded && bio->bi_opf & REQ_PREFLUSH;
	wait->fua = loaded && bio->bi_opf & REQ_FUA &&
		    qed_fua_flushes(meta->bdev);
	wait->iter = bio->bi_iter;
	wait->under_way.under_way = false;
	init_completion(&wait->done);
	bio->bi_opf |= REQ_SYNC;
	bio->bi_end_io = wait_endio;
	if (wait->flush || wait->fua)
		qed_flush_begin(&meta->flushes, &wait->under_way,
				QED_FLUSH_OWN);
	submit_bio(bio);
}

int qed_fua_again(struct qed_meta *meta, struct bio *bio,
		  const struct bvec_iter *iter)
{
	qed_bio_rewind(bio, iter);
	bio_set_dev(bio, meta->bdev);
	bio->bi_opf &= ~REQ_FUA;
	if (submit_bio_wait(bio) == -ENOSPC)
		return -ENOSPC;
	qed_flush_lost(meta);
	return -EIO;
}

static int end_open(struct qed_wait *wait)
{
	int r = qed_fua_again(wait->meta, &wait->bio, &wait->iter);

	qed_flush_end(&wait->meta->flushes, &wait->under_way, NULL);
	return r;
}

static int wait_end(struct qed_wait *wait)
{
	int r;

	wait_for_completion_io(&wait->done);
	r = is_open(wait) ? end_open(wait) :
			    blk_status_to_errno(wait->bio.bi_status);
	bio_uninit(&wait->bio);
	return r;
}

void qed_flush_start(struct qed_meta *meta, struct qed_wait *wait)
{
	bio_init(&wait->bio, meta->bdev, NULL, 0, REQ_OP_WRITE | REQ_PREFLUSH);
	wait_start(wait, meta);
}

int qed_flush_wait(struct qed_wait *wait)
{
	int r = wait_end(wait);

	return r == -ENOSPC ? -EIO : r;
}

int qed_flush(struct qed_meta *meta)
{
	struct qed_wait wait;

	qed_flush_start(meta, &wait);
	return qed_flush_wait(&wait);
}

int qed_sync_io(struct qed_meta *meta, blk_opf_t opf, sector_t sector,
		void *data, unsigned int len)
{
	struct qed_wait wait;
	struct bio_vec vec;
	int r;

	bio_init(&wait.bio, meta->bdev, &vec, 1, opf | REQ_META);
	wait.bio.bi_iter.bi_sector = sector;
	__bio_add_page(&wait.bio, virt_to_page(data), len, offset_in_page(data));
	wait_start(&wait, meta);
	r = wait_end(&wait);
	/* A failed read is no lack of space, whatever the device calls it. */
	return r == -ENOSPC && !op_is_write(opf) ? -EIO : r;
}

/*----------------------------------------------------------------
 * Header
 *----------------------------------------------------------------
 */

int qed_header_read(struct qed_meta *meta, char **error)
{
	u64 size = bdev_nr_bytes(meta->bdev);
	struct qed_geometry geo;
	int r;

	if (size < QED_BLOCK_SIZE) {
		DMERR("%s: the device of %llu bytes is too small for a QED image",
		      meta->client->name, size);
		*error = "Image device is too small";
		return -EINVAL;
	}
	r = qed_sync_io(meta, REQ_OP_READ, 0, meta->header, QED_BLOCK_SIZE);
	if (r) {
		DMERR("%s: cannot read the header: error %d",
		      meta->client->name, r);
		*error = "Cannot read the header";
		return r;
	}
	r = qed_geometry_parse(&geo, meta->header, size, meta->client->name,
			       error);
	if (r)
		return r;

	spin_lock_irq(&meta->cache.lock);
	meta->geo = geo;
	spin_unlock_irq(&meta->cache.lock);
	return 0;
}

void qed_header_look_at_record(struct qed_meta *meta)
{
	struct qed_record record;
	const char *what;
	int r;

	mutex_lock(&meta->header_mutex);
	r = qed_record_parse(&record, meta->header, &what);
	mutex_unlock(&meta->header_mutex);
	if (r == -EUCLEAN)
		DMWARN("%s: the record in the header is ignored: it %s",
		       meta->client->name, what);
	else if (!r && record.active)
		DMWARN("%s: the record says that host %s has the image, or has crashed",
		       meta->client->name, record.host);
}

/* A sector is enough, and tears least, but the device may have larger blocks. */
static int header_write(struct qed_meta *meta)
{
	int r = qed_sync_io(meta, REQ_OP_WRITE | REQ_FUA, 0, meta->header,
			    bdev_logical_block_size(meta->bdev));

	if (r)
		DMERR_LIMIT("%s: cannot write the header: error %d",
			    meta->client->name, r);
	return r;
}

bool qed_header_needs_check(struct qed_meta *meta)
{
	return READ_ONCE(meta->header->features) &
	       cpu_to_le64(QED_F_NEED_CHECK);
}

static int header_set_needs_check(struct qed_meta *meta, bool set)
{
	__le64 others = meta->header->features & ~cpu_to_le64(QED_F_NEED_CHECK);
	__le64 marked = others | cpu_to_le64(QED_F_NEED_CHECK);
	int r;

	lockdep_assert_held(&meta->header_mutex);

	WRITE_ONCE(meta->header->features, set ? marked : others);
	r = header_write(meta);
	/* Whichever is on the device, this one is safe to assume. */
	if (r)
		WRITE_ONCE(meta->header->features, marked);
	/* Without space nothing is lost: it can be tried again, as for tables. */
	if (r && r != -ENOSPC)
		qed_meta_fail(meta, "cannot write the header");
	return r;
}

/*
 * No autoclear bit is kept up to date by us, not even that of the record: all of them are
 * to be cleared before anything is written. Without space for that nothing is.
 */
int qed_header_clear_autoclear(struct qed_meta *meta)
{
	__le64 before = meta->header->autoclear_features;
	int r;

	if (!before)
		return 0;
	mutex_lock(&meta->header_mutex);
	meta->header->autoclear_features = 0;
	r = header_write(meta);
	if (r == -ENOSPC)
		meta->header->autoclear_features = before;
	mutex_unlock(&meta->header_mutex);
	if (r != -ENOSPC)
		return r;
	qed_meta_fail(meta, "no space to clear autoclear features");
	return 0;
}

int qed_header_set_size(struct qed_meta *meta, u64 size)
{
	__le64 before;
	int r = -EROFS;

	mutex_lock(&meta->header_mutex);
	if (!READ_ONCE(meta->frozen)) {
		before = meta->header->image_size;
		meta->header->image_size = cpu_to_le64(size);
		r = header_write(meta);
		if (r == -ENOSPC)
			meta->header->image_size = before;
	}
	mutex_unlock(&meta->header_mutex);
	if (r && r != -EROFS && r != -ENOSPC)
		qed_meta_fail(meta, "cannot write the header");
	return r;
}

/*----------------------------------------------------------------
 * Changes
 *----------------------------------------------------------------
 */

int qed_meta_state(struct qed_meta *meta)
{
	if (READ_ONCE(meta->running))
		return 0;
	if (!READ_ONCE(meta->loaded))
		return -ENODATA;
	return READ_ONCE(meta->frozen) ? -EROFS : -EBUSY;
}

int qed_meta_begin(struct qed_meta *meta)
{
	bool done = false;
	int r = 0;

	spin_lock_irq(&meta->cache.lock);
	if (meta->frozen) {
		r = -EROFS;
	} else if (qed_cache_is_full(&meta->cache)) {
		r = -ENOSPC;
	} else {
		/* First, so that no flush fails unnoticed beside the header. */
		meta->changes++;
		done = meta->marked;
	}
	spin_unlock_irq(&meta->cache.lock);
	if (r == -ENOSPC)
		/* There may be space by now. */
		meta->client->want_commit(meta->client, true);
	if (r || done)
		return r;

	mutex_lock(&meta->header_mutex);
	if (!meta->marked)
		r = header_set_needs_check(meta, true);
	spin_lock_irq(&meta->cache.lock);
	if (r)
		meta->changes--;
	else
		meta->marked = true;
	spin_unlock_irq(&meta->cache.lock);
	mutex_unlock(&meta->header_mutex);
	return r;
}

bool qed_begin_marked(struct qed_meta *meta)
{
	bool marked;

	spin_lock_irq(&meta->cache.lock);
	marked = meta->marked && !meta->frozen;
	meta->changes += marked;
	spin_unlock_irq(&meta->cache.lock);
	return marked;
}

bool qed_end_change(struct qed_meta *meta, struct qed_block *block)
{
	meta->changes--;
	meta->last_change = jiffies;
	return block && qed_block_unpin(block);
}

void qed_meta_end(struct qed_meta *meta, struct qed_block *block)
{
	unsigned long flags;
	bool unused;

	spin_lock_irqsave(&meta->cache.lock, flags);
	unused = qed_end_change(meta, block);
	spin_unlock_irqrestore(&meta->cache.lock, flags);
	if (unused)
		qed_cache_wake(&meta->cache);
}

void qed_meta_give_back(struct qed_meta *meta, const struct qed_run *run)
{
	unsigned long flags;

	qed_space_give_back(meta->space, run);
	spin_lock_irqsave(&meta->cache.lock, flags);
	meta->touched = true;
	spin_unlock_irqrestore(&meta->cache.lock, flags);
}

/*
 * Clear NEED_CHECK unless a change has been made since the last flush, or is
 * under way. One that begins meanwhile waits for header_mutex. Nor is it cleared
 * while free clusters may hold what a failed write has left, or are being given to
 * the device: that they stay as they are is what a clean image promises.
 */
int qed_header_clean(struct qed_meta *meta)
{
	bool busy;
	int r = 0;

	mutex_lock(&meta->header_mutex);
	spin_lock_irq(&meta->cache.lock);
	busy = meta->frozen || meta->changes || meta->touched ||
	       meta->txn != QED_TXN_DURABLE || qed_reclaim_goes_on(&meta->reclaim);
	if (!busy)
		meta->marked = false;
	spin_unlock_irq(&meta->cache.lock);
	if (!busy && qed_header_needs_check(meta))
		r = header_set_needs_check(meta, false);
	mutex_unlock(&meta->header_mutex);
	return r;
}
