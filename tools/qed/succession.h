/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which image a disk goes on in, since there was a snapshot: a note in the header of the image
 * that it was in before.
 *
 * Documentation/admin-guide/device-mapper/dm-qed-record.rst tells what it consists of.
 */

#ifndef QED_SUCCESSION_H
#define QED_SUCCESSION_H

#include "image.h"

/* An autoclear bit: there is a note. Whoever writes to the image clears it, dm-qed as well. */
#define QED_AF_SUCCEEDED	0x0400000000000000ULL	/* bit 58 */

#define QED_MARK_SIZE		16	/* bytes */

/**
 * struct qed_succession - what a header says
 * @mark: random bytes that the image is known by, zeroes if it has none
 * @next: the path of the image that the disk goes on in, as QEMU would find it by the name that
 *        is noted; NULL if it is this one; to be freed
 * @next_mark: what that is known by
 */
struct qed_succession {
	u8 mark[QED_MARK_SIZE];
	char *next;
	u8 next_mark[QED_MARK_SIZE];
};

/**
 * qed_succession_read() - read the note of an image
 * @img: the image, its geometry is set
 * @succession: the result; one that is void is as none
 *
 * Return: 0 or what failed.
 */
int qed_succession_read(const struct qed_image *img, struct qed_succession *succession);

/**
 * qed_succession_mark() - give an image a new mark
 * @img: the image, its geometry is set; nobody uses it, and its descriptor is for writing
 * @mark: the result
 *
 * Return: 0, -ENOSPC if its header has no room, or what failed.
 */
int qed_succession_mark(struct qed_image *img, u8 mark[QED_MARK_SIZE]);

/* Where it ends, as an offset in bytes; 0 if there is none */
u64 qed_succession_end(const struct qed_image *img);

/**
 * qed_succession_move() - copy the note to where it is by another header
 * @img: the image, its geometry is set; nobody uses it, and its descriptor is for writing
 * @header: the header that it will get, with the name of another backing file
 *
 * What it has now stays.
 * Return: 0, -ENOSPC if its header has no room, or what failed.
 */
int qed_succession_move(const struct qed_image *img, const struct qed_header *header);

/**
 * struct qed_note - a note that is to be written
 * @fd: of the image
 * @blocks: as much of its header as has to be written
 * @length: of that
 * @offset: of the note
 * @size: of the note
 * @header: as it was when the note was prepared
 * @note: the note
 * @written: the header may have it
 */
struct qed_note {
	int fd;
	u8 *blocks;
	size_t length, offset, size;
	struct qed_header header;
	struct qed_disk_note *note;
	bool written;
};

/**
 * qed_note_prepare() - prepare a note in an image that is in use still
 * @note: the result, to be freed if this succeeds
 * @img: the image, its geometry is set
 * @name: of the image that the disk will go on in, as for a backing file of this one
 * @mark: of that
 *
 * Return: 0, -ENOSPC if its header has no room for such a name, or what failed.
 */
int qed_note_prepare(struct qed_note *note, const struct qed_image *img, const char *name,
		     const u8 mark[QED_MARK_SIZE]);

/**
 * qed_note_write() - write it, durably
 * @note: prepared
 *
 * Takes no memory.
 * Return: 0, -EBUSY if the image is not closed, -ESTALE if it has become another one, or what
 * failed.
 */
int qed_note_write(struct qed_note *note);

/* Take it back, also one that somebody else has written. Takes no memory. 0 or what failed. */
int qed_note_clear(struct qed_note *note);

void qed_note_free(struct qed_note *note);

#endif /* QED_SUCCESSION_H */
