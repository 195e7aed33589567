// SPDX-License-Identifier: GPL-2.0-only
/*
 * QEMU's locks, see locks.h.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>

#include "common.h"
#include "locks.h"

/*
 * They are read locks on single bytes of the file. Who has a permission locks one byte for it,
 * who does not want others to have it locks another one.
 */
#define HAS_PERMISSION		100
#define FORBIDS_PERMISSION	200

#define PERMISSION_READ		0x01U	/* consistently */
#define PERMISSION_WRITE	0x02U
#define PERMISSION_REWRITE	0x04U	/* the same content */
#define PERMISSION_RESIZE	0x08U
#define PERMISSIONS		4

static const struct permissions {
	unsigned int has, forbids;
} permissions[] = {
	[QED_LOCK_READ] = {
		PERMISSION_READ,
		PERMISSION_WRITE | PERMISSION_RESIZE,
	},
	[QED_LOCK_WRITE] = {
		PERMISSION_READ | PERMISSION_WRITE | PERMISSION_RESIZE,
		PERMISSION_WRITE | PERMISSION_RESIZE,
	},
	[QED_LOCK_ALONE] = {
		PERMISSION_READ | PERMISSION_WRITE | PERMISSION_RESIZE,
		PERMISSION_READ | PERMISSION_WRITE | PERMISSION_REWRITE | PERMISSION_RESIZE,
	},
};

static struct flock lock_of(int type, off_t byte, off_t length)
{
	struct flock lock = {
		.l_type = type,
		.l_whence = SEEK_SET,
		.l_start = byte,
		.l_len = length,
	};

	return lock;
}

static int lock_byte(int fd, off_t byte)
{
	struct flock lock = lock_of(F_RDLCK, byte, 1);

	return fcntl(fd, F_OFD_SETLK, &lock) ? -errno : 0;
}

static bool others_have(int fd, off_t byte)
{
	struct flock lock = lock_of(F_WRLCK, byte, 1);

	return !fcntl(fd, F_OFD_GETLK, &lock) && lock.l_type != F_UNLCK;
}

static int take(int fd, const struct permissions *mine)
{
	unsigned int i;
	int r = 0;

	for (i = 0; i < PERMISSIONS && !r; i++) {
		if (mine->has >> i & 1)
			r = lock_byte(fd, HAS_PERMISSION + i);
		if (!r && mine->forbids >> i & 1)
			r = lock_byte(fd, FORBIDS_PERMISSION + i);
	}
	return r;
}

static void drop(int fd)
{
	struct flock lock = lock_of(F_UNLCK, HAS_PERMISSION,
				    FORBIDS_PERMISSION + PERMISSIONS - HAS_PERMISSION);

	fcntl(fd, F_OFD_SETLK, &lock);
}

static bool is_conflict(int fd, const struct permissions *mine)
{
	unsigned int i;

	for (i = 0; i < PERMISSIONS; i++)
		if ((mine->has >> i & 1 && others_have(fd, FORBIDS_PERMISSION + i)) ||
		    (mine->forbids >> i & 1 && others_have(fd, HAS_PERMISSION + i)))
			return true;
	return false;
}

/* Of two that do this at the same time at least one sees the other: first taken, then looked */
int qed_lock(int fd, enum qed_lock_use use)
{
	const struct permissions *mine = &permissions[use];
	int r = take(fd, mine);

	if (r == -EAGAIN || r == -EACCES || (!r && is_conflict(fd, mine))) {
		drop(fd);
		return -EBUSY;
	}
	return 0;
}

void qed_lock_beside(int fd)
{
	take(fd, &permissions[QED_LOCK_READ]);
}

bool qed_is_locked(int fd)
{
	const unsigned int all = (1U << PERMISSIONS) - 1;

	return is_conflict(fd, &(struct permissions){ .has = all, .forbids = all });
}

bool qed_is_locked_by_writer(int fd)
{
	return is_conflict(fd, &(struct permissions){
			.forbids = PERMISSION_WRITE | PERMISSION_RESIZE });
}
