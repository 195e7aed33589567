/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What dm-qed says of a device: its status, and its table.
 */

#ifndef QEDSETUP_TARGET_H
#define QEDSETUP_TARGET_H

#include <stdbool.h>
#include <sys/types.h>

#include "../common.h"

#define TARGET_UNKNOWN	(~0ULL)

/* Work that goes on in the background */
struct target_progress {
	bool running;
	u64 done, total;
};

/*
 * The status: what its words say, see the documentation of the target. What is not known is
 * TARGET_UNKNOWN.
 */
struct target_status {
	u64 cluster_size;			/* bytes */
	u64 used, total, mapped, virtual;	/* clusters */
	u64 cached, cache_limit;		/* bytes */
	u64 dirty, allocations, commits;
	char mode[16];
	bool needs_check;
	u64 free, zeroed, reclaiming, queued;
	struct target_progress trim, check, scan;
	bool checked;				/* a check has ended, and found this */
	u64 leaks, defects;
	u64 ahead;
	bool has_below;
	u64 depth, copied, reads_below;
};

/* The most devices that can be below an image */
#define TARGET_BELOW	65

/**
 * struct target_table - a table
 * @image: the image device
 * @below: what is below, nearest first
 * @nr_below: number of these
 * @has_raw: the last of them has what is raw, and no image
 * @options: as they are in the table, without the devices
 * @read_only: is among them
 */
struct target_table {
	dev_t image, below[TARGET_BELOW];
	unsigned int nr_below;
	bool has_raw;
	char options[512];
	bool read_only;
};

/* Both return 0, or a negative error number if they do not understand it, which is noted. */
int target_get_status(const char *name, struct target_status *status);
int target_get_table(const char *name, struct target_table *table);

/* The same for a status that is there already, which is changed by that */
int target_parse_status(const char *name, char *params, struct target_status *status);

#endif /* QEDSETUP_TARGET_H */
