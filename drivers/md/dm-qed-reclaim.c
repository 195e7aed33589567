// SPDX-License-Identifier: GPL-2.0-only
/*
 * The way of clusters back to free space, see dm-qed-reclaim.h.
 */

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

/* So many are sorted at a time, and given to the device, unless it is one drop */
#define QED_SORT_RUNS		(16 * 1024)

/* So much is trimmed in a step */
#define QED_TRIM_RUNS		256
#define QED_TRIM_CLUSTERS	4096

/*----------------------------------------------------------------
 * Bios in flight
 *----------------------------------------------------------------
 */

static void generation_drained(struct percpu_ref *ref)
{
	struct qed_generation *gen = container_of(ref, struct qed_generation,
						  ref);
	struct qed_reclaim *reclaim = gen->reclaim;
	unsigned long flags;

	/* All of it under the lock: then the reclaim may be gone. */
	spin_lock_irqsave(&reclaim->lock, flags);
	gen->drained = true;
	wake_up_all(&reclaim->wait);
	spin_unlock_irqrestore(&reclaim->lock, flags);
}

static int generation_init(struct qed_generation *gen,
			   struct qed_reclaim *reclaim)
{
	gen->reclaim = reclaim;
	return percpu_ref_init(&gen->ref, generation_drained,
			       PERCPU_REF_ALLOW_REINIT, GFP_KERNEL);
}

/* New bios belong to another generation from now on. */
static void start_draining(struct qed_reclaim *reclaim)
{
	struct qed_generation *gen = reclaim->current_gen;
	struct qed_generation *next = reclaim->generations;

	if (next == gen)
		next++;
	gen->drained = false;
	reclaim->draining = gen;
	/* Who sees it sees the tables as they have become. */
	smp_store_release(&reclaim->current_gen, next);
	percpu_ref_kill(&gen->ref);
}

/* Returns false if a pause has come first. */
static bool drain(struct qed_reclaim *reclaim)
{
	struct qed_generation *gen = reclaim->draining;
	bool drained;

	spin_lock_irq(&reclaim->lock);
	wait_event_lock_irq(reclaim->wait, gen->drained || reclaim->paused,
			    reclaim->lock);
	drained = gen->drained;
	spin_unlock_irq(&reclaim->lock);
	if (!drained)
		return false;
	percpu_ref_reinit(&gen->ref);
	reclaim->draining = NULL;
	return true;
}

/*
 * Wait for the bios that were mapped before this was called. Returns false if a
 * pause has come first.
 */
static bool wait_for_bios(struct qed_reclaim *reclaim)
{
	/* Left by a pause: there are younger bios in the other one by now. */
	if (reclaim->draining && !drain(reclaim))
		return false;
	start_draining(reclaim);
	return drain(reclaim);
}

/*----------------------------------------------------------------
 * The image device
 *----------------------------------------------------------------
 */

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

static void pass_down_runs(struct qed_reclaim *reclaim,
			   struct qed_zeroing *zeroing,
			   const struct qed_run *runs, unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++)
		qed_zeroing_add(zeroing, runs[i].first << reclaim->cluster_bits,
				runs[i].nr << reclaim->cluster_bits);
}

/* Returns 0, -EINTR for a pause, or what the device has said. */
static int pass_down_way(struct qed_reclaim *reclaim, struct list_head *drops,
			 enum qed_zero_way way)
{
	struct qed_zeroing zeroing;
	struct qed_drop *drop;
	struct qed_run *runs;
	unsigned int nr;

	runs = join_runs(drops, &nr);
	qed_zeroing_start(&zeroing, &reclaim->zeroer, way, &reclaim->paused);
	if (runs) {
		pass_down_runs(reclaim, &zeroing, runs, nr);
	} else {
		list_for_each_entry(drop, drops, list)
			pass_down_runs(reclaim, &zeroing, drop->runs, drop->nr);
	}
	kvfree(runs);
	return qed_zeroing_end(&zeroing);
}

/*
 * Give the clusters to the image device. Returns 1 if they are durably zero, 0 if
 * they are not known to be: a device that takes none of them back has them as
 * they were; or -EINTR for a pause. What was done decides, not what the device
 * says of itself by then.
 */
