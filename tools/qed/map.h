/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A bitmap: a bit for each cluster of an image.
 */

#ifndef QED_MAP_H
#define QED_MAP_H

#include "common.h"
#include "hash.h"

#define QED_WORD_BITS	64U

/* Up to so many bits are in one piece of memory: 512 MiB */
#define QED_MAX_FLAT_BITS	4294967296ULL

/**
 * struct qed_map - a bitmap
 * @flat: the words of the first bits, in one piece, not used before they are
 *	touched; or NULL
 * @nr_flat: number of these
 * @others: all other words that are not zero, by their number and 1
 * @sorted: the keys of @others in order, if there are as many as in @others
 * @nr_sorted: number of these
 *
 * Bits that were never set read as 0, whatever their number is. Words in @others
 * take 22 to 43 bytes each.
 */
struct qed_map {
	u64 *flat;
	u64 nr_flat;
	struct qed_hash others;
	u64 *sorted;
	u64 nr_sorted;
};

/**
 * qed_map_init() - make an empty map that is fast
 * @map: the map
 * @bits: number of bits that will be used, to put them into one piece of memory;
 *	without effect if there are too many
 *
 * Nothing has to be done for a map that will have few bits: all zero is an empty
 * one.
 */
void qed_map_init(struct qed_map *map, u64 bits);

/* Give the memory back. An empty map is left. */
void qed_map_free(struct qed_map *map);

/* Clear all bits. */
void qed_map_clear(struct qed_map *map);

/* The word of a bit if it is one of those in one piece, else NULL */
static inline u64 *qed_map_flat_word(const struct qed_map *map, u64 bit)
{
	return bit / QED_WORD_BITS < map->nr_flat ? &map->flat[bit / QED_WORD_BITS] : NULL;
}

/* qed_map_claim() for a word that is not flat */
int qed_map_claim_other(struct qed_map *map, u64 word, u64 mask);

/**
 * qed_map_claim() - set bits of a word
 * @map: the map
 * @word: number of the word
 * @mask: its bits
 *
 * Any number of threads may call this at a time.
 * Return: 1 if none of them was set, 0 if one was, -ENOMEM
 */
static inline int qed_map_claim(struct qed_map *map, u64 word, u64 mask)
{
	if (word >= map->nr_flat)
		return qed_map_claim_other(map, word, mask);
	return !(__atomic_fetch_or(&map->flat[word], mask, __ATOMIC_RELAXED) & mask);
}

/* Is the bit set? */
bool qed_map_test(const struct qed_map *map, u64 bit);

/* Set @nr bits. -ENOMEM */
int qed_map_set(struct qed_map *map, u64 bit, u64 nr);

/* Set the bits that are set in @from. -ENOMEM */
int qed_map_or(struct qed_map *map, const struct qed_map *from);

/* The first bit from @bit on, and before @end, that has this value; or @end. */
u64 qed_map_next(const struct qed_map *map, u64 bit, u64 end, bool value);

/* One more than the last bit before @end that is set; 0 if there is none. */
u64 qed_map_last(const struct qed_map *map, u64 end);

/* One more than the last bit that is set; 0 if there is none. */
u64 qed_map_end(const struct qed_map *map);

/* Number of bits that are set. */
u64 qed_map_weight(const struct qed_map *map);

#endif /* QED_MAP_H */
