// SPDX-License-Identifier: GPL-2.0-only
/*
 * disturb - let something happen to one system call of qed-fsck
 *
 * To be loaded by LD_PRELOAD. All calls that change a file, or make that durable, are
 * numbered from 1, whatever the file is; reads of the image have numbers of their own.
 *
 *   FSCK_IMAGE=FILE	the image
 *   FSCK_CALL=N	what happens to call N ...
 *   FSCK_READ=N	... or to read N
 *   FSCK_HOW=eio	it fails, once; a sync that fails has lost what was written
 *	      enospc	the same, with another error
 *	      short	only half of it is done, if it has halves
 *	      kill	the process is killed before it
 *	      torn	the process is killed when half of it is done: whole sectors of
 *			an image
 *	      NUMBER	the process gets this signal before it
 *   FSCK_LOG=FILE	append a line for each call: its name, and "image" or the other file
 *   FSCK_TRACE=FILE	append all changes of the image, and what became of syncs
 *   FSCK_BLOCK=1	the image is a block device, by all that can be asked
 *
 * A record of the trace is five 64-bit numbers: type, offset, length, mode of
 * fallocate(), and length of the data that follows.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum { TYPE_WRITE = 1, TYPE_ALLOCATE, TYPE_SIZE, TYPE_SYNC, TYPE_LOST };

/* What happens to a call */
enum what { NOTHING, FAIL, HALF, HALF_AND_DIE };

static long calls, reads;

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

/* Not by calls that are numbered, nor by stdio, which has locks */
static void append(const char *path, const void *data, size_t length)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);

	if (fd < 0 || syscall(SYS_write, fd, data, length) != (long)length)
		abort();
	close(fd);
}

static void trace(unsigned long long type, off_t offset, off_t length, int mode,
		  const void *data, size_t data_length)
{
	unsigned long long record[] = { type, offset, length, mode, data_length };
	const char *path = getenv("FSCK_TRACE");

	if (!path)
		return;
	append(path, record, sizeof(record));
	if (data_length)
		append(path, data, data_length);
}

static void note(const char *name, int fd)
{
	const char *log = getenv("FSCK_LOG");
	char link[64], target[512] = "", line[640];

	if (!log)
		return;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	if (readlink(link, target, sizeof(target) - 1) < 0)
		target[0] = '?';
	append(log, line, snprintf(line, sizeof(line), "%s %s\n", name,
				   is_image(fd) ? "image" : target));
}

static enum what happens(void)
{
	const char *how = getenv("FSCK_HOW");

	if (!how)
		return NOTHING;
	if (!strcmp(how, "kill"))
		raise(SIGKILL);
	if (!strcmp(how, "torn"))
		return HALF_AND_DIE;
	if (!strcmp(how, "short"))
		return HALF;
	if (atoi(how)) {
		kill(getpid(), atoi(how));
		return NOTHING;
	}
	errno = !strcmp(how, "enospc") ? ENOSPC : EIO;
	return FAIL;
}

static enum what count(const char *name, int fd)
{
	note(name, fd);
	return ++calls == number("FSCK_CALL") ? happens() : NOTHING;
}

/* The same of a call that has no half */
static bool fails(const char *name, int fd)
{
	enum what what = count(name, fd);

	if (what == HALF_AND_DIE)
		raise(SIGKILL);
	return what == FAIL;
}

ssize_t pread64(int fd, void *buf, size_t length, off64_t offset)
{
	typeof(pread64) *next = dlsym(RTLD_NEXT, "pread64");
	enum what what = NOTHING;

	if (is_image(fd)) {
		note("pread", fd);
		if (__atomic_add_fetch(&reads, 1, __ATOMIC_RELAXED) == number("FSCK_READ"))
			what = happens();
	}
	if (what == HALF_AND_DIE)
		raise(SIGKILL);
	if (what == FAIL)
		return -1;
	return next(fd, buf, what == HALF && length > 1 ? length / 2 : length, offset);
}

