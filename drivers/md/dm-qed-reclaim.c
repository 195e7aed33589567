// SPDX-License-Identifier: GPL-2.0-only
/*
 * The way of clusters back to free space, see dm-qed-reclaim.h.
 */

#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/device-mapper.h>
#include <linux/err.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/sort.h>

#include "dm-qed-reclaim.h"

#define DM_MSG_PREFIX "qed"

/* More runs than this are not kept at a time: 6 MiB */
#define QED_MAX_RUNS		(256 * 1024)

/* So much is trimmed in a step */
#define QED_TRIM_RUNS		256
#define QED_TRIM_CLUSTERS	4096

/*----------------------------------------------------------------
 * Bios in flight
 *----------------------------------------------------------------
 */

static void generation_drained(struct percpu_ref *ref)
{
	complete(&container_of(ref, struct qed_generation, ref)->drained);
}

static int generation_init(struct qed_generation *gen)
{
	init_completion(&gen->drained);
	return percpu_ref_init(&gen->ref, generation_drained,
			       PERCPU_REF_ALLOW_REINIT, GFP_KERNEL);
}

/* Wait for the bios that were mapped before this was called. */
static void wait_for_bios(struct qed_reclaim *reclaim)
{
	struct qed_generation *gen = reclaim->current_gen;
	struct qed_generation *next = reclaim->generations;

	if (next == gen)
		next++;
	reinit_completion(&gen->drained);
	/* Who sees it sees the tables as they have become. */
	smp_store_release(&reclaim->current_gen, next);
	percpu_ref_kill(&gen->ref);
	wait_for_completion(&gen->drained);
	percpu_ref_reinit(&gen->ref);
}

/*----------------------------------------------------------------
 * The image device
 *----------------------------------------------------------------
 */

/* Which way is there to give clusters to the image device? */
static bool can_zero(struct qed_reclaim *reclaim)
{
	return bdev_write_zeroes_sectors(reclaim->bdev);
}

static bool can_discard(struct qed_reclaim *reclaim)
{
	return bdev_max_discard_sectors(reclaim->bdev);
}

static int run_cmp(const void *a, const void *b)
{
	const struct qed_run *x = a, *y = b;

	return x->first < y->first ? -1 : x->first > y->first;
}

/*
 * All runs of the drops, in order, and adjacent ones as one. Clusters that were
 * allocated one after the other may have been mapped anywhere, and workers drop
 * blocks of tables in any order. Returns NULL without memory.
 */
static struct qed_run *join_runs(struct list_head *drops, unsigned int *nr)
{
	unsigned int i, last = 0, count = 0;
	struct qed_drop *drop;
	struct qed_run *runs;

	list_for_each_entry(drop, drops, list)
		count += drop->nr;
	runs = kvmalloc_array(count, sizeof(*runs), GFP_NOIO | __GFP_NOWARN);
	if (!runs)
		return NULL;

	count = 0;
	list_for_each_entry(drop, drops, list) {
		memcpy(&runs[count], drop->runs, drop->nr * sizeof(*runs));
		count += drop->nr;
	}
	sort(runs, count, sizeof(*runs), run_cmp, NULL);
	for (i = 1; i < count; i++) {
		if (runs[i].first == runs[last].first + runs[last].nr)
			runs[last].nr += runs[i].nr;
		else
			runs[++last] = runs[i];
	}
	*nr = count ? last + 1 : 0;
	return runs;
}

static int pass_down_run(struct qed_reclaim *reclaim, struct bio **bio,
			 const struct qed_run *run)
{
	sector_t sector = run->first << reclaim->cluster_bits;
	sector_t nr = run->nr << reclaim->cluster_bits;

	if (can_zero(reclaim))
		return __blkdev_issue_zeroout(reclaim->bdev, sector, nr,
					      GFP_NOIO, bio,
					      BLKDEV_ZERO_NOFALLBACK);
	__blkdev_issue_discard(reclaim->bdev, sector, nr, GFP_NOIO, bio);
	return 0;
}

