// SPDX-License-Identifier: GPL-2.0-only
/*
 * How large an image can become, see bound.h.
 */

#include "bound.h"

#define ENTRY_SIZE	8
#define LARGEST		((1ULL << 63) - 512)

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
