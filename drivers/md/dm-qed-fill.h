/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What new clusters are filled with where the guest does not write to all of them.
 */

#ifndef DM_QED_FILL_H
#define DM_QED_FILL_H

#include "dm-qed-target.h"

struct qed_copy;

/**
 * qed_cell_write() - write the head of the guest's bio to a cell
 * @qed: the target
 * @io: of the bio
 * @cell: the cell, with a reference, which is taken over
 * @copy: for what is below, if that shows in a part of the cell; taken over
 *
 * New clusters that are not known to be as what the guest reads there are filled, in the
 * same bio unless they are very large.
 *
 * Context: The worker; may sleep and write to the image device.
 * Return: like qed_submit_head(), or an error.
 */
int qed_cell_write(struct qed *qed, struct qed_io *io, struct qed_cell *cell,
		   struct qed_copy *copy);

/**
 * qed_submit_data() - like qed_submit_head(), but write zeroes as data
 * @qed: the target
 * @io: of the bio, which is advanced over what is submitted
 * @cell: that is written to, or NULL
 * @to: where it goes to; of zeroes at most 1 MiB does; its hold is taken over
 *
 * Context: The worker; may sleep, needs no memory but the reserves.
 * Return: like qed_submit_head().
 */
int qed_submit_data(struct qed *qed, struct qed_io *io, struct qed_cell *cell,
		    const struct qed_extent *to);

/* Context: Process context, may sleep. */
int qed_fill_module_init(void);
void qed_fill_module_exit(void);

#endif /* DM_QED_FILL_H */
