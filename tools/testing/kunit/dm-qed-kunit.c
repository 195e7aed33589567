// SPDX-License-Identifier: GPL-2.0-only
/*
 * Unit tests of the parts of dm-qed that need no device mapper: the geometry, the
 * space map, table entries, and the states of the transaction.
 *
 * Needs a ram disk, and overwrites it. The sources are included, for what they keep
 * to themselves is what is tested.
 */

#include <kunit/test.h>
#include <linux/delay.h>
#include <linux/major.h>
#include <linux/module.h>

#include "dm-qed-geometry.c"
#include "dm-qed-space.c"
#include "dm-qed-cache.c"
#include "dm-qed-check.c"
#include "dm-qed-reclaim.c"
#include "dm-qed-scan.c"
#include "dm-qed-meta.c"

#define MIB		1048576ULL

/*----------------------------------------------------------------
 * Geometry
 *----------------------------------------------------------------
 */

static void good_header(struct qed_header *h, u32 cluster, u32 table)
{
	memset(h, 0, sizeof(*h));
	h->magic = cpu_to_le32(QED_MAGIC);
	h->cluster_size = cpu_to_le32(cluster);
	h->table_size = cpu_to_le32(table);
	h->header_size = cpu_to_le32(1);
	h->l1_table_offset = cpu_to_le64(cluster);
	h->image_size = cpu_to_le64(16 * MIB);
}

static int parse(struct qed_geometry *geo, const struct qed_header *h, u64 size)
{
	char *error = NULL;
	int r = qed_geometry_parse(geo, h, size, "kunit", &error);

	return r && !error ? -EINVAL * 1000 : r;
}

static void geometry_all_sizes(struct kunit *test)
{
	u32 cluster, table;

	for (cluster = QED_MIN_CLUSTER_SIZE; cluster <= QED_MAX_CLUSTER_SIZE;
	     cluster *= 2) {
		for (table = 1; table <= QED_MAX_TABLE_SIZE; table *= 2) {
			struct qed_geometry geo;
			struct qed_header h;

			good_header(&h, cluster, table);
			KUNIT_ASSERT_EQ(test, 0, parse(&geo, &h, 64ULL * cluster));
			KUNIT_EXPECT_EQ(test, 1ULL << geo.cluster_shift, cluster);
			KUNIT_EXPECT_EQ(test, 8ULL << geo.table_shift,
					(u64)cluster * table);
			KUNIT_EXPECT_EQ(test, geo.l1_first, 1);
			KUNIT_EXPECT_EQ(test, geo.nr_clusters, 64);
			KUNIT_EXPECT_EQ(test, qed_guest_clusters(&geo),
					DIV_ROUND_UP(16 * MIB, cluster));
			KUNIT_EXPECT_EQ(test, qed_cluster_sector(&geo, 3),
					3ULL * cluster / SECTOR_SIZE);
		}
	}
}

static void geometry_bad_sizes(struct kunit *test)
{
	static const u32 clusters[] = { 0, 1, 2048, 4097, 65535, 1U << 27, U32_MAX };
	static const u32 tables[] = { 0, 3, 15, 17, 32, U32_MAX };
	struct qed_geometry geo;
	struct qed_header h;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(clusters); i++) {
		good_header(&h, 65536, 4);
		h.cluster_size = cpu_to_le32(clusters[i]);
		KUNIT_EXPECT_EQ(test, -EINVAL, parse(&geo, &h, MIB));
	}
	for (i = 0; i < ARRAY_SIZE(tables); i++) {
		good_header(&h, 65536, 4);
		h.table_size = cpu_to_le32(tables[i]);
		KUNIT_EXPECT_EQ(test, -EINVAL, parse(&geo, &h, MIB));
	}
}

/* Each field of a good header is made bad in turn; the device has 16 clusters. */
static void geometry_bad_fields(struct kunit *test)
{
	struct qed_geometry geo;
	struct qed_header good, h;

	good_header(&good, 65536, 4);
	KUNIT_ASSERT_EQ(test, 0, parse(&geo, &good, MIB));

#define WITH(field, value, result) \
	do { \
		h = good; \
		h.field = value; \
		KUNIT_EXPECT_EQ(test, result, parse(&geo, &h, MIB)); \
	} while (0)
	WITH(magic, cpu_to_le32(QED_MAGIC ^ 1), -EINVAL);
	WITH(features, cpu_to_le64(1ULL << 63), -EOPNOTSUPP);
	WITH(features, cpu_to_le64(8), -EOPNOTSUPP);
	WITH(compat_features, cpu_to_le64(U64_MAX), 0);
	WITH(header_size, 0, -EINVAL);
	WITH(header_size, cpu_to_le32(65536), -EINVAL);
	WITH(header_size, cpu_to_le32(2), -EINVAL);	/* over the L1 table */
	WITH(l1_table_offset, cpu_to_le64(65536 + 4096), -EINVAL);
	WITH(l1_table_offset, cpu_to_le64(12 * 65536), 0);
	WITH(l1_table_offset, cpu_to_le64(13 * 65536), -EINVAL);
	WITH(l1_table_offset, cpu_to_le64(U64_MAX << 16), -EINVAL);
	WITH(image_size, 0, -EINVAL);
	WITH(image_size, cpu_to_le64(513), -EINVAL);

	good.features = cpu_to_le64(QED_F_BACKING_FILE);
	good.backing_filename_size = cpu_to_le32(7);
	WITH(backing_filename_offset, cpu_to_le32(64), -EOPNOTSUPP);
	WITH(backing_filename_offset, cpu_to_le32(65529), -EOPNOTSUPP);
	WITH(backing_filename_offset, cpu_to_le32(65530), -EINVAL);
	WITH(backing_filename_offset, cpu_to_le32(U32_MAX), -EINVAL);
	WITH(backing_filename_size, cpu_to_le32(U32_MAX), -EINVAL);
#undef WITH
}

