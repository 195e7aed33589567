// SPDX-License-Identifier: GPL-2.0-only
/*
 * Making an image short, see compact.h.
 *
 * First, data from the end goes to free clusters, until nothing is free before
 * the last data: all data from a cluster, the border, on goes to what is free
 * before it. Behind the border there are only tables then, which are moved
 * together.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "change.h"
#include "compact.h"
#include "undo.h"

#define SECTOR	512U

/* The most bytes that are announced to the undo file at once */
#define ANNOUNCED	67108864U

/* The index of an L1 entry; the L1 table itself is one of the tables to be moved */
#define L1_ITSELF	(~0ULL)

struct table {
	u64 first;		/* cluster */
	u64 l1_index;
};

struct compact {
	struct qed_repair *repair;
	struct qed_image *img;
	struct qed_map *used;
	struct qed_map *tables;		/* clusters of header and tables */
	u64 border, next_free;
	u64 announced;			/* clusters that the undo file knows of */
	u64 to_move, moved;		/* clusters */
	u64 linked;			/* of those that were moved, and are referred to */
	u64 straddler_end;		/* of a table across the border */
	struct table *list;		/* tables behind the border */
	u64 nr, room;
	__le64 *l1_buf, *l2_buf;
};

static int fail(struct compact *c, int error, const char *what)
{
	if (error && !c->repair->result->what)
		c->repair->result->what = what;
	return error;
}

/* In clusters, for each of them */
static void show(struct compact *c)
{
	const struct qed_progress *progress = &c->repair->progress;

	if (progress->show)
		progress->show(progress->ctx, progress->pass, c->moved,
			       max_u64(c->to_move, c->moved));
}

static int copy(struct compact *c, u64 from, u64 to, u64 clusters)
{
	unsigned int shift = c->img->cluster_shift;
	u64 failed;
	int r = qed_copy(c->img, from << shift, to << shift, clusters << shift, &failed);

	show(c);
	if (r == -EREMOTEIO)
		return fail(c, -EIO, "cannot read what is to be moved");
	return fail(c, r, "cannot move clusters");
}

static int sync_image(struct compact *c)
{
	int r = qed_sync(c->img);

	if (!r)
		c->repair->result->moved = c->linked;
	return fail(c, r, "cannot make changes durable");
}

/*----------------------------------------------------------------
 * Tables
 *----------------------------------------------------------------
 */

/* Read the next piece of a table with content from *@first on: entries, 0, or an error */
static long next_piece(struct compact *c, u64 table, __le64 *buf, u64 *first)
{
	struct qed_image *img = c->img;
	u64 end = table + qed_table_bytes(img), offset, length;
	int r;

	if (qed_stopped(img))
		return -EINTR;
	offset = qed_next_data(img, table + *first * 8, end);
	if (offset >= end)
		return 0;
	*first = (offset - table) / 8 / QED_PIECE_ENTRIES * QED_PIECE_ENTRIES;
	length = min_u64(end - table - *first * 8, QED_PIECE_SIZE);
	r = qed_read_table(img, buf, table + *first * 8, length);
	return r ? fail(c, r, "cannot read a table") : (long)(length / 8);
}

typedef int (*visit_table)(struct compact *c, u64 index, u64 table);

static int visit_tables(struct compact *c, visit_table visit)
{
	u64 first = 0;
	long nr, i;
	int r;

	while ((nr = next_piece(c, c->img->l1_offset, c->l1_buf, &first)) > 0) {
		for (i = 0; i < nr; i++) {
			if (!c->l1_buf[i])
				continue;
			r = visit(c, first + i, le64toh(c->l1_buf[i]));
			if (r)
				return r;
		}
		first += nr;
	}
	return nr;
}

static int mark_table(struct compact *c, u64 index, u64 table)
{
	(void)index;
	return fail(c, qed_map_set(c->tables, table >> c->img->cluster_shift,
				   c->img->table_clusters), "cannot move clusters");
}

/* Which clusters are no data? */
static int mark_tables(struct compact *c)
{
	struct qed_image *img = c->img;
	int r;

	qed_map_clear(c->tables);
	r = qed_map_set(c->tables, 0, img->header_clusters);
	if (!r)
		r = qed_map_set(c->tables, img->l1_offset >> img->cluster_shift,
				img->table_clusters);
	if (r)
		return fail(c, r, "cannot move clusters");
	return visit_tables(c, mark_table);
}

/*----------------------------------------------------------------
 * Data
 *----------------------------------------------------------------
 */

