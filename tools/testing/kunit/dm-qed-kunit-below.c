// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is below an image: up to where it shows, and what of it. Included by dm-qed-kunit.c.
 */

#include "dm-qed-base.h"

/*
 * An image below, as its tables say it: of each cluster whether it has Data, is a Hole, is
 * Zero, is Bad, or is in a table that has to be read before it is known to have data: U
 */
struct qed_base {
	const char *clusters;
	unsigned int bits;
	struct qed_base_state state;
	int load;			/* what that returns */
	unsigned int loaded;		/* how often it is */
};

struct qed_base *qed_base_get(struct block_device *bdev,
			      struct qed_base_state *state, char **error)
{
	return ERR_PTR(-ENODEV);
}

void qed_base_put(struct qed_base *base)
{
}

int qed_base_load(struct qed_base *base, const void *device,
		  struct qed_base_state *state)
{
	*state = base->state;
	base->loaded += !base->load;
	return base->load;
}

void qed_base_unload(struct qed_base *base)
{
	base->loaded--;
}

enum qed_extent_kind qed_base_lookup(struct qed_base *base, sector_t sector,
				     struct qed_extent *ext)
{
	const char *c = base->clusters + (sector >> base->bits);
	sector_t end = sector + ext->nr, here = sector;

	do {
		here = ((here >> base->bits) + 1) << base->bits;
	} while (here < end && base->clusters[here >> base->bits] == *c);
	ext->nr = min(here, end) - sector;
	ext->hold = NULL;
	ext->sector = 1000 + sector;
	switch (*c) {
	case 'D':
		return QED_EXTENT_DATA;
	case 'H':
		return QED_EXTENT_HOLE;
	case 'Z':
		return QED_EXTENT_ZERO;
	case 'U':
		return QED_EXTENT_UNCACHED;
	default:
		return QED_EXTENT_BAD;
	}
}

enum qed_extent_kind qed_base_find(struct qed_base *base, sector_t sector,
				   struct qed_extent *ext)
{
	enum qed_extent_kind kind = qed_base_lookup(base, sector, ext);

	return kind == QED_EXTENT_UNCACHED ? QED_EXTENT_DATA : kind;
}

static const char *no_device_name(struct dm_table *table)
{
	return "kunit";
}

#define dm_table_device_name	no_device_name

/* There is no table, and no device. */
static struct mapped_device *no_device(struct dm_table *table)
{
	return NULL;
}

#define dm_table_get_md		no_device

#include "dm-qed-below.c"

/* An image with clusters of 8 sectors, over a device */
static struct qed *below_target(struct kunit *test)
{
	struct qed *qed = kunit_kzalloc(test, sizeof(*qed), GFP_KERNEL);
	struct txn_test *t = test->priv;

	KUNIT_ASSERT_NOT_NULL(test, qed);
	qed->ti = kunit_kzalloc(test, sizeof(*qed->ti), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, qed->ti);
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

	KUNIT_EXPECT_EQ(test, qed_below(qed, sector, &ext, true), kind);
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

	qed->raw_end = device;
	qed_below_activate(qed);
	KUNIT_EXPECT_EQ(test, qed->below_end, 0);
	KUNIT_EXPECT_FALSE(test, qed_below_is_longer(qed));
	t->meta->geo.backed = true;
	t->meta->geo.image_size = (device - 1) << SECTOR_SHIFT;
	qed_below_activate(qed);
	KUNIT_EXPECT_EQ(test, qed->below_end, device - 1);
	KUNIT_EXPECT_TRUE(test, qed_below_is_longer(qed));
	t->meta->geo.image_size = (device + 1) << SECTOR_SHIFT;
	qed_below_activate(qed);
	KUNIT_EXPECT_EQ(test, qed->below_end, device);
	KUNIT_EXPECT_FALSE(test, qed_below_is_longer(qed));
}

/*----------------------------------------------------------------
 * Images
 *----------------------------------------------------------------
 */

#define NR_LAYERS	3

/* A target, with images below it, of which the last one is over something raw */
struct layers {
	struct qed *qed;
	struct qed_base bases[NR_LAYERS];
	struct qed_layer layers[NR_LAYERS];
	struct dm_dev devs[NR_LAYERS + 1];
};

