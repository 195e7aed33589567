/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is below an image: its backing file, as a raw block device. It shows where the
 * image has no cluster, up to its own end, and is never written.
 */

#ifndef DM_QED_BELOW_H
#define DM_QED_BELOW_H

#include <linux/percpu.h>

#include "dm-qed-target.h"

/**
 * qed_below_open() - open what is below
 * @qed: the target, with its image device
 * @path: of the device, or NULL if there is none
 * @error: a phrase for the user where it fails
 *
 * Context: Process context, may sleep.
 * Return: 0; -EINVAL for a device that does not go with the image device, -ENXIO for one
 * without a size; or why it cannot be opened.
 */
int qed_below_open(struct qed *qed, const char *path, char **error);
void qed_below_close(struct qed *qed);

/**
 * qed_below_check() - does the header ask for what the table has?
 * @qed: the target, with its metadata
 * @error: a phrase for the user where it fails
 *
 * Context: Process context.
 * Return: 0; -EOPNOTSUPP if the image has a backing file and the table has none; -EINVAL
 * the other way round.
 */
int qed_below_check(struct qed *qed, char **error);

/**
 * qed_below_measure() - has it become shorter since the table was loaded?
 * @qed: the target
 * @size: its size in sectors, for qed_below_activate()
 *
 * What is missing would read as zeroes, and get into the image with what is copied.
 *
 * Context: Process context.
 * Return: 0 or -ENXIO.
 */
int qed_below_measure(struct qed *qed, sector_t *size);

/**
 * qed_below_activate() - find out how much of the image is below
 * @qed: the target, whose metadata has just been loaded
 * @size: of what is below, before that: if it has become shorter since, reads fail
 *
 * The header may have changed since the table was made: it decides what shows, and the
 * table only where that is.
 *
 * Context: Process context.
 */
void qed_below_activate(struct qed *qed, sector_t size);

/* Is the device used as what is below? Context: Any. */
bool qed_is_below(struct qed *qed, dev_t dev);

/**
 * qed_below() - where a hole of the image is
 * @qed: the target
 * @sector: guest sector
 * @ext: a HOLE extent, of that sector; becomes shorter, and tells where
 *
 * Context: Any.
 * Return: QED_EXTENT_DATA, without a hold, or QED_EXTENT_ZERO.
 */
static inline enum qed_extent_kind
qed_below(struct qed *qed, sector_t sector, struct qed_extent *ext)
{
	if (sector >= qed->below_end)
		return QED_EXTENT_ZERO;
	ext->nr = min_t(sector_t, ext->nr, qed->below_end - sector);
	ext->bdev = qed->below;
	ext->sector = sector;
	return QED_EXTENT_DATA;
}

/* The same for a read of the guest, which is counted. Context: Any. */
static inline enum qed_extent_kind
qed_read_below(struct qed *qed, sector_t sector, struct qed_extent *ext)
{
	enum qed_extent_kind kind = qed_below(qed, sector, ext);

	if (kind == QED_EXTENT_DATA)
		this_cpu_inc(*qed->reads_below);
	return kind;
}

/* What the next one asks where something is below. */
bool qed_is_behind_below(struct qed *qed, u64 cluster, u64 *nr);

/**
 * qed_below_is_zero() - is nothing but zeroes below clusters?
 * @qed: the target
 * @cluster: first guest cluster
 * @nr: how many; becomes the number of those to which the answer applies
 *
 * Context: Any.
 * Return: true if that is known.
 */
static inline bool qed_below_is_zero(struct qed *qed, u64 cluster, u64 *nr)
{
	return !qed->below_end || qed_is_behind_below(qed, cluster, nr);
}

/* Would these zeroes hide something, where there is no cluster? Context: Any. */
static inline bool qed_hides_below(struct qed *qed, struct bio *bio)
{
	return bio_op(bio) == REQ_OP_WRITE_ZEROES &&
	       bio->bi_iter.bi_sector < qed->below_end;
}

/* Does what is below reach over the end of the image? Context: Any. */
bool qed_below_is_longer(struct qed *qed);

/* Reads of the guest that went below. Context: Any. */
u64 qed_reads_below(struct qed *qed);

#endif /* DM_QED_BELOW_H */
