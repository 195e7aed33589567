/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * New images.
 */

#ifndef QEDSETUP_CREATE_H
#define QEDSETUP_CREATE_H

#include "bound.h"

/**
 * struct new_image - an image that is to be made
 * @shape: its geometry
 * @backing: the name of the backing file, or NULL
 * @is_raw: that is a raw image
 * @zeroed: the size of the device if all of it that the image does not take reads as zeroes,
 *          durably; else 0
 */
struct new_image {
	struct shape shape;
	const char *backing;
	bool is_raw;
	u64 zeroed;
};

/**
 * new_image_write() - write header and L1 table
 * @image: what is to be made
 * @fd: a file that is empty, or a block device
 *
 * On a device there is no image until all of it is durable.
 * Return: 0 or what failed.
 */
int new_image_write(const struct new_image *image, int fd);

#endif /* QEDSETUP_CREATE_H */
