// SPDX-License-Identifier: GPL-2.0-only
/*
 * preload - make the system calls of qed-fsck fail, or be the last ones
 *
 * To be loaded by LD_PRELOAD. Concerns only the file that $FSCK_IMAGE names. Its
 * changes, which are pwrite(), fallocate() and ftruncate(), are numbered from 1.
 *
 *   FSCK_KILL=N	kill the process before change N
 *   FSCK_TORN=N	kill it when half of change N, if it is a write, is done: of its
 *			sectors, as a disk writes these as a whole
 *   FSCK_ENOSPC=N	change N, and all that follow, fail with ENOSPC
 *   FSCK_EIO=FIRST-END	reads of these bytes fail with EIO
 *   FSCK_SIGNAL=N	SIGINT, or $FSCK_SIGNO, before read N
 *   FSCK_SYNC=N	fsync() or fdatasync() N, and all that follow, fail with EIO
 *			what was written since the last one is not on the disk then, and
 *			posix_fadvise(POSIX_FADV_DONTNEED) shows that
 *   FSCK_SYNC_ONCE=N	only N fails, which is how the kernel tells of an error
 *   FSCK_UNDO=FILE	abort if there is a change, or a head is written to this one, while
 *			records that were written to it are not durable, or another state
 *   FSCK_DELAY=N	each change takes N microseconds
 *   FSCK_TRACE=FILE	append all changes and fdatasync() to a file
 *   FSCK_READS=FILE	append the length of each read, a 64-bit number
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

/* Of undo files, see tools/qed/undo-file.h */
#define FIRST_RECORD	8192
#define UNDO_BEGUN	1U

static long changes, reads, syncs;

static bool undo_is_dirty;

static bool is_file(int fd, const char *name)
{
	const char *path = getenv(name);
	struct stat image, st;

	return path && !stat(path, &image) && !fstat(fd, &st) &&
	       image.st_ino == st.st_ino && image.st_dev == st.st_dev;
}

static bool is_image(int fd)
{
	return is_file(fd, "FSCK_IMAGE");
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

/*
 * A head of an undo file that tells only of more records, which are durable already, and of no
 * other state, which is its ninth word
 */
static bool is_late_head(const void *buf, off64_t offset)
{
	return offset < FIRST_RECORD && ((const unsigned int *)buf)[8] == UNDO_BEGUN;
}

/* Count a change. True if it is to fail. */
static bool count(int fd)
{
	long n;

	if (!is_image(fd))
		return false;
	if (undo_is_dirty)
		abort();
	n = ++changes;
	usleep(number("FSCK_DELAY"));
	if (n == number("FSCK_KILL"))
		raise(SIGKILL);
	if (number("FSCK_ENOSPC") && n >= number("FSCK_ENOSPC")) {
		errno = ENOSPC;
		return true;
	}
	return false;
}

/* What was on the disk where something is written that is not durable */
struct before {
	struct before *next;
	off64_t offset;
	ssize_t length;
	char data[];
};

static struct before *not_durable;
static bool is_lost;

static void keep_before(int fd, size_t length, off64_t offset)
{
	typeof(pread64) *next = dlsym(RTLD_NEXT, "pread64");
	struct before *before = malloc(sizeof(*before) + length);

	if (!before)
		abort();
	before->offset = offset;
	before->length = next(fd, before->data, length, offset);
	before->next = not_durable;
	not_durable = before;
}

static void forget_before(void)
{
	struct before *before;

	while ((before = not_durable)) {
		not_durable = before->next;
		free(before);
	}
}

int posix_fadvise64(int fd, off64_t offset, off64_t length, int advice)
{
	typeof(pwrite64) *next = dlsym(RTLD_NEXT, "pwrite64");
	struct before *before;

	if (is_image(fd) && is_lost && advice == POSIX_FADV_DONTNEED && !offset && !length) {
		for (before = not_durable; before; before = before->next)
			if (next(fd, before->data, before->length, before->offset) < 0)
				abort();
		forget_before();
	}
	return 0;
}

ssize_t pwrite64(int fd, const void *buf, size_t length, off64_t offset)
{
	typeof(pwrite64) *next = dlsym(RTLD_NEXT, "pwrite64");

	if (count(fd))
		return -1;
	if (is_file(fd, "FSCK_UNDO")) {
		if (undo_is_dirty && offset < FIRST_RECORD)
			abort();
		undo_is_dirty |= !is_late_head(buf, offset);
	}
	if (is_image(fd)) {
		if (number("FSCK_SYNC"))
			keep_before(fd, length, offset);
		trace(TYPE_WRITE, offset, length, 0, buf, length);
		if (changes == number("FSCK_TORN")) {
			next(fd, buf, length < 1024 ? length : length / 1024 * 512, offset);
			raise(SIGKILL);
		}
	}
	return next(fd, buf, length, offset);
}

static void note_read(unsigned long long length)
{
	int fd = open(getenv("FSCK_READS"), O_WRONLY | O_CREAT | O_APPEND, 0600);

	if (fd < 0 || write(fd, &length, sizeof(length)) < 0)
		abort();
	close(fd);
}

ssize_t pread64(int fd, void *buf, size_t length, off64_t offset)
{
	typeof(pread64) *next = dlsym(RTLD_NEXT, "pread64");
	const char *range = getenv("FSCK_EIO");
	long long first, end;

	if (number("FSCK_SIGNAL") && is_image(fd) &&
	    __atomic_add_fetch(&reads, 1, __ATOMIC_RELAXED) == number("FSCK_SIGNAL"))
		kill(getpid(), number("FSCK_SIGNO") ? number("FSCK_SIGNO") : SIGINT);
	if (range && is_image(fd) && sscanf(range, "%lld-%lld", &first, &end) == 2 &&
	    offset < end && offset + (off64_t)length > first) {
		errno = EIO;
		return -1;
	}
	if (getenv("FSCK_READS") && is_image(fd))
		note_read(length);
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

/* Count a barrier. True if it is to fail. */
static bool count_sync(int fd)
{
	if (is_file(fd, "FSCK_UNDO"))
		undo_is_dirty = false;
	if (!is_image(fd))
		return false;
	syncs++;
	if ((number("FSCK_SYNC") && syncs >= number("FSCK_SYNC")) ||
	    syncs == number("FSCK_SYNC_ONCE")) {
		is_lost = true;
		errno = EIO;
		return true;
	}
	forget_before();
	trace(TYPE_SYNC, 0, 0, 0, NULL, 0);
	return false;
}

int fdatasync(int fd)
{
	typeof(fdatasync) *next = dlsym(RTLD_NEXT, "fdatasync");

	return count_sync(fd) ? -1 : next(fd);
}

int fsync(int fd)
{
	typeof(fsync) *next = dlsym(RTLD_NEXT, "fsync");

	return count_sync(fd) ? -1 : next(fd);
}
