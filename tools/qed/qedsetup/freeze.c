// SPDX-License-Identifier: GPL-2.0-only
/*
 * File systems of a guest, see freeze.h.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fail.h"
#include "freeze.h"

#define PROGRAM	"virsh"
#define FREEZE	"domfsfreeze"
#define THAW	"domfsthaw"

/* Of a process that has ended: 0 or a negative error number */
static int result_of(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) && !WEXITSTATUS(status) ? 0 : -EIO;
}

/* It says on standard error what it has to say. */
static int run_freeze(const char *domain)
{
	char *const argv[] = { PROGRAM, FREEZE, "--domain", (char *)domain, NULL };
	posix_spawn_file_actions_t actions;
	pid_t pid;
	int r;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
	r = -posix_spawnp(&pid, PROGRAM, &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	return r ? r : result_of(pid);
}

/*
 * The guard: whatever ends us closes the pipe, and what would end it, too, it does not mind. It
 * keeps nothing else open, such as locks.
 */
static void guard(const char *domain, int fd)
{
	char *const argv[] = { PROGRAM, THAW, "--domain", (char *)domain, NULL };
	char byte;

	setsid();
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	if (dup2(fd, STDIN_FILENO) < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
		_exit(127);
	close_range(STDERR_FILENO + 1, ~0U, 0);
	while (read(STDIN_FILENO, &byte, 1) < 0 && errno == EINTR)
		;
	execvp(PROGRAM, argv);
	_exit(127);
}

static int start_guard(struct freeze *freeze)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC))
		return -errno;
	freeze->guard = fork();
	if (!freeze->guard)
		guard(freeze->domain, (close(fds[1]), fds[0]));
	close(fds[0]);
	if (freeze->guard < 0) {
		close(fds[1]);
		return -errno;
	}
	freeze->fd = fds[1];
	return 0;
}

int freeze_begin(struct freeze *freeze, const char *domain)
{
	int r;

	*freeze = (struct freeze){ .domain = domain };
	if (!domain)
		return 0;
	r = start_guard(freeze);
	if (r) {
		freeze->domain = NULL;
		return fail(-r, PROGRAM ": %s", strerror(-r));
	}
	r = run_freeze(domain);
	freeze->frozen = !r;
	if (!r)
		return 0;
	return fail_advise(-r, "does the guest run its agent?",
			   "%s: " PROGRAM " " FREEZE " failed: %s", domain, strerror(-r));
}

void freeze_end(struct freeze *freeze)
{
	if (!freeze->domain)
		return;
	close(freeze->fd);
	if (result_of(freeze->guard) && freeze->frozen)
		warn("%s: its file systems are frozen still: " PROGRAM " " THAW " %s",
		     freeze->domain, freeze->domain);
	freeze->domain = NULL;
}
