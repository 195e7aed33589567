// SPDX-License-Identifier: GPL-2.0
/*
 * The command line of the hammer.
 */

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "hammer.h"
#include "sector.h"

struct hammer_options opt = {
	.seed = 1,
	.threads = 8,
	.readers = 1,
	.max_sectors = 2048,
	.unit = 128,
	.read_percent = 20,
	.flush_percent = 2,
	.sync_percent = 2,
	.whole_percent = 50,
};

enum kind { FLAG, NUMBER, BYTES, TEXT };

static const struct rule {
	char letter;
	enum kind kind;
	void *where;	/* bool, unsigned int, __u64 in sectors, or const char * */
	const char *arg;
	const char *text;
} rules[] = {
	{ 'f', TEXT, &opt.state, "FILE", "keep the versions there (default: nowhere)" },
	{ 'v', FLAG, &opt.verify, "", "only verify the whole range against the file" },
	{ 'c', FLAG, &opt.crashed, "",
	  "after a crash: what the file has of undurable writes may be lost" },
	{ 'o', BYTES, &opt.offset, "BYTES", "start of the range" },
	{ 'l', BYTES, &opt.sectors, "BYTES", "length of the range (default: up to the end)" },
	{ 'g', FLAG, &opt.grows, "", "the device may grow, up to the end of the range" },
	{ 't', NUMBER, &opt.threads, "N", "threads" },
	{ 'G', NUMBER, &opt.readers, "N", "threads more, that only read (default: 1)" },
	{ 's', NUMBER, &opt.seconds, "SECONDS", "duration" },
	{ 'n', NUMBER, &opt.ops, "N", "or number of operations per thread" },
	{ 'b', BYTES, &opt.max_sectors, "BYTES", "largest I/O" },
	{ 'r', NUMBER, &opt.read_percent, "PERCENT", "reads" },
	{ 'F', NUMBER, &opt.flush_percent, "PERCENT", "flushes" },
	{ 'D', NUMBER, &opt.sync_percent, "PERCENT", "sync writes" },
	{ 'N', NUMBER, &opt.nowait_percent, "PERCENT",
	  "reads and writes that are tried without waiting" },
	{ 'U', NUMBER, &opt.unmap_percent, "PERCENT",
	  "discards and zeroes, of what is no read" },
	{ 'C', BYTES, &opt.unit, "BYTES",
	  "a unit: what discards are a multiple of (default: 65536)" },
	{ 'A', NUMBER, &opt.whole_percent, "PERCENT",
	  "discards and zeroes of whole units (default: 50)" },
	{ 'd', FLAG, &opt.no_zeroes, "", "no zeroes, only discards" },
	{ 'z', FLAG, &opt.no_discards, "",
	  "no discards, only zeroes: over others a discard may show what is below" },
	{ 'k', TEXT, &opt.kinds, "KINDS",
	  "a letter for each unit, repeated: '-' is never unmapped" },
	{ 'R', FLAG, &opt.races, "", "writes may overlap: nothing is locked" },
	{ 'P', FLAG, &opt.pattern, "", "the pattern of units that come and go" },
	{ 'T', FLAG, &opt.may_tear, "",
	  "the device may tear what is written while it is read" },
	{ 'E', FLAG, &opt.errors_ok, "", "I/O errors are expected" },
	{ 'W', NUMBER, &opt.stuck, "SECONDS", "I/O that takes longer is a defect" },
	{ 'X', NUMBER, &opt.power_off, "FD",
	  "then this descriptor is told, and the machine switched off" },
	{ 'S', NUMBER, &opt.seed, "SEED", "" },
	{ },
};

static void help(void)
{
	const struct rule *rule;

	fprintf(stderr, "usage: hammer [options] DEVICE...\n");
	for (rule = rules; rule->letter; rule++)
		fprintf(stderr, "  -%c %-8s %s\n", rule->letter, rule->arg, rule->text);
	exit(2);
}

static void set(char letter, const char *text)
{
	unsigned long long n = text ? strtoull(text, NULL, 0) : 0;
	const struct rule *rule = rules;

	while (rule->letter != letter)
		if (!(++rule)->letter)
			help();
	switch (rule->kind) {
	case FLAG:
		*(bool *)rule->where = true;
		break;
	case NUMBER:
		*(unsigned int *)rule->where = n;
		break;
	case BYTES:
		*(__u64 *)rule->where = n / SECTOR;
		break;
	case TEXT:
		*(const char **)rule->where = text;
	}
}

void hammer_parse(int argc, char **argv)
{
	char letters[2 * sizeof(rules) / sizeof(*rules)], *to = letters;
	const struct rule *rule;
	int c;

	for (rule = rules; rule->letter; rule++) {
		*to++ = rule->letter;
		if (rule->kind != FLAG)
			*to++ = ':';
	}
	*to = '\0';
	while ((c = getopt(argc, argv, letters)) != -1)
		set(c, optarg);
	if (optind == argc || !opt.threads || !opt.unit ||
	    !(opt.verify || opt.seconds || opt.ops) ||
	    (opt.grows && !opt.sectors))
		help();
	opt.races |= opt.pattern;
	opt.devices = argv + optind;
	opt.nr_devices = argc - optind;
}
