// SPDX-License-Identifier: GPL-2.0-only
/*
 * The mapping of bios, see dm-qed-map.h. Nothing here sleeps.
 */

#include <linux/bio.h>
#include <linux/device-mapper.h>

#include "dm-qed-below.h"
#include "dm-qed-bio.h"
#include "dm-qed-compat.h"
#include "dm-qed-io.h"
#include "dm-qed-map.h"
#include "dm-qed-mode.h"

/* Who polls is ready to wait, and has no way to try again. */
static int map_later(struct qed *qed, struct bio *bio)
{
	struct qed_io *io = bio_io(bio);

	if ((bio->bi_opf & (REQ_NOWAIT | REQ_POLLED)) == REQ_NOWAIT) {
		bio_wouldblock_error(bio);
		return DM_MAPIO_SUBMITTED;
	}

	bio->bi_opf &= ~REQ_NOWAIT;
	bio_clear_polled(bio);
	qed_io_init(qed, io);
	io->iter = bio->bi_iter;
	queue_work(qed->wq, &io->work);
	return DM_MAPIO_SUBMITTED;
}

/* It goes to the image device at once, and makes that flush, or may. */
static void begin_flush(struct qed *qed, struct qed_io *io,
			enum qed_flush_kind kind)
{
	io->flush = true;
	qed_flush_begin(qed_meta_flushes(qed->meta), &io->under_way, kind);
}

static int map_flush(struct qed *qed, struct bio *bio)
{
	struct qed_io *io = bio_io(bio);

	io->losses = READ_ONCE(qed->losses);
	if (qed_meta_is_durable(qed->meta) && !qed_is_lost(qed)) {
		begin_flush(qed, io, QED_FLUSH_GUEST);
		bio_set_dev(bio, qed->bdev);
		return DM_MAPIO_REMAPPED;
	}
	qed_complete_after_commit(qed, bio);
	return DM_MAPIO_SUBMITTED;
}

int qed_map(struct dm_target *ti, struct bio *bio)
{
	enum qed_mode mode;
	enum qed_extent_kind kind;
	struct qed *qed = ti->private;
	struct qed_io *io = bio_io(bio);
	struct qed_extent ext;

	io->hold = NULL;
	io->flush = false;
	mode = get_mode(qed);
	if (unlikely(mode == QED_MODE_FAIL))
		return DM_MAPIO_KILL;
	if (unlikely(bio->bi_opf & REQ_PREFLUSH))
		return map_flush(qed, bio);
	if (unlikely(bio->bi_opf & REQ_FUA) && qed_is_lost(qed))
		return DM_MAPIO_KILL;
	if (bio_data_dir(bio) == WRITE) {
		if (unlikely(mode == QED_MODE_RO))
			return DM_MAPIO_KILL;
		if (unlikely(is_unmapping(bio)))
			return map_later(qed, bio);
	}

	/* One target per table: guest sectors are device sectors. */
	kind = qed_meta_lookup(qed->meta, bio->bi_iter.bi_sector,
			       bio_sectors(bio), &ext);
	if (kind == QED_EXTENT_HOLE && bio_data_dir(bio) == READ)
		kind = qed_read_below(qed, bio->bi_iter.bi_sector, &ext, false);
	if (ext.nr < bio_sectors(bio)) {
		/*
		 * All or nothing, as bio_split_rw() has it: once a part is under way
		 * nobody could try again where the next part would block.
		 */
		if (unlikely(bio->bi_opf & (REQ_NOWAIT | REQ_POLLED))) {
			if (ext.hold)
				qed_meta_release(ext.hold);
			return map_later(qed, bio);
		}
		dm_accept_partial_bio(bio, ext.nr);
	}

	switch (kind) {
	case QED_EXTENT_DATA:
		/*
		 * A mapping that is not durable needs a commit after FUA. What is below
		 * is only read: nothing there is ours to be flushed.
		 */
		if (unlikely(bio->bi_opf & REQ_FUA) && ext.hold) {
			smp_rmb();	/* see qed_meta_is_durable() */
			if (!qed_meta_is_durable(qed->meta)) {
				qed_meta_release(ext.hold);
				return map_later(qed, bio);
			}
			begin_flush(qed, io, QED_FLUSH_FUA);
			io->to = ext.sector;
		}
		io->hold = ext.hold;
		io->iter = bio->bi_iter;
		bio_set_dev(bio, ext.bdev);
		bio->bi_iter.bi_sector = ext.sector;
		return DM_MAPIO_REMAPPED;

	case QED_EXTENT_HOLE:
	case QED_EXTENT_ZERO:
		if (bio_data_dir(bio) == WRITE)
			return map_later(qed, bio);
		zero_fill_bio(bio);
		bio_endio(bio);
		return DM_MAPIO_SUBMITTED;

	case QED_EXTENT_UNCACHED:
		return map_later(qed, bio);

	default:
		return DM_MAPIO_KILL;
	}
}

