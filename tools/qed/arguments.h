/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The command line of qed-fsck.
 */

#ifndef QED_ARGUMENTS_H
#define QED_ARGUMENTS_H

#include "fsck.h"
#include "geometry.h"

/* Exit status, as of fsck(8): a sum */
#define EXIT_REPAIRED	1
#define EXIT_LEFT	4
#define EXIT_OPERATION	8
#define EXIT_USAGE	16
#define EXIT_CANCELLED	32

/* What was asked for, see the help; only what is not plain is said here. */
struct arguments {
	char mode;		/* n, p, y, r, or 0 */
	bool always, verbose, quiet, json, stats, direct, force, compact, discard;
	bool takeover, bar, chain;
	int progress_fd;	/* -1: none */
	unsigned int threads;
	bool has_geometry, search;
	struct qed_geometry geometry;
	enum qed_orphan_policy orphans;
	enum qed_cut_policy cut;
	struct qed_place places[QED_MAX_PLACES];
	unsigned int nr_places;
	const char *undo, *undo_apply, *path;
};

/**
 * qed_parse_arguments() - read the command line
 * @args: the result
 * @argc: as for main()
 * @argv: the same
 *
 * Ends the program if it is wrong, or asks only for help.
 */
void qed_parse_arguments(struct arguments *args, int argc, char **argv);

/* The exit status, in which it counts if something could not be printed */
int qed_end_output(int status);

#endif /* QED_ARGUMENTS_H */
