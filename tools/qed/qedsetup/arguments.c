// SPDX-License-Identifier: GPL-2.0-only
/*
 * The command line, see arguments.h.
 */

#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arguments.h"
#include "fail.h"
#include "size.h"

static const struct verb verbs[] = {
	{ "create", "IMAGE [SIZE]", 1, 2, "make an image, in a file or on a device", run_create },
	{ "open", "IMAGE NAME", 2, 2, "make /dev/mapper/NAME of an image", run_open },
	{ "close", "NAME", 1, 1, "remove that", run_close },
	{ "status", "NAME", 1, 1, "tell about a device", run_status },
	{ "list", "", 0, 0, "tell about all devices", run_list },
	{ "info", "IMAGE", 1, 1, "tell about an image, in use or not", run_info },
	{ "map", "IMAGE", 1, 1, "tell where what of the disk is", run_map },
	{ "measure", "[IMAGE]", 0, 1, "tell how large an image can become", run_measure },
	{ "resize", "NAME SIZE", 2, 2, "make the disk of a device larger", run_resize },
	{ "grow", "NAME", 1, 1, "give an image that is in use more space", run_grow },
	{ "trim", "NAME", 1, 1, "give free space back to what is below", run_trim },
	{ "check", "NAME", 1, 1, "check the tables of a device", run_check },
	{ "snapshot", "NAME IMAGE...", 2, MAX_WORDS, "go on in a new image, over the present one",
	  run_snapshot },
	{ "rebase", "IMAGE", 1, 1, "change the name of what is below an image", run_rebase },
};

enum {
	CREATE, OPEN, CLOSE, STATUS, LIST, INFO, MAP, MEASURE, RESIZE, GROW, TRIM, CHECK,
	SNAPSHOT, REBASE, VERBS,
};

#define ALL	((1U << VERBS) - 1)

enum kind {
	KIND_FLAG,
	KIND_TEXT,
	KIND_SIZE,
	KIND_NUMBER,
};

/**
 * struct rule - an option
 * @name: the long one
 * @letter: the short one, or 0
 * @kind: of its value
 * @place: where that goes in struct request
 * @verbs: a bit for each verb that it goes with
 * @value: what it is called in the help
 * @help: one line about it
 */
struct rule {
	const char *name;
	char letter;
	enum kind kind;
	size_t place;
	u32 verbs;
	const char *value, *help;
};

#define PLACE(member)	offsetof(struct request, member)
#define FOR(verb)	(1U << (verb))

