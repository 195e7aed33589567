// SPDX-License-Identifier: GPL-2.0-only
/*
 * The record in the header, see dm-qed-record.h.
 */

#include <linux/build_bug.h>
#include <linux/ctype.h>
#include <linux/errno.h>
#include <linux/log2.h>
#include <linux/string.h>

#include "dm-qed-compat.h"
#include "dm-qed-record.h"

#define QED_RECORD_END	(QED_RECORD_OFFSET + sizeof(struct qed_disk_record))

static_assert(sizeof(struct qed_disk_record) == 128);
static_assert(QED_RECORD_END == SECTOR_SIZE);

static struct qed_disk_record *disk_record(struct qed_header *header)
{
	return (void *)header + QED_RECORD_OFFSET;
}

static __le32 record_crc(const struct qed_disk_record *disk)
{
	return cpu_to_le32(~qed_crc32c(~0, disk,
				       offsetof(struct qed_disk_record, crc)));
}

/* The kernel's isalnum() takes the letters of Latin-1, too. */
bool qed_host_is_char(char c)
{
	return isascii(c) && (isalnum(c) || strchr("._-", c));
}

bool qed_host_is_legal(const char *host)
{
	unsigned int i;

	for (i = 0; i < QED_HOST_SIZE && host[i]; i++)
		if (!qed_host_is_char(host[i]))
			return false;
	return i && i < QED_HOST_SIZE;
}

/* Legal, and nothing but NUL behind it */
static bool disk_host_is_legal(const struct qed_disk_record *disk)
{
	const char *host = (const char *)disk->host;
	size_t size = strnlen(host, QED_HOST_SIZE);

	return qed_host_is_legal(host) &&
	       !memchr_inv(host + size, 0, QED_HOST_SIZE - size);
}

bool qed_record_has_room(const struct qed_header *header)
{
	u64 offset = le32_to_cpu(header->backing_filename_offset);
	u64 size = le32_to_cpu(header->backing_filename_size);

	return !(header->features & cpu_to_le64(QED_F_BACKING_FILE)) ||
	       offset >= QED_RECORD_END || offset + size <= QED_RECORD_OFFSET;
}

/* Its tables change, or may have: nothing is known for sure. */
static bool is_in_use(const struct qed_header *header, bool active)
{
	return active || header->features & cpu_to_le64(QED_F_NEED_CHECK);
}

/* The L1 table is in use itself. */
static bool end_is_possible(const struct qed_header *header, u64 end)
{
	unsigned int shift = ilog2(le32_to_cpu(header->cluster_size));
	u64 l1 = le64_to_cpu(header->l1_table_offset) >> shift;

	return !end || (end >= l1 + le32_to_cpu(header->table_size) &&
			end <= U64_MAX >> shift);
}

static bool zeroes_are_possible(const struct qed_header *header,
				const struct qed_record *record)
{
	unsigned int shift = ilog2(le32_to_cpu(header->cluster_size));

	if (!record->zero_end)
		return !record->zero_from;
	return record->end && record->zero_from >= record->end &&
	       record->zero_end > record->zero_from &&
	       record->zero_end <= record->device_size >> shift;
}

static const char *disk_defect(const struct qed_header *header,
			       const struct qed_disk_record *disk)
{
	if (!qed_record_has_room(header))
		return "is where the name of the backing file is";
	if (le32_to_cpu(disk->magic) != QED_RECORD_MAGIC)
		return "does not begin like one";
	if (disk->crc != record_crc(disk))
		return "has a wrong checksum";
	if (le16_to_cpu(disk->version) != QED_RECORD_VERSION)
		return "has an unknown version";
	if (le16_to_cpu(disk->flags) & ~QED_RECORD_FLAGS || disk->reserved)
		return "has unknown flags";
	if (!disk_host_is_legal(disk))
		return "has no legal name of a host";
	return NULL;
}

static const char *record_defect(const struct qed_header *header,
				 const struct qed_record *record)
{
	if (is_in_use(header, record->active) &&
	    (record->end || record->zero_end))
		return "tells of free space though the image is in use";
	if (!end_is_possible(header, record->end))
		return "has an impossible end";
	if (!zeroes_are_possible(header, record))
		return "has impossible zeroes";
	return NULL;
}