/*
 * Is it open whether a write or the flush that is a part of it has had no space? What
 * that has lost is not noted yet, so it stays under way.
 */
static bool is_open(struct qed *qed, struct bio *bio, blk_status_t error)
{
	struct qed_io *io = bio_io(bio);

	return error == BLK_STS_NOSPC && io->flush && io->hold &&
	       bio_data_dir(bio) == WRITE && qed_fua_flushes(qed->bdev);
}

/*
 * The image device had no space for a bio that was mapped at once: it goes on in the
 * worker, which waits for space. Not inline, for the sake of those that had.
 */
static noinline int end_io_no_space(struct qed *qed, struct bio *bio)
{
	struct qed_io *io = bio_io(bio);
	bool again = io->hold && bio_data_dir(bio) == WRITE;
	bool doubt = is_open(qed, bio, BLK_STS_NOSPC);
	struct percpu_ref *hold = io->hold;

	if (hold && !doubt)
		qed_meta_release(hold);
	if (!again)
		return DM_ENDIO_DONE;
	bio->bi_opf &= ~REQ_NOWAIT;
	qed_io_init(qed, io);
	io->doubt = doubt;
	io->hold = doubt ? hold : NULL;
	io->lower_full = !doubt;
	qed_io_restart(io);
	return DM_ENDIO_INCOMPLETE;
}

/* It has waited for others. This is the end of the bio, which below it has had. */
static void flush_settled(struct qed_flush *flush)
{
	struct bio *bio = io_bio(container_of(flush, struct qed_io, under_way));

	bio->bi_end_io(bio);
}

/*
 * A flush or a write with FUA comes back from the image device. Returns whether it has to
 * wait for others.
 */
static bool flush_waits(struct qed *qed, struct qed_io *io, bool good)
{
	return qed_flush_end(qed_meta_flushes(qed->meta), &io->under_way,
			     good ? flush_settled : NULL);
}

/*
 * A write with FUA has failed below: that may be the flush that is a part of it there, so
 * other writes may be lost.
 */
static void fua_failed(struct qed *qed, blk_status_t error)
{
	if (qed_fua_flushes(qed->bdev) && error != BLK_STS_NOSPC &&
	    error != BLK_STS_AGAIN && error != BLK_STS_DM_REQUEUE)
		qed_lose_writes(qed);
}

/*
 * A flush ends, or a write with FUA. What fails beside it may be about the same. Only a
 * flush that fails tells: the other one has promised nothing of other writes. Returns
 * whether it ends later.
 */
static noinline bool flush_ended(struct qed *qed, struct bio *bio,
				 blk_status_t *error)
{
	struct qed_io *io = bio_io(bio);
	bool below = io->flush && *error;
	/* The flag is gone if the image device has no cache by now. */
	bool is_flush = bio->bi_opf & REQ_PREFLUSH || (io->flush && !io->hold);

	if (io->flush && !*error && flush_waits(qed, io, true))
		return true;
	if (!*error && qed_is_lost(qed))
		*error = BLK_STS_IOERR;
	if (is_flush && *error && *error != BLK_STS_DM_REQUEUE)
		qed_tell_lost(qed, io->losses, below);
	if (is_flush && below)
		qed_meta_flush_failed(qed->meta);
	else if (below)
		fua_failed(qed, *error);
	if (below && !is_open(qed, bio, *error))
		flush_waits(qed, io, false);
	return false;
}

/* Called for every bio that qed_map() has got, also if it was mapped later. */
int qed_end_io(struct dm_target *ti, struct bio *bio,
	       blk_status_t *error)
{
	struct qed *qed = ti->private;
	struct qed_io *io = bio_io(bio);

	if (unlikely(io->flush || bio->bi_opf & (REQ_PREFLUSH | REQ_FUA)) &&
	    flush_ended(qed, bio, error))
		return DM_ENDIO_INCOMPLETE;
	if (unlikely(*error == BLK_STS_NOSPC))
		return end_io_no_space(qed, bio);
	if (io->hold)
		qed_meta_release(io->hold);
	return DM_ENDIO_DONE;
}
