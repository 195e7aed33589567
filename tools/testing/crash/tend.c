// SPDX-License-Identifier: GPL-2.0-only
/*
 * tend - have a device of dm-qed trimmed and checked over and over
 *
 * Usage: tend NAME FILE
 *
 * As long as FILE exists. Faster than dmsetup, of which a virtual machine does not
 * start many in the time of a workload. Prints how often each was begun; fails if
 * one of them never was.
 */

#include <stdio.h>
#include <unistd.h>

#include "../faults/mapper.h"

#define PAUSE_US	20000

int main(int argc, char **argv)
{
	unsigned int trims = 0, checks = 0;

	if (argc != 3) {
		fprintf(stderr, "usage: tend NAME FILE\n");
		return 2;
	}
	mapper_init();
	/* It may be busy with the last one. */
	for (; !access(argv[2], F_OK); usleep(PAUSE_US)) {
		trims += mapper_message(argv[1], "trim");
		checks += mapper_message(argv[1], "check");
	}
	printf("# %u trims, %u checks\n", trims, checks);
	return !trims || !checks;
}
