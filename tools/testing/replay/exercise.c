// SPDX-License-Identifier: GPL-2.0-only
/*
 * exercise - do all that can be done to a file, and know what is in it
 *
 * Usage: exercise [-u] [-n OPERATIONS] [-x SEED] FILE COPIES LOG
 *
 * -u also unshares, which XFS of Linux 6.1 pays for with data: see README.
 *
 * What is read is compared with a copy in memory. After each fsync LOG, the name
 * of a device of dm-log-writes, gets the mark NAME.N, with the name of FILE, and the
 * file COPIES/NAME.N what FILE has to hold after a crash at that mark. Prints each
 * operation. The exit status is 1 if something read was wrong.
 */

#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ring.h"

#define BLOCK		4096
#define MAX_SIZE	(256 * 1024)
#define MAX_LENGTH	(64 * 1024)

struct range {
	int start, length;
};

static unsigned char good[MAX_SIZE], found[MAX_SIZE];
static int fd, size, nr_marks;
static int operation;
static const char *name, *copies, *log_device;

static int below(int n)
{
	return n > 0 ? random() % n : 0;
}

static int min(int a, int b)
{
	return a < b ? a : b;
}

/* Some bytes in front of @limit, all of @unit */
static struct range some(int limit, int unit)
{
	struct range r = { .start = below(limit / unit) * unit };

	r.length = (1 + below(MAX_LENGTH / unit)) * unit;
	r.length = min(r.length, limit - r.start) / unit * unit;
	return r;
}

static struct range report(const char *what, struct range r)
{
	printf("%d %s %#x..%#x of %#x\n", operation, what, r.start,
	       r.start + r.length, size);
	return r;
}

static void must(int result, const char *what)
{
	if (result < 0)
		err(2, "%s: operation %d, %s", name, operation, what);
}

static void compare(const unsigned char *data, struct range r)
{
	int i;

	for (i = 0; i < r.length; i++) {
		if (data[i] == good[r.start + i])
			continue;
		errx(1, "%s: operation %d: %#x at %#x, expected %#x", name,
		     operation, data[i], r.start + i, good[r.start + i]);
	}
}

/* The file is longer now, with zeroes. */
static void extend(int end)
{
	if (end <= size)
		return;
	memset(good + size, 0, end - size);
	size = end;
}

/* New bytes tell which operation they are of. */
static void renew(struct range r)
{
	int i;

	extend(r.start + r.length);
	for (i = r.start; i < r.start + r.length; i++)
		good[i] = i & 1 ? i >> 9 : operation % 251 + 1;
}

static void clear(struct range r)
{
	memset(good + r.start, 0, r.length);
}

static void do_read(void)
{
	struct range r = report("read", some(size, 1));
	ssize_t n = below(2) ? pread(fd, found, r.length, r.start) :
			       ring_read(fd, found, r.length, r.start);

	must(n == r.length ? 0 : -1, "read");
	compare(found, r);
}

static void do_write(void)
{
	struct range r = report("write", some(MAX_SIZE, 1));
	ssize_t n;

	renew(r);
	n = below(2) ? pwrite(fd, good + r.start, r.length, r.start) :
		       ring_write(fd, good + r.start, r.length, r.start);
	must(n == r.length ? 0 : -1, "write");
}

/* Maps the pages of a range, returns where it begins. */
static unsigned char *map(struct range r)
{
	int within = r.start % BLOCK;
	unsigned char *p = mmap(NULL, within + r.length, PROT_READ | PROT_WRITE,
				MAP_SHARED, fd, r.start - within);

	must(p == MAP_FAILED ? -1 : 0, "mmap");
	return p + within;
}

static void unmap(unsigned char *p, struct range r)
{
	int within = r.start % BLOCK;

	must(munmap(p - within, within + r.length), "munmap");
}

static void do_map_read(void)
{
	struct range r = report("map_read", some(size, 1));
	unsigned char *p;

	if (!r.length)
		return;
	p = map(r);
	compare(p, r);
	unmap(p, r);
}

static void do_map_write(void)
{
	struct range r = report("map_write", some(MAX_SIZE, 1));
	int within = r.start % BLOCK;
	unsigned char *p;

	if (r.start + r.length > size)
		must(ftruncate(fd, r.start + r.length), "truncate");
	renew(r);
	p = map(r);
	memcpy(p, good + r.start, r.length);
	must(msync(p - within, within + r.length, MS_SYNC), "msync");
	unmap(p, r);
}

static void do_truncate(void)
{
	struct range r = { .length = below(MAX_SIZE + 1) };

	report("truncate", r);
	must(ftruncate(fd, r.length), "truncate");
	extend(r.length);
	size = r.length;
}

static void do_allocate(void)
{
	struct range r = report("allocate", some(MAX_SIZE, 1));
	int keep = below(2) ? FALLOC_FL_KEEP_SIZE : 0;

	must(fallocate(fd, keep, r.start, r.length), "fallocate");
	if (!keep)
		extend(r.start + r.length);
}

static void do_punch(void)
{
	struct range r = report("punch", some(size, 1));

	if (!r.length)
		return;
	must(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, r.start,
		       r.length), "punch");
	clear(r);
}

static void do_zero(void)
{
	struct range r = report("zero", some(MAX_SIZE, 1));

	must(fallocate(fd, FALLOC_FL_ZERO_RANGE, r.start, r.length), "zero");
	extend(r.start + r.length);
	clear(r);
}

/* Gives what is shared with another part blocks of its own. */
static void do_unshare(void)
{
	struct range r = report("unshare", some(size, 1));

	if (!r.length)
		return;
	must(fallocate(fd, FALLOC_FL_UNSHARE_RANGE, r.start, r.length),
	     "unshare");
}

