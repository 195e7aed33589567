/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Bios for the image device, on behalf of a bio of the guest: clones of parts of it,
 * and that bio itself. When one comes back the cell it wrote to, its hold of the extent,
 * and the guest's bio are told.
 */

#ifndef DM_QED_BIO_H
#define DM_QED_BIO_H

#include "dm-qed-target.h"

/**
 * qed_submit_head() - submit the first sectors of the guest's bio
 * @qed: the target
 * @io: of the bio, which is advanced over them
 * @cell: that is written to, or NULL
 * @to: where they go to, and how many; its hold is taken over
 *
 * The bio that nothing else is left of goes by itself: that saves a tenth of an
 * allocating write.
 *
 * Context: The worker; may sleep, needs no memory but the reserves.
 * Return: 1 if it did, for it is not to be touched any more, and 0 otherwise.
 */
int qed_submit_head(struct qed *qed, struct qed_io *io, struct qed_cell *cell,
		    const struct qed_extent *to);

/* A bio for the first sectors of the guest's bio, which is advanced; as above. */
struct bio *qed_clone_bio(struct qed *qed, struct qed_io *io,
			  struct qed_cell *cell, const struct qed_extent *to);

/* Make a bio of qed->clones or qed->composed one for the guest's; its sectors are set. */
void qed_clone_init(struct bio *bio, struct qed_io *io, struct qed_cell *cell,
		    const struct qed_extent *to);

/* Submit a bio for the guest's, or that itself, on behalf of who submitted that. */
void qed_io_submit(struct qed_io *io, struct bio *bio);

/* Context: Process context, may sleep. */
int qed_bios_init(struct qed *qed);
void qed_bios_exit(struct qed *qed);

#endif /* DM_QED_BIO_H */
