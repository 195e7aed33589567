// SPDX-License-Identifier: GPL-2.0-only
/*
 * Applying undo files, see undo-apply.h.
 *
 * First all of the file is read, and then compared with the image. Only then something is
 * changed. The image gets the mark of QED_AF_UNDO, and NEED_CHECK. Each place was saved once,
 * so the order does not matter, but for the header: it is the last, when all else is durable.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "change.h"
#include "crc.h"
#include "digest.h"
#include "image.h"
#include "undo-apply.h"
#include "undo-compare.h"
#include "undo-index.h"

static char message[256];

/**
 * struct apply - an undo file, and the image that it is for
 * @file: it
 * @index: what is in it
 * @img: the image
 * @state: of the file
 * @is_complete: the file knows what the run left
 * @size: of the image before
 * @data: what follows a record
 */
struct apply {
	struct undo_file file;
	struct undo_index index;
	struct qed_image *img;
	enum undo_state state;
	bool is_complete;
	bool has_changed;		/* the image, since the run: by force */
	u64 size;
	char *data;
};

/* Say why, for the user; the error */
#define fail(error, ...) \
	(snprintf(message, sizeof(message), __VA_ARGS__), (error))

/*----------------------------------------------------------------
 * Reading and comparing
 *----------------------------------------------------------------
 */

static int fail_damaged(int error, u64 at)
{
	if (error != -EUCLEAN)
		return fail(error, "cannot be read");
	return fail(error, "is damaged at byte %llu, or cut off", at);
}

static int read_file(struct apply *a)
{
	u64 bad = 0;
	int r = undo_read_head(&a->file);

	if (r == -EPROTO)
		return fail(-EUCLEAN, "was made by another version of qed-fsck");
	if (r == -EUCLEAN)
		return fail(r, "is no undo file, or its head is damaged");
	if (r)
		return fail(r, "cannot be read");
	a->state = le32toh(a->file.head.state);
	a->is_complete = le32toh(a->file.head.is_complete);
	a->size = le64toh(a->file.head.size);
	r = undo_index_read(&a->index, &a->file, a->data, &bad);
	return r ? fail_damaged(r, bad) : 0;
}

static int fail_changed(u64 offset)
{
	return fail(-ESTALE, "the image has changed since, or is another one: at byte %llu",
		    offset);
}

static int fail_size(const struct apply *a)
{
	return fail(-ESTALE, "the image has changed since, or is another one: its size is %llu",
		    a->img->size);
}

static int check_tables(struct apply *a)
{
	u32 digest;
	int r = qed_digest_tables(a->img, NULL, &digest);

	if (r)
		return fail(r, "the tables of the image cannot be read");
	if (digest != le32toh(a->file.head.tables))
		return fail(-ESTALE, "something was allocated in the image since");
	return 0;
}

/* Can it have the size that it has? A device has the same in any case. */
static bool is_size_known(const struct apply *a, bool exactly)
{
	u64 size = a->img->size;

	if (a->img->is_block)
		return size == a->size;
	if (exactly)
		return size == le64toh(a->file.head.size_left);
	return size >= a->index.least && size <= a->index.most;
}

/* 1 if the image is as it was before, 0 if all of it is to be taken back, or an error */
static int compare(struct apply *a)
{
	bool is_under_way = a->state == UNDO_APPLYING && undo_is_marked(a->img);
	bool exactly = a->is_complete && !is_under_way;
	struct undo_compared compared;
	int r;

	if (!a->index.saved.nr && qed_crc(0, &a->img->header, sizeof(a->img->header)) !=
				  le32toh(a->file.head.header))
		return fail_changed(0);
	r = undo_compare(&a->index, a->img, exactly, &compared);
	if (r && compared.in_image)
		return fail(r, "the image cannot be read at byte %llu", compared.failed);
	if (r)
		return fail_damaged(r, compared.failed);
	if (compared.is_before && a->img->size == a->size)
		return 1;
	if (!is_size_known(a, exactly))
		return fail_size(a);
	if (!compared.is_after)
		return fail_changed(compared.bad);
	return exactly ? check_tables(a) : 0;
}

/*----------------------------------------------------------------
 * Writing
 *----------------------------------------------------------------
 */

static int for_saved(struct apply *a, int (*use)(struct apply *a, const struct undo_range *range))
{
	u64 i;
	int r = 0;

	for (i = 0; !r && i < a->index.saved.nr; i++)
		r = use(a, &a->index.saved.ranges[i]);
	return r;
}

static int allocate(struct apply *a, const struct undo_range *range)
{
	int r = range->type == UNDO_SAVED ?
		qed_allocate(a->img, range->first, range->end - range->first) : 0;

	return r ? fail(r, "there is no space to put back what was there, nothing was changed") : 0;
}

static int release(struct apply *a, const struct undo_range *range)
{
	qed_release(a->img, range->first, range->end - range->first);
	return 0;
}

/* What can fail for want of space shall do so before anything is changed. */
static int allocate_all(struct apply *a)
{
	int r = for_saved(a, allocate);

	if (!r)
		return 0;
	for_saved(a, release);
	qed_release_end(a->img);
	return r;
}

