// SPDX-License-Identifier: GPL-2.0-only
/*
 * Changes of a QED image, see change.h.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "change.h"
#include "image.h"
#include "undo.h"

#define COPY_SIZE	1048576U

int qed_write(struct qed_image *img, const void *buf, u64 offset, u64 length)
{
	u64 done;
	int r;

	if (offset > INT64_MAX - length)
		return -EFBIG;
	if (img->undo) {
		r = qed_undo_write(img->undo, img, buf, offset, length);
		if (r)
			return r;
	}
	img->modified = true;
	img->changed_end = max_u64(img->changed_end, offset + length);
	r = qed_write_all(img->fd, buf, offset, length, &done);
	img->bytes_written += done;
	if (!img->is_block && done)
		img->size = max_u64(img->size, offset + done);
	return r;
}

int qed_punch(struct qed_image *img, u64 offset, u64 length)
{
	u64 range[2] = { offset, length };
	int r;

	if (img->undo) {
		r = qed_undo_punch(img->undo, img, offset, length, img->is_block);
		if (r)
			return r;
	}
	img->modified = true;
	img->changed_end = max_u64(img->changed_end, offset + length);
	if (img->is_block)
		return ioctl(img->fd, BLKDISCARD, range) ? -errno : 0;
	if (fallocate(img->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length))
		return -errno;
	return 0;
}

int qed_resize(struct qed_image *img, u64 size)
{
	int r;

	if (size > INT64_MAX)
		return -EFBIG;
	if (img->undo) {
		r = qed_undo_resize(img->undo, img, size);
		if (r)
			return r;
	}
	img->modified = true;
	if (ftruncate(img->fd, size))
		return -errno;
	img->size = size;
	return 0;
}

int qed_write_header(struct qed_image *img, const struct qed_header *header)
{
	int r = qed_write(img, header, 0, sizeof(*header));

	if (!r)
		r = qed_sync(img);
	if (!r)
		img->header = *header;
	return r;
}

static bool is_zero(const char *buf, u64 length)
{
	return !buf[0] && !memcmp(buf, buf + 1, length - 1);
}

/* Make a range read as zeroes, without a need for space where possible */
static int make_zero(struct qed_image *img, char *buf, u64 offset, u64 length)
{
	u64 end = offset + length, piece;
	int r;

	if (!img->is_block) {
		end = min_u64(end, img->size);
		offset = qed_next_data(img, offset, end);
		if (offset >= end)
			return 0;
		r = qed_punch(img, offset, end - offset);
		if (r != -EOPNOTSUPP)
			return r;
	}
	for (; offset < end; offset += piece) {
		piece = min_u64(end - offset, COPY_SIZE);
		memset(buf, 0, piece);
		r = qed_write(img, buf, offset, piece);
		if (r)
			return r;
	}
	return 0;
}

/* Copy a piece of at most COPY_SIZE that is not known to be a hole */
static int copy_piece(struct qed_image *img, char *buf, u64 from, u64 to, u64 length, u64 *failed)
{
	if (qed_read(img, buf, from, length)) {
		*failed = from;
		return -EREMOTEIO;
	}
	if (is_zero(buf, length))
		return make_zero(img, buf, to, length);
	return qed_write(img, buf, to, length);
}

static int copy_range(struct qed_image *img, char *buf, u64 from, u64 to, u64 length, u64 *failed)
{
	u64 end = from + length, data, piece;
	int r;

	while (from < end) {
		if (qed_stopped(img))
			return -EINTR;
		data = qed_next_data(img, from, end);
		r = make_zero(img, buf, to, data - from);
		if (r)
			return r;
		to += data - from;
		from = data;
		piece = min_u64(end - from, COPY_SIZE);
		if (!piece)
			break;
		r = copy_piece(img, buf, from, to, piece, failed);
		if (r)
			return r;
		to += piece;
		from += piece;
	}
	return 0;
}

int qed_copy(struct qed_image *img, u64 from, u64 to, u64 length, u64 *failed)
{
	char *buf = malloc(min_u64(length, COPY_SIZE));
	int r;

	if (!buf)
		return -ENOMEM;
	r = copy_range(img, buf, from, to, length, failed);
	free(buf);
	if (!r && !img->is_block && img->size < to + length)
		r = qed_resize(img, to + length);
	return r;
}
