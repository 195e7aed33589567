// SPDX-License-Identifier: GPL-2.0-only
/*
 * L2 tables that nothing refers to, see orphans.h.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "orphans.h"
#include "space.h"

#define BLOCK_ENTRIES	(QED_ALIGNMENT / sizeof(__le64))

/* So many of them tell whether a cluster is a part of a table */
#define ENOUGH_ENTRIES	16U

void qed_orphans_free(struct qed_orphans *orphans)
{
	qed_map_free(&orphans->leaked);
	qed_map_free(&orphans->unread);
	free(orphans->list);
	orphans->list = NULL;
}

/*----------------------------------------------------------------
 * What is leaked
 *----------------------------------------------------------------
 */

static int add_leaked(void *ctx, u64 first, u64 nr)
{
	struct qed_orphans *orphans = ctx;

	orphans->nr_leaked += nr;
	return qed_map_set(&orphans->leaked, first, nr);
}

int qed_find_leaked(struct qed_orphans *orphans, struct qed_image *img, struct qed_map *used)
{
	return qed_find_leaks(img, used, img->nr_clusters, add_leaked, orphans);
}

/* What is judged, and what came out */
struct judgement {
	struct qed_image *img;
	struct qed_map *used;
	u64 last;			/* entry */
	unsigned int good, bad;
};

/* An entry that refers to a cluster that nothing refers to; it may be a hole */
static bool is_orphaned(const struct judgement *j, u64 entry)
{
	return !qed_entry_defect(j->img, entry, 1) &&
	       !qed_map_test(j->used, entry >> j->img->cluster_shift);
}

/* The next block of a table that may have something: 1, 0 at the end, -EINTR or -EIO */
static int next_block(struct qed_image *img, __le64 *buf, u64 *offset, u64 end)
{
	long r = qed_next_piece(img, buf, QED_ALIGNMENT, offset, end);

	return r < 0 ? (r == -EINTR ? -EINTR : -EIO) : r > 0;
}

static void judge_entries(struct judgement *j, const __le64 *entries)
{
	unsigned int i;
	u64 entry;

	for (i = 0; i < BLOCK_ENTRIES; i++) {
		entry = le64toh(entries[i]);
		if (entry <= QED_ENTRY_ZERO)
			continue;
		if (entry != j->last && is_orphaned(j, entry))
			j->good++;
		else
			j->bad++;
		j->last = entry;
	}
}

/* Do its first entries look like those of an orphan? 1, 0, -EREMOTEIO, or another error */
static int is_part_of_table(struct judgement *j, __le64 *buf, u64 cluster)
{
	struct qed_image *img = j->img;
	u64 offset = cluster << img->cluster_shift, end = offset + qed_cluster_size(img);
	long r = 1;

	j->last = 0;
	j->good = 0;
	j->bad = 0;
	while (j->good + j->bad < ENOUGH_ENTRIES && (r = next_block(img, buf, &offset, end)) > 0) {
		judge_entries(j, buf);
		offset += QED_ALIGNMENT;
	}
	return r == -EIO ? -EREMOTEIO : r < 0 ? r : j->good > j->bad;
}

static int add_orphan(struct qed_orphans *orphans, u64 cluster, u64 table_clusters)
{
	struct qed_orphan *last = orphans->nr ? &orphans->list[orphans->nr - 1] : NULL, *list;

	if (last && last->first + last->nr == cluster && last->nr < table_clusters) {
		last->nr++;
		return 0;
	}
	if (orphans->nr == orphans->room) {
		orphans->room = orphans->room * 2 + 64;
		list = realloc(orphans->list, orphans->room * sizeof(*list));
		if (!list)
			return -ENOMEM;
		orphans->list = list;
	}
	orphans->list[orphans->nr++] = (struct qed_orphan) {
		.first = cluster,
		.nr = 1,
		.table = QED_UNKNOWN,
		.index = QED_UNKNOWN,
	};
	return 0;
}

int qed_find_orphans(struct qed_orphans *orphans, struct qed_image *img, struct qed_map *used)
{
	struct judgement j = { .img = img, .used = used };
	u64 end = img->nr_clusters, cluster = 0;
	__le64 *buf = qed_alloc_piece(img);
	int r = buf ? 0 : -ENOMEM;

	while (r >= 0 && (cluster = qed_map_next(&orphans->leaked, cluster, end, true)) < end) {
		r = is_part_of_table(&j, buf, cluster);
		if (r > 0)
			r = add_orphan(orphans, cluster, img->table_clusters);
		else if (r == -EREMOTEIO)
			r = qed_map_set(&orphans->unread, cluster, 1);
		cluster++;
	}
	free(buf);
	return r < 0 ? r : 0;
}