/* The greatest disk of a geometry, also where that is beyond what can be said */
static void geometry_image_size(struct kunit *test)
{
	struct qed_geometry geo;
	struct qed_header h;

	good_header(&h, 4096, 1);
	h.image_size = cpu_to_le64(1ULL << 30);		/* 512 * 512 * 4096 */
	KUNIT_EXPECT_EQ(test, 0, parse(&geo, &h, MIB));
	h.image_size = cpu_to_le64((1ULL << 30) + 512);
	KUNIT_EXPECT_EQ(test, -EINVAL, parse(&geo, &h, MIB));

	good_header(&h, 1U << 26, 16);
	h.image_size = cpu_to_le64((1ULL << 63) - 512);
	KUNIT_EXPECT_EQ(test, 0, parse(&geo, &h, 1ULL << 32));
	h.image_size = cpu_to_le64(1ULL << 63);
	KUNIT_EXPECT_EQ(test, -EINVAL, parse(&geo, &h, 1ULL << 32));
}

static void geometry_entries(struct kunit *test)
{
	struct qed_geometry geo;
	struct qed_header h;

	good_header(&h, 65536, 2);
	h.header_size = cpu_to_le32(2);
	h.l1_table_offset = cpu_to_le64(4 * 65536);
	KUNIT_ASSERT_EQ(test, 0, parse(&geo, &h, 16 * 65536 + 1));

#define GOOD(cluster, nr) \
	KUNIT_EXPECT_NULL(test, qed_entry_defect(&geo, (cluster) * 65536ULL, nr))
#define BAD(entry, nr, text) \
	KUNIT_EXPECT_STREQ(test, qed_entry_defect(&geo, entry, nr) ?: "good", \
			   text)
	GOOD(2, 1);
	GOOD(3, 1);
	GOOD(6, 1);
	GOOD(15, 1);
	GOOD(14, 2);
	GOOD(2, 2);
	BAD(2 * 65536 + 1, 1, "is not aligned to a cluster");
	BAD(2 * 65536 + 4096, 1, "is not aligned to a cluster");
	BAD(0, 1, "points into the header");
	BAD(65536, 1, "points into the header");
	BAD(16 * 65536, 1, "is beyond the end of the device");
	BAD(U64_MAX << 16, 1, "is beyond the end of the device");
	BAD(15 * 65536, 2, "reaches over the end of the device");
	BAD(4 * 65536, 1, "points into the L1 table");
	BAD(5 * 65536, 1, "points into the L1 table");
	BAD(3 * 65536, 2, "points into the L1 table");
#undef GOOD
#undef BAD
}

static struct kunit_case geometry_cases[] = {
	KUNIT_CASE(geometry_all_sizes),
	KUNIT_CASE(geometry_bad_sizes),
	KUNIT_CASE(geometry_bad_fields),
	KUNIT_CASE(geometry_image_size),
	KUNIT_CASE(geometry_entries),
	{}
};

static struct kunit_suite geometry_suite = {
	.name = "dm_qed_geometry",
	.test_cases = geometry_cases,
};

/*----------------------------------------------------------------
 * Space map
 *----------------------------------------------------------------
 */

static void expect_run(struct kunit *test, struct qed_space *space, u64 least,
		       u64 want, u64 first, u64 nr, bool zero)
{
	struct qed_run run;

	KUNIT_ASSERT_EQ(test, 0, qed_space_alloc(space, least, want, &run));
	KUNIT_EXPECT_EQ(test, run.first, first);
	KUNIT_EXPECT_EQ(test, run.nr, nr);
	KUNIT_EXPECT_EQ(test, run.zero, zero);
}

static void give(struct qed_space *space, u64 first, u64 nr, bool zero)
{
	struct qed_run run = { first, nr, zero };

	qed_space_free(space, &run);
}

static void expect_full(struct kunit *test, struct qed_space *space, u64 least)
{
	struct qed_run run;

	KUNIT_EXPECT_EQ(test, -ENOSPC, qed_space_alloc(space, least, least, &run));
}

/* Clusters 0 to 9 of 100 may be in use, the others are zero. */
static void space_next_fit(struct kunit *test)
{
	struct qed_space *space = qed_space_create(100, 10);

	KUNIT_ASSERT_NOT_NULL(test, space);
	KUNIT_EXPECT_EQ(test, qed_space_nr_free(space), 90);
	KUNIT_EXPECT_TRUE(test, qed_space_is_used(space, 9));
	KUNIT_EXPECT_FALSE(test, qed_space_is_used(space, 10));
	KUNIT_EXPECT_FALSE(test, qed_space_is_used(space, 100));
	expect_run(test, space, 1, 5, 10, 5, true);
	expect_run(test, space, 1, 5, 15, 5, true);
	give(space, 10, 5, false);
	/* on, not back; what was freed is not zero any more */
	expect_run(test, space, 1, 79, 20, 79, true);
	expect_run(test, space, 1, 10, 99, 1, true);
	expect_run(test, space, 1, 10, 10, 5, false);
	expect_full(test, space, 1);
	KUNIT_EXPECT_EQ(test, qed_space_nr_free(space), 0);
	qed_space_destroy(space);
}

/* A table needs its clusters in one piece, zero or not. */
static void space_pieces(struct kunit *test)
{
	struct qed_space *space = qed_space_create(64, 0);
	u64 i;

	KUNIT_ASSERT_NOT_NULL(test, space);
	expect_run(test, space, 64, 64, 0, 64, true);
	for (i = 0; i < 64; i += 2)
		give(space, i, 1, false);
	KUNIT_EXPECT_EQ(test, qed_space_nr_free(space), 32);
	expect_full(test, space, 2);
	give(space, 41, 1, false);
	expect_run(test, space, 3, 8, 40, 3, false);
	give(space, 0, 0, false);
	expect_run(test, space, 1, 8, 44, 1, false);
	qed_space_destroy(space);
}