static const struct rule rules[] = {
	{ "cluster-size", 0, KIND_SIZE, PLACE(cluster_size),
	  FOR(CREATE) | FOR(MEASURE) | FOR(SNAPSHOT), "SIZE",
	  "4K to 64M; default: 64K, and 16K over a backing file" },
	{ "table-size", 0, KIND_NUMBER, PLACE(table_size),
	  FOR(CREATE) | FOR(MEASURE) | FOR(SNAPSHOT), "CLUSTERS",
	  "2, 4, 8 or 16; default: 4, or what SIZE needs" },
	{ "backing", 'b', KIND_TEXT, PLACE(backing),
	  FOR(CREATE) | FOR(OPEN) | FOR(REBASE), "FILE",
	  "what the image shows where it has nothing" },
	{ "backing-format", 'F', KIND_TEXT, PLACE(backing_format),
	  FOR(CREATE) | FOR(REBASE), "FORMAT",
	  "of that: raw or qed; it is never guessed that it is raw" },
	{ "zero", 0, KIND_FLAG, PLACE(zero), FOR(CREATE) | FOR(SNAPSHOT),
	  NULL, "zero all of a block device, which makes writes faster" },
	{ "discard", 0, KIND_FLAG, PLACE(discard), FOR(CREATE) | FOR(SNAPSHOT), NULL,
	  "discard all that a block device has" },
	{ "force", 0, KIND_FLAG, PLACE(force), FOR(CREATE) | FOR(SNAPSHOT), NULL,
	  "overwrite what is there, unless it is in use" },
	{ "size", 0, KIND_SIZE, PLACE(size), FOR(MEASURE), "SIZE",
	  "of the disk of an image that is to be made" },
	{ "readonly", 'r', KIND_FLAG, PLACE(read_only), FOR(OPEN), NULL,
	  "the device cannot be written to; others may read the image, too" },
	{ "host", 0, KIND_FLAG, PLACE(host), FOR(OPEN), NULL,
	  "this host itself uses what is on it: udev looks for file systems" },
	{ "takeover", 0, KIND_FLAG, PLACE(takeover), FOR(OPEN), NULL,
	  "another host has the image: it is sure that this has ended" },
	{ "known-zeroes", 0, KIND_FLAG, PLACE(known_zeroes), FOR(OPEN), NULL,
	  "of a block device: it is the one that it was closed on, no copy" },
	{ "if-needed", 0, KIND_FLAG, PLACE(if_needed), FOR(OPEN), NULL,
	  "it is no failure if NAME is this image already" },
	{ "buffered", 0, KIND_FLAG, PLACE(buffered), FOR(OPEN) | FOR(SNAPSHOT), NULL,
	  "of a file: through the page cache, where direct I/O does not work" },
	{ "sector-size", 0, KIND_SIZE, PLACE(sector_size), FOR(OPEN), "SIZE",
	  "of a file: logical blocks, 512 or 4096; default: 512" },
	{ "headroom", 0, KIND_SIZE, PLACE(headroom), FOR(OPEN) | FOR(GROW) | FOR(SNAPSHOT), "SIZE",
	  "of a file: how much it can grow; default: as much as it may need" },
	{ "cache", 0, KIND_SIZE, PLACE(cache), FOR(OPEN), "SIZE",
	  "memory for tables; default: for all, up to 32M" },
	{ "commit-interval", 0, KIND_NUMBER, PLACE(commit_interval), FOR(OPEN), "MS",
	  "longest time until a mapping is durable; default: 1000" },
	{ "low-water", 0, KIND_SIZE, PLACE(low_water), FOR(OPEN), "SIZE",
	  "raise an event when less is free" },
	{ "zero-ahead", 0, KIND_SIZE, PLACE(zero_ahead), FOR(OPEN), "SIZE",
	  "keep so much free space zeroed" },
	{ "error-if-no-space", 0, KIND_FLAG, PLACE(error_if_no_space), FOR(OPEN), NULL,
	  "writes without space fail at once, instead of waiting" },
	{ "ignore-discard", 0, KIND_FLAG, PLACE(ignore_discard), FOR(OPEN), NULL,
	  "the device has no discards" },
	{ "no-discard-passdown", 0, KIND_FLAG, PLACE(no_discard_passdown), FOR(OPEN), NULL,
	  "free space stays with the file or block device" },
	{ "deferred", 0, KIND_FLAG, PLACE(deferred), FOR(CLOSE), NULL,
	  "if it is in use: when it no longer is" },
	{ "cancel-deferred", 0, KIND_FLAG, PLACE(cancel_deferred), FOR(CLOSE), NULL,
	  "take back --deferred" },
	{ "output", 'o', KIND_TEXT, PLACE(columns), FOR(LIST), "COLUMNS",
	  "NAME,IMAGE,SIZE,USED,MODE,OPEN,DEVICE,BACKING,UUID" },
	{ "noheadings", 'n', KIND_FLAG, PLACE(no_headings), FOR(LIST), NULL, "no first line" },
	{ "raw", 0, KIND_FLAG, PLACE(raw), FOR(LIST), NULL, "for scripts: one space between" },
	{ "bytes", 0, KIND_FLAG, PLACE(bytes), FOR(LIST), NULL, "sizes as numbers" },
	{ "chain", 0, KIND_FLAG, PLACE(chain), FOR(INFO) | FOR(MAP), NULL,
	  "also what is below the image" },
	{ "no-wait", 0, KIND_FLAG, PLACE(no_wait), FOR(TRIM) | FOR(CHECK), NULL,
	  "only begin, see status" },
	{ "frozen", 0, KIND_FLAG, PLACE(frozen), FOR(OPEN), NULL,
	  "IMAGE itself, though it goes on in another one since a snapshot" },
	{ "freeze", 0, KIND_TEXT, PLACE(freeze), FOR(SNAPSHOT), "DOMAIN",
	  "file systems of this guest of libvirt wait meanwhile" },
	{ "revert", 0, KIND_TEXT, PLACE(revert), FOR(SNAPSHOT), "FILE",
	  "go back to this image of the chain, and leave what is over it" },
	{ "unsafe", 'u', KIND_FLAG, PLACE(unsafe), FOR(REBASE), NULL,
	  "only the name: what is below reads the same by the new one" },
	{ "json", 0, KIND_FLAG, PLACE(json), ALL, NULL, "print JSON" },
	{ "quiet", 'q', KIND_FLAG, PLACE(quiet), ALL, NULL, "print only errors" },
};

