// SPDX-License-Identifier: GPL-2.0-only
/*
 * Programs that are run beside, see child.h.
 */

#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"

static posix_spawn_file_actions_t actions;
static posix_spawnattr_t attributes;

static int init_attributes(void)
{
	sigset_t none, all;
	int r = posix_spawnattr_init(&attributes);

	if (r)
		return -r;
	sigemptyset(&none);
	sigfillset(&all);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setsigdefault(&attributes, &all);
	posix_spawnattr_setpgroup(&attributes, 0);
	return -posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK |
					 POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
}

int child_init(void)
{
	int r = posix_spawn_file_actions_init(&actions);

	if (!r)
		r = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null",
						     O_RDONLY, 0);
	if (!r)
		r = posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
	return r ? -r : init_attributes();
}

pid_t child_start(const char *const argv[])
{
	pid_t pid;
	int r = posix_spawnp(&pid, argv[0], &actions, &attributes, (char *const *)argv, environ);

	return r ? -r : pid;
}

const char *child_failure(int status)
{
	static char text[64];

	*text = '\0';
	if (WIFSIGNALED(status))
		snprintf(text, sizeof(text), "it was ended by SIG%s",
			 sigabbrev_np(WTERMSIG(status)));
	else if (WEXITSTATUS(status))
		snprintf(text, sizeof(text), "its exit status is %d", WEXITSTATUS(status));
	return text;
}
