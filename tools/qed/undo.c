// SPDX-License-Identifier: GPL-2.0-only
/*
 * Making undo files, see undo.h.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crc.h"
#include "digest.h"
#include "image.h"
#include "map.h"
#include "undo-file.h"
#include "undo.h"

/**
 * struct qed_undo - an undo file that is being made
 * @file: it
 * @path: its name
 * @size: of the image before
 * @saved: blocks that are saved
 * @saved_from: all from here on is saved, in bytes
 * @any: blocks that were announced
 * @unknown: blocks that were discarded: what they read as can change
 * @is_used: there is something in it
 * @has_new: and that is not durable yet
 * @is_complete: it tells how the image is left
 * @error: what failed
 * @was_reading: the image did, when it was read
 * @buf: a piece
 */
struct qed_undo {
	struct undo_file file;
	const char *path;
	u64 size;
	struct qed_map saved, any, unknown;
	u64 saved_from;
	bool is_used, has_new, is_complete;
	int error;
	bool was_reading;
	char *buf;
};

static u64 round_down(u64 n, u64 unit)
{
	return n - n % unit;
}

static u64 round_up(u64 n, u64 unit)
{
	return div_up(n, unit) * unit;
}

/*----------------------------------------------------------------
 * Beginning and end
 *----------------------------------------------------------------
 */

/* Make the name of a new file durable */
static int sync_folder(const char *path)
{
	char *folder = strdup(path), *slash;
	int fd, r = 0;

	if (!folder)
		return -ENOMEM;
	slash = strrchr(folder, '/');
	if (slash)
		slash[1] = '\0';
	fd = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(folder);
	if (fd < 0)
		return -errno;
	if (fsync(fd) && errno != EINVAL)
		r = -errno;
	close(fd);
	return r;
}

static void free_undo(struct qed_undo *u)
{
	if (u->file.fd >= 0)
		close(u->file.fd);
	qed_map_free(&u->saved);
	qed_map_free(&u->any);
	qed_map_free(&u->unknown);
	free(u->buf);
	free(u);
}

int qed_undo_create(struct qed_undo **undo, const char *path, const struct qed_image *img)
{
	struct qed_undo *u = calloc(1, sizeof(*u));
	int r = 0;

	if (!u)
		return -ENOMEM;
	u->path = path;
	u->size = img->size;
	u->saved_from = img->size;
	u->file.fd = -1;
	u->buf = malloc(UNDO_PIECE);
	if (u->buf)
		u->file.fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (u->file.fd < 0) {
		r = u->buf ? -errno : -ENOMEM;
		free_undo(u);
		return r;
	}
	r = undo_begin(&u->file, img->size, qed_crc(0, &img->header, sizeof(img->header)));
	if (!r)
		r = sync_folder(path);
	if (!r) {
		*undo = u;
		return 0;
	}
	unlink(path);
	free_undo(u);
	return r;
}

u64 qed_undo_mark(const struct qed_undo *u)
{
	return u ? QED_AF_UNDO : 0;
}

int qed_undo_error(const struct qed_undo *u)
{
	return u ? u->error : 0;
}

bool qed_undo_was_reading(const struct qed_undo *u)
{
	return u && u->was_reading;
}

static int fail(struct qed_undo *u, int error)
{
	if (error && !u->error)
		u->error = error;
	return error;
}

static int append(struct qed_undo *u, enum undo_type type, u64 offset, u64 length,
		  const void *data, u32 data_length)
{
	u->is_used = true;
	u->has_new = true;
	return undo_append(&u->file, type, offset, length, data, data_length);
}

int qed_undo_commit(struct qed_undo *u)
{
	int r;

	if (!u->has_new)
		return u->error;
	r = undo_commit(&u->file);
	if (!r)
		u->has_new = false;
	return fail(u, r);
}

/*----------------------------------------------------------------
 * What a place is
 *----------------------------------------------------------------
 */

/* Read from the image into the buffer */
static int read_image(struct qed_undo *u, struct qed_image *img, u64 offset, u64 length)
{
	int r = qed_read(img, u->buf, offset, length);

	u->was_reading |= r < 0;
	return r;
}

/* Append records of what a range is: its bytes, or a CRC of each of its sectors */
static int append_data(struct qed_undo *u, struct qed_image *img, enum undo_type type, u64 from,
		       u64 to)
{
	__le32 crcs[UNDO_PIECE / UNDO_SECTOR];
	u64 piece, whole;
	int r = 0;

	for (; !r && from < to; from += piece) {
		piece = min_u64(to - from, UNDO_PIECE);
		whole = round_up(piece, UNDO_SECTOR);
		r = read_image(u, img, from, whole);
		if (r)
			break;
		if (type == UNDO_SAVED) {
			r = append(u, type, from, piece, u->buf, piece);
		} else {
			undo_sectors(crcs, u->buf, whole);
			r = append(u, type, from, whole, crcs,
				   whole / UNDO_SECTOR * sizeof(*crcs));
		}
	}
	return r;
}

