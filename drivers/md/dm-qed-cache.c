// SPDX-License-Identifier: GPL-2.0-only
/*
 * The cache of table blocks, see dm-qed-cache.h.
 */

#include <linux/err.h>
#include <linux/gfp.h>
#include <linux/hash.h>
#include <linux/log2.h>
#include <linux/minmax.h>
#include <linux/rculist.h>
#include <linux/slab.h>

#include "dm-qed-compat.h"
#include "dm-qed-cache.h"

/* Blocks that can be had when the system has no memory left */
#define QED_BLOCK_RESERVE	16

/* Blocks to evict at once when the limit is reached */
#define QED_EVICT_BATCH		8

/* Blocks to look at with the lock held */
#define QED_EVICT_STEP		256

static struct kmem_cache *block_slab;

/*----------------------------------------------------------------
 * Memory of blocks
 *----------------------------------------------------------------
 */

static void *block_alloc(gfp_t gfp, void *data)
{
	struct qed_block *block = kmem_cache_alloc(block_slab, gfp);

	if (!block)
		return NULL;
	block->entries = (__le64 *)__get_free_page(gfp);
	if (!block->entries) {
		kmem_cache_free(block_slab, block);
		return NULL;
	}
	return block;
}

static void block_free(void *element, void *data)
{
	struct qed_block *block = element;

	free_page((unsigned long)block->entries);
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
	struct qed_cache *cache = block->cache;

	mempool_free(block, &cache->pool);
	qed_cache_wake(cache);
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
static void remove(struct qed_cache *cache, struct qed_block *block)
{
	hlist_del_rcu(&block->hash);
	list_del(&block->lru);
	cache->nr_blocks--;
	call_rcu(&block->rcu, block_free_rcu);
}

/* Caller holds the lock. Returns true if the block is on its way out. */
static bool try_evict(struct qed_cache *cache, struct qed_block *block,
		      bool second)
{
	if (block->pins || block->dirty ||
	    (!second && READ_ONCE(block->referenced))) {
		WRITE_ONCE(block->referenced, false);
		list_move_tail(&block->lru, &cache->lru);
		return false;
	}

	remove(cache, block);
	return true;
}

/*
 * A round through the list. The lock is dropped now and then: completions of
 * bios wait for it with interrupts off.
 */
static unsigned long evict_round(struct qed_cache *cache, unsigned long nr,
				 bool second)
{
	unsigned long evicted = 0, step, flags;
	unsigned long budget = READ_ONCE(cache->nr_blocks);

	while (evicted < nr && budget) {
		spin_lock_irqsave(&cache->lock, flags);
		step = min_t(unsigned long, budget, QED_EVICT_STEP);
		budget -= step;
		while (evicted < nr && step-- && !list_empty(&cache->lru))
			evicted += try_evict(cache,
					     list_first_entry(&cache->lru,
							      struct qed_block,
							      lru), second);
		spin_unlock_irqrestore(&cache->lock, flags);
	}
	return evicted;
}

/*
 * The second round takes what it can get, however busy the readers are: who
 * waits for a block is not woken by them.
 */
static unsigned long evict(struct qed_cache *cache, unsigned long nr)
{
	unsigned long evicted = evict_round(cache, nr, false);

	return evicted ? evicted : evict_round(cache, nr, true);
}

static unsigned long shrink_count(struct shrinker *shrinker,
				  struct shrink_control *sc)
{
	struct qed_cache *cache = qed_shrinker_data(shrinker);
	unsigned long nr = READ_ONCE(cache->nr_blocks);
	unsigned long dirty = READ_ONCE(cache->nr_dirty);

	return nr > dirty ? nr - dirty : SHRINK_EMPTY;
}

static unsigned long shrink_scan(struct shrinker *shrinker,
				 struct shrink_control *sc)
{
	struct qed_cache *cache = qed_shrinker_data(shrinker);
	unsigned long evicted = evict(cache, sc->nr_to_scan);

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

struct qed_block *qed_cache_get(struct qed_cache *cache, u64 nr)
{
	struct qed_block *block;
	unsigned long flags;

	spin_lock_irqsave(&cache->lock, flags);
	block = qed_cache_find(cache, nr);
	if (block)
		block->pins++;
	spin_unlock_irqrestore(&cache->lock, flags);
	return block;
}

void qed_cache_put(struct qed_cache *cache, struct qed_block *block)
{
	unsigned long flags;
	bool unused;

	spin_lock_irqsave(&cache->lock, flags);
	unused = !--block->pins;
	spin_unlock_irqrestore(&cache->lock, flags);

	/* Dirty or not: who waits evicts it, or asks for a commit. */
	if (unused)
		qed_cache_wake(cache);
}

/* Never sleeps: it is the condition of a wait. */
static struct qed_block *try_alloc(struct qed_cache *cache)
{
	struct qed_block *block = NULL;
	bool full;

	spin_lock_irq(&cache->lock);
	full = cache->nr_blocks >= cache->max_blocks;
	if (!full)
		cache->nr_blocks++;
	spin_unlock_irq(&cache->lock);

	if (full) {
		if (!evict(cache, QED_EVICT_BATCH)) {
			cache->pressure(cache);
			return NULL;
		}
		spin_lock_irq(&cache->lock);
		cache->nr_blocks++;
		spin_unlock_irq(&cache->lock);
	}

	block = mempool_alloc(&cache->pool, GFP_NOWAIT | __GFP_NOWARN);
	if (!block) {
		spin_lock_irq(&cache->lock);
		cache->nr_blocks--;
		spin_unlock_irq(&cache->lock);
		/* Those that go will wake us after a grace period. */
		if (!evict(cache, QED_EVICT_BATCH))
			cache->pressure(cache);
	}
	return block;
}

/* Sleeps until there is memory. */
static struct qed_block *alloc_over_limit(struct qed_cache *cache)
{
	spin_lock_irq(&cache->lock);
	cache->nr_blocks++;
	spin_unlock_irq(&cache->lock);
	return mempool_alloc(&cache->pool, GFP_NOIO);
}

struct qed_block *qed_cache_alloc(struct qed_cache *cache)
{
	struct qed_block *block;

	wait_event(cache->wait,
		   (block = try_alloc(cache)) || READ_ONCE(cache->stuck));
	if (!block)
		block = alloc_over_limit(cache);
	block_init(cache, block);
	return block;
}

bool qed_cache_set_stuck(struct qed_cache *cache, bool stuck)
{
	bool before = cache->stuck;

	lockdep_assert_held(&cache->lock);

	WRITE_ONCE(cache->stuck, stuck);
	wake_up_all(&cache->wait);
	return before;
}

bool qed_cache_is_full(struct qed_cache *cache)
{
	lockdep_assert_held(&cache->lock);

	return cache->stuck &&
	       cache->nr_dirty + cache->nr_writing >= cache->max_blocks;
}

void qed_cache_insert(struct qed_cache *cache, struct qed_block *block)
{
	spin_lock_irq(&cache->lock);
	hlist_add_head_rcu(&block->hash, bucket(cache, block->nr));
	list_add_tail(&block->lru, &cache->lru);
	spin_unlock_irq(&cache->lock);
}

void qed_cache_discard(struct qed_cache *cache, struct qed_block *block)
{
	spin_lock_irq(&cache->lock);
	cache->nr_blocks--;
	spin_unlock_irq(&cache->lock);
	mempool_free(block, &cache->pool);
	wake_up(&cache->wait);
}

bool qed_cache_forget(struct qed_cache *cache, u64 first, u64 nr)
{
	struct qed_block *block;
	u64 n;

	lockdep_assert_held(&cache->lock);

	for (n = 0; n < nr; n++) {
		block = qed_cache_find(cache, first + n);
		if (block && block->pins)
			return false;
	}
	for (n = 0; n < nr; n++) {
		block = qed_cache_find(cache, first + n);
		if (!block)
			continue;
		if (block->dirty) {
			list_del(&block->dirty_list);
			cache->nr_dirty--;
		}
		remove(cache, block);
	}
	return true;
}

bool qed_cache_dirty(struct qed_cache *cache, struct qed_block *block)
{
	lockdep_assert_held(&cache->lock);

	if (!block->dirty) {
		block->dirty = true;
		list_add_tail(&block->dirty_list, &cache->dirty);
		cache->nr_dirty++;
	}
	return cache->nr_dirty >= max(cache->max_blocks / 2, 1UL);
}

/*----------------------------------------------------------------
 * Construction
 *----------------------------------------------------------------
 */

int qed_cache_init(struct qed_cache *cache, unsigned long max_blocks,
		   void (*pressure)(struct qed_cache *cache), const char *name)
{
	int r = -ENOMEM;

	spin_lock_init(&cache->lock);
	INIT_LIST_HEAD(&cache->lru);
	INIT_LIST_HEAD(&cache->dirty);
	init_waitqueue_head(&cache->wait);
	cache->nr_blocks = 0;
	cache->nr_dirty = 0;
	cache->nr_writing = 0;
	cache->stuck = false;
	cache->max_blocks = max_blocks;
	cache->pressure = pressure;

	cache->hash_bits = max(ilog2(roundup_pow_of_two(max_blocks)), 1);
	cache->buckets = kvcalloc(1UL << cache->hash_bits,
				  sizeof(*cache->buckets), GFP_KERNEL);
	if (!cache->buckets)
		return r;

	r = mempool_init(&cache->pool,
			 min_t(unsigned long, max_blocks, QED_BLOCK_RESERVE),
			 block_alloc, block_free, NULL);
	if (r)
		goto bad_pool;

	cache->shrinker = qed_shrinker_create(shrink_count, shrink_scan, cache,
					      name);
	if (IS_ERR(cache->shrinker)) {
		r = PTR_ERR(cache->shrinker);
		goto bad_shrinker;
	}
	return 0;

bad_shrinker:
	mempool_exit(&cache->pool);
bad_pool:
	kvfree(cache->buckets);
	return r;
}

void qed_cache_drop(struct qed_cache *cache)
{
	struct qed_block *block, *next;

	spin_lock_irq(&cache->lock);
	list_for_each_entry_safe(block, next, &cache->dirty, dirty_list)
		block->dirty = false;
	INIT_LIST_HEAD(&cache->dirty);
	cache->nr_dirty = 0;
	list_for_each_entry(block, &cache->lru, lru)
		block->pins = 0;
	spin_unlock_irq(&cache->lock);

	evict_round(cache, ULONG_MAX, true);
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
	return block_slab ? 0 : -ENOMEM;
}

void qed_cache_module_exit(void)
{
	kmem_cache_destroy(block_slab);
}
