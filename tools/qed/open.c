// SPDX-License-Identifier: GPL-2.0-only
/*
 * Opening an image, see open.h.
 */

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/major.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "locks.h"
#include "loops.h"
#include "open.h"

static char message[512];

/*----------------------------------------------------------------
 * Loop devices
 *----------------------------------------------------------------
 */

static bool has_holders(dev_t device)
{
	char path[512];
	struct dirent *entry;
	bool found = false;
	DIR *dir;

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/holders", major(device), minor(device));
	dir = opendir(path);
	while (dir && !found && (entry = readdir(dir)))
		found = entry->d_name[0] != '.';
	if (dir)
		closedir(dir);
	return found;
}

/*
 * Is there a device on top, or does somebody have the locks of one who writes? To
 * open it exclusively would tell more, but others cannot do so meanwhile.
 */
static bool is_held(dev_t device)
{
	bool held = has_holders(device);
	int fd = held ? -1 : qed_loop_open(device);

	if (fd < 0)
		return held;
	held = qed_is_locked_by_writer(fd);
	close(fd);
	return held;
}

/**
 * struct wanted - what is not to be there: a loop device over a file
 * @but: it may be this one, if not 0
 * @writable: one that nobody uses is not to be there, either
 */
struct wanted {
	dev_t but;
	bool writable;
};

static bool is_in_use_by(dev_t device, const struct loop_info64 *info, void *ctx)
{
	const struct wanted *wanted = ctx;
	char node[QED_NODE_SIZE];
	bool held;

	(void)info;
	if (device == wanted->but || qed_block_node(device, node))
		return false;
	held = is_held(device);
	if (!wanted->writable && !held)
		return false;
	snprintf(message, sizeof(message), "is %sattached to %s%s: %s",
		 wanted->but ? "a file that is " : "", node, wanted->but ? ", too" : "",
		 held ? "that is in use" : "detach that, or check it instead");
	return true;
}

/* Is this a loop device, and the file behind it in use by another one? */
static int check_other_loops(int fd, const struct stat *st)
{
	struct wanted wanted = { .but = st->st_rdev };
	struct stat file = { .st_mode = S_IFREG };
	struct loop_info64 info;

	if (major(st->st_rdev) != LOOP_MAJOR || ioctl(fd, LOOP_GET_STATUS64, &info))
		return 0;
	file.st_dev = info.lo_device;
	file.st_ino = info.lo_inode;
	return qed_loop_each(&file, is_in_use_by, &wanted) ? -EBUSY : 0;
}

static int check_loops(const struct stat *st, bool writable)
{
	struct wanted wanted = { .writable = writable };

	return qed_loop_each(st, is_in_use_by, &wanted) ? -EBUSY : 0;
}

/*----------------------------------------------------------------
 * Opening
 *----------------------------------------------------------------
 */

static int check_use(int fd, bool writable)
{
	struct stat st;
	int r;

	if (fstat(fd, &st))
		return -errno;
	r = qed_lock(fd, writable ? QED_LOCK_ALONE : QED_LOCK_READ);
	if (r) {
		snprintf(message, sizeof(message),
			 "is in use by QEMU, or by another qed-fsck");
		return r;
	}
	return S_ISREG(st.st_mode) ? check_loops(&st, writable) : check_other_loops(fd, &st);
}

static int open_kind(const char *path, const struct stat *st, int flags)
{
	struct stat now;
	int fd, r = 0;

	if (S_ISDIR(st->st_mode))
		return -EISDIR;
	if (!S_ISREG(st->st_mode) && !S_ISBLK(st->st_mode))
		return -ENOTBLK;
	fd = open(path, flags);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &now))
		r = -errno;
	else if (now.st_dev != st->st_dev || now.st_ino != st->st_ino)
		r = -ESTALE;
	if (r)
		close(fd);
	return r ? r : fd;
}

/* A device needs other flags than a file: what the name stands for must not change */
static int open_path(const char *path, bool writable, bool force)
{
	int flags = (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK;
	int pin = open(path, O_PATH | O_CLOEXEC), fd;
	struct stat st;

	if (pin < 0)
		return -errno;
	if (fstat(pin, &st))
		fd = -errno;
	else
		fd = open_kind(path, &st, S_ISBLK(st.st_mode) && !force ? flags | O_EXCL : flags);
	close(pin);
	return fd;
}

int qed_image_open(struct qed_image *img, const char *path, bool writable, bool force,
		   const char **error)
{
	int fd = open_path(path, writable, force), r = fd < 0 ? fd : 0;

	*error = message;
	if (r == -EBUSY) {
		snprintf(message, sizeof(message), "is in use");
		return r;
	}
	snprintf(message, sizeof(message), "cannot be opened: %s", strerror(-r));
	if (r == -ENOTBLK)
		snprintf(message, sizeof(message), "is neither a file nor a block device");
	if (r)
		return r;
	if (!force) {
		r = check_use(fd, writable);
		if (r) {
			close(fd);
			return r;
		}
	}
	r = qed_image_init(img, fd, path, writable);
	if (!r)
		return 0;
	snprintf(message, sizeof(message), "cannot be read: %s", strerror(-r));
	close(fd);
	return r;
}
