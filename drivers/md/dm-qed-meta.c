// SPDX-License-Identifier: GPL-2.0-only
/*
 * The metadata of a QED image, see dm-qed-meta.h.
 */

#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/completion.h>
#include <linux/device-mapper.h>
#include <linux/err.h>
#include <linux/jiffies.h>
#include <linux/list_sort.h>
#include <linux/mempool.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>

#include "dm-qed-cache.h"
#include "dm-qed-check.h"
#include "dm-qed-geometry.h"
#include "dm-qed-meta.h"
#include "dm-qed-reclaim.h"
#include "dm-qed-scan.h"

#define DM_MSG_PREFIX "qed"

/* In memory only: an entry of a defective table opened for reading */
#define QED_ENTRY_BAD		2ULL

/* Pages and bios of a commit that can be had without memory */
#define QED_COMMIT_PAGES	16
#define QED_COMMIT_BIOS		4

/* Up to so many writes are made with FUA where a flush would have to follow */
#define QED_COMMIT_FUA		4

#define QED_TABLE_LOCKS		32

/**
 * enum qed_txn - how far the mappings in memory have come
 * @QED_TXN_DURABLE: all of them are on stable storage
 * @QED_TXN_WRITTEN: all of them were written, and need a flush
 * @QED_TXN_DIRTY: there are dirty blocks, or some are being written
 * @QED_TXN_FAILED: some will never be written
 */
enum qed_txn {
	QED_TXN_DURABLE,
	QED_TXN_WRITTEN,
	QED_TXN_DIRTY,
	QED_TXN_FAILED,
};

struct qed_meta {
	/* What a lookup needs; constant while loaded. */
	struct qed_geometry geo;
	struct qed_block **l1;		/* blocks of the L1 table */
	struct qed_cache cache;
	struct qed_reclaim reclaim;	/* of clusters that are unmapped */

	/*
	 * Changed under cache.lock, read without: see qed_meta_is_durable().
	 */
	enum qed_txn txn;

	struct block_device *bdev;
	struct qed_meta_client *client;
	struct qed_header *header;	/* a block; under header_mutex */
	u64 nr_l1_blocks;		/* of the guest's disk */
	struct qed_space *space;	/* pointer changed under cache.lock */
	bool loaded;			/* changed under commit_mutex */

	/* The rest of these flags and counters is under cache.lock. */
	bool frozen;			/* nothing is written any more */
	bool doubtful;			/* no more commits: data may be lost */
	bool marked;			/* NEED_CHECK is known to be durable */
	bool touched;			/* free clusters are not as they were */
	bool known;			/* the tables have been scanned */
	unsigned long changes;		/* qed_meta_begin() without end */
	unsigned long last_change;	/* jiffies */
	u64 mapped;			/* guest clusters with a data cluster */
	u32 *tables;			/* data clusters of each L2 table */
	unsigned long *empty;		/* bit set: it has none any more */
	u64 nr_empty;			/* bits set there */
	u64 nr_entered;			/* clusters that tables ever got */
	u64 nr_others;			/* used, and not by tables of the disk */
	struct qed_check check;
	u64 commits;
	struct list_head loading;	/* blocks being read */
	wait_queue_head_t load_wait;	/* for one of them to be done */

	/* Makes a commit one at a time; taken before header_mutex. */
	struct mutex commit_mutex;
	/* Serialises writes of the header. */
	struct mutex header_mutex;
	/* By index of the L1 entry: serialise the creation of its table. */
	struct mutex table_mutex[QED_TABLE_LOCKS];

	mempool_t pages;		/* copies of blocks being written */
	struct bio_set bs;		/* and their bios */

	struct work_struct scan_work;
	struct work_struct check_work;	/* walks through the tables ... */
	struct work_struct result_work;	/* ... and counts, while nothing is reclaimed */
	bool scan_stop;			/* ends both */
	u64 zeroed_from;
	struct qed_defects defects;	/* found while loaded */
};

/* A block that is being read, on the stack of the reader */
struct qed_loading {
	struct list_head list;
	u64 nr;
};

static struct qed_meta *cache_to_meta(struct qed_cache *cache)
{
	return container_of(cache, struct qed_meta, cache);
}

/*
 * Stop all writing. The tables in memory stay as they are and serve reads; what
 * is on the device is consistent, and what it lacks no flush has promised.
 */
static void __meta_fail(struct qed_meta *meta, const char *why, bool lost)
{
	bool first;

	spin_lock_irq(&meta->cache.lock);
	first = !meta->frozen;
	lost |= meta->txn != QED_TXN_DURABLE;
	meta->frozen = true;
	if (first) {
		WRITE_ONCE(meta->txn, QED_TXN_FAILED);
		qed_cache_set_stuck(&meta->cache, true);
	}
	spin_unlock_irq(&meta->cache.lock);

	if (first)
		meta->client->failed(meta->client, why, lost);
}

static void meta_fail(struct qed_meta *meta, const char *why)
{
	__meta_fail(meta, why, false);
}

static void reclaim_more_space(struct qed_reclaim *reclaim)
{
	struct qed_meta *meta = container_of(reclaim, struct qed_meta, reclaim);

	meta->client->more_space(meta->client);
}

static void reclaim_trimmed(struct qed_reclaim *reclaim)
{
	struct qed_meta *meta = container_of(reclaim, struct qed_meta, reclaim);

	meta->client->event(meta->client);
}

/* No flush of the guest tells what may be lost: the next one has to. */
static void reclaim_flush_failed(struct qed_reclaim *reclaim)
{
	struct qed_meta *meta = container_of(reclaim, struct qed_meta, reclaim);

	__meta_fail(meta, "cannot flush", true);
}

static const struct qed_reclaim_client reclaim_client = {
	.more_space = reclaim_more_space,
	.trimmed = reclaim_trimmed,
	.flush_failed = reclaim_flush_failed,
};

static void cache_pressure(struct qed_cache *cache)
{
	struct qed_meta *meta = cache_to_meta(cache);

	meta->client->want_commit(meta->client, true);
}

/*----------------------------------------------------------------
 * Header
 *----------------------------------------------------------------
 */

/* Read or write @len bytes, at most a block, and wait. */
static int sync_io(struct qed_meta *meta, blk_opf_t opf, sector_t sector,
		   void *data, unsigned int len)
{
	struct bio_vec vec;
	struct bio bio;
	int r;

	bio_init(&bio, meta->bdev, &vec, 1, opf | REQ_SYNC | REQ_META);
	bio.bi_iter.bi_sector = sector;
	__bio_add_page(&bio, virt_to_page(data), len, offset_in_page(data));
	r = submit_bio_wait(&bio);
	bio_uninit(&bio);
	/* A failed read is no lack of space, whatever the device calls it. */
	return r == -ENOSPC && !op_is_write(opf) ? -EIO : r;
}

static int header_read(struct qed_meta *meta, char **error)
{
	u64 size = bdev_nr_bytes(meta->bdev);
	struct qed_geometry geo;
	int r;

	if (size < QED_BLOCK_SIZE) {
		DMERR("%s: the device of %llu bytes is too small for a QED image",
		      meta->client->name, size);
		*error = "Image device is too small";
		return -EINVAL;
	}
	r = sync_io(meta, REQ_OP_READ, 0, meta->header, QED_BLOCK_SIZE);
	if (r) {
		DMERR("%s: cannot read the header: error %d",
		      meta->client->name, r);
		*error = "Cannot read the header";
		return r;
	}
	r = qed_geometry_parse(&geo, meta->header, size, meta->client->name,
			       error);
	if (r)
		return r;

	spin_lock_irq(&meta->cache.lock);
	meta->geo = geo;
	spin_unlock_irq(&meta->cache.lock);
	return 0;
}

