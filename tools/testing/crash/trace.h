/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the recorder hands to the explorer: events, in the order in which they
 * happened on both disks, each followed by the data if it has any.
 */

#ifndef CRASH_TRACE_H
#define CRASH_TRACE_H

#ifdef __KERNEL__
#include <linux/types.h>
#else
#include <stdint.h>
#endif

#define TRACE_SECTOR	512

/* The disk below dm-qed, that has the image, and the one that dm-qed offers */
enum trace_disk {
	TRACE_LOWER,
	TRACE_UPPER,
	TRACE_DISKS,
};

/*
 * A submission is recorded before the disk sees it, a completion after the disk
 * has made it and before anybody hears of it.
 */
enum trace_type {
	TRACE_WRITE,
	TRACE_WRITE_DONE,
	TRACE_FLUSH,
	TRACE_FLUSH_DONE,
	TRACE_RESIZE,		/* to @sector sectors, durable when it is done */
	TRACE_RESIZE_DONE,
	TRACE_LOST,		/* what was completed and not flushed may never be */
};

#define TRACE_FUA	1	/* with TRACE_WRITE */
#define TRACE_ZEROES	2	/* with TRACE_WRITE: zeroes, no data follows */
#define TRACE_ERROR	4	/* with ..._DONE: it failed */
#define TRACE_DISCARD	8	/* with TRACE_WRITE: a discard, no data follows */

struct trace_event {
	uint8_t type;
	uint8_t disk;
	uint8_t flags;
	uint8_t reserved;
	uint32_t id;		/* of the submission, from 1 on, also on its end */
	uint64_t sector;
	uint32_t nr;		/* sectors; that much data follows a write */
	uint32_t reserved2;
};

#endif /* CRASH_TRACE_H */
