// SPDX-License-Identifier: GPL-2.0-only
/*
 * The cache of table blocks, see dm-qed-cache.h.
 */

#include <linux/completion.h>
#include <linux/err.h>
#include <linux/gfp.h>
#include <linux/hash.h>
#include <linux/log2.h>
#include <linux/minmax.h>
#include <linux/rculist.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "dm-qed-compat.h"
#include "dm-qed-cache.h"

/* Blocks that can be had when the system has no memory left */
#define QED_BLOCK_RESERVE	4

/* Blocks to evict with the lock held */
#define QED_EVICT_BATCH		8

/*
 * Blocks that get a second chance before the next one has none. The fewer, the more
 * of the cache is left to blocks that are used once, at most one in so many.
 */
#define QED_EVICT_CHANCES	32

/* A bucket for each block of the limit, up to 4 GiB of blocks: 8 MiB */
#define QED_MAX_HASH_BITS	20

/* Blocks to look for, and to remove, with the lock held */
#define QED_FORGET_STEP		64

static struct kmem_cache *block_slab;
static struct kmem_cache *entries_slab;	/* where a page is more than a block */

/* Somebody who waits for a block, on its stack */
struct qed_waiter {
	struct list_head list;
	struct completion done;
};

/*----------------------------------------------------------------
 * Memory of blocks
 *----------------------------------------------------------------
 */

/*
 * Whole pages where they have the size of a block: each that is evicted is a free
 * page. Elsewhere parts of pages: a slab's, as XFS has them in its bios, too. Drivers
 * that give pages to the network ask sendpage_ok() before.
 */
void *qed_entries_alloc(gfp_t gfp, void *data)
{
	if (PAGE_SIZE == QED_BLOCK_SIZE)
		return (void *)__get_free_page(gfp);
	return kmem_cache_alloc(entries_slab, gfp);
}

void qed_entries_free(void *entries, void *data)
{
	if (PAGE_SIZE == QED_BLOCK_SIZE)
		free_page((unsigned long)entries);
	else
		kmem_cache_free(entries_slab, entries);
}

static void *block_alloc(gfp_t gfp, void *data)
{
	struct qed_block *block = kmem_cache_alloc(block_slab, gfp);

	if (!block)
		return NULL;
	block->entries = qed_entries_alloc(gfp, NULL);
	if (!block->entries) {
		kmem_cache_free(block_slab, block);
		return NULL;
	}
	return block;
}

static void block_free(void *element, void *data)
{
	struct qed_block *block = element;

	qed_entries_free(block->entries, NULL);
	kmem_cache_free(block_slab, block);
}

static void block_init(struct qed_cache *cache, struct qed_block *block)
{
	INIT_HLIST_NODE(&block->hash);
	block->referenced = true;
	block->pins = 1;
	block->dirty = false;
	block->ordered = false;
	INIT_LIST_HEAD(&block->lru);
	block->cache = cache;
}

static void block_free_rcu(struct rcu_head *head)
{
	struct qed_block *block = container_of(head, struct qed_block, rcu);

	mempool_free(block, &block->cache->pool);
}

struct qed_block *qed_l1_block_alloc(struct qed_cache *cache)
{
	struct qed_block *block = block_alloc(GFP_KERNEL, NULL);

	if (block)
		block_init(cache, block);
	return block;
}

void qed_l1_block_free(struct qed_block *block)
{
	if (block)
		block_free(block, NULL);
}

/*----------------------------------------------------------------
 * Eviction
 *----------------------------------------------------------------
 */

/* Caller holds the lock. */
static void leave_lru(struct qed_block *block)
{
	if (list_empty(&block->lru))
		return;
	list_del_init(&block->lru);
	WRITE_ONCE(block->cache->nr_idle, block->cache->nr_idle - 1);
}

/* Caller holds the lock. */
static void remove(struct qed_cache *cache, struct qed_block *block)
{
	hlist_del_rcu(&block->hash);
	leave_lru(block);
	cache->nr_blocks--;
	call_rcu(&block->rcu, block_free_rcu);
}

/*
 * Evict idle blocks, however busy their readers are if all of them are in use.
 * Caller holds the lock. Returns their number.
 */
static unsigned long evict(struct qed_cache *cache, unsigned long nr)
{
	unsigned int chances = QED_EVICT_CHANCES;
	unsigned long evicted = 0;
	struct qed_block *block;

	nr = min_t(unsigned long, nr, QED_EVICT_BATCH);
	while (evicted < nr && !list_empty(&cache->lru)) {
		block = list_first_entry(&cache->lru, struct qed_block, lru);
		if (READ_ONCE(block->referenced) && chances) {
			chances--;
			WRITE_ONCE(block->referenced, false);
			list_move_tail(&block->lru, &cache->lru);
			continue;
		}
		remove(cache, block);
		evicted++;
	}
	return evicted;
}