/* Zeroes and others are not mixed, unless too few of one kind are there. */
static void space_zero_and_not(struct kunit *test)
{
	struct qed_space *space = qed_space_create(16, 8);
	unsigned long used[1] = { 0x3f };

	KUNIT_ASSERT_NOT_NULL(test, space);
	qed_space_install(space, used);
	KUNIT_EXPECT_EQ(test, qed_space_nr_free(space), 10);
	expect_run(test, space, 8, 8, 8, 8, true);
	expect_run(test, space, 1, 8, 6, 2, false);
	qed_space_destroy(space);

	space = qed_space_create(16, 8);
	KUNIT_ASSERT_NOT_NULL(test, space);
	qed_space_install(space, used);
	expect_run(test, space, 1, 4, 8, 4, true);
	give(space, 8, 4, false);
	expect_run(test, space, 1, 2, 12, 2, true);
	expect_run(test, space, 2, 3, 14, 2, true);
	expect_run(test, space, 4, 16, 6, 6, false);
	qed_space_destroy(space);

	/* Those known to be zero come first, wherever they are. */
	space = qed_space_create(32, 0);
	KUNIT_ASSERT_NOT_NULL(test, space);
	expect_run(test, space, 16, 16, 0, 16, true);
	expect_run(test, space, 16, 16, 16, 16, true);
	give(space, 20, 4, false);
	give(space, 2, 2, true);
	give(space, 9, 3, true);
	expect_run(test, space, 3, 8, 9, 3, true);
	expect_run(test, space, 1, 8, 2, 2, true);
	expect_run(test, space, 1, 8, 20, 4, false);
	expect_full(test, space, 1);
	qed_space_destroy(space);
}

static void space_spans_cursor(struct kunit *test)
{
	struct qed_space *space = qed_space_create(32, 0);

	KUNIT_ASSERT_NOT_NULL(test, space);
	expect_run(test, space, 32, 32, 0, 32, true);
	give(space, 14, 2, false);
	expect_run(test, space, 2, 2, 14, 2, false);	/* the cursor is at 16 */
	give(space, 14, 4, false);
	expect_run(test, space, 4, 4, 14, 4, false);
	qed_space_destroy(space);
}

static void space_grow(struct kunit *test)
{
	struct qed_space *space = qed_space_create(70, U64_MAX);

	KUNIT_ASSERT_NOT_NULL(test, space);
	KUNIT_EXPECT_EQ(test, qed_space_nr_free(space), 0);
	expect_full(test, space, 1);
	KUNIT_EXPECT_EQ(test, 0, qed_space_grow(space, 70));
	KUNIT_EXPECT_EQ(test, 0, qed_space_grow(space, 60));
	KUNIT_EXPECT_EQ(test, 1, qed_space_grow(space, 200));
	KUNIT_EXPECT_EQ(test, qed_space_nr(space), 200);
	KUNIT_EXPECT_EQ(test, qed_space_nr_free(space), 130);
	/* nobody has said that the new ones are zero */
	expect_run(test, space, 1, 200, 70, 130, false);
	expect_full(test, space, 1);
	qed_space_destroy(space);
}

/* What is free but not known to be zero, piece by piece */
static void space_take(struct kunit *test)
{
	enum { NR = 20000 };
	struct qed_space *space = qed_space_create(NR, 0);
	u64 used, allocated;
	struct qed_run run;

	KUNIT_ASSERT_NOT_NULL(test, space);
	KUNIT_EXPECT_EQ(test, qed_space_end(space), 0);
	KUNIT_EXPECT_EQ(test, qed_space_nr_zero(space), NR);
	KUNIT_EXPECT_FALSE(test, qed_space_take_unzeroed(space, 0, NR, NR, &run));
	expect_run(test, space, NR, NR, 0, NR, true);
	KUNIT_EXPECT_EQ(test, qed_space_end(space), NR);
	give(space, 10, 5, false);
	give(space, 15, 5, true);
	give(space, 4090, 10, false);
	give(space, 12000, 8000, true);
	KUNIT_EXPECT_EQ(test, qed_space_nr_zero(space), 8005);
	KUNIT_EXPECT_EQ(test, qed_space_end(space), 12000);

	KUNIT_EXPECT_TRUE(test, qed_space_take_unzeroed(space, 0, NR, 3, &run));
	KUNIT_EXPECT_EQ(test, run.first, 10);
	KUNIT_EXPECT_EQ(test, run.nr, 3);
	KUNIT_EXPECT_FALSE(test, run.zero);
	KUNIT_EXPECT_TRUE(test, qed_space_is_used(space, 12));
	KUNIT_EXPECT_FALSE(test, qed_space_is_used(space, 13));
	KUNIT_EXPECT_TRUE(test, qed_space_take_unzeroed(space, 13, NR, 99, &run));
	KUNIT_EXPECT_EQ(test, run.first, 13);
	KUNIT_EXPECT_EQ(test, run.nr, 2);
	KUNIT_EXPECT_FALSE(test, qed_space_take_unzeroed(space, 15, 4090, 9, &run));
	/* a step of the search ends within it */
	KUNIT_EXPECT_TRUE(test, qed_space_take_unzeroed(space, 15, NR, 99, &run));
	KUNIT_EXPECT_EQ(test, run.first, 4090);
	KUNIT_EXPECT_LE(test, run.nr, 10);
	KUNIT_EXPECT_GE(test, run.nr, 1);

	/* what is taken so does not count as allocated */
	qed_space_count(space, &used, &allocated);
	KUNIT_EXPECT_EQ(test, allocated, NR);
	run.first = 100;
	run.nr = 7;
	qed_space_give_back(space, &run);
	qed_space_count(space, &used, &allocated);
	KUNIT_EXPECT_EQ(test, allocated, NR - 7);
	KUNIT_EXPECT_EQ(test, used, qed_space_nr(space) - qed_space_nr_free(space));
	qed_space_destroy(space);
}

