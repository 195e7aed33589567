// SPDX-License-Identifier: GPL-2.0-only
/*
 * memory - fail each allocation of memory in the life of a mapping
 *
 * Usage: memory DEVICE LAYER BASE [IMAGE STEP N]
 *
 * With STEP, a number from 0 on, only its allocation N is tried.
 *
 * All devices are overwritten. Needs a kernel with fault injection, its debugfs files set
 * up, and the target qed. An image by itself (IMAGE is 0), and one over another one, on
 * LAYER, over what is raw on BASE (IMAGE is 1), is activated, used, and closed, over and
 * over. Each time one more allocation fails, of those that the kernel makes for one
 * of the steps in our name: what it makes in the name of a worker is for the
 * caller to fail. The step may fail, then; again, without a fault, it must not. What
 * was written has to be there in the end, and the image must be marked clean. Of the
 * many that it takes to activate the image once more, it is only each 16th.
 *
 * Prints TAP. Exit status: 0 all good, 1 not, 2 trouble.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "mapper.h"

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

#define CLUSTER		4096
#define GUEST		(24 << 20)	/* bytes */
#define GROWN		(GUEST + (4 << 20))
#define LOWER		(4 << 20)
#define MAX_NTH		5000

#define NAME		"memory-qed"
#define PATH		"/dev/mapper/" NAME

#define NOTHING_ABOVE	0x66		/* all bytes of what is below */

static const char *lower, *layer, *base;
static bool backed;			/* the image is over them */
static unsigned char *page, *buffer;
static int guest = -1, lower_fd = -1, nth_fd = -1;
static unsigned int defects;

static void die(const char *what)
{
	fprintf(stderr, "memory: %s: %s\n", what, strerror(errno));
	exit(2);
}

/* Let the n-th allocation of this thread fail; 0: none */
static void fail_nth(unsigned int n)
{
	char text[16];
	int length = snprintf(text, sizeof(text), "%u", n);

	if (pwrite(nth_fd, text, length, 0) != length)
		die("fail-nth");
}

/* Is the fault still to come? */
static bool is_pending(void)
{
	char text[16] = "";

	if (pread(nth_fd, text, sizeof(text) - 1, 0) <= 0)
		die("fail-nth");
	return atoi(text) > 0;
}

/*
 * The steps. A step can be done again when it has failed.
 */

static bool parameters(int type)
{
	char text[256], below[128] = "";

	if (backed)
		snprintf(below, sizeof(below), "layer %s backing %s", layer, base);
	snprintf(text, sizeof(text), "%s %d commit_interval 3600000 cache_kib 64 %s",
		 lower, backed ? 8 : 4, below);
	return mapper_load(NAME, type, GUEST / 512, "qed", text);
}

static bool construct(void)
{
	return parameters(DM_DEVICE_RELOAD);
}

/* Device mapper's own part: a device whose first load has failed may be dead. */
static bool create(void)
{
	static bool again;

	if (again)
		mapper_simple(DM_DEVICE_REMOVE, NAME);
	again = !mapper_simple(DM_DEVICE_CREATE, NAME) || !construct();
	return !again;
}

static bool resume(void)
{
	return mapper_simple(DM_DEVICE_RESUME, NAME);
}

static bool open_guest(void)
{
	/* libdevmapper does not tell when it could not make the node */
	if (guest < 0 && access(PATH, F_OK))
		mapper_simple(DM_DEVICE_MKNODES, NAME);
	if (guest < 0)
		guest = open(PATH, O_RDWR | O_DIRECT);
	return guest >= 0;
}

static bool write_at(off_t offset, size_t length, unsigned char byte, int flags)
{
	struct iovec vec = { buffer, length };

	memset(buffer, byte, length);
	return pwritev2(guest, &vec, 1, offset, flags) == (ssize_t)length;
}

static bool read_at(off_t offset, size_t length, unsigned char byte)
{
	size_t i;

	memset(buffer, ~byte, length);
	if (pread(guest, buffer, length, offset) != (ssize_t)length)
		return false;
	for (i = 0; i < length; i++) {
		if (buffer[i] != byte) {
			printf("#   byte %zu reads as %u, not %u\n",
			       offset + i, buffer[i], byte);
			defects++;
			break;
		}
	}
	return true;
}

static bool write_new(void)
{
	return write_at(0, 3 * CLUSTER, 1, 0);
}

static bool write_part(void)
{
	return write_at((4 << 20) + 512, 1024, 2, 0);
}

static bool write_again(void)
{
	return write_at(CLUSTER, CLUSTER, 3, 0);
}

static bool write_sync(void)
{
	return write_at(8 << 20, 512, 4, RWF_DSYNC);
}

/* What suspend has to commit */
static bool write_last(void)
{
	return write_at(12 << 20, 1024, 5, 0);
}

