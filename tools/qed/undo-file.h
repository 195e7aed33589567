/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The format of undo files; not for users of the library.
 *
 * Two heads, of which the one with the higher sequence number counts, and then
 * records. Before a run changes the image it appends records, makes them durable, and
 * writes the other head, which becomes durable later. So what a head tells of was
 * durable: it is there, or the file is damaged. A run that has ended by a power cut may
 * have more, up to the first record that is not whole.
 *
 * The first records are about the image's header, which has the mark QED_AF_UNDO
 * then, until the run has come to its end and the file says how it left the image.
 * Integers are little-endian.
 */

#ifndef QED_UNDO_FILE_H
#define QED_UNDO_FILE_H

#include <sys/types.h>

#include "common.h"

/* What is compared is compared by sectors; what is saved is saved by blocks. */
#define UNDO_SECTOR		512U
#define UNDO_BLOCK_SHIFT	12
#define UNDO_BLOCK		4096U

/* The most bytes of the image that a record with data, or checksums, is about */
#define UNDO_PIECE		1048576U

/*
 * The mark of an image that is changed by a run with an undo file, or to which one is
 * applied: an autoclear bit, which everybody else who writes clears. As long as it is there
 * all that has happened to the image is known.
 */
#define QED_AF_UNDO		0x1000000000000000ULL	/* bit 60 */

enum undo_state {
	UNDO_BEGUN = 1,		/* a run is under way, or was killed */
	UNDO_COMPLETE,		/* it has said how it leaves the image; then goes the mark */
	UNDO_APPLYING,
	UNDO_APPLIED,
};

enum undo_type {
	UNDO_SAVED = 1,		/* what a range was before the run: its bytes follow */
	UNDO_SAVED_ZERO,
	UNDO_WRITTEN,		/* what it will be next: a CRC for each sector follows */
	UNDO_WRITTEN_ZERO,
	UNDO_WRITTEN_ANY,	/* that is not known */
	UNDO_RESIZED,		/* the file gets the size @offset */
	UNDO_LEFT,		/* what the run has left, like UNDO_WRITTEN */
	UNDO_LEFT_ZERO,
	UNDO_LEFT_ANY,
};

/**
 * struct undo_head - as it is in the file, twice
 * @magic: UNDO_MAGIC
 * @sequence: of the head
 * @run: random, of the run
 * @state: enum undo_state
 * @is_complete: the state is, or once was, UNDO_COMPLETE: records of what was left
 *	tell all, those of what was written are not needed any more
 * @size: of the image before the run, in bytes
 * @size_left: after it, if complete
 * @end: where the records end, in bytes
 * @nr: number of records
 * @chain: CRC of the checksums of all records
 * @tables: of the image's tables after the run, see qed_digest_tables()
 * @header: CRC of the image's header before the run
 * @crc: of the head without this
 */
struct undo_head {
	__le64 magic;
	__le64 sequence;
	u8 run[16];
	__le32 state;
	__le32 is_complete;
	__le64 size;
	__le64 size_left;
	__le64 end;
	__le64 nr;
	__le32 chain;
	__le32 tables;
	__le32 header;
	__le32 crc;
};

/**
 * struct undo_record - before the data of a record
 * @magic: UNDO_RECORD_MAGIC
 * @type: enum undo_type
 * @offset: in the image, in bytes
 * @length: of the range in the image
 * @data_length: of what follows
 * @data_crc: of what follows
 * @crc: of the run and of the record without this
 * @reserved: 0
 */
struct undo_record {
	__le32 magic;
	__le32 type;
	__le64 offset;
	__le64 length;
	__le32 data_length;
	__le32 data_crc;
	__le32 crc;
	__le32 reserved;
};

/**
 * struct undo_file - an open undo file
 * @fd: of it
 * @head: the newest one; @end, @nr and @chain as of the next one
 */
struct undo_file {
	int fd;
	struct undo_head head;
};

/* The CRC of each sector of @length bytes, a multiple of UNDO_SECTOR */
void undo_sectors(__le32 *crcs, const void *data, u64 length);

/* Begin a file, see struct undo_head. It is durable then, but for its name. */
int undo_begin(struct undo_file *file, u64 size, u32 header);

/* Append a record. It is not durable. */
int undo_append(struct undo_file *file, enum undo_type type, u64 offset, u64 length,
		const void *data, u32 data_length);

/* Make durable what was appended, and then write the next head, which is not durable. */
int undo_commit(struct undo_file *file);

/* Write a head with another state, durably; of records that were not, some may be lost. */
int undo_set_state(struct undo_file *file, enum undo_state state);

/* Read the heads. -EUCLEAN if this is no undo file, -EPROTO if it has another format */
int undo_read_head(struct undo_file *file);

/**
 * undo_read_record() - read a record, and check it
 * @file: the file
 * @at: where; is moved to the next one
 * @record: the result
 * @data: gets what follows it; has room for UNDO_PIECE bytes
 *
 * Return: 1, 0 if there is no whole one, or an error.
 */
int undo_read_record(struct undo_file *file, u64 *at, struct undo_record *record, void *data);

/* Where the first record is */
u64 undo_first_record(void);

#endif /* QED_UNDO_FILE_H */