/* A map of this size cannot be had, and must not be tried. */
static void space_too_large(struct kunit *test)
{
	KUNIT_EXPECT_NULL(test, qed_space_create(U64_MAX, U64_MAX));
	KUNIT_EXPECT_NULL(test, qed_space_create(1ULL << 50, 0));
}

/* At random, against an array */
static void space_random(struct kunit *test)
{
	enum { NR = 500 };
	struct qed_space *space = qed_space_create(NR, 200);
	u8 *state = kunit_kzalloc(test, NR, GFP_KERNEL);	/* 0 free, 1 used, 2 zero */
	u64 free = NR - 200, x = 88172645463325252ULL, i;
	unsigned int round;

	KUNIT_ASSERT_NOT_NULL(test, space);
	KUNIT_ASSERT_NOT_NULL(test, state);
	memset(state, 1, 200);
	memset(state + 200, 2, NR - 200);
	for (round = 0; round < 20000; round++) {
		struct qed_run run;

		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		if (x & 1) {
			u64 want = x >> 8 & 15, least = (x >> 16 & 7) + 1;
			u8 worst = 2;

			want = max(want, least);
			if (qed_space_alloc(space, least, want, &run))
				continue;
			KUNIT_ASSERT_GE(test, run.nr, least);
			KUNIT_ASSERT_LE(test, run.nr, want);
			KUNIT_ASSERT_LE(test, run.first + run.nr, (u64)NR);
			for (i = run.first; i < run.first + run.nr; i++) {
				KUNIT_ASSERT_NE(test, state[i], 1);
				worst = min(worst, state[i]);
				state[i] = 1;
			}
			KUNIT_ASSERT_EQ(test, run.zero, worst == 2);
			free -= run.nr;
		} else {
			i = (x >> 8) % NR;
			if (state[i] != 1)
				continue;
			give(space, i, 1, x >> 63);
			state[i] = x >> 63 ? 2 : 0;
			free++;
		}
		KUNIT_ASSERT_EQ(test, qed_space_nr_free(space), free);
	}
	qed_space_destroy(space);
}

static struct kunit_case space_cases[] = {
	KUNIT_CASE(space_next_fit),
	KUNIT_CASE(space_pieces),
	KUNIT_CASE(space_zero_and_not),
	KUNIT_CASE(space_spans_cursor),
	KUNIT_CASE(space_grow),
	KUNIT_CASE(space_take),
	KUNIT_CASE(space_too_large),
	KUNIT_CASE(space_random),
	{}
};

static struct kunit_suite space_suite = {
	.name = "dm_qed_space",
	.test_cases = space_cases,
};

/*----------------------------------------------------------------
 * Entries and transactions, on a ram disk
 *----------------------------------------------------------------
 */

struct txn_test {
	struct block_device *bdev;
	struct qed_meta_client client;
	struct qed_meta *meta;
	unsigned int failed, wanted, more, events;
	bool lost;
};

static void txn_failed(struct qed_meta_client *client, const char *why, bool lost)
{
	struct txn_test *t = container_of(client, struct txn_test, client);

	t->failed++;
	t->lost = lost;
}

static void txn_want_commit(struct qed_meta_client *client, bool now)
{
	container_of(client, struct txn_test, client)->wanted++;
}

static void txn_flush_failed(struct qed_meta_client *client)
{
	container_of(client, struct txn_test, client)->lost = true;
}

static void txn_more_space(struct qed_meta_client *client)
{
	container_of(client, struct txn_test, client)->more++;
}

static void txn_event(struct qed_meta_client *client)
{
	container_of(client, struct txn_test, client)->events++;
}

static int disk_block(struct block_device *bdev, blk_opf_t opf, sector_t sector,
		      void *data)
{
	struct bio_vec vec;
	struct bio bio;
	int r;

	bio_init(&bio, bdev, &vec, 1, opf);
	bio.bi_iter.bi_sector = sector;
	__bio_add_page(&bio, virt_to_page(data), QED_BLOCK_SIZE, 0);
	r = submit_bio_wait(&bio);
	bio_uninit(&bio);
	return r;
}

/* Clusters and tables of 4 KiB: header, L1 table, a table, a cluster of data */
static void make_image(struct kunit *test, struct block_device *bdev)
{
	__le64 *page = (__le64 *)get_zeroed_page(GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, page);
	good_header((struct qed_header *)page, 4096, 1);
	KUNIT_EXPECT_EQ(test, 0, disk_block(bdev, REQ_OP_WRITE, 0, page));
	memset(page, 0, QED_BLOCK_SIZE);
	page[0] = cpu_to_le64(2 * 4096);
	KUNIT_EXPECT_EQ(test, 0, disk_block(bdev, REQ_OP_WRITE, 8, page));
	page[0] = cpu_to_le64(3 * 4096);
	page[1] = cpu_to_le64(QED_ENTRY_ZERO);
	page[3] = cpu_to_le64(4 * 4096);
	page[4] = cpu_to_le64(5 * 4096);
	page[5] = cpu_to_le64(9 * 4096);
	KUNIT_EXPECT_EQ(test, 0, disk_block(bdev, REQ_OP_WRITE, 16, page));
	free_page((unsigned long)page);
}

