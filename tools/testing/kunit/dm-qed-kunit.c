// SPDX-License-Identifier: GPL-2.0-only
/*
 * Unit tests of the parts of dm-qed that need no device mapper: the geometry, table
 * entries, and the states of the transaction. The space map has its own.
 *
 * Needs a ram disk, and overwrites it. The sources are included, for what they keep
 * to themselves is what is tested.
 */

#include <kunit/test.h>
#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/delay.h>
#include <linux/major.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/string.h>

/* How often one of the functions below gives others the processor */
static const char *watched_function;
static unsigned int watched_rescheds;

static void watched_resched(const char *function)
{
	watched_rescheds += watched_function && !strcmp(function, watched_function);
	cond_resched();
}

#undef cond_resched
#define cond_resched()		watched_resched(__func__)

/* A device that has no space for writes with FUA, nor, if @full_writes, for these without */
static bool full_fua, full_writes;
static void (*when_full)(struct bio *bio);

static void hooked_submit(struct bio *bio)
{
	if (!full_fua || !(bio->bi_opf & REQ_FUA)) {
		submit_bio(bio);
		return;
	}
	bio->bi_status = BLK_STS_NOSPC;
	if (when_full)
		when_full(bio);
	else
		bio_endio(bio);
}

static int hooked_submit_wait(struct bio *bio)
{
	return full_writes ? -ENOSPC : submit_bio_wait(bio);
}

#define submit_bio		hooked_submit
#define submit_bio_wait		hooked_submit_wait

#include "dm-qed-geometry.c"
#include "dm-qed-record.c"
#include "dm-qed-owner.c"
#include "dm-qed-space.c"
#include "dm-qed-space-build.c"
#include "dm-qed-cache.c"
#include "dm-qed-check.c"
#include "dm-qed-zero.c"
#include "dm-qed-flush.c"
#include "dm-qed-reclaim.c"
#include "dm-qed-trim.c"
#include "dm-qed-scan.c"
#include "dm-qed-sync.c"
#include "dm-qed-compare.c"
#include "dm-qed-header.c"
#include "dm-qed-judge.c"
#include "dm-qed-l1.c"
#include "dm-qed-lookup.c"
#include "dm-qed-table.c"
#include "dm-qed-resize.c"
#include "dm-qed-commit.c"
#include "dm-qed-walk.c"
#include "dm-qed-survey.c"
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
	KUNIT_EXPECT_FALSE(test, geo.backed);

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
	WITH(backing_filename_offset, cpu_to_le32(64), 0);
	KUNIT_EXPECT_TRUE(test, geo.backed);
	WITH(backing_filename_offset, cpu_to_le32(65529), 0);
	WITH(backing_filename_size, 0, 0);
	KUNIT_EXPECT_FALSE(test, geo.backed);
	WITH(backing_filename_offset, cpu_to_le32(65530), -EINVAL);
	WITH(backing_filename_offset, cpu_to_le32(U32_MAX), -EINVAL);
	WITH(backing_filename_size, cpu_to_le32(U32_MAX), -EINVAL);
	good.backing_filename_offset = cpu_to_le32(64);
	WITH(backing_filename_size, cpu_to_le32(QED_MAX_BACKING_NAME), 0);
	KUNIT_EXPECT_TRUE(test, geo.backed);
	WITH(backing_filename_size, cpu_to_le32(QED_MAX_BACKING_NAME + 1), -EINVAL);
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
 * Entries and transactions, on a ram disk
 *----------------------------------------------------------------
 */

struct txn_test {
	struct block_device *bdev;
	struct qed_meta_client client;
	struct qed_meta *meta;
	unsigned int failed, wanted, more, scanned, events;
	unsigned int early;	/* of more, those that came while a scan went on */
	bool lost;
	void (*when_wanted)(struct txn_test *t);
};

static void txn_failed(struct qed_meta_client *client, const char *why, bool lost)
{
	struct txn_test *t = container_of(client, struct txn_test, client);

	t->failed++;
	t->lost |= lost;
}

static void txn_want_commit(struct qed_meta_client *client, bool now)
{
	struct txn_test *t = container_of(client, struct txn_test, client);

	t->wanted++;
	if (t->when_wanted)
		t->when_wanted(t);
}

static void txn_flush_failed(struct qed_meta_client *client)
{
	container_of(client, struct txn_test, client)->lost = true;
}

