// SPDX-License-Identifier: GPL-2.0-only
/*
 * The format of undo files, see undo-file.h.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "crc.h"
#include "image.h"
#include "undo-file.h"

/* The last two bytes are the version of the format. */
#define UNDO_MAGIC		0x444e554445510003ULL
#define UNDO_VERSION_BITS	16
#define UNDO_RECORD_MAGIC	0x44524345U

/* The heads are in blocks of their own: no write can spoil both. */
#define FIRST_RECORD		(2 * UNDO_BLOCK)

u64 undo_first_record(void)
{
	return FIRST_RECORD;
}

void undo_sectors(__le32 *crcs, const void *data, u64 length)
{
	const char *sector = data;

	for (; length; length -= UNDO_SECTOR, sector += UNDO_SECTOR)
		*crcs++ = htole32(qed_crc(0, sector, UNDO_SECTOR));
}

static int write_all(int fd, const void *buf, u64 offset, u64 length)
{
	u64 done;

	return qed_write_all(fd, buf, offset, length, &done);
}

/*----------------------------------------------------------------
 * Heads
 *----------------------------------------------------------------
 */

static u32 head_crc(const struct undo_head *head)
{
	return qed_crc(0, head, offsetof(struct undo_head, crc));
}

static int write_head(struct undo_file *file)
{
	struct undo_head *head = &file->head;
	char block[UNDO_SECTOR] = "";
	u64 sequence = le64toh(head->sequence) + 1;

	head->sequence = htole64(sequence);
	head->crc = htole32(head_crc(head));
	memcpy(block, head, sizeof(*head));
	return write_all(file->fd, block, sequence % 2 * UNDO_BLOCK, sizeof(block));
}

int undo_commit(struct undo_file *file)
{
	return fsync(file->fd) ? -errno : write_head(file);
}

int undo_set_state(struct undo_file *file, enum undo_state state)
{
	int r;

	file->head.state = htole32(state);
	r = write_head(file);
	return !r && fsync(file->fd) ? -errno : r;
}

int undo_begin(struct undo_file *file, u64 size, u32 header)
{
	struct undo_head *head = &file->head;
	struct timespec now;
	u64 part;

	memset(head, 0, sizeof(*head));
	head->magic = htole64(UNDO_MAGIC);
	head->size = htole64(size);
	head->header = htole32(header);
	head->end = htole64(FIRST_RECORD);
	if (getrandom(head->run, sizeof(head->run), GRND_NONBLOCK) != sizeof(head->run)) {
		clock_gettime(CLOCK_REALTIME, &now);
		part = now.tv_sec * 1000000000ULL + now.tv_nsec;
		memcpy(head->run, &part, sizeof(part));
		part = getpid();
		memcpy(head->run + sizeof(part), &part, sizeof(part));
	}
	return undo_set_state(file, UNDO_BEGUN);
}

static bool is_head(const struct undo_head *head, unsigned int slot)
{
	u32 state = le32toh(head->state), is_complete = le32toh(head->is_complete);

	if (state == UNDO_BEGUN ? is_complete : state == UNDO_COMPLETE ? is_complete != 1 :
	    state > UNDO_APPLIED || is_complete > 1)
		return false;
	return le32toh(head->crc) == head_crc(head) && state &&
	       le64toh(head->sequence) % 2 == slot &&
	       le64toh(head->size) <= INT64_MAX && le64toh(head->size_left) <= INT64_MAX &&
	       le64toh(head->end) >= FIRST_RECORD;
}

/* 1, 0 if there is no valid one, -EPROTO if it has another format, or another error */
static int read_slot(const struct undo_file *file, unsigned int slot, struct undo_head *head)
{
	ssize_t n = qed_read_all(file->fd, head, slot * UNDO_BLOCK, sizeof(*head));
	u64 version;

	if (n < 0)
		return n;
	if (n < (ssize_t)sizeof(*head))
		return 0;
	version = le64toh(head->magic) ^ UNDO_MAGIC;
	if (!version)
		return is_head(head, slot);
	return version >> UNDO_VERSION_BITS ? 0 : -EPROTO;
}

