/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The space map of an image device: which clusters are referenced and which of
 * the others are known to read as zeroes.
 *
 * It exists in memory only and is built from the tables, so a cluster that
 * nothing references is free: a leak cannot be represented.
 */

#ifndef DM_QED_SPACE_H
#define DM_QED_SPACE_H

#include <linux/types.h>

struct qed_space;

/**
 * struct qed_run - a run of adjacent clusters of the image device
 * @first: number of the first cluster
 * @nr: number of clusters
 * @zero: all of them were durably zero when they were allocated
 */
struct qed_run {
	u64 first;
	u64 nr;
	bool zero;
};

/**
 * qed_space_bitmap() - allocate a zeroed bitmap with a bit per cluster
 * @nr: number of clusters
 *
 * Context: Process context, may sleep. To be freed with vfree().
 * Return: the bitmap or NULL.
 */
unsigned long *qed_space_bitmap(u64 nr);

/**
 * qed_space_create() - make the space map of a device
 * @nr: number of whole clusters of the device
 * @zeroed_from: clusters from here on are free and durably zero; @nr if none is
 *
 * All clusters below @zeroed_from count as used until qed_space_install().
 *
 * Context: Process context, may sleep.
 * Return: the map or NULL without memory.
 */
struct qed_space *qed_space_create(u64 nr, u64 zeroed_from);
void qed_space_destroy(struct qed_space *space);

/**
 * qed_space_install() - tell the map what a scan of the tables has found
 * @space: the map
 * @used: a bit set for every referenced cluster
 *
 * Takes over the clusters below the zeroed_from of qed_space_create(): what was
 * allocated above it since stays as it is.
 *
 * Context: Process context; takes the map's lock in short steps.
 */
void qed_space_install(struct qed_space *space, const unsigned long *used);

/**
 * qed_space_grow() - follow the growth of the device
 * @space: the map
 * @nr: the new number of whole clusters, ignored unless it is larger
 *
 * Context: Process context, may sleep.
 * Return: 1 if the map has grown, 0 if there was nothing to do, -ENOMEM.
 */
int qed_space_grow(struct qed_space *space, u64 nr);

/**
 * qed_space_alloc() - allocate adjacent clusters
 * @space: the map
 * @least: smallest number of clusters that is of use
 * @want: largest number of clusters to allocate
 * @run: the result
 *
 * Next-fit, of clusters that are known to be zero as long as there are any: these
 * need no fill, and no order of writes. A run of more than @least clusters is never
 * mixed: all of it is known to be zero or none.
 *
 * Context: Any, takes the map's lock.
 * Return: 0 or -ENOSPC.
 */
int qed_space_alloc(struct qed_space *space, u64 least, u64 want,
		    struct qed_run *run);

/**
 * qed_space_free() - give back clusters that no durable table refers to
 * @space: the map
 * @run: the clusters; @run.zero says whether they are durably zero by now
 *
 * Context: Any.
 */
void qed_space_free(struct qed_space *space, const struct qed_run *run);

/**
 * qed_space_give_back() - undo an allocation
 * @space: the map
 * @run: the clusters; something may have been written to them
 *
 * Context: Any.
 */
void qed_space_give_back(struct qed_space *space, const struct qed_run *run);

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
 * Context: Process context, takes the map's lock.
 * Return: true if there was one.
 */
bool qed_space_take_unzeroed(struct qed_space *space, u64 from, u64 to,
			     u64 want, struct qed_run *run);

/* The high-water mark: end of the highest cluster in use. Context: Process. */
u64 qed_space_end(struct qed_space *space);

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
