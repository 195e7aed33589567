/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Sparse files behind loop devices.
 */

#ifndef MONITOR_FILE_H
#define MONITOR_FILE_H

#include <sys/types.h>

#include "config.h"

/**
 * struct file_space - of a file system
 * @size: in bytes
 * @available: in bytes, to who is not root
 */
struct file_space {
	u64 size, available;
};

/* Is it a loop device over a file that goes away by itself, as those of qedsetup? */
bool file_is(dev_t loop);

/**
 * file_grow() - make a file larger, and its loop device
 * @loop: that
 * @bytes: by so much
 * @settings: reserve and preallocate
 *
 * qedsetup, which makes the file shorter when the device is closed, waits for this to end.
 * Allocates nothing in user space.
 * Return: 0 or a negative error number, and has noted what failed.
 */
int file_grow(dev_t loop, u64 bytes, const struct settings *settings);

/* How much space the file system has that the file of a loop device is in: 0 or an error */
int file_space(dev_t loop, struct file_space *space);

#endif /* MONITOR_FILE_H */
