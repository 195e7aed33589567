/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The walk over all tables in the order in which references are claimed.
 */

#ifndef QED_WALK_H
#define QED_WALK_H

#include "finding.h"
#include "image.h"
#include "map.h"
#include "scan.h"
#include "survey.h"

/* Shared clusters whose first reference is remembered */
#define QED_MAX_OWNERS	65536U

/**
 * struct qed_ref - an entry that there is something to say about
 * @code: what
 * @l1: it is an entry of the L1 table
 * @l1_index: of the L1 entry, or of that of the table
 * @index: in its table
 * @table: offset of the table that it is in
 * @value: the entry
 * @guest_offset: of what it maps
 * @guest_length: ends at the end of the disk, unless it begins there or behind
 * @is_beyond: it maps nothing of the guest's disk
 * @is_unlinked: its table is not referenced any more, by an L1 entry that was
 *	changed in this walk
 * @conflict: the first shared cluster
 */
struct qed_ref {
	enum qed_code code;
	bool l1;
	u64 l1_index, index, table, value;
	u64 guest_offset, guest_length;
	bool is_beyond, is_unlinked;
	u64 conflict;
};

/* Is the table of an L2 entry beyond the size as a whole? Its entries do not change. */
static inline bool qed_table_is_beyond(const struct qed_image *img, const struct qed_ref *ref)
{
	return ref->l1_index >= qed_l1_limit(img);
}

/**
 * struct qed_walk_ops - what to do on the way
 * @entry: about an entry with a code. May change *@value, which is a new value
 *	for the entry then, unless that is in a table beyond the size
 * @read_error: a range of a table cannot be read. @ref: its first entry
 * @write: entries were changed: of the piece of a table that is in the buffer
 *	and belongs to the offset. There is a byte for each sector of 512 bytes
 *	that tells whether it has changed
 *
 * Each returns 0, or an error that ends the walk. All may be NULL but @entry.
 */
struct qed_walk_ops {
	int (*entry)(void *ctx, const struct qed_ref *ref, u64 *value);
	int (*read_error)(void *ctx, const struct qed_ref *ref, u64 offset, u64 length);
	int (*write)(void *ctx, const void *buf, u64 offset, u64 length, const u8 *sectors);
};

/**
 * struct qed_walk - a walk
 * @img: the image
 * @claims: empty; a bit is set for each cluster with a legal reference
 * @owners: the first references to shared clusters, by cluster. Filled in two
 *	walks: the first one finds out which are shared, the next one who was there
 *	first
 * @none: L1 entries whose tables are none: they claim nothing. May be NULL
 * @counts: the figures, of what is legal or shared
 * @ops: what to do
 * @ctx: for @ops
 * @progress: to be told about it
 */
struct qed_walk {
	struct qed_image *img;
	struct qed_map *claims;
	struct qed_hash *owners;
	const struct qed_no_tables *none;
	struct qed_counts counts;
	const struct qed_walk_ops *ops;
	void *ctx;
	const struct qed_progress *progress;
};

/* Return: 0, or an error: of @ops, -ENOMEM, or -EINTR if the user wants no more. */
int qed_walk(struct qed_walk *walk);

/* Describe an entry, with the first reference to the cluster if it is shared. */
void qed_ref_finding(const struct qed_walk *walk, const struct qed_ref *ref,
		     struct qed_finding *finding);

#endif /* QED_WALK_H */