/*
 * Give the clusters to the image device. Returns whether they are durably zero: a
 * device that takes none of them back has them as they were.
 */
static bool pass_down(struct qed_reclaim *reclaim, struct list_head *drops)
{
	struct qed_drop *drop;
	struct bio *bio = NULL;
	struct blk_plug plug;
	struct qed_run *runs;
	unsigned int i, nr;
	int r = 0, r2;

	runs = join_runs(drops, &nr);
	blk_start_plug(&plug);
	if (runs) {
		for (i = 0; i < nr && !r; i++)
			r = pass_down_run(reclaim, &bio, &runs[i]);
	} else {
		list_for_each_entry(drop, drops, list)
			for (i = 0; i < drop->nr && !r; i++)
				r = pass_down_run(reclaim, &bio,
						  &drop->runs[i]);
	}
	if (bio) {
		r2 = submit_bio_wait(bio);
		bio_put(bio);
		r = r ? r : r2;
	}
	blk_finish_plug(&plug);
	kvfree(runs);
	if (r)
		DMWARN_LIMIT("%s: cannot give free clusters to the image device: error %d",
			     reclaim->name, r);
	if (r || !can_zero(reclaim))
		return false;

	r = blkdev_issue_flush(reclaim->bdev);
	if (r)
		reclaim->client->flush_failed(reclaim);
	return !r;
}

/* The clusters of the drops are free from now on; frees the drops, too. */
static void make_free(struct qed_reclaim *reclaim, struct list_head *drops,
		      bool zero)
{
	struct qed_drop *drop, *next;
	u64 nr_runs = 0, nr_clusters = 0;
	unsigned int i;

	list_for_each_entry_safe(drop, next, drops, list) {
		for (i = 0; i < drop->nr; i++) {
			drop->runs[i].zero = zero;
			qed_space_free(reclaim->space, &drop->runs[i]);
			nr_clusters += drop->runs[i].nr;
		}
		nr_runs += drop->nr;
		kfree(drop);
		cond_resched();
	}

	spin_lock_irq(&reclaim->lock);
	reclaim->nr_runs -= nr_runs;
	reclaim->nr_clusters -= nr_clusters;
	spin_unlock_irq(&reclaim->lock);
	wake_up_all(&reclaim->wait);
	reclaim->client->more_space(reclaim);
}

static void reclaim_durable(struct work_struct *work)
{
	struct qed_reclaim *reclaim = container_of(work, struct qed_reclaim,
						   work);
	LIST_HEAD(drops);
	bool zero = false;

	spin_lock_irq(&reclaim->lock);
	list_splice_init(&reclaim->durable, &drops);
	spin_unlock_irq(&reclaim->lock);
	if (list_empty(&drops))
		return;

	wait_for_bios(reclaim);
	if (reclaim->passdown && (can_zero(reclaim) || can_discard(reclaim)))
		zero = pass_down(reclaim, &drops);
	make_free(reclaim, &drops, zero);
}

/*----------------------------------------------------------------
 * Trimming
 *----------------------------------------------------------------
 */

/* Take the next free clusters, so that nobody else does. */
static void trim_take(struct qed_reclaim *reclaim, struct qed_drop *drop)
{
	u64 next = reclaim->trim_next, left = QED_TRIM_CLUSTERS;
	u64 end = qed_space_end(reclaim->space);
	struct qed_run run;

	/* What is above the high-water mark by now is not to be touched. */
	spin_lock_irq(&reclaim->lock);
	reclaim->trim_end = min(reclaim->trim_end, end);
	spin_unlock_irq(&reclaim->lock);

	while (drop->nr < drop->max && left &&
	       qed_space_take_unzeroed(reclaim->space, next,
				       reclaim->trim_end, left, &run)) {
		qed_drop_add(drop, run.first, run.nr);
		next = run.first + run.nr;
		left -= run.nr;
	}
	if (drop->nr < drop->max && left)
		next = reclaim->trim_end;

	spin_lock_irq(&reclaim->lock);
	reclaim->nr_runs += drop->nr;
	reclaim->nr_clusters += QED_TRIM_CLUSTERS - left;
	/* It may have been stopped. */
	reclaim->trim_next = min(next, reclaim->trim_end);
	spin_unlock_irq(&reclaim->lock);
}

