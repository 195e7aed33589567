// SPDX-License-Identifier: GPL-2.0-only
/*
 * What to do about leaks that are not plausible as such: L2 tables that nothing refers
 * to, or more than all that is in use.
 */

#include <errno.h>
#include <string.h>

#include "change.h"
#include "plan.h"
#include "reconnect.h"

/* Leaks are those of a repair that was interrupted, see QED_AF_REPAIR */
static bool was_interrupted(const struct qed_image *img)
{
	return le64toh(img->header.features) & QED_F_NEED_CHECK &&
	       le64toh(img->header.autoclear_features) & QED_AF_REPAIR;
}

/* What could not be read may be tables: its findings remain, so no leak is freed */
static int report_unread(struct qed_repair *repair)
{
	const struct qed_map *unread = &repair->orphans.unread;
	struct qed_image *img = repair->img;
	u64 first = 0, end = qed_map_end(unread), next;

	for (; (first = qed_map_next(unread, first, end, true)) < end; first = next) {
		struct qed_finding finding = { .code = QED_READ_ERROR, .has = QED_HAS_RANGE };

		if (qed_stopped(img))
			return -EINTR;
		next = qed_map_next(unread, first, end, false);
		finding.offset = first << img->cluster_shift;
		finding.length = min_u64((next - first) << img->cluster_shift,
					 img->size - finding.offset);
		qed_report(repair, &finding);
	}
	return 0;
}

int qed_look_for_orphans(struct qed_repair *repair)
{
	struct qed_orphans *orphans = &repair->orphans;
	struct qed_map *used = &repair->used;
	int r = 0;

	if (repair->img->is_block || repair->read_errors || was_interrupted(repair->img))
		return 0;
	/* what a shared table refers to is not leaked, but nothing claims it */
	if (repair->has_shared_table) {
		used = &repair->kept;
		r = qed_find_kept(repair, used);
		if (!r)
			r = qed_map_or(used, &repair->used);
	}
	if (!r)
		r = qed_find_leaked(orphans, repair->img, used);
	repair->mostly_leaked = orphans->nr_leaked > qed_map_weight(&repair->used);
	if (!r && orphans->nr_leaked)
		r = qed_find_orphans(orphans, repair->img, used);
	if (!r)
		r = report_unread(repair);
	return qed_fail(repair, r, "cannot look for leaks");
}

/* The L1 entry, which has to be empty: 1, 0, or an error */
static int is_free_entry(struct qed_image *img, u64 index)
{
	__le64 entry;
	int r;

	if (index >= qed_l1_limit(img))
		return 0;
	r = qed_read(img, &entry, img->l1_offset + index * 8, sizeof(entry));
	return r ? r : !entry;
}

static int link_table(struct qed_repair *repair, u64 table, u64 index)
{
	struct qed_image *img = repair->img;
	__le64 entry = htole64(table << img->cluster_shift);
	int r = qed_begin(repair);

	if (!r)
		r = qed_write(img, &entry, img->l1_offset + index * 8, sizeof(entry));
	repair->has_linked = true;
	return qed_fail(repair, r, "cannot write the L1 table");
}

/* A part of a table that may not be linked: this is not read again for each of them */
static bool was_refused(const struct qed_repair *repair, const struct qed_orphan *orphan)
{
	return orphan > repair->orphans.list && orphan[-1].is_refused &&
	       orphan[-1].table == orphan->table && orphan[-1].index == orphan->index;
}

/* Reconnect an orphan, if it may be, and the user wants it */
static int reconnect(struct qed_repair *repair, struct qed_orphan *orphan,
		     struct qed_finding *finding)
{
	bool wanted = repair->mode == QED_MODE_ASK ||
		      repair->options->orphans == QED_ORPHANS_RECONNECT;
	struct qed_map claims = { };
	int r;

