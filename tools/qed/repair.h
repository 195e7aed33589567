/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Repairs of tables and space; not for users of the library.
 */

#ifndef QED_REPAIR_H
#define QED_REPAIR_H

#include "state.h"

/* Repair all tables, with the space that was promised. */
int qed_repair_tables(struct qed_repair *repair);

/*
 * If the file ends within a cluster that is in use, extend it. Any time, as this
 * cluster counts as one in the file already.
 */
int qed_repair_partial_cluster(struct qed_repair *repair);

/* Find leaks, and give them back, unless some are not plausible. */
int qed_repair_space(struct qed_repair *repair);

#endif /* QED_REPAIR_H */
