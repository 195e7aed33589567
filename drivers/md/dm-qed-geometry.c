// SPDX-License-Identifier: GPL-2.0-only
/*
 * The rules of the QED format for header and table entries, see
 * dm-qed-geometry.h.
 */

#include <linux/device-mapper.h>
#include <linux/err.h>
#include <linux/log2.h>

#include "dm-qed-geometry.h"

#define DM_MSG_PREFIX "qed"

/* Where the geometry allows more, an image is still addressed by loff_t. */
#define QED_MAX_IMAGE_SIZE	((1ULL << 63) - SECTOR_SIZE)

static bool is_power_of_2_in(u32 n, u32 least, u32 most)
{
	return n >= least && n <= most && is_power_of_2(n);
}

static int check_sizes(struct qed_geometry *geo, const struct qed_header *h,
		       const char *name, char **error)
{
	u32 cluster_size = le32_to_cpu(h->cluster_size);
	u32 table_size = le32_to_cpu(h->table_size);

	if (!is_power_of_2_in(cluster_size, QED_MIN_CLUSTER_SIZE,
			      QED_MAX_CLUSTER_SIZE)) {
		DMERR("%s: cluster_size %u is not a power of two from %u to %u",
		      name, cluster_size, QED_MIN_CLUSTER_SIZE,
		      QED_MAX_CLUSTER_SIZE);
		*error = "Invalid cluster size";
		return -EINVAL;
	}
	if (!is_power_of_2_in(table_size, QED_MIN_TABLE_SIZE,
			      QED_MAX_TABLE_SIZE)) {
		DMERR("%s: table_size %u is not a power of two from %u to %u",
		      name, table_size, QED_MIN_TABLE_SIZE, QED_MAX_TABLE_SIZE);
		*error = "Invalid table size";
		return -EINVAL;
	}

	geo->cluster_shift = ilog2(cluster_size);
	geo->table_clusters = table_size;
	geo->table_shift = geo->cluster_shift + ilog2(table_size) -
			   ilog2(sizeof(__le64));
	return 0;
}

static int check_features(const struct qed_header *h, const char *name,
			  char **error)
{
	u64 unknown = le64_to_cpu(h->features) & ~(u64)QED_FEATURES;

	if (unknown) {
		DMERR("%s: unknown incompatible features 0x%llx", name,
		      unknown);
		*error = "Unknown incompatible features";
		return -EOPNOTSUPP;
	}
	return 0;
}

static int check_header_size(struct qed_geometry *geo,
			     const struct qed_header *h, const char *name,
			     char **error)
{
	u32 header_size = le32_to_cpu(h->header_size);

	/* The upper limit is QEMU's: header bytes are counted in 32 bits. */
	if (!header_size || header_size > U32_MAX >> geo->cluster_shift) {
		DMERR("%s: header_size %u is not from 1 to %u clusters", name,
		      header_size, U32_MAX >> geo->cluster_shift);
		*error = "Invalid header size";
		return -EINVAL;
	}
	geo->header_clusters = header_size;
	return 0;
}

static int check_l1(struct qed_geometry *geo, const struct qed_header *h,
		    const char *name, char **error)
{
	u64 offset = le64_to_cpu(h->l1_table_offset);
	const char *defect = qed_entry_defect(geo, offset, geo->table_clusters);

	/* No L1 table to collide with yet: see qed_entry_defect(). */
	if (defect) {
		DMERR("%s: l1_table_offset 0x%llx %s", name, offset, defect);
		*error = "Invalid L1 table offset";
		return -EINVAL;
	}
	geo->l1_first = offset >> geo->cluster_shift;
	return 0;
}

u64 qed_max_image_size(const struct qed_geometry *geo)
{
	unsigned int shift = 2 * geo->table_shift + geo->cluster_shift;

	return shift < 63 ? 1ULL << shift : QED_MAX_IMAGE_SIZE;
}

static int check_image_size(struct qed_geometry *geo,
			    const struct qed_header *h, const char *name,
			    char **error)
{
	u64 size = le64_to_cpu(h->image_size);
	u64 max = qed_max_image_size(geo);

	if (!size) {
		DMERR("%s: image_size is 0: a device cannot be empty", name);
		*error = "Image has size 0";
		return -EINVAL;
	}
	if (size % SECTOR_SIZE) {
		DMERR("%s: image_size %llu is not a multiple of %u", name, size,
		      SECTOR_SIZE);
		*error = "Image size is not a multiple of the sector size";
		return -EINVAL;
	}
	if (size > max) {
		DMERR("%s: image_size %llu is over the maximum %llu of this geometry",
		      name, size, max);
		*error = "Image size is too large";
		return -EINVAL;
	}
	geo->image_size = size;
	return 0;
}

static int check_backing(struct qed_geometry *geo, const struct qed_header *h,
			 const char *name, char **error)
{
	u32 offset = le32_to_cpu(h->backing_filename_offset);
	u32 size = le32_to_cpu(h->backing_filename_size);
	u64 header_bytes = (u64)geo->header_clusters << geo->cluster_shift;

	if (!(le64_to_cpu(h->features) & QED_F_BACKING_FILE))
		return 0;

	if ((u64)offset + size > header_bytes) {
		DMERR("%s: backing_filename_offset %u, size %u: not in the header of %llu bytes",
		      name, offset, size, header_bytes);
		*error = "Invalid backing file name";
		return -EINVAL;
	}
	if (size > QED_MAX_BACKING_NAME) {
		DMERR("%s: backing_filename_size %u is over the maximum %u",
		      name, size, QED_MAX_BACKING_NAME);
		*error = "Backing file name is too long";
		return -EINVAL;
	}
	/* QEMU opens nothing where the name is empty. */
	geo->backed = size;
	return 0;
}

int qed_geometry_parse(struct qed_geometry *geo, const struct qed_header *h,
		       u64 dev_size, const char *name, char **error)
{
	int r;

	memset(geo, 0, sizeof(*geo));

	if (le32_to_cpu(h->magic) != QED_MAGIC) {
		DMERR("%s: magic 0x%08x is not 0x%08x: not a QED image", name,
		      le32_to_cpu(h->magic), QED_MAGIC);
		*error = "Not a QED image";
		return -EINVAL;
	}

	r = check_features(h, name, error);
	if (r)
		return r;
	r = check_sizes(geo, h, name, error);
	if (r)
		return r;
	geo->nr_clusters = dev_size >> geo->cluster_shift;
	r = check_header_size(geo, h, name, error);
	if (r)
		return r;
	r = check_l1(geo, h, name, error);
	if (r)
		return r;
	r = check_image_size(geo, h, name, error);
	if (r)
		return r;
	return check_backing(geo, h, name, error);
}

const char *qed_entry_defect(const struct qed_geometry *geo, u64 entry, u64 nr)
{
	u64 first = entry >> geo->cluster_shift;

	if (entry & ((1ULL << geo->cluster_shift) - 1))
		return "is not aligned to a cluster";
	if (first < geo->header_clusters)
		return "points into the header";
	if (first >= geo->nr_clusters)
		return "is beyond the end of the device";
	if (nr > geo->nr_clusters - first)
		return "reaches over the end of the device";
	/* l1_first is 0, inside the header, while the L1 itself is checked. */
	if (geo->l1_first && first < geo->l1_first + geo->table_clusters &&
	    geo->l1_first < first + nr)
		return "points into the L1 table";
	return NULL;
}