static void txn_more_space(struct qed_meta_client *client)
{
	struct txn_test *t = container_of(client, struct txn_test, client);

	t->more++;
	t->early += qed_meta_is_scanning(t->meta);
}

static void txn_scanned(struct qed_meta_client *client)
{
	struct txn_test *t = container_of(client, struct txn_test, client);

	t->scanned += !qed_meta_is_scanning(t->meta);
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
	struct qed_load_args args = { .host = "kunit" };
	struct txn_test *t = kunit_kzalloc(test, sizeof(*t), GFP_KERNEL);
	char *error;

	KUNIT_ASSERT_NOT_NULL(test, t);
	test->priv = t;
	t->client.failed = txn_failed;
	t->client.want_commit = txn_want_commit;
	t->client.flush_failed = txn_flush_failed;
	t->client.more_space = txn_more_space;
	t->client.scanned = txn_scanned;
	t->client.event = txn_event;
	t->client.name = "kunit";
	t->bdev = blkdev_get_by_dev(MKDEV(RAMDISK_MAJOR, 0),
				    FMODE_READ | FMODE_WRITE | FMODE_EXCL, t);
	KUNIT_ASSERT_FALSE(test, IS_ERR(t->bdev));
	make_image(test, t->bdev);
	t->meta = qed_meta_create(t->bdev, &t->client, 64, true, 0, &error);
	KUNIT_ASSERT_FALSE(test, IS_ERR(t->meta));
	KUNIT_ASSERT_EQ(test, 0, qed_meta_load(t->meta, &args));
	flush_delayed_work(&t->meta->scan_work);
	KUNIT_EXPECT_EQ(test, t->scanned, 1);
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
	KUNIT_ASSERT_EQ(test, 0, qed_space_alloc(t->meta->space, 1, &run));
	/* both ways of ending it */
	r = qed_meta_map(t->meta, block, cluster, &run, !run.zero,
			 cluster & 1);
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
	qed_meta_fail(t->meta, "kunit");
	qed_meta_fail(t->meta, "kunit");
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
	qed_meta_fail(t->meta, "kunit");
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
	qed_flush_lost(t->meta);
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
	qed_flush_lost(t->meta);
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
	/* no more than the guest's own flush has told */
	KUNIT_EXPECT_FALSE(test, t->lost);
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
	KUNIT_ASSERT_EQ(test, 0, qed_space_alloc(t->meta->space, 3, &run));
	qed_meta_give_back(t->meta, &run, true);
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

/* Unmap clusters of the guest, with room for @room runs; without room, end where one is. */
static int unmap_or_hide(struct kunit *test, u64 cluster, unsigned int nr,
			 bool hide, unsigned int room)
{
	struct txn_test *t = test->priv;
	struct qed_drop *drop = room ? qed_drop_alloc(room) : NULL;
	struct qed_block *block;
	int r;

	KUNIT_ASSERT_TRUE(test, drop || !room);
	KUNIT_ASSERT_EQ(test, 0, qed_meta_begin(t->meta));
	block = qed_block_get(t->meta, cluster, false);
	KUNIT_ASSERT_FALSE(test, IS_ERR_OR_NULL(block));
	r = qed_meta_unmap(t->meta, block, cluster, nr, hide, drop);
	qed_meta_end(t->meta, block);
	return r;
}

static int unmap(struct kunit *test, u64 cluster, unsigned int nr,
		 unsigned int room)
{
	return unmap_or_hide(test, cluster, nr, false, room);
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
	expect_extent(test, 8, 32, QED_EXTENT_ZERO, 0, 32);
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
	KUNIT_EXPECT_EQ(test, 0, qed_meta_commit(t->meta, true));
	flush_work(&t->meta->reclaim.work);
	KUNIT_EXPECT_EQ(test, t->meta->nr_empty, 0);
	KUNIT_EXPECT_EQ(test, qed_space_nr_free(t->meta->space), free + 5);
	KUNIT_EXPECT_EQ(test, 0, qed_meta_close(t->meta));
	KUNIT_EXPECT_NULL(test, qed_block_get(t->meta, 0, false));
	KUNIT_EXPECT_EQ(test, features(test), 0);
}

/* Over a backing file: what is unmapped hides that, and so does a table without data. */
static void unmap_backed(struct kunit *test)
{
	struct txn_test *t = test->priv;

	t->meta->geo.backed = true;
	/* a discard, and zeroes that may not unmap, up to what has data */
	KUNIT_EXPECT_EQ(test, 3, unmap(test, 0, 3, 1));
	expect_extent(test, 0, 24, QED_EXTENT_ZERO, 0, 16);
	expect_extent(test, 16, 8, QED_EXTENT_HOLE, 0, 8);
	KUNIT_EXPECT_EQ(test, 3, unmap_or_hide(test, 0, 6, true, 0));
	expect_extent(test, 0, 48, QED_EXTENT_ZERO, 0, 24);
	KUNIT_EXPECT_EQ(test, 0, unmap_or_hide(test, 3, 3, true, 0));
	/* both */
	KUNIT_EXPECT_EQ(test, 6, unmap_or_hide(test, 3, 6, true, 2));
	expect_extent(test, 0, 128, QED_EXTENT_ZERO, 0, 72);
	expect_extent(test, 72, 8, QED_EXTENT_HOLE, 0, 8);
	KUNIT_EXPECT_EQ(test, t->meta->mapped, 0);
	KUNIT_EXPECT_EQ(test, t->meta->nr_empty, 0);
	KUNIT_EXPECT_EQ(test, 0, qed_meta_commit(t->meta, true));
	flush_work(&t->meta->reclaim.work);
	KUNIT_EXPECT_TRUE(test, qed_space_is_used(t->meta->space, 2));
	KUNIT_EXPECT_FALSE(test, qed_space_is_used(t->meta->space, 3));
	/* it is mapped again, and then the kinds are not adjacent any more */
	KUNIT_EXPECT_EQ(test, 0, map(test, 4));
	expect_extent(test, 0, 128, QED_EXTENT_ZERO, 0, 32);
	KUNIT_EXPECT_EQ(test, 0, qed_meta_close(t->meta));
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

/* Guest cluster 0 is unmapped with a bio under way to it, by @ext. */
static void unmap_under_way(struct kunit *test, struct qed_extent *ext)
{
	struct txn_test *t = test->priv;
	struct qed_block *block = qed_block_get(t->meta, 0, false);

	KUNIT_ASSERT_FALSE(test, IS_ERR_OR_NULL(block));
	qed_block_put(t->meta, block);
	KUNIT_ASSERT_EQ(test, qed_meta_lookup(t->meta, 0, 8, ext),
			QED_EXTENT_DATA);
	KUNIT_EXPECT_EQ(test, 1, unmap(test, 0, 1, 1));
}

/* What is being read does not become free. */
static void unmap_held(struct kunit *test)
{
	struct txn_test *t = test->priv;
	struct qed_extent ext, other;

	unmap_under_way(test, &ext);
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

/* Nor does the end wait for what is to become free: the image is clean without. */
static void unmap_closed(struct kunit *test)
{
	struct txn_test *t = test->priv;
	struct qed_extent ext;

	unmap_under_way(test, &ext);
	KUNIT_EXPECT_EQ(test, features(test), QED_F_NEED_CHECK);
	KUNIT_EXPECT_EQ(test, 0, qed_meta_close(t->meta));
	KUNIT_EXPECT_EQ(test, features(test), 0);
	KUNIT_EXPECT_EQ(test, qed_meta_reclaiming(t->meta), 1);
	qed_meta_release(ext.hold);
}

/* A pause does not wait for bios, and nothing becomes free before it is over. */
static void unmap_paused(struct kunit *test)
{
	struct txn_test *t = test->priv;
	struct qed_extent ext, other;

	unmap_under_way(test, &ext);
	KUNIT_EXPECT_EQ(test, 0, qed_meta_commit(t->meta, true));
	msleep(100);
	qed_reclaim_pause(&t->meta->reclaim);
	qed_meta_release(ext.hold);

	/* this one is of the younger generation, and so is what is dropped now */
	KUNIT_ASSERT_EQ(test, qed_meta_lookup(t->meta, 24, 8, &other),
			QED_EXTENT_DATA);
	KUNIT_EXPECT_EQ(test, 1, unmap(test, 3, 1, 1));
	KUNIT_EXPECT_EQ(test, 0, qed_meta_commit(t->meta, true));
	msleep(100);
	KUNIT_EXPECT_TRUE(test, qed_space_is_used(t->meta->space, 3));
	KUNIT_EXPECT_EQ(test, qed_meta_reclaiming(t->meta), 2);

	qed_reclaim_continue(&t->meta->reclaim);
	msleep(100);
	KUNIT_EXPECT_TRUE(test, qed_space_is_used(t->meta->space, 4));
	qed_meta_release(other.hold);
	flush_work(&t->meta->reclaim.work);
	KUNIT_EXPECT_EQ(test, qed_meta_reclaiming(t->meta), 0);
	KUNIT_EXPECT_FALSE(test, qed_space_is_used(t->meta->space, 3));
	KUNIT_EXPECT_FALSE(test, qed_space_is_used(t->meta->space, 4));
}

/* Forgotten while a pause holds up the end of a generation */
static void unmap_unloaded(struct kunit *test)
{
	struct txn_test *t = test->priv;
	struct qed_load_args args = { .host = "kunit" };
	struct qed_extent ext;

	unmap_under_way(test, &ext);
	KUNIT_EXPECT_EQ(test, 0, qed_meta_commit(t->meta, true));
	msleep(100);
	qed_reclaim_pause(&t->meta->reclaim);
	qed_meta_release(ext.hold);
	qed_meta_unload(t->meta);
	KUNIT_EXPECT_NULL(test, t->meta->reclaim.draining);
	KUNIT_ASSERT_EQ(test, 0, qed_meta_load(t->meta, &args));
	flush_delayed_work(&t->meta->scan_work);
	KUNIT_EXPECT_FALSE(test, qed_space_is_used(t->meta->space, 3));
	KUNIT_EXPECT_EQ(test, 1, unmap(test, 3, 1, 1));
	KUNIT_EXPECT_EQ(test, 0, qed_meta_commit(t->meta, true));
	flush_work(&t->meta->reclaim.work);
	KUNIT_EXPECT_EQ(test, qed_meta_reclaiming(t->meta), 0);
}

struct throttled {
	struct work_struct work;
	struct completion done;
	struct qed_meta *meta;
	int r;
};

static void throttle(struct work_struct *work)
{
	struct throttled *t = container_of(work, struct throttled, work);

	t->r = qed_meta_throttle(t->meta);
	complete(&t->done);
}

static void add_runs(struct qed_reclaim *reclaim, u64 nr)
{
	spin_lock_irq(&reclaim->lock);
	reclaim->nr_runs += nr;
	spin_unlock_irq(&reclaim->lock);
	wake_up_all(&reclaim->wait);
}

/* Who waits while too much is dropped goes on, also if others drop more after the commit. */
static void unmap_throttled(struct kunit *test)
{
	struct txn_test *t = test->priv;
	struct throttled waiter = { .meta = t->meta };
	struct qed_extent ext;

	unmap_under_way(test, &ext);
	add_runs(&t->meta->reclaim, QED_MAX_RUNS - 1);
	init_completion(&waiter.done);
	INIT_WORK_ONSTACK(&waiter.work, throttle);
	schedule_work(&waiter.work);
	msleep(100);
	KUNIT_EXPECT_FALSE(test, completion_done(&waiter.done));
	KUNIT_EXPECT_EQ(test, 1, unmap(test, 3, 1, 1));
	qed_meta_release(ext.hold);
	KUNIT_EXPECT_NE(test, 0, wait_for_completion_timeout(&waiter.done, 5 * HZ));

	add_runs(&t->meta->reclaim, 1 - QED_MAX_RUNS);
	flush_work(&waiter.work);
	destroy_work_on_stack(&waiter.work);
	KUNIT_EXPECT_EQ(test, 0, waiter.r);
	KUNIT_EXPECT_EQ(test, qed_meta_reclaiming(t->meta), 0);
}

enum {
	MANY = 16,
};

static void completes(struct work_struct *work)
{
	complete(&container_of(work, struct throttled, work)->done);
}

/*
 * A check waits for a block of the cache, as when all of them are dirty. What a commit may wait
 * for goes on meanwhile, also with a single worker.
 */
static void walk_waits(struct kunit *test)
{
	struct txn_test *t = test->priv;
	struct workqueue_struct *own = t->meta->scan_wq;
	unsigned int nr = t->meta->cache.max_blocks, i;
	struct qed_block **blocks = kunit_kcalloc(test, nr, sizeof(*blocks), GFP_KERNEL);
	struct throttled other;

	KUNIT_ASSERT_NOT_NULL(test, blocks);
	for (i = 0; i < nr; i++)
		blocks[i] = qed_cache_alloc(&t->meta->cache);
	t->meta->scan_wq = alloc_ordered_workqueue("dm-qed-kunit", WQ_MEM_RECLAIM);
	KUNIT_EXPECT_EQ(test, 0, qed_meta_check(t->meta));
	msleep(100);
	KUNIT_EXPECT_EQ(test, t->meta->check.state, QED_CHECK_RUNNING);

	init_completion(&other.done);
	INIT_WORK_ONSTACK(&other.work, completes);
	qed_meta_queue_work(t->meta, &other.work);
	KUNIT_EXPECT_NE(test, 0, wait_for_completion_timeout(&other.done, 2 * HZ));

	for (i = 0; i < nr; i++)
		qed_cache_discard(&t->meta->cache, blocks[i]);
	flush_work(&other.work);
	destroy_work_on_stack(&other.work);
	flush_work(&t->meta->check_work);
	flush_work(&t->meta->result_work);
	KUNIT_EXPECT_EQ(test, t->meta->check.state, QED_CHECK_DONE);
	destroy_workqueue(t->meta->scan_wq);
	t->meta->scan_wq = own;
}

/* One commit is enough for all who wait for one. */
static void unmap_throttled_many(struct kunit *test)
{
	struct txn_test *t = test->priv;
	struct throttled *waiters = kunit_kcalloc(test, MANY, sizeof(*waiters), GFP_KERNEL);
	struct qed_extent ext;
	unsigned long begun;
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, waiters);
	KUNIT_EXPECT_EQ(test, 1, unmap(test, 3, 1, 1));
	KUNIT_ASSERT_EQ(test, qed_meta_lookup(t->meta, 0, 8, &ext),
			QED_EXTENT_DATA);
	add_runs(&t->meta->reclaim, QED_MAX_RUNS - 1);
	mutex_lock(&t->meta->commit_mutex);
	begun = t->meta->begun;
	for (i = 0; i < MANY; i++) {
		waiters[i].meta = t->meta;
		init_completion(&waiters[i].done);
		INIT_WORK(&waiters[i].work, throttle);
		queue_work(system_unbound_wq, &waiters[i].work);
	}
	msleep(100);
	mutex_unlock(&t->meta->commit_mutex);
	msleep(100);
	for (i = 0; i < MANY; i++)
		KUNIT_EXPECT_FALSE(test, completion_done(&waiters[i].done));
	KUNIT_EXPECT_EQ(test, t->meta->begun, begun + 1);

	qed_meta_release(ext.hold);
	for (i = 0; i < MANY; i++) {
		flush_work(&waiters[i].work);
		KUNIT_EXPECT_EQ(test, 0, waiters[i].r);
	}
	KUNIT_EXPECT_EQ(test, t->meta->begun, begun + 1);
	add_runs(&t->meta->reclaim, 1 - QED_MAX_RUNS);
	KUNIT_EXPECT_EQ(test, qed_meta_reclaiming(t->meta), 0);
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
	KUNIT_EXPECT_EQ(test, 0, qed_space_alloc(t->meta->space, 1, &run));
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
	run = (struct qed_run) { .first = 9, .nr = 1 };
	qed_space_free(t->meta->space, &run);
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
	bool zero;

	expect_extent(test, 0, 8, QED_EXTENT_UNCACHED, 0, 8);
	expect_extent(test, 512 * 8 - 8, 64, QED_EXTENT_UNCACHED, 0, 8);
	expect_extent(test, 512 * 8, 64, QED_EXTENT_HOLE, 0, 64);
	block = qed_block_get(t->meta, 0, false);
	KUNIT_ASSERT_FALSE(test, IS_ERR_OR_NULL(block));
	KUNIT_EXPECT_EQ(test, qed_block_hole(block, 0, 5, &zero), 0);
	KUNIT_EXPECT_EQ(test, qed_block_hole(block, 1, 5, &zero), 1);
	KUNIT_EXPECT_TRUE(test, zero);
	KUNIT_EXPECT_EQ(test, qed_block_hole(block, 2, 5, &zero), 1);
	KUNIT_EXPECT_FALSE(test, zero);
	KUNIT_EXPECT_EQ(test, qed_block_hole(block, 6, 2, &zero), 2);
	KUNIT_EXPECT_EQ(test, qed_block_hole(block, 6, 1000, &zero), 506);
	qed_block_put(t->meta, block);

	expect_extent(test, 0, 8, QED_EXTENT_DATA, 24, 8);
	expect_extent(test, 3, 2, QED_EXTENT_DATA, 27, 2);
	expect_extent(test, 3, 64, QED_EXTENT_DATA, 27, 5);
	expect_extent(test, 8, 64, QED_EXTENT_ZERO, 0, 16);
	expect_extent(test, 15, 64, QED_EXTENT_ZERO, 0, 9);
	expect_extent(test, 16, 64, QED_EXTENT_HOLE, 0, 8);
	t->meta->geo.backed = true;
	expect_extent(test, 8, 64, QED_EXTENT_ZERO, 0, 8);
	t->meta->geo.backed = false;
	expect_extent(test, 24, 64, QED_EXTENT_DATA, 32, 16);
	expect_extent(test, 31, 2, QED_EXTENT_DATA, 39, 2);
	expect_extent(test, 40, 64, QED_EXTENT_DATA, 72, 8);
	expect_extent(test, 48, 8, QED_EXTENT_HOLE, 0, 8);
	KUNIT_EXPECT_NULL(test, qed_block_get(t->meta, 512, false));
}

/* How much a device zeroes at once may be no multiple of its blocks. */
static void zeroes_of_blocks(struct kunit *test)
{
	struct txn_test *t = test->priv;
	struct queue_limits *limits = &bdev_get_queue(t->bdev)->limits;
	unsigned int block = limits->logical_block_size;
	unsigned int zeroes = limits->max_write_zeroes_sectors;
	struct qed_zeroing zeroing = { .zeroer = &t->meta->reclaim.zeroer };
	struct bio *bio;
	unsigned int i;
	static const unsigned int max[][2] = {
		{ 8, 8 }, { 15, 8 }, { 4194303, 4194296 }, { UINT_MAX, 8388600 },
	};

	limits->logical_block_size = 4096;
	for (i = 0; i < ARRAY_SIZE(max); i++) {
		limits->max_write_zeroes_sectors = max[i][0];
		bio = zeroes_bio(&zeroing, 0, 1 << 24);
		KUNIT_ASSERT_NOT_NULL(test, bio);
		KUNIT_EXPECT_EQ(test, bio_sectors(bio), max[i][1]);
		bio_put(bio);
	}
	limits->max_write_zeroes_sectors = 7;
	KUNIT_EXPECT_NULL(test, zeroes_bio(&zeroing, 0, 1 << 24));
	limits->logical_block_size = block;
	limits->max_write_zeroes_sectors = zeroes;
}

/*
 * Before it is known what is in use nothing is said to have been added: that would be used,
 * and not written, if the scan ends before it is asked for.
 */
static void grow_unknown(struct kunit *test)
{
	struct txn_test *t = test->priv;
	u64 nr = 1;

	t->meta->known = false;
	KUNIT_EXPECT_EQ(test, 0, qed_meta_see_growth(t->meta, &nr));
	KUNIT_EXPECT_EQ(test, nr, 0);
	t->meta->known = true;
	KUNIT_EXPECT_EQ(test, 0, qed_meta_grow(t->meta, nr));
}

static struct kunit_case txn_cases[] = {
	KUNIT_CASE(zeroes_of_blocks),
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
	KUNIT_CASE(unmap_backed),
	KUNIT_CASE(unmap_pinned),
	KUNIT_CASE(unmap_held),
	KUNIT_CASE(unmap_closed),
	KUNIT_CASE(unmap_paused),
	KUNIT_CASE(unmap_unloaded),
	KUNIT_CASE(unmap_throttled),
	KUNIT_CASE(unmap_throttled_many),
	KUNIT_CASE(walk_waits),
	KUNIT_CASE(check_counts),
	KUNIT_CASE(grow_unknown),
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

#include "dm-qed-kunit-below.c"
#include "dm-qed-kunit-cache.c"
#include "dm-qed-kunit-commit.c"
#include "dm-qed-kunit-record.c"
#include "dm-qed-kunit-steps.c"
#include "dm-qed-kunit-survey.c"
#include "dm-qed-kunit-flush.c"

kunit_test_suites(&geometry_suite, &txn_suite, &below_suite, &cache_suite,
		  &loading_suite, &commit_suite, &record_suite, &steps_suite,
		  &survey_suite, &flush_suite);

MODULE_DESCRIPTION("Unit tests of dm-qed");
MODULE_LICENSE("GPL");
