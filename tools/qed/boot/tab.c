// SPDX-License-Identifier: GPL-2.0-only
/*
 * Lines of /etc/qedtab, see tab.h.
 */

#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "../common.h"
#include "../qedsetup/fail.h"
#include "../qedsetup/size.h"
#include "tab.h"
#include "words.h"

#define BLANKS		" \t\r\n"
#define MAX_FIELDS	3
#define MAX_NAME	127	/* of device mapper, without the zero */

enum kind {
	KIND_OURS,	/* tells when and how it is opened */
	KIND_FLAG,	/* these go on to qedsetup */
	KIND_SIZE,
	KIND_NUMBER,
	KIND_BACKING,
	KIND_MOUNTS,
	KIND_TIMEOUT,
	KIND_NEVER,
};

/**
 * struct option - what can be in the third field
 * @name: before the "=", if it has a value
 * @kind: what it is
 * @place: of KIND_OURS, in struct entry
 */
struct option {
	const char *name;
	enum kind kind;
	size_t place;
};

static const struct option options[] = {
	{ "noauto", KIND_OURS, offsetof(struct entry, noauto) },
	{ "nofail", KIND_OURS, offsetof(struct entry, nofail) },
	{ "_netdev", KIND_OURS, offsetof(struct entry, netdev) },
	{ "x-initrd.attach", KIND_OURS, offsetof(struct entry, initrd) },
	{ "x-systemd.device-timeout", KIND_TIMEOUT, 0 },
	{ "x-systemd.requires-mounts-for", KIND_MOUNTS, 0 },
	{ "backing", KIND_BACKING, 0 },
	{ "readonly", KIND_FLAG, 0 },
	{ "host", KIND_FLAG, 0 },
	{ "known-zeroes", KIND_FLAG, 0 },
	{ "buffered", KIND_FLAG, 0 },
	{ "error-if-no-space", KIND_FLAG, 0 },
	{ "ignore-discard", KIND_FLAG, 0 },
	{ "no-discard-passdown", KIND_FLAG, 0 },
	{ "sector-size", KIND_SIZE, 0 },
	{ "headroom", KIND_SIZE, 0 },
	{ "cache", KIND_SIZE, 0 },
	{ "low-water", KIND_SIZE, 0 },
	{ "zero-ahead", KIND_SIZE, 0 },
	{ "commit-interval", KIND_NUMBER, 0 },
	{ "takeover", KIND_NEVER, 0 },
};

/*----------------------------------------------------------------
 * Names and paths
 *----------------------------------------------------------------
 */

/* \040 is a space, as in fstab(5). Return: false if there is another backslash. */
static bool unescape(char *text)
{
	char *to = text;
	unsigned int i, code;

	for (; *text; *to++ = code) {
		code = (unsigned char)*text++;
		if (code != '\\')
			continue;
		for (i = code = 0; i < 3; i++, text++) {
			if (*text < '0' || *text > '7')
				return false;
			code = 8 * code + (*text - '0');
		}
		if (!code || code > 255)
			return false;
	}
	*to = '\0';
	return true;
}

static int take_escapes(char *text, const char *what)
{
	return unescape(text) ? 0 : fail(EINVAL,
		"%s: a backslash needs three octal digits after it, such as \\040 for a space",
		what);
}

/* Other characters have another name in /dev/mapper. */
static int check_name(const char *name)
{
	const char *c;

	if (strlen(name) > MAX_NAME)
		return fail(EINVAL, "the name has %zu characters, but %u are possible",
			    strlen(name), MAX_NAME);
	if (*name == '.' || !strcmp(name, "control"))
		return fail(EINVAL, "%s: cannot be the name of a device", name);
	for (c = name; *c; c++)
		if (!isalnum((unsigned char)*c) && !strchr("#+-.:=@_", *c))
			return fail(EINVAL, "%s: a name can have letters, digits, and #+-.:=@_",
				    name);
	return 0;
}

static bool is_device(const char *path)
{
	return !strncmp(path, "/dev/", 5);
}

static int add_word(struct words *words, const char *word)
{
	if (words->nr == TAB_WORDS)
		return fail(E2BIG, "there are more than %u options", TAB_WORDS);
	words->words[words->nr++] = word;
	return 0;
}

/* @path has to be there before the image is opened. */
static int need_path(struct entry *entry, char *path)
{
	if (*path != '/')
		return fail(EINVAL, "%s: needs to be a path from / on", path);
	if (!tidy_path(path))
		return fail(EINVAL, "%s: cannot have .. in it", path);
	if (is_device(path))
		return add_word(&entry->devices, path);
	if (!has_plain_path(path))
		return fail(EINVAL, "%s: cannot have quotes, backslashes, control characters",
			    path);
	return add_word(&entry->files, path);
}

