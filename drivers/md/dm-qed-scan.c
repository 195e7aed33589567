// SPDX-License-Identifier: GPL-2.0-only
/*
 * The scan of all tables of an image, see dm-qed-scan.h.
 */

#include <linux/bio.h>
#include <linux/completion.h>
#include <linux/device-mapper.h>
#include <linux/err.h>
#include <linux/minmax.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/vmalloc.h>

#include "dm-qed-scan.h"
#include "dm-qed-space-build.h"

#define DM_MSG_PREFIX "qed"

/* Defects that are described; the others are only counted */
#define QED_MAX_REPORTS		8

/* Size of a read, in table blocks, and number of reads in flight */
#define QED_CHUNK_BLOCKS	32
#define QED_SCAN_DEPTH		32

/* A piece of a table that is being read */
struct qed_chunk {
	struct bio bio;
	struct bio_vec vecs[QED_CHUNK_BLOCKS];
	struct page *pages[QED_CHUNK_BLOCKS];	/* as many as were needed */
	struct completion done;
	bool pending;
	u64 table;		/* first cluster of the table */
	u64 l1_index;		/* L1 entry of the table */
	u64 block;		/* first block of the table in the chunk */
	unsigned int nr;	/* blocks */
};

struct qed_scan {
	const struct qed_scan_args *args;
	const struct qed_geometry *geo;
	struct qed_scan_result *result;
	struct qed_defects defects;
	struct qed_chunk *chunks;	/* the last one is for the L1 table */
	unsigned int next;		/* chunk to be reused next */
};

/*----------------------------------------------------------------
 * Reports
 *----------------------------------------------------------------
 */

static bool report(struct qed_defects *defects)
{
	return atomic64_inc_return(&defects->nr) <= QED_MAX_REPORTS;
}

void qed_defect_l1(struct qed_defects *defects, const struct qed_geometry *geo,
		   u64 index, u64 entry, const char *what)
{
	if (report(defects))
		DMERR("%s: guest offset %llu: L1 table at 0x%llx, entry %llu: 0x%llx %s",
		      defects->name, index << qed_table_map_shift(geo),
		      geo->l1_first << geo->cluster_shift, index, entry, what);
}

void qed_defect_l2(struct qed_defects *defects, const struct qed_geometry *geo,
		   u64 table, u64 cluster, u64 entry, const char *what)
{
	if (report(defects))
		DMERR("%s: guest offset %llu: L2 table at 0x%llx, entry %llu: 0x%llx %s",
		      defects->name, cluster << geo->cluster_shift, table,
		      cluster & ((1ULL << geo->table_shift) - 1), entry, what);
}

/*----------------------------------------------------------------
 * Reading
 *----------------------------------------------------------------
 */

static void chunks_free(struct qed_chunk *chunks)
{
	unsigned int i, j;

	if (!chunks)
		return;
	for (i = 0; i <= QED_SCAN_DEPTH; i++)
		for (j = 0; j < QED_CHUNK_BLOCKS; j++)
			if (chunks[i].pages[j])
				__free_page(chunks[i].pages[j]);
	kvfree(chunks);
}

static struct qed_chunk *chunks_alloc(void)
{
	struct qed_chunk *chunks;
	unsigned int i;

	chunks = kvcalloc(QED_SCAN_DEPTH + 1, sizeof(*chunks), GFP_KERNEL);
	for (i = 0; chunks && i <= QED_SCAN_DEPTH; i++)
		init_completion(&chunks[i].done);
	return chunks;
}

/* Most images are small, and need few of the pages. */
static int chunk_alloc(struct qed_chunk *chunk, unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++) {
		if (!chunk->pages[i])
			chunk->pages[i] = alloc_page(GFP_KERNEL);
		if (!chunk->pages[i])
			return -ENOMEM;
	}
	return 0;
}

static void chunk_endio(struct bio *bio)
{
	complete(&container_of(bio, struct qed_chunk, bio)->done);
}

