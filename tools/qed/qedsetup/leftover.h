/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What snapshots leave behind: new images that are not needed after all, old ones that have a tail,
 * and all that is left by one that was killed.
 */

#ifndef QEDSETUP_LEFTOVER_H
#define QEDSETUP_LEFTOVER_H

#include <stdbool.h>

#include "dm.h"
#include "intent.h"

/* Remove a new image, or wipe it off a device, unless somebody uses it, or has written to it. */
void leftover_remove(const char *path);

/* Make the file of an image short that is below another one now. */
void leftover_trim(const char *path);

/**
 * struct leftover - what is left of a snapshot of a device
 * @name: of the device
 * @path: of the new image
 * @begun: there is something
 * @live: the device has the new image
 * @state: of the device
 */
struct leftover {
	const char *name, *path;
	bool begun, live;
	struct dm_state state;
};

/* All of these return 0 or a negative error number, and have noted what failed. */

/* What is there? The intent is held. */
int leftover_find(struct leftover *leftover, const char *name, const struct intent *intent);

/* Go on with the new image, or with the old one if the new one is not loaded. */
int leftover_finish(struct leftover *leftover);

/* Go on with the old image. */
int leftover_undo(struct leftover *leftover);

#endif /* QEDSETUP_LEFTOVER_H */
