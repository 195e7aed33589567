// SPDX-License-Identifier: GPL-2.0-only
/*
 * qed-generator - units of systemd for the lines of /etc/qedtab, see qed-generator(8)
 *
 * systemd runs it early at boot, when hardly anything is there, and whenever it loads its
 * units again.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include "../descriptors.h"
#include "../escape.h"
#include "../qedsetup/fail.h"
#include "initramfs.h"
#include "unit.h"

#define TAB	"/etc/qedtab"

/**
 * struct run - what is being done
 * @tab: the path of the table
 * @folder: where the units go to; NULL to write commands for an initrd without systemd
 * @names: those of the lines so far
 * @nr_names: number of them
 * @line: number of the current line, from 1
 * @failed: was there one that is wrong?
 */
struct run {
	const char *tab, *folder;
	struct name {
		char *name;
		unsigned int line;
	} *names;
	unsigned int nr_names, line;
	bool failed;
};

/* systemd's generators have only the log of the kernel; who gives a table has a terminal. */
static void report(struct run *run)
{
	bool terminal = !run->folder || getenv("QEDTAB");
	FILE *log = terminal ? NULL : fopen("/dev/kmsg", "we");
	char *text = qed_escape(failure());

	if (log)
		fprintf(log, "<%d>qed-generator: %s:%u: %s\n", LOG_DAEMON | LOG_ERR, run->tab,
			run->line, text);
	else
		fprintf(stderr, "qed-generator: %s:%u: %s\n", run->tab, run->line, text);
	if (log)
		fclose(log);
	free(text);
	forget_failure();
	run->failed = true;
}

static int add_name(struct run *run, const char *name)
{
	struct name *names;
	unsigned int i;

	for (i = 0; i < run->nr_names; i++)
		if (!strcmp(run->names[i].name, name))
			return fail(EEXIST, "%s: line %u has the same name", name,
				    run->names[i].line);
	names = reallocarray(run->names, run->nr_names + 1, sizeof(*names));
	if (!names)
		return fail(ENOMEM, "no memory");
	run->names = names;
	names += run->nr_names;
	names->name = strdup(name);
	names->line = run->line;
	if (!names->name)
		return fail(ENOMEM, "no memory");
	run->nr_names++;
	return 0;
}

/* In the initrd only that is opened which it also closes. */
static bool is_wanted(const struct entry *entry)
{
	const char *in_initrd = getenv("SYSTEMD_IN_INITRD");

	return entry->initrd || !in_initrd || strcmp(in_initrd, "1");
}

/* Something has to be the reason for the target. */
static int link_target(struct run *run, const struct entry *entry)
{
	const char *target = unit_target(entry);
	char *to;
	int r;

	if (entry->noauto)
		return 0;
	if (asprintf(&to, UNITDIR "/%s", target) < 0)
		return fail(ENOMEM, "no memory");
	r = unit_link(run->folder, entry->netdev ? "remote-fs.target" : "sysinit.target",
		      "wants", to);
	free(to);
	return r;
}

static int take_line(struct run *run, char *line, size_t length)
{
	struct entry entry;
	int r;

	if (strlen(line) != length)
		return fail(EINVAL, "there is a zero byte in it");
	r = tab_parse(&entry, line);
	if (r <= 0 || !is_wanted(&entry))
		return r;
	r = add_name(run, entry.name);
	if (r)
		return r;
	if (!run->folder)
		return initramfs_write(stdout, &entry);
	return unit_write(run->folder, run->tab, &entry) ?: link_target(run, &entry);
}

/* A line that is wrong does not keep the others from being used. */
static void take_lines(struct run *run, FILE *file)
{
	char *line = NULL;
	size_t size = 0;
	ssize_t length;

	while (errno = 0, length = getline(&line, &size, file), length >= 0) {
		run->line++;
		if (take_line(run, line, length) < 0)
			report(run);
	}
	if (errno) {
		fail(errno, "cannot read on: %s", strerror(errno));
		report(run);
	}
	free(line);
}

static void take_table(struct run *run)
{
	FILE *file = fopen(run->tab, "re");

	if (!file && errno == ENOENT)
		return;
	if (!file) {
		fail(errno, "cannot open it: %s", strerror(errno));
		report(run);
		return;
	}
	take_lines(run, file);
	fclose(file);
}

int main(int argc, char **argv)
{
	struct run run = { .tab = getenv("QEDTAB") ?: TAB };

	if (qed_open_standard())
		return EXIT_FAILURE;
	if (argc != 2 && argc != 4) {
		fprintf(stderr, "Usage: qed-generator FOLDER [FOLDER FOLDER] | --initramfs\n");
		return EXIT_FAILURE;
	}
	run.folder = strcmp(argv[1], "--initramfs") ? argv[1] : NULL;
	take_table(&run);
	while (run.nr_names)
		free(run.names[--run.nr_names].name);
	free(run.names);
	if (fflush(stdout) || run.failed)
		return EXIT_FAILURE;
	return EXIT_SUCCESS;
}
