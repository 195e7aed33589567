// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reads, writes and flushes that somebody waits for, see dm-qed-sync.h.
 */

#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/completion.h>
#include <linux/spinlock.h>

#include "dm-qed-sync.h"

/*----------------------------------------------------------------
 * Flushes that fail
 *----------------------------------------------------------------
 */

/*
 * Mappings that are new, or about to be made, may refer to what a failed flush has lost.
 * No later flush makes up for that.
 */
void qed_meta_flush_failed(struct qed_meta *meta)
{
	unsigned long flags;

	qed_reclaim_flush_failed(&meta->reclaim);
	spin_lock_irqsave(&meta->cache.lock, flags);
	if (meta->changes || meta->txn != QED_TXN_DURABLE)
		WRITE_ONCE(meta->doubtful, true);
	spin_unlock_irqrestore(&meta->cache.lock, flags);
}

void qed_flush_lost(struct qed_meta *meta)
{
	/* First what makes flushes of the guest fail. */
	meta->client->flush_failed(meta->client);
	qed_meta_flush_failed(meta);
}

/*----------------------------------------------------------------
 * Waiting for the image device
 *----------------------------------------------------------------
 */

/* Whether a write without space has come as far as a flush is open: see end_open(). */
static bool is_open(struct qed_wait *wait)
{
	return wait->fua && wait->bio.bi_status == BLK_STS_NOSPC;
}

static void wait_settled(struct qed_flush *flush)
{
	complete(&container_of(flush, struct qed_wait, under_way)->done);
}

/*
 * Whoever waits may come late: a flush of the guest that comes next is to know. Nothing is
 * known to be durable by a flush as long as others are under way; the header is written
 * before a commit that waits for them, and needs not wait by itself.
 */
static void wait_endio(struct bio *bio)
{
	struct qed_wait *wait = container_of(bio, struct qed_wait, bio);
	bool waits = wait->flush && !bio->bi_status;
	bool open = is_open(wait);

	if (bio->bi_status && (wait->flush || wait->fua) && !open)
		qed_flush_lost(wait->meta);
	if (open || !qed_flush_end(&wait->meta->flushes, &wait->under_way,
				   waits ? wait_settled : NULL))
		complete(&wait->done);
}

/* Before the metadata is loaded no guest has written anything. */
static void wait_start(struct qed_wait *wait, struct qed_meta *meta)
{
	bool loaded = READ_ONCE(meta->loaded);
	struct bio *bio = &wait->bio;

	wait->meta = meta;
	wait->flush = loaded && bio->bi_opf & REQ_PREFLUSH;
	wait->fua = loaded && bio->bi_opf & REQ_FUA &&
		    qed_fua_flushes(meta->bdev);
	wait->iter = bio->bi_iter;
	wait->under_way.under_way = false;
	init_completion(&wait->done);
	bio->bi_opf |= REQ_SYNC;
	bio->bi_end_io = wait_endio;
	if (wait->flush || wait->fua)
		qed_flush_begin(&meta->flushes, &wait->under_way,
				QED_FLUSH_OWN);
	submit_bio(bio);
}

int qed_fua_again(struct qed_meta *meta, struct bio *bio,
		  const struct bvec_iter *iter)
{
	qed_bio_rewind(bio, iter);
	bio_set_dev(bio, meta->bdev);
	bio->bi_opf &= ~REQ_FUA;
	if (submit_bio_wait(bio) == -ENOSPC)
		return -ENOSPC;
	qed_flush_lost(meta);
	return -EIO;
}

static int end_open(struct qed_wait *wait)
{
	int r = qed_fua_again(wait->meta, &wait->bio, &wait->iter);

	qed_flush_end(&wait->meta->flushes, &wait->under_way, NULL);
	return r;
}

static int wait_end(struct qed_wait *wait)
{
	int r;

	wait_for_completion_io(&wait->done);
	r = is_open(wait) ? end_open(wait) :
			    blk_status_to_errno(wait->bio.bi_status);
	bio_uninit(&wait->bio);
	return r;
}

void qed_flush_start(struct qed_meta *meta, struct qed_wait *wait)
{
	bio_init(&wait->bio, meta->bdev, NULL, 0, REQ_OP_WRITE | REQ_PREFLUSH);
	wait_start(wait, meta);
}

int qed_flush_wait(struct qed_wait *wait)
{
	int r = wait_end(wait);

	return r == -ENOSPC ? -EIO : r;
}

int qed_flush(struct qed_meta *meta)
{
	struct qed_wait wait;

	qed_flush_start(meta, &wait);
	return qed_flush_wait(&wait);
}

int qed_sync_io(struct qed_meta *meta, blk_opf_t opf, sector_t sector,
		void *data, unsigned int len)
{
	struct qed_wait wait;
	struct bio_vec vec;
	int r;

	bio_init(&wait.bio, meta->bdev, &vec, 1, opf | REQ_META);
	wait.bio.bi_iter.bi_sector = sector;
	__bio_add_page(&wait.bio, virt_to_page(data), len, offset_in_page(data));
	wait_start(&wait, meta);
	r = wait_end(&wait);
	/* A failed read is no lack of space, whatever the device calls it. */
	return r == -ENOSPC && !op_is_write(opf) ? -EIO : r;
}
