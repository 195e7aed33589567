// SPDX-License-Identifier: GPL-2.0-only
/*
 * What looks like an L1 table, see l1.h.
 */

#include <errno.h>
#include <stdlib.h>

#include "l1.h"

/* Where the geometry allows more, an image is still addressed by off_t. */
#define MAX_IMAGE_SIZE	((1ULL << 63) - 512)

/* The most bytes of tables that are read to find out whether an L1 table is one */
#define NAMED_BYTES	67108864U

bool qed_l1_offset_is_legal(const struct qed_image *img, u64 offset)
{
	return offset && !(offset & (qed_cluster_size(img) - 1)) &&
	       offset >> img->cluster_shift < img->nr_clusters;
}

u64 qed_max_image_size(const struct qed_image *img)
{
	unsigned int shift = 2 * img->entries_shift + img->cluster_shift;

	return shift < 63 ? 1ULL << shift : MAX_IMAGE_SIZE;
}

bool qed_image_size_is_legal(const struct qed_image *img, u64 size)
{
	return size && !(size % 512) && size <= qed_max_image_size(img);
}

/*----------------------------------------------------------------
 * By its entries
 *----------------------------------------------------------------
 */

/* So many entries are within the size; all are if it is the size that is illegal */
static u64 find_limit(const struct qed_image *img)
{
	return qed_image_size_is_legal(img, img->image_size) ? qed_l1_limit(img) :
							       qed_table_entries(img);
}

/* Entries beyond the size count as illegal */
static void count_entries(const struct qed_image *img, const __le64 *entries, u64 first, u64 nr,
			  u64 *legal, u64 *illegal)
{
	u64 limit = find_limit(img);
	enum qed_defect defect;
	u64 i;

	for (i = 0; i < nr; i++) {
		if (!entries[i])
			continue;
		defect = qed_entry_defect(img, le64toh(entries[i]), img->table_clusters);
		if (first + i < limit &&
		    (!defect || (defect == QED_DEFECT_OVER_END && !img->is_block)))
			++*legal;
		else
			++*illegal;
	}
}

int qed_survey_l1(struct qed_image *img, void *buf, u64 *legal, u64 *illegal)
{
	u64 start = img->l1_offset, end = start + qed_table_bytes(img), offset = start;
	long length;

	*legal = 0;
	*illegal = 0;
	while ((length = qed_next_piece(img, buf, QED_PIECE_SIZE, &offset, end)) > 0) {
		count_entries(img, buf, (offset - start) / 8, length / 8, legal, illegal);
		offset += length;
	}
	return length;
}

int qed_try_l1(struct qed_image *img, void *buf, u32 header_clusters, u64 offset,
	       enum qed_empty_l1 empty)
{
	u64 end = offset + qed_table_bytes(img), legal, illegal;
	int r;

	if (!qed_l1_offset_is_legal(img, offset) ||
	    offset >> img->cluster_shift < header_clusters ||
	    end >> img->cluster_shift > img->nr_clusters)
		return 0;
	img->header_clusters = header_clusters;
	img->l1_offset = offset;
	r = qed_survey_l1(img, buf, &legal, &illegal);
	if (r)
		return r;
	if (!legal && !illegal)
		return empty == QED_EMPTY_ALWAYS || (empty == QED_EMPTY_AT_END && end >= img->size);
	return legal > illegal;
}

/*----------------------------------------------------------------
 * By the tables that it names
 *----------------------------------------------------------------
 */

/* What an L1 table names: L2 tables, and what are none. At most @left bytes are read. */
struct named {
	struct qed_image *img;
	__le64 *l1_buf, *buf;
	u64 left;
	u64 tables, others, unread;
};

/* What is empty is neither */
static int look_at_table(struct named *n, u64 table)
{
	struct qed_image *img = n->img;
	u64 offset = table, end = table + qed_table_bytes(img), legal = 0, illegal = 0, i;
	long length = 0;

	n->left -= min_u64(n->left, QED_ALIGNMENT);
	while (n->left &&
	       (length = qed_next_piece(img, n->buf, QED_PIECE_SIZE, &offset, end)) > 0) {
		for (i = 0; i < (u64)length / 8; i++) {
			u64 entry = le64toh(n->buf[i]);
			bool is_legal = entry == QED_ENTRY_ZERO || !qed_entry_defect(img, entry, 1);

			legal += entry && is_legal;
			illegal += entry && !is_legal;
		}
		n->left -= min_u64(n->left, length);
		offset += length;
	}
	if (length == -EINTR)
		return -EINTR;
	if (length < 0) {
		n->unread++;
		return 0;
	}
	n->tables += legal && legal >= illegal;
	n->others += illegal > legal;
	return 0;
}

