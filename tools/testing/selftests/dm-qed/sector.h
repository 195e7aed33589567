/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the hammer writes into a sector, and random numbers.
 */

#ifndef DM_QED_SECTOR_H
#define DM_QED_SECTOR_H

#include <linux/types.h>
#include <stdbool.h>

#define SECTOR		512
#define WORDS		(SECTOR / sizeof(__u64))

/* The words at the start of a sector, the rest follows from them. */
enum { WORD_SECTOR, WORD_VERSION, WORD_SEED, NR_STAMP_WORDS };

static inline __u64 mix(__u64 x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

static inline __u64 next_random(__u64 *state)
{
	*state += 0x9e3779b97f4a7c15ULL;
	return mix(*state);
}

static inline __u64 below(__u64 *state, __u64 limit)
{
	return next_random(state) % limit;
}

static inline bool chance(__u64 *state, unsigned int percent)
{
	return below(state, 100) < percent;
}

static inline void fill_sector(__u64 *words, __u64 sector, __u32 version,
			       __u64 seed)
{
	__u64 key = mix(sector ^ seed) + version;
	unsigned int i;

	words[WORD_SECTOR] = sector;
	words[WORD_VERSION] = version;
	words[WORD_SEED] = seed;
	for (i = NR_STAMP_WORDS; i < WORDS; i++)
		words[i] = key * (i | 1);
}

static inline bool is_zero(const __u64 *words)
{
	unsigned int i;

	for (i = 0; i < WORDS; i++)
		if (words[i])
			return false;
	return true;
}

#endif /* DM_QED_SECTOR_H */
