// SPDX-License-Identifier: GPL-2.0-only
/*
 * L2 tables, see dm-qed-table.h and dm-qed-meta.h.
 */

#include <linux/device-mapper.h>
#include <linux/err.h>
#include <linux/mutex.h>
#include <linux/rbtree.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/wait_bit.h>

#include "dm-qed-header.h"
#include "dm-qed-sync.h"
#include "dm-qed-table.h"

#define DM_MSG_PREFIX "qed"

/* A block that is being read, on the stack of the reader */
struct qed_loading {
	struct rb_node node;
	u64 nr;
};

/*----------------------------------------------------------------
 * L2 blocks
 *----------------------------------------------------------------
 */

/* Makes entries harmless that a read-only image may have, or fails it. */
static void check_block(struct qed_meta *meta, struct qed_block *block,
			u64 table)
{
	bool known = READ_ONCE(meta->known) || !meta->space;
	u64 first = block->nr << QED_BLOCK_BITS;
	struct qed_geometry geo = meta->geo;
	bool bad = false;
	unsigned int i;

	/* Entries made since then may refer to what the device has grown by. */
	if (meta->space)
		geo.nr_clusters = qed_space_nr(meta->space);
	for (i = 0; i < QED_BLOCK_ENTRIES; i++) {
		u64 entry = qed_entry_read(block, i);
		const char *what;

		if (entry == QED_ENTRY_UNALLOCATED || entry == QED_ENTRY_ZERO)
			continue;
		what = qed_entry_defect(&geo, entry, 1);
		if (!what && !known &&
		    !qed_space_is_used(meta->space, entry >> geo.cluster_shift))
			what = "is in the range that zeroed_from or the record says is not used";
		if (!what)
			continue;
		qed_defect_l2(&meta->defects, &geo, table, first + i, entry,
			      what);
		qed_entry_write(block, i, QED_ENTRY_BAD);
		bad = true;
	}
	/* Frozen before anybody can see the block, it will not be written. */
	if (bad)
		qed_meta_fail(meta, "defective table");
}

static bool loading_before(struct rb_node *a, const struct rb_node *b)
{
	return rb_entry(a, struct qed_loading, node)->nr <
	       rb_entry(b, struct qed_loading, node)->nr;
}

/* Is a block among @nr of them from @first on? Caller holds the lock. */
static struct qed_loading *find_loading(struct qed_meta *meta, u64 first,
					u64 nr)
{
	struct rb_node *node = meta->loading.rb_node;
	struct qed_loading *loading;

	while (node) {
		loading = rb_entry(node, struct qed_loading, node);
		if (loading->nr < first)
			node = node->rb_right;
		else if (loading->nr - first >= nr)
			node = node->rb_left;
		else
			return loading;
	}
	return NULL;
}

/* Does this reader still read the block? It may be gone, and another one at it. */
static bool is_loading(struct qed_meta *meta, u64 nr,
		       const struct qed_loading *loading)
{
	bool same;

	spin_lock_irq(&meta->cache.lock);
	same = find_loading(meta, nr, 1) == loading;
	spin_unlock_irq(&meta->cache.lock);
	return same;
}

static struct qed_block *read_block(struct qed_meta *meta, u64 nr, u64 table)
{
	struct qed_block *block = qed_cache_alloc(&meta->cache);
	int r;

	block->nr = nr;
	block->sector = (table >> SECTOR_SHIFT) +
			(nr & ((1ULL << table_blocks_bits(meta)) - 1)) *
			QED_BLOCK_SECTORS;
	r = qed_sync_io(meta, REQ_OP_READ, block->sector, block->entries,
			QED_BLOCK_SIZE);
	if (r) {
		DMERR_LIMIT("%s: cannot read the L2 table at 0x%llx, sector %llu: error %d",
			    meta->client->name, table,
			    (unsigned long long)block->sector, r);
		qed_cache_discard(&meta->cache, block);
		/* What the device calls it may mean something else here: ENOSPC */
		return ERR_PTR(-EIO);
	}

