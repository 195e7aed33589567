// SPDX-License-Identifier: GPL-2.0-only
/*
 * The record in the header, see record.h.
 */

#include <string.h>

#include "record.h"

#define RECORD_END	(QED_RECORD_OFFSET + sizeof(struct qed_disk_record))

/* CRC-32C. There is little of it, so it has no table. */
u32 qed_record_crc(const struct qed_disk_record *disk)
{
	const u8 *data = (const u8 *)disk;
	u32 crc = ~0U;
	size_t i;
	int bit;

	for (i = 0; i < offsetof(struct qed_disk_record, crc); i++) {
		crc ^= data[i];
		for (bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
	}
	return ~crc;
}

/* Not by the locale, which the user chooses */
bool qed_host_is_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '.' || c == '_' || c == '-';
}

/* A name, and nothing but NUL behind it, at least one */
static bool host_is_legal(const u8 *host)
{
	unsigned int i, length;

	for (length = 0; length < QED_HOST_SIZE && host[length]; length++)
		if (!qed_host_is_char(host[length]))
			return false;
	for (i = length; i < QED_HOST_SIZE; i++)
		if (host[i])
			return false;
	return length && length < QED_HOST_SIZE;
}

/* It is not where the name of the backing file is. */
static bool has_room(const struct qed_header *header)
{
	u64 offset = le32toh(header->backing_filename_offset);
	u64 size = le32toh(header->backing_filename_size);

	return !(le64toh(header->features) & QED_F_BACKING_FILE) || offset >= RECORD_END ||
	       offset + size <= QED_RECORD_OFFSET;
}

static const char *disk_defect(const struct qed_header *header,
			       const struct qed_disk_record *disk)
{
	if (!has_room(header))
		return "is where the name of the backing file is";
	if (le32toh(disk->magic) != QED_RECORD_MAGIC)
		return "does not begin like one";
	if (le32toh(disk->crc) != qed_record_crc(disk))
		return "has a wrong checksum";
	if (le16toh(disk->version) != QED_RECORD_VERSION)
		return "has an unknown version";
	if (le16toh(disk->flags) & ~QED_RECORD_FLAGS || disk->reserved)
		return "has unknown flags";
	if (!host_is_legal(disk->host))
		return "has no legal name of a host";
	return NULL;
}

/* Behind the L1 table, which is in use itself */
static bool end_is_possible(const struct qed_image *img, u64 end)
{
	return !end || (end >= (img->l1_offset >> img->cluster_shift) + img->table_clusters &&
			end <= ~0ULL >> img->cluster_shift);
}

static bool zeroes_are_possible(const struct qed_image *img, const struct qed_record *record)
{
	if (!record->zero_end)
		return !record->zero_from;
	return record->end && record->zero_from >= record->end &&
	       record->zero_end > record->zero_from &&
	       record->zero_end <= record->device_size >> img->cluster_shift;
}

static const char *record_defect(const struct qed_image *img, const struct qed_header *header,
				 const struct qed_record *record)
{
	bool in_use = record->active || le64toh(header->features) & QED_F_NEED_CHECK;

	if (in_use && (record->end || record->zero_end))
		return "tells of free space though the image is in use";
	if (!end_is_possible(img, record->end))
		return "has an impossible end";
	if (!zeroes_are_possible(img, record))
		return "has impossible zeroes";
	return NULL;
}

static void take(struct qed_record *record, const struct qed_disk_record *disk)
{
	memcpy(record->owner, disk->owner, QED_OWNER_SIZE);
	memcpy(record->host, disk->host, QED_HOST_SIZE);
	record->active = le16toh(disk->flags) & QED_RECORD_ACTIVE;
	record->end = le64toh(disk->end);
	record->zero_from = le64toh(disk->zero_from);
	record->zero_end = le64toh(disk->zero_end);
	record->device_size = le64toh(disk->device_size);
}

int qed_record_read(struct qed_image *img, const struct qed_header *header,
		    struct qed_record *record)
{
	struct qed_disk_record disk;
	const char *what;
	int r;

	memset(record, 0, sizeof(*record));
	if (!qed_has_record(img))
		return 0;
	r = qed_read(img, &disk, QED_RECORD_OFFSET, sizeof(disk));
	if (r)
		return r;
	what = disk_defect(header, &disk);
	if (!what) {
		take(record, &disk);
		what = record_defect(img, header, record);
	}
	if (what)
		memset(record, 0, sizeof(*record));
	record->state = what ? QED_RECORD_IGNORED : QED_RECORD_VALID;
	record->what = what;
	return 0;
}

int qed_record_owner(struct qed_image *img, struct qed_record *record)
{
	struct qed_disk_record disk;
	int r;

	memset(record, 0, sizeof(*record));
	if (!qed_has_record(img))
		return 0;
	r = qed_read(img, &disk, QED_RECORD_OFFSET, sizeof(disk));
	if (!r && !disk_defect(&img->header, &disk)) {
		take(record, &disk);
		record->state = QED_RECORD_VALID;
	}
	return r;
}
