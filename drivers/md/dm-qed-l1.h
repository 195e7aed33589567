/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The L1 table in memory: all of it that the guest's disk needs, as long as the image is
 * loaded.
 */

#ifndef DM_QED_L1_H
#define DM_QED_L1_H

#include "dm-qed-meta-priv.h"

/**
 * qed_l1_read() - read and validate the L1 table
 * @meta: the metadata, with the geometry of its image; gets the table
 * @readonly: defects are tolerated: QED_ENTRY_BAD is in place of such an entry
 *
 * At most 16 MiB, with all reads in flight. To be freed also where it fails.
 *
 * Context: Process context, may sleep.
 * Return: 0, -EUCLEAN for defects, which are reported, -EIO, -ENOMEM.
 */
int qed_l1_read(struct qed_meta *meta, bool readonly);

/* Free it, if there is one. Context: Process. */
void qed_l1_free(struct qed_meta *meta);

#endif /* DM_QED_L1_H */