static int pass_down(struct qed_reclaim *reclaim, struct list_head *drops)
{
	int lost = atomic_read(&reclaim->lost_flushes);
	enum qed_zero_way way;
	int r;

	/* Tables that are not right cannot tell what is free. */
	if (!reclaim->client->may_write(reclaim))
		return 0;
	do {
		way = qed_zero_way(&reclaim->zeroer);
		if (way == QED_ZERO_NONE)
			return 0;
		r = pass_down_way(reclaim, drops, way);
		/* Zeroes that it has refused are not tried again. */
	} while (r == -EOPNOTSUPP && way == QED_ZERO_UNMAP);
	if (r && r != -EINTR)
		DMWARN_LIMIT("%s: cannot give free clusters to the image device: error %d",
			     reclaim->name, r);
	if (r || way != QED_ZERO_UNMAP)
		return r == -EINTR ? r : 0;

	r = reclaim->client->flush(reclaim);
	return !r && atomic_read(&reclaim->lost_flushes) == lost;
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

	/*
	 * Who has found no cluster tries again if they have been told since, and else sees
	 * that some are on their way: until then they count, and who waits for them by
	 * that is told, too.
	 */
	reclaim->client->more_space(reclaim);
	spin_lock_irq(&reclaim->lock);
	reclaim->nr_runs -= nr_runs;
	reclaim->nr_clusters -= nr_clusters;
	spin_unlock_irq(&reclaim->lock);
	wake_up_all(&reclaim->wait);
	reclaim->client->more_space(reclaim);
}

/* What a pause has left is the next to be done. */
static void reclaim_ended(struct qed_reclaim *reclaim, struct list_head *left)
{
	spin_lock_irq(&reclaim->lock);
	list_splice(left, &reclaim->durable);
	reclaim->working = false;
	wake_up_all(&reclaim->wait);
	spin_unlock_irq(&reclaim->lock);
}

/* Take some of the drops, the first ones, for a step. */
static void take_some(struct list_head *drops, struct list_head *some)
{
	struct qed_drop *drop, *next;
	unsigned int nr = 0;

	list_for_each_entry_safe(drop, next, drops, list) {
		nr += drop->nr;
		if (nr > QED_SORT_RUNS && !list_empty(some))
			break;
		list_move_tail(&drop->list, some);
	}
}

/* Returns false, with nothing done, if there is a pause. */
static bool reclaim_some(struct qed_reclaim *reclaim, struct list_head *some)
{
	int r = reclaim->passdown ? pass_down(reclaim, some) : 0;

	if (r < 0)
		return false;
	make_free(reclaim, some, r);
	return true;
}

static void reclaim_durable(struct work_struct *work)
{
	struct qed_reclaim *reclaim = container_of(work, struct qed_reclaim,
						   work);
	LIST_HEAD(drops);
	LIST_HEAD(some);
	bool done;

	spin_lock_irq(&reclaim->lock);
	if (!reclaim->paused)
		list_splice_init(&reclaim->durable, &drops);
	reclaim->working = !list_empty(&drops);
	spin_unlock_irq(&reclaim->lock);
	if (list_empty(&drops))
		return;

	done = wait_for_bios(reclaim);
	while (done && !list_empty(&drops)) {
		take_some(&drops, &some);
		done = reclaim_some(reclaim, &some);
		if (done)
			INIT_LIST_HEAD(&some);
	}
	list_splice(&some, &drops);
	reclaim_ended(reclaim, &drops);
}

/*----------------------------------------------------------------
 * Trimming
 *----------------------------------------------------------------
 */

/*
 * Take the next free clusters, so that nobody else does: so many at most. Returns where
 * to look for more.
 */
static u64 take_unzeroed(struct qed_reclaim *reclaim, struct qed_drop *drop,
			 u64 next, u64 end, u64 most)
{
	u64 left = most;
	struct qed_run run;

	/* First: who finds no cluster any more is to see that some come back. */
	spin_lock_irq(&reclaim->lock);
	reclaim->nr_clusters += most;
	reclaim->nr_taken += most;
	spin_unlock_irq(&reclaim->lock);
	while (drop->nr < drop->max && left &&
	       qed_space_take_unzeroed(reclaim->space, next, end, left, &run)) {
		qed_drop_add(drop, run.first, run.nr);
		next = run.first + run.nr;
		left -= run.nr;
	}
	if (drop->nr < drop->max && left)
		next = end;

	spin_lock_irq(&reclaim->lock);
	reclaim->nr_runs += drop->nr;
	reclaim->nr_clusters -= left;
	reclaim->nr_taken -= left;
	spin_unlock_irq(&reclaim->lock);
	return next;
}

