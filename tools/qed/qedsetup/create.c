// SPDX-License-Identifier: GPL-2.0-only
/*
 * New images, see create.h.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "../image.h"
#include "create.h"
#include "identity.h"

/* Where the name of a backing file is: behind the header, as QEMU has it */
#define NAME_OFFSET	sizeof(struct qed_header)

/* So much of a device is written at a time */
#define CHUNK		1048576U

/* CRC-32C, of a few bytes */
static u32 record_crc(const struct qed_disk_record *record)
{
	const u8 *data = (const u8 *)record;
	u32 crc = ~0U;
	size_t i;
	int bit;

	for (i = 0; i < offsetof(struct qed_disk_record, crc); i++) {
		crc ^= data[i];
		for (bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
	}
	return ~crc;
}

static void name_host(char host[QED_HOST_SIZE])
{
	const struct qed_record none = { .state = QED_RECORD_NONE };
	struct utsname name;
	char *c;

	identity_host(&none, host);
	if (*host || uname(&name))
		return;
	snprintf(host, QED_HOST_SIZE, "%.*s", QED_HOST_SIZE - 1,
		 *name.nodename ? name.nodename : "-");
	for (c = host; *c; c++)
		if (!qed_host_is_char(*c))
			*c = '-';
}

/* Nobody has had the image yet: all behind it is free, and reads as zeroes. */
static int fill_record(const struct new_image *image, struct qed_disk_record *record)
{
	u64 end = bound_empty(&image->shape) / image->shape.cluster_size;
	u64 clusters = image->zeroed / image->shape.cluster_size;
	char host[QED_HOST_SIZE] = "";

	if (getrandom(record->owner, QED_OWNER_SIZE, 0) != QED_OWNER_SIZE)
		return -EIO;
	name_host(host);
	memcpy(record->host, host, strnlen(host, QED_HOST_SIZE - 1));
	record->magic = htole32(QED_RECORD_MAGIC);
	record->version = htole16(QED_RECORD_VERSION);
	record->end = htole64(end);
	if (clusters > end) {
		record->zero_from = htole64(end);
		record->zero_end = htole64(clusters);
	}
	record->device_size = htole64(image->zeroed);
	record->crc = htole32(record_crc(record));
	return 0;
}

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
	struct qed_disk_record record = { 0 };
	struct qed_header header = { 0 };
	int r = 0;

	fill_header(image, &header);
	memcpy(first, &header, sizeof(header));
	if (image->backing)
		memcpy(first + NAME_OFFSET, image->backing, strlen(image->backing));
	if (image->zeroed) {
		r = fill_record(image, &record);
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
