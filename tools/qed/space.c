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

/* Find the clusters in a range of unused ones that are not holes */
static int search_range(const struct qed_image *img, u64 first, u64 end, struct leak *leak)
{
	u64 cluster_size = qed_cluster_size(img);
	u64 offset = first << img->cluster_shift, limit = end << img->cluster_shift, hole;
	int r;

	while ((offset = qed_next_data(img, offset, limit)) < limit) {
		hole = max_u64(qed_next_hole(img, offset, limit), offset + 1);
		first = offset >> img->cluster_shift;
		if (first > leak->end || leak->first == leak->end) {
			r = end_leak(leak);
			if (r)
				return r;
			leak->first = first;
		}
		leak->end = min_u64(div_up(hole, cluster_size), end);
		offset = leak->end << img->cluster_shift;
	}
	return 0;
}

int qed_find_leaks(struct qed_image *img, const struct qed_map *used, u64 end,
		   qed_visit_leak visit, void *ctx)
{
	struct leak leak = { .visit = visit, .ctx = ctx };
	u64 first, next;
	int r;

	end = min_u64(end, img->nr_clusters);
	for (first = 0; first < end; first = next) {
		if (qed_stopped(img))
			return -EINTR;
		first = qed_map_next(used, first, end, false);
		next = qed_map_next(used, first, end, true);
		r = search_range(img, first, next, &leak);
		if (r)
			return r;
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
	const struct qed_image *img = space->img;
	u64 offset = first << img->cluster_shift, length = nr << img->cluster_shift;

	if (img->is_block)
		return 0;
	if (first > (u64)INT64_MAX >> img->cluster_shift || offset > INT64_MAX - length)
		return -EFBIG;
	while (fallocate(img->fd, FALLOC_FL_KEEP_SIZE, offset, length)) {
		if (errno == EOPNOTSUPP)
			return 0;
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

/* Give back what was allocated in a part that is still a hole */
static void release(const struct qed_space *space, u64 first, u64 nr)
{
	const struct qed_image *img = space->img;
	u64 offset = first << img->cluster_shift, end = (first + nr) << img->cluster_shift;
	u64 next;

	end = min_u64(end, img->size);
	for (; offset < end; offset = qed_next_hole(img, next, end)) {
		next = qed_next_data(img, offset, end);
		if (next > offset && fallocate(img->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					       offset, next - offset))
			return;
		if (next >= end)
			return;
	}
}

/* Find runs for all tables */
static int promise_tables(struct qed_space *space, u64 nr)
{
	u64 first = 0, i;
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
	u64 first = 0, next;
	int r;

	while (nr) {
		if (qed_stopped(space->img))
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

static void release_all(struct qed_space *space, u64 nr_clusters)
{
	u64 i;

	if (space->img->is_block)
		return;
	for (i = 0; i < space->nr_tables; i++)
		release(space, space->tables[i], space->img->table_clusters);
	promise_clusters(space, nr_clusters, true);
	/* to the size that it has: this frees what is behind it */
	if (ftruncate(space->img->fd, space->img->size))
		return;
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
	if (r)
		release_all(space, nr_clusters);
	return r;
}

int qed_space_take(struct qed_space *space, u64 *cluster)
{
	*cluster = next_free(space, space->next);
	if (*cluster >= space->limit)
		return -ENOSPC;
	space->next = *cluster + 1;
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
