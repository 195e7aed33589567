/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The scan of all tables of an image: validates every entry and finds out which
 * clusters are in use.
 */

#ifndef DM_QED_SCAN_H
#define DM_QED_SCAN_H

#include <linux/atomic.h>
#include <linux/types.h>

#include "dm-qed-geometry.h"
#include "dm-qed-space.h"

/**
 * struct qed_scan_args - what to scan
 * @bdev: the image device
 * @geo: the geometry of the image
 * @name: of the device, for messages
 * @zeroed_from: no entry may refer to a cluster from here on ...
 * @space: ... except for those allocated in this map, if it is not NULL. They
 *	are left out of the result: they were made during the scan
 * @stop: ends the scan when it becomes true; NULL in the context of a system
 *	call, where a fatal signal ends it
 * @next: set to the number of the L2 block that is to be read next; or NULL
 */
struct qed_scan_args {
	struct block_device *bdev;
	const struct qed_geometry *geo;
	const char *name;
	u64 zeroed_from;
	struct qed_space *space;
	const bool *stop;
	atomic64_t *next;
};

/**
 * struct qed_scan_result - what a scan has found
 * @used: a bit set for every cluster of the device that is referenced
 * @nr_used: number of these bits
 * @mapped: number of guest clusters that have a data cluster
 * @nr_tables: number of L2 tables, as far as the guest's disk needs them
 * @tables: number of data clusters of each of them, by L1 entry
 */
struct qed_scan_result {
	unsigned long *used;
	u64 nr_used;
	u64 mapped;
	u64 nr_tables;
	u32 *tables;
};

/**
 * struct qed_defects - counts defects, and reports the first few
 * @name: of the device
 * @nr: number of defects so far
 */
struct qed_defects {
	const char *name;
	atomic64_t nr;
};

/* Count and report a bad entry of the L1 table. Context: Any. */
void qed_defect_l1(struct qed_defects *defects, const struct qed_geometry *geo,
		   u64 index, u64 entry, const char *what);

/* Count and report a bad entry of the L2 table at @table (bytes). Context: Any. */
void qed_defect_l2(struct qed_defects *defects, const struct qed_geometry *geo,
		   u64 table, u64 cluster, u64 entry, const char *what);

/**
 * qed_scan() - scan all tables
 * @args: see there
 * @result: valid if the scan succeeds
 *
 * Keeps many reads in flight. Context: Process context, may sleep.
 * Return: 0, -EUCLEAN if there were defects, -EINTR if it was stopped, -EIO,
 * -ENOMEM.
 */
int qed_scan(const struct qed_scan_args *args, struct qed_scan_result *result);
void qed_scan_result_free(struct qed_scan_result *result);

#endif /* DM_QED_SCAN_H */
