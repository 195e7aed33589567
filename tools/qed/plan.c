// SPDX-License-Identifier: GPL-2.0-only
/*
 * Looking at the tables, see plan.h.
 */

#include <errno.h>

#include "plan.h"

/*
 * What is in a shared table, of what the guest's disk has. It claims nothing; but if what
 * makes it shared is dropped it will: that must not make another table shared only then,
 * which was taken for one before.
 */
static int survey_shared(struct qed_repair *repair, const struct qed_ref *ref,
			 struct qed_survey *survey)
{
	struct qed_image *img = repair->img;
	u64 limit = qed_l2_limit(img, ref->l1_index);
	bool is_whole = !ref->is_beyond && limit == qed_table_entries(img);
	int r;

	/* those that are not whole come last, so that each cluster is known by a whole one */
	repair->surveys.reached = is_whole ? &repair->multiple : NULL;
	r = qed_survey_table(&repair->surveys, ref->value, survey);
	repair->surveys.reached = NULL;
	if (r || is_whole || ref->is_beyond)
		return r;
	return qed_survey_part(img, ref->value, limit, &repair->multiple, survey);
}

/*
 * A shared table. Nothing of it may be used for copies, nor what it refers to,
 * whatever is to become of it: it is read again, and the user may want to keep it.
 */
static int plan_table(struct qed_repair *repair, const struct qed_ref *ref)
{
	struct qed_survey survey;
	int r = survey_shared(repair, ref, &survey);

	if (r == -EREMOTEIO) {
		repair->read_errors++;
		return 0;
	}
	if (r || ref->is_beyond)
		return r;
	repair->result->is_cut |= survey.cut;
	if (qed_map_test(&repair->none.dropped, ref->l1_index))
		return 0;
	repair->shared++;
	repair->tables++;
	repair->clusters += survey.legal;
	return 0;
}

static bool is_cut_off(const struct qed_image *img, const struct qed_ref *ref)
{
	return (ref->code == QED_L1_ENTRY_BEYOND_END || ref->code == QED_L2_ENTRY_BEYOND_END) &&
	       !ref->is_beyond && qed_is_cut_off(img, QED_DEFECT_BEYOND_END, ref->value);
}

/* Remember what is shared: of a table all clusters, also those of a later one only */
static int remember_multiple(struct qed_repair *repair, const struct qed_ref *ref)
{
	if (ref->l1)
		return qed_map_set(&repair->multiple, ref->value >> repair->img->cluster_shift,
				   repair->img->table_clusters);
	return qed_map_set(&repair->multiple, ref->conflict, 1);
}

static bool is_illegal(const struct qed_ref *ref)
{
	return ref->code >= QED_L2_ENTRY_UNALIGNED && ref->code <= QED_L2_ENTRY_ON_L1;
}

/* Those of a table come one after another */
static int count_illegal(struct qed_repair *repair, const struct qed_ref *ref)
{
	if (repair->illegal_index != ref->l1_index)
		repair->illegal = 0;
	repair->illegal_index = ref->l1_index;
	if (++repair->illegal < QED_NO_TABLE_ENTRIES)
		return 0;
	return qed_map_set(&repair->doubtful, ref->l1_index, 1);
}

/* Find out what will be needed. A table that cannot be read is a read error. */
static int plan_entry(void *ctx, const struct qed_ref *ref, u64 *value)
{
	struct qed_repair *repair = ctx;
	int r;

	(void)value;
	repair->has_rest |= !ref->l1 && ref->is_beyond;
	repair->result->is_cut |= is_cut_off(repair->img, ref);
	if (is_illegal(ref))
		return count_illegal(repair, ref);
	/* no copy may go there */
	if (ref->code == QED_L1_ENTRY_NO_TABLE)
		return qed_map_set(&repair->claims, ref->value >> repair->img->cluster_shift,
				   repair->img->table_clusters);
	if (ref->code != QED_L1_ENTRY_SHARED && ref->code != QED_L2_ENTRY_SHARED)
		return 0;
	if (!ref->is_beyond) {
		r = remember_multiple(repair, ref);
		if (r)
			return r;
	}
	repair->has_shared_table |= ref->l1;
	if (ref->l1)
		return plan_table(repair, ref);
	repair->shared += !ref->is_beyond;
	repair->clusters += !ref->is_beyond;
	return 0;
}

static int plan_read_error(void *ctx, const struct qed_ref *ref, u64 offset, u64 length)
{
	struct qed_repair *repair = ctx;

	(void)ref;
	(void)offset;
	(void)length;
	repair->read_errors++;
	return 0;
}

