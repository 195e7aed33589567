/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is below an image.
 */

#ifndef QEDSETUP_BASE_H
#define QEDSETUP_BASE_H

#include "../chain.h"
#include "subject.h"

/**
 * base_open_chain() - open all that is below an image
 * @chain: its first image is set, and its number; to be closed in any case
 *
 * Whatever others do with it.
 * Return: 0 or a negative error number, and it is noted what failed.
 */
int base_open_chain(struct qed_chain *chain);

/**
 * base_measure() - what an image that is to be made would have below
 * @path: of that image
 * @name: of what is below, as it goes into the header
 * @is_raw: it is said to be a raw image; else it has to be a QED image
 * @size: the size of the disk that it has
 *
 * Return: the same.
 */
int base_measure(const char *path, const char *name, bool is_raw, u64 *size);

/**
 * base_open() - open the raw image below an image, for a device
 * @base: the result, to be closed if it was found, locked against writes
 * @top: the image above
 * @given: its path, if the user says so, or NULL: by the name in the header
 * @path: its path, to be freed; NULL if there is nothing below
 *
 * It has to be one that dm-qed can have below.
 * Return: the same.
 */
int base_open(struct subject *base, struct subject *top, const char *given, char **path);

#endif /* QEDSETUP_BASE_H */
