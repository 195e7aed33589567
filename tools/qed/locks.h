/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * QEMU's locks on a file or device with an image.
 *
 * They belong to the open file: whoever has got it, such as a loop device, has them.
 */

#ifndef QED_LOCKS_H
#define QED_LOCKS_H

#include <stdbool.h>

enum qed_lock_use {
	QED_LOCK_READ,	/* read it, while nobody may write to it */
	QED_LOCK_WRITE,	/* write to it, and change its size; others may look, as qemu-img -U does */
	QED_LOCK_ALONE,	/* the same, and nobody may look */
};

/**
 * qed_lock() - lock an image
 * @fd: its file or device
 * @use: what for
 *
 * A file system without locks is no error, as it is none for QEMU.
 * Return: 0, or -EBUSY if somebody has locks that do not go with these; then none are taken.
 */
int qed_lock(int fd, enum qed_lock_use use);

/*
 * Those of QED_LOCK_READ for who writes to it by another open file, as long as it does. Others
 * cannot have come before.
 */
void qed_lock_beside(int fd);

/* Does somebody else have any of them? */
bool qed_is_locked(int fd);

/* The same of those that one has who writes to it, or changes its size */
bool qed_is_locked_by_writer(int fd);

#endif /* QED_LOCKS_H */
