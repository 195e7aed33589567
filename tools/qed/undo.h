/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Undo files: what an image had before it was changed.
 *
 * A file knows what each place that a run overwrites was, what the run wrote there,
 * and in the end what it left, so that it can tell whether an image is the one that
 * it belongs to, and has not been changed otherwise since. undo-apply.h takes back.
 */

#ifndef QED_UNDO_H
#define QED_UNDO_H

#include "common.h"

struct qed_header;
struct qed_image;

struct qed_undo;

/**
 * qed_undo_create() - begin an undo file
 * @undo: the result
 * @path: of the file, which must not exist
 * @img: the image, not changed yet
 *
 * Return: 0, -EEXIST, or what failed.
 */
int qed_undo_create(struct qed_undo **undo, const char *path, const struct qed_image *img);

/*
 * To be called before a change of the image, of which the header's is the first: what gets
 * lost is saved, and what will be there is noted. All of it is durable when they return.
 * Return: 0 or what failed, which qed_undo_error() tells from then on.
 */

int qed_undo_write(struct qed_undo *undo, struct qed_image *img, const void *buf, u64 offset,
		   u64 length);

/* It will be zeroes; or anything, if @is_discard. */
int qed_undo_punch(struct qed_undo *undo, struct qed_image *img, u64 offset, u64 length,
		   bool is_discard);

int qed_undo_resize(struct qed_undo *undo, struct qed_image *img, u64 size);

/**
 * qed_undo_prepare() - announce that a range will be overwritten, with anything
 * @undo: the file
 * @img: the image
 * @offset: of the range, a multiple of 4096
 * @length: of it, the same
 *
 * It is durable after qed_undo_commit() only. Writing there needs no barrier then.
 * Return: 0 or what failed.
 */
int qed_undo_prepare(struct qed_undo *undo, struct qed_image *img, u64 offset, u64 length);
int qed_undo_commit(struct qed_undo *undo);

/* Autoclear bits that the image is to have as long as it is changed */
u64 qed_undo_mark(const struct qed_undo *undo);

/* What failed when something was to be saved; 0 if nothing did, or if there is no file. */
int qed_undo_error(const struct qed_undo *undo);

/* Was it the image that failed, which could not be read? */
bool qed_undo_was_reading(const struct qed_undo *undo);

/**
 * qed_undo_complete() - tell how the image is left
 * @undo: the file; NULL is allowed
 * @img: the image, whose changes are durable
 * @header: will be written next, without the mark; this is the last change, and it has not
 *	to be announced
 *
 * After that the file is applied only to an image that is exactly so.
 * Return: 0 or what failed.
 */
int qed_undo_complete(struct qed_undo *undo, struct qed_image *img,
		      const struct qed_header *header);

/**
 * qed_undo_finish() - close an undo file
 * @undo: the file, which is gone after that; NULL is allowed
 * @img: the image, which will not be changed any more
 *
 * A file without content is removed. What it lacks about how the image is left is added if
 * all changes are durable; else it is like that of a run that was killed then.
 * Return: 0 or what failed.
 */
int qed_undo_finish(struct qed_undo *undo, struct qed_image *img);

#endif /* QED_UNDO_H */
