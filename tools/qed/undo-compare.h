/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Does an undo file belong to what is in an image?
 */

#ifndef QED_UNDO_COMPARE_H
#define QED_UNDO_COMPARE_H

#include "undo-index.h"

struct qed_image;

/**
 * struct undo_compared - the result of a comparison
 * @is_before: each place that was saved is as it was before the run
 * @is_after: each place is as the file tells
 * @bad: else the first one that is not, in bytes
 * @failed: where the image, or the undo file, could not be read
 * @in_image: it was the image
 */
struct undo_compared {
	bool is_before, is_after;
	u64 bad, failed;
	bool in_image;
};

/**
 * undo_compare() - compare an image with what an undo file tells of it
 * @index: what is in the file
 * @img: the image
 * @exactly: each place has to be as the run left it; else it can also be as before the
 *	run, but for the header, which is the last to become that
 * @compared: the result
 *
 * Compared by sectors, each of which is read once.
 * Return: 0, or what failed.
 */
int undo_compare(const struct undo_index *index, struct qed_image *img, bool exactly,
		 struct undo_compared *compared);

/* Has the image's header the mark that a run with an undo file, or taking back, is under way? */
bool undo_is_marked(const struct qed_image *img);

#endif /* QED_UNDO_COMPARE_H */
