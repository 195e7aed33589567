// SPDX-License-Identifier: GPL-2.0-only
/*
 * The fast scan, see scan.h.
 *
 * The L1 table is read in pieces. All tables of a piece are claimed first. Then
 * threads take units of work, a table or a part of a large one. Bits are set
 * with atomic operations: a bit that was set already is a shared cluster,
 * whichever thread comes first.
 */

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "scan.h"

/* Entries that are looked at together: their bits may be one word of the map */
#define BLOCK_ENTRIES	64U

/* A table is cut into at most so many units */
#define MAX_UNITS	64U

struct job {
	u64 l1_index, table;
};

struct scan {
	struct qed_image *img;
	struct qed_map *map;
	const struct qed_progress *progress;
	unsigned int threads;

	struct job *jobs;	/* of this piece of the L1 table */
	u64 nr_jobs;
	u64 unit_bytes, units_per_table;
	u64 next_unit;		/* atomic */
	u64 done, all;		/* L1 entries, for the progress */

	/* what an entry is checked against, in clusters */
	u64 first, end, l1_first, l1_end;
	int result;		/* atomic: 1 as long as all is well */
	pthread_mutex_t lock;	/* for counts */
	struct qed_counts counts;
};

/* What a thread has */
struct worker {
	struct scan *scan;
	pthread_t thread;
	__le64 *buf;
	u64 last;		/* offset of the last data in this piece */
	struct qed_counts counts;
};

static void fail(struct scan *scan, int result)
{
	__atomic_store_n(&scan->result, result, __ATOMIC_RELAXED);
}

static bool is_well(struct scan *scan)
{
	return __atomic_load_n(&scan->result, __ATOMIC_RELAXED) == 1;
}

/*----------------------------------------------------------------
 * Entries
 *----------------------------------------------------------------
 */

/* Set bits that are in one word of the map; were they all clear? */
static bool claim_word(struct scan *scan, u64 cluster, u64 mask)
{
	int r = qed_map_claim(scan->map, cluster / QED_WORD_BITS, mask);

	if (r < 0)
		fail(scan, r);
	return r;
}

/* Set the bits of a run of at most BLOCK_ENTRIES clusters */
static bool claim_run(struct scan *scan, u64 cluster, unsigned int nr)
{
	unsigned int shift = cluster % 64;
	u64 bits = nr == 64 ? ~0ULL : (1ULL << nr) - 1;

	if (!claim_word(scan, cluster, bits << shift))
		return false;
	if (shift + nr <= 64)
		return true;
	return claim_word(scan, cluster - shift + 64, bits >> (64 - shift));
}

static bool is_legal_run(const struct scan *scan, u64 cluster, u64 nr)
{
	return cluster >= scan->first && cluster < scan->end && nr <= scan->end - cluster &&
	       (cluster >= scan->l1_end || cluster + nr <= scan->l1_first);
}

/*
 * Entries that differ: find out the clusters of all of them first, so that memory is
 * fetched while the others are looked at
 */
static bool check_mixed(struct worker *w, const __le64 *entries)
{
	struct scan *scan = w->scan;
	const struct qed_image *img = scan->img;
	u64 clusters[BLOCK_ENTRIES], masks[BLOCK_ENTRIES], cluster_mask = qed_cluster_size(img) - 1;
	u64 *flat;
	unsigned int i, nr = 0, clashes = 0;

	for (i = 0; i < BLOCK_ENTRIES; i++) {
		u64 entry = le64toh(entries[i]);
		u64 cluster = entry >> img->cluster_shift;

		if (entry <= QED_ENTRY_ZERO) {
			w->counts.zero += entry;
			continue;
		}
		if (entry & cluster_mask || !is_legal_run(scan, cluster, 1))
			return false;
		clusters[nr] = cluster;
		masks[nr] = 1ULL << cluster % QED_WORD_BITS;
		flat = qed_map_flat_word(scan->map, cluster);
		if (flat)
			__builtin_prefetch(flat, 1);
		nr++;
		w->counts.fragmented += w->last && entry != w->last + cluster_mask + 1;
		w->last = entry;
	}
	for (i = 0; i < nr; i++)
		clashes |= !claim_word(scan, clusters[i], masks[i]);
	w->counts.allocated += nr;
	return !clashes;
}

