// SPDX-License-Identifier: GPL-2.0-only
/*
 * Text from elsewhere, see escape.h.
 */

#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "escape.h"

/* Exit status of a failed operation, as of fsck(8) */
#define EXIT_OPERATION	8

unsigned int qed_next_char(const char *text, u32 *code)
{
	static const u32 least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	const u8 *p = (const u8 *)text;
	unsigned int length, i;

	*code = *p;
	if (*p < 0x80)
		return 1;
	length = *p >= 0xf0 ? 4 : *p >= 0xe0 ? 3 : 2;
	if (*p < 0xc2 || *p > 0xf4)
		return 0;
	*code = *p & (0x7f >> length);
	for (i = 1; i < length; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		*code = *code << 6 | (p[i] & 0x3f);
	}
	/* overlong, surrogates, too large */
	if (*code < least[length] || (*code >= 0xd800 && *code <= 0xdfff) || *code > 0x10ffff)
		return 0;
	return length;
}

bool qed_is_control(u32 code)
{
	return code < 0x20 || (code >= 0x7f && code <= 0x9f) || code == 0x061c ||
	       code == 0x200e || code == 0x200f || (code >= 0x2028 && code <= 0x202e) ||
	       (code >= 0x2066 && code <= 0x2069);
}

char *qed_escape(const char *text)
{
	char *escaped = malloc(strlen(text) * 4 + 1), *to = escaped;
	unsigned int length, i;
	u32 code;

	if (!escaped)
		exit(EXIT_OPERATION);
	while (*text) {
		length = qed_next_char(text, &code);
		if (length && !qed_is_control(code) && code != '\\') {
			to = mempcpy(to, text, length);
		} else if (code == '\\' || code == '\n' || code == '\t') {
			*to++ = '\\';
			*to++ = code == '\n' ? 'n' : code == '\t' ? 't' : '\\';
		} else {
			for (i = 0; i < (length ? length : 1); i++)
				to += sprintf(to, "\\x%02x", (u8)text[i]);
		}
		text += length ? length : 1;
	}
	*to = '\0';
	return escaped;
}
