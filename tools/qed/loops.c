// SPDX-License-Identifier: GPL-2.0-only
/*
 * Loop devices, see loops.h.
 */

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "loops.h"

#define SYSFS_PATH	512

/* Its minor number is that of the name only if loop devices have no partitions. */
int qed_block_node(dev_t device, char node[QED_NODE_SIZE])
{
	char link[SYSFS_PATH], target[SYSFS_PATH], *name;
	ssize_t n;

	snprintf(link, sizeof(link), "/sys/dev/block/%u:%u", major(device), minor(device));
	n = readlink(link, target, sizeof(target) - 1);
	if (n < 0)
		return -errno;
	target[n] = '\0';
	name = strrchr(target, '/');
	n = snprintf(node, QED_NODE_SIZE, "/dev/%s", name ? name + 1 : target);
	/* what the kernel writes as ! is a slash */
	for (name = node; *name; name++)
		if (*name == '!')
			*name = '/';
	return n < QED_NODE_SIZE ? 0 : -ENAMETOOLONG;
}

int qed_loop_open(dev_t device)
{
	char node[QED_NODE_SIZE];
	int r = qed_block_node(device, node), fd;

	if (r)
		return r;
	fd = open(node, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int qed_loop_status(dev_t device, struct loop_info64 *info)
{
	int fd = qed_loop_open(device), r;

	if (fd < 0)
		return fd;
	r = ioctl(fd, LOOP_GET_STATUS64, info) ? -errno : 0;
	close(fd);
	return r;
}

char *qed_loop_path(dev_t device)
{
	char name[SYSFS_PATH], *path = NULL;
	size_t size = 0;
	ssize_t length;
	FILE *file;

	snprintf(name, sizeof(name), "/sys/dev/block/%u:%u/loop/backing_file", major(device),
		 minor(device));
	file = fopen(name, "re");
	if (!file)
		return NULL;
	/* a name may have lines */
	length = getdelim(&path, &size, '\0', file);
	fclose(file);
	if (length <= 0) {
		free(path);
		return NULL;
	}
	if (path[length - 1] == '\n')
		path[length - 1] = '\0';
	return path;
}

/* As the kernel has it in /sys/block/NAME/dev; false if it is gone */
static bool find_number(const char *name, dev_t *device)
{
	unsigned int major, minor;
	char path[SYSFS_PATH];
	bool found;
	FILE *file;

	snprintf(path, sizeof(path), "/sys/block/%.64s/dev", name);
	file = fopen(path, "re");
	if (!file)
		return false;
	found = fscanf(file, "%u:%u", &major, &minor) == 2;
	fclose(file);
	if (found)
		*device = makedev(major, minor);
	return found;
}

static bool is_over(const struct loop_info64 *info, const struct stat *st)
{
	if (S_ISBLK(st->st_mode))
		return info->lo_rdevice && info->lo_rdevice == st->st_rdev;
	return info->lo_device == st->st_dev && info->lo_inode == st->st_ino;
}

/* By its path, for who may not ask the device */
static bool is_path_of(dev_t device, const struct stat *st)
{
	char *path = qed_loop_path(device);
	struct stat other;
	bool same = path && !stat(path, &other) && other.st_ino == st->st_ino &&
		    other.st_dev == st->st_dev;

	free(path);
	return same;
}

bool qed_loop_each(const struct stat *st,
		   bool (*each)(dev_t device, const struct loop_info64 *info, void *ctx),
		   void *ctx)
{
	DIR *dir = opendir("/sys/block");
	struct loop_info64 info;
	struct dirent *entry;
	bool done = false;
	dev_t device;

	while (dir && !done && (entry = readdir(dir))) {
		if (strncmp(entry->d_name, "loop", 4) || !find_number(entry->d_name, &device))
			continue;
		if (!qed_loop_status(device, &info))
			done = is_over(&info, st) && each(device, &info, ctx);
		else
			done = is_path_of(device, st) && each(device, NULL, ctx);
	}
	if (dir)
		closedir(dir);
	return done;
}
