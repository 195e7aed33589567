// SPDX-License-Identifier: GPL-2.0-only
/*
 * Undo files, see undo.h.
 *
 * A head, and then records: each says what a range of the image was. They are
 * applied from the last one to the first. What follows the last whole record,
 * as after a crash, had not been overwritten yet, and is ignored. Integers are
 * little-endian.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image.h"
#include "undo.h"

#define HEAD_MAGIC	0x444e554445510001ULL
#define RECORD_MAGIC	0x44524344U
#define PIECE_SIZE	1048576U

/* The head: padded to a sector */
struct undo_head {
	__le64 magic;
	__le64 size;		/* of the image, before */
	__le32 applied;		/* it was begun to take this back */
	__le32 crc;		/* of the head, with this being 0 */
};

#define HEAD_BYTES	512U

enum record_type {
	RECORD_DATA = 1,	/* the bytes follow */
	RECORD_ZERO = 2,	/* was a hole */
	RECORD_END = 3,		/* a struct undo_end follows; nothing after that */
};

struct undo_record {
	__le32 magic;
	__le32 type;
	__le64 offset;
	__le64 length;
	__le32 data_crc;	/* of what follows */
	__le32 crc;		/* of the record, with this being 0 */
};

/* How the image was left */
struct undo_end {
	__le64 size;
	__le64 mtime_sec;
	__le32 mtime_nsec;
	__le32 header_crc;
};

struct qed_undo {
	int fd;
	const char *path;
	u64 end;		/* of what was written */
	u64 size;		/* of the image, before */
	bool used;
	void *buf;
};

/*----------------------------------------------------------------
 * Helpers
 *----------------------------------------------------------------
 */

static u32 crc32(const void *data, size_t length)
{
	static u32 table[256];
	const u8 *p = data;
	u32 crc = ~0U, i, bit;

	for (i = 0; !table[255] && i < 256; i++) {
		crc = i;
		for (bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320U : 0);
		table[i] = crc;
	}
	for (crc = ~0U; length; length--)
		crc = crc >> 8 ^ table[(crc ^ *p++) & 0xff];
	return ~crc;
}

