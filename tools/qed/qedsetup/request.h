/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What was asked for.
 */

#ifndef QEDSETUP_REQUEST_H
#define QEDSETUP_REQUEST_H

#include <stdbool.h>

#include "../common.h"

/* A number that was not given */
#define NOT_GIVEN	(~0ULL)

/* Of a group of disks; more than one command needs */
#define MAX_WORDS	128

/* The command line. Options are as in the help, which tells what they are. */
struct request {
	const struct verb *verb;
	const char *words[MAX_WORDS];	/* IMAGE, NAME, SIZE, as the verb needs them */
	unsigned int nr_words;

	bool json, quiet, force;
	/* create, measure */
	u64 size, cluster_size, table_size;
	const char *backing, *backing_format;
	bool zero, discard;
	/* open */
	bool read_only, host, takeover, known_zeroes, if_needed, buffered;
	bool error_if_no_space, ignore_discard, no_discard_passdown, frozen;
	u64 cache, commit_interval, low_water, zero_ahead, headroom, sector_size;
	/* close */
	bool deferred, cancel_deferred;
	/* list */
	const char *columns;
	bool no_headings, raw, bytes;
	/* info, map */
	bool chain;
	/* trim, check */
	bool no_wait;
	/* snapshot */
	const char *freeze, *revert;
	/* rebase */
	bool unsafe;
};

/**
 * struct verb - something that qedsetup can do
 * @name: of it
 * @words: what it needs, as in the help
 * @least: number of words, at least
 * @most: and at most
 * @help: one line about it
 * @run: does it; returns 0 or a negative error number, with what failed noted
 */
struct verb {
	const char *name, *words;
	unsigned int least, most;
	const char *help;
	int (*run)(const struct request *request);
};

int run_create(const struct request *request);
int run_open(const struct request *request);
int run_close(const struct request *request);
int run_status(const struct request *request);
int run_list(const struct request *request);
int run_info(const struct request *request);
int run_map(const struct request *request);
int run_measure(const struct request *request);
int run_resize(const struct request *request);
int run_grow(const struct request *request);
int run_trim(const struct request *request);
int run_check(const struct request *request);
int run_snapshot(const struct request *request);
int run_rebase(const struct request *request);

#endif /* QEDSETUP_REQUEST_H */
