// SPDX-License-Identifier: GPL-2.0-only
/*
 * The ordered walk, see walk.h.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "walk.h"

#define SECTOR		512U
#define PIECE_SECTORS	(QED_PIECE_SIZE / SECTOR)

/*----------------------------------------------------------------
 * First references
 *----------------------------------------------------------------
 */

struct qed_owner {
	u64 cluster;		/* the key */
	u64 guest_offset, guest_length;
	enum qed_owner_kind kind;
};

static int remember_shared(struct qed_hash *owners, u64 cluster)
{
	if (owners->nr == QED_MAX_OWNERS)
		return 0;
	return qed_hash_add(owners, cluster, sizeof(struct qed_owner)) ? 0 : -ENOMEM;
}

static void remember_owner(struct qed_hash *owners, const struct qed_ref *ref, u64 first, u64 nr)
{
	struct qed_owner *owner;
	u64 i;

	for (i = 0; i < nr; i++) {
		owner = qed_hash_find(owners, first + i);
		if (!owner)
			continue;
		owner->kind = ref->l1 ? QED_OWNER_TABLE : QED_OWNER_DATA;
		owner->guest_offset = ref->guest_offset;
		owner->guest_length = ref->is_beyond ? 0 : ref->guest_length;
	}
}

void qed_ref_finding(const struct qed_walk *walk, const struct qed_ref *ref,
		     struct qed_finding *finding)
{
	const struct qed_image *img = walk->img;
	const struct qed_owner *owner;

	memset(finding, 0, sizeof(*finding));
	finding->code = ref->code;
	finding->has = QED_HAS_GUEST | QED_HAS_ENTRY | QED_HAS_VALUE;
	finding->guest_offset = ref->guest_offset;
	finding->guest_length = ref->guest_length;
	finding->table_offset = ref->table;
	finding->index = ref->index;
	finding->value = ref->value;

	if (ref->code == QED_L1_ENTRY_OVER_END) {
		finding->has |= QED_HAS_RANGE;
		finding->offset = img->size;
		finding->length = ref->value + qed_table_bytes(img) - img->size;
	}
	if (ref->code != QED_L1_ENTRY_SHARED && ref->code != QED_L2_ENTRY_SHARED)
		return;
	finding->has |= QED_HAS_OWNER;
	owner = qed_hash_find(walk->owners, ref->conflict);
	if (!owner)
		return;
	finding->owner = owner->kind;
	if (owner->guest_length) {
		finding->has |= QED_HAS_OWNER_GUEST;
		finding->owner_offset = owner->guest_offset;
		finding->owner_length = owner->guest_length;
	}
}

/*----------------------------------------------------------------
 * Pieces of tables
 *----------------------------------------------------------------
 */

struct state {
	struct qed_walk *walk;
	struct qed_image *img;
	struct qed_map kept;		/* L1 entries whose tables are walked */
	__le64 *l1_buf, *l2_buf;
	u8 sectors[2][PIECE_SECTORS];	/* changed ones of the L1, of an L2 piece */
	u64 last;			/* offset of the last data in this piece */
	bool is_unlinked;		/* the table that is walked */
	bool is_known;			/* the L1 table was read before */
};

static void describe(struct state *s, struct qed_ref *ref, bool l1, u64 l1_index, u64 table,
		     u64 index, u64 value)
{
	const struct qed_image *img = s->img;
	unsigned int shift = l1 ? qed_span_shift(img) : img->cluster_shift;
	u64 unit = l1 ? l1_index : (l1_index << img->entries_shift) + index;
	u64 length = shift < 64 ? 1ULL << shift : ~0ULL;

	memset(ref, 0, sizeof(*ref));
	ref->l1 = l1;
	ref->l1_index = l1_index;
	ref->index = index;
	ref->table = table;
	ref->value = value;
	ref->is_beyond = l1 ? l1_index >= qed_l1_limit(img) : unit >= qed_guest_clusters(img);
	ref->is_unlinked = !l1 && s->is_unlinked;
	/* the largest tables map more than 64 bits can tell */
	ref->guest_offset = shift < 64 && unit <= ~0ULL >> shift ? unit << shift : 0;
	if (unit && !ref->guest_offset)
		ref->guest_offset = ~0ULL;
	if (length > ~0ULL - ref->guest_offset)
		length = ~0ULL - ref->guest_offset;
	if (!ref->is_beyond)
		length = min_u64(length, img->image_size - ref->guest_offset);
	ref->guest_length = length;
}

