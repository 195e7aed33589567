// SPDX-License-Identifier: GPL-2.0-only
/*
 * Repairs, see repair.h.
 *
 * Tables are repaired in two walks. The first one sets entries to 0. The second
 * one makes copies: it may extend the file, and what points behind its end must
 * not become legal by that. Then it sets entries to 0 that are legal, but beyond the
 * size: where tables overlap they can be entries of one that is copied, within it.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "change.h"
#include "repair.h"

#define SECTOR	512U

/* Write the sectors of a piece of a table that have changed */
static int write_sectors(struct qed_repair *repair, const void *buf, u64 offset, u64 length,
			 const u8 *sectors)
{
	u64 i, end, nr = length / SECTOR;
	int r;

	for (i = 0; i < nr; i = end) {
		for (end = i; end < nr && sectors[end] == sectors[i]; end++)
			;
		if (!sectors[i])
			continue;
		r = qed_write(repair->img, (const char *)buf + i * SECTOR, offset + i * SECTOR,
			      (end - i) * SECTOR);
		if (r)
			return qed_fail(repair, r, "cannot write a table");
	}
	return 0;
}

static int sync_image(struct qed_repair *repair)
{
	return qed_fail(repair, qed_sync(repair->img), "cannot make changes durable");
}

/*----------------------------------------------------------------
 * First walk: entries that are to be 0
 *----------------------------------------------------------------
 */

/* A legal entry beyond the size, of a table within it */
static bool is_rest(const struct qed_repair *repair, const struct qed_ref *ref)
{
	return !ref->l1 && ref->is_beyond && !qed_table_is_beyond(repair->img, ref) &&
	       (ref->code == QED_L2_ENTRY_SHARED || ref->code == QED_L2_ENTRY_BEYOND_SIZE);
}

static bool is_for_copy(const struct qed_repair *repair, const struct qed_ref *ref)
{
	if (ref->is_beyond)
		return false;
	if (ref->code == QED_L2_ENTRY_SHARED)
		return true;
	return ref->code == QED_L1_ENTRY_SHARED &&
	       !qed_map_test(&repair->none.dropped, ref->l1_index);
}

/* Is it also in a shared table, or data, that did not get a copy? */
static bool is_needed(const struct qed_repair *repair, const struct qed_ref *ref)
{
	u64 offset = ref->table + ref->index * 8;

	return !ref->l1 && qed_map_test(&repair->uncopied, offset >> repair->img->cluster_shift);
}

static int clear(struct qed_repair *repair, const struct qed_ref *ref, u64 *value)
{
	struct qed_walk walk = { .img = repair->img, .owners = &repair->owners };
	enum qed_action action = QED_ACTION_CLEARED;
	struct qed_finding finding;
	int r = 0;

	qed_ref_finding(&walk, ref, &finding);
	if (ref->code == QED_L1_ENTRY_OVER_END && !repair->img->is_block && !ref->is_beyond)
		action = QED_ACTION_EXTENDED;
	if (ref->is_unlinked)
		finding.action = action;
	else if ((ref->l1 || !qed_table_is_beyond(repair->img, ref)) && !is_needed(repair, ref))
		r = qed_decide(repair, &finding, action);
	if (r)
		return r;
	qed_report(repair, &finding);

	if (finding.action == QED_ACTION_CLEARED && ref->l1)
		qed_remember_lost(&repair->orphans, ref->l1_index, ref->value);
	if (finding.action == QED_ACTION_CLEARED)
		*value = QED_ENTRY_UNALLOCATED;
	else if (finding.action == QED_ACTION_EXTENDED)
		repair->extend_to = max_u64(repair->extend_to,
					    ref->value + qed_table_bytes(repair->img));
	else
		repair->declined = true;
	return 0;
}

static int clear_entry(void *ctx, const struct qed_ref *ref, u64 *value)
{
	struct qed_repair *repair = ctx;

	/* the second walk takes care of these */
	if (is_for_copy(repair, ref) || is_rest(repair, ref))
		return 0;
	return clear(repair, ref, value);
}

static int write_cleared(void *ctx, const void *buf, u64 offset, u64 length, const u8 *sectors)
{
	struct qed_repair *repair = ctx;
	u64 l1 = repair->img->l1_offset;
	int r = qed_begin(repair);

	if (!r)
		r = write_sectors(repair, buf, offset, length, sectors);
	/*
	 * Before an L2 table changes: that a shared one is none was decided by what
	 * it was, and some of it may be data.
	 */
	if (!r && offset >= l1 && offset < l1 + qed_table_bytes(repair->img))
		r = sync_image(repair);
	return r;
}