int qed_record_parse(struct qed_record *record, const struct qed_header *header,
		     const char **what)
{
	const struct qed_disk_record *disk = (void *)header + QED_RECORD_OFFSET;

	memset(record, 0, sizeof(*record));
	if (!(header->autoclear_features & cpu_to_le64(QED_AF_RECORD)))
		return -ENOENT;
	*what = disk_defect(header, disk);
	if (*what)
		return -EUCLEAN;

	memcpy(record->owner, disk->owner, QED_OWNER_SIZE);
	memcpy(record->host, disk->host, QED_HOST_SIZE);
	record->active = le16_to_cpu(disk->flags) & QED_RECORD_ACTIVE;
	record->end = le64_to_cpu(disk->end);
	record->zero_from = le64_to_cpu(disk->zero_from);
	record->zero_end = le64_to_cpu(disk->zero_end);
	record->device_size = le64_to_cpu(disk->device_size);
	*what = record_defect(header, record);
	return *what ? -EUCLEAN : 0;
}

static void build_claims(struct qed_disk_record *disk,
			 const struct qed_record *record)
{
	disk->end = cpu_to_le64(record->end);
	if (!record->zero_end)
		return;
	disk->zero_from = cpu_to_le64(record->zero_from);
	disk->zero_end = cpu_to_le64(record->zero_end);
}

bool qed_record_build(struct qed_header *header, const struct qed_record *record)
{
	struct qed_disk_record *disk = disk_record(header);

	if (!qed_record_has_room(header)) {
		header->autoclear_features &= ~cpu_to_le64(QED_AF_RECORD);
		return false;
	}
	memset(disk, 0, sizeof(*disk));
	disk->magic = cpu_to_le32(QED_RECORD_MAGIC);
	disk->version = cpu_to_le16(QED_RECORD_VERSION);
	disk->flags = cpu_to_le16(record->active ? QED_RECORD_ACTIVE : 0);
	memcpy(disk->owner, record->owner, QED_OWNER_SIZE);
	memcpy(disk->host, record->host,
	       strnlen(record->host, QED_HOST_SIZE - 1));
	disk->device_size = cpu_to_le64(record->device_size);
	if (!is_in_use(header, record->active))
		build_claims(disk, record);
	disk->crc = record_crc(disk);
	header->autoclear_features |= cpu_to_le64(QED_AF_RECORD);
	return true;
}

/* What somebody may change who leaves the image the same: see qed_record_compare(). */
static void mask_header(struct qed_header *header)
{
	header->features &= ~cpu_to_le64(QED_F_NEED_CHECK);
	header->autoclear_features = 0;
}

static bool is_same_image(const struct qed_header *now,
			  const struct qed_header *was)
{
	struct qed_header a = *now, b = *was;

	mask_header(&a);
	mask_header(&b);
	return !memcmp(&a, &b, sizeof(a));
}

static bool is_same_record(const struct qed_header *now,
			   const struct qed_header *was)
{
	return !memcmp((void *)now + QED_RECORD_OFFSET,
		       (void *)was + QED_RECORD_OFFSET,
		       sizeof(struct qed_disk_record));
}

const u8 *qed_record_owner(const struct qed_header *header)
{
	const struct qed_disk_record *disk = (void *)header + QED_RECORD_OFFSET;

	return disk_defect(header, disk) ? NULL : disk->owner;
}

/* Whatever its bit says: a write of ours may have succeeded, and said that it had not. */
static bool is_record_of(const struct qed_header *header, const u8 *owner)
{
	const u8 *id = qed_record_owner(header);

	return id && !memcmp(id, owner, QED_OWNER_SIZE);
}

enum qed_record_change qed_record_compare(const struct qed_header *now,
					  const struct qed_header *was,
					  const u8 *owner)
{
	const __le64 bit = cpu_to_le64(QED_AF_RECORD);
	bool same = is_same_record(now, was);

	/* First: of another image the record is not to be read as one of this. */
	if (!is_same_image(now, was))
		return QED_RECORD_GONE;
	if (is_record_of(now, owner))
		same = true;
	else if ((now->autoclear_features & ~was->autoclear_features) & bit)
		same = false;
	if (!same)
		return QED_RECORD_FOREIGN;
	return was->autoclear_features & ~now->autoclear_features & bit ?
	       QED_RECORD_VOID : QED_RECORD_SAME;
}

bool qed_record_untouched(const struct qed_header *now,
			  const struct qed_header *was)
{
	return !memcmp(now, was, sizeof(*now)) && is_same_record(now, was);
}

u32 qed_record_key(const struct qed_header *header)
{
	u32 crc = qed_crc32c(~0, header, sizeof(*header));

	return qed_crc32c(crc, (void *)header + QED_RECORD_OFFSET,
			  sizeof(struct qed_disk_record));
}