/* A sector is enough, and tears least, but the device may have larger blocks. */
static int header_write(struct qed_meta *meta)
{
	int r = sync_io(meta, REQ_OP_WRITE | REQ_FUA, 0, meta->header,
			bdev_logical_block_size(meta->bdev));

	if (r)
		DMERR("%s: cannot write the header: error %d",
		      meta->client->name, r);
	return r;
}

static bool header_needs_check(struct qed_meta *meta)
{
	return READ_ONCE(meta->header->features) &
	       cpu_to_le64(QED_F_NEED_CHECK);
}

static int header_set_needs_check(struct qed_meta *meta, bool set)
{
	__le64 others = meta->header->features & ~cpu_to_le64(QED_F_NEED_CHECK);
	__le64 marked = others | cpu_to_le64(QED_F_NEED_CHECK);
	int r;

	lockdep_assert_held(&meta->header_mutex);

	WRITE_ONCE(meta->header->features, set ? marked : others);
	r = header_write(meta);
	if (r) {
		/* Whichever is on the device, this one is safe to assume. */
		WRITE_ONCE(meta->header->features, marked);
		meta_fail(meta, "cannot write the header");
	}
	return r;
}

int qed_meta_begin(struct qed_meta *meta)
{
	bool done = false;
	int r = 0;

	spin_lock_irq(&meta->cache.lock);
	if (meta->frozen) {
		r = -EROFS;
	} else if (qed_cache_is_full(&meta->cache)) {
		r = -ENOSPC;
	} else if (meta->marked) {
		meta->changes++;
		done = true;
	}
	spin_unlock_irq(&meta->cache.lock);
	if (r == -ENOSPC)
		/* There may be space by now. */
		meta->client->want_commit(meta->client, true);
	if (r || done)
		return r;

	mutex_lock(&meta->header_mutex);
	if (!meta->marked && header_set_needs_check(meta, true))
		r = -EIO;
	if (!r) {
		spin_lock_irq(&meta->cache.lock);
		meta->marked = true;
		meta->changes++;
		spin_unlock_irq(&meta->cache.lock);
	}
	mutex_unlock(&meta->header_mutex);
	return r;
}

/* Caller holds the lock. Returns whether somebody may wait for the block. */
static bool end_change(struct qed_meta *meta, struct qed_block *block)
{
	meta->changes--;
	meta->last_change = jiffies;
	return block && !--block->pins;
}

void qed_meta_end(struct qed_meta *meta, struct qed_block *block)
{
	unsigned long flags;
	bool unused;

	spin_lock_irqsave(&meta->cache.lock, flags);
	unused = end_change(meta, block);
	spin_unlock_irqrestore(&meta->cache.lock, flags);
	if (unused)
		qed_cache_wake(&meta->cache);
}

void qed_meta_give_back(struct qed_meta *meta, const struct qed_run *run)
{
	unsigned long flags;

	qed_space_give_back(meta->space, run);
	spin_lock_irqsave(&meta->cache.lock, flags);
	meta->touched = true;
	spin_unlock_irqrestore(&meta->cache.lock, flags);
}

/*
 * Clear NEED_CHECK unless a change has been made since the last flush, or is
 * under way. One that begins meanwhile waits for header_mutex. Nor is it cleared
 * while free clusters may hold what a failed write has left, or are being given to
 * the device: that they stay as they are is what a clean image promises.
 */
static int header_clean(struct qed_meta *meta)
{
	bool busy;
	int r = 0;

	mutex_lock(&meta->header_mutex);
	spin_lock_irq(&meta->cache.lock);
	busy = meta->frozen || meta->changes || meta->touched ||
	       meta->txn != QED_TXN_DURABLE || qed_reclaim_nr(&meta->reclaim);
	if (!busy)
		meta->marked = false;
	spin_unlock_irq(&meta->cache.lock);
	if (!busy && header_needs_check(meta))
		r = header_set_needs_check(meta, false);
	mutex_unlock(&meta->header_mutex);
	return r;
}

unsigned long qed_meta_idle(struct qed_meta *meta, unsigned long idle)
{
	unsigned long now = jiffies, due;
	bool changing, touched;
	int r = 0;

	spin_lock_irq(&meta->cache.lock);
	due = meta->last_change + idle;
	changing = meta->changes;
	touched = meta->touched;
	spin_unlock_irq(&meta->cache.lock);

	if (time_before(now, due))
		return due - now;
	if (!changing && header_needs_check(meta)) {
		r = qed_meta_commit(meta, true);
		if (!r)
			r = header_clean(meta);
	}
	if (r && r != -ENOSPC)
		return 0;
	/* Something may have come between the commit and the look at it. */
	return header_needs_check(meta) && !touched ? idle : 0;
}

int qed_meta_close(struct qed_meta *meta)
{
	int r = qed_meta_commit(meta, true);

	if (r)
		return r;
	qed_reclaim_flush(&meta->reclaim);
	return header_clean(meta);
}

/*----------------------------------------------------------------
 * Lookup
 *----------------------------------------------------------------
 */

static u64 block_entry(const struct qed_block *block, unsigned int i)
{
	return le64_to_cpu(READ_ONCE(block->entries[i]));
}

static u64 l1_entry(struct qed_meta *meta, u64 index)
{
	return block_entry(meta->l1[index >> QED_BLOCK_BITS],
			   index % QED_BLOCK_ENTRIES);
}

static enum qed_extent_kind entry_kind(u64 entry)
{
	if (likely(entry > QED_ENTRY_BAD))
		return QED_EXTENT_DATA;
	return entry == QED_ENTRY_BAD ? QED_EXTENT_BAD : QED_EXTENT_HOLE;
}

static unsigned int cluster_sectors(struct qed_meta *meta)
{
	return 1U << (meta->geo.cluster_shift - SECTOR_SHIFT);
}

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

/*
 * How many clusters after the one at @i go on in the same way? A data extent
 * ends where its clusters stop being adjacent, and goes on in the next block.
 * Not inline, for the sake of bios within a cluster.
 */
static noinline unsigned int run_length(struct qed_meta *meta,
					struct qed_block *block, unsigned int i,
					unsigned int max)
{
	u64 entry = block_entry(block, i), step, next;
	enum qed_extent_kind kind = entry_kind(entry);
	unsigned int n;

	step = kind == QED_EXTENT_DATA ? 1ULL << meta->geo.cluster_shift : 0;
	for (n = 0; n < max; n++) {
		if (++i == QED_BLOCK_ENTRIES) {
			if (!step)
				break;
			block = qed_cache_find(&meta->cache, block->nr + 1);
			if (!block)
				break;
			i = 0;
		}
		next = block_entry(block, i);
		entry += step;
		if (step ? next != entry : entry_kind(next) != kind)
			break;
	}
	return n;
}

/*
 * Hold what an entry was seen to refer to. Caller is in an RCU read side section.
 * Returns false if it has been unmapped before.
 */
static bool hold_entry(struct qed_meta *meta, struct qed_block *block,
		       unsigned int i, u64 entry, struct qed_extent *ext)
{
	ext->hold = qed_inflight_get(&meta->reclaim);
	if (likely(block_entry(block, i) == entry))
		return true;
	percpu_ref_put(ext->hold);
	return false;
}

