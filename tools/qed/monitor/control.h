/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Device mapper, by its ioctls: libdevmapper allocates memory for each of them, and does not
 * give away the descriptor that has to be polled.
 */

#ifndef MONITOR_CONTROL_H
#define MONITOR_CONTROL_H

#include <sys/types.h>

#include "../common.h"

#define CONTROL_NAME	128
#define CONTROL_UUID	129
#define CONTROL_PARAMS	8192

/**
 * control_open() - begin
 *
 * Return: a descriptor that can be read from after an event, or a negative error number.
 */
int control_open(void);

/* Events from here on count. Before devices are looked at: what comes meanwhile is not lost. */
int control_arm(void);

/**
 * control_list() - all devices
 * @each: called with each one, and its number
 *
 * It may use the other functions here only after this has returned.
 * Return: 0 or a negative error number.
 */
int control_list(void (*each)(const char *name, dev_t device));

/**
 * control_get() - table or status of a device of dm-qed
 * @device: its number
 * @table: the table; else the status, without a commit
 * @params: the result
 *
 * Return: 0, -ENODEV if it is no such device, or another negative error number.
 */
int control_get(dev_t device, bool table, char params[CONTROL_PARAMS]);

/* What any device of device mapper is called: 0 or a negative error number */
int control_name(dev_t device, char name[CONTROL_NAME], char uuid[CONTROL_UUID]);

/* A message for the target of a device: 0 or a negative error number */
int control_send(dev_t device, const char *message);

#endif /* MONITOR_CONTROL_H */
