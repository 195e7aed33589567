// SPDX-License-Identifier: GPL-2.0-only
/*
 * The configuration, see config.h.
 */

#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../escape.h"
#include "../qedsetup/fail.h"
#include "../qedsetup/size.h"
#include "config.h"

#define GIB		(1024ULL * 1024 * 1024)

#define DEFAULT_INTERVAL	10
#define DEFAULT_HEADROOM	(2 * GIB)
#define DEFAULT_RESERVE		GIB
#define MAX_INTERVAL		3600

/* What is shown of something that is wrong */
#define SHOWN		64

enum kind { KIND_BOOL, KIND_SIZE, KIND_LIMIT, KIND_PATH, KIND_SECONDS };

/**
 * struct key - what can be set
 * @name: how it is written
 * @kind: what it can be
 * @global: it stands before all sections
 * @offset: of its place in struct config, or in struct settings
 * @least: a size has at least so many bytes
 */
struct key {
	const char *name;
	enum kind kind;
	bool global;
	size_t offset;
	u64 least;
};

static const struct key keys[] = {
	{ "interval", KIND_SECONDS, true, offsetof(struct config, interval), 0 },
	{ "hook", KIND_PATH, true, offsetof(struct config, hook), 0 },
	{ "metrics", KIND_PATH, true, offsetof(struct config, metrics), 0 },
	{ "grow", KIND_BOOL, false, offsetof(struct settings, grow), 0 },
	{ "preallocate", KIND_BOOL, false, offsetof(struct settings, preallocate), 0 },
	{ "headroom", KIND_SIZE, false, offsetof(struct settings, headroom), 1 },
	{ "chunk", KIND_SIZE, false, offsetof(struct settings, chunk), 1 },
	{ "limit", KIND_LIMIT, false, offsetof(struct settings, limit), 1 },
	{ "reserve", KIND_SIZE, false, offsetof(struct settings, reserve), 0 },
	{ "command", KIND_PATH, false, offsetof(struct settings, command), 0 },
};

/**
 * struct parser - a configuration that is being read
 * @config: what is known of it
 * @settings: of the section that the line is in
 * @line: its number
 * @given: in which lines of this section the keys were, 0 if they were not
 * @error: what is wrong
 */
struct parser {
	struct config *config;
	struct settings *settings;
	unsigned int line;
	unsigned int given[ARRAY_SIZE(keys)];
	char *error;
};

static int wrong(struct parser *parser, const char *format, ...) __printf(2, 3);

static int wrong(struct parser *parser, const char *format, ...)
{
	int n = snprintf(parser->error, CONFIG_ERROR, "line %u: ", parser->line);
	va_list args;

	va_start(args, format);
	vsnprintf(parser->error + n, CONFIG_ERROR - n, format, args);
	va_end(args);
	return -EINVAL;
}

/*----------------------------------------------------------------
 * Values
 *----------------------------------------------------------------
 */

static int take_bool(struct parser *parser, const struct key *key, const char *value, bool *place)
{
	if (strcmp(value, "yes") && strcmp(value, "no"))
		return wrong(parser, "%s: \"%.*s\" is neither yes nor no", key->name, SHOWN, value);
	*place = !strcmp(value, "yes");
	return 0;
}

static int take_size(struct parser *parser, const struct key *key, const char *value, u64 *place)
{
	if (!size_parse(value, place))
		return wrong(parser, "%s: \"%.*s\" is no size, such as 512M or 2G", key->name,
			     SHOWN, value);
	if (*place < key->least)
		return wrong(parser, "%s: it cannot be 0", key->name);
	return 0;
}

static int take_limit(struct parser *parser, const struct key *key, const char *value, u64 *place)
{
	if (strcmp(value, "none"))
		return take_size(parser, key, value, place);
	*place = UINT64_MAX;
	return 0;
}

static int take_path(struct parser *parser, const struct key *key, const char *value, char *place)
{
	if (*value != '/')
		return wrong(parser, "%s: \"%.*s\" is no absolute path", key->name, SHOWN, value);
	if (strlen(value) >= PATH_MAX)
		return wrong(parser, "%s: the path is longer than %d bytes", key->name,
			     PATH_MAX - 1);
	memcpy(place, value, strlen(value) + 1);
	return 0;
}

