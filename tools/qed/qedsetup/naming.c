// SPDX-License-Identifier: GPL-2.0-only
/*
 * Names in headers, see naming.h.
 */

#define _GNU_SOURCE
#include <dirent.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "dm.h"
#include "fail.h"
#include "naming.h"

#define BY_ID	"/dev/disk/by-id"

char *naming_path(const char *path)
{
	char *first = strdup(path), *second = strdup(path), *folder = NULL, *result = NULL;

	if (first && second)
		folder = realpath(dirname(first), NULL);
	if (folder && asprintf(&result, "%s/%s", strcmp(folder, "/") ? folder : "",
			       basename(second)) < 0)
		result = NULL;
	free(folder);
	free(first);
	free(second);
	return result;
}

/*----------------------------------------------------------------
 * Block devices
 *----------------------------------------------------------------
 */

/* That of device mapper, which volumes have as well */
static char *mapper_path(dev_t device)
{
	char path[64], name[256], *result = NULL;
	FILE *file;

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/dm/name", major(device), minor(device));
	file = fopen(path, "re");
	if (!file)
		return NULL;
	if (fgets(name, sizeof(name), file)) {
		name[strcspn(name, "\n")] = '\0';
		result = dm_path(name);
	}
	fclose(file);
	return result;
}

static bool is_device(const char *path, dev_t device)
{
	struct stat st;

	return !stat(path, &st) && S_ISBLK(st.st_mode) && st.st_rdev == device;
}

/* The first one, as a link that udev makes */
static char *id_path(dev_t device)
{
	char path[PATH_MAX], *result = NULL;
	struct dirent **entries;
	int nr = scandir(BY_ID, &entries, NULL, alphasort), i;

	for (i = 0; i < nr; i++) {
		snprintf(path, sizeof(path), BY_ID "/%s", entries[i]->d_name);
		if (!result && is_device(path, device))
			result = strdup(path);
		free(entries[i]);
	}
	if (nr >= 0)
		free(entries);
	return result;
}

static char *device_name(const char *path, dev_t device)
{
	char *name = mapper_path(device);

	if (!name)
		name = id_path(device);
	if (name && is_device(name, device))
		return name;
	free(name);
	warn("%s: may have another name at the next boot: qemu-img rebase -u changes it", path);
	return strdup(path);
}

/*----------------------------------------------------------------
 * Both
 *----------------------------------------------------------------
 */

/* What is in the same folder, as a name that QEMU does not take for a protocol */
static char *file_name(const char *path, const char *above)
{
	size_t folder = strrchr(path, '/') + 1 - path;
	const char *name = path + folder;
	char *result;

	if (strncmp(path, above, folder) || strchr(above + folder, '/'))
		return strdup(path);
	if (asprintf(&result, "%s%s", strchr(name, ':') ? "./" : "", name) < 0)
		return NULL;
	return result;
}

char *naming_in_header(const char *path, const struct stat *st, const char *above)
{
	return S_ISBLK(st->st_mode) ? device_name(path, st->st_rdev) : file_name(path, above);
}
