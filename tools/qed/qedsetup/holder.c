// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who has a file or a block device, see holder.h.
 */

#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <linux/major.h>
#include <mntent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "fail.h"
#include "holder.h"
#include "loop.h"

static char *text(const char *format, ...) __printf(1, 2);

static char *text(const char *format, ...)
{
	char *result;
	va_list args;
	int n;

	va_start(args, format);
	n = vasprintf(&result, format, args);
	va_end(args);
	return n < 0 ? NULL : result;
}

/* A line of a small file, without its end */
static char *read_line(const char *path)
{
	FILE *file = fopen(path, "re");
	char *line = NULL;
	size_t size = 0;

	if (!file)
		return NULL;
	if (getline(&line, &size, file) < 0) {
		free(line);
		line = NULL;
	} else {
		line[strcspn(line, "\n")] = '\0';
	}
	fclose(file);
	return line;
}

/*----------------------------------------------------------------
 * Block devices
 *----------------------------------------------------------------
 */

/* "device NAME of device mapper", or the name of the kernel */
static char *describe_block(const char *kernel_name)
{
	char path[512], *name, *result;

	snprintf(path, sizeof(path), "/sys/class/block/%s/dm/name", kernel_name);
	name = read_line(path);
	result = name ? text("device %s of device mapper (/dev/%s)", name, kernel_name) :
			text("/dev/%s", kernel_name);
	free(name);
	return result;
}

static char *find_above(dev_t device)
{
	char path[512], *result = NULL;
	struct dirent *entry;
	DIR *dir;

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/holders", major(device), minor(device));
	dir = opendir(path);
	while (dir && !result && (entry = readdir(dir)))
		if (*entry->d_name != '.')
			result = describe_block(entry->d_name);
	if (dir)
		closedir(dir);
	return result;
}

static char *find_mount(dev_t device)
{
	FILE *file = setmntent("/proc/self/mounts", "re");
	char *result = NULL;
	struct mntent *mount;
	struct stat st;

	while (file && !result && (mount = getmntent(file)))
		if (*mount->mnt_fsname == '/' && !stat(mount->mnt_fsname, &st) &&
		    S_ISBLK(st.st_mode) && st.st_rdev == device)
			result = text("the file system at %s", mount->mnt_dir);
	if (file)
		endmntent(file);
	return result;
}

static char *find_swap(dev_t device)
{
	FILE *file = fopen("/proc/swaps", "re");
	char line[4096], *result = NULL;
	struct stat st;

	while (file && !result && fgets(line, sizeof(line), file)) {
		line[strcspn(line, " \t\n")] = '\0';
		if (*line == '/' && !stat(line, &st) && S_ISBLK(st.st_mode) &&
		    st.st_rdev == device)
			result = text("swap");
	}
	if (file)
		fclose(file);
	return result;
}

/*----------------------------------------------------------------
 * Processes
 *----------------------------------------------------------------
 */

static bool is_same(const struct stat *a, const struct stat *b)
{
	if (S_ISBLK(a->st_mode) && S_ISBLK(b->st_mode))
		return a->st_rdev == b->st_rdev;
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

static bool has_open(const char *pid, const struct stat *st)
{
	char path[512];
	struct dirent *entry;
	bool found = false;
	struct stat other;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%s/fd", pid);
	dir = opendir(path);
	while (dir && !found && (entry = readdir(dir)))
		found = !fstatat(dirfd(dir), entry->d_name, &other, 0) && is_same(st, &other);
	if (dir)
		closedir(dir);
	return found;
}

static char *describe_process(const char *pid)
{
	char path[512], *name, *result;

	snprintf(path, sizeof(path), "/proc/%s/comm", pid);
	name = read_line(path);
	result = text("process %s (%s)", pid, name ? name : "?");
	free(name);
	return result;
}

static char *find_process(const struct stat *st)
{
	DIR *dir = opendir("/proc");
	struct dirent *entry;
	char *result = NULL;

	while (dir && !result && (entry = readdir(dir)))
		if (isdigit((unsigned char)*entry->d_name) && atoi(entry->d_name) != getpid() &&
		    has_open(entry->d_name, st))
			result = describe_process(entry->d_name);
	if (dir)
		closedir(dir);
	return result;
}

/*----------------------------------------------------------------
 * All of them
 *----------------------------------------------------------------
 */

static char *find_on_loop(const struct stat *st)
{
	char name[QED_NODE_SIZE], *above, *result;
	struct stat loop;

	if (!loop_find(st, name))
		return NULL;
	above = stat(name, &loop) ? NULL : find_above(loop.st_rdev);
	result = above ? text("%s, by %s", above, name) :
			 text("loop device %s (losetup --detach it, if nothing needs it)", name);
	free(above);
	return result;
}

char *holder_find(const struct stat *st, bool processes)
{
	char *result = NULL;

	if (S_ISBLK(st->st_mode))
		result = find_above(st->st_rdev);
	if (!result && S_ISBLK(st->st_mode))
		result = find_mount(st->st_rdev);
	if (!result && S_ISBLK(st->st_mode))
		result = find_swap(st->st_rdev);
	if (!result)
		result = find_on_loop(st);
	return result || !processes ? result : find_process(st);
}

char *holder_find_device(dev_t device)
{
	struct stat st = { .st_mode = S_IFBLK, .st_rdev = device };

	return holder_find(&st, true);
}

int holder_is_image(const struct stat *st, dev_t device)
{
	struct stat behind;
	int r;

	if (S_ISBLK(st->st_mode))
		return st->st_rdev == device;
	if (major(device) != LOOP_MAJOR)
		return 0;
	r = loop_behind(device, &behind);
	return r ? r : behind.st_dev == st->st_dev && behind.st_ino == st->st_ino;
}