static int take_seconds(struct parser *parser, const struct key *key, const char *value,
			unsigned int *place)
{
	unsigned long seconds;
	char *end;

	seconds = strtoul(value, &end, 10);
	if (!isdigit((unsigned char)*value) || *end || !seconds || seconds > MAX_INTERVAL)
		return wrong(parser, "%s: \"%.*s\" is no number of seconds from 1 to %d",
			     key->name, SHOWN, value, MAX_INTERVAL);
	*place = seconds;
	return 0;
}

static int take_value(struct parser *parser, const struct key *key, const char *value)
{
	char *base = key->global ? (char *)parser->config : (char *)parser->settings;
	void *place = base + key->offset;

	switch (key->kind) {
	case KIND_BOOL:
		return take_bool(parser, key, value, place);
	case KIND_SIZE:
		return take_size(parser, key, value, place);
	case KIND_LIMIT:
		return take_limit(parser, key, value, place);
	case KIND_PATH:
		return take_path(parser, key, value, place);
	default:
		return take_seconds(parser, key, value, place);
	}
}

/*----------------------------------------------------------------
 * Lines
 *----------------------------------------------------------------
 */

static unsigned int *given(struct parser *parser, const char *name)
{
	unsigned int i = 0;

	while (i < ARRAY_SIZE(keys) && strcmp(keys[i].name, name))
		i++;
	return i < ARRAY_SIZE(keys) ? &parser->given[i] : NULL;
}

/* What can only be judged when all of a section is known */
static int end_section(struct parser *parser)
{
	struct settings *settings = parser->settings;
	unsigned int headroom = *given(parser, "headroom"), chunk = *given(parser, "chunk");
	char small[SIZE_TEXT], large[SIZE_TEXT];

	/* none was given, here or above */
	if (!settings->chunk)
		return 0;
	if (settings->chunk >= settings->headroom)
		return 0;
	parser->line = chunk > headroom ? chunk : headroom;
	return wrong(parser, "chunk is %s, and headroom %s: it has to be as large at least",
		     size_text(settings->chunk, small, sizeof(small)),
		     size_text(settings->headroom, large, sizeof(large)));
}

static bool is_known(const struct config *config, const char *pattern)
{
	unsigned int i;

	for (i = 0; i < config->nr_sections; i++)
		if (!strcmp(config->sections[i].pattern, pattern))
			return true;
	return false;
}

static int begin_section(struct parser *parser, char *pattern)
{
	struct config *config = parser->config;
	size_t length = strlen(pattern);
	struct section *section;
	int r = end_section(parser);

	if (r)
		return r;
	if (length < 2 || pattern[length - 1] != ']')
		return wrong(parser, "a section is a name, or a pattern, between [ and ]");
	pattern[length - 1] = '\0';
	if (length < 3)
		return wrong(parser, "a section has no name");
	if (length - 2 >= CONFIG_PATTERN)
		return wrong(parser, "the name of a section is longer than %d bytes",
			     CONFIG_PATTERN - 1);
	pattern++;
	if (is_known(config, pattern))
		return wrong(parser, "[%.*s]: there is such a section already", SHOWN, pattern);
	if (config->nr_sections == CONFIG_SECTIONS)
		return wrong(parser, "there are more than %d sections", CONFIG_SECTIONS);
	section = &config->sections[config->nr_sections++];
	memcpy(section->pattern, pattern, length - 1);
	section->settings = config->defaults;
	parser->settings = &section->settings;
	memset(parser->given, 0, sizeof(parser->given));
	return 0;
}

static int take_setting(struct parser *parser, const char *name, const char *value)
{
	unsigned int *before = given(parser, name);
	const struct key *key;

	if (!before)
		return wrong(parser, "there is no setting \"%.*s\"", SHOWN, name);
	key = &keys[before - parser->given];
	if (key->global && parser->config->nr_sections)
		return wrong(parser, "%s: it is for all devices, and stands before all sections",
			     name);
	if (*before)
		return wrong(parser, "%s: it is in line %u already", name, *before);
	if (!*value)
		return wrong(parser, "%s: it has no value", name);
	*before = parser->line;
	return take_value(parser, key, value);
}