static unsigned long shrink_count(struct shrinker *shrinker,
				  struct shrink_control *sc)
{
	struct qed_cache *cache = qed_shrinker_data(shrinker);

	return READ_ONCE(cache->nr_idle) ?: SHRINK_EMPTY;
}

static unsigned long shrink_scan(struct shrinker *shrinker,
				 struct shrink_control *sc)
{
	struct qed_cache *cache = qed_shrinker_data(shrinker);
	unsigned long evicted = 0, nr;

	do {
		spin_lock_irq(&cache->lock);
		nr = evict(cache, sc->nr_to_scan - evicted);
		spin_unlock_irq(&cache->lock);
		evicted += nr;
	} while (nr && evicted < sc->nr_to_scan);
	return evicted ? evicted : SHRINK_STOP;
}

/*----------------------------------------------------------------
 * Blocks in use
 *----------------------------------------------------------------
 */

static struct hlist_head *bucket(struct qed_cache *cache, u64 nr)
{
	return cache->buckets + hash_64(nr, cache->hash_bits);
}

struct qed_block *qed_cache_find(struct qed_cache *cache, u64 nr)
{
	struct qed_block *block;

	hlist_for_each_entry_rcu(block, bucket(cache, nr), hash,
				 lockdep_is_held(&cache->lock)) {
		if (block->nr != nr)
			continue;
		if (!READ_ONCE(block->referenced))
			WRITE_ONCE(block->referenced, true);
		return block;
	}
	return NULL;
}

void qed_block_pin(struct qed_block *block)
{
	lockdep_assert_held(&block->cache->lock);

	block->pins++;
	leave_lru(block);
}

bool qed_block_unpin(struct qed_block *block)
{
	struct qed_cache *cache = block->cache;

	lockdep_assert_held(&cache->lock);

	if (--block->pins)
		return false;
	if (!block->dirty) {
		list_add_tail(&block->lru, &cache->lru);
		WRITE_ONCE(cache->nr_idle, cache->nr_idle + 1);
	}
	return true;
}

void qed_block_clean(struct qed_block *block)
{
	struct qed_cache *cache = block->cache;

	lockdep_assert_held(&cache->lock);

	list_del(&block->dirty_list);
	block->dirty = false;
	cache->nr_dirty--;
}

struct qed_block *qed_cache_next(struct qed_cache *cache, unsigned long bucket,
				 u64 from)
{
	struct qed_block *block, *next = NULL;

	spin_lock_irq(&cache->lock);
	hlist_for_each_entry(block, &cache->buckets[bucket], hash)
		if (block->nr >= from && (!next || block->nr < next->nr))
			next = block;
	if (next)
		qed_block_pin(next);
	spin_unlock_irq(&cache->lock);
	return next;
}

struct qed_block *qed_cache_get(struct qed_cache *cache, u64 nr)
{
	struct qed_block *block;
	unsigned long flags;

	spin_lock_irqsave(&cache->lock, flags);
	block = qed_cache_find(cache, nr);
	if (block)
		qed_block_pin(block);
	spin_unlock_irqrestore(&cache->lock, flags);
	return block;
}

void qed_cache_put(struct qed_cache *cache, struct qed_block *block)
{
	unsigned long flags;
	bool unused;

	spin_lock_irqsave(&cache->lock, flags);
	unused = qed_block_unpin(block);
	spin_unlock_irqrestore(&cache->lock, flags);
	if (unused)
		qed_cache_wake(cache);
}

/*----------------------------------------------------------------
 * Waiting for blocks
 *----------------------------------------------------------------
 */

/*
 * Promise a block to somebody. Caller holds the lock. Returns false if none is idle
 * and no more are allowed.
 */
static bool make_room(struct qed_cache *cache)
{
	if (cache->nr_blocks >= cache->max_blocks &&
	    !evict(cache, cache->nr_blocks - cache->max_blocks + 1) &&
	    !cache->stuck)
		return false;
	cache->nr_blocks++;
	return true;
}

/* Caller holds the lock. Returns whether there may be more to do. */
static bool serve(struct qed_cache *cache)
{
	struct qed_waiter *waiter;

	/* The memory of blocks that are evicted comes by way of the pool. */
	if (cache->starving)
		evict(cache, cache->starving);
	waiter = list_first_entry_or_null(&cache->waiters, struct qed_waiter,
					  list);
	if (!waiter || !make_room(cache))
		return false;
	list_del(&waiter->list);
	complete(&waiter->done);
	return true;
}

/* Caller holds the lock. Who waits for what is pinned needs no commit. */
static bool needs_commit(struct qed_cache *cache)
{
	return (!list_empty(&cache->waiters) || cache->starving) &&
	       cache->nr_dirty;
}

