/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Undo files: what an image had before it was changed.
 */

#ifndef QED_UNDO_H
#define QED_UNDO_H

#include "common.h"

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

/**
 * qed_undo_save() - save a range that is about to be overwritten
 * @undo: the file
 * @img: the image
 * @offset: of the range
 * @length: of it; what is behind the end of the image is not saved
 *
 * Return: 0 or what failed. It is durable then.
 */
int qed_undo_save(struct qed_undo *undo, struct qed_image *img, u64 offset, u64 length);

/**
 * qed_undo_finish() - close an undo file
 * @undo: the file, which is gone after that; NULL is allowed
 * @img: the image, which will not be changed any more
 *
 * A file without content is removed.
 * Return: 0 or what failed.
 */
int qed_undo_finish(struct qed_undo *undo, struct qed_image *img);

/**
 * qed_undo_apply() - take back what was done to an image
 * @path: of the undo file
 * @img: the image, writable
 * @force: also if the image was changed since
 * @error: what is wrong, for the user, if it fails
 *
 * Return: 0, -EUCLEAN if the file is none or is damaged, -ESTALE if the image
 * was changed since, or what failed.
 */
int qed_undo_apply(const char *path, struct qed_image *img, bool force, const char **error);

#endif /* QED_UNDO_H */
