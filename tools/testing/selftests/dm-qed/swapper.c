// SPDX-License-Identifier: GPL-2.0
/*
 * Uses more memory than there is, and looks whether it stays what it was.
 *
 * Usage: swapper LOCKED SWAPPED SECONDS THREADS
 *
 * LOCKED MiB are kept from being swapped out, so that the rest is short. As much is
 * used besides as it takes to have SWAPPED pages swapped out, whatever the kernel had
 * in reserve. Threads use it for so many seconds: each page has its number and a
 * version, pages are read and written at random, and all are read at the end.
 *
 * Exit status: 0 all right, 1 wrong memory, 2 trouble.
 */

#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <time.h>

#define PAGE		4096
#define WORDS		(PAGE / sizeof(uint64_t))
#define MIB		1048576UL

struct worker {
	pthread_t thread;
	uint64_t first, nr;		/* pages */
	uint64_t rng;
	uint32_t *versions;
	unsigned long touched;
};

static uint64_t *memory;
static time_t end;
static atomic_int errors;

/* No limit: what the kernel does not have is the business of the test */
#define MOST		(16UL << 30)
/* Pages from one look at the use of swap space to the next */
#define STEP		256

static void *map(size_t size, int flags)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);

	if (p == MAP_FAILED) {
		perror("swapper: mmap");
		exit(2);
	}
	return p;
}

/* Words at the begin, in the middle and at the end of a page */
static void fill(uint64_t page, uint32_t version)
{
	uint64_t *p = memory + page * WORDS, value = page << 32 | version;

	p[0] = value;
	p[WORDS / 2] = ~value;
	p[WORDS - 1] = value;
}

static void check(uint64_t page, uint32_t version)
{
	uint64_t *p = memory + page * WORDS, value = page << 32 | version;

	if (p[0] == value && p[WORDS / 2] == ~value && p[WORDS - 1] == value)
		return;
	if (atomic_fetch_add(&errors, 1) < 10)
		fprintf(stderr, "swapper: page %ju has %jx, not %jx\n",
			(uintmax_t)page, (uintmax_t)p[0], (uintmax_t)value);
}

static uint64_t next(uint64_t *rng)
{
	*rng ^= *rng << 13;
	*rng ^= *rng >> 7;
	*rng ^= *rng << 17;
	return *rng;
}

/* Pages of swap space that are in use */
static unsigned long swapped(void)
{
	struct sysinfo info;

	if (sysinfo(&info)) {
		perror("swapper: sysinfo");
		exit(2);
	}
	return (info.totalswap - info.freeswap) * info.mem_unit / PAGE;
}

/* Use memory until so many pages were swapped out; returns how many are used */
static uint64_t press(unsigned long wanted)
{
	unsigned long before = swapped();
	uint64_t nr = 0, i;

	while (swapped() - before < wanted && nr < MOST / PAGE) {
		for (i = 0; i < STEP; i++)
			fill(nr + i, 0);
		nr += STEP;
	}
	return nr;
}

static void *work(void *data)
{
	struct worker *w = data;
	uint64_t i;

	while (time(NULL) < end) {
		i = next(&w->rng) % w->nr;
		check(w->first + i, w->versions[i]);
		if (w->rng & 1 << 20)
			fill(w->first + i, ++w->versions[i]);
		w->touched++;
	}
	for (i = 0; i < w->nr; i++)
		check(w->first + i, w->versions[i]);
	return NULL;
}

int main(int argc, char **argv)
{
	unsigned int threads, i;
	struct worker *workers;
	size_t locked;
	uint64_t nr;
	unsigned long touched = 0;

	if (argc != 5) {
		fprintf(stderr, "usage: swapper LOCKED SWAPPED SECONDS THREADS\n");
		return 2;
	}
	locked = atol(argv[1]) * MIB;
	threads = atoi(argv[4]);
	if (locked && mlock(map(locked, 0), locked)) {
		perror("swapper: mlock");
		return 2;
	}
	memory = map(MOST, MAP_NORESERVE);
	nr = press(atol(argv[2]));
	workers = calloc(threads, sizeof(*workers));
	end = time(NULL) + atol(argv[3]);
	for (i = 0; i < threads; i++) {
		struct worker *w = &workers[i];

		w->nr = nr / threads;
		w->first = i * w->nr;
		w->rng = 88172645463325252ULL + i;
		w->versions = calloc(w->nr, sizeof(*w->versions));
		if (pthread_create(&w->thread, NULL, work, w))
			return 2;
	}
	for (i = 0; i < threads; i++) {
		pthread_join(workers[i].thread, NULL);
		touched += workers[i].touched;
	}
	printf("%ju MiB used, %lu pages touched, %d wrong\n", (uintmax_t)(nr * PAGE / MIB),
	       touched, errors);
	return !!errors;
}
