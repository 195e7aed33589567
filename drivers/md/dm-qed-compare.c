// SPDX-License-Identifier: GPL-2.0-only
/*
 * Are the tables on the image device those in memory? See dm-qed-compare.h.
 */

#include <linux/device-mapper.h>
#include <linux/sched.h>
#include <linux/string.h>

#include "dm-qed-compare.h"
#include "dm-qed-sync.h"

#define DM_MSG_PREFIX "qed"

/* A commit may come and go while the block is read, or still be writing what it took before. */
static int compare_block(struct qed_meta *meta, const struct qed_block *block,
			 void *buffer)
{
	struct qed_cache *cache = &meta->cache;
	bool rest, same;
	u64 taken;
	int r;

	spin_lock_irq(&cache->lock);
	rest = !block->dirty && !cache->nr_writing;
	taken = cache->nr_taken;
	spin_unlock_irq(&cache->lock);
	if (!rest)
		return 0;

	r = qed_sync_io(meta, REQ_OP_READ, block->sector, buffer, QED_BLOCK_SIZE);
	if (r)
		return r;

	spin_lock_irq(&cache->lock);
	same = block->dirty || taken != cache->nr_taken ||
	       !memcmp(block->entries, buffer, QED_BLOCK_SIZE);
	spin_unlock_irq(&cache->lock);
	if (same)
		return 0;
	DMERR("%s: the table block at sector %llu is not as it was",
	      meta->client->name, (unsigned long long)block->sector);
	return -EUCLEAN;
}

static int compare_bucket(struct qed_meta *meta, unsigned long nr, void *buffer)
{
	struct qed_block *block;
	u64 from = 0;
	int r = 0;

	while (!r && (block = qed_cache_next(&meta->cache, nr, from))) {
		from = block->nr + 1;
		r = compare_block(meta, block, buffer);
		qed_cache_put(&meta->cache, block);
	}
	return r;
}

/* How many places there are: the blocks of the L1 table, and then buckets of the cache. */
static u64 nr_places(struct qed_meta *meta)
{
	return meta->nr_l1_blocks + (1ULL << meta->cache.hash_bits);
}

static int compare_place(struct qed_meta *meta, u64 i, void *buffer)
{
	cond_resched();
	return i < meta->nr_l1_blocks ?
	       compare_block(meta, meta->l1[i], buffer) :
	       compare_bucket(meta, i - meta->nr_l1_blocks, buffer);
}

int qed_compare_tables(struct qed_meta *meta, void *buffer)
{
	u64 nr = nr_places(meta), i;
	int r = 0;

	for (i = 0; i < nr && !r; i++)
		r = compare_place(meta, i, buffer);
	return r;
}

int qed_compare_some(struct qed_meta *meta, void *buffer)
{
	u64 nr = min_t(u64, nr_places(meta), QED_COMPARE_SOME), i;
	int r = 0;

	for (i = 0; i < nr && !r; i++) {
		if (meta->compare_next >= nr_places(meta))
			meta->compare_next = 0;
		r = compare_place(meta, meta->compare_next++, buffer);
	}
	return r;
}
