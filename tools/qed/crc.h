/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * CRC-32, as of zlib.
 */

#ifndef QED_CRC_H
#define QED_CRC_H

#include "common.h"

/* Go on with a CRC, which begins with 0. Not for several threads. */
u32 qed_crc(u32 crc, const void *data, size_t length);

#endif /* QED_CRC_H */
