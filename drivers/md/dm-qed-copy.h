/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Copy-up: what is below shows in a cluster until that is mapped, so where the guest does
 * not write to all of it the rest is copied before.
 *
 * A copy has pages for what it reads. It has to be got before anything is allocated for
 * the write: that may have to wait for another copy to end. If its pages hold all that is
 * to be copied they are written together with the guest's data; otherwise they are filled
 * and written piece by piece, and the guest's data comes last.
 */

#ifndef DM_QED_COPY_H
#define DM_QED_COPY_H

#include "dm-qed-target.h"

struct qed_copy;

/* The pages that a bio may need, if its clusters show what is below. Context: Any. */
unsigned int qed_copy_pages(struct qed *qed, struct bio *bio);

/**
 * qed_copy_get() - get a copy
 * @qed: the target
 * @bio: of the guest, that is to write to clusters that are not mapped
 * @nr: how many pages it may need
 * @copy: set to the copy
 *
 * Context: The worker.
 * Return: 0, or 1 if the bio waits for one, and is not to be touched any more.
 */
int qed_copy_get(struct qed *qed, struct bio *bio, unsigned int nr,
		 struct qed_copy **copy);

/* The copy, or NULL, is not needed any more. Context: Any. */
void qed_copy_put(struct qed_copy *copy);

/* Number of vectors for so many sectors of a copy. */
unsigned int qed_copy_vecs(unsigned int sectors);

/* Has the copy pages for so many sectors before and behind the guest's? */
bool qed_copy_fits(struct qed_copy *copy, unsigned int head, unsigned int tail);

/* Add the next pages of a copy to a bio, for so many sectors, as often as needed. */
void qed_copy_add(struct qed_copy *copy, struct bio *bio, unsigned int sectors);

/**
 * struct qed_copy_args - what is to be copied
 * @io: of the guest's bio
 * @cell: that it writes to
 * @data: what is to be written in the end, by qed_io_submit(); not submitted if anything
 *	fails before: then it ends with that error
 * @guest: first sector of the guest's clusters
 * @to: that of the clusters that are being written
 * @head: sectors to be copied, at the beginning
 * @nr: sectors of the guest's data that follow
 * @tail: sectors to be copied behind it
 */
struct qed_copy_args {
	struct qed_io *io;
	struct qed_cell *cell;
	struct bio *data;
	sector_t guest;
	sector_t to;
	unsigned int head;
	unsigned int nr;
	unsigned int tail;
};

/**
 * qed_copy_up() - copy what is below, and write
 * @copy: from qed_copy_get(), taken over; all that is to be copied has been added to
 *	the data, or nothing
 * @args: see there
 *
 * Context: The worker; may sleep, needs no memory but the reserves.
 */
void qed_copy_up(struct qed_copy *copy, const struct qed_copy_args *args);

/* Clusters that were copied in part. Context: Any. */
u64 qed_copies_nr(struct qed_copies *copies);

/* Context: Process context, may sleep. NULL: there is no memory. */
struct qed_copies *qed_copies_create(struct qed *qed);
void qed_copies_destroy(struct qed_copies *copies);
void qed_copy_module_init(void);
void qed_copy_module_exit(void);

#endif /* DM_QED_COPY_H */
