// SPDX-License-Identifier: GPL-2.0-only
/*
 * Unit tests of the cache of table blocks: who waits for a block, and how often those
 * are woken. A part of dm-qed-kunit.c.
 */

#include <linux/kthread.h>

enum { CACHE_MAX = 16, CACHE_USERS = 64 };

struct cache_test {
	struct qed_cache cache;
	atomic_t pressure;		/* so often was a commit asked for */
	atomic_t turns;
	struct completion got;		/* a user has got a block */
	struct cache_user {
		struct cache_test *t;
		struct task_struct *task;
		u64 nr;			/* of the block */
		bool started;
		bool ended;
		unsigned int turn;
		unsigned long sleeps;	/* until the block was there */
	} users[CACHE_USERS];
};

static void cache_test_pressure(struct qed_cache *cache)
{
	atomic_inc(&container_of(cache, struct cache_test, cache)->pressure);
}

static int cache_test_init(struct kunit *test)
{
	struct cache_test *t = kunit_kzalloc(test, sizeof(*t), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, t);
	test->priv = t;
	init_completion(&t->got);
	KUNIT_ASSERT_EQ(test, 0, qed_cache_init(&t->cache, cache_test_pressure,
						"kunit"));
	return qed_cache_set_limit(&t->cache, ULONG_MAX, CACHE_MAX);
}

static void cache_set_stuck(struct cache_test *t, bool stuck)
{
	spin_lock_irq(&t->cache.lock);
	qed_cache_set_stuck(&t->cache, stuck);
	spin_unlock_irq(&t->cache.lock);
	qed_cache_wake(&t->cache);
}

static void cache_test_exit(struct kunit *test)
{
	struct cache_test *t = test->priv;
	unsigned int i;

	/* Nobody waits for ever, whatever went wrong. */
	t->cache.pool.alloc = block_alloc;
	cache_set_stuck(t, true);
	for (i = 0; i < CACHE_USERS; i++) {
		if (!t->users[i].task)
			continue;
		kthread_stop(t->users[i].task);
		put_task_struct(t->users[i].task);
	}
	qed_cache_drop(&t->cache);
	KUNIT_EXPECT_EQ(test, t->cache.nr_blocks, 0);
	KUNIT_EXPECT_EQ(test, t->cache.nr_idle, 0);
	KUNIT_EXPECT_EQ(test, t->cache.nr_dirty, 0);
	qed_cache_exit(&t->cache);
}

/* A block that is in the cache, pinned */
static struct qed_block *cache_add(struct cache_test *t, u64 nr)
{
	struct qed_block *block = qed_cache_alloc(&t->cache);

	block->nr = nr;
	qed_cache_insert(&t->cache, block);
	return block;
}

static void cache_add_dirty(struct cache_test *t, u64 nr)
{
	struct qed_block *block = cache_add(t, nr);

	spin_lock_irq(&t->cache.lock);
	qed_cache_dirty(&t->cache, block);
	spin_unlock_irq(&t->cache.lock);
	qed_cache_put(&t->cache, block);
}

/* What a commit does to the block that has been dirty for the longest time */
static void cache_clean_one(struct cache_test *t)
{
	struct qed_block *block;

	spin_lock_irq(&t->cache.lock);
	block = list_first_entry(&t->cache.dirty, struct qed_block, dirty_list);
	qed_block_pin(block);
	qed_block_clean(block);
	spin_unlock_irq(&t->cache.lock);
	qed_cache_put(&t->cache, block);
}

static int cache_user(void *data)
{
	struct cache_user *user = data;
	struct cache_test *t = user->t;
	unsigned long sleeps = current->nvcsw;
	struct qed_block *block;

	WRITE_ONCE(user->started, true);
	block = qed_cache_alloc(&t->cache);
	user->sleeps = current->nvcsw - sleeps;
	user->turn = atomic_inc_return(&t->turns);
	block->nr = user->nr;
	qed_cache_insert(&t->cache, block);
	spin_lock_irq(&t->cache.lock);
	qed_cache_dirty(&t->cache, block);
	spin_unlock_irq(&t->cache.lock);
	qed_cache_put(&t->cache, block);
	WRITE_ONCE(user->ended, true);
	complete(&t->got);
	return 0;
}

