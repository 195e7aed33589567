// SPDX-License-Identifier: GPL-2.0-only
/*
 * A QED (QEMU Enhanced Disk) image as a block device.
 *
 * This is the target itself: how it is made, activated, suspended and removed. See
 * dm-qed-target.h for the way of a bio through it, and dm-qed-meta.h for what it knows
 * about the image.
 */

#include <linux/blkdev.h>
#include <linux/device-mapper.h>
#include <linux/err.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/workqueue.h>

#include "dm-qed-below.h"
#include "dm-qed-bio.h"
#include "dm-qed-cell.h"
#include "dm-qed-compat.h"
#include "dm-qed-copy.h"
#include "dm-qed-features.h"
#include "dm-qed-fill.h"
#include "dm-qed-format.h"
#include "dm-qed-map.h"
#include "dm-qed-mode.h"
#include "dm-qed-owner.h"
#include "dm-qed-status.h"

#define DM_MSG_PREFIX "qed"

/* The most that I/O is recommended to be a multiple of, in bytes */
#define QED_MAX_IO_OPT			SZ_1M

/* To refuse a second active mapping that would write, and to inherit losses */
static LIST_HEAD(claims);

static DEFINE_MUTEX(claims_mutex);

/*----------------------------------------------------------------
 * Activation
 *----------------------------------------------------------------
 */

/* Have writes been lost that no flush has told of? They count as told from now on. */
static bool lost_untold(struct qed *qed)
{
	bool lost;

	spin_lock_irq(&qed->lock);
	lost = qed->lost && !qed->told;
	qed->told = true;
	spin_unlock_irq(&qed->lock);
	return lost;
}

/* Does it keep what there was no space for? */
static bool is_uncommitted(struct qed *qed)
{
	return qed_meta_is_loaded(qed->meta) && is_writable(qed) &&
	       !qed_meta_is_durable(qed->meta);
}

/*
 * Did the table that this one replaces fail, and lose writes, or had it no space
 * for its tables? It is not closed as long as it keeps them. Caller holds
 * claims_mutex.
 */
static void inherit_lost(struct qed *qed)
{
	struct mapped_device *md = dm_table_get_md(qed->ti->table);
	struct qed *other;

	list_for_each_entry(other, &claims, claim)
		if (dm_table_get_md(other->ti->table) == md && other != qed &&
		    (lost_untold(other) || is_uncommitted(other)))
			qed_set_lost(qed);
}

/*
 * The administrator is told of writes that are lost, and that ends it, unless the guest
 * does not know: then flushes fail until the device is suspended the next time.
 */
static void resume_lost(struct qed *qed)
{
	bool lost, told;

	spin_lock_irq(&qed->lock);
	lost = qed->lost;
	told = qed->told;
	WRITE_ONCE(qed->lost, lost && !told);
	qed->told = false;
	qed->suspending = false;
	spin_unlock_irq(&qed->lock);
	if (lost)
		DMWARN("%s: writes since the last flush are lost%s",
		       qed_name(qed), told ? "" : ": flushes fail");
}

/* Does @qed write to a device that the other one uses, for its image or below that? */
static bool writes_to(struct qed *qed, struct qed *other)
{
	dev_t dev = qed->bdev->bd_dev;

	return !qed->features.read_only &&
	       (other->bdev->bd_dev == dev || qed_is_below(other, dev));
}

/* Caller holds claims_mutex. */
static bool is_claimed(struct qed *qed)
{
	struct mapped_device *md = dm_table_get_md(qed->ti->table);
	struct qed *other;

	list_for_each_entry(other, &claims, claim)
		if (other->active && dm_table_get_md(other->ti->table) != md &&
		    (writes_to(other, qed) || writes_to(qed, other)))
			return true;
	return false;
}

static int claim(struct qed *qed)
{
	mutex_lock(&claims_mutex);
	/* In any case: the table before this one goes now. */
	inherit_lost(qed);
	qed->active = !is_claimed(qed);
	if (qed->active || READ_ONCE(qed->lost))
		list_move(&qed->claim, &claims);
	mutex_unlock(&claims_mutex);
	if (qed->active)
		return 0;
	DMERR("%s: the image device %s%s is in use by another qed mapping",
	      qed_name(qed), qed->dev->name,
	      qed_has_below(qed) ? ", or a device below it," : "");
	return -EBUSY;
}

