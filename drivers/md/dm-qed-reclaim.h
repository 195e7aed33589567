/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The way of clusters from their last reference back to free space.
 *
 * What a table referred to until it was unmapped is used again only when
 *
 * - the commit that drops the reference is durable: after a power cut the table
 *   on the device would still refer to it;
 * - every bio that was mapped to it before has completed.
 *
 * Until then it counts as used. Then it is given to the image device, as zeroes or
 * as a discard, and becomes free. A drop of clusters is on one of these lists:
 *
 *	dropped -- a commit collects --> committing -- it is durable --> durable
 *
 * The first two lists change together with the tables: under the lock of the
 * cache, in which the lock of the reclaim nests.
 */

#ifndef DM_QED_RECLAIM_H
#define DM_QED_RECLAIM_H

#include <linux/atomic.h>
#include <linux/blk_types.h>
#include <linux/list.h>
#include <linux/percpu-refcount.h>
#include <linux/rcupdate.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "dm-qed-space.h"
#include "dm-qed-zero.h"

struct qed_reclaim;

/**
 * struct qed_drop - clusters that a table has ceased to refer to
 * @list: where it is on its way
 * @nr: number of runs
 * @max: room for so many of them
 * @runs: of adjacent clusters
 */
struct qed_drop {
	struct list_head list;
	unsigned int nr;
	unsigned int max;
	struct qed_run runs[];
};

/**
 * struct qed_reclaim_client - what the reclaim asks of its user
 * @more_space: clusters have become free
 * @begin_trim: free clusters are about to be touched, also those above the
 *	high-water mark; returns 0, or an error if they are not to be
 * @begin_ahead: the same, unless the image counts as clean; returns false if they are not
 *	to be touched
 * @end_trim: that is over, or has not begun after all
 * @trimmed: after @end_trim, the trim has come to its end
 * @may_write: is anything to be written to clusters that no table refers to?
 * @flush: make durable what the image device has said is written; returns 0 or an error
 *
 * The callbacks are called in process context and may sleep.
 */
struct qed_reclaim_client {
	void (*more_space)(struct qed_reclaim *reclaim);
	int (*begin_trim)(struct qed_reclaim *reclaim);
	bool (*begin_ahead)(struct qed_reclaim *reclaim);
	void (*end_trim)(struct qed_reclaim *reclaim);
	void (*trimmed)(struct qed_reclaim *reclaim);
	bool (*may_write)(struct qed_reclaim *reclaim);
	int (*flush)(struct qed_reclaim *reclaim);
};

/**
 * struct qed_generation - bios that were mapped in the same period
 * @ref: one for each of them, and one while the period lasts
 * @reclaim: whose they are
 * @drained: none of them is left; under the lock
 */
struct qed_generation {
	struct percpu_ref ref;
	struct qed_reclaim *reclaim;
	bool drained;
};

/**
 * struct qed_reclaim - the reclaim of an image
 * @generations: of bios in flight; new ones belong to @current_gen
 * @current_gen: the one that lasts; changed by @work
 * @draining: the one that @work waits for, also over a pause; of @work alone
 * @bdev: the image device
 * @zeroer: to zero and to discard what is there
 * @client: callbacks
 * @name: of the device, for messages
 * @passdown: give clusters to the image device
 * @space: the space map, while loaded
 * @cluster_bits: log2 of the cluster size in sectors, while loaded
 * @lock: see there
 * @ahead: so many free clusters are to be known to be zero; 0 for none
 * @ahead_next: next cluster to look at for that; of @ahead_work alone
 * @ahead_allocated: how many clusters had been allocated when it was asked for last; of
 *	the caller of qed_reclaim_zero_ahead()
 * @nr_ahead: clusters that it has zeroed
 * @paused: none of the works is queued, and they end as soon as they can
 * @dropped: drops that no commit has collected
 * @committing: those that the current commit has collected, and earlier ones whose
 *	commit was not flushed
 * @durable: those that @work has to do
 * @working: it does some
 * @nr_runs: of all drops that are not free yet
 * @nr_clusters: of them, and of those that are being trimmed or zeroed ahead, or are
 *	about to be
 * @nr_taken: the latter alone
 * @trimming: from qed_reclaim_trim() to the end of its last step
 * @trim_next: next cluster to look at
 * @trim_end: where it ends
 * @lost_flushes: how many flushes of the image device have failed, whoever asked for them
 * @wait: for drops to become free, for a generation to be drained, for a pause
 * @wq: of the works, one at a time
 * @work: makes durable drops free
 * @trim_work: gives free clusters to the image device, step by step
 * @ahead_work: zeroes some of them ahead, likewise
 */
struct qed_reclaim {
	struct qed_generation generations[2];
	struct qed_generation *current_gen;
	struct qed_generation *draining;

	struct block_device *bdev;
	struct qed_zeroer zeroer;
	const struct qed_reclaim_client *client;
	const char *name;
	bool passdown;
	struct qed_space *space;
	unsigned int cluster_bits;
	u64 ahead;
	u64 ahead_next;
	u64 ahead_allocated;
	u64 nr_ahead;

	/* Protects what follows, up to @trim_end. Nests inside that of the cache. */
	spinlock_t lock;
	bool paused;
	struct list_head dropped;
	struct list_head committing;
	struct list_head durable;
	bool working;
	u64 nr_runs;
	u64 nr_clusters;
	u64 nr_taken;
	bool trimming;
	u64 trim_next;
	u64 trim_end;

	atomic_t lost_flushes;
	wait_queue_head_t wait;
	struct workqueue_struct *wq;
	struct work_struct work;
	struct work_struct trim_work;
	struct work_struct ahead_work;
};