/* Start somebody who takes a block and leaves it dirty; returns when he waits. */
static void cache_start(struct kunit *test, unsigned int i)
{
	struct cache_test *t = test->priv;
	struct cache_user *user = &t->users[i];
	struct task_struct *task;

	user->t = t;
	user->nr = 1000 + i;
	task = kthread_create(cache_user, user, "kunit-%u", i);
	KUNIT_ASSERT_FALSE(test, IS_ERR(task));
	user->task = get_task_struct(task);
	wake_up_process(task);
	while (!READ_ONCE(user->ended) &&
	       (!READ_ONCE(user->started) ||
		READ_ONCE(task->__state) != TASK_UNINTERRUPTIBLE))
		usleep_range(1000, 2000);
}

static void expect_got(struct kunit *test)
{
	struct cache_test *t = test->priv;

	KUNIT_ASSERT_TRUE(test, wait_for_completion_timeout(&t->got, 10 * HZ));
}

/* What cannot be evicted is not looked at: whoever looks takes the mark away. */
static void cache_looks(struct kunit *test)
{
	struct cache_test *t = test->priv;
	struct qed_block *pinned[4], *block;
	unsigned int i;
	u64 nr;

	for (i = 0; i < ARRAY_SIZE(pinned); i++)
		pinned[i] = cache_add(t, i);
	for (nr = ARRAY_SIZE(pinned); nr < CACHE_MAX; nr++)
		cache_add_dirty(t, nr);
	cache_clean_one(t);
	KUNIT_EXPECT_EQ(test, t->cache.nr_idle, 1);
	for (nr = 0; nr < CACHE_MAX; nr++)
		KUNIT_EXPECT_NOT_NULL(test, qed_cache_find(&t->cache, nr));

	block = cache_add(t, 100);
	KUNIT_EXPECT_EQ(test, t->cache.nr_blocks, CACHE_MAX);
	KUNIT_EXPECT_NULL(test, qed_cache_find(&t->cache, ARRAY_SIZE(pinned)));
	list_for_each_entry(block, &t->cache.dirty, dirty_list)
		KUNIT_EXPECT_TRUE(test, block->referenced);
	for (i = 0; i < ARRAY_SIZE(pinned); i++) {
		KUNIT_EXPECT_TRUE(test, pinned[i]->referenced);
		qed_cache_put(&t->cache, pinned[i]);
	}
	KUNIT_EXPECT_EQ(test, t->cache.nr_idle, ARRAY_SIZE(pinned));
}

/* Second chances: who was not used goes first; if all were, one of them goes. */
static void cache_order(struct kunit *test)
{
	struct cache_test *t = test->priv;
	struct qed_block *block;
	u64 nr;

	for (nr = 0; nr < CACHE_MAX; nr++)
		qed_cache_put(&t->cache, cache_add(t, nr));
	list_for_each_entry(block, &t->cache.lru, lru)
		block->referenced = block->nr != 9;
	qed_cache_put(&t->cache, cache_add(t, 100));
	KUNIT_EXPECT_NULL(test, qed_cache_get(&t->cache, 9));
	KUNIT_EXPECT_EQ(test, t->cache.nr_idle, CACHE_MAX);

	list_for_each_entry(block, &t->cache.lru, lru)
		block->referenced = true;
	qed_cache_put(&t->cache, cache_add(t, 101));
	KUNIT_EXPECT_EQ(test, t->cache.nr_idle, CACHE_MAX);
	KUNIT_EXPECT_EQ(test, t->cache.nr_blocks, CACHE_MAX);
	KUNIT_EXPECT_EQ(test, atomic_read(&t->pressure), 0);
}

/*
 * Each of many who wait is woken when there is a block for it, and only then: a
 * cache full of dirty blocks costs no more with many of them than with few.
 */
