// SPDX-License-Identifier: GPL-2.0-only
/*
 * CRC-32, see crc.h.
 */

#include <string.h>

#include "crc.h"

#define POLYNOMIAL	0xedb88320U

/* What a byte does to the CRC when so many others follow it */
static u32 tables[8][256];

static void make_tables(void)
{
	u32 i, n, value;

	for (i = 0; i < 256; i++) {
		value = i;
		for (n = 0; n < 8; n++)
			value = value >> 1 ^ (value & 1 ? POLYNOMIAL : 0);
		tables[0][i] = value;
	}
	for (n = 1; n < 8; n++)
		for (i = 0; i < 256; i++) {
			value = tables[n - 1][i];
			tables[n][i] = value >> 8 ^ tables[0][value & 0xff];
		}
}

/* Eight bytes at once, as they do not wait for each other */
static u32 add_word(u32 crc, const u8 *p)
{
	__le64 word;
	u64 value;

	memcpy(&word, p, sizeof(word));
	value = le64toh(word) ^ crc;
	return tables[7][value & 0xff] ^ tables[6][value >> 8 & 0xff] ^
	       tables[5][value >> 16 & 0xff] ^ tables[4][value >> 24 & 0xff] ^
	       tables[3][value >> 32 & 0xff] ^ tables[2][value >> 40 & 0xff] ^
	       tables[1][value >> 48 & 0xff] ^ tables[0][value >> 56];
}

u32 qed_crc(u32 crc, const void *data, size_t length)
{
	const u8 *p = data;

	if (!tables[7][255])
		make_tables();
	for (crc = ~crc; length >= 8; length -= 8, p += 8)
		crc = add_word(crc, p);
	for (; length; length--)
		crc = crc >> 8 ^ tables[0][(crc ^ *p++) & 0xff];
	return ~crc;
}
