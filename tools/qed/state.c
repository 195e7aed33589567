// SPDX-License-Identifier: GPL-2.0-only
/*
 * A check under way, see state.h.
 */

#include <errno.h>

#include "change.h"
#include "header.h"
#include "state.h"
#include "undo.h"

int qed_fail(struct qed_repair *repair, int error, const char *what)
{
	if (error < 0 && !repair->result->what)
		repair->result->what = what;
	return error;
}

void qed_report(struct qed_repair *repair, const struct qed_finding *finding)
{
	repair->result->found[finding->code]++;
	if (finding->action)
		repair->result->fixed[finding->code]++;
	if (repair->options->report)
		repair->options->report(repair->options->ctx, finding);
}

void qed_report_read_error(struct qed_repair *repair, const struct qed_ref *ref, u64 offset,
			   u64 length)
{
	struct qed_finding finding = {
		.code = QED_READ_ERROR,
		.has = QED_HAS_RANGE | QED_HAS_GUEST,
		.offset = offset,
		.length = length,
		.guest_offset = ref->guest_offset,
		.guest_length = ref->guest_length,
	};

	qed_report(repair, &finding);
}

int qed_walk_tables(struct qed_repair *repair, const struct qed_walk_ops *ops,
		    struct qed_map *claims, struct qed_counts *counts)
{
	struct qed_walk walk = {
		.img = repair->img,
		.claims = claims,
		.owners = &repair->owners,
		.none = &repair->none,
		.ops = ops,
		.ctx = repair,
		.progress = &repair->progress,
	};
	int r;

	qed_map_clear(claims);
	r = qed_walk(&walk);
	if (counts)
		*counts = walk.counts;
	return r;
}

bool qed_may_repair(const struct qed_repair *repair)
{
	return repair->mode == QED_MODE_REPAIR || repair->mode == QED_MODE_ASK;
}

int qed_decide(struct qed_repair *repair, struct qed_finding *finding, enum qed_action action)
{
	int r;

	finding->action = QED_ACTION_NONE;
	if (qed_stopped(repair->img))
		return -EINTR;
	if (!qed_may_repair(repair))
		return 0;
	finding->action = action;
	if (repair->mode == QED_MODE_REPAIR)
		return 0;
	r = repair->options->ask(repair->options->ctx, finding);
	if (r < 0)
		return r;
	if (!r)
		finding->action = QED_ACTION_NONE;
	return 0;
}

int qed_settle(struct qed_repair *repair)
{
	int r = repair->img->modified ? qed_sync(repair->img) : 0;

	if (!r)
		repair->settled = *repair->result;
	return qed_fail(repair, r, "cannot make changes durable");
}

void qed_count_settled(struct qed_repair *repair)
{
	struct qed_fsck_result *result = repair->result;
	enum qed_code code;

	for (code = 0; code < QED_CODES; code++) {
		result->unsettled += result->fixed[code] - repair->settled.fixed[code];
		result->fixed[code] = repair->settled.fixed[code];
	}
	result->leaks_fixed = repair->settled.leaks_fixed;
}

u64 qed_find_old_end(const struct qed_repair *repair)
{
	const struct qed_image *img = repair->img;
	u64 features = le64toh(img->header.features);
	u64 autoclear = le64toh(img->header.autoclear_features);
	u64 end = autoclear & QED_AF_END_MASK;

	/* not what cannot have been one: no data would be before it */
	if (features & QED_F_NEED_CHECK && autoclear & QED_AF_END && end < img->nr_clusters &&
	    end > img->l1_offset >> img->cluster_shift)
		return end;
	return img->nr_clusters;
}

int qed_forget_end(struct qed_repair *repair)
{
	struct qed_header header = repair->img->header;

	repair->old_end = ~0ULL;
	if (!(le64toh(header.autoclear_features) & QED_AF_END))
		return 0;
	header.autoclear_features &= ~htole64(QED_AF_END | QED_AF_END_MASK);
	return qed_fail(repair, qed_write_header(repair->img, &header), "cannot write the header");
}

int qed_expect_untouched(struct qed_repair *repair)
{
	int r = repair->img->modified ? 0 : qed_image_untouched(repair->img);

	return qed_fail(repair, r, r == -EBUSY ?
			"somebody else has written the header, nothing was changed" :
			"cannot read the header");
}

int qed_begin(struct qed_repair *repair)
{
	struct qed_header header = repair->fixed;
	int r;

	if (repair->has_begun)
		return 0;
	r = qed_expect_untouched(repair);
	if (r)
		return r;
	header.features |= htole64(QED_F_NEED_CHECK);
	header.autoclear_features = 0;
	if (!qed_may_have_orphans(&repair->orphans) &&
	    (!repair->mostly_leaked || repair->mode == QED_MODE_REPAIR))
		header.autoclear_features = htole64(QED_AF_REPAIR);
	if (repair->tables && !repair->img->is_block)
		header.autoclear_features |= htole64(QED_AF_END | repair->old_end);
	if (repair->img->l1_offset >> repair->img->cluster_shift != repair->img->header_clusters)
		header.autoclear_features |= htole64(QED_AF_PLACED);
	header.autoclear_features |= htole64(qed_undo_mark(repair->img->undo));
	r = qed_write_header(repair->img, &header);
	if (r)
		return qed_fail(repair, r, "cannot write the header");
	repair->has_begun = true;
	return 0;
}
