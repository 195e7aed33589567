// SPDX-License-Identifier: GPL-2.0-only
/*
 * New images, see create.h.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../image.h"
#include "create.h"
#include "stamp.h"

/* Where the name of a backing file is: behind the header, as QEMU has it */
#define NAME_OFFSET	sizeof(struct qed_header)

/* So much of a device is written at a time */
#define CHUNK		1048576U

static void fill_header(const struct new_image *image, struct qed_header *header)
{
	const struct shape *shape = &image->shape;
	u64 features = 0;

	header->magic = htole32(QED_MAGIC);
	header->cluster_size = htole32(shape->cluster_size);
	header->table_size = htole32(shape->table_size);
	header->header_size = htole32(shape->header_size);
	header->l1_table_offset = htole64(shape->header_size * shape->cluster_size);
	header->image_size = htole64(shape->image_size);
	if (image->backing) {
		features |= QED_F_BACKING_FILE;
		features |= image->is_raw ? QED_F_BACKING_FORMAT_NO_PROBE : 0;
		header->backing_filename_offset = htole32(NAME_OFFSET);
		header->backing_filename_size = htole32(strlen(image->backing));
	}
	header->features = htole64(features);
	if (image->zeroed)
		header->autoclear_features = htole64(QED_AF_RECORD);
}

/* The first cluster */
static int fill_first(const struct new_image *image, u8 *first)
{
	const struct shape *shape = &image->shape;
	struct qed_disk_record record;
	struct qed_header header = { 0 };
	int r = 0;

	fill_header(image, &header);
	memcpy(first, &header, sizeof(header));
	if (image->backing)
		memcpy(first + NAME_OFFSET, image->backing, strlen(image->backing));
	if (image->zeroed) {
		r = stamp_fill(&record, bound_empty(shape) / shape->cluster_size,
			       image->zeroed / shape->cluster_size, image->zeroed);
		memcpy(first + QED_RECORD_OFFSET, &record, sizeof(record));
	}
	return r;
}

static int write_zeroes(int fd, u64 offset, u64 end)
{
	u8 *zeroes = calloc(1, CHUNK);
	u64 done;
	int r = zeroes ? 0 : -ENOMEM;

	for (; !r && offset < end; offset += done)
		r = qed_write_all(fd, zeroes, offset, min_u64(CHUNK, end - offset), &done);
	free(zeroes);
	return r;
}

/* What was there before must not become tables of the image, nor a header without its tables. */
static int prepare(const struct new_image *image, int fd)
{
	u64 end = bound_empty(&image->shape);
	struct stat st;
	int r;

	if (fstat(fd, &st))
		return -errno;
	if (S_ISREG(st.st_mode))
		return ftruncate(fd, end) ? -errno : 0;
	r = write_zeroes(fd, 0, image->shape.cluster_size);
	if (!r && fsync(fd))
		r = -errno;
	if (!r)
		r = write_zeroes(fd, image->shape.cluster_size, end);
	return !r && fsync(fd) ? -errno : r;
}

int new_image_write(const struct new_image *image, int fd)
{
	u8 *first = calloc(1, image->shape.cluster_size);
	u64 done;
	int r = first ? fill_first(image, first) : -ENOMEM;

	if (!r)
		r = prepare(image, fd);
	if (!r)
		r = qed_write_all(fd, first, 0, image->shape.cluster_size, &done);
	free(first);
	return !r && fsync(fd) ? -errno : r;
}
