// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the tables of an image say, see tables.h.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tables.h"

int tables_init(struct tables *tables, struct qed_image *img)
{
	memset(tables, 0, sizeof(*tables));
	tables->img = img;
	tables->l1 = qed_alloc_piece(img);
	tables->l2 = qed_alloc_piece(img);
	if (tables->l1 && tables->l2)
		return 0;
	tables_free(tables);
	return -ENOMEM;
}

int tables_init_raw(struct tables *tables, int fd, u64 size)
{
	memset(tables, 0, sizeof(*tables));
	tables->fd = fd;
	tables->size = size;
	return 0;
}

void tables_free(struct tables *tables)
{
	free(tables->l1);
	free(tables->l2);
}

static u64 piece_size(const struct qed_image *img)
{
	return min_u64(qed_table_bytes(img), QED_PIECE_SIZE);
}

/* See to it that the piece of a table with this entry is in memory: entries from @first on */
static int read_piece(struct tables *tables, __le64 *buf, u64 *cached, u64 table, u64 index,
		      u64 *first)
{
	u64 size = piece_size(tables->img), offset = index * 8 / size * size;
	int r;

	*first = offset / 8;
	offset += table;
	if (*cached == offset)
		return 0;
	*cached = 0;
	r = qed_read_table(tables->img, buf, offset, size);
	if (!r)
		*cached = offset;
	return r;
}

static bool entry_is_legal(const struct qed_image *img, u64 entry, bool l1)
{
	if (entry == QED_ENTRY_UNALLOCATED || (entry == QED_ENTRY_ZERO && !l1))
		return true;
	return !qed_entry_defect(img, entry, l1 ? img->table_clusters : 1);
}

/*----------------------------------------------------------------
 * A place
 *----------------------------------------------------------------
 */

static enum extent_kind kind_of(u64 entry)
{
	if (entry == QED_ENTRY_UNALLOCATED)
		return EXTENT_NONE;
	return entry == QED_ENTRY_ZERO ? EXTENT_ZERO : EXTENT_DATA;
}

/* How many clusters from an entry on are like it, and adjacent if they have data? */
static u64 count_like(const struct tables *tables, u64 i, u64 end)
{
	u64 entry = le64toh(tables->l2[i]), step = 0, nr = 1;

	if (kind_of(entry) == EXTENT_DATA)
		step = qed_cluster_size(tables->img);
	while (i + nr < end && le64toh(tables->l2[i + nr]) == entry + nr * step &&
	       entry_is_legal(tables->img, entry + nr * step, false))
		nr++;
	return nr;
}

static int find_in_table(struct tables *tables, u64 table, u64 offset, u64 most,
			 struct extent *extent)
{
	struct qed_image *img = tables->img;
	u64 cluster_size = qed_cluster_size(img), skip = offset & (cluster_size - 1);
	u64 index = (offset >> img->cluster_shift) & (qed_table_entries(img) - 1);
	u64 end = index + div_up(skip + most, cluster_size), first, entry, length;
	int r = read_piece(tables, tables->l2, &tables->l2_offset, table, index, &first);

	if (r)
		return r;
	entry = le64toh(tables->l2[index - first]);
	if (!entry_is_legal(img, entry, false))
		return -EUCLEAN;
	extent->kind = kind_of(entry);
	extent->offset = extent->kind == EXTENT_DATA ? entry + skip : 0;
	length = count_like(tables, index - first, min_u64(end - first, piece_size(img) / 8));
	extent->length = min_u64((length << img->cluster_shift) - skip, most);
	return 0;
}

static int find_in_raw(const struct tables *tables, u64 offset, u64 most, struct extent *extent)
{
	off_t next;

	extent->kind = EXTENT_ZERO;
	extent->length = most;
	extent->offset = offset;
	if (offset >= tables->size)
		return 0;
	extent->length = min_u64(most, tables->size - offset);
	next = lseek(tables->fd, offset, SEEK_DATA);
	if (next < 0 && errno == ENXIO)
		return 0;
	if (next > (off_t)offset) {
		extent->length = min_u64(extent->length, next - offset);
		return 0;
	}
	extent->kind = EXTENT_DATA;
	next = lseek(tables->fd, offset, SEEK_HOLE);
	if (next > (off_t)offset)
		extent->length = min_u64(extent->length, next - offset);
	return 0;
}

int tables_find(struct tables *tables, u64 offset, u64 most, struct extent *extent)
{
	struct qed_image *img = tables->img;
	u64 span, index, first, table;
	int r;

	if (!img)
		return find_in_raw(tables, offset, most, extent);
	span = 1ULL << qed_span_shift(img);
	index = offset >> qed_span_shift(img);
	r = read_piece(tables, tables->l1, &tables->l1_offset, img->l1_offset, index, &first);
	if (r)
		return r;
	table = le64toh(tables->l1[index - first]);
	most = min_u64(most, span - (offset & (span - 1)));
	if (!entry_is_legal(img, table, true))
		return -EUCLEAN;
	if (table != QED_ENTRY_UNALLOCATED)
		return find_in_table(tables, table, offset, most, extent);
	*extent = (struct extent){ .kind = EXTENT_NONE, .length = most };
	return 0;
}

/*----------------------------------------------------------------
 * The end
 *----------------------------------------------------------------
 */

static int end_of_table(struct tables *tables, u64 table, u64 *end)
{
	struct qed_image *img = tables->img;
	u64 offset = table, stop = table + qed_table_bytes(img), entry;
	long length, i;

	while ((length = qed_next_piece(img, tables->l2, piece_size(img), &offset, stop)) > 0) {
		for (i = 0; i < length / 8; i++) {
			entry = le64toh(tables->l2[i]);
			if (!entry_is_legal(img, entry, false))
				return -EUCLEAN;
			if (kind_of(entry) == EXTENT_DATA)
				*end = max_u64(*end, (entry >> img->cluster_shift) + 1);
		}
		offset += length;
	}
	return length;
}

int tables_end(struct tables *tables, u64 *end)
{
	struct qed_image *img = tables->img;
	u64 index, first, table;
	int r = 0;

	tables->l2_offset = 0;
	*end = (img->l1_offset >> img->cluster_shift) + img->table_clusters;
	for (index = 0; !r && index < qed_table_entries(img); index++) {
		r = read_piece(tables, tables->l1, &tables->l1_offset, img->l1_offset, index,
			       &first);
		table = r ? 0 : le64toh(tables->l1[index - first]);
		if (!table)
			continue;
		if (!entry_is_legal(img, table, true))
			return -EUCLEAN;
		*end = max_u64(*end, (table >> img->cluster_shift) + img->table_clusters);
		r = end_of_table(tables, table, end);
	}
	return r;
}
