/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What new clusters are filled with where the guest does not write to all of them.
 */

#ifndef DM_QED_FILL_H
#define DM_QED_FILL_H

#include "dm-qed-target.h"

/**
 * qed_cell_write() - write the head of the guest's bio to a cell
 * @qed: the target
 * @io: of the bio
 * @cell: the cell, with a reference, which is taken over
 *
 * New clusters that are not known to be zero are filled, in the same bio unless they
 * are very large.
 *
 * Context: The worker; may sleep and write to the image device.
 * Return: like qed_submit_head(), or an error.
 */
int qed_cell_write(struct qed *qed, struct qed_io *io, struct qed_cell *cell);

/**
 * qed_submit_zeroes() - write zeroes as data, where the image device refuses zeroes
 * @qed: the target
 * @io: of a bio that writes zeroes, which is advanced over what is submitted
 * @to: where they go to, of which at most 1 MiB is; its hold is taken over
 *
 * Context: The worker; may sleep, needs no memory but the reserves.
 * Return: 0.
 */
int qed_submit_zeroes(struct qed *qed, struct qed_io *io,
		      const struct qed_extent *to);

/* Context: Process context, may sleep. */
int qed_fill_module_init(void);
void qed_fill_module_exit(void);

#endif /* DM_QED_FILL_H */
