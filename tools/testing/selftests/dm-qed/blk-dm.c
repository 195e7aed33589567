// SPDX-License-Identifier: GPL-2.0
/*
 * What blk does with device mapper, see blk.c.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "blk.h"

#define DM_BUFFER	65536
#define SCAN_WORD	13		/* of the status of qed, from 0 */

static struct dm_ioctl *dm_request(const char *name, unsigned int flags)
{
	static __u64 buffer[DM_BUFFER / 8];
	struct dm_ioctl *dmi = (struct dm_ioctl *)buffer;

	memset(buffer, 0, sizeof(buffer));
	dmi->version[0] = DM_VERSION_MAJOR;
	dmi->data_size = sizeof(buffer);
	dmi->data_start = sizeof(*dmi);
	dmi->flags = flags;
	snprintf(dmi->name, sizeof(dmi->name), "%.*s", DM_NAME_LEN - 1, name);
	return dmi;
}

/* Returns false and sets errno. */
static bool dm_run(unsigned long request, struct dm_ioctl *dmi)
{
	static int control = -1;

	if (control < 0)
		control = open("/dev/mapper/control", O_RDWR);
	if (control < 0)
		fatal("/dev/mapper/control");
	return !ioctl(control, request, dmi);
}

static bool dm_simple(unsigned long request, const char *name,
		      unsigned int flags)
{
	return dm_run(request, dm_request(name, flags));
}

/* Lines of "start length type parameters" become the payload of a request. */
static void read_table(struct dm_ioctl *dmi, FILE *lines)
{
	struct dm_target_spec *spec;
	char *next = (char *)dmi + dmi->data_start;
	char *end = (char *)dmi + dmi->data_size;
	unsigned long long start, length;
	char line[4096], type[DM_MAX_TYPE_NAME];
	int pos;

	while (fgets(line, sizeof(line), lines)) {
		line[strcspn(line, "\n")] = 0;
		if (!*line)
			continue;
		pos = 0;
		if (sscanf(line, "%llu %llu %15s %n", &start, &length, type,
			   &pos) != 3 || !pos)
			usage();
		spec = (struct dm_target_spec *)next;
		next = (char *)(spec + 1) + strlen(line + pos) + 1;
		next += -(uintptr_t)next % 8;
		if (next > end)
			usage();
		spec->sector_start = start;
		spec->length = length;
		memcpy(spec->target_type, type, sizeof(type));
		memcpy(spec + 1, line + pos, strlen(line + pos) + 1);
		spec->next = next - (char *)spec;
		dmi->target_count++;
	}
}

static bool dm_load(const char *name, unsigned int flags, FILE *lines)
{
	struct dm_ioctl *dmi = dm_request(name, flags);

	read_table(dmi, lines);
	return dm_run(DM_TABLE_LOAD, dmi);
}

/* Whoever looks at a new device, like udev, keeps it busy for a moment. */
static bool dm_remove(const char *name)
{
	int i;

	for (i = 0; i < RETRIES; i++) {
		if (dm_simple(DM_DEV_REMOVE, name, 0))
			return true;
		if (errno != EBUSY)
			break;
		retry_delay();
	}
	return false;
}

static int dm_create(const char *name, unsigned int flags)
{
	struct dm_ioctl *dmi = dm_request(name, 0);
	unsigned int minor;
	int saved;

	if (!dm_run(DM_DEV_CREATE, dmi))
		fatal("create");
	minor = (dmi->dev & 0xff) | ((dmi->dev >> 12) & 0xfff00);
	if (dm_load(name, flags, stdin) && dm_simple(DM_DEV_SUSPEND, name, 0)) {
		printf("/dev/dm-%u\n", minor);
		return 0;
	}
	saved = errno;
	dm_remove(name);
	errno = saved;
	fatal("load");
	return 1;
}

static int dm_status(const char *name, unsigned int flags)
{
	struct dm_ioctl *dmi = dm_request(name, flags | DM_NOFLUSH_FLAG);
	struct dm_target_spec *spec;
	char *at;
	unsigned int i;

	if (!dm_run(DM_TABLE_STATUS, dmi))
		fatal("status");
	at = (char *)dmi + dmi->data_start;
	for (i = 0; i < dmi->target_count; i++) {
		spec = (struct dm_target_spec *)at;
		printf("%llu %llu %s %s\n", (unsigned long long)spec->sector_start,
		       (unsigned long long)spec->length, spec->target_type,
		       (char *)(spec + 1));
		at = (char *)dmi + dmi->data_start + spec->next;
	}
	return 0;
}

/* Does a scan go on? Then a word of the status line of the target qed is its progress. */
static bool dm_is_scanning(const char *name)
{
	struct dm_ioctl *dmi = dm_request(name, DM_NOFLUSH_FLAG);
	struct dm_target_spec *spec;
	unsigned int i;
	char *word;

	if (!dm_run(DM_TABLE_STATUS, dmi))
		fatal("status");
	spec = (struct dm_target_spec *)((char *)dmi + dmi->data_start);
	if (dmi->target_count != 1 || strcmp(spec->target_type, "qed"))
		return false;
	word = strtok((char *)(spec + 1), " ");
	for (i = 0; i < SCAN_WORD && word; i++)
		word = strtok(NULL, " ");
	return word && strchr(word, '/');
}

