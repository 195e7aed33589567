// SPDX-License-Identifier: GPL-2.0
/*
 * Hammers a block device from many threads and knows what must be read back.
 *
 * Every sector that is written carries its own address and a version. Writes
 * have any size and alignment and overlap freely, only the same sector is never
 * written by two threads at once, unless there are to be races (-R, -P). A discard
 * or zeroes for whole sectors count as a write, of zeroes; what a discard covers of
 * a unit (-C) only in part has to stay as it is. Other threads read all the time,
 * most of it where something is being written. What each sector may read as at
 * that moment is known, see oracle.h: anything else, or the work of no write as a
 * whole, is a defect. It may be kept in a file that survives this program.
 *
 * With -P there are few units, on a device that has no room for many more. One
 * thread of four discards a unit, or that and the next one, flushes, and writes a little of it
 * again, while the others read and write across its end, where one lookup has to
 * do with entries of two units, of which the first comes and goes, and what is
 * freed by the one is wanted by the other.
 *
 * The device may have several names, dm-linear above it for instance: the kernel
 * discards one after the other of what comes by the same.
 *
 * A request that never ends is as bad as wrong data (-W). Nothing can remove the
 * device then, so that -X switches the machine off.
 *
 * Usage: see hammer-options.c. Exit status: 0 all right, 1 wrong data, an I/O
 * error, or one that has not ended, 2 bad arguments or no memory.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/types.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/reboot.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "hammer.h"
#include "oracle.h"
#include "sector.h"

#define MAX_REPORTS	10
#define HOT_SPOTS	4	/* where readers look */

/* Say what is wrong, count it, and be quiet after the first few. */
#define report(...)							\
	do {								\
		if (atomic_fetch_add(&reports, 1) < MAX_REPORTS)	\
			fprintf(stderr, __VA_ARGS__);			\
	} while (0)

static struct oracle oracle;
static atomic_uchar *busy;		/* one per logical block: being written */
static atomic_ullong hot[HOT_SPOTS];	/* where something is being written */
static atomic_ullong nr_sectors;	/* of the range, as far as the device has it */
static int *fds;			/* by the device's names */
static __thread int fd;			/* that this thread takes */
static atomic_bool stop;
static double started;
static atomic_uint at_work;		/* threads that write */
static atomic_int reports;
static atomic_ulong nr_reads, nr_writes, nr_unmaps, nr_flushes, nr_errors;
static atomic_ulong nr_overlaps;	/* sectors read while they were written */