static int write_all(int fd, const void *buf, u64 offset, u64 length)
{
	const char *from = buf;
	ssize_t n;

	while (length) {
		n = pwrite(fd, from, length, offset);
		if (n < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		from += n;
		offset += n;
		length -= n;
	}
	return 0;
}

/* Returns how much could be read, less only at the end of the file */
static ssize_t read_all(int fd, void *buf, u64 offset, size_t length)
{
	size_t done = 0;
	ssize_t n;

	while (done < length) {
		n = pread(fd, (char *)buf + done, length - done, offset + done);
		if (n < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		if (!n)
			break;
		done += n;
	}
	return done;
}

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

static int write_head(int fd, u64 size, bool applied)
{
	char block[HEAD_BYTES] = "";
	struct undo_head head = {
		.magic = htole64(HEAD_MAGIC),
		.size = htole64(size),
		.applied = htole32(applied),
	};
	int r;

	head.crc = htole32(crc32(&head, sizeof(head)));
	memcpy(block, &head, sizeof(head));
	r = write_all(fd, block, 0, sizeof(block));
	if (!r && fsync(fd))
		r = -errno;
	return r;
}

static u32 header_crc(struct qed_image *img)
{
	struct qed_header header;

	if (qed_read(img, &header, 0, sizeof(header)))
		return 0;
	return crc32(&header, sizeof(header));
}

/*----------------------------------------------------------------
 * Saving
 *----------------------------------------------------------------
 */

int qed_undo_create(struct qed_undo **undo, const char *path, const struct qed_image *img)
{
	struct qed_undo *u = calloc(1, sizeof(*u));
	int r;

	if (!u)
		return -ENOMEM;
	u->path = path;
	u->size = img->size;
	u->end = HEAD_BYTES;
	u->buf = malloc(PIECE_SIZE);
	u->fd = -1;
	if (!u->buf) {
		r = -ENOMEM;
		goto fail;
	}
	u->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (u->fd < 0) {
		r = -errno;
		goto fail;
	}
	r = write_head(u->fd, img->size, false);
	if (!r)
		r = sync_folder(path);
	if (!r) {
		*undo = u;
		return 0;
	}
	unlink(path);
fail:
	if (u->fd >= 0)
		close(u->fd);
	free(u->buf);
	free(u);
	return r;
}

static int append(struct qed_undo *u, enum record_type type, u64 offset, u64 length,
		  const void *data, u64 data_length)
{
	struct undo_record record = {
		.magic = htole32(RECORD_MAGIC),
		.type = htole32(type),
		.offset = htole64(offset),
		.length = htole64(length),
		.data_crc = htole32(crc32(data, data_length)),
	};
	int r;

	record.crc = htole32(crc32(&record, sizeof(record)));
	r = write_all(u->fd, &record, u->end, sizeof(record));
	if (!r)
		r = write_all(u->fd, data, u->end + sizeof(record), data_length);
	if (!r)
		u->end += sizeof(record) + data_length;
	return r;
}

static int save_data(struct qed_undo *u, struct qed_image *img, u64 offset, u64 end)
{
	u64 piece;
	int r;

	for (; offset < end; offset += piece) {
		piece = min_u64(end - offset, PIECE_SIZE);
		r = qed_read(img, u->buf, offset, piece);
		if (!r)
			r = append(u, RECORD_DATA, offset, piece, u->buf, piece);
		if (r)
			return r;
	}
	return 0;
}

int qed_undo_save(struct qed_undo *u, struct qed_image *img, u64 offset, u64 length)
{
	/* what is behind the old end gets cut off */
	u64 end = min_u64(offset + length, min_u64(img->size, u->size)), next;
	int r = 0;

	u->used = true;
	while (!r && offset < end) {
		next = qed_next_data(img, offset, end);
		if (next > offset) {
			r = append(u, RECORD_ZERO, offset, next - offset, NULL, 0);
		} else {
			next = qed_next_hole(img, offset, end);
			if (next == offset)	/* changed under us */
				next = end;
			r = save_data(u, img, offset, next);
		}
		offset = next;
	}
	if (!r && fdatasync(u->fd))
		r = -errno;
	return r;
}

static int append_end(struct qed_undo *u, struct qed_image *img)
{
	struct undo_end end = { .size = htole64(img->size) };
	struct stat st;
	int r;

	/* the time of the last change has to be the final one */
	if (fsync(img->fd) || fstat(img->fd, &st))
		return -errno;
	if (!img->is_block) {
		end.mtime_sec = htole64(st.st_mtim.tv_sec);
		end.mtime_nsec = htole32(st.st_mtim.tv_nsec);
	}
	end.header_crc = htole32(header_crc(img));
	r = append(u, RECORD_END, 0, 0, &end, sizeof(end));
	if (!r && fsync(u->fd))
		r = -errno;
	return r;
}

int qed_undo_finish(struct qed_undo *u, struct qed_image *img)
{
	int r = 0;

	if (!u)
		return 0;
	if (u->used)
		r = append_end(u, img);
	else if (unlink(u->path))
		r = -errno;
	close(u->fd);
	free(u->buf);
	free(u);
	return r;
}

/*----------------------------------------------------------------
 * Applying
 *----------------------------------------------------------------
 */

struct apply {
	int fd;
	struct qed_image *img;
	void *buf;
	u64 size;		/* of the image, before */
	bool applied;
	u64 *records;		/* where they are, in order */
	u64 nr, room;
	bool has_end;
	struct undo_end end;
};

static int read_head(struct apply *a)
{
	struct undo_head head;
	ssize_t n = read_all(a->fd, &head, 0, sizeof(head));
	u32 crc;

	if (n < 0)
		return n;
	crc = le32toh(head.crc);
	head.crc = 0;
	if (n != sizeof(head) || le64toh(head.magic) != HEAD_MAGIC ||
	    crc != crc32(&head, sizeof(head)))
		return -EUCLEAN;
	a->size = le64toh(head.size);
	a->applied = le32toh(head.applied);
	return 0;
}

/* Read the record at @at, with its data in a->buf; 0 if there is no whole one */
static int read_record(struct apply *a, u64 at, struct undo_record *record, u64 *next)
{
	ssize_t n = read_all(a->fd, record, at, sizeof(*record));
	u64 length;
	u32 crc;

	if (n < 0)
		return n;
	crc = le32toh(record->crc);
	record->crc = 0;
	if (n != sizeof(*record) || le32toh(record->magic) != RECORD_MAGIC ||
	    crc != crc32(record, sizeof(*record)))
		return 0;
	length = 0;
	if (le32toh(record->type) == RECORD_DATA)
		length = le64toh(record->length);
	else if (le32toh(record->type) == RECORD_END)
		length = sizeof(struct undo_end);
	if (length > PIECE_SIZE)
		return 0;
	n = read_all(a->fd, a->buf, at + sizeof(*record), length);
	if (n < 0)
		return n;
	if ((u64)n != length || le32toh(record->data_crc) != crc32(a->buf, length))
		return 0;
	*next = at + sizeof(*record) + length;
	return 1;
}

static int remember(struct apply *a, u64 at)
{
	u64 *records;

	if (a->nr == a->room) {
		a->room = a->room * 2 + 64;
		records = realloc(a->records, a->room * sizeof(*records));
		if (!records)
			return -ENOMEM;
		a->records = records;
	}
	a->records[a->nr++] = at;
	return 0;
}

static int read_records(struct apply *a)
{
	struct undo_record record;
	u64 at = HEAD_BYTES, next;
	int r;

	while ((r = read_record(a, at, &record, &next)) > 0) {
		if (le32toh(record.type) == RECORD_END) {
			memcpy(&a->end, a->buf, sizeof(a->end));
			a->has_end = true;
			return 0;
		}
		r = remember(a, at);
		if (r)
			return r;
		at = next;
	}
	return r;
}

/* Is the image as the run left it? If that was killed, nobody can tell. */
static bool is_unchanged(struct apply *a)
{
	struct stat st;

	if (a->applied || !a->has_end)
		return true;
	if (fstat(a->img->fd, &st) || a->img->size != le64toh(a->end.size) ||
	    header_crc(a->img) != le32toh(a->end.header_crc))
		return false;
	return a->img->is_block || (st.st_mtim.tv_sec == (time_t)le64toh(a->end.mtime_sec) &&
				    st.st_mtim.tv_nsec == (long)le32toh(a->end.mtime_nsec));
}

static int write_zeroes(struct apply *a, u64 offset, u64 length)
{
	u64 piece;
	int r;

	if (!a->img->is_block) {
		if (offset >= a->img->size)
			return 0;
		r = qed_punch(a->img, offset, length);
		if (r != -EOPNOTSUPP)
			return r;
	}
	memset(a->buf, 0, PIECE_SIZE);
	for (; length; offset += piece, length -= piece) {
		piece = min_u64(length, PIECE_SIZE);
		r = qed_write(a->img, a->buf, offset, piece);
		if (r)
			return r;
	}
	return 0;
}

static int apply_record(struct apply *a, u64 at)
{
	struct undo_record record;
	u64 next, offset, length;
	int r = read_record(a, at, &record, &next);

	if (r <= 0)
		return r ? r : -EUCLEAN;
	offset = le64toh(record.offset);
	length = le64toh(record.length);
	if (offset > a->size || length > a->size - offset)
		return -EUCLEAN;
	if (le32toh(record.type) == RECORD_ZERO)
		return write_zeroes(a, offset, length);
	return qed_write(a->img, a->buf, offset, length);
}

static int apply_records(struct apply *a)
{
	u64 i;
	int r = write_head(a->fd, a->size, true);

	for (i = a->nr; !r && i-- > 0;) {
		r = apply_record(a, a->records[i]);
		/* first comes the header with NEED_CHECK, last without */
		if (!r && (i == a->nr - 1 || i == 1))
			r = qed_sync(a->img);
	}
	if (!r && !a->img->is_block)
		r = qed_resize(a->img, a->size);
	if (!r && fsync(a->img->fd))
		r = -errno;
	return r;
}

static int apply(struct apply *a, bool force, const char **error)
{
	int r = read_head(a);

	if (!r)
		r = read_records(a);
	if (r) {
		*error = r == -EUCLEAN ? "not an undo file" : "cannot be read";
		return r;
	}
	if (!force && !is_unchanged(a)) {
		*error = "the image has changed since, or is another one";
		return -ESTALE;
	}
	r = apply_records(a);
	if (r)
		*error = "cannot be applied";
	return r;
}

int qed_undo_apply(const char *path, struct qed_image *img, bool force, const char **error)
{
	struct apply a = { .img = img };
	int r;

	a.fd = open(path, O_RDWR | O_CLOEXEC);
	if (a.fd < 0) {
		r = -errno;
		*error = "cannot be opened";
		return r;
	}
	a.buf = malloc(PIECE_SIZE);
	if (a.buf) {
		r = apply(&a, force, error);
	} else {
		r = -ENOMEM;
		*error = "cannot be applied";
	}
	free(a.buf);
	free(a.records);
	close(a.fd);
	return r;
}