/* Values of getopt_long() for options that have no letter */
#define FIRST_LONG	256

/*----------------------------------------------------------------
 * Help
 *----------------------------------------------------------------
 */

static void print_rule(const struct rule *rule)
{
	char text[64];

	snprintf(text, sizeof(text), "%s%s%s", rule->name, rule->value ? " " : "",
		 rule->value ? rule->value : "");
	if (rule->letter)
		printf("  -%c, --%-24s %s\n", rule->letter, text, rule->help);
	else
		printf("      --%-24s %s\n", text, rule->help);
}

static void print_verb(const struct verb *verb)
{
	unsigned int i;

	printf("Usage: qedsetup %s [option...] %s\n\n%c%s.\n\n", verb->name, verb->words,
	       toupper((unsigned char)*verb->help), verb->help + 1);
	for (i = 0; i < ARRAY_SIZE(rules); i++)
		if (rules[i].verbs & FOR(verb - verbs))
			print_rule(&rules[i]);
}

static void print_help(void)
{
	unsigned int i;

	puts("Usage: qedsetup VERB [option...] [argument...]\n\n"
	     "QED images as block devices, with dm-qed.\n");
	for (i = 0; i < VERBS; i++)
		printf("  %-8s %-14s %s\n", verbs[i].name, verbs[i].words, verbs[i].help);
	puts("\n"
	     "  -h, --help                       print this; with VERB, its options\n"
	     "  -V, --version                    print the version\n"
	     "\n"
	     "Sizes: 10G and 10GiB are 2^30 bytes each, 10GB 10^9.\n"
	     "Exit status: 0 done, 1 wrong usage or other failure, 2 no permission, 3 no memory,\n"
	     "4 no such device or image, 5 exists already or is in use. See qedsetup(8).");
}

/*----------------------------------------------------------------
 * Options
 *----------------------------------------------------------------
 */

static int take_value(struct request *request, const struct rule *rule, const char *value)
{
	void *place = (char *)request + rule->place;
	char *end;

	switch (rule->kind) {
	case KIND_FLAG:
		*(bool *)place = true;
		return 0;
	case KIND_TEXT:
		*(const char **)place = value;
		return 0;
	case KIND_SIZE:
		if (size_parse(value, place))
			return 0;
		return fail(EINVAL, "--%s needs a size, such as 512, 64K or 1.5G, not %s",
			    rule->name, value);
	case KIND_NUMBER:
		errno = 0;
		*(u64 *)place = strtoull(value, &end, 10);
		if (isdigit((unsigned char)*value) && !*end && !errno)
			return 0;
		return fail(EINVAL, "--%s needs a number, not %s", rule->name, value);
	}
	return 0;
}

static const struct rule *find_rule(int option)
{
	unsigned int i;

	if (option >= FIRST_LONG)
		return &rules[option - FIRST_LONG];
	for (i = 0; i < ARRAY_SIZE(rules); i++)
		if (rules[i].letter == option)
			return &rules[i];
	return NULL;
}

/* For getopt_long(), made of the rules */
struct tables_of_options {
	struct option options[ARRAY_SIZE(rules) + 3];
	char letters[2 * ARRAY_SIZE(rules) + 8];
};

