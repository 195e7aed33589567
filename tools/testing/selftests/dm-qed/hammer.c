// SPDX-License-Identifier: GPL-2.0
/*
 * Hammers a block device from many threads and knows what must be read back.
 *
 * Every sector that is written carries its own address and a version. Writes
 * have any size and alignment and overlap freely, only the same sector is never
 * written by two threads at once. A discard or zeroes for whole sectors count as a
 * write, of zeroes. For each sector four versions are kept in a file that survives
 * this program:
 *
 *  issued:  of the last write that was sent to the device
 *  done:    of the last write that was completed
 *  durable: of the last write that a completed flush or a sync write covers
 *  zeroed:  of the last write of zeroes that was sent to the device
 *
 * A sector that is read must be one write's work as a whole, not older than what
 * was done before the read and not newer than what was issued at its end. After
 * a crash (-c) it must not be older than what was durable.
 *
 * Usage: see help(). Exit status: 0 all right, 1 wrong data or an I/O error,
 * 2 bad arguments or no memory.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
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
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define SECTOR		512
#define WORDS		(SECTOR / sizeof(__u64))
#define MAX_REPORTS	10

/* Say what is wrong, count it, and be quiet after the first few. */
#define report(...)							\
	do {								\
		if (atomic_fetch_add(&reports, 1) < MAX_REPORTS)	\
			fprintf(stderr, __VA_ARGS__);			\
	} while (0)

/* The words at the start of a sector, the rest follows from them. */
enum { WORD_SECTOR, WORD_VERSION, WORD_SEED, NR_STAMP_WORDS };

struct oracle {
	atomic_uint *issued;
	atomic_uint *done;
	atomic_uint *durable;
	atomic_uint *zeroed;
	atomic_uchar *busy;		/* one per logical block: being written */
};

static struct {
	const char *device;
	const char *state;
	__u64 offset;		/* of the range, in sectors */
	__u64 sectors;		/* length of the range */
	__u64 seed;
	unsigned int threads;
	unsigned int seconds;
	unsigned long ops;		/* per thread, 0: no limit */
	unsigned int max_sectors;	/* of an I/O */
	unsigned int block_sectors;	/* logical block of the device */
	unsigned int read_percent;
	unsigned int flush_percent;
	unsigned int sync_percent;
	unsigned int unmap_percent;
	unsigned int discard_sectors;	/* what a discard is a multiple of */
	bool verify;
	bool crashed;
	bool errors_ok;
} opt = {
	.seed = 1,
	.threads = 8,
	.max_sectors = 2048,
	.read_percent = 20,
	.flush_percent = 2,
	.sync_percent = 2,
	.discard_sectors = 128,
};

static struct oracle oracle;
static int fd;
static atomic_bool stop;
static atomic_int reports;
static atomic_ulong nr_reads, nr_writes, nr_unmaps, nr_flushes, nr_errors;

static void help(void)
{
	fprintf(stderr,
		"usage: hammer [options] DEVICE\n"
		"  -f FILE     keep the versions there (default: nowhere)\n"
		"  -v          only verify the whole range against the file\n"
		"  -c          with -v: after a crash, undurable writes may be lost\n"
		"  -o BYTES    start of the range\n"
		"  -l BYTES    length of the range (default: up to the end)\n"
		"  -t N        threads\n"
		"  -s SECONDS  duration\n"
		"  -n N        or number of operations per thread\n"
		"  -b BYTES    largest I/O\n"
		"  -r PERCENT  reads\n"
		"  -F PERCENT  flushes\n"
		"  -D PERCENT  sync writes\n"
		"  -U PERCENT  discards and zeroes, of what is no read\n"
		"  -C BYTES    what discards are a multiple of (default: 65536)\n"
		"  -E          I/O errors are expected\n"
		"  -S SEED\n");
	exit(2);
}

static void fatal(const char *what)
{
	fprintf(stderr, "hammer: %s: %s\n", what, strerror(errno));
	exit(2);
}

/*
 * Numbers
 */

