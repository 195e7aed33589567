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
#include "fsck.h"
#include "header.h"
#include "plan.h"
#include "reconnect.h"
#include "record-repair.h"
#include "repair.h"
#include "undo.h"

/* In bytes */
#define SMALL_MAP	4194304U

/* The most bytes that are discarded at once, before it is looked whether to stop */
#define DISCARD_SIZE	67108864U

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
	bool accepted = qed_may_repair(repair) && !check->fatal;
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
		return qed_fail(repair, r, "cannot read the L1 table");
	*fatal = check.fatal;
	repair->fixed = check.fixed;
	if (!check.nr)
		return 0;
	if (img->l1_offset + qed_table_bytes(img) > img->size)
		repair->extend_to = img->l1_offset + qed_table_bytes(img);
	return repair_header(repair, &check);
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
	return qed_fail(repair, r, "cannot allocate space for copies, nothing was changed");
}

static int check_tables(struct qed_repair *repair, bool is_wrong)
{
	int r = 0;

	if (is_wrong)
		r = qed_show_tables(repair);
	if (!r && repair->drops_record && repair->mode == QED_MODE_PREEN)
		r = qed_begin(repair);
	if (!r && !repair->read_errors)
		r = qed_repair_partial_cluster(repair);
	return r;
}

/* After changes; nothing may be wrong then, if @is_sound */
static int read_again(struct qed_repair *repair, bool is_sound, const char *bug)
{
	bool is_wrong = false;
	int r = qed_read_tables(repair, 5, &is_wrong);

	if (!r && (repair->read_errors || (is_wrong && repair->is_unread)))
		r = qed_fail(repair, -EIO, "cannot read the tables");
	if (!r && is_wrong && is_sound)
		r = qed_fail(repair, -EUCLEAN, bug);
	return r;
}

/* Repair the header and the tables; what is left is in repair->used then */
static int repair_tables(struct qed_repair *repair, bool is_wrong)
{
	bool header_is_wrong = repair->options->new_header || repair->drops_record ||
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
	return read_again(repair, is_all_well(repair),
			  "the tables are still wrong: a bug of qed-fsck");
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
		/* what was copied already is leaked, for the next run as well */
		header.autoclear_features &= htole64(QED_AF_REPAIR | QED_AF_PLACED);
		if (finding.action)
			header.autoclear_features = qed_kept_record(repair);
		r = qed_expect_untouched(repair);
		if (r)
			return r;
		r = qed_undo_complete(repair->img->undo, repair->img, &header);
		if (!r)
			r = qed_write_header(repair->img, &header);
		if (r)
			return qed_fail(repair, r, "cannot write the header");
	}
	if (was_set)
		qed_report(repair, &finding);
	return qed_settle(repair);
}

static int discard_free(struct qed_repair *repair)
{
	struct qed_image *img = repair->img;
	u64 first = 0, next;
	int r = img->undo ? qed_begin(repair) : qed_expect_untouched(repair);

	/* what is discarded is not known to be zero any more */
	if (!r && repair->result->record.zero_end)
		r = qed_begin(repair);
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
	return qed_fail(repair, r, "cannot discard");
}

/* What was asked for besides repairs */
static int improve(struct qed_repair *repair)
{
	int r = 0;

	if (!is_all_well(repair) || repair->mode == QED_MODE_CHECK)
		return 0;
	if (repair->options->compact) {
		repair->progress.pass = 4;
		r = qed_compact(repair);
		qed_image_count_clusters(repair->img);
		if (!r)
			r = read_again(repair, true, "compacting failed: a bug of qed-fsck");
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
	int r = qed_repair_orphans(repair);

	/* once for all of them, before what else is leaked is freed */
	if (!r && repair->has_linked)
		r = qed_fail(repair, qed_sync(repair->img), "cannot make changes durable");
	if (!r && repair->has_linked)
		r = read_again(repair, true, "reconnecting failed: a bug of qed-fsck");
	return r ? r : qed_repair_space(repair);
}

static int run(struct qed_repair *repair)
{
	struct qed_fsck_result *result = repair->result;
	bool fatal = false, is_wrong;
	int r = check_header(repair, &fatal);

	if (r || fatal)
		return r;
	r = qed_fail(repair, qed_check_record(repair), "cannot read the header");
	if (r)
		return r;
	if (!repair->options->always && !repair->drops_record &&
	    !qed_fsck_left(result, QED_DAMAGE) &&
	    !memcmp(&repair->fixed, &repair->img->header, sizeof(repair->fixed)) &&
	    !(le64toh(repair->fixed.features) & QED_F_NEED_CHECK) && !repair->extend_to)
		return 0;

	result->scanned = true;
	qed_map_init(&repair->used, flat_bits(repair->img));
	qed_map_init(&repair->claims, flat_bits(repair->img));
	qed_map_init(&repair->kept, flat_bits(repair->img));
	qed_map_init(&repair->multiple, flat_bits(repair->img));
	repair->old_end = qed_find_old_end(repair);
	r = qed_read_tables(repair, 1, &is_wrong);
	if (r)
		return r;
	repair->has_partial = !repair->img->is_block &&
			      repair->img->size % qed_cluster_size(repair->img) &&
			      qed_map_end(&repair->used) == repair->img->nr_clusters;
	if (repair->read_errors || (result->is_cut && repair->mode == QED_MODE_REPAIR &&
				    repair->options->cut == QED_CUT_KEEP)) {
		repair->mode = QED_MODE_CHECK;
		/* that of the header was reported, but will not be done */
		qed_count_settled(repair);
	}
	qed_check_record_end(repair);
	r = qed_look_for_orphans(repair);
	if (r)
		return r;
	if (qed_may_repair(repair))
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
	qed_count_settled(repair);
	qed_space_free(&repair->space);
	qed_hash_free(&repair->owners);
	qed_surveys_forget(&repair->surveys);
	qed_orphans_free(&repair->orphans);
	qed_map_free(&repair->used);
	qed_map_free(&repair->claims);
	qed_map_free(&repair->kept);
	qed_map_free(&repair->multiple);
	qed_map_free(&repair->doubtful);
	qed_map_free(&repair->none.dropped);
	qed_map_free(&repair->none.alone);
	qed_map_free(&repair->uncopied);
	free(repair);
	return r;
}