static void cache_waiters(struct kunit *test)
{
	struct cache_test *t = test->priv;
	unsigned long sleeps = 0;
	unsigned int i;

	for (i = 0; i < CACHE_MAX; i++)
		cache_add_dirty(t, i);
	for (i = 0; i < CACHE_USERS; i++)
		cache_start(test, i);
	KUNIT_EXPECT_EQ(test, atomic_read(&t->turns), 0);
	KUNIT_EXPECT_GE(test, atomic_read(&t->pressure), 1);
	for (i = 0; i < CACHE_USERS; i++) {
		cache_clean_one(t);
		expect_got(test);
		KUNIT_EXPECT_EQ(test, atomic_read(&t->turns), i + 1);
		KUNIT_EXPECT_EQ(test, t->cache.nr_blocks, CACHE_MAX);
	}
	for (i = 0; i < CACHE_USERS; i++) {
		KUNIT_EXPECT_EQ(test, t->users[i].turn, i + 1);
		sleeps += t->users[i].sleeps;
	}
	KUNIT_EXPECT_LE(test, sleeps, 2 * CACHE_USERS);
	/* when it began to wait, and when a block had become dirty again */
	KUNIT_EXPECT_LE(test, atomic_read(&t->pressure), 3 * CACHE_USERS);
}

/* Who waits for what is pinned is served when it is not any more, or asks then. */
static void cache_pinned(struct kunit *test)
{
	struct cache_test *t = test->priv;
	struct qed_block *pinned[CACHE_MAX];
	unsigned int i;

	for (i = 0; i < CACHE_MAX - 1; i++)
		pinned[i] = cache_add(t, i);
	pinned[i] = qed_cache_alloc(&t->cache);
	cache_start(test, 0);
	cache_start(test, 1);
	cache_start(test, 2);
	KUNIT_EXPECT_EQ(test, atomic_read(&t->pressure), 0);
	qed_cache_put(&t->cache, pinned[0]);
	expect_got(test);
	KUNIT_EXPECT_TRUE(test, t->users[0].ended);

	spin_lock_irq(&t->cache.lock);
	qed_cache_dirty(&t->cache, pinned[1]);
	spin_unlock_irq(&t->cache.lock);
	atomic_set(&t->pressure, 0);
	qed_cache_put(&t->cache, pinned[1]);
	KUNIT_EXPECT_EQ(test, atomic_read(&t->pressure), 1);
	KUNIT_EXPECT_FALSE(test, t->users[1].ended);
	cache_clean_one(t);
	expect_got(test);
	/* a block that could not be read */
	qed_cache_discard(&t->cache, pinned[CACHE_MAX - 1]);
	expect_got(test);
	for (i = 2; i < CACHE_MAX - 1; i++)
		qed_cache_put(&t->cache, pinned[i]);
}

/* If nothing can be written everybody gets a block, and it is not for ever. */
static void cache_over_limit(struct kunit *test)
{
	struct cache_test *t = test->priv;
	unsigned int i;

	for (i = 0; i < CACHE_MAX; i++)
		cache_add_dirty(t, i);
	for (i = 0; i < 10; i++)
		cache_start(test, i);
	KUNIT_EXPECT_EQ(test, atomic_read(&t->turns), 0);
	cache_set_stuck(t, true);
	for (i = 0; i < 10; i++)
		expect_got(test);
	KUNIT_EXPECT_EQ(test, t->cache.nr_blocks, CACHE_MAX + 10);
	cache_start(test, 10);
	expect_got(test);

	cache_set_stuck(t, false);
	while (t->cache.nr_dirty)
		cache_clean_one(t);
	for (i = 0; i < 3; i++)
		qed_cache_put(&t->cache, cache_add(t, 100 + i));
	KUNIT_EXPECT_LE(test, t->cache.nr_blocks, CACHE_MAX);
}

static void *cache_no_memory(gfp_t gfp, void *data)
{
	return NULL;
}

