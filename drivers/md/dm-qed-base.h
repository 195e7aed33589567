/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Images below others: read-only, each loaded once for all that are over it, with one table
 * cache. What is wrong there fails the read that comes across it, and nothing else.
 */

#ifndef DM_QED_BASE_H
#define DM_QED_BASE_H

#include "dm-qed-meta.h"

struct qed_base;

/**
 * struct qed_base_state - what the header of an image says
 * @size: of its disk, in sectors
 * @backed: what is below it shows where it has no cluster
 */
struct qed_base_state {
	sector_t size;
	bool backed;
};

/**
 * qed_base_get() - get the image on a device
 * @bdev: the device, which the caller has open until qed_base_put()
 * @state: what its header says now, or, if it is loaded, said then
 * @error: a phrase for the user where it fails
 *
 * Context: Process context, may sleep.
 * Return: the image, or an ERR_PTR like qed_meta_create().
 */
struct qed_base *qed_base_get(struct block_device *bdev,
			      struct qed_base_state *state, char **error);
void qed_base_put(struct qed_base *base);

/**
 * qed_base_load() - load the tables, unless somebody else has
 * @base: the image
 * @device: for which: what another table of it has does not count as in use
 * @state: what its header says; stays so until it is unloaded
 *
 * Context: Process context, may sleep.
 * Return: 0, or an error like qed_meta_load(), -EBUSY if another device of this host writes to
 * the image by another path, or somebody has written to it since others have loaded it: then
 * it is not loaded for this caller.
 */
int qed_base_load(struct qed_base *base, const void *device,
		  struct qed_base_state *state);

/* The end of that: of the caller no lookup is under way. Context: Process, may sleep. */
void qed_base_unload(struct qed_base *base);

/**
 * qed_base_lookup() - where a range of the image is
 * @base: the loaded image
 * @sector: the first sector, not behind its end
 * @ext: has the number of sectors, none of them behind the end; becomes shorter, and tells
 *	where they are, without a hold
 *
 * Context: Any context that may enter an RCU read side section.
 * Return: like qed_meta_lookup().
 */
enum qed_extent_kind qed_base_lookup(struct qed_base *base, sector_t sector,
				     struct qed_extent *ext);

/*
 * The same, but the table is read where that is needed. Context: Process, may sleep.
 * Return: not QED_EXTENT_UNCACHED; QED_EXTENT_BAD also if it cannot be read.
 */
enum qed_extent_kind qed_base_find(struct qed_base *base, sector_t sector,
				   struct qed_extent *ext);

#endif /* DM_QED_BASE_H */
