// SPDX-License-Identifier: GPL-2.0-only
/*
 * Applying undo files, see undo.h.
 *
 * First all of the file is read. Then it is compared with the image: each sector that
 * is to be written has to be what the run left there, or, if taking back was begun, or
 * the run was killed, what it was before or what was written in between. Only then
 * something is changed. Each place was saved once, so the order does not matter, but for
 * the header: it has NEED_CHECK set until all else is durable.
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
#include "digest.h"
#include "image.h"
#include "map.h"
#include "undo-file.h"
#include "undo.h"

static char message[256];

/**
 * struct apply - an undo file, and the image that it is for
 * @file: it
 * @img: the image
 * @state: of the file
 * @is_complete: the file knows what the run left
 * @has_header: the run has changed the header
 * @size: of the image before
 * @size_left: after the run
 * @least: the smallest size that the image had meanwhile
 * @most: the largest one
 * @records: where they are
 * @nr: number of them
 * @room: for so many
 * @open: sectors that are not what they were before
 * @known: of these, those that are what the run has written
 * @record: the one that was read last
 * @data: what follows it
 * @now: what is in the image
 */
struct apply {
	struct undo_file file;
	struct qed_image *img;
	enum undo_state state;
	bool is_complete, has_header;
	u64 size, size_left, least, most;
	u64 *records, nr, room;
	struct qed_map open, known;
	struct undo_record record;
	char *data, *now;
};

/* Say why, for the user; the error */
#define fail(error, ...) \
	(snprintf(message, sizeof(message), __VA_ARGS__), (error))

/*----------------------------------------------------------------
 * Reading the file
 *----------------------------------------------------------------
 */

static int remember(struct apply *a, u64 at)
{
	u64 *records;

	if (a->nr == a->room) {
		a->room = a->room * 2 + 64;
		records = realloc(a->records, a->room * sizeof(*records));
		if (!records)
			return fail(-ENOMEM, "cannot be read");
		a->records = records;
	}
	a->records[a->nr++] = at;
	return 0;
}

static void count_size(struct apply *a, u64 size)
{
	a->least = min_u64(a->least, size);
	a->most = max_u64(a->most, size);
}

/*
 * All that were found, also those that the newest head should tell of but is damaged,
 * count from now on. They have to be durable before a head says so.
 */
static int keep_records(struct apply *a, u64 end, u32 chain)
{
	struct undo_head *head = &a->file.head;

	head->end = htole64(end);
	head->nr = htole64(a->nr);
	head->chain = htole32(chain);
	return fsync(a->file.fd) ? fail(-errno, "cannot be written to") : 0;
}

/* Read all records. Of a run that was killed the last ones may be missing. */
static int read_records(struct apply *a)
{
	struct undo_file *file = &a->file;
	u64 at = undo_first_record(), end = le64toh(file->head.end), next = at;
	bool has_durable = at == file->durable_end;
	u32 chain = 0;
	int r;

	while (a->state == UNDO_BEGUN || at < end) {
		r = undo_read_record(file, &next, &a->record, a->data);
		if (r < 0)
			return fail(r, "cannot be read");
		if (!r)
			break;
		r = remember(a, at);
		if (r)
			return r;
		at = next;
		chain = undo_crc(chain, &a->record.crc, sizeof(a->record.crc));
		if (at == file->durable_end)
			has_durable = chain == file->durable_chain && a->nr == file->durable_nr;
		if (le32toh(a->record.type) == UNDO_RESIZED)
			count_size(a, le64toh(a->record.offset));
		if (le32toh(a->record.type) == UNDO_WRITTEN ||
		    le32toh(a->record.type) == UNDO_WRITTEN_ANY)
			a->most = max_u64(a->most, le64toh(a->record.offset) +
					  le64toh(a->record.length));
	}
	if (!has_durable)
		return fail(-EUCLEAN, "is damaged at byte %llu, or cut off", at);
	return a->state == UNDO_BEGUN ? keep_records(a, at, chain) : 0;
}

static int read_file(struct apply *a)
{
	int r = undo_read_head(&a->file);

	if (r)
		return fail(r, r == -EUCLEAN ? "is no undo file, or its head is damaged" :
			    "cannot be read");
	a->state = le32toh(a->file.head.state);
	a->is_complete = le32toh(a->file.head.is_complete);
	a->size = le64toh(a->file.head.size);
	a->size_left = a->is_complete ? le64toh(a->file.head.size_left) : a->size;
	a->least = min_u64(a->size, a->size_left);
	a->most = max_u64(a->size, a->size_left);
	return read_records(a);
}

