// SPDX-License-Identifier: GPL-2.0-only
/*
 * The metadata of a QED image: how it is loaded and unloaded, see dm-qed-meta.h.
 */

#include <linux/blkdev.h>
#include <linux/device-mapper.h>
#include <linux/err.h>
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/workqueue.h>

#include "dm-qed-header.h"
#include "dm-qed-judge.h"
#include "dm-qed-l1.h"
#include "dm-qed-space-build.h"
#include "dm-qed-survey.h"
#include "dm-qed-sync.h"
#include "dm-qed-walk.h"

#define DM_MSG_PREFIX "qed"

/*----------------------------------------------------------------
 * Callbacks of the cache, the reclaim and the trim
 *----------------------------------------------------------------
 */

static void reclaim_more_space(struct qed_reclaim *reclaim)
{
	struct qed_meta *meta = container_of(reclaim, struct qed_meta, reclaim);

	meta->client->more_space(meta->client);
}

static bool reclaim_may_write(struct qed_reclaim *reclaim)
{
	struct qed_meta *meta = container_of(reclaim, struct qed_meta, reclaim);

	return !READ_ONCE(meta->frozen);
}

static int reclaim_flush(struct qed_reclaim *reclaim)
{
	struct qed_meta *meta = container_of(reclaim, struct qed_meta, reclaim);
	int r = qed_flush(meta);

	if (r)
		qed_meta_fail(meta, "cannot flush");
	return r;
}

static const struct qed_reclaim_client reclaim_client = {
	.more_space = reclaim_more_space,
	.may_write = reclaim_may_write,
	.flush = reclaim_flush,
};

/*
 * That free clusters are not touched is what a clean image promises, so it is not
 * clean while they are trimmed.
 */
static int begin_trim(struct qed_trim *trim)
{
	struct qed_meta *meta = container_of(trim, struct qed_meta, trim);
	int r = qed_meta_begin(meta);

	/* It is full of blocks that are to be written, but not of ours. */
	if (r == -ENOSPC)
		r = qed_meta_commit(meta, false) ?: qed_meta_begin(meta);
	return r;
}

static bool begin_ahead(struct qed_trim *trim)
{
	return qed_begin_marked(container_of(trim, struct qed_meta, trim));
}

static void end_trim(struct qed_trim *trim)
{
	qed_meta_end(container_of(trim, struct qed_meta, trim), NULL);
}

static void trimmed(struct qed_trim *trim)
{
	struct qed_meta *meta = container_of(trim, struct qed_meta, trim);

	meta->client->event(meta->client);
}

static const struct qed_trim_client trim_client = {
	.begin = begin_trim,
	.begin_ahead = begin_ahead,
	.end = end_trim,
	.trimmed = trimmed,
};

static void cache_pressure(struct qed_cache *cache)
{
	struct qed_meta *meta = container_of(cache, struct qed_meta, cache);

	meta->client->want_commit(meta->client, true);
}

/*----------------------------------------------------------------
 * What comes to rest
 *----------------------------------------------------------------
 */

/* Nothing has changed for a while. What a failed write may have left stays as it is. */
static void come_to_rest(struct qed_meta *meta, bool touched)
{
	if (touched && qed_meta_is_durable(meta))
		return;
	if (!qed_meta_commit(meta, true))
		qed_header_clean(meta, false);
}

unsigned long qed_meta_idle(struct qed_meta *meta, unsigned long idle)
{
	unsigned long now = jiffies, due;
	bool rest, touched;

	spin_lock_irq(&meta->cache.lock);
	due = meta->last_change + idle;
	rest = !meta->changes && !time_before(now, due);
	touched = meta->touched;
	spin_unlock_irq(&meta->cache.lock);

	if (rest && qed_header_needs_check(meta))
		come_to_rest(meta, touched);
	/* Who does not write the header, for whatever reason, would never look at it. */
	if (qed_header_needs_check(meta))
		qed_header_glance(meta);
	/* What has failed stays as it is; a header that could not be read is tried again. */
	if (READ_ONCE(meta->frozen))
		return 0;
	if (time_before(now, due))
		return due - now;
	return qed_header_needs_check(meta) ? idle : 0;
}

/* The scan, and then the check: that may need a commit to go on to its end. */
static void stop_walks(struct qed_meta *meta)
{
	qed_survey_stop(meta);
	qed_walk_stop(meta);
}

