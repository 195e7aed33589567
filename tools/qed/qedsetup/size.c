// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sizes as people write them, see size.h.
 */

#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "size.h"

static const char units[] = "KMGTPE";

/* More digits than this make no difference to any unit */
#define MAX_DIGITS	18

/* What the unit stands for; 0 if it is none */
static u64 unit_bytes(const char *unit)
{
	const char *letter = *unit ? strchr(units, toupper((unsigned char)*unit)) : NULL;
	u64 base = 1024, bytes = 1;
	const char *c;

	if (!*unit || !strcasecmp(unit, "b"))
		return 1;
	if (!letter)
		return 0;
	if (!strcasecmp(unit + 1, "b"))
		base = 1000;
	else if (unit[1] && strcasecmp(unit + 1, "ib"))
		return 0;
	for (c = units; c <= letter; c++)
		bytes *= base;
	return bytes;
}

bool size_parse(const char *text, u64 *size)
{
	unsigned __int128 number = 0, scale = 1;
	unsigned int digits = 0;
	bool point = false;
	u64 unit;

	for (; isdigit((unsigned char)*text) || (*text == '.' && !point && digits); text++) {
		if (*text == '.') {
			point = true;
			continue;
		}
		number = number * 10 + (*text - '0');
		scale *= point ? 10 : 1;
		if (++digits > MAX_DIGITS + 1)
			return false;
	}
	while (*text == ' ')
		text++;
	unit = unit_bytes(text);
	if (!digits || !unit || number * unit % scale || number * unit / scale > INT64_MAX)
		return false;
	*size = number * unit / scale;
	return true;
}

const char *size_text(u64 size, char *text, size_t length)
{
	unsigned int shift = size ? (63 - __builtin_clzll(size)) / 10 * 10 : 0;
	u64 tenths;

	if (!shift) {
		snprintf(text, length, "%llu bytes", size);
		return text;
	}
	tenths = ((unsigned __int128)size * 10) >> shift;
	if (tenths % 10)
		snprintf(text, length, "%llu.%llu %ciB", tenths / 10, tenths % 10,
			 units[shift / 10 - 1]);
	else
		snprintf(text, length, "%llu %ciB", tenths / 10, units[shift / 10 - 1]);
	return text;
}
