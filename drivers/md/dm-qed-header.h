/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The header of the image, NEED_CHECK and the record in it, and the end of all writing.
 *
 * NEED_CHECK is durably set before anything else on the image device may change, and
 * cleared when all is durable and nothing is under way: see qed_meta_begin().
 *
 * The record says who has the image, and at the end what is known of its free space. Before
 * each write of the header it is read again; if it cannot be read it is not written, either.
 * If somebody else has taken the image, or it is not there any more, there is no write, and
 * the metadata fails. If somebody has cleared bit 63, and done nothing else to the header, the
 * record is void, and not written any more; writing goes on as long as the tables are those in
 * memory, which are looked at before each write of the header, in what was the device by then.
 */

#ifndef DM_QED_HEADER_H
#define DM_QED_HEADER_H

#include "dm-qed-meta-priv.h"

/**
 * qed_meta_fail() - stop all writing
 * @meta: the metadata
 * @why: the end of a sentence for the administrator
 *
 * The tables in memory stay as they are and serve reads; what is on the device is
 * consistent, and what it lacks no flush has promised.
 *
 * Context: Process context, may sleep.
 */
void qed_meta_fail(struct qed_meta *meta, const char *why);

/**
 * qed_header_read() - read the header, and check what it says
 * @meta: the metadata; its geometry is set
 * @error: a phrase for the user where it fails
 *
 * Context: Process context, may sleep.
 * Return: as qed_meta_create().
 */
int qed_header_read(struct qed_meta *meta, char **error);

/* Is NEED_CHECK set, on the device or about to be? Context: Any. */
bool qed_header_needs_check(struct qed_meta *meta);

/**
 * qed_header_clean() - clear NEED_CHECK, unless it is needed
 * @meta: the metadata
 * @release: give the image up: nothing is under way any more. The record says so, and
 *	with NEED_CHECK clear what is known of free space.
 *
 * Context: Process context, may sleep.
 * Return: 0, or the error of the device; with -ENOSPC it stays set.
 */
int qed_header_clean(struct qed_meta *meta, bool release);

/**
 * qed_header_take() - write that we have the image
 * @meta: the metadata, before anything is written by it
 * @takeover: the administrator says that nobody else has it
 *
 * Into the record, if there is room for one. Other autoclear bits are cleared, as they are
 * not kept up to date; without space for that the metadata fails.
 *
 * Context: Process context, may sleep.
 * Return: 0; -EBUSY if header or record are not any more as they were loaded: somebody
 * else has come first; -EINTR; or the error of the device.
 */
int qed_header_take(struct qed_meta *meta, bool takeover);

/**
 * qed_header_look() - is the image still ours?
 * @meta: the metadata, which was paused
 *
 * It fails if not, or if bit 63 has been cleared meanwhile.
 *
 * Context: Process context, may sleep.
 * Return: 0, -EROFS if it has failed, or the error with which the header cannot be read.
 */
int qed_header_look(struct qed_meta *meta);

/*
 * The same while it is in use: it fails if not. A header that cannot be read for a moment tells
 * nothing. If somebody else has had the image some tables are looked at, too, each time others.
 * Context: Process, may sleep.
 */
void qed_header_glance(struct qed_meta *meta);

/* The size of the guest's disk that it has, in bytes. Context: Process, may sleep. */
u64 qed_header_size(struct qed_meta *meta);

/**
 * qed_header_grow() - write that the image device has grown
 * @meta: the metadata
 *
 * Before what it has grown by is used: else that would not be told from what somebody has
 * added who keeps no record, see qed_judge(). What it was larger by before somebody
 * cleared bit 63 may be in use by him, and is not ours.
 *
 * Context: Process context, may sleep; not with mode_mutex.
 * Return: 0, -EBUSY if somebody else has had the image, -EROFS, or the error of the device.
 */
int qed_header_grow(struct qed_meta *meta);

/* Write another size of the guest's disk, in bytes. Returns like qed_meta_resize(). */
int qed_header_set_size(struct qed_meta *meta, u64 size);

/*
 * What qed_meta_begin() does, if NEED_CHECK has been set by somebody else, and not been
 * cleared since: returns false otherwise, with nothing begun. Context: Process.
 */
bool qed_begin_marked(struct qed_meta *meta);

/*
 * What qed_meta_end() does; returns whether somebody may wait for the block. Context: Any,
 * lock of the cache held.
 */
bool qed_end_change(struct qed_meta *meta, struct qed_block *block);

#endif /* DM_QED_HEADER_H */
