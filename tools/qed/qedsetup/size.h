/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Sizes as people write them.
 */

#ifndef QEDSETUP_SIZE_H
#define QEDSETUP_SIZE_H

#include "../common.h"

/**
 * size_parse() - read a size
 * @text: a number, maybe with a point in it, and a unit: K, KiB (1024), KB (1000), up to E;
 *        without one, and with B, bytes
 * @size: the result in bytes
 *
 * Return: is it one, a whole number of bytes that is less than 2^63?
 */
bool size_parse(const char *text, u64 *size);

/* A size in the largest unit that it has at least one of, such as "1.5 GiB" */
const char *size_text(u64 size, char *text, size_t length);

#define SIZE_TEXT	32

#endif /* QEDSETUP_SIZE_H */
