/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who makes an image device larger: we, lvextend, or a command of the administrator.
 */

#ifndef MONITOR_GROWER_H
#define MONITOR_GROWER_H

#include <sys/types.h>

#include "config.h"

enum grower { GROWER_NONE, GROWER_FILE, GROWER_VOLUME, GROWER_COMMAND };

/* Who does so for this image device? */
enum grower grower_of(dev_t image, const struct settings *settings);

/**
 * grower_start() - make an image device larger
 * @grower: by whom
 * @name: of the device of dm-qed
 * @image: its image device
 * @bytes: by so much
 * @settings: of the device
 *
 * Return: 0 if it is larger now; the number of a process that is to do it; or a negative error
 * number, and what failed is noted.
 */
pid_t grower_start(enum grower grower, const char *name, dev_t image, u64 bytes,
		   const struct settings *settings);

#endif /* MONITOR_GROWER_H */
