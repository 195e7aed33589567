// SPDX-License-Identifier: GPL-2.0-only
/*
 * Commands of an initrd that has no systemd, see initramfs.h.
 */

#include <errno.h>

#include "../qedsetup/fail.h"
#include "initramfs.h"

/* One word for the shell, whatever is in it */
static void write_word(FILE *file, const char *prefix, const char *text)
{
	fprintf(file, " '%s", prefix);
	for (; *text; text++)
		if (*text == '\'')
			fputs("'\\''", file);
		else
			putc(*text, file);
	putc('\'', file);
}

int initramfs_write(FILE *file, const struct entry *entry)
{
	unsigned int i;

	if (!entry->initrd)
		return 0;
	if (entry->files.nr)
		return fail(EINVAL, "%s: is a file, and an initrd without systemd has none yet",
			    entry->files.words[0]);
	fputs("open_image", file);
	write_word(file, "", entry->name);
	write_word(file, "", entry->image);
	for (i = 0; i < entry->arguments.nr; i++)
		write_word(file, "--", entry->arguments.words[i]);
	putc('\n', file);
	return 0;
}
