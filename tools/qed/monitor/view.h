/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is known of a device.
 */

#ifndef MONITOR_VIEW_H
#define MONITOR_VIEW_H

#include <sys/types.h>

#include "../qedsetup/target.h"
#include "control.h"

/* What has been done since the monitor began */
struct view_counters {
	u64 grown, bytes, failed;
};

/**
 * struct view - a device
 * @name: of it
 * @device: its number
 * @image: the number of its image device
 * @status: as it was last
 * @counters: of its growth
 * @growing: somebody is making the image device larger
 * @limited: it needs more space, but may not have it
 * @reserve: in bytes: so much stays free in the file system
 */
struct view {
	char name[CONTROL_NAME];
	dev_t device, image;
	struct target_status status;
	struct view_counters counters;
	bool growing, limited;
	u64 reserve;
};

#endif /* MONITOR_VIEW_H */
