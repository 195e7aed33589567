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

#include "undo-file.h"

#define UNDO_MAGIC		0x444e554445510002ULL
#define UNDO_RECORD_MAGIC	0x44524345U

/* The heads are in blocks of their own: no write can spoil both. */
#define FIRST_RECORD		(2 * UNDO_BLOCK)

u64 undo_first_record(void)
{
	return FIRST_RECORD;
}

u32 undo_crc(u32 crc, const void *data, size_t length)
{
	static u32 table[256];
	const u8 *p = data;
	u32 i, bit, value;

	for (i = 0; !table[255] && i < 256; i++) {
		value = i;
		for (bit = 0; bit < 8; bit++)
			value = value >> 1 ^ (value & 1 ? 0xedb88320U : 0);
		table[i] = value;
	}
	for (crc = ~crc; length; length--)
		crc = crc >> 8 ^ table[(crc ^ *p++) & 0xff];
	return ~crc;
}

void undo_sectors(__le32 *crcs, const void *data, u64 length)
{
	const char *sector = data;

	for (; length; length -= UNDO_SECTOR, sector += UNDO_SECTOR)
		*crcs++ = htole32(undo_crc(0, sector, UNDO_SECTOR));
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

/*----------------------------------------------------------------
 * Heads
 *----------------------------------------------------------------
 */

static u32 head_crc(const struct undo_head *head)
{
	return undo_crc(0, head, offsetof(struct undo_head, crc));
}

int undo_commit(struct undo_file *file, enum undo_state state)
{
	struct undo_head *head = &file->head;
	char block[UNDO_SECTOR] = "";
	u64 sequence = le64toh(head->sequence) + 1;
	int r;

	head->state = htole32(state);
	head->sequence = htole64(sequence);
	head->crc = htole32(head_crc(head));
	memcpy(block, head, sizeof(*head));
	r = write_all(file->fd, block, sequence % 2 * UNDO_BLOCK, sizeof(block));
	if (!r && fsync(file->fd))
		r = -errno;
	return r;
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
	return undo_commit(file, UNDO_BEGUN);
}

/* 1, 0 if there is no valid one, or an error */
static int read_slot(const struct undo_file *file, unsigned int slot, struct undo_head *head)
{
	ssize_t n = read_all(file->fd, head, slot * UNDO_BLOCK, sizeof(*head));
	u32 state;

	if (n < 0)
		return n;
	state = le32toh(head->state);
	return n == sizeof(*head) && le64toh(head->magic) == UNDO_MAGIC &&
	       le32toh(head->crc) == head_crc(head) && state >= UNDO_BEGUN &&
	       state <= UNDO_APPLIED && le64toh(head->sequence) % 2 == slot &&
	       le64toh(head->size) <= INT64_MAX && le64toh(head->size_left) <= INT64_MAX &&
	       le64toh(head->end) >= FIRST_RECORD;
}

int undo_read_head(struct undo_file *file)
{
	struct undo_head heads[2], *older;
	int r[2], newer;

	for (newer = 0; newer < 2; newer++) {
		r[newer] = read_slot(file, newer, &heads[newer]);
		if (r[newer] < 0)
			return r[newer];
	}
	if (!r[0] && !r[1])
		return -EUCLEAN;
	newer = !r[0] || (r[1] && le64toh(heads[1].sequence) > le64toh(heads[0].sequence));
	older = &heads[r[!newer] ? !newer : newer];
	/* a run that has ended wrote its head when all was durable */
	if (le32toh(heads[newer].state) != UNDO_BEGUN)
		older = &heads[newer];
	if (memcmp(older->run, heads[newer].run, sizeof(older->run)))
		return -EUCLEAN;
	file->head = heads[newer];
	file->durable_end = le64toh(older->end);
	file->durable_nr = le64toh(older->nr);
	file->durable_chain = le32toh(older->chain);
	return 0;
}

/*----------------------------------------------------------------
 * Records
 *----------------------------------------------------------------
 */

static u32 record_crc(const struct undo_file *file, const struct undo_record *record)
{
	return undo_crc(undo_crc(0, file->head.run, sizeof(file->head.run)), record,
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
		.data_crc = htole32(undo_crc(0, data, data_length)),
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
	head->chain = htole32(undo_crc(le32toh(head->chain), &record.crc, sizeof(record.crc)));
	return 0;
}

/* Is what a record says of itself possible? */
static bool is_sound(const struct undo_file *file, const struct undo_record *record)
{
	u64 offset = le64toh(record->offset), length = le64toh(record->length);
	u32 data_length = le32toh(record->data_length);

	if (offset > INT64_MAX || length > INT64_MAX - offset)
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
	n = read_all(file->fd, record, *at, sizeof(*record));
	if (n < 0)
		return n;
	if (n != sizeof(*record) || le32toh(record->magic) != UNDO_RECORD_MAGIC ||
	    le32toh(record->crc) != record_crc(file, record) || !is_sound(file, record))
		return 0;
	length = le32toh(record->data_length);
	n = read_all(file->fd, data, *at + sizeof(*record), length);
	if (n < 0)
		return n;
	if (n != length || le32toh(record->data_crc) != undo_crc(0, data, length))
		return 0;
	*at += sizeof(*record) + length;
	return 1;
}
