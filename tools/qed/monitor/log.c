// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is logged, see log.h.
 */

#include <ctype.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"

#define LINE	1024

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static unsigned long lost, told;
static bool with_priority;

void log_init(void)
{
	with_priority = getenv("JOURNAL_STREAM");
}

unsigned long log_lost(void)
{
	return __atomic_load_n(&lost, __ATOMIC_RELAXED);
}

/* With room for one line there is no wait: a pipe has PIPE_BUF, a socket more. */
static void put(const char *text, int length)
{
	struct pollfd fd = { .fd = STDERR_FILENO, .events = POLLOUT };

	if (poll(&fd, 1, 0) != 1 || !(fd.revents & POLLOUT) ||
	    write(STDERR_FILENO, text, length) != length)
		__atomic_add_fetch(&lost, 1, __ATOMIC_RELAXED);
}

/* A line, whatever the names in it are. Caller holds the mutex. */
static void put_line(int priority, const char *text)
{
	char line[LINE + 8];
	int length, i;

	length = snprintf(line, sizeof(line), "<%d>%s", priority, text);
	for (i = 0; i < length; i++)
		if (iscntrl((unsigned char)line[i]))
			line[i] = '?';
	line[length++] = '\n';
	i = with_priority ? 0 : strlen("<0>");
	put(line + i, length - i);
}

/* Caller holds the mutex. */
static void tell_lost(void)
{
	unsigned long now = log_lost();
	char text[LINE];

	if (now == told)
		return;
	snprintf(text, sizeof(text), "%lu lines of the log are lost", now - told);
	put_line(LOG_WARNING, text);
	if (log_lost() == now)
		told = now;
}

void log_line(int priority, const char *format, ...)
{
	char text[LINE];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	pthread_mutex_lock(&mutex);
	tell_lost();
	put_line(priority, text);
	pthread_mutex_unlock(&mutex);
}
