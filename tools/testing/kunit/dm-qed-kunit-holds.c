// SPDX-License-Identifier: GPL-2.0-only
/*
 * Unit tests of what dm-qed's cache of table blocks does to many blocks: for how long
 * its lock is held, with tables of 1 GiB.
 *
 * The source is included, with locks and searches that measure.
 */

#include <kunit/test.h>
#include <linux/hash.h>
#include <linux/module.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>

#include "dm-qed-kunit-locks.h"

static unsigned int counted_hash(u64 value, unsigned int bits)
{
	held.words++;
	return hash_64(value, bits);
}

/* It takes a stack trace with KASAN only, so the time for that does not count. */
static void counted_rcu(struct rcu_head *head, rcu_callback_t func)
{
	u64 start = ktime_get_ns();

	held.words++;
	call_rcu(head, func);
	held.start += ktime_get_ns() - start;
}

#undef hash_64
#define hash_64		counted_hash
#undef call_rcu
#define call_rcu	counted_rcu

/* As where a page has room for many blocks */
#undef PAGE_SIZE
#define PAGE_SIZE	65536UL

#include "dm-qed-cache.c"

/* Blocks of a table with clusters of 64 MiB; as many may be looked at in a hold */
#define TABLE		262144ULL
#define ALLOWED		(2 * QED_FORGET_REST)

static void pressure(struct qed_cache *cache)
{
}

static void put(struct qed_cache *cache, u64 nr, bool dirty)
{
	struct qed_block *block = qed_cache_alloc(cache);

	block->nr = nr;
	qed_cache_insert(cache, block);
	spin_lock_irq(&cache->lock);
	if (dirty)
		qed_cache_dirty(cache, block);
	spin_unlock_irq(&cache->lock);
	qed_cache_put(cache, block);
}

/* Blocks of the second table, and the neighbours of it */
static void fill(struct qed_cache *cache, u64 clean, u64 dirty)
{
	u64 i;

	for (i = 0; i < clean; i++)
		put(cache, TABLE + i * 100, false);
	for (i = 0; i < dirty; i++)
		put(cache, TABLE + i * 100 + 1, true);
	put(cache, TABLE - 1, true);
	put(cache, 2 * TABLE, false);
}

static bool is_cached(struct qed_cache *cache, u64 nr)
{
	struct qed_block *block = qed_cache_get(cache, nr);

	if (block)
		qed_cache_put(cache, block);
	return block;
}

static bool begin(struct qed_cache *cache, struct qed_forget *forget)
{
	return qed_cache_forget_begin(cache, forget, TABLE, TABLE);
}

static bool finish(struct qed_cache *cache, struct qed_forget *forget)
{
	bool done;

	spin_lock_irq(&cache->lock);
	done = qed_cache_forget(cache, forget);
	spin_unlock_irq(&cache->lock);
	qed_cache_forget_end(cache);
	return done;
}

struct fixture {
	struct qed_cache cache;
	struct qed_forget forget;
};

static void forget_all(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct best best = BEST;
	unsigned int i;

	for (i = 0; i < 3; i++) {
		fill(&f->cache, 2000, QED_FORGET_REST);
		measure();
		KUNIT_EXPECT_TRUE(test, begin(&f->cache, &f->forget));
		KUNIT_EXPECT_EQ(test, f->cache.nr_blocks, QED_FORGET_REST + 2);
		KUNIT_EXPECT_TRUE(test, finish(&f->cache, &f->forget));
		best_add(&best);
		KUNIT_EXPECT_EQ(test, f->cache.nr_blocks, 2);
		KUNIT_EXPECT_EQ(test, f->cache.nr_dirty, 1);
		KUNIT_EXPECT_TRUE(test, is_cached(&f->cache, TABLE - 1));
		KUNIT_EXPECT_TRUE(test, is_cached(&f->cache, 2 * TABLE));
		KUNIT_EXPECT_FALSE(test, is_cached(&f->cache, TABLE));
		qed_cache_drop(&f->cache);
		rcu_barrier();
	}
	best_expect(test, &best, ALLOWED, "forget");
}

/* What is dirty stays when it is too much. */
static void forget_full(struct kunit *test)
{
	struct fixture *f = test->priv;

	fill(&f->cache, 0, QED_FORGET_REST + 1);
	KUNIT_EXPECT_FALSE(test, begin(&f->cache, &f->forget));
	KUNIT_EXPECT_TRUE(test, f->forget.full);
	qed_cache_forget_end(&f->cache);
	KUNIT_EXPECT_EQ(test, f->cache.nr_dirty, QED_FORGET_REST + 2);
}

