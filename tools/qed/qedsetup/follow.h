/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * From an image to the one that its disk goes on in since a snapshot.
 */

#ifndef QEDSETUP_FOLLOW_H
#define QEDSETUP_FOLLOW_H

/**
 * follow() - find the image that a disk is in now
 * @path: of an image
 * @top: the path of that, or of the same image, to be freed if 0 is returned
 *
 * What an image says is believed only if the other one has the mark: an image may be anybody's.
 * What cannot be read is for its user to fail with.
 * Return: 0, or why not, which is noted.
 */
int follow(const char *path, char **top);

#endif /* QEDSETUP_FOLLOW_H */
