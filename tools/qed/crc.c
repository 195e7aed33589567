// SPDX-License-Identifier: GPL-2.0-only
/*
 * CRC-32, see crc.h.
 */

#include "crc.h"

#define POLYNOMIAL	0xedb88320U

u32 qed_crc(u32 crc, const void *data, size_t length)
{
	static u32 table[256];
	const u8 *p = data;
	u32 i, bit, value;

	for (i = 0; !table[255] && i < 256; i++) {
		value = i;
		for (bit = 0; bit < 8; bit++)
			value = value >> 1 ^ (value & 1 ? POLYNOMIAL : 0);
		table[i] = value;
	}
	for (crc = ~crc; length; length--)
		crc = crc >> 8 ^ table[(crc ^ *p++) & 0xff];
	return ~crc;
}
