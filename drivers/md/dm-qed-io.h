/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The worker: it goes on with bios that could not be mapped at once, step by step.
 */

#ifndef DM_QED_IO_H
#define DM_QED_IO_H

#include "dm-qed-target.h"

/* Prepare a bio for the worker, which begins with it once io->work is queued. */
void qed_io_init(struct qed *qed, struct qed_io *io);

#endif /* DM_QED_IO_H */
