/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the target is able to do, and the bios that wait until it is able to.
 *
 * A bio waits for a commit, when it is to be durable, or for space: for clusters, or on
 * the image device itself. Who waits for space tries again when there may be some, and
 * fails when that takes too long. As long as a scan in the background is to find out what
 * is free nobody is out of clusters: who needs one waits for the end of the scan, without
 * a limit, and so do discards. The modes are in enum qed_mode; the metadata calls this
 * room when it fails, or finds space, or the scan ends.
 */

#ifndef DM_QED_MODE_H
#define DM_QED_MODE_H

#include "dm-qed-target.h"

/* Prepare the modes, the works and the callbacks of the metadata; mode is fail. */
void qed_mode_init(struct qed *qed);

/* Stop all works of this room, and wait for them. Context: Process, may sleep. */
void qed_cancel_works(struct qed *qed);

/* What the status line calls a mode. Context: Any. */
const char *qed_mode_name(enum qed_mode mode);

/**
 * qed_set_mode() - change the mode
 * @qed: the target
 * @mode: the new one
 * @load: the metadata is being loaded: any mode may follow any
 *
 * The way back from a worse mode leads over a load, except from out of space. The bios
 * that waited in the old mode try again, and see the new one.
 *
 * Context: Process context, may sleep.
 */
void qed_set_mode(struct qed *qed, enum qed_mode mode, bool load);

/* There may be space: who has to wait for it begins to do so anew. Context: Process. */
void qed_restart_wait(struct qed *qed);

/*
 * The metadata is loaded, or goes on: writes may have to wait for a scan. Context:
 * Process, no bio under way.
 */
void qed_expect_scan(struct qed *qed);

/* Is there no cluster before the end of a scan? Context: Any. */
static inline bool qed_must_scan(struct qed *qed)
{
	return unlikely(READ_ONCE(qed->scanning)) &&
	       !qed_space_nr_free(qed_meta_space(qed->meta));
}

/* What qed_check_low_water() does, with a low_water. */
void qed_look_at_low_water(struct qed *qed);

/* Tell of it when less than low_water clusters are free, as is known. Context: Process. */
static inline void qed_check_low_water(struct qed *qed)
{
	if (qed->features.low_water)
		qed_look_at_low_water(qed);
}

/*
 * Writes have been lost, and no flush of the guest has told of them. All flushes fail
 * then, until a resume that finds that one has. Context: Any.
 */
void qed_set_lost(struct qed *qed);

/* The same for those that a flush below has lost, as a part of a write. Context: Any. */
void qed_lose_writes(struct qed *qed);

/**
 * qed_tell_lost() - a flush of the guest has failed
 * @qed: the target
 * @losses: of the target when the flush came: of a later loss it does not tell
 * @own: it is this one that has lost writes
 *
 * It may have been made of a write with PREFLUSH, of which the data comes next, and tells
 * if it fails. A suspend holds that up until the resume: so no flush tells by then.
 *
 * Context: Any.
 */
void qed_tell_lost(struct qed *qed, unsigned int losses, bool own);

/* From the beginning of a suspend to its end, or to the resume. Context: Any. */
void qed_set_suspending(struct qed *qed, bool suspending);

/*
 * Have writes been lost? Then flushes and FUA fail, all of them: device mapper drops the
 * error of the flush that it makes of a write with PREFLUSH. Context: Any.
 */
static inline bool qed_is_lost(struct qed *qed)
{
	return READ_ONCE(qed->lost);
}

/* Complete a bio when all that was completed before it is durable. Context: Any. */
void qed_complete_after_commit(struct qed *qed, struct bio *bio);

/* Let the worker look at all of these bios again. Context: Any. */
void qed_retry_bios(struct qed *qed, struct bio_list *bios);

/* Begin with a bio again, of which no part is in flight, from the worker. Context: Any. */
void qed_io_restart(struct qed_io *io);

/**
 * qed_io_put() - a part of a bio has come to its end
 * @io: of the bio
 * @status: of that part
 *
 * With the last part the bio is completed, or waits for a commit, or begins again.
 *
 * Context: Any.
 */
void qed_io_put(struct qed_io *io, blk_status_t status);

/**
 * qed_io_no_space() - let a bio wait for clusters, or for a scan that may find some
 * @qed: the target
 * @io: of the bio
 * @seq: nospace_seq from before the search for space
 *
 * Context: The worker.
 * Return: 1 if it waits, and is not to be touched any more; 0 if it should try again;
 * -ENOSPC or -EROFS if it is to fail.
 */
int qed_io_no_space(struct qed *qed, struct qed_io *io, unsigned long seq);

/* The same where the image device itself had no space for some of it. */
int qed_io_lower_full(struct qed *qed, struct qed_io *io);

/**
 * qed_found_space() - there has been space for a write
 * @qed: the target
 * @lower: on the image device itself
 *
 * The mode does not change while others wait: there may be a cluster, and not enough
 * of them for a table.
 *
 * Context: Process context, may sleep.
 */
void qed_found_space(struct qed *qed, bool lower);

/* A write that needs space below has completed. Context: Any. */
void qed_space_was_found(struct qed *qed);

/* Let the writes that wait for space try again. Context: Any. */
void qed_retry_nospace(struct qed *qed);

/**
 * qed_grow() - follow the growth of the image device
 * @qed: the target
 *
 * If there is more space, who waits for it tries again; so does who has found none before,
 * as nospace_seq tells on return, whoever it was that has seen the growth first.
 *
 * Context: Process context, may sleep; memory does not wait for I/O.
 * Return: 1 if there is more space, 0, -ENOMEM, or as qed_meta_see_growth().
 */
int qed_grow(struct qed *qed);

/* Give bios that wait for space back to device mapper, to come again after a resume. */
void qed_requeue_nospace(struct qed *qed);

#endif /* DM_QED_MODE_H */
