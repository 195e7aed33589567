/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How files and block devices are called in the header of an image, so that they are found again.
 */

#ifndef QEDSETUP_NAMING_H
#define QEDSETUP_NAMING_H

#include <stdbool.h>
#include <sys/stat.h>

/**
 * naming_path() - the path of what is, or will be, there
 * @path: as it was given
 *
 * Return: it from the root, with no links in its folder; to be freed, NULL if the folder is not
 * there, or there is no memory, as errno tells.
 */
char *naming_path(const char *path);

/**
 * naming_in_header() - the name for a header
 * @path: of the file or device, as of naming_path()
 * @st: of it
 * @above: the path of the image with the header
 *
 * A file in the same folder is called by its name only. Of a block device it is a name that it
 * has at the next boot as well, if there is one; else the user is warned.
 * Return: the name, to be freed, NULL if there is no memory.
 */
char *naming_in_header(const char *path, const struct stat *st, const char *above);

#endif /* QEDSETUP_NAMING_H */