/*----------------------------------------------------------------
 * Second walk: copies, and entries beyond the size
 *----------------------------------------------------------------
 */

/* Copy clusters for an entry: 1, 0 if they cannot be read, or an error */
static int copy_clusters(struct qed_repair *repair, const struct qed_ref *ref, u64 from, u64 to,
			 u64 length)
{
	u64 failed;
	int r = qed_copy(repair->img, from, to, length, &failed);

	if (r == -EREMOTEIO) {
		qed_report_read_error(repair, ref, from, length);
		return 0;
	}
	return r ? qed_fail(repair, r, "cannot copy") : 1;
}

/* Give an entry a copy of its cluster: as copy_clusters() */
static int copy_data(struct qed_repair *repair, const struct qed_ref *ref, u64 from, u64 *to)
{
	struct qed_image *img = repair->img;
	u64 cluster;
	int r = qed_space_take(&repair->space, &cluster);

	if (r == -ENOSPC && repair->declined)
		return 0;
	if (r)
		return qed_fail(repair, r, "cannot copy");
	*to = cluster << img->cluster_shift;
	return copy_clusters(repair, ref, from, *to, qed_cluster_size(img));
}

/* The entry of the copy of a table: as copy_clusters() */
static int copy_table_entry(struct qed_repair *repair, const struct qed_ref *ref, u64 index,
			    u64 entry, u64 *new)
{
	struct qed_image *img = repair->img;
	struct qed_ref data = *ref;

	*new = entry;
	if (entry <= QED_ENTRY_ZERO)
		return 1;
	*new = QED_ENTRY_UNALLOCATED;
	if (index >= qed_l2_limit(img, ref->l1_index) || qed_entry_defect(img, entry, 1) ||
	    entry >> img->cluster_shift >= repair->old_end)
		return 1;
	data.l1 = false;
	data.guest_offset = ref->guest_offset + (index << img->cluster_shift);
	data.guest_length = min_u64(qed_cluster_size(img), img->image_size - data.guest_offset);
	return copy_data(repair, &data, entry, new);
}

/* Change a piece of the copy of a table, and copy its data */
static int copy_table_piece(struct qed_repair *repair, const struct qed_ref *ref, __le64 *buf,
			    u64 first, u64 nr)
{
	u8 sectors[QED_PIECE_SIZE / SECTOR] = "";
	u64 i, old, new;
	int r;

	for (i = 0; i < nr; i++) {
		old = le64toh(buf[i]);
		r = copy_table_entry(repair, ref, first + i, old, &new);
		if (r != 1)
			return r;
		if (old == new)
			continue;
		buf[i] = htole64(new);
		sectors[i * 8 / SECTOR] = 1;
	}
	/* the offset is that of the copy */
	r = write_sectors(repair, buf, ref->table + first * 8, nr * 8, sectors);
	return r ? r : 1;
}

/* Make all of a table, that is a copy already, refer to copies */
static int copy_table_data(struct qed_repair *repair, const struct qed_ref *ref, u64 table)
{
	struct qed_image *img = repair->img;
	u64 end = table + qed_table_bytes(img), offset = table;
	__le64 *buf = qed_alloc_piece(img);
	struct qed_ref copy = *ref;
	long length = 0;
	int r = 1;

	if (!buf)
		return qed_fail(repair, -ENOMEM, "cannot copy a table");
	copy.table = table;
	while (r == 1 &&
	       (length = qed_next_piece(img, buf, QED_PIECE_SIZE, &offset, end)) > 0) {
		r = copy_table_piece(repair, &copy, buf, (offset - table) / 8, length / 8);
		offset += length;
	}
	free(buf);
	return length < 0 ? qed_fail(repair, length, "cannot read a copy") : r;
}

/* Give an L1 entry a copy of its table: as copy_clusters() */
static int copy_table(struct qed_repair *repair, const struct qed_ref *ref, u64 *to)
{
	struct qed_image *img = repair->img;
	u64 cluster;
	int r = qed_space_take_table(&repair->space, &cluster);

	if (r == -ENOSPC && repair->declined)
		return 0;
	if (r)
		return qed_fail(repair, r, "cannot copy a table");
	*to = cluster << img->cluster_shift;
	r = copy_clusters(repair, ref, ref->value, *to, qed_table_bytes(img));
	return r == 1 ? copy_table_data(repair, ref, *to) : r;
}

