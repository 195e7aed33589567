// SPDX-License-Identifier: GPL-2.0-only
/*
 * Checking and repairing an image, see fsck.h.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "change.h"
#include "compact.h"
#include "header.h"
#include "repair.h"

/* In bytes */
#define SMALL_MAP	4194304U

/* The most bytes that are discarded at once, before it is looked whether to stop */
#define DISCARD_SIZE	67108864U

static int fail(struct qed_repair *repair, int error, const char *what)
{
	if (error && !repair->result->what)
		repair->result->what = what;
	return error;
}

u64 qed_fsck_left(const struct qed_fsck_result *result, enum qed_severity severity)
{
	enum qed_code code;
	u64 left = 0;

	for (code = 0; code < QED_CODES; code++)
		if (qed_code_severity(code) == severity)
			left += result->found[code] - result->fixed[code];
	return left;
}

static bool is_all_well(const struct qed_repair *repair)
{
	return !qed_fsck_left(repair->result, QED_DAMAGE) &&
	       !qed_fsck_left(repair->result, QED_WASTE) &&
	       !qed_fsck_left(repair->result, QED_ERROR);
}

static bool may_repair(const struct qed_repair *repair)
{
	return repair->mode == QED_MODE_REPAIR || repair->mode == QED_MODE_ASK;
}

void qed_report(struct qed_repair *repair, const struct qed_finding *finding)
{
	repair->result->found[finding->code]++;
	if (finding->action)
		repair->result->fixed[finding->code]++;
	if (repair->options->report)
		repair->options->report(repair->options->ctx, finding);
}

int qed_decide(struct qed_repair *repair, struct qed_finding *finding, enum qed_action action)
{
	int r;

	finding->action = QED_ACTION_NONE;
	if (qed_stopped(repair->img))
		return -EINTR;
	if (!may_repair(repair))
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
	return fail(repair, r, "cannot make changes durable");
}

/* Repairs count when they are durable, not when they were decided */
static void count_settled(struct qed_repair *repair)
{
	struct qed_fsck_result *result = repair->result;
	enum qed_code code;

	for (code = 0; code < QED_CODES; code++) {
		result->unsettled += result->fixed[code] - repair->settled.fixed[code];
		result->fixed[code] = repair->settled.fixed[code];
	}
	result->leaks_fixed = repair->settled.leaks_fixed;
}

/* What a repair that was interrupted says; or what this one has */
static u64 find_old_end(const struct qed_repair *repair)
{
	const struct qed_image *img = repair->img;
	u64 features = le64toh(img->header.features);
	u64 autoclear = le64toh(img->header.autoclear_features);

	if (features & QED_F_NEED_CHECK && autoclear & QED_AF_END &&
	    (autoclear & QED_AF_END_MASK) < img->nr_clusters)
		return autoclear & QED_AF_END_MASK;
	return img->nr_clusters;
}

int qed_forget_end(struct qed_repair *repair)
{
	struct qed_header header = repair->img->header;

	repair->old_end = ~0ULL;
	if (!(le64toh(header.autoclear_features) & QED_AF_END))
		return 0;
	header.autoclear_features &= ~htole64(QED_AF_END | QED_AF_END_MASK);
	return fail(repair, qed_write_header(repair->img, &header), "cannot write the header");
}

int qed_begin(struct qed_repair *repair)
{
	struct qed_header header = repair->fixed;
	int r;

	if (repair->has_begun)
		return 0;
	header.features |= htole64(QED_F_NEED_CHECK);
	header.autoclear_features = 0;
	if (!qed_may_have_orphans(&repair->orphans) &&
	    (!repair->mostly_leaked || repair->mode == QED_MODE_REPAIR))
		header.autoclear_features = htole64(QED_AF_REPAIR);
	if (repair->tables && !repair->img->is_block)
		header.autoclear_features |= htole64(QED_AF_END | repair->old_end);
	r = qed_write_header(repair->img, &header);
	if (r)
		return fail(repair, r, "cannot write the header");
	repair->has_begun = true;
	return 0;
}

/*----------------------------------------------------------------
 * Header
 *----------------------------------------------------------------
 */

/*
 * Report what is wrong with the header, and repair all or nothing of it: the
 * fields depend on each other.
 */
