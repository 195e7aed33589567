/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where the program prints to: never into an image.
 */

#ifndef QED_DESCRIPTORS_H
#define QED_DESCRIPTORS_H

#include <stdbool.h>

/**
 * qed_open_standard() - see to it that descriptors 0 to 2 are open
 *
 * Those that are closed become /dev/null: the next file that is opened would take
 * their place, and what is printed would get into it. To be called before anything
 * is opened or printed.
 * Return: 0 or a negative error number.
 */
int qed_open_standard(void);

/**
 * qed_keep_descriptor() - a descriptor of our own for one that was given by number
 * @fd: the number
 *
 * To be called before anything is opened that could get this number.
 * Return: a descriptor above 2, or -EBADF if it is closed or cannot be written to.
 */
int qed_keep_descriptor(int fd);

/* Do both refer to the same file or block device? */
bool qed_is_same_file(int fd, int other);

#endif /* QED_DESCRIPTORS_H */
