// SPDX-License-Identifier: GPL-2.0-only
/*
 * notes - which image a disk goes on in, as qedsetup snapshot writes it down, and open reads it
 *
 * Usage: notes mark FILE		give it a new mark, which is printed
 *	  notes write FILE NAME MARK	it goes on in the image that has this mark
 *	  notes clear FILE
 *	  notes read FILE		print its mark, and the path and mark of the next one
 *	  notes follow FILE		print where it goes on at last
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../qed/qedsetup/fail.h"
#include "../../qed/qedsetup/follow.h"
#include "../../qed/qedsetup/subject.h"
#include "../../qed/succession.h"

static void print_mark(const u8 *mark)
{
	unsigned int i;

	for (i = 0; i < QED_MARK_SIZE; i++)
		printf("%02x", mark[i]);
}

static void take_mark(u8 *mark, const char *text)
{
	unsigned int i;

	memset(mark, 0, QED_MARK_SIZE);
	for (i = 0; i < QED_MARK_SIZE && sscanf(text + 2 * i, "%2hhx", &mark[i]) == 1; i++)
		;
}

static int change(struct subject *subject, const char *name, const char *text, bool set)
{
	u8 mark[QED_MARK_SIZE];
	struct qed_note note;
	int r;

	take_mark(mark, text);
	r = qed_note_prepare(&note, &subject->img, name, mark);
	if (r)
		return r;
	r = set ? qed_note_write(&note) : qed_note_clear(&note);
	qed_note_free(&note);
	return r;
}

static int show(struct subject *subject)
{
	struct qed_succession note;
	int r = qed_succession_read(&subject->img, &note);

	if (r)
		return r;
	print_mark(note.mark);
	if (note.next) {
		printf(" ");
		print_mark(note.next_mark);
		printf(" %s", note.next);
	}
	free(note.next);
	return 0;
}

static int work(struct subject *subject, int argc, char **argv)
{
	u8 mark[QED_MARK_SIZE];
	int r;

	if (!strcmp(argv[1], "write") && argc == 5)
		return change(subject, argv[3], argv[4], true);
	if (!strcmp(argv[1], "clear"))
		return change(subject, "", "", false);
	if (!strcmp(argv[1], "read"))
		return show(subject);
	r = qed_succession_mark(&subject->img, mark);
	if (!r)
		print_mark(mark);
	return r;
}

static int go_on(const char *path)
{
	char *top;
	int r = follow(path, &top);

	if (r)
		return r;
	puts(top);
	free(top);
	return 0;
}

int main(int argc, char **argv)
{
	struct subject subject;
	int r;

	if (argc < 3)
		return EXIT_OTHER;
	if (!strcmp(argv[1], "follow")) {
		r = go_on(argv[2]);
	} else {
		r = subject_open_image(&subject, argv[2], SUBJECT_WRITE);
		if (!r) {
			r = work(&subject, argc, argv);
			subject_close(&subject);
		}
	}
	fail_as(r, "failed");
	if (r)
		fprintf(stderr, "notes: %s\n", failure());
	return exit_status(r);
}