static int txn_init(struct kunit *test)
{
	struct qed_load_args args = {};
	struct txn_test *t = kunit_kzalloc(test, sizeof(*t), GFP_KERNEL);
	char *error;

	KUNIT_ASSERT_NOT_NULL(test, t);
	test->priv = t;
	t->client.failed = txn_failed;
	t->client.want_commit = txn_want_commit;
	t->client.flush_failed = txn_flush_failed;
	t->client.more_space = txn_more_space;
	t->client.event = txn_event;
	t->client.name = "kunit";
	t->bdev = blkdev_get_by_dev(MKDEV(RAMDISK_MAJOR, 0),
				    FMODE_READ | FMODE_WRITE | FMODE_EXCL, t);
	KUNIT_ASSERT_FALSE(test, IS_ERR(t->bdev));
	make_image(test, t->bdev);
	t->meta = qed_meta_create(t->bdev, &t->client, 64, true, &error);
	KUNIT_ASSERT_FALSE(test, IS_ERR(t->meta));
	KUNIT_ASSERT_EQ(test, 0, qed_meta_load(t->meta, &args));
	return 0;
}

static void txn_exit(struct kunit *test)
{
	struct txn_test *t = test->priv;

	qed_meta_destroy(t->meta);
	blkdev_put(t->bdev, FMODE_READ | FMODE_WRITE | FMODE_EXCL);
}

/* The features that the header has on the device */
static u64 features(struct kunit *test)
{
	struct txn_test *t = test->priv;
	struct qed_header *h = (struct qed_header *)get_zeroed_page(GFP_KERNEL);
	u64 value;

	KUNIT_ASSERT_NOT_NULL(test, h);
	KUNIT_EXPECT_EQ(test, 0, disk_block(t->bdev, REQ_OP_READ, 0, h));
	value = le64_to_cpu(h->features);
	free_page((unsigned long)h);
	return value;
}

/* Map a guest's cluster, and return what qed_meta_map() does. */
static int map(struct kunit *test, u64 cluster)
{
	struct txn_test *t = test->priv;
	struct qed_block *block;
	struct qed_run run;
	int r;

	r = qed_meta_begin(t->meta);
	if (r)
		return r;
	block = qed_block_get(t->meta, cluster, true);
	KUNIT_ASSERT_FALSE(test, IS_ERR_OR_NULL(block));
	KUNIT_ASSERT_EQ(test, 0, qed_space_alloc(t->meta->space, 1, 1, &run));
	/* both ways of ending it */
	r = qed_meta_map(t->meta, block, cluster, &run, cluster & 1);
	if (r || !(cluster & 1))
		qed_meta_end(t->meta, block);
	return r;
}

static void txn_states(struct kunit *test)
{
	struct txn_test *t = test->priv;

	KUNIT_EXPECT_EQ(test, t->meta->txn, QED_TXN_DURABLE);
	KUNIT_EXPECT_EQ(test, features(test), 0);
	KUNIT_EXPECT_EQ(test, 0, map(test, 7));
	KUNIT_EXPECT_EQ(test, t->meta->txn, QED_TXN_DIRTY);
	KUNIT_EXPECT_EQ(test, features(test), QED_F_NEED_CHECK);
	KUNIT_EXPECT_GE(test, t->wanted, 1);
	KUNIT_EXPECT_FALSE(test, qed_meta_is_durable(t->meta));

	KUNIT_EXPECT_EQ(test, 0, qed_meta_commit(t->meta, false));
	KUNIT_EXPECT_EQ(test, t->meta->txn, QED_TXN_WRITTEN);
	KUNIT_EXPECT_EQ(test, 0, map(test, 8));
	KUNIT_EXPECT_EQ(test, t->meta->txn, QED_TXN_DIRTY);
	KUNIT_EXPECT_EQ(test, 0, qed_meta_commit(t->meta, false));
	KUNIT_EXPECT_EQ(test, t->meta->txn, QED_TXN_WRITTEN);
	KUNIT_EXPECT_EQ(test, 0, qed_meta_commit(t->meta, true));
	KUNIT_EXPECT_EQ(test, t->meta->txn, QED_TXN_DURABLE);
	KUNIT_EXPECT_EQ(test, t->meta->commits, 2);

	KUNIT_EXPECT_EQ(test, 0, map(test, 9));
	KUNIT_EXPECT_EQ(test, 0, qed_meta_commit(t->meta, true));
	KUNIT_EXPECT_EQ(test, t->meta->txn, QED_TXN_DURABLE);
	KUNIT_EXPECT_EQ(test, features(test), QED_F_NEED_CHECK);
	KUNIT_EXPECT_EQ(test, 0, qed_meta_close(t->meta));
	KUNIT_EXPECT_EQ(test, features(test), 0);
	KUNIT_EXPECT_EQ(test, t->failed, 0);
}

static void txn_failure(struct kunit *test)
{
	struct txn_test *t = test->priv;

	KUNIT_EXPECT_EQ(test, 0, map(test, 7));
	meta_fail(t->meta, "kunit");
	meta_fail(t->meta, "kunit");
	KUNIT_EXPECT_EQ(test, t->failed, 1);
	KUNIT_EXPECT_TRUE(test, t->lost);
	KUNIT_EXPECT_EQ(test, t->meta->txn, QED_TXN_FAILED);
	KUNIT_EXPECT_EQ(test, -EROFS, map(test, 8));
	KUNIT_EXPECT_EQ(test, -EROFS, qed_meta_commit(t->meta, true));
	KUNIT_EXPECT_EQ(test, -EROFS, qed_meta_close(t->meta));
	KUNIT_EXPECT_EQ(test, features(test), QED_F_NEED_CHECK);
}

static void txn_failure_of_nothing(struct kunit *test)
{
	struct txn_test *t = test->priv;

	KUNIT_EXPECT_EQ(test, 0, map(test, 7));
	KUNIT_EXPECT_EQ(test, 0, qed_meta_commit(t->meta, true));
	meta_fail(t->meta, "kunit");
	KUNIT_EXPECT_FALSE(test, t->lost);
	KUNIT_EXPECT_EQ(test, features(test), QED_F_NEED_CHECK);
}