/*----------------------------------------------------------------
 * Where tables begin
 *----------------------------------------------------------------
 */

/* More than what is looked at around an orphan: a table in front, and one behind */
#define NEAR	(4 * QED_MAX_TABLE_SIZE)

/*
 * A table that is to be placed, and what is needed for that. As orphans come in order, what
 * is known of the clusters near by is enough to read each of them only once.
 */
struct place {
	struct qed_image *img;
	struct qed_map *used;
	const struct qed_orphan *orphan;
	__le64 *buf;
	u64 known[NEAR];	/* cluster + 1 */
	bool is_empty[NEAR];
};

/* Is all of the cluster zero? 1, 0, or an error */
static int read_cluster(struct place *p, u64 cluster)
{
	struct qed_image *img = p->img;
	u64 offset = cluster << img->cluster_shift, end = offset + qed_cluster_size(img);
	unsigned int i;
	int r;

	for (; (r = next_block(img, p->buf, &offset, end)) > 0; offset += QED_ALIGNMENT)
		for (i = 0; i < BLOCK_ENTRIES; i++)
			if (p->buf[i])
				return 0;
	return r < 0 ? r : 1;
}

/* May it be a part of a table that has nothing? 1, 0, or an error */
static int is_blank(struct place *p, u64 cluster)
{
	unsigned int slot = cluster % NEAR;
	int r;

	if (cluster >= p->img->nr_clusters || qed_map_test(p->used, cluster))
		return 0;
	if (p->known[slot] != cluster + 1) {
		r = read_cluster(p, cluster);
		if (r < 0)
			return r;
		p->known[slot] = cluster + 1;
		p->is_empty[slot] = r;
	}
	return p->is_empty[slot];
}

/*
 * The first of the clusters from @first to @last that the orphan refers to; QED_UNKNOWN if
 * there is none
 */
static int find_referred(struct place *p, u64 first, u64 last, u64 *cluster)
{
	struct qed_image *img = p->img;
	u64 offset = p->orphan->first << img->cluster_shift;
	u64 end = offset + (p->orphan->extent << img->cluster_shift), entry;
	unsigned int i;
	int r;

	*cluster = QED_UNKNOWN;
	for (; (r = next_block(img, p->buf, &offset, end)) > 0; offset += QED_ALIGNMENT) {
		for (i = 0; i < BLOCK_ENTRIES; i++) {
			entry = le64toh(p->buf[i]);
			if (entry % qed_cluster_size(img) == 0 &&
			    entry >> img->cluster_shift >= first &&
			    entry >> img->cluster_shift <= last)
				*cluster = min_u64(*cluster, entry >> img->cluster_shift);
		}
	}
	return r;
}

/* How far a table may reach: what else it has is empty, and free */
static int find_room(struct place *p, u64 *first, u64 *end)
{
	u64 nr = p->img->table_clusters, orphan = *first, orphan_end = *end;
	int r = 1;

	while (r > 0 && *first && *first - 1 + nr >= orphan_end) {
		r = is_blank(p, *first - 1);
		*first -= r > 0;
	}
	if (r >= 0)
		r = 1;
	while (r > 0 && *end < orphan + nr) {
		r = is_blank(p, *end);
		*end += r > 0;
	}
	return r < 0 ? r : 0;
}

/* If there is one place only, or one with data that it refers to right behind it */
static int place_orphan(struct place *p, struct qed_orphan *orphan)
{
	u64 nr = p->img->table_clusters;
	u64 first = orphan->first, end = orphan->first + orphan->extent, behind = QED_UNKNOWN;
	int r;

	p->orphan = orphan;
	if (end > p->img->nr_clusters || qed_map_next(p->used, first, end, true) < end)
		return 0;
	r = find_room(p, &first, &end);
	if (!r && end - first > nr)
		r = find_referred(p, first + nr, end, &behind);
	if (!r && end - first == nr)
		orphan->table = first;
	else if (!r && behind != QED_UNKNOWN)
		orphan->table = behind - nr;
	/* what cannot be read may belong to it, or not */
	return r == -EIO ? 0 : r;
}

/* Are these clusters empty, and nothing refers to them? 1, 0, or an error */
static int is_gap(struct place *p, u64 first, u64 end)
{
	int r = 1;

	for (; r > 0 && first < end; first++)
		r = is_blank(p, first);
	return r;
}