/* The image has clusters of 8 sectors, and so has the second one; the others of 16 and 32. */
static struct layers *layers_target(struct kunit *test, const char *first,
				    const char *second, const char *third)
{
	const char *clusters[NR_LAYERS] = { first, second, third };
	struct layers *l = kunit_kzalloc(test, sizeof(*l), GFP_KERNEL);
	struct txn_test *t = test->priv;
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, l);
	l->qed = below_target(test);
	for (i = 0; i <= NR_LAYERS; i++) {
		l->devs[i].bdev = t->bdev;
		snprintf(l->devs[i].name, sizeof(l->devs[i].name), "%u", i);
	}
	for (i = 0; i < NR_LAYERS; i++) {
		l->bases[i].clusters = clusters[i];
		l->bases[i].bits = i == 1 ? 3 : i == 2 ? 5 : 4;
		l->bases[i].state.size = strlen(clusters[i]) << l->bases[i].bits;
		l->bases[i].state.backed = true;
		l->layers[i].base = &l->bases[i];
		l->layers[i].dev = &l->devs[i];
	}
	l->qed->layers = l->layers;
	l->qed->nr_layers = NR_LAYERS;
	l->qed->backing = &l->devs[NR_LAYERS];
	l->qed->below_size = bdev_nr_sectors(t->bdev);
	t->meta->geo.backed = true;
	KUNIT_ASSERT_EQ(test, 0, qed_below_load(l->qed));
	qed_below_activate(l->qed);
	return l;
}

static void expect_layers(struct kunit *test, struct layers *l, sector_t sector,
			  unsigned int nr, bool wait, enum qed_extent_kind kind,
			  unsigned int nr_found, sector_t where)
{
	struct qed_extent ext = { .nr = nr };

	KUNIT_EXPECT_EQ(test, qed_below(l->qed, sector, &ext, wait), kind);
	KUNIT_EXPECT_EQ(test, ext.nr, nr_found);
	KUNIT_EXPECT_NULL(test, ext.hold);
	if (kind == QED_EXTENT_DATA)
		KUNIT_EXPECT_EQ(test, ext.sector, where);
}

/* What the nearest one has counts, in the pieces in which it is the nearest. */
static void layers_show(struct kunit *test)
{
	struct layers *l = layers_target(test, "DHHHHH", "DDHDHZHHHHHH", "HDHHHHHH");

	KUNIT_EXPECT_EQ(test, l->qed->below_end, 96);
	expect_layers(test, l, 0, 96, false, QED_EXTENT_DATA, 16, 1000);
	expect_layers(test, l, 7, 4, false, QED_EXTENT_DATA, 4, 1007);
	/* Here the image before has clusters of 16, and the one behind of 32. */
	expect_layers(test, l, 16, 96, false, QED_EXTENT_DATA, 8, 16);
	expect_layers(test, l, 24, 96, false, QED_EXTENT_DATA, 8, 1024);
	expect_layers(test, l, 32, 96, false, QED_EXTENT_DATA, 8, 1032);
	expect_layers(test, l, 48, 96, false, QED_EXTENT_DATA, 16, 1048);
	expect_layers(test, l, 64, 96, false, QED_EXTENT_DATA, 32, 64);
	expect_layers(test, l, 96, 8, false, QED_EXTENT_ZERO, 8, 0);
}

/* An entry that is zero hides what is below, also if all of it has data. */
static void layers_zero(struct kunit *test)
{
	struct layers *l = layers_target(test, "HHH", "HHDZHH", "DD");

	expect_layers(test, l, 16, 48, false, QED_EXTENT_DATA, 8, 1016);
	expect_layers(test, l, 24, 48, false, QED_EXTENT_ZERO, 8, 0);
	expect_layers(test, l, 32, 48, false, QED_EXTENT_DATA, 16, 1032);
}

/* Behind the end of a short one there is nothing, whatever is below it; to the sector */
static void layers_short(struct kunit *test)
{
	struct layers *l = layers_target(test, "HHHHHH", "HHHH", "DDD");

	expect_layers(test, l, 24, 48, false, QED_EXTENT_DATA, 8, 1024);
	expect_layers(test, l, 32, 48, false, QED_EXTENT_ZERO, 48, 0);
	l->bases[1].state.size = 29;
	l->layers[1].size = 0;
	qed_below_unload(l->qed);
	KUNIT_ASSERT_EQ(test, 0, qed_below_load(l->qed));
	expect_layers(test, l, 24, 48, false, QED_EXTENT_DATA, 5, 1024);
	expect_layers(test, l, 29, 3, false, QED_EXTENT_ZERO, 3, 0);
	/* The one that is next below the image, too */
	l->qed->below_end = 90;
	expect_layers(test, l, 80, 64, false, QED_EXTENT_ZERO, 10, 0);
}

/* Where all images have holes the raw device shows, up to its end, as it was then. */
static void layers_raw(struct kunit *test)
{
	struct layers *l = layers_target(test, "HHHHHH", "HHHHHHHHHHHH", "HHH");

	l->qed->raw_end = 50;
	expect_layers(test, l, 8, 96, false, QED_EXTENT_DATA, 42, 8);
	expect_layers(test, l, 50, 8, false, QED_EXTENT_ZERO, 8, 0);
	l->qed->raw_end = 0;
	expect_layers(test, l, 8, 8, false, QED_EXTENT_ZERO, 8, 0);
	/* One that has lost its backing file */
	l->layers[2].backed = false;
	l->qed->raw_end = 96;
	expect_layers(test, l, 8, 8, false, QED_EXTENT_ZERO, 8, 0);
}

