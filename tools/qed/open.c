// SPDX-License-Identifier: GPL-2.0-only
/*
 * Opening an image, see open.h.
 */

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "open.h"

/*
 * QEMU's locks are read locks on single bytes of the file. Who has a permission
 * locks one byte for it, who does not want others to have it locks another one.
 */
#define HAS_PERMISSION		100
#define FORBIDS_PERMISSION	200

#define PERMISSION_READ		0x01U	/* consistently */
#define PERMISSION_WRITE	0x02U
#define PERMISSION_REWRITE	0x04U	/* the same content */
#define PERMISSION_RESIZE	0x08U
#define PERMISSIONS		4

static char message[512];

/*----------------------------------------------------------------
 * QEMU's locks
 *----------------------------------------------------------------
 */

static int lock_byte(int fd, off_t byte)
{
	struct flock lock = {
		.l_type = F_RDLCK,
		.l_whence = SEEK_SET,
		.l_start = byte,
		.l_len = 1,
	};

	return fcntl(fd, F_OFD_SETLK, &lock) ? -errno : 0;
}

static bool is_locked(int fd, off_t byte)
{
	struct flock lock = {
		.l_type = F_WRLCK,
		.l_whence = SEEK_SET,
		.l_start = byte,
		.l_len = 1,
	};

	return !fcntl(fd, F_OFD_GETLK, &lock) && lock.l_type != F_UNLCK;
}

/* Take locks, then look whether others have those that conflict, as QEMU does */
static int lock_file(int fd, unsigned int has, unsigned int forbids)
{
	unsigned int i;
	int r = 0;

	for (i = 0; i < PERMISSIONS && !r; i++) {
		if (has >> i & 1)
			r = lock_byte(fd, HAS_PERMISSION + i);
		if (!r && forbids >> i & 1)
			r = lock_byte(fd, FORBIDS_PERMISSION + i);
	}
	if (r && r != -EAGAIN && r != -EACCES)
		return 0;	/* a file system without locks: QEMU has none either */

	for (i = 0; i < PERMISSIONS && !r; i++) {
		if (has >> i & 1 && is_locked(fd, FORBIDS_PERMISSION + i))
			r = -EBUSY;
		if (forbids >> i & 1 && is_locked(fd, HAS_PERMISSION + i))
			r = -EBUSY;
	}
	return r ? -EBUSY : 0;
}

static int lock_image(int fd, bool writable)
{
	if (writable)
		return lock_file(fd, PERMISSION_READ | PERMISSION_WRITE | PERMISSION_RESIZE,
				 PERMISSION_READ | PERMISSION_WRITE | PERMISSION_REWRITE |
				 PERMISSION_RESIZE);
	return lock_file(fd, PERMISSION_READ, PERMISSION_WRITE | PERMISSION_RESIZE);
}

/*----------------------------------------------------------------
 * Loop devices
 *----------------------------------------------------------------
 */

/* The path of the file behind a loop device; false if there is none */
static bool read_backing_path(const char *loop, char *path, int size)
{
	char name[512];
	FILE *file;
	bool found;

	snprintf(name, sizeof(name), "/sys/block/%s/loop/backing_file", loop);
	file = fopen(name, "re");
	if (!file)
		return false;
	found = fgets(path, size, file);
	fclose(file);
	if (found)
		path[strcspn(path, "\n")] = '\0';
	return found;
}

/* Is this the file behind the loop device? By its path, who may not ask the device */
static bool is_behind(const char *loop, int loop_fd, const struct stat *st)
{
	struct loop_info64 info;
	char path[4096];
	struct stat other;

	if (!read_backing_path(loop, path, sizeof(path)))
		return false;
	if (loop_fd >= 0 && !ioctl(loop_fd, LOOP_GET_STATUS64, &info))
		return info.lo_device == st->st_dev && info.lo_inode == st->st_ino;
	return !stat(path, &other) && other.st_dev == st->st_dev && other.st_ino == st->st_ino;
}

/* Is there a device on top, or is it used exclusively, as by a mount? */
static bool is_held(const char *loop)
{
	char path[512];
	struct dirent *entry;
	bool held = false;
	DIR *dir;
	int fd;

	snprintf(path, sizeof(path), "/dev/%s", loop);
	fd = open(path, O_RDONLY | O_EXCL | O_CLOEXEC);
	if (fd >= 0)
		close(fd);
	else if (errno == EBUSY)
		return true;
	snprintf(path, sizeof(path), "/sys/block/%s/holders", loop);
	dir = opendir(path);
	if (!dir)
		return false;
	while ((entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			held = true;
	closedir(dir);
	return held;
}

static bool is_in_use_by_loop(const char *loop, const struct stat *st, bool writable)
{
	char path[512];
	bool behind;
	int fd;

	snprintf(path, sizeof(path), "/dev/%s", loop);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	behind = is_behind(loop, fd, st);
	if (fd >= 0)
		close(fd);
	return behind && (writable || is_held(loop));
}

static int check_loop_devices(const struct stat *st, bool writable)
{
	DIR *dir = opendir("/sys/block");
	struct dirent *entry;
	int r = 0;

	while (dir && !r && (entry = readdir(dir))) {
		if (strncmp(entry->d_name, "loop", 4))
			continue;
		if (!is_in_use_by_loop(entry->d_name, st, writable))
			continue;
		snprintf(message, sizeof(message), "is attached to /dev/%.255s: %s",
			 entry->d_name, is_held(entry->d_name) ? "that is in use" :
			 "detach that, or check it instead");
		r = -EBUSY;
	}
	if (dir)
		closedir(dir);
	return r;
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
	if (!S_ISREG(st.st_mode))
		return 0;
	r = lock_image(fd, writable);
	if (r) {
		snprintf(message, sizeof(message),
			 "is in use by QEMU, or by another qed-fsck");
		return r;
	}
	return check_loop_devices(&st, writable);
}

static int open_path(const char *path, bool writable, bool force)
{
	int flags = (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK;
	struct stat st;
	int fd;

	if (stat(path, &st))
		return -errno;
	if (S_ISBLK(st.st_mode) && !force)
		flags |= O_EXCL;
	fd = open(path, flags);
	return fd < 0 ? -errno : fd;
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
	if (r == -ENOTBLK)
		snprintf(message, sizeof(message), "is neither a file nor a block device");
	else
		snprintf(message, sizeof(message), "cannot be read: %s", strerror(-r));
	close(fd);
	return r;
}