/* The same, with holes */
static int append_range(struct qed_undo *u, struct qed_image *img, bool is_saved, u64 from, u64 to)
{
	u64 next;
	int r = 0;

	while (!r && from < to) {
		next = qed_next_data(img, from, to);
		if (next < to)
			next = round_down(next, UNDO_BLOCK);
		if (next > from) {
			r = append(u, is_saved ? UNDO_SAVED_ZERO : UNDO_LEFT_ZERO, from,
				   is_saved ? next - from : round_up(next - from, UNDO_SECTOR),
				   NULL, 0);
		} else {
			next = qed_next_hole(img, from, to);
			next = min_u64(round_up(max_u64(next, from + 1), UNDO_BLOCK), to);
			r = append_data(u, img, is_saved ? UNDO_SAVED : UNDO_LEFT, from, next);
		}
		from = next;
	}
	return r;
}

/*
 * Save all blocks of a range that are not saved yet; that of the header is the first. What is
 * cut off is not remembered but for its first block: there may be no end of it.
 */
static int save_range(struct qed_undo *u, struct qed_image *img, u64 offset, u64 end, bool is_cut)
{
	u64 from, to, last = div_up(min_u64(end, u->saved_from), UNDO_BLOCK);
	int r = offset && !qed_map_test(&u->saved, 0) ? save_range(u, img, 0, 1, false) : 0;

	if (r)
		return r;
	for (from = offset / UNDO_BLOCK; from < last; from = to) {
		from = qed_map_next(&u->saved, from, last, false);
		to = qed_map_next(&u->saved, from, last, true);
		if (from == to)
			break;
		r = append_range(u, img, true, from * UNDO_BLOCK,
				 min_u64(to * UNDO_BLOCK, u->saved_from));
		if (!r && (!is_cut || from == offset / UNDO_BLOCK))
			r = qed_map_set(&u->saved, from, is_cut ? 1 : to - from);
		if (r)
			return r;
	}
	return 0;
}

static int save(struct qed_undo *u, struct qed_image *img, u64 offset, u64 end)
{
	return save_range(u, img, offset, end, false);
}

/*----------------------------------------------------------------
 * What it will be
 *----------------------------------------------------------------
 */

/* A piece of what will be there: the rest of its first and last sector is as it was */
static int note_piece(struct qed_undo *u, struct qed_image *img, const char *data, u64 offset,
		      u64 length)
{
	__le32 crcs[UNDO_PIECE / UNDO_SECTOR];
	u64 first = round_down(offset, UNDO_SECTOR);
	u64 whole = round_up(offset + length, UNDO_SECTOR) - first;
	int r;

	if (whole != length) {
		r = read_image(u, img, first, whole);
		if (r)
			return r;
		memcpy(u->buf + offset - first, data, length);
		data = u->buf;
	}
	undo_sectors(crcs, data, whole);
	return append(u, UNDO_WRITTEN, first, whole, crcs, whole / UNDO_SECTOR * sizeof(*crcs));
}

static int note_data(struct qed_undo *u, struct qed_image *img, const char *data, u64 offset,
		     u64 length)
{
	u64 end = offset + length, next;
	int r = 0;

	for (; !r && offset < end; offset = next) {
		next = min_u64(round_down(offset, UNDO_SECTOR) + UNDO_PIECE, end);
		r = note_piece(u, img, data, offset, next - offset);
		data += next - offset;
	}
	return r;
}

static bool is_announced(const struct qed_undo *u, u64 offset, u64 length)
{
	u64 first = offset / UNDO_BLOCK, end = div_up(offset + length, UNDO_BLOCK);

	return qed_map_next(&u->any, first, end, false) == end;
}

static int note_any(struct qed_undo *u, u64 offset, u64 end)
{
	u64 first = round_down(offset, UNDO_SECTOR);

	return append(u, UNDO_WRITTEN_ANY, first, round_up(end, UNDO_SECTOR) - first, NULL, 0);
}

int qed_undo_write(struct qed_undo *u, struct qed_image *img, const void *buf, u64 offset,
		   u64 length)
{
	int r;

	if (u->is_complete)
		return offset ? -EINVAL : 0;
	if (is_announced(u, offset, length))
		return qed_undo_commit(u);
	r = save(u, img, offset, offset + length);
	if (!r)
		r = note_data(u, img, buf, offset, length);
	return fail(u, r ? r : qed_undo_commit(u));
}

