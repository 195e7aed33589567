// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which image a disk goes on in, see succession.h.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "chain.h"
#include "crc.h"
#include "succession.h"

#define SECTOR		512U
#define NOTE_MAGIC	0x53444551	/* "QEDS" */
#define NOTE_VERSION	1
#define MAX_NAME	QED_MAX_BACKING_NAME

/**
 * struct qed_disk_note - as it is in the header, the name of the next image follows
 * @magic: NOTE_MAGIC
 * @version: NOTE_VERSION
 * @reserved: 0
 * @mark: of this image
 * @owner: that of the record when this was written, zeroes if there was none
 * @next_mark: of the next image
 * @length: of its name; 0: there is none
 * @crc: CRC-32 of all this, with 0 here, and of the name
 */
struct qed_disk_note {
	__le32 magic;
	__le16 version, reserved;
	u8 mark[QED_MARK_SIZE];
	u8 owner[QED_OWNER_SIZE];
	u8 next_mark[QED_MARK_SIZE];
	__le32 length, crc;
	char name[];
};

static u64 align(u64 n, u64 unit)
{
	return div_up(n, unit) * unit;
}

/* Behind the record, and the name of the backing file, wherever that is */
static u64 note_offset(const struct qed_header *header)
{
	u64 end = QED_FIRST_SIZE;

	if (le64toh(header->features) & QED_F_BACKING_FILE)
		end = max_u64(end, (u64)le32toh(header->backing_filename_offset) +
				   le32toh(header->backing_filename_size));
	return align(end, SECTOR);
}

static u64 header_bytes(const struct qed_image *img)
{
	return min_u64((u64)img->header_clusters << img->cluster_shift, img->l1_offset);
}

static u32 note_crc(const struct qed_disk_note *note)
{
	struct qed_disk_note head = *note;
	u32 crc;

	head.crc = 0;
	crc = qed_crc(0, &head, sizeof(head));
	return qed_crc(crc, note->name, le32toh(note->length));
}

static bool is_note(const struct qed_disk_note *note, u64 most)
{
	u64 length = le32toh(note->length);

	return le32toh(note->magic) == NOTE_MAGIC && le16toh(note->version) == NOTE_VERSION &&
	       !note->reserved && length <= MAX_NAME && sizeof(*note) + length <= most &&
	       le32toh(note->crc) == note_crc(note);
}

static bool has_bit(const struct qed_header *header, u64 bit)
{
	return le64toh(header->autoclear_features) & bit;
}

/*----------------------------------------------------------------
 * Reading
 *----------------------------------------------------------------
 */

/* The note, or NULL if there is none; to be freed */
static struct qed_disk_note *read_note(const struct qed_image *img, int *r)
{
	u64 offset = note_offset(&img->header), end = header_bytes(img);
	struct qed_disk_note *note;
	u64 most;

	*r = 0;
	if (offset + sizeof(*note) > end)
		return NULL;
	most = min_u64(end - offset, sizeof(*note) + MAX_NAME);
	note = malloc(most);
	*r = note ? qed_read(img, note, offset, most) : -ENOMEM;
	if (!*r && is_note(note, most))
		return note;
	free(note);
	return NULL;
}

/* Of what has no mark nobody can say that it is the next one. */
static bool has_next(const struct qed_disk_note *note)
{
	static const u8 none[QED_MARK_SIZE];

	return note->length && memcmp(note->next_mark, none, QED_MARK_SIZE);
}

/*
 * The note and the bit are in one write, of which a power cut may leave a part: what was there
 * before is of another owner.
 */
static bool is_of_owner(const struct qed_image *img, const struct qed_disk_note *note)
{
	struct qed_disk_record record;

	memcpy(&record, img->first + QED_RECORD_OFFSET, sizeof(record));
	return !has_bit(&img->header, QED_AF_RECORD) ||
	       !memcmp(record.owner, note->owner, QED_OWNER_SIZE);
}

static int take_next(const struct qed_image *img, const struct qed_disk_note *note,
		     struct qed_succession *succession)
{
	char *name = strndup(note->name, le32toh(note->length));

	memcpy(succession->next_mark, note->next_mark, QED_MARK_SIZE);
	if (name)
		succession->next = qed_backing_path(img->path, name);
	free(name);
	return succession->next ? 0 : -ENOMEM;
}

int qed_succession_read(const struct qed_image *img, struct qed_succession *succession)
{
	struct qed_disk_note *note;
	int r;

	memset(succession, 0, sizeof(*succession));
	note = read_note(img, &r);
	if (!note)
		return r;
	memcpy(succession->mark, note->mark, QED_MARK_SIZE);
	if (has_bit(&img->header, QED_AF_SUCCEEDED) && has_next(note) && is_of_owner(img, note))
		r = take_next(img, note, succession);
	free(note);
	return r;
}

u64 qed_succession_end(const struct qed_image *img)
{
	struct qed_disk_note *note;
	u64 end = 0;
	int r;

	note = read_note(img, &r);
	if (note)
		end = note_offset(&img->header) + sizeof(*note) + le32toh(note->length);
	free(note);
	return end;
}

/*----------------------------------------------------------------
 * Writing
 *----------------------------------------------------------------
 */

/* Past the page cache, as the device is that has the image, if the file system can do that */
static int reopen(int fd)
{
	char path[64];
	int new;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	new = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
	if (new < 0 && errno == EINVAL)
		new = open(path, O_RDWR | O_CLOEXEC);
	return new < 0 ? -errno : new;
}

