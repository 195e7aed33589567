/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Reads and writes by io_uring, one at a time.
 */

#ifndef REPLAY_RING_H
#define REPLAY_RING_H

#include <stdbool.h>
#include <sys/types.h>

/* Returns false if the kernel has none, or does not let us. */
bool ring_init(void);

/* Like pread() and pwrite(), but for what ends short; goes on then. */
ssize_t ring_read(int fd, void *p, size_t n, off_t offset);
ssize_t ring_write(int fd, const void *p, size_t n, off_t offset);

#endif /* REPLAY_RING_H */
