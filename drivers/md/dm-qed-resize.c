// SPDX-License-Identifier: GPL-2.0-only
/*
 * Another size of the guest's disk, and of the image device: see qed_meta_resize() and
 * qed_meta_grow() in dm-qed-meta.h.
 */

#include <linux/blkdev.h>
#include <linux/device-mapper.h>
#include <linux/err.h>
#include <linux/sched/mm.h>
#include <linux/string.h>

#include "dm-qed-header.h"
#include "dm-qed-space-build.h"
#include "dm-qed-sync.h"

#define DM_MSG_PREFIX "qed"

/*----------------------------------------------------------------
 * The guest's disk
 *----------------------------------------------------------------
 */

static bool is_zero_block(const struct qed_block *block, unsigned int from)
{
	return !memchr_inv(block->entries + from, 0,
			   (QED_BLOCK_ENTRIES - from) * sizeof(__le64));
}

/* Does the last table have entries behind the last cluster? */
static int check_last_table(struct qed_meta *meta)
{
	u64 cluster = qed_guest_clusters(&meta->geo);
	u64 end = qed_guest_tables(&meta->geo) << meta->geo.table_shift;
	unsigned int i;
	struct qed_block *block;
	bool zero;

	for (; cluster < end; cluster += QED_BLOCK_ENTRIES - i) {
		i = cluster % QED_BLOCK_ENTRIES;
		block = qed_block_get(meta, cluster, false);
		if (IS_ERR_OR_NULL(block))
			return PTR_ERR_OR_ZERO(block);
		zero = is_zero_block(block, i);
		qed_block_put(meta, block);
		if (!zero)
			return -EUCLEAN;
	}
	return 0;
}

/* Are there tables for what is behind the size, up to the L1 entry @end? */
static int check_l1_beyond(struct qed_meta *meta, u64 end)
{
	u64 index = qed_guest_tables(&meta->geo);
	struct qed_block *block;
	unsigned int i;
	int r = 0;

	block = qed_l1_block_alloc(&meta->cache);
	if (!block)
		return -ENOMEM;
	for (; index < end && !r; index += QED_BLOCK_ENTRIES - i) {
		i = index % QED_BLOCK_ENTRIES;
		r = qed_sync_io(meta, REQ_OP_READ,
				qed_cluster_sector(&meta->geo, meta->geo.l1_first) +
				(index >> QED_BLOCK_BITS) * QED_BLOCK_SECTORS,
				block->entries, QED_BLOCK_SIZE);
		if (!r && !is_zero_block(block, i))
			r = -EUCLEAN;
	}
	qed_l1_block_free(block);
	return r;
}

int qed_meta_resize(struct qed_meta *meta, u64 sectors)
{
	u64 max = qed_max_image_size(&meta->geo) >> SECTOR_SHIFT;
	u64 now = qed_header_size(meta) >> SECTOR_SHIFT;
	struct qed_geometry geo = meta->geo;
	int r;

	if (sectors < now || sectors > max) {
		DMERR("%s: cannot resize to %llu sectors: not from %llu to %llu",
		      meta->client->name, sectors, now, max);
		return -EINVAL;
	}
	geo.image_size = sectors << SECTOR_SHIFT;
	r = check_last_table(meta);
	if (!r)
		r = check_l1_beyond(meta, qed_guest_tables(&geo));
	if (r == -EUCLEAN)
		DMERR("%s: cannot resize: tables or clusters are behind the size: run qed-fsck",
		      meta->client->name);
	if (r)
		return r;
	return qed_header_set_size(meta, geo.image_size);
}

/*----------------------------------------------------------------
 * The image device
 *----------------------------------------------------------------
 */

/*
 * An entry that refers to what was behind the end of the device is wrong, which the scan
 * could not tell any more if that were in use by now.
 */
static bool may_grow(struct qed_meta *meta)
{
	return meta->space && READ_ONCE(meta->known);
}

int qed_meta_see_growth(struct qed_meta *meta, u64 *nr)
{
	u64 size = bdev_nr_bytes(meta->bdev) >> meta->geo.cluster_shift;
	int r;

	/* Nothing to be used before it is written, though it may be known soon what is in use. */
	*nr = 0;
	if (!may_grow(meta) || size <= qed_space_nr(meta->space))
		return 0;
	r = qed_header_grow(meta);
	if (!r)
		*nr = size;
	return r;
}

int qed_meta_grow(struct qed_meta *meta, u64 nr)
{
	unsigned int noio;
	int r;

	if (!nr || !may_grow(meta))
		return 0;
	/* Writes wait for it, so memory must not wait for them. */
	noio = memalloc_noio_save();
	r = qed_space_grow(meta->space, nr);
	memalloc_noio_restore(noio);
	return r;
}
