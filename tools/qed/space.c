// SPDX-License-Identifier: GPL-2.0-only
/*
 * The space of an image, see space.h.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "space.h"

/*----------------------------------------------------------------
 * Leaks
 *----------------------------------------------------------------
 */

/* A run of leaked clusters that may go on */
struct leak {
	qed_visit_leak visit;
	void *ctx;
	u64 first, end;
};

static int end_leak(struct leak *leak)
{
	if (leak->first == leak->end)
		return 0;
	return leak->visit(leak->ctx, leak->first, leak->end - leak->first);
}

static int add_leak(struct leak *leak, u64 first, u64 end)
{
	int r;

	if (first > leak->end || leak->first == leak->end) {
		r = end_leak(leak);
		if (r)
			return r;
		leak->first = first;
	}
	leak->end = end;
	return 0;
}

/* All clusters in this range that are not in use: none of them is a hole as a whole */
static int add_unused(struct leak *leak, struct qed_map *used, u64 first, u64 end)
{
	u64 next;
	int r = 0;

	for (first = qed_map_next(used, first, end, false); !r && first < end;
	     first = qed_map_next(used, next, end, false)) {
		next = qed_map_next(used, first, end, true);
		r = add_leak(leak, first, next);
	}
	return r;
}

/*
 * Whichever is further away is the next one to be asked for: a free cluster, or
 * data. So there is at most one question for each run of either.
 */
int qed_find_leaks(struct qed_image *img, struct qed_map *used, u64 end,
		   qed_visit_leak visit, void *ctx)
{
	struct leak leak = { .visit = visit, .ctx = ctx };
	unsigned int shift = img->cluster_shift;
	u64 first = 0, data, last;
	int r;

	end = min_u64(end, img->nr_clusters);
	for (;;) {
		if (qed_stopped(img))
			return -EINTR;
		first = qed_map_next(used, first, end, false);
		if (first >= end)
			break;
		data = qed_next_data(img, first << shift, end << shift);
		if (data >= end << shift)
			break;
		first = data >> shift;
		if (qed_map_test(used, first))
			continue;
		data = max_u64(qed_next_hole(img, data, end << shift), data + 1);
		last = min_u64(div_up(data, qed_cluster_size(img)), end);
		r = add_unused(&leak, used, first, last);
		if (r)
			return r;
		first = last;
	}
	return end_leak(&leak);
}

/*----------------------------------------------------------------
 * Free clusters
 *----------------------------------------------------------------
 */

static u64 next_free(const struct qed_space *space, u64 cluster)
{
	return qed_map_next(space->used, cluster, space->limit, false);
}

/* The first free run for a table from @cluster on, or ~0 */
static u64 find_run(const struct qed_space *space, u64 cluster)
{
	u64 nr = space->img->table_clusters, first;

	for (;;) {
		first = next_free(space, cluster);
		if (first >= space->limit || nr > space->limit - first)
			return ~0ULL;
		cluster = qed_map_next(space->used, first, first + nr, true);
		if (cluster == first + nr)
			return first;
	}
}

static int allocate(const struct qed_space *space, u64 first, u64 nr)
{
	unsigned int shift = space->img->cluster_shift;

	if (!space->img->is_block && first > (u64)INT64_MAX >> shift)
		return -EFBIG;
	return qed_allocate(space->img, first << shift, nr << shift);
}

static void release(const struct qed_space *space, u64 first, u64 nr)
{
	unsigned int shift = space->img->cluster_shift;

	qed_release(space->img, first << shift, nr << shift);
}

/* Find runs for all tables */
static int promise_tables(struct qed_space *space, u64 nr)
{
	u64 first = space->first, i;
	int r;

	space->tables = calloc(nr ? nr : 1, sizeof(*space->tables));
	if (!space->tables)
		return -ENOMEM;
	for (i = 0; i < nr; i++) {
		first = find_run(space, first);
		if (first == ~0ULL)
			return -ENOSPC;
		r = qed_map_set(space->used, first, space->img->table_clusters);
		if (!r)
			r = allocate(space, first, space->img->table_clusters);
		space->tables[i] = first;
		space->nr_tables = i + 1;
		if (r)
			return r;
	}
	return 0;
}

/* Allocate, or release, the clusters that will be taken */
static int promise_clusters(struct qed_space *space, u64 nr, bool do_release)
{
	u64 first = space->first, next;
	int r;

	while (nr) {
		if (!do_release && qed_stopped(space->img))
			return -EINTR;
		first = next_free(space, first);
		if (first >= space->limit)
			return -ENOSPC;
		next = qed_map_next(space->used, first, min_u64(space->limit, first + nr), true);
		if (do_release) {
			release(space, first, next - first);
		} else {
			r = allocate(space, first, next - first);
			if (r)
				return r;
		}
		nr -= next - first;
		first = next;
	}
	return 0;
}

void qed_space_release(struct qed_space *space)
{
	u64 i;

	if (!space->img || space->img->is_block ||
	    (!space->nr_clusters && space->next_table == space->nr_tables))
		return;
	for (i = space->next_table; i < space->nr_tables; i++)
		release(space, space->tables[i], space->img->table_clusters);
	promise_clusters(space, space->nr_clusters, true);
	space->nr_clusters = 0;
	qed_release_end(space->img);
}

/* Can there be so much at all? Saves the attempt. */
static bool is_hopeless(const struct qed_space *space, u64 clusters)
{
	const struct qed_image *img = space->img;
	u64 most = INT64_MAX;
	struct statvfs vfs;
	struct stat st;

	if (img->is_block)
		most = img->size;
	else if (!fstatvfs(img->fd, &vfs) && vfs.f_blocks && !fstat(img->fd, &st))
		most = (u64)vfs.f_bavail * vfs.f_frsize + (u64)st.st_blocks * 512;
	return clusters > most >> img->cluster_shift;
}

int qed_space_promise(struct qed_space *space, u64 nr_tables, u64 nr_clusters)
{
	int r;

	if (is_hopeless(space, nr_clusters) ||
	    is_hopeless(space, nr_clusters + nr_tables * space->img->table_clusters))
		return -ENOSPC;
	r = promise_tables(space, nr_tables);
	if (!r)
		r = promise_clusters(space, nr_clusters, false);
	space->nr_clusters = nr_clusters;
	if (r)
		qed_space_release(space);
	return r;
}

int qed_space_take(struct qed_space *space, u64 *cluster)
{
	*cluster = next_free(space, max_u64(space->first, space->next));
	if (*cluster >= space->limit)
		return -ENOSPC;
	space->next = *cluster + 1;
	space->nr_clusters -= !!space->nr_clusters;
	return qed_map_set(space->used, *cluster, 1);
}

int qed_space_take_table(struct qed_space *space, u64 *cluster)
{
	u64 nr = space->img->table_clusters;

	if (space->next_table == space->nr_tables)
		return -ENOSPC;
	*cluster = space->tables[space->next_table++];
	return *cluster + nr > space->limit ? -ENOSPC : 0;
}

void qed_space_free(struct qed_space *space)
{
	free(space->tables);
	space->tables = NULL;
}
