// SPDX-License-Identifier: GPL-2.0-only
/*
 * The L1 table, see dm-qed-l1.h.
 */

#include <linux/bio.h>
#include <linux/completion.h>
#include <linux/device-mapper.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "dm-qed-l1.h"

#define DM_MSG_PREFIX "qed"

/* Size of a read, in blocks */
#define QED_L1_READ		32

/* The reads of a table, on the stack of who waits for them */
struct qed_l1_reads {
	atomic_t pending;
	blk_status_t status;		/* of the first one that failed */
	struct completion done;
};

/*----------------------------------------------------------------
 * Reading
 *----------------------------------------------------------------
 */

static void l1_reads_put(struct qed_l1_reads *reads)
{
	if (atomic_dec_and_test(&reads->pending))
		complete(&reads->done);
}

static void l1_read_endio(struct bio *bio)
{
	struct qed_l1_reads *reads = bio->bi_private;

	if (bio->bi_status)
		cmpxchg(&reads->status, BLK_STS_OK, bio->bi_status);
	bio_put(bio);
	l1_reads_put(reads);
}

static int l1_alloc(struct qed_meta *meta)
{
	sector_t sector = qed_cluster_sector(&meta->geo, meta->geo.l1_first);
	struct qed_block *block;
	u64 i;

	meta->nr_l1_blocks = DIV_ROUND_UP_ULL(qed_guest_tables(&meta->geo),
					      QED_BLOCK_ENTRIES);
	meta->l1 = kvcalloc(meta->nr_l1_blocks, sizeof(*meta->l1), GFP_KERNEL);
	if (!meta->l1)
		return -ENOMEM;
	for (i = 0; i < meta->nr_l1_blocks; i++) {
		block = qed_l1_block_alloc(&meta->cache);
		if (!block)
			return -ENOMEM;
		block->nr = i;
		block->sector = sector + i * QED_BLOCK_SECTORS;
		meta->l1[i] = block;
	}
	return 0;
}

/* From the pool of commits: one has not begun. Those of filesystems may wait for us. */
static struct bio *l1_bio(struct qed_meta *meta, u64 first, unsigned int nr)
{
	struct bio *bio = bio_alloc_bioset(meta->bdev, nr, REQ_OP_READ | REQ_META,
					   GFP_NOIO, &meta->bs);
	unsigned int i;

	/* Blocks are adjacent on the device, and anywhere in memory. */
	bio->bi_iter.bi_sector = meta->l1[first]->sector;
	for (i = 0; i < nr; i++) {
		void *entries = meta->l1[first + i]->entries;

		__bio_add_page(bio, virt_to_page(entries), QED_BLOCK_SIZE,
			       offset_in_page(entries));
	}
	return bio;
}

static void l1_read_some(struct qed_meta *meta, struct qed_l1_reads *reads,
			 u64 first, unsigned int nr)
{
	struct bio *bio = l1_bio(meta, first, nr);

	bio->bi_end_io = l1_read_endio;
	bio->bi_private = reads;
	atomic_inc(&reads->pending);
	submit_bio(bio);
}

static int l1_read_blocks(struct qed_meta *meta)
{
	struct qed_l1_reads reads = {
		.pending = ATOMIC_INIT(1),
		.done = COMPLETION_INITIALIZER_ONSTACK(reads.done),
	};
	unsigned int nr;
	u64 first;

	for (first = 0; first < meta->nr_l1_blocks; first += nr) {
		nr = min_t(u64, meta->nr_l1_blocks - first, QED_L1_READ);
		l1_read_some(meta, &reads, first, nr);
	}
	l1_reads_put(&reads);
	wait_for_completion_io(&reads.done);
	if (!reads.status)
		return 0;
	DMERR("%s: cannot read the L1 table: error %d", meta->client->name,
	      blk_status_to_errno(reads.status));
	/* What the device calls it may mean something else here: ENOSPC */
	return -EIO;
}

/*----------------------------------------------------------------
 * Checking
 *----------------------------------------------------------------
 */

static const char *l1_defect(struct qed_meta *meta, u64 entry)
{
	u32 nr = meta->geo.table_clusters;
	const char *what = qed_entry_defect(&meta->geo, entry, nr);

	if (!what && (entry >> meta->geo.cluster_shift) + nr > meta->free_from)
		what = "is in the range that zeroed_from or the record says is not used";
	return what;
}

static void l1_check_block(struct qed_meta *meta, struct qed_block *block)
{
	u64 index = block->nr << QED_BLOCK_BITS;
	unsigned int i;

	for (i = 0; i < QED_BLOCK_ENTRIES; i++) {
		u64 entry = qed_entry_read(block, i);
		const char *what;

		if (entry == QED_ENTRY_UNALLOCATED)
			continue;
		what = l1_defect(meta, entry);
		if (!what)
			continue;
		qed_defect_l1(&meta->defects, &meta->geo, index + i, entry, what);
		qed_entry_write(block, i, QED_ENTRY_BAD);
	}
}

int qed_l1_read(struct qed_meta *meta, bool readonly)
{
	u64 i, defects;
	int r;

	r = l1_alloc(meta);
	if (!r)
		r = l1_read_blocks(meta);
	if (r)
		return r;
	for (i = 0; i < meta->nr_l1_blocks; i++) {
		l1_check_block(meta, meta->l1[i]);
		cond_resched();
	}
	defects = atomic64_read(&meta->defects.nr);
	if (!defects || readonly)
		return 0;
	DMERR("%s: %llu defects in the L1 table: run qed-fsck, or open it read_only",
	      meta->client->name, defects);
	return -EUCLEAN;
}

void qed_l1_free(struct qed_meta *meta)
{
	u64 i;

	for (i = 0; meta->l1 && i < meta->nr_l1_blocks; i++)
		qed_l1_block_free(meta->l1[i]);
	kvfree(meta->l1);
	meta->l1 = NULL;
}
