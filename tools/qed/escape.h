/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Text that comes from elsewhere, such as names, for a terminal.
 */

#ifndef QED_ESCAPE_H
#define QED_ESCAPE_H

#include "common.h"

/**
 * qed_next_char() - the next character of a text
 * @text: UTF-8, or any bytes
 * @code: what it is
 *
 * Return: its length in bytes, 0 if it is no UTF-8; the end is one of length 1.
 */
unsigned int qed_next_char(const char *text, u32 *code);

/* Would it do something else to a terminal than being shown: control, direction? */
bool qed_is_control(u32 code);

/**
 * qed_escape() - make a text printable
 * @text: any bytes
 *
 * Control characters, bytes that are no UTF-8, and backslashes are written as in C.
 * Return: the text, to be freed; it never fails, but ends the program without memory.
 */
char *qed_escape(const char *text);

#endif /* QED_ESCAPE_H */
