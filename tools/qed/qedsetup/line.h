/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Writes a table line.
 */

#ifndef QEDSETUP_LINE_H
#define QEDSETUP_LINE_H

#include <stdbool.h>
#include <sys/types.h>

#include "../common.h"

/**
 * struct line - the options of a table
 * @text: all of them
 * @nr: number of words
 *
 * Begins with zeroes.
 */
struct line {
	char text[2560];
	unsigned int nr;
};

void line_word(struct line *line, const char *word);
void line_number(struct line *line, const char *word, u64 number);

/* What is right below the image, or the one before; @is_raw: it has no image itself */
void line_below(struct line *line, dev_t device, bool is_raw);

/* The parameters of the table, to be freed; NULL if they are too long, or there is no memory */
char *line_params(const struct line *line, dev_t image);

#endif /* QEDSETUP_LINE_H */
