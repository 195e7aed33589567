/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Taking back what a run with an undo file has done.
 */

#ifndef QED_UNDO_APPLY_H
#define QED_UNDO_APPLY_H

#include "common.h"

struct qed_image;

/**
 * qed_undo_apply() - take back what was done to an image
 * @path: of the undo file
 * @img: the image, writable
 * @force: also if the image was changed since, or is another one
 * @error: what is wrong, for the user, if it fails; overwritten by the next call
 *
 * Nothing is written unless all of the file is sound and belongs to what is in the
 * image. If that fails in the middle it can be repeated. @img->modified tells whether
 * there was something to be taken back.
 * Return: 0, -EUCLEAN if the file is none or is damaged, -ESTALE if it does not belong
 * to the image as it is, or what failed.
 */
int qed_undo_apply(const char *path, struct qed_image *img, bool force, const char **error);

#endif /* QED_UNDO_APPLY_H */