/* Without memory there is the reserve, and what is evicted comes back to it. */
static void cache_starving(struct kunit *test)
{
	struct cache_test *t = test->priv;
	unsigned int i;

	t->cache.pool.alloc = cache_no_memory;
	t->cache.max_blocks = 2 * CACHE_MAX;
	for (i = 0; i < QED_BLOCK_RESERVE; i++)
		qed_cache_put(&t->cache, cache_add(t, i));
	cache_start(test, 0);
	expect_got(test);
	KUNIT_EXPECT_EQ(test, t->cache.starving, 0);

	/* the same when all are dirty */
	while (t->cache.nr_dirty)
		cache_clean_one(t);
	for (i = 0; i < QED_BLOCK_RESERVE; i++)
		cache_add_dirty(t, 100 + i);
	atomic_set(&t->pressure, 0);
	cache_start(test, 1);
	cache_start(test, 2);
	KUNIT_EXPECT_EQ(test, t->cache.starving, 2);
	KUNIT_EXPECT_GE(test, atomic_read(&t->pressure), 2);
	KUNIT_EXPECT_EQ(test, atomic_read(&t->turns), 1);
	cache_clean_one(t);
	expect_got(test);
	KUNIT_EXPECT_EQ(test, atomic_read(&t->turns), 2);
	cache_clean_one(t);
	expect_got(test);
	KUNIT_EXPECT_EQ(test, t->cache.starving, 0);
}

/* No limit is too high, and none is paid for before it is used. */
static void cache_huge(struct kunit *test)
{
	struct qed_cache *cache = kunit_kzalloc(test, sizeof(*cache), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, cache);
	KUNIT_ASSERT_EQ(test, 0, qed_cache_init(cache, cache_test_pressure, "kunit"));
	KUNIT_ASSERT_EQ(test, 0, qed_cache_set_limit(cache, ULONG_MAX, UINT_MAX / 4));
	KUNIT_EXPECT_EQ(test, cache->max_blocks, UINT_MAX / 4);
	KUNIT_EXPECT_LE(test, sizeof(*cache->buckets) << cache->hash_bits, 8 * MIB);
	qed_cache_exit(cache);
}

static struct kunit_case cache_cases[] = {
	KUNIT_CASE(cache_looks),
	KUNIT_CASE(cache_order),
	KUNIT_CASE(cache_waiters),
	KUNIT_CASE(cache_pinned),
	KUNIT_CASE(cache_over_limit),
	KUNIT_CASE(cache_starving),
	KUNIT_CASE(cache_huge),
	{}
};

static struct kunit_suite cache_suite = {
	.name = "dm_qed_cache",
	.suite_init = txn_suite_init,
	.suite_exit = txn_suite_exit,
	.init = cache_test_init,
	.exit = cache_test_exit,
	.test_cases = cache_cases,
};

/*----------------------------------------------------------------
 * Blocks being read
 *----------------------------------------------------------------
 */

static void loading_add(struct qed_meta *meta, struct qed_loading *loading, u64 nr)
{
	loading->nr = nr;
	spin_lock_irq(&meta->cache.lock);
	rb_add(&loading->node, &meta->loading, loading_before);
	spin_unlock_irq(&meta->cache.lock);
}

static void loading_end(struct qed_meta *meta, struct qed_loading *loading)
{
	spin_lock_irq(&meta->cache.lock);
	rb_erase(&loading->node, &meta->loading);
	spin_unlock_irq(&meta->cache.lock);
	wake_up_var(loading);
}

/* All ranges among some numbers, with the greatest one, too */
static void loading_ranges(struct kunit *test)
{
	static const u64 numbers[] = { 40, 3, 7, 8, 25, U64_MAX, 1 };
	struct qed_meta *meta = kunit_kzalloc(test, sizeof(*meta), GFP_KERNEL);
	struct qed_loading loading[ARRAY_SIZE(numbers)];
	u64 first, nr;
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, meta);
	spin_lock_init(&meta->cache.lock);
	meta->loading = RB_ROOT;
	for (i = 0; i < ARRAY_SIZE(numbers); i++)
		loading_add(meta, &loading[i], numbers[i]);
	for (first = 0; first < 50; first++) {
		for (nr = 1; nr < 50; nr++) {
			bool there = false;

			for (i = 0; i < ARRAY_SIZE(numbers); i++)
				there |= numbers[i] >= first &&
					 numbers[i] < first + nr;
			KUNIT_ASSERT_EQ(test, there,
					!!find_loading(meta, first, nr));
		}
	}
	KUNIT_EXPECT_NOT_NULL(test, find_loading(meta, U64_MAX, 1));
	KUNIT_EXPECT_NULL(test, find_loading(meta, 41, U64_MAX - 41));
}