/* Check BLOCK_ENTRIES entries; are they well? */
static bool check_block(struct worker *w, const __le64 *entries)
{
	const struct qed_image *img = w->scan->img;
	u64 base = le64toh(entries[0]), step = qed_cluster_size(img), differ = 0, any = 0;
	unsigned int i;

	for (i = 0; i < BLOCK_ENTRIES; i++) {
		u64 entry = le64toh(entries[i]);

		any |= entry;
		differ |= entry ^ (base + i * step);
	}
	if (!any)
		return true;
	if (differ || base <= QED_ENTRY_ZERO)
		return check_mixed(w, entries);

	if (base & (step - 1) || !is_legal_run(w->scan, base >> img->cluster_shift, BLOCK_ENTRIES))
		return false;
	w->counts.allocated += BLOCK_ENTRIES;
	w->counts.fragmented += w->last && base != w->last + step;
	w->last = base + (BLOCK_ENTRIES - 1) * step;
	return claim_run(w->scan, base >> img->cluster_shift, BLOCK_ENTRIES);
}

/* Is there anything beyond the size in this piece of a table? */
static bool ends_at_size(const __le64 *entries, u64 nr, u64 limit)
{
	for (; limit < nr; limit++)
		if (le64toh(entries[limit]) > QED_ENTRY_ZERO)
			return false;
	return true;
}

static bool check_entries(struct worker *w, __le64 *entries, u64 nr, u64 limit)
{
	u64 i;

	if (limit < nr) {
		if (!ends_at_size(entries, nr, limit))
			return false;
		memset(entries + limit, 0, (nr - limit) * sizeof(*entries));
	}
	w->last = 0;
	for (i = 0; i < nr; i += BLOCK_ENTRIES)
		if (!check_block(w, entries + i))
			return false;
	return true;
}

/*----------------------------------------------------------------
 * Tables
 *----------------------------------------------------------------
 */

/* Read and check what is between two offsets of a table */
static int check_range(struct worker *w, const struct job *job, u64 offset, u64 end)
{
	struct qed_image *img = w->scan->img;
	u64 limit = qed_l2_limit(img, job->l1_index), first, length;

	while ((offset = qed_next_data(img, offset, end)) < end) {
		if (!is_well(w->scan))
			return 1;
		if (qed_stopped(img))
			return -EINTR;
		/* whole pieces: runs of clusters are counted by these */
		offset = job->table + (offset - job->table) / QED_PIECE_SIZE * QED_PIECE_SIZE;
		length = min_u64(end - offset, QED_PIECE_SIZE);
		if (qed_read_table(img, w->buf, offset, length))
			return -EREMOTEIO;
		first = (offset - job->table) / sizeof(__le64);
		if (!check_entries(w, w->buf, length / sizeof(__le64),
				   limit > first ? limit - first : 0))
			return 0;
		offset += length;
	}
	return 1;
}

static int check_unit(struct worker *w, u64 unit)
{
	struct scan *scan = w->scan;
	const struct job *job = &scan->jobs[unit / scan->units_per_table];
	u64 offset = job->table + unit % scan->units_per_table * scan->unit_bytes;

	if (scan->progress->show)
		scan->progress->show(scan->progress->ctx, scan->progress->pass,
				     scan->done + unit / scan->units_per_table, scan->all);
	return check_range(w, job, offset, offset + scan->unit_bytes);
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct scan *scan = w->scan;
	u64 units = scan->nr_jobs * scan->units_per_table, unit;
	int r;

	while (is_well(scan)) {
		unit = __atomic_fetch_add(&scan->next_unit, 1, __ATOMIC_RELAXED);
		if (unit >= units)
			break;
		r = check_unit(w, unit);
		if (r != 1)
			fail(scan, r);
	}
	pthread_mutex_lock(&scan->lock);
	scan->counts.allocated += w->counts.allocated;
	scan->counts.zero += w->counts.zero;
	scan->counts.fragmented += w->counts.fragmented;
	pthread_mutex_unlock(&scan->lock);
	memset(&w->counts, 0, sizeof(w->counts));
	return NULL;
}

/* Check the tables of a piece of the L1 table; the first worker is this thread */
static void check_tables(struct scan *scan, struct worker *workers)
{
	u64 units = scan->nr_jobs * scan->units_per_table;
	unsigned int i, threads = min_u64(scan->threads, units);

	scan->next_unit = 0;
	for (i = 1; i < threads; i++)
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]))
			break;
	threads = i;
	work(&workers[0]);
	for (i = 1; i < threads; i++)
		pthread_join(workers[i].thread, NULL);
}

/*----------------------------------------------------------------
 * The L1 table
 *----------------------------------------------------------------
 */

