// SPDX-License-Identifier: GPL-2.0-only
/*
 * tsc-khz - print the rate of this machine's time stamp counter
 */

#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <x86intrin.h>

#define TRIES	100

struct sample {
	uint64_t tsc;
	int64_t ns;
};

/* The one of several that was taken fastest */
static struct sample take_sample(void)
{
	uint64_t shortest = UINT64_MAX;
	struct sample best = { 0 };
	int i;

	for (i = 0; i < TRIES; i++) {
		struct timespec now;
		uint64_t before, after;

		before = __rdtsc();
		clock_gettime(CLOCK_MONOTONIC_RAW, &now);
		after = __rdtsc();
		if (after - before >= shortest)
			continue;
		shortest = after - before;
		best.tsc = before + shortest / 2;
		best.ns = now.tv_sec * 1000000000LL + now.tv_nsec;
	}
	return best;
}

int main(void)
{
	const struct timespec while_ticking = { .tv_nsec = 20000000 };
	struct sample from = take_sample(), to;

	nanosleep(&while_ticking, NULL);
	to = take_sample();
	printf("%ju\n",
	       (to.tsc - from.tsc) * 1000000 / (uint64_t)(to.ns - from.ns));
	return 0;
}