/* Start reading the chunk at @block of the table in cluster @table. */
static int chunk_read(struct qed_scan *scan, struct qed_chunk *chunk,
		      u64 table, u64 block)
{
	u64 blocks = 1ULL << (scan->geo->table_shift - QED_BLOCK_BITS);
	unsigned int i;
	int r;

	chunk->table = table;
	chunk->block = block;
	chunk->nr = min_t(u64, blocks - block, QED_CHUNK_BLOCKS);
	r = chunk_alloc(chunk, chunk->nr);
	if (r)
		return r;
	chunk->pending = true;

	bio_init(&chunk->bio, scan->args->bdev, chunk->vecs, QED_CHUNK_BLOCKS,
		 REQ_OP_READ | REQ_META);
	chunk->bio.bi_iter.bi_sector = qed_cluster_sector(scan->geo, table) +
				       block * QED_BLOCK_SECTORS;
	chunk->bio.bi_end_io = chunk_endio;
	for (i = 0; i < chunk->nr; i++)
		__bio_add_page(&chunk->bio, chunk->pages[i], QED_BLOCK_SIZE, 0);
	submit_bio(&chunk->bio);
	return 0;
}

static int chunk_wait(struct qed_scan *scan, struct qed_chunk *chunk)
{
	u64 offset = (chunk->table << scan->geo->cluster_shift) +
		     chunk->block * QED_BLOCK_SIZE;
	int r;

	wait_for_completion(&chunk->done);
	chunk->pending = false;

	r = blk_status_to_errno(chunk->bio.bi_status);
	if (r == -ENOSPC)
		r = -EIO;	/* a failed read is no lack of space */
	bio_uninit(&chunk->bio);
	if (r)
		DMERR("%s: cannot read %u bytes of a table at 0x%llx: error %d",
		      scan->args->name, chunk->nr * QED_BLOCK_SIZE, offset, r);
	return r;
}

static bool stopped(struct qed_scan *scan)
{
	const bool *stop = scan->args->stop;

	cond_resched();
	return stop ? READ_ONCE(*stop) : fatal_signal_pending(current);
}

/*----------------------------------------------------------------
 * Checking
 *----------------------------------------------------------------
 */

/*
 * Was the entry made while the scan ran? Such clusters are in the space map
 * already. Any other entry that gets there breaks the promise of zeroed_from.
 */
static bool is_new(struct qed_scan *scan, u64 cluster)
{
	return cluster >= scan->args->zeroed_from && scan->args->space &&
	       qed_space_is_used(scan->args->space, cluster);
}

static const char *claim(struct qed_scan *scan, u64 entry, u64 nr)
{
	u64 first = entry >> scan->geo->cluster_shift, i;
	const char *what = qed_entry_defect(scan->geo, entry, nr);

	if (what)
		return what;
	if (first + nr > scan->args->zeroed_from)
		return "is in the range that zeroed_from or the record says is not used";
	for (i = 0; i < nr; i++)
		if (test_bit(first + i, scan->result->used))
			return "refers to a cluster that is referenced already";
	for (i = 0; i < nr; i++)
		__set_bit(first + i, scan->result->used);
	scan->result->nr_used += nr;
	return NULL;
}

static void check_l2_entry(struct qed_scan *scan, struct qed_chunk *chunk,
			   u64 cluster, u64 entry)
{
	const struct qed_geometry *geo = scan->geo;
	const char *what;

	if (entry == QED_ENTRY_UNALLOCATED || entry == QED_ENTRY_ZERO ||
	    is_new(scan, entry >> geo->cluster_shift))
		return;

	what = claim(scan, entry, 1);
	if (what)
		qed_defect_l2(&scan->defects, geo,
			      chunk->table << geo->cluster_shift, cluster,
			      entry, what);
	else if (cluster < qed_guest_clusters(geo))
		scan->result->mapped++;
	if (!what && chunk->l1_index < qed_guest_tables(geo))
		scan->result->tables[chunk->l1_index]++;
}

static void check_l2_chunk(struct qed_scan *scan, struct qed_chunk *chunk)
{
	u64 cluster = (chunk->l1_index << scan->geo->table_shift) +
		      (chunk->block << QED_BLOCK_BITS);
	unsigned int i, j;

	for (i = 0; i < chunk->nr; i++, cluster += QED_BLOCK_ENTRIES) {
		const __le64 *entries = page_address(chunk->pages[i]);

		if (!memchr_inv(entries, 0, QED_BLOCK_SIZE))
			continue;
		for (j = 0; j < QED_BLOCK_ENTRIES; j++)
			check_l2_entry(scan, chunk, cluster + j,
				       le64_to_cpu(entries[j]));
	}
}

static int finish_chunk(struct qed_scan *scan, struct qed_chunk *chunk)
{
	int r;

	if (!chunk->pending)
		return 0;
	r = chunk_wait(scan, chunk);
	if (!r)
		check_l2_chunk(scan, chunk);
	return r;
}