static void unclaim(struct qed *qed)
{
	mutex_lock(&claims_mutex);
	list_del_init(&qed->claim);
	mutex_unlock(&claims_mutex);
}

/* Of lost writes the table that comes next has to know, see inherit_lost(). */
static void inactive(struct qed *qed)
{
	mutex_lock(&claims_mutex);
	qed->active = false;
	if (!READ_ONCE(qed->lost))
		list_del_init(&qed->claim);
	mutex_unlock(&claims_mutex);
}

static void deactivate(struct qed *qed)
{
	qed_meta_unload(qed->meta);
	qed_below_unload(qed);
	inactive(qed);
}

static int activate(struct qed *qed)
{
	struct qed_load_args args = {
		.readonly = qed->features.read_only,
		.zeroed = qed->features.zeroed,
		.zeroed_from = qed->features.zeroed_from,
		.known_zeroes = qed->features.known_zeroes,
		.takeover = qed->features.takeover,
		.host = qed->features.host,
		.device = dm_table_get_md(qed->ti->table),
		.sectors = qed->ti->len,
		.backing = qed_has_below(qed),
	};
	unsigned int noio;
	int r;

	/*
	 * The promises are about this moment. Allocations break the first one, and if it is
	 * refused, others go on: neither holds for another attempt.
	 */
	qed->features.zeroed = false;
	qed->features.takeover = false;
	r = claim(qed);
	if (r)
		return r;
	/* Before the load: what that finds in the background may make it worse. */
	qed_set_mode(qed, args.readonly ? QED_MODE_RO : QED_MODE_RW, true);
	qed->low_water_reached = false;

	/* Memory must not come from writing to this very device. */
	noio = memalloc_noio_save();
	r = qed_below_load(qed);
	if (!r)
		r = qed_meta_load(qed->meta, &args);
	memalloc_noio_restore(noio);
	if (r) {
		qed_below_unload(qed);
		inactive(qed);
	} else {
		qed_below_activate(qed);
	}
	return r;
}

/* What is below is not kept: nobody knows what was done to it meanwhile. */
static int resume_kept(struct qed *qed)
{
	unsigned int noio = memalloc_noio_save();
	int r = qed_below_load(qed);

	memalloc_noio_restore(noio);
	if (!r)
		r = qed_meta_continue(qed->meta);
	if (r)
		qed_below_unload(qed);
	else
		qed_below_activate(qed);
	return r;
}

static int qed_preresume(struct dm_target *ti)
{
	struct qed *qed = ti->private;
	int r = 0;

	mutex_lock(&qed->life_mutex);
	/* Failed metadata is kept: it serves reads until it is replaced. */
	if (qed_meta_is_loaded(qed->meta))
		r = resume_kept(qed);
	else
		r = activate(qed);
	qed_expect_scan(qed);
	if (!r)
		resume_lost(qed);
	else if (!qed_meta_is_loaded(qed->meta))
		qed_set_mode(qed, QED_MODE_FAIL, true);
	mutex_unlock(&qed->life_mutex);
	if (r)
		DMERR("%s: cannot activate the image: error %d", qed_name(qed),
		      r);
	return r;
}

static void qed_resume(struct dm_target *ti)
{
	struct qed *qed = ti->private;
	struct qed_meta_stats stats;

	qed_restart_wait(qed);
	qed_retry_nospace(qed);
	qed_meta_get_stats(qed->meta, &stats);
	if (stats.needs_check && is_writable(qed))
		queue_delayed_work(qed->commit_wq, &qed->idle_work, QED_IDLE);
}

/*
 * Suspend has to wait for the writes that wait for space. They go on if the
 * device has grown; a suspend without flush takes them back.
 */
static void qed_presuspend(struct dm_target *ti)
{
	struct qed *qed = ti->private;

	qed_set_suspending(qed, true);
	if (dm_noflush_suspending(ti)) {
		qed_requeue_nospace(qed);
		return;
	}
	if (qed_grow(qed) <= 0)
		qed_retry_nospace(qed);
}