	check_block(meta, block, table);
	qed_cache_insert(&meta->cache, block);
	return block;
}

/* Returns NULL if it was being read, or the table has gone: look again. */
static struct qed_block *load_block(struct qed_meta *meta, u64 nr, u64 table)
{
	struct qed_loading loading = { .nr = nr }, *other;
	struct qed_block *block;
	bool mine;

	spin_lock_irq(&meta->cache.lock);
	other = find_loading(meta, nr, 1);
	mine = !other && !qed_cache_find(&meta->cache, nr) &&
	       l1_entry(meta, nr >> table_blocks_bits(meta)) == table;
	if (mine)
		rb_add(&loading.node, &meta->loading, loading_before);
	spin_unlock_irq(&meta->cache.lock);
	if (!mine) {
		if (other)
			wait_var_event(other, !is_loading(meta, nr, other));
		return NULL;
	}

	block = read_block(meta, nr, table);

	/* Who looked under the lock before is among those to be woken. */
	spin_lock_irq(&meta->cache.lock);
	rb_erase(&loading.node, &meta->loading);
	spin_unlock_irq(&meta->cache.lock);
	wake_up_var(&loading);
	return block;
}

/*----------------------------------------------------------------
 * What a check sees
 *----------------------------------------------------------------
 */

void qed_see_table(struct qed_meta *meta, u64 index)
{
	u64 entry = l1_entry(meta, index);
	const char *what;
	unsigned int i;

	for (i = 0; i < meta->geo.table_clusters; i++) {
		what = qed_check_see(&meta->check,
				     (entry >> meta->geo.cluster_shift) + i);
		if (!what)
			continue;
		qed_defect_l1(&meta->check.defects, &meta->geo, index, entry,
			      what);
		break;
	}
}

void qed_see_entries(struct qed_meta *meta, struct qed_block *block,
		     u64 cluster, unsigned int nr)
{
	unsigned int i = cluster % QED_BLOCK_ENTRIES, n;

	for (n = 0; n < nr; n++) {
		u64 entry = qed_entry_read(block, i + n);
		const char *what;

		if (entry_kind(entry) != QED_EXTENT_DATA)
			continue;
		what = qed_check_see(&meta->check,
				     entry >> meta->geo.cluster_shift);
		if (what)
			qed_defect_l2(&meta->check.defects, &meta->geo,
				      l1_entry(meta, cluster >>
					       meta->geo.table_shift),
				      cluster + n, entry, what);
	}
}

/*----------------------------------------------------------------
 * New tables
 *----------------------------------------------------------------
 */

int qed_meta_zero(struct qed_meta *meta, sector_t sector, sector_t nr)
{
	return qed_zero_range(&meta->reclaim.zeroer, sector, nr);
}

bool qed_meta_takes_zeroes(struct qed_meta *meta, bool keep)
{
	return qed_zeroer_takes(&meta->reclaim.zeroer, keep);
}

bool qed_meta_zeroes_failed(struct qed_meta *meta, bool keep,
			    blk_status_t status)
{
	return qed_zeroer_failed(&meta->reclaim.zeroer, keep, status);
}

/*
 * A new table reads as zeroes before the L1 refers to it, in memory or on the
 * device, so it may be written in any order with what it will map to.
 */
static int zero_table(struct qed_meta *meta, const struct qed_run *run)
{
	int r;

	if (run->zero)
		return 0;
	r = qed_meta_zero(meta, qed_cluster_sector(&meta->geo, run->first),
			  qed_cluster_sector(&meta->geo, run->nr));
	if (r)
		DMERR_LIMIT("%s: cannot zero a new L2 table: error %d",
			    meta->client->name, r);
	return r;
}

