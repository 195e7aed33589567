/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The space map as its two rooms see it: dm-qed-space-build makes it, by way of what
 * dm-qed-space does with the clusters of a group.
 */

#ifndef DM_QED_SPACE_PRIV_H
#define DM_QED_SPACE_PRIV_H

#include <linux/minmax.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>

#include "dm-qed-space.h"

/* Clusters of a group: a bitmap of them has 4 KiB */
#define QED_GROUP		32768U
#define QED_GROUP_BITS		15	/* log2 of that */
#define QED_GROUP_LONGS		(QED_GROUP / BITS_PER_LONG)

/**
 * enum qed_kind - what bitmaps there are
 * @QED_FREE: free clusters
 * @QED_ZERO: those of them that are known to be zero
 * @QED_KINDS: number of kinds
 */
enum qed_kind {
	QED_FREE,
	QED_ZERO,
	QED_KINDS,
};

struct qed_group {
	unsigned long *map[QED_KINDS];
	unsigned int nr[QED_KINDS];	/* bits that are set there */
};

struct qed_space {
	/*
	 * Protects everything below. Taken in bio completion context, and nests
	 * inside every other lock of the target.
	 */
	spinlock_t lock;

	u64 nr;
	u64 nr_of[QED_KINDS];
	u64 nr_allocated;	/* ever, and not given back */
	u64 cursor;		/* where next-fit goes on; below nr */
	unsigned long end_group; /* no cluster is in use from here on */

	/*
	 * A group that is not there yet counts as used below zeroed_from, and as not to
	 * be used above.
	 */
	unsigned long nr_groups;
	struct qed_group **groups;
	unsigned long *some[QED_KINDS];	/* groups that have clusters of a kind */
	unsigned long *table[QED_KINDS]; /* ... and may have a run for a table */

	struct mutex grow_mutex; /* the number of groups, and what is below, do not change */
	u64 filled;		/* free clusters up to here are in the maps */
	u64 zero_from;		/* of the others, these are zero */
	u64 zero_end;
	u64 zeroed_from;	/* constant: limit of qed_space_install() */
	unsigned int table_nr;	/* constant: clusters of a table */
};

/* How many of the clusters are in the group of the first one? */
static inline unsigned int in_group(u64 first, u64 nr)
{
	return min_t(u64, nr, QED_GROUP - first % QED_GROUP);
}

/* So many more clusters of a group are of this kind. Caller holds the lock. */
void qed_space_added(struct qed_space *space, enum qed_kind kind, u64 first,
		     unsigned int nr);

/* Clusters of one group are of this kind from now on. Caller holds the lock. */
void qed_space_add(struct qed_space *space, enum qed_kind kind, u64 first,
		   unsigned int nr);

/* And not any more. Returns how many were. Caller holds the lock. */
unsigned int qed_space_remove(struct qed_space *space, enum qed_kind kind,
			      u64 first, unsigned int nr);

#endif /* DM_QED_SPACE_PRIV_H */