/* Add those behind that fit into the same table. Returns how many there are, or an error */
static long add_parts(struct place *p, struct qed_orphan *orphan, u64 most)
{
	u64 i, end;
	int r;

	orphan->extent = orphan->nr;
	for (i = 1; i < most; i++) {
		end = orphan[i].first + orphan[i].nr;
		if (end - orphan->first > p->img->table_clusters)
			break;
		r = is_gap(p, orphan->first + orphan->extent, orphan[i].first);
		if (r < 0 && r != -EIO)
			return r;
		if (r <= 0)
			break;
		orphan[i].is_part = true;
		orphan->extent = end - orphan->first;
	}
	return i;
}

static int place_orphans(struct qed_orphans *orphans, struct qed_image *img, struct qed_map *used)
{
	struct place p = { .img = img, .used = used, .buf = qed_alloc_piece(img) };
	int r = p.buf ? 0 : -ENOMEM;
	long parts;
	u64 i;

	for (i = 0; !r && i < orphans->nr; i += parts) {
		parts = add_parts(&p, &orphans->list[i], orphans->nr - i);
		r = parts < 0 ? parts : place_orphan(&p, &orphans->list[i]);
	}
	free(p.buf);
	return r;
}

/*----------------------------------------------------------------
 * Which L1 entries they had
 *----------------------------------------------------------------
 */

void qed_remember_lost(struct qed_orphans *orphans, u64 index, u64 value)
{
	if (orphans->nr_lost == QED_MAX_LOST)
		return;
	orphans->lost[orphans->nr_lost].index = index;
	orphans->lost[orphans->nr_lost++].table = value;
}

/* An entry that was illegal: did it name this table, but for one bit or the last ones? */
static void match_lost(const struct qed_orphans *orphans, const struct qed_image *img,
		       struct qed_orphan *orphan)
{
	unsigned int i;

	for (i = 0; i < orphans->nr_lost; i++) {
		u64 value = orphans->lost[i].table, first = value >> img->cluster_shift;
		u64 table = orphan->table << img->cluster_shift;

		if (orphan->table != QED_UNKNOWN &&
		    __builtin_popcountll(value ^ table) == 1) {
			orphan->index = orphans->lost[i].index;
			return;
		}
		if (first > orphan->first ||
		    orphan->first + orphan->extent > first + img->table_clusters)
			continue;
		orphan->table = first;
		orphan->index = orphans->lost[i].index;
	}
}

/* A table with a known index */
struct known {
	u64 first, index;
};

struct known_tables {
	struct known *list;
	u64 nr, room;
};

static int add_known(struct known_tables *known, u64 first, u64 index)
{
	struct known *list;

	if (known->nr == known->room) {
		known->room = known->room * 2 + 64;
		list = realloc(known->list, known->room * sizeof(*list));
		if (!list)
			return -ENOMEM;
		known->list = list;
	}
	known->list[known->nr++] = (struct known) { first, index };
	return 0;
}

static int compare_known(const void *a, const void *b)
{
	u64 first = ((const struct known *)a)->first, second = ((const struct known *)b)->first;

	return (first > second) - (first < second);
}

/* All tables that L1 entries within the size refer to */
static int read_known(struct known_tables *known, struct qed_image *img)
{
	u64 start = img->l1_offset, end = start + qed_l1_limit(img) * 8, offset = start, i;
	__le64 *buf = qed_alloc_piece(img);
	int r = buf ? 1 : -ENOMEM;

	for (; r > 0 && (r = next_block(img, buf, &offset, end)) > 0; offset += QED_ALIGNMENT) {
		for (i = 0; r > 0 && i < BLOCK_ENTRIES && offset + i * 8 < end; i++) {
			u64 entry = le64toh(buf[i]);

			if (entry && !qed_entry_defect(img, entry, img->table_clusters) &&
			    add_known(known, entry >> img->cluster_shift, (offset - start) / 8 + i))
				r = -ENOMEM;
		}
	}
	free(buf);
	return r;
}

/* Give the orphans [first, end) the indexes between two, if there are just as many */
static void number_orphans(struct qed_orphan *first, const struct qed_orphan *end, u64 before,
			   u64 behind)
{
	struct qed_orphan *orphan;
	u64 nr = 0;

	for (orphan = first; orphan < end; orphan++)
		nr += !orphan->is_part;
	/* the one before the first entry is -1 */
	if (behind - before - 1 != nr)
		return;
	for (orphan = first; orphan < end; orphan++) {
		before += !orphan->is_part;
		if (!orphan->is_part && orphan->index == QED_UNKNOWN)
			orphan->index = before;
	}
}

