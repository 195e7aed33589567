/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The target as its rooms see it: what belongs to a table, and to a bio.
 *
 * A bio comes in by dm-qed-map. What cannot be mapped at once goes on in the worker,
 * dm-qed-io, which writes to new clusters by way of dm-qed-fill and dm-qed-copy, sends bios
 * to the image device by dm-qed-bio, and keeps clusters apart that are being written for
 * the first time in dm-qed-cell. dm-qed-below knows what is below the image. dm-qed-mode
 * knows what the target is able to do, and keeps the bios that wait. Each calls those after
 * it only.
 */

#ifndef DM_QED_TARGET_H
#define DM_QED_TARGET_H

#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/device-mapper.h>
#include <linux/list.h>
#include <linux/mempool.h>
#include <linux/mutex.h>
#include <linux/rbtree.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>

#include "dm-qed-flush.h"
#include "dm-qed-format.h"
#include "dm-qed-meta.h"

struct qed_base;
struct qed_cell;
struct qed_copies;

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

/* Images below an image, at most */
#define QED_MAX_LAYERS			64

/**
 * struct qed_layer - an image below another one
 * @dev: its device
 * @base: the image
 * @size: of its disk when the table was loaded, in sectors
 * @end: of its disk since it is loaded, in sectors
 * @backed: what is next below shows where it has no cluster
 */
struct qed_layer {
	struct dm_dev *dev;
	struct qed_base *base;
	sector_t size;
	sector_t end;
	bool backed;
};

struct qed_features {
	bool read_only;
	bool error_if_no_space;
	bool ignore_discard;
	bool no_discard_passdown;
	bool known_zeroes;
	bool takeover;
	bool zeroed;
	u64 zeroed_from;		/* clusters */
	u64 low_water;			/* clusters */
	u64 zero_ahead;			/* clusters */
	unsigned int cache_kib;		/* 0: by itself */
	unsigned int commit_ms;
	const char *backing;		/* path, of the constructor only */
	const char *layers[QED_MAX_LAYERS];	/* likewise, the nearest first */
	unsigned int nr_layers;
	bool named;			/* the host is given */
	char host[QED_HOST_SIZE];
};

struct qed {
	/* What .map needs; constant but for the mode. */
	struct qed_meta *meta;
	struct block_device *bdev;
	enum qed_mode mode;		/* changed by qed_set_mode() only */
	sector_t below_end;		/* what is below shows up to here; 0: nothing */
	unsigned int nr_layers;		/* images there */
	struct qed_layer *layers;	/* the nearest first */
	struct block_device *below;	/* what is raw, below all of them; or NULL */
	sector_t raw_end;		/* of that */
	u64 __percpu *reads_below;

	struct dm_target *ti;
	struct dm_dev *dev;
	struct dm_dev *backing;		/* or NULL */
	sector_t below_size;		/* when the table was loaded */
	bool layers_loaded;		/* all of them */
	struct qed_copies *copies;	/* of what is there; or NULL */
	struct qed_features features;
	struct qed_meta_client client;

	struct workqueue_struct *wq;		/* of bios that have to wait */
	struct workqueue_struct *commit_wq;	/* what the others may wait for */
	struct delayed_work commit_work;
	bool commit_fails;		/* without space; only commit_work sets it */
	bool commit_short;		/* of space, and not made since; so does a suspend */
	struct delayed_work idle_work;
	struct delayed_work no_space_work;
	struct work_struct space_work;	/* there has been space for a write */

	/*
	 * Protects the members up to the next comment. Taken in bio completion
	 * context; the locks of metadata and space map nest inside.
	 */
	spinlock_t lock;
	struct rb_root cells;		/* by guest cluster, none overlap */
	struct bio_list commit_bios;	/* complete when all is durable */
	struct bio_list nospace_bios;	/* wait for clusters, or for the end of a scan */
	unsigned int nr_nospace;	/* length of that list */
	unsigned long nospace_seq;	/* counts when they should try again */
	bool scanning;			/* what is free is not known yet; read without */
	bool lower_full;		/* the image device itself has no space */
	bool commit_full;		/* not even for tables: commit_bios wait */
	bool flush_wanted;		/* by those that wait for clusters */
	bool lost;			/* writes: flushes fail until a suspend */
	bool told;			/* one of them has, since the last loss */
	bool suspending;		/* what fails now may not tell: qed_tell_lost() */
	unsigned int losses;		/* counts those that the guest is to be told of */