/* Of what nobody has written */
static bool read_untouched(off_t offset, size_t length)
{
	return read_at(offset, length, backed ? NOTHING_ABOVE : 0);
}

static bool read_all(void)
{
	return read_at(0, CLUSTER, 1) && read_at(CLUSTER, CLUSTER, 3) &&
	       read_at(2 * CLUSTER, CLUSTER, 1) &&
	       read_untouched(4 << 20, 512) && read_at((4 << 20) + 512, 1024, 2) &&
	       read_untouched((4 << 20) + 1536, 512) && read_at(8 << 20, 512, 4) &&
	       read_untouched((8 << 20) + 512, CLUSTER - 512) &&
	       read_untouched(16 << 20, 65536);
}

static bool read_end(void)
{
	return read_all() && read_at(12 << 20, 1024, 5) &&
	       read_at((12 << 20) + 1024, CLUSTER - 1024, 0);
}

static bool flush(void)
{
	return !fsync(guest);
}

static bool commit(void)
{
	return mapper_message(NAME, "commit");
}

static bool status(void)
{
	char *text = mapper_status(NAME);
	bool ok = text && strstr(text, " rw ");

	free(text);
	return ok;
}

static bool discard(void)
{
	uint64_t range[2] = { 12 << 20, 4 * CLUSTER };

	return write_at(12 << 20, 4 * CLUSTER, 5, 0) &&
	       !ioctl(guest, BLKDISCARD, range);
}

static bool read_discarded(void)
{
	return read_at(12 << 20, 4 * CLUSTER, 0);
}

static bool zero(void)
{
	return !fallocate(guest, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
			  (4 << 20) + 512, 512) &&
	       write_at((4 << 20) + 512, 512, 2, 0);
}

/* The device may have no way to give space back. */
static bool trim(void)
{
	return mapper_message(NAME, "trim") || errno == EOPNOTSUPP;
}

/* The last one may go on when this one is tried again. */
static bool check(void)
{
	return mapper_message(NAME, "check") || errno == EBUSY;
}

static bool grow(void)
{
	char text[32];

	snprintf(text, sizeof(text), "resize %d", GROWN / 512);
	return mapper_message(NAME, text);
}

static bool suspend(void)
{
	return mapper_simple(DM_DEVICE_SUSPEND, NAME);
}

static bool close_guest(void)
{
	if (guest >= 0)
		close(guest);
	guest = -1;
	return true;
}

static bool remove_device(void)
{
	return mapper_simple(DM_DEVICE_REMOVE, NAME);
}

static const struct step {
	const char *name;
	bool (*run)(void);
} steps[] = {
	{ "construct", create },
	{ "activate", resume },
	{ "open", open_guest },
	{ "write to new clusters, with a new table", write_new },
	{ "write to a part of a new cluster", write_part },
	{ "write in place", write_again },
	{ "write and sync", write_sync },
	{ "read", read_all },
	{ "flush", flush },
	{ "read again", read_all },
	{ "message", commit },
	{ "discard", discard },
	{ "read what was discarded", read_discarded },
	{ "write zeroes", zero },
	{ "flush after that", flush },
	{ "trim", trim },
	{ "check", check },
	{ "resize", grow },
	{ "status", status },
	{ "write what suspend commits", write_last },
	{ "suspend", suspend },
	{ "resume", resume },
	{ "read after that", read_end },
	{ "construct another one", construct },
	{ "replace", resume },
	{ "read through it", read_end },
	{ "close", close_guest },
	{ "remove", remove_device },
};

static void put64(unsigned char *p, uint64_t value)
{
	unsigned int i;

	for (i = 0; i < 8; i++)
		p[i] = value >> (8 * i);
}

static void put(int fd, const unsigned char *cluster, off_t at)
{
	if (pwrite(fd, cluster, CLUSTER, at) != CLUSTER)
		die("a device");
}

static void fill(int fd, off_t from, off_t to, unsigned char byte)
{
	off_t at;

	memset(buffer, byte, CLUSTER);
	for (at = from; at < to; at += CLUSTER)
		put(fd, buffer, at);
}

/* A header, and an L1 table in page */
static void put_image(int fd, unsigned int features)
{
	put(fd, page, CLUSTER);
	memset(page, 0, CLUSTER);
	memcpy(page, "QED", 3);
	put64(page + 4, CLUSTER | 1ULL << 32);
	put64(page + 12, 1);
	put64(page + 16, features);
	put64(page + 40, CLUSTER);
	put64(page + 48, GUEST);
	/* a name of four bytes, somewhere */
	put64(page + 56, features ? 128 | 4ULL << 32 : 0);
	put(fd, page, 0);
}

static void make_image(void)
{
	memset(page, 0, CLUSTER);
	put_image(lower_fd, backed ? 1 : 0);
}

