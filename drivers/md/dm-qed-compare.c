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

/* Is it as on the device, for all that we have done? Caller holds the lock. */
static bool is_at_rest(struct qed_meta *meta, const struct qed_block *block)
{
	return !block->dirty && !meta->cache.nr_writing;
}

/* A commit may come and go while the block is read. */
static int compare_block(struct qed_meta *meta, const struct qed_block *block,
			 void *buffer)
{
	struct qed_cache *cache = &meta->cache;
	bool rest, same;
	u64 commits;
	int r;

	spin_lock_irq(&cache->lock);
	rest = is_at_rest(meta, block);
	commits = meta->commits;
	spin_unlock_irq(&cache->lock);
	if (!rest)
		return 0;

	r = qed_sync_io(meta, REQ_OP_READ, block->sector, buffer, QED_BLOCK_SIZE);
	if (r)
		return r;

	spin_lock_irq(&cache->lock);
	same = !is_at_rest(meta, block) || commits != meta->commits ||
	       !memcmp(block->entries, buffer, QED_BLOCK_SIZE);
	spin_unlock_irq(&cache->lock);
	if (same)
		return 0;
	DMERR("%s: the table block at sector %llu is not as it was",
	      meta->client->name, (unsigned long long)block->sector);
	return -EUCLEAN;
}

static int compare_l1(struct qed_meta *meta, void *buffer)
{
	int r = 0;
	u64 i;

	for (i = 0; i < meta->nr_l1_blocks && !r; i++) {
		cond_resched();
		r = compare_block(meta, meta->l1[i], buffer);
	}
	return r;
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

int qed_compare_tables(struct qed_meta *meta, void *buffer)
{
	unsigned long nr = 1UL << meta->cache.hash_bits, i;
	int r = compare_l1(meta, buffer);

	for (i = 0; i < nr && !r; i++) {
		cond_resched();
		r = compare_bucket(meta, i, buffer);
	}
	return r;
}