void __qed_cache_wake(struct qed_cache *cache)
{
	unsigned long flags;
	bool more, commit;

	do {
		spin_lock_irqsave(&cache->lock, flags);
		more = serve(cache);
		commit = needs_commit(cache);
		spin_unlock_irqrestore(&cache->lock, flags);
	} while (more);

	if (commit)
		cache->pressure(cache);
}

/* Wait until a block is promised to us. Nobody overtakes those who wait. */
static void wait_for_room(struct qed_cache *cache)
{
	struct qed_waiter waiter = {
		.done = COMPLETION_INITIALIZER_ONSTACK(waiter.done),
	};
	bool room, commit;

	spin_lock_irq(&cache->lock);
	room = list_empty(&cache->waiters) && make_room(cache);
	if (!room)
		list_add_tail(&waiter.list, &cache->waiters);
	commit = needs_commit(cache);
	spin_unlock_irq(&cache->lock);
	if (room)
		return;

	if (commit)
		cache->pressure(cache);
	wait_for_completion(&waiter.done);
}

/* Until there is some, what becomes idle is evicted at once. */
static struct qed_block *wait_for_memory(struct qed_cache *cache)
{
	struct qed_block *block;

	spin_lock_irq(&cache->lock);
	WRITE_ONCE(cache->starving, cache->starving + 1);
	spin_unlock_irq(&cache->lock);
	qed_cache_wake(cache);
	block = mempool_alloc(&cache->pool, GFP_NOIO);
	spin_lock_irq(&cache->lock);
	WRITE_ONCE(cache->starving, cache->starving - 1);
	spin_unlock_irq(&cache->lock);
	return block;
}

struct qed_block *qed_cache_alloc(struct qed_cache *cache)
{
	struct qed_block *block;

	wait_for_room(cache);
	block = mempool_alloc(&cache->pool, GFP_NOWAIT | __GFP_NOWARN);
	if (!block)
		block = wait_for_memory(cache);
	block_init(cache, block);
	return block;
}

void qed_cache_insert(struct qed_cache *cache, struct qed_block *block)
{
	struct qed_forget *forget;

	spin_lock_irq(&cache->lock);
	forget = cache->forget;
	if (forget && block->nr - forget->first < forget->nr)
		forget->inserted = true;
	hlist_add_head_rcu(&block->hash, bucket(cache, block->nr));
	spin_unlock_irq(&cache->lock);
}

void qed_cache_discard(struct qed_cache *cache, struct qed_block *block)
{
	spin_lock_irq(&cache->lock);
	cache->nr_blocks--;
	spin_unlock_irq(&cache->lock);
	mempool_free(block, &cache->pool);
	qed_cache_wake(cache);
}

/*----------------------------------------------------------------
 * Dirty blocks
 *----------------------------------------------------------------
 */

bool qed_cache_set_stuck(struct qed_cache *cache, bool stuck)
{
	bool before = cache->stuck;

	lockdep_assert_held(&cache->lock);

	cache->stuck = stuck;
	return before;
}

bool qed_cache_is_full(struct qed_cache *cache)
{
	lockdep_assert_held(&cache->lock);

	return cache->stuck &&
	       cache->nr_dirty + cache->nr_writing >= cache->max_blocks;
}

/* The step of qed_cache_forget_begin() for one block. Returns false if it stays. */
static bool try_forget(struct qed_cache *cache, struct qed_forget *forget,
		       struct qed_block *block)
{
	if (block->pins)
		return false;
	if (!block->dirty) {
		remove(cache, block);
		return true;
	}
	if (forget->nr_rest == QED_FORGET_REST) {
		forget->full = true;
		return false;
	}
	forget->rest[forget->nr_rest++] = block;
	return true;
}

bool qed_cache_forget_begin(struct qed_cache *cache, struct qed_forget *forget,
			    u64 first, u64 nr)
{
	u64 end = first + nr, step;
	struct qed_block *block;
	bool good = true;

	forget->first = first;
	forget->nr = nr;
	forget->nr_rest = 0;
	forget->inserted = false;
	forget->full = false;
	spin_lock_irq(&cache->lock);
	cache->forget = forget;
	while (good && first < end) {
		for (step = min(end, first + QED_FORGET_STEP); good && first < step;
		     first++) {
			block = qed_cache_find(cache, first);
			good = !block || try_forget(cache, forget, block);
		}
		spin_unlock_irq(&cache->lock);
		cond_resched();
		spin_lock_irq(&cache->lock);
	}
	spin_unlock_irq(&cache->lock);
	return good;
}

bool qed_cache_forget(struct qed_cache *cache, struct qed_forget *forget)
{
	unsigned int i;

	lockdep_assert_held(&cache->lock);

	if (forget->inserted)
		return false;
	for (i = 0; i < forget->nr_rest; i++)
		if (forget->rest[i]->pins)
			return false;
	for (i = 0; i < forget->nr_rest; i++) {
		list_del(&forget->rest[i]->dirty_list);
		cache->nr_dirty--;
		remove(cache, forget->rest[i]);
	}
	return true;
}

