/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What looks like an L1 table, and what more so. Not for users of the library.
 *
 * Of the image all but the place of the L1 table has to be known; its size may be illegal.
 */

#ifndef QED_L1_H
#define QED_L1_H

#include "image.h"

/* The largest disk that the tables can map */
u64 qed_max_image_size(const struct qed_image *img);

bool qed_image_size_is_legal(const struct qed_image *img, u64 size);
bool qed_l1_offset_is_legal(const struct qed_image *img, u64 offset);

/**
 * qed_survey_l1() - count what is in the table at img->l1_offset
 * @img: the image
 * @buf: for a piece
 * @legal: set to the number of entries that are legal ...
 * @illegal: ... and illegal, as those beyond the size are
 *
 * Return: 0 or an error.
 */
int qed_survey_l1(struct qed_image *img, void *buf, u64 *legal, u64 *illegal);

/* When a table of zeroes looks like an L1 table */
enum qed_empty_l1 {
	QED_EMPTY_NEVER,
	QED_EMPTY_AT_END,	/* if the file has nothing behind it */
	QED_EMPTY_ALWAYS,
};

/* Does this place look like an L1 table? 1, 0, or an error. Sets the geometry. */
int qed_try_l1(struct qed_image *img, void *buf, u32 header_clusters, u64 offset,
	       enum qed_empty_l1 empty);

/* What is where the header says, by itself */
enum qed_named {
	QED_NAMED_EMPTY,
	QED_NAMED_WRONG,	/* rather none */
	QED_NAMED_LIKELY,	/* looks like one: the L2 tables that it names decide */
};

/**
 * qed_try_behind_header() - is there an L1 table right behind a header of this size?
 * @img: the image, with the place that the header says
 * @buf: for a piece
 * @size: of the header, in clusters
 * @kind: what that place is
 *
 * Return: 1 and the geometry; 0 if there is none, or one that is less likely; or an error,
 * also if what cannot be read would decide.
 */
int qed_try_behind_header(struct qed_image *img, void *buf, u32 size, enum qed_named kind);

#endif /* QED_L1_H */