/*----------------------------------------------------------------
 * Options
 *----------------------------------------------------------------
 */

static const struct option *find_option(const char *name)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(options); i++)
		if (!strcmp(options[i].name, name))
			return &options[i];
	return NULL;
}

static bool has_value(const struct option *option)
{
	return option->kind != KIND_OURS && option->kind != KIND_FLAG;
}

static bool is_number(const char *text)
{
	return *text && strspn(text, "0123456789") == strlen(text);
}

/* Time spans of systemd: systemd itself tells what is wrong with their units. */
static int take_timeout(struct entry *entry, const char *value)
{
	if (strspn(value, "0123456789.abcdefghijklmnopqrstuvwxyz ") != strlen(value))
		return fail(EINVAL, "x-systemd.device-timeout=%s: needs a time, such as 30s",
			    value);
	entry->timeout = value;
	return 0;
}

/* @word: the whole of it; @value: what is behind "=" */
static int take_option(struct entry *entry, const struct option *option, char *word, char *value)
{
	u64 size;

	switch (option->kind) {
	case KIND_OURS:
		*(bool *)((char *)entry + option->place) = true;
		return 0;
	case KIND_SIZE:
		if (!size_parse(value, &size))
			return fail(EINVAL, "%s: needs a size, such as 512, 64K or 1.5G", word);
		break;
	case KIND_NUMBER:
		if (!is_number(value))
			return fail(EINVAL, "%s: needs a number", word);
		break;
	case KIND_MOUNTS:
		return need_path(entry, value);
	case KIND_TIMEOUT:
		return take_timeout(entry, value);
	case KIND_BACKING:
		if (need_path(entry, value))
			return -EINVAL;
		break;
	case KIND_NEVER:
		return fail(EINVAL, "%s: has to be decided each time, see qedsetup(8)", word);
	case KIND_FLAG:
		break;
	}
	return add_word(&entry->arguments, word);
}

static int parse_option(struct entry *entry, char *word)
{
	char *value = strchr(word, '=');
	const struct option *option;

	if (value)
		*value = '\0';
	option = find_option(word);
	if (!option && !strncmp(word, "x-", 2))
		return 0;	/* somebody else's, as in fstab(5) */
	if (!option)
		return fail(EINVAL, "%s: no such option, see qedtab(5)", word);
	if (option->kind != KIND_NEVER && has_value(option) != !!value)
		return fail(EINVAL, "%s: needs %s value", word, value ? "no" : "a");
	if (value)
		*value++ = '=';
	return take_escapes(word, word) ?: take_option(entry, option, word, value);
}

static int parse_options(struct entry *entry, char *text)
{
	char *word, *rest = NULL;
	int r = 0;

	if (!strcmp(text, "-"))
		return 0;
	for (word = strtok_r(text, ",", &rest); word && !r; word = strtok_r(NULL, ",", &rest))
		r = parse_option(entry, word);
	return r;
}

/*----------------------------------------------------------------
 * The line
 *----------------------------------------------------------------
 */

static unsigned int split(char *line, char *fields[MAX_FIELDS + 1])
{
	unsigned int nr = 0;
	char *rest = NULL;

	while (nr <= MAX_FIELDS) {
		fields[nr] = strtok_r(nr ? NULL : line, BLANKS, &rest);
		if (!fields[nr])
			break;
		nr++;
	}
	return nr;
}

static int check_combination(const struct entry *entry)
{
	if (entry->timeout && !is_device(entry->image))
		return fail(EINVAL, "x-systemd.device-timeout goes with an image on a device");
	return 0;
}

int tab_parse(struct entry *entry, char *line)
{
	char *fields[MAX_FIELDS + 1];
	unsigned int nr = split(line, fields);
	int r;

	memset(entry, 0, sizeof(*entry));
	if (!nr || *fields[0] == '#')
		return 0;
	if (nr < 2 || nr > MAX_FIELDS)
		return fail(EINVAL, "%s: needs a name, an image, and maybe options, not %s",
			    fields[0], nr < 2 ? "one word" : "more");
	entry->name = fields[0];
	entry->image = fields[1];
	r = check_name(entry->name) ?: take_escapes(fields[1], "image") ?:
		need_path(entry, fields[1]);
	if (!r && nr > 2)
		r = parse_options(entry, fields[2]);
	return r ?: check_combination(entry) ?: 1;
}
