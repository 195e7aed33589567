/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Records in the header for the fuzzer, good ones and bad ones.
 */

#ifndef FUZZ_RECORD_H
#define FUZZ_RECORD_H

#include "../../qed/record.h"
#include "fuzz.h"

static inline u32 fuzz_crc(const u8 *data, size_t size)
{
	u32 crc = ~0U;
	size_t i;

	for (i = 0; i < size * 8; i++) {
		crc ^= data[i / 8] >> i % 8 & 1;
		crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
	}
	return ~crc;
}

/* Most of them have a right checksum, and values that are near to what can be. */
static inline void fuzz_record(struct input *input, struct qed_disk_record *disk)
{
	u32 kind = take(input, 1), end = take(input, 1), nr = take(input, 1);
	u8 *bytes = (u8 *)disk;

	memset(disk, 0, sizeof(*disk));
	disk->magic = htole32(QED_RECORD_MAGIC);
	disk->version = htole16(QED_RECORD_VERSION);
	disk->flags = htole16(kind & 1);
	disk->host[0] = 'h';
	disk->end = htole64(kind & 2 ? end : 0);
	if (kind & 4) {
		disk->zero_from = htole64(end + (nr & 3));
		disk->zero_end = htole64(end + nr);
		disk->device_size = htole64((u64)(end + nr) << 13);
	}
	if (kind & 8)
		bytes[take(input, 1) % sizeof(*disk)] ^= take(input, 1);
	disk->crc = htole32(fuzz_crc(bytes, offsetof(struct qed_disk_record, crc)));
	if ((kind & 0xf0) == 0xf0)
		bytes[take(input, 1) % sizeof(*disk)] ^= take(input, 1);
}

#endif /* FUZZ_RECORD_H */
