/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The record in a check: is it true, and is it still after repairs?
 */

#ifndef QED_RECORD_REPAIR_H
#define QED_RECORD_REPAIR_H

#include "state.h"

/* Read the record, once the header is known; report one that is void. 0 or an error. */
int qed_check_record(struct qed_repair *repair);

/* Report a record that is not true of the tables, once they are read. */
void qed_check_record_end(struct qed_repair *repair);

/* The autoclear bit of the record if it is true when all is done, else 0. */
__le64 qed_kept_record(const struct qed_repair *repair);

#endif /* QED_RECORD_REPAIR_H */
