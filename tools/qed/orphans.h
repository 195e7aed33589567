/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * L2 tables that nothing refers to, because an entry of the L1 table is lost.
 */

#ifndef QED_ORPHANS_H
#define QED_ORPHANS_H

#include "finding.h"
#include "image.h"
#include "map.h"

#define QED_MAX_LOST	64U

#define QED_UNKNOWN	(~0ULL)

/**
 * struct qed_orphan - clusters in a row that read as parts of L2 tables
 * @first: the first one
 * @nr: number of them
 * @extent: number with other ones behind, and what is empty between them, that are of
 *	the same table
 * @is_part: of the table of the one before
 * @table: the first cluster of the table, or QED_UNKNOWN
 * @index: of the L1 entry that it should have, or QED_UNKNOWN
 * @is_refused: it may not be linked there
 */
struct qed_orphan {
	u64 first, nr, extent;
	bool is_part, is_refused;
	u64 table, index;
};

/**
 * struct qed_orphans - what was found
 * @leaked: clusters that nothing refers to, and that are no hole as a whole
 * @nr_leaked: number of these
 * @unread: those of them of which it is not known whether they are parts of a table
 * @list: the orphans in order
 * @nr: number of these
 * @room: there is memory for so many
 * @lost: L1 entries that were set to 0: @index and @table, which is an offset here
 * @nr_lost: number of these
 */
struct qed_orphans {
	struct qed_map leaked, unread;
	u64 nr_leaked;
	struct qed_orphan *list;
	u64 nr, room;
	struct qed_orphan lost[QED_MAX_LOST];
	unsigned int nr_lost;
};

/**
 * qed_find_leaked() - find leaked clusters
 * @orphans: all zero
 * @img: the image, a file
 * @used: the clusters in use
 *
 * Return: 0, -EINTR or -ENOMEM
 */
int qed_find_leaked(struct qed_orphans *orphans, struct qed_image *img, struct qed_map *used);

/**
 * qed_find_orphans() - look which of them read as tables
 * @orphans: with what is leaked
 * @img: the image
 * @used: the clusters in use
 *
 * By their first entries, most of which refer to clusters that nothing else refers to:
 * leaked ones, or holes. What cannot be read is set in @unread.
 * Return: 0, -EINTR or -ENOMEM
 */
int qed_find_orphans(struct qed_orphans *orphans, struct qed_image *img, struct qed_map *used);

/* Are there any, or leaks that may be? */
static inline bool qed_may_have_orphans(const struct qed_orphans *orphans)
{
	return orphans->nr || qed_map_end(&orphans->unread);
}

/* Remember an L1 entry that is set to 0. */
void qed_remember_lost(struct qed_orphans *orphans, u64 index, u64 value);

/**
 * qed_place_orphans() - find out where they belong
 * @orphans: with the list
 * @img: the image
 * @used: the clusters in use
 *
 * By L1 entries that were illegal but name almost this table, then by the tables
 * before and behind in the file: a guest that writes its disk in order gets them in
 * order.
 * Return: 0 or an error.
 */
int qed_place_orphans(struct qed_orphans *orphans, struct qed_image *img, struct qed_map *used);

/**
 * qed_may_link() - may a table be linked?
 * @orphan: with table and index; not if they are unknown
 * @img: the image
 * @used: the clusters in use
 * @claims: the clusters of the table, and what it refers to, are set
 *
 * It may if it is in the file as a whole, each of its entries refers to another cluster,
 * none of them is in use, and nothing is beyond the size.
 * Return: 1, 0, or an error.
 */
int qed_may_link(const struct qed_orphan *orphan, struct qed_image *img, struct qed_map *used,
		 struct qed_map *claims);

/* Give the memory back. */
void qed_orphans_free(struct qed_orphans *orphans);

#endif /* QED_ORPHANS_H */
