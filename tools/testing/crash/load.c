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
 *   -g THREADS  that read, as long as the others write, and judge what they find
 *   -C SECTORS  of a cluster: discards leave what they do not cover of one
 *   -b SECTORS  of what is below the image: the disk begins with that, and discards leave
 *               it, where nobody has written
 *   -w FILE     write those sectors to the file, and nothing else
 *   -S FILE     where to keep what must be read, for the next one; all write with it
 *   -l          what no flush covers may be lost between this one and the next, and may have been
 *               since the one before
 *   -i          pause once, for long enough that NEED_CHECK is cleared
 *   -e          writes may fail, with ENOSPC
 *   -x SEED
 *
 * Sectors that a thread writes to are locked against the others, so there is an
 * order of all writes to each of them, unless there are to be races. What a sector
 * may read as at any moment is known all the same, see oracle.h: zeroes, what is
 * stale, foreign or torn make the load fail at once.
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

#include "../selftests/dm-qed/oracle.h"
#include "stamp.h"

#define SECTOR		512
#define MAX_SECTORS	2048
#define MAX_THREADS	64
#define MAX_READ	64
#define IDLE_SECONDS	6

static unsigned int threads = 4, writes = 1000, align = 1, readers;
static unsigned int cluster = 1;
static unsigned int min_sectors = 1, max_sectors = 64;
static unsigned int min_unmap = 8, max_unmap = 256, unmap_align = 8;
static unsigned int flush_percent = 5, fua_percent, sequential_percent;
static unsigned int discard_percent, zeroes_percent;
static bool may_fail, may_lose, with_pause, races;
static uint64_t seed = 1, range, size, below;
static const char *state, *below_file;

static int fd;
static unsigned char *busy;		/* by sector; under lock */
static struct oracle oracle;
static atomic_uint at_work;		/* threads that write */
static atomic_ullong hot;		/* where one is writing */
static atomic_ulong nr_reads, nr_overlaps;
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

/* A write begins; returns its version. */
static uint32_t lock_range(uint64_t sector, unsigned int nr, bool zeroes)
{
	pthread_mutex_lock(&lock);
	while (!races && memchr(busy + sector, 1, nr))
		pthread_cond_wait(&unlocked, &lock);
	memset(busy + sector, 1, nr);
	pthread_mutex_unlock(&lock);
	atomic_store(&hot, sector);
	return oracle_begin(&oracle, sector, nr, zeroes);
}

static void unlock_range(uint64_t sector, unsigned int nr, uint32_t version,
			 bool zeroes, bool ok)
{
	oracle_end(&oracle, sector, nr, version, zeroes, ok, false);
	pthread_mutex_lock(&lock);
	memset(busy + sector, 0, nr);
	pthread_cond_broadcast(&unlocked);
	pthread_mutex_unlock(&lock);
}

static void do_write(void *buf, uint64_t sector, unsigned int nr, bool fua)
{
	struct iovec vec = { .iov_base = buf, .iov_len = nr * SECTOR };
	uint32_t version = lock_range(sector, nr, false);
	unsigned int i;
	ssize_t r;
	bool ok;

	for (i = 0; i < nr; i++)
		stamp_fill(buf + i * SECTOR, sector + i, version);
	r = pwritev2(fd, &vec, 1, sector * SECTOR, fua ? RWF_DSYNC : 0);
	ok = r == (ssize_t)vec.iov_len;
	if (!ok && !(r < 0 && may_fail && errno == ENOSPC))
		die("write");
	unlock_range(sector, nr, version, false, ok);
}

/* What it does not cover of a cluster stays as it is. */
static void do_discard(uint64_t sector, unsigned int nr)
{
	uint64_t bytes[2] = { sector * SECTOR, (uint64_t)nr * SECTOR };
	uint64_t from = (sector + cluster - 1) / cluster * cluster;
	uint64_t to = sector + nr;
	uint32_t version;

	if (to != size)
		to = to / cluster * cluster;
	if (to < from)
		to = from;
	version = lock_range(from, to - from, true);
	if (ioctl(fd, BLKDISCARD, bytes))
		die("discard");
	/* What it leaves may be below. */
	unlock_range(from, to - from, version, true, !below);
}

/* To punch a hole is for devices that can write zeroes by themselves. */
static void do_zeroes(uint64_t sector, unsigned int nr, bool unmap)
{
	int keep = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;
	int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	uint32_t version = lock_range(sector, nr, true);
	int r = -1;

	if (unmap)
		r = fallocate(fd, punch, sector * SECTOR, nr * SECTOR);
	if (r && (!unmap || errno == EOPNOTSUPP))
		r = fallocate(fd, keep, sector * SECTOR, nr * SECTOR);
	if (r && !(may_fail && errno == ENOSPC))
		die("zeroes");
	unlock_range(sector, nr, version, true, !r);
}

/* What is wrong with a sector that was read, or NULL */
static const char *defect(const void *data, uint64_t sector, uint32_t moment)
{
	static const char zeroes[SECTOR];
	struct stamp stamp;

	memcpy(&stamp, data, sizeof(stamp));
	if (!memcmp(data, zeroes, SECTOR))
		return oracle_may_be_zero(&oracle, sector, moment) ? NULL : "zero";
	if (!stamp_valid(data))
		return "no work of one write";
	if (stamp.sector != sector)
		return "of another sector";
	if (!oracle_may_be(&oracle, stamp.version, moment))
		return "stale";
	if (!may_fail)
		oracle_saw(&oracle, sector, stamp.version);
	return NULL;
}

