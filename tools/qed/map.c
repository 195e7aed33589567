// SPDX-License-Identifier: GPL-2.0-only
/*
 * A sparse bitmap, see map.h.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "map.h"

/* More would be more than 64 bits can address */
#define MAX_NODES	0x10000000000ULL

/* Flat maps of this size and more use huge pages: bits are set in random order */
#define HUGE_SIZE	2097152UL

static u64 flat_size(const struct qed_map *map)
{
	return map->nr_flat * sizeof(struct qed_leaf);
}

static void free_flat(struct qed_map *map)
{
	if (flat_size(map) < HUGE_SIZE)
		free(map->flat);
	else
		munmap(map->flat, flat_size(map));
	map->flat = NULL;
	map->nr_flat = 0;
}

static void alloc_flat(struct qed_map *map)
{
	u64 size = flat_size(map);
	char *p, *aligned;

	if (size < HUGE_SIZE) {
		map->flat = calloc(map->nr_flat, sizeof(struct qed_leaf));
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
	map->flat = (struct qed_leaf *)aligned;
}

void qed_map_init(struct qed_map *map, u64 bits)
{
	memset(map, 0, sizeof(*map));
	if (!bits || bits > QED_MAX_FLAT_BITS)
		return;
	map->nr_flat = (bits - 1) / QED_LEAF_BITS + 1;
	alloc_flat(map);
	if (!map->flat)
		map->nr_flat = 0;
}

void qed_map_clear(struct qed_map *map)
{
	u64 i, j;

	if (map->flat && (flat_size(map) < HUGE_SIZE ||
			  madvise(map->flat, flat_size(map), MADV_DONTNEED)))
		memset(map->flat, 0, flat_size(map));

	for (i = 0; i < map->nr_nodes; i++) {
		if (!map->nodes[i])
			continue;
		for (j = 0; j < QED_NODE_LEAVES; j++)
			if (map->nodes[i]->leaves[j])
				free(map->nodes[i]->leaves[j]);
		free(map->nodes[i]);
		map->nodes[i] = NULL;
	}
}

void qed_map_free(struct qed_map *map)
{
	qed_map_clear(map);
	free_flat(map);
	free(map->nodes);
	memset(map, 0, sizeof(*map));
}

int qed_map_grow(struct qed_map *map, u64 bits)
{
	u64 nr = (bits >> (QED_LEAF_SHIFT + QED_NODE_SHIFT)) + 1;
	struct qed_node **nodes;

	if (nr <= map->nr_nodes || bits <= map->nr_flat << QED_LEAF_SHIFT)
		return 0;
	if (nr > MAX_NODES)
		return -ENOMEM;
	/* calloc() leaves large memory untouched, realloc() would not */
	nodes = calloc(nr, sizeof(*nodes));
	if (!nodes)
		return -ENOMEM;
	if (map->nr_nodes)
		memcpy(nodes, map->nodes, map->nr_nodes * sizeof(*nodes));
	free(map->nodes);
	map->nodes = nodes;
	map->nr_nodes = nr;
	return 0;
}

/* Put a new zeroed piece of @size at @slot unless another thread was faster */
static void *fill_slot(void **slot, size_t size)
{
	void *new = calloc(1, size), *old = NULL;

	if (!new)
		return NULL;
	if (__atomic_compare_exchange_n(slot, &old, new, false,
					__ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		return new;
	free(new);
	return old;
}

struct qed_leaf *qed_map_leaf(struct qed_map *map, u64 bit)
{
	u64 leaf_nr = bit >> QED_LEAF_SHIFT;
	struct qed_leaf **leaf_slot, *leaf;
	struct qed_node **node_slot, *node;

	if (leaf_nr < map->nr_flat)
		return &map->flat[leaf_nr];
	node_slot = &map->nodes[leaf_nr >> QED_NODE_SHIFT];
	node = __atomic_load_n(node_slot, __ATOMIC_ACQUIRE);
	if (!node) {
		node = fill_slot((void **)node_slot, sizeof(*node));
		if (!node)
			return NULL;
	}
	leaf_slot = &node->leaves[leaf_nr % QED_NODE_LEAVES];
	leaf = __atomic_load_n(leaf_slot, __ATOMIC_ACQUIRE);
	if (!leaf)
		leaf = fill_slot((void **)leaf_slot, sizeof(*leaf));
	return leaf;
}

/* NULL if no bit of the leaf was ever set */
static struct qed_leaf *find_leaf(const struct qed_map *map, u64 bit)
{
	u64 leaf_nr = bit >> QED_LEAF_SHIFT;
	u64 node_nr = leaf_nr >> QED_NODE_SHIFT;

	if (leaf_nr < map->nr_flat)
		return &map->flat[leaf_nr];
	if (node_nr >= map->nr_nodes || !map->nodes[node_nr])
		return NULL;
	return map->nodes[node_nr]->leaves[leaf_nr % QED_NODE_LEAVES];
}

bool qed_map_test(const struct qed_map *map, u64 bit)
{
	struct qed_leaf *leaf = find_leaf(map, bit);

	bit %= QED_LEAF_BITS;
	return leaf && leaf->words[bit / 64] >> bit % 64 & 1;
}

int qed_map_set(struct qed_map *map, u64 bit, u64 nr)
{
	struct qed_leaf *leaf;
	u64 end = bit + nr;
	int r;

	if (!nr)
		return 0;
	r = qed_map_grow(map, end);
	if (r)
		return r;
	for (; bit < end; bit++) {
		leaf = qed_map_leaf(map, bit);
		if (!leaf)
			return -ENOMEM;
		leaf->words[bit % QED_LEAF_BITS / 64] |= 1ULL << bit % 64;
	}
	return 0;
}

/* The first leaf from number @nr on; *@nr becomes its number. NULL at the end */
static struct qed_leaf *next_leaf(const struct qed_map *map, u64 *nr)
{
	u64 node_nr;

	if (*nr < map->nr_flat)
		return &map->flat[*nr];
	while ((node_nr = *nr >> QED_NODE_SHIFT) < map->nr_nodes) {
		struct qed_node *node = map->nodes[node_nr];

		if (!node) {
			*nr = (node_nr + 1) << QED_NODE_SHIFT;
			continue;
		}
		if (node->leaves[*nr % QED_NODE_LEAVES])
			return node->leaves[*nr % QED_NODE_LEAVES];
		++*nr;
	}
	return NULL;
}

int qed_map_or(struct qed_map *map, const struct qed_map *from)
{
	struct qed_leaf *leaf, *to;
	unsigned int i;
	u64 nr;
	int r;

	r = qed_map_grow(map, qed_map_end(from));
	if (r)
		return r;
	for (nr = 0; (leaf = next_leaf(from, &nr)); nr++) {
		if (qed_map_next(from, nr << QED_LEAF_SHIFT, (nr + 1) << QED_LEAF_SHIFT, true) ==
		    (nr + 1) << QED_LEAF_SHIFT)
			continue;
		to = qed_map_leaf(map, nr << QED_LEAF_SHIFT);
		if (!to)
			return -ENOMEM;
		for (i = 0; i < QED_LEAF_WORDS; i++)
			to->words[i] |= leaf->words[i];
	}
	return 0;
}

static u64 next_set(const struct qed_map *map, u64 bit, u64 end)
{
	u64 nr = bit >> QED_LEAF_SHIFT, word, first = bit;
	struct qed_leaf *leaf;
	unsigned int i;

	for (; (leaf = next_leaf(map, &nr)); nr++) {
		if (nr << QED_LEAF_SHIFT >= end)
			break;
		first = max_u64(bit, nr << QED_LEAF_SHIFT);
		for (i = first % QED_LEAF_BITS / 64; i < QED_LEAF_WORDS; i++) {
			word = leaf->words[i] & ~0ULL << first % 64;
			first = 0;
			if (word)
				return min_u64(end, (nr << QED_LEAF_SHIFT) + i * 64ULL +
						    __builtin_ctzll(word));
		}
	}
	return end;
}

static u64 next_clear(const struct qed_map *map, u64 bit, u64 end)
{
	struct qed_leaf *leaf;
	u64 word;

	while (bit < end) {
		leaf = find_leaf(map, bit);
		if (!leaf)
			return bit;
		word = ~leaf->words[bit % QED_LEAF_BITS / 64] & ~0ULL << bit % 64;
		bit -= bit % 64;
		if (word)
			return min_u64(end, bit + __builtin_ctzll(word));
		bit += 64;
	}
	return end;
}

u64 qed_map_next(const struct qed_map *map, u64 bit, u64 end, bool value)
{
	if (bit >= end)
		return end;
	return value ? next_set(map, bit, end) : next_clear(map, bit, end);
}

static u64 leaf_end(const struct qed_leaf *leaf)
{
	int i;

	for (i = QED_LEAF_WORDS - 1; i >= 0; i--)
		if (leaf->words[i])
			return i * 64ULL + 64 - __builtin_clzll(leaf->words[i]);
	return 0;
}

u64 qed_map_end(const struct qed_map *map)
{
	u64 node_nr, leaf_nr, end;

	for (node_nr = map->nr_nodes; node_nr-- > 0;) {
		if (!map->nodes[node_nr])
			continue;
		for (leaf_nr = QED_NODE_LEAVES; leaf_nr-- > 0;) {
			struct qed_leaf *leaf = map->nodes[node_nr]->leaves[leaf_nr];

			end = leaf ? leaf_end(leaf) : 0;
			if (end)
				return (((node_nr << QED_NODE_SHIFT) + leaf_nr) <<
					QED_LEAF_SHIFT) + end;
		}
	}
	for (leaf_nr = map->nr_flat; leaf_nr-- > 0;) {
		end = leaf_end(&map->flat[leaf_nr]);
		if (end)
			return (leaf_nr << QED_LEAF_SHIFT) + end;
	}
	return 0;
}

u64 qed_map_weight(const struct qed_map *map)
{
	struct qed_leaf *leaf;
	u64 nr, weight = 0;
	unsigned int i;

	for (nr = 0; (leaf = next_leaf(map, &nr)); nr++)
		for (i = 0; i < QED_LEAF_WORDS; i++)
			weight += __builtin_popcountll(leaf->words[i]);
	return weight;
}
