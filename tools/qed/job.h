/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a check is to do, and what came out.
 */

#ifndef QED_JOB_H
#define QED_JOB_H

#include "finding.h"
#include "image.h"
#include "record.h"
#include "scan.h"

enum qed_mode {
	QED_MODE_CHECK,		/* -n */
	QED_MODE_PREEN,		/* -p */
	QED_MODE_REPAIR,	/* -y */
	QED_MODE_ASK,
};

/* What to do about L2 tables that nothing refers to, unless the user is asked */
enum qed_orphan_policy {
	QED_ORPHANS_KEEP,
	QED_ORPHANS_FREE,
	QED_ORPHANS_RECONNECT,
};

/* What QED_MODE_REPAIR does to an image that looks as if its end had been cut off */
enum qed_cut_policy {
	QED_CUT_KEEP,		/* nothing at all */
	QED_CUT_CLEAR,
};

#define QED_MAX_PLACES	64U

/**
 * struct qed_place - where an L2 table belongs
 * @table: its offset
 * @guest_offset: of what it maps, a multiple of that
 */
struct qed_place {
	u64 table, guest_offset;
};

/**
 * struct qed_fsck_options - what to do
 * @mode: what to repair
 * @always: read the tables even if the image is marked clean
 * @takeover: whoever has the image does not write any more: drop a record that says so
 * @compact: make the image as short as possible
 * @discard: discard the free clusters of a block device
 * @new_header: the header of @img is not on the disk yet
 * @orphans: for QED_MODE_REPAIR
 * @cut: for the same
 * @places: where the user says that tables belong
 * @nr_places: number of these
 * @threads: number of threads that read, at least 1
 * @report: called for each finding when it is known what was done about it
 * @ask: in the mode QED_MODE_ASK: may this finding be repaired, by its action?
 *	1, 0, or an error that ends everything
 * @ctx: for @report and @ask
 * @progress: to be told about it; its pass is changed
 */
struct qed_fsck_options {
	enum qed_mode mode;
	bool always, takeover, compact, discard, new_header;
	enum qed_orphan_policy orphans;
	enum qed_cut_policy cut;
	struct qed_place places[QED_MAX_PLACES];
	unsigned int nr_places;
	unsigned int threads;
	void (*report)(void *ctx, const struct qed_finding *finding);
	int (*ask)(void *ctx, const struct qed_finding *finding);
	void *ctx;
	struct qed_progress progress;
};

/**
 * struct qed_fsck_result - what came out
 * @found: number of findings, by code
 * @fixed: number of those whose repair is durable
 * @leaks: number of clusters that were leaked
 * @leaks_fixed: number of those that were given back, durably
 * @unsettled: number of findings that were reported as repaired, but are not in
 *	@fixed: of a step that failed or was stopped
 * @is_cut: it looks as if the end of the image had been cut off
 * @scanned: the tables were read
 * @complete: all of them could be read; the following are valid
 * @counts: figures of the guest's disk
 * @used: clusters of the image in use
 * @free: clusters that are not, below the high-water mark, without leaks
 * @end: the high-water mark, in clusters
 * @moved: number of clusters that were moved, durably
 * @record: that of the image before; qed_has_record() tells whether it was kept
 * @what: what failed, for the user, if an error is returned
 */
struct qed_fsck_result {
	u64 found[QED_CODES], fixed[QED_CODES];
	u64 leaks, leaks_fixed, unsettled;
	bool is_cut, scanned, complete;
	struct qed_counts counts;
	u64 used, free, end, moved;
	struct qed_record record;
	const char *what;
};

#endif /* QED_JOB_H */