static void fill_options(struct tables_of_options *tables)
{
	char *letter = stpcpy(tables->letters, ":hV");
	unsigned int i;

	memset(tables->options, 0, sizeof(tables->options));
	for (i = 0; i < ARRAY_SIZE(rules); i++) {
		tables->options[i].name = rules[i].name;
		tables->options[i].has_arg = rules[i].kind != KIND_FLAG;
		tables->options[i].val = FIRST_LONG + i;
		if (!rules[i].letter)
			continue;
		*letter++ = rules[i].letter;
		if (rules[i].kind != KIND_FLAG)
			*letter++ = ':';
	}
	*letter = '\0';
	tables->options[i].name = "help";
	tables->options[i++].val = 'h';
	tables->options[i].name = "version";
	tables->options[i].val = 'V';
}

static void set_defaults(struct request *request)
{
	unsigned int i;

	memset(request, 0, sizeof(*request));
	for (i = 0; i < ARRAY_SIZE(rules); i++)
		if (rules[i].kind == KIND_SIZE || rules[i].kind == KIND_NUMBER)
			*(u64 *)((char *)request + rules[i].place) = NOT_GIVEN;
}

/* What the command line asks for besides values */
struct seen {
	u64 rules;
	bool help, version;
};

static int parse_options(struct request *request, int argc, char **argv, struct seen *seen)
{
	static struct tables_of_options tables;
	const struct rule *rule;
	int option, r = 0;

	fill_options(&tables);
	opterr = 0;
	while (!r) {
		option = getopt_long(argc, argv, tables.letters, tables.options, NULL);
		if (option == -1)
			break;
		if (option == '?')
			return fail(EINVAL, "%s: no such option: see qedsetup --help",
				    argv[optind - 1]);
		if (option == ':')
			return fail(EINVAL, "%s needs a value", argv[optind - 1]);
		seen->help |= option == 'h';
		seen->version |= option == 'V';
		rule = find_rule(option);
		if (!rule)
			continue;
		seen->rules |= 1ULL << (rule - rules);
		r = take_value(request, rule, optarg);
	}
	return r;
}

/*----------------------------------------------------------------
 * All of it
 *----------------------------------------------------------------
 */

static const struct verb *find_verb(const char *name)
{
	unsigned int i;

	for (i = 0; i < VERBS; i++)
		if (!strcmp(verbs[i].name, name))
			return &verbs[i];
	return NULL;
}

static int check_options(const struct verb *verb, u64 given)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(rules); i++)
		if (given >> i & 1 && !(rules[i].verbs & FOR(verb - verbs)))
			return fail(EINVAL, "--%s does not go with %s: see qedsetup %s --help",
				    rules[i].name, verb->name, verb->name);
	return 0;
}

static int take_words(struct request *request, int argc, char **argv)
{
	const struct verb *verb = request->verb;
	unsigned int nr = argc - optind, i;

	if (nr < verb->least || nr > verb->most)
		return fail(EINVAL, "%s needs %s: see qedsetup %s --help", verb->name,
			    *verb->words ? verb->words : "no more arguments", verb->name);
	for (i = 0; i < nr; i++) {
		request->words[i] = argv[optind + i];
		if (!*request->words[i])
			return fail(EINVAL, "%s: an argument is empty", verb->name);
	}
	request->nr_words = nr;
	return 1;
}

int parse_arguments(struct request *request, int argc, char **argv)
{
	struct seen seen = { 0 };
	int r;

	set_defaults(request);
	r = parse_options(request, argc, argv, &seen);
	if (r)
		return r;
	if (seen.version) {
		puts("qedsetup " QED_VERSION);
		return 0;
	}
	request->verb = optind < argc ? find_verb(argv[optind]) : NULL;
	if (seen.help) {
		if (request->verb)
			print_verb(request->verb);
		else
			print_help();
		return 0;
	}
	if (optind == argc)
		return fail(EINVAL, "what is to be done? See qedsetup --help");
	if (!request->verb)
		return fail(EINVAL, "%s: no such verb: see qedsetup --help", argv[optind]);
	optind++;
	r = check_options(request->verb, seen.rules);
	return r ? r : take_words(request, argc, argv);
}