/* Read record @i again. It may have changed meanwhile, as all files may. */
static int read_record(struct apply *a, u64 i)
{
	u64 at = a->records[i];
	int r = undo_read_record(&a->file, &at, &a->record, a->data);

	if (r > 0)
		return 0;
	return fail(r ? r : -EUCLEAN, "cannot be read again at byte %llu", a->records[i]);
}

/*----------------------------------------------------------------
 * Comparing
 *----------------------------------------------------------------
 */

static bool is_zero(const char *buf, u64 length)
{
	return !buf[0] && !memcmp(buf, buf + 1, length - 1);
}

static int read_image(struct apply *a, u64 offset, u64 length)
{
	int r = qed_read(a->img, a->now, offset, length);

	return r ? fail(r, "the image cannot be read at byte %llu", offset) : 0;
}

/* Does something for each piece of a range that is not a hole of the image */
typedef int (*use_piece)(struct apply *a, u64 offset, u64 length);

static int for_data(struct apply *a, u64 offset, u64 end, use_piece use)
{
	u64 piece;
	int r = 0;

	while (!r && (offset = qed_next_data(a->img, offset, end)) < end) {
		offset -= offset % UNDO_SECTOR;
		piece = min_u64(end - offset, UNDO_PIECE);
		r = read_image(a, offset, div_up(piece, UNDO_SECTOR) * UNDO_SECTOR);
		if (!r)
			r = use(a, offset, piece);
		offset += piece;
	}
	return r;
}

static int open_sector(struct apply *a, u64 offset)
{
	return qed_map_set(&a->open, offset / UNDO_SECTOR, 1) ?
	       fail(-ENOMEM, "cannot be compared") : 0;
}

/* Sectors of a->now that have something in them */
static int open_used(struct apply *a, u64 offset, u64 length)
{
	u64 i;
	int r = 0;

	for (i = 0; !r && i < length; i += UNDO_SECTOR)
		if (!is_zero(a->now + i, UNDO_SECTOR))
			r = open_sector(a, offset + i);
	return r;
}

/* Which sectors of what was saved are not as they were? */
static int open_saved(struct apply *a)
{
	u64 offset = le64toh(a->record.offset), length = le64toh(a->record.length), i;
	u64 whole = div_up(length, UNDO_SECTOR) * UNDO_SECTOR;
	int r;

	if (le32toh(a->record.type) == UNDO_SAVED_ZERO)
		return for_data(a, offset, offset + length, open_used);
	memset(a->data + length, 0, whole - length);
	r = read_image(a, offset, whole);
	for (i = 0; !r && i < whole; i += UNDO_SECTOR)
		if (memcmp(a->data + i, a->now + i, UNDO_SECTOR))
			r = open_sector(a, offset + i);
	return r;
}

static bool is_saved(const struct apply *a)
{
	return le32toh(a->record.type) == UNDO_SAVED ||
	       le32toh(a->record.type) == UNDO_SAVED_ZERO;
}

/* Fills a->open */
static int compare_saved(struct apply *a)
{
	u64 i;
	int r = 0;

	for (i = 0; !r && i < a->nr; i++) {
		r = read_record(a, i);
		if (r || !is_saved(a))
			continue;
		a->has_header |= !a->record.offset;
		r = open_saved(a);
	}
	return r;
}

/* The header while something is taken back: NEED_CHECK is set */
static u32 header_crc(const char *sector)
{
	char copy[UNDO_SECTOR];
	struct qed_header *header = (struct qed_header *)copy;

	memcpy(copy, sector, sizeof(copy));
	header->features &= ~htole64(QED_F_NEED_CHECK);
	return undo_crc(0, copy, sizeof(copy));
}

/* Is this what the record tells of its sector @i? */
static bool is_as_told(const struct apply *a, const char *sector, u64 i)
{
	const __le32 *crcs = (const __le32 *)a->data;

	switch (le32toh(a->record.type)) {
	case UNDO_WRITTEN_ZERO:
	case UNDO_LEFT_ZERO:
		return is_zero(sector, UNDO_SECTOR);
	case UNDO_WRITTEN_ANY:
		return true;
	}
	if (undo_crc(0, sector, UNDO_SECTOR) == le32toh(crcs[i]))
		return true;
	return !i && !a->record.offset && a->state == UNDO_APPLYING &&
	       header_crc(sector) == le32toh(crcs[i]);
}

