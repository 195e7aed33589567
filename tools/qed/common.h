/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Short names and small helpers, like those of the kernel.
 */

#ifndef QED_COMMON_H
#define QED_COMMON_H

#include <endian.h>
#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>

typedef __u8 u8;
typedef __u32 u32;
typedef __u64 u64;

#define ARRAY_SIZE(array)	(sizeof(array) / sizeof((array)[0]))

/* The quotient, rounded up */
static inline u64 div_up(u64 n, u64 d)
{
	return n / d + !!(n % d);
}

static inline u64 min_u64(u64 a, u64 b)
{
	return a < b ? a : b;
}

static inline u64 max_u64(u64 a, u64 b)
{
	return a > b ? a : b;
}

#endif /* QED_COMMON_H */