static void qed_presuspend_undo(struct dm_target *ti)
{
	qed_set_suspending(ti->private, false);
}

/* Caller holds life_mutex. */
static void close_or_pause(struct qed *qed)
{
	int r = qed->features.read_only ? 0 : qed_meta_close(qed->meta);

	if (!r) {
		deactivate(qed);
		return;
	}
	/* It is kept, for a resume, but another table may come instead. */
	qed_meta_pause(qed->meta);
	qed_cancel_works(qed);
	qed_below_unload(qed);
	if (r == -ENOSPC) {
		WRITE_ONCE(qed->commit_short, true);
		qed_set_mode(qed, QED_MODE_OUT_OF_SPACE, false);
		cancel_delayed_work_sync(&qed->no_space_work);
	}
}

/* Afterwards nothing of this table touches the image device until it is resumed. */
static void qed_postsuspend(struct dm_target *ti)
{
	struct qed *qed = ti->private;

	/* No message is to begin something after the works have been cancelled. */
	mutex_lock(&qed->life_mutex);
	qed_cancel_works(qed);
	flush_workqueue(qed->wq);
	if (qed_meta_is_loaded(qed->meta))
		close_or_pause(qed);
	mutex_unlock(&qed->life_mutex);
}

/*----------------------------------------------------------------
 * Limits
 *----------------------------------------------------------------
 */

static int qed_iterate_devices(struct dm_target *ti,
			       iterate_devices_callout_fn fn, void *data)
{
	struct qed *qed = ti->private;
	int r = fn(ti, qed->dev, 0, bdev_nr_sectors(qed->bdev), data);
	struct dm_dev *dev;
	unsigned int i;

	for (i = 0; !r && i < qed->nr_layers; i++) {
		dev = qed->layers[i].dev;
		r = fn(ti, dev, 0, bdev_nr_sectors(dev->bdev), data);
	}
	if (!r && qed->backing)
		r = fn(ti, qed->backing, 0, bdev_nr_sectors(qed->below), data);
	return r;
}

/*
 * Within a cluster, of @size bytes, the disk is aligned as the image device is, and
 * beyond it in no way.
 */
static void hint_alignment(struct queue_limits *limits, unsigned int size)
{
	unsigned int best;

	limits->physical_block_size = min(limits->physical_block_size, size);
	limits->alignment_offset &= limits->physical_block_size - 1;
	limits->discard_alignment = 0;
	limits->chunk_sectors = 0;

	/* What the image device recommends may already be whole clusters. */
	best = max_t(unsigned int, limits->physical_block_size,
		     min_t(unsigned int, size, QED_MAX_IO_OPT));
	if (!limits->io_opt || limits->io_opt % best) {
		limits->io_min = best;
		limits->io_opt = best;
	}
}

/* Bios of any size: they cost what has to change in the tables. */
static void qed_io_hints(struct dm_target *ti, struct queue_limits *limits)
{
	struct qed *qed = ti->private;
	unsigned int size = 1U << qed_meta_cluster_bits(qed->meta);
	unsigned int max = round_down(UINT_MAX >> SECTOR_SHIFT, size);

	hint_alignment(limits, size << SECTOR_SHIFT);
	qed_limit_write_zeroes(limits, max);
	if (!ti->discards_supported)
		return;
	limits->discard_granularity = size << SECTOR_SHIFT;
	limits->max_discard_sectors = max;
	limits->max_hw_discard_sectors = max;
}

/*----------------------------------------------------------------
 * Construction
 *----------------------------------------------------------------
 */

static int check_device(struct qed *qed, char **error)
{
	if (!qed->features.read_only && bdev_read_only(qed->bdev)) {
		*error = "Image device is read-only";
		return -EACCES;
	}
	if (bdev_logical_block_size(qed->bdev) > QED_MIN_CLUSTER_SIZE) {
		*error = "Logical blocks of the image device are too large";
		return -EINVAL;
	}
	return 0;
}

