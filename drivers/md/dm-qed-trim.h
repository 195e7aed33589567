/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Free clusters that are given to the image device, step by step: all of them, when
 * somebody asks for a trim, or some, so that they are known to be zero ahead of who
 * needs them.
 *
 * A step takes some of them, so that nobody else does, and then they are free again.
 * Steps are works of the reclaim, which does what else it has to do between them.
 */

#ifndef DM_QED_TRIM_H
#define DM_QED_TRIM_H

#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/workqueue.h>

#include "dm-qed-reclaim.h"

struct qed_trim;

/**
 * struct qed_trim_client - what is asked of its user
 * @begin: free clusters are about to be touched, also those above the high-water mark;
 *	returns 0, or an error if they are not to be
 * @begin_ahead: the same, unless the image counts as clean; returns false if they are not
 *	to be touched
 * @end: that is over, or has not begun after all
 * @trimmed: after @end, the trim has come to its end
 *
 * The callbacks are called in process context and may sleep.
 */
struct qed_trim_client {
	int (*begin)(struct qed_trim *trim);
	bool (*begin_ahead)(struct qed_trim *trim);
	void (*end)(struct qed_trim *trim);
	void (*trimmed)(struct qed_trim *trim);
};

/**
 * struct qed_trim - the trim of an image
 * @reclaim: its reclaim
 * @client: callbacks
 * @ahead: so many free clusters are to be known to be zero; 0 for none
 * @ahead_next: next cluster to look at for that; of @ahead_work alone
 * @ahead_allocated: how many clusters had been allocated when it was asked for last; of
 *	the caller of qed_trim_ahead()
 * @nr_ahead: clusters that it has zeroed
 * @ahead_work: zeroes some of them
 * @lock: see there
 * @trimming: from qed_trim_all() to the end of its last step
 * @next: next cluster to look at
 * @end: where it ends
 * @work: a step of it
 */
struct qed_trim {
	struct qed_reclaim *reclaim;
	const struct qed_trim_client *client;
	u64 ahead;
	u64 ahead_next;
	u64 ahead_allocated;
	u64 nr_ahead;
	struct work_struct ahead_work;

	/* Protects the three. Nests in the lock of the cache; that of the reclaim in it. */
	spinlock_t lock;
	bool trimming;
	u64 next;
	u64 end;
	struct work_struct work;
};

/* Set it up, with a reclaim that is. Context: Any. */
void qed_trim_init(struct qed_trim *trim, struct qed_reclaim *reclaim,
		   const struct qed_trim_client *client, u64 ahead);

/* The reclaim is about to be started with an image: count anew. Context: Any. */
void qed_trim_start(struct qed_trim *trim);

/**
 * qed_trim_pause() - leave the image device alone
 * @trim: the trim
 *
 * qed_reclaim_pause(), which holds for these works as well: none runs on return, and
 * what they had taken is free. A trim ends there.
 *
 * Context: Process context; sleeps, but for no longer than bios take that have been
 *	submitted.
 */
void qed_trim_pause(struct qed_trim *trim);

/**
 * qed_trim_all() - give free clusters to the image device, in the background
 * @trim: the trim
 *
 * All that are not known to be zero, above the high-water mark as well.
 *
 * Context: Process context, may sleep.
 * Return: 0, -EBUSY if it is being done or in a pause, -EOPNOTSUPP if the device
 *	cannot, or what begin() says.
 */
int qed_trim_all(struct qed_trim *trim);

/* How far it has come, in clusters. Context: Any. Returns if it goes on. */
bool qed_trim_state(struct qed_trim *trim, u64 *next, u64 *end);

/**
 * qed_trim_ahead() - see that some free clusters are known to be zero
 * @trim: the trim
 *
 * As many as its user wants, if the device writes zeroes by itself, and if clusters have
 * been allocated since it was called last. To be called after a commit, while NEED_CHECK
 * is set.
 *
 * Context: Process context, with the lock of commits, and no other of the metadata.
 */
void qed_trim_ahead(struct qed_trim *trim);

#endif /* DM_QED_TRIM_H */