static int create_table(struct qed_meta *meta, u64 index)
{
	struct mutex *mutex = &meta->table_mutex[index % QED_TABLE_LOCKS];
	struct qed_block *block = meta->l1[index >> QED_BLOCK_BITS];
	struct qed_run run;
	int r = 0;

	mutex_lock(mutex);
	if (l1_entry(meta, index))
		goto out;

	r = qed_space_alloc_table(meta->space, &run);
	if (r)
		goto out;
	r = zero_table(meta, &run);
	if (r) {
		qed_meta_give_back(meta, &run, true);
		goto out;
	}

	spin_lock_irq(&meta->cache.lock);
	qed_entry_write(block, index % QED_BLOCK_ENTRIES,
			run.first << meta->geo.cluster_shift);
	block->ordered |= !run.zero;
	qed_cache_dirty(&meta->cache, block);
	if (!meta->frozen)
		WRITE_ONCE(meta->txn, QED_TXN_DIRTY);
	meta->nr_entered += run.nr;
	if (qed_check_passed(&meta->check, index << table_blocks_bits(meta)))
		qed_see_table(meta, index);
	spin_unlock_irq(&meta->cache.lock);
	meta->client->want_commit(meta->client, false);
out:
	mutex_unlock(mutex);
	return r;
}

struct qed_block *qed_block_get(struct qed_meta *meta, u64 cluster, bool create)
{
	u64 index = cluster >> meta->geo.table_shift;
	u64 nr = cluster >> QED_BLOCK_BITS;
	struct qed_block *block;
	u64 table;
	int r;

	for (;;) {
		block = qed_cache_get(&meta->cache, nr);
		if (block)
			return block;

		table = l1_entry(meta, index);
		if (table == QED_ENTRY_BAD)
			return ERR_PTR(-EIO);
		if (table == QED_ENTRY_UNALLOCATED) {
			if (!create)
				return NULL;
			r = create_table(meta, index);
			if (r)
				return ERR_PTR(r);
			continue;
		}

		block = load_block(meta, nr, table);
		if (block)
			return block;
	}
}

void qed_block_put(struct qed_meta *meta, struct qed_block *block)
{
	qed_cache_put(&meta->cache, block);
}

/*----------------------------------------------------------------
 * Mapping
 *----------------------------------------------------------------
 */

unsigned int qed_block_hole(struct qed_block *block, u64 cluster,
			    unsigned int nr, bool *zero)
{
	unsigned int i = cluster % QED_BLOCK_ENTRIES, n;
	u64 entry = qed_entry_read(block, i);

	*zero = entry == QED_ENTRY_ZERO;
	if (entry != QED_ENTRY_UNALLOCATED && !*zero)
		return 0;
	nr = min(nr, QED_BLOCK_ENTRIES - i);
	for (n = 1; n < nr; n++)
		if (qed_entry_read(block, i + n) != entry)
			break;
	return n;
}

/*
 * To be called before entries are changed: who sees a new entry sees that it is
 * not durable. Caller holds the lock. Returns whether a commit has to be asked for.
 */
static bool change_entries(struct qed_meta *meta)
{
	bool first = meta->txn != QED_TXN_DIRTY;

	WRITE_ONCE(meta->txn, QED_TXN_DIRTY);
	smp_wmb();	/* pairs with smp_rmb() before qed_meta_is_durable() */
	return first;
}

/* Caller holds the lock. */
static void count_mapped(struct qed_meta *meta, u64 cluster, unsigned int nr)
{
	u64 index = cluster >> meta->geo.table_shift;

	meta->mapped += nr;
	meta->nr_entered += nr;
	if (!meta->tables[index])
		meta->nr_empty -= __test_and_clear_bit(index, meta->empty);
	meta->tables[index] += nr;
}

