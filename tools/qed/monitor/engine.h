/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Looks at all devices, and gives them space.
 *
 * It knows no clock: who calls it tells the time, in milliseconds.
 */

#ifndef MONITOR_ENGINE_H
#define MONITOR_ENGINE_H

#include <sys/types.h>

#include "config.h"

/* From now on this configuration holds. */
void engine_configure(const struct config *config);

/**
 * engine_pass() - look at all devices
 * @now: the time
 *
 * After an event, and when the time has come that this returns.
 * Return: when to look again.
 */
u64 engine_pass(u64 now);

/* A process has ended: was it one that makes an image device larger? */
bool engine_ended(pid_t pid, int status, u64 now);

#endif /* MONITOR_ENGINE_H */
