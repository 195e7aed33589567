/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Has anything been allocated since?
 */

#ifndef QED_DIGEST_H
#define QED_DIGEST_H

#include "image.h"

/**
 * qed_digest_tables() - a checksum of an image's tables
 * @img: the image; what it says of the header is not used, nor changed
 * @header: what its header will be, where the L1 table is by that; NULL: as it is
 * @digest: the result; the same for the same content, wherever there are holes
 *
 * Each table is read once. Of an image that is none, or whose header cannot be
 * understood, nothing counts.
 * Return: 0 or what failed.
 */
int qed_digest_tables(const struct qed_image *img, const struct qed_header *header, u32 *digest);

#endif /* QED_DIGEST_H */
