/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How the space map of an image device is made, and what changes when a scan has ended, or
 * the device has grown. All of it takes long, and the map's lock in short steps.
 */

#ifndef DM_QED_SPACE_BUILD_H
#define DM_QED_SPACE_BUILD_H

#include "dm-qed-space.h"

/**
 * qed_space_bitmap() - allocate a zeroed bitmap with a bit per cluster
 * @nr: number of clusters
 *
 * Context: Process context, may sleep. To be freed with vfree().
 * Return: the bitmap or NULL.
 */
unsigned long *qed_space_bitmap(u64 nr);

/**
 * qed_space_create() - make the space map of a device
 * @nr: number of whole clusters of the device
 * @zeroed_from: clusters from here on are free and durably zero; @nr if none is
 * @table: number of clusters of a table, not more than bits of a long
 *
 * All clusters below @zeroed_from count as used until qed_space_install(). Only some of
 * the others can be allocated before qed_space_complete(): what this takes does not
 * depend on @nr.
 *
 * Context: Process context, may sleep.
 * Return: the map or NULL without memory.
 */
struct qed_space *qed_space_create(u64 nr, u64 zeroed_from, unsigned int table);

/**
 * qed_space_complete() - have memory for all of the device
 * @space: the map
 * @stop: gives up when this becomes true; or NULL
 *
 * To be called before qed_space_install(), and before a cluster is freed that was not
 * allocated from this map. Free clusters can be allocated one part after the other.
 *
 * Context: Process context, may sleep; takes the map's lock in short steps.
 * Return: 0, -EINTR if it was stopped, or -ENOMEM; then it can be called again.
 */
int qed_space_complete(struct qed_space *space, const bool *stop);

void qed_space_destroy(struct qed_space *space);

/**
 * qed_space_install() - tell the map what a scan of the tables has found
 * @space: the map
 * @used: a bit set for every referenced cluster
 *
 * Takes over the clusters below the zeroed_from of qed_space_create(): what was
 * allocated above it since stays as it is.
 *
 * Context: Process context; takes the map's lock in short steps.
 */
void qed_space_install(struct qed_space *space, const unsigned long *used);

/**
 * qed_space_limit_zeroes() - not all free clusters are known to be zero
 * @space: a new map
 * @from: those from here on are, of the ones that qed_space_create() was told of
 * @end: the end of them; 0 if there are none
 *
 * Context: Process context; takes the map's lock in short steps.
 */
void qed_space_limit_zeroes(struct qed_space *space, u64 from, u64 end);

/**
 * qed_space_grow() - follow the growth of the device
 * @space: the map
 * @nr: the new number of whole clusters, ignored unless it is larger
 *
 * Nothing is known of the new clusters. They can be used one part after the other.
 *
 * Context: Process context, may sleep.
 * Return: 1 if the map has grown, 0 if there was nothing to do, -ENOMEM.
 */
int qed_space_grow(struct qed_space *space, u64 nr);

#endif /* DM_QED_SPACE_BUILD_H */