static int scan_l2(struct qed_scan *scan, u64 l1_index, u64 table)
{
	u64 blocks = 1ULL << (scan->geo->table_shift - QED_BLOCK_BITS);
	u64 first = l1_index * blocks;
	struct qed_chunk *chunk;
	u64 block;
	int r;

	for (block = 0; block < blocks; block += QED_CHUNK_BLOCKS) {
		if (stopped(scan))
			return -EINTR;
		chunk = &scan->chunks[scan->next];
		r = finish_chunk(scan, chunk);
		if (r)
			return r;
		if (scan->args->next)
			atomic64_set(scan->args->next, first + block);
		chunk->l1_index = l1_index;
		r = chunk_read(scan, chunk, table, block);
		if (r)
			return r;
		scan->next = (scan->next + 1) % QED_SCAN_DEPTH;
	}
	return 0;
}

static int scan_l1_entry(struct qed_scan *scan, u64 index, u64 entry)
{
	u64 table = entry >> scan->geo->cluster_shift;
	const char *what;

	if (entry == QED_ENTRY_UNALLOCATED || is_new(scan, table))
		return 0;

	what = claim(scan, entry, scan->geo->table_clusters);
	if (what) {
		qed_defect_l1(&scan->defects, scan->geo, index, entry, what);
		return 0;
	}
	scan->result->nr_tables += index < qed_guest_tables(scan->geo);
	return scan_l2(scan, index, table);
}

static int scan_l1_chunk(struct qed_scan *scan, struct qed_chunk *chunk)
{
	u64 index = chunk->block << QED_BLOCK_BITS;
	unsigned int i, j;
	int r;

	for (i = 0; i < chunk->nr; i++, index += QED_BLOCK_ENTRIES) {
		const __le64 *entries = page_address(chunk->pages[i]);

		if (!memchr_inv(entries, 0, QED_BLOCK_SIZE))
			continue;
		for (j = 0; j < QED_BLOCK_ENTRIES; j++) {
			r = scan_l1_entry(scan, index + j,
					  le64_to_cpu(entries[j]));
			if (r)
				return r;
		}
	}
	return 0;
}

/* All of the L1 table, also what is beyond the size of the image. */
static int scan_l1(struct qed_scan *scan)
{
	u64 blocks = 1ULL << (scan->geo->table_shift - QED_BLOCK_BITS);
	struct qed_chunk *chunk = &scan->chunks[QED_SCAN_DEPTH];
	u64 block;
	int r;

	for (block = 0; block < blocks; block += QED_CHUNK_BLOCKS) {
		if (stopped(scan))
			return -EINTR;
		r = chunk_read(scan, chunk, scan->geo->l1_first, block);
		if (!r)
			r = chunk_wait(scan, chunk);
		if (!r)
			r = scan_l1_chunk(scan, chunk);
		if (r)
			return r;
	}
	return 0;
}

int qed_scan(const struct qed_scan_args *args, struct qed_scan_result *result)
{
	struct qed_scan scan = {
		.args = args,
		.geo = args->geo,
		.result = result,
		.defects.name = args->name,
	};
	const struct qed_geometry *geo = args->geo;
	unsigned int i;
	u64 cluster, defects;
	int r, r2;

	memset(result, 0, sizeof(*result));
	result->used = qed_space_bitmap(geo->nr_clusters);
	result->tables = kvcalloc(qed_guest_tables(geo),
				  sizeof(*result->tables), GFP_KERNEL);
	scan.chunks = chunks_alloc();
	if (!result->used || !result->tables || !scan.chunks) {
		r = -ENOMEM;
		goto out;
	}

	for (cluster = 0; cluster < geo->header_clusters; cluster++)
		__set_bit(cluster, result->used);
	for (i = 0; i < geo->table_clusters; i++)
		__set_bit(geo->l1_first + i, result->used);
	result->nr_used = geo->header_clusters + geo->table_clusters;

	r = scan_l1(&scan);
	for (i = 0; i < QED_SCAN_DEPTH; i++) {
		r2 = finish_chunk(&scan, &scan.chunks[i]);
		if (!r)
			r = r2;
	}
	defects = atomic64_read(&scan.defects.nr);
	if (!r && defects) {
		DMERR("%s: %llu defects in the tables: run qed-fsck, or open it read_only",
		      args->name, defects);
		r = -EUCLEAN;
	}

out:
	chunks_free(scan.chunks);
	if (r)
		qed_scan_result_free(result);
	return r;
}

void qed_scan_result_free(struct qed_scan_result *result)
{
	vfree(result->used);
	kvfree(result->tables);
}
