/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The configuration, see qed.conf(5). Nothing here allocates memory.
 */

#ifndef MONITOR_CONFIG_H
#define MONITOR_CONFIG_H

#include <limits.h>
#include <stdbool.h>

#include "../common.h"

#define CONFIG_FILE		"/etc/qed/qed.conf"
#define CONFIG_SECTIONS		64
#define CONFIG_PATTERN		128
#define CONFIG_ERROR		512

/* The file may not be larger, in bytes */
#define CONFIG_SIZE		(256 * 1024)

/**
 * struct settings - what holds for a device
 * @grow: its image gets more space
 * @preallocate: space of a file is reserved when it grows
 * @headroom: in bytes: with less than that free it grows
 * @chunk: in bytes: it grows by so much at least; not less than @headroom
 * @limit: in bytes: what its image is on becomes no larger; U64_MAX: no limit
 * @reserve: in bytes: so much stays free in a file system
 * @command: what makes a block device larger that is no logical volume; "" if nothing does
 */
struct settings {
	bool grow, preallocate;
	u64 headroom, chunk, limit, reserve;
	char command[PATH_MAX];
};

/**
 * struct section - for the devices whose name matches a pattern
 * @pattern: as of fnmatch(3)
 * @settings: for these
 */
struct section {
	char pattern[CONFIG_PATTERN];
	struct settings settings;
};

/**
 * struct config - all of it
 * @interval: in seconds: how often all devices are looked at, without an event
 * @hook: a program that is told what happens, "" if there is none
 * @metrics: a file for Prometheus, "" if there is none
 * @defaults: for devices that no section matches
 * @nr_sections: their number
 * @sections: the first one that matches counts
 */
struct config {
	unsigned int interval;
	char hook[PATH_MAX], metrics[PATH_MAX];
	struct settings defaults;
	unsigned int nr_sections;
	struct section sections[CONFIG_SECTIONS];
};

/**
 * config_parse() - understand a configuration
 * @config: the result, all of which is set
 * @text: of any bytes
 * @length: of it
 * @error: what is wrong, and in which line: "line 3: ..."
 *
 * Return: 0 or -EINVAL.
 */
int config_parse(struct config *config, const char *text, size_t length,
		 char error[CONFIG_ERROR]);

/**
 * config_read() - read a configuration
 * @config: the result
 * @path: of the file
 * @optional: if there is none all is as by default
 * @error: what is wrong, as of config_parse()
 *
 * Return: 0 or a negative error number.
 */
int config_read(struct config *config, const char *path, bool optional,
		char error[CONFIG_ERROR]);

/* What holds for a device */
const struct settings *config_find(const struct config *config, const char *name);

#endif /* MONITOR_CONFIG_H */