enum qed_extent_kind qed_meta_lookup(struct qed_meta *meta, sector_t sector,
				     unsigned int nr, struct qed_extent *ext)
{
	unsigned int bits = meta->geo.cluster_shift - SECTOR_SHIFT;
	unsigned int offset = sector & ((1U << bits) - 1);
	u64 cluster = sector >> bits, entry;
	enum qed_extent_kind kind;
	struct qed_block *block;
	unsigned int i;

	rcu_read_lock();
	block = qed_cache_find(&meta->cache, cluster >> QED_BLOCK_BITS);
	if (unlikely(!block)) {
		kind = lookup_l1(meta, cluster, offset, nr, ext);
		goto out;
	}

	i = cluster % QED_BLOCK_ENTRIES;
	do {
		entry = block_entry(block, i);
		kind = entry_kind(entry);
	} while (kind == QED_EXTENT_DATA &&
		 !hold_entry(meta, block, i, entry, ext));

	ext->sector = (entry >> SECTOR_SHIFT) + offset;
	ext->nr = nr;
	if (offset + nr > 1U << bits) {
		u64 max = (offset + nr - 1) >> bits;
		u64 run = run_length(meta, block, i, max);

		ext->nr = min_t(u64, nr, ((run + 1) << bits) - offset);
	}
out:
	rcu_read_unlock();
	return kind;
}

bool qed_meta_is_durable(struct qed_meta *meta)
{
	return READ_ONCE(meta->txn) == QED_TXN_DURABLE;
}

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
		u64 entry = block_entry(block, i);
		const char *what;

		if (entry == QED_ENTRY_UNALLOCATED || entry == QED_ENTRY_ZERO)
			continue;
		what = qed_entry_defect(&geo, entry, 1);
		if (!what && !known &&
		    !qed_space_is_used(meta->space, entry >> geo.cluster_shift))
			what = "is in the range that zeroed_from says is not used";
		if (!what)
			continue;
		qed_defect_l2(&meta->defects, &geo, table, first + i, entry,
			      what);
		block->entries[i] = cpu_to_le64(QED_ENTRY_BAD);
		bad = true;
	}
	/* Frozen before anybody can see the block, it will not be written. */
	if (bad)
		meta_fail(meta, "defective table");
}

static bool is_loading(struct qed_meta *meta, u64 nr)
{
	struct qed_loading *loading;

	list_for_each_entry(loading, &meta->loading, list)
		if (loading->nr == nr)
			return true;
	return false;
}

static bool is_loaded(struct qed_meta *meta, u64 nr)
{
	bool loaded;

	spin_lock_irq(&meta->cache.lock);
	loaded = !is_loading(meta, nr);
	spin_unlock_irq(&meta->cache.lock);
	return loaded;
}

/* log2 of the number of blocks of a table */
static unsigned int table_blocks_bits(struct qed_meta *meta)
{
	return meta->geo.table_shift - QED_BLOCK_BITS;
}

static struct qed_block *read_block(struct qed_meta *meta, u64 nr, u64 table)
{
	struct qed_block *block = qed_cache_alloc(&meta->cache);
	int r;

