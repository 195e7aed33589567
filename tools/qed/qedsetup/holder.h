/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who has a file or a block device.
 */

#ifndef QEDSETUP_HOLDER_H
#define QEDSETUP_HOLDER_H

#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>

/**
 * holder_find() - who has it?
 * @st: of the file or device
 * @processes: look at what processes have open, too, but this one
 *
 * Looks for loop devices, devices on top of it, mounts, and swap.
 * Return: as the end of the sentence "is in use by", to be freed; NULL if nobody is found.
 */
char *holder_find(const struct stat *st, bool processes);

/* The same for a block device by its number */
char *holder_find_device(dev_t device);

/**
 * holder_is_image() - is this file or device behind that block device?
 * @st: of the file or device
 * @device: the block device, a loop device if it is a file
 *
 * Return: 1, 0, or what failed.
 */
int holder_is_image(const struct stat *st, dev_t device);

#endif /* QEDSETUP_HOLDER_H */
