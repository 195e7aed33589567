/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The walk of a check through all tables, in the background, and its result.
 */

#ifndef DM_QED_WALK_H
#define DM_QED_WALK_H

#include "dm-qed-meta-priv.h"

/* Prepare the works; qed_meta_check() queues them. */
void qed_walk_init(struct qed_meta *meta);

/* Wait for the walk and its result, once scan_stop is set. Context: Process. */
void qed_walk_stop(struct qed_meta *meta);

int qed_walk_module_init(void);
void qed_walk_module_exit(void);

#endif /* DM_QED_WALK_H */
