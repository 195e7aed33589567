/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Loop devices: at most one for a file that is written to.
 */

#ifndef QEDSETUP_LOOP_H
#define QEDSETUP_LOOP_H

#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "../common.h"
#include "../loops.h"

/* What the spare loop device of a block device is called, see loop_hold() */
#define LOOP_HOLDER	"QED-LOCK"

/* What the others are called, followed by a path: these have QEMU's locks */
#define LOOP_IMAGE	"QED:"

/**
 * struct loop - a loop device
 * @fd: open: without it, or another user, it goes away
 * @device: its number
 * @name: its path
 * @is_direct: it does not go through the page cache
 * @sector_size: its logical blocks
 */
struct loop {
	int fd;
	dev_t device;
	char name[QED_NODE_SIZE];
	bool is_direct;
	unsigned int sector_size;
};

/**
 * loop_attach() - make a loop device
 * @loop: the result
 * @fd: the file, which has all locks that it is to have
 * @path: its name, for who asks the loop device
 * @read_only: it is not written to
 * @direct: ask for direct I/O; whether that works is in @loop->is_direct
 * @sector_size: its logical blocks
 *
 * It goes away by itself with its last user.
 * Return: 0, or what has failed, which is noted.
 */
int loop_attach(struct loop *loop, int fd, const char *path, bool read_only, bool direct,
		unsigned int sector_size);

/**
 * loop_share() - take a loop device that is there
 * @loop: the result
 * @st: of the file
 * @direct: it has to be with direct I/O
 * @sector_size: its logical blocks
 *
 * One that loop_attach() has made for all of the file, to read it.
 * Return: has one been found?
 */
bool loop_share(struct loop *loop, const struct stat *st, bool direct,
		unsigned int sector_size);

/* Close it: it goes away unless it has another user. */
void loop_close(struct loop *loop);

/**
 * loop_hold() - keep the locks of a block device
 * @fd: the device, with its locks
 *
 * Makes a loop device that nobody uses: it stays until loop_release().
 * Return: 0, or what has failed, which is noted.
 */
int loop_hold(int fd);

/* Release all of them that are over this block device. */
void loop_release(const struct stat *st);

/**
 * loop_find() - the first loop device over a file or a block device
 * @st: of the file or device
 * @name: its path
 *
 * Return: is there one? Such as loop_hold() makes do not count.
 */
bool loop_find(const struct stat *st, char name[QED_NODE_SIZE]);

/*
 * Wait until there is none: it goes away by itself with its last user, but that need not have
 * come to its end when the removal of what was on it has.
 */
void loop_wait(const struct stat *st);

/* What is behind a loop device: st_dev and st_ino of the file. 0 or what failed. */
int loop_behind(dev_t device, struct stat *st);

/* Is it with direct I/O? */
bool loop_is_direct(dev_t device);

/* Does it go away with its last user, as those of loop_attach()? */
bool loop_goes_away(dev_t device);

/* The file has another size: take note of it. 0 or what failed. */
int loop_update_size(dev_t device);

#endif /* QEDSETUP_LOOP_H */
