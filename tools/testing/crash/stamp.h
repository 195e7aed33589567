/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the workloads write: sectors that say which they are.
 */

#ifndef CRASH_STAMP_H
#define CRASH_STAMP_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define STAMP_MAGIC	0x504d415453444551ULL	/* "QEDSTAMP" */
#define STAMP_WORDS	64

/* The version of what is below an image: as if all of it had been written first. */
#define STAMP_BASE	2

/* A sector, read as 64-bit words; the last one makes their xor zero. */
struct stamp {
	uint64_t magic;
	uint64_t sector;
	uint64_t version;
	uint64_t noise[STAMP_WORDS - 4];
	uint64_t check;
};

/* splitmix64 */
static inline uint64_t stamp_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

static inline void stamp_fill(void *data, uint64_t sector, uint64_t version)
{
	struct stamp stamp = {
		.magic = STAMP_MAGIC, .sector = sector, .version = version,
	};
	uint64_t rng = sector ^ version << 32, sum;
	unsigned int i;

	sum = stamp.magic ^ sector ^ version;
	for (i = 0; i < STAMP_WORDS - 4; i++) {
		stamp.noise[i] = stamp_random(&rng);
		sum ^= stamp.noise[i];
	}
	stamp.check = sum;
	memcpy(data, &stamp, sizeof(stamp));
}

/* Is it a whole stamp? */
static inline bool stamp_valid(const void *data)
{
	uint64_t words[STAMP_WORDS], sum = 0;
	unsigned int i;

	memcpy(words, data, sizeof(words));
	for (i = 0; i < STAMP_WORDS; i++)
		sum ^= words[i];
	return words[0] == STAMP_MAGIC && !sum;
}

#endif /* CRASH_STAMP_H */