static int open_device(struct qed *qed, const char *path, char **error)
{
	blk_mode_t mode = dm_table_get_mode(qed->ti->table);
	int r;

	if (!(mode & BLK_OPEN_WRITE))
		qed->features.read_only = true;
	if (qed->features.read_only)
		mode &= ~BLK_OPEN_WRITE;

	r = dm_get_device(qed->ti, path, mode, &qed->dev);
	if (r) {
		*error = "Cannot open the image device";
		return r;
	}
	qed->bdev = qed->dev->bdev;

	r = check_device(qed, error);
	if (r)
		dm_put_device(qed->ti, qed->dev);
	return r;
}

/* Not the last word, see claim(), but at the right time for the user. */
static int check_claims(struct qed *qed, char **error)
{
	int r = 0;

	mutex_lock(&claims_mutex);
	if (is_claimed(qed)) {
		*error = qed_has_below(qed) ?
			 "Image or backing device is in use by another qed mapping" :
			 "Image device is in use by another qed mapping";
		r = -EBUSY;
	}
	mutex_unlock(&claims_mutex);
	return r;
}

static int open_devices(struct qed *qed, const char *path, char **error)
{
	int r = open_device(qed, path, error);

	if (r)
		return r;
	r = qed_below_open(qed, error);
	if (r)
		goto bad_below;
	r = check_claims(qed, error);
	if (r)
		goto bad_claim;
	/* They belong to the caller. */
	qed->features.backing = NULL;
	memset(qed->features.layers, 0, sizeof(qed->features.layers));
	return 0;

bad_claim:
	qed_below_close(qed);
bad_below:
	dm_put_device(qed->ti, qed->dev);
	return r;
}

static void close_devices(struct qed *qed)
{
	qed_below_close(qed);
	dm_put_device(qed->ti, qed->dev);
}

static void init_state(struct qed *qed)
{
	qed_mode_init(qed);
	mutex_init(&qed->life_mutex);
	INIT_LIST_HEAD(&qed->claim);
}

/*
 * Each queue has a thread in reserve, for when no worker can be had. Devices do not share
 * them: a work waits for the image device, which may be on another image, of which a work
 * has to run for that. One thread for both would wait for itself. One for all of the same
 * depth would not, but nobody can tell how deep a device is: there may be a file below, and
 * any table below may be replaced by one on an image that is younger than this one.
 */
static int alloc_resources(struct qed *qed)
{
	int r;

	r = qed_cells_init(qed);
	if (r)
		return r;
	r = qed_bios_init(qed);
	if (r)
		goto bad_bios;
	r = -ENOMEM;
	qed->wq = alloc_workqueue("dm-qed/%s", WQ_UNBOUND | WQ_MEM_RECLAIM, 0,
				  qed_name(qed));
	if (!qed->wq)
		goto bad_wq;
	qed->commit_wq = alloc_ordered_workqueue("dm-qed-commit/%s",
						 WQ_MEM_RECLAIM, qed_name(qed));
	if (!qed->commit_wq)
		goto bad_commit_wq;
	if (qed_has_below(qed)) {
		qed->copies = qed_copies_create(qed);
		if (!qed->copies)
			goto bad_copies;
	}
	return 0;

bad_copies:
	destroy_workqueue(qed->commit_wq);
bad_commit_wq:
	destroy_workqueue(qed->wq);
bad_wq:
	qed_bios_exit(qed);
bad_bios:
	qed_cells_exit(qed);
	return r;
}

static void free_resources(struct qed *qed)
{
	if (qed->copies)
		qed_copies_destroy(qed->copies);
	destroy_workqueue(qed->commit_wq);
	destroy_workqueue(qed->wq);
	qed_bios_exit(qed);
	qed_cells_exit(qed);
}

static void init_target(struct dm_target *ti, const struct qed_features *f)
{
	bool discards = !f->ignore_discard && !f->read_only;

	ti->num_flush_bios = 1;
	ti->flush_supported = true;
	/* Space becomes free even if the image device does not take it. */
	ti->num_discard_bios = discards;
	ti->discards_supported = discards;
	/* Device mapper offers it if the image device can do it in place. */
	ti->num_write_zeroes_bios = !f->read_only;
	ti->per_io_data_size = sizeof(struct qed_io);
	/* Swapping out must not need more memory than there are bios for. */
	ti->limit_swap_bios = true;
	/* See qed_io_submit(): what never gets to the image device is not counted. */
	ti->accounts_remapped_io = true;
}

