// SPDX-License-Identifier: GPL-2.0-only
/*
 * The table of a device with another image on top, see retable.h.
 */

#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "line.h"
#include "retable.h"

/* Options that count clusters, and what is true of one image only */
static const char *const clusters[] = { "low_water", "zero_ahead", NULL };
static const char *const of_image[] = { "known_zeroes", "takeover", "zeroed_from", NULL };

static bool is_among(const char *word, const char *const *words)
{
	while (*words && strcmp(word, *words))
		words++;
	return *words;
}

/* All that stays below */
static void add_below(struct line *line, const struct target_table *old,
		      const struct retable *retable)
{
	unsigned int i;

	if (retable->layer)
		line_below(line, retable->layer, false);
	for (i = retable->from; i < old->nr_below; i++)
		line_below(line, old->below[i], old->has_raw && i == old->nr_below - 1);
}

/* The name of a host may be any word; other values are numbers, and stay as words do. */
static void add_options(struct line *line, char *options, const struct retable *retable)
{
	char *word, *rest;
	u64 size;

	for (word = strtok_r(options, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
		if (!strcmp(word, "zeroed_from"))
			strtok_r(NULL, " ", &rest);
		if (is_among(word, of_image))
			continue;
		if (!is_among(word, clusters)) {
			line_word(line, word);
			if (!strcmp(word, "host"))
				line_word(line, strtok_r(NULL, " ", &rest) ?: "-");
			continue;
		}
		size = strtoull(strtok_r(NULL, " ", &rest) ?: "0", NULL, 10);
		size *= retable->old_cluster_size;
		line_number(line, word, div_up(size, retable->cluster_size));
	}
}

char *retable(const struct target_table *old, const struct retable *retable)
{
	struct target_table table = *old;
	struct line line = { .nr = 0 };

	add_below(&line, old, retable);
	add_options(&line, table.options, retable);
	if (retable->known_zeroes)
		line_word(&line, "known_zeroes");
	if (retable->zeroed_from)
		line_number(&line, "zeroed_from", retable->zeroed_from);
	return line_params(&line, retable->top);
}
