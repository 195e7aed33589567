/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The check of the header of an image.
 */

#ifndef QED_HEADER_H
#define QED_HEADER_H

#include "finding.h"
#include "image.h"

#define QED_MAX_HEADER_FINDINGS	8

/*
 * An autoclear bit of our own, while a repair is under way: the L1 table is where the header
 * says, though not right behind it. What it names, which decides about that, may have changed.
 */
#define QED_AF_PLACED		0x0800000000000000ULL	/* bit 59 */

/**
 * struct qed_header_check - the result of a check of the header
 * @findings: what is wrong, without QED_NEED_CHECK, action as if not repaired
 * @nr: number of findings
 * @fixed: the header as it should be
 * @fatal: the last finding cannot be repaired, the tables cannot be read
 */
struct qed_header_check {
	struct qed_finding findings[QED_MAX_HEADER_FINDINGS];
	unsigned int nr;
	struct qed_header fixed;
	bool fatal;
};

/**
 * qed_header_is_qed() - is this a QED image, of a known kind?
 * @img: the image
 * @error: the reason if not, for the user
 *
 * Return: true or false.
 */
bool qed_header_is_qed(const struct qed_image *img, const char **error);

/**
 * qed_header_check() - check the header, find out how to repair it
 * @img: the image; its geometry is set to the repaired one
 * @check: the result
 *
 * Changes nothing on the disk.
 * Return: 0, or an error if something could not be read or there is no memory.
 */
int qed_header_check(struct qed_image *img, struct qed_header_check *check);

/**
 * qed_mapped_size() - the size of a disk, by what is mapped
 * @img: the image, its geometry is set but for the size
 * @size: the end of the last cluster that is mapped, in bytes; 0 if there is none
 *
 * Return: 0, or an error.
 */
int qed_mapped_size(struct qed_image *img, u64 *size);

#endif /* QED_HEADER_H */