static int know_sectors(struct apply *a, u64 first, u64 last)
{
	u64 record = le64toh(a->record.offset) / UNDO_SECTOR, i;
	int r = read_image(a, first * UNDO_SECTOR, (last - first) * UNDO_SECTOR);

	for (i = first; !r && i < last; i++)
		if (is_as_told(a, a->now + (i - first) * UNDO_SECTOR, i - record) &&
		    qed_map_set(&a->known, i, 1))
			r = fail(-ENOMEM, "cannot be compared");
	return r;
}

/* Which of the sectors that are open does this record tell of? */
static int know_record(struct apply *a)
{
	u64 first = le64toh(a->record.offset) / UNDO_SECTOR, last;
	u64 end = first + le64toh(a->record.length) / UNDO_SECTOR;
	int r = 0;

	for (; !r; first = last) {
		first = qed_map_next(&a->open, first, end, true);
		if (first >= end)
			break;
		last = qed_map_next(&a->open, first, end, false);
		last = min_u64(last, first + UNDO_PIECE / UNDO_SECTOR);
		r = know_sectors(a, first, last);
	}
	return r;
}

/* What was behind this size was cut off, and reads as zeroes. */
static int know_cut(struct apply *a, u64 size)
{
	u64 from = div_up(size, UNDO_SECTOR), to = div_up(a->most, UNDO_SECTOR);

	if (from >= to)
		return 0;
	memset(&a->record, 0, sizeof(a->record));
	a->record.type = htole32(UNDO_WRITTEN_ZERO);
	a->record.offset = htole64(from * UNDO_SECTOR);
	a->record.length = htole64((to - from) * UNDO_SECTOR);
	return know_record(a);
}

static int fail_at(u64 offset)
{
	return fail(-ESTALE, "the image has changed since, or is another one: at byte %llu",
		    offset);
}

static int fail_size(const struct apply *a)
{
	return fail(-ESTALE, "the image has changed since, or is another one: its size is %llu",
		    a->img->size);
}

/* Which of the sectors that are open are what the run left, or what it wrote? */
static int know_written(struct apply *a)
{
	bool wants_left = a->is_complete;
	int r = wants_left ? know_cut(a, a->size_left) : 0;
	u64 i;

	for (i = 0; !r && i < a->nr; i++) {
		r = read_record(a, i);
		switch (r ? 0 : le32toh(a->record.type)) {
		case UNDO_WRITTEN:
		case UNDO_WRITTEN_ZERO:
		case UNDO_WRITTEN_ANY:
			r = wants_left ? 0 : know_record(a);
			break;
		case UNDO_RESIZED:
			r = wants_left ? 0 : know_cut(a, le64toh(a->record.offset));
			break;
		case UNDO_LEFT:
		case UNDO_LEFT_ZERO:
			r = wants_left ? know_record(a) : 0;
		}
	}
	return r;
}

/* Can all that is not as before be explained by the run, or by taking it back? */
static int compare_written(struct apply *a)
{
	u64 end, sector;
	int r;

	if (a->img->size < a->least || a->img->size > a->most)
		return fail_size(a);
	/* the run writes the header first, and when this is taken back it is the last */
	r = a->has_header ? open_sector(a, 0) : 0;
	if (!r && a->img->size > a->size)
		r = for_data(a, a->size - a->size % UNDO_SECTOR, a->img->size, open_used);
	if (!r)
		r = know_written(a);
	end = qed_map_end(&a->open);
	for (sector = 0; !r && sector < end; sector++) {
		sector = qed_map_next(&a->open, sector, end, true);
		if (sector < end && !qed_map_test(&a->known, sector))
			r = fail_at(sector * UNDO_SECTOR);
	}
	return r;
}

/* Is a range of the image, or what is not a hole of it, what the record tells? */
static int check_left(struct apply *a, u64 offset, u64 length)
{
	u64 i;

	for (i = 0; i < length; i += UNDO_SECTOR)
		if (!is_as_told(a, a->now + i,
				(offset + i - le64toh(a->record.offset)) / UNDO_SECTOR))
			return fail_at(offset + i);
	return 0;
}

/* Is the image exactly as the run has left it? */
static int compare_left(struct apply *a)
{
	u64 i, offset, length;
	u32 digest;
	int r = 0;

	if (a->img->size != a->size_left)
		return fail_size(a);
	for (i = 0; !r && i < a->nr; i++) {
		r = read_record(a, i);
		offset = le64toh(a->record.offset);
		length = le64toh(a->record.length);
		if (!r && le32toh(a->record.type) == UNDO_LEFT_ZERO) {
			r = for_data(a, offset, offset + length, check_left);
		} else if (!r && le32toh(a->record.type) == UNDO_LEFT) {
			r = read_image(a, offset, length);
			if (!r)
				r = check_left(a, offset, length);
		}
	}
	if (r)
		return r;
	r = qed_digest_tables(a->img, &digest);
	if (r)
		return fail(r, "the tables of the image cannot be read");
	if (digest != le32toh(a->file.head.tables))
		return fail(-ESTALE, "something was allocated in the image since");
	return 0;
}

