// SPDX-License-Identifier: GPL-2.0-only
/*
 * What has failed, see fail.h.
 */

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../escape.h"
#include "fail.h"

static char message[8192];

int fail(int error, const char *format, ...)
{
	va_list args;

	if (!*message) {
		va_start(args, format);
		vsnprintf(message, sizeof(message), format, args);
		va_end(args);
	}
	return -error;
}

int fail_advise(int error, const char *advice, const char *format, ...)
{
	va_list args;
	int n;

	if (!*message) {
		va_start(args, format);
		n = vsnprintf(message, sizeof(message), format, args);
		va_end(args);
		if (n >= 0 && n < (int)sizeof(message))
			snprintf(message + n, sizeof(message) - n, ": %s", advice);
	}
	return -error;
}

int fail_as(int r, const char *what)
{
	return r < 0 ? fail(-r, "%s: %s", what, strerror(-r)) : r;
}

const char *failure(void)
{
	return message;
}

void forget_failure(void)
{
	*message = '\0';
}

void warn(const char *format, ...)
{
	char text[8192], *escaped;
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	escaped = qed_escape(text);
	fprintf(stderr, "qedsetup: warning: %s\n", escaped);
	free(escaped);
}

int exit_status(int r)
{
	switch (-r) {
	case 0:
		return 0;
	case EPERM:
	case EACCES:
		return EXIT_PERMISSION;
	case ENOMEM:
		return EXIT_MEMORY;
	case ENODEV:
	case ENXIO:
	case ENOTBLK:
	case EUCLEAN:
		return EXIT_DEVICE;
	case EEXIST:
	case EBUSY:
		return EXIT_BUSY;
	default:
		return EXIT_OTHER;
	}
}