static void fatal(const char *what)
{
	fprintf(stderr, "hammer: %s: %s\n", what, strerror(errno));
	exit(2);
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

/*
 * Sectors
 */

/* Is it being written? Then a device may tear it that does so. */
static bool is_busy(__u64 at, __u32 moment)
{
	return atomic_load(&busy[at / opt.block_sectors]) ||
	       oracle_read(&oracle, at) != moment;
}

/* What is wrong with a sector at @at of the range, or NULL. @moment: see oracle.h. */
static const char *defect(const __u64 *words, __u64 at, __u32 moment)
{
	__u64 expected[WORDS];

	if (is_zero(words))
		return oracle_may_be_zero(&oracle, at, moment) ? NULL : "is zero";
	if (words[WORD_SECTOR] != opt.offset + at || words[WORD_SEED] != opt.seed)
		return "is not of this sector";
	fill_sector(expected, opt.offset + at, words[WORD_VERSION], opt.seed);
	if (memcmp(words, expected, SECTOR))
		return opt.may_tear && is_busy(at, moment) ? NULL : "is torn";
	if (!oracle_may_be(&oracle, words[WORD_VERSION], moment))
		return "is stale";
	if (!opt.errors_ok && !opt.crashed)
		oracle_saw(&oracle, at, words[WORD_VERSION]);
	return NULL;
}

static bool check_sector(const __u64 *words, __u64 at, __u32 moment)
{
	const char *what = defect(words, at, moment);

	if (!what)
		return true;
	report("%.3f s: sector %llu %s: says %llu, version %llu, at moment %u\n",
	       now() - started, opt.offset + at, what, words[WORD_SECTOR],
	       words[WORD_VERSION], moment);
	return false;
}

/*
 * I/O
 */

/* An error that must not be makes all threads stop. */
static bool io_failed(const char *what, __u64 sector, unsigned int nr,
		      ssize_t done)
{
	if (done == (ssize_t)nr * SECTOR)
		return false;
	atomic_fetch_add(&nr_errors, 1);
	if (opt.errors_ok)
		return true;
	report("%s of %u sectors at sector %llu: %s\n", what, nr, sector,
	       done < 0 ? strerror(errno) : "short");
	atomic_store(&stop, true);
	return true;
}

/* Take the logical blocks of a range, all or none. */
static bool lock_range(__u64 start, unsigned int nr)
{
	__u64 first = start / opt.block_sectors;
	unsigned int blocks = nr / opt.block_sectors, i;

	for (i = 0; !opt.races && i < blocks; i++) {
		if (!atomic_exchange(&busy[first + i], 1))
			continue;
		while (i--)
			atomic_store(&busy[first + i], 0);
		return false;
	}
	return true;
}

static void unlock_range(__u64 start, unsigned int nr)
{
	__u64 first = start / opt.block_sectors;
	unsigned int i;

	for (i = 0; !opt.races && i < nr / opt.block_sectors; i++)
		atomic_store(&busy[first + i], 0);
}

/* A write begins; returns its version. */
static __u32 begin(__u64 start, unsigned int nr, bool zeroes)
{
	static atomic_uint turn;

	atomic_store(&hot[atomic_fetch_add(&turn, 1) % HOT_SPOTS], start);
	return oracle_begin(&oracle, start, nr, zeroes);
}

/*
 * Try a write without waiting. If it cannot be done so, nothing of it may have been
 * done. Returns the result, or 0: that was so.
 */
static ssize_t write_nowait(char *buf, __u64 start, unsigned int nr)
{
	struct iovec iov = { .iov_base = buf, .iov_len = (size_t)nr * SECTOR };
	__u64 version = ((__u64 *)buf)[WORD_VERSION];
	loff_t offset = (opt.offset + start) * SECTOR;
	ssize_t done = pwritev2(fd, &iov, 1, offset, RWF_NOWAIT);
	unsigned int i;

	if (done >= 0 || errno != EAGAIN)
		return done;
	done = pread(fd, buf, iov.iov_len, offset);
	for (i = 0; i < nr; i++) {
		__u64 *words = (__u64 *)(buf + i * SECTOR);

		if (done != (ssize_t)iov.iov_len ||
		    words[WORD_SECTOR] != opt.offset + start + i ||
		    words[WORD_VERSION] != version)
			continue;
		report("sector %llu was written, and EAGAIN returned\n",
		       opt.offset + start + i);
		atomic_store(&stop, true);
	}
	return 0;
}

static void fill(char *buf, __u64 start, unsigned int nr, __u32 version)
{
	unsigned int i;

	for (i = 0; i < nr; i++)
		fill_sector((__u64 *)(buf + i * SECTOR), opt.offset + start + i,
			    version, opt.seed);
}

static void do_write(__u64 *rnd, char *buf, __u64 start, unsigned int nr)
{
	bool sync = chance(rnd, opt.sync_percent), ok;
	struct iovec iov = { .iov_base = buf, .iov_len = (size_t)nr * SECTOR };
	ssize_t done = 0;
	__u32 version;

	if (!lock_range(start, nr))
		return;
	version = begin(start, nr, false);
	fill(buf, start, nr, version);
	if (!sync && chance(rnd, opt.nowait_percent))
		done = write_nowait(buf, start, nr);
	if (!done) {
		fill(buf, start, nr, version);
		done = pwritev2(fd, &iov, 1, (opt.offset + start) * SECTOR,
				sync ? RWF_DSYNC : 0);
	}
	ok = !io_failed("write", opt.offset + start, nr, done);
	oracle_end(&oracle, start, nr, version, false, ok, sync);
	unlock_range(start, nr);
	atomic_fetch_add(&nr_writes, 1);
}

/* Zeroes in one of the ways that there are. Returns 0 or -1. */
static int unmap(unsigned int how, __u64 offset, __u64 length)
{
	__u64 range[2] = { offset, length };
	int r;

	if (how == 0)
		return ioctl(fd, BLKDISCARD, range);
	if (how == 1) {
		r = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			      offset, length);
		if (!r || errno != EOPNOTSUPP)
			return r;
	}
	return fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, offset,
			 length);
}