int qed_meta_close(struct qed_meta *meta)
{
	int r;

	qed_survey_stop(meta);
	/* What it leaves is free, but not known to be zero: no reason to wait, or to begin. */
	qed_trim_pause(&meta->trim);
	r = qed_meta_commit(meta, true);
	if (r)
		return r;
	r = qed_header_clean(meta, true);
	/*
	 * Without space for that nothing is lost: the next activation finds an image that was
	 * left active, and free space by a scan.
	 */
	return r == -ENOSPC && !READ_ONCE(meta->frozen) ? 0 : r;
}

u64 qed_meta_reclaiming(struct qed_meta *meta)
{
	return qed_reclaim_nr(&meta->reclaim);
}

u64 qed_meta_nr_free(struct qed_meta *meta)
{
	return qed_reclaim_nr_free(&meta->reclaim);
}

int qed_meta_trim(struct qed_meta *meta)
{
	if (READ_ONCE(meta->frozen))
		return -EROFS;
	return READ_ONCE(meta->known) ? qed_trim_all(&meta->trim) : -EBUSY;
}

/*----------------------------------------------------------------
 * Loading
 *----------------------------------------------------------------
 */

/* What unmapping needs to know of each table */
static int alloc_counts(struct qed_meta *meta)
{
	u64 nr = qed_guest_tables(&meta->geo);

	meta->tables = kvcalloc(nr, sizeof(*meta->tables), GFP_KERNEL);
	meta->empty = kvcalloc(BITS_TO_LONGS(nr), sizeof(*meta->empty),
			       GFP_KERNEL);
	return meta->tables && meta->empty ? 0 : -ENOMEM;
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
	meta->unsure = false;
	meta->known = false;
	meta->changes = 0;
	meta->last_change = jiffies;
	meta->mapped = 0;
	meta->nr_empty = 0;
	meta->nr_entered = 0;
	qed_cache_set_stuck(&meta->cache, false);
	meta->check.state = QED_CHECK_NONE;
	spin_unlock_irq(&meta->cache.lock);
	WRITE_ONCE(meta->scan_stop, false);
	meta->defects.name = meta->client->name;
	atomic64_set(&meta->defects.nr, 0);
}

/* Waits for a commit that is being made; another one finds nothing to do. */
static void set_state(struct qed_meta *meta, bool loaded, bool running)
{
	mutex_lock(&meta->commit_mutex);
	meta->loaded = loaded;
	meta->running = running;
	mutex_unlock(&meta->commit_mutex);
}

void qed_meta_pause(struct qed_meta *meta)
{
	set_state(meta, true, false);
	stop_walks(meta);
	qed_trim_pause(&meta->trim);
}

int qed_meta_continue(struct qed_meta *meta)
{
	int r;

	/* What has failed is of use for reads only, and may be out of date. */
	if (READ_ONCE(meta->frozen))
		return 0;
	r = qed_header_look(meta);
	if (r)
		return READ_ONCE(meta->frozen) ? 0 : r;
	WRITE_ONCE(meta->scan_stop, false);
	set_state(meta, true, true);
	qed_reclaim_continue(&meta->reclaim);
	if (meta->space && !READ_ONCE(meta->known))
		qed_survey_start(meta);
	if (!qed_meta_is_durable(meta))
		meta->client->want_commit(meta->client, true);
	return 0;
}

/* In blocks: what maps the whole disk, but not too much of the memory */
static u64 default_cache(u64 nr)
{
	u64 max = ((u64)totalram_pages() << PAGE_SHIFT) / 64;

	max = clamp_t(u64, max, QED_MIN_CACHE_KIB * SZ_1K, QED_MAX_AUTO_CACHE);
	return clamp_t(u64, nr, QED_MIN_CACHE_KIB / QED_BLOCK_KIB,
		       max / QED_BLOCK_SIZE);
}

static int size_cache(struct qed_meta *meta)
{
	u64 nr = DIV_ROUND_UP_ULL(qed_guest_clusters(&meta->geo),
				  QED_BLOCK_ENTRIES);

	return qed_cache_set_limit(&meta->cache, nr, meta->cache_kib ?
				   meta->cache_kib / QED_BLOCK_KIB :
				   default_cache(nr));
}

/*
 * What is going to be read may be in the cache of the disk only, which has outlived whoever
 * wrote it. Nothing follows from it before it is durable.
 */
static int flush_found(struct qed_meta *meta)
{
	int r = qed_flush(meta);

	if (r)
		DMERR("%s: cannot flush the image device: error %d",
		      meta->client->name, r);
	return r;
}

