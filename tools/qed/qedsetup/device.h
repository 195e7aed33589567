/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A device of dm-qed that is there: what it is made of.
 */

#ifndef QEDSETUP_DEVICE_H
#define QEDSETUP_DEVICE_H

#include "dm.h"
#include "target.h"

/**
 * struct device - a device
 * @name: of it
 * @path: of its node
 * @state: as device mapper has it
 * @sectors: its size
 * @table: its table
 * @image: the path of the file or block device that its image is on
 * @below: the same of all that is below, nearest first; NULL where it is not known
 */
struct device {
	const char *name;
	char *path;
	struct dm_state state;
	u64 sectors;
	struct target_table table;
	char *image, *below[TARGET_BELOW];
};

/**
 * device_find() - find a device, which has to be one of dm-qed
 * @device: the result, to be freed if 0 is returned
 * @name: of it
 *
 * Return: 0, -ENODEV if there is none, or what failed, which is noted.
 */
int device_find(struct device *device, const char *name);

void device_free(struct device *device);

/* Is its image on a file, behind a loop device that is not its user's own? */
bool device_is_file(const struct device *device);

/* Does device @index of those below have an image? Else it has what is raw. */
bool device_is_layer(const struct device *device, unsigned int index);

/* Do udev rules leave it alone? */
bool device_is_hidden(const struct device *device);

/* Who has it open, as the end of a sentence, to be freed; NULL if that is not found */
char *device_user(const struct device *device);

/* The path of a block device, or of the file behind a loop device; to be freed */
char *device_behind(dev_t number);

#endif /* QEDSETUP_DEVICE_H */
