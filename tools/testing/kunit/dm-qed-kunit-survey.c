// SPDX-License-Identifier: GPL-2.0-only
/*
 * When the scan begins, and what is told before its end. Included by dm-qed-kunit.c.
 */

/* Load the image again, with clusters from 16 on free. */
static void survey_load(struct kunit *test)
{
	struct qed_load_args args = {
		.host = "kunit",
		.zeroed = true,
		.zeroed_from = 16,
	};
	struct txn_test *t = test->priv;

	qed_meta_unload(t->meta);
	t->scanned = 0;
	t->more = 0;
	t->early = 0;
	KUNIT_ASSERT_EQ(test, 0, qed_meta_load(t->meta, &args));
	KUNIT_EXPECT_TRUE(test, qed_meta_is_scanning(t->meta));
}

/* It waits for the first I/O, but not longer than whoever needs it. */
static void survey_hurries(struct kunit *test)
{
	struct txn_test *t = test->priv;

	survey_load(test);
	qed_meta_hurry_scan(t->meta);
	flush_work(&t->meta->scan_work.work);
	KUNIT_EXPECT_EQ(test, t->scanned, 1);

	/* It is over: there is nothing to hurry. */
	qed_meta_hurry_scan(t->meta);
	KUNIT_EXPECT_FALSE(test, delayed_work_pending(&t->meta->scan_work));
}

/* In a pause it does not begin, whoever needs it. */
static void survey_pauses(struct kunit *test)
{
	struct txn_test *t = test->priv;

	survey_load(test);
	qed_meta_pause(t->meta);
	qed_meta_hurry_scan(t->meta);
	msleep(300);
	KUNIT_EXPECT_EQ(test, t->scanned, 0);
	KUNIT_EXPECT_FALSE(test, qed_meta_is_scanning(t->meta));
	KUNIT_EXPECT_EQ(test, 0, qed_meta_continue(t->meta));
	KUNIT_EXPECT_TRUE(test, qed_meta_is_scanning(t->meta));
	flush_delayed_work(&t->meta->scan_work);
	KUNIT_EXPECT_EQ(test, t->scanned, 1);
}

/* What is free behind all that is in use can be had while the tables are being read. */
static void survey_tells_early(struct kunit *test)
{
	struct txn_test *t = test->priv;

	survey_load(test);
	flush_delayed_work(&t->meta->scan_work);
	KUNIT_EXPECT_EQ(test, t->early, 1);
	KUNIT_EXPECT_EQ(test, t->more, 1);
	KUNIT_EXPECT_EQ(test, t->scanned, 1);
}

static struct kunit_case survey_cases[] = {
	KUNIT_CASE(survey_hurries),
	KUNIT_CASE(survey_pauses),
	KUNIT_CASE(survey_tells_early),
	{}
};

static struct kunit_suite survey_suite = {
	.name = "dm_qed_survey",
	.suite_init = txn_suite_init,
	.suite_exit = txn_suite_exit,
	.init = txn_init,
	.exit = txn_exit,
	.test_cases = survey_cases,
};
