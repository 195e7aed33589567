/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Device mapper: what of it is needed here.
 *
 * Functions return 0 or a negative error number, and have noted what failed, unless said
 * otherwise.
 */

#ifndef QEDSETUP_DM_H
#define QEDSETUP_DM_H

#include <stdbool.h>
#include <sys/types.h>

#include "../common.h"

#define DM_UUID_SIZE	129
#define DM_TARGET	"qed"

/**
 * struct dm_state - a device
 * @exists: all else is unset if it does not
 * @live: it has a table
 * @inactive: one is loaded that is not in use yet
 * @suspended: it waits for a resume
 * @read_only: it cannot be written to
 * @deferred: it goes away with its last user
 * @open_count: how often it is open
 * @device: its number
 * @uuid: may be empty
 */
struct dm_state {
	bool exists, live, inactive, suspended, read_only, deferred;
	unsigned int open_count;
	dev_t device;
	char uuid[DM_UUID_SIZE];
};

/* May we, is there a device mapper, and does it have dm-qed? */
int dm_check(void);

/* Prepare to make devices: find out whether there is dm-qed. */
int dm_check_target(void);

int dm_find(const char *name, struct dm_state *state);

/**
 * dm_make() - make a device
 * @name: of it
 * @uuid: of it
 * @sectors: its size
 * @params: of the table
 * @read_only: it cannot be written to
 * @hidden: udev rules do not look at what it has
 *
 * If this fails there is no device. It may be killed at any time: then there is none, one
 * without a table, or all of it.
 * Return: 0 or what failed.
 */
int dm_make(const char *name, const char *uuid, u64 sectors, const char *params, bool read_only,
	    bool hidden);

/* Load a table for a device, which it gets when it is resumed */
int dm_load(const char *name, u64 sectors, const char *params, bool read_only);

/* Forget that */
int dm_clear(const char *name);

/* Let a device go on, with another table if one is loaded: then it is suspended before */
int dm_resume(const char *name, bool hidden);

/* Another table for a device, which it gets in one step */
int dm_replace(const char *name, u64 sectors, const char *params, bool read_only, bool hidden);

/* Remove a device, at once or when nobody uses it any more. -EBUSY is not noted. */
int dm_remove(const char *name, bool deferred);

/* Take back that it is removed later. */
int dm_keep(const char *name);

/*
 * See to it that there is a node if there is a device, and none otherwise: without udev that is
 * done by who makes and removes devices, and not if that is killed.
 */
void dm_update_node(const char *name);

int dm_send(const char *name, const char *message);

/**
 * dm_get() - table or status of a device
 * @name: of it
 * @table: the table; else the status, without a commit
 * @sectors: its size
 * @params: to be freed
 *
 * Return: 0, -ENODEV if it is not one target of dm-qed, or what failed.
 */
int dm_get(const char *name, bool table, u64 *sectors, char **params);

/* The names of all devices, NULL behind the last one; to be freed, each of them as well */
int dm_names(char ***names);

/* The path of a device's node, with the name as it is there; to be freed */
char *dm_path(const char *name);

/*----------------------------------------------------------------
 * For who has to prepare a call of libdevmapper
 *----------------------------------------------------------------
 */

struct dm_task;

/* A call, for a device unless @name is NULL; NULL if that fails, which is not noted */
struct dm_task *dm_new_task(int type, const char *name);

/* It will make udev do something: @cookie, 0 before, is for dm_udev_wait(). Does that work? */
bool dm_set_cookie(struct dm_task *task, u32 *cookie, bool hidden);

/* Not noted if it fails */
int dm_run_task(struct dm_task *task);

/* Note that the kernel has refused something, and what it has logged since kmsg_mark() */
int dm_say_refused(int r, const char *name, const char *what);

#endif /* QEDSETUP_DM_H */
