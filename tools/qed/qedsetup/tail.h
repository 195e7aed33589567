/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The sparse tail of a file: what an image can grow into while it is in use.
 *
 * While the image is in use the file is as long as the image can ever become, or as far as its
 * user wants it; the rest is a hole. When it is closed the file ends where the image does: QEMU
 * takes what is behind for leaked clusters.
 */

#ifndef QEDSETUP_TAIL_H
#define QEDSETUP_TAIL_H

#include "subject.h"

/**
 * struct tail - what has been done to it
 * @end: of the image, in bytes: nothing refers to what is behind; 0 if that is not known
 * @zeroed_from: in clusters: all that is behind reads as zeroes; 0 if that is not known
 * @grown: the file has been made longer
 */
struct tail {
	u64 end, zeroed_from;
	bool grown;
};

/**
 * tail_grow() - prepare a file for use
 * @subject: the image, nobody uses it; its sizes are updated
 * @headroom: how much more space the image is to have, in bytes; 0: all that it may need
 * @tail: the result
 *
 * What a crash, or a deferred close, has left behind goes away first, if it is known where
 * that begins. If the image was not closed it stays as it is: see tail_grow_active().
 * Return: 0 or what failed, which is noted.
 */
int tail_grow(struct subject *subject, u64 headroom, struct tail *tail);

/* The size that tail_grow() would give it if @end were the end of the image */
u64 tail_target(const struct subject *subject, u64 end, u64 headroom);

/* Make the file longer, up to @target if the file system can: 0 or what failed, not noted */
int tail_extend(int fd, u64 size, u64 target);

/**
 * tail_trim() - make a file as short as its image
 * @subject: the image, nobody uses it; its header is read again
 *
 * An image that was not closed is left as it is.
 * Return: 0 or what failed, which is noted.
 */
int tail_trim(struct subject *subject);

/* Take back tail_grow(), as far as nobody has used the image meanwhile. */
void tail_undo(struct subject *subject, const struct tail *tail);

#endif /* QEDSETUP_TAIL_H */
