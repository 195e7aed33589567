// SPDX-License-Identifier: GPL-2.0
/*
 * killer - kill a program at a system call, or let that fail
 *
 * Usage: killer [-e] N PROGRAM [ARGUMENT...]
 *	  killer -l FILE PROGRAM [ARGUMENT...]
 *
 * Kills it before the Nth of those of its system calls that may change something, from 1; -e: that
 * one is left out, and fails with EIO. -l: writes all of them into a file, a line with its number
 * each, and its second and third argument.
 * Exit status: 137 if it was killed, else that of the program, or 126 if that cannot be run; with
 * -e 125 if there is no Nth.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <linux/dm-ioctl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

/* Those that only look, and are left out */
static const long harmless[] = {
	SYS_access, SYS_brk, SYS_close, SYS_execve, SYS_exit_group, SYS_fstat, SYS_getdents64,
	SYS_getrandom, SYS_lseek,
	SYS_mmap, SYS_mprotect, SYS_munmap, SYS_newfstatat, SYS_pread64, SYS_read, SYS_readlink,
	SYS_stat, SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_getpid, SYS_uname, SYS_geteuid,
	SYS_faccessat, SYS_faccessat2, SYS_fadvise64, SYS_readlinkat, SYS_lstat, SYS_futex,
	SYS_getcwd, SYS_prlimit64, SYS_arch_prctl, SYS_set_tid_address, SYS_set_robust_list,
	SYS_rseq, SYS_madvise, SYS_sigaltstack, SYS_gettid, SYS_sched_getaffinity,
	SYS_clock_nanosleep, SYS_statfs, SYS_fstatfs, SYS_getuid, SYS_umask,
};

/* The same of ioctl() */
static const unsigned long harmless_ioctls[] = {
	BLKGETSIZE64, BLKSSZGET, DM_DEV_STATUS, DM_GET_TARGET_VERSION, DM_LIST_DEVICES,
	DM_LIST_VERSIONS, DM_TABLE_STATUS, DM_VERSION, LOOP_GET_STATUS64,
};

/* O_WRONLY, O_RDWR, O_CREAT */
#define O_CHANGES	0103

static bool is_harmless_ioctl(unsigned long request)
{
	unsigned int i;

	for (i = 0; i < sizeof(harmless_ioctls) / sizeof(*harmless_ioctls); i++)
		if (harmless_ioctls[i] == request)
			return true;
	return false;
}

/* A system call that begins: its number, and its second and third argument */
struct call {
	long nr;
	unsigned long second, third;
};

/* User-Mode Linux has no PTRACE_GET_SYSCALL_INFO */
static bool get_call(pid_t pid, struct call *call)
{
#ifdef __x86_64__
	struct user_regs_struct regs;

	if (ptrace(PTRACE_GETREGS, pid, NULL, &regs))
		return false;
	*call = (struct call){ .nr = regs.orig_rax, .second = regs.rsi, .third = regs.rdx };
#else
	struct __ptrace_syscall_info info;

	if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info) <= 0)
		return false;
	*call = (struct call){ .nr = info.entry.nr, .second = info.entry.args[1],
			       .third = info.entry.args[2] };
#endif
	return true;
}

static bool may_change(const struct call *call)
{
	unsigned int i;

	for (i = 0; i < sizeof(harmless) / sizeof(*harmless); i++)
		if (harmless[i] == call->nr)
			return false;
	if (call->nr == SYS_ioctl && is_harmless_ioctl(call->second))
		return false;
	/* to open something that is only read */
	return call->nr != SYS_openat || call->third & O_CHANGES;
}

#ifdef __x86_64__
/* A call that begins becomes none; and at its end there is a result. */
static void leave_out(pid_t pid)
{
	struct user_regs_struct regs;

	if (ptrace(PTRACE_GETREGS, pid, NULL, &regs))
		return;
	regs.orig_rax = -1;
	ptrace(PTRACE_SETREGS, pid, NULL, &regs);
}

static void set_result(pid_t pid, long result)
{
	struct user_regs_struct regs;

	if (ptrace(PTRACE_GETREGS, pid, NULL, &regs))
		return;
	regs.rax = result;
	ptrace(PTRACE_SETREGS, pid, NULL, &regs);
}
#else
static void leave_out(pid_t pid)
{
	fprintf(stderr, "killer: -e is for x86 only\n");
	kill(pid, SIGKILL);
}

static void set_result(pid_t pid, long result)
{
}
#endif

static int run(char **argv)
{
	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	raise(SIGSTOP);
	execvp(*argv, argv);
	return 126;
}

/* What happens to a program, and where it is */
struct task {
	long at;		/* the call that it is killed at, or that fails */
	bool fails;
	FILE *list;
	long calls;
	bool within, left_out;
};

/* It stops at the beginning and at the end of each call. */
static void stopped(pid_t pid, struct task *task)
{
	struct call call;

	task->within = !task->within;
	if (!task->within && task->left_out) {
		set_result(pid, -EIO);
		task->left_out = false;
	}
	if (!task->within || !get_call(pid, &call))
		return;
	if (task->list)
		fprintf(task->list, "%ld %lx %lx\n", call.nr, call.second, call.third);
	if (!may_change(&call) || ++task->calls != task->at)
		return;
	task->left_out = task->fails;
	if (task->fails)
		leave_out(pid);
	else
		kill(pid, SIGKILL);
}

/* Return: the exit status of the program, or 137 */
static int follow(pid_t pid, struct task *task)
{
	int status, sent = 0;

	for (;;) {
		if (ptrace(PTRACE_SYSCALL, pid, NULL, (void *)(long)sent) && errno != ESRCH)
			return 126;
		if (waitpid(pid, &status, 0) < 0)
			return 126;
		if (WIFEXITED(status))
			return WEXITSTATUS(status);
		if (WIFSIGNALED(status))
			return 128 + WTERMSIG(status);
		sent = WSTOPSIG(status) == (SIGTRAP | 0x80) || WSTOPSIG(status) == SIGTRAP ? 0 :
		       WSTOPSIG(status);
		if (WSTOPSIG(status) == (SIGTRAP | 0x80))
			stopped(pid, task);
	}
}

static int trace(struct task *task, char **argv)
{
	pid_t pid = fork();
	int status;

	if (!pid)
		_exit(run(argv));
	if (pid < 0 || waitpid(pid, &status, 0) < 0 ||
	    ptrace(PTRACE_SETOPTIONS, pid, NULL,
		   (void *)(long)(PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL)))
		return 126;
	status = follow(pid, task);
	return task->fails && task->calls < task->at ? 125 : status;
}

static int list(const char *path, char **argv)
{
	struct task task = { .list = fopen(path, "we") };
	int status;

	if (!task.list)
		return 126;
	status = trace(&task, argv);
	return fclose(task.list) ? 126 : status;
}

int main(int argc, char **argv)
{
	struct task task = { .fails = argc > 1 && !strcmp(argv[1], "-e") };

	if (argc > 3 && !strcmp(argv[1], "-l"))
		return list(argv[2], argv + 3);
	argv += 1 + task.fails;
	task.at = *argv ? atol(*argv) : 0;
	if (task.at < 1 || !argv[1]) {
		fprintf(stderr, "Usage: killer [-e] N PROGRAM... | killer -l FILE PROGRAM...\n");
		return 126;
	}
	return trace(&task, argv + 1);
}