/* The layer has the cluster at 4 MiB, and a part of what is read at 16 MiB. */
static void make_layer(int fd)
{
	static const off_t guest[] = { 4 << 20, 16 << 20, (16 << 20) + 3 * CLUSTER };
	const unsigned int entries = CLUSTER / 8;
	unsigned char table[CLUSTER], l1[CLUSTER] = { 0 };
	off_t next = 2 * CLUSTER, table_at = 0, last = -1;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(guest); i++) {
		off_t cluster = guest[i] / CLUSTER, nr = cluster / entries;

		if (nr != last) {
			memset(table, 0, CLUSTER);
			table_at = next;
			put64(l1 + 8 * nr, table_at);
			next += CLUSTER;
			last = nr;
		}
		put64(table + 8 * (cluster % entries), next);
		memcpy(page, table, CLUSTER);
		put(fd, page, table_at);
		fill(fd, next, next + CLUSTER, NOTHING_ABOVE);
		next += CLUSTER;
	}
	memcpy(page, l1, CLUSTER);
	put_image(fd, 1 | 4);
}

/* What is below; and free space is not zero, so that new clusters have to be filled. */
static void make_devices(void)
{
	int layer_fd = open(layer, O_RDWR | O_DIRECT), base_fd = open(base, O_RDWR | O_DIRECT);

	lower_fd = open(lower, O_RDWR | O_DIRECT);
	if (lower_fd < 0 || layer_fd < 0 || base_fd < 0)
		die("a device");
	fill(lower_fd, 2 * CLUSTER, LOWER, 0xa5);
	fill(base_fd, 0, GUEST, NOTHING_ABOVE);
	make_layer(layer_fd);
	close(layer_fd);
	close(base_fd);
}

static void wrong(const char *step, unsigned int nth, const char *what)
{
	defects++;
	printf("#   %s, allocation %u: %s: %m\n", step, nth, what);
}

/* A life, with a fault in one step. Returns whether it has come. */
static bool live(unsigned int faulty, unsigned int nth, unsigned int *failed)
{
	bool came = false;
	unsigned int i;

	make_image();
	for (i = 0; i < ARRAY_SIZE(steps); i++) {
		bool ok;

		if (i == faulty)
			fail_nth(nth);
		ok = steps[i].run();
		if (i == faulty) {
			came = nth && !is_pending();
			fail_nth(0);
		}
		if (ok)
			continue;
		if (i == faulty && came)
			++*failed;
		else
			wrong(steps[i].name, nth, "failed without a reason");
		if (!steps[i].run())
			wrong(steps[i].name, nth, "failed again");
		/* a thousand times, nearly; that it can be used is soon seen */
		if (i == 0 && faulty == 0 && nth % 8)
			return remove_device();
	}
	if (pread(lower_fd, page, CLUSTER, 0) != CLUSTER)
		die(lower);
	if (page[16])
		wrong(steps[faulty].name, nth, "the image is not clean");
	return came;
}

/* Each allocation of each step */
static void sweep(void)
{
	static unsigned int nr;
	unsigned int i, before;

	for (i = 0; i < ARRAY_SIZE(steps); i++) {
		/* what has been tried each: to activate, before the first use */
		unsigned int stride = steps[i].run == resume && i > 1 ? 16 : 1;
		unsigned int nth, tried = 0, failed = 0;

		if (steps[i].run == construct)
			continue;	/* was the first step */
		before = defects;
		for (nth = 1; live(i, nth, &failed); nth += stride, tried++)
			if (nth > MAX_NTH)
				wrong(steps[i].name, nth, "no end"), exit(1);
		printf("%sok %u %s%s: %u allocations fail, %u of them let it fail\n",
		       defects > before ? "not " : "", ++nr, backed ? "over images: " : "",
		       steps[i].name, tried, failed);
	}
	if (backed)
		printf("1..%u\n", nr);
}

int main(int argc, char **argv)
{
	unsigned int failed;

	if (argc != 4 && argc != 7) {
		fprintf(stderr, "usage: memory DEVICE LAYER BASE [IMAGE STEP N]\n");
		return 2;
	}
	lower = argv[1];
	layer = argv[2];
	base = argv[3];
	mapper_init();
	if (posix_memalign((void **)&page, 4096, CLUSTER) ||
	    posix_memalign((void **)&buffer, 4096, 65536))
		die("memory");
	nth_fd = open("/proc/thread-self/fail-nth", O_RDWR);
	if (nth_fd < 0)
		die("/proc/thread-self/fail-nth");
	setvbuf(stdout, NULL, _IOLBF, 0);
	make_devices();
	if (argc == 7) {
		backed = atoi(argv[4]);
		live(0, 0, &failed);
		live(atoi(argv[5]), atoi(argv[6]), &failed);
		return !!defects;
	}
	do {
		/* without any fault, and all of this program's pages are there */
		live(0, 0, &failed);
		sweep();
		backed = !backed;
	} while (backed);
	return !!defects;
}
