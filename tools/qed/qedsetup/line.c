// SPDX-License-Identifier: GPL-2.0-only
/*
 * Writes a table line, see line.h.
 */

#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "line.h"

void line_word(struct line *line, const char *word)
{
	size_t length = strlen(line->text);

	snprintf(line->text + length, sizeof(line->text) - length, " %s", word);
	line->nr++;
}

void line_number(struct line *line, const char *word, u64 number)
{
	char text[32];

	snprintf(text, sizeof(text), "%llu", number);
	line_word(line, word);
	line_word(line, text);
}

void line_below(struct line *line, dev_t device, bool is_raw)
{
	char text[32];

	snprintf(text, sizeof(text), "%u:%u", major(device), minor(device));
	line_word(line, is_raw ? "backing" : "layer");
	line_word(line, text);
}

char *line_params(const struct line *line, dev_t image)
{
	char *params;

	if (strlen(line->text) == sizeof(line->text) - 1 ||
	    asprintf(&params, "%u:%u %u%s", major(image), minor(image), line->nr, line->text) < 0)
		return NULL;
	return params;
}