/* 1 if the image is as it was before, 0 if all of it is to be taken back, or an error */
static int compare(struct apply *a)
{
	int r = compare_saved(a);

	if (r)
		return r;
	if (!a->has_header && undo_crc(0, &a->img->header, sizeof(a->img->header)) !=
			      le32toh(a->file.head.header))
		return fail_at(0);
	if (a->img->size == a->size && !qed_map_end(&a->open))
		return 1;
	/* which a device had before as well */
	if (a->img->is_block && a->img->size != a->size)
		return fail_size(a);
	if (a->state == UNDO_COMPLETE || a->state == UNDO_APPLIED)
		return compare_left(a);
	return compare_written(a);
}

/*----------------------------------------------------------------
 * Writing
 *----------------------------------------------------------------
 */

/* Do something for each record of what was saved, but the header's, or only for that */
static int for_saved(struct apply *a, bool is_header, int (*use)(struct apply *a))
{
	u64 i;
	int r = 0;

	for (i = 0; !r && i < a->nr; i++) {
		r = read_record(a, i);
		if (!r && is_saved(a) && !a->record.offset == is_header)
			r = use(a);
	}
	return r;
}

static int allocate_saved(struct apply *a)
{
	int r = le32toh(a->record.type) == UNDO_SAVED ?
		qed_allocate(a->img, le64toh(a->record.offset), le64toh(a->record.length)) : 0;

	return r ? fail(r, "there is no space to put back what was there, nothing was changed") : 0;
}

static int release_saved(struct apply *a)
{
	qed_release(a->img, le64toh(a->record.offset), le64toh(a->record.length));
	return 0;
}

/* What can fail for want of space shall do so before anything is changed. */
static int allocate_all(struct apply *a)
{
	int r = for_saved(a, false, allocate_saved);
	char text[sizeof(message)];

	if (!r)
		return 0;
	memcpy(text, message, sizeof(text));
	for_saved(a, false, release_saved);
	qed_release_end(a->img);
	memcpy(message, text, sizeof(text));
	return r;
}

static int fail_write(int error)
{
	return error ? fail(error, "was taken back in part only, this can be repeated") : 0;
}

static int write_zeroes(struct apply *a, u64 offset, u64 length)
{
	u64 end = offset + length, piece;
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
	memset(a->now, 0, UNDO_PIECE);
	for (r = 0; !r && offset < end; offset += piece) {
		piece = min_u64(end - offset, UNDO_PIECE);
		r = qed_write(a->img, a->now, offset, piece);
	}
	return r;
}

static int restore(struct apply *a)
{
	u64 offset = le64toh(a->record.offset), length = le64toh(a->record.length);

	if (le32toh(a->record.type) == UNDO_SAVED_ZERO)
		return fail_write(write_zeroes(a, offset, length));
	return fail_write(qed_write(a->img, a->data, offset, length));
}

static int mark_header(struct apply *a)
{
	struct qed_header header = a->img->header;

	if (!a->has_header || le32toh(header.magic) != QED_MAGIC)
		return 0;
	header.features |= htole64(QED_F_NEED_CHECK);
	return fail_write(qed_write_header(a->img, &header));
}

static int set_state(struct apply *a, enum undo_state state)
{
	int r = undo_commit(&a->file, state);

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
		r = for_saved(a, false, restore);
	if (!r && !a->img->is_block)
		r = fail_write(qed_resize(a->img, a->size));
	if (!r)
		r = fail_write(qed_sync(a->img));
	if (!r)
		r = for_saved(a, true, restore);
	if (!r)
		r = fail_write(qed_sync(a->img));
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
	if (a->img->is_block && a->img->size < a->size)
		return fail(-EUCLEAN, "the device is too small: the image had %llu bytes", a->size);
	return restore_all(a);
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
		a.now = malloc(UNDO_PIECE);
		r = a.data && a.now ? apply(&a, force) : fail(-ENOMEM, "cannot be read");
	}
	if (a.file.fd >= 0)
		close(a.file.fd);
	qed_map_free(&a.open);
	qed_map_free(&a.known);
	free(a.records);
	free(a.data);
	free(a.now);
	return r;
}