static void do_collapse(void)
{
	struct range r = report("collapse", some(size - 1, BLOCK));
	int end = r.start + r.length;

	if (!r.length)
		return;
	must(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, r.start, r.length),
	     "collapse");
	memmove(good + r.start, good + end, size - end);
	size -= r.length;
}

static void do_insert(void)
{
	struct range r = some(size - 1, BLOCK);

	r.length = min(r.length, (MAX_SIZE - size) / BLOCK * BLOCK);
	report("insert", r);
	if (!r.length)
		return;
	must(fallocate(fd, FALLOC_FL_INSERT_RANGE, r.start, r.length),
	     "insert");
	memmove(good + r.start + r.length, good + r.start, size - r.start);
	size += r.length;
	clear(r);
}

/* Where the content of @from can go to without meeting it; false if nowhere */
static int choose_target(struct range *from, int unit, struct range *to)
{
	*from = some(size, unit);
	to->start = below(MAX_SIZE / unit) * unit;
	if (to->start < from->start)
		from->length = min(from->length, from->start - to->start);
	else if (to->start < from->start + from->length)
		from->length = to->start - from->start;
	to->length = min(from->length, MAX_SIZE - to->start);
	from->length = to->length;
	return to->length;
}

static void take_over(struct range from, struct range to)
{
	extend(to.start + to.length);
	memcpy(good + to.start, good + from.start, to.length);
}

static void do_clone(void)
{
	struct range from, to;
	struct file_clone_range clone = { .src_fd = fd };

	if (!choose_target(&from, BLOCK, &to))
		return;
	report("clone", from);
	report("to", to);
	clone.src_offset = from.start;
	clone.src_length = from.length;
	clone.dest_offset = to.start;
	must(ioctl(fd, FICLONERANGE, &clone), "clone");
	take_over(from, to);
}

/* Of what is the same by chance only zeroes are a part. */
static void do_share_same(void)
{
	struct range from, to;
	struct {
		struct file_dedupe_range range;
		struct file_dedupe_range_info to;
	} same = { .range.dest_count = 1 };

	if (!choose_target(&from, BLOCK, &to) || to.start + to.length > size)
		return;
	report("share_same", from);
	report("to", to);
	same.range.src_offset = from.start;
	same.range.src_length = from.length;
	same.to.dest_fd = fd;
	same.to.dest_offset = to.start;
	must(ioctl(fd, FIDEDUPERANGE, &same), "share_same");
	must(same.to.status < 0 ? -1 : 0, "share_same");
}

static void do_copy(void)
{
	struct range from, to;
	loff_t in, out;

	if (!choose_target(&from, 1, &to))
		return;
	report("copy", from);
	report("to", to);
	in = from.start;
	out = to.start;
	if (copy_file_range(fd, &in, fd, &out, to.length, 0) != to.length)
		must(-1, "copy");
	take_over(from, to);
}

static void add_mark(const char *text)
{
	const char * const args[] = {
		"dmsetup", "message", log_device, "0", "mark", text, NULL
	};
	int status;
	pid_t pid;

	errno = posix_spawnp(&pid, args[0], NULL, NULL, (char **)args, environ);
	must(errno ? -1 : 0, "dmsetup");
	must(waitpid(pid, &status, 0), "wait");
	if (status)
		errx(2, "no mark %s", text);
}

static void do_sync(void)
{
	char text[64], path[4096];
	FILE *copy;

	snprintf(text, sizeof(text), "%s.%d", name, nr_marks++);
	snprintf(path, sizeof(path), "%s/%s", copies, text);
	printf("%d sync %s of %#x\n", operation, text, size);
	must(fsync(fd), "fsync");
	add_mark(text);

	copy = fopen(path, "w");
	if (!copy || fwrite(good, 1, size, copy) != (size_t)size ||
	    fclose(copy))
		err(2, "%s", path);
}

static void (*const operations[])(void) = {
	do_read, do_write, do_map_read, do_map_write, do_truncate, do_allocate,
	do_punch, do_zero, do_collapse, do_insert, do_clone, do_share_same,
	do_copy, do_sync,
	do_unshare,	/* the last one, see -u */
};

static void check_size(void)
{
	struct stat st;

	must(fstat(fd, &st), "stat");
	if (st.st_size != size)
		errx(1, "%s: operation %d: size is %#llx, expected %#x", name,
		     operation, (unsigned long long)st.st_size, size);
}

static void complain(void)
{
	errx(2, "usage: exercise [-u] [-n OPERATIONS] [-x SEED] FILE COPIES LOG");
}

int main(int argc, char **argv)
{
	int kinds = sizeof(operations) / sizeof(*operations) - 1;
	int nr = 200, seed = 0, option;

	while ((option = getopt(argc, argv, "un:x:")) != -1) {
		if (option == 'u')
			kinds++;
		else if (option == 'n')
			nr = strtoul(optarg, NULL, 0);
		else if (option == 'x')
			seed = strtoul(optarg, NULL, 0);
		else
			complain();
	}
	if (argc - optind != 3)
		complain();
	srandom(seed);
	if (!ring_init())
		err(2, "io_uring");
	copies = argv[optind + 1];
	log_device = argv[optind + 2];
	fd = open(argv[optind], O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (fd < 0)
		err(2, "%s", argv[optind]);
	name = basename(argv[optind]);

	for (operation = 1; operation <= nr; operation++) {
		operations[below(kinds)]();
		check_size();
	}
	do_sync();
	return 0;
}
