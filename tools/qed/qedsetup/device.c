// SPDX-License-Identifier: GPL-2.0-only
/*
 * A device of dm-qed, see device.h.
 */

#include <errno.h>
#include <linux/major.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "device.h"
#include "fail.h"
#include "holder.h"
#include "identity.h"
#include "loop.h"

char *device_behind(dev_t number)
{
	char *path = major(number) == LOOP_MAJOR ? qed_loop_path(number) : NULL;
	char node[QED_NODE_SIZE];

	if (path)
		return path;
	return qed_block_node(number, node) ? NULL : strdup(node);
}

bool device_is_file(const struct device *device)
{
	struct stat behind;

	return major(device->table.image) == LOOP_MAJOR &&
	       !loop_behind(device->table.image, &behind) && !behind.st_rdev &&
	       loop_goes_away(device->table.image);
}

bool device_is_layer(const struct device *device, unsigned int index)
{
	return !device->table.has_raw || index < device->table.nr_below - 1;
}

bool device_is_hidden(const struct device *device)
{
	return !strncmp(device->state.uuid, UUID_GUEST, strlen(UUID_GUEST));
}

static int fill(struct device *device)
{
	unsigned int i;
	char *params;
	int r = dm_get(device->name, true, &device->sectors, &params);

	if (r)
		return r;
	free(params);
	r = target_get_table(device->name, &device->table);
	if (r)
		return r;
	device->path = dm_path(device->name);
	device->image = device_behind(device->table.image);
	for (i = 0; i < device->table.nr_below; i++)
		device->below[i] = device_behind(device->table.below[i]);
	return device->path ? 0 : -ENOMEM;
}

int device_find(struct device *device, const char *name)
{
	int r;

	memset(device, 0, sizeof(*device));
	device->name = name;
	r = dm_find(name, &device->state);
	if (r)
		return r;
	if (!device->state.exists)
		return fail_advise(ENODEV, "qedsetup list shows all devices", "%s: is not active",
				   name);
	if (!device->state.live)
		return fail_advise(ENODEV, "open or close it once more",
				   "%s: was not made to its end", name);
	r = fill(device);
	if (r)
		device_free(device);
	return r;
}

void device_free(struct device *device)
{
	unsigned int i;

	free(device->path);
	free(device->image);
	for (i = 0; i < device->table.nr_below; i++)
		free(device->below[i]);
}

char *device_user(const struct device *device)
{
	return holder_find_device(device->state.device);
}
