// SPDX-License-Identifier: GPL-2.0-only
/*
 * preload - make the system calls of qed-fsck fail, or be the last ones
 *
 * To be loaded by LD_PRELOAD. Concerns only the file that $FSCK_IMAGE names. Its
 * changes, which are pwrite(), fallocate() and ftruncate(), are numbered from 1.
 *
 *   FSCK_KILL=N	kill the process before change N
 *   FSCK_TORN=N	kill it when half of change N, if it is a write, is done
 *   FSCK_ENOSPC=N	change N, and all that follow, fail with ENOSPC
 *   FSCK_EIO=FIRST-END	reads of these bytes fail with EIO
 *   FSCK_TRACE=FILE	append all changes and fdatasync() to a file
 *
 * A record of the trace is five 64-bit numbers: type, offset, length, mode of
 * fallocate(), and length of the data that follows.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TYPE_WRITE = 1, TYPE_ALLOCATE, TYPE_SIZE, TYPE_SYNC };

static long changes;

static bool is_image(int fd)
{
	const char *path = getenv("FSCK_IMAGE");
	struct stat image, st;

	return path && !stat(path, &image) && !fstat(fd, &st) &&
	       image.st_ino == st.st_ino && image.st_dev == st.st_dev;
}

static long number(const char *name)
{
	const char *text = getenv(name);

	return text ? atol(text) : 0;
}

static void trace(unsigned long long type, off_t offset, off_t length, int mode,
		  const void *data, size_t data_length)
{
	unsigned long long record[] = { type, offset, length, mode, data_length };
	const char *path = getenv("FSCK_TRACE");
	int fd;

	if (!path)
		return;
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
	if (fd < 0 || write(fd, record, sizeof(record)) < 0 ||
	    (data_length && write(fd, data, data_length) < 0))
		abort();
	close(fd);
}

/* Count a change. True if it is to fail. */
static bool count(int fd)
{
	long n;

	if (!is_image(fd))
		return false;
	n = ++changes;
	if (n == number("FSCK_KILL"))
		raise(SIGKILL);
	if (number("FSCK_ENOSPC") && n >= number("FSCK_ENOSPC")) {
		errno = ENOSPC;
		return true;
	}
	return false;
}

ssize_t pwrite64(int fd, const void *buf, size_t length, off64_t offset)
{
	typeof(pwrite64) *next = dlsym(RTLD_NEXT, "pwrite64");

	if (count(fd))
		return -1;
	if (is_image(fd)) {
		trace(TYPE_WRITE, offset, length, 0, buf, length);
		if (changes == number("FSCK_TORN")) {
			next(fd, buf, length / 2, offset);
			raise(SIGKILL);
		}
	}
	return next(fd, buf, length, offset);
}

ssize_t pread64(int fd, void *buf, size_t length, off64_t offset)
{
	typeof(pread64) *next = dlsym(RTLD_NEXT, "pread64");
	const char *range = getenv("FSCK_EIO");
	long long first, end;

	if (range && is_image(fd) && sscanf(range, "%lld-%lld", &first, &end) == 2 &&
	    offset < end && offset + (off64_t)length > first) {
		errno = EIO;
		return -1;
	}
	return next(fd, buf, length, offset);
}

int fallocate64(int fd, int mode, off64_t offset, off64_t length)
{
	typeof(fallocate64) *next = dlsym(RTLD_NEXT, "fallocate64");

	if (count(fd))
		return -1;
	if (is_image(fd))
		trace(TYPE_ALLOCATE, offset, length, mode, NULL, 0);
	return next(fd, mode, offset, length);
}

int ftruncate64(int fd, off64_t size)
{
	typeof(ftruncate64) *next = dlsym(RTLD_NEXT, "ftruncate64");

	if (count(fd))
		return -1;
	if (is_image(fd))
		trace(TYPE_SIZE, size, 0, 0, NULL, 0);
	return next(fd, size);
}

int fdatasync(int fd)
{
	typeof(fdatasync) *next = dlsym(RTLD_NEXT, "fdatasync");

	if (is_image(fd))
		trace(TYPE_SYNC, 0, 0, 0, NULL, 0);
	return next(fd);
}
