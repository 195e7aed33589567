/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Changes of a QED image: all of them go through here, after what gets lost was saved
 * in the undo file, if there is one.
 *
 * All sizes and offsets are in bytes.
 */

#ifndef QED_CHANGE_H
#define QED_CHANGE_H

#include "common.h"

struct qed_header;
struct qed_image;

/*
 * They save what is lost first if there is img->undo. Only qed_sync() makes them durable.
 */

int qed_write(struct qed_image *img, const void *buf, u64 offset, u64 length);

/* Make a range a hole. -EOPNOTSUPP if the file system or device cannot. */
int qed_punch(struct qed_image *img, u64 offset, u64 length);

/* Set the size of a file. */
int qed_resize(struct qed_image *img, u64 size);

/**
 * qed_write_header() - write a new header
 * @img: the image; img->header becomes the new one
 * @header: to be written
 *
 * Return: 0 or what failed. It is durable then.
 */
int qed_write_header(struct qed_image *img, const struct qed_header *header);

/**
 * qed_copy() - copy a range within the image
 * @img: the image
 * @from: offset of the source; reads as zeroes behind the end
 * @to: offset of the destination; the file grows as needed
 * @length: how much, whole clusters
 * @failed: where a read failed
 *
 * Holes are kept.
 * Return: 0, -EREMOTEIO if a read failed, -EINTR if the user wants no more, or another
 * error if a write failed.
 */
int qed_copy(struct qed_image *img, u64 from, u64 to, u64 length, u64 *failed);

#endif /* QED_CHANGE_H */
