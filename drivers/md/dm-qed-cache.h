/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The cache of table blocks.
 *
 * L2 blocks are found in a hash table under RCU, so that a lookup needs no lock.
 * Their number is limited. Those that are neither pinned nor dirty are idle; they
 * are evicted in second chance order for who needs a block, or by a shrinker. L1
 * blocks use the same structure but stay outside the hash table, pinned for as long
 * as the image is loaded.
 */

#ifndef DM_QED_CACHE_H
#define DM_QED_CACHE_H

#include <linux/atomic.h>
#include <linux/compiler.h>
#include <linux/list.h>
#include <linux/lockdep.h>
#include <linux/mempool.h>
#include <linux/spinlock.h>
#include <linux/types.h>

#include "dm-qed-geometry.h"

struct qed_cache;
struct shrinker;

/**
 * struct qed_block - a block of an L1 or L2 table
 * @hash: in the hash table, under RCU
 * @nr: number of the block among those of its level
 * @entries: QED_BLOCK_ENTRIES of them, as they are on the device. Changed under
 *	the lock of the cache, read by anybody
 * @referenced: used since the last look of the second chance algorithm
 * @sector: where the block is on the device
 * @pins: users that need it to stay; under the lock
 * @dirty: differs from the device; under the lock, changed by who has it pinned
 * @ordered: has an entry whose target has to be stable before it; under the lock
 * @lru: among the idle blocks of the cache, or empty; under the lock
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

/* So many blocks are dropped with one hold of the lock. */
#define QED_FORGET_REST		128

/**
 * struct qed_forget - a range of blocks that is about to be dropped
 * @first: number of the first one
 * @nr: number of blocks
 * @inserted: there may be another one than those of @rest
 * @full: there are more dirty ones than @rest has room for
 * @nr_rest: number of those of @rest
 * @rest: the dirty ones
 *
 * Under the lock of the cache.
 */
struct qed_forget {
	u64 first;
	u64 nr;
	bool inserted;
	bool full;
	unsigned int nr_rest;
	struct qed_block *rest[QED_FORGET_REST];
};

/**
 * qed_entry_read() - read an entry of a table
 * @block: the block
 * @i: number of the entry in it
 *
 * In one piece: never the halves of two entries, on 32-bit machines neither.
 *
 * Context: Any. Another one may be there at once, unless the lock of the cache is held.
 * Return: the entry.
 */
static inline u64 qed_entry_read(const struct qed_block *block, unsigned int i)
{
#ifdef CONFIG_64BIT
	return le64_to_cpu(READ_ONCE(block->entries[i]));
#else
	const void *entry = &block->entries[i];

	return le64_to_cpu((__force __le64)atomic64_read(entry));
#endif
}

/* Write one, for qed_entry_read(). Context: Any, with the lock of the cache held. */
static inline void qed_entry_write(struct qed_block *block, unsigned int i,
				   u64 value)
{
#ifdef CONFIG_64BIT
	WRITE_ONCE(block->entries[i], cpu_to_le64(value));
#else
	void *entry = &block->entries[i];

	atomic64_set(entry, (__force s64)cpu_to_le64(value));
#endif
}

/**
 * struct qed_cache - a cache of L2 blocks, and the list of all dirty blocks
 * @buckets: of the hash table
 * @hash_bits: log2 of their number
 * @lock: see there
 * @lru: the idle blocks, the next to be evicted first; under the lock
 * @dirty: the dirty blocks, of the L1 too; under the lock
 * @nr_idle: length of @lru; under the lock
 * @nr_blocks: cached, or promised to qed_cache_alloc(); under the lock
 * @nr_dirty: length of @dirty; under the lock
 * @nr_writing: blocks of the running commit; under the lock
 * @nr_taken: blocks that commits have ever taken; under the lock
 * @max_blocks: limit of @nr_blocks
 * @commit_at: with so many dirty blocks it is time for a commit
 * @stuck: dirty blocks cannot be written: who needs a block gets one over the
 *	limit; under the lock
 * @waiters: who waits for one of the blocks that @max_blocks allows, first come
 *	first served; under the lock
 * @starving: number of those that have got one, and wait for its memory; under
 *	the lock
 * @forget: range that is about to be dropped, or NULL; under the lock
 * @pool: of blocks, with a reserve that suffices to make progress
 * @shrinker: gives back blocks when the system asks for memory
 * @pressure: called when somebody waits for what a commit would make idle; any
 *	context, without the lock
 */
struct qed_cache {
	struct hlist_head *buckets;
	unsigned int hash_bits;

	/*
	 * Protects what the comments above say. Taken in bio completion context.
	 * The lock of the target is outside; inside are those of the reclaim and
	 * of the space map, none of which is taken with the other one held.
	 */
	spinlock_t lock;
	struct list_head lru;
	struct list_head dirty;
	unsigned long nr_idle;
	unsigned long nr_blocks;
	unsigned long nr_dirty;
	unsigned long nr_writing;
	u64 nr_taken;
	unsigned long max_blocks;
	unsigned long commit_at;
	bool stuck;
	struct list_head waiters;
	unsigned int starving;
	struct qed_forget *forget;

	mempool_t pool;
	struct shrinker *shrinker;
	void (*pressure)(struct qed_cache *cache);
};

/**
 * qed_cache_init() - make an empty cache, for qed_cache_set_limit()
 * @cache: the cache
 * @pressure: see struct qed_cache
 * @name: for the shrinker
 *
 * Context: Process context, may sleep.
 * Return: 0 or -ENOMEM.
 */
