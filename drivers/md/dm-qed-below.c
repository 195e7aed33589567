// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is below an image, see dm-qed-below.h.
 */

#include <linux/blkdev.h>
#include <linux/device-mapper.h>
#include <linux/err.h>
#include <linux/slab.h>

#include "dm-qed-base.h"
#include "dm-qed-below.h"
#include "dm-qed-compat.h"

#define DM_MSG_PREFIX "qed"

/*----------------------------------------------------------------
 * Devices
 *----------------------------------------------------------------
 */

/* What is read for a block of the image has to be whole blocks there. */
static int check_device(struct qed *qed, struct block_device *below,
			char **error)
{
	/* One that is not there yet, as a loop device without a file: it would show zeroes. */
	if (!bdev_nr_sectors(below)) {
		*error = "Backing device has no size";
		return -ENXIO;
	}
	if (below->bd_dev == qed->bdev->bd_dev) {
		*error = "Backing device is the image device";
		return -EINVAL;
	}
	if (qed_is_below(qed, below->bd_dev)) {
		*error = "Backing device is there twice";
		return -EINVAL;
	}
	if (bdev_logical_block_size(below) > bdev_logical_block_size(qed->bdev)) {
		*error = "Logical blocks of the backing device are too large";
		return -EINVAL;
	}
	return 0;
}

static int check_size(struct qed *qed, sector_t sectors, char **error)
{
	if (!((sectors << SECTOR_SHIFT) & (bdev_logical_block_size(qed->bdev) - 1)))
		return 0;
	*error = "Backing device ends within a logical block of the image device";
	return -EINVAL;
}

static int open_device(struct qed *qed, const char *path, struct dm_dev **dev,
		       char **error)
{
	int r = dm_get_device(qed->ti, path, BLK_OPEN_READ, dev);

	if (r) {
		*error = "Cannot open the backing device";
		return r;
	}
	r = check_device(qed, (*dev)->bdev, error);
	if (r) {
		dm_put_device(qed->ti, *dev);
		*dev = NULL;
	}
	return r;
}

static int open_layer(struct qed *qed, const char *path, char **error)
{
	struct qed_layer *layer = &qed->layers[qed->nr_layers];
	struct dm_dev *dev;
	int r = open_device(qed, path, &dev, error);

	if (r)
		return r;
	layer->base = qed_base_get(dev->bdev, error);
	if (IS_ERR(layer->base)) {
		dm_put_device(qed->ti, dev);
		return PTR_ERR(layer->base);
	}
	layer->dev = dev;
	layer->size = qed_meta_guest_sectors(qed_base_meta(layer->base));
	qed->nr_layers++;
	return check_size(qed, layer->size, error);
}

static int open_layers(struct qed *qed, char **error)
{
	const struct qed_features *f = &qed->features;
	unsigned int i;
	int r = 0;

	if (!f->nr_layers)
		return 0;
	qed->layers = kcalloc(f->nr_layers, sizeof(*qed->layers), GFP_KERNEL);
	if (!qed->layers) {
		*error = "Cannot allocate resources";
		return -ENOMEM;
	}
	for (i = 0; i < f->nr_layers && !r; i++)
		r = open_layer(qed, f->layers[i], error);
	return r;
}

static int open_raw(struct qed *qed, char **error)
{
	int r;

	if (!qed->features.backing)
		return 0;
	r = open_device(qed, qed->features.backing, &qed->backing, error);
	if (r)
		return r;
	qed->below = qed->backing->bdev;
	qed->below_size = bdev_nr_sectors(qed->below);
	return check_size(qed, qed->below_size, error);
}

int qed_below_open(struct qed *qed, char **error)
{
	int r = open_layers(qed, error);

	if (!r)
		r = open_raw(qed, error);
	if (!r && qed_has_below(qed)) {
		qed->reads_below = alloc_percpu(u64);
		if (!qed->reads_below) {
			*error = "Cannot allocate resources";
			r = -ENOMEM;
		}
	}
	if (r)
		qed_below_close(qed);
	return r;
}

