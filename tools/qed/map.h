/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A sparse bitmap: a bit for each cluster of an image.
 */

#ifndef QED_MAP_H
#define QED_MAP_H

#include "common.h"

/* Bits are in leaves of 4 KiB, which exist only where a bit was set. */
#define QED_LEAF_SHIFT	15
#define QED_LEAF_BITS	32768U
#define QED_LEAF_WORDS	(QED_LEAF_BITS / 64)
#define QED_NODE_SHIFT	10
#define QED_NODE_LEAVES	1024U

struct qed_leaf {
	u64 words[QED_LEAF_WORDS];
};

struct qed_node {
	struct qed_leaf *leaves[QED_NODE_LEAVES];
};

/* Up to so many bits are in one piece of memory: 64 MiB */
#define QED_MAX_FLAT_BITS	536870912ULL

/**
 * struct qed_map - a sparse bitmap
 * @flat: the leaves of the first bits, in one piece, not used before they are
 *	touched; or NULL
 * @nr_flat: number of these
 * @nodes: the first level for all others, NULL where nothing is set
 * @nr_nodes: number of these
 *
 * Bits that were never set read as 0, also those behind the last node.
 */
struct qed_map {
	struct qed_leaf *flat;
	u64 nr_flat;
	struct qed_node **nodes;
	u64 nr_nodes;
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

/* Make room for @bits bits. Not while other threads use the map. -ENOMEM */
int qed_map_grow(struct qed_map *map, u64 bits);

/**
 * qed_map_leaf() - the leaf of a bit, made if there is none
 * @map: the map
 * @bit: within the size of the map
 *
 * Any number of threads may call this at a time.
 * Return: the leaf, or NULL if there is no memory.
 */
struct qed_leaf *qed_map_leaf(struct qed_map *map, u64 bit);

/* Is the bit set? */
bool qed_map_test(const struct qed_map *map, u64 bit);

/* Set @nr bits. The map grows as needed. -ENOMEM */
int qed_map_set(struct qed_map *map, u64 bit, u64 nr);

/* Set the bits that are set in @from. -ENOMEM */
int qed_map_or(struct qed_map *map, const struct qed_map *from);

/* The first bit from @bit on, and before @end, that has this value; or @end. */
u64 qed_map_next(const struct qed_map *map, u64 bit, u64 end, bool value);

/* One more than the last bit that is set; 0 if there is none. */
u64 qed_map_end(const struct qed_map *map);

/* Number of bits that are set. */
u64 qed_map_weight(const struct qed_map *map);

#endif /* QED_MAP_H */
