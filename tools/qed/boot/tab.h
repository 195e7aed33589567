/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Lines of /etc/qedtab, see qedtab(5).
 */

#ifndef QED_TAB_H
#define QED_TAB_H

#include <stdbool.h>

#define TAB_WORDS	32	/* at most, of each kind */

/**
 * struct words - some of a line
 * @words: they are in its text
 * @nr: number of them
 */
struct words {
	const char *words[TAB_WORDS];
	unsigned int nr;
};

/**
 * struct entry - a line, taken apart
 * @name: of the device
 * @image: the path of its image, absolute and tidy
 * @arguments: options of qedsetup open, such as "readonly" or "cache=32M", without "--"
 * @files: paths that have to be there before: @image and others, unless they are devices
 * @devices: the same, if they are
 * @timeout: how long to wait for @image, a device, in the words of systemd; or NULL
 * @noauto: only made when something needs it
 * @nofail: the boot does not depend on it
 * @netdev: it needs the network
 * @initrd: it is made and removed by the initrd
 */
struct entry {
	const char *name;
	const char *image;
	struct words arguments, files, devices;
	const char *timeout;
	bool noauto, nofail, netdev, initrd;
};

/**
 * tab_parse() - take a line apart
 * @entry: the result, which points into @line
 * @line: it is changed
 *
 * Return: is there anything in it; or a negative error number, and fail() knows more.
 */
int tab_parse(struct entry *entry, char *line);

#endif /* QED_TAB_H */
