/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The space map of an image device: which clusters are referenced and which of
 * the others are known to read as zeroes.
 *
 * It exists in memory only and is built from the tables, so a cluster that
 * nothing references is free: a leak cannot be represented.
 *
 * Its lock is held with interrupts off, but only for what does not grow with the
 * number of clusters (beyond a bit for each 32,768 of them): 50 us at the very most.
 */

#ifndef DM_QED_SPACE_H
#define DM_QED_SPACE_H

#include <linux/types.h>

struct qed_space;

/**
 * struct qed_run - a run of adjacent clusters of the image device
 * @first: number of the first cluster
 * @nr: number of clusters
 * @zero: all of them are durably zero at the moment at which they are handed over, by
 *	qed_space_alloc() or to qed_space_free(): what they hold, and nothing else
 */
struct qed_run {
	u64 first;
	u64 nr;
	bool zero;
};

/**
 * qed_space_alloc() - allocate adjacent clusters
 * @space: the map
 * @want: largest number of clusters to allocate
 * @run: the result, at least one cluster
 *
 * Next-fit, of clusters that are known to be zero as long as there are any: these
 * need no fill, and no order of writes. A run is never mixed: all of it is known to
 * be zero or none.
 *
 * Context: Any, takes the map's lock.
 * Return: 0 or -ENOSPC.
 */
int qed_space_alloc(struct qed_space *space, u64 want, struct qed_run *run);

/**
 * qed_space_alloc_table() - allocate adjacent clusters for a table
 * @space: the map
 * @run: the result; @run.zero if all of them are known to be zero, which are preferred
 *
 * There may be none, whatever is free: a table is in one piece. Then the next call
 * finds that out at once, until something has been freed. There was none at the moment
 * at which it fails.
 *
 * Context: Process context; takes the map's lock in short steps.
 * Return: 0 or -ENOSPC.
 */
int qed_space_alloc_table(struct qed_space *space, struct qed_run *run);

/**
 * qed_space_free() - give back clusters that no durable table refers to
 * @space: the map
 * @run: the clusters
 *
 * Context: Any, takes the map's lock in short steps.
 */
void qed_space_free(struct qed_space *space, const struct qed_run *run);

/**
 * qed_space_give_back() - undo an allocation
 * @space: the map
 * @run: the clusters
 * @touched: something may have been written to them
 *
 * Context: Any, takes the map's lock in short steps.
 */
void qed_space_give_back(struct qed_space *space, const struct qed_run *run,
			 bool touched);

/**
 * qed_space_take_unzeroed() - allocate free clusters that are not known to be zero
 * @space: the map
 * @from: look from this cluster on
 * @to: no further than to this one, which is left out
 * @want: largest number of clusters to allocate
 * @run: the result, the first such run; nothing else is allocated with it
 *
 * It does not count as allocated, see qed_space_count().
 *
 * Context: Process context; takes the map's lock in short steps.
 * Return: true if there was one.
 */
bool qed_space_take_unzeroed(struct qed_space *space, u64 from, u64 to,
			     u64 want, struct qed_run *run);

/* The high-water mark: end of the highest cluster in use. Context: Process. */
u64 qed_space_end(struct qed_space *space);

/**
 * qed_space_last_zeroes() - find the last clusters that are known to be zero
 * @space: the map, in which nothing changes
 * @run: the longest run that ends with the last of them; @run.nr is 0 if there is none
 *
 * Context: Process context; takes the map's lock in short steps.
 */
void qed_space_last_zeroes(struct qed_space *space, struct qed_run *run);

/* Is this cluster allocated? Context: Any, takes the map's lock. */
bool qed_space_is_used(struct qed_space *space, u64 cluster);

/**
 * qed_space_count() - count what is in use
 * @space: the map
 * @used: clusters in use
 * @allocated: clusters that were ever allocated, without those that
 *	qed_space_give_back() has got back
 *
 * Context: Any, takes the map's lock: the numbers are of the same moment.
 */
void qed_space_count(struct qed_space *space, u64 *used, u64 *allocated);

/* Number of clusters: of the device, free, free and known to be zero. Any. */
u64 qed_space_nr(struct qed_space *space);
u64 qed_space_nr_free(struct qed_space *space);
u64 qed_space_nr_zero(struct qed_space *space);

#endif /* DM_QED_SPACE_H */
