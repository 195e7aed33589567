/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is known of all devices, as text for Prometheus.
 */

#ifndef MONITOR_METRICS_H
#define MONITOR_METRICS_H

#include "file.h"
#include "view.h"

/**
 * struct metrics - a device
 * @view: what is known of it
 * @has_space: its file system is known
 * @space: of that
 */
struct metrics {
	struct view view;
	bool has_space;
	struct file_space space;
};

/**
 * metrics_write() - write all of them to a file, which is replaced in one step
 * @path: of it
 * @all: the devices
 * @nr: their number
 *
 * Return: 0 or a negative error number.
 */
int metrics_write(const char *path, const struct metrics *all, unsigned int nr);

#endif /* MONITOR_METRICS_H */