int qed_undo_punch(struct qed_undo *u, struct qed_image *img, u64 offset, u64 length,
		   bool is_discard)
{
	u64 end = offset + length;
	int r;

	if (!is_discard && is_announced(u, offset, length))
		return qed_undo_commit(u);
	r = save(u, img, offset, end);
	if (!r && (is_discard || offset % UNDO_SECTOR))
		r = note_any(u, offset, end);
	else if (!r)
		r = append(u, UNDO_WRITTEN_ZERO, offset, round_up(length, UNDO_SECTOR), NULL, 0);
	if (!r && is_discard)
		r = qed_map_set(&u->unknown, offset / UNDO_BLOCK,
				div_up(end, UNDO_BLOCK) - offset / UNDO_BLOCK);
	return fail(u, r ? r : qed_undo_commit(u));
}

int qed_undo_resize(struct qed_undo *u, struct qed_image *img, u64 size)
{
	int r = save_range(u, img, size, max_u64(size, img->size), true);

	if (!r)
		r = append(u, UNDO_RESIZED, size, 0, NULL, 0);
	if (!r)
		r = qed_undo_commit(u);
	if (!r)
		u->saved_from = min_u64(u->saved_from, round_up(size, UNDO_BLOCK));
	return fail(u, r);
}

int qed_undo_prepare(struct qed_undo *u, struct qed_image *img, u64 offset, u64 length)
{
	int r = save(u, img, offset, offset + length);

	if (!r)
		r = note_any(u, offset, offset + length);
	if (!r)
		r = qed_map_set(&u->any, offset / UNDO_BLOCK, length / UNDO_BLOCK);
	return fail(u, r);
}

/*----------------------------------------------------------------
 * What is left
 *----------------------------------------------------------------
 */

/* What is not known is told, too: nothing is left out */
static int append_block_range(struct qed_undo *u, struct qed_image *img, u64 from, u64 to)
{
	u64 end = min_u64(to * UNDO_BLOCK, round_up(img->size, UNDO_SECTOR));

	from *= UNDO_BLOCK;
	if (qed_map_test(&u->unknown, from / UNDO_BLOCK))
		return append(u, UNDO_LEFT_ANY, from, end - from, NULL, 0);
	return append_range(u, img, false, from, end);
}

/* The first block is that of the header, which will be another one */
static int append_header(struct qed_undo *u, struct qed_image *img,
			 const struct qed_header *header)
{
	u64 length = min_u64(UNDO_BLOCK, round_up(img->size, UNDO_SECTOR));
	__le32 crcs[UNDO_BLOCK / UNDO_SECTOR];
	int r = read_image(u, img, 0, length);

	if (r)
		return r;
	if (header)
		memcpy(u->buf, header, sizeof(*header));
	undo_sectors(crcs, u->buf, length);
	return append(u, UNDO_LEFT, 0, length, crcs, length / UNDO_SECTOR * sizeof(*crcs));
}

/* Tell how the run has left all that it may have changed */
static int append_left(struct qed_undo *u, struct qed_image *img, const struct qed_header *header)
{
	u64 end = min_u64(u->saved_from, img->size) / UNDO_BLOCK, from = 1, to;
	int r = append_header(u, img, header);

	while (!r && (from = qed_map_next(&u->saved, from, end, true)) < end) {
		to = qed_map_next(&u->saved, from, end, false);
		to = qed_map_next(&u->unknown, from, to, !qed_map_test(&u->unknown, from));
		r = append_block_range(u, img, from, to);
		from = to;
	}
	/* what was cut off and is there again, and what is new */
	end = max_u64(end, 1) * UNDO_BLOCK;
	if (!r && img->size > end &&
	    (img->size > u->saved_from || qed_map_test(&u->saved, end / UNDO_BLOCK)))
		r = append_range(u, img, false, end, round_up(img->size, UNDO_SECTOR));
	return r;
}

static int complete(struct qed_undo *u, struct qed_image *img, const struct qed_header *header)
{
	struct undo_head *head = &u->file.head;
	u32 digest = 0;
	int r = append_left(u, img, header);

	if (r)
		return r;
	r = qed_digest_tables(img, header, &digest);
	u->was_reading |= r < 0;
	if (!r)
		r = undo_commit(&u->file);
	if (r)
		return r;
	head->size_left = htole64(img->size);
	head->tables = htole32(digest);
	head->is_complete = htole32(1);
	r = undo_set_state(&u->file, UNDO_COMPLETE);
	u->is_complete = !r;
	return r;
}

int qed_undo_complete(struct qed_undo *u, struct qed_image *img, const struct qed_header *header)
{
	int r;

	if (!u)
		return 0;
	r = save(u, img, 0, sizeof(*header));
	return fail(u, r ? r : complete(u, img, header));
}

int qed_undo_finish(struct qed_undo *u, struct qed_image *img)
{
	int r;

	if (!u)
		return 0;
	r = u->error;
	if (!u->is_used && unlink(u->path))
		r = -errno;
	if (!r && u->is_used && !u->is_complete) {
		r = qed_sync(img);
		if (!r)
			r = complete(u, img, NULL);
	}
	free_undo(u);
	return r;
}