static int report_bad(struct state *s, bool l1, u64 l1_index, u64 table, u64 offset, u64 length)
{
	struct qed_ref ref;

	if (!s->walk->ops->read_error || (l1 && s->is_known))
		return 0;
	describe(s, &ref, l1, l1 ? (offset - table) / 8 : l1_index, table, (offset - table) / 8, 0);
	ref.code = QED_READ_ERROR;
	return s->walk->ops->read_error(s->walk->ctx, &ref, offset, length);
}

/* Find out which parts of a piece cannot be read; they count as zeroes */
static int read_parts(struct state *s, bool l1, u64 l1_index, u64 table, char *buf, u64 offset,
		      u64 length, bool is_known)
{
	u64 done, bad = 0;
	int r = 0;

	for (done = 0; !r && done < length; done += QED_ALIGNMENT) {
		if (qed_read_table(s->img, buf + done, offset + done, QED_ALIGNMENT)) {
			memset(buf + done, 0, QED_ALIGNMENT);
			bad += QED_ALIGNMENT;
		} else if (bad) {
			if (!is_known)
				r = report_bad(s, l1, l1_index, table, offset + done - bad, bad);
			bad = 0;
		}
	}
	if (!r && bad && !is_known)
		r = report_bad(s, l1, l1_index, table, offset + length - bad, bad);
	return r;
}

/*
 * Read the next piece of a table that may have something in [*first, end), both
 * are indexes. Returns the number of entries in the buffer, and the index of the
 * first one; 0 at the end; or an error.
 */
static long next_piece(struct state *s, bool l1, u64 l1_index, u64 table, u64 *first, u64 end)
{
	struct qed_image *img = s->img;
	void *buf = l1 ? s->l1_buf : s->l2_buf;
	u64 begin = *first, offset, length;
	int r;

	if (qed_stopped(img))
		return -EINTR;
	if (*first >= end)
		return 0;
	offset = qed_next_data(img, table + *first * 8, table + end * 8);
	if (offset >= table + end * 8)
		return 0;
	*first = (offset - table) / 8 / QED_PIECE_ENTRIES * QED_PIECE_ENTRIES;
	offset = table + *first * 8;
	length = min_u64(qed_table_bytes(img) - *first * 8, QED_PIECE_SIZE);
	memset(s->sectors[!l1], 0, PIECE_SECTORS);
	if (qed_read_table(img, buf, offset, length)) {
		/* a piece with entries before was read for these */
		r = read_parts(s, l1, l1_index, table, buf, offset, length,
			       *first < begin);
		if (r)
			return r;
	}
	return length / 8;
}

static int write_piece(struct state *s, bool l1, u64 table, u64 first, u64 nr)
{
	const u8 *sectors = s->sectors[!l1];

	if (!memchr(sectors, 1, nr * 8 / SECTOR))
		return 0;
	return s->walk->ops->write(s->walk->ctx, l1 ? s->l1_buf : s->l2_buf, table + first * 8,
				   nr * 8, sectors);
}

/*
 * Tell about an entry; it may get a new value. Not if its table is beyond the size:
 * that may be data that a shared table refers to, which has no claims.
 */
static int visit(struct state *s, struct qed_ref *ref, __le64 *entry, u8 *sector)
{
	u64 value = ref->value;
	int r = s->walk->ops->entry(s->walk->ctx, ref, &value);

	if (!r && value != ref->value && (ref->l1 || !qed_table_is_beyond(s->img, ref))) {
		*entry = htole64(value);
		*sector = 1;
	}
	return r;
}

/*----------------------------------------------------------------
 * Claims
 *----------------------------------------------------------------
 */

/* 1, 0 and ref->conflict if one of the clusters is taken, or an error */
static int claim(struct state *s, struct qed_ref *ref, u64 nr)
{
	struct qed_walk *walk = s->walk;
	u64 first = ref->value >> s->img->cluster_shift, i;
	int r;

	for (i = 0; i < nr; i++) {
		if (!qed_map_test(walk->claims, first + i))
			continue;
		ref->conflict = first + i;
		return remember_shared(walk->owners, first + i);
	}
	r = qed_map_set(walk->claims, first, nr);
	if (r)
		return r;
	if (walk->owners->nr)
		remember_owner(walk->owners, ref, first, nr);
	return 1;
}