/* The tables of the L1 table at img->l1_offset */
static int look_at_tables(struct named *n)
{
	struct qed_image *img = n->img;
	u64 start = img->l1_offset, offset = start, i;
	u64 end = start + find_limit(img) * 8;
	long length = 0;
	int r = 0;

	while (!r && n->left &&
	       (length = qed_next_piece(img, n->l1_buf, QED_PIECE_SIZE, &offset, end)) > 0) {
		for (i = 0; !r && n->left && i < (u64)length / 8 && offset + i * 8 < end; i++) {
			u64 table = le64toh(n->l1_buf[i]);

			if (table && !qed_entry_defect(img, table, img->table_clusters))
				r = look_at_table(n, table);
		}
		offset += length;
	}
	return length < 0 ? length : r;
}

static int count_tables(struct qed_image *img, struct named *n)
{
	int r;

	*n = (struct named) {
		.img = img,
		.l1_buf = qed_alloc_piece(img),
		.buf = qed_alloc_piece(img),
		.left = NAMED_BYTES,
	};
	r = n->l1_buf && n->buf ? look_at_tables(n) : -ENOMEM;
	free(n->l1_buf);
	free(n->buf);
	return r;
}

/* Most of what it names are no tables, or may be none */
static bool is_doubtful(const struct named *n)
{
	return n->others + n->unread > n->tables;
}

/* If what could not be read speaks for it, or against it */
static struct named suppose(const struct named *n, bool for_it)
{
	return (struct named) {
		.tables = n->tables + (for_it ? n->unread : 0),
		.others = n->others + (for_it ? 0 : n->unread),
	};
}

/* Are most of what it names no tables, and more of what the other one names are? */
static bool is_less_likely(const struct named *n, const struct named *other, bool for_it)
{
	struct named a = suppose(n, for_it), b = suppose(other, !for_it);

	return is_doubtful(&a) && b.tables * a.others > a.tables * b.others;
}

/* Are most of what it names tables? */
static bool has_tables(const struct named *n, bool for_it)
{
	struct named a = suppose(n, for_it);

	return a.tables > a.others;
}

/*
 * Is what @img has now an L1 table, rather than what the header names? 1, 0, or an error:
 * with what cannot be read it may be either.
 */
static int is_rather(struct qed_image *img, enum qed_named kind, const struct named *named)
{
	struct named other;
	bool at_worst, at_best;
	int r = kind == QED_NAMED_WRONG ? 1 : count_tables(img, &other);

	if (r)
		return r;
	if (kind == QED_NAMED_LIKELY) {
		at_worst = is_less_likely(named, &other, true);
		at_best = is_less_likely(named, &other, false);
	} else {
		/* zeroes lose nothing; a repair may have left them, which does not go elsewhere */
		at_worst = has_tables(&other, false);
		at_best = has_tables(&other, true);
	}
	return at_worst == at_best ? at_best : -EIO;
}

int qed_try_behind_header(struct qed_image *img, void *buf, u32 size, enum qed_named kind)
{
	u32 header_clusters = img->header_clusters;
	u64 offset = img->l1_offset;
	struct named named;
	int r = kind == QED_NAMED_LIKELY ? count_tables(img, &named) : 0;

	/* what is behind the header, and may be data that cannot be read, need not be known */
	if (r || (kind == QED_NAMED_LIKELY && !is_doubtful(&named)))
		return r;
	r = qed_try_l1(img, buf, size, (u64)size << img->cluster_shift, QED_EMPTY_NEVER);
	if (r == 1)
		r = is_rather(img, kind, &named);
	if (r != 1) {
		img->header_clusters = header_clusters;
		img->l1_offset = offset;
	}
	return r;
}
