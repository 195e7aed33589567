/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the command line of the hammer says. Sizes are in sectors, times in seconds.
 */

#ifndef DM_QED_HAMMER_H
#define DM_QED_HAMMER_H

#include <linux/types.h>
#include <stdbool.h>

struct hammer_options {
	char **devices;			/* names of the same one */
	unsigned int nr_devices;
	const char *state;
	const char *kinds;		/* of units, repeated: '-' is never unmapped */
	__u64 offset;			/* of the range */
	__u64 sectors;			/* length of the range */
	__u64 max_sectors;		/* of an I/O */
	__u64 unit;			/* what a discard is a multiple of */
	unsigned int block_sectors;	/* logical block of the device */
	unsigned int page_sectors;	/* 4 KiB, or a block if that is larger */
	unsigned int seed;
	unsigned int threads;
	unsigned int readers;		/* threads that do nothing else */
	unsigned int seconds;
	unsigned int ops;		/* per thread, 0: no limit */
	unsigned int read_percent;
	unsigned int flush_percent;
	unsigned int sync_percent;
	unsigned int unmap_percent;
	unsigned int whole_percent;	/* of these: whole units */
	unsigned int nowait_percent;
	unsigned int stuck;		/* longest time of an I/O, 0: any */
	unsigned int power_off;		/* a descriptor, 0: no */
	bool grows;
	bool races;
	bool pattern;
	bool no_zeroes;
	bool no_discards;
	bool may_tear;
	bool verify;
	bool crashed;
	bool errors_ok;
};

extern struct hammer_options opt;

/* Set them, all but those that the device has. Exits with 2 if there is a mistake. */
void hammer_parse(int argc, char **argv);

#endif /* DM_QED_HAMMER_H */