/* Sectors @from to @to of the range become zero by what is done to @nr from @start on. */
static void unmap_range(unsigned int how, __u64 start, unsigned int nr,
			__u64 from, __u64 to)
{
	__u32 version;
	bool ok;

	if (!lock_range(from, to - from))
		return;
	version = begin(from, to - from, true);
	ok = !io_failed("unmap", opt.offset + start, nr,
			unmap(how, (opt.offset + start) * SECTOR,
			      (__u64)nr * SECTOR) ? -1 : (ssize_t)nr * SECTOR);
	oracle_end(&oracle, from, to - from, version, true, ok, false);
	unlock_range(from, to - from);
	atomic_fetch_add(&nr_unmaps, 1);
}

/* For unmap() */
static unsigned int choose_how(__u64 *rnd)
{
	if (opt.no_discards)
		return 1 + below(rnd, 2);
	return opt.no_zeroes ? 0 : below(rnd, 3);
}

static bool may_unmap(__u64 unit)
{
	return !opt.kinds || opt.kinds[unit % strlen(opt.kinds)] != '-';
}

/* Unmap units that are next to each other. Returns false if there is none in the range. */
static bool unmap_units(__u64 *rnd)
{
	unsigned int unit = opt.unit, nr = 1;
	__u64 end = (opt.offset + atomic_load(&nr_sectors)) / unit;
	__u64 first = (opt.offset + unit - 1) / unit, start;

	if (first >= end)
		return false;
	first += below(rnd, end - first);
	if (!may_unmap(first))
		return true;
	while (first + nr < end && may_unmap(first + nr) && chance(rnd, 50))
		nr++;
	start = first * unit - opt.offset;
	unmap_range(choose_how(rnd), start, nr * unit, start, start + nr * unit);
	return true;
}

static void do_unmap(__u64 *rnd, __u64 start, unsigned int nr)
{
	unsigned int how = choose_how(rnd), unit = opt.unit;
	__u64 from = start, to = start + nr, end = opt.offset + start + nr, i;

	for (i = (opt.offset + start) / unit; i * unit < end; i++)
		if (!may_unmap(i))
			return;
	if (how == 0) {
		/* What is not a whole unit stays as it is. */
		from = (opt.offset + start + unit - 1) / unit * unit - opt.offset;
		to = end / unit * unit - opt.offset;
		if (end / unit * unit <= opt.offset + from)
			to = from;
	}
	unmap_range(how, start, nr, from, to);
}

static void do_read(__u64 *rnd, char *buf, __u32 *moments, __u64 start,
		    unsigned int nr)
{
	struct iovec iov = { .iov_base = buf, .iov_len = (size_t)nr * SECTOR };
	bool nowait = chance(rnd, opt.nowait_percent);
	unsigned int i, overlaps = 0;
	ssize_t done;

	for (i = 0; i < nr; i++)
		moments[i] = oracle_read(&oracle, start + i);
	done = preadv2(fd, &iov, 1, (opt.offset + start) * SECTOR,
		       nowait ? RWF_NOWAIT : 0);
	if (nowait && done < 0 && errno == EAGAIN)
		done = preadv2(fd, &iov, 1, (opt.offset + start) * SECTOR, 0);
	if (io_failed("read", opt.offset + start, nr, done))
		return;
	for (i = 0; i < nr; i++) {
		overlaps += oracle_read(&oracle, start + i) != moments[i];
		if (!check_sector((__u64 *)(buf + i * SECTOR), start + i,
				  moments[i]))
			atomic_store(&stop, true);
	}
	atomic_fetch_add(&nr_overlaps, overlaps);
	atomic_fetch_add(&nr_reads, 1);
}