static void trim_step(struct work_struct *work)
{
	struct qed_reclaim *reclaim = container_of(work, struct qed_reclaim,
						   trim_work);
	struct qed_drop *drop = qed_drop_alloc(QED_TRIM_RUNS);
	LIST_HEAD(drops);
	bool more;

	if (drop) {
		list_add(&drop->list, &drops);
		trim_take(reclaim, drop);
		if (drop->nr)
			make_free(reclaim, &drops, pass_down(reclaim, &drops));
		else
			kfree(drop);
	}

	spin_lock_irq(&reclaim->lock);
	if (!drop)
		reclaim->trim_next = reclaim->trim_end;
	more = reclaim->trim_next < reclaim->trim_end;
	spin_unlock_irq(&reclaim->lock);
	if (!drop)
		DMWARN("%s: no memory to trim", reclaim->name);
	/* What else there is to reclaim comes before the next step. */
	if (more)
		queue_work(reclaim->wq, &reclaim->trim_work);
	else
		reclaim->client->trimmed(reclaim);
}

int qed_reclaim_trim(struct qed_reclaim *reclaim)
{
	u64 end = qed_space_end(reclaim->space);
	bool busy;

	if (!can_zero(reclaim) && !can_discard(reclaim))
		return -EOPNOTSUPP;

	spin_lock_irq(&reclaim->lock);
	busy = reclaim->trim_next < reclaim->trim_end;
	if (!busy) {
		reclaim->trim_next = 0;
		reclaim->trim_end = end;
	}
	spin_unlock_irq(&reclaim->lock);
	if (busy)
		return -EBUSY;
	queue_work(reclaim->wq, &reclaim->trim_work);
	return 0;
}

bool qed_reclaim_trim_state(struct qed_reclaim *reclaim, u64 *next, u64 *end)
{
	unsigned long flags;

	spin_lock_irqsave(&reclaim->lock, flags);
	*next = reclaim->trim_next;
	*end = reclaim->trim_end;
	spin_unlock_irqrestore(&reclaim->lock, flags);
	return *next < *end;
}

/*----------------------------------------------------------------
 * Drops
 *----------------------------------------------------------------
 */

struct qed_drop *qed_drop_alloc(unsigned int max)
{
	struct qed_drop *drop = kmalloc(struct_size(drop, runs, max),
					GFP_NOIO | __GFP_NOWARN);

	if (drop) {
		drop->nr = 0;
		drop->max = max;
	}
	return drop;
}

void qed_drop_add(struct qed_drop *drop, u64 first, u64 nr)
{
	struct qed_run *run = &drop->runs[drop->nr++];

	run->first = first;
	run->nr = nr;
	run->zero = false;
}

void qed_reclaim_drop(struct qed_reclaim *reclaim, struct qed_drop *drop)
{
	unsigned long flags;
	unsigned int i;

	spin_lock_irqsave(&reclaim->lock, flags);
	list_add_tail(&drop->list, &reclaim->dropped);
	reclaim->nr_runs += drop->nr;
	for (i = 0; i < drop->nr; i++)
		reclaim->nr_clusters += drop->runs[i].nr;
	spin_unlock_irqrestore(&reclaim->lock, flags);
}

void qed_reclaim_collect(struct qed_reclaim *reclaim)
{
	unsigned long flags;

	spin_lock_irqsave(&reclaim->lock, flags);
	list_splice_tail_init(&reclaim->dropped, &reclaim->committing);
	spin_unlock_irqrestore(&reclaim->lock, flags);
}