/* Without space for tables only so much may change. */
static void txn_stuck(struct kunit *test)
{
	struct txn_test *t = test->priv;
	struct qed_cache *cache = &t->meta->cache;
	unsigned int wanted;

	KUNIT_EXPECT_EQ(test, 0, map(test, 7));
	cache->max_blocks = 2;
	spin_lock_irq(&cache->lock);
	qed_cache_set_stuck(cache, true);
	spin_unlock_irq(&cache->lock);
	KUNIT_EXPECT_EQ(test, 0, map(test, 8));
	cache->max_blocks = 1;
	wanted = t->wanted;
	KUNIT_EXPECT_EQ(test, -ENOSPC, map(test, 9));
	KUNIT_EXPECT_EQ(test, t->wanted, wanted + 1);
	KUNIT_EXPECT_EQ(test, t->more, 0);
	KUNIT_EXPECT_EQ(test, 0, qed_meta_commit(t->meta, true));
	KUNIT_EXPECT_EQ(test, t->more, 1);
	KUNIT_EXPECT_EQ(test, 0, map(test, 9));
	KUNIT_EXPECT_EQ(test, 0, qed_meta_close(t->meta));
	KUNIT_EXPECT_EQ(test, t->more, 1);
}

/* A failed flush leaves nothing in doubt but what the guest has written. */
static void txn_flush_fails(struct kunit *test)
{
	struct txn_test *t = test->priv;

	KUNIT_EXPECT_EQ(test, 0, map(test, 7));
	KUNIT_EXPECT_EQ(test, 0, qed_meta_commit(t->meta, true));
	commit_failed(t->meta, -EIO);
	KUNIT_EXPECT_TRUE(test, t->lost);
	qed_meta_flush_failed(t->meta);
	KUNIT_EXPECT_EQ(test, 0, qed_meta_commit(t->meta, true));
	KUNIT_EXPECT_EQ(test, t->failed, 0);
	KUNIT_EXPECT_EQ(test, 0, map(test, 8));
}

/* It may have lost the data for a mapping that comes later. */
static void txn_flush_fails_beside(struct kunit *test)
{
	struct txn_test *t = test->priv;

	KUNIT_ASSERT_EQ(test, 0, qed_meta_begin(t->meta));
	KUNIT_EXPECT_EQ(test, t->meta->txn, QED_TXN_DURABLE);
	commit_failed(t->meta, -EIO);
	KUNIT_EXPECT_EQ(test, t->failed, 1);
	KUNIT_EXPECT_TRUE(test, t->lost);
	KUNIT_EXPECT_EQ(test, -EROFS, qed_meta_commit(t->meta, true));
	qed_meta_end(t->meta, NULL);
}

/* The same if it was one of the guest, and nothing came of the change. */
static void txn_doubtful(struct kunit *test)
{
	struct txn_test *t = test->priv;

	KUNIT_ASSERT_EQ(test, 0, qed_meta_begin(t->meta));
	qed_meta_flush_failed(t->meta);
	qed_meta_end(t->meta, NULL);
	KUNIT_EXPECT_EQ(test, t->failed, 0);
	KUNIT_EXPECT_EQ(test, -EIO, qed_meta_commit(t->meta, true));
	KUNIT_EXPECT_EQ(test, t->failed, 1);
	KUNIT_EXPECT_TRUE(test, t->lost);
}

/* Who asks for a commit may get it when nothing is loaded any more. */
static void txn_late(struct kunit *test)
{
	struct txn_test *t = test->priv;

	KUNIT_EXPECT_EQ(test, 0, map(test, 7));
	qed_meta_unload(t->meta);
	KUNIT_EXPECT_EQ(test, 0, qed_meta_commit(t->meta, true));
	KUNIT_EXPECT_EQ(test, t->meta->txn, QED_TXN_DIRTY);
	KUNIT_EXPECT_EQ(test, t->failed, 0);
}

/* What a failed write has touched is not said to be as it was. */
static void txn_give_back(struct kunit *test)
{
	struct txn_test *t = test->priv;
	struct qed_run run;
	u64 free;

	KUNIT_ASSERT_EQ(test, 0, qed_meta_begin(t->meta));
	free = qed_space_nr_free(t->meta->space);
	KUNIT_ASSERT_EQ(test, 0, qed_space_alloc(t->meta->space, 1, 3, &run));
	qed_meta_give_back(t->meta, &run);
	KUNIT_EXPECT_EQ(test, free, qed_space_nr_free(t->meta->space));
	qed_meta_end(t->meta, NULL);
	KUNIT_EXPECT_EQ(test, 0, qed_meta_close(t->meta));
	KUNIT_EXPECT_EQ(test, features(test), QED_F_NEED_CHECK);
}

static void txn_idle(struct kunit *test)
{
	struct txn_test *t = test->priv;

	KUNIT_EXPECT_EQ(test, 0, map(test, 7));
	KUNIT_EXPECT_GT(test, qed_meta_idle(t->meta, 100 * HZ), 99 * HZ);
	KUNIT_EXPECT_EQ(test, features(test), QED_F_NEED_CHECK);
	t->meta->last_change -= 200 * HZ;
	/* not while a change is under way */
	KUNIT_ASSERT_EQ(test, 0, qed_meta_begin(t->meta));
	KUNIT_EXPECT_EQ(test, qed_meta_idle(t->meta, 100 * HZ), 100 * HZ);
	KUNIT_EXPECT_EQ(test, features(test), QED_F_NEED_CHECK);
	qed_meta_end(t->meta, NULL);
	t->meta->last_change -= 200 * HZ;
	KUNIT_EXPECT_EQ(test, qed_meta_idle(t->meta, 100 * HZ), 0);
	KUNIT_EXPECT_EQ(test, features(test), 0);
	KUNIT_EXPECT_EQ(test, t->meta->txn, QED_TXN_DURABLE);
}

static void expect_extent(struct kunit *test, u64 sector, unsigned int nr,
			  enum qed_extent_kind kind, u64 to, unsigned int length)
{
	struct txn_test *t = test->priv;
	struct qed_extent ext = {};