static __u64 mix(__u64 x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

static __u64 next_random(__u64 *state)
{
	*state += 0x9e3779b97f4a7c15ULL;
	return mix(*state);
}

static __u64 below(__u64 *state, __u64 limit)
{
	return next_random(state) % limit;
}

static bool chance(__u64 *state, unsigned int percent)
{
	return below(state, 100) < percent;
}

/*
 * Sectors
 */

static void fill_sector(__u64 *words, __u64 sector, __u32 version)
{
	__u64 key = mix(sector ^ opt.seed) + version;
	unsigned int i;

	words[WORD_SECTOR] = sector;
	words[WORD_VERSION] = version;
	words[WORD_SEED] = opt.seed;
	for (i = NR_STAMP_WORDS; i < WORDS; i++)
		words[i] = key * (i | 1);
}

static bool is_zero(const __u64 *words)
{
	unsigned int i;

	for (i = 0; i < WORDS; i++)
		if (words[i])
			return false;
	return true;
}

/*
 * Is the sector the work of one write with a version from @low to @high? The last
 * one of zeroes was @zeroed, and was sent before @high was known.
 */
static bool check_sector(const __u64 *words, __u64 sector, __u32 low,
			 __u32 high, __u32 zeroed)
{
	__u64 expected[WORDS];
	const char *what;

	if (is_zero(words)) {
		if (zeroed >= low)
			return true;
		what = "is zero";
	} else if (words[WORD_SECTOR] != sector || words[WORD_SEED] != opt.seed) {
		what = "is not of this sector";
	} else if (words[WORD_VERSION] < low || words[WORD_VERSION] > high ||
		   !words[WORD_VERSION]) {
		what = words[WORD_VERSION] < low ? "is too old" : "is too new";
	} else {
		fill_sector(expected, sector, words[WORD_VERSION]);
		if (!memcmp(words, expected, SECTOR))
			return true;
		what = "is torn";
	}
	report("sector %llu %s: says %llu, version %llu, expected version %u to %u\n",
	       sector, what, words[WORD_SECTOR], words[WORD_VERSION], low, high);
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

	for (i = 0; i < blocks; i++) {
		if (!atomic_exchange(&oracle.busy[first + i], 1))
			continue;
		while (i--)
			atomic_store(&oracle.busy[first + i], 0);
		return false;
	}
	return true;
}

static void unlock_range(__u64 start, unsigned int nr)
{
	__u64 first = start / opt.block_sectors;
	unsigned int i;

	for (i = 0; i < nr / opt.block_sectors; i++)
		atomic_store(&oracle.busy[first + i], 0);
}

static void raise_to(atomic_uint *where, __u32 version)
{
	__u32 old = atomic_load(where);

	while (old < version && !atomic_compare_exchange_weak(where, &old, version))
		;
}

static void do_write(__u64 *rnd, char *buf, __u64 start, unsigned int nr)
{
	bool sync = chance(rnd, opt.sync_percent);
	struct iovec iov = { .iov_base = buf, .iov_len = (size_t)nr * SECTOR };
	unsigned int i;
	ssize_t done;

	if (!lock_range(start, nr))
		return;
	for (i = 0; i < nr; i++)
		fill_sector((__u64 *)(buf + i * SECTOR), opt.offset + start + i,
			    atomic_fetch_add(&oracle.issued[start + i], 1) + 1);

	done = pwritev2(fd, &iov, 1, (opt.offset + start) * SECTOR,
			sync ? RWF_DSYNC : 0);
	if (!io_failed("write", opt.offset + start, nr, done)) {
		for (i = 0; i < nr; i++) {
			__u32 version = atomic_load(&oracle.issued[start + i]);

			atomic_store(&oracle.done[start + i], version);
			if (sync)
				raise_to(&oracle.durable[start + i], version);
		}
	}
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

static void do_unmap(__u64 *rnd, __u64 start, unsigned int nr)
{
	unsigned int how = below(rnd, 3), unit = opt.discard_sectors, i;

	if (how == 0) {
		/* What is not a whole unit stays as it is. */
		__u64 first = (opt.offset + start + unit - 1) / unit * unit;
		__u64 end = (opt.offset + start + nr) / unit * unit;

		if (first >= end)
			return;
		start = first - opt.offset;
		nr = end - first;
	}
	if (!lock_range(start, nr))
		return;
	for (i = 0; i < nr; i++)
		atomic_store(&oracle.zeroed[start + i],
			     atomic_fetch_add(&oracle.issued[start + i], 1) + 1);
	if (!io_failed("unmap", opt.offset + start, nr,
		       unmap(how, (opt.offset + start) * SECTOR,
			     (__u64)nr * SECTOR) ? -1 : (ssize_t)nr * SECTOR))
		for (i = 0; i < nr; i++)
			atomic_store(&oracle.done[start + i],
				     atomic_load(&oracle.issued[start + i]));
	unlock_range(start, nr);
	atomic_fetch_add(&nr_unmaps, 1);
}

static void do_read(char *buf, __u32 *low, __u64 start, unsigned int nr)
{
	unsigned int i;
	ssize_t done;

	for (i = 0; i < nr; i++)
		low[i] = atomic_load(&oracle.done[start + i]);
	done = pread(fd, buf, (size_t)nr * SECTOR, (opt.offset + start) * SECTOR);
	if (io_failed("read", opt.offset + start, nr, done))
		return;
	for (i = 0; i < nr; i++) {
		__u32 zeroed = atomic_load(&oracle.zeroed[start + i]);
		__u32 high = atomic_load(&oracle.issued[start + i]);

		/* A device may tear a sector that is written meanwhile. */
		if (high != low[i] && !opt.verify)
			continue;
		if (!check_sector((__u64 *)(buf + i * SECTOR),
				  opt.offset + start + i, low[i], high, zeroed))
			atomic_store(&stop, true);
	}
	atomic_fetch_add(&nr_reads, 1);
}

static void do_flush(__u32 *snapshot)
{
	__u64 i;

	for (i = 0; i < opt.sectors; i++)
		snapshot[i] = atomic_load(&oracle.done[i]);
	if (fdatasync(fd)) {
		io_failed("flush", 0, 0, -1);
		return;
	}
	for (i = 0; i < opt.sectors; i++)
		raise_to(&oracle.durable[i], snapshot[i]);
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

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static void *work(void *arg)
{
	__u64 rnd = mix(opt.seed + (uintptr_t)arg);
	__u32 *versions = malloc(opt.sectors * sizeof(*versions));
	double end = now() + opt.seconds;
	unsigned long i;
	char *buf;

	if (!versions || posix_memalign((void **)&buf, 4096,
					(size_t)opt.max_sectors * SECTOR))
		fatal("memory");

	for (i = 0; !atomic_load(&stop); i++) {
		unsigned int nr = random_length(&rnd);
		__u64 blocks = (opt.sectors - nr) / opt.block_sectors + 1;
		__u64 start = below(&rnd, blocks) * opt.block_sectors;

		if (opt.ops ? i >= opt.ops : now() >= end)
			break;
		if (chance(&rnd, opt.read_percent))
			do_read(buf, versions, start, nr);
		else if (chance(&rnd, opt.unmap_percent))
			do_unmap(&rnd, start, nr);
		else
			do_write(&rnd, buf, start, nr);
		if (chance(&rnd, opt.flush_percent))
			do_flush(versions);
	}
	free(buf);
	free(versions);
	return NULL;
}

/* Read the whole range. A crash takes the device back to what was durable. */
static void *verify(void *arg)
{
	atomic_uint *least = opt.crashed ? oracle.durable : oracle.done;
	unsigned int index = (uintptr_t)arg, nr, i;
	__u64 start = (__u64)index * opt.max_sectors;
	char *buf;

	if (posix_memalign((void **)&buf, 4096, (size_t)opt.max_sectors * SECTOR))
		fatal("memory");

	for (; start < opt.sectors; start += (__u64)opt.threads * opt.max_sectors) {
		nr = opt.max_sectors;
		if (nr > opt.sectors - start)
			nr = opt.sectors - start;
		if (io_failed("read", opt.offset + start, nr,
			      pread(fd, buf, (size_t)nr * SECTOR,
				    (opt.offset + start) * SECTOR)))
			continue;
		for (i = 0; i < nr; i++)
			check_sector((__u64 *)(buf + i * SECTOR),
				     opt.offset + start + i, least[start + i],
				     oracle.issued[start + i],
				     oracle.zeroed[start + i]);
		atomic_fetch_add(&nr_reads, 1);
	}
	free(buf);
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

static void open_device(void)
{
	__u64 size;
	int block;

	fd = open(opt.device, (opt.verify ? O_RDONLY : O_RDWR) | O_DIRECT);
	if (fd < 0)
		fatal(opt.device);
	if (ioctl(fd, BLKGETSIZE64, &size)) {
		/* a regular file, for a try */
		size = lseek(fd, 0, SEEK_END);
		block = SECTOR;
	} else if (ioctl(fd, BLKSSZGET, &block)) {
		fatal("BLKSSZGET");
	}
	opt.block_sectors = block / SECTOR;
	if (!opt.sectors)
		opt.sectors = size / SECTOR - opt.offset;
	opt.sectors -= opt.sectors % opt.block_sectors;
	if (opt.max_sectors > opt.sectors)
		opt.max_sectors = opt.sectors;
	opt.max_sectors -= opt.max_sectors % opt.block_sectors;
	if (!opt.max_sectors || opt.offset % opt.block_sectors) {
		fprintf(stderr, "hammer: the range does not fit the logical blocks\n");
		exit(2);
	}
}

static void open_state(void)
{
	size_t length = opt.sectors * sizeof(__u32);
	void *map;
	int state = -1;

	if (opt.state) {
		state = open(opt.state, O_RDWR | O_CREAT, 0644);
		if (state < 0 || ftruncate(state, 4 * length))
			fatal(opt.state);
	}
	map = mmap(NULL, 4 * length, PROT_READ | PROT_WRITE,
		   state < 0 ? MAP_SHARED | MAP_ANONYMOUS : MAP_SHARED, state, 0);
	if (map == MAP_FAILED)
		fatal("mmap");
	oracle.issued = map;
	oracle.done = oracle.issued + opt.sectors;
	oracle.durable = oracle.done + opt.sectors;
	oracle.zeroed = oracle.durable + opt.sectors;
	oracle.busy = calloc(opt.sectors / opt.block_sectors, sizeof(*oracle.busy));
	if (!oracle.busy)
		fatal("memory");
}

static void parse(int argc, char **argv)
{
	int c;

	while ((c = getopt(argc, argv, "f:vco:l:t:s:n:b:r:F:D:U:C:ES:")) != -1) {
		unsigned long long n = optarg ? strtoull(optarg, NULL, 0) : 0;

		switch (c) {
		case 'f':
			opt.state = optarg;
			break;
		case 'v':
			opt.verify = true;
			break;
		case 'c':
			opt.crashed = true;
			break;
		case 'o':
			opt.offset = n / SECTOR;
			break;
		case 'l':
			opt.sectors = n / SECTOR;
			break;
		case 't':
			opt.threads = n;
			break;
		case 's':
			opt.seconds = n;
			break;
		case 'n':
			opt.ops = n;
			break;
		case 'b':
			opt.max_sectors = n / SECTOR;
			break;
		case 'r':
			opt.read_percent = n;
			break;
		case 'F':
			opt.flush_percent = n;
			break;
		case 'D':
			opt.sync_percent = n;
			break;
		case 'U':
			opt.unmap_percent = n;
			break;
		case 'C':
			opt.discard_sectors = n / SECTOR;
			break;
		case 'E':
			opt.errors_ok = true;
			break;
		case 'S':
			opt.seed = n;
			break;
		default:
			help();
		}
	}
	if (optind != argc - 1 || !opt.threads ||
	    !(opt.verify || opt.seconds || opt.ops))
		help();
	opt.device = argv[optind];
}

int main(int argc, char **argv)
{
	pthread_t *threads;
	unsigned int i;

	parse(argc, argv);
	open_device();
	open_state();
	signal(SIGTERM, handle_term);
	signal(SIGINT, handle_term);

	threads = calloc(opt.threads, sizeof(*threads));
	if (!threads)
		fatal("memory");
	for (i = 0; i < opt.threads; i++)
		if (pthread_create(&threads[i], NULL, opt.verify ? verify : work,
				   (void *)(uintptr_t)i))
			fatal("pthread_create");
	for (i = 0; i < opt.threads; i++)
		pthread_join(threads[i], NULL);

	printf("hammer: %lu writes, %lu reads, %lu unmaps, %lu flushes, %lu errors, %d defects\n",
	       nr_writes, nr_reads, nr_unmaps, nr_flushes, nr_errors, reports);
	return reports ? 1 : 0;
}
