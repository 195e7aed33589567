// SPDX-License-Identifier: GPL-2.0-only
/*
 * Unit tests of writes with FUA that have no space, or whose flush has none. A part of
 * dm-qed-kunit.c.
 */

/* A flush of the guest is under way meanwhile, and comes back after that write. */
static struct kunit *flush_test;
static struct qed_flush flush_beside;
static bool flush_settled_lost;
static unsigned int flush_settled;

static void flush_settles(struct qed_flush *flush)
{
	struct txn_test *t = flush_test->priv;

	flush_settled++;
	flush_settled_lost = t->lost;
}

static void flush_around(struct bio *bio)
{
	struct txn_test *t = flush_test->priv;
	struct qed_flushes *flushes = qed_meta_flushes(t->meta);

	when_full = NULL;
	flush_settled = 0;
	qed_flush_begin(flushes, &flush_beside, QED_FLUSH_GUEST);
	bio_endio(bio);
	KUNIT_EXPECT_TRUE(flush_test, qed_flush_end(flushes, &flush_beside,
						    flush_settles));
}

static int flush_init(struct kunit *test)
{
	struct txn_test *t;
	int r = txn_init(test);

	flush_test = test;
	t = test->priv;
	if (!r)
		blk_queue_write_cache(bdev_get_queue(t->bdev), true, true);
	return r;
}

static void flush_exit(struct kunit *test)
{
	struct txn_test *t = test->priv;

	full_fua = false;
	full_writes = false;
	when_full = NULL;
	blk_queue_write_cache(bdev_get_queue(t->bdev), false, false);
	txn_exit(test);
}

/* It was the flush: what that has lost is known before anything else counts. */
static void expect_lost(struct kunit *test)
{
	struct txn_test *t = test->priv;

	KUNIT_EXPECT_TRUE(test, t->lost);
	KUNIT_EXPECT_EQ(test, flush_settled, 1);
	KUNIT_EXPECT_TRUE(test, flush_settled_lost);
}

static void flush_header_full(struct kunit *test)
{
	struct txn_test *t = test->priv;

	full_fua = true;
	when_full = flush_around;
	KUNIT_EXPECT_EQ(test, -EIO, map(test, 7));
	KUNIT_EXPECT_EQ(test, t->failed, 1);
	expect_lost(test);
}

static void flush_commit_full(struct kunit *test)
{
	struct txn_test *t = test->priv;

	KUNIT_EXPECT_EQ(test, 0, map(test, 7));
	full_fua = true;
	when_full = flush_around;
	KUNIT_EXPECT_EQ(test, -EIO, qed_meta_commit(t->meta, true));
	KUNIT_EXPECT_EQ(test, t->failed, 1);
	expect_lost(test);
}

/* It was the write: nothing is lost, and it works when there is space. */
static void flush_write_full(struct kunit *test)
{
	struct txn_test *t = test->priv;

	full_fua = true;
	full_writes = true;
	KUNIT_EXPECT_EQ(test, -ENOSPC, map(test, 7));
	full_fua = false;
	full_writes = false;
	KUNIT_EXPECT_EQ(test, 0, map(test, 7));

	full_fua = true;
	full_writes = true;
	when_full = flush_around;
	KUNIT_EXPECT_EQ(test, -ENOSPC, qed_meta_commit(t->meta, true));
	KUNIT_EXPECT_EQ(test, flush_settled, 1);
	KUNIT_EXPECT_FALSE(test, t->lost);
	KUNIT_EXPECT_EQ(test, t->failed, 0);
	full_fua = false;
	full_writes = false;
	KUNIT_EXPECT_EQ(test, 0, qed_meta_commit(t->meta, true));
	KUNIT_EXPECT_EQ(test, t->meta->txn, QED_TXN_DURABLE);
}

static struct kunit_case flush_cases[] = {
	KUNIT_CASE(flush_header_full),
	KUNIT_CASE(flush_commit_full),
	KUNIT_CASE(flush_write_full),
	{}
};

static struct kunit_suite flush_suite = {
	.name = "dm_qed_flush",
	.suite_init = txn_suite_init,
	.suite_exit = txn_suite_exit,
	.init = flush_init,
	.exit = flush_exit,
	.test_cases = flush_cases,
};
