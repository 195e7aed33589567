/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The set of clusters that tables refer to, as a check finds them while the tables
 * are in use.
 *
 * The check walks through all L2 blocks in order. What is behind it is kept up to
 * date: each change of an entry there changes the set, too. So the set is exact at
 * the end of the walk.
 */

#ifndef DM_QED_CHECK_H
#define DM_QED_CHECK_H

#include <linux/types.h>

#include "dm-qed-scan.h"
#include "dm-qed-space.h"

/**
 * enum qed_check_state - how far the last check has come
 * @QED_CHECK_NONE: there was none, or it was given up
 * @QED_CHECK_RUNNING: it goes on
 * @QED_CHECK_DONE: its result is known
 */
enum qed_check_state {
	QED_CHECK_NONE,
	QED_CHECK_RUNNING,
	QED_CHECK_DONE,
};

/**
 * struct qed_check - a check; all of it under the lock of the cache
 * @state: see there
 * @space: the space map
 * @seen: a bit for each cluster that is referenced, as far as is known
 * @nr: number of bits; the device may have grown since
 * @nr_seen: number of bits that are set
 * @next: the walk has passed L2 blocks with lower numbers
 * @blocks: number of L2 blocks
 * @leaks: result: clusters in use that nothing refers to
 * @defects: result: wrong entries
 */
struct qed_check {
	enum qed_check_state state;
	struct qed_space *space;
	unsigned long *seen;
	u64 nr;
	u64 nr_seen;
	u64 next;
	u64 blocks;
	u64 leaks;
	struct qed_defects defects;
};

/* Is a change of this L2 block to be told to the check? */
static inline bool qed_check_passed(const struct qed_check *check, u64 block)
{
	return unlikely(check->state == QED_CHECK_RUNNING) &&
	       block < check->next;
}

/**
 * qed_check_see() - there is a reference to a cluster
 * @check: the running check
 * @cluster: of the image device
 *
 * Context: Any, lock of the cache held.
 * Return: what is wrong with that, as the end of a sentence, or NULL.
 */
const char *qed_check_see(struct qed_check *check, u64 cluster);

/* It has gone. Context: Any, lock of the cache held. */
void qed_check_forget(struct qed_check *check, u64 cluster);

#endif /* DM_QED_CHECK_H */