struct loading_user {
	struct qed_meta *meta;
	struct task_struct *task;
	struct qed_block *block;
	struct completion got;
	bool started;
	unsigned long sleeps;
};

static int loading_user(void *data)
{
	struct loading_user *user = data;
	unsigned long sleeps = current->nvcsw;

	WRITE_ONCE(user->started, true);
	user->block = qed_block_get(user->meta, 0, false);
	user->sleeps = current->nvcsw - sleeps;
	complete(&user->got);
	return 0;
}

/* Start somebody who gets the first block, and waits for its reader. */
static void loading_start(struct kunit *test, struct loading_user *user)
{
	struct txn_test *t = test->priv;
	struct task_struct *task;

	memset(user, 0, sizeof(*user));
	user->meta = t->meta;
	init_completion(&user->got);
	task = kthread_create(loading_user, user, "kunit");
	KUNIT_ASSERT_FALSE(test, IS_ERR(task));
	user->task = get_task_struct(task);
	wake_up_process(task);
	while (!READ_ONCE(user->started) ||
	       READ_ONCE(task->__state) != TASK_UNINTERRUPTIBLE)
		usleep_range(1000, 2000);
}

static void loading_got(struct kunit *test, struct loading_user *user,
			struct qed_loading *loading)
{
	struct txn_test *t = test->priv;

	KUNIT_EXPECT_TRUE(test, wait_for_completion_timeout(&user->got, 5 * HZ));
	/* so that the test comes to its end */
	wake_up_var(loading);
	kthread_stop(user->task);
	put_task_struct(user->task);
	KUNIT_ASSERT_FALSE(test, IS_ERR_OR_NULL(user->block));
	qed_block_put(t->meta, user->block);
}

/* Who waits for a block is not woken by others that have been read. */
static void loading_waits(struct kunit *test)
{
	struct txn_test *t = test->priv;
	struct qed_loading loading;
	struct loading_user *user = kunit_kzalloc(test, sizeof(*user), GFP_KERNEL);
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, user);
	loading_add(t->meta, &loading, 0);
	loading_start(test, user);
	/* all the other blocks there are */
	for (i = 1; i < 8; i++) {
		KUNIT_EXPECT_EQ(test, 0, map(test, 512 * i));
		usleep_range(1000, 2000);
	}
	KUNIT_EXPECT_FALSE(test, completion_done(&user->got));
	loading_end(t->meta, &loading);
	loading_got(test, user, &loading);
	/* for the other reader, and then for the block itself */
	KUNIT_EXPECT_LE(test, user->sleeps, 4);
}

/* Another one may be at it when who waited for the first one comes to look. */
static void loading_again(struct kunit *test)
{
	struct txn_test *t = test->priv;
	struct qed_loading first, second;
	struct loading_user *user = kunit_kzalloc(test, sizeof(*user), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, user);
	loading_add(t->meta, &first, 0);
	loading_start(test, user);
	spin_lock_irq(&t->meta->cache.lock);
	rb_replace_node(&first.node, &second.node, &t->meta->loading);
	second.nr = 0;
	spin_unlock_irq(&t->meta->cache.lock);
	wake_up_var(&first);
	msleep(20);
	KUNIT_EXPECT_FALSE(test, completion_done(&user->got));
	loading_end(t->meta, &second);
	loading_got(test, user, &first);
}

static struct kunit_case loading_cases[] = {
	KUNIT_CASE(loading_ranges),
	KUNIT_CASE(loading_waits),
	KUNIT_CASE(loading_again),
	{}
};

static struct kunit_suite loading_suite = {
	.name = "dm_qed_loading",
	.suite_init = txn_suite_init,
	.suite_exit = txn_suite_exit,
	.init = txn_init,
	.exit = txn_exit,
	.test_cases = loading_cases,
};
