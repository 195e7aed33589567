/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What qed-fsck prints: text or JSON, and progress.
 */

#ifndef QED_REPORT_H
#define QED_REPORT_H

#include <time.h>

#include "fsck.h"
#include "geometry.h"

/* Findings of one code that are listed without -v */
#define QED_MAX_LISTED	100U

/* Is increased when a member of the JSON goes, or gets another meaning */
#define QED_JSON_SCHEMA	1U

/**
 * struct qed_reporter - what is printed, and how
 * @img: the image, once it is open
 * @path: its name
 * @name: the same as it is printed in text
 * @mode: n, p, y, or 0 for questions
 * @json: print JSON
 * @quiet: print nothing
 * @verbose: list all findings
 * @stats: tell about the run, too
 * @threads: number of them
 * @progress_fd: lines about the progress go there, -1: nowhere
 * @bar: show a bar on standard error
 * @note: something that is to be said in the end, or NULL
 * @bar_delay: but only after so many seconds
 * @started: time of the start, monotonic
 *
 * @listed: number of findings, by code
 * @omitted: number of those that are not in the JSON
 * @has_head: the JSON object was begun
 * @has_finding: so was its list of findings
 * @bar_is_shown: the bar is on the screen
 * @all: the answer to all questions is yes
 * @last_progress: time of the last report
 *
 * Those from @listed on are private.
 */
struct qed_reporter {
	const struct qed_image *img;
	const char *path;
	char *name;
	char mode;
	bool json, quiet, verbose, stats;
	unsigned int threads;
	int progress_fd;
	bool bar;
	const char *note;
	double bar_delay, started;

	u64 listed[QED_CODES], omitted;
	bool has_head, has_finding;
	bool bar_is_shown, all;
	double last_progress;
};

/* Seconds of a clock that only goes forwards */
double qed_now(void);

/* Sets @path, @name and @started; all else is set by the caller. */
void qed_report_init(struct qed_reporter *reporter, const char *path);

/* Frees @name. */
void qed_report_done(struct qed_reporter *reporter);

/* For struct qed_fsck_options; @ctx is the reporter. */
void qed_report_finding(void *ctx, const struct qed_finding *finding);
int qed_report_ask(void *ctx, const struct qed_finding *finding);
void qed_report_progress(void *ctx, unsigned int pass, u64 done, u64 all);

/* Print the summary, or end the JSON object. @error: what failed, or NULL */
void qed_report_end(struct qed_reporter *reporter, const struct qed_fsck_result *result,
		    const char *error, int exit_status);

/* Print that an undo file was applied, or that there was nothing to be taken back. */
void qed_report_undone(struct qed_reporter *reporter, const char *file, int exit_status);

/* Print what --geometry search has found. */
void qed_report_proposals(struct qed_reporter *reporter, const struct qed_proposal *proposals,
			  unsigned int nr);

/* Print of a raw base that it is one; @note of the reporter is what is to be said of it. */
void qed_report_raw(struct qed_reporter *reporter, int exit_status);

/* Begin and end what is printed of a chain: what is between are reports of its images. */
void qed_report_chain_begin(const struct qed_reporter *reporter);
void qed_report_chain_next(const struct qed_reporter *reporter);
void qed_report_chain_end(const struct qed_reporter *reporter, int exit_status);

/* Print why the image cannot be opened. */
void qed_report_failure(struct qed_reporter *reporter, const char *error, int exit_status);

#endif /* QED_REPORT_H */
