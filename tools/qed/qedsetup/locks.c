// SPDX-License-Identifier: GPL-2.0-only
/*
 * QEMU's locks, see locks.h.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "locks.h"

/* A byte of the file each: the first for who does something, the second against it */
#define DOES		100
#define FORBIDS		200

#define READS		0x01U
#define WRITES		0x02U
#define RESIZES		0x08U
#define ACTIONS		4

static struct flock lock_of(int type, off_t byte)
{
	struct flock lock = {
		.l_type = type,
		.l_whence = SEEK_SET,
		.l_start = byte,
		.l_len = 1,
	};

	return lock;
}

static int lock_byte(int fd, off_t byte)
{
	struct flock lock = lock_of(F_RDLCK, byte);

	return fcntl(fd, F_OFD_SETLK, &lock) ? -errno : 0;
}

static bool others_have(int fd, off_t byte)
{
	struct flock lock = lock_of(F_WRLCK, byte);

	return !fcntl(fd, F_OFD_GETLK, &lock) && lock.l_type != F_UNLCK;
}

static void drop(int fd)
{
	struct flock lock = lock_of(F_UNLCK, DOES);

	lock.l_len = FORBIDS + ACTIONS - DOES;
	fcntl(fd, F_OFD_SETLK, &lock);
}

static int take(int fd, unsigned int does, unsigned int forbids)
{
	unsigned int i;
	int r = 0;

	for (i = 0; i < ACTIONS && !r; i++) {
		if (does >> i & 1)
			r = lock_byte(fd, DOES + i);
		if (!r && forbids >> i & 1)
			r = lock_byte(fd, FORBIDS + i);
	}
	return r;
}

static bool is_conflict(int fd, unsigned int does, unsigned int forbids)
{
	unsigned int i;

	for (i = 0; i < ACTIONS; i++)
		if ((does >> i & 1 && others_have(fd, FORBIDS + i)) ||
		    (forbids >> i & 1 && others_have(fd, DOES + i)))
			return true;
	return false;
}

bool locks_are_held(int fd)
{
	const unsigned int all = (1U << ACTIONS) - 1;

	return is_conflict(fd, all, all);
}

/* Of two that do this at the same time at least one sees the other: first taken, then looked */
int locks_take(int fd, bool writable)
{
	unsigned int does = writable ? READS | WRITES | RESIZES : READS;
	unsigned int forbids = WRITES | RESIZES;
	int r = take(fd, does, forbids);

	if (r == -EAGAIN || r == -EACCES || (!r && is_conflict(fd, does, forbids))) {
		drop(fd);
		return -EBUSY;
	}
	return 0;
}