	block->nr = nr;
	block->sector = (table >> SECTOR_SHIFT) +
			(nr & ((1ULL << table_blocks_bits(meta)) - 1)) *
			QED_BLOCK_SECTORS;
	r = sync_io(meta, REQ_OP_READ, block->sector, block->entries,
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
	struct qed_loading loading = { .nr = nr };
	struct qed_block *block;
	bool mine;

	spin_lock_irq(&meta->cache.lock);
	mine = !is_loading(meta, nr) && !qed_cache_find(&meta->cache, nr) &&
	       l1_entry(meta, nr >> table_blocks_bits(meta)) == table;
	if (mine)
		list_add(&loading.list, &meta->loading);
	spin_unlock_irq(&meta->cache.lock);
	if (!mine) {
		wait_event(meta->load_wait, is_loaded(meta, nr));
		return NULL;
	}

	block = read_block(meta, nr, table);

	spin_lock_irq(&meta->cache.lock);
	list_del(&loading.list);
	spin_unlock_irq(&meta->cache.lock);
	wake_up_all(&meta->load_wait);
	return block;
}

/* The check comes to a table. Caller holds the lock. */
static void see_table(struct qed_meta *meta, u64 index)
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

/* The check comes to entries of a table. Caller holds the lock. */
static void see_entries(struct qed_meta *meta, struct qed_block *block,
			u64 cluster, unsigned int nr)
{
	unsigned int i = cluster % QED_BLOCK_ENTRIES, n;

	for (n = 0; n < nr; n++) {
		u64 entry = block_entry(block, i + n);
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

/*
 * A new table reads as zeroes before the L1 refers to it, in memory or on the
 * device, so it may be written in any order with what it will map to.
 */
static int zero_table(struct qed_meta *meta, const struct qed_run *run)
{
	int r;

	if (run->zero)
		return 0;
	r = blkdev_issue_zeroout(meta->bdev,
				 qed_cluster_sector(&meta->geo, run->first),
				 qed_cluster_sector(&meta->geo, run->nr),
				 GFP_NOIO, 0);
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

	r = qed_space_alloc(meta->space, meta->geo.table_clusters,
			    meta->geo.table_clusters, &run);
	if (r)
		goto out;
	r = zero_table(meta, &run);
	if (r) {
		qed_meta_give_back(meta, &run);
		goto out;
	}

	spin_lock_irq(&meta->cache.lock);
	WRITE_ONCE(block->entries[index % QED_BLOCK_ENTRIES],
		   cpu_to_le64(run.first << meta->geo.cluster_shift));
	block->ordered |= !run.zero;
	qed_cache_dirty(&meta->cache, block);
	if (!meta->frozen)
		WRITE_ONCE(meta->txn, QED_TXN_DIRTY);
	meta->nr_entered += run.nr;
	if (qed_check_passed(&meta->check, index << table_blocks_bits(meta)))
		see_table(meta, index);
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

unsigned int qed_block_hole(struct qed_block *block, u64 cluster,
			    unsigned int nr)
{
	unsigned int i = cluster % QED_BLOCK_ENTRIES, n;

	nr = min(nr, QED_BLOCK_ENTRIES - i);
	for (n = 0; n < nr; n++)
		if (entry_kind(block_entry(block, i + n)) != QED_EXTENT_HOLE)
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

/* Caller holds the lock. */
static void count_unmapped(struct qed_meta *meta, u64 cluster, unsigned int nr)
{
	u64 index = cluster >> meta->geo.table_shift;

	meta->mapped -= nr;
	meta->tables[index] -= nr;
	if (!meta->tables[index])
		meta->nr_empty += !__test_and_set_bit(index, meta->empty);
}

int qed_meta_map(struct qed_meta *meta, struct qed_block *block, u64 cluster,
		 const struct qed_run *run, bool end)
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
		WRITE_ONCE(block->entries[i + n],
			   cpu_to_le64((run->first + n) <<
				       meta->geo.cluster_shift));
	block->ordered |= !run->zero;
	now = qed_cache_dirty(&meta->cache, block);
	count_mapped(meta, cluster, run->nr);
	if (qed_check_passed(&meta->check, block->nr))
		see_entries(meta, block, cluster, run->nr);
	if (end)
		unused = end_change(meta, block);
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
		entry = block_entry(block, i + n);
		if (entry_kind(entry) == QED_EXTENT_DATA)
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

int qed_meta_unmap(struct qed_meta *meta, struct qed_block *block, u64 cluster,
		   unsigned int nr, struct qed_drop *drop)
{
	unsigned int i = cluster % QED_BLOCK_ENTRIES, n, dropped = 0;
	bool first = false, now = false;
	unsigned long flags;
	int r = -EROFS;

	spin_lock_irqsave(&meta->cache.lock, flags);
	if (meta->frozen)
		goto out;

	for (n = 0; n < nr; n++) {
		u64 entry = block_entry(block, i + n);

		if (entry_kind(entry) != QED_EXTENT_DATA)
			continue;
		if (!drop_cluster(drop, entry >> meta->geo.cluster_shift))
			break;
		if (!dropped++)
			first = change_entries(meta);
		if (qed_check_passed(&meta->check, block->nr))
			qed_check_forget(&meta->check,
					 entry >> meta->geo.cluster_shift);
		WRITE_ONCE(block->entries[i + n],
			   cpu_to_le64(QED_ENTRY_UNALLOCATED));
	}
	if (dropped) {
		now = qed_cache_dirty(&meta->cache, block);
		count_unmapped(meta, cluster, dropped);
		qed_reclaim_drop(&meta->reclaim, drop);
	}
	r = n;
out:
	spin_unlock_irqrestore(&meta->cache.lock, flags);

	if (first || now)
		meta->client->want_commit(meta->client, now);
	return r;
}

u64 qed_meta_reclaiming(struct qed_meta *meta)
{
	return qed_reclaim_nr(&meta->reclaim);
}

int qed_meta_throttle(struct qed_meta *meta)
{
	int r;

	if (!qed_reclaim_is_full(&meta->reclaim))
		return 0;
	r = qed_meta_commit(meta, true);
	if (!r)
		qed_reclaim_wait(&meta->reclaim);
	return r;
}

int qed_meta_trim(struct qed_meta *meta)
{
	return READ_ONCE(meta->frozen) ? -EROFS :
					 qed_reclaim_trim(&meta->reclaim);
}

/*
 * Forget a table without data, unless somebody is about to change it. Caller
 * holds the lock. Takes the drop over if it returns true.
 */
static bool free_table(struct qed_meta *meta, u64 index, struct qed_drop *drop)
{
	struct qed_block *l1 = meta->l1[index >> QED_BLOCK_BITS];
	u64 nr = 1ULL << table_blocks_bits(meta), first = index * nr;
	u64 entry = l1_entry(meta, index);
	u64 cluster = entry >> meta->geo.cluster_shift;
	struct qed_loading *loading;
	unsigned int i;

	/* A clean image stays as it is: the next change sets NEED_CHECK. */
	if (meta->frozen || !meta->marked || meta->tables[index] ||
	    entry <= QED_ENTRY_BAD)
		return false;
	list_for_each_entry(loading, &meta->loading, list)
		if (loading->nr >= first && loading->nr - first < nr)
			return false;
	if (!qed_cache_forget(&meta->cache, first, nr))
		return false;

	change_entries(meta);
	WRITE_ONCE(l1->entries[index % QED_BLOCK_ENTRIES],
		   cpu_to_le64(QED_ENTRY_UNALLOCATED));
	qed_cache_dirty(&meta->cache, l1);
	meta->nr_empty -= __test_and_clear_bit(index, meta->empty);
	for (i = 0; i < meta->geo.table_clusters; i++)
		if (qed_check_passed(&meta->check, first))
			qed_check_forget(&meta->check, cluster + i);
	qed_drop_add(drop, cluster, meta->geo.table_clusters);
	qed_reclaim_drop(&meta->reclaim, drop);
	return true;
}

/*
 * A table that cannot be freed now stays a candidate for the next commit, and so
 * does what there is no memory for.
 */
static void free_empty_tables(struct qed_meta *meta)
{
	u64 nr = qed_guest_tables(&meta->geo), index;
	struct qed_drop *drop = NULL;
	bool freed;

	if (!READ_ONCE(meta->nr_empty))
		return;
	for_each_set_bit(index, meta->empty, nr) {
		if (!drop)
			drop = qed_drop_alloc(1);
		if (!drop)
			return;
		spin_lock_irq(&meta->cache.lock);
		freed = free_table(meta, index, drop);
		spin_unlock_irq(&meta->cache.lock);
		if (freed)
			drop = NULL;
	}
	kfree(drop);
}

/*----------------------------------------------------------------
 * Commit
 *----------------------------------------------------------------
 */

struct qed_commit {
	struct qed_meta *meta;
	struct list_head blocks;	/* copied into the bios */
	struct bio_list bios;		/* not yet submitted */
	unsigned int nr_bios;
	bool ordered;
	atomic_t pending;
	bool full;			/* the device has no space for a block */
	bool failed;			/* something else went wrong */
	struct completion done;
};

static int block_cmp(void *priv, const struct list_head *a,
		     const struct list_head *b)
{
	sector_t x = list_entry(a, struct qed_block, dirty_list)->sector;
	sector_t y = list_entry(b, struct qed_block, dirty_list)->sector;

	return x < y ? -1 : x > y;
}

static void commit_put(struct qed_commit *commit)
{
	if (atomic_dec_and_test(&commit->pending))
		complete(&commit->done);
}

static void commit_endio(struct bio *bio)
{
	struct qed_commit *commit = bio->bi_private;
	struct bvec_iter_all iter;
	struct bio_vec *vec;

	if (bio->bi_status == BLK_STS_NOSPC)
		WRITE_ONCE(commit->full, true);
	else if (bio->bi_status)
		WRITE_ONCE(commit->failed, true);
	bio_for_each_segment_all(vec, bio, iter)
		mempool_free(vec->bv_page, &commit->meta->pages);
	bio_put(bio);
	commit_put(commit);
}

/* Number of blocks from @block on that are adjacent on the device */
static unsigned int adjacent(struct qed_block *block, struct list_head *todo)
{
	struct qed_block *next = block;
	unsigned int nr = 0;

	list_for_each_entry_from(next, todo, dirty_list) {
		if (next->sector != block->sector + nr * QED_BLOCK_SECTORS)
			break;
		if (++nr == BIO_MAX_VECS)
			break;
	}
	return nr;
}

static struct bio *commit_bio(struct qed_commit *commit,
			      struct qed_block *block, struct list_head *todo)
{
	struct bio *bio = commit->bios.tail;

	if (bio && bio->bi_vcnt < bio->bi_max_vecs &&
	    bio_end_sector(bio) == block->sector)
		return bio;

	bio = bio_alloc_bioset(commit->meta->bdev, adjacent(block, todo),
			       REQ_OP_WRITE | REQ_META | REQ_SYNC,
			       GFP_NOWAIT | __GFP_NOWARN, &commit->meta->bs);
	if (!bio)
		return NULL;
	bio->bi_iter.bi_sector = block->sector;
	bio->bi_end_io = commit_endio;
	bio->bi_private = commit;
	bio_list_add(&commit->bios, bio);
	commit->nr_bios++;
	return bio;
}

/* Returns false without memory. */
static bool commit_add(struct qed_commit *commit, struct qed_block *block,
		       struct list_head *todo)
{
	struct qed_cache *cache = &commit->meta->cache;
	struct page *page;
	struct bio *bio;

	page = mempool_alloc(&commit->meta->pages, GFP_NOWAIT | __GFP_NOWARN);
	if (!page)
		return false;
	bio = commit_bio(commit, block, todo);
	if (!bio) {
		mempool_free(page, &commit->meta->pages);
		return false;
	}

	spin_lock_irq(&cache->lock);
	memcpy(page_address(page), block->entries, QED_BLOCK_SIZE);
	list_del(&block->dirty_list);
	block->dirty = false;
	cache->nr_dirty--;
	cache->nr_writing++;
	block->pins++;
	commit->ordered |= block->ordered;
	block->ordered = false;
	spin_unlock_irq(&cache->lock);

	list_add_tail(&block->commit_list, &commit->blocks);
	__bio_add_page(bio, page, QED_BLOCK_SIZE, 0);
	return true;
}

/*
 * Copy the dirty blocks into bios. Short of memory it stops early and returns
 * false, but not before the first block: the reserves are ours alone.
 */
static bool commit_collect(struct qed_commit *commit)
{
	struct qed_cache *cache = &commit->meta->cache;
	struct qed_block *block, *next;
	bool all = true;
	LIST_HEAD(todo);

	spin_lock_irq(&cache->lock);
	list_splice_init(&cache->dirty, &todo);
	qed_reclaim_collect(&commit->meta->reclaim);
	spin_unlock_irq(&cache->lock);

	/* Dirty blocks stay where they are: nobody else moves them. */
	list_sort(NULL, &todo, block_cmp);
	list_for_each_entry_safe(block, next, &todo, dirty_list) {
		all = commit_add(commit, block, &todo);
		if (!all)
			break;
	}

	spin_lock_irq(&cache->lock);
	list_splice(&todo, &cache->dirty);
	spin_unlock_irq(&cache->lock);
	return all;
}

static void commit_abort(struct qed_commit *commit)
{
	struct bio *bio;

	atomic_set(&commit->pending, 1 + commit->nr_bios);
	while ((bio = bio_list_pop(&commit->bios)))
		bio_io_error(bio);
}

/* Submit the bios, and a flush beside them where it is asked for, and wait. */
static int commit_submit(struct qed_commit *commit, bool fua, bool flush)
{
	struct block_device *bdev = commit->meta->bdev;
	struct bio *bio, flush_bio;

	atomic_set(&commit->pending, 1 + commit->nr_bios);
	while ((bio = bio_list_pop(&commit->bios))) {
		if (fua)
			bio->bi_opf |= REQ_FUA;
		submit_bio(bio);
	}
	if (flush) {
		bio_init(&flush_bio, bdev, NULL, 0, REQ_OP_WRITE | REQ_PREFLUSH);
		if (submit_bio_wait(&flush_bio))
			WRITE_ONCE(commit->failed, true);
		bio_uninit(&flush_bio);
	}
	commit_put(commit);
	wait_for_completion(&commit->done);
	if (commit->failed)
		return -EIO;
	return commit->full ? -ENOSPC : 0;
}

/* What a flush has lost is lost, whatever the device calls the reason. */
static int flush_device(struct qed_meta *meta)
{
	int r = blkdev_issue_flush(meta->bdev);

	return r == -ENOSPC ? -EIO : r;
}

/*
 * Write the collected blocks in the order that qed_meta_commit() promises. A
 * few blocks are cheaper with FUA, which also lets the flush for the data run
 * beside them; it needs a device that does not emulate FUA by flushes.
 */
static int commit_write(struct qed_commit *commit, bool flush)
{
	bool fua = flush && commit->nr_bios <= QED_COMMIT_FUA &&
		   bdev_fua(commit->meta->bdev);
	int r = 0;

	if (commit->ordered)
		r = flush_device(commit->meta);
	if (!r && READ_ONCE(commit->meta->doubtful))
		r = -EIO;
	if (r) {
		commit_abort(commit);
		return r;
	}
	if (!commit->nr_bios)
		return flush ? flush_device(commit->meta) : 0;

	r = commit_submit(commit, fua, fua && !commit->ordered);
	if (!r && flush && !fua)
		r = flush_device(commit->meta);
	return r;
}

/* Account for the blocks; those dirtied meanwhile are for the next commit. */
static void commit_finish(struct qed_commit *commit, bool flushed, int r)
{
	struct qed_meta *meta = commit->meta;
	struct qed_block *block, *next;
	bool more, stuck = r == -ENOSPC, was_stuck;

	spin_lock_irq(&meta->cache.lock);
	list_for_each_entry_safe(block, next, &commit->blocks, commit_list) {
		block->pins--;
		meta->cache.nr_writing--;
		if (r)
			qed_cache_dirty(&meta->cache, block);
	}
	more = !list_empty(&meta->cache.dirty);
	if (!r && !meta->frozen) {
		if (more)
			WRITE_ONCE(meta->txn, QED_TXN_DIRTY);
		else if (flushed)
			WRITE_ONCE(meta->txn, QED_TXN_DURABLE);
		else if (meta->txn == QED_TXN_DIRTY)
			WRITE_ONCE(meta->txn, QED_TXN_WRITTEN);
		meta->commits += !!commit->nr_bios;
	}
	/* Wakes who waits for a block, also when nothing can be evicted yet. */
	was_stuck = qed_cache_set_stuck(&meta->cache, stuck || meta->frozen);
	spin_unlock_irq(&meta->cache.lock);

	if (was_stuck && !stuck)
		meta->client->more_space(meta->client);
	if (more && !r)
		meta->client->want_commit(meta->client, false);
}

/* One round, of one unless memory runs short. */
static int commit_round(struct qed_meta *meta, bool flush, bool *all)
{
	struct qed_commit commit = {
		.meta = meta,
		.blocks = LIST_HEAD_INIT(commit.blocks),
		.bios = BIO_EMPTY_LIST,
		.pending = ATOMIC_INIT(0),
		.done = COMPLETION_INITIALIZER_ONSTACK(commit.done),
	};
	int r;

	free_empty_tables(meta);
	*all = commit_collect(&commit);
	r = commit_write(&commit, flush);
	commit_finish(&commit, flush, r);
	if (!r && flush && *all)
		qed_reclaim_durable(&meta->reclaim);
	return r;
}

/*
 * May a failed flush have lost what mappings refer to that are new, or about to be
 * made? No later flush makes up for that. Caller holds the lock.
 */
static bool flush_matters(struct qed_meta *meta)
{
	return meta->changes || meta->txn != QED_TXN_DURABLE || meta->doubtful;
}

static void commit_failed(struct qed_meta *meta, int r)
{
	bool matters;

	spin_lock_irq(&meta->cache.lock);
	matters = flush_matters(meta);
	spin_unlock_irq(&meta->cache.lock);
	if (matters) {
		__meta_fail(meta, "cannot write the tables", true);
		return;
	}
	DMERR_LIMIT("%s: flush failed: error %d", meta->client->name, r);
	meta->client->flush_failed(meta->client);
}

void qed_meta_flush_failed(struct qed_meta *meta)
{
	unsigned long flags;

	spin_lock_irqsave(&meta->cache.lock, flags);
	WRITE_ONCE(meta->doubtful, flush_matters(meta));
	spin_unlock_irqrestore(&meta->cache.lock, flags);
}

/* Caller holds commit_mutex. */
static int commit_loaded(struct qed_meta *meta, bool flush)
{
	bool all;
	int r;

	do {
		if (READ_ONCE(meta->txn) == QED_TXN_FAILED)
			return -EROFS;
		r = commit_round(meta, flush, &all);
	} while (!r && !all);

	if (r == -ENOSPC)
		/* The blocks stay dirty, and the next commit writes them. */
		DMWARN_LIMIT("%s: no space for the tables on the image device",
			     meta->client->name);
	else if (r)
		commit_failed(meta, r);
	return r;
}

int qed_meta_commit(struct qed_meta *meta, bool flush)
{
	int r = 0;

	mutex_lock(&meta->commit_mutex);
	if (meta->loaded)
		r = commit_loaded(meta, flush);
	mutex_unlock(&meta->commit_mutex);
	return r;
}

/*----------------------------------------------------------------
 * Check
 *----------------------------------------------------------------
 */

/* Let the walk pass an L2 block, or a table that is not there. */
static int check_block_nr(struct qed_meta *meta, u64 nr)
{
	u64 index = nr >> table_blocks_bits(meta);
	struct qed_block *block;

	block = qed_block_get(meta, nr << QED_BLOCK_BITS, false);
	if (IS_ERR(block))
		return PTR_ERR(block);

	spin_lock_irq(&meta->cache.lock);
	if (block) {
		if (nr == index << table_blocks_bits(meta))
			see_table(meta, index);
		see_entries(meta, block, nr << QED_BLOCK_BITS,
			    QED_BLOCK_ENTRIES);
		meta->check.next = nr + 1;
	} else if (l1_entry(meta, index) == QED_ENTRY_UNALLOCATED) {
		meta->check.next = (index + 1) << table_blocks_bits(meta);
	}
	/* Otherwise a table has just been made: the same again. */
	spin_unlock_irq(&meta->cache.lock);

	if (block)
		qed_block_put(meta, block);
	return 0;
}

static void check_end(struct qed_meta *meta, enum qed_check_state state)
{
	unsigned long *seen;

	spin_lock_irq(&meta->cache.lock);
	seen = meta->check.seen;
	meta->check.seen = NULL;
	meta->check.state = state;
	spin_unlock_irq(&meta->cache.lock);
	vfree(seen);
}

static void check_walk(struct work_struct *work)
{
	struct qed_meta *meta = container_of(work, struct qed_meta, check_work);
	int r = 0;

	while (meta->check.next < meta->check.blocks && !r) {
		cond_resched();
		r = READ_ONCE(meta->scan_stop) ? -EINTR :
		    check_block_nr(meta, meta->check.next);
	}
	if (!r) {
		queue_work(meta->reclaim.wq, &meta->result_work);
		return;
	}
	check_end(meta, QED_CHECK_NONE);
	if (r != -EINTR) {
		DMWARN("%s: the check cannot go on: error %d",
		       meta->client->name, r);
		meta->client->event(meta->client);
	}
}

/*
 * Nothing is reclaimed now, so everything that is in use is either referenced,
 * about to be, or not yet free again.
 */
static void check_result(struct work_struct *work)
{
	struct qed_meta *meta = container_of(work, struct qed_meta, result_work);
	struct qed_check *check = &meta->check;
	u64 used, allocated, accounted, defects;
	bool grown;

	spin_lock_irq(&meta->cache.lock);
	qed_space_count(meta->space, &used, &allocated);
	accounted = meta->nr_others + check->nr_seen +
		    (allocated - meta->nr_entered) +
		    qed_reclaim_nr(&meta->reclaim);
	check->leaks = used > accounted ? used - accounted : 0;
	grown = qed_space_nr(meta->space) != check->nr;
	spin_unlock_irq(&meta->cache.lock);

	defects = atomic64_read(&check->defects.nr);
	check_end(meta, grown ? QED_CHECK_NONE : QED_CHECK_DONE);
	if (grown)
		DMWARN("%s: the check is void: the image device has grown",
		       meta->client->name);
	else
		DMINFO("%s: checked: %llu leaked clusters, %llu defects",
		       meta->client->name, check->leaks, defects);
	if (defects)
		meta_fail(meta, "the check has found defects");
	meta->client->event(meta->client);
}

int qed_meta_check(struct qed_meta *meta)
{
	struct qed_check *check = &meta->check;
	unsigned long *seen;
	int r = 0;
	u64 nr;

	if (!meta->space)
		return -EROFS;
	nr = qed_space_nr(meta->space);
	seen = qed_space_bitmap(nr);
	if (!seen)
		return -ENOMEM;

	spin_lock_irq(&meta->cache.lock);
	if (check->state == QED_CHECK_RUNNING || !meta->known)
		r = -EBUSY;
	else if (meta->frozen)
		r = -EROFS;
	if (!r) {
		memset(check, 0, sizeof(*check));
		check->state = QED_CHECK_RUNNING;
		check->space = meta->space;
		check->seen = seen;
		check->nr = nr;
		check->blocks = qed_guest_tables(&meta->geo) <<
				table_blocks_bits(meta);
		check->defects.name = meta->client->name;
	}
	spin_unlock_irq(&meta->cache.lock);

	if (r)
		vfree(seen);
	else
		queue_work(system_unbound_wq, &meta->check_work);
	return r;
}

/*----------------------------------------------------------------
 * Resizing
 *----------------------------------------------------------------
 */

static bool is_zero_block(const struct qed_block *block, unsigned int from)
{
	return !memchr_inv(block->entries + from, 0,
			   (QED_BLOCK_ENTRIES - from) * sizeof(__le64));
}

/* Does the last table have entries behind the last cluster? */
static int check_last_table(struct qed_meta *meta)
{
	u64 cluster = qed_guest_clusters(&meta->geo);
	u64 end = qed_guest_tables(&meta->geo) << meta->geo.table_shift;
	unsigned int i;
	struct qed_block *block;
	bool zero;

	for (; cluster < end; cluster += QED_BLOCK_ENTRIES - i) {
		i = cluster % QED_BLOCK_ENTRIES;
		block = qed_block_get(meta, cluster, false);
		if (IS_ERR_OR_NULL(block))
			return PTR_ERR_OR_ZERO(block);
		zero = is_zero_block(block, i);
		qed_block_put(meta, block);
		if (!zero)
			return -EUCLEAN;
	}
	return 0;
}

/* Are there tables for what is behind the size, up to the L1 entry @end? */
static int check_l1_beyond(struct qed_meta *meta, u64 end)
{
	u64 index = qed_guest_tables(&meta->geo);
	struct qed_block *block;
	unsigned int i;
	int r = 0;

	block = qed_l1_block_alloc(&meta->cache);
	if (!block)
		return -ENOMEM;
	for (; index < end && !r; index += QED_BLOCK_ENTRIES - i) {
		i = index % QED_BLOCK_ENTRIES;
		r = sync_io(meta, REQ_OP_READ,
			    qed_cluster_sector(&meta->geo, meta->geo.l1_first) +
			    (index >> QED_BLOCK_BITS) * QED_BLOCK_SECTORS,
			    block->entries, QED_BLOCK_SIZE);
		if (!r && !is_zero_block(block, i))
			r = -EUCLEAN;
	}
	qed_l1_block_free(block);
	return r;
}

static int write_image_size(struct qed_meta *meta, u64 size)
{
	int r = -EROFS;

	mutex_lock(&meta->header_mutex);
	if (!READ_ONCE(meta->frozen)) {
		meta->header->image_size = cpu_to_le64(size);
		r = header_write(meta);
	}
	mutex_unlock(&meta->header_mutex);
	if (r && r != -EROFS)
		meta_fail(meta, "cannot write the header");
	return r;
}

int qed_meta_resize(struct qed_meta *meta, u64 sectors)
{
	u64 max = qed_max_image_size(&meta->geo) >> SECTOR_SHIFT;
	u64 now = le64_to_cpu(meta->header->image_size) >> SECTOR_SHIFT;
	struct qed_geometry geo = meta->geo;
	int r;

	if (sectors < now || sectors > max) {
		DMERR("%s: cannot resize to %llu sectors: not from %llu to %llu",
		      meta->client->name, sectors, now, max);
		return -EINVAL;
	}
	geo.image_size = sectors << SECTOR_SHIFT;
	r = check_last_table(meta);
	if (!r)
		r = check_l1_beyond(meta, qed_guest_tables(&geo));
	if (r == -EUCLEAN)
		DMERR("%s: cannot resize: tables or clusters are behind the size: run qed-fsck",
		      meta->client->name);
	if (r)
		return r;
	return write_image_size(meta, geo.image_size);
}

/*----------------------------------------------------------------
 * Loading
 *----------------------------------------------------------------
 */

static void l1_free(struct qed_meta *meta)
{
	u64 i;

	for (i = 0; meta->l1 && i < meta->nr_l1_blocks; i++)
		qed_l1_block_free(meta->l1[i]);
	kvfree(meta->l1);
	meta->l1 = NULL;
}

static int l1_read_block(struct qed_meta *meta, u64 nr)
{
	struct qed_block *block = qed_l1_block_alloc(&meta->cache);
	u64 index = nr << QED_BLOCK_BITS;
	unsigned int i;
	int r;

	if (!block)
		return -ENOMEM;
	meta->l1[nr] = block;
	block->nr = nr;
	block->sector = qed_cluster_sector(&meta->geo, meta->geo.l1_first) +
			nr * QED_BLOCK_SECTORS;
	r = sync_io(meta, REQ_OP_READ, block->sector, block->entries,
		    QED_BLOCK_SIZE);
	if (r) {
		DMERR("%s: cannot read the L1 table at sector %llu: error %d",
		      meta->client->name, (unsigned long long)block->sector, r);
		return r;
	}

	for (i = 0; i < QED_BLOCK_ENTRIES; i++, index++) {
		u64 entry = block_entry(block, i);
		u64 end = (entry >> meta->geo.cluster_shift) +
			  meta->geo.table_clusters;
		const char *what;

		if (entry == QED_ENTRY_UNALLOCATED)
			continue;
		what = qed_entry_defect(&meta->geo, entry,
					meta->geo.table_clusters);
		if (!what && end > meta->zeroed_from)
			what = "is in the range that zeroed_from says is not used";
		if (!what)
			continue;
		qed_defect_l1(&meta->defects, &meta->geo, index, entry, what);
		block->entries[i] = cpu_to_le64(QED_ENTRY_BAD);
	}
	return 0;
}

/* The L1 table as far as the guest's disk needs it, at most 16 MiB */
static int l1_read(struct qed_meta *meta, bool readonly)
{
	u64 i, defects;
	int r;

	meta->nr_l1_blocks = DIV_ROUND_UP_ULL(qed_guest_tables(&meta->geo),
					      QED_BLOCK_ENTRIES);
	meta->l1 = kvcalloc(meta->nr_l1_blocks, sizeof(*meta->l1), GFP_KERNEL);
	if (!meta->l1)
		return -ENOMEM;
	for (i = 0; i < meta->nr_l1_blocks; i++) {
		r = l1_read_block(meta, i);
		if (r)
			return r;
	}
	defects = atomic64_read(&meta->defects.nr);
	if (defects && !readonly) {
		DMERR("%s: %llu defects in the L1 table: run qed-fsck, or open it read_only",
		      meta->client->name, defects);
		return -EUCLEAN;
	}
	return 0;
}

static void scan_args_init(struct qed_meta *meta, struct qed_scan_args *args)
{
	memset(args, 0, sizeof(*args));
	args->bdev = meta->bdev;
	args->geo = &meta->geo;
	args->name = meta->client->name;
	/* What the device grows by meanwhile is new, too. */
	args->zeroed_from = min(meta->zeroed_from, meta->geo.nr_clusters);
}

static void scan_installed(struct qed_meta *meta,
			   struct qed_scan_result *result)
{
	u64 nr = qed_guest_tables(&meta->geo), i;
	u64 others = result->nr_used -
		     result->nr_tables * meta->geo.table_clusters;

	qed_space_install(meta->space, result->used);

	/* What was mapped meanwhile is counted already, and not in the result. */
	for (i = 0; i < nr; i++) {
		if (!result->tables[i])
			continue;
		spin_lock_irq(&meta->cache.lock);
		meta->tables[i] += result->tables[i];
		spin_unlock_irq(&meta->cache.lock);
		others -= result->tables[i];
	}
	spin_lock_irq(&meta->cache.lock);
	meta->mapped += result->mapped;
	meta->nr_others = others;
	WRITE_ONCE(meta->known, true);
	spin_unlock_irq(&meta->cache.lock);
	qed_scan_result_free(result);
}

/* What unmapping needs to know of each table */
static int alloc_counts(struct qed_meta *meta)
{
	u64 nr = qed_guest_tables(&meta->geo);

	meta->tables = kvcalloc(nr, sizeof(*meta->tables), GFP_KERNEL);
	meta->empty = kvcalloc(BITS_TO_LONGS(nr), sizeof(*meta->empty),
			       GFP_KERNEL);
	return meta->tables && meta->empty ? 0 : -ENOMEM;
}

/* Scan a clean image that is in use already, see qed_meta_load(). */
static void background_scan(struct work_struct *work)
{
	struct qed_meta *meta = container_of(work, struct qed_meta, scan_work);
	struct qed_scan_result result;
	struct qed_scan_args args;
	unsigned int noio;
	int r;

	scan_args_init(meta, &args);
	args.space = meta->space;
	args.stop = &meta->scan_stop;
	/* Writes may wait for what it finds, so memory must not wait for them. */
	noio = memalloc_noio_save();
	r = qed_scan(&args, &result);
	memalloc_noio_restore(noio);
	switch (r) {
	case 0:
		scan_installed(meta, &result);
		meta->client->more_space(meta->client);
		break;
	case -EUCLEAN:
		meta_fail(meta, "defective tables");
		break;
	case -EINTR:
		break;
	default:
		DMWARN("%s: cannot scan the tables: error %d: free clusters below %llu stay unused",
		       meta->client->name, r, meta->zeroed_from);
	}
}

static int load_space(struct qed_meta *meta, const struct qed_load_args *args)
{
	struct qed_scan_result result;
	struct qed_scan_args scan_args;
	struct qed_space *space;
	int r;

	if (meta->zeroed_from < meta->geo.l1_first + meta->geo.table_clusters) {
		DMERR("%s: zeroed_from %llu is not above the L1 table",
		      meta->client->name, meta->zeroed_from);
		return -EINVAL;
	}
	space = qed_space_create(meta->geo.nr_clusters, meta->zeroed_from);
	if (!space) {
		DMERR("%s: no memory for a space map of %llu clusters",
		      meta->client->name, meta->geo.nr_clusters);
		return -ENOMEM;
	}
	qed_reclaim_start(&meta->reclaim, space, qed_meta_cluster_bits(meta));
	spin_lock_irq(&meta->cache.lock);
	meta->space = space;
	spin_unlock_irq(&meta->cache.lock);

	if (args->zeroed && !header_needs_check(meta)) {
		queue_work(system_unbound_wq, &meta->scan_work);
		return 0;
	}

	scan_args_init(meta, &scan_args);
	r = qed_scan(&scan_args, &result);
	if (!r)
		scan_installed(meta, &result);
	return r;
}

static int clear_autoclear(struct qed_meta *meta)
{
	int r;

	/* No autoclear bit is known to us: all of them are to be cleared. */
	if (!meta->header->autoclear_features)
		return 0;
	mutex_lock(&meta->header_mutex);
	meta->header->autoclear_features = 0;
	r = header_write(meta);
	mutex_unlock(&meta->header_mutex);
	return r;
}

static void reset(struct qed_meta *meta, const struct qed_load_args *args)
{
	spin_lock_irq(&meta->cache.lock);
	WRITE_ONCE(meta->txn, QED_TXN_DURABLE);
	meta->frozen = args->readonly;
	meta->doubtful = false;
	/* A bit that was read may be in a volatile cache: set it again. */
	meta->marked = false;
	meta->touched = false;
	meta->known = false;
	meta->changes = 0;
	meta->last_change = jiffies;
	meta->mapped = 0;
	meta->nr_empty = 0;
	meta->nr_entered = 0;
	qed_cache_set_stuck(&meta->cache, false);
	meta->check.state = QED_CHECK_NONE;
	meta->zeroed_from = args->zeroed ? args->zeroed_from : U64_MAX;
	spin_unlock_irq(&meta->cache.lock);
	WRITE_ONCE(meta->scan_stop, false);
	meta->defects.name = meta->client->name;
	atomic64_set(&meta->defects.nr, 0);
}

static void set_loaded(struct qed_meta *meta, bool loaded)
{
	mutex_lock(&meta->commit_mutex);
	meta->loaded = loaded;
	mutex_unlock(&meta->commit_mutex);
}

int qed_meta_load(struct qed_meta *meta, const struct qed_load_args *args)
{
	char *error;
	int r;

	reset(meta, args);
	r = header_read(meta, &error);
	if (r)
		return r;

	if (!args->readonly)
		r = alloc_counts(meta);
	/* Space first: its scan finds more, and says more, about a bad L1. */
	if (!r && !args->readonly && !(args->zeroed && !header_needs_check(meta)))
		r = load_space(meta, args);
	if (!r)
		r = l1_read(meta, args->readonly);
	if (!r && !args->readonly && !meta->space)
		r = load_space(meta, args);
	if (!r && !args->readonly)
		r = clear_autoclear(meta);
	if (r) {
		qed_meta_unload(meta);
		return r;
	}
	set_loaded(meta, true);
	return 0;
}

void qed_meta_unload(struct qed_meta *meta)
{
	struct qed_space *space;

	WRITE_ONCE(meta->scan_stop, true);
	cancel_work_sync(&meta->scan_work);
	flush_work(&meta->check_work);
	flush_work(&meta->result_work);
	qed_reclaim_stop(&meta->reclaim);

	/* A commit that was asked for may come at any time. */
	set_loaded(meta, false);
	spin_lock_irq(&meta->cache.lock);
	space = meta->space;
	meta->space = NULL;
	spin_unlock_irq(&meta->cache.lock);

	qed_cache_drop(&meta->cache);
	l1_free(meta);
	kvfree(meta->tables);
	meta->tables = NULL;
	kvfree(meta->empty);
	meta->empty = NULL;
	qed_space_destroy(space);
}

bool qed_meta_is_loaded(struct qed_meta *meta)
{
	return meta->loaded;
}

sector_t qed_meta_guest_sectors(struct qed_meta *meta)
{
	return meta->geo.image_size >> SECTOR_SHIFT;
}

unsigned int qed_meta_cluster_bits(struct qed_meta *meta)
{
	return meta->geo.cluster_shift - SECTOR_SHIFT;
}

struct qed_space *qed_meta_space(struct qed_meta *meta)
{
	return meta->space;
}

int qed_meta_grow(struct qed_meta *meta)
{
	u64 nr = bdev_nr_bytes(meta->bdev) >> meta->geo.cluster_shift;
	unsigned int noio;
	int r;

	if (!meta->space)
		return 0;
	/* Writes wait for it, so memory must not wait for them. */
	noio = memalloc_noio_save();
	r = qed_space_grow(meta->space, nr);
	memalloc_noio_restore(noio);
	return r;
}

void qed_meta_get_stats(struct qed_meta *meta, struct qed_meta_stats *stats)
{
	struct qed_cache *cache = &meta->cache;

	spin_lock_irq(&cache->lock);
	stats->known = meta->known && meta->space;
	stats->total = meta->geo.nr_clusters;
	stats->used = 0;
	stats->free = 0;
	stats->zero = 0;
	if (meta->space) {
		stats->total = qed_space_nr(meta->space);
		stats->free = qed_space_nr_free(meta->space);
		stats->zero = qed_space_nr_zero(meta->space);
		stats->used = stats->total - stats->free;
	}
	stats->reclaiming = qed_reclaim_nr(&meta->reclaim);
	stats->trimming = qed_reclaim_trim_state(&meta->reclaim,
						 &stats->trimmed,
						 &stats->trim_end);
	stats->mapped = meta->mapped;
	stats->virtual = qed_guest_clusters(&meta->geo);
	stats->check = meta->check.state;
	stats->checked = meta->check.next;
	stats->blocks = meta->check.blocks;
	stats->leaks = meta->check.leaks;
	stats->defects = atomic64_read(&meta->check.defects.nr);
	stats->cached_kib = cache->nr_blocks * (QED_BLOCK_SIZE / SZ_1K);
	stats->cache_limit_kib = cache->max_blocks * (QED_BLOCK_SIZE / SZ_1K);
	stats->dirty_blocks = cache->nr_dirty;
	stats->changes = meta->changes;
	stats->commits = meta->commits;
	stats->needs_check = header_needs_check(meta);
	spin_unlock_irq(&cache->lock);
}

/*----------------------------------------------------------------
 * Construction
 *----------------------------------------------------------------
 */

static void init_state(struct qed_meta *meta)
{
	unsigned int i;

	INIT_LIST_HEAD(&meta->loading);
	init_waitqueue_head(&meta->load_wait);
	mutex_init(&meta->commit_mutex);
	mutex_init(&meta->header_mutex);
	for (i = 0; i < QED_TABLE_LOCKS; i++)
		mutex_init(&meta->table_mutex[i]);
	INIT_WORK(&meta->scan_work, background_scan);
	INIT_WORK(&meta->check_work, check_walk);
	INIT_WORK(&meta->result_work, check_result);
}

struct qed_meta *qed_meta_create(struct block_device *bdev,
				 struct qed_meta_client *client,
				 unsigned int cache_kib, bool passdown,
				 char **error)
{
	struct qed_meta *meta;
	int r = -ENOMEM;

	*error = "Cannot allocate the metadata";
	meta = kzalloc(sizeof(*meta), GFP_KERNEL);
	if (!meta)
		return ERR_PTR(r);
	meta->bdev = bdev;
	meta->client = client;
	init_state(meta);

	meta->header = (struct qed_header *)get_zeroed_page(GFP_KERNEL);
	if (!meta->header)
		goto bad_header;
	r = qed_cache_init(&meta->cache, cache_kib / (QED_BLOCK_SIZE / SZ_1K),
			   cache_pressure, client->name);
	if (r)
		goto bad_cache;
	r = mempool_init_page_pool(&meta->pages, QED_COMMIT_PAGES, 0);
	if (r)
		goto bad_pages;
	r = bioset_init(&meta->bs, QED_COMMIT_BIOS, 0, BIOSET_NEED_BVECS);
	if (r)
		goto bad_bios;
	r = qed_reclaim_init(&meta->reclaim, bdev, &reclaim_client,
			     client->name);
	if (r)
		goto bad_reclaim;
	meta->reclaim.passdown = passdown;
	r = header_read(meta, error);
	if (r)
		goto bad_image;
	return meta;

bad_image:
	qed_reclaim_exit(&meta->reclaim);
bad_reclaim:
	bioset_exit(&meta->bs);
bad_bios:
	mempool_exit(&meta->pages);
bad_pages:
	qed_cache_exit(&meta->cache);
bad_cache:
	free_page((unsigned long)meta->header);
bad_header:
	kfree(meta);
	return ERR_PTR(r);
}

void qed_meta_destroy(struct qed_meta *meta)
{
	qed_meta_unload(meta);
	qed_reclaim_exit(&meta->reclaim);
	bioset_exit(&meta->bs);
	mempool_exit(&meta->pages);
	qed_cache_exit(&meta->cache);
	free_page((unsigned long)meta->header);
	kfree(meta);
}

int qed_meta_module_init(void)
{
	return qed_cache_module_init();
}

void qed_meta_module_exit(void)
{
	qed_cache_module_exit();
}
