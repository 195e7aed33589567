// SPDX-License-Identifier: GPL-2.0-only
/*
 * What space of an image is free, see dm-qed-survey.h.
 */

#include <linux/blkdev.h>
#include <linux/device-mapper.h>
#include <linux/minmax.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/workqueue.h>

#include "dm-qed-header.h"
#include "dm-qed-space-build.h"
#include "dm-qed-survey.h"

#define DM_MSG_PREFIX "qed"

/*
 * In jiffies: the first I/O after an activation comes before the scan, unless it is a
 * write that waits for it.
 */
#define QED_SCAN_DELAY		(HZ / 10)

/*----------------------------------------------------------------
 * The scan
 *----------------------------------------------------------------
 */

static void set_scanning(struct qed_meta *meta, bool scanning)
{
	spin_lock_irq(&meta->cache.lock);
	WRITE_ONCE(meta->scanning, scanning);
	spin_unlock_irq(&meta->cache.lock);
}

bool qed_meta_is_scanning(struct qed_meta *meta)
{
	return READ_ONCE(meta->scanning);
}

void qed_meta_hurry_scan(struct qed_meta *meta)
{
	spin_lock_irq(&meta->cache.lock);
	if (meta->scanning && !meta->scan_stop &&
	    delayed_work_pending(&meta->scan_work))
		mod_delayed_work(meta->scan_wq, &meta->scan_work, 0);
	spin_unlock_irq(&meta->cache.lock);
}

static void scan_args_init(struct qed_meta *meta, struct qed_scan_args *args)
{
	memset(args, 0, sizeof(*args));
	args->bdev = meta->bdev;
	args->geo = &meta->geo;
	args->name = meta->client->name;
	/* What the device grows by meanwhile is new, too. */
	args->zeroed_from = min(meta->free_from, meta->geo.nr_clusters);
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
		cond_resched();
	}
	spin_lock_irq(&meta->cache.lock);
	meta->mapped += result->mapped;
	meta->nr_others = others;
	WRITE_ONCE(meta->known, true);
	meta->unsure = false;
	spin_unlock_irq(&meta->cache.lock);
	qed_scan_result_free(result);
}

static void scan_ended(struct qed_meta *meta, int r)
{
	switch (r) {
	case 0:
	case -EINTR:
		break;
	case -EUCLEAN:
		qed_meta_fail(meta, "defective tables");
		break;
	default:
		DMWARN("%s: cannot scan the tables: error %d: free space is unknown until a resume",
		       meta->client->name, r);
	}
	set_scanning(meta, false);
	if (r != -EINTR)
		meta->client->scanned(meta->client);
}

/* Whoever has found no cluster in the part that there was need not wait for the scan. */
static int complete_space(struct qed_meta *meta)
{
	int r = qed_space_complete(meta->space, &meta->scan_stop);

	if (!r && meta->free_from < qed_space_nr(meta->space))
		meta->client->more_space(meta->client);
	return r;
}

/* Scan a clean image that is in use already, see qed_meta_load(). */
static void background_scan(struct work_struct *work)
{
	struct qed_meta *meta = container_of(to_delayed_work(work),
					     struct qed_meta, scan_work);
	struct qed_scan_result result;
	struct qed_scan_args args;
	unsigned int noio;
	int r;

	/* It was hurried when it had begun, and has ended. */
	if (!qed_meta_is_scanning(meta))
		return;
	scan_args_init(meta, &args);
	args.space = meta->space;
	args.stop = &meta->scan_stop;
	args.next = &meta->scan_next;
	/* Writes may wait for what it finds, so memory must not wait for them. */
	noio = memalloc_noio_save();
	r = complete_space(meta) ?: qed_scan(&args, &result);
	memalloc_noio_restore(noio);
	if (!r)
		scan_installed(meta, &result);
	scan_ended(meta, r);
}

void qed_survey_start(struct qed_meta *meta)
{
	atomic64_set(&meta->scan_next, 0);
	set_scanning(meta, true);
	queue_delayed_work(meta->scan_wq, &meta->scan_work, QED_SCAN_DELAY);
}

/* Scan first what may not be as the tables say. */
static int scan_now(struct qed_meta *meta)
{
	struct qed_scan_result result;
	struct qed_scan_args args;
	int r;

	scan_args_init(meta, &args);
	r = qed_space_complete(meta->space, NULL) ?: qed_scan(&args, &result);
	if (!r)
		scan_installed(meta, &result);
	return r;
}

void qed_survey_init(struct qed_meta *meta)
{
	INIT_DELAYED_WORK(&meta->scan_work, background_scan);
}

void qed_survey_stop(struct qed_meta *meta)
{
	/* Whoever needs it hurries it under the lock, and not any more. */
	spin_lock_irq(&meta->cache.lock);
	WRITE_ONCE(meta->scan_stop, true);
	spin_unlock_irq(&meta->cache.lock);
	cancel_delayed_work_sync(&meta->scan_work);
	set_scanning(meta, false);
}

/*----------------------------------------------------------------
 * The space map
 *----------------------------------------------------------------
 */

/*
 * The clusters that are known to be zero without a look at the tables: what the record says,
 * if this is the device that it is about, and what zeroed_from does.
 */
static void known_zeroes(struct qed_meta *meta, const struct qed_load_args *args,
			 u64 *from, u64 *end)
{
	const struct qed_record *record = &meta->record;

	*from = 0;
	*end = 0;
	if (args->known_zeroes && record->zero_end) {
		*from = record->zero_from;
		*end = record->zero_end;
	}
	if (args->zeroed) {
		*from = *end < args->zeroed_from ? args->zeroed_from :
						   min(*from, args->zeroed_from);
		*end = meta->geo.nr_clusters;
	}
}

/* The space map, with what is known already */
static struct qed_space *create_space(struct qed_meta *meta,
				      const struct qed_load_args *args)
{
	u64 nr = meta->geo.nr_clusters, from, end;
	struct qed_space *space;

	space = qed_space_create(nr, meta->free_from, meta->geo.table_clusters);
	if (!space) {
		DMERR("%s: no memory for a space map of %llu clusters",
		      meta->client->name, nr);
		return NULL;
	}
	known_zeroes(meta, args, &from, &end);
	qed_space_limit_zeroes(space, from, end);
	return space;
}

bool qed_survey_is_first(struct qed_meta *meta)
{
	return qed_header_needs_check(meta) && !meta->recorded;
}

int qed_survey_load(struct qed_meta *meta, const struct qed_load_args *args)
{
	struct qed_space *space;

	if (meta->free_from < meta->geo.l1_first + meta->geo.table_clusters) {
		DMERR("%s: zeroed_from %llu is not above the L1 table",
		      meta->client->name, meta->free_from);
		return -EINVAL;
	}
	space = create_space(meta, args);
	if (!space)
		return -ENOMEM;
	qed_trim_start(&meta->trim);
	qed_reclaim_start(&meta->reclaim, space, qed_meta_cluster_bits(meta));
	spin_lock_irq(&meta->cache.lock);
	meta->space = space;
	spin_unlock_irq(&meta->cache.lock);

	return qed_survey_is_first(meta) ? scan_now(meta) : 0;
}
