/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * May we have the image? What its record says is what somebody has written into the image.
 */

#ifndef DM_QED_JUDGE_H
#define DM_QED_JUDGE_H

#include "dm-qed-meta-priv.h"

/**
 * qed_judge() - may we have the image?
 * @meta: the metadata, its header has been read, and if it is to write it is an owner
 * @args: how it is being loaded
 *
 * Sets meta->recorded, and meta->record as it has been found. Writes nothing.
 *
 * Context: Process context, may sleep.
 * Return: 0, or -EBUSY if somebody else has it.
 */
int qed_judge(struct qed_meta *meta, const struct qed_load_args *args);

#endif /* DM_QED_JUDGE_H */