void qed_reclaim_durable(struct qed_reclaim *reclaim)
{
	unsigned long flags;
	bool any;

	spin_lock_irqsave(&reclaim->lock, flags);
	list_splice_tail_init(&reclaim->committing, &reclaim->durable);
	any = !list_empty(&reclaim->durable);
	spin_unlock_irqrestore(&reclaim->lock, flags);
	if (any)
		queue_work(reclaim->wq, &reclaim->work);
}

u64 qed_reclaim_nr(struct qed_reclaim *reclaim)
{
	return READ_ONCE(reclaim->nr_clusters);
}

bool qed_reclaim_is_full(struct qed_reclaim *reclaim)
{
	return READ_ONCE(reclaim->nr_runs) >= QED_MAX_RUNS;
}

void qed_reclaim_wait(struct qed_reclaim *reclaim)
{
	wait_event(reclaim->wait, !qed_reclaim_is_full(reclaim));
}

static void trim_stop(struct qed_reclaim *reclaim)
{
	spin_lock_irq(&reclaim->lock);
	reclaim->trim_end = reclaim->trim_next;
	spin_unlock_irq(&reclaim->lock);
	flush_work(&reclaim->trim_work);
}

void qed_reclaim_flush(struct qed_reclaim *reclaim)
{
	trim_stop(reclaim);
	flush_work(&reclaim->work);
}

/*----------------------------------------------------------------
 * Construction
 *----------------------------------------------------------------
 */

int qed_reclaim_init(struct qed_reclaim *reclaim, struct block_device *bdev,
		     const struct qed_reclaim_client *client, const char *name)
{
	int r;

	reclaim->bdev = bdev;
	reclaim->client = client;
	reclaim->name = name;
	spin_lock_init(&reclaim->lock);
	INIT_LIST_HEAD(&reclaim->dropped);
	INIT_LIST_HEAD(&reclaim->committing);
	INIT_LIST_HEAD(&reclaim->durable);
	init_waitqueue_head(&reclaim->wait);
	INIT_WORK(&reclaim->work, reclaim_durable);
	INIT_WORK(&reclaim->trim_work, trim_step);

	reclaim->current_gen = reclaim->generations;
	r = generation_init(&reclaim->generations[0]);
	if (r)
		return r;
	r = generation_init(&reclaim->generations[1]);
	if (r)
		goto bad_generation;
	/* Writes may wait for space, so memory must not wait for it. */
	reclaim->wq = alloc_ordered_workqueue("dm-qed-reclaim", WQ_MEM_RECLAIM);
	r = -ENOMEM;
	if (!reclaim->wq)
		goto bad_wq;
	return 0;

bad_wq:
	percpu_ref_exit(&reclaim->generations[1].ref);
bad_generation:
	percpu_ref_exit(&reclaim->generations[0].ref);
	return r;
}

void qed_reclaim_exit(struct qed_reclaim *reclaim)
{
	destroy_workqueue(reclaim->wq);
	percpu_ref_exit(&reclaim->generations[1].ref);
	percpu_ref_exit(&reclaim->generations[0].ref);
}

void qed_reclaim_start(struct qed_reclaim *reclaim, struct qed_space *space,
		       unsigned int cluster_bits)
{
	reclaim->space = space;
	reclaim->cluster_bits = cluster_bits;
}

void qed_reclaim_stop(struct qed_reclaim *reclaim)
{
	struct qed_drop *drop, *next;

	trim_stop(reclaim);
	cancel_work_sync(&reclaim->work);

	list_splice_init(&reclaim->committing, &reclaim->dropped);
	list_splice_init(&reclaim->durable, &reclaim->dropped);
	list_for_each_entry_safe(drop, next, &reclaim->dropped, list)
		kfree(drop);
	INIT_LIST_HEAD(&reclaim->dropped);
	reclaim->nr_runs = 0;
	reclaim->nr_clusters = 0;
	reclaim->space = NULL;
}
