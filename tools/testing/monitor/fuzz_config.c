// SPDX-License-Identifier: GPL-2.0-only
/*
 * Configurations of qed-monitor at random: what is accepted has to be usable, and what is not
 * has to be told with a line that there is.
 */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../qed/monitor/config.h"

int test_input(const uint8_t *data, size_t size) __asm__("LLVMFuzzerTestOneInput");

static void check(bool right, const char *what)
{
	if (right)
		return;
	fprintf(stderr, "wrong: %s\n", what);
	abort();
}

static void check_path(const char *path)
{
	check(memchr(path, '\0', PATH_MAX), "the end of a path");
	check(!*path || *path == '/', "a path");
}

static void check_settings(const struct settings *settings)
{
	check(settings->headroom && settings->headroom <= INT64_MAX, "headroom");
	check(settings->chunk >= settings->headroom && settings->chunk <= INT64_MAX, "chunk");
	check(settings->limit, "limit");
	check(settings->reserve <= INT64_MAX, "reserve");
	check_path(settings->command);
}

static void check_config(const struct config *config)
{
	unsigned int i;

	check(config->interval >= 1 && config->interval <= 3600, "interval");
	check_path(config->hook);
	check_path(config->metrics);
	check_settings(&config->defaults);
	check(config->nr_sections <= CONFIG_SECTIONS, "the number of sections");
	for (i = 0; i < config->nr_sections; i++) {
		check(*config->sections[i].pattern, "a pattern");
		check(memchr(config->sections[i].pattern, '\0', CONFIG_PATTERN),
		      "the end of a pattern");
		check_settings(&config->sections[i].settings);
	}
}

static unsigned int lines(const uint8_t *data, size_t size)
{
	unsigned int nr = 1;
	size_t i;

	for (i = 0; i < size; i++)
		nr += data[i] == '\n';
	return nr;
}

static void check_error(const char *error, const uint8_t *data, size_t size)
{
	unsigned int line;
	int end = 0;

	check(memchr(error, '\0', CONFIG_ERROR), "the end of an error");
	check(sscanf(error, "line %u: %n", &line, &end) == 1 && end && error[end], "an error");
	check(line && line <= lines(data, size), "the line of an error");
}

int test_input(const uint8_t *data, size_t size)
{
	static struct config config;
	char error[CONFIG_ERROR], *text = malloc(size);

	/* one that ends where the memory does */
	if (size)
		memcpy(text, data, size);
	memset(&config, 0xa5, sizeof(config));
	memset(error, 0xa5, sizeof(error));
	if (config_parse(&config, text, size, error))
		check_error(error, data, size);
	else
		check_config(&config);
	free(text);
	return 0;
}
