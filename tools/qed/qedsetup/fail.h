/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What has failed, as text for the user, and the exit status for it.
 */

#ifndef QEDSETUP_FAIL_H
#define QEDSETUP_FAIL_H

#include <errno.h>

/* The compiler checks the arguments, as of printf(). */
#define PRINTF_FORMAT(text, first)	(format(printf, text, first))
#define __printf(text, first)		__attribute__(PRINTF_FORMAT(text, first))

/* Exit status, as of cryptsetup(8) */
#define EXIT_OTHER	1	/* wrong parameters, and all else */
#define EXIT_PERMISSION	2
#define EXIT_MEMORY	3
#define EXIT_DEVICE	4	/* it is no such device, or image */
#define EXIT_BUSY	5	/* it exists, or is in use */

/**
 * fail() - note what has failed
 * @error: an error number, which decides about the exit status
 * @format: what has failed, as for printf()
 *
 * The first text counts: what fails later fails because of it.
 * Return: -@error.
 */
int fail(int error, const char *format, ...) __printf(2, 3);

/* The same, followed by what the user can do about it */
int fail_advise(int error, const char *advice, const char *format, ...) __printf(3, 4);

/* The text of fail() for an error that a function has returned, if it is not noted yet */
int fail_as(int r, const char *what);

/* What fail() has noted, "" if that is nothing; and forget it */
const char *failure(void);
void forget_failure(void);

/* Something that does not keep us from going on, to standard error */
void warn(const char *format, ...) __printf(1, 2);

int exit_status(int r);

#endif /* QEDSETUP_FAIL_H */