int qed_cache_init(struct qed_cache *cache,
		   void (*pressure)(struct qed_cache *cache), const char *name);
void qed_cache_exit(struct qed_cache *cache);

/**
 * qed_cache_set_limit() - make room for so many blocks
 * @cache: the cache, empty, which nobody uses now
 * @nr: number of L2 blocks of the image
 * @max_blocks: how many of them may be cached
 *
 * Context: Process context, may sleep.
 * Return: 0 or -ENOMEM: the limit is what it was.
 */
int qed_cache_set_limit(struct qed_cache *cache, u64 nr,
			unsigned long max_blocks);

/**
 * qed_cache_drop() - forget all blocks, dirty ones too
 * @cache: the cache, which nobody else uses now
 *
 * Those of the L1 are to be freed next.
 *
 * Context: Process context, may sleep.
 */
void qed_cache_drop(struct qed_cache *cache);

/* The block if it is cached. Context: RCU read side, which it lasts for. */
struct qed_block *qed_cache_find(struct qed_cache *cache, u64 nr);

/* Pin the block if it is cached. Context: Any. */
struct qed_block *qed_cache_get(struct qed_cache *cache, u64 nr);

/*
 * Pin the first block from @from on that is in this bucket, or return NULL. Context:
 * Process, may sleep.
 */
struct qed_block *qed_cache_next(struct qed_cache *cache, unsigned long bucket,
				 u64 from);
void qed_cache_put(struct qed_cache *cache, struct qed_block *block);

/* Context: Any, caller holds the lock. */
void qed_block_pin(struct qed_block *block);

/**
 * qed_block_unpin() - give up a pin
 * @block: the block, idle from now on if it was the last pin and it is not dirty
 *
 * Context: Any, caller holds the lock of the cache.
 * Return: whether it was the last pin: then qed_cache_wake() has to follow.
 */
bool qed_block_unpin(struct qed_block *block);

/* What is being written is not dirty. Context: Any, caller holds lock and pin. */
void qed_block_clean(struct qed_block *block);

void __qed_cache_wake(struct qed_cache *cache);

/**
 * qed_cache_wake() - serve those that wait for a block
 * @cache: the cache
 *
 * Has to follow whatever makes blocks idle or makes room for them, or leaves a block
 * dirty with no pin, for it is asked for a commit then.
 *
 * Context: Any, without the lock.
 */
static inline void qed_cache_wake(struct qed_cache *cache)
{
	/* Who began to wait before has done so under the lock. */
	if (!list_empty(&cache->waiters) || READ_ONCE(cache->starving))
		__qed_cache_wake(cache);
}

/**
 * qed_cache_alloc() - get an unused block within the limit
 * @cache: the cache
 *
 * While the cache is stuck what is dirty stays, and may be all of it: then the block
 * is one over the limit, and the next to be evicted.
 *
 * Context: Process context; sleeps until a block is idle if it has to, so the caller
 * must not have one pinned.
 * Return: the block, pinned once, to be given to qed_cache_insert() or
 * qed_cache_discard(). Never fails.
 */
struct qed_block *qed_cache_alloc(struct qed_cache *cache);
void qed_cache_insert(struct qed_cache *cache, struct qed_block *block);
void qed_cache_discard(struct qed_cache *cache, struct qed_block *block);

/*
 * Memory for the entries of a block, for mempools. Context: as @gfp says. It may be
 * a part of a page, and belong to a slab.
 */
void *qed_entries_alloc(gfp_t gfp, void *data);
void qed_entries_free(void *entries, void *data);

/* A block of its own for the L1, pinned once. Context: Process, may sleep. */
struct qed_block *qed_l1_block_alloc(struct qed_cache *cache);
void qed_l1_block_free(struct qed_block *block);

/**
 * qed_cache_set_stuck() - can dirty blocks be written?
 * @cache: the cache, locked by the caller
 * @stuck: they cannot
 *
 * Context: Any; qed_cache_wake() has to follow.
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
 * qed_cache_forget_begin() - prepare to drop a range of blocks
 * @cache: the cache
 * @forget: lasts until qed_cache_forget_end(), which has to follow in any case
 * @first: number of the first block
 * @nr: number of blocks
 *
 * Evicts the clean ones, in short steps, and takes note of the dirty ones.
 *
 * Context: Process context; one range at a time, not while a commit has its hands on
 * dirty blocks, nor must one begin before qed_cache_forget_end().
 * Return: false if one of them is pinned, or more than QED_FORGET_REST are dirty:
 * these stay.
 */
bool qed_cache_forget_begin(struct qed_cache *cache, struct qed_forget *forget,
			    u64 first, u64 nr);

/**
 * qed_cache_forget() - drop what is left of the range of blocks
 * @cache: the cache, locked by the caller
 * @forget: what qed_cache_forget_begin() has returned true for
 *
 * Context: Any.
 * Return: false if one of the blocks is pinned or has been read again: all that are
 * there stay. Otherwise none is left.
 */
bool qed_cache_forget(struct qed_cache *cache, struct qed_forget *forget);
void qed_cache_forget_end(struct qed_cache *cache);

/**
 * qed_cache_dirty() - note that a block has to be committed
 * @cache: the cache, locked by the caller
 * @block: the block, pinned
 *
 * Context: Any.
 * Return: true if it is time for a commit.
 */
bool qed_cache_dirty(struct qed_cache *cache, struct qed_block *block);

int qed_cache_module_init(void);
void qed_cache_module_exit(void);

#endif /* DM_QED_CACHE_H */
