/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A check under way, as those know it that look and repair: decisions, the header while
 * something is changed, and what is durable. Not for users of the library.
 */

#ifndef QED_STATE_H
#define QED_STATE_H

#include "job.h"
#include "orphans.h"
#include "space.h"
#include "survey.h"
#include "walk.h"

/*
 * An autoclear bit of our own, while a repair is under way that frees all leaks: it still
 * may if it is interrupted. Who else writes to the image clears it.
 */
#define QED_AF_REPAIR	0x4000000000000000ULL	/* bit 62 */

/*
 * Another one, while tables are copied: the bits of QED_AF_END_MASK are the number of
 * clusters that the file had. What a shared table refers to behind them is no data, though
 * the file gets longer: copies are referred to by tables that are not shared.
 */
#define QED_AF_END	0x2000000000000000ULL	/* bit 61 */
#define QED_AF_END_MASK	0x000fffffffffffffULL	/* bits 0 to 51 */

/**
 * struct qed_repair - a check under way
 * @img: the image
 * @options: what to do
 * @result: what came out
 * @mode: of @options, or QED_MODE_CHECK after something that forbids repairs
 * @fixed: the header as it should be, without NEED_CHECK
 * @has_begun: NEED_CHECK was set
 * @used: clusters in use
 * @claims: what tables refer to that are shared; later those seen in a walk
 * @kept: what is in use, and what shared tables refer to that are some, for the orphans
 * @multiple: shared clusters, in the first walk, and what shared tables refer to
 * @doubtful: L1 entries, by index, with many illegal entries in their tables
 * @none: L1 entries whose tables are none
 * @uncopied: clusters of shared tables with their data, and shared data, that did not get
 *	a copy
 * @owners: first references of shared clusters
 * @space: where copies go
 * @surveys: what is known about shared tables
 * @orphans: leaks before all repairs, and tables among them
 * @progress: to be told about it
 * @shared: references to be copied
 * @tables: tables to be copied
 * @clusters: clusters of data to be copied
 * @has_rest: there are legal entries beyond the size in a table within it
 * @illegal: illegal entries, one after another, of the table of L1 entry @illegal_index
 * @read_errors: number of them
 * @is_unread: the tables were read again because a part could not be read, if only once
 * @leaks_inside: clusters that remain leaked, below the high-water mark
 * @extend_to: the file has to have this size, in bytes
 * @old_end: clusters that the file had before anything was copied, see QED_AF_END
 * @has_shared_table: there is an L1 entry that is shared
 * @has_linked: an orphan was linked: the tables have to be read again
 * @mostly_leaked: more clusters are leaked than are in use
 * @has_partial: the file ends within a cluster that is in use
 * @declined: the user wants a damaged entry to remain
 * @drops_record: the record is not true
 * @size_before: of the image, in bytes
 * @settled: @result as to @fixed and @leaks_fixed, when all of it was durable
 */
struct qed_repair {
	struct qed_image *img;
	const struct qed_fsck_options *options;
	struct qed_fsck_result *result;
	enum qed_mode mode;
	struct qed_header fixed;
	bool has_begun;

	struct qed_map used, claims, kept, multiple, doubtful, uncopied;
	struct qed_no_tables none;
	struct qed_hash owners;
	struct qed_space space;
	struct qed_surveys surveys;
	struct qed_orphans orphans;
	struct qed_progress progress;

	u64 shared, tables, clusters, read_errors;
	u64 illegal, illegal_index;
	u64 leaks_inside;
	u64 extend_to, old_end;
	bool has_shared_table, has_linked, mostly_leaked;
	bool has_partial, has_rest, declined, is_unread;
	bool drops_record;
	u64 size_before;
	struct qed_fsck_result settled;
};

/* Remember what failed, for the user, if @error is one. Returns @error. */
int qed_fail(struct qed_repair *repair, int error, const char *what);

/* Count a finding, and tell the user. */
void qed_report(struct qed_repair *repair, const struct qed_finding *finding);

/**
 * qed_walk_tables() - walk over all tables
 * @repair: the check
 * @ops: what to do, with @repair as their context
 * @claims: for the claims; emptied before
 * @counts: for the figures, or NULL
 *
 * Return: as qed_walk().
 */
int qed_walk_tables(struct qed_repair *repair, const struct qed_walk_ops *ops,
		    struct qed_map *claims, struct qed_counts *counts);

/* May something be repaired that loses something, or needs a guess? */
bool qed_may_repair(const struct qed_repair *repair);

/*
 * Is a finding to be repaired, by this action? Sets the action of the finding, to
 * none if not. Return: 0 or -EINTR.
 */
int qed_decide(struct qed_repair *repair, struct qed_finding *finding, enum qed_action action);

/* To be called when all repairs that were reported are done: makes them durable. */
int qed_settle(struct qed_repair *repair);

/* At the end: repairs count when they are durable, not when they were decided. */
void qed_count_settled(struct qed_repair *repair);

/* For @old_end: what a repair that was interrupted says, or where the file ends now. */
u64 qed_find_old_end(const struct qed_repair *repair);

/*
 * Before the first write: nobody has written the header since it was looked at, which may be long
 * ago. Returns 0, -EBUSY, or the error of the read.
 */
int qed_expect_untouched(struct qed_repair *repair);

/* To be called before the first change: sets NEED_CHECK, durably. */
int qed_begin(struct qed_repair *repair);

/* To be called when a shared table remains one, before anything refers to copies. */
int qed_forget_end(struct qed_repair *repair);

/* Report a range of a table, or data, that cannot be read. */
void qed_report_read_error(struct qed_repair *repair, const struct qed_ref *ref, u64 offset,
			   u64 length);

#endif /* QED_STATE_H */