static char *strip(char *text)
{
	char *end = text + strlen(text);

	while (end > text && (end[-1] == ' ' || end[-1] == '\t'))
		*--end = '\0';
	return text + strspn(text, " \t");
}

/* Anything else than text would not be seen by who reads the file. */
static int check_text(struct parser *parser, const char *line, size_t length)
{
	unsigned int size;
	size_t i;
	u32 code;

	for (i = 0; i < length; i += size) {
		size = qed_next_char(line + i, &code);
		if (!size)
			return wrong(parser, "byte %zu is no UTF-8", i + 1);
		if (line[i] != '\t' && (!code || qed_is_control(code)))
			return wrong(parser, "byte %zu is a control character", i + 1);
	}
	return 0;
}

static int take_line(struct parser *parser, char *line, size_t length)
{
	int r = check_text(parser, line, length);
	char *equals;

	if (r)
		return r;
	line = strip(line);
	if (!*line || *line == '#')
		return 0;
	if (*line == '[')
		return begin_section(parser, line);
	equals = strchr(line, '=');
	if (!equals)
		return wrong(parser, "\"%.*s\" is neither a section nor a setting: it has no =",
			     SHOWN, line);
	*equals = '\0';
	return take_setting(parser, strip(line), strip(equals + 1));
}

/*----------------------------------------------------------------
 * The file
 *----------------------------------------------------------------
 */

static void set_defaults(struct config *config)
{
	memset(config, 0, sizeof(*config));
	config->interval = DEFAULT_INTERVAL;
	config->defaults.grow = true;
	config->defaults.headroom = DEFAULT_HEADROOM;
	config->defaults.limit = UINT64_MAX;
	config->defaults.reserve = DEFAULT_RESERVE;
}

static size_t line_length(const char *text, size_t length)
{
	const char *end = memchr(text, '\n', length);

	return end ? (size_t)(end - text) : length;
}

/* Where no chunk was given it is as large as the headroom. */
static void fill_chunk(struct settings *settings)
{
	if (!settings->chunk)
		settings->chunk = settings->headroom;
}

int config_parse(struct config *config, const char *text, size_t length,
		 char error[CONFIG_ERROR])
{
	struct parser parser = { .config = config, .settings = &config->defaults, .error = error };
	static char line[2 * PATH_MAX];
	unsigned int i;
	size_t at, n;
	int r;

	set_defaults(config);
	*error = '\0';
	for (at = 0; at < length; at += n + 1) {
		n = line_length(text + at, length - at);
		parser.line++;
		if (n >= sizeof(line))
			return wrong(&parser, "it is longer than %zu bytes", sizeof(line) - 1);
		memcpy(line, text + at, n);
		line[n] = '\0';
		r = take_line(&parser, line, n);
		if (r)
			return r;
	}
	r = end_section(&parser);
	fill_chunk(&config->defaults);
	for (i = 0; i < config->nr_sections; i++)
		fill_chunk(&config->sections[i].settings);
	return r;
}

/* All of a file: its length, or a negative error number */
static ssize_t read_all(int fd, char *text, size_t size)
{
	size_t length = 0;
	ssize_t n;

	while (length < size) {
		n = read(fd, text + length, size - length);
		if (n < 0)
			return -errno;
		if (!n)
			return length;
		length += n;
	}
	return -EFBIG;
}

int config_read(struct config *config, const char *path, bool optional,
		char error[CONFIG_ERROR])
{
	static char text[CONFIG_SIZE + 1];
	ssize_t length = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd >= 0) {
		length = read_all(fd, text, sizeof(text));
		close(fd);
	} else if (errno != ENOENT || !optional) {
		length = -errno;
	}
	if (length < 0) {
		snprintf(error, CONFIG_ERROR, "%s", length == -EFBIG ?
			 "it is larger than 256 KiB" : strerror(-length));
		return length;
	}
	return config_parse(config, text, length, error);
}

const struct settings *config_find(const struct config *config, const char *name)
{
	unsigned int i;

	for (i = 0; i < config->nr_sections; i++)
		if (!fnmatch(config->sections[i].pattern, name, 0))
			return &config->sections[i].settings;
	return &config->defaults;
}
