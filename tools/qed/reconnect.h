/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Leaks that are not plausible as such: L2 tables that nothing refers to, or more than all
 * that is in use. Not for users of the library.
 */

#ifndef QED_RECONNECT_H
#define QED_RECONNECT_H

#include "state.h"

/* Find out what of the leaks is not plausible. Before repairs: these leak more. */
int qed_look_for_orphans(struct qed_repair *repair);

/* Report that; reconnect tables, or agree to free them, as the user wants. */
int qed_repair_orphans(struct qed_repair *repair);

#endif /* QED_RECONNECT_H */
