/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A scan that is fast because it only tells whether all is well.
 */

#ifndef QED_SCAN_H
#define QED_SCAN_H

#include "image.h"
#include "map.h"

/**
 * struct qed_counts - figures of an image
 * @tables: L2 tables
 * @allocated: clusters of the guest's disk that have data
 * @zero: those that are zero by an entry 1
 * @fragmented: those with data that is not behind that of the previous cluster
 *	with data of the same piece of a table
 *
 * Without what is beyond the size.
 */
struct qed_counts {
	u64 tables, allocated, zero, fragmented;
};

/**
 * struct qed_progress - tells how far it has got
 * @show: called now and then by one of the threads, or NULL
 * @ctx: for @show
 * @pass: a number, as in qed-fsck(8)
 */
struct qed_progress {
	void (*show)(void *ctx, unsigned int pass, u64 done, u64 all);
	void *ctx;
	unsigned int pass;
};

/**
 * qed_scan() - read all tables with many threads
 * @img: the image
 * @map: empty; a bit is set for each cluster that is referenced
 * @counts: the figures
 * @threads: how many, at least 1
 * @progress: to be told about it
 *
 * Stops when something is not as it should be: see qed_walk() for what it is.
 * The map and the figures are of no use then.
 *
 * Return: 1 if there was no defect, no shared cluster, and nothing beyond the size; 0 if
 * there was; -EREMOTEIO if something cannot be read; -ENOMEM; -EINTR if the user wants no more.
 */
int qed_scan(struct qed_image *img, struct qed_map *map, struct qed_counts *counts,
	     unsigned int threads, const struct qed_progress *progress);

#endif /* QED_SCAN_H */
