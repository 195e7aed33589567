/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The space of an image: what is leaked, and clusters for copies.
 */

#ifndef QED_SPACE_H
#define QED_SPACE_H

#include "image.h"
#include "map.h"

/* @first and @nr are clusters. An error ends the search. */
typedef int (*qed_visit_leak)(void *ctx, u64 first, u64 nr);

/**
 * qed_find_leaks() - find leaked clusters
 * @img: the image, a file
 * @used: the clusters in use
 * @end: up to this cluster
 * @visit: called for each run of clusters that are not in use and not a hole
 * @ctx: for @visit
 *
 * Return: 0, an error of @visit, or -EINTR if the user wants no more.
 */
int qed_find_leaks(struct qed_image *img, struct qed_map *used, u64 end,
		   qed_visit_leak visit, void *ctx);

/**
 * struct qed_space - free clusters
 * @img: the image
 * @used: the clusters in use, or promised
 * @first: only clusters from this one on
 * @limit: only clusters before this one; ~0 if a file may grow
 * @next: where to look for a cluster
 * @tables: first clusters of runs for tables that were promised
 * @nr_tables: number of runs promised
 * @next_table: number of runs that were taken
 * @nr_clusters: number of clusters that were promised, and not taken
 *
 * Space is promised first, so that nothing has to be changed if there is not
 * enough, and taken then.
 */
struct qed_space {
	struct qed_image *img;
	struct qed_map *used;
	u64 first, limit, next;
	u64 *tables, nr_tables, next_table;
	u64 nr_clusters;
};

/**
 * qed_space_promise() - see to it that there is space
 * @space: @img, @used, @first and @limit are set, all else is 0
 * @nr_tables: number of tables
 * @nr_clusters: number of other clusters
 *
 * Allocates space in the file system; contents do not change, nor the size.
 * Return: 0, -ENOSPC, -EFBIG and others: then there was no change.
 */
int qed_space_promise(struct qed_space *space, u64 nr_tables, u64 nr_clusters);

/* Take a cluster, and count it as used. -ENOSPC, -ENOMEM */
int qed_space_take(struct qed_space *space, u64 *cluster);

/* Take clusters for a table that was promised. -ENOSPC */
int qed_space_take_table(struct qed_space *space, u64 *cluster);

/* Give back what was promised and will not be taken. */
void qed_space_release(struct qed_space *space);

/* Give the memory back, but not @used. */
void qed_space_free(struct qed_space *space);

#endif /* QED_SPACE_H */
