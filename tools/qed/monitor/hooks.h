/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The program that is told what happens: one at a time, in order.
 */

#ifndef MONITOR_HOOKS_H
#define MONITOR_HOOKS_H

#include <stdbool.h>
#include <sys/types.h>

#include "../common.h"

/* In milliseconds: then it is killed */
#define HOOKS_TIMEOUT	60000

/* Which program that is, "" if there is none */
void hooks_configure(const char *path);

/* Run it, when those before have ended. Too many that wait are dropped, and that is logged. */
void hooks_tell(const char *event, const char *name, const char *text);

/* Start the next one, end one that takes too long. Returns when to look again, or ~0. */
u64 hooks_run(u64 now);

/* A process has ended: was it ours? */
bool hooks_ended(pid_t pid, int status);

#endif /* MONITOR_HOOKS_H */
