/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Looking at the tables: what is wrong with them, and what a repair will need. Not for
 * users of the library.
 */

#ifndef QED_PLAN_H
#define QED_PLAN_H

#include "state.h"

/**
 * qed_read_tables() - read all tables
 * @repair: @used is set to the clusters in use; if something is wrong also what a repair
 *	needs: @claims to what shared tables refer to, @none, @shared, @tables, @clusters,
 *	@has_rest, @has_shared_table
 * @pass: for the progress
 * @is_wrong: set to whether there is something wrong
 *
 * What cannot be read is counted in @read_errors.
 * Return: 0, -EINTR, or another error, also if something can be read at one time only.
 */
int qed_read_tables(struct qed_repair *repair, unsigned int pass, bool *is_wrong);

/**
 * qed_find_kept() - find out what shared tables refer to, but those that are none
 * @repair: the check, with what qed_read_tables() has found
 * @kept: a bit is set for each cluster of these tables, and that they refer to
 *
 * What only those refer to that are none is leaked as soon as their entries are set to 0.
 * Return: 0 or an error.
 */
int qed_find_kept(struct qed_repair *repair, struct qed_map *kept);

/* Report what is wrong with them, without a repair. Uses @claims. */
int qed_show_tables(struct qed_repair *repair);

#endif /* QED_PLAN_H */