int qed_meta_map(struct qed_meta *meta, struct qed_block *block, u64 cluster,
		 const struct qed_run *run, bool ordered, bool end)
{
	unsigned int i = cluster % QED_BLOCK_ENTRIES, n;
	bool first, now = false, unused = false;
	unsigned long flags;
	int r = -EROFS;

	spin_lock_irqsave(&meta->cache.lock, flags);
	if (meta->frozen)
		goto out;

	first = change_entries(meta);
	for (n = 0; n < run->nr; n++)
		qed_entry_write(block, i + n,
				(run->first + n) << meta->geo.cluster_shift);
	block->ordered |= ordered;
	now = qed_cache_dirty(&meta->cache, block);
	count_mapped(meta, cluster, run->nr);
	if (qed_check_passed(&meta->check, block->nr))
		qed_see_entries(meta, block, cluster, run->nr);
	if (end)
		unused = qed_end_change(meta, block);
	r = 0;
out:
	spin_unlock_irqrestore(&meta->cache.lock, flags);

	if (unused)
		qed_cache_wake(&meta->cache);
	if (!r && (first || now))
		meta->client->want_commit(meta->client, now);
	return r;
}

/*----------------------------------------------------------------
 * Unmapping
 *----------------------------------------------------------------
 */

/* Caller holds the lock. Over a backing file a table that has no data hides something. */
static void count_unmapped(struct qed_meta *meta, u64 cluster, unsigned int nr)
{
	u64 index = cluster >> meta->geo.table_shift;

	meta->mapped -= nr;
	meta->tables[index] -= nr;
	if (!meta->tables[index] && !meta->geo.backed)
		meta->nr_empty += !__test_and_set_bit(index, meta->empty);
}

u64 qed_block_end(u64 cluster)
{
	return round_down(cluster, QED_BLOCK_ENTRIES) + QED_BLOCK_ENTRIES;
}

unsigned int qed_block_runs(struct qed_meta *meta, struct qed_block *block,
			    u64 cluster, unsigned int nr)
{
	unsigned int i = cluster % QED_BLOCK_ENTRIES, runs = 0, n;
	u64 size = 1ULL << meta->geo.cluster_shift, next = 0, entry;

	for (n = 0; n < nr; n++) {
		entry = qed_entry_read(block, i + n);
		if (entry_kind(entry) != QED_EXTENT_DATA) {
			next = 0;
			continue;
		}
		runs += entry != next;
		next = entry + size;
	}
	return runs;
}

bool qed_meta_can_unmap(struct qed_meta *meta)
{
	return READ_ONCE(meta->known);
}

/* Returns false if there is no room in the drop. */
static bool drop_cluster(struct qed_drop *drop, u64 cluster)
{
	struct qed_run *last = drop->runs + drop->nr - 1;

	if (drop->nr && cluster == last->first + last->nr)
		last->nr++;
	else if (drop->nr < drop->max)
		qed_drop_add(drop, cluster, 1);
	else
		return false;
	return true;
}

bool qed_meta_is_backed(struct qed_meta *meta)
{
	return meta->geo.backed;
}

/* Caller holds the lock. Returns whether a commit has to be asked for. */
static bool unmap_entry(struct qed_meta *meta, struct qed_block *block,
			unsigned int i, u64 entry)
{
	bool first = change_entries(meta);

	if (entry_kind(entry) == QED_EXTENT_DATA &&
	    qed_check_passed(&meta->check, block->nr))
		qed_check_forget(&meta->check,
				 entry >> meta->geo.cluster_shift);
	/* What is below is not to come to light. */
	qed_entry_write(block, i, meta->geo.backed ? QED_ENTRY_ZERO :
						     QED_ENTRY_UNALLOCATED);
	return first;
}

