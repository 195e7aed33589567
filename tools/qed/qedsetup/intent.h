/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is being done to a device, in /run/qed, so that it can be finished if we are killed.
 */

#ifndef QEDSETUP_INTENT_H
#define QEDSETUP_INTENT_H

#include <stdbool.h>
#include <sys/stat.h>

#define INTENT_OPEN	"open"
#define INTENT_CLOSE	"close"

/**
 * struct intent - the file of a device
 * @fd: locked: only one at a time works on a device
 * @file: its path
 * @verb: what somebody has begun, and not ended; empty if there is nothing
 * @path: of the image of that
 * @st: st_dev and st_ino of the image, and whether it is a block device
 */
struct intent {
	int fd;
	char file[512];
	char verb[16];
	char path[4096];
	struct stat st;
};

/**
 * intent_begin() - be the one who works on a device
 * @intent: the result, with what has been left behind
 * @name: of the device
 *
 * Return: 0, -EBUSY if somebody else is at work, or what failed. It is noted.
 */
int intent_begin(struct intent *intent, const char *name);

/* Write down what is being done, to which image. 0 or what failed, which is noted. */
int intent_write(struct intent *intent, const char *verb, const char *path,
		 const struct stat *st);

/* Let others work on it: it has come to its end, also if that was a failure. */
void intent_end(struct intent *intent);

/* The same of who has not written anything: what was left behind stays, unless @verb is empty. */
void intent_leave(struct intent *intent);

/* Is this what somebody has begun, with this image? */
bool intent_was(const struct intent *intent, const char *verb, const struct stat *st);

#endif /* QEDSETUP_INTENT_H */
