// SPDX-License-Identifier: GPL-2.0-only
/*
 * From an image to the one that its disk goes on in, see follow.h.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../chain.h"
#include "../succession.h"
#include "fail.h"
#include "follow.h"
#include "subject.h"

#define ADVICE	"if it is lost, open --frozen goes on from the last snapshot"

/* The paths in it are those from where the image really is. */
static int read_note(const char *path, struct qed_succession *note)
{
	char *real = realpath(path, NULL);
	struct subject subject;
	int r = real ? subject_open_image(&subject, real, SUBJECT_LOOK) :
		       fail(errno, "%s: %s", path, strerror(errno));

	if (!r) {
		r = qed_succession_read(&subject.img, note);
		subject_close(&subject);
	}
	free(real);
	return fail_as(r, path);
}

/* Is it the one that is meant? Its own note is the result then. */
static int read_next(const char *path, struct qed_succession *note)
{
	const struct qed_succession before = *note;
	int r = read_note(before.next, note);

	if (r) {
		forget_failure();
		return fail_advise(-r, ADVICE, "%s: goes on in %s since a snapshot: %s", path,
				   before.next, strerror(-r));
	}
	if (!memcmp(note->mark, before.next_mark, QED_MARK_SIZE))
		return 0;
	free(note->next);
	return fail_advise(ENOENT, ADVICE,
			   "%s: goes on in %s since a snapshot: that is another one", path,
			   before.next);
}

int follow(const char *path, char **top)
{
	struct qed_succession note;
	unsigned int nr = 0;
	int r;

	*top = strdup(path);
	if (!*top)
		return -ENOMEM;
	if (read_note(path, &note)) {
		forget_failure();
		return 0;
	}
	for (r = 0; !r && note.next; nr++) {
		free(*top);
		*top = note.next;
		r = nr < QED_MAX_CHAIN ? read_next(path, &note) :
					 fail(ELOOP, "%s: goes on in too many images", path);
	}
	if (r)
		free(*top);
	return r;
}
