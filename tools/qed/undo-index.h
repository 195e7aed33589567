/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is in an undo file, by the place in the image that it is about.
 */

#ifndef QED_UNDO_INDEX_H
#define QED_UNDO_INDEX_H

#include "undo-file.h"

/**
 * struct undo_range - a record
 * @first: the place that it is about, in bytes
 * @end: where that ends
 * @at: of the record in the undo file
 * @type: enum undo_type
 */
struct undo_range {
	u64 first, end, at;
	u32 type;
};

/**
 * struct undo_list - records, by @first
 * @ranges: they
 * @nr: number of them
 * @room: for so many
 */
struct undo_list {
	struct undo_range *ranges;
	u64 nr, room;
};

/**
 * struct undo_index - all that is to be known of an undo file
 * @file: it
 * @saved: what was before; no two of them overlap
 * @told: what the run has left, if it is complete: then no two of @told, @zero and @any
 *	overlap; else all that it has written, and each has at most UNDO_PIECE bytes
 * @zero: the same where it was zeroes; these and the next are merged to the longest
 * @any: the same where it is not known
 * @least: the smallest size that the image can have had after the run has begun
 * @most: the largest one
 *
 * 32 bytes for each record.
 */
struct undo_index {
	struct undo_file *file;
	struct undo_list saved, told, zero, any;
	u64 least, most;
};

/**
 * undo_index_read() - read all of an undo file, and see that it is sound
 * @index: the result, to be freed in any case
 * @file: the file, its head is read; @end, @nr and @chain become those of the records
 *	that were found, which are not durable yet then
 * @data: room for UNDO_PIECE bytes
 * @bad: where it is damaged, if it is
 *
 * Return: 0, -EUCLEAN if it is damaged, or what failed.
 */
int undo_index_read(struct undo_index *index, struct undo_file *file, void *data, u64 *bad);

/**
 * undo_index_load() - read a record again
 * @index: the index
 * @range: the record
 * @data: gets what follows it, has room for UNDO_PIECE bytes
 *
 * Return: 0, -EUCLEAN if it is not what it was, or what failed.
 */
int undo_index_load(const struct undo_index *index, const struct undo_range *range, void *data);

void undo_index_free(struct undo_index *index);

#endif /* QED_UNDO_INDEX_H */