/* What the header and the record say. Where the image is refused nothing is written. */
static int load_header(struct qed_meta *meta, const struct qed_load_args *args)
{
	char *error;
	int r;

	r = qed_header_read(meta, &error);
	if (!r)
		r = qed_meta_check_length(meta, args->sectors);
	if (r)
		return r;
	if (meta->geo.backed && !args->backing) {
		DMERR("%s: the image has got a backing file, and the table has none",
		      meta->client->name);
		return -EINVAL;
	}
	if (!args->readonly)
		qed_owner_enter(&meta->owner, args->host, args->device);
	r = qed_judge(meta, args);
	if (r)
		return r;
	meta->unsure = qed_header_needs_check(meta);
	meta->free_from = args->zeroed ? args->zeroed_from : U64_MAX;
	if (!args->readonly && meta->record.end)
		meta->free_from = min(meta->free_from, meta->record.end);
	return size_cache(meta);
}

static int load_to_write(struct qed_meta *meta, const struct qed_load_args *args)
{
	int r;

	r = alloc_counts(meta);
	if (!r && qed_header_needs_check(meta))
		r = flush_found(meta);
	/* Space first: its scan finds more, and says more, about a bad L1. */
	if (!r && qed_survey_is_first(meta))
		r = qed_survey_load(meta, args);
	if (!r)
		r = qed_l1_read(meta, false);
	if (!r && !meta->space)
		r = qed_survey_load(meta, args);
	if (!r)
		r = qed_header_take(meta, args->takeover);
	/* Not before it is ours: somebody might change what has been read. */
	if (!r && !meta->known)
		qed_survey_start(meta);
	return r;
}

/* What is below others: it may be on another disk than what follows from it. */
static int load_to_read(struct qed_meta *meta, const struct qed_load_args *args)
{
	int r = args->below ? flush_found(meta) : 0;

	return r ? r : qed_l1_read(meta, true);
}

int qed_meta_load(struct qed_meta *meta, const struct qed_load_args *args)
{
	int r;

	reset(meta, args);
	r = load_header(meta, args);
	if (!r)
		r = args->readonly ? load_to_read(meta, args) :
				     load_to_write(meta, args);
	if (r) {
		qed_meta_unload(meta);
		return r;
	}
	set_state(meta, true, true);
	return 0;
}

void qed_meta_unload(struct qed_meta *meta)
{
	struct qed_space *space;

	/* A commit that was asked for may come at any time: it is to find nothing. */
	set_state(meta, false, false);
	stop_walks(meta);
	qed_trim_pause(&meta->trim);
	qed_reclaim_stop(&meta->reclaim);

	spin_lock_irq(&meta->cache.lock);
	space = meta->space;
	meta->space = NULL;
	spin_unlock_irq(&meta->cache.lock);

	qed_cache_drop(&meta->cache);
	qed_l1_free(meta);
	kvfree(meta->tables);
	meta->tables = NULL;
	kvfree(meta->empty);
	meta->empty = NULL;
	qed_space_destroy(space);
	/* Last: until now something of ours may have been under way. */
	qed_owner_leave(&meta->owner);
}

bool qed_meta_is_loaded(struct qed_meta *meta)
{
	return meta->loaded;
}

sector_t qed_meta_guest_sectors(struct qed_meta *meta)
{
	return meta->geo.image_size >> SECTOR_SHIFT;
}

int qed_meta_check_length(struct qed_meta *meta, sector_t sectors)
{
	sector_t size = qed_meta_guest_sectors(meta);

	if (sectors <= size)
		return 0;
	DMERR("%s: table length %llu exceeds the image size of %llu sectors",
	      meta->client->name, (unsigned long long)sectors,
	      (unsigned long long)size);
	return -EINVAL;
}

unsigned int qed_meta_cluster_bits(struct qed_meta *meta)
{
	return meta->geo.cluster_shift - SECTOR_SHIFT;
}

struct qed_space *qed_meta_space(struct qed_meta *meta)
{
	return meta->space;
}

void qed_meta_queue_work(struct qed_meta *meta, struct work_struct *work)
{
	queue_work(meta->scan_wq, work);
}

struct qed_flushes *qed_meta_flushes(struct qed_meta *meta)
{
	return &meta->flushes;
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
	stats->blocks = qed_guest_tables(&meta->geo) << table_blocks_bits(meta);
	stats->scanning = meta->scanning;
	/* The L1 table may have entries beyond the size of the disk. */
	stats->scanned = min_t(u64, atomic64_read(&meta->scan_next),
			       stats->blocks);
	stats->ahead = READ_ONCE(meta->trim.nr_ahead);
	stats->trimming = qed_trim_state(&meta->trim, &stats->trimmed,
					 &stats->trim_end);
	stats->mapped = meta->mapped;
	stats->virtual = qed_guest_clusters(&meta->geo);
	stats->check = meta->check.state;
	stats->checked = meta->check.next;
	stats->leaks = meta->check.leaks;
	stats->defects = atomic64_read(&meta->check.defects.nr);
	stats->cached_kib = cache->nr_blocks * QED_BLOCK_KIB;
	stats->cache_limit_kib = cache->max_blocks * QED_BLOCK_KIB;
	stats->dirty_blocks = cache->nr_dirty;
	stats->changes = meta->changes;
	stats->commits = meta->commits;
	stats->needs_check = qed_header_needs_check(meta);
	spin_unlock_irq(&cache->lock);
}

