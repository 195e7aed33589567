/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Are the tables on the image device those in memory? For when somebody else may have
 * changed them.
 */

#ifndef DM_QED_COMPARE_H
#define DM_QED_COMPARE_H

#include "dm-qed-meta-priv.h"

/**
 * qed_compare_tables() - look whether somebody else has changed the tables
 * @meta: the loaded metadata
 * @buffer: for a block
 *
 * Of those in memory: others are checked when they are read. What is to be written, or
 * may have been meanwhile, is left out, so nothing is if no change has begun.
 *
 * Context: Process context, may sleep.
 * Return: 0, -EUCLEAN if a block on the device is another one, or the error of the device.
 */
int qed_compare_tables(struct qed_meta *meta, void *buffer);

/* Blocks of the L1 table, or buckets of the cache, that are looked at in one go */
#define QED_COMPARE_SOME	256

/**
 * qed_compare_some() - the same with a part of them, and each time with the next one
 * @meta: the loaded metadata
 * @buffer: for a block
 *
 * Context: Process context, may sleep. Caller holds header_mutex, which protects the place.
 * Return: as qed_compare_tables().
 */
int qed_compare_some(struct qed_meta *meta, void *buffer);

#endif /* DM_QED_COMPARE_H */
