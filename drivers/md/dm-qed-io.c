// SPDX-License-Identifier: GPL-2.0-only
/*
 * The worker: bios that could not be mapped at once, see dm-qed-io.h.
 */

#include <linux/bio.h>
#include <linux/device-mapper.h>
#include <linux/err.h>
#include <linux/slab.h>
#include <linux/workqueue.h>

#include "dm-qed-below.h"
#include "dm-qed-bio.h"
#include "dm-qed-cell.h"
#include "dm-qed-copy.h"
#include "dm-qed-fill.h"
#include "dm-qed-io.h"
#include "dm-qed-mode.h"
#include "dm-qed-reclaim.h"

/*----------------------------------------------------------------
 * Reads and writes
 *----------------------------------------------------------------
 */

/*
 * Get what the head of a bio may need for what is below. Not where an entry hides that: it
 * does not show again. Returns like do_io().
 */
static noinline int io_get_copy(struct qed *qed, struct qed_io *io,
				struct qed_block *block, struct qed_copy **copy)
{
	struct bio *bio = io_bio(io);
	unsigned int nr = qed_copy_pages(qed, bio);
	u64 cluster = bio->bi_iter.bi_sector >> qed_meta_cluster_bits(qed->meta);
	bool zero;

	*copy = NULL;
	if (!nr || (block && (!qed_block_hole(block, cluster, 1, &zero) || zero)))
		return 0;
	if (qed_cell_waits(qed, io))
		return 1;
	return qed_copy_get(qed, bio, nr, copy);
}

/*
 * Write the head of a bio to clusters that are not mapped, or not any more by
 * now. Takes over the pinned block, if any. Returns like do_io().
 */
static int io_allocate(struct qed *qed, struct qed_io *io,
		       struct qed_block *block)
{
	unsigned long seq = READ_ONCE(qed->nospace_seq);
	struct qed_cell *new, *cell;
	struct qed_copy *copy = NULL;
	int r = 0;

	/* NEED_CHECK is not set in vain: after a crash a scan would come before all I/O. */
	if (qed_must_scan(qed)) {
		if (block)
			qed_block_put(qed->meta, block);
		return qed_io_no_space(qed, io, seq);
	}
	if (unlikely(qed->below_end))
		r = io_get_copy(qed, io, block, &copy);
	if (r) {
		if (block)
			qed_block_put(qed->meta, block);
		return r;
	}
	new = qed_cell_alloc(qed, io_bio(io), block);
	if (IS_ERR(new)) {
		qed_copy_put(copy);
		r = PTR_ERR(new);
		return r == -ENOSPC ? qed_io_no_space(qed, io, seq) : r;
	}

	cell = qed_cell_enter(qed, io, new, &r);
	if (cell != new)
		qed_cell_free(qed, new, false);
	if (!cell) {
		qed_copy_put(copy);
		return r == -ENOSPC ? qed_io_no_space(qed, io, seq) : r;
	}

	if (cell == new) {
		if (unlikely(get_mode(qed) == QED_MODE_OUT_OF_SPACE))
			qed_found_space(qed, false);
		qed_check_low_water(qed);
	}
	return qed_cell_write(qed, io, cell, copy);
}

static int io_write_hole(struct qed *qed, struct qed_io *io,
			 struct qed_block *block)
{
	if (!qed->features.commit_ms)
		io->sync = true;
	return io_allocate(qed, io, block);
}

static int io_write(struct qed *qed, struct qed_io *io,
		    const struct qed_extent *ext)
{
	struct bio *bio = io_bio(io);

	if (!is_writable(qed)) {
		qed_meta_release(ext->hold);
		return -EROFS;
	}
	if (bio_op(bio) == REQ_OP_WRITE_ZEROES &&
	    !qed_meta_takes_zeroes(qed->meta, keeps_space(bio)))
		return qed_submit_data(qed, io, NULL, ext);
	return qed_submit_head(qed, io, NULL, ext);
}

static int io_read_hole(struct qed *qed, struct qed_io *io, unsigned int nr)
{
	struct qed_extent nowhere = { .bdev = qed->bdev, .nr = nr };
	struct bio *clone = qed_clone_bio(qed, io, NULL, &nowhere);

	zero_fill_bio(clone);
	bio_endio(clone);
	return 0;
}

/*----------------------------------------------------------------
 * Discards and zeroes
 *----------------------------------------------------------------
 */

static int io_skip(struct qed_io *io, unsigned int nr)
{
	bio_advance(io_bio(io), nr << SECTOR_SHIFT);
	return 0;
}

/* There is no table that zeroes could be noted in: make it. Returns like do_io(). */
static int io_make_table(struct qed *qed, struct qed_io *io, u64 cluster)
{
	unsigned long seq = READ_ONCE(qed->nospace_seq);
	struct qed_block *block;
	int r;

	if (qed_must_scan(qed))
		return qed_io_no_space(qed, io, seq);
	r = qed_meta_begin(qed->meta);
	if (r)
		return r == -ENOSPC ? qed_io_no_space(qed, io, seq) : r;
	qed_want_idle(qed);
	block = qed_block_get(qed->meta, cluster, true);
	r = PTR_ERR_OR_ZERO(block);
	qed_meta_end(qed->meta, r ? NULL : block);
	return r == -ENOSPC ? qed_io_no_space(qed, io, seq) : r;
}

