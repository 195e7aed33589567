// SPDX-License-Identifier: GPL-2.0
/*
 * killer - kill a program at a system call
 *
 * Usage: killer N PROGRAM [ARGUMENT...]
 *
 * Kills it before the Nth of those of its system calls that may change something, from 1.
 * Exit status: 137 if it was killed, else that of the program, or 126 if that cannot be run.
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
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

/* Those that only look, and are left out */
static const long harmless[] = {
	SYS_access, SYS_brk, SYS_close, SYS_exit_group, SYS_fstat, SYS_getdents64,
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

static bool may_change(pid_t pid)
{
	struct call call;
	unsigned int i;

	if (!get_call(pid, &call))
		return false;
	for (i = 0; i < sizeof(harmless) / sizeof(*harmless); i++)
		if (harmless[i] == call.nr)
			return false;
	if (call.nr == SYS_ioctl && is_harmless_ioctl(call.second))
		return false;
	/* to open something that is only read */
	return call.nr != SYS_openat || call.third & O_CHANGES;
}

static int run(char **argv)
{
	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	raise(SIGSTOP);
	execvp(*argv, argv);
	return 126;
}

/* Return: the exit status of the program, or 137 */
static int follow(pid_t pid, long at)
{
	bool within = false;
	int status, sent = 0;
	long calls = 0;

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
		if (WSTOPSIG(status) != (SIGTRAP | 0x80))
			continue;
		/* it stops at the beginning and at the end of each */
		within = !within;
		if (within && may_change(pid) && ++calls == at)
			kill(pid, SIGKILL);
	}
}

int main(int argc, char **argv)
{
	long at = argc > 2 ? atol(argv[1]) : 0;
	int status;
	pid_t pid;

	if (at < 1) {
		fprintf(stderr, "Usage: killer N PROGRAM [ARGUMENT...]\n");
		return 126;
	}
	pid = fork();
	if (!pid)
		_exit(run(argv + 2));
	if (pid < 0 || waitpid(pid, &status, 0) < 0 ||
	    ptrace(PTRACE_SETOPTIONS, pid, NULL,
		   (void *)(long)(PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL)))
		return 126;
	return follow(pid, at);
}
