// SPDX-License-Identifier: GPL-2.0-only
/*
 * How large an image can become, see bound.h.
 */

#include "../image.h"
#include "bound.h"
#include "fail.h"
#include "request.h"
#include "size.h"

#define ENTRY_SIZE	8
#define LARGEST		((1ULL << 63) - 512)
#define TABLE_SIZE	4

static u64 entries(const struct shape *shape)
{
	return shape->table_size * shape->cluster_size / ENTRY_SIZE;
}

u64 bound_span(const struct shape *shape)
{
	return entries(shape) * shape->cluster_size;
}

u64 bound_with(const struct shape *shape, u64 tables, u64 clusters)
{
	return (shape->header_size + shape->table_size * (1 + tables) + clusters) *
	       shape->cluster_size;
}

u64 bound_empty(const struct shape *shape)
{
	return bound_with(shape, 0, 0);
}

u64 bound_full(const struct shape *shape)
{
	return bound_with(shape, div_up(shape->image_size, bound_span(shape)),
			  div_up(shape->image_size, shape->cluster_size));
}

u64 bound_image_size(const struct shape *shape)
{
	u64 span = bound_span(shape);

	return entries(shape) > LARGEST / span ? LARGEST : entries(shape) * span;
}

static bool is_power_of_2_in(u64 n, u64 least, u64 most)
{
	return n >= least && n <= most && !(n & (n - 1));
}

static int check_tables(const struct shape *shape)
{
	char text[SIZE_TEXT];

	/* QEMU cannot open images with tables of one cluster */
	if (!is_power_of_2_in(shape->table_size, 2, QED_MAX_TABLE_SIZE))
		return fail(EINVAL, "--table-size can be 2, 4, 8 or 16, not %llu",
			    shape->table_size);
	if (shape->image_size > bound_image_size(shape))
		return fail_advise(EFBIG, "give a larger --cluster-size or --table-size",
				   "these clusters and tables map %s, not %llu bytes",
				   size_text(bound_image_size(shape), text, sizeof(text)),
				   shape->image_size);
	return 0;
}

int shape_choose(struct shape *shape, const struct request *request, u64 cluster_size)
{
	bool given = request->table_size != NOT_GIVEN;

	shape->header_size = 1;
	shape->cluster_size = request->cluster_size == NOT_GIVEN ? cluster_size :
								   request->cluster_size;
	if (!is_power_of_2_in(shape->cluster_size, QED_MIN_CLUSTER_SIZE, QED_MAX_CLUSTER_SIZE))
		return fail(EINVAL, "--cluster-size can be 4K, 8K, and so on up to 64M, not %llu",
			    shape->cluster_size);
	shape->table_size = given ? request->table_size : TABLE_SIZE;
	while (!given && shape->table_size < QED_MAX_TABLE_SIZE &&
	       bound_image_size(shape) < shape->image_size)
		shape->table_size *= 2;
	return check_tables(shape);
}
