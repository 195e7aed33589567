/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the tables of an image say.
 */

#ifndef QEDSETUP_TABLES_H
#define QEDSETUP_TABLES_H

#include "../image.h"

enum extent_kind {
	EXTENT_NONE,	/* not in this image */
	EXTENT_ZERO,
	EXTENT_DATA,
};

/**
 * struct extent - a part of the guest's disk
 * @kind: what it is
 * @length: in bytes
 * @offset: where it is in the file, for EXTENT_DATA
 */
struct extent {
	enum extent_kind kind;
	u64 length, offset;
};

/**
 * struct tables - a reader of tables
 * @img: the image; NULL: a raw one
 * @fd: the file, if it is raw
 * @size: of that
 * @l1: a piece of the L1 table
 * @l1_offset: where that begins in the file, 0 if none has been read
 * @l2: the same of an L2 table
 * @l2_offset: the same
 */
struct tables {
	struct qed_image *img;
	int fd;
	u64 size;
	__le64 *l1, *l2;
	u64 l1_offset, l2_offset;
};

/* Both return 0 or -ENOMEM; they are to be freed if they return 0. */
int tables_init(struct tables *tables, struct qed_image *img);
int tables_init_raw(struct tables *tables, int fd, u64 size);
void tables_free(struct tables *tables);

/**
 * tables_find() - what is at an offset of the guest's disk?
 * @tables: the reader
 * @offset: of the guest's disk, less than its size
 * @most: the most that is looked at
 * @extent: the result; what follows may be of the same kind
 *
 * Return: 0, -EUCLEAN if an entry is illegal, or what failed.
 */
int tables_find(struct tables *tables, u64 offset, u64 most, struct extent *extent);

/**
 * tables_end() - the end of all that is in use
 * @tables: the reader
 * @end: the result, in clusters: behind the last one that a table refers to
 *
 * Return: 0, -EUCLEAN if an entry is illegal, or what failed.
 */
int tables_end(struct tables *tables, u64 *end);

#endif /* QEDSETUP_TABLES_H */