ssize_t pwrite64(int fd, const void *buf, size_t length, off64_t offset)
{
	typeof(pwrite64) *next = dlsym(RTLD_NEXT, "pwrite64");
	enum what what = count("pwrite", fd);
	ssize_t done;

	if (what == FAIL)
		return -1;
	if (what == HALF_AND_DIE && is_image(fd))
		length = length > 512 ? length / 2 & ~511UL : length;
	else if (what && length > 1)
		length /= 2;
	if (is_image(fd))
		trace(TYPE_WRITE, offset, length, 0, buf, length);
	done = next(fd, buf, length, offset);
	if (what == HALF_AND_DIE)
		raise(SIGKILL);
	return done;
}

/* Of files; not what a process prints */
ssize_t write(int fd, const void *buf, size_t length)
{
	typeof(write) *next = dlsym(RTLD_NEXT, "write");
	enum what what;
	struct stat st;
	ssize_t done;

	if (fstat(fd, &st) || !S_ISREG(st.st_mode))
		return next(fd, buf, length);
	what = count("write", fd);
	if (is_image(fd))
		abort();	/* that is not how it changes an image */
	if (what == FAIL)
		return -1;
	if (what && length > 1)
		length /= 2;
	done = next(fd, buf, length);
	if (what == HALF_AND_DIE)
		raise(SIGKILL);
	return done;
}

int fallocate64(int fd, int mode, off64_t offset, off64_t length)
{
	typeof(fallocate64) *next = dlsym(RTLD_NEXT, "fallocate64");

	if (fails("fallocate", fd))
		return -1;
	if (is_image(fd))
		trace(TYPE_ALLOCATE, offset, length, mode, NULL, 0);
	return next(fd, mode, offset, length);
}

int ftruncate64(int fd, off64_t size)
{
	typeof(ftruncate64) *next = dlsym(RTLD_NEXT, "ftruncate64");

	if (fails("ftruncate", fd))
		return -1;
	if (is_image(fd))
		trace(TYPE_SIZE, size, 0, 0, NULL, 0);
	return next(fd, size);
}

static int make_durable(const char *name, int fd, int (*next)(int fd))
{
	bool lost = fails(name, fd);

	if (is_image(fd))
		trace(lost ? TYPE_LOST : TYPE_SYNC, 0, 0, 0, NULL, 0);
	return lost ? -1 : next(fd);
}

int fdatasync(int fd)
{
	return make_durable("fdatasync", fd, dlsym(RTLD_NEXT, "fdatasync"));
}

int fsync(int fd)
{
	return make_durable("fsync", fd, dlsym(RTLD_NEXT, "fsync"));
}

/*
 * A block device: what stat() and ioctl() tell
 */

static void disguise(struct stat64 *st)
{
	struct stat image;

	if (!number("FSCK_BLOCK") || !getenv("FSCK_IMAGE") || stat(getenv("FSCK_IMAGE"), &image) ||
	    image.st_ino != st->st_ino || image.st_dev != st->st_dev)
		return;
	st->st_mode = (st->st_mode & ~S_IFMT) | S_IFBLK;
	st->st_rdev = makedev(240, 240);	/* nobody has that */
	st->st_size = 0;
}

int fstat64(int fd, struct stat64 *st)
{
	typeof(fstat64) *next = dlsym(RTLD_NEXT, "fstat64");
	int r = next(fd, st);

	if (!r)
		disguise(st);
	return r;
}

int stat64(const char *path, struct stat64 *st)
{
	typeof(stat64) *next = dlsym(RTLD_NEXT, "stat64");
	int r = next(path, st);

	if (!r)
		disguise(st);
	return r;
}

int ioctl(int fd, unsigned long request, ...)
{
	typeof(ioctl) *next = dlsym(RTLD_NEXT, "ioctl");
	unsigned long long *range;
	struct stat st;
	va_list list;
	void *arg;

	va_start(list, request);
	arg = va_arg(list, void *);
	va_end(list);
	if (!number("FSCK_BLOCK") || !is_image(fd))
		return next(fd, request, arg);
	if (request == BLKGETSIZE64) {
		if (fstat(fd, &st))
			return -1;
		*(unsigned long long *)arg = st.st_size;
		return 0;
	}
	if (request == BLKDISCARD) {
		range = arg;
		return fallocate64(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, range[0],
				   range[1]);
	}
	return next(fd, request, arg);
}