static enum qed_code defect_code(enum qed_defect defect, bool l1)
{
	static const enum qed_code codes[] = {
		[QED_DEFECT_NONE]	= QED_OK,
		[QED_DEFECT_UNALIGNED]	= QED_L1_ENTRY_UNALIGNED,
		[QED_DEFECT_IN_HEADER]	= QED_L1_ENTRY_IN_HEADER,
		[QED_DEFECT_BEYOND_END]	= QED_L1_ENTRY_BEYOND_END,
		[QED_DEFECT_ON_L1]	= QED_L1_ENTRY_ON_L1,
		[QED_DEFECT_OVER_END]	= QED_L1_ENTRY_OVER_END,
	};

	if (!defect || l1)
		return codes[defect];
	return codes[defect] + QED_L2_ENTRY_UNALIGNED - QED_L1_ENTRY_UNALIGNED;
}

/* Find out the code of an entry that is not 0, or 1 of an L2 table */
static int judge(struct state *s, struct qed_ref *ref)
{
	u64 nr = ref->l1 ? s->img->table_clusters : 1;
	enum qed_defect defect = qed_entry_defect(s->img, ref->value, nr);
	int r;

	ref->code = defect_code(defect, ref->l1);
	if (defect && (defect != QED_DEFECT_OVER_END || s->img->is_block))
		return 0;
	r = claim(s, ref, nr);
	if (r < 0)
		return r;
	if (!r)
		ref->code = ref->l1 ? QED_L1_ENTRY_SHARED : QED_L2_ENTRY_SHARED;
	else if (!defect && ref->is_beyond)
		ref->code = ref->l1 ? QED_L1_ENTRY_BEYOND_SIZE : QED_L2_ENTRY_BEYOND_SIZE;
	return 0;
}

/*----------------------------------------------------------------
 * Tables
 *----------------------------------------------------------------
 */

static void count_data(struct state *s, const struct qed_ref *ref)
{
	struct qed_counts *counts = &s->walk->counts;

	if (ref->is_beyond || (ref->code && ref->code != QED_L2_ENTRY_SHARED))
		return;
	counts->allocated++;
	counts->fragmented += s->last && ref->value != s->last + qed_cluster_size(s->img);
	s->last = ref->value;
}

static int visit_l2_entry(struct state *s, u64 l1_index, u64 table, u64 index, u64 i)
{
	u64 value = le64toh(s->l2_buf[i]);
	struct qed_ref ref;
	int r;

	describe(s, &ref, false, l1_index, table, index, value);
	if (value == QED_ENTRY_ZERO) {
		s->walk->counts.zero += !ref.is_beyond;
		return 0;
	}
	r = judge(s, &ref);
	if (r)
		return r;
	count_data(s, &ref);
	/* a table beyond the size is one finding */
	if (!ref.code || (ref.code == QED_L2_ENTRY_BEYOND_SIZE &&
			  l1_index >= qed_l1_limit(s->img)))
		return 0;
	return visit(s, &ref, &s->l2_buf[i], &s->sectors[1][i * 8 / SECTOR]);
}

/* Walk over the entries [first, end) of a table */
static int walk_table(struct state *s, u64 l1_index, u64 table, u64 first, u64 end)
{
	u64 piece = first, i, from;
	long nr;
	int r;

	while ((nr = next_piece(s, false, l1_index, table, &piece, end)) > 0) {
		s->last = 0;
		from = first > piece ? first - piece : 0;
		for (i = from; i < min_u64(nr, end - piece); i++) {
			if (!s->l2_buf[i])
				continue;
			r = visit_l2_entry(s, l1_index, table, piece + i, i);
			if (r)
				return r;
		}
		r = write_piece(s, false, table, piece, nr);
		if (r)
			return r;
		piece += nr;
	}
	return nr;
}

/* A table is looked at if its L1 entry is legal; also if it reaches over the end */
static bool is_walked(const struct state *s, const struct qed_ref *ref)
{
	return ref->code == QED_OK || ref->code == QED_L1_ENTRY_BEYOND_SIZE ||
	       (ref->code == QED_L1_ENTRY_OVER_END && !s->img->is_block);
}

/* A table that is none? */
static bool is_none(const struct state *s, struct qed_ref *ref)
{
	const struct qed_no_tables *none = s->walk->none;

	if (none && qed_map_test(&none->dropped, ref->l1_index))
		ref->code = QED_L1_ENTRY_SHARED;
	else if (none && qed_map_test(&none->alone, ref->l1_index))
		ref->code = QED_L1_ENTRY_NO_TABLE;
	return ref->code;
}

