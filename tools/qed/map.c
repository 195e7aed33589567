// SPDX-License-Identifier: GPL-2.0-only
/*
 * A bitmap, see map.h.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "map.h"

/* Flat maps of this size and more use huge pages: bits are set in random order */
#define HUGE_SIZE	2097152UL

/* So many words are looked up one by one rather than to sort all of them */
#define FEW_WORDS	64U

struct word {
	u64 key;		/* its number and 1 */
	u64 bits;
};

/* For the words that are not in one piece */
static pthread_mutex_t others_lock = PTHREAD_MUTEX_INITIALIZER;

/*----------------------------------------------------------------
 * Memory
 *----------------------------------------------------------------
 */

static u64 flat_size(const struct qed_map *map)
{
	return map->nr_flat * sizeof(*map->flat);
}

static void alloc_flat(struct qed_map *map)
{
	u64 size = flat_size(map);
	char *p, *aligned;

	if (size < HUGE_SIZE) {
		map->flat = calloc(map->nr_flat, sizeof(*map->flat));
		return;
	}
	p = mmap(NULL, size + HUGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		 -1, 0);
	if (p == MAP_FAILED)
		return;
	/* a huge page has to be aligned, what is around is not needed */
	aligned = p + (HUGE_SIZE - (uintptr_t)p % HUGE_SIZE) % HUGE_SIZE;
	if (aligned > p)
		munmap(p, aligned - p);
	munmap(aligned + size, p + HUGE_SIZE - aligned);
	madvise(aligned, size, MADV_HUGEPAGE);
	map->flat = (u64 *)aligned;
}

void qed_map_init(struct qed_map *map, u64 bits)
{
	memset(map, 0, sizeof(*map));
	if (!bits || bits > QED_MAX_FLAT_BITS)
		return;
	/* whole pages */
	map->nr_flat = div_up(bits, 32768) * 32768 / QED_WORD_BITS;
	alloc_flat(map);
	if (!map->flat)
		map->nr_flat = 0;
}

static void free_others(struct qed_map *map)
{
	qed_hash_free(&map->others);
	free(map->sorted);
	map->sorted = NULL;
	map->nr_sorted = 0;
}

void qed_map_clear(struct qed_map *map)
{
	if (map->flat && (flat_size(map) < HUGE_SIZE ||
			  madvise(map->flat, flat_size(map), MADV_DONTNEED)))
		memset(map->flat, 0, flat_size(map));
	free_others(map);
}

void qed_map_free(struct qed_map *map)
{
	if (flat_size(map) < HUGE_SIZE)
		free(map->flat);
	else
		munmap(map->flat, flat_size(map));
	free_others(map);
	memset(map, 0, sizeof(*map));
}

/*----------------------------------------------------------------
 * Single words
 *----------------------------------------------------------------
 */

static u64 get_word(const struct qed_map *map, u64 nr)
{
	const struct word *word;

	if (nr < map->nr_flat)
		return map->flat[nr];
	word = qed_hash_find(&map->others, nr + 1);
	return word ? word->bits : 0;
}

/* Where to set bits of a word, or NULL if there is no memory */
static u64 *word_for_update(struct qed_map *map, u64 nr)
{
	struct word *word;

	if (nr < map->nr_flat)
		return &map->flat[nr];
	word = qed_hash_add(&map->others, nr + 1, sizeof(*word));
	return word ? &word->bits : NULL;
}

int qed_map_claim_other(struct qed_map *map, u64 nr, u64 mask)
{
	int r = -ENOMEM;
	u64 *bits;

	pthread_mutex_lock(&others_lock);
	bits = word_for_update(map, nr);
	if (bits) {
		r = !(*bits & mask);
		*bits |= mask;
	}
	pthread_mutex_unlock(&others_lock);
	return r;
}

bool qed_map_test(const struct qed_map *map, u64 bit)
{
	return get_word(map, bit / QED_WORD_BITS) >> bit % QED_WORD_BITS & 1;
}

int qed_map_set(struct qed_map *map, u64 bit, u64 nr)
{
	u64 end = bit + nr, next, *bits;

	for (; bit < end; bit = next) {
		bits = word_for_update(map, bit / QED_WORD_BITS);
		if (!bits)
			return -ENOMEM;
		next = min_u64(bit - bit % QED_WORD_BITS + QED_WORD_BITS, end);
		*bits |= ~0ULL >> (QED_WORD_BITS - (next - bit)) << bit % QED_WORD_BITS;
	}
	return 0;
}

int qed_map_or(struct qed_map *map, const struct qed_map *from)
{
	const struct word *word = NULL;
	u64 nr, *bits;

	for (nr = 0; nr < from->nr_flat; nr++) {
		if (!from->flat[nr])
			continue;
		bits = word_for_update(map, nr);
		if (!bits)
			return -ENOMEM;
		*bits |= from->flat[nr];
	}
	while ((word = qed_hash_next(&from->others, word))) {
		bits = word_for_update(map, word->key - 1);
		if (!bits)
			return -ENOMEM;
		*bits |= word->bits;
	}
	return 0;
}

/*----------------------------------------------------------------
 * Searches
 *----------------------------------------------------------------
 */