static int repair_header(struct qed_repair *repair, struct qed_header_check *check)
{
	enum qed_action action = QED_ACTION_NONE;
	bool accepted = may_repair(repair) && !check->fatal;
	unsigned int i;
	int r;

	for (i = 0; i < check->nr && accepted; i++) {
		action = check->findings[i].code == QED_L1_OVER_END ? QED_ACTION_EXTENDED :
								      QED_ACTION_SET;
		r = qed_decide(repair, &check->findings[i], action);
		if (r)
			return r;
		accepted = check->findings[i].action;
	}
	if (!accepted)
		repair->mode = QED_MODE_CHECK;
	for (i = 0; i < check->nr; i++) {
		if (!accepted)
			check->findings[i].action = QED_ACTION_NONE;
		qed_report(repair, &check->findings[i]);
	}
	return 0;
}

/* Report the header's findings; sets repair->fixed */
static int check_header(struct qed_repair *repair, bool *fatal)
{
	struct qed_image *img = repair->img;
	struct qed_header_check check;
	int r = qed_header_check(img, &check);

	if (r)
		return fail(repair, r, "cannot read the L1 table");
	*fatal = check.fatal;
	repair->fixed = check.fixed;
	if (!check.nr)
		return 0;
	if (img->l1_offset + qed_table_bytes(img) > img->size)
		repair->extend_to = img->l1_offset + qed_table_bytes(img);
	return repair_header(repair, &check);
}

/*----------------------------------------------------------------
 * Looking at the tables
 *----------------------------------------------------------------
 */

/* A table that is to be copied, with all data that it maps */
static int plan_copy(struct qed_repair *repair, const struct qed_ref *ref, u64 legal)
{
	struct qed_image *img = repair->img;
	u64 limit = qed_l2_limit(img, ref->l1_index), mapped = legal;
	int r = 0;

	if (limit < qed_table_entries(img))
		r = qed_count_mapped(img, ref->value, limit, &mapped);
	repair->shared++;
	repair->tables++;
	repair->clusters += mapped;
	return r;
}

/*
 * A shared table. Nothing of it may be used for copies, nor what it refers to,
 * whatever is to become of it: it is read again, and the user may want to keep it.
 */
static int plan_table(struct qed_repair *repair, const struct qed_ref *ref)
{
	struct qed_survey survey;
	int r = qed_survey_table(&repair->surveys, ref->value, &survey);

	if (r == -EREMOTEIO) {
		repair->read_errors++;
		return 0;
	}
	if (r || ref->is_beyond || qed_map_test(&repair->dropped, ref->l1_index))
		return r;
	return plan_copy(repair, ref, survey.legal);
}

