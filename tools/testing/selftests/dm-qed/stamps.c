// SPDX-License-Identifier: GPL-2.0
/*
 * stamps - writes of which all know which came before which
 *
 * Usage: stamps write LOG DEVICE...	one write after the other, each on the next device,
 *					until SIGTERM
 *	  stamps count LOG		how many of them are complete
 *	  stamps longest LOG		what the longest of them took, in us; and forget it
 *	  stamps check LEAST MOST DEVICE...
 *					what is on all devices together has to be the first so
 *					many of them, within these limits; prints how many
 *
 * Each write is a block with its number, from 1. They go through SLOTS blocks of a device again and
 * again, not in their order, so that all of what is there tells which was the last one. Some
 * of them are followed by a flush. Files do as devices for a check.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define BLOCK		4096
#define SLOTS		512
#define STRIDE		139	/* has no divisor in common with SLOTS */
#define FLUSH_EACH	32
#define MAX_DEVICES	8

/* Shared with whoever looks */
struct log {
	atomic_ullong complete, longest;
};

static atomic_bool stop;

static void fatal(const char *what)
{
	fprintf(stderr, "stamps: %s: %s\n", what, strerror(errno));
	exit(2);
}

static struct log *open_log(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT, 0600);
	struct log *log;

	if (fd < 0 || ftruncate(fd, sizeof(*log)))
		fatal(path);
	log = mmap(NULL, sizeof(*log), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (log == MAP_FAILED)
		fatal(path);
	close(fd);
	return log;
}

static int open_devices(int *fds, char **paths, int nr, int flags)
{
	int i;

	if (nr < 1 || nr > MAX_DEVICES)
		return -1;
	for (i = 0; i < nr; i++) {
		fds[i] = open(paths[i], flags);
		if (fds[i] < 0)
			fatal(paths[i]);
	}
	return nr;
}

/* Where write @number of a device goes, both counted from 0 */
static off_t place(unsigned long long number)
{
	return number % SLOTS * STRIDE % SLOTS * BLOCK;
}

/*
 * Writing
 */

static void end(int signal)
{
	(void)signal;
	stop = true;
}

static unsigned long long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000ULL + time.tv_nsec / 1000;
}

static void put(int fd, unsigned long long *block, unsigned long long number, int nr)
{
	unsigned int i;

	for (i = 0; i < BLOCK / sizeof(*block); i++)
		block[i] = number;
	if (pwrite(fd, block, BLOCK, place((number - 1) / nr)) != BLOCK)
		fatal("write");
	if (!(number % FLUSH_EACH) && fdatasync(fd))
		fatal("flush");
}

static int write_stamps(struct log *log, const int *fds, int nr)
{
	unsigned long long number, began, took, *block;

	if (posix_memalign((void **)&block, BLOCK, BLOCK))
		fatal("memory");
	signal(SIGTERM, end);
	for (number = log->complete + 1; !stop; number++) {
		began = now();
		put(fds[(number - 1) % nr], block, number, nr);
		took = now() - began;
		log->complete = number;
		if (took > log->longest)
			log->longest = took;
	}
	return 0;
}

/*
 * Checking
 */

static unsigned long long *read_slots(int fd)
{
	unsigned long long *slots;

	if (posix_memalign((void **)&slots, BLOCK, SLOTS * BLOCK))
		fatal("memory");
	if (pread(fd, slots, SLOTS * BLOCK, 0) != SLOTS * BLOCK)
		fatal("read");
	return slots;
}

/* The number of writes to a device that there were if it has had those up to @last of all */
static unsigned long long writes_of(int device, unsigned long long last, int nr)
{
	return last > (unsigned int)device ? (last - 1 - device) / nr + 1 : 0;
}

/* What write of all is the last one in a slot? 0: none */
static unsigned long long expected(unsigned int slot, int device, unsigned long long last, int nr)
{
	unsigned long long writes = writes_of(device, last, nr), back;

	for (back = 0; back < SLOTS && back < writes; back++)
		if (place(writes - 1 - back) == (off_t)slot * BLOCK)
			return (writes - 1 - back) * nr + device + 1;
	return 0;
}

static bool is_block(const unsigned long long *block, unsigned long long number)
{
	unsigned int i;

	for (i = 0; i < BLOCK / sizeof(*block); i++)
		if (block[i] != number)
			return false;
	return true;
}

static int check_device(const unsigned long long *slots, int device, unsigned long long last,
			int nr)
{
	unsigned long long number;
	unsigned int slot;

	for (slot = 0; slot < SLOTS; slot++) {
		number = expected(slot, device, last, nr);
		if (is_block(slots + slot * (BLOCK / sizeof(*slots)), number))
			continue;
		fprintf(stderr, "stamps: device %d, block %u: %llu, expected %llu of %llu\n",
			device, slot, slots[slot * (BLOCK / sizeof(*slots))], number, last);
		return 1;
	}
	return 0;
}

static unsigned long long last_of(const unsigned long long *slots)
{
	unsigned long long last = 0;
	unsigned int slot;

	for (slot = 0; slot < SLOTS; slot++)
		if (slots[slot * (BLOCK / sizeof(*slots))] > last)
			last = slots[slot * (BLOCK / sizeof(*slots))];
	return last;
}

static int check(const int *fds, int nr, unsigned long long least, unsigned long long most)
{
	unsigned long long *slots[MAX_DEVICES], last = 0;
	int i, r = 0;

	for (i = 0; i < nr; i++) {
		slots[i] = read_slots(fds[i]);
		if (last_of(slots[i]) > last)
			last = last_of(slots[i]);
	}
	for (i = 0; i < nr; i++)
		r |= check_device(slots[i], i, last, nr);
	printf("%llu\n", last);
	if (!r && last >= least && last <= most)
		return 0;
	fprintf(stderr, "stamps: %llu, expected %llu to %llu\n", last, least, most);
	return 1;
}

int main(int argc, char **argv)
{
	const char *verb = argc > 2 ? argv[1] : "";
	int fds[MAX_DEVICES], nr;

	if (!strcmp(verb, "count") || !strcmp(verb, "longest")) {
		struct log *log = open_log(argv[2]);

		printf("%llu\n", *verb == 'c' ? log->complete : atomic_exchange(&log->longest, 0));
		return 0;
	}
	if (!strcmp(verb, "write")) {
		nr = open_devices(fds, argv + 3, argc - 3, O_WRONLY | O_DIRECT);
		if (nr > 0)
			return write_stamps(open_log(argv[2]), fds, nr);
	}
	if (!strcmp(verb, "check") && argc > 4) {
		nr = open_devices(fds, argv + 4, argc - 4, O_RDONLY);
		if (nr > 0)
			return check(fds, nr, strtoull(argv[2], NULL, 10),
				     strtoull(argv[3], NULL, 10));
	}
	fprintf(stderr, "Usage: stamps write|count|longest|check ..., see its source\n");
	return 2;
}
