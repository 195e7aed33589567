/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Zeroes and discards of a block device, with bios of our own.
 *
 * Those of blkdev_issue_zeroout() and blkdev_issue_discard() are from the pool of
 * the filesystems. Swap on the device below may hold all of these, and its bios
 * wait for ours.
 */

#ifndef DM_QED_ZERO_H
#define DM_QED_ZERO_H

#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/wait.h>

/**
 * enum qed_zero_way - how a device comes to forget what it has
 * @QED_ZERO_NONE: it does not
 * @QED_ZERO_UNMAP: write zeroes, with which it may give the space back
 * @QED_ZERO_KEEP: write zeroes, and keep the space
 * @QED_ZERO_DISCARD: a discard: what is read then is not known
 * @QED_ZERO_WRITE: write pages of zeroes
 */
enum qed_zero_way {
	QED_ZERO_NONE,
	QED_ZERO_UNMAP,
	QED_ZERO_KEEP,
	QED_ZERO_DISCARD,
	QED_ZERO_WRITE,
};

/**
 * struct qed_zeroer - a device to be zeroed
 * @bdev: the device
 * @bs: of our bios
 * @keep: it is to keep its space when something is to be zero that we go on to use
 * @refused: zeroes that it has refused to write, whatever its limits say: [0] those with
 *	which it may give the space back, [1] those that keep it. Devices do these in
 *	different ways, and may be able to do one of them.
 */
struct qed_zeroer {
	struct block_device *bdev;
	struct bio_set bs;
	bool keep;
	bool refused[2];
};

/**
 * struct qed_zeroing - ranges that are being zeroed or discarded; on the stack
 * @zeroer: the device
 * @way: how
 * @stop: if true, nothing is added any more; or NULL
 * @plug: for adjacent requests
 * @lock: see there
 * @wait: for bios to complete
 * @pending: number of bios in flight
 * @status: of the first that has failed
 * @stopped: it has ended early; of the submitter alone
 */
struct qed_zeroing {
	struct qed_zeroer *zeroer;
	enum qed_zero_way way;
	const bool *stop;
	struct blk_plug plug;
	spinlock_t lock;		/* protects what follows */
	wait_queue_head_t wait;
	unsigned int pending;
	blk_status_t status;
	bool stopped;
};

/* Returns 0 or -ENOMEM. Context: Process, may sleep. */
int qed_zeroer_init(struct qed_zeroer *zeroer, struct block_device *bdev);
void qed_zeroer_exit(struct qed_zeroer *zeroer);

/* Try again what the device has refused: it may be another by now. Context: Any. */
void qed_zeroer_reset(struct qed_zeroer *zeroer);

/* May REQ_OP_WRITE_ZEROES be sent, if @keep with REQ_NOUNMAP? Context: Any. */
bool qed_zeroer_takes(struct qed_zeroer *zeroer, bool keep);

/**
 * qed_zeroer_failed() - zeroes have failed, that were sent as such
 * @zeroer: the device
 * @keep: those with REQ_NOUNMAP
 * @status: how, not BLK_STS_OK
 *
 * Context: Any.
 * Return: true if the device may have taken offence at zeroes as such. That is
 *	remembered; these are to be written in another way.
 */
bool qed_zeroer_failed(struct qed_zeroer *zeroer, bool keep,
		       blk_status_t status);

/**
 * qed_zero_way() - the best way to give space to the device
 * @zeroer: the device
 *
 * It may change at any time: to be asked once for a range, and followed.
 *
 * Context: Any.
 * Return: QED_ZERO_UNMAP, QED_ZERO_DISCARD or QED_ZERO_NONE.
 */
enum qed_zero_way qed_zero_way(struct qed_zeroer *zeroer);

/**
 * qed_zero_own_way() - how the device writes zeroes where we go on to use the space
 * @zeroer: the device
 *
 * Context: Any.
 * Return: QED_ZERO_UNMAP or QED_ZERO_KEEP, or QED_ZERO_NONE if it does not by itself.
 */
enum qed_zero_way qed_zero_own_way(struct qed_zeroer *zeroer);

/**
 * qed_zeroing_start() - zero or discard ranges
 * @zeroing: to be filled in
 * @zeroer: the device
 * @way: how, not QED_ZERO_NONE
 * @stop: what another processor sets to end it early, or NULL
 *
 * Context: Process context, until qed_zeroing_end().
 */
void qed_zeroing_start(struct qed_zeroing *zeroing, struct qed_zeroer *zeroer,
		       enum qed_zero_way way, const bool *stop);

/**
 * qed_zeroing_add() - zero or discard a range
 * @zeroing: from qed_zeroing_start()
 * @sector: its first sector, at a logical block of the device
 * @nr: number of sectors, whole logical blocks
 *
 * After an error nothing happens. Waits when many bios are in flight.
 *
 * Context: Process context, may sleep; no memory but that of @zeroer is needed.
 */
void qed_zeroing_add(struct qed_zeroing *zeroing, sector_t sector, sector_t nr);

/**
 * qed_zeroing_end() - wait for all of it
 * @zeroing: from qed_zeroing_start()
 *
 * Context: Process context, may sleep.
 * Return: 0 if all ranges were done, as durable as other writes; -EINTR if it was
 *	ended early, -EOPNOTSUPP if the device cannot do that, which is remembered
 *	of QED_ZERO_UNMAP and QED_ZERO_KEEP, or another error.
 */
int qed_zeroing_end(struct qed_zeroing *zeroing);

/**
 * qed_zero_range() - make a range read as zeroes, in whatever way
 * @zeroer: the device
 * @sector: first sector
 * @nr: number of sectors, may be 0
 *
 * Context: Process context, may sleep; no memory but that of @zeroer is needed.
 * Return: 0 or a negative error.
 */
int qed_zero_range(struct qed_zeroer *zeroer, sector_t sector, sector_t nr);

#endif /* DM_QED_ZERO_H */
