// SPDX-License-Identifier: GPL-2.0-only
/*
 * Bios for the image device, see dm-qed-bio.h.
 */

#include <linux/bio.h>
#include <linux/device-mapper.h>

#include "dm-qed-bio.h"
#include "dm-qed-cell.h"
#include "dm-qed-compat.h"
#include "dm-qed-mode.h"

/* Bios that can be had without memory: each comes back by itself, so one would do. */
#define QED_MIN_CLONES			16

/* ... with vectors of their own, of which each has 4 KiB */
#define QED_MIN_COMPOSED		1

/* A bio for the image device */
struct qed_clone {
	struct qed_io *io;
	struct qed_cell *cell;		/* or NULL */
	struct percpu_ref *hold;	/* or NULL */
	struct bio bio;
};

/* Does the image device refuse zeroes, which it is to get as data then? */
static void bio_failed(struct qed_io *io, struct bio *bio)
{
	if (bio_op(bio) == REQ_OP_WRITE_ZEROES &&
	    qed_meta_zeroes_failed(io->qed->meta, keeps_space(bio),
				   bio->bi_status))
		WRITE_ONCE(io->refused, true);
}

static void bio_done(struct qed_io *io, struct qed_cell *cell,
		     struct percpu_ref *hold, blk_status_t status)
{
	if (unlikely(status == BLK_STS_NOSPC) &&
	    bio_data_dir(io_bio(io)) == WRITE)
		WRITE_ONCE(io->lower_full, true);
	if (unlikely(io->retried) && !status)
		qed_space_was_found(io->qed);
	if (cell)
		status = qed_cell_put(io->qed, cell, status);
	if (hold)
		qed_meta_release(hold);
	qed_io_put(io, status);
}

static void clone_endio(struct bio *bio)
{
	struct qed_clone *clone = container_of(bio, struct qed_clone, bio);
	struct qed_cell *cell = clone->cell;
	blk_status_t status = bio->bi_status;
	struct qed_io *io = clone->io;
	struct percpu_ref *hold = clone->hold;

	if (unlikely(status))
		bio_failed(io, bio);
	bio_put(bio);
	bio_done(io, cell, hold, status);
}

static void io_endio(struct bio *bio)
{
	struct qed_io *io = bio_io(bio);
	struct percpu_ref *hold = io->hold;

	if (unlikely(bio->bi_status))
		bio_failed(io, bio);
	bio->bi_end_io = io->end_io;
	io->hold = NULL;
	bio_done(io, io->cell, hold, bio->bi_status);
}

static void prepare_bio(struct bio *bio, struct qed_io *io, sector_t sector)
{
	bio->bi_iter.bi_sector = sector;
	/* The commit makes it durable. */
	if (io->sync)
		bio->bi_opf &= ~REQ_FUA;
	bio_clear_polled(bio);
}

void qed_clone_init(struct bio *bio, struct qed_io *io,
		    struct qed_cell *cell, const struct qed_extent *to)
{
	struct qed_clone *clone = container_of(bio, struct qed_clone, bio);

	clone->io = io;
	clone->cell = cell;
	clone->hold = to->hold;
	bio->bi_end_io = clone_endio;
	prepare_bio(bio, io, to->sector);
	atomic_inc(&io->pending);
}

struct bio *qed_clone_bio(struct qed *qed, struct qed_io *io,
			  struct qed_cell *cell, const struct qed_extent *to)
{
	struct bio *bio = io_bio(io), *clone;

	clone = bio_alloc_clone(to->bdev, bio, GFP_NOIO, &qed->clones);
	bio_trim(clone, 0, to->nr);
	qed_clone_init(clone, io, cell, to);
	bio_advance(bio, to->nr << SECTOR_SHIFT);
	return clone;
}

void qed_io_submit(struct qed_io *io, struct bio *bio)
{
	dm_submit_bio_remap(io_bio(io), bio);
}

int qed_submit_head(struct qed *qed, struct qed_io *io,
		    struct qed_cell *cell, const struct qed_extent *to)
{
	struct bio *bio = io_bio(io);

	if (to->nr < bio_sectors(bio)) {
		qed_io_submit(io, qed_clone_bio(qed, io, cell, to));
		return 0;
	}

	io->cell = cell;
	io->hold = to->hold;
	io->end_io = bio->bi_end_io;
	bio->bi_end_io = io_endio;
	bio_set_dev(bio, to->bdev);
	prepare_bio(bio, io, to->sector);
	qed_io_submit(io, NULL);
	return 1;
}

int qed_bios_init(struct qed *qed)
{
	unsigned int front = offsetof(struct qed_clone, bio);
	int r;

	r = bioset_init(&qed->clones, QED_MIN_CLONES, front, 0);
	if (r)
		return r;
	r = bioset_init(&qed->composed, QED_MIN_COMPOSED, front,
			BIOSET_NEED_BVECS);
	if (r)
		bioset_exit(&qed->clones);
	return r;
}

void qed_bios_exit(struct qed *qed)
{
	bioset_exit(&qed->composed);
	bioset_exit(&qed->clones);
}
