// SPDX-License-Identifier: GPL-2.0-only
/*
 * Images below others, see dm-qed-base.h.
 */

#include <linux/blkdev.h>
#include <linux/device-mapper.h>
#include <linux/err.h>
#include <linux/kdev_t.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

#include "dm-qed-base.h"

#define DM_MSG_PREFIX "qed"

/**
 * struct qed_base - an image below others
 * @list: of all
 * @refs: tables that have it
 * @mutex: see there
 * @users: tables that have it loaded
 * @bdev: where it is; open as long as there are references, so no other device is there
 * @meta: its metadata
 * @client: of that
 * @name: for messages
 */
struct qed_base {
	struct list_head list;
	unsigned int refs;
	/*
	 * Protects users, and serialises load and unload with reads of the header before. Not one
	 * for all images: the device of one may be suspended, and be over another one.
	 * Nobody who has it may allocate memory that could have to be written to a device
	 * of ours, for that may wait for it to be resumed.
	 */
	struct mutex mutex;
	unsigned int users;
	struct block_device *bdev;
	struct qed_meta *meta;
	struct qed_meta_client client;
	char name[32];
};

static LIST_HEAD(bases);

/* Protects the list, and the references. Process context only. */
static DEFINE_SPINLOCK(bases_lock);

/*----------------------------------------------------------------
 * What the metadata has to say
 *----------------------------------------------------------------
 */

static void base_failed(struct qed_meta_client *client, const char *why, bool lost)
{
}

static void base_ignores(struct qed_meta_client *client)
{
}

static void base_wants_nothing(struct qed_meta_client *client, bool now)
{
}

/* It is never written, so there is nothing to be lost, or to be done. */
static const struct qed_meta_client base_client = {
	.failed = base_failed,
	.want_commit = base_wants_nothing,
	.flush_failed = base_ignores,
	.more_space = base_ignores,
	.scanned = base_ignores,
	.event = base_ignores,
};

/*----------------------------------------------------------------
 * References
 *----------------------------------------------------------------
 */

static struct qed_base *create_base(struct block_device *bdev, char **error)
{
	struct qed_base *base = kzalloc(sizeof(*base), GFP_KERNEL);
	struct qed_meta *meta;

	if (!base) {
		*error = "Cannot allocate a layer";
		return ERR_PTR(-ENOMEM);
	}
	base->refs = 1;
	base->bdev = bdev;
	mutex_init(&base->mutex);
	snprintf(base->name, sizeof(base->name), "layer %u:%u",
		 MAJOR(bdev->bd_dev), MINOR(bdev->bd_dev));
	base->client = base_client;
	base->client.name = base->name;
	meta = qed_meta_create(bdev, &base->client, 0, false, 0, error);
	if (IS_ERR(meta)) {
		kfree(base);
		return ERR_CAST(meta);
	}
	base->meta = meta;
	return base;
}

static void destroy_base(struct qed_base *base)
{
	qed_meta_destroy(base->meta);
	kfree(base);
}

/* Caller holds the lock. */
static struct qed_base *find_base(struct block_device *bdev)
{
	struct qed_base *base;

	list_for_each_entry(base, &bases, list) {
		if (base->bdev == bdev) {
			base->refs++;
			return base;
		}
	}
	return NULL;
}

static struct qed_base *get_base(struct block_device *bdev)
{
	struct qed_base *base;

	spin_lock(&bases_lock);
	base = find_base(bdev);
	spin_unlock(&bases_lock);
	return base;
}

/* Returns the one that somebody else has made meanwhile, if so. */
static struct qed_base *add_base(struct qed_base *new)
{
	struct qed_base *base;

	spin_lock(&bases_lock);
	base = find_base(new->bdev);
	if (!base)
		list_add(&new->list, &bases);
	spin_unlock(&bases_lock);
	if (!base)
		return new;
	destroy_base(new);
	return base;
}

/* Caller holds the mutex. */
static void get_state(struct qed_base *base, struct qed_base_state *state)
{
	state->size = qed_meta_guest_sectors(base->meta);
	state->backed = qed_meta_is_backed(base->meta);
}

/* While it is not loaded somebody may have written to it. */
static int look(struct qed_base *base, struct qed_base_state *state, char **error)
{
	int r = 0;

	mutex_lock(&base->mutex);
	if (!base->users)
		r = qed_meta_reread(base->meta, error);
	get_state(base, state);
	mutex_unlock(&base->mutex);
	return r;
}

struct qed_base *qed_base_get(struct block_device *bdev,
			      struct qed_base_state *state, char **error)
{
	struct qed_base *base = get_base(bdev);
	int r;

	if (!base) {
		base = create_base(bdev, error);
		if (IS_ERR(base))
			return base;
		base = add_base(base);
	}
	r = look(base, state, error);
	if (!r)
		return base;
	qed_base_put(base);
	return ERR_PTR(r);
}

void qed_base_put(struct qed_base *base)
{
	bool last;

	spin_lock(&bases_lock);
	last = !--base->refs;
	if (last)
		list_del(&base->list);
	spin_unlock(&bases_lock);
	if (last)
		destroy_base(base);
}

/* Sets @others to whether others have it loaded. */
static int load_base(struct qed_base *base, const void *device,
		     struct qed_base_state *state, bool *others)
{
	/* Whether the table has something for what is below it is for the caller to see. */
	struct qed_load_args args = {
		.readonly = true,
		.below = true,
		.device = device,
		.backing = true,
	};
	int r = 0;

	mutex_lock(&base->mutex);
	*others = base->users;
	if (!*others)
		r = qed_meta_load(base->meta, &args);
	if (!r)
		base->users++;
	get_state(base, state);
	mutex_unlock(&base->mutex);
	return r;
}

int qed_base_load(struct qed_base *base, const void *device,
		  struct qed_base_state *state)
{
	bool others;
	int r = load_base(base, device, state, &others);

	if (r || !others)
		return r;
	/* Without the mutex: its device may be suspended, and others have to come to an end. */
	r = qed_meta_is_as_loaded(base->meta);
	if (r)
		qed_base_unload(base);
	return r;
}

void qed_base_unload(struct qed_base *base)
{
	mutex_lock(&base->mutex);
	if (!--base->users)
		qed_meta_unload(base->meta);
	mutex_unlock(&base->mutex);
}

/*----------------------------------------------------------------
 * Lookups
 *----------------------------------------------------------------
 */

enum qed_extent_kind qed_base_lookup(struct qed_base *base, sector_t sector,
				     struct qed_extent *ext)
{
	return qed_meta_lookup_readonly(base->meta, sector, ext->nr, ext);
}

enum qed_extent_kind qed_base_find(struct qed_base *base, sector_t sector,
				   struct qed_extent *ext)
{
	u64 cluster = sector >> qed_meta_cluster_bits(base->meta);
	enum qed_extent_kind kind = qed_base_lookup(base, sector, ext);
	struct qed_block *block;

	if (kind != QED_EXTENT_UNCACHED)
		return kind;
	/* Pinned, it is there for the lookup. */
	block = qed_block_get(base->meta, cluster, false);
	if (IS_ERR_OR_NULL(block))
		return QED_EXTENT_BAD;
	kind = qed_base_lookup(base, sector, ext);
	qed_block_put(base->meta, block);
	return kind;
}