/*
 * What was taken becomes free again. Returns how much of it is durably zero now: all or
 * nothing; frees the drop.
 */
static u64 zero_taken(struct qed_reclaim *reclaim, struct qed_drop *drop)
{
	u64 nr = 0;
	LIST_HEAD(drops);
	unsigned int i;
	bool zero;

	if (!drop->nr) {
		kfree(drop);
		/* Somebody may wait for what has been counted for a moment. */
		reclaim->client->more_space(reclaim);
		return 0;
	}
	for (i = 0; i < drop->nr; i++)
		nr += drop->runs[i].nr;
	list_add(&drop->list, &drops);
	zero = pass_down(reclaim, &drops) > 0;
	make_free(reclaim, &drops, zero);

	spin_lock_irq(&reclaim->lock);
	reclaim->nr_taken -= nr;
	spin_unlock_irq(&reclaim->lock);
	return zero ? nr : 0;
}

/* Clusters to take in a step: others may want some meanwhile. */
static u64 step_clusters(struct qed_reclaim *reclaim)
{
	return clamp_t(u64, qed_space_nr_free(reclaim->space) / 2, 1,
		       QED_TRIM_CLUSTERS);
}

static void trim_take(struct qed_reclaim *reclaim, struct qed_drop *drop)
{
	u64 next = take_unzeroed(reclaim, drop, reclaim->trim_next,
				 READ_ONCE(reclaim->trim_end),
				 step_clusters(reclaim));

	spin_lock_irq(&reclaim->lock);
	/* It may have been stopped. */
	reclaim->trim_next = min(next, reclaim->trim_end);
	spin_unlock_irq(&reclaim->lock);
}

static void trim_step(struct work_struct *work)
{
	struct qed_reclaim *reclaim = container_of(work, struct qed_reclaim,
						   trim_work);
	struct qed_drop *drop = qed_drop_alloc(QED_TRIM_RUNS);
	bool more, writable;

	if (drop) {
		trim_take(reclaim, drop);
		zero_taken(reclaim, drop);
	}
	writable = reclaim->client->may_write(reclaim);

	spin_lock_irq(&reclaim->lock);
	if (!drop || !writable)
		WRITE_ONCE(reclaim->trim_end, reclaim->trim_next);
	more = reclaim->trim_next < reclaim->trim_end;
	reclaim->trimming = more;
	/* What else there is to reclaim comes before the next step. */
	if (more)
		queue_work(reclaim->wq, &reclaim->trim_work);
	spin_unlock_irq(&reclaim->lock);
	if (!drop)
		DMWARN("%s: no memory to trim", reclaim->name);
	if (more)
		return;
	reclaim->client->end_trim(reclaim);
	reclaim->client->trimmed(reclaim);
}

/* Returns false if it is being done, or there is a pause. */
static bool trim_start(struct qed_reclaim *reclaim)
{
	u64 end = qed_space_nr(reclaim->space);
	bool busy;

	spin_lock_irq(&reclaim->lock);
	busy = reclaim->paused || reclaim->trimming;
	if (!busy) {
		reclaim->trimming = true;
		reclaim->trim_next = 0;
		WRITE_ONCE(reclaim->trim_end, end);
		queue_work(reclaim->wq, &reclaim->trim_work);
	}
	spin_unlock_irq(&reclaim->lock);
	return !busy;
}

int qed_reclaim_trim(struct qed_reclaim *reclaim)
{
	int r;

	if (qed_zero_way(&reclaim->zeroer) == QED_ZERO_NONE)
		return -EOPNOTSUPP;
	r = reclaim->client->begin_trim(reclaim);
	if (r)
		return r;
	if (trim_start(reclaim))
		return 0;
	reclaim->client->end_trim(reclaim);
	return -EBUSY;
}

