// SPDX-License-Identifier: GPL-2.0-only
/*
 * Where a range of the guest is: see qed_meta_lookup() in dm-qed-meta.h. Takes no lock,
 * and does not sleep.
 */

#include <linux/rcupdate.h>

#include "dm-qed-meta-priv.h"

/* Without a cached block only the L1 can tell; up to the end of the block. */
static enum qed_extent_kind lookup_l1(struct qed_meta *meta, u64 cluster,
				      unsigned int offset, unsigned int nr,
				      struct qed_extent *ext)
{
	u64 entry = l1_entry(meta, cluster >> meta->geo.table_shift);
	u64 left = QED_BLOCK_ENTRIES - cluster % QED_BLOCK_ENTRIES;

	ext->nr = min_t(u64, nr, left * cluster_sectors(meta) - offset);
	if (entry == QED_ENTRY_UNALLOCATED)
		return QED_EXTENT_HOLE;
	return entry == QED_ENTRY_BAD ? QED_EXTENT_BAD : QED_EXTENT_UNCACHED;
}

/* Does an extent without data, of this kind, go on with the entry? */
static bool goes_on(struct qed_meta *meta, enum qed_extent_kind kind, u64 entry)
{
	if (entry_kind(entry) == kind)
		return true;
	/* With nothing below there is no difference. */
	return !meta->geo.backed && entry < QED_ENTRY_BAD &&
	       kind != QED_EXTENT_BAD;
}

/*
 * How many clusters after the one at @i, which has @entry, go on in the same way? A
 * data extent ends where its clusters stop being adjacent, and goes on in the next
 * block. No entry is read twice: it may change at any time. Not inline, for the sake of
 * bios within a cluster.
 */
static noinline unsigned int run_length(struct qed_meta *meta,
					struct qed_block *block, unsigned int i,
					u64 entry, unsigned int max)
{
	enum qed_extent_kind kind = entry_kind(entry);
	u64 step = 0, next;
	unsigned int n;

	if (kind == QED_EXTENT_DATA)
		step = 1ULL << meta->geo.cluster_shift;
	for (n = 0; n < max; n++) {
		if (++i == QED_BLOCK_ENTRIES) {
			if (!step)
				break;
			block = qed_cache_find(&meta->cache, block->nr + 1);
			if (!block)
				break;
			i = 0;
		}
		next = qed_entry_read(block, i);
		entry += step;
		if (step ? next != entry : !goes_on(meta, kind, next))
			break;
	}
	return n;
}

/* The extent at @offset of a cluster that has @entry, @i in its block. */
static __always_inline void fill_extent(struct qed_meta *meta,
					struct qed_block *block, unsigned int i,
					u64 entry, unsigned int offset,
					unsigned int nr, struct qed_extent *ext)
{
	unsigned int bits = meta->geo.cluster_shift - SECTOR_SHIFT;

	ext->bdev = meta->bdev;
	ext->sector = (entry >> SECTOR_SHIFT) + offset;
	ext->nr = nr;
	if (offset + nr > 1U << bits) {
		u64 max = (offset + nr - 1) >> bits;
		u64 run = run_length(meta, block, i, entry, max);

		ext->nr = min_t(u64, nr, ((run + 1) << bits) - offset);
	}
}

/* Caller is in an RCU read side section. */
static __always_inline enum qed_extent_kind find_extent(struct qed_meta *meta,
							sector_t sector,
							unsigned int nr,
							struct qed_extent *ext)
{
	unsigned int bits = meta->geo.cluster_shift - SECTOR_SHIFT;
	unsigned int offset = sector & ((1U << bits) - 1), i;
	u64 cluster = sector >> bits, entry;
	struct qed_block *block;

	block = qed_cache_find(&meta->cache, cluster >> QED_BLOCK_BITS);
	if (unlikely(!block))
		return lookup_l1(meta, cluster, offset, nr, ext);
	i = cluster % QED_BLOCK_ENTRIES;
	entry = qed_entry_read(block, i);
	fill_extent(meta, block, i, entry, offset, nr, ext);
	return entry_kind(entry);
}

/*
 * The hold comes before the search for the block. Whatever is found afterwards, even in
 * a block that has just been evicted, was not freed before, and is not as long as the
 * hold lasts.
 */
enum qed_extent_kind qed_meta_lookup(struct qed_meta *meta, sector_t sector,
				     unsigned int nr, struct qed_extent *ext)
{
	enum qed_extent_kind kind;

	rcu_read_lock();
	ext->hold = qed_inflight_get(&meta->reclaim);
	kind = find_extent(meta, sector, nr, ext);
	if (kind != QED_EXTENT_DATA) {
		qed_meta_release(ext->hold);
		ext->hold = NULL;
	}
	rcu_read_unlock();
	return kind;
}

enum qed_extent_kind qed_meta_lookup_readonly(struct qed_meta *meta, sector_t sector,
					      unsigned int nr, struct qed_extent *ext)
{
	enum qed_extent_kind kind;

	ext->hold = NULL;
	rcu_read_lock();
	kind = find_extent(meta, sector, nr, ext);
	rcu_read_unlock();
	return kind;
}

bool qed_meta_is_durable(struct qed_meta *meta)
{
	return READ_ONCE(meta->txn) == QED_TXN_DURABLE;
}