/*
 * Take away what clusters have, or note that they are zero, or both, and go on behind
 * them. Takes over the drop. Returns like do_io(), and -ENOSPC or -ENOMEM with nothing
 * done.
 */
static int io_drop(struct qed *qed, struct qed_io *io, struct qed_block *block,
		   unsigned int nr, struct qed_drop *drop)
{
	unsigned int bits = qed_meta_cluster_bits(qed->meta);
	struct bio *bio = io_bio(io);
	u64 cluster = bio->bi_iter.bi_sector >> bits;
	sector_t end = bio_end_sector(bio);
	bool waits;
	int r;

	r = qed_meta_begin(qed->meta);
	if (r) {
		kfree(drop);
		return r;
	}
	qed_want_idle(qed);
	r = qed_cells_unmap(qed, io, block, cluster, nr,
			    qed_hides_below(qed, bio), drop, &waits);
	qed_meta_end(qed->meta, NULL);
	if (waits)
		return 1;
	if (r < 0)
		return r;
	return io_skip(io, min_t(sector_t, (cluster + r) << bits, end) -
			   (cluster << bits));
}

/*
 * Zeroes over a hole that shows what is below: whole clusters are noted to be zero, a
 * part of one gets a cluster. Returns like do_io().
 */
static int io_hide(struct qed *qed, struct qed_io *io, struct qed_block *block,
		   unsigned int nr)
{
	unsigned long seq = READ_ONCE(qed->nospace_seq);
	int r;

	if (!nr)
		return io_write_hole(qed, io, NULL);
	r = io_drop(qed, io, block, nr, NULL);
	return r == -ENOSPC ? qed_io_no_space(qed, io, seq) : r;
}

/*
 * The first sectors of a bio that unmap nothing: a discard leaves them as they are, zeroes
 * are written in place. Of them @nr clusters are whole. Returns like do_io().
 */
static int io_keep(struct qed *qed, struct qed_io *io, struct qed_block *block,
		   unsigned int sectors, unsigned int nr)
{
	unsigned int bits = qed_meta_cluster_bits(qed->meta);
	struct bio *bio = io_bio(io);
	struct qed_extent ext;

	if (bio_op(bio) == REQ_OP_DISCARD)
		return io_skip(io, sectors);

	switch (qed_meta_lookup(qed->meta, bio->bi_iter.bi_sector, sectors, &ext)) {
	case QED_EXTENT_DATA:
		return io_write(qed, io, &ext);
	case QED_EXTENT_HOLE:
		if (qed_hides_below(qed, bio))
			return io_hide(qed, io, block,
				       min(nr, DIV_ROUND_UP(ext.nr, 1U << bits)));
		return io_skip(io, ext.nr);
	case QED_EXTENT_ZERO:
		return io_skip(io, ext.nr);
	case QED_EXTENT_UNCACHED:
		/* Not any more, or not yet: look again. */
		return 0;
	default:
		return -EIO;
	}
}

/*
 * Unmap whole clusters that @block maps, of which some seem to be mapped. They may have
 * come to be in more runs than there is room for, or in none. Returns like do_io().
 */
static int io_unmap(struct qed *qed, struct qed_io *io,
		    struct qed_block *block, unsigned int nr)
{
	unsigned int bits = qed_meta_cluster_bits(qed->meta);
	struct bio *bio = io_bio(io);
	u64 cluster = bio->bi_iter.bi_sector >> bits;
	struct qed_drop *drop;
	int r;

	drop = qed_drop_alloc(max(qed_block_runs(qed->meta, block, cluster, nr),
				  1U));
	r = drop ? io_drop(qed, io, block, nr, drop) : -ENOMEM;
	if (r != -ENOMEM && r != -ENOSPC)
		return r;
	/* Without memory for it the space stays in use: that is no error. */
	return io_keep(qed, io, block, min(nr << bits, bio_sectors(bio)), nr);
}

/* Zeroes may have to keep their space. What is mapped may not be known yet. */
static bool may_unmap(struct qed *qed, struct bio *bio)
{
	return !keeps_space(bio) && qed_meta_can_unmap(qed->meta);
}

