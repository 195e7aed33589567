// SPDX-License-Identifier: GPL-2.0-only
/*
 * Zeroes and discards with bios of our own, see dm-qed-zero.h.
 */

#include <linux/mm.h>

#include "dm-qed-zero.h"

/* Of each device, for when memory is short */
#define QED_ZERO_RESERVE	1

/* So many bios are in flight */
#define QED_ZERO_BIOS		128

int qed_zeroer_init(struct qed_zeroer *zeroer, struct block_device *bdev)
{
	zeroer->bdev = bdev;
	qed_zeroer_reset(zeroer);
	return bioset_init(&zeroer->bs, QED_ZERO_RESERVE, 0,
			   BIOSET_NEED_BVECS);
}

void qed_zeroer_exit(struct qed_zeroer *zeroer)
{
	bioset_exit(&zeroer->bs);
}

void qed_zeroer_reset(struct qed_zeroer *zeroer)
{
	WRITE_ONCE(zeroer->refused[false], false);
	WRITE_ONCE(zeroer->refused[true], false);
}

bool qed_zeroer_takes(struct qed_zeroer *zeroer, bool keep)
{
	return !READ_ONCE(zeroer->refused[keep]) &&
	       bdev_write_zeroes_sectors(zeroer->bdev);
}

bool qed_zeroer_failed(struct qed_zeroer *zeroer, bool keep,
		       blk_status_t status)
{
	/* Some devices fail in any way, and offer no zeroes any more. */
	if (status != BLK_STS_NOTSUPP && status != BLK_STS_TARGET &&
	    bdev_write_zeroes_sectors(zeroer->bdev))
		return false;
	WRITE_ONCE(zeroer->refused[keep], true);
	return true;
}

enum qed_zero_way qed_zero_way(struct qed_zeroer *zeroer)
{
	if (qed_zeroer_takes(zeroer, false))
		return QED_ZERO_UNMAP;
	return bdev_max_discard_sectors(zeroer->bdev) ? QED_ZERO_DISCARD :
							QED_ZERO_NONE;
}

void qed_zeroing_start(struct qed_zeroing *zeroing, struct qed_zeroer *zeroer,
		       enum qed_zero_way way, const bool *stop)
{
	zeroing->zeroer = zeroer;
	zeroing->way = way;
	zeroing->stop = stop;
	spin_lock_init(&zeroing->lock);
	init_waitqueue_head(&zeroing->wait);
	zeroing->pending = 0;
	zeroing->status = BLK_STS_OK;
	zeroing->stopped = false;
	blk_start_plug(&zeroing->plug);
}

static void zeroing_endio(struct bio *bio)
{
	struct qed_zeroing *zeroing = bio->bi_private;
	unsigned long flags;

	/* All of it under the lock: then it may be gone. */
	spin_lock_irqsave(&zeroing->lock, flags);
	if (bio->bi_status && !zeroing->status)
		WRITE_ONCE(zeroing->status, bio->bi_status);
	zeroing->pending--;
	wake_up(&zeroing->wait);
	spin_unlock_irqrestore(&zeroing->lock, flags);
	bio_put(bio);
}

static void zeroing_wait(struct qed_zeroing *zeroing, unsigned int most)
{
	spin_lock_irq(&zeroing->lock);
	wait_event_lock_irq(zeroing->wait, zeroing->pending <= most,
			    zeroing->lock);
	spin_unlock_irq(&zeroing->lock);
}

/* The largest number of sectors that a bio without data has room for */
static sector_t max_sectors(struct block_device *bdev)
{
	return round_down(UINT_MAX, bdev_logical_block_size(bdev)) >>
	       SECTOR_SHIFT;
}

/* How much to discard at @sector, for the next bio to start at the granularity */
static sector_t discard_sectors(struct block_device *bdev, sector_t sector)
{
	u32 granularity = max(bdev_discard_granularity(bdev),
			      bdev_logical_block_size(bdev)) >> SECTOR_SHIFT;
	sector_t max = max_sectors(bdev);
	u32 odd;

	/* Sectors of a partition are not those of the disk. */
	div_u64_rem(sector + get_start_sect(bdev), granularity, &odd);
	if (odd)
		return granularity - odd;
	return granularity < max ? max - (u32)max % granularity : max;
}

static struct bio *new_bio(struct qed_zeroing *zeroing, unsigned int vecs,
			   blk_opf_t opf, sector_t sector)
{
	struct qed_zeroer *zeroer = zeroing->zeroer;
	struct bio *bio = bio_alloc_bioset(zeroer->bdev, vecs, opf, GFP_NOIO,
					   &zeroer->bs);

	bio->bi_iter.bi_sector = sector;
	return bio;
}