/* One more than the last cluster of data before @end, if that is not before @first */
static u64 last_data(const struct compact *c, u64 first, u64 end)
{
	while ((end = qed_map_last(c->used, end)) > first && qed_map_test(c->tables, end - 1))
		end--;
	return max_u64(first, end);
}

/* As many clusters of data from the border on as there are free ones before it */
static void find_border(struct compact *c)
{
	u64 low = 0, high = qed_map_end(c->used);

	for (;;) {
		low = qed_map_next(c->used, low, high, false);
		high = last_data(c, low, high);
		if (low >= high)
			break;
		low++;
		high--;
		c->to_move++;
	}
	c->border = high;
}

static bool is_to_move(const struct compact *c, u64 i)
{
	return le64toh(c->l2_buf[i]) >> c->img->cluster_shift >= c->border;
}

/* Save the clusters that the entries from @i on will go to, with one barrier */
static int announce(struct compact *c, u64 i, u64 nr)
{
	unsigned int shift = c->img->cluster_shift;
	u64 most = max_u64(ANNOUNCED >> shift, 1), to = c->next_free;
	int r = 0;

	if (!c->img->undo || c->announced)
		return 0;
	for (; !r && i < nr && c->announced < most; i++) {
		if (!is_to_move(c, i))
			continue;
		to = qed_map_next(c->used, to, c->border, false);
		r = qed_undo_prepare(c->img->undo, c->img, to++ << shift, 1ULL << shift);
		c->announced++;
	}
	if (!r)
		r = qed_undo_commit(c->img->undo);
	return fail(c, r, "cannot save what gets overwritten");
}

/* Copy the data of a piece of a table; are there entries that change? */
static int move_entries(struct compact *c, u64 nr, u8 *sectors)
{
	struct qed_image *img = c->img;
	u64 i, from, to;
	int r;

	for (i = 0; i < nr; i++) {
		if (!is_to_move(c, i))
			continue;
		r = announce(c, i, nr);
		if (r)
			return r;
		from = le64toh(c->l2_buf[i]) >> img->cluster_shift;
		to = qed_map_next(c->used, c->next_free, c->border, false);
		c->next_free = to + 1;
		c->announced -= !!c->announced;
		r = copy(c, from, to, 1);
		if (r)
			return r;
		c->l2_buf[i] = htole64(to << img->cluster_shift);
		sectors[i * 8 / SECTOR] = 1;
		c->moved++;
	}
	return 0;
}

static int write_entries(struct compact *c, u64 offset, u64 nr, const u8 *sectors)
{
	u64 i, end, nr_sectors = nr * 8 / SECTOR;
	int r = 0;

	for (i = 0; !r && i < nr_sectors; i = end) {
		for (end = i; end < nr_sectors && sectors[end] == sectors[i]; end++)
			;
		if (sectors[i])
			r = qed_write(c->img, (char *)c->l2_buf + i * SECTOR, offset + i * SECTOR,
				      (end - i) * SECTOR);
	}
	if (!r)
		c->linked = c->moved;
	return fail(c, r, "cannot write a table");
}

static int move_data(struct compact *c, u64 index, u64 table)
{
	u8 sectors[QED_PIECE_SIZE / SECTOR];
	u64 first = 0;
	int r, r2 = 0;
	long nr;

	(void)index;
	while ((nr = next_piece(c, table, c->l2_buf, &first)) > 0) {
		memset(sectors, 0, sizeof(sectors));
		r = move_entries(c, nr, sectors);
		/* when that was stopped: what is moved is moved */
		if ((!r || r == -EINTR) && memchr(sectors, 1, sizeof(sectors)))
			r2 = sync_image(c);
		if ((!r || r == -EINTR) && !r2)
			r2 = write_entries(c, table + first * 8, nr, sectors);
		if (r && !r2)
			r2 = sync_image(c);
		if (r || r2)
			return r2 ? r2 : r;
		first += nr;
	}
	return nr;
}

/*----------------------------------------------------------------
 * Tables behind the border
 *----------------------------------------------------------------
 */

static int add_table(struct compact *c, u64 index, u64 table)
{
	u64 first = table >> c->img->cluster_shift;
	struct table *list;

	if (first < c->border) {
		c->straddler_end = max_u64(c->straddler_end, first + c->img->table_clusters);
		return 0;
	}
	if (c->nr == c->room) {
		c->room = c->room * 2 + 64;
		list = realloc(c->list, c->room * sizeof(*list));
		if (!list)
			return fail(c, -ENOMEM, "cannot move tables");
		c->list = list;
	}
	c->list[c->nr].first = first;
	c->list[c->nr++].l1_index = index;
	return 0;
}