/**
 * qed_reclaim_init() - set up a reclaim
 * @reclaim: the reclaim
 * @bdev: the image device
 * @client: callbacks
 * @name: of the device, for messages
 *
 * Context: Process context, may sleep.
 * Return: 0 or -ENOMEM.
 */
int qed_reclaim_init(struct qed_reclaim *reclaim, struct block_device *bdev,
		     const struct qed_reclaim_client *client, const char *name);
void qed_reclaim_exit(struct qed_reclaim *reclaim);

/**
 * qed_reclaim_start() - an image is loaded
 * @reclaim: the reclaim
 * @space: its space map, valid until qed_reclaim_stop()
 * @cluster_bits: log2 of the cluster size in sectors
 *
 * Ends a pause, too.
 *
 * Context: Process context.
 */
void qed_reclaim_start(struct qed_reclaim *reclaim, struct qed_space *space,
		       unsigned int cluster_bits);

/* Forget what is not free yet. No bio may be in flight. May sleep. */
void qed_reclaim_stop(struct qed_reclaim *reclaim);

/**
 * qed_reclaim_pause() - leave the image device alone
 * @reclaim: the reclaim
 *
 * On return nothing of the reclaim runs, or will run before qed_reclaim_continue() or
 * qed_reclaim_start(): it has no bio in flight, and calls none of its callbacks. A
 * trim has been stopped. What is dropped or durable stays on its list, in use, and
 * more may come, but it does not become free. Bios that were mapped may go on as
 * long as they like: they are not waited for.
 *
 * Context: Process context; sleeps, but for no longer than bios of the reclaim take
 *	that have been submitted.
 */
void qed_reclaim_pause(struct qed_reclaim *reclaim);

/* Are clusters on their way to free space, and there is no pause? Context: Any. */
bool qed_reclaim_goes_on(struct qed_reclaim *reclaim);

/* Go on with what is durable. Without a pause nothing happens. Context: Any. */
void qed_reclaim_continue(struct qed_reclaim *reclaim);

/**
 * qed_inflight_get() - a bio is going to be mapped
 * @reclaim: the reclaim
 *
 * What a table, when it is read after this, refers to does not become free until
 * percpu_ref_put().
 *
 * Context: RCU read side.
 * Return: what percpu_ref_put() takes.
 */
static inline struct percpu_ref *qed_inflight_get(struct qed_reclaim *reclaim)
{
	struct percpu_ref *ref;

	/* Fails only for a generation that has just ended: there is a new one. */
	do {
		/* Pairs with wait_for_bios(): then look at the table. */
		ref = &smp_load_acquire(&reclaim->current_gen)->ref;
	} while (!percpu_ref_tryget_live_rcu(ref));
	return ref;
}

/*
 * A flush of the image device has failed, and tells that but once: zeroes that it may
 * have lost are not known to be durable, whatever a later one says. Context: Any.
 */
static inline void qed_reclaim_flush_failed(struct qed_reclaim *reclaim)
{
	atomic_inc(&reclaim->lost_flushes);
}

/* A drop with room for @max runs, or NULL. Context: Process, may sleep. */
struct qed_drop *qed_drop_alloc(unsigned int max);

/* Put clusters into a drop with room for another run. Context: Any. */
void qed_drop_add(struct qed_drop *drop, u64 first, u64 nr);

/**
 * qed_reclaim_drop() - nothing in the tables refers to the clusters any more
 * @reclaim: the reclaim
 * @drop: the clusters, taken over
 *
 * Context: Any, with the lock of the cache held that the tables changed under.
 */
void qed_reclaim_drop(struct qed_reclaim *reclaim, struct qed_drop *drop);

/* A commit takes the tables as they are. Context: Any, lock of the cache held. */
void qed_reclaim_collect(struct qed_reclaim *reclaim);

/* That commit, and all before it, are durable. Context: Any. */
void qed_reclaim_durable(struct qed_reclaim *reclaim);

/* Clusters on their way to free space. Context: Any. */
u64 qed_reclaim_nr(struct qed_reclaim *reclaim);

/* Free clusters, and those that a trim has taken for a while. Context: Any. */
u64 qed_reclaim_nr_free(struct qed_reclaim *reclaim);

/* Are there so many drops that no more should be made? Context: Any. */
bool qed_reclaim_is_full(struct qed_reclaim *reclaim);

/* Wait until that is not so, or for all that is durable, or for a pause. May sleep. */
void qed_reclaim_wait(struct qed_reclaim *reclaim);

/**
 * qed_reclaim_trim() - give free clusters to the image device, in the background
 * @reclaim: the reclaim
 *
 * All that are not known to be zero, above the high-water mark as well.
 *
 * Context: Process context, may sleep.
 * Return: 0, -EBUSY if it is being done or in a pause, -EOPNOTSUPP if the device
 *	cannot, or what begin_trim() says.
 */
int qed_reclaim_trim(struct qed_reclaim *reclaim);

/**
 * qed_reclaim_zero_ahead() - see that some free clusters are known to be zero
 * @reclaim: the reclaim
 *
 * As many as its user wants, if the device writes zeroes by itself, and if clusters have
 * been allocated since it was called last. To be called after a commit, while NEED_CHECK
 * is set.
 *
 * Context: Process context, with the lock of commits, and no other of the metadata.
 */
void qed_reclaim_zero_ahead(struct qed_reclaim *reclaim);

/* How far trimming has come, in clusters. Context: Any. Returns if it goes on. */
bool qed_reclaim_trim_state(struct qed_reclaim *reclaim, u64 *next, u64 *end);

#endif /* DM_QED_RECLAIM_H */