static bool dm_settle(const char *name)
{
	int i;

	for (i = 0; dm_is_scanning(name); i++) {
		if (i == 24 * RETRIES) {
			errno = ETIMEDOUT;
			return false;
		}
		retry_delay();
	}
	return true;
}

static int dm_events(const char *name)
{
	struct dm_ioctl *dmi = dm_request(name, 0);

	if (!dm_run(DM_DEV_STATUS, dmi))
		fatal("info");
	printf("%u\n", dmi->event_nr);
	return 0;
}

/* Everything fails from now on, also what is queued. */
static int dm_wipe(const char *name)
{
	struct dm_ioctl *dmi = dm_request(name, DM_STATUS_TABLE_FLAG | DM_NOFLUSH_FLAG);
	struct dm_target_spec *spec = (struct dm_target_spec *)(dmi + 1);
	unsigned long long length = 0;
	char line[64], *at;
	FILE *table;
	unsigned int i;

	if (dm_run(DM_TABLE_STATUS, dmi)) {
		at = (char *)dmi + dmi->data_start;
		for (i = 0; i < dmi->target_count; i++) {
			spec = (struct dm_target_spec *)at;
			length = spec->sector_start + spec->length;
			at = (char *)dmi + dmi->data_start + spec->next;
		}
	}
	snprintf(line, sizeof(line), "0 %llu error\n", length ? length : 1);
	table = fmemopen(line, strlen(line), "r");
	if (!table || !dm_load(name, 0, table) ||
	    !dm_simple(DM_DEV_SUSPEND, name, DM_NOFLUSH_FLAG | DM_SKIP_LOCKFS_FLAG))
		fatal("wipe");
	fclose(table);
	return 0;
}

struct listed {
	char name[DM_NAME_LEN];
	int open;
};

static int by_open(const void *a, const void *b)
{
	return ((const struct listed *)a)->open - ((const struct listed *)b)->open;
}

static int dm_list(const char *prefix)
{
	static struct listed found[256];
	struct dm_ioctl *dmi = dm_request("", 0);
	struct dm_name_list *entry;
	int nr = 0, i;

	if (!dm_run(DM_LIST_DEVICES, dmi))
		fatal("list");
	entry = (struct dm_name_list *)((char *)dmi + dmi->data_start);
	while (entry->dev && nr < 256) {
		if (!strncmp(entry->name, prefix, strlen(prefix)))
			memcpy(found[nr++].name, entry->name, strlen(entry->name) + 1);
		if (!entry->next)
			break;
		entry = (struct dm_name_list *)((char *)entry + entry->next);
	}
	for (i = 0; i < nr; i++) {
		dmi = dm_request(found[i].name, 0);
		if (dm_run(DM_DEV_STATUS, dmi))
			found[i].open = dmi->open_count;
	}
	qsort(found, nr, sizeof(*found), by_open);
	for (i = 0; i < nr; i++)
		puts(found[i].name);
	return 0;
}

static int done(bool ok, const char *what)
{
	if (!ok)
		fatal(what);
	return 0;
}

int dm_main(const char *command, const char *name, const char *option)
{
	unsigned int flags = 0;

	if (option && !strcmp(option, "ro"))
		flags = DM_READONLY_FLAG;
	else if (option && !strcmp(option, "noflush"))
		flags = DM_NOFLUSH_FLAG;
	else if (option)
		usage();

	if (!strcmp(command, "create"))
		return dm_create(name, flags);
	if (!strcmp(command, "load"))
		return done(dm_load(name, flags, stdin), "load");
	if (!strcmp(command, "swap"))
		return done(dm_load(name, flags, stdin) &&
			    dm_simple(DM_DEV_SUSPEND, name, DM_SUSPEND_FLAG) &&
			    dm_simple(DM_DEV_SUSPEND, name, 0), "swap");
	if (!strcmp(command, "settle"))
		return done(dm_settle(name), "settle");
	if (!strcmp(command, "suspend"))
		return done(dm_simple(DM_DEV_SUSPEND, name,
				      flags | DM_SUSPEND_FLAG), "suspend");
	if (!strcmp(command, "resume"))
		return done(dm_simple(DM_DEV_SUSPEND, name, 0), "resume");
	if (!strcmp(command, "remove"))
		return done(dm_remove(name), "remove");
	if (!strcmp(command, "wipe"))
		return dm_wipe(name);
	if (!strcmp(command, "status"))
		return dm_status(name, 0);
	if (!strcmp(command, "table"))
		return dm_status(name, DM_STATUS_TABLE_FLAG);
	if (!strcmp(command, "events"))
		return dm_events(name);
	if (!strcmp(command, "list"))
		return dm_list(name);
	usage();
	return 2;
}
