// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is below an image, see dm-qed-below.h.
 */

#include <linux/blkdev.h>
#include <linux/device-mapper.h>

#include "dm-qed-below.h"
#include "dm-qed-compat.h"

#define DM_MSG_PREFIX "qed"

/* What is read for a block of the image has to be whole blocks there. */
static int check_device(struct qed *qed, struct block_device *below,
			char **error)
{
	unsigned int size = bdev_logical_block_size(qed->bdev);

	/* One that is not there yet, as a loop device without a file: it would show zeroes. */
	if (!bdev_nr_sectors(below)) {
		*error = "Backing device has no size";
		return -ENXIO;
	}
	if (below->bd_dev == qed->bdev->bd_dev) {
		*error = "Backing device is the image device";
		return -EINVAL;
	}
	if (bdev_logical_block_size(below) > size) {
		*error = "Logical blocks of the backing device are too large";
		return -EINVAL;
	}
	if (bdev_nr_bytes(below) & (size - 1)) {
		*error = "Backing device ends within a logical block of the image device";
		return -EINVAL;
	}
	return 0;
}

int qed_below_open(struct qed *qed, const char *path, char **error)
{
	int r;

	if (!path)
		return 0;
	r = dm_get_device(qed->ti, path, BLK_OPEN_READ, &qed->backing);
	if (r) {
		*error = "Cannot open the backing device";
		return r;
	}
	r = check_device(qed, qed->backing->bdev, error);
	if (r)
		goto bad_device;

	qed->reads_below = alloc_percpu(u64);
	if (!qed->reads_below) {
		*error = "Cannot allocate resources";
		r = -ENOMEM;
		goto bad_device;
	}
	qed->below = qed->backing->bdev;
	qed->below_size = bdev_nr_sectors(qed->below);
	return 0;

bad_device:
	dm_put_device(qed->ti, qed->backing);
	return r;
}

void qed_below_close(struct qed *qed)
{
	if (!qed->backing)
		return;
	free_percpu(qed->reads_below);
	dm_put_device(qed->ti, qed->backing);
}

int qed_below_check(struct qed *qed, char **error)
{
	bool backed = qed_meta_is_backed(qed->meta);

	if (backed && !qed->backing) {
		DMERR("%s: the image %s has a backing file: the table needs \"backing <device>\"",
		      qed_name(qed), qed->dev->name);
		*error = "Image has a backing file";
		return -EOPNOTSUPP;
	}
	if (!backed && qed->backing) {
		DMERR("%s: the image %s has no backing file, but the table has %s",
		      qed_name(qed), qed->dev->name, qed->backing->name);
		*error = "Image has no backing file";
		return -EINVAL;
	}
	return 0;
}

int qed_below_measure(struct qed *qed, sector_t *size)
{
	*size = qed->backing ? bdev_nr_sectors(qed->below) : 0;
	/* Whether the header asks for it is not known before the load. */
	if (!qed->backing || *size >= qed->below_size)
		return 0;
	DMERR("%s: the backing device %s is shorter than when the table was loaded",
	      qed_name(qed), qed->backing->name);
	return -ENXIO;
}

/*
 * In whole blocks: the image may end within one, and what is behind its end there cannot
 * come to light, as it cannot grow then.
 */
void qed_below_activate(struct qed *qed, sector_t size)
{
	bool backed = qed_meta_is_backed(qed->meta);
	sector_t end = qed_meta_guest_sectors(qed->meta);

	qed->below_end = 0;
	if (backed) {
		end = round_up(end, bdev_logical_block_size(qed->below) >> SECTOR_SHIFT);
		qed->below_end = min(size, end);
	} else if (qed->backing) {
		DMWARN("%s: the image %s has lost its backing file since the table was loaded",
		       qed_name(qed), qed->dev->name);
	}
}

bool qed_below_is_longer(struct qed *qed)
{
	return qed->below_end &&
	       bdev_nr_sectors(qed->below) > qed_meta_guest_sectors(qed->meta);
}

bool qed_is_below(struct qed *qed, dev_t dev)
{
	return qed->backing && qed->backing->bdev->bd_dev == dev;
}

bool qed_is_behind_below(struct qed *qed, u64 cluster, u64 *nr)
{
	unsigned int bits = qed_meta_cluster_bits(qed->meta);
	u64 end = (qed->below_end + (1ULL << bits) - 1) >> bits;

	if (cluster >= end)
		return true;
	*nr = min(*nr, end - cluster);
	return false;
}

u64 qed_reads_below(struct qed *qed)
{
	u64 sum = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += *per_cpu_ptr(qed->reads_below, cpu);
	return sum;
}