	if (!wanted)
		return 0;
	r = was_refused(repair, orphan) ? 0 : is_free_entry(repair->img, orphan->index);
	if (r == 1)
		r = qed_may_link(orphan, repair->img, &repair->used, &claims);
	orphan->is_refused = !r;
	if (r == 1) {
		r = qed_decide(repair, finding, QED_ACTION_RECONNECTED);
		if (!r && finding->action)
			r = qed_map_or(&repair->used, &claims);
		if (!r && finding->action)
			r = link_table(repair, orphan->table, orphan->index);
	}
	qed_map_free(&claims);
	return r;
}

/* The user says where it belongs */
static void use_place(const struct qed_repair *repair, struct qed_orphan *orphan)
{
	const struct qed_fsck_options *options = repair->options;
	const struct qed_image *img = repair->img;
	unsigned int i, span = qed_span_shift(img);

	for (i = 0; i < options->nr_places; i++) {
		const struct qed_place *place = &options->places[i];
		u64 first = place->table >> img->cluster_shift;

		if (orphan->first < first || orphan->first >= first + img->table_clusters)
			continue;
		orphan->table = first;
		orphan->index = span < 64 ? place->guest_offset >> span : 0;
		/* not even there */
		if (orphan->index << span != place->guest_offset && span < 64)
			orphan->index = QED_UNKNOWN;
	}
}

static void describe(const struct qed_repair *repair, const struct qed_orphan *orphan,
		     struct qed_finding *finding)
{
	const struct qed_image *img = repair->img;
	unsigned int span = qed_span_shift(img);

	memset(finding, 0, sizeof(*finding));
	finding->code = QED_ORPHAN_TABLE;
	finding->has = QED_HAS_RANGE;
	finding->offset = orphan->first << img->cluster_shift;
	finding->length = orphan->nr << img->cluster_shift;
	if (orphan->index >= qed_l1_limit(img))
		return;
	finding->has |= QED_HAS_GUEST;
	finding->guest_offset = span < 64 ? orphan->index << span : 0;
	finding->guest_length = img->image_size - finding->guest_offset;
	if (span < 64)
		finding->guest_length = min_u64(finding->guest_length, 1ULL << span);
}

static int repair_orphan(struct qed_repair *repair, struct qed_orphan *orphan)
{
	bool may_free = repair->mode == QED_MODE_ASK ||
			repair->options->orphans == QED_ORPHANS_FREE;
	struct qed_finding finding;
	int r = 0;

	use_place(repair, orphan);
	describe(repair, orphan, &finding);
	/* another part of one that has just been reconnected */
	if (qed_map_test(&repair->used, orphan->first))
		finding.action = QED_ACTION_RECONNECTED;
	else
		r = reconnect(repair, orphan, &finding);
	if (!r && !finding.action && may_free)
		r = qed_decide(repair, &finding, QED_ACTION_PUNCHED);
	if (!r)
		qed_report(repair, &finding);
	return r;
}

static int repair_mostly_leaked(struct qed_repair *repair)
{
	struct qed_finding finding = { .code = QED_MOSTLY_LEAKED };
	u64 used = qed_map_weight(&repair->used);
	int r = 0;

	if (repair->has_linked && repair->orphans.nr_leaked <= used)
		finding.action = QED_ACTION_RECONNECTED;
	else
		r = qed_decide(repair, &finding, QED_ACTION_PUNCHED);
	if (!r)
		qed_report(repair, &finding);
	return r;
}

int qed_repair_orphans(struct qed_repair *repair)
{
	struct qed_orphans *orphans = &repair->orphans;
	int r = 0;
	u64 i;

	if (orphans->nr)
		r = qed_fail(repair, qed_place_orphans(orphans, repair->img, &repair->used),
			     "cannot look for tables");
	for (i = 0; !r && i < orphans->nr; i++)
		r = repair_orphan(repair, &orphans->list[i]);
	if (!r && repair->mostly_leaked)
		r = repair_mostly_leaked(repair);
	return r;
}