bool qed_reclaim_trim_state(struct qed_reclaim *reclaim, u64 *next, u64 *end)
{
	unsigned long flags;
	bool trimming;

	spin_lock_irqsave(&reclaim->lock, flags);
	trimming = reclaim->trimming;
	*next = reclaim->trim_next;
	*end = reclaim->trim_end;
	spin_unlock_irqrestore(&reclaim->lock, flags);
	return trimming;
}

/*----------------------------------------------------------------
 * Zeroing ahead
 *----------------------------------------------------------------
 */

/* Number of free clusters that should be zero, too. */
static u64 ahead_wanted(struct qed_reclaim *reclaim)
{
	u64 free = qed_space_nr_free(reclaim->space);
	u64 zero = qed_space_nr_zero(reclaim->space);
	u64 goal = min(reclaim->ahead, free);

	return zero < goal ? goal - zero : 0;
}

/* Returns false if there is nothing more to do, or nothing can be done. */
static bool ahead_some(struct qed_reclaim *reclaim)
{
	u64 most = min(ahead_wanted(reclaim), step_clusters(reclaim));
	struct qed_drop *drop = qed_drop_alloc(QED_TRIM_RUNS);
	u64 nr = qed_space_nr(reclaim->space), next, zeroed;

	if (!drop)
		return false;
	next = take_unzeroed(reclaim, drop, reclaim->ahead_next, nr, most);
	if (!drop->nr)
		next = take_unzeroed(reclaim, drop, 0, nr, most);
	reclaim->ahead_next = next;
	zeroed = zero_taken(reclaim, drop);
	WRITE_ONCE(reclaim->nr_ahead, reclaim->nr_ahead + zeroed);
	return zeroed;
}

static void queue_ahead(struct qed_reclaim *reclaim)
{
	if (!ahead_wanted(reclaim) ||
	    qed_zero_way(&reclaim->zeroer) != QED_ZERO_UNMAP)
		return;
	spin_lock_irq(&reclaim->lock);
	if (!reclaim->paused)
		queue_work(reclaim->wq, &reclaim->ahead_work);
	spin_unlock_irq(&reclaim->lock);
}

static void ahead_step(struct work_struct *work)
{
	struct qed_reclaim *reclaim = container_of(work, struct qed_reclaim,
						   ahead_work);
	bool more;

	if (!reclaim->client->begin_ahead(reclaim))
		return;
	more = ahead_some(reclaim);
	reclaim->client->end_trim(reclaim);
	/* What else there is to reclaim comes before the next step. */
	if (more)
		queue_ahead(reclaim);
}