/* What cannot be read, or not yet, is not passed by. */
static void layers_bad(struct kunit *test)
{
	struct layers *l = layers_target(test, "HHHHHH", "BHUHHHHHHHHH", "DDD");

	expect_layers(test, l, 0, 16, false, QED_EXTENT_BAD, 8, 0);
	expect_layers(test, l, 0, 16, true, QED_EXTENT_BAD, 8, 0);
	expect_layers(test, l, 8, 8, true, QED_EXTENT_DATA, 8, 1008);
	expect_layers(test, l, 16, 16, false, QED_EXTENT_UNCACHED, 8, 0);
	expect_layers(test, l, 16, 16, true, QED_EXTENT_DATA, 8, 1016);
}

/* Only whole clusters of the image that are known to be zero are. */
static void layers_are_zero(struct kunit *test)
{
	struct layers *l = layers_target(test, "HHHZ", "HHZZDHZZ", "ZHBB");

	l->qed->raw_end = 37;
	expect_zero(test, l->qed, 0, 64, true, 4);
	expect_zero(test, l->qed, 0, 2, true, 2);
	expect_zero(test, l->qed, 4, 64, false, 4);
	/* Five sectors of it are not. */
	l->bases[1].clusters = "HHZZHHZZ";
	expect_zero(test, l->qed, 4, 1, false, 1);
	expect_zero(test, l->qed, 5, 64, true, 3);
	expect_zero(test, l->qed, 8, 64, true, 64);
	/* What is bad is not known, but what has to be read is. */
	l->bases[0].clusters = "HHHB";
	expect_zero(test, l->qed, 5, 64, true, 1);
	expect_zero(test, l->qed, 6, 64, false, 2);
	l->bases[0].clusters = "UHHZ";
	expect_zero(test, l->qed, 0, 1, false, 1);
}

/* If one cannot be loaded those before it are not, and none is left. */
static void layers_load(struct kunit *test)
{
	struct layers *l = layers_target(test, "HHHHHH", "HHHH", "DDD");
	struct qed_base *last = &l->bases[NR_LAYERS - 1];
	unsigned int i;

	qed_below_unload(l->qed);
	qed_below_unload(l->qed);
	last->load = -EIO;
	KUNIT_EXPECT_EQ(test, qed_below_load(l->qed), -EIO);
	last->load = 0;
	l->layers[NR_LAYERS - 1].size = 97;
	KUNIT_EXPECT_EQ(test, qed_below_load(l->qed), -ENXIO);
	l->layers[NR_LAYERS - 1].size = 96;
	l->qed->backing = NULL;
	KUNIT_EXPECT_EQ(test, qed_below_load(l->qed), -EINVAL);
	last->state.backed = false;
	for (i = 0; i < NR_LAYERS; i++)
		KUNIT_EXPECT_EQ(test, l->bases[i].loaded, 0);
	KUNIT_EXPECT_EQ(test, qed_below_load(l->qed), 0);
	for (i = 0; i < NR_LAYERS; i++)
		KUNIT_EXPECT_EQ(test, l->bases[i].loaded, 1);
	qed_below_unload(l->qed);
}

/* Each image says whether there is one more word. */
static void layers_links(struct kunit *test)
{
	struct layers *l = layers_target(test, "HHHHHH", "HHHH", "DDD");
	struct txn_test *t = test->priv;
	unsigned int i;
	char *error;

	l->qed->dev = &l->devs[0];
	KUNIT_EXPECT_EQ(test, qed_below_check(l->qed, &error), 0);
	for (i = 0; i < NR_LAYERS; i++) {
		l->layers[i].backed = false;
		KUNIT_EXPECT_EQ(test, qed_below_check(l->qed, &error), -EINVAL);
		l->layers[i].backed = true;
	}
	l->qed->backing = NULL;
	KUNIT_EXPECT_EQ(test, qed_below_check(l->qed, &error), -EOPNOTSUPP);
	l->layers[NR_LAYERS - 1].backed = false;
	KUNIT_EXPECT_EQ(test, qed_below_check(l->qed, &error), 0);
	t->meta->geo.backed = false;
	KUNIT_EXPECT_EQ(test, qed_below_check(l->qed, &error), -EINVAL);
}

static struct kunit_case below_cases[] = {
	KUNIT_CASE(below_ends),
	KUNIT_CASE(below_is_zero),
	KUNIT_CASE(below_activate),
	KUNIT_CASE(layers_show),
	KUNIT_CASE(layers_zero),
	KUNIT_CASE(layers_short),
	KUNIT_CASE(layers_raw),
	KUNIT_CASE(layers_bad),
	KUNIT_CASE(layers_are_zero),
	KUNIT_CASE(layers_load),
	KUNIT_CASE(layers_links),
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