static int compare_keys(const void *a, const void *b)
{
	u64 first = *(const u64 *)a, second = *(const u64 *)b;

	return (first > second) - (first < second);
}

/* Have @sorted what it should? Not if there is no memory for it */
static bool sort_others(struct qed_map *map)
{
	const struct word *word = NULL;

	if (map->nr_sorted == map->others.nr)
		return true;
	free(map->sorted);
	map->nr_sorted = 0;
	map->sorted = calloc(map->others.nr, sizeof(*map->sorted));
	if (!map->sorted)
		return false;
	while ((word = qed_hash_next(&map->others, word)))
		map->sorted[map->nr_sorted++] = word->key;
	qsort(map->sorted, map->nr_sorted, sizeof(*map->sorted), compare_keys);
	return true;
}

/* The first word in @sorted from the number @nr on */
static u64 find_sorted(const struct qed_map *map, u64 nr)
{
	u64 low = 0, high = map->nr_sorted, middle;

	while (low < high) {
		middle = low + (high - low) / 2;
		if (map->sorted[middle] - 1 < nr)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Its number, or ~0 */
static u64 next_sorted(const struct qed_map *map, u64 nr)
{
	u64 i = find_sorted(map, nr);

	return i < map->nr_sorted ? map->sorted[i] - 1 : ~0ULL;
}

/* The number of the first word from @nr on, and before @end, that is not zero; or @end */
static u64 next_word(const struct qed_map *map, u64 nr, u64 end)
{
	const struct word *word = NULL;
	u64 first = end;

	for (; nr < min_u64(end, map->nr_flat); nr++)
		if (map->flat[nr])
			return nr;
	if (nr >= end || !map->others.nr)
		return end;
	if (end - nr <= FEW_WORDS) {
		while (nr < end && !get_word(map, nr))
			nr++;
		return nr;
	}
	/* a part of the map that nobody sees */
	if (sort_others((struct qed_map *)map))
		return min_u64(next_sorted(map, nr), end);
	while ((word = qed_hash_next(&map->others, word)))
		if (word->key - 1 >= nr)
			first = min_u64(first, word->key - 1);
	return first;
}

static u64 next_set(const struct qed_map *map, u64 bit, u64 end)
{
	u64 last = div_up(end, QED_WORD_BITS), nr = bit / QED_WORD_BITS, word;

	word = get_word(map, nr) & ~0ULL << bit % QED_WORD_BITS;
	if (!word) {
		nr = next_word(map, nr + 1, last);
		if (nr >= last)
			return end;
		word = get_word(map, nr);
	}
	return min_u64(end, nr * QED_WORD_BITS + __builtin_ctzll(word));
}

static u64 next_clear(const struct qed_map *map, u64 bit, u64 end)
{
	u64 word;

	while (bit < end) {
		word = ~get_word(map, bit / QED_WORD_BITS) & ~0ULL << bit % QED_WORD_BITS;
		bit -= bit % QED_WORD_BITS;
		if (word)
			return min_u64(end, bit + __builtin_ctzll(word));
		bit += QED_WORD_BITS;
	}
	return end;
}

u64 qed_map_next(const struct qed_map *map, u64 bit, u64 end, bool value)
{
	if (bit >= end)
		return end;
	return value ? next_set(map, bit, end) : next_clear(map, bit, end);
}

/* One more than the number of the last word before @end that is not zero, or 0 */
static u64 last_word(const struct qed_map *map, u64 end)
{
	const struct word *word = NULL;
	u64 nr = min_u64(end, map->nr_flat), last = 0, i;

	if (!map->others.nr) {
		;
	} else if (sort_others((struct qed_map *)map)) {
		i = find_sorted(map, end);
		last = i ? map->sorted[i - 1] : 0;
	} else {
		while ((word = qed_hash_next(&map->others, word)))
			if (word->key <= end)
				last = max_u64(last, word->key);
	}
	while (!last && nr && !map->flat[nr - 1])
		nr--;
	return last ? last : nr;
}

u64 qed_map_last(const struct qed_map *map, u64 end)
{
	u64 nr = end / QED_WORD_BITS, word;

	word = get_word(map, nr) & ~(~0ULL << end % QED_WORD_BITS);
	if (!word) {
		nr = last_word(map, nr);
		if (!nr)
			return 0;
		word = get_word(map, --nr);
	}
	return (nr + 1) * QED_WORD_BITS - __builtin_clzll(word);
}

u64 qed_map_end(const struct qed_map *map)
{
	const struct word *word = NULL;
	u64 last = 0, nr;

	while ((word = qed_hash_next(&map->others, word)))
		last = max_u64(last, word->key);
	for (nr = map->nr_flat; !last && nr-- > 0;)
		if (map->flat[nr])
			last = nr + 1;
	return last ? last * QED_WORD_BITS - __builtin_clzll(get_word(map, last - 1)) : 0;
}

u64 qed_map_weight(const struct qed_map *map)
{
	const struct word *word = NULL;
	u64 weight = 0, nr;

	for (nr = 0; nr < map->nr_flat; nr++)
		weight += __builtin_popcountll(map->flat[nr]);
	while ((word = qed_hash_next(&map->others, word)))
		weight += __builtin_popcountll(word->bits);
	return weight;
}
