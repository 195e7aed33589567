/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The parts of a check that repair; not for users of the library.
 */

#ifndef QED_REPAIR_H
#define QED_REPAIR_H

#include "fsck.h"
#include "space.h"
#include "walk.h"

/* Tables whose survey is remembered */
#define QED_SURVEYS	256U

struct qed_known_table {
	u64 table;		/* 0: none, which is the header */
	struct qed_survey survey;
};

/**
 * struct qed_repair - a check under way
 * @img: the image
 * @options: what to do
 * @result: what came out
 * @mode: of @options, or QED_MODE_CHECK after something that forbids repairs
 * @fixed: the header as it should be, without NEED_CHECK
 * @has_begun: NEED_CHECK was set
 * @used: clusters in use
 * @claims: those seen in a walk
 * @multiple: shared clusters, in the first walk
 * @dropped: L1 entries, by index, whose tables are shared and none
 * @owners: first references of shared clusters
 * @space: where copies go
 * @known: surveys of shared tables
 * @progress: to be told about it
 * @shared: references to be copied
 * @tables: tables to be copied
 * @clusters: clusters of data to be copied
 * @read_errors: number of them
 * @leaks_inside: clusters that remain leaked, below the high-water mark
 * @extend_to: the file has to have this size, in bytes
 * @has_partial: the file ends within a cluster that is in use
 * @declined: the user wants a damaged entry to remain
 */
struct qed_repair {
	struct qed_image *img;
	const struct qed_fsck_options *options;
	struct qed_fsck_result *result;
	enum qed_mode mode;
	struct qed_header fixed;
	bool has_begun;

	struct qed_map used, claims, multiple, dropped;
	struct qed_owners owners;
	struct qed_space space;
	struct qed_known_table known[QED_SURVEYS];
	struct qed_progress progress;

	u64 shared, tables, clusters, read_errors;
	u64 leaks_inside;
	u64 extend_to;
	bool has_partial, declined;
};

/* Count a finding, and tell the user. */
void qed_report(struct qed_repair *repair, const struct qed_finding *finding);

/*
 * Is a finding to be repaired, by this action? Sets the action of the finding, to
 * none if not. Return: 0 or -EINTR.
 */
int qed_decide(struct qed_repair *repair, struct qed_finding *finding, enum qed_action action);

/* To be called before the first change: sets NEED_CHECK, durably. */
int qed_begin(struct qed_repair *repair);

/* What is in a table that is shared, see qed_survey_table() */
int qed_survey_shared(struct qed_repair *repair, const struct qed_ref *ref, struct qed_map *map,
		      struct qed_survey *survey);

/* Report a range of a table, or data, that cannot be read. */
void qed_report_read_error(struct qed_repair *repair, const struct qed_ref *ref, u64 offset,
			   u64 length);

/* Repair all tables, with the space that was promised. */
int qed_repair_tables(struct qed_repair *repair);

/*
 * If the file ends within a cluster that is in use, extend it. Any time, as this
 * cluster counts as one in the file already.
 */
int qed_repair_partial_cluster(struct qed_repair *repair);

/* Find leaks, and give them back. */
int qed_repair_space(struct qed_repair *repair);

#endif /* QED_REPAIR_H */
