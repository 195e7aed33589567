/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Programs that are run beside.
 */

#ifndef MONITOR_CHILD_H
#define MONITOR_CHILD_H

#include <sys/types.h>

/* What posix_spawn(3) has to know, before it is needed: 0 or a negative error number */
int child_init(void);

/**
 * child_start() - run a program, and do not wait for it
 * @argv: its path, or its name if it is to be searched, and its arguments; NULL at the end
 *
 * It has a process group of its own, and what it prints goes to the log.
 * Return: its number, or a negative error number.
 */
pid_t child_start(const char *const argv[]);

/* How it ended, as text for the log; "" if it succeeded */
const char *child_failure(int status);

#endif /* MONITOR_CHILD_H */