	KUNIT_EXPECT_EQ(test, qed_meta_lookup(t->meta, sector, nr, &ext), kind);
	KUNIT_EXPECT_EQ(test, ext.nr, length);
	if (kind != QED_EXTENT_DATA)
		return;
	KUNIT_EXPECT_EQ(test, ext.sector, to);
	qed_meta_release(ext.hold);
}

/* Unmap clusters of the guest, with room for @room runs. */
static int unmap(struct kunit *test, u64 cluster, unsigned int nr,
		 unsigned int room)
{
	struct txn_test *t = test->priv;
	struct qed_drop *drop = qed_drop_alloc(room);
	struct qed_block *block;
	int r;

	KUNIT_ASSERT_NOT_NULL(test, drop);
	KUNIT_ASSERT_EQ(test, 0, qed_meta_begin(t->meta));
	block = qed_block_get(t->meta, cluster, false);
	KUNIT_ASSERT_FALSE(test, IS_ERR_OR_NULL(block));
	r = qed_meta_unmap(t->meta, block, cluster, nr, drop);
	if (r < 0 || !drop->nr)
		kfree(drop);
	qed_meta_end(t->meta, block);
	return r;
}

/* Clusters: 0 data, 1 zero, 2 not allocated, 3 and 4 adjacent data, 5 data */
static void unmap_states(struct kunit *test)
{
	struct txn_test *t = test->priv;
	u64 free = qed_space_nr_free(t->meta->space);

	/* room for one run, on the device: the last one is for another time */
	KUNIT_EXPECT_EQ(test, 5, unmap(test, 0, 6, 1));
	KUNIT_EXPECT_EQ(test, 2, unmap(test, 1, 2, 1));
	KUNIT_EXPECT_EQ(test, qed_meta_reclaiming(t->meta), 3);
	KUNIT_EXPECT_EQ(test, t->meta->txn, QED_TXN_DIRTY);
	KUNIT_EXPECT_EQ(test, features(test), QED_F_NEED_CHECK);
	expect_extent(test, 0, 40, QED_EXTENT_HOLE, 0, 40);
	expect_extent(test, 40, 8, QED_EXTENT_DATA, 72, 8);

	/* a commit that is not flushed is not durable */
	KUNIT_EXPECT_EQ(test, 0, qed_meta_commit(t->meta, false));
	flush_work(&t->meta->reclaim.work);
	KUNIT_EXPECT_EQ(test, qed_meta_reclaiming(t->meta), 3);
	KUNIT_EXPECT_EQ(test, qed_space_nr_free(t->meta->space), free);
	KUNIT_EXPECT_EQ(test, 0, qed_meta_commit(t->meta, true));
	flush_work(&t->meta->reclaim.work);
	KUNIT_EXPECT_EQ(test, qed_meta_reclaiming(t->meta), 0);
	KUNIT_EXPECT_EQ(test, qed_space_nr_free(t->meta->space), free + 3);
	KUNIT_EXPECT_FALSE(test, qed_space_is_used(t->meta->space, 3));
	KUNIT_EXPECT_TRUE(test, qed_space_is_used(t->meta->space, 2));

	/* the last cluster of the table, and with it the table */
	KUNIT_EXPECT_EQ(test, t->meta->nr_empty, 0);
	KUNIT_EXPECT_EQ(test, 1, unmap(test, 5, 1, 1));
	KUNIT_EXPECT_EQ(test, t->meta->nr_empty, 1);
	KUNIT_EXPECT_EQ(test, 0, qed_meta_close(t->meta));
	KUNIT_EXPECT_EQ(test, t->meta->nr_empty, 0);
	KUNIT_EXPECT_EQ(test, qed_space_nr_free(t->meta->space), free + 5);
	KUNIT_EXPECT_NULL(test, qed_block_get(t->meta, 0, false));
	KUNIT_EXPECT_EQ(test, features(test), 0);
}

/* A table stays as long as somebody may map to it. */
static void unmap_pinned(struct kunit *test)
{
	struct txn_test *t = test->priv;
	struct qed_block *block = qed_block_get(t->meta, 0, false);

	KUNIT_ASSERT_FALSE(test, IS_ERR_OR_NULL(block));
	KUNIT_EXPECT_EQ(test, 6, unmap(test, 0, 6, 4));
	KUNIT_EXPECT_EQ(test, 0, qed_meta_commit(t->meta, true));
	KUNIT_EXPECT_EQ(test, t->meta->nr_empty, 1);
	KUNIT_EXPECT_TRUE(test, qed_space_is_used(t->meta->space, 2));
	KUNIT_EXPECT_EQ(test, 0, map(test, 3));
	KUNIT_EXPECT_EQ(test, t->meta->nr_empty, 0);
	qed_block_put(t->meta, block);
	KUNIT_EXPECT_EQ(test, 0, qed_meta_commit(t->meta, true));
	KUNIT_EXPECT_TRUE(test, qed_space_is_used(t->meta->space, 2));
}

/* What is being read does not become free. */
static void unmap_held(struct kunit *test)
{
	struct txn_test *t = test->priv;
	struct qed_block *block = qed_block_get(t->meta, 0, false);
	struct qed_extent ext, other;

	KUNIT_ASSERT_FALSE(test, IS_ERR_OR_NULL(block));
	qed_block_put(t->meta, block);
	KUNIT_ASSERT_EQ(test, qed_meta_lookup(t->meta, 0, 8, &ext),
			QED_EXTENT_DATA);
	KUNIT_EXPECT_EQ(test, 1, unmap(test, 0, 1, 1));
	KUNIT_EXPECT_EQ(test, 0, qed_meta_commit(t->meta, true));
	msleep(100);
	KUNIT_EXPECT_TRUE(test, qed_space_is_used(t->meta->space, 3));
	/* those that come later do not matter */
	KUNIT_ASSERT_EQ(test, qed_meta_lookup(t->meta, 24, 8, &other),
			QED_EXTENT_DATA);
	qed_meta_release(ext.hold);
	flush_work(&t->meta->reclaim.work);
	KUNIT_EXPECT_FALSE(test, qed_space_is_used(t->meta->space, 3));
	qed_meta_release(other.hold);
}