/*
 * <image_dev> [<#feature args> <feature arg>...]
 *
 * See Documentation/admin-guide/device-mapper/dm-qed.rst.
 */
static int qed_ctr(struct dm_target *ti, unsigned int argc, char **argv)
{
	struct dm_arg_set as = { .argc = argc, .argv = argv };
	const char *path = dm_shift_arg(&as);
	struct qed *qed;
	int r;

	if (!path) {
		ti->error = "Image device is missing";
		return -EINVAL;
	}

	qed = kzalloc(sizeof(*qed), GFP_KERNEL);
	if (!qed) {
		ti->error = "Cannot allocate the target";
		return -ENOMEM;
	}
	qed->ti = ti;
	init_state(qed);

	r = qed_features_parse(&as, &qed->features, &ti->error);
	if (r)
		goto bad_args;
	r = open_devices(qed, path, &ti->error);
	if (r)
		goto bad_args;
	r = alloc_resources(qed);
	if (r) {
		ti->error = "Cannot allocate resources";
		goto bad_resources;
	}
	qed->meta = qed_meta_create(qed->bdev, &qed->client,
				    qed->features.cache_kib,
				    !qed->features.no_discard_passdown,
				    qed->features.zero_ahead,
				    &ti->error);
	if (IS_ERR(qed->meta)) {
		r = PTR_ERR(qed->meta);
		goto bad_meta;
	}
	r = qed_meta_check_length(qed->meta, ti->len);
	if (r) {
		ti->error = "Table length exceeds the image size";
		goto bad_header;
	}
	r = qed_below_check(qed, &ti->error);
	if (r)
		goto bad_header;

	init_target(ti, &qed->features);
	ti->private = qed;
	return 0;

bad_header:
	qed_meta_destroy(qed->meta);
bad_meta:
	free_resources(qed);
bad_resources:
	close_devices(qed);
bad_args:
	kfree(qed);
	return r;
}

static void qed_dtr(struct dm_target *ti)
{
	struct qed *qed = ti->private;

	unclaim(qed);
	qed_meta_unload(qed->meta);
	qed_below_unload(qed);
	/* The last commit, and what has gone on until now, may have asked for one. */
	qed_cancel_works(qed);
	qed_meta_destroy(qed->meta);
	free_resources(qed);
	close_devices(qed);
	kfree(qed);
}

static struct target_type qed_target = {
	.name = "qed",
	.version = {1, 0, 0},
	.features = DM_TARGET_SINGLETON | DM_TARGET_NOWAIT,
	.module = THIS_MODULE,
	.ctr = qed_ctr,
	.dtr = qed_dtr,
	.map = qed_map,
	.end_io = qed_end_io,
	.presuspend = qed_presuspend,
	.presuspend_undo = qed_presuspend_undo,
	.postsuspend = qed_postsuspend,
	.preresume = qed_preresume,
	.resume = qed_resume,
	.status = qed_status,
	.message = qed_message,
	.iterate_devices = qed_iterate_devices,
	.io_hints = qed_io_hints,
};

static int __init dm_qed_init(void)
{
	int r;

	r = qed_cell_module_init();
	if (r)
		return r;
	r = qed_fill_module_init();
	if (r)
		goto bad_fill;
	qed_copy_module_init();
	r = qed_meta_module_init();
	if (r)
		goto bad_meta;
	r = dm_register_target(&qed_target);
	if (r)
		goto bad_register;
	return 0;

bad_register:
	qed_meta_module_exit();
bad_meta:
	qed_copy_module_exit();
	qed_fill_module_exit();
bad_fill:
	qed_cell_module_exit();
	return r;
}

static void __exit dm_qed_exit(void)
{
	dm_unregister_target(&qed_target);
	qed_meta_module_exit();
	qed_copy_module_exit();
	qed_fill_module_exit();
	qed_cell_module_exit();
}

module_init(dm_qed_init);
module_exit(dm_qed_exit);

MODULE_ALIAS("dm-qed");
MODULE_DESCRIPTION(DM_NAME " target for QED (QEMU Enhanced Disk) images");
MODULE_AUTHOR("The dm-qed authors");
MODULE_LICENSE("GPL");
