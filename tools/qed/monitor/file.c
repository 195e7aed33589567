// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sparse files behind loop devices, see file.h.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <linux/major.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "../qedsetup/fail.h"
#include "../qedsetup/size.h"
#include "file.h"

#define DEVICE_PATH	64

/* While it is open the loop device stays, and has its file. */
static int open_loop(dev_t loop, struct loop_info64 *info)
{
	char path[DEVICE_PATH];
	int fd, r;

	if (major(loop) != LOOP_MAJOR)
		return -ENOTBLK;
	snprintf(path, sizeof(path), "/dev/loop%u", minor(loop));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (!ioctl(fd, LOOP_GET_STATUS64, info))
		return fd;
	r = -errno;
	close(fd);
	return r;
}

bool file_is(dev_t loop)
{
	const u32 flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_READ_ONLY;
	struct loop_info64 info;
	int fd = open_loop(loop, &info);

	if (fd < 0)
		return false;
	close(fd);
	return !info.lo_rdevice && (info.lo_flags & flags) == LO_FLAGS_AUTOCLEAR &&
	       !info.lo_offset && !info.lo_sizelimit;
}

/* Its path as it is now: the file may have been renamed. */
static int read_path(dev_t loop, char path[PATH_MAX])
{
	char name[DEVICE_PATH];
	ssize_t n;
	int fd;

	snprintf(name, sizeof(name), "/sys/dev/block/%u:%u/loop/backing_file", major(loop),
		 minor(loop));
	fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, path, PATH_MAX);
	close(fd);
	/* its last byte is a newline */
	if (n < 2)
		return -ENOENT;
	path[n - 1] = '\0';
	return 0;
}

/* Fails if there is another file by now. */
static int open_file(const struct loop_info64 *info, const char *path)
{
	struct stat st;
	int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return fail(errno, "%s: %s", path, strerror(errno));
	if (!fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_dev == info->lo_device &&
	    st.st_ino == info->lo_inode)
		return fd;
	close(fd);
	return fail(ESTALE, "%s: is not the file of the loop device any more", path);
}

static int check_reserve(int fd, u64 bytes, const struct settings *settings)
{
	char available[SIZE_TEXT], reserve[SIZE_TEXT];
	u64 needed = settings->reserve + (settings->preallocate ? bytes : 0), space;
	struct statvfs st;

	if (fstatvfs(fd, &st))
		return -errno;
	space = (u64)st.f_bavail * st.f_frsize;
	if (space >= needed && needed >= settings->reserve)
		return 0;
	return fail(ENOSPC, "the file system has %s left, of which %s are a reserve",
		    size_text(space, available, sizeof(available)),
		    size_text(settings->reserve, reserve, sizeof(reserve)));
}

static int extend(int fd, u64 bytes, const struct settings *settings)
{
	struct stat st;
	int r = check_reserve(fd, bytes, settings);

	if (r)
		return r;
	if (fstat(fd, &st))
		return -errno;
	if (settings->preallocate ? fallocate(fd, 0, st.st_size, bytes) :
				    ftruncate(fd, st.st_size + bytes))
		return -errno;
	/* the size is a promise to who uses the loop device */
	return fsync(fd) ? -errno : 0;
}

static int grow(int loop_fd, const struct loop_info64 *info, dev_t loop, u64 bytes,
		const struct settings *settings)
{
	static char path[PATH_MAX];
	int r = read_path(loop, path), fd;

	if (r)
		return r;
	fd = open_file(info, path);
	if (fd < 0)
		return fd;
	r = extend(fd, bytes, settings);
	if (!r && ioctl(loop_fd, LOOP_SET_CAPACITY))
		r = -errno;
	close(fd);
	return fail_as(r, path);
}

int file_grow(dev_t loop, u64 bytes, const struct settings *settings)
{
	struct loop_info64 info;
	int fd = open_loop(loop, &info), r;

	if (fd < 0)
		return fail_as(fd, "the loop device");
	r = grow(fd, &info, loop, bytes, settings);
	close(fd);
	return fail_as(r, "the loop device");
}

int file_space(dev_t loop, struct file_space *space)
{
	char path[PATH_MAX];
	struct statvfs st;
	int r = read_path(loop, path);

	if (r)
		return r;
	if (statvfs(path, &st))
		return -errno;
	space->size = (u64)st.f_blocks * st.f_frsize;
	space->available = (u64)st.f_bavail * st.f_frsize;
	return 0;
}
