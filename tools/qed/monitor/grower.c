// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who makes an image device larger, see grower.h.
 */

#include <errno.h>
#include <libdevmapper.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "../qedsetup/fail.h"
#include "child.h"
#include "control.h"
#include "file.h"
#include "grower.h"

#define LVM_UUID	"LVM-"

/* Two numbers of 32 digits follow, of the volume group and the volume, and no layer. */
#define LVM_UUID_SIZE	(strlen(LVM_UUID) + 64)

#define NUMBER		32

static bool is_volume(dev_t image)
{
	char name[CONTROL_NAME], uuid[CONTROL_UUID];

	return !control_name(image, name, uuid) &&
	       !strncmp(uuid, LVM_UUID, strlen(LVM_UUID)) && strlen(uuid) == LVM_UUID_SIZE;
}

enum grower grower_of(dev_t image, const struct settings *settings)
{
	if (file_is(image))
		return GROWER_FILE;
	if (*settings->command)
		return GROWER_COMMAND;
	return is_volume(image) ? GROWER_VOLUME : GROWER_NONE;
}

/* Device mapper has a volume as GROUP-VOLUME, with each hyphen in a name twice. */
static int split(dev_t image, char path[2 * CONTROL_NAME])
{
	char name[CONTROL_NAME], uuid[CONTROL_UUID], *group = name, *volume, *layer;
	int r = control_name(image, name, uuid);

	if (r)
		return r;
	if (!dm_split_lvm_name(NULL, NULL, &group, &volume, &layer) || !*volume || *layer)
		return -EINVAL;
	snprintf(path, 2 * CONTROL_NAME, "%s/%s", group, volume);
	return 0;
}

static pid_t extend_volume(dev_t image, u64 bytes)
{
	char path[2 * CONTROL_NAME], size[NUMBER];
	const char * const argv[] = { "lvextend", "-qq", "--yes", "--size", size, path, NULL };
	int r = split(image, path);

	if (r)
		return fail_as(r, "the logical volume");
	snprintf(size, sizeof(size), "+%llub", bytes);
	return fail_as(child_start(argv), argv[0]);
}

static pid_t run_command(const char *command, const char *name, dev_t image, u64 bytes)
{
	char path[NUMBER], size[NUMBER];
	const char * const argv[] = { command, name, path, size, NULL };

	snprintf(path, sizeof(path), "/dev/block/%u:%u", major(image), minor(image));
	snprintf(size, sizeof(size), "%llu", bytes);
	return fail_as(child_start(argv), command);
}

pid_t grower_start(enum grower grower, const char *name, dev_t image, u64 bytes,
		   const struct settings *settings)
{
	switch (grower) {
	case GROWER_FILE:
		return file_grow(image, bytes, settings);
	case GROWER_VOLUME:
		return extend_volume(image, bytes);
	default:
		return run_command(settings->command, name, image, bytes);
	}
}
