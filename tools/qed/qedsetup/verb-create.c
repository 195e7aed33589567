// SPDX-License-Identifier: GPL-2.0-only
/*
 * qedsetup create
 */

#include <errno.h>
#include <string.h>

#include "base.h"
#include "fail.h"
#include "make.h"
#include "output.h"
#include "size.h"

#define SECTOR	512

/*----------------------------------------------------------------
 * What it is to be
 *----------------------------------------------------------------
 */

static int find_backing(const struct request *request, struct new_image *image, u64 *size)
{
	const char *format = request->backing_format;

	if (format && !request->backing)
		return fail(EINVAL, "--backing-format needs --backing");
	if (!request->backing)
		return 0;
	if (format && strcmp(format, "raw") && strcmp(format, "qed"))
		return fail_advise(EINVAL, "make one of them by qemu-img convert",
				   "--backing-format can be raw or qed, not %s", format);
	if (strlen(request->backing) > QED_MAX_BACKING_NAME)
		return fail(ENAMETOOLONG, "--backing: the name is too long");
	image->backing = request->backing;
	image->is_raw = format && !strcmp(format, "raw");
	return base_measure(request->words[0], request->backing, image->is_raw, size);
}

static int find_size(const struct request *request, struct new_image *image, u64 base_size)
{
	u64 *size = &image->shape.image_size;

	if (request->nr_words < 2 && !request->backing)
		return fail(EINVAL, "the size of the disk is missing: see qedsetup create --help");
	*size = base_size;
	if (request->nr_words == 2 && !size_parse(request->words[1], size))
		return fail(EINVAL, "%s: is no size, such as 512M or 1.5T", request->words[1]);
	if (!*size || *size % SECTOR)
		return fail(EINVAL, "%llu: the size of a disk is a multiple of %d, and not 0",
			    *size, SECTOR);
	return 0;
}

static int design(const struct request *request, struct new_image *image)
{
	u64 base_size = 0;
	int r;

	memset(image, 0, sizeof(*image));
	r = find_backing(request, image, &base_size);
	if (!r)
		r = find_size(request, image, base_size);
	return r ? r : make_design(request, image);
}

/*----------------------------------------------------------------
 * The verb
 *----------------------------------------------------------------
 */

static void print(const struct request *request, const struct new_image *image)
{
	struct json_object *object;

	if (!request->json)
		return;
	object = json_document();
	json_text(object, "filename", request->words[0]);
	json_u64(object, "image-size", image->shape.image_size);
	json_u64(object, "cluster-size", image->shape.cluster_size);
	json_u64(object, "table-size", image->shape.table_size * image->shape.cluster_size);
	if (image->backing)
		json_text(object, "backing-filename", image->backing);
	json_print(object, false);
}

int run_create(const struct request *request)
{
	struct new_image image;
	int r = design(request, &image);

	if (!r)
		r = make_image(request, &image);
	if (!r)
		print(request, &image);
	return r;
}
