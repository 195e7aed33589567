// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is below an image, see dm-qed-below.h.
 */

#include <linux/blkdev.h>
#include <linux/device-mapper.h>
#include <linux/err.h>
#include <linux/sched.h>
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
	unsigned int size = bdev_logical_block_size(qed->bdev);

	/* One that is not there yet, as a loop device without a file: it would show zeroes. */
	if (!bdev_nr_sectors(below)) {
		*error = "Backing device has no size";
		return -ENXIO;
	}
	if (below->bd_dev == qed->bdev->bd_dev)
		*error = "Backing device is the image device";
	else if (qed_is_below(qed, below->bd_dev))
		*error = "Backing device is there twice";
	else if (bdev_logical_block_size(below) > size)
		*error = "Logical blocks of the backing device are too large";
	else
		return 0;
	return -EINVAL;
}

static bool ends_within_block(struct qed *qed, sector_t end)
{
	return (end << SECTOR_SHIFT) & (bdev_logical_block_size(qed->bdev) - 1);
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
	if (r)
		dm_put_device(qed->ti, *dev);
	return r;
}

/* Neither becomes one of the target's before all is well with it. */
static int open_layer(struct qed *qed, const char *path, char **error)
{
	struct qed_base_state state;
	struct qed_base *base;
	struct dm_dev *dev;
	int r;

	r = open_device(qed, path, &dev, error);
	if (r)
		return r;
	base = qed_base_get(dev->bdev, &state, error);
	r = PTR_ERR_OR_ZERO(base);
	if (r)
		goto bad_base;
	if (ends_within_block(qed, state.size)) {
		*error = "Backing image ends within a logical block of the image device";
		r = -EINVAL;
		goto bad_size;
	}
	qed->layers[qed->nr_layers++] = (struct qed_layer){
		.dev = dev,
		.base = base,
		.size = state.size,
		.backed = state.backed,
	};
	return 0;

bad_size:
	qed_base_put(base);
bad_base:
	dm_put_device(qed->ti, dev);
	return r;
}

static int open_raw(struct qed *qed, const char *path, char **error)
{
	struct dm_dev *dev;
	int r;

	r = open_device(qed, path, &dev, error);
	if (r)
		return r;
	if (ends_within_block(qed, bdev_nr_sectors(dev->bdev))) {
		*error = "Backing device ends within a logical block of the image device";
		dm_put_device(qed->ti, dev);
		return -EINVAL;
	}
	qed->backing = dev;
	qed->below = dev->bdev;
	qed->below_size = bdev_nr_sectors(dev->bdev);
	return 0;
}

static int open_all(struct qed *qed, char **error)
{
	const struct qed_features *f = &qed->features;
	const char *path = NULL;
	unsigned int i;
	int r = 0;

	for (i = 0; i < f->nr_layers && !r; i++) {
		path = f->layers[i];
		r = open_layer(qed, path, error);
	}
	if (!r && f->backing) {
		path = f->backing;
		r = open_raw(qed, path, error);
	}
	if (r)
		DMERR("%s: below the image, %s: %s", qed_name(qed), path, *error);
	return r;
}

static int alloc_below(struct qed *qed)
{
	unsigned int nr = qed->features.nr_layers;

	if (!nr && !qed->features.backing)
		return 0;
	qed->layers = kcalloc(nr, sizeof(*qed->layers), GFP_KERNEL);
	qed->reads_below = alloc_percpu(u64);
	return qed->layers && qed->reads_below ? 0 : -ENOMEM;
}

int qed_below_open(struct qed *qed, char **error)
{
	int r = alloc_below(qed);

	if (r)
		*error = "Cannot allocate resources";
	else
		r = open_all(qed, error);
	if (r)
		qed_below_close(qed);
	return r;
}