/* What has failed, too, is tried again for new clusters only: an idle image comes to rest. */
void qed_reclaim_zero_ahead(struct qed_reclaim *reclaim)
{
	u64 used, allocated;

	if (!reclaim->ahead)
		return;
	qed_space_count(reclaim->space, &used, &allocated);
	if (allocated == reclaim->ahead_allocated)
		return;
	reclaim->ahead_allocated = allocated;
	queue_ahead(reclaim);
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

/* Caller holds the lock, so that nothing is queued after a pause has begun. */
static void queue_durable(struct qed_reclaim *reclaim)
{
	if (!reclaim->paused && !list_empty(&reclaim->durable))
		queue_work(reclaim->wq, &reclaim->work);
}

void qed_reclaim_durable(struct qed_reclaim *reclaim)
{
	unsigned long flags;

	spin_lock_irqsave(&reclaim->lock, flags);
	list_splice_tail_init(&reclaim->committing, &reclaim->durable);
	queue_durable(reclaim);
	spin_unlock_irqrestore(&reclaim->lock, flags);
}

u64 qed_reclaim_nr(struct qed_reclaim *reclaim)
{
	return READ_ONCE(reclaim->nr_clusters);
}

/* They are taken, or come back, at any time: rather too many than too few. */
u64 qed_reclaim_nr_free(struct qed_reclaim *reclaim)
{
	u64 before = READ_ONCE(reclaim->nr_taken);
	u64 free = qed_space_nr_free(reclaim->space);

	return free + max(before, READ_ONCE(reclaim->nr_taken));
}

bool qed_reclaim_is_full(struct qed_reclaim *reclaim)
{
	return READ_ONCE(reclaim->nr_runs) >= QED_MAX_RUNS;
}

/* Does something become free without another commit? Caller holds the lock. */
static bool is_busy(struct qed_reclaim *reclaim)
{
	return !reclaim->paused &&
	       (reclaim->working || !list_empty(&reclaim->durable));
}

void qed_reclaim_wait(struct qed_reclaim *reclaim)
{
	spin_lock_irq(&reclaim->lock);
	wait_event_lock_irq(reclaim->wait, !is_busy(reclaim) ||
			    !qed_reclaim_is_full(reclaim), reclaim->lock);
	spin_unlock_irq(&reclaim->lock);
}

static void trim_stop(struct qed_reclaim *reclaim)
{
	spin_lock_irq(&reclaim->lock);
	WRITE_ONCE(reclaim->trim_end, reclaim->trim_next);
	spin_unlock_irq(&reclaim->lock);
	flush_work(&reclaim->trim_work);
}

void qed_reclaim_pause(struct qed_reclaim *reclaim)
{
	spin_lock_irq(&reclaim->lock);
	WRITE_ONCE(reclaim->paused, true);
	wake_up_all(&reclaim->wait);
	spin_unlock_irq(&reclaim->lock);
	trim_stop(reclaim);
	flush_work(&reclaim->ahead_work);
	flush_work(&reclaim->work);
}

bool qed_reclaim_goes_on(struct qed_reclaim *reclaim)
{
	return !READ_ONCE(reclaim->paused) && qed_reclaim_nr(reclaim);
}

void qed_reclaim_continue(struct qed_reclaim *reclaim)
{
	unsigned long flags;

	spin_lock_irqsave(&reclaim->lock, flags);
	WRITE_ONCE(reclaim->paused, false);
	queue_durable(reclaim);
	spin_unlock_irqrestore(&reclaim->lock, flags);
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
	INIT_WORK(&reclaim->ahead_work, ahead_step);

	reclaim->current_gen = reclaim->generations;
	r = qed_zeroer_init(&reclaim->zeroer, bdev);
	if (r)
		return r;
	r = generation_init(&reclaim->generations[0], reclaim);
	if (r)
		goto bad_first_generation;
	r = generation_init(&reclaim->generations[1], reclaim);
	if (r)
		goto bad_generation;
	/* Writes may wait for space, so memory must not wait for it. */
	reclaim->wq = alloc_ordered_workqueue("dm-qed-reclaim/%s",
					      WQ_MEM_RECLAIM, name);
	r = -ENOMEM;
	if (!reclaim->wq)
		goto bad_wq;
	return 0;

bad_wq:
	percpu_ref_exit(&reclaim->generations[1].ref);
bad_generation:
	percpu_ref_exit(&reclaim->generations[0].ref);
bad_first_generation:
	qed_zeroer_exit(&reclaim->zeroer);
	return r;
}

void qed_reclaim_exit(struct qed_reclaim *reclaim)
{
	destroy_workqueue(reclaim->wq);
	percpu_ref_exit(&reclaim->generations[1].ref);
	percpu_ref_exit(&reclaim->generations[0].ref);
	qed_zeroer_exit(&reclaim->zeroer);
}

void qed_reclaim_start(struct qed_reclaim *reclaim, struct qed_space *space,
		       unsigned int cluster_bits)
{
	reclaim->space = space;
	reclaim->cluster_bits = cluster_bits;
	reclaim->ahead_next = 0;
	reclaim->ahead_allocated = 0;
	WRITE_ONCE(reclaim->nr_ahead, 0);
	qed_zeroer_reset(&reclaim->zeroer);
	qed_reclaim_continue(reclaim);
}

void qed_reclaim_stop(struct qed_reclaim *reclaim)
{
	struct qed_drop *drop, *next;

	qed_reclaim_pause(reclaim);
	list_splice_init(&reclaim->committing, &reclaim->dropped);
	list_splice_init(&reclaim->durable, &reclaim->dropped);
	list_for_each_entry_safe(drop, next, &reclaim->dropped, list)
		kfree(drop);
	INIT_LIST_HEAD(&reclaim->dropped);
	qed_reclaim_continue(reclaim);
	/* There are no bios, but a generation may not have come to its end. */
	if (reclaim->draining)
		drain(reclaim);
	reclaim->nr_runs = 0;
	reclaim->nr_clusters = 0;
	reclaim->nr_taken = 0;
	reclaim->space = NULL;
}
