/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is below an image: other images, the nearest first, and a raw block device, or one of
 * both. Each of them shows where what is over it has no cluster, up to the end of that: what
 * is longer is hidden, and behind its own end there are zeroes. None of them is ever written.
 */

#ifndef DM_QED_BELOW_H
#define DM_QED_BELOW_H

#include <linux/percpu.h>

#include "dm-qed-target.h"

/**
 * qed_below_open() - open what is below, as the table says
 * @qed: the target, with its image device
 * @error: a phrase for the user where it fails; which device it is about is logged
 *
 * Context: Process context, may sleep.
 * Return: 0; -EINVAL for a device that does not go with the image device, -ENXIO for one
 * without a size; why it cannot be opened; or what is wrong with an image there.
 */
int qed_below_open(struct qed *qed, char **error);
void qed_below_close(struct qed *qed);

/**
 * qed_below_check() - do the headers ask for what the table has?
 * @qed: the target, with its metadata
 * @error: a phrase for the user where it fails
 *
 * Context: Process context.
 * Return: 0; -EOPNOTSUPP if an image has a backing file and the table has none for it;
 * -EINVAL the other way round.
 */
int qed_below_check(struct qed *qed, char **error);

/**
 * qed_below_linked() - what the headers ask for, of what the table has
 * @qed: the target
 * @raw: becomes whether the raw device is among it
 *
 * One of them may have lost its backing file since the table was made.
 *
 * Context: Process context, not beside qed_below_load().
 * Return: the number of layers.
 */
unsigned int qed_below_linked(struct qed *qed, bool *raw);

/**
 * qed_below_load() - load the images below, and look how long all is
 * @qed: the target
 *
 * At each resume, as somebody may have written to them before. Has something become shorter
 * since the table was loaded? What is missing would read as zeroes, and get into the image
 * with what is copied. What becomes so after this fails reads.
 *
 * Context: Process context, may sleep.
 * Return: 0; -ENXIO if so; -EINVAL if they do not go with the table any more; or an error
 * like that of qed_meta_load().
 */
int qed_below_load(struct qed *qed);

/* The end of that, if they are. Context: Process context, may sleep; no bio is under way. */
void qed_below_unload(struct qed *qed);

/*
 * Find out how much of the image is below; its metadata has just been loaded. The header
 * may have changed since the table was made: it decides what shows, and the table only
 * where that is. Context: Process context.
 */
void qed_below_activate(struct qed *qed);

/* Does the table have something below? Context: Any. */
static inline bool qed_has_below(struct qed *qed)
{
	return qed->nr_layers || qed->backing;
}

/* Is the device used as what is below? Context: Any. */
bool qed_is_below(struct qed *qed, dev_t dev);

/* What the next one asks where images are below, for sectors up to below_end. */
enum qed_extent_kind qed_below_layers(struct qed *qed, sector_t sector,
				      struct qed_extent *ext, bool wait);

/**
 * qed_below() - where a hole of the image is
 * @qed: the target
 * @sector: guest sector
 * @ext: a HOLE extent, of that sector; becomes shorter, and tells where
 * @wait: read a table where that is needed
 *
 * Context: Any; with @wait process context, may sleep.
 * Return: QED_EXTENT_DATA, without a hold, QED_EXTENT_ZERO, or, in an image below,
 * QED_EXTENT_BAD, and without @wait QED_EXTENT_UNCACHED.
 */
static inline enum qed_extent_kind
qed_below(struct qed *qed, sector_t sector, struct qed_extent *ext, bool wait)
{
	if (sector >= qed->below_end)
		return QED_EXTENT_ZERO;
	ext->nr = min_t(sector_t, ext->nr, qed->below_end - sector);
	if (qed->nr_layers)
		return qed_below_layers(qed, sector, ext, wait);
	ext->bdev = qed->below;
	ext->sector = sector;
	return QED_EXTENT_DATA;
}

/* The same for a read of the guest, which is counted. Context: likewise. */
static inline enum qed_extent_kind
qed_read_below(struct qed *qed, sector_t sector, struct qed_extent *ext, bool wait)
{
	enum qed_extent_kind kind = qed_below(qed, sector, ext, wait);

	if (kind == QED_EXTENT_DATA)
		this_cpu_inc(*qed->reads_below);
	return kind;
}

/* What the next one asks where something is below. */
bool qed_is_zero_below(struct qed *qed, u64 cluster, u64 *nr);

/**
 * qed_below_is_zero() - is nothing but zeroes below clusters?
 * @qed: the target
 * @cluster: first guest cluster
 * @nr: how many; becomes the number of those to which the answer applies
 *
 * Context: Process context, may sleep: it may read tables of images.
 * Return: true if that is known.
 */
static inline bool qed_below_is_zero(struct qed *qed, u64 cluster, u64 *nr)
{
	return !qed->below_end || qed_is_zero_below(qed, cluster, nr);
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
