/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The geometry of a QED image: what its header says, checked, and the rules
 * that table entries have to obey.
 */

#ifndef DM_QED_GEOMETRY_H
#define DM_QED_GEOMETRY_H

#include <linux/blk_types.h>
#include <linux/blkdev.h>
#include <linux/types.h>

#include "dm-qed-format.h"

/*
 * Tables are cached and written in blocks of this size. A table is never
 * smaller, so a block belongs to one table, and guest cluster >> QED_BLOCK_BITS
 * numbers the L2 blocks of an image.
 */
#define QED_BLOCK_SIZE		QED_MIN_CLUSTER_SIZE	/* bytes */
#define QED_BLOCK_KIB		(QED_BLOCK_SIZE / SZ_1K)
#define QED_BLOCK_SECTORS	(QED_BLOCK_SIZE >> SECTOR_SHIFT)
#define QED_BLOCK_BITS		9	/* log2 of the next one */
#define QED_BLOCK_ENTRIES	512U

/**
 * struct qed_geometry - a checked header and the size of the device
 * @cluster_shift: log2 of the cluster size in bytes
 * @table_shift: log2 of the number of entries of a table
 * @table_clusters: size of the L1 table and of each L2 table
 * @header_clusters: size of the header
 * @l1_first: first cluster of the L1 table
 * @nr_clusters: whole clusters of the device
 * @image_size: size of the guest's disk in bytes
 * @backed: the image has a backing file: an unallocated cluster reads as what is there
 */
struct qed_geometry {
	unsigned int cluster_shift;
	unsigned int table_shift;
	u32 table_clusters;
	u32 header_clusters;
	u64 l1_first;
	u64 nr_clusters;
	u64 image_size;
	bool backed;
};

/**
 * qed_geometry_parse() - check a header
 * @geo: the result
 * @header: as read from the device
 * @dev_size: size of the device in bytes
 * @name: of the device, for messages
 * @error: a phrase for the user where it fails
 *
 * Logs the field and the value that breaks a rule. Context: Any.
 * Return: 0, -EINVAL, or -EOPNOTSUPP for a legal but unsupported image.
 */
int qed_geometry_parse(struct qed_geometry *geo,
		       const struct qed_header *header, u64 dev_size,
		       const char *name, char **error);

/* Largest size of a guest's disk, in bytes, that cluster and table size allow. */
u64 qed_max_image_size(const struct qed_geometry *geo);

/**
 * qed_entry_defect() - check the entry of a table
 * @geo: the geometry
 * @entry: the entry, neither QED_ENTRY_UNALLOCATED nor a legal QED_ENTRY_ZERO
 * @nr: number of clusters that it refers to
 *
 * Context: Any.
 * Return: what is wrong with it, as the end of a sentence, or NULL.
 */
const char *qed_entry_defect(const struct qed_geometry *geo, u64 entry, u64 nr);

/* Number of clusters of the guest's disk; the last one may be a part. */
static inline u64 qed_guest_clusters(const struct qed_geometry *geo)
{
	return ((geo->image_size - 1) >> geo->cluster_shift) + 1;
}

/* log2 of the number of bytes that an L2 table maps. */
static inline unsigned int qed_table_map_shift(const struct qed_geometry *geo)
{
	return geo->table_shift + geo->cluster_shift;
}

/* Number of L1 entries that the guest's disk needs. */
static inline u64 qed_guest_tables(const struct qed_geometry *geo)
{
	return ((geo->image_size - 1) >> qed_table_map_shift(geo)) + 1;
}

static inline sector_t qed_cluster_sector(const struct qed_geometry *geo,
					  u64 cluster)
{
	return cluster << (geo->cluster_shift - SECTOR_SHIFT);
}

#endif /* DM_QED_GEOMETRY_H */
