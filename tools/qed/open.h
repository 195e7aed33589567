/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Opening an image that nobody else uses.
 */

#ifndef QED_OPEN_H
#define QED_OPEN_H

#include "image.h"

/**
 * qed_image_open() - open an image, and lock it
 * @img: the image
 * @path: of the file or device
 * @writable: for writing; else for reading, beside others who read it
 * @force: also if it is in use; not if @writable
 * @error: a text for the user if it fails; overwritten by the next call
 *
 * A block device is opened exclusively. The locks of QEMU are taken; they are on the
 * file descriptor. The image must be closed only if 0 is returned.
 * Return: 0, -EBUSY if it is in use, or what failed.
 */
int qed_image_open(struct qed_image *img, const char *path, bool writable, bool force,
		   const char **error);

#endif /* QED_OPEN_H */
