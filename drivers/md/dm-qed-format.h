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

/* Incompatible features: an unknown bit forbids to open the image. */
#define QED_F_BACKING_FILE		0x01
#define QED_F_NEED_CHECK		0x02
#define QED_F_BACKING_FORMAT_NO_PROBE	0x04
#define QED_FEATURES			(QED_F_BACKING_FILE | \
					 QED_F_NEED_CHECK | \
					 QED_F_BACKING_FORMAT_NO_PROBE)

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

#endif /* DM_QED_FORMAT_H */
