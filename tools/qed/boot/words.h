/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Text as it has to be in files of systemd.
 */

#ifndef QED_WORDS_H
#define QED_WORDS_H

#include <stdbool.h>
#include <stdio.h>

/**
 * unit_name() - the name of a unit
 * @prefix: what it begins with
 * @text: what it is for; a path loses its first slash, as with systemd-escape --path
 * @suffix: what it ends with
 *
 * Return: prefix, escaped text and suffix, to be freed; NULL without memory.
 */
char *unit_name(const char *prefix, const char *text, const char *suffix);

/* An argument of ExecStart=, after a space: what is plain, and any text */
void write_argument(FILE *file, const char *plain, const char *text);

/* A path of RequiresMountsFor=, which has_plain_path() */
void write_path(FILE *file, const char *path);

/**
 * tidy_path() - bring a path into the form that systemd wants
 * @path: an absolute one, which is changed: no double slashes, no dots, none at the end
 *
 * Return: is it without ".." now, which only the file system could resolve?
 */
bool tidy_path(char *path);

/* Can systemd be told of it? It does not take quotes and backslashes there. */
bool has_plain_path(const char *path);

#endif /* QED_WORDS_H */