static int show_read_error(void *ctx, const struct qed_ref *ref, u64 offset, u64 length)
{
	struct qed_repair *repair = ctx;
	const struct qed_image *img = repair->img;
	unsigned int shift = ref->l1 ? qed_span_shift(img) : img->cluster_shift;
	u64 entries = length / sizeof(__le64), most;
	struct qed_ref all = *ref;

	most = ref->is_beyond ? ~0ULL - all.guest_offset : img->image_size - all.guest_offset;
	all.guest_length = shift < 64 && entries <= most >> shift ? entries << shift : most;
	qed_report_read_error(repair, &all, offset, length);
	return 0;
}

static int show_entry(void *ctx, const struct qed_ref *ref, u64 *value)
{
	struct qed_repair *repair = ctx;
	struct qed_walk walk = { .img = repair->img, .owners = &repair->owners };
	struct qed_finding finding;
	struct qed_survey survey;
	int r = 0;

	(void)value;
	qed_ref_finding(&walk, ref, &finding);
	qed_report(repair, &finding);
	if (ref->code == QED_L1_ENTRY_SHARED && repair->read_errors)
		r = qed_survey_table(&repair->surveys, ref->value, &survey);
	if (r == -EREMOTEIO) {
		qed_report_read_error(repair, ref, ref->value, qed_table_bytes(repair->img));
		r = 0;
	}
	return r;
}

static const struct qed_walk_ops plan_ops = {
	.entry = plan_entry,
	.read_error = plan_read_error,
};

static const struct qed_walk_ops show_ops = {
	.entry = show_entry,
	.read_error = show_read_error,
};

static int walk(struct qed_repair *repair, const struct qed_walk_ops *ops, struct qed_map *claims)
{
	int r;

	repair->progress.pass = 2;
	r = qed_walk_tables(repair, ops, claims, &repair->result->counts);
	return qed_fail(repair, r, "cannot read the tables");
}

/* Find out all about tables that are not as they should be */
static int plan(struct qed_repair *repair)
{
	qed_map_clear(&repair->claims);
	qed_surveys_forget(&repair->surveys);
	repair->has_shared_table = false;
	repair->shared = 0;
	repair->tables = 0;
	repair->clusters = 0;
	repair->illegal = 0;
	repair->read_errors = 0;
	return walk(repair, &plan_ops, &repair->used);
}

static bool has_no_tables(const struct qed_repair *repair)
{
	return qed_map_end(&repair->none.dropped) || qed_map_end(&repair->none.alone);
}

int qed_read_tables(struct qed_repair *repair, unsigned int pass, bool *is_wrong)
{
	int r;

	repair->progress.pass = pass;
	qed_map_clear(&repair->used);
	r = qed_scan(repair->img, &repair->used, &repair->result->counts,
		     repair->options->threads, &repair->progress);
	if (r < 0 && r != -EREMOTEIO)
		return qed_fail(repair, r, "cannot read the tables");
	repair->is_unread = r == -EREMOTEIO;
	*is_wrong = r != 1;
	if (!*is_wrong)
		return 0;

	repair->surveys.unread = 0;
	qed_map_clear(&repair->none.dropped);
	qed_map_clear(&repair->none.alone);
	qed_map_clear(&repair->doubtful);
	qed_map_clear(&repair->multiple);
	r = plan(repair);
	if (!r)
		r = qed_fail(repair, qed_find_no_tables(&repair->surveys, &repair->multiple,
							&repair->doubtful, &repair->none),
			     "cannot read the tables");
	qed_map_clear(&repair->multiple);
	if (!r && has_no_tables(repair))
		r = plan(repair);
	qed_map_clear(&repair->multiple);
	/* once it could be read, and once it could not: what is no table is not known */
	if (!r && repair->surveys.unread && !repair->read_errors)
		r = qed_fail(repair, -EIO, "cannot read the tables");
	return r;
}

static int keep_entry(void *ctx, const struct qed_ref *ref, u64 *value)
{
	struct qed_repair *repair = ctx;
	struct qed_survey survey;
	int r;

	(void)value;
	if (ref->code != QED_L1_ENTRY_SHARED || qed_map_test(&repair->none.dropped, ref->l1_index))
		return 0;
	r = qed_survey_table(&repair->surveys, ref->value, &survey);
	/* that is a finding already */
	return r == -EREMOTEIO ? 0 : r;
}

int qed_find_kept(struct qed_repair *repair, struct qed_map *kept)
{
	static const struct qed_walk_ops keep_ops = {
		.entry = keep_entry,
	};
	int r;

	if (!has_no_tables(repair))
		return qed_map_or(kept, &repair->claims);
	qed_surveys_forget(&repair->surveys);
	repair->surveys.refers = kept;
	r = walk(repair, &keep_ops, &repair->used);
	repair->surveys.refers = &repair->claims;
	return r;
}

int qed_show_tables(struct qed_repair *repair)
{
	return walk(repair, &show_ops, &repair->claims);
}