/* Is there something that cannot be read? It may be another one. */
static bool has_unread(const struct qed_orphans *orphans, u64 first, u64 end)
{
	end = min_u64(end, qed_map_end(&orphans->unread));
	return first < end && qed_map_next(&orphans->unread, first, end, true) < end;
}

/*
 * Orphans between two tables in the file get the indexes between those of the two. In
 * front of the first and behind the last table there is the beginning and the end of the
 * disk.
 */
static void match_neighbours(struct qed_orphans *orphans, const struct known_tables *known,
			     u64 limit)
{
	struct qed_orphan *orphan = orphans->list, *last = orphan + orphans->nr, *end;
	u64 next = 0;

	for (; orphan < last; orphan = end) {
		while (next < known->nr && known->list[next].first < orphan->first)
			next++;
		for (end = orphan + 1; end < last; end++)
			if (next < known->nr && end->first > known->list[next].first)
				break;
		if (has_unread(orphans, next ? known->list[next - 1].first : 0,
			       next < known->nr ? known->list[next].first : ~0ULL))
			continue;
		number_orphans(orphan, end, next ? known->list[next - 1].index : ~0ULL,
			       next < known->nr ? known->list[next].index : limit);
	}
}

int qed_place_orphans(struct qed_orphans *orphans, struct qed_image *img, struct qed_map *used)
{
	struct known_tables known = { };
	int r = place_orphans(orphans, img, used);
	u64 i;

	if (!r)
		r = read_known(&known, img);
	for (i = 0; !r && i < orphans->nr; i++)
		if (!orphans->list[i].is_part)
			match_lost(orphans, img, &orphans->list[i]);
	if (!r && known.nr)
		qsort(known.list, known.nr, sizeof(*known.list), compare_known);
	if (!r)
		match_neighbours(orphans, &known, qed_l1_limit(img));
	for (i = 1; !r && i < orphans->nr; i++) {
		if (!orphans->list[i].is_part)
			continue;
		orphans->list[i].table = orphans->list[i - 1].table;
		orphans->list[i].index = orphans->list[i - 1].index;
	}
	free(known.list);
	return r;
}

/*----------------------------------------------------------------
 * May it be linked?
 *----------------------------------------------------------------
 */

/* Are these entries sound, and what they refer to not claimed yet? As qed_may_link() */
static int check_entries(const struct qed_image *img, const __le64 *entries, u64 nr,
			 const struct qed_map *used, struct qed_map *claims)
{
	u64 i, entry, cluster;
	int r = 1;

	for (i = 0; r == 1 && i < BLOCK_ENTRIES; i++) {
		entry = le64toh(entries[i]);
		cluster = entry >> img->cluster_shift;
		if (entry <= QED_ENTRY_ZERO)
			continue;
		if (i >= nr || qed_entry_defect(img, entry, 1) || qed_map_test(claims, cluster) ||
		    qed_map_test(used, cluster))
			return 0;
		r = qed_map_set(claims, cluster, 1) ? -ENOMEM : 1;
	}
	return r;
}

/* The same for all entries */
static int check_orphan(struct qed_image *img, u64 table, u64 limit, const struct qed_map *used,
			struct qed_map *claims)
{
	u64 start = table << img->cluster_shift, end = start + qed_table_bytes(img), first;
	u64 offset = start;
	__le64 *buf = qed_alloc_piece(img);
	int r = buf ? 1 : -ENOMEM, next = 1;

	while (r == 1 && (next = next_block(img, buf, &offset, end)) > 0) {
		first = (offset - start) / 8;
		r = check_entries(img, buf, limit > first ? limit - first : 0, used, claims);
		offset += QED_ALIGNMENT;
	}
	free(buf);
	if (next < 0)
		return next == -EIO ? 0 : next;
	return r;
}

int qed_may_link(const struct qed_orphan *orphan, struct qed_image *img, struct qed_map *used,
		 struct qed_map *claims)
{
	u64 table = orphan->table, end = table + img->table_clusters;
	int r;

	if (table == QED_UNKNOWN || orphan->index >= qed_l1_limit(img) || end > img->nr_clusters ||
	    qed_map_next(used, table, end, true) < end)
		return 0;
	r = qed_map_set(claims, table, img->table_clusters);
	return r ? r : check_orphan(img, table, qed_l2_limit(img, orphan->index), used, claims);
}
