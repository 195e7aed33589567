// SPDX-License-Identifier: GPL-2.0-only
/*
 * Units of systemd for a line of /etc/qedtab, see unit.h.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../qedsetup/fail.h"
#include "unit.h"
#include "words.h"

#define QEDSETUP	SBINDIR "/qedsetup"

/*----------------------------------------------------------------
 * Files
 *----------------------------------------------------------------
 */

static int make_folder(const char *path)
{
	if (!mkdir(path, 0755) || errno == EEXIST)
		return 0;
	return fail(errno, "cannot make %s: %s", path, strerror(errno));
}

/* The path of a file in a folder of @folder, which is made; NULL after fail() */
static char *path_in(const char *folder, const char *unit, const char *kind, const char *name)
{
	char *below, *path = NULL;

	if (asprintf(&below, "%s/%s.%s", folder, unit, kind) < 0) {
		fail(ENOMEM, "no memory");
		return NULL;
	}
	if (!make_folder(below) && asprintf(&path, "%s/%s", below, name) < 0) {
		fail(ENOMEM, "no memory");
		path = NULL;
	}
	free(below);
	return path;
}

int unit_link(const char *folder, const char *unit, const char *how, const char *to)
{
	char *path = path_in(folder, unit, how, basename(to));
	int r = 0;

	if (!path)
		return -EIO;
	if (symlink(to, path) && errno != EEXIST)
		r = fail(errno, "cannot make %s: %s", path, strerror(errno));
	free(path);
	return r;
}

static FILE *begin(const char *path)
{
	FILE *file = fopen(path, "we");

	if (!file)
		fail(errno, "cannot write %s: %s", path, strerror(errno));
	else
		fputs("# Made by qed-generator(8)\n\n[Unit]\n", file);
	return file;
}

static int end(FILE *file, const char *path)
{
	bool failed = ferror(file);

	if (fclose(file) || failed)
		return fail(EIO, "cannot write %s: %s", path, strerror(errno));
	return 0;
}

/*----------------------------------------------------------------
 * The service
 *----------------------------------------------------------------
 */

const char *unit_target(const struct entry *entry)
{
	return entry->netdev ? "remote-qed.target" : "qed.target";
}

/* A file may be on the root file system, which can be written to from then on. */
static void write_files(FILE *file, const struct entry *entry)
{
	unsigned int i;

	if (!entry->files.nr)
		return;
	for (i = 0; i < entry->files.nr; i++) {
		fputs("RequiresMountsFor=", file);
		write_path(file, entry->files.words[i]);
		putc('\n', file);
	}
	if (!entry->initrd)
		fputs("After=systemd-remount-fs.service\n", file);
}

static int write_devices(FILE *file, const struct entry *entry)
{
	unsigned int i;

	for (i = 0; i < entry->devices.nr; i++) {
		char *device = unit_name("", entry->devices.words[i], ".device");

		if (!device)
			return fail(ENOMEM, "no memory");
		fprintf(file, "BindsTo=%s\nAfter=%s\n", device, device);
		free(device);
	}
	return 0;
}

static int write_unit(FILE *file, const char *tab, const struct entry *entry)
{
	fprintf(file, "Description=QED image %s\nDocumentation=man:qedtab(5) man:qedsetup(8)\n"
		"SourcePath=%s\nDefaultDependencies=no\nIgnoreOnIsolate=yes\n"
		"Wants=blockdev@dev-mapper-%%i.target\nBefore=blockdev@dev-mapper-%%i.target\n"
		"After=systemd-udevd.service\n", entry->name, tab);
	if (!entry->initrd)
		fputs("Conflicts=umount.target\nBefore=umount.target\n", file);
	if (entry->netdev)
		fputs("After=remote-fs-pre.target\n", file);
	if (!entry->nofail)
		fprintf(file, "Before=%s\n", unit_target(entry));
	write_files(file, entry);
	return write_devices(file, entry);
}

/* To open an image that QEMU has left in the middle of something takes as long as it is large. */
static void write_service(FILE *file, const struct entry *entry)
{
	unsigned int i;

	fputs("\n[Service]\nType=oneshot\nRemainAfterExit=yes\nTimeoutStartSec=infinity\n"
	      "ExecStart=" QEDSETUP " open --quiet --if-needed", file);
	for (i = 0; i < entry->arguments.nr; i++)
		write_argument(file, "--", entry->arguments.words[i]);
	fputs(" --", file);
	write_argument(file, "", entry->image);
	write_argument(file, "", entry->name);
	fputs("\nExecStop=" QEDSETUP " close --quiet --", file);
	write_argument(file, "", entry->name);
	putc('\n', file);
}

static int write_all(const char *folder, const char *tab, const struct entry *entry,
		     const char *unit)
{
	char *path;
	FILE *file;
	int r = -EIO;

	if (asprintf(&path, "%s/%s", folder, unit) < 0)
		return fail(ENOMEM, "no memory");
	file = begin(path);
	if (file) {
		r = write_unit(file, tab, entry);
		write_service(file, entry);
		r = end(file, path) ?: r;
	}
	free(path);
	return r;
}

/*----------------------------------------------------------------
 * What belongs to it
 *----------------------------------------------------------------
 */

static int write_time(const char *folder, const char *unit, const char *setting,
		      const char *value)
{
	char *path = path_in(folder, unit, "d", "50-qed.conf");
	FILE *file;
	int r = -EIO;

	if (!path)
		return -EIO;
	file = begin(path);
	if (file) {
		fprintf(file, "%s=%s\n", setting, value);
		r = end(file, path);
	}
	free(path);
	return r;
}

static int write_timeout(const char *folder, const struct entry *entry)
{
	char *device = unit_name("", entry->image, ".device");
	int r;

	if (!device)
		return fail(ENOMEM, "no memory");
	r = write_time(folder, device, "JobRunningTimeoutSec", entry->timeout);
	free(device);
	return r;
}

/* What uses the device waits for the service, however long that takes, and fails with it. */
static int write_links(const char *folder, const struct entry *entry, const char *unit,
		       const char *device)
{
	char *to;
	int r = 0;

	if (asprintf(&to, "../%s", unit) < 0)
		return fail(ENOMEM, "no memory");
	if (!entry->noauto)
		r = unit_link(folder, unit_target(entry), entry->nofail ? "wants" : "requires",
			      to);
	r = r ?: unit_link(folder, device, "requires", to);
	free(to);
	if (!r && !entry->noauto && !entry->nofail)
		r = write_time(folder, device, "JobTimeoutSec", "infinity");
	return r;
}

int unit_write(const char *folder, const char *tab, const struct entry *entry)
{
	char *unit = unit_name("qed@", entry->name, ".service");
	char *device = unit_name("dev-mapper-", entry->name, ".device");
	int r;

	if (!unit || !device)
		r = fail(ENOMEM, "no memory");
	else
		r = write_all(folder, tab, entry, unit) ?:
			write_links(folder, entry, unit, device);
	if (!r && entry->timeout)
		r = write_timeout(folder, entry);
	free(unit);
	free(device);
	return r;
}
