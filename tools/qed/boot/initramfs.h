/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Commands of an initrd that has no systemd.
 */

#ifndef QED_INITRAMFS_H
#define QED_INITRAMFS_H

#include <stdio.h>

#include "tab.h"

/**
 * initramfs_write() - write the command that opens an image
 * @file: a script of the shell, which has open_image NAME DEVICE [OPTION...]
 * @entry: the line of the table; those without x-initrd.attach are left out
 *
 * Return: 0 or a negative error number, and fail() knows more.
 */
int initramfs_write(FILE *file, const struct entry *entry);

#endif /* QED_INITRAMFS_H */