static int read_blocks(struct qed_note *note)
{
	ssize_t n = qed_read_all(note->fd, note->blocks, 0, note->length);

	return n < 0 ? n : n < (ssize_t)note->length ? -EIO : 0;
}

static int write_blocks(struct qed_note *note)
{
	u64 done;
	int r = qed_write_all(note->fd, note->blocks, 0, note->length, &done);

	return !r && fdatasync(note->fd) ? -errno : r;
}

static int make_note(struct qed_note *note, const struct qed_image *img, const char *name)
{
	u64 length = strlen(name);

	note->header = img->header;
	note->offset = note_offset(&img->header);
	note->size = sizeof(*note->note) + length;
	note->length = align(note->offset + note->size, QED_ALIGNMENT);
	if (length > MAX_NAME || note->length > header_bytes(img))
		return -ENOSPC;
	note->note = calloc(1, note->size);
	note->blocks = aligned_alloc(QED_ALIGNMENT, note->length);
	if (!note->note || !note->blocks)
		return -ENOMEM;
	note->note->magic = htole32(NOTE_MAGIC);
	note->note->version = htole16(NOTE_VERSION);
	note->note->length = htole32(length);
	memcpy(note->note->name, name, length);
	return 0;
}

static int begin_note(struct qed_note *note, const struct qed_image *img, const char *name)
{
	int r;

	memset(note, 0, sizeof(*note));
	note->fd = -1;
	r = make_note(note, img, name);
	if (!r)
		note->fd = reopen(img->fd);
	if (!r && note->fd < 0)
		r = note->fd;
	if (r)
		qed_note_free(note);
	return r;
}

int qed_note_prepare(struct qed_note *note, const struct qed_image *img, const char *name,
		     const u8 mark[QED_MARK_SIZE])
{
	struct qed_succession now;
	int r = qed_succession_read(img, &now);

	free(now.next);
	if (!r)
		r = begin_note(note, img, name);
	if (r)
		return r;
	memcpy(note->note->mark, now.mark, QED_MARK_SIZE);
	memcpy(note->note->next_mark, mark, QED_MARK_SIZE);
	return 0;
}

/* Puts the note, complete, into the blocks */
static void place_note(struct qed_note *note)
{
	note->note->crc = htole32(note_crc(note->note));
	memcpy(note->blocks + note->offset, note->note, note->size);
}

static struct qed_header *header_of(struct qed_note *note)
{
	return (struct qed_header *)note->blocks;
}

/* Is the image in the blocks the one that the note was prepared for, and closed? */
static int check_blocks(struct qed_note *note)
{
	const struct qed_disk_record *record = (void *)(note->blocks + QED_RECORD_OFFSET);
	struct qed_header now = *header_of(note);
	bool needs_check = le64toh(now.features) & QED_F_NEED_CHECK;
	bool recorded = has_bit(&now, QED_AF_RECORD);

	now.features &= htole64(~(u64)QED_F_NEED_CHECK);
	now.features |= note->header.features & htole64(QED_F_NEED_CHECK);
	now.autoclear_features = note->header.autoclear_features;
	if (memcmp(&now, &note->header, sizeof(now)))
		return -ESTALE;
	if (needs_check || (recorded && le16toh(record->flags) & QED_RECORD_ACTIVE))
		return -EBUSY;
	if (recorded)
		memcpy(note->note->owner, record->owner, QED_OWNER_SIZE);
	return 0;
}

/* Without an owner that it could belong to the note has to be there before the bit. */
int qed_note_write(struct qed_note *note)
{
	int r = read_blocks(note);

	if (!r)
		r = check_blocks(note);
	if (r)
		return r;
	place_note(note);
	note->written = true;
	if (!has_bit(header_of(note), QED_AF_RECORD))
		r = write_blocks(note);
	header_of(note)->autoclear_features |= htole64(QED_AF_SUCCEEDED);
	return r ? r : write_blocks(note);
}

int qed_note_clear(struct qed_note *note)
{
	int r = read_blocks(note);

	if (r || !has_bit(header_of(note), QED_AF_SUCCEEDED))
		return r;
	header_of(note)->autoclear_features &= ~htole64(QED_AF_SUCCEEDED);
	return write_blocks(note);
}

void qed_note_free(struct qed_note *note)
{
	if (note->fd >= 0)
		close(note->fd);
	free(note->note);
	free(note->blocks);
	note->fd = -1;
	note->note = NULL;
	note->blocks = NULL;
}

int qed_succession_mark(struct qed_image *img, u8 mark[QED_MARK_SIZE])
{
	struct qed_note note;
	int r;

	if (getrandom(mark, QED_MARK_SIZE, 0) != QED_MARK_SIZE)
		return -EIO;
	r = begin_note(&note, img, "");
	if (r)
		return r;
	memcpy(note.note->mark, mark, QED_MARK_SIZE);
	r = read_blocks(&note);
	if (!r) {
		place_note(&note);
		r = write_blocks(&note);
	}
	qed_note_free(&note);
	return r;
}

int qed_succession_move(const struct qed_image *img, const struct qed_header *header)
{
	u64 offset = note_offset(header), size, done;
	struct qed_disk_note *note;
	int r;

	if (offset == note_offset(&img->header))
		return 0;
	note = read_note(img, &r);
	if (!note)
		return r;
	size = sizeof(*note) + le32toh(note->length);
	if (offset + size > header_bytes(img))
		r = -ENOSPC;
	else
		r = qed_write_all(img->fd, note, offset, size, &done);
	free(note);
	return !r && fsync(img->fd) ? -errno : r;
}
