// SPDX-License-Identifier: GPL-2.0-only
/*
 * The record in a check, see record-repair.h.
 *
 * The first write of a repair clears its bit, the last one sets it again if all that the
 * record says holds. It is in memory then, its bytes are never changed. To drop it loses
 * nothing but time: what it says is found out again when the tables are read.
 */

#include "record-repair.h"

int qed_check_record(struct qed_repair *repair)
{
	struct qed_record *record = &repair->result->record;
	struct qed_finding finding = { .code = QED_RECORD_VOID };
	int r = qed_record_read(repair->img, &repair->fixed, record);

	repair->size_before = repair->img->size;
	if (!r && record->state == QED_RECORD_IGNORED)
		qed_report(repair, &finding);
	if (!r && record->active && repair->options->takeover)
		repair->drops_record = repair->mode != QED_MODE_CHECK;
	return r;
}

/* Does something refer to what is behind the end? The zeroes are there, too. */
static bool is_untrue(const struct qed_repair *repair)
{
	const struct qed_record *record = &repair->result->record;

	return record->end && qed_map_end(&repair->used) > record->end;
}

void qed_check_record_end(struct qed_repair *repair)
{
	unsigned int shift = repair->img->cluster_shift;
	u64 end = repair->result->record.end;
	struct qed_finding finding = { .code = QED_RECORD_UNTRUE, .has = QED_HAS_RANGE };

	if (!is_untrue(repair))
		return;
	repair->drops_record = repair->mode != QED_MODE_CHECK;
	finding.action = repair->drops_record ? QED_ACTION_CLEARED : QED_ACTION_NONE;
	finding.offset = end << shift;
	finding.length = (qed_map_end(&repair->used) - end) << shift;
	qed_report(repair, &finding);
}

__le64 qed_kept_record(const struct qed_repair *repair)
{
	const struct qed_record *record = &repair->result->record;
	const struct qed_image *img = repair->img;
	bool holds = record->state == QED_RECORD_VALID && !record->active &&
		     !repair->drops_record && !is_untrue(repair) &&
		     img->size == repair->size_before &&
		     (!record->zero_end ||
		      img->changed_end <= record->zero_from << img->cluster_shift);

	return htole64(holds ? QED_AF_RECORD : 0);
}
