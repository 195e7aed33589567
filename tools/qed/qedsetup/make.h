/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Puts new images where they are to be: in a file, or on a block device.
 */

#ifndef QEDSETUP_MAKE_H
#define QEDSETUP_MAKE_H

#include "create.h"
#include "request.h"

/**
 * make_design() - choose the sizes of clusters and tables
 * @request: --cluster-size and --table-size, as far as they are given
 * @image: all else of it is set
 *
 * Return: 0, or what is wrong with them, which is noted.
 */
int make_design(const struct request *request, struct new_image *image);

/**
 * make_image() - make an image
 * @request: its first word is where; --force, --zero and --discard
 * @image: what is to be there; is told what of a device has been zeroed
 *
 * A file has its name when all of it is durable, and a device an image. What is there stays unless
 * it may be overwritten, and nobody uses it.
 * Return: 0 or what failed, which is noted.
 */
int make_image(const struct request *request, struct new_image *image);

#endif /* QEDSETUP_MAKE_H */