static void forget_pinned(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct qed_block *block;

	fill(&f->cache, 3, 3);
	block = qed_cache_get(&f->cache, TABLE + 200);
	KUNIT_ASSERT_NOT_NULL(test, block);
	KUNIT_EXPECT_FALSE(test, begin(&f->cache, &f->forget));
	KUNIT_EXPECT_FALSE(test, f->forget.full);
	qed_cache_forget_end(&f->cache);
	qed_cache_put(&f->cache, block);

	/* between the two steps */
	KUNIT_EXPECT_TRUE(test, begin(&f->cache, &f->forget));
	block = qed_cache_get(&f->cache, TABLE + 201);
	KUNIT_ASSERT_NOT_NULL(test, block);
	KUNIT_EXPECT_FALSE(test, finish(&f->cache, &f->forget));
	KUNIT_EXPECT_EQ(test, f->cache.nr_dirty, 4);
	qed_cache_put(&f->cache, block);
	KUNIT_EXPECT_TRUE(test, begin(&f->cache, &f->forget));
	KUNIT_EXPECT_TRUE(test, finish(&f->cache, &f->forget));
}

/* A block that is read between the two steps is not left behind. */
static void forget_inserted(struct kunit *test)
{
	struct fixture *f = test->priv;

	fill(&f->cache, 3, 3);
	KUNIT_EXPECT_TRUE(test, begin(&f->cache, &f->forget));
	put(&f->cache, 2 * TABLE - 1, false);
	KUNIT_EXPECT_FALSE(test, finish(&f->cache, &f->forget));
	KUNIT_EXPECT_EQ(test, f->cache.nr_dirty, 4);
	KUNIT_EXPECT_TRUE(test, is_cached(&f->cache, 2 * TABLE - 1));

	/* those of other tables do not matter, nor those after it */
	KUNIT_EXPECT_TRUE(test, begin(&f->cache, &f->forget));
	put(&f->cache, 2 * TABLE + 1, false);
	put(&f->cache, TABLE - 2, false);
	KUNIT_EXPECT_TRUE(test, finish(&f->cache, &f->forget));
	put(&f->cache, TABLE, false);
	KUNIT_EXPECT_FALSE(test, f->forget.inserted);
}

static void drop_all(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct best best = BEST;
	struct qed_block *pinned;
	unsigned int i;

	for (i = 0; i < 3; i++) {
		fill(&f->cache, 2000, 1000);
		pinned = qed_cache_get(&f->cache, TABLE);
		KUNIT_EXPECT_NOT_NULL(test, pinned);
		measure();
		qed_cache_drop(&f->cache);
		best_add(&best);
		KUNIT_EXPECT_EQ(test, f->cache.nr_blocks, 0);
		KUNIT_EXPECT_EQ(test, f->cache.nr_dirty, 0);
		KUNIT_EXPECT_FALSE(test, is_cached(&f->cache, TABLE));
		rcu_barrier();
	}
	best_expect(test, &best, ALLOWED, "drop");
}

/* Blocks are no larger than they have to be, and do not overlap. */
static void small_blocks(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct qed_block *block;
	unsigned int i, nr;

	KUNIT_ASSERT_NOT_NULL(test, entries_slab);
	KUNIT_EXPECT_EQ(test, kmem_cache_size(entries_slab), QED_BLOCK_SIZE);
	for (nr = 0; nr < 100; nr++) {
		block = qed_cache_alloc(&f->cache);
		KUNIT_EXPECT_EQ(test, (unsigned long)block->entries % QED_BLOCK_SIZE, 0);
		block->nr = nr;
		memset(block->entries, nr, QED_BLOCK_SIZE);
		qed_cache_insert(&f->cache, block);
		qed_cache_put(&f->cache, block);
	}
	for (nr = 0; nr < 100; nr++) {
		block = qed_cache_get(&f->cache, nr);
		KUNIT_ASSERT_NOT_NULL(test, block);
		for (i = 0; i < QED_BLOCK_ENTRIES; i++)
			KUNIT_ASSERT_EQ(test, qed_entry_read(block, i), nr * 0x101010101010101ULL);
		qed_cache_put(&f->cache, block);
	}
}

static int cache_init(struct kunit *test)
{
	struct fixture *f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, f);
	test->priv = f;
	KUNIT_ASSERT_EQ(test, 0, qed_cache_init(&f->cache, pressure, "kunit"));
	return qed_cache_set_limit(&f->cache, ULONG_MAX, 5000);
}

static void cache_exit(struct kunit *test)
{
	struct fixture *f = test->priv;

	qed_cache_exit(&f->cache);
}

static struct kunit_case holds_cases[] = {
	KUNIT_CASE(forget_all),
	KUNIT_CASE(forget_full),
	KUNIT_CASE(forget_pinned),
	KUNIT_CASE(forget_inserted),
	KUNIT_CASE(drop_all),
	KUNIT_CASE(small_blocks),
	{}
};

static int holds_suite_init(struct kunit_suite *suite)
{
	return qed_cache_module_init();
}

static void holds_suite_exit(struct kunit_suite *suite)
{
	qed_cache_module_exit();
}

static struct kunit_suite holds_suite = {
	.name = "dm_qed_holds",
	.suite_init = holds_suite_init,
	.suite_exit = holds_suite_exit,
	.init = cache_init,
	.exit = cache_exit,
	.test_cases = holds_cases,
};

kunit_test_suite(holds_suite);

MODULE_DESCRIPTION("Unit tests of the cache of dm-qed");
MODULE_LICENSE("GPL");
