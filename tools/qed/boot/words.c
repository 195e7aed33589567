// SPDX-License-Identifier: GPL-2.0-only
/*
 * Text as it has to be in files of systemd, see words.h.
 */

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "words.h"

/* Bytes that one of a text may need */
#define ESCAPED	4

/* What stands for itself in the name of a unit; a dot does not at its beginning. */
static bool is_plain(char c, bool first)
{
	return isalnum((unsigned char)c) || c == ':' || c == '_' || (c == '.' && !first);
}

static char *escape(char *to, const char *text)
{
	const char *c;

	if (*text == '/')
		text++;
	for (c = text; *c; c++) {
		if (*c == '/')
			*to++ = '-';
		else if (is_plain(*c, c == text))
			*to++ = *c;
		else
			to += sprintf(to, "\\x%02x", (unsigned char)*c);
	}
	return to;
}

char *unit_name(const char *prefix, const char *text, const char *suffix)
{
	char *name = malloc(strlen(prefix) + ESCAPED * strlen(text) + strlen(suffix) + 1);

	if (name)
		stpcpy(escape(stpcpy(name, prefix), text), suffix);
	return name;
}

/* A byte of an argument, which variables and specifiers are not to be found in */
static void write_byte(FILE *file, unsigned char c)
{
	if (iscntrl(c))
		fprintf(file, "\\x%02x", c);
	else if (strchr("\"\\", c))
		fprintf(file, "\\%c", c);
	else if (strchr("%$", c))
		fprintf(file, "%c%c", c, c);
	else
		putc(c, file);
}

void write_argument(FILE *file, const char *plain, const char *text)
{
	fprintf(file, " \"%s", plain);
	for (; *text; text++)
		write_byte(file, *text);
	putc('"', file);
}

void write_path(FILE *file, const char *path)
{
	putc('"', file);
	for (; *path; path++) {
		if (*path == '%')
			putc('%', file);
		putc(*path, file);
	}
	putc('"', file);
}

bool tidy_path(char *path)
{
	char *to = path, *from = path;
	size_t length;

	while (*from) {
		from += strspn(from, "/");
		length = strcspn(from, "/");
		if (length == 2 && !strncmp(from, "..", 2))
			return false;
		if (length && !(length == 1 && *from == '.')) {
			*to++ = '/';
			memmove(to, from, length);
			to += length;
		}
		from += length;
	}
	if (to == path)
		*to++ = '/';
	*to = '\0';
	return true;
}

bool has_plain_path(const char *path)
{
	for (; *path; path++)
		if (iscntrl((unsigned char)*path) || strchr("\"'\\", *path))
			return false;
	return true;
}