/*----------------------------------------------------------------
 * Construction
 *----------------------------------------------------------------
 */

static void init_state(struct qed_meta *meta)
{
	unsigned int i;

	meta->loading = RB_ROOT;
	mutex_init(&meta->commit_mutex);
	mutex_init(&meta->header_mutex);
	for (i = 0; i < QED_TABLE_LOCKS; i++)
		mutex_init(&meta->table_mutex[i]);
	qed_owner_init(&meta->owner);
	qed_survey_init(meta);
	qed_walk_init(meta);
}

struct qed_meta *qed_meta_create(struct block_device *bdev,
				 struct qed_meta_client *client,
				 unsigned int cache_kib, bool passdown,
				 u64 zero_ahead, char **error)
{
	struct qed_meta *meta;
	int r = -ENOMEM;

	*error = "Cannot allocate the metadata";
	meta = kzalloc(sizeof(*meta), GFP_KERNEL);
	if (!meta)
		return ERR_PTR(r);
	meta->bdev = bdev;
	meta->client = client;
	meta->cache_kib = cache_kib;
	qed_flushes_init(&meta->flushes);
	init_state(meta);

	meta->header = (struct qed_header *)get_zeroed_page(GFP_KERNEL);
	meta->next = (struct qed_header *)get_zeroed_page(GFP_KERNEL);
	if (!meta->header || !meta->next)
		goto bad_header;
	r = qed_cache_init(&meta->cache, cache_pressure, client->name);
	if (r)
		goto bad_cache;
	r = mempool_init(&meta->copies, QED_COMMIT_COPIES, qed_entries_alloc,
			 qed_entries_free, NULL);
	if (r)
		goto bad_copies;
	r = bioset_init(&meta->bs, QED_COMMIT_BIOS, 0, BIOSET_NEED_BVECS);
	if (r)
		goto bad_bios;
	r = qed_reclaim_init(&meta->reclaim, bdev, &reclaim_client,
			     client->name);
	if (r)
		goto bad_reclaim;
	meta->reclaim.passdown = passdown;
	meta->reclaim.zeroer.keep = !passdown;
	qed_trim_init(&meta->trim, &meta->reclaim, &trim_client, zero_ahead);
	r = -ENOMEM;
	/* Writes may wait for the scan. */
	meta->scan_wq = alloc_workqueue("dm-qed-scan/%s",
					WQ_UNBOUND | WQ_MEM_RECLAIM, 0,
					client->name);
	if (!meta->scan_wq)
		goto bad_scan_wq;
	r = qed_header_read(meta, error);
	if (r)
		goto bad_image;
	return meta;

bad_image:
	destroy_workqueue(meta->scan_wq);
bad_scan_wq:
	qed_reclaim_exit(&meta->reclaim);
bad_reclaim:
	bioset_exit(&meta->bs);
bad_bios:
	mempool_exit(&meta->copies);
bad_copies:
	qed_cache_exit(&meta->cache);
bad_cache:
bad_header:
	free_page((unsigned long)meta->next);
	free_page((unsigned long)meta->header);
	kfree(meta);
	return ERR_PTR(r);
}

int qed_meta_reread(struct qed_meta *meta, char **error)
{
	return qed_header_read(meta, error);
}

void qed_meta_destroy(struct qed_meta *meta)
{
	qed_meta_unload(meta);
	destroy_workqueue(meta->scan_wq);
	qed_reclaim_exit(&meta->reclaim);
	bioset_exit(&meta->bs);
	mempool_exit(&meta->copies);
	qed_cache_exit(&meta->cache);
	free_page((unsigned long)meta->next);
	free_page((unsigned long)meta->header);
	kfree(meta);
}

int qed_meta_module_init(void)
{
	int r = qed_walk_module_init();

	if (r)
		return r;
	r = qed_cache_module_init();
	if (r)
		qed_walk_module_exit();
	return r;
}

void qed_meta_module_exit(void)
{
	qed_cache_module_exit();
	qed_walk_module_exit();
}