void qed_below_close(struct qed *qed)
{
	if (qed->backing)
		dm_put_device(qed->ti, qed->backing);
	while (qed->nr_layers) {
		struct qed_layer *layer = &qed->layers[--qed->nr_layers];

		/* First: whoever has the image has its device open. */
		qed_base_put(layer->base);
		dm_put_device(qed->ti, layer->dev);
	}
	kfree(qed->layers);
	free_percpu(qed->reads_below);
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
 * What the headers say
 *----------------------------------------------------------------
 */

/* What the table has next below the first @nr images; or NULL */
static struct dm_dev *next_below(struct qed *qed, unsigned int nr)
{
	return nr < qed->nr_layers ? qed->layers[nr].dev : qed->backing;
}

/* An image, and what the table has next below it */
static int check_link(struct qed *qed, const char *image, bool backed,
		      struct dm_dev *next, char **error)
{
	if (backed && !next) {
		DMERR("%s: image %s has a backing file: the table needs \"backing\" or \"layer\"",
		      qed_name(qed), image);
		*error = "Image has a backing file";
		return -EOPNOTSUPP;
	}
	if (!backed && next) {
		DMERR("%s: image %s has no backing file, but the table has %s",
		      qed_name(qed), image, next->name);
		*error = "Image has no backing file";
		return -EINVAL;
	}
	return 0;
}

int qed_below_check(struct qed *qed, char **error)
{
	int r = check_link(qed, qed->dev->name, qed_meta_is_backed(qed->meta),
			   next_below(qed, 0), error);
	unsigned int i;

	for (i = 0; i < qed->nr_layers && !r; i++)
		r = check_link(qed, qed->layers[i].dev->name,
			       qed->layers[i].backed, next_below(qed, i + 1),
			       error);
	return r;
}

static int has_shrunk(struct qed *qed, struct dm_dev *dev)
{
	DMERR("%s: the backing device %s is shorter than when the table was loaded",
	      qed_name(qed), dev->name);
	return -ENXIO;
}

static int check_raw(struct qed *qed)
{
	qed->raw_end = qed->backing ? bdev_nr_sectors(qed->below) : 0;
	/* Whether the header asks for it is not known before the load. */
	if (!qed->backing || qed->raw_end >= qed->below_size)
		return 0;
	return has_shrunk(qed, qed->backing);
}

/*
 * It may have been written to just before, through another table of the device too: from now on
 * flushes go to the image device only, and have to hold for that as well.
 */
static int flush_raw(struct qed *qed)
{
	int r = qed->backing ? blkdev_issue_flush(qed->below) : 0;

	if (r)
		DMERR("%s: cannot flush the backing device %s: error %d",
		      qed_name(qed), qed->backing->name, r);
	return r;
}

/* What the header of an image says that has just been loaded */
static int check_layer(struct qed *qed, unsigned int i,
		       const struct qed_base_state *state)
{
	struct dm_dev *dev = qed->layers[i].dev;

	if (state->size < qed->layers[i].size)
		return has_shrunk(qed, dev);
	if (ends_within_block(qed, state->size)) {
		DMERR("%s: the image %s ends within a logical block of the image device",
		      qed_name(qed), dev->name);
		return -EINVAL;
	}
	if (state->backed && !next_below(qed, i + 1)) {
		DMERR("%s: the image %s has got a backing file, and the table has none",
		      qed_name(qed), dev->name);
		return -EINVAL;
	}
	return 0;
}

unsigned int qed_below_linked(struct qed *qed, bool *raw)
{
	bool backed = qed_meta_is_backed(qed->meta);
	unsigned int nr = 0;

	while (backed && nr < qed->nr_layers)
		backed = qed->layers[nr++].backed;
	*raw = backed && qed->backing;
	return nr;
}

/*----------------------------------------------------------------
 * Activation
 *----------------------------------------------------------------
 */

static int load_layer(struct qed *qed, unsigned int i)
{
	struct qed_layer *layer = &qed->layers[i];
	struct qed_base_state state;
	int r = qed_base_load(layer->base, dm_table_get_md(qed->ti->table), &state);

	if (r)
		return r;
	r = check_layer(qed, i, &state);
	if (r) {
		qed_base_unload(layer->base);
		return r;
	}
	layer->end = state.size;
	layer->backed = state.backed;
	return 0;
}

static void unload_layers(struct qed *qed, unsigned int nr)
{
	while (nr)
		qed_base_unload(qed->layers[--nr].base);
}

int qed_below_load(struct qed *qed)
{
	unsigned int i;
	int r;

	/* It may have been resumed as far as that, and no further. */
	if (qed->layers_loaded)
		return 0;
	r = check_raw(qed);
	if (!r)
		r = flush_raw(qed);
	if (r)
		return r;
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
	if (qed->layers_loaded)
		unload_layers(qed, qed->nr_layers);
	qed->layers_loaded = false;
}

/* The largest logical block of what is below, in sectors */
static unsigned int largest_block(struct qed *qed)
{
	struct dm_dev *dev;
	unsigned int i, size = SECTOR_SIZE;

	for (i = 0; (dev = next_below(qed, i)); i++) {
		size = max(size, bdev_logical_block_size(dev->bdev));
		if (dev == qed->backing)
			break;
	}
	return size >> SECTOR_SHIFT;
}

/* The end of what is next below the image */
static sector_t nearest_end(struct qed *qed)
{
	return qed->nr_layers ? qed->layers[0].end : qed->raw_end;
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
	if (backed)
		qed->below_end = min(nearest_end(qed),
				     round_up(end, largest_block(qed)));
	else if (qed_has_below(qed))
		DMWARN("%s: the image %s has lost its backing file since the table was loaded",
		       qed_name(qed), qed->dev->name);
}

bool qed_below_is_longer(struct qed *qed)
{
	return qed->below_end &&
	       nearest_end(qed) > qed_meta_guest_sectors(qed->meta);
}

/*----------------------------------------------------------------
 * Where something is
 *----------------------------------------------------------------
 */

/* Where no image has something. */
static enum qed_extent_kind raw_extent(struct qed *qed, sector_t sector,
				       struct qed_extent *ext)
{
	if (sector >= qed->raw_end)
		return QED_EXTENT_ZERO;
	ext->nr = min_t(sector_t, ext->nr, qed->raw_end - sector);
	ext->bdev = qed->below;
	ext->sector = sector;
	return QED_EXTENT_DATA;
}

enum qed_extent_kind qed_below_layers(struct qed *qed, sector_t sector,
				      struct qed_extent *ext, bool wait)
{
	enum qed_extent_kind kind;
	struct qed_layer *layer;
	unsigned int i;

	for (i = 0; i < qed->nr_layers; i++) {
		layer = &qed->layers[i];
		/* A short image hides what is longer below it. */
		if (sector >= layer->end)
			return QED_EXTENT_ZERO;
		ext->nr = min_t(sector_t, ext->nr, layer->end - sector);
		kind = wait ? qed_base_find(layer->base, sector, ext) :
			      qed_base_lookup(layer->base, sector, ext);
		if (kind != QED_EXTENT_HOLE)
			return kind;
		/* It may have lost that since the table was loaded. */
		if (!layer->backed)
			return QED_EXTENT_ZERO;
	}
	return raw_extent(qed, sector, ext);
}

/*
 * How many clusters from one on are zero below, of @nr? What cannot be read is not known to
 * be.
 */
static u64 zero_clusters(struct qed *qed, u64 cluster, u64 nr)
{
	unsigned int bits = qed_meta_cluster_bits(qed->meta);
	sector_t sector = cluster << bits, end = (cluster + nr) << bits;
	struct qed_extent ext;

	for (; sector < end; sector += ext.nr) {
		ext.nr = min_t(sector_t, end - sector, UINT_MAX);
		if (qed_below(qed, sector, &ext, true) != QED_EXTENT_ZERO)
			break;
		/* Of large clusters each part may be in another image. */
		cond_resched();
	}
	return (sector >> bits) - cluster;
}

/* Of those that are not zero some may be, which does no harm. */
bool qed_is_zero_below(struct qed *qed, u64 cluster, u64 *nr)
{
	unsigned int bits = qed_meta_cluster_bits(qed->meta);
	u64 end = (qed->below_end + (1ULL << bits) - 1) >> bits, zero;

	if (cluster >= end)
		return true;
	*nr = min(*nr, end - cluster);
	if (!qed->nr_layers)
		return false;
	zero = zero_clusters(qed, cluster, *nr);
	if (!zero)
		return false;
	*nr = zero;
	return true;
}

u64 qed_reads_below(struct qed *qed)
{
	u64 sum = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += *per_cpu_ptr(qed->reads_below, cpu);
	return sum;
}
