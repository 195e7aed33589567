// SPDX-License-Identifier: GPL-2.0-only
/*
 * load - write to a block device so that every sector says what it is
 *
 * Usage: load [option...] DEVICE
 *
 *   -t THREADS  -n WRITES   of all threads together
 *   -s MIN:MAX  sectors of a write, both powers of two
 *   -a ALIGN    sectors that a write is aligned to
 *   -r SECTORS  use only the first of the device
 *   -f PERCENT  chance of a flush after a write
 *   -u PERCENT  chance of a write to have FUA
 *   -q PERCENT  chance of a write to go on where the thread's last one ended
 *   -i          pause once, for long enough that NEED_CHECK is cleared
 *   -e          writes may fail, with ENOSPC
 *   -x SEED
 *
 * Sectors that a thread writes to are locked against the others, so there is an
 * order of all writes to each of them.
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
static unsigned int flush_percent = 5, fua_percent, sequential_percent;
static bool may_fail, with_pause;
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
	while (memchr(busy + sector, 1, nr))
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

static void *run(void *arg)
{
	uint64_t rng = seed * MAX_THREADS + (uintptr_t)arg;
	uint64_t sector, next = 0;
	unsigned int nr;
	void *buf;

	if (posix_memalign(&buf, 4096, MAX_SECTORS * SECTOR))
		die("memory");
	while (next_write()) {
		nr = min_sectors;
		while (nr < max_sectors && chance(&rng, 60))
			nr *= 2;
		/* not only powers of two */
		if (nr > align && chance(&rng, 50))
			nr -= stamp_random(&rng) % (nr / 2 / align + 1) * align;
		sector = next;
		if (!chance(&rng, sequential_percent) || sector + nr > range)
			sector = stamp_random(&rng) % (range - nr + 1) / align *
				 align;
		next = sector + nr;
		do_write(buf, sector, nr, chance(&rng, fua_percent));
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

	while ((option = getopt(argc, argv, "t:n:s:a:r:f:u:q:iex:")) != -1) {
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