	mempool_t cell_pool;
	struct bio_set clones;		/* they have the vectors of the guest's bio */
	struct bio_set composed;	/* and these their own */

	/* Serialises changes of the mode, what depends on it, low_water events, growth. */
	struct mutex mode_mutex;
	bool no_space_expired;		/* who waits for space has waited too long */
	bool low_water_reached;

	/* Serialises load and unload of the metadata with messages. */
	struct mutex life_mutex;

	/* Under claims_mutex: */
	struct list_head claim;		/* if active, or if writes are lost */
	bool active;			/* the image is in use */
};

/**
 * struct qed_io - a bio of the guest that could not be mapped at once
 * @work: to go on with it
 * @qed: the target
 * @pending: bios below, and one for the work itself
 * @status: of the first of them that failed
 * @sync: complete it only after a commit and a flush
 * @lower_full: the image device has had no space for some of it: try all again
 * @doubt: so it said of a write with FUA, or of the flush that is a part of it: without FUA
 *	that is tried again at once, to tell
 * @refused: the image device does not write zeroes by itself: try all again
 * @wait: for space there before that
 * @retried: so it did once
 * @flush: it is at the image device as a flush or, mapped at once, with FUA
 * @under_way: there, and as long as @doubt lasts
 * @losses: of the target when it came; of flushes only
 * @end_io: the one to restore when the bio itself comes back from below
 * @cell: that it writes to then, or NULL
 * @hold: of the extent that the bio itself was mapped to, or NULL
 * @to: where that begins, if it was with FUA and at once
 * @iter: of the whole bio
 *
 * Its bio is advanced over what was submitted so far. Of a bio that could be mapped
 * at once only @hold, @flush and, if it writes, @iter are valid, and if it flushes
 * @under_way, @losses and, for a write with FUA, @to.
 */
struct qed_io {
	struct work_struct work;
	struct qed *qed;
	atomic_t pending;
	blk_status_t status;
	bool sync;
	bool lower_full;
	bool doubt;
	bool refused;
	bool wait;
	bool retried;
	bool flush;
	unsigned int losses;
	struct qed_flush under_way;
	bio_end_io_t *end_io;
	struct qed_cell *cell;
	struct percpu_ref *hold;
	sector_t to;
	struct bvec_iter iter;
};

static inline const char *qed_name(struct qed *qed)
{
	return dm_table_device_name(qed->ti->table);
}

static inline struct bio *io_bio(struct qed_io *io)
{
	return dm_bio_from_per_bio_data(io, sizeof(*io));
}

static inline struct qed_io *bio_io(struct bio *bio)
{
	return dm_per_bio_data(bio, sizeof(struct qed_io));
}

/* Discards, and zeroes to be written. Context: Any. */
static inline bool is_unmapping(struct bio *bio)
{
	return bio_op(bio) == REQ_OP_DISCARD ||
	       bio_op(bio) == REQ_OP_WRITE_ZEROES;
}

/* Are these zeroes to keep the space that they are written to? */
static inline bool keeps_space(struct bio *bio)
{
	return bio->bi_opf & REQ_NOUNMAP;
}

static inline enum qed_mode get_mode(struct qed *qed)
{
	return READ_ONCE(qed->mode);
}

static inline bool is_writable(struct qed *qed)
{
	return get_mode(qed) < QED_MODE_RO;
}

/* NEED_CHECK is cleared after so much time without an allocation */
#define QED_IDLE			(5 * HZ)

/* Something may set NEED_CHECK, or has: see to it that it is cleared. Context: Any. */
static inline void qed_want_idle(struct qed *qed)
{
	if (!delayed_work_pending(&qed->idle_work))
		queue_delayed_work(qed->commit_wq, &qed->idle_work, QED_IDLE);
}

#endif /* DM_QED_TARGET_H */
