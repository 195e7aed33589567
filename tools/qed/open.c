// SPDX-License-Identifier: GPL-2.0-only
/*
 * Opening an image, see open.h.
 */

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <linux/major.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "locks.h"
#include "open.h"

static char message[512];

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

static int open_loop(const char *loop)
{
	char path[512];

	snprintf(path, sizeof(path), "/dev/%s", loop);
	return open(path, O_RDONLY | O_CLOEXEC);
}

/* Is this the file behind the loop device? By its path, who may not ask the device */
static bool is_behind(const char *loop, const struct stat *st)
{
	struct loop_info64 info;
	char path[4096];
	struct stat other;
	bool behind;
	int fd;

	if (!read_backing_path(loop, path, sizeof(path)))
		return false;
	if (!stat(path, &other) && other.st_dev == st->st_dev && other.st_ino == st->st_ino)
		return true;
	/* the path may have changed, or be one of another name space */
	fd = open_loop(loop);
	if (fd < 0)
		return false;
	behind = !ioctl(fd, LOOP_GET_STATUS64, &info) && info.lo_device == st->st_dev &&
		 info.lo_inode == st->st_ino;
	close(fd);
	return behind;
}

static bool has_holders(const char *loop)
{
	char path[512];
	struct dirent *entry;
	bool found = false;
	DIR *dir;

	snprintf(path, sizeof(path), "/sys/block/%s/holders", loop);
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
static bool is_held(const char *loop)
{
	bool held = has_holders(loop);
	int fd = held ? -1 : open_loop(loop);

	if (fd < 0)
		return held;
	held = qed_is_locked_by_writer(fd);
	close(fd);
	return held;
}

static bool is_in_use_by_loop(const char *loop, const struct stat *st, bool writable)
{
	return is_behind(loop, st) && (writable || is_held(loop));
}

/* Of a file, or of the one behind the loop device @but */
static int check_loop_devices(const struct stat *st, const char *but, bool writable)
{
	DIR *dir = opendir("/sys/block");
	struct dirent *entry;
	int r = 0;

	while (dir && !r && (entry = readdir(dir))) {
		if (strncmp(entry->d_name, "loop", 4) || !strcmp(entry->d_name, but))
			continue;
		if (!is_in_use_by_loop(entry->d_name, st, writable))
			continue;
		snprintf(message, sizeof(message), "is %sattached to /dev/%.255s%s: %s",
			 *but ? "a file that is " : "", entry->d_name, *but ? ", too" : "",
			 is_held(entry->d_name) ? "that is in use" :
			 "detach that, or check it instead");
		r = -EBUSY;
	}
	if (dir)
		closedir(dir);
	return r;
}

/* Is this a loop device, and the file behind it in use by another one? */
static int check_other_loops(int fd, const struct stat *st)
{
	struct loop_info64 info;
	struct stat file = { 0 };
	char name[32];

	if (major(st->st_rdev) != LOOP_MAJOR || ioctl(fd, LOOP_GET_STATUS64, &info))
		return 0;
	file.st_dev = info.lo_device;
	file.st_ino = info.lo_inode;
	snprintf(name, sizeof(name), "loop%u", info.lo_number);
	return check_loop_devices(&file, name, false);
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
	return S_ISREG(st.st_mode) ? check_loop_devices(&st, "", writable) :
				     check_other_loops(fd, &st);
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