int undo_read_head(struct undo_file *file)
{
	struct undo_head heads[2];
	int r[2], slot;

	for (slot = 0; slot < 2; slot++) {
		r[slot] = read_slot(file, slot, &heads[slot]);
		if (r[slot] < 0 && r[slot] != -EPROTO)
			return r[slot];
	}
	if (r[0] <= 0 && r[1] <= 0)
		return r[0] || r[1] ? -EPROTO : -EUCLEAN;
	if (r[0] == r[1] && memcmp(heads[0].run, heads[1].run, sizeof(heads[0].run)))
		return -EUCLEAN;
	slot = r[0] <= 0 ||
	       (r[1] > 0 && le64toh(heads[1].sequence) > le64toh(heads[0].sequence));
	file->head = heads[slot];
	return 0;
}

/*----------------------------------------------------------------
 * Records
 *----------------------------------------------------------------
 */

static u32 record_crc(const struct undo_file *file, const struct undo_record *record)
{
	return qed_crc(qed_crc(0, file->head.run, sizeof(file->head.run)), record,
			offsetof(struct undo_record, crc));
}

int undo_append(struct undo_file *file, enum undo_type type, u64 offset, u64 length,
		const void *data, u32 data_length)
{
	struct undo_head *head = &file->head;
	struct undo_record record = {
		.magic = htole32(UNDO_RECORD_MAGIC),
		.type = htole32(type),
		.offset = htole64(offset),
		.length = htole64(length),
		.data_length = htole32(data_length),
		.data_crc = htole32(qed_crc(0, data, data_length)),
	};
	u64 end = le64toh(head->end);
	int r;

	record.crc = htole32(record_crc(file, &record));
	r = write_all(file->fd, &record, end, sizeof(record));
	if (!r)
		r = write_all(file->fd, data, end + sizeof(record), data_length);
	if (r)
		return r;
	head->end = htole64(end + sizeof(record) + data_length);
	head->nr = htole64(le64toh(head->nr) + 1);
	head->chain = htole32(qed_crc(le32toh(head->chain), &record.crc, sizeof(record.crc)));
	return 0;
}

/* Is what a record says of itself possible? */
static bool is_sound(const struct undo_file *file, const struct undo_record *record)
{
	u64 offset = le64toh(record->offset), length = le64toh(record->length);
	u32 data_length = le32toh(record->data_length);

	if (record->reserved || offset > INT64_MAX || length > INT64_MAX - offset)
		return false;
	if (!length && le32toh(record->type) != UNDO_RESIZED)
		return false;
	switch (le32toh(record->type)) {
	case UNDO_SAVED:
	case UNDO_SAVED_ZERO:
		if (offset % UNDO_BLOCK || offset + length > le64toh(file->head.size))
			return false;
		if (le32toh(record->type) == UNDO_SAVED_ZERO)
			return !data_length;
		return length <= UNDO_PIECE && data_length == length;
	case UNDO_WRITTEN:
	case UNDO_LEFT:
		return offset % UNDO_SECTOR == 0 && length % UNDO_SECTOR == 0 &&
		       length <= UNDO_PIECE && data_length == length / UNDO_SECTOR * 4;
	case UNDO_WRITTEN_ZERO:
	case UNDO_WRITTEN_ANY:
	case UNDO_LEFT_ZERO:
	case UNDO_LEFT_ANY:
		return offset % UNDO_SECTOR == 0 && length % UNDO_SECTOR == 0 && !data_length;
	case UNDO_RESIZED:
		return !length && !data_length;
	default:
		return false;
	}
}

int undo_read_record(struct undo_file *file, u64 *at, struct undo_record *record, void *data)
{
	ssize_t n;
	u32 length;

	if (*at > (u64)INT64_MAX - sizeof(*record) - UNDO_PIECE)
		return 0;
	n = qed_read_all(file->fd, record, *at, sizeof(*record));
	if (n < 0)
		return n;
	if (n != sizeof(*record) || le32toh(record->magic) != UNDO_RECORD_MAGIC ||
	    le32toh(record->crc) != record_crc(file, record) || !is_sound(file, record))
		return 0;
	length = le32toh(record->data_length);
	n = qed_read_all(file->fd, data, *at + sizeof(*record), length);
	if (n < 0)
		return n;
	if (n != length || le32toh(record->data_crc) != qed_crc(0, data, length))
		return 0;
	*at += sizeof(*record) + length;
	return 1;
}
