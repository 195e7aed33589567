// SPDX-License-Identifier: GPL-2.0-only
/*
 * Device mapper by its ioctls, see control.h.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "../qedsetup/dm.h"
#include "control.h"

#define CONTROL_PATH	"/dev/mapper/control"

/* Since this version there is DM_DEV_ARM_POLL */
#define NEED_MINOR	37

/* The kernel allocates as much as it is given: no more than needed. */
#define SMALL		(16 * 1024)
#define LARGE		(2048 * 1024)

static union {
	struct dm_ioctl head;
	char bytes[LARGE];
} buffer;

static int control = -1;
static size_t list_size = SMALL;

static void prepare(dev_t device, u32 flags, size_t size)
{
	struct dm_ioctl *head = &buffer.head;

	memset(head, 0, sizeof(*head));
	head->version[0] = DM_VERSION_MAJOR;
	head->data_size = size;
	head->data_start = sizeof(*head);
	head->flags = flags;
	head->dev = device;
}

static int run(unsigned long command)
{
	if (ioctl(control, command, &buffer))
		return -errno;
	return buffer.head.flags & DM_BUFFER_FULL_FLAG ? -ENOSPC : 0;
}

int control_open(void)
{
	int r;

	control = open(CONTROL_PATH, O_RDWR | O_CLOEXEC);
	if (control < 0)
		return -errno;
	prepare(0, 0, sizeof(buffer.head));
	r = run(DM_VERSION);
	if (!r && buffer.head.version[1] < NEED_MINOR)
		r = -EOPNOTSUPP;
	if (!r)
		return control;
	close(control);
	return r;
}

int control_arm(void)
{
	prepare(0, 0, sizeof(buffer.head));
	return run(DM_DEV_ARM_POLL);
}

int control_list(void (*each)(const char *name, dev_t device))
{
	struct dm_name_list *list;
	int r;

	for (;;) {
		prepare(0, 0, list_size);
		r = run(DM_LIST_DEVICES);
		if (r != -ENOSPC || list_size >= LARGE)
			break;
		list_size *= 2;
	}
	if (r)
		return r;
	list = (struct dm_name_list *)(buffer.bytes + buffer.head.data_start);
	if (!list->dev)
		return 0;
	for (;; list = (struct dm_name_list *)((char *)list + list->next)) {
		each(list->name, list->dev);
		if (!list->next)
			return 0;
	}
}

int control_get(dev_t device, bool table, char params[CONTROL_PARAMS])
{
	struct dm_target_spec *spec;
	int r;

	prepare(device, DM_NOFLUSH_FLAG | (table ? DM_STATUS_TABLE_FLAG : 0), SMALL);
	r = run(DM_TABLE_STATUS);
	if (r)
		return r == -ENXIO ? -ENODEV : r;
	spec = (struct dm_target_spec *)(buffer.bytes + buffer.head.data_start);
	if (buffer.head.target_count != 1 || strcmp(spec->target_type, DM_TARGET))
		return -ENODEV;
	snprintf(params, CONTROL_PARAMS, "%s", (char *)(spec + 1));
	return 0;
}

int control_name(dev_t device, char name[CONTROL_NAME], char uuid[CONTROL_UUID])
{
	int r;

	prepare(device, 0, sizeof(buffer.head));
	r = run(DM_DEV_STATUS);
	if (r)
		return r;
	snprintf(name, CONTROL_NAME, "%s", buffer.head.name);
	snprintf(uuid, CONTROL_UUID, "%s", buffer.head.uuid);
	return 0;
}

int control_send(dev_t device, const char *message)
{
	size_t length = strlen(message) + 1;
	struct dm_target_msg *target;

	prepare(device, 0, sizeof(buffer.head) + sizeof(*target) + length);
	target = (struct dm_target_msg *)(buffer.bytes + buffer.head.data_start);
	target->sector = 0;
	memcpy(target->message, message, length);
	return run(DM_TARGET_MSG);
}
