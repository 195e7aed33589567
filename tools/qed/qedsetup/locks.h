/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * QEMU's locks on a file or device, for an image that dm-qed has.
 *
 * They belong to the open file: whoever has got it, such as a loop device, has them. Other
 * than those that qed-fsck takes they let in who only looks, as qemu-img -U does.
 */

#ifndef QEDSETUP_LOCKS_H
#define QEDSETUP_LOCKS_H

#include <stdbool.h>

/**
 * locks_take() - lock an image
 * @fd: its file or device
 * @writable: as one who writes to it, and changes its size; else as one who reads what nobody
 *            may write to
 *
 * A file system without locks is no error, as it is none for QEMU.
 * Return: 0, or -EBUSY if somebody has locks that do not go with these; then none are taken.
 */
int locks_take(int fd, bool writable);

/* Does somebody else have any of them? */
bool locks_are_held(int fd);

#endif /* QEDSETUP_LOCKS_H */
