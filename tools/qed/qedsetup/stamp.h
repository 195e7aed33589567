/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Writes the record of an image that nobody has.
 */

#ifndef QEDSETUP_STAMP_H
#define QEDSETUP_STAMP_H

#include "../record.h"

/**
 * stamp_fill() - the record of an image that nobody has had yet
 * @record: the result
 * @end: the first cluster behind all that is in use
 * @zero_end: from there up to this cluster all reads as zeroes, durably
 * @device_size: of the device that this is on
 *
 * Return: 0 or what failed.
 */
int stamp_fill(struct qed_disk_record *record, u64 end, u64 zero_end, u64 device_size);

/**
 * stamp_size() - the record of an image whose file has become as short as the image
 * @fd: the file
 * @size: its size, which is durable
 * @end: the same in clusters, also counting a part of one
 *
 * What the record says of free space holds as long as the file has the size that it says. It
 * must not be one that the file could get again when QEMU, which does not clear the mark of
 * the record in all cases, fills the image: so it is that of the file as it is.
 * Return: 0 or what failed.
 */
int stamp_size(int fd, u64 size, u64 end);

#endif /* QEDSETUP_STAMP_H */
