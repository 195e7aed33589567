/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What text and JSON have in common; not for users of report.h.
 */

#ifndef QED_REPORT_PARTS_H
#define QED_REPORT_PARTS_H

#include "report.h"

/* What is known of the image in the end. Nothing good if the run did not come to it. */
enum verdict {
	VERDICT_CLEAN,
	VERDICT_REPAIRED,
	VERDICT_WASTE,
	VERDICT_DAMAGED,
	VERDICT_UNKNOWN,
};

enum verdict find_verdict(const struct qed_fsck_result *result, const char *error);

/* Number of findings of a severity */
u64 sum_findings(const u64 *by_code, enum qed_severity severity);

/* In bytes */
u64 peak_memory(void);

/* Is the geometry of the image known? */
static inline bool has_geometry(const struct qed_image *img)
{
	return img->entries_shift;
}

/* Count a finding; shall it be listed? */
bool is_listed(struct qed_reporter *reporter, const struct qed_finding *finding);

void hide_bar(struct qed_reporter *reporter);

void text_finding(struct qed_reporter *reporter, const struct qed_finding *finding);
void text_question(struct qed_reporter *reporter, const struct qed_finding *finding);
void text_end(struct qed_reporter *reporter, const struct qed_fsck_result *result,
	      const char *error);
void text_undone(struct qed_reporter *reporter);
void text_raw(const struct qed_reporter *reporter);
void text_proposals(const struct qed_proposal *proposals, unsigned int nr);

void json_finding(struct qed_reporter *reporter, const struct qed_finding *finding);
void json_end(struct qed_reporter *reporter, const struct qed_fsck_result *result,
	      const char *error, int exit_status);
void json_failure(struct qed_reporter *reporter, const char *error, int exit_status);
void json_undone(struct qed_reporter *reporter, const char *file, int exit_status);
void json_raw(struct qed_reporter *reporter, int exit_status);
void json_proposals(struct qed_reporter *reporter, const struct qed_proposal *proposals,
		    unsigned int nr);

#endif /* QED_REPORT_PARTS_H */
