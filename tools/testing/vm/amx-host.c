// SPDX-License-Identifier: GPL-2.0-only
/*
 * amx-host - run User-Mode Linux as if the host's processors had AMX
 *
 * Usage: amx-host [--refuse] PROGRAM [ARG...]
 *
 * There the registers of a process are 11,008 bytes, the area of XSAVE, and a host
 * since 5.14 takes them only as a whole: PTRACE_SETREGSET of less is EFAULT. PROGRAM's
 * calls of ptrace get these answers. What is beyond the registers of the machine that
 * this runs on reads as zeroes, as that of AMX does until a process uses it. With
 * --refuse the host takes no registers at all.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define AMX_SIZE 11008
#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

static pid_t pid;
static bool refuse;

static void die(const char *what)
{
	fprintf(stderr, "amx-host: %s: %s\n", what, strerror(errno));
	exit(125);
}

static void check(long result, const char *what)
{
	if (result < 0)
		die(what);
}

/* An argument of a system call; its upper half is of no interest here */
#define LOAD(field) \
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define UNLESS(value, skip) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, skip)

/* Be stopped at each ptrace(PTRACE_GETREGSET or _SETREGSET, ..., NT_X86_XSTATE, ...) */
static void be_traced(void)
{
	struct sock_filter filter[] = {
		LOAD(arch),
		UNLESS(AUDIT_ARCH_X86_64, 8),
		LOAD(nr),
		UNLESS(SYS_ptrace, 6),
		LOAD(args[2]),
		UNLESS(NT_X86_XSTATE, 4),
		LOAD(args[0]),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PTRACE_GETREGSET, 1, 0),
		UNLESS(PTRACE_SETREGSET, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { ARRAY_SIZE(filter), filter };

	check(ptrace(PTRACE_TRACEME, 0, 0, 0), "PTRACE_TRACEME");
	raise(SIGSTOP);
	check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS");
	check(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), "PR_SET_SECCOMP");
}

/* Memory of the program, or of a process that shares it */
static void get(uint64_t there, void *here, size_t len)
{
	struct iovec ours = { here, len }, theirs = { (void *)there, len };

	if (process_vm_readv(pid, &ours, 1, &theirs, 1, 0) != (ssize_t)len)
		die("process_vm_readv");
}

static void put(uint64_t there, const void *here, size_t len)
{
	struct iovec ours = { (void *)here, len }, theirs = { (void *)there, len };

	if (process_vm_writev(pid, &ours, 1, &theirs, 1, 0) != (ssize_t)len)
		die("process_vm_writev");
}

/* The program has asked for registers; wait for what it gets, and add the rest */
static void answer_get(uint64_t address)
{
	static const char zeroes[AMX_SIZE];
	struct iovec wanted, got;
	int status;

	get(address, &wanted, sizeof(wanted));
	check(ptrace(PTRACE_SYSCALL, pid, 0, 0), "PTRACE_SYSCALL");
	check(waitpid(pid, &status, 0), "waitpid");
	get(address, &got, sizeof(got));
	if (wanted.iov_len > AMX_SIZE)
		wanted.iov_len = AMX_SIZE;
	if (got.iov_len < wanted.iov_len)
		put((uint64_t)got.iov_base + got.iov_len, zeroes,
		    wanted.iov_len - got.iov_len);
	put(address, &wanted, sizeof(wanted));
}

/* The program is about to set registers: not if it is not all of them */
static void answer_set(uint64_t address, struct user_regs_struct *regs)
{
	struct iovec iov;

	get(address, &iov, sizeof(iov));
	if (iov.iov_len >= AMX_SIZE && !refuse)
		return;
	regs->orig_rax = -1;
	regs->rax = -EFAULT;
	check(ptrace(PTRACE_SETREGS, pid, 0, regs), "PTRACE_SETREGS");
}

static void answer(void)
{
	struct user_regs_struct regs;

	check(ptrace(PTRACE_GETREGS, pid, 0, &regs), "PTRACE_GETREGS");
	if (regs.rdi == PTRACE_GETREGSET)
		answer_get(regs.r10);
	else
		answer_set(regs.r10, &regs);
}

/* Returns what wait() says of the program's end */
static int trace(void)
{
	int status, signal;

	check(waitpid(pid, &status, 0), "waitpid");
	check(ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_EXITKILL |
		     PTRACE_O_TRACESECCOMP | PTRACE_O_TRACEEXEC), "PTRACE_SETOPTIONS");
	for (signal = 0;; ) {
		check(ptrace(PTRACE_CONT, pid, 0, signal), "PTRACE_CONT");
		check(waitpid(pid, &status, 0), "waitpid");
		if (!WIFSTOPPED(status))
			return status;
		signal = status >> 16 ? 0 : WSTOPSIG(status);
		if (status >> 16 == PTRACE_EVENT_SECCOMP)
			answer();
	}
}

int main(int argc, char **argv)
{
	int status;

	refuse = argc > 1 && !strcmp(argv[1], "--refuse");
	argv += 1 + refuse;
	if (argc < 2 + refuse) {
		fprintf(stderr, "usage: amx-host [--refuse] PROGRAM [ARG...]\n");
		return 2;
	}
	pid = fork();
	check(pid, "fork");
	if (!pid) {
		be_traced();
		execvp(argv[0], argv);
		die(argv[0]);
	}
	status = trace();
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