void qed_below_close(struct qed *qed)
{
	free_percpu(qed->reads_below);
	if (qed->backing)
		dm_put_device(qed->ti, qed->backing);
	while (qed->nr_layers) {
		struct qed_layer *layer = &qed->layers[--qed->nr_layers];

		/* First: of all that have the image somebody has its device open. */
		qed_base_put(layer->base);
		dm_put_device(qed->ti, layer->dev);
	}
	kfree(qed->layers);
}

/*----------------------------------------------------------------
 * What the headers say
 *----------------------------------------------------------------
 */

/* An image and what the table has for what is below it */
static int check_link(struct qed *qed, bool backed, bool has, const char *image,
		      char **error)
{
	if (backed && !has) {
		DMERR("%s: the image %s has a backing file: the table needs \"backing <device>\", or \"layer <device>\" for another image",
		      qed_name(qed), image);
		*error = "Image has a backing file";
		return -EOPNOTSUPP;
	}
	if (!backed && has) {
		DMERR("%s: the image %s has no backing file, but the table has something below it",
		      qed_name(qed), image);
		*error = "Image has no backing file";
		return -EINVAL;
	}
	return 0;
}

int qed_below_check(struct qed *qed, char **error)
{
	int r = check_link(qed, qed_meta_is_backed(qed->meta), qed_has_below(qed),
			   qed->dev->name, error);
	unsigned int i;

	for (i = 0; i < qed->nr_layers && !r; i++) {
		struct qed_layer *layer = &qed->layers[i];

		r = check_link(qed, qed_meta_is_backed(qed_base_meta(layer->base)),
			       qed->backing || i + 1 < qed->nr_layers,
			       layer->dev->name, error);
	}
	return r;
}

static int shorter(struct qed *qed, struct dm_dev *dev)
{
	DMERR("%s: the backing device %s is shorter than when the table was loaded",
	      qed_name(qed), dev->name);
	return -ENXIO;
}

int qed_below_check_size(struct qed *qed)
{
	if (!qed->backing || !qed_meta_is_backed(qed->meta) ||
	    bdev_nr_sectors(qed->below) >= qed->below_size)
		return 0;
	return shorter(qed, qed->backing);
}

static void unload_layers(struct qed *qed, unsigned int nr)
{
	while (nr)
		qed_base_unload(qed->layers[--nr].base);
}

static int load_layer(struct qed *qed, unsigned int i)
{
	struct qed_layer *layer = &qed->layers[i];
	int r = qed_base_load(layer->base, qed->backing || i + 1 < qed->nr_layers);

	if (r)
		return r;
	layer->backed = qed_meta_is_backed(qed_base_meta(layer->base));
	layer->end = qed_meta_guest_sectors(qed_base_meta(layer->base));
	if (layer->end >= layer->size)
		return 0;
	qed_base_unload(layer->base);
	return shorter(qed, layer->dev);
}

int qed_below_load(struct qed *qed)
{
	unsigned int i;
	int r;

	for (i = 0; i < qed->nr_layers; i++) {
		r = load_layer(qed, i);
		if (r) {
			unload_layers(qed, i);
			return r;
		}
	}
	qed->layers_loaded = true;
	return 0;
}

void qed_below_unload(struct qed *qed)
{
	if (!qed->layers_loaded)
		return;
	qed->layers_loaded = false;
	unload_layers(qed, qed->nr_layers);
}

/* The largest logical block of what is below, in sectors */
static unsigned int blocks_below(struct qed *qed)
{
	unsigned int size = qed->below ? bdev_logical_block_size(qed->below) : 0, i;

	for (i = 0; i < qed->nr_layers; i++)
		size = max(size, bdev_logical_block_size(qed->layers[i].dev->bdev));
	return size >> SECTOR_SHIFT;
}