/* Find out what will be needed. A table that cannot be read is a read error. */
static int plan_entry(void *ctx, const struct qed_ref *ref, u64 *value)
{
	struct qed_repair *repair = ctx;
	int r;

	(void)value;
	repair->has_rest |= !ref->l1 && ref->is_beyond;
	if (ref->code != QED_L1_ENTRY_SHARED && ref->code != QED_L2_ENTRY_SHARED)
		return 0;
	if (!ref->is_beyond) {
		r = qed_map_set(&repair->multiple, ref->conflict, 1);
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
	struct qed_walk walk = {
		.img = repair->img,
		.claims = claims,
		.owners = &repair->owners,
		.dropped = &repair->dropped,
		.ops = ops,
		.ctx = repair,
		.progress = &repair->progress,
	};
	int r;

	qed_map_clear(claims);
	repair->progress.pass = 2;
	r = qed_walk(&walk);
	repair->result->counts = walk.counts;
	return fail(repair, r, "cannot read the tables");
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
	repair->read_errors = 0;
	return walk(repair, &plan_ops, &repair->used);
}

/* Read the tables: is anything wrong with them? */
static int scan(struct qed_repair *repair, unsigned int pass, bool *is_wrong)
{
	int r;

	repair->progress.pass = pass;
	qed_map_clear(&repair->used);
	r = qed_scan(repair->img, &repair->used, &repair->result->counts,
		     repair->options->threads, &repair->progress);
	if (r < 0)
		return fail(repair, r, "cannot read the tables");
	*is_wrong = !r;
	if (r)
		return 0;

	repair->surveys.unread = 0;
	qed_map_clear(&repair->dropped);
	qed_map_clear(&repair->multiple);
	r = plan(repair);
	if (!r)
		r = fail(repair, qed_find_no_tables(&repair->surveys, &repair->multiple,
						    &repair->dropped),
			 "cannot read the tables");
	qed_map_clear(&repair->multiple);
	if (!r && qed_map_end(&repair->dropped))
		r = plan(repair);
	qed_map_clear(&repair->multiple);
	/* once it could be read, and once it could not: what is no table is not known */
	if (!r && repair->surveys.unread && !repair->read_errors)
		r = fail(repair, -EIO, "cannot read the tables");
	return r;
}

/*----------------------------------------------------------------
 * Phases
 *----------------------------------------------------------------
 */

/* Copies need space: allocate it before anything is changed */
static int promise_space(struct qed_repair *repair)
{
	struct qed_space *space = &repair->space;
	int r;

	/* what tables that are shared refer to, or are not referenced any more */
	r = qed_map_or(&repair->used, &repair->claims);
	space->img = repair->img;
	space->used = &repair->used;
	space->limit = repair->img->is_block ? repair->img->nr_clusters : ~0ULL;
	/* not over what may be got back */
	if (qed_may_have_orphans(&repair->orphans) || repair->mostly_leaked)
		space->first = repair->img->nr_clusters;
	if (!r)
		r = qed_space_promise(space, repair->tables, repair->clusters);
	return fail(repair, r, "cannot allocate space for copies, nothing was changed");
}

static int check_tables(struct qed_repair *repair, bool is_wrong)
{
	int r = 0;

	if (is_wrong)
		r = walk(repair, &show_ops, &repair->claims);
	if (!r && !repair->read_errors)
		r = qed_repair_partial_cluster(repair);
	return r;
}

/* Repair the header and the tables; what is left is in repair->used then */
static int repair_tables(struct qed_repair *repair, bool is_wrong)
{
	bool header_is_wrong = repair->options->new_header ||
			       memcmp(&repair->fixed, &repair->img->header,
				      sizeof(repair->fixed));
	int r = 0;

	if (!is_wrong && !header_is_wrong && repair->extend_to <= repair->img->size)
		return qed_repair_partial_cluster(repair);
	if (is_wrong)
		r = promise_space(repair);
	if (r) {
		repair->mode = QED_MODE_CHECK;
		check_tables(repair, is_wrong);
		return r;
	}
	if (header_is_wrong)
		r = qed_begin(repair);
	if (!r)
		r = qed_repair_partial_cluster(repair);
	if (!r)
		r = qed_repair_tables(repair);
	qed_space_release(&repair->space);
	if (r)
		return r;
	qed_image_count_clusters(repair->img);
	r = scan(repair, 5, &is_wrong);
	if (!r && is_wrong && is_all_well(repair))
		r = fail(repair, -EUCLEAN, "the tables are still wrong: a bug of qed-fsck");
	return r;
}

static void count_space(struct qed_repair *repair)
{
	struct qed_fsck_result *result = repair->result;

	result->end = qed_map_end(&repair->used);
	result->used = qed_map_weight(&repair->used);
	result->free = result->end - result->used - repair->leaks_inside;
}

/* The header is written last, when nothing is wrong any more */
static int finish(struct qed_repair *repair)
{
	bool was_set = le64toh(repair->fixed.features) & QED_F_NEED_CHECK;
	struct qed_finding finding = { .code = QED_NEED_CHECK };
	struct qed_header header = repair->img->header;
	int r = qed_settle(repair);

	if (r)
		return r;
	if (is_all_well(repair) && repair->mode == QED_MODE_PREEN)
		finding.action = QED_ACTION_CLEARED;
	else if (is_all_well(repair) && was_set)
		r = qed_decide(repair, &finding, QED_ACTION_CLEARED);
	else if (is_all_well(repair) && repair->has_begun)
		finding.action = QED_ACTION_CLEARED;
	if (r)
		return r;

	if ((finding.action && le64toh(header.features) & QED_F_NEED_CHECK) ||
	    (repair->has_begun && header.autoclear_features)) {
		if (finding.action)
			header.features &= ~htole64(QED_F_NEED_CHECK);
		header.autoclear_features = 0;
		r = qed_write_header(repair->img, &header);
		if (r)
			return fail(repair, r, "cannot write the header");
	}
	if (was_set)
		qed_report(repair, &finding);
	return qed_settle(repair);
}

static int discard_free(struct qed_repair *repair)
{
	struct qed_image *img = repair->img;
	u64 first = 0, next;
	int r = 0;

	while (!r && first < img->nr_clusters) {
		if (qed_stopped(img))
			return -EINTR;
		first = qed_map_next(&repair->used, first, img->nr_clusters, false);
		next = min_u64(img->nr_clusters, first + (DISCARD_SIZE >> img->cluster_shift));
		next = qed_map_next(&repair->used, first, next, true);
		if (next > first)
			r = qed_punch(img, first << img->cluster_shift,
				      (next - first) << img->cluster_shift);
		first = next;
	}
	return fail(repair, r, "cannot discard");
}

/* What was asked for besides repairs */
static int improve(struct qed_repair *repair)
{
	bool is_wrong = false;
	int r = 0;

	if (!is_all_well(repair) || repair->mode == QED_MODE_CHECK)
		return 0;
	if (repair->options->compact) {
		repair->progress.pass = 4;
		r = qed_compact(repair);
		qed_image_count_clusters(repair->img);
		if (!r)
			r = scan(repair, 5, &is_wrong);
		if (!r && is_wrong)
			r = fail(repair, -EUCLEAN, "compacting failed: a bug of qed-fsck");
	}
	if (!r && repair->options->discard && repair->img->is_block)
		r = discard_free(repair);
	return r;
}

/*
 * Size of maps in one piece: of all clusters, if that is less than a quarter of what
 * the file takes, or 4 MiB. A map takes no more than that, or what tables have.
 */
static u64 flat_bits(const struct qed_image *img)
{
	u64 bits = img->nr_clusters;
	struct stat st;

	if (img->is_block || bits / 8 <= SMALL_MAP)
		return bits;
	if (fstat(img->fd, &st) || bits / 8 > (u64)st.st_blocks * 512 / 4)
		return 0;
	return bits;
}

static int repair_space(struct qed_repair *repair)
{
	bool is_wrong = false;
	int r = qed_repair_orphans(repair);

	if (!r && repair->has_linked)
		r = scan(repair, 5, &is_wrong);
	if (!r && is_wrong)
		r = fail(repair, -EUCLEAN, "reconnecting failed: a bug of qed-fsck");
	return r ? r : qed_repair_space(repair);
}

static int run(struct qed_repair *repair)
{
	struct qed_fsck_result *result = repair->result;
	bool fatal = false, is_wrong;
	int r = check_header(repair, &fatal);

	if (r || fatal)
		return r;
	if (!repair->options->always && !qed_fsck_left(result, QED_DAMAGE) &&
	    !memcmp(&repair->fixed, &repair->img->header, sizeof(repair->fixed)) &&
	    !(le64toh(repair->fixed.features) & QED_F_NEED_CHECK) && !repair->extend_to)
		return 0;

	result->scanned = true;
	qed_map_init(&repair->used, flat_bits(repair->img));
	qed_map_init(&repair->claims, flat_bits(repair->img));
	repair->old_end = find_old_end(repair);
	r = scan(repair, 1, &is_wrong);
	if (r)
		return r;
	repair->has_partial = !repair->img->is_block &&
			      repair->img->size % qed_cluster_size(repair->img) &&
			      qed_map_end(&repair->used) == repair->img->nr_clusters;
	if (repair->read_errors) {
		repair->mode = QED_MODE_CHECK;
		/* that of the header was reported, but will not be done */
		count_settled(repair);
	}
	r = qed_look_for_orphans(repair);
	if (r)
		return r;
	if (may_repair(repair))
		r = repair_tables(repair, is_wrong);
	else
		r = check_tables(repair, is_wrong);
	if (!r && !repair->read_errors)
		r = repair_space(repair);
	if (!r)
		r = improve(repair);
	if (r)
		return r;
	result->complete = !repair->read_errors;
	if (result->complete)
		count_space(repair);
	return finish(repair);
}

int qed_fsck(struct qed_image *img, const struct qed_fsck_options *options,
	     struct qed_fsck_result *result)
{
	struct qed_repair *repair = calloc(1, sizeof(*repair));
	int r;

	memset(result, 0, sizeof(*result));
	if (!repair) {
		result->what = "cannot begin";
		return -ENOMEM;
	}
	repair->img = img;
	repair->options = options;
	repair->result = result;
	repair->mode = options->mode;
	repair->progress = options->progress;
	repair->surveys.img = img;
	repair->surveys.refers = &repair->claims;
	r = run(repair);
	if (r == -EINTR)
		result->what = "stopped";
	count_settled(repair);
	qed_space_free(&repair->space);
	qed_hash_free(&repair->owners);
	qed_surveys_forget(&repair->surveys);
	qed_orphans_free(&repair->orphans);
	qed_map_free(&repair->used);
	qed_map_free(&repair->claims);
	qed_map_free(&repair->multiple);
	qed_map_free(&repair->dropped);
	qed_map_free(&repair->uncopied);
	free(repair);
	return r;
}
