// SPDX-License-Identifier: GPL-2.0-only
/*
 * load - write to a block device so that every sector says what it is, or is zero
 *
 * Usage: load [option...] DEVICE
 *
 *   -t THREADS  -n WRITES   of all threads together, discards and zeroes as well
 *   -s MIN:MAX  sectors of a write, both powers of two
 *   -a ALIGN    sectors that a write is aligned to
 *   -r SECTORS  use only the first of the device
 *   -f PERCENT  chance of a flush after a write
 *   -u PERCENT  chance of a write to have FUA
 *   -q PERCENT  chance of a write to go on where the thread's last one ended
 *   -d PERCENT  chance of a discard instead of a write
 *   -z PERCENT  chance of zeroes instead, with or without space for them
 *   -D MIN:MAX  sectors of discards and zeroes, both powers of two
 *   -A ALIGN    sectors that half of these are aligned to
 *   -R          do not lock
 *   -i          pause once, for long enough that NEED_CHECK is cleared
 *   -e          writes may fail, with ENOSPC
 *   -x SEED
 *
 * Sectors that a thread writes to are locked against the others, so there is an
 * order of all writes to each of them, unless there are to be races.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "stamp.h"

#define SECTOR		512
#define MAX_SECTORS	2048
#define MAX_THREADS	64
#define IDLE_SECONDS	6

static unsigned int threads = 4, writes = 1000, align = 1;
static unsigned int min_sectors = 1, max_sectors = 64;
static unsigned int min_unmap = 8, max_unmap = 256, unmap_align = 8;
static unsigned int flush_percent = 5, fua_percent, sequential_percent;
static unsigned int discard_percent, zeroes_percent;
static bool may_fail, with_pause, races;
static uint64_t seed = 1, range;

static int fd;
static unsigned char *busy;		/* by sector; under lock */
static uint64_t version;		/* of the last write; under lock */
static unsigned int started;		/* under lock */
static bool idled;			/* under lock */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t unlocked = PTHREAD_COND_INITIALIZER;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static bool chance(uint64_t *rng, unsigned int percent)
{
	return stamp_random(rng) % 100 < percent;
}

static uint64_t lock_range(uint64_t sector, unsigned int nr)
{
	uint64_t new;

	pthread_mutex_lock(&lock);
	while (!races && memchr(busy + sector, 1, nr))
		pthread_cond_wait(&unlocked, &lock);
	memset(busy + sector, 1, nr);
	new = ++version;
	pthread_mutex_unlock(&lock);
	return new;
}

static void unlock_range(uint64_t sector, unsigned int nr)
{
	pthread_mutex_lock(&lock);
	memset(busy + sector, 0, nr);
	pthread_cond_broadcast(&unlocked);
	pthread_mutex_unlock(&lock);
}

static void do_write(void *buf, uint64_t sector, unsigned int nr, bool fua)
{
	struct iovec vec = { .iov_base = buf, .iov_len = nr * SECTOR };
	uint64_t new = lock_range(sector, nr);
	unsigned int i;
	ssize_t r;

	for (i = 0; i < nr; i++)
		stamp_fill(buf + i * SECTOR, sector + i, new);
	r = pwritev2(fd, &vec, 1, sector * SECTOR, fua ? RWF_DSYNC : 0);
	if (r != (ssize_t)vec.iov_len && !(r < 0 && may_fail &&
					   errno == ENOSPC))
		die("write");
	unlock_range(sector, nr);
}

static void do_discard(uint64_t sector, unsigned int nr)
{
	uint64_t bytes[2] = { sector * SECTOR, (uint64_t)nr * SECTOR };

	lock_range(sector, nr);
	if (ioctl(fd, BLKDISCARD, bytes))
		die("discard");
	unlock_range(sector, nr);
}

/* To punch a hole is for devices that can write zeroes by themselves. */
static void do_zeroes(uint64_t sector, unsigned int nr, bool unmap)
{
	int keep = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;
	int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	int r = -1;

	lock_range(sector, nr);
	if (unmap)
		r = fallocate(fd, punch, sector * SECTOR, nr * SECTOR);
	if (r && (!unmap || errno == EOPNOTSUPP))
		r = fallocate(fd, keep, sector * SECTOR, nr * SECTOR);
	if (r && !(may_fail && errno == ENOSPC))
		die("zeroes");
	unlock_range(sector, nr);
}

static void do_idle(void)
{
	bool mine;

	pthread_mutex_lock(&lock);
	mine = !idled;
	idled = true;
	if (mine)
		/* the others stop at their next write */
		sleep(IDLE_SECONDS);
	pthread_mutex_unlock(&lock);
}

