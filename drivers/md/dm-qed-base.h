/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Images below others: read only, loaded once for all that are over them, with one table
 * cache. Nothing is ever unmapped there, so a lookup needs no reference.
 */

#ifndef DM_QED_BASE_H
#define DM_QED_BASE_H

#include "dm-qed-meta.h"

struct qed_base;

/**
 * qed_base_get() - get the image on a device
 * @bdev: the device, which the caller has open until qed_base_put()
 * @error: a phrase for the user where it fails
 *
 * Context: Process context, may sleep.
 * Return: the image, of which the header has been read, or an ERR_PTR.
 */
struct qed_base *qed_base_get(struct block_device *bdev, char **error);
void qed_base_put(struct qed_base *base);

/**
 * qed_base_load() - load the tables, if nobody else has
 * @base: the image
 * @backed: it has something below, as the table of the device says
 *
 * Context: Process context, may sleep.
 * Return: 0 or an error; then it is not loaded for this caller.
 */
int qed_base_load(struct qed_base *base, bool backed);
void qed_base_unload(struct qed_base *base);

/* The metadata, for what is constant while loaded. */
struct qed_meta *qed_base_meta(struct qed_base *base);

/**
 * qed_base_lookup() - like qed_meta_lookup(), where that is
 * @base: the loaded image
 * @sector: a sector of it, not behind its end
 * @ext: of that sector; becomes shorter, and tells where, without a hold
 *
 * Context: Any context that may enter an RCU read side section.
 */
enum qed_extent_kind qed_base_lookup(struct qed_base *base, sector_t sector,
				     struct qed_extent *ext);

/* The same, but read the table where needed: never UNCACHED. Context: Process, may sleep. */
enum qed_extent_kind qed_base_find(struct qed_base *base, sector_t sector,
				   struct qed_extent *ext);

#endif /* DM_QED_BASE_H */
