/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Checking and repairing an image: what qed-fsck does, without its command line.
 */

#ifndef QED_FSCK_H
#define QED_FSCK_H

#include "job.h"

/**
 * qed_fsck() - check an image, and repair it
 * @img: the image, writable unless the mode is QED_MODE_CHECK;
 *	see qed_header_is_qed()
 * @options: what to do
 * @result: what came out; also valid if it fails, as far as it goes
 *
 * Return: 0, -EINTR if the user wants no more, or another error.
 */
int qed_fsck(struct qed_image *img, const struct qed_fsck_options *options,
	     struct qed_fsck_result *result);

/* Number of findings of a severity that were not repaired */
u64 qed_fsck_left(const struct qed_fsck_result *result, enum qed_severity severity);

#endif /* QED_FSCK_H */