static bool next_write(void)
{
	bool more;

	pthread_mutex_lock(&lock);
	more = started < writes;
	started += more;
	pthread_mutex_unlock(&lock);
	return more;
}

static unsigned int choose_length(uint64_t *rng, unsigned int min,
				  unsigned int max, unsigned int align)
{
	unsigned int nr = min;

	while (nr < max && chance(rng, 60))
		nr *= 2;
	/* not only powers of two */
	if (nr > align && chance(rng, 50))
		nr -= stamp_random(rng) % (nr / 2 / align + 1) * align;
	return nr;
}

static void unmap_something(uint64_t *rng, bool discard)
{
	unsigned int step = chance(rng, 50) ? unmap_align : 1;
	unsigned int nr = choose_length(rng, min_unmap, max_unmap, step);
	uint64_t sector = stamp_random(rng) % (range - nr + 1) / step * step;

	if (discard)
		do_discard(sector, nr);
	else
		do_zeroes(sector, nr, chance(rng, 50));
}

static void write_something(uint64_t *rng, void *buf, uint64_t *next)
{
	unsigned int nr = choose_length(rng, min_sectors, max_sectors, align);
	uint64_t sector = *next;

	if (!chance(rng, sequential_percent) || sector + nr > range)
		sector = stamp_random(rng) % (range - nr + 1) / align * align;
	*next = sector + nr;
	do_write(buf, sector, nr, chance(rng, fua_percent));
}

static void *run(void *arg)
{
	uint64_t rng = seed * MAX_THREADS + (uintptr_t)arg;
	unsigned int what;
	uint64_t next = 0;
	void *buf;

	if (posix_memalign(&buf, 4096, MAX_SECTORS * SECTOR))
		die("memory");
	while (next_write()) {
		what = stamp_random(&rng) % 100;
		if (what < discard_percent + zeroes_percent)
			unmap_something(&rng, what < discard_percent);
		else
			write_something(&rng, buf, &next);
		if (chance(&rng, flush_percent) && fdatasync(fd) && !may_fail)
			die("flush");
		if (with_pause && started > writes / 2 && !idled)
			do_idle();
	}
	free(buf);
	return NULL;
}

static void options(int argc, char **argv)
{
	int option;

	while ((option = getopt(argc, argv, "t:n:s:a:r:f:u:q:d:z:D:A:Riex:")) != -1) {
		unsigned long value = optarg ? strtoul(optarg, NULL, 0) : 0;

		switch (option) {
		case 't':
			threads = value < MAX_THREADS ? value : MAX_THREADS;
			break;
		case 'n':
			writes = value;
			break;
		case 's':
			if (sscanf(optarg, "%u:%u", &min_sectors,
				   &max_sectors) != 2 ||
			    max_sectors > MAX_SECTORS)
				exit(2);
			break;
		case 'a':
			align = value;
			break;
		case 'r':
			range = value;
			break;
		case 'f':
			flush_percent = value;
			break;
		case 'u':
			fua_percent = value;
			break;
		case 'q':
			sequential_percent = value;
			break;
		case 'd':
			discard_percent = value;
			break;
		case 'z':
			zeroes_percent = value;
			break;
		case 'D':
			if (sscanf(optarg, "%u:%u", &min_unmap,
				   &max_unmap) != 2)
				exit(2);
			break;
		case 'A':
			unmap_align = value;
			break;
		case 'R':
			races = true;
			break;
		case 'i':
			with_pause = true;
			break;
		case 'e':
			may_fail = true;
			break;
		case 'x':
			seed = value;
			break;
		default:
			exit(2);
		}
	}
	if (optind != argc - 1) {
		fprintf(stderr, "usage: load [option...] DEVICE\n");
		exit(2);
	}
}

int main(int argc, char **argv)
{
	pthread_t thread[MAX_THREADS];
	uint64_t bytes;
	uintptr_t i;

	options(argc, argv);
	fd = open(argv[optind], O_RDWR | O_DIRECT);
	if (fd < 0 || ioctl(fd, BLKGETSIZE64, &bytes))
		die(argv[optind]);
	if (!range || range > bytes / SECTOR)
		range = bytes / SECTOR;
	version = seed << 32;
	busy = calloc(range, 1);
	if (!busy)
		die("memory");
	for (i = 0; i < threads; i++)
		if (pthread_create(&thread[i], NULL, run, (void *)i))
			die("thread");
	for (i = 0; i < threads; i++)
		pthread_join(thread[i], NULL);
	return 0;
}
