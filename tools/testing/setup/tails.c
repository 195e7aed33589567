// SPDX-License-Identifier: GPL-2.0-only
/*
 * tails - make the file of an image long, or short, as qedsetup open and close do
 *
 * Usage: tails grow FILE HEADROOM | tails trim FILE
 *
 * A HEADROOM of 0 is all that the image may need. grow prints the cluster that zeroes begin at.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../qed/qedsetup/fail.h"
#include "../../qed/qedsetup/tail.h"

static int work(struct subject *subject, int argc, char **argv)
{
	struct tail tail;
	int r;

	if (strcmp(argv[1], "grow"))
		return tail_trim(subject);
	r = tail_grow(subject, argc > 3 ? strtoull(argv[3], NULL, 10) : 0, &tail);
	if (!r)
		printf("%llu\n", tail.zeroed_from);
	return r;
}

int main(int argc, char **argv)
{
	struct subject subject;
	int r;

	if (argc < 3)
		return EXIT_OTHER;
	r = subject_open_image(&subject, argv[2], SUBJECT_WRITE);
	if (!r) {
		r = work(&subject, argc, argv);
		subject_close(&subject);
	}
	if (r)
		fprintf(stderr, "tails: %s\n", failure());
	return exit_status(r);
}
