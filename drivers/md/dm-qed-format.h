/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The QED (QEMU Enhanced Disk) on-disk format.
 *
 * The one definition for the kernel and the user space tools, so it only needs
 * <linux/types.h>. Source: docs/interop/qed_spec.txt of QEMU.
 *
 * An image is an array of equal clusters. The header is in cluster 0, all
 * integers are little-endian, all table entries are byte offsets from the start
 * of the image.
 */

#ifndef DM_QED_FORMAT_H
#define DM_QED_FORMAT_H

#include <linux/types.h>

#define QED_MAGIC			0x00444551	/* "QED\0" */

/* Limits of the geometry; all of these fields are powers of two. */
#define QED_MIN_CLUSTER_SIZE		4096U		/* bytes */
#define QED_MAX_CLUSTER_SIZE		67108864U	/* bytes */
#define QED_MIN_TABLE_SIZE		1		/* clusters */
#define QED_MAX_TABLE_SIZE		16		/* clusters */

/* What QEMU opens at most, in bytes */
#define QED_MAX_BACKING_NAME		4095U

/* Incompatible features: an unknown bit forbids to open the image. */
#define QED_F_BACKING_FILE		0x01
#define QED_F_NEED_CHECK		0x02
#define QED_F_BACKING_FORMAT_NO_PROBE	0x04
#define QED_FEATURES			(QED_F_BACKING_FILE | \
					 QED_F_NEED_CHECK | \
					 QED_F_BACKING_FORMAT_NO_PROBE)

/* An autoclear feature: whoever does not know it clears it when it opens to write. */
#define QED_AF_RECORD			0x8000000000000000ULL	/* bit 63 */

/* Table entries that are no offset. Entry 1 is valid in an L2 table only. */
#define QED_ENTRY_UNALLOCATED		0ULL
#define QED_ENTRY_ZERO			1ULL

struct qed_header {
	__le32 magic;
	__le32 cluster_size;			/* bytes */
	__le32 table_size;			/* clusters */
	__le32 header_size;			/* clusters */
	__le64 features;
	__le64 compat_features;
	__le64 autoclear_features;
	__le64 l1_table_offset;			/* bytes */
	__le64 image_size;			/* bytes */
	__le32 backing_filename_offset;		/* bytes from the header */
	__le32 backing_filename_size;		/* bytes, not NUL-terminated */
};

#define QED_RECORD_OFFSET		384		/* bytes from the header */
#define QED_RECORD_MAGIC		0x52444551	/* "QEDR" */
#define QED_RECORD_VERSION		1
#define QED_OWNER_SIZE			16		/* bytes */
#define QED_HOST_SIZE			64		/* bytes, with a NUL at least */

/* Flags of a record; an unknown one voids it. */
#define QED_RECORD_ACTIVE		0x01
#define QED_RECORD_FLAGS		QED_RECORD_ACTIVE

/*
 * What dm-qed adds to the header, valid while QED_AF_RECORD is set. Described in
 * Documentation/admin-guide/device-mapper/dm-qed-record.rst.
 */
struct qed_disk_record {
	__le32 magic;
	__le16 version;
	__le16 flags;
	__u8 owner[QED_OWNER_SIZE];		/* random, of an activation */
	__u8 host[QED_HOST_SIZE];		/* that of the owner, padded with NUL */
	__le64 end;				/* cluster; 0: not known */
	__le64 zero_from;			/* cluster */
	__le64 zero_end;			/* cluster; 0: no zeroes */
	__le64 device_size;			/* bytes: else nothing holds */
	__le32 reserved;			/* 0 */
	__le32 crc;				/* CRC-32C of all before */
};

#endif /* DM_QED_FORMAT_H */
