/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * I/O of ours that somebody waits for, and what follows if a flush fails.
 */

#ifndef DM_QED_SYNC_H
#define DM_QED_SYNC_H

#include <linux/bio.h>
#include <linux/completion.h>

#include "dm-qed-meta-priv.h"

/**
 * qed_flush_lost() - a flush has failed that was not one of the guest
 * @meta: the loaded metadata
 *
 * Or a write that makes the device flush. The next flush of the guest tells that what it
 * has written may be lost. To be called before anybody waits no longer for the bio.
 *
 * Context: Any.
 */
void qed_flush_lost(struct qed_meta *meta);

/**
 * struct qed_wait - I/O of ours that somebody waits for; on the stack
 * @meta: the metadata
 * @bio: the bio
 * @iter: of it, as it was submitted
 * @flush: the device is to flush
 * @fua: it may do so, as a part of a write
 * @under_way: if it is to, or may
 * @done: it has come back, and so have those that it has to wait for
 */
struct qed_wait {
	struct qed_meta *meta;
	struct bio bio;
	struct bvec_iter iter;
	bool flush;
	bool fua;
	struct qed_flush under_way;
	struct completion done;
};

/* The two halves of qed_flush(), for somebody who has something else to wait for. */
void qed_flush_start(struct qed_meta *meta, struct qed_wait *wait);
int qed_flush_wait(struct qed_wait *wait);

/**
 * qed_fua_again() - a write with FUA that may be a flush has had no space
 * @meta: the metadata
 * @bio: of the write, which has come back and is still under way as a flush
 * @iter: of it, as it was submitted
 *
 * Was it the flush? Then it has lost what other writes had in the cache, and there is
 * space for the write without FUA: qed_flush_lost() has been called.
 *
 * Context: Process context, may sleep.
 * Return: -ENOSPC if it was the write, -EIO otherwise.
 */
int qed_fua_again(struct qed_meta *meta, struct bio *bio,
		  const struct bvec_iter *iter);

/**
 * qed_flush() - make durable what the image device has said is written
 * @meta: the metadata
 *
 * Where it fails qed_flush_lost() has been called.
 *
 * Context: Process context, may sleep.
 * Return: 0 or the error of the device, but not -ENOSPC: what is lost is lost, whatever
 * it calls the reason.
 */
int qed_flush(struct qed_meta *meta);

/*
 * Read or write @len bytes, at most a block, and wait. -ENOSPC is of writes only. Where
 * FUA has failed that is a flush qed_flush_lost() has been called.
 */
int qed_sync_io(struct qed_meta *meta, blk_opf_t opf, sector_t sector,
		void *data, unsigned int len);

#endif /* DM_QED_SYNC_H */