static void do_read(char *buf, uint64_t sector, unsigned int nr)
{
	uint32_t moments[MAX_READ];
	const char *what;
	unsigned int i;

	for (i = 0; i < nr; i++)
		moments[i] = oracle_read(&oracle, sector + i);
	if (pread(fd, buf, nr * SECTOR, sector * SECTOR) != (ssize_t)nr * SECTOR)
		die("read");
	for (i = 0; i < nr; i++) {
		what = defect(buf + i * SECTOR, sector + i, moments[i]);
		if (what) {
			fprintf(stderr, "load: sector %ju, %u of %u read, is %s\n",
				(uintmax_t)sector + i, i, nr, what);
			exit(1);
		}
		if (oracle_read(&oracle, sector + i) != moments[i])
			atomic_fetch_add(&nr_overlaps, 1);
	}
	atomic_fetch_add(&nr_reads, 1);
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

/* What is to be read after a loss is known by the flushes. */
static void flush(uint32_t *covers)
{
	int r;

	if (may_lose)
		oracle_flush(&oracle, covers);
	r = fdatasync(fd);
	if (r && !may_fail)
		die("flush");
	if (!r && may_lose)
		oracle_flushed(&oracle, covers);
}

static void *run(void *arg)
{
	uint64_t rng = seed * MAX_THREADS + (uintptr_t)arg;
	uint32_t *covers = calloc(range, sizeof(*covers));
	unsigned int what;
	uint64_t next = 0;
	void *buf;

	if (!covers || posix_memalign(&buf, 4096, MAX_SECTORS * SECTOR))
		die("memory");
	while (next_write()) {
		what = stamp_random(&rng) % 100;
		if (what < discard_percent + zeroes_percent)
			unmap_something(&rng, what < discard_percent);
		else
			write_something(&rng, buf, &next);
		if (chance(&rng, flush_percent))
			flush(covers);
		if (with_pause && started > writes / 2 && !idled)
			do_idle();
	}
	free(buf);
	free(covers);
	atomic_fetch_sub(&at_work, 1);
	return NULL;
}

/* Read as long as others write, and most of it there. */
static void *gaze(void *arg)
{
	uint64_t rng = ~(seed * MAX_THREADS + (uintptr_t)arg), sector;
	unsigned int nr;
	void *buf;

	if (posix_memalign(&buf, 4096, MAX_READ * SECTOR))
		die("memory");
	while (atomic_load(&at_work)) {
		nr = 1 + stamp_random(&rng) % MAX_READ;
		sector = stamp_random(&rng) % range;
		if (chance(&rng, 75))
			sector = atomic_load(&hot) + stamp_random(&rng) % 32;
		sector = sector > 16 ? sector - 16 : 0;
		if (sector > range - nr)
			sector = range - nr;
		do_read(buf, sector, nr);
	}
	free(buf);
	return NULL;
}

/* What is below an image that has just been made is there as if it had been written. */
static void begin_with_below(void)
{
	unsigned int nr = below < range ? below : range;

	if (atomic_load(&oracle.state->now) >= STAMP_BASE)
		return;
	if (oracle_begin(&oracle, 0, nr, false) != STAMP_BASE)
		die("the time");
	oracle_end(&oracle, 0, nr, STAMP_BASE, false, true, true);
}

static void write_below(void)
{
	FILE *file = fopen(below_file, "w");
	char data[SECTOR];
	uint64_t i;

	for (i = 0; file && i < below; i++) {
		stamp_fill(data, i, STAMP_BASE);
		if (fwrite(data, SECTOR, 1, file) != 1)
			break;
	}
	if (!file || i < below || fclose(file))
		die(below_file);
}

static void options(int argc, char **argv)
{
	int option;

	while ((option = getopt(argc, argv, "t:n:s:a:r:f:u:q:d:z:D:A:g:C:S:b:w:Riex:l")) != -1) {
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
		case 'g':
			readers = value < MAX_THREADS ? value : MAX_THREADS;
			break;
		case 'C':
			cluster = value;
			break;
		case 'S':
			state = optarg;
			break;
		case 'b':
			below = value;
			break;
		case 'w':
			below_file = optarg;
			break;
		case 'R':
			races = true;
			break;
		case 'l':
			may_lose = true;
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
	if (optind != argc - !below_file) {
		fprintf(stderr, "usage: load [option...] DEVICE\n");
		exit(2);
	}
}

int main(int argc, char **argv)
{
	pthread_t thread[2 * MAX_THREADS];
	uint64_t bytes;
	uintptr_t i;

	options(argc, argv);
	if (below_file) {
		write_below();
		return 0;
	}
	fd = open(argv[optind], O_RDWR | O_DIRECT);
	if (fd < 0 || ioctl(fd, BLKGETSIZE64, &bytes))
		die(argv[optind]);
	size = bytes / SECTOR;
	if (!range || range > size)
		range = size;
	busy = calloc(range, 1);
	if (!busy || oracle_open(&oracle, state, range, false))
		die("memory");
	if (may_lose)
		oracle_lose(&oracle);
	begin_with_below();
	at_work = threads;
	for (i = 0; i < threads + readers; i++)
		if (pthread_create(&thread[i], NULL, i < threads ? run : gaze,
				   (void *)i))
			die("thread");
	for (i = 0; i < threads + readers; i++)
		pthread_join(thread[i], NULL);
	if (readers)
		printf("# %lu reads, %lu sectors of them while they were written\n",
		       nr_reads, nr_overlaps);
	return 0;
}