/* The end of what is next below, in sectors */
static sector_t next_end(struct qed *qed)
{
	return qed->nr_layers ? qed->layers[0].end : bdev_nr_sectors(qed->below);
}

/*
 * In whole blocks: the image may end within one, and what is behind its end there cannot
 * come to light, as it cannot grow then.
 */
void qed_below_activate(struct qed *qed)
{
	bool backed = qed_meta_is_backed(qed->meta);
	sector_t end = qed_meta_guest_sectors(qed->meta);

	qed->below_end = 0;
	if (backed) {
		end = round_up(end, blocks_below(qed));
		qed->below_end = min(next_end(qed), end);
	} else if (qed_has_below(qed)) {
		DMWARN("%s: the image %s has lost its backing file since the table was loaded",
		       qed_name(qed), qed->dev->name);
	}
}

bool qed_below_is_longer(struct qed *qed)
{
	return qed->below_end &&
	       next_end(qed) > qed_meta_guest_sectors(qed->meta);
}

bool qed_is_below(struct qed *qed, dev_t dev)
{
	unsigned int i;

	for (i = 0; i < qed->nr_layers; i++)
		if (qed->layers[i].dev->bdev->bd_dev == dev)
			return true;
	return qed->backing && qed->backing->bdev->bd_dev == dev;
}

/*----------------------------------------------------------------
 * Where something is
 *----------------------------------------------------------------
 */

/* What no image has may be on the raw device. */
static enum qed_extent_kind raw_extent(struct qed *qed, sector_t sector,
				       struct qed_extent *ext)
{
	sector_t end = qed->below ? bdev_nr_sectors(qed->below) : 0;

	if (sector >= end)
		return QED_EXTENT_ZERO;
	ext->nr = min_t(sector_t, ext->nr, end - sector);
	ext->bdev = qed->below;
	ext->sector = sector;
	return QED_EXTENT_DATA;
}

enum qed_extent_kind qed_below_layers(struct qed *qed, sector_t sector,
				      struct qed_extent *ext, bool wait)
{
	enum qed_extent_kind kind;
	struct qed_layer *layer;

	for (layer = qed->layers; layer < qed->layers + qed->nr_layers; layer++) {
		/* What is longer below does not show. */
		if (sector >= layer->end)
			return QED_EXTENT_ZERO;
		ext->nr = min_t(sector_t, ext->nr, layer->end - sector);
		kind = wait ? qed_base_find(layer->base, sector, ext) :
			      qed_base_lookup(layer->base, sector, ext);
		if (kind != QED_EXTENT_HOLE)
			return kind;
		/* Since the table was loaded it may have lost that. */
		if (!layer->backed)
			return QED_EXTENT_ZERO;
	}
	return raw_extent(qed, sector, ext);
}

static bool cluster_is_zero(struct qed *qed, u64 cluster)
{
	unsigned int bits = qed_meta_cluster_bits(qed->meta);
	sector_t sector = cluster << bits, end = (cluster + 1) << bits;
	struct qed_extent ext;

	for (; sector < end; sector += ext.nr) {
		ext.nr = end - sector;
		if (qed_below(qed, sector, &ext, true) != QED_EXTENT_ZERO)
			return false;
	}
	return true;
}

bool qed_is_behind_below(struct qed *qed, u64 cluster, u64 *nr)
{
	unsigned int bits = qed_meta_cluster_bits(qed->meta);
	u64 end = (qed->below_end + (1ULL << bits) - 1) >> bits, n;
	bool zero;

	if (cluster >= end)
		return true;
	*nr = min(*nr, end - cluster);
	if (!qed->nr_layers)
		return false;
	zero = cluster_is_zero(qed, cluster);
	for (n = 1; n < *nr; n++)
		if (cluster_is_zero(qed, cluster + n) != zero)
			break;
	*nr = n;
	return zero;
}

u64 qed_reads_below(struct qed *qed)
{
	u64 sum = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += *per_cpu_ptr(qed->reads_below, cpu);
	return sum;
}
