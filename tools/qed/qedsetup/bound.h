/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How large an image can become.
 */

#ifndef QEDSETUP_BOUND_H
#define QEDSETUP_BOUND_H

#include "../common.h"

struct request;

/**
 * struct shape - what decides about that
 * @cluster_size: in bytes
 * @table_size: in clusters
 * @header_size: in clusters
 * @image_size: of the guest's disk, in bytes
 */
struct shape {
	u64 cluster_size, table_size, header_size, image_size;
};

/* By default: an image alone, and one over others, which copies what is below by the cluster */
#define CLUSTER_SIZE		65536
#define OVERLAY_CLUSTER_SIZE	16384

/**
 * shape_choose() - the geometry of an image
 * @shape: the result; the size of its disk is set
 * @request: has what of it was asked for
 * @cluster_size: what clusters have if that was not
 *
 * Tables are as large as the disk needs them, if they may be.
 * Return: 0, or -EINVAL or -EFBIG, and it is noted what is wrong.
 */
int shape_choose(struct shape *shape, const struct request *request, u64 cluster_size);

/* The least that such an image takes: header and L1 table, in bytes */
u64 bound_empty(const struct shape *shape);

/* The most: all of the guest's disk, and its tables */
u64 bound_full(const struct shape *shape);

/* With so many clusters of data that need so many L2 tables */
u64 bound_with(const struct shape *shape, u64 tables, u64 clusters);

/* The largest disk that it can have; 2^63 - 512 if that is less than its tables map */
u64 bound_image_size(const struct shape *shape);

/* What an L2 table maps, in bytes */
u64 bound_span(const struct shape *shape);

#endif /* QEDSETUP_BOUND_H */