static void do_flush(__u32 *covers)
{
	oracle_flush(&oracle, covers);
	if (fdatasync(fd)) {
		io_failed("flush", 0, 0, -1);
		return;
	}
	oracle_flushed(&oracle, covers);
	atomic_fetch_add(&nr_flushes, 1);
}

/* Mostly small, some large. */
static unsigned int random_length(__u64 *rnd)
{
	unsigned int blocks = opt.max_sectors / opt.block_sectors, limit;

	switch (below(rnd, 20)) {
	case 0:
		limit = blocks;
		break;
	case 1 ... 5:
		limit = blocks < 128 ? blocks : 128;
		break;
	default:
		limit = blocks < 16 ? blocks : 16;
	}
	return (1 + below(rnd, limit)) * opt.block_sectors;
}

/* What a thread has to work with */
struct thread {
	pthread_t id;
	unsigned int index;
	atomic_ulong since;	/* in ms, when it began what it is doing, or 0 */
	__u64 rnd;
	char *buf;		/* for the largest I/O */
	__u32 *moments;		/* for all sectors of the range */
	unsigned int ops;
	unsigned long tosses;
	double end;
};

static __u32 begun_at;		/* the moment */
static struct thread *threads;
static unsigned int nr_threads;

static unsigned long now_ms(void)
{
	return now() * 1e3;
}

static bool goes_on(struct thread *thread)
{
	atomic_store(&thread->since, now_ms());
	return !atomic_load(&stop) && oracle_has_time(&oracle, opt.threads) &&
	       (opt.ops ? thread->ops++ < opt.ops : now() < thread->end);
}

static void do_something(struct thread *thread)
{
	__u64 *rnd = &thread->rnd;
	unsigned int nr = random_length(rnd);
	__u64 blocks = (atomic_load(&nr_sectors) - nr) / opt.block_sectors + 1;
	__u64 start = below(rnd, blocks) * opt.block_sectors;

	if (chance(rnd, opt.read_percent))
		do_read(rnd, thread->buf, thread->moments, start, nr);
	else if (!chance(rnd, opt.unmap_percent))
		do_write(rnd, thread->buf, start, nr);
	else if (!chance(rnd, opt.whole_percent) || !unmap_units(rnd))
		do_unmap(rnd, start, nr);
	if (chance(rnd, opt.flush_percent))
		do_flush(thread->moments);
}

/* Of four threads one has a unit of its own to discard, the second one of three. */
#define TOSS_EVERY	4

static __u64 tossed(unsigned int index)
{
	__u64 units = opt.sectors / opt.unit;

	return (1 + index / TOSS_EVERY * 3) % (units - 2) * opt.unit;
}

static void toss(struct thread *thread)
{
	unsigned int unit = opt.unit, page = opt.page_sectors;
	__u64 start = tossed(thread->index);
	unsigned int nr = unit << (thread->tosses++ / 64 % 2);

	unmap_range(0, start, nr, start, start + nr);
	do_flush(thread->moments);
	do_write(&thread->rnd, thread->buf, start, page);
}

/* 8 KiB across the end of a unit that is being tossed, or all of three units */
static void look_across(struct thread *thread)
{
	unsigned int unit = opt.unit, page = opt.page_sectors;
	__u64 start = tossed(below(&thread->rnd, opt.threads));

	if (chance(&thread->rnd, 10))
		do_read(&thread->rnd, thread->buf, thread->moments,
			below(&thread->rnd, opt.sectors / page) * page, page);
	else if (chance(&thread->rnd, 60))
		do_read(&thread->rnd, thread->buf, thread->moments,
			start + unit - page, 2 * page);
	else
		do_write(&thread->rnd, thread->buf, start + unit - page, 2 * page);
}