/* The data of a table, as far as that can be read: it may be in a cluster of another table */
static int remember_data(struct qed_repair *repair, const struct qed_ref *ref)
{
	struct qed_image *img = repair->img;
	u64 offset = ref->value, end = offset + qed_l2_limit(img, ref->l1_index) * 8, entry, i;
	__le64 *buf = qed_alloc_piece(img);
	int r = buf ? 0 : -ENOMEM;
	long length;

	for (; !r && (length = qed_next_piece(img, buf, QED_ALIGNMENT, &offset, end));
	     offset += QED_ALIGNMENT) {
		if (length == -EINTR)
			r = -EINTR;
		if (length < 0)
			continue;
		for (i = 0; !r && i < QED_ALIGNMENT / 8 && offset + i * 8 < end; i++) {
			entry = le64toh(buf[i]);
			if (entry > QED_ENTRY_ZERO && !qed_entry_defect(img, entry, 1))
				r = qed_map_set(&repair->uncopied, entry >> img->cluster_shift, 1);
		}
	}
	free(buf);
	return r;
}

/* What did not get a copy has to remain as it is. Then the entry refers to what it did */
static int remember_uncopied(struct qed_repair *repair, const struct qed_ref *ref)
{
	u64 nr = ref->l1 ? repair->img->table_clusters : 1;
	int r = qed_map_set(&repair->uncopied, ref->value >> repair->img->cluster_shift, nr);

	if (!r && ref->l1)
		r = remember_data(repair, ref);
	return r || !ref->l1 ? r : qed_forget_end(repair);
}

/* Make a copy for an entry: as copy_clusters() */
static int copy(struct qed_repair *repair, const struct qed_ref *ref, u64 *value)
{
	int r = qed_begin(repair);

	if (!r)
		r = ref->l1 ? copy_table(repair, ref, value) :
			      copy_data(repair, ref, ref->value, value);
	if (r != 1)
		*value = ref->value;
	return r;
}

static int copy_shared(struct qed_repair *repair, const struct qed_ref *ref, u64 *value)
{
	struct qed_walk walk = { .img = repair->img, .owners = &repair->owners };
	struct qed_finding finding;
	int r = 0;

	qed_ref_finding(&walk, ref, &finding);
	if (!is_needed(repair, ref))
		r = qed_decide(repair, &finding, QED_ACTION_COPIED);
	if (!r && finding.action)
		r = copy(repair, ref, value);
	if (r < 0)
		return r;
	finding.action = r ? QED_ACTION_COPIED : QED_ACTION_NONE;
	finding.new_value = *value;
	finding.has |= r ? QED_HAS_NEW_VALUE : 0;
	qed_report(repair, &finding);
	return r ? 0 : remember_uncopied(repair, ref);
}

static int copy_entry(void *ctx, const struct qed_ref *ref, u64 *value)
{
	struct qed_repair *repair = ctx;
	int r;

	if (is_for_copy(repair, ref))
		return copy_shared(repair, ref, value);
	if (!is_rest(repair, ref))
		return 0;
	r = clear(repair, ref, value);
	return r || *value == ref->value ? r : qed_begin(repair);
}

static int write_copied(void *ctx, const void *buf, u64 offset, u64 length, const u8 *sectors)
{
	struct qed_repair *repair = ctx;
	int r = sync_image(repair);

	return r ? r : write_sectors(repair, buf, offset, length, sectors);
}

static int walk_tables(struct qed_repair *repair, const struct qed_walk_ops *ops)
{
	int r = qed_walk_tables(repair, ops, &repair->claims, NULL);

	qed_map_clear(&repair->claims);
	return r;
}

/* Extend the file to where tables end. */
static int extend_file(struct qed_repair *repair)
{
	int r = qed_begin(repair);

	if (!r)
		r = sync_image(repair);
	if (!r)
		r = qed_fail(repair, qed_resize(repair->img, repair->extend_to),
			     "cannot extend the file");
	return r;
}

/* All could be read before: what this claims, or maps, would be unknown */
static int fail_to_read(void *ctx, const struct qed_ref *ref, u64 offset, u64 length)
{
	(void)ref;
	(void)offset;
	(void)length;
	return qed_fail(ctx, -EIO, "cannot read the tables");
}

int qed_repair_tables(struct qed_repair *repair)
{
	static const struct qed_walk_ops clear_ops = {
		.entry = clear_entry,
		.read_error = fail_to_read,
		.write = write_cleared,
	};
	static const struct qed_walk_ops copy_ops = {
		.entry = copy_entry,
		.read_error = fail_to_read,
		.write = write_copied,
	};
	int r;

	repair->progress.pass = 3;
	r = walk_tables(repair, &clear_ops);
	if (!r && repair->extend_to > repair->img->size)
		r = extend_file(repair);
	if (!r)
		r = qed_settle(repair);
	/* what remains points behind the end, and must not point to a copy */
	if (repair->declined)
		repair->space.limit = min_u64(repair->space.limit, repair->img->nr_clusters);
	if (!r && (repair->shared || repair->has_rest))
		r = walk_tables(repair, &copy_ops);
	return r ? r : qed_settle(repair);
}