/* Go on with a discard or with zeroes, up to the end of a table block. */
static int io_unmap_step(struct qed *qed, struct qed_io *io)
{
	unsigned int bits = qed_meta_cluster_bits(qed->meta), nr;
	unsigned long seq = READ_ONCE(qed->nospace_seq);
	struct bio *bio = io_bio(io);
	sector_t sector = bio->bi_iter.bi_sector, end = bio_end_sector(bio);
	u64 cluster = sector >> bits, stop;
	struct qed_block *block;
	int r;

	/* Nothing can be unmapped before the end of a scan, but the space would be lost. */
	if (unlikely(READ_ONCE(qed->scanning)) && bio_op(bio) == REQ_OP_DISCARD)
		return qed_io_no_space(qed, io, seq);
	/* Nothing is unmapped while too much is, and there is no space to commit that. */
	r = qed_meta_throttle(qed->meta);
	if (r && r != -ENOSPC)
		return r;
	block = qed_block_get(qed->meta, cluster, false);
	if (IS_ERR(block))
		return PTR_ERR(block);

	/* The last cluster of the image may be a part: it is a whole one. */
	stop = end == qed_meta_guest_sectors(qed->meta) ?
	       ((end - 1) >> bits) + 1 : end >> bits;
	stop = min(stop, qed_block_end(cluster));
	end = min(end, qed_block_end(cluster) << bits);
	nr = stop > cluster ? stop - cluster : 0;
	if (sector != cluster << bits)
		nr = 0;

	if (!block)
		return qed_hides_below(qed, bio) ?
		       io_make_table(qed, io, cluster) : io_skip(io, end - sector);
	if (!nr)
		r = io_keep(qed, io, block,
			    min(end, (cluster + 1) << bits) - sector, 0);
	else if (!qed_hides_below(qed, bio) &&
		 !qed_block_runs(qed->meta, block, cluster, nr))
		r = io_skip(io, min(end, (cluster + nr) << bits) - sector);
	else if (r || !may_unmap(qed, bio))
		r = io_keep(qed, io, block, end - sector, nr);
	else
		r = io_unmap(qed, io, block, nr);
	qed_block_put(qed->meta, block);
	return r;
}

/*----------------------------------------------------------------
 * The worker
 *----------------------------------------------------------------
 */

/* Go on with the head of a bio, as far as it is of one kind. */
static int io_step(struct qed *qed, struct qed_io *io)
{
	struct bio *bio = io_bio(io);
	bool write = bio_data_dir(bio) == WRITE;
	sector_t sector = bio->bi_iter.bi_sector;
	u64 cluster = sector >> qed_meta_cluster_bits(qed->meta);
	enum qed_extent_kind kind;
	struct qed_block *block;
	struct qed_extent ext;
	bool zero;

	if (is_unmapping(bio))
		return io_unmap_step(qed, io);

	/* Pinned, the block is there for the lookup. What that finds is what counts. */
	block = qed_block_get(qed->meta, cluster, false);
	if (IS_ERR(block))
		return PTR_ERR(block);
	/* It is here that most writes find a hole, again: that needs no lookup. */
	if (write && block && qed_block_hole(block, cluster, 1, &zero))
		return io_write_hole(qed, io, block);
	kind = qed_meta_lookup(qed->meta, sector, bio_sectors(bio), &ext);
	if (write && (kind == QED_EXTENT_HOLE || kind == QED_EXTENT_ZERO))
		return io_write_hole(qed, io, block);
	if (block)
		qed_block_put(qed->meta, block);
	if (kind == QED_EXTENT_HOLE)
		kind = qed_read_below(qed, sector, &ext, true);

	switch (kind) {
	case QED_EXTENT_DATA:
		return write ? io_write(qed, io, &ext) :
			       qed_submit_head(qed, io, NULL, &ext);
	case QED_EXTENT_ZERO:
		return io_read_hole(qed, io, ext.nr);
	case QED_EXTENT_UNCACHED:
		/* Somebody has just made the table. */
		return 0;
	default:
		return -EIO;
	}
}

/*
 * The same write without FUA, where it was: with space for that it was the flush that had
 * none. No commit is needed on the way: there may be one that waits for the answer.
 */
static int io_probe(struct qed *qed, struct qed_io *io)
{
	struct qed_extent same = {
		.bdev = io->qed->bdev,
		.sector = io->to,
		.nr = bio_sectors(io_bio(io)),
		.hold = io->hold,
	};

	return qed_submit_head(qed, io, NULL, &same);
}

/*
 * A step returns 0 to go on with the rest of the bio, 1 if the bio has been
 * handed over, to the image device or to a list that will bring it back here,
 * and otherwise an error.
 */
static void do_io(struct work_struct *work)
{
	struct qed_io *io = container_of(work, struct qed_io, work);
	struct bio *bio = io_bio(io);
	int r = 0;

	if (unlikely(io->doubt))
		r = io_probe(io->qed, io);
	else if (unlikely(io->wait))
		r = qed_io_lower_full(io->qed, io);
	while (!r && bio_sectors(bio))
		r = io_step(io->qed, io);
	if (r <= 0)
		qed_io_put(io, errno_to_blk_status(r));
}

static bool is_fua_write(struct bio *bio)
{
	return bio_data_dir(bio) == WRITE && bio->bi_opf & REQ_FUA;
}

/*
 * What is to be durable waits for a commit, which knows of all flushes that are under way,
 * rather than be a flush itself.
 */
void qed_io_init(struct qed *qed, struct qed_io *io)
{
	INIT_WORK(&io->work, do_io);
	io->qed = qed;
	atomic_set(&io->pending, 1);
	io->status = BLK_STS_OK;
	io->sync = is_fua_write(io_bio(io));
	io->lower_full = false;
	io->doubt = false;
	io->refused = false;
	io->wait = false;
	io->retried = false;
	io->flush = false;
	io->hold = NULL;
}
