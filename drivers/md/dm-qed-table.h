/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * L2 tables: reading their blocks, making and freeing tables, changing entries.
 *
 * What is changed here is in memory, and written by the next commit. See dm-qed-meta.h
 * for what the target uses of it.
 */

#ifndef DM_QED_TABLE_H
#define DM_QED_TABLE_H

#include "dm-qed-meta-priv.h"

/* The check comes to a table. Context: Any, lock of the cache held. */
void qed_see_table(struct qed_meta *meta, u64 index);

/* The check comes to entries of a block. Context: Any, lock of the cache held. */
void qed_see_entries(struct qed_meta *meta, struct qed_block *block,
		     u64 cluster, unsigned int nr);

/**
 * qed_free_empty_tables() - free tables that map nothing any more
 * @meta: the running metadata
 *
 * A table that cannot be freed now stays a candidate for the next commit, and so
 * does what there is no memory for.
 *
 * Context: Process context, commit_mutex held; may sleep.
 * Return: whether there should be another round of the commit, as too many blocks were
 * dirty: once, or a guest could keep it busy.
 */
bool qed_free_empty_tables(struct qed_meta *meta);

#endif /* DM_QED_TABLE_H */
