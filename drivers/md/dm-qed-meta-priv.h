/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The metadata as its rooms see it.
 *
 * dm-qed-meta loads and unloads it, the L1 table by way of dm-qed-l1, and what is known of
 * free space by way of dm-qed-survey; dm-qed-resize, dm-qed-walk and dm-qed-commit work on
 * all of it; these use dm-qed-table, which reads, makes and changes L2 tables;
 * dm-qed-lookup only looks at them; dm-qed-header says when anything may be changed at all.
 * Below these are the cache, the space map, the trim and the reclaim.
 */

#ifndef DM_QED_META_PRIV_H
#define DM_QED_META_PRIV_H

#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/mempool.h>
#include <linux/mutex.h>
#include <linux/rbtree.h>
#include <linux/workqueue.h>

#include "dm-qed-cache.h"
#include "dm-qed-check.h"
#include "dm-qed-flush.h"
#include "dm-qed-geometry.h"
#include "dm-qed-meta.h"
#include "dm-qed-owner.h"
#include "dm-qed-reclaim.h"
#include "dm-qed-scan.h"
#include "dm-qed-trim.h"

/* In memory only: an entry of a defective table opened for reading */
#define QED_ENTRY_BAD		2ULL

/* Copies and bios of a commit that can be had without memory */
#define QED_COMMIT_COPIES	2

#define QED_COMMIT_BIOS		1

#define QED_TABLE_LOCKS		32

/* The most that the cache takes by itself, in bytes */
#define QED_MAX_AUTO_CACHE	SZ_32M

/**
 * enum qed_txn - how far the mappings in memory have come
 * @QED_TXN_DURABLE: all of them are on stable storage
 * @QED_TXN_WRITTEN: all of them were written, and need a flush
 * @QED_TXN_DIRTY: there are dirty blocks, or some are being written
 * @QED_TXN_FAILED: some will never be written
 */
enum qed_txn {
	QED_TXN_DURABLE,
	QED_TXN_WRITTEN,
	QED_TXN_DIRTY,
	QED_TXN_FAILED,
};

struct qed_meta {
	/* What a lookup needs; constant while loaded. */
	struct qed_geometry geo;
	struct qed_block **l1;		/* blocks of the L1 table */
	struct qed_cache cache;
	struct qed_reclaim reclaim;	/* of clusters that are unmapped */
	struct qed_trim trim;		/* of those that are free */

	/*
	 * Changed under cache.lock, read without: see qed_meta_is_durable().
	 */
	enum qed_txn txn;

	struct block_device *bdev;
	struct qed_meta_client *client;
	unsigned int cache_kib;		/* 0: as the disk needs it */
	struct qed_flushes flushes;	/* of the image device */
	u64 nr_l1_blocks;		/* of the guest's disk */
	struct qed_space *space;	/* pointer changed under cache.lock */
	bool loaded;			/* changed under commit_mutex */
	bool running;			/* loaded, and not paused; likewise */

	/* The rest of these flags and counters is under cache.lock. */
	bool frozen;			/* nothing is written any more */
	bool doubtful;			/* no more commits: data may be lost */
	bool marked;			/* NEED_CHECK is known to be durable */
	bool touched;			/* free clusters are not as they were */
	bool unsure;			/* NEED_CHECK was set, and nothing is known yet */
	bool known;			/* the tables have been scanned */
	bool scanning;			/* they are, in the background; read without */
	unsigned long changes;		/* qed_meta_begin() without end */
	unsigned long last_change;	/* jiffies */
	u64 mapped;			/* guest clusters with a data cluster */
	u32 *tables;			/* data clusters of each L2 table */
	unsigned long *empty;		/* bit set: it has none any more */
	u64 nr_empty;			/* bits set there */
	u64 nr_entered;			/* clusters that tables ever got */
	u64 nr_others;			/* used, and not by tables of the disk */
	struct qed_check check;
	u64 commits;
	struct rb_root loading;		/* blocks being read, by number */

	/* Makes a commit one at a time; taken before header_mutex. */
	struct mutex commit_mutex;
	/* Under it: */
	unsigned long begun;		/* commits with a flush; read without */
	unsigned long made;		/* the last of them that has succeeded */
	struct qed_forget forget;	/* a table without data */
	bool again;			/* this round is one for such tables */

	/* Serialises writes of the header, and protects what is in memory of it. */
	struct mutex header_mutex;
	struct qed_header *header;	/* a block, as it is on the device */
	struct qed_header *next;	/* another, just read, or to be written */
	struct qed_record record;	/* as found, and then as it is to be written */
	bool recorded;			/* one was found, and holds; of the load alone */
	bool recording;			/* one is written */
	bool had;			/* somebody else has had the image since the load */
	u64 compare_next;		/* of its tables, see qed_compare_some() */
	bool needs_check;		/* NEED_CHECK is set, or may be; read without */
	struct qed_owner owner;		/* on the list while loaded to write */
	/* By index of the L1 entry: serialise the creation of its table. */
	struct mutex table_mutex[QED_TABLE_LOCKS];

	mempool_t copies;		/* of entries of blocks being written */
	struct bio_set bs;		/* and their bios */

	struct workqueue_struct *scan_wq;
	struct delayed_work scan_work;	/* there */
	atomic64_t scan_next;		/* L2 block that it has come to */
	struct work_struct check_work;	/* walks through the tables, elsewhere ... */
	struct work_struct result_work;	/* ... and counts, while nothing is reclaimed */
	bool scan_stop;			/* ends both */
	u64 free_from;			/* known without a scan; or U64_MAX */
	struct qed_defects defects;	/* found while loaded */
};

/* Read once: it changes at any time. */
static inline u64 l1_entry(struct qed_meta *meta, u64 index)
{
	return qed_entry_read(meta->l1[index >> QED_BLOCK_BITS],
			   index % QED_BLOCK_ENTRIES);
}

static inline enum qed_extent_kind entry_kind(u64 entry)
{
	if (likely(entry > QED_ENTRY_BAD))
		return QED_EXTENT_DATA;
	if (entry == QED_ENTRY_UNALLOCATED)
		return QED_EXTENT_HOLE;
	return entry == QED_ENTRY_ZERO ? QED_EXTENT_ZERO : QED_EXTENT_BAD;
}

static inline unsigned int cluster_sectors(struct qed_meta *meta)
{
	return 1U << (meta->geo.cluster_shift - SECTOR_SHIFT);
}

/* log2 of the number of blocks of a table */
static inline unsigned int table_blocks_bits(struct qed_meta *meta)
{
	return meta->geo.table_shift - QED_BLOCK_BITS;
}

#endif /* DM_QED_META_PRIV_H */
