/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * File systems of a guest that wait while there is a snapshot, by virsh(1) and the guest's agent.
 */

#ifndef QEDSETUP_FREEZE_H
#define QEDSETUP_FREEZE_H

#include <stdbool.h>
#include <sys/types.h>

/**
 * struct freeze - a guest
 * @domain: its name, or NULL: there is none
 * @guard: the process that thaws it
 * @fd: until this is closed, by us or because we have been killed
 * @frozen: it is
 */
struct freeze {
	const char *domain;
	pid_t guard;
	int fd;
	bool frozen;
};

/**
 * freeze_begin() - freeze the file systems of a guest
 * @freeze: the result, to be ended in any case
 * @domain: its name, or NULL: there is nothing to do
 *
 * Return: 0, or what failed, which is noted.
 */
int freeze_begin(struct freeze *freeze, const char *domain);

/* Thaw them. If that fails the user is warned: all else has been done. */
void freeze_end(struct freeze *freeze);

#endif /* QEDSETUP_FREEZE_H */