int qed_meta_unmap(struct qed_meta *meta, struct qed_block *block, u64 cluster,
		   unsigned int nr, bool hide, struct qed_drop *drop)
{
	unsigned int i = cluster % QED_BLOCK_ENTRIES, n, dropped = 0, hidden = 0;
	bool first = false, now = false;
	unsigned long flags;
	int r = -EROFS;

	spin_lock_irqsave(&meta->cache.lock, flags);
	if (meta->frozen)
		goto out;

	for (n = 0; n < nr; n++) {
		u64 entry = qed_entry_read(block, i + n);
		enum qed_extent_kind kind = entry_kind(entry);

		if (kind == QED_EXTENT_DATA) {
			if (!drop || !drop_cluster(drop, entry >> meta->geo.cluster_shift))
				break;
			dropped++;
		} else if (kind == QED_EXTENT_HOLE && hide) {
			hidden++;
		} else {
			continue;
		}
		first |= unmap_entry(meta, block, i + n, entry);
	}
	if (dropped || hidden)
		now = qed_cache_dirty(&meta->cache, block);
	if (dropped) {
		count_unmapped(meta, cluster, dropped);
		qed_reclaim_drop(&meta->reclaim, drop);
	}
	r = n;
out:
	spin_unlock_irqrestore(&meta->cache.lock, flags);

	if (!dropped)
		kfree(drop);
	if (first || now)
		meta->client->want_commit(meta->client, now);
	return r;
}

/*----------------------------------------------------------------
 * Tables without data
 *----------------------------------------------------------------
 */

/* May this table go? Caller holds the lock. */
static bool can_free_table(struct qed_meta *meta, u64 index)
{
	u64 nr = 1ULL << table_blocks_bits(meta), first = index * nr;

	/* A clean image stays as it is: the next change sets NEED_CHECK. */
	if (meta->frozen || !meta->marked || meta->tables[index] ||
	    l1_entry(meta, index) <= QED_ENTRY_BAD)
		return false;
	return !find_loading(meta, first, nr);
}

/* Caller holds the lock, and none of the table's blocks is cached. */
static void unlink_table(struct qed_meta *meta, u64 index, struct qed_drop *drop)
{
	struct qed_block *l1 = meta->l1[index >> QED_BLOCK_BITS];
	u64 cluster = l1_entry(meta, index) >> meta->geo.cluster_shift;
	unsigned int i;

	change_entries(meta);
	qed_entry_write(l1, index % QED_BLOCK_ENTRIES, QED_ENTRY_UNALLOCATED);
	qed_cache_dirty(&meta->cache, l1);
	meta->nr_empty -= __test_and_clear_bit(index, meta->empty);
	for (i = 0; i < meta->geo.table_clusters; i++)
		if (qed_check_passed(&meta->check,
				     index << table_blocks_bits(meta)))
			qed_check_forget(&meta->check, cluster + i);
	qed_drop_add(drop, cluster, meta->geo.table_clusters);
	qed_reclaim_drop(&meta->reclaim, drop);
}

/*
 * Forget a table without data, unless somebody is about to change it. A table may
 * have many blocks, so most are evicted before the lock is taken for good. Takes
 * the drop over if it returns true.
 */
static bool free_table(struct qed_meta *meta, u64 index, struct qed_drop *drop)
{
	u64 nr = 1ULL << table_blocks_bits(meta);
	struct qed_forget *forget = &meta->forget;
	bool can;

	forget->full = false;
	spin_lock_irq(&meta->cache.lock);
	can = can_free_table(meta, index);
	spin_unlock_irq(&meta->cache.lock);
	if (!can)
		return false;

	can = qed_cache_forget_begin(&meta->cache, forget, index * nr, nr);
	spin_lock_irq(&meta->cache.lock);
	can = can && can_free_table(meta, index) &&
	      qed_cache_forget(&meta->cache, forget);
	if (can)
		unlink_table(meta, index, drop);
	spin_unlock_irq(&meta->cache.lock);
	qed_cache_forget_end(&meta->cache);
	return can;
}

bool qed_free_empty_tables(struct qed_meta *meta)
{
	u64 nr = qed_guest_tables(&meta->geo), index;
	struct qed_drop *drop = NULL;
	bool full = false;

	if (!READ_ONCE(meta->nr_empty))
		return false;
	for_each_set_bit(index, meta->empty, nr) {
		if (!drop)
			drop = qed_drop_alloc(1);
		if (!drop)
			return false;
		if (free_table(meta, index, drop))
			drop = NULL;
		full |= meta->forget.full;
		cond_resched();
	}
	kfree(drop);
	meta->again = full && !meta->again;
	return meta->again;
}