/* Returns NULL if the device takes no zeroes any more, or not a block of them. */
static struct bio *unmap_bio(struct qed_zeroing *zeroing, sector_t sector,
			     sector_t nr)
{
	struct block_device *bdev = zeroing->zeroer->bdev;
	sector_t max = min_t(sector_t, bdev_write_zeroes_sectors(bdev),
			     max_sectors(bdev));
	struct bio *bio;

	/* Of virtio it may be any number. */
	max = round_down(max, bdev_logical_block_size(bdev) >> SECTOR_SHIFT);
	if (!max)
		return NULL;
	bio = new_bio(zeroing, 0, REQ_OP_WRITE_ZEROES, sector);
	bio->bi_iter.bi_size = min(nr, max) << SECTOR_SHIFT;
	return bio;
}

static struct bio *discard_bio(struct qed_zeroing *zeroing, sector_t sector,
			       sector_t nr)
{
	struct block_device *bdev = zeroing->zeroer->bdev;
	struct bio *bio;

	if (!bdev_max_discard_sectors(bdev))
		return NULL;
	bio = new_bio(zeroing, 0, REQ_OP_DISCARD, sector);
	bio->bi_iter.bi_size = min(nr, discard_sectors(bdev, sector)) <<
			       SECTOR_SHIFT;
	return bio;
}

static struct bio *write_bio(struct qed_zeroing *zeroing, sector_t sector,
			     sector_t nr)
{
	sector_t max = (BIO_MAX_VECS * PAGE_SIZE) >> SECTOR_SHIFT;
	unsigned int left = min(nr, max) << SECTOR_SHIFT, len;
	struct bio *bio = new_bio(zeroing, DIV_ROUND_UP(left, PAGE_SIZE),
				  REQ_OP_WRITE, sector);

	for (; left; left -= len) {
		len = min_t(unsigned int, left, PAGE_SIZE);
		__bio_add_page(bio, ZERO_PAGE(0), len, 0);
	}
	return bio;
}

static struct bio *next_bio(struct qed_zeroing *zeroing, sector_t sector,
			    sector_t nr)
{
	switch (zeroing->way) {
	case QED_ZERO_UNMAP:
		return unmap_bio(zeroing, sector, nr);
	case QED_ZERO_DISCARD:
		return discard_bio(zeroing, sector, nr);
	default:
		return write_bio(zeroing, sector, nr);
	}
}

/* The device has ceased to take what it took when this began. */
static void zeroing_cannot(struct qed_zeroing *zeroing)
{
	spin_lock_irq(&zeroing->lock);
	if (!zeroing->status)
		WRITE_ONCE(zeroing->status, BLK_STS_NOTSUPP);
	spin_unlock_irq(&zeroing->lock);
}

static void zeroing_submit(struct qed_zeroing *zeroing, struct bio *bio)
{
	bio->bi_end_io = zeroing_endio;
	bio->bi_private = zeroing;
	spin_lock_irq(&zeroing->lock);
	zeroing->pending++;
	spin_unlock_irq(&zeroing->lock);
	submit_bio(bio);
	cond_resched();
}

void qed_zeroing_add(struct qed_zeroing *zeroing, sector_t sector, sector_t nr)
{
	sector_t end = sector + nr;
	struct bio *bio;

	while (sector < end) {
		zeroing_wait(zeroing, QED_ZERO_BIOS - 1);
		zeroing->stopped |= zeroing->stop && READ_ONCE(*zeroing->stop);
		if (zeroing->stopped || READ_ONCE(zeroing->status))
			return;
		bio = next_bio(zeroing, sector, end - sector);
		if (!bio) {
			zeroing_cannot(zeroing);
			return;
		}
		sector += bio_sectors(bio);
		zeroing_submit(zeroing, bio);
	}
}

int qed_zeroing_end(struct qed_zeroing *zeroing)
{
	blk_finish_plug(&zeroing->plug);
	zeroing_wait(zeroing, 0);
	if (zeroing->status && zeroing->way == QED_ZERO_UNMAP &&
	    qed_zeroer_failed(zeroing->zeroer, false, zeroing->status))
		return -EOPNOTSUPP;
	if (zeroing->status)
		return blk_status_to_errno(zeroing->status);
	return zeroing->stopped ? -EINTR : 0;
}

static int zero_range(struct qed_zeroer *zeroer, enum qed_zero_way way,
		      sector_t sector, sector_t nr)
{
	struct qed_zeroing zeroing;

	qed_zeroing_start(&zeroing, zeroer, way, NULL);
	qed_zeroing_add(&zeroing, sector, nr);
	return qed_zeroing_end(&zeroing);
}

int qed_zero_range(struct qed_zeroer *zeroer, sector_t sector, sector_t nr)
{
	int r = -EOPNOTSUPP;

	if (!nr)
		return 0;
	if (qed_zero_way(zeroer) == QED_ZERO_UNMAP)
		r = zero_range(zeroer, QED_ZERO_UNMAP, sector, nr);
	return r == -EOPNOTSUPP ?
	       zero_range(zeroer, QED_ZERO_WRITE, sector, nr) : r;
}