static void run_check(struct kunit *test)
{
	struct txn_test *t = test->priv;

	KUNIT_ASSERT_EQ(test, 0, qed_meta_check(t->meta));
	flush_work(&t->meta->check_work);
	flush_work(&t->meta->result_work);
	KUNIT_EXPECT_EQ(test, t->meta->check.state, QED_CHECK_DONE);
}

static void check_counts(struct kunit *test)
{
	struct txn_test *t = test->priv;
	struct qed_check *check = &t->meta->check;
	struct qed_run run;

	run_check(test);
	KUNIT_EXPECT_EQ(test, check->leaks, 0);
	KUNIT_EXPECT_EQ(test, atomic64_read(&check->defects.nr), 0);
	KUNIT_EXPECT_EQ(test, check->nr_seen, 5);
	KUNIT_EXPECT_EQ(test, t->events, 1);
	/* allocated, dropped, mapped since: no leaks */
	KUNIT_EXPECT_EQ(test, 0, qed_space_alloc(t->meta->space, 1, 1, &run));
	KUNIT_EXPECT_EQ(test, 1, unmap(test, 0, 1, 1));
	KUNIT_EXPECT_EQ(test, 0, map(test, 7));
	KUNIT_EXPECT_EQ(test, 0, map(test, 600));
	run_check(test);
	KUNIT_EXPECT_EQ(test, check->leaks, 0);
	KUNIT_EXPECT_EQ(test, atomic64_read(&check->defects.nr), 0);
	/* a leak, and one that is free though it is mapped */
	t->meta->nr_others--;
	run_check(test);
	KUNIT_EXPECT_EQ(test, check->leaks, 1);
	t->meta->nr_others++;
	give(t->meta->space, 9, 1, false);
	run_check(test);
	KUNIT_EXPECT_EQ(test, atomic64_read(&check->defects.nr), 1);
	KUNIT_EXPECT_EQ(test, t->failed, 1);
	KUNIT_EXPECT_EQ(test, -EROFS, qed_meta_check(t->meta));
}

/* Clusters: 0 data, 1 zero, 2 not allocated, 3 and 4 adjacent data, 5 data */
static void lookup(struct kunit *test)
{
	struct txn_test *t = test->priv;
	struct qed_block *block;

	expect_extent(test, 0, 8, QED_EXTENT_UNCACHED, 0, 8);
	expect_extent(test, 512 * 8 - 8, 64, QED_EXTENT_UNCACHED, 0, 8);
	expect_extent(test, 512 * 8, 64, QED_EXTENT_HOLE, 0, 64);
	block = qed_block_get(t->meta, 0, false);
	KUNIT_ASSERT_FALSE(test, IS_ERR_OR_NULL(block));
	KUNIT_EXPECT_EQ(test, qed_block_hole(block, 0, 5), 0);
	KUNIT_EXPECT_EQ(test, qed_block_hole(block, 1, 5), 2);
	KUNIT_EXPECT_EQ(test, qed_block_hole(block, 6, 2), 2);
	KUNIT_EXPECT_EQ(test, qed_block_hole(block, 6, 1000), 506);
	qed_block_put(t->meta, block);

	expect_extent(test, 0, 8, QED_EXTENT_DATA, 24, 8);
	expect_extent(test, 3, 2, QED_EXTENT_DATA, 27, 2);
	expect_extent(test, 3, 64, QED_EXTENT_DATA, 27, 5);
	expect_extent(test, 8, 64, QED_EXTENT_HOLE, 0, 16);
	expect_extent(test, 15, 64, QED_EXTENT_HOLE, 0, 9);
	expect_extent(test, 24, 64, QED_EXTENT_DATA, 32, 16);
	expect_extent(test, 31, 2, QED_EXTENT_DATA, 39, 2);
	expect_extent(test, 40, 64, QED_EXTENT_DATA, 72, 8);
	expect_extent(test, 48, 8, QED_EXTENT_HOLE, 0, 8);
	KUNIT_EXPECT_NULL(test, qed_block_get(t->meta, 512, false));
}

static struct kunit_case txn_cases[] = {
	KUNIT_CASE(lookup),
	KUNIT_CASE(txn_states),
	KUNIT_CASE(txn_failure),
	KUNIT_CASE(txn_failure_of_nothing),
	KUNIT_CASE(txn_stuck),
	KUNIT_CASE(txn_flush_fails),
	KUNIT_CASE(txn_flush_fails_beside),
	KUNIT_CASE(txn_doubtful),
	KUNIT_CASE(txn_late),
	KUNIT_CASE(txn_give_back),
	KUNIT_CASE(txn_idle),
	KUNIT_CASE(unmap_states),
	KUNIT_CASE(unmap_pinned),
	KUNIT_CASE(unmap_held),
	KUNIT_CASE(check_counts),
	{}
};

static int txn_suite_init(struct kunit_suite *suite)
{
	return qed_meta_module_init();
}

static void txn_suite_exit(struct kunit_suite *suite)
{
	qed_meta_module_exit();
}

static struct kunit_suite txn_suite = {
	.name = "dm_qed_meta",
	.suite_init = txn_suite_init,
	.suite_exit = txn_suite_exit,
	.init = txn_init,
	.exit = txn_exit,
	.test_cases = txn_cases,
};

kunit_test_suites(&geometry_suite, &space_suite, &txn_suite);

MODULE_DESCRIPTION("Unit tests of dm-qed");
MODULE_LICENSE("GPL");