/* The first of its clusters that is shared tells with whom */
static void find_conflict(const struct state *s, struct qed_ref *ref)
{
	u64 first = ref->value >> s->img->cluster_shift, nr = s->img->table_clusters, i;

	for (i = 0; i < nr; i++) {
		if (!qed_hash_find(s->walk->owners, first + i))
			continue;
		ref->conflict = first + i;
		return;
	}
}

/* Step 2: claim a table */
static int claim_table(struct state *s, u64 index, u64 i)
{
	struct qed_ref ref;
	int r = 0;

	describe(s, &ref, true, index, s->img->l1_offset, index, le64toh(s->l1_buf[i]));
	if (is_none(s, &ref))
		find_conflict(s, &ref);
	else
		r = judge(s, &ref);
	if (!r && is_walked(s, &ref)) {
		s->walk->counts.tables++;
		r = qed_map_set(&s->kept, index, 1);
	}
	if (!r && ref.code)
		r = visit(s, &ref, &s->l1_buf[i], &s->sectors[0][i * 8 / SECTOR]);
	return r;
}

/* Step 3: the data of a table that is within the size */
static int walk_kept(struct state *s, u64 index, u64 i)
{
	const struct qed_progress *progress = s->walk->progress;

	if (!qed_map_test(&s->kept, index))
		return 0;
	if (progress->show)
		progress->show(progress->ctx, progress->pass, index, qed_l1_limit(s->img));
	return walk_table(s, index, le64toh(s->l1_buf[i]), 0, qed_l2_limit(s->img, index));
}

/* Step 4: the entries beyond the size of the table that is within it in part */
static int walk_rest(struct state *s, u64 index, u64 i)
{
	if (!qed_map_test(&s->kept, index))
		return 0;
	return walk_table(s, index, le64toh(s->l1_buf[i]), qed_l2_limit(s->img, index),
			  qed_table_entries(s->img));
}

/* Step 5: a table beyond the size, and its data */
static int walk_beyond(struct state *s, u64 index, u64 i)
{
	struct qed_ref ref;
	int r;

	describe(s, &ref, true, index, s->img->l1_offset, index, le64toh(s->l1_buf[i]));
	r = judge(s, &ref);
	if (!r && ref.code)
		r = visit(s, &ref, &s->l1_buf[i], &s->sectors[0][i * 8 / SECTOR]);
	if (r || !is_walked(s, &ref))
		return r;
	s->is_unlinked = !s->l1_buf[i];
	r = walk_table(s, index, ref.value, 0, qed_table_entries(s->img));
	s->is_unlinked = false;
	return r;
}

/* Do something for each entry of the L1 table in [first, end) that is not 0 */
static int walk_l1(struct state *s, u64 first, u64 end,
		   int (*step)(struct state *s, u64 index, u64 i))
{
	u64 table = s->img->l1_offset, piece = first, i;
	long nr;
	int r;

	while ((nr = next_piece(s, true, 0, table, &piece, end)) > 0) {
		for (i = first > piece ? first - piece : 0; i < min_u64(nr, end - piece); i++) {
			if (!s->l1_buf[i])
				continue;
			r = step(s, piece + i, i);
			if (r)
				return r;
		}
		r = write_piece(s, true, table, piece, nr);
		if (r)
			return r;
		piece += nr;
	}
	return nr;
}

static int walk_all(struct state *s)
{
	struct qed_image *img = s->img;
	u64 limit = qed_l1_limit(img), entries = qed_table_entries(img);
	int r;

	r = qed_map_set(s->walk->claims, 0, img->header_clusters);
	if (!r)
		r = qed_map_set(s->walk->claims, img->l1_offset >> img->cluster_shift,
				img->table_clusters);
	if (!r)
		r = walk_l1(s, 0, limit, claim_table);
	s->is_known = true;
	if (!r)
		r = walk_l1(s, 0, limit, walk_kept);
	if (!r && qed_l2_limit(img, limit - 1) < entries)
		r = walk_l1(s, limit - 1, limit, walk_rest);
	s->is_known = false;
	if (!r)
		r = walk_l1(s, limit, entries, walk_beyond);
	return r;
}

int qed_walk(struct qed_walk *walk)
{
	struct state s = { .walk = walk, .img = walk->img };
	int r = -ENOMEM;

	memset(&walk->counts, 0, sizeof(walk->counts));
	s.l1_buf = qed_alloc_piece(walk->img);
	s.l2_buf = qed_alloc_piece(walk->img);
	if (s.l1_buf && s.l2_buf)
		r = walk_all(&s);
	free(s.l1_buf);
	free(s.l2_buf);
	qed_map_free(&s.kept);
	return r;
}
