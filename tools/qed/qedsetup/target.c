// SPDX-License-Identifier: GPL-2.0-only
/*
 * What dm-qed says of a device, see target.h.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "dm.h"
#include "fail.h"
#include "target.h"

#define SECTOR	512

/* Of a table: a device below takes two */
#define TABLE_WORDS	(2 * TARGET_BELOW + 64)

/* Words of the status; a later version of the target may have more */
enum {
	WORD_CLUSTER, WORD_USED, WORD_MAPPED, WORD_CACHE, WORD_DIRTY, WORD_ALLOCATIONS,
	WORD_COMMITS, WORD_MODE, WORD_NEEDS_CHECK, WORD_FREE, WORD_QUEUED, WORD_TRIM, WORD_CHECK,
	WORD_SCAN, WORD_AHEAD, WORD_BELOW, WORDS,
};

static unsigned int split(char *text, char **words, unsigned int most)
{
	unsigned int nr = 0;
	char *word, *rest;

	for (word = strtok_r(text, " ", &rest); word && nr < most;
	     word = strtok_r(NULL, " ", &rest))
		words[nr++] = word;
	return nr;
}

/* "-" is what is not known. */
static u64 number(const char *text)
{
	return *text == '-' ? TARGET_UNKNOWN : strtoull(text, NULL, 10);
}

/* Number @index of those with slashes between; all are unknown if there is but a "-" */
static u64 part(const char *text, unsigned int index)
{
	for (; index; index--) {
		text = strchr(text, '/');
		if (!text)
			return TARGET_UNKNOWN;
		text++;
	}
	return number(text);
}

static struct target_progress progress(const char *text)
{
	struct target_progress result = { .running = strchr(text, '/') };

	if (result.running) {
		result.done = part(text, 0);
		result.total = part(text, 1);
	}
	return result;
}

static void take_check(struct target_status *status, const char *text)
{
	const char *comma = strchr(text, ',');

	status->check = progress(text);
	status->checked = comma;
	if (comma) {
		status->leaks = number(text);
		status->defects = number(comma + 1);
	}
}

static void take_space(struct target_status *status, char **words)
{
	status->used = part(words[WORD_USED], 0);
	status->total = part(words[WORD_USED], 1);
	status->mapped = part(words[WORD_MAPPED], 0);
	status->virtual = part(words[WORD_MAPPED], 1);
	status->cached = part(words[WORD_CACHE], 0) * 1024;
	status->cache_limit = part(words[WORD_CACHE], 1) * 1024;
	status->free = part(words[WORD_FREE], 0);
	status->zeroed = part(words[WORD_FREE], 1);
	status->reclaiming = part(words[WORD_FREE], 2);
}

static void take_status(struct target_status *status, char **words)
{
	status->cluster_size = number(words[WORD_CLUSTER]) * SECTOR;
	take_space(status, words);
	status->dirty = number(words[WORD_DIRTY]);
	status->allocations = number(words[WORD_ALLOCATIONS]);
	status->commits = number(words[WORD_COMMITS]);
	snprintf(status->mode, sizeof(status->mode), "%s", words[WORD_MODE]);
	status->needs_check = strcmp(words[WORD_NEEDS_CHECK], "-");
	status->queued = number(words[WORD_QUEUED]);
	status->trim = progress(words[WORD_TRIM]);
	take_check(status, words[WORD_CHECK]);
	status->scan = progress(words[WORD_SCAN]);
	status->ahead = number(words[WORD_AHEAD]);
	status->has_below = strcmp(words[WORD_BELOW], "-");
	if (status->has_below) {
		status->depth = part(words[WORD_BELOW], 0);
		status->copied = part(words[WORD_BELOW], 1);
		status->reads_below = part(words[WORD_BELOW], 2);
	}
}

int target_parse_status(const char *name, char *params, struct target_status *status)
{
	char *words[WORDS];

	memset(status, 0, sizeof(*status));
	if (split(params, words, WORDS) < WORDS)
		return fail(EPROTO, "%s: this version of dm-qed has another status", name);
	take_status(status, words);
	return 0;
}

int target_get_status(const char *name, struct target_status *status)
{
	char *params;
	u64 sectors;
	int r = dm_get(name, false, &sectors, &params);

	if (r)
		return r;
	r = target_parse_status(name, params, status);
	free(params);
	return r;
}

/*----------------------------------------------------------------
 * The table
 *----------------------------------------------------------------
 */

static bool take_device(const char *text, dev_t *device)
{
	unsigned int major, minor;

	if (sscanf(text, "%u:%u", &major, &minor) != 2)
		return false;
	*device = makedev(major, minor);
	return true;
}

/* Is it a word that a device below follows? */
static bool is_below(const char *word)
{
	return !strcmp(word, "layer") || !strcmp(word, "backing");
}

static void add_option(struct target_table *table, const char *word)
{
	size_t length = strlen(table->options);

	snprintf(table->options + length, sizeof(table->options) - length, "%s%s",
		 length ? " " : "", word);
}

static bool take_table(struct target_table *table, char **words, unsigned int nr)
{
	unsigned int i;

	if (!nr || !take_device(words[0], &table->image))
		return false;
	/* the second one is their number */
	for (i = 2; i < nr; i++) {
		if (is_below(words[i])) {
			table->has_raw = !strcmp(words[i], "backing");
			if (++i == nr || table->nr_below == TARGET_BELOW ||
			    !take_device(words[i], &table->below[table->nr_below++]))
				return false;
			continue;
		}
		table->read_only |= !strcmp(words[i], "read_only");
		add_option(table, words[i]);
	}
	return true;
}

int target_get_table(const char *name, struct target_table *table)
{
	char *params, *words[TABLE_WORDS];
	u64 sectors;
	int r = dm_get(name, true, &sectors, &params);

	if (r)
		return r;
	memset(table, 0, sizeof(*table));
	if (!take_table(table, words, split(params, words, ARRAY_SIZE(words))))
		r = fail(EPROTO, "%s: this version of dm-qed has another table", name);
	free(params);
	return r;
}
