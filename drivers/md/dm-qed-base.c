// SPDX-License-Identifier: GPL-2.0-only
/*
 * Images below others, see dm-qed-base.h.
 */

#include <linux/blkdev.h>
#include <linux/device-mapper.h>
#include <linux/err.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "dm-qed-base.h"

#define DM_MSG_PREFIX "qed"

/**
 * struct qed_base - an image below others
 * @list: of all
 * @dev: where it is
 * @refs: tables that have it
 * @users: those of them that are active: it is loaded
 * @meta: its metadata
 * @client: of that
 * @name: of the device
 */
struct qed_base {
	struct list_head list;
	dev_t dev;
	unsigned int refs;
	unsigned int users;
	struct qed_meta *meta;
	struct qed_meta_client client;
	char name[32];
};

static LIST_HEAD(bases);

/* Protects the list, references and users; held while an image is loaded. */
static DEFINE_MUTEX(bases_mutex);

/*----------------------------------------------------------------
 * What happens there: a defect fails the read that meets it, and nothing else.
 *----------------------------------------------------------------
 */

static void base_failed(struct qed_meta_client *client, const char *why, bool lost)
{
	DMERR_LIMIT("%s: below other images: %s", client->name, why);
}

static void base_ignores(struct qed_meta_client *client)
{
}

static void base_wants_nothing(struct qed_meta_client *client, bool now)
{
}

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

/* Caller holds the mutex. */
static struct qed_base *find_base(dev_t dev)
{
	struct qed_base *base;

	list_for_each_entry(base, &bases, list)
		if (base->dev == dev)
			return base;
	return NULL;
}

static struct qed_base *create_base(struct block_device *bdev, char **error)
{
	struct qed_base *base = kzalloc(sizeof(*base), GFP_KERNEL);

	if (!base) {
		*error = "Cannot allocate a layer";
		return ERR_PTR(-ENOMEM);
	}
	base->dev = bdev->bd_dev;
	snprintf(base->name, sizeof(base->name), "%pg", bdev);
	base->client = base_client;
	base->client.name = base->name;
	base->meta = qed_meta_create(bdev, &base->client, 0, false, 0, error);
	if (IS_ERR(base->meta)) {
		int r = PTR_ERR(base->meta);

		kfree(base);
		return ERR_PTR(r);
	}
	list_add(&base->list, &bases);
	return base;
}

struct qed_base *qed_base_get(struct block_device *bdev, char **error)
{
	struct qed_base *base;

	mutex_lock(&bases_mutex);
	base = find_base(bdev->bd_dev);
	if (!base)
		base = create_base(bdev, error);
	if (!IS_ERR(base))
		base->refs++;
	mutex_unlock(&bases_mutex);
	return base;
}

void qed_base_put(struct qed_base *base)
{
	mutex_lock(&bases_mutex);
	if (!--base->refs) {
		list_del(&base->list);
		qed_meta_destroy(base->meta);
		kfree(base);
	}
	mutex_unlock(&bases_mutex);
}

static int load(struct qed_base *base, bool backed)
{
	struct qed_load_args args = {
		.readonly = true,
		.backing = backed,
	};
	unsigned int noio = memalloc_noio_save();
	int r = qed_meta_load(base->meta, &args);

	memalloc_noio_restore(noio);
	return r;
}

int qed_base_load(struct qed_base *base, bool backed)
{
	int r = 0;

	mutex_lock(&bases_mutex);
	if (!base->users)
		r = load(base, backed);
	if (!r && qed_meta_is_backed(base->meta) && !backed) {
		DMERR("%s: the image has a backing file, and the table has none for it",
		      base->name);
		r = -EINVAL;
		if (!base->users)
			qed_meta_unload(base->meta);
	}
	if (!r)
		base->users++;
	mutex_unlock(&bases_mutex);
	return r;
}

void qed_base_unload(struct qed_base *base)
{
	mutex_lock(&bases_mutex);
	if (!--base->users)
		qed_meta_unload(base->meta);
	mutex_unlock(&bases_mutex);
}

struct qed_meta *qed_base_meta(struct qed_base *base)
{
	return base->meta;
}

/*----------------------------------------------------------------
 * Lookups
 *----------------------------------------------------------------
 */

enum qed_extent_kind qed_base_lookup(struct qed_base *base, sector_t sector,
				     struct qed_extent *ext)
{
	return qed_meta_lookup_shared(base->meta, sector, ext->nr, ext);
}

enum qed_extent_kind qed_base_find(struct qed_base *base, sector_t sector,
				   struct qed_extent *ext)
{
	u64 cluster = sector >> qed_meta_cluster_bits(base->meta);
	enum qed_extent_kind kind;
	struct qed_block *block;

	/* Pinned, it is there for the lookup. */
	block = qed_block_get(base->meta, cluster, false);
	if (IS_ERR(block))
		return QED_EXTENT_BAD;
	kind = qed_base_lookup(base, sector, ext);
	if (block)
		qed_block_put(base->meta, block);
	return kind;
}
