// SPDX-License-Identifier: GPL-2.0-only
/*
 * Unit tests of long work that is done in steps, so that others get the processor, and
 * of the memory that is there for it. A part of dm-qed-kunit.c.
 */

enum {
	STEPS_TABLES = 8,		/* of a block each */
	STEPS_LOADING = 10000,		/* blocks that are being read */
};

/* Calls of cond_resched() within a function of the source, see dm-qed-kunit.c */
static unsigned int rescheds_in(const char *function)
{
	unsigned int nr = watched_rescheds;

	watched_function = function;
	watched_rescheds = 0;
	return nr;
}

/* Each block that a commit copies, and each table that goes, is a step. */
static void steps_of_commit(struct kunit *test)
{
	struct txn_test *t = test->priv;
	u64 nr;

	for (nr = 0; nr < STEPS_TABLES; nr++)
		KUNIT_ASSERT_EQ(test, 0, map(test, nr * QED_BLOCK_ENTRIES + 7));
	rescheds_in("commit_collect");
	KUNIT_EXPECT_EQ(test, 0, qed_meta_commit(t->meta, true));
	KUNIT_EXPECT_EQ(test, rescheds_in(NULL), STEPS_TABLES + 1);

	for (nr = 1; nr < STEPS_TABLES; nr++)
		KUNIT_ASSERT_EQ(test, 8, unmap(test, nr * QED_BLOCK_ENTRIES, 8, 1));
	KUNIT_EXPECT_EQ(test, t->meta->nr_empty, STEPS_TABLES - 1);
	rescheds_in("qed_free_empty_tables");
	KUNIT_EXPECT_EQ(test, 0, qed_meta_commit(t->meta, true));
	KUNIT_EXPECT_EQ(test, rescheds_in(NULL), STEPS_TABLES - 1);
	KUNIT_EXPECT_EQ(test, t->meta->nr_empty, 0);
}

/* Runs are sorted some at a time, but for those of one drop. */
static void steps_of_reclaim(struct kunit *test)
{
	static const struct {
		unsigned int drops, runs, taken;
	} cases[] = {
		{ 5, QED_SORT_RUNS, 1 },
		{ 5, QED_SORT_RUNS / 2, 2 },
		{ 5, QED_SORT_RUNS / 8, 5 },
		{ 2, QED_SORT_RUNS + 1, 1 },
	};
	struct qed_drop *drop, *next;
	unsigned int i, nr;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		LIST_HEAD(drops);
		LIST_HEAD(some);

		for (nr = 0; nr < cases[i].drops; nr++) {
			drop = qed_drop_alloc(1);
			KUNIT_ASSERT_NOT_NULL(test, drop);
			drop->nr = cases[i].runs;
			list_add(&drop->list, &drops);
		}
		take_some(&drops, &some);
		nr = 0;
		list_for_each_entry(drop, &some, list)
			nr++;
		KUNIT_EXPECT_EQ(test, nr, cases[i].taken);
		list_splice(&some, &drops);
		list_for_each_entry_safe(drop, next, &drops, list)
			kfree(drop);
	}
}

/* Bios come from pools of our own: swap on the device may hold all of the others. */
static void steps_have_bios(struct kunit *test)
{
	struct txn_test *t = test->priv;
	struct qed_zeroing zeroing = { .zeroer = &t->meta->reclaim.zeroer };
	enum qed_zero_way way;
	struct bio *bio;

	for (way = QED_ZERO_UNMAP; way <= QED_ZERO_WRITE; way++) {
		zeroing.way = way;
		bio = next_bio(&zeroing, 0, 8);
		/* a ram disk of some kernels does not do all of them */
		if (way != QED_ZERO_WRITE && !bio)
			continue;
		KUNIT_ASSERT_NOT_NULL(test, bio);
		KUNIT_EXPECT_PTR_EQ(test, bio->bi_pool, &t->meta->reclaim.zeroer.bs);
		bio_put(bio);
	}
	bio = l1_bio(t->meta, 0, 1);
	KUNIT_EXPECT_PTR_EQ(test, bio->bi_pool, &t->meta->bs);
	bio_put(bio);
}

/* However many blocks are being read, a look for one of them takes no time. */
static void steps_to_loading(struct kunit *test)
{
	struct txn_test *t = test->priv;
	struct qed_loading *loading, *found;
	u64 start, best = U64_MAX;
	unsigned int i;

	loading = kvcalloc(STEPS_LOADING, sizeof(*loading), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, loading);
	for (i = 0; i < STEPS_LOADING; i++)
		loading_add(t->meta, &loading[i], 1000 + i);
	/* what else the host does only makes it longer */
	for (i = 0; i < 100; i++) {
		start = ktime_get_ns();
		found = find_loading(t->meta, 999 + STEPS_LOADING, 1);
		best = min(best, ktime_get_ns() - start);
		KUNIT_EXPECT_PTR_EQ(test, found, &loading[STEPS_LOADING - 1]);
	}
	KUNIT_EXPECT_LE(test, best, 10000);
	kunit_info(test, "found in %llu ns", best);
	for (i = 0; i < STEPS_LOADING; i++)
		loading_end(t->meta, &loading[i]);
	kvfree(loading);
}

static struct kunit_case steps_cases[] = {
	KUNIT_CASE(steps_of_commit),
	KUNIT_CASE(steps_of_reclaim),
	KUNIT_CASE(steps_have_bios),
	KUNIT_CASE(steps_to_loading),
	{}
};

static struct kunit_suite steps_suite = {
	.name = "dm_qed_steps",
	.suite_init = txn_suite_init,
	.suite_exit = txn_suite_exit,
	.init = txn_init,
	.exit = txn_exit,
	.test_cases = steps_cases,
};