static int compare_tables(const void *a, const void *b)
{
	u64 first = ((const struct table *)a)->first, second = ((const struct table *)b)->first;

	return (first > second) - (first < second);
}

/* Make the image use a table where it is now */
static int link_table(struct compact *c, u64 l1_index, u64 to)
{
	struct qed_header header = c->img->header;
	__le64 entry = htole64(to << c->img->cluster_shift);
	int r;

	if (l1_index != L1_ITSELF) {
		r = qed_write(c->img, &entry, c->img->l1_offset + l1_index * 8, sizeof(entry));
		if (r)
			return fail(c, r, "cannot write the L1 table");
		c->linked = c->moved;
		return sync_image(c);
	}
	header.l1_table_offset = entry;
	r = qed_write_header(c->img, &header);
	if (r)
		return fail(c, r, "cannot write the header");
	c->img->l1_offset = to << c->img->cluster_shift;
	c->linked = c->moved;
	c->repair->result->moved = c->linked;
	return 0;
}

static int move_table_once(struct compact *c, u64 l1_index, u64 from, u64 to)
{
	int r = copy(c, from, to, c->img->table_clusters);

	if (!r)
		r = sync_image(c);
	return r ? r : link_table(c, l1_index, to);
}

/* Move a table; by a place behind the end if the places overlap: 1, 0 if it cannot */
static int move_table(struct compact *c, const struct table *table, u64 to, u64 end)
{
	u64 nr = c->img->table_clusters, from = table->first;
	int r = 0;

	if (to + nr > from) {
		if (c->img->is_block && end + nr > c->img->nr_clusters)
			return 0;
		r = move_table_once(c, table->l1_index, from, end);
		from = end;
	}
	c->moved += nr;
	if (!r)
		r = move_table_once(c, table->l1_index, from, to);
	return r ? r : 1;
}

/*
 * Move the tables of the list together, from cluster @to on. Where one fits into
 * a gap it is the last one, else the next one is moved down. The L1 table can be
 * among them: entries are written to where it is then.
 */
static int move_tables(struct compact *c, u64 to)
{
	u64 nr = c->img->table_clusters, end = qed_map_end(c->used), low = 0, high = c->nr;
	int r;

	while (low < high) {
		if (qed_stopped(c->img))
			return -EINTR;
		if (c->list[low].first == to) {
			low++;
			to += nr;
			continue;
		}
		if (c->list[low].first - to >= nr)
			r = move_table(c, &c->list[--high], to, end);
		else
			r = move_table(c, &c->list[low++], to, end);
		if (r != 1)
			return r;
		to += nr;
	}
	return 0;
}

static int compact(struct compact *c)
{
	struct qed_image *img = c->img;
	u64 nr = qed_map_weight(c->used);
	int r;

	r = mark_tables(c);
	if (r)
		return r;
	find_border(c);
	r = qed_begin(c->repair);
	if (!r && qed_map_next(c->used, 0, c->border, false) < c->border)
		r = visit_tables(c, move_data);
	if (!r)
		r = sync_image(c);
	if (!r)
		r = add_table(c, L1_ITSELF, img->l1_offset);
	if (!r)
		r = visit_tables(c, add_table);
	if (r)
		return r;

	c->to_move = c->moved + c->nr * img->table_clusters;
	if (c->nr)
		qsort(c->list, c->nr, sizeof(*c->list), compare_tables);
	r = move_tables(c, max_u64(c->border, c->straddler_end));
	if (r)
		return r;
	if (!img->is_block)
		r = fail(c, qed_resize(img, nr << img->cluster_shift), "cannot cut the file");
	return r ? r : sync_image(c);
}

int qed_compact(struct qed_repair *repair)
{
	struct compact c = {
		.repair = repair,
		.img = repair->img,
		.used = &repair->used,
		.tables = &repair->claims,
	};
	int r;

	if (qed_map_end(c.used) == qed_map_weight(c.used))
		return 0;
	c.l1_buf = qed_alloc_piece(c.img);
	c.l2_buf = qed_alloc_piece(c.img);
	r = c.l1_buf && c.l2_buf ? compact(&c) : fail(&c, -ENOMEM, "cannot move clusters");
	free(c.list);
	free(c.l1_buf);
	free(c.l2_buf);
	return r;
}
