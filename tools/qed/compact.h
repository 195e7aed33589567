/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Making an image short.
 */

#ifndef QED_COMPACT_H
#define QED_COMPACT_H

#include "state.h"

/**
 * qed_compact() - move clusters from the end of an image to free ones
 * @repair: the check, that found nothing wrong; @used has all clusters in use
 *
 * The image can be used after each step. It is as short as it can be if 0 is
 * returned, and a file is cut. @used is of no use after that.
 * Return: 0 or what failed.
 */
int qed_compact(struct qed_repair *repair);

#endif /* QED_COMPACT_H */
