/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A thread for what may have to wait: it looks at the file systems below the images, and
 * writes the file for Prometheus. Both may be on an image that waits for space itself; nobody
 * who gives it that waits for this thread.
 */

#ifndef MONITOR_WATCH_H
#define MONITOR_WATCH_H

#include "config.h"
#include "file.h"
#include "view.h"

#define WATCH_DEVICES	1024

/* Start it: 0 or a negative error number */
int watch_start(const struct config *config);

/* Another configuration; it is not used any more after the next one is set. */
void watch_configure(const struct config *config);

/*
 * Tell it what there is: all devices, one after the other. With news it does not wait for the
 * end of the interval, but at least a second.
 */
void watch_begin(void);
void watch_add(const struct view *view);
void watch_end(bool news);

/* What it knows of the file system below an image device; false if that is not known */
bool watch_space(dev_t image, struct file_space *space);

/* Nothing is to be there for Prometheus any more. */
void watch_stop(void);

#endif /* MONITOR_WATCH_H */
