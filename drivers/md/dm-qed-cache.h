/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The cache of table blocks.
 *
 * L2 blocks are found in a hash table under RCU, so that a lookup needs no lock.
 * Their number is limited; a shrinker gives back what is neither pinned nor
 * dirty, in second chance order. L1 blocks use the same structure but stay
 * outside the hash table, pinned for as long as the image is loaded.
 */

#ifndef DM_QED_CACHE_H
#define DM_QED_CACHE_H

#include <linux/list.h>
#include <linux/mempool.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/wait.h>

#include "dm-qed-geometry.h"

struct qed_cache;
struct shrinker;

/**
 * struct qed_block - a block of an L1 or L2 table
 * @hash: in the hash table, under RCU
 * @nr: number of the block among those of its level
 * @entries: QED_BLOCK_ENTRIES of them in one page, as they are on the device.
 *	Changed under the lock of the cache, read by anybody
 * @referenced: used since the last look of the second chance algorithm
 * @sector: where the block is on the device
 * @pins: users that need it to stay; under the lock
 * @dirty: differs from the device; under the lock
 * @ordered: has an entry whose target has to be stable before it; under the lock
 * @lru: in the order of eviction; under the lock
 * @dirty_list: among the blocks to commit; under the lock while @dirty
 * @commit_list: among the blocks of the running commit
 * @cache: it belongs to
 * @rcu: to free it
 */
struct qed_block {
	struct hlist_node hash;
	u64 nr;
	__le64 *entries;
	bool referenced;

	sector_t sector;
	unsigned int pins;
	bool dirty;
	bool ordered;
	struct list_head lru;
	struct list_head dirty_list;
	struct list_head commit_list;
	struct qed_cache *cache;
	struct rcu_head rcu;
};

/**
 * struct qed_cache - a cache of L2 blocks, and the list of all dirty blocks
 * @buckets: of the hash table
 * @hash_bits: log2 of their number
 * @lock: see there
 * @lru: all cached blocks; under the lock
 * @dirty: the dirty blocks, of the L1 too; under the lock
 * @nr_blocks: cached, or promised to qed_cache_alloc(); under the lock
 * @nr_dirty: length of @dirty; under the lock
 * @nr_writing: blocks of the running commit; under the lock
 * @max_blocks: limit of @nr_blocks
 * @stuck: dirty blocks cannot be written: who needs a block gets one over the
 *	limit; under the lock
 * @pool: of blocks, with a reserve that suffices to make progress
 * @wait: for a block to become free, or evictable
 * @shrinker: gives back blocks when the system asks for memory
 * @pressure: called when only a commit can make blocks evictable; any context
 */
struct qed_cache {
	struct hlist_head *buckets;
	unsigned int hash_bits;

	/*
	 * Protects what the comments above say. Taken in bio completion context.
	 * The lock of the target is outside, that of the space map never inside.
	 */
	spinlock_t lock;
	struct list_head lru;
	struct list_head dirty;
	unsigned long nr_blocks;
	unsigned long nr_dirty;
	unsigned long nr_writing;
	unsigned long max_blocks;
	bool stuck;

	mempool_t pool;
	wait_queue_head_t wait;
	struct shrinker *shrinker;
	void (*pressure)(struct qed_cache *cache);
};

/**
 * qed_cache_init() - make an empty cache
 * @cache: the cache
 * @max_blocks: its limit
 * @pressure: see struct qed_cache
 * @name: for the shrinker
 *
 * Context: Process context, may sleep.
 * Return: 0 or -ENOMEM.
 */
int qed_cache_init(struct qed_cache *cache, unsigned long max_blocks,
		   void (*pressure)(struct qed_cache *cache), const char *name);
void qed_cache_exit(struct qed_cache *cache);

/**
 * qed_cache_drop() - forget all blocks, dirty ones too
 * @cache: the cache, which nobody else uses now
 *
 * Context: Process context.
 */
void qed_cache_drop(struct qed_cache *cache);

/* The block if it is cached. Context: RCU read side, which it lasts for. */
struct qed_block *qed_cache_find(struct qed_cache *cache, u64 nr);

/* Pin the block if it is cached. Context: Any. */
struct qed_block *qed_cache_get(struct qed_cache *cache, u64 nr);
void qed_cache_put(struct qed_cache *cache, struct qed_block *block);

/* Wake those that wait for a block; to be called when one lost its last pin. */
static inline void qed_cache_wake(struct qed_cache *cache)
{
	if (wq_has_sleeper(&cache->wait))
		wake_up(&cache->wait);
}

/**
 * qed_cache_alloc() - get an unused block within the limit
 * @cache: the cache
 *
 * While the cache is stuck what is dirty stays, and may be all of it: then the block
 * is one over the limit, and the next to be evicted.
 *
 * Context: Process context; sleeps until a block can be evicted if it has to,
 * so the caller must not have one pinned.
 * Return: the block, pinned once, to be given to qed_cache_insert() or
 * qed_cache_discard(). Never fails.
 */
struct qed_block *qed_cache_alloc(struct qed_cache *cache);
void qed_cache_insert(struct qed_cache *cache, struct qed_block *block);
void qed_cache_discard(struct qed_cache *cache, struct qed_block *block);

/* A block of its own for the L1, pinned once. Context: Process, may sleep. */
struct qed_block *qed_l1_block_alloc(struct qed_cache *cache);
void qed_l1_block_free(struct qed_block *block);

/**
 * qed_cache_set_stuck() - can dirty blocks be written?
 * @cache: the cache, locked by the caller
 * @stuck: they cannot
 *
 * Context: Any.
 * Return: whether it was so before.
 */
bool qed_cache_set_stuck(struct qed_cache *cache, bool stuck);

/**
 * qed_cache_is_full() - is nothing more to be changed?
 * @cache: the cache, locked by the caller
 *
 * Context: Any.
 * Return: whether it is stuck, and full of what is dirty, or was before a commit that
 * is still trying.
 */
bool qed_cache_is_full(struct qed_cache *cache);

/**
 * qed_cache_forget() - drop a range of blocks, dirty ones too
 * @cache: the cache, locked by the caller
 * @first: number of the first block
 * @nr: number of blocks
 *
 * Context: Any; not while a commit has its hands on dirty blocks.
 * Return: false if one of them is pinned: all are still there.
 */
bool qed_cache_forget(struct qed_cache *cache, u64 first, u64 nr);

/**
 * qed_cache_dirty() - note that a block has to be committed
 * @cache: the cache, locked by the caller
 * @block: the block
 *
 * Context: Any.
 * Return: true if it is time for a commit.
 */
bool qed_cache_dirty(struct qed_cache *cache, struct qed_block *block);

int qed_cache_module_init(void);
void qed_cache_module_exit(void);

#endif /* DM_QED_CACHE_H */
