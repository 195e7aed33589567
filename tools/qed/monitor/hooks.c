// SPDX-License-Identifier: GPL-2.0-only
/*
 * The program that is told what happens, see hooks.h.
 */

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "child.h"
#include "control.h"
#include "hooks.h"
#include "log.h"

#define QUEUE	64
#define EVENT	24
#define TEXT	512

struct message {
	char event[EVENT], name[CONTROL_NAME], text[TEXT];
};

static char program[PATH_MAX];
static struct message queue[QUEUE];
static unsigned int first, number;
static pid_t running;
static u64 killed_at;

void hooks_configure(const char *path)
{
	snprintf(program, sizeof(program), "%s", path);
}

void hooks_tell(const char *event, const char *name, const char *text)
{
	struct message *message = &queue[(first + number) % QUEUE];

	if (!*program)
		return;
	if (number == QUEUE) {
		log_line(LOG_WARNING, "%s: the hook is not told of %s: %d others wait", name, event,
			 QUEUE);
		return;
	}
	snprintf(message->event, sizeof(message->event), "%s", event);
	snprintf(message->name, sizeof(message->name), "%s", name);
	snprintf(message->text, sizeof(message->text), "%s", text);
	number++;
}

static void start(u64 now)
{
	struct message *message = &queue[first];
	const char * const argv[] = { program, message->event, message->name, message->text, NULL };

	first = (first + 1) % QUEUE;
	number--;
	if (!*program)
		return;
	running = child_start(argv);
	killed_at = now + HOOKS_TIMEOUT;
	if (running > 0)
		return;
	log_line(LOG_ERR, "%s: the hook %s cannot be run: %s", message->name, program,
		 strerror(-running));
	running = 0;
}

u64 hooks_run(u64 now)
{
	while (!running && number)
		start(now);
	if (!running)
		return UINT64_MAX;
	if (now < killed_at)
		return killed_at;
	log_line(LOG_ERR, "the hook %s takes too long, and is killed", program);
	kill(-running, SIGKILL);
	killed_at = now + HOOKS_TIMEOUT;
	return killed_at;
}

bool hooks_ended(pid_t pid, int status)
{
	const char *why = child_failure(status);

	if (pid != running)
		return false;
	running = 0;
	if (*why)
		log_line(LOG_WARNING, "the hook %s: %s", program, why);
	return true;
}