static void *work(void *arg)
{
	struct thread *thread = arg;

	fd = fds[thread->index % opt.nr_devices];
	while (goes_on(thread)) {
		if (!opt.pattern)
			do_something(thread);
		else if (thread->index % TOSS_EVERY)
			look_across(thread);
		else
			toss(thread);
	}
	atomic_store(&thread->since, 0);
	atomic_fetch_sub(&at_work, 1);
	return NULL;
}

/* Read as long as others write, most of it there. */
static void *gaze(void *arg)
{
	struct thread *thread = arg;
	__u64 *rnd = &thread->rnd;

	fd = fds[thread->index % opt.nr_devices];
	while (atomic_load(&at_work) && !atomic_load(&stop)) {
		unsigned int nr = random_length(rnd);
		__u64 last = atomic_load(&nr_sectors) - nr;
		__u64 start = below(rnd, last + 1);
		__u64 near = atomic_load(&hot[below(rnd, HOT_SPOTS)]);

		if (chance(rnd, 75)) {
			start = near + below(rnd, 16);
			start = start > 8 ? start - 8 : 0;
			if (start > last)
				start = last;
		}
		start -= start % opt.block_sectors;
		atomic_store(&thread->since, now_ms());
		do_read(rnd, thread->buf, thread->moments, start, nr);
	}
	atomic_store(&thread->since, 0);
	return NULL;
}

/* Read the whole range. A crash takes the device back to what was durable. */
static void *verify(void *arg)
{
	struct thread *thread = arg;
	__u64 start = (__u64)thread->index * opt.max_sectors;
	unsigned int nr, i;

	fd = fds[0];
	for (; start < opt.sectors; start += (__u64)opt.threads * opt.max_sectors) {
		nr = opt.max_sectors;
		if (nr > opt.sectors - start)
			nr = opt.sectors - start;
		if (io_failed("read", opt.offset + start, nr,
			      pread(fd, thread->buf, (size_t)nr * SECTOR,
				    (opt.offset + start) * SECTOR)))
			continue;
		for (i = 0; i < nr; i++)
			check_sector((__u64 *)(thread->buf + i * SECTOR), start + i,
				     opt.crashed ?
				     oracle_durable(&oracle, start + i) :
				     oracle_read(&oracle, start + i));
		atomic_fetch_add(&nr_reads, 1);
	}
	return NULL;
}

/*
 * What looks after the threads
 */

/* A thread that waits for the device cannot be ended, nor can this program then. */
static void give_up(void)
{
	fprintf(stderr, "hammer: a request is stuck for %u s\n", opt.stuck);
	if (!opt.power_off)
		_exit(1);
	dprintf(opt.power_off, "# hammer: a request is stuck for %u s\n", opt.stuck);
	sleep(2);
	reboot(RB_POWER_OFF);
}

static __u64 size_of_device(void)
{
	__u64 size;

	/* a regular file, for a try */
	if (ioctl(fds[0], BLKGETSIZE64, &size))
		size = lseek(fds[0], 0, SEEK_END);
	return size / SECTOR;
}

/* How much of the range there is by now */
static void measure(void)
{
	__u64 end = size_of_device(), nr = end > opt.offset ? end - opt.offset : 0;

	if (nr > opt.sectors)
		nr = opt.sectors;
	atomic_store(&nr_sectors, nr - nr % opt.block_sectors);
}

static void *watch(void *arg)
{
	unsigned int i;

	(void)arg;
	for (;; usleep(20000)) {
		if (opt.grows)
			measure();
		for (i = 0; opt.stuck && i < nr_threads; i++) {
			unsigned long since = atomic_load(&threads[i].since);

			if (since && now_ms() > since + 1000UL * opt.stuck)
				give_up();
		}
	}
	return NULL;
}

