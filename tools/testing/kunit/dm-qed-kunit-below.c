// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is below an image: up to where it shows. Included by dm-qed-kunit.c.
 */

#include "dm-qed-below.c"

/* An image with clusters of 8 sectors, over a device */
static struct qed *below_target(struct kunit *test)
{
	struct qed *qed = kunit_kzalloc(test, sizeof(*qed), GFP_KERNEL);
	struct txn_test *t = test->priv;

	KUNIT_ASSERT_NOT_NULL(test, qed);
	qed->meta = t->meta;
	qed->bdev = t->bdev;
	qed->below = t->bdev;
	return qed;
}

static void expect_below(struct kunit *test, struct qed *qed, sector_t sector,
			 unsigned int nr, enum qed_extent_kind kind,
			 unsigned int nr_found)
{
	struct qed_extent ext = { .nr = nr };

	KUNIT_EXPECT_EQ(test, qed_below(qed, sector, &ext), kind);
	KUNIT_EXPECT_EQ(test, ext.nr, nr_found);
	KUNIT_EXPECT_NULL(test, ext.hold);
	if (kind != QED_EXTENT_DATA)
		return;
	KUNIT_EXPECT_EQ(test, ext.sector, sector);
	KUNIT_EXPECT_PTR_EQ(test, ext.bdev, qed->below);
}

/* It ends within a cluster: sectors know exactly, and that cluster is not zero. */
static void below_ends(struct kunit *test)
{
	struct qed *qed = below_target(test);

	qed->below_end = 20;
	expect_below(test, qed, 0, 16, QED_EXTENT_DATA, 16);
	expect_below(test, qed, 12, 8, QED_EXTENT_DATA, 8);
	expect_below(test, qed, 16, 8, QED_EXTENT_DATA, 4);
	expect_below(test, qed, 19, 64, QED_EXTENT_DATA, 1);
	expect_below(test, qed, 20, 4, QED_EXTENT_ZERO, 4);
	expect_below(test, qed, 4096, 64, QED_EXTENT_ZERO, 64);
	qed->below_end = 0;
	expect_below(test, qed, 0, 8, QED_EXTENT_ZERO, 8);
}

static void expect_zero(struct kunit *test, struct qed *qed, u64 cluster, u64 nr,
			bool zero, u64 nr_found)
{
	KUNIT_EXPECT_EQ(test, qed_below_is_zero(qed, cluster, &nr), zero);
	KUNIT_EXPECT_EQ(test, nr, nr_found);
}

static void below_is_zero(struct kunit *test)
{
	struct qed *qed = below_target(test);

	qed->below_end = 20;
	expect_zero(test, qed, 0, 1, false, 1);
	expect_zero(test, qed, 0, 64, false, 3);
	expect_zero(test, qed, 2, 2, false, 1);
	expect_zero(test, qed, 3, 5, true, 5);
	qed->below_end = 16;
	expect_zero(test, qed, 1, 2, false, 1);
	expect_zero(test, qed, 2, 2, true, 2);
	qed->below_end = 0;
	expect_zero(test, qed, 0, 64, true, 64);
}

/* As far as the image goes, in whole blocks; nothing without a name of a backing file */
static void below_activate(struct kunit *test)
{
	struct qed *qed = below_target(test);
	struct txn_test *t = test->priv;
	sector_t device = bdev_nr_sectors(t->bdev);

	qed_below_activate(qed, device);
	KUNIT_EXPECT_EQ(test, qed->below_end, 0);
	KUNIT_EXPECT_FALSE(test, qed_below_is_longer(qed));
	t->meta->geo.backed = true;
	t->meta->geo.image_size = (device - 1) << SECTOR_SHIFT;
	qed_below_activate(qed, device);
	KUNIT_EXPECT_EQ(test, qed->below_end, device - 1);
	KUNIT_EXPECT_TRUE(test, qed_below_is_longer(qed));
	t->meta->geo.image_size = (device + 1) << SECTOR_SHIFT;
	qed_below_activate(qed, device);
	KUNIT_EXPECT_EQ(test, qed->below_end, device);
	KUNIT_EXPECT_FALSE(test, qed_below_is_longer(qed));
}

static struct kunit_case below_cases[] = {
	KUNIT_CASE(below_ends),
	KUNIT_CASE(below_is_zero),
	KUNIT_CASE(below_activate),
	{}
};

static struct kunit_suite below_suite = {
	.name = "dm_qed_below",
	.suite_init = txn_suite_init,
	.suite_exit = txn_suite_exit,
	.init = txn_init,
	.exit = txn_exit,
	.test_cases = below_cases,
};
