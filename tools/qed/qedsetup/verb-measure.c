// SPDX-License-Identifier: GPL-2.0-only
/*
 * qedsetup measure
 */

#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "../header.h"
#include "bound.h"
#include "fail.h"
#include "output.h"
#include "request.h"
#include "size.h"
#include "subject.h"
#include "tables.h"

/* What has to be written of a disk: clusters with data, and the tables that map them */
struct need {
	u64 clusters, tables;
};

/* Of what the reader has, in clusters of a shape */
static int count(struct tables *tables, const struct shape *shape, struct need *need)
{
	u64 offset, next_cluster = 0, next_table = 0, first, last, size = shape->image_size;
	struct extent extent;
	int r;

	for (offset = 0; offset < size; offset += extent.length) {
		r = tables_find(tables, offset, size - offset, &extent);
		if (r)
			return r;
		if (extent.kind != EXTENT_DATA)
			continue;
		first = offset / shape->cluster_size;
		last = (offset + extent.length - 1) / shape->cluster_size;
		need->clusters += last + 1 - min_u64(max_u64(first, next_cluster), last + 1);
		next_cluster = last + 1;
		first = offset / bound_span(shape);
		last = (offset + extent.length - 1) / bound_span(shape);
		need->tables += last + 1 - min_u64(max_u64(first, next_table), last + 1);
		next_table = last + 1;
	}
	return 0;
}

static int count_with(const struct request *request, struct tables *tables, struct shape *shape,
		      struct need *need)
{
	int r = shape_choose(shape, request, CLUSTER_SIZE);

	if (!r)
		r = count(tables, shape, need);
	tables_free(tables);
	if (r == -EUCLEAN)
		return fail(EUCLEAN, "%s: a table has a defect: qed-fsck tells which",
			    request->words[0]);
	return fail_as(r, request->words[0]);
}

/* An image of the format, or else a raw one */
static int measure_image(const struct request *request, struct subject *subject,
			 struct shape *shape, struct need *need)
{
	struct tables tables;
	const char *why;
	int r = qed_image_init(&subject->img, subject->fd, subject->path, false);

	if (!r && qed_header_is_qed(&subject->img, &why)) {
		r = subject_read(subject);
		if (!r)
			r = tables_init(&tables, &subject->img);
		shape->image_size = subject->img.image_size;
	} else if (!r) {
		r = tables_init_raw(&tables, subject->fd, subject->img.size);
		shape->image_size = subject->img.size;
	}
	return r ? fail_as(r, subject->path) : count_with(request, &tables, shape, need);
}

static int measure(const struct request *request, struct shape *shape, struct need *need)
{
	struct subject subject;
	int r;

	if (request->nr_words ? request->size != NOT_GIVEN : request->size == NOT_GIVEN)
		return fail(EINVAL, "either an image or --size is needed");
	if (!request->nr_words) {
		shape->image_size = request->size;
		return shape_choose(shape, request, CLUSTER_SIZE);
	}
	r = subject_open(&subject, request->words[0], SUBJECT_READ);
	if (r)
		return r;
	r = measure_image(request, &subject, shape, need);
	subject_close(&subject);
	return r;
}

int run_measure(const struct request *request)
{
	struct shape shape = { 0 };
	struct need need = { 0 };
	struct json_object *object;
	int r = measure(request, &shape, &need);

	if (r)
		return r;
	if (!request->json) {
		print_size("required:", bound_with(&shape, need.tables, need.clusters));
		print_size("at most:", bound_full(&shape));
		return 0;
	}
	object = json_document();
	json_u64(object, "required", bound_with(&shape, need.tables, need.clusters));
	json_u64(object, "fully-allocated", bound_full(&shape));
	json_u64(object, "cluster-size", shape.cluster_size);
	json_u64(object, "table-size", shape.table_size * shape.cluster_size);
	json_print(object, false);
	return 0;
}