static int fail_write(int error)
{
	return error ? fail(error, "was taken back in part only, this can be repeated") : 0;
}

static int write_zeroes(struct apply *a, u64 offset, u64 end)
{
	u64 piece;
	int r;

	if (!a->img->is_block) {
		end = min_u64(end, a->img->size);
		offset = qed_next_data(a->img, offset, end);
		if (offset >= end)
			return 0;
		r = qed_punch(a->img, offset, end - offset);
		if (r != -EOPNOTSUPP)
			return r;
	}
	memset(a->data, 0, UNDO_PIECE);
	for (r = 0; !r && offset < end; offset += piece) {
		piece = min_u64(end - offset, UNDO_PIECE);
		r = qed_write(a->img, a->data, offset, piece);
	}
	return r;
}

static int load(struct apply *a, const struct undo_range *range)
{
	int r = undo_index_load(&a->index, range, a->data);

	return r ? fail(r, "cannot be read again at byte %llu, this can be repeated",
			range->at) : 0;
}

/* All but the sector of the header */
static int restore(struct apply *a, const struct undo_range *range)
{
	u64 first = max_u64(range->first, UNDO_SECTOR), skip = first - range->first;
	int r;

	if (first >= range->end)
		return 0;
	if (range->type == UNDO_SAVED_ZERO)
		return fail_write(write_zeroes(a, first, range->end));
	r = load(a, range);
	return r ? r : fail_write(qed_write(a->img, a->data + skip, first, range->end - first));
}

static int restore_header(struct apply *a)
{
	const struct undo_range *range = a->index.saved.ranges;
	struct qed_header *header = (void *)a->data;
	int r = load(a, range);

	if (r)
		return r;
	if (range->type == UNDO_SAVED_ZERO)
		memset(a->data, 0, UNDO_SECTOR);
	/* what it says may not be true of the image as it is, and who has that is another one */
	if (a->has_changed && le32toh(header->magic) == QED_MAGIC)
		header->autoclear_features &= ~htole64(QED_AF_RECORD);
	r = qed_write(a->img, a->data, 0, min_u64(range->end, UNDO_SECTOR));
	if (!r)
		r = qed_sync(a->img);
	return fail_write(r);
}

/* As long as the mark is there only we have changed the image since. */
static int mark_header(struct apply *a)
{
	struct qed_header header = a->img->header;

	if (le32toh(header.magic) != QED_MAGIC)
		return 0;
	header.features |= htole64(QED_F_NEED_CHECK);
	header.autoclear_features &= ~htole64(QED_AF_RECORD);
	header.autoclear_features |= htole64(QED_AF_UNDO);
	return fail_write(qed_write_header(a->img, &header));
}

static int set_state(struct apply *a, enum undo_state state)
{
	/* a run that was killed may not have made all records durable */
	int r = fsync(a->file.fd) ? -errno : undo_set_state(&a->file, state);

	return r ? fail(r, "cannot be written to") : 0;
}

static int restore_all(struct apply *a)
{
	int r = allocate_all(a);

	if (!r)
		r = set_state(a, UNDO_APPLYING);
	if (!r)
		r = mark_header(a);
	if (!r)
		r = for_saved(a, restore);
	if (!r && !a->img->is_block)
		r = fail_write(qed_resize(a->img, a->size));
	if (!r)
		r = fail_write(qed_sync(a->img));
	if (!r)
		r = restore_header(a);
	return r ? r : set_state(a, UNDO_APPLIED);
}

/*----------------------------------------------------------------
 * All
 *----------------------------------------------------------------
 */

static int apply(struct apply *a, bool force)
{
	int r = read_file(a);

	if (r)
		return r;
	r = compare(a);
	if (r == 1)
		return a->state == UNDO_APPLIED ? 0 : set_state(a, UNDO_APPLIED);
	if (r && !(r == -ESTALE && force))
		return r;
	a->has_changed = r;
	if (a->img->is_block && a->img->size < a->size)
		return fail(-EUCLEAN, "the device is too small: the image had %llu bytes", a->size);
	return a->index.saved.nr ? restore_all(a) : 0;
}

/* The file, which is neither the image nor something that cannot be one */
static int open_file(struct apply *a, const char *path)
{
	struct stat st, image;
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK), r = fd < 0 ? -errno : 0;

	a->file.fd = fd;
	if (!r && (fstat(fd, &st) || fstat(a->img->fd, &image)))
		r = -errno;
	if (r)
		return fail(r, "cannot be opened");
	if (!S_ISREG(st.st_mode))
		return fail(-EUCLEAN, "is not a file");
	if (st.st_dev == image.st_dev && st.st_ino == image.st_ino)
		return fail(-EUCLEAN, "is the image itself");
	return 0;
}

int qed_undo_apply(const char *path, struct qed_image *img, bool force, const char **error)
{
	struct apply a = { .file.fd = -1, .img = img };
	int r = open_file(&a, path);

	*error = message;
	if (!r) {
		a.data = malloc(UNDO_PIECE);
		r = a.data ? apply(&a, force) : fail(-ENOMEM, "cannot be read");
	}
	if (a.file.fd >= 0)
		close(a.file.fd);
	undo_index_free(&a.index);
	free(a.data);
	return r;
}