/*
 * Setup
 */

static void handle_term(int sig)
{
	(void)sig;
	atomic_store(&stop, true);
}

static void open_devices(void)
{
	unsigned int i;
	int block;

	fds = calloc(opt.nr_devices, sizeof(*fds));
	if (!fds)
		fatal("memory");
	for (i = 0; i < opt.nr_devices; i++) {
		fds[i] = open(opt.devices[i],
			      (opt.verify ? O_RDONLY : O_RDWR) | O_DIRECT);
		if (fds[i] < 0)
			fatal(opt.devices[i]);
	}
	if (ioctl(fds[0], BLKSSZGET, &block))
		block = SECTOR;
	opt.block_sectors = block / SECTOR;
	opt.page_sectors = opt.block_sectors > 8 ? opt.block_sectors : 8;
}

static void bad(const char *what)
{
	fprintf(stderr, "hammer: %s\n", what);
	exit(2);
}

static void choose_range(void)
{
	if (!opt.sectors)
		opt.sectors = size_of_device() - opt.offset;
	opt.sectors -= opt.sectors % opt.block_sectors;
	measure();
	if (opt.max_sectors > nr_sectors)
		opt.max_sectors = nr_sectors;
	opt.max_sectors -= opt.max_sectors % opt.block_sectors;
	if (!opt.grows && nr_sectors < opt.sectors)
		bad("the range is larger than the device");
	if (opt.pattern && nr_sectors < 4ULL * opt.unit)
		bad("the pattern needs four units");
	if (!opt.max_sectors || opt.offset % opt.block_sectors)
		bad("the range does not fit the logical blocks");
}

static void open_state(void)
{
	if (oracle_open(&oracle, opt.state, opt.sectors,
			opt.crashed && opt.verify))
		fatal("state");
	if (opt.crashed && !opt.verify)
		oracle_lose(&oracle);
	begun_at = atomic_load(&oracle.state->now);
	busy = calloc(opt.sectors / opt.block_sectors, sizeof(*busy));
	if (!busy)
		fatal("memory");
}

static void start_thread(struct thread *thread, unsigned int index)
{
	void *(*function)(void *) = work;

	thread->index = index;
	/* with the same file never the same again */
	thread->rnd = mix(opt.seed + index + ((__u64)begun_at << 32));
	thread->end = started + opt.seconds;
	thread->moments = malloc(opt.sectors * sizeof(*thread->moments));
	if (!thread->moments || posix_memalign((void **)&thread->buf, 4096,
					       (size_t)opt.max_sectors * SECTOR))
		fatal("memory");
	if (opt.verify)
		function = verify;
	else if (index >= opt.threads)
		function = gaze;
	if (pthread_create(&thread->id, NULL, function, thread))
		fatal("pthread_create");
}

int main(int argc, char **argv)
{
	pthread_t watcher;
	unsigned int i;

	hammer_parse(argc, argv);
	open_devices();
	choose_range();
	open_state();
	signal(SIGTERM, handle_term);
	signal(SIGINT, handle_term);

	nr_threads = opt.threads + (opt.verify ? 0 : opt.readers);
	threads = calloc(nr_threads, sizeof(*threads));
	if (!threads)
		fatal("memory");
	at_work = opt.threads;
	started = now();
	for (i = 0; i < nr_threads; i++)
		start_thread(&threads[i], i);
	if ((opt.grows || opt.stuck) &&
	    pthread_create(&watcher, NULL, watch, NULL))
		fatal("pthread_create");
	for (i = 0; i < nr_threads; i++)
		pthread_join(threads[i].id, NULL);

	printf("hammer: %lu writes, %lu reads, %lu sectors while written, ",
	       nr_writes, nr_reads, nr_overlaps);
	printf("%lu unmaps, %lu flushes, %lu errors, %d defects\n",
	       nr_unmaps, nr_flushes, nr_errors, reports);
	return reports ? 1 : 0;
}
