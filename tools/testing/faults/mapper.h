/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Device mapper, as far as the tests need it. There is no udev. All but
 * mapper_init() and mapper_status() return whether it has worked, without a word;
 * errno says why not.
 */

#ifndef FAULTS_MAPPER_H
#define FAULTS_MAPPER_H

#include <libdevmapper.h>
#include <stdbool.h>
#include <stdint.h>

void mapper_init(void);

/* DM_DEVICE_SUSPEND, _RESUME, _REMOVE, ... of a device */
bool mapper_simple(int type, const char *name);
bool mapper_message(const char *name, const char *text);

/* DM_DEVICE_CREATE or _RELOAD, with a table of one target */
bool mapper_load(const char *name, int type, uint64_t nr, const char *target,
		 const char *parameters);

/* The status of the only target, to be freed; NULL if it fails */
char *mapper_status(const char *name);

#endif /* FAULTS_MAPPER_H */