/*----------------------------------------------------------------
 * Space
 *----------------------------------------------------------------
 */

static void range_finding(struct qed_finding *finding, enum qed_code code, u64 offset, u64 length)
{
	memset(finding, 0, sizeof(*finding));
	finding->code = code;
	finding->has = QED_HAS_RANGE;
	finding->offset = offset;
	finding->length = length;
}

/* Not as long as what is leaked may be what something damaged referred to */
static bool may_free(const struct qed_repair *repair)
{
	const struct qed_fsck_result *result = repair->result;
	enum qed_code code;

	for (code = 0; code < QED_CODES; code++)
		if (code != QED_LEAK && code != QED_LEAK_TAIL &&
		    qed_code_severity(code) != QED_NOTE &&
		    result->found[code] != result->fixed[code])
			return false;
	return true;
}

static int decide_leak(struct qed_repair *repair, struct qed_finding *finding,
		       enum qed_action action)
{
	int r = 0;

	if (repair->mode == QED_MODE_PREEN && may_free(repair))
		finding->action = action;
	else if (repair->mode != QED_MODE_PREEN && may_free(repair))
		r = qed_decide(repair, finding, action);
	if (!r && finding->action)
		r = qed_begin(repair);
	return r;
}

static int repair_leak(void *ctx, u64 first, u64 nr)
{
	struct qed_repair *repair = ctx;
	struct qed_image *img = repair->img;
	struct qed_finding finding;
	int r;

	range_finding(&finding, QED_LEAK, first << img->cluster_shift, nr << img->cluster_shift);
	r = decide_leak(repair, &finding, QED_ACTION_PUNCHED);
	if (r)
		return r;
	if (finding.action) {
		r = qed_punch(img, finding.offset, min_u64(finding.length,
							   img->size - finding.offset));
		if (r == -EOPNOTSUPP)
			finding.action = QED_ACTION_NONE;
		else if (r)
			return qed_fail(repair, r, "cannot punch a hole");
	}
	repair->result->leaks += nr;
	repair->result->leaks_fixed += finding.action ? nr : 0;
	repair->leaks_inside += finding.action ? 0 : nr;
	qed_report(repair, &finding);
	return 0;
}

static int repair_tail(struct qed_repair *repair, u64 end)
{
	struct qed_image *img = repair->img;
	u64 nr = div_up(img->size - end, qed_cluster_size(img));
	struct qed_finding finding;
	int r;

	range_finding(&finding, QED_LEAK_TAIL, end, img->size - end);
	r = decide_leak(repair, &finding, QED_ACTION_TRUNCATED);
	if (r)
		return r;
	if (finding.action) {
		r = qed_resize(img, end);
		if (r)
			return qed_fail(repair, r, "cannot cut the file");
	}
	repair->result->leaks += nr;
	repair->result->leaks_fixed += finding.action ? nr : 0;
	qed_report(repair, &finding);
	return 0;
}

int qed_repair_partial_cluster(struct qed_repair *repair)
{
	struct qed_image *img = repair->img;
	u64 end = img->nr_clusters << img->cluster_shift;
	struct qed_finding finding;
	int r = 0;

	if (!repair->has_partial)
		return 0;
	range_finding(&finding, QED_PARTIAL_CLUSTER, img->size, end - img->size);
	if (repair->mode == QED_MODE_PREEN)
		finding.action = QED_ACTION_EXTENDED;
	else
		r = qed_decide(repair, &finding, QED_ACTION_EXTENDED);
	if (!r && finding.action) {
		r = qed_begin(repair);
		if (!r)
			r = qed_fail(repair, qed_resize(img, end), "cannot extend the file");
	}
	if (!r)
		qed_report(repair, &finding);
	return r;
}

int qed_repair_space(struct qed_repair *repair)
{
	struct qed_image *img = repair->img;
	u64 clusters = qed_map_end(&repair->used), end = clusters << img->cluster_shift;
	int r;

	if (img->is_block)
		return 0;
	r = qed_find_leaks(img, &repair->used, clusters, repair_leak, repair);
	if (!r && img->size > end)
		r = repair_tail(repair, end);
	return r ? r : qed_settle(repair);
}
