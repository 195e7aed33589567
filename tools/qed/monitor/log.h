/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is logged, on standard error, with priorities if systemd(1) reads it.
 *
 * Nobody waits here, and nothing is allocated: while who reads the log does not, lines get
 * lost, and the next one that is read tells how many.
 */

#ifndef MONITOR_LOG_H
#define MONITOR_LOG_H

#include <syslog.h>

#include "../qedsetup/fail.h"

/* Find out who reads it. */
void log_init(void);

/* @priority: as of syslog(3), LOG_ERR to LOG_DEBUG */
void log_line(int priority, const char *format, ...) __printf(2, 3);

/* How many lines have been lost */
unsigned long log_lost(void);

#endif /* MONITOR_LOG_H */
