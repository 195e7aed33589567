// SPDX-License-Identifier: GPL-2.0-only
/*
 * qedsetup - QED images as block devices, see qedsetup(8)
 */

#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../descriptors.h"
#include "../escape.h"
#include "arguments.h"
#include "fail.h"
#include "output.h"

static void report(const struct request *request, int r)
{
	struct json_object *object;
	char *escaped = qed_escape(failure());

	fprintf(stderr, "qedsetup: %s\n", escaped);
	free(escaped);
	if (!request->json || json_has_begun())
		return;
	object = json_document();
	if (request->verb)
		json_text(object, "verb", request->verb->name);
	json_failure(object, r);
	json_print(object, false);
}

int main(int argc, char **argv)
{
	struct request request;
	int r, status;

	if (qed_open_standard())
		return EXIT_OTHER;
	/* errors of what is written are looked at */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	r = parse_arguments(&request, argc, argv);
	if (r > 0)
		r = request.verb->run(&request);
	if (r < 0)
		fail_as(r, "failed");
	status = exit_status(r);
	if (r < 0)
		report(&request, r);
	if (!fflush(stdout) && !ferror(stdout))
		return status;
	fprintf(stderr, "qedsetup: cannot write to standard output\n");
	return status ? status : EXIT_OTHER;
}
