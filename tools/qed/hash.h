/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Hash tables with numbers as keys, which nobody can make collide: an image may
 * have been made by somebody who tries.
 */

#ifndef QED_HASH_H
#define QED_HASH_H

#include "common.h"

/**
 * struct qed_hash - a hash table
 * @slots: the slots, each begins with its key as u64, 0: free; NULL at first
 * @slot_size: of each, in bytes
 * @nr_slots: number of them, a power of two
 * @nr: number of those in use
 *
 * All zero is an empty one. Nothing can be removed.
 */
struct qed_hash {
	char *slots;
	size_t slot_size;
	u64 nr_slots, nr;
};

/* Give the memory back. An empty table is left. */
void qed_hash_free(struct qed_hash *hash);

/* The slot of a key, or NULL. Valid until something is added. */
void *qed_hash_find(const struct qed_hash *hash, u64 key);

/**
 * qed_hash_add() - the slot of a key, added if there is none
 * @hash: the table
 * @key: not 0
 * @slot_size: of all slots of this table
 *
 * Return: the slot, all zero behind the key if it was added; NULL if there is no
 * memory.
 */
void *qed_hash_add(struct qed_hash *hash, u64 key, size_t slot_size);

/* The slot behind this one, in no order; the first one for NULL; NULL at the end. */
void *qed_hash_next(const struct qed_hash *hash, const void *slot);

#endif /* QED_HASH_H */