static int claim_table(struct scan *scan, u64 l1_index, u64 entry)
{
	const struct qed_image *img = scan->img;
	u64 cluster = entry >> img->cluster_shift;
	u32 i;

	if (l1_index >= qed_l1_limit(img) || entry & (qed_cluster_size(img) - 1) ||
	    !is_legal_run(scan, cluster, img->table_clusters))
		return 0;
	for (i = 0; i < img->table_clusters; i++)
		if (!claim_word(scan, cluster + i, 1ULL << (cluster + i) % 64))
			return 0;
	scan->counts.tables++;
	scan->jobs[scan->nr_jobs].l1_index = l1_index;
	scan->jobs[scan->nr_jobs++].table = entry;
	return 1;
}

/* Claim the tables of a piece of the L1 table; 1, 0, or an error */
static int claim_tables(struct scan *scan, const __le64 *entries, u64 first, u64 nr)
{
	u64 i;
	int r;

	scan->nr_jobs = 0;
	for (i = 0; i < nr; i++) {
		if (!entries[i])
			continue;
		r = claim_table(scan, first + i, le64toh(entries[i]));
		if (r != 1)
			return r;
	}
	return scan->result;
}

/* Read the L1 table piece by piece, and the tables of each */
static int scan_pieces(struct scan *scan, __le64 *buf, struct worker *workers)
{
	struct qed_image *img = scan->img;
	u64 start = img->l1_offset, end = start + qed_table_bytes(img), offset = start, length;
	int r = 1;

	while (r == 1 && (offset = qed_next_data(img, offset, end)) < end) {
		if (qed_stopped(img))
			return -EINTR;
		offset = start + (offset - start) / QED_PIECE_SIZE * QED_PIECE_SIZE;
		length = min_u64(end - offset, QED_PIECE_SIZE);
		if (qed_read_table(img, buf, offset, length))
			return -EREMOTEIO;
		scan->done = (offset - start) / sizeof(__le64);
		r = claim_tables(scan, buf, scan->done, length / sizeof(__le64));
		if (r == 1) {
			check_tables(scan, workers);
			r = scan->result;
		}
		offset += length;
	}
	return r;
}

static int scan_image(struct scan *scan, struct worker *workers)
{
	struct qed_image *img = scan->img;
	void *buf;
	int r;

	scan->jobs = malloc(min_u64(QED_PIECE_ENTRIES, qed_table_entries(img)) *
			    sizeof(*scan->jobs));
	buf = qed_alloc_piece(img);
	if (scan->jobs && buf) {
		r = qed_map_set(scan->map, 0, img->header_clusters);
		if (!r)
			r = qed_map_set(scan->map, scan->l1_first, img->table_clusters);
		if (!r)
			r = scan_pieces(scan, buf, workers);
	} else {
		r = -ENOMEM;
	}
	free(buf);
	free(scan->jobs);
	return r;
}

static void set_limits(struct scan *scan)
{
	const struct qed_image *img = scan->img;

	scan->first = img->header_clusters;
	scan->end = img->nr_clusters;
	scan->l1_first = img->l1_offset >> img->cluster_shift;
	scan->l1_end = scan->l1_first + img->table_clusters;
	scan->all = qed_l1_limit(img);
	scan->unit_bytes = max_u64(qed_table_bytes(img) / MAX_UNITS, QED_PIECE_SIZE);
	scan->unit_bytes = min_u64(scan->unit_bytes, qed_table_bytes(img));
	scan->units_per_table = qed_table_bytes(img) / scan->unit_bytes;
}

int qed_scan(struct qed_image *img, struct qed_map *map, struct qed_counts *counts,
	     unsigned int threads, const struct qed_progress *progress)
{
	struct scan scan = {
		.img = img,
		.map = map,
		.progress = progress,
		.threads = threads,
		.result = 1,
		.lock = PTHREAD_MUTEX_INITIALIZER,
	};
	struct worker *workers = calloc(threads, sizeof(*workers));
	unsigned int i;
	int r = 0;

	if (!workers)
		return -ENOMEM;
	set_limits(&scan);
	for (i = 0; i < threads; i++) {
		workers[i].scan = &scan;
		workers[i].buf = qed_alloc_piece(img);
		if (!workers[i].buf)
			r = -ENOMEM;
	}
	if (!r)
		r = scan_image(&scan, workers);
	*counts = scan.counts;
	for (i = 0; i < threads; i++)
		free(workers[i].buf);
	free(workers);
	return r;
}