void qed_cache_forget_end(struct qed_cache *cache)
{
	spin_lock_irq(&cache->lock);
	cache->forget = NULL;
	spin_unlock_irq(&cache->lock);
	/* Somebody may wait for the room that the blocks have taken. */
	qed_cache_wake(cache);
}

bool qed_cache_dirty(struct qed_cache *cache, struct qed_block *block)
{
	lockdep_assert_held(&cache->lock);

	if (!block->dirty) {
		block->dirty = true;
		list_add_tail(&block->dirty_list, &cache->dirty);
		cache->nr_dirty++;
	}
	return cache->nr_dirty >= cache->commit_at;
}

/*----------------------------------------------------------------
 * Construction
 *----------------------------------------------------------------
 */

int qed_cache_set_limit(struct qed_cache *cache, u64 nr,
			unsigned long max_blocks)
{
	unsigned int bits = clamp(ilog2(roundup_pow_of_two(max_blocks)), 1,
				  QED_MAX_HASH_BITS);
	struct hlist_head *buckets, *old = cache->buckets;

	buckets = kvcalloc(1UL << bits, sizeof(*buckets), GFP_KERNEL);
	if (!buckets)
		return -ENOMEM;

	spin_lock_irq(&cache->lock);
	cache->buckets = buckets;
	cache->hash_bits = bits;
	cache->max_blocks = max_blocks;
	/* Where all have room, nobody waits for one that is dirty. */
	cache->commit_at = nr > max_blocks ? max(max_blocks / 2, 1UL) :
					     ULONG_MAX;
	spin_unlock_irq(&cache->lock);
	kvfree(old);
	return 0;
}

int qed_cache_init(struct qed_cache *cache,
		   void (*pressure)(struct qed_cache *cache), const char *name)
{
	int r;

	spin_lock_init(&cache->lock);
	INIT_LIST_HEAD(&cache->lru);
	INIT_LIST_HEAD(&cache->dirty);
	INIT_LIST_HEAD(&cache->waiters);
	cache->nr_idle = 0;
	cache->nr_blocks = 0;
	cache->nr_dirty = 0;
	cache->nr_writing = 0;
	cache->stuck = false;
	cache->starving = 0;
	cache->forget = NULL;
	cache->max_blocks = 0;
	cache->commit_at = ULONG_MAX;
	cache->buckets = NULL;
	cache->pressure = pressure;

	r = mempool_init(&cache->pool, QED_BLOCK_RESERVE, block_alloc,
			 block_free, NULL);
	if (r)
		return r;

	cache->shrinker = qed_shrinker_create(shrink_count, shrink_scan, cache,
					      name);
	if (IS_ERR(cache->shrinker)) {
		r = PTR_ERR(cache->shrinker);
		mempool_exit(&cache->pool);
	}
	return r;
}

static void drop_bucket(struct qed_cache *cache, struct hlist_head *head)
{
	struct hlist_node *next;
	struct qed_block *block;

	spin_lock_irq(&cache->lock);
	hlist_for_each_entry_safe(block, next, head, hash)
		remove(cache, block);
	spin_unlock_irq(&cache->lock);
}

void qed_cache_drop(struct qed_cache *cache)
{
	unsigned long i;

	spin_lock_irq(&cache->lock);
	INIT_LIST_HEAD(&cache->dirty);
	cache->nr_dirty = 0;
	spin_unlock_irq(&cache->lock);

	if (!cache->buckets)
		return;
	for (i = 0; i < 1UL << cache->hash_bits; i++) {
		if (!hlist_empty(&cache->buckets[i]))
			drop_bucket(cache, &cache->buckets[i]);
		cond_resched();
	}
}

void qed_cache_exit(struct qed_cache *cache)
{
	qed_shrinker_destroy(cache->shrinker);
	qed_cache_drop(cache);
	/* The blocks go back to the pool by RCU callbacks. */
	rcu_barrier();
	mempool_exit(&cache->pool);
	kvfree(cache->buckets);
}

int qed_cache_module_init(void)
{
	block_slab = KMEM_CACHE(qed_block, 0);
	if (!block_slab)
		return -ENOMEM;
	if (PAGE_SIZE == QED_BLOCK_SIZE)
		return 0;
	entries_slab = kmem_cache_create("qed_entries", QED_BLOCK_SIZE,
					 QED_BLOCK_SIZE, 0, NULL);
	if (entries_slab)
		return 0;
	kmem_cache_destroy(block_slab);
	return -ENOMEM;
}

void qed_cache_module_exit(void)
{
	kmem_cache_destroy(entries_slab);
	kmem_cache_destroy(block_slab);
}
