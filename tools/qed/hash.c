// SPDX-License-Identifier: GPL-2.0-only
/*
 * Hash tables, see hash.h: open addressing, with a function that depends on random
 * bytes of this process.
 */

#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>

#include "hash.h"

#define FIRST_SLOTS	64U

void qed_hash_free(struct qed_hash *hash)
{
	free(hash->slots);
	memset(hash, 0, sizeof(*hash));
}

static u64 mix(u64 key)
{
	u64 seed[2];

	/* the kernel gives each process 16 random bytes */
	memcpy(seed, (const void *)getauxval(AT_RANDOM), sizeof(seed));
	key = (key ^ seed[0]) * 0x9e3779b97f4a7c15ULL;
	key ^= key >> 32;
	key = (key ^ seed[1]) * 0xd6e8feb86659fd93ULL;
	return key ^ key >> 32;
}

static u64 *slot_at(const struct qed_hash *hash, u64 i)
{
	return (u64 *)(hash->slots + i * hash->slot_size);
}

/* The slot of a key, or the free one where it would be */
static u64 *find_slot(const struct qed_hash *hash, u64 key)
{
	u64 i = mix(key), *slot;

	for (;; i++) {
		slot = slot_at(hash, i & (hash->nr_slots - 1));
		if (!*slot || *slot == key)
			return slot;
	}
}

void *qed_hash_find(const struct qed_hash *hash, u64 key)
{
	u64 *slot;

	if (!hash->nr)
		return NULL;
	slot = find_slot(hash, key);
	return *slot ? slot : NULL;
}

static bool grow(struct qed_hash *hash)
{
	struct qed_hash new = {
		.slot_size = hash->slot_size,
		.nr_slots = hash->nr_slots ? hash->nr_slots * 2 : FIRST_SLOTS,
		.nr = hash->nr,
	};
	const u64 *slot = NULL;

	new.slots = calloc(new.nr_slots, new.slot_size);
	if (!new.slots)
		return false;
	while ((slot = qed_hash_next(hash, slot)))
		memcpy(find_slot(&new, *slot), slot, hash->slot_size);
	free(hash->slots);
	*hash = new;
	return true;
}

void *qed_hash_add(struct qed_hash *hash, u64 key, size_t slot_size)
{
	u64 *slot;

	hash->slot_size = slot_size;
	/* at most three of four are in use, so that searches are short */
	if (hash->nr >= hash->nr_slots / 4 * 3 && !grow(hash))
		return NULL;
	slot = find_slot(hash, key);
	if (!*slot) {
		*slot = key;
		hash->nr++;
	}
	return slot;
}

void *qed_hash_next(const struct qed_hash *hash, const void *slot)
{
	u64 i = slot ? ((const char *)slot - hash->slots) / hash->slot_size + 1 : 0;

	for (; i < hash->nr_slots; i++)
		if (*slot_at(hash, i))
			return slot_at(hash, i);
	return NULL;
}
