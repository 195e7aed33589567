// SPDX-License-Identifier: GPL-2.0-only
/*
 * Unit tests of commits that take several rounds, as there is no memory but their
 * reserve. A part of dm-qed-kunit.c.
 */

enum {
	COMMIT_TABLES = 8,			/* of a block each */
	COMMIT_LEFT = QED_COMMIT_COPIES,	/* blocks of a round */
	COMMIT_CALLS = 50,
};

static void *commit_no_memory(gfp_t gfp, void *data)
{
	return NULL;
}

static struct qed_block *table_block(struct txn_test *t, u64 nr)
{
	return qed_block_get(t->meta, nr << QED_BLOCK_BITS, false);
}

/* What a guest may do after each round: to change the same blocks, the first ones */
static void change_first(struct txn_test *t)
{
	struct qed_cache *cache = &t->meta->cache;
	struct qed_block *block;
	u64 nr;

	if (t->wanted > COMMIT_CALLS)
		return;
	for (nr = 0; nr < COMMIT_LEFT; nr++) {
		block = table_block(t, nr);
		spin_lock_irq(&cache->lock);
		change_entries(t->meta);
		qed_cache_dirty(cache, block);
		spin_unlock_irq(&cache->lock);
		qed_block_put(t->meta, block);
	}
}

/* All that was dirty when a commit began is written, whatever comes meanwhile. */
static void commit_ends(struct kunit *test)
{
	struct txn_test *t = test->priv;
	struct qed_block *block;
	u64 nr;

	for (nr = 0; nr < COMMIT_TABLES; nr++)
		KUNIT_ASSERT_EQ(test, 0, map(test, nr * QED_BLOCK_ENTRIES + 7));
	KUNIT_EXPECT_EQ(test, t->meta->cache.nr_dirty, COMMIT_TABLES + 1);
	t->meta->copies.alloc = commit_no_memory;
	t->wanted = 0;
	t->when_wanted = change_first;
	KUNIT_EXPECT_EQ(test, 0, qed_meta_commit(t->meta, true));
	t->when_wanted = NULL;

	KUNIT_EXPECT_EQ(test, t->meta->commits,
			DIV_ROUND_UP(COMMIT_TABLES + 1, COMMIT_LEFT));
	KUNIT_EXPECT_LE(test, t->wanted, COMMIT_CALLS);
	KUNIT_EXPECT_EQ(test, t->meta->txn, QED_TXN_DIRTY);
	KUNIT_EXPECT_EQ(test, t->meta->cache.nr_dirty, COMMIT_LEFT);
	for (nr = 0; nr < COMMIT_TABLES; nr++) {
		block = table_block(t, nr);
		KUNIT_EXPECT_EQ(test, block->dirty, nr < COMMIT_LEFT);
		qed_block_put(t->meta, block);
	}
	KUNIT_EXPECT_EQ(test, 0, qed_meta_commit(t->meta, true));
	KUNIT_EXPECT_EQ(test, t->meta->txn, QED_TXN_DURABLE);
	t->meta->copies.alloc = qed_entries_alloc;
}

/* Unmap all of the last table, once. */
static void empty_last(struct txn_test *t)
{
	struct qed_block *block = table_block(t, COMMIT_TABLES - 1);
	struct qed_drop *drop = qed_drop_alloc(1);

	t->when_wanted = NULL;
	WARN_ON(qed_meta_begin(t->meta));
	qed_meta_unmap(t->meta, block, block->nr << QED_BLOCK_BITS,
		       QED_BLOCK_ENTRIES, false, drop);
	qed_meta_end(t->meta, block);
}

/*
 * A table that is empty between two rounds stays, if its block is among what is left:
 * without it nothing on the device says that what was unmapped before is not in use.
 */
static void commit_keeps_tables(struct kunit *test)
{
	u64 last = (COMMIT_TABLES - 1) * QED_BLOCK_ENTRIES, nr, free;
	struct txn_test *t = test->priv;

	for (nr = 0; nr < COMMIT_TABLES; nr++)
		KUNIT_ASSERT_EQ(test, 0, map(test, nr * QED_BLOCK_ENTRIES + 7));
	KUNIT_ASSERT_EQ(test, 0, map(test, last + 9));
	KUNIT_EXPECT_EQ(test, 0, qed_meta_commit(t->meta, true));
	for (nr = 0; nr < COMMIT_TABLES - 1; nr++)
		KUNIT_ASSERT_EQ(test, 0, map(test, nr * QED_BLOCK_ENTRIES + 8));
	free = qed_space_nr_free(t->meta->space);
	/* with the commit, and between its rounds */
	KUNIT_EXPECT_EQ(test, 9, unmap(test, last, 9, 1));
	t->meta->copies.alloc = commit_no_memory;
	t->when_wanted = empty_last;
	KUNIT_EXPECT_EQ(test, 0, qed_meta_commit(t->meta, true));
	KUNIT_EXPECT_NULL(test, t->when_wanted);
	flush_work(&t->meta->reclaim.work);
	KUNIT_EXPECT_EQ(test, t->meta->nr_empty, 1);
	KUNIT_EXPECT_EQ(test, qed_meta_reclaiming(t->meta), 1);
	KUNIT_EXPECT_EQ(test, qed_space_nr_free(t->meta->space), free + 1);

	KUNIT_EXPECT_EQ(test, 0, qed_meta_commit(t->meta, true));
	flush_work(&t->meta->reclaim.work);
	KUNIT_EXPECT_EQ(test, t->meta->nr_empty, 0);
	KUNIT_EXPECT_EQ(test, qed_space_nr_free(t->meta->space), free + 3);
	t->meta->copies.alloc = qed_entries_alloc;
	run_check(test);
	KUNIT_EXPECT_EQ(test, t->meta->check.leaks, 0);
}

static struct kunit_case commit_cases[] = {
	KUNIT_CASE(commit_ends),
	KUNIT_CASE(commit_keeps_tables),
	{}
};

static struct kunit_suite commit_suite = {
	.name = "dm_qed_commit",
	.suite_init = txn_suite_init,
	.suite_exit = txn_suite_exit,
	.init = txn_init,
	.exit = txn_exit,
	.test_cases = commit_cases,
};
