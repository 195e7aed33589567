// SPDX-License-Identifier: GPL-2.0-only
/*
 * Device mapper, see dm.h.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <libdevmapper.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "dm.h"
#include "fail.h"
#include "kmsg.h"

/* Of what libdevmapper logs: worse than a warning */
#define LOG_ERROR	3

static char logged[1024];

static void take_log(int level, const char *file, int line, int error, const char *format, ...)
	__printf(5, 6);

/* The first error is what the others come from. */
static void take_log(int level, const char *file, int line, int error, const char *format, ...)
{
	va_list args;

	(void)file;
	(void)line;
	(void)error;
	if ((level & 7) > LOG_ERROR || *logged)
		return;
	va_start(args, format);
	vsnprintf(logged, sizeof(logged), format, args);
	va_end(args);
}

struct dm_task *dm_new_task(int type, const char *name)
{
	struct dm_task *task;

	dm_log_with_errno_init(take_log);
	*logged = '\0';
	task = dm_task_create(type);
	if (task && name && !dm_task_set_name(task, name)) {
		dm_task_destroy(task);
		task = NULL;
	}
	return task;
}

static int no_task(const char *name)
{
	return fail(EINVAL, "%s: %s", name ? name : "device mapper",
		    *logged ? logged : strerror(ENOMEM));
}

int dm_run_task(struct dm_task *task)
{
	int error;

	if (dm_task_run(task))
		return 0;
	error = dm_task_get_errno(task);
	return error ? -error : -EIO;
}

/*----------------------------------------------------------------
 * What there is
 *----------------------------------------------------------------
 */

int dm_check(void)
{
	struct dm_task *task;
	int r;

	if (geteuid() && access("/dev/mapper/control", R_OK | W_OK))
		return fail(EPERM, "only root may do this: /dev/mapper/control: %s",
			    strerror(errno));
	task = dm_new_task(DM_DEVICE_VERSION, NULL);
	r = task ? dm_run_task(task) : -ENOMEM;
	if (task)
		dm_task_destroy(task);
	if (r == -EPERM || r == -EACCES)
		return fail(EPERM, "only root may do this");
	return r ? fail(ENODEV, "the kernel has no device mapper: modprobe dm-mod") : 0;
}

int dm_check_target(void)
{
	struct dm_task *task = dm_new_task(DM_DEVICE_GET_TARGET_VERSION, DM_TARGET);
	int r = task ? dm_run_task(task) : -ENOMEM;

	if (task)
		dm_task_destroy(task);
	if (r == -ENOMEM)
		return fail_as(r, "device mapper");
	if (!r)
		return 0;
	return fail_advise(ENODEV, "modprobe dm-qed, or see README.md for how to install it",
			   "the kernel has no dm-qed");
}

static void take_info(const struct dm_info *info, const char *uuid, struct dm_state *state)
{
	state->exists = info->exists;
	state->live = info->live_table;
	state->inactive = info->inactive_table;
	state->suspended = info->suspended;
	state->read_only = info->read_only;
	state->deferred = info->deferred_remove;
	state->open_count = info->open_count;
	state->device = makedev(info->major, info->minor);
	snprintf(state->uuid, sizeof(state->uuid), "%s", uuid ? uuid : "");
}

int dm_find(const char *name, struct dm_state *state)
{
	struct dm_task *task = dm_new_task(DM_DEVICE_INFO, name);
	struct dm_info info;
	int r;

	memset(state, 0, sizeof(*state));
	if (!task)
		return no_task(name);
	r = dm_run_task(task);
	if (!r && !dm_task_get_info(task, &info))
		r = -EIO;
	if (!r && info.exists)
		take_info(&info, dm_task_get_uuid(task), state);
	dm_task_destroy(task);
	return r == -ENXIO ? 0 : fail_as(r, name);
}

int dm_get(const char *name, bool table, u64 *sectors, char **params)
{
	struct dm_task *task = dm_new_task(table ? DM_DEVICE_TABLE : DM_DEVICE_STATUS, name);
	char *type = NULL, *text = NULL;
	uint64_t start, length;
	void *next;
	int r;

	if (!task)
		return no_task(name);
	dm_task_no_flush(task);
	r = dm_run_task(task);
	if (r)
		goto out;
	next = dm_get_next_target(task, NULL, &start, &length, &type, &text);
	if (next || !type || strcmp(type, DM_TARGET)) {
		r = fail(ENODEV, "%s: is no device of dm-qed", name);
		goto out;
	}
	*sectors = length;
	*params = strdup(text);
	r = *params ? 0 : -ENOMEM;
out:
	dm_task_destroy(task);
	return fail_as(r, name);
}

static int copy_names(struct dm_names *list, char ***names)
{
	char **all = NULL, **more;
	size_t nr = 0;

	for (;; list = (struct dm_names *)((char *)list + list->next)) {
		more = reallocarray(all, nr + 2, sizeof(*all));
		if (!more)
			return -ENOMEM;
		all = more;
		all[nr] = list->dev ? strdup(list->name) : NULL;
		all[++nr] = NULL;
		if (!list->dev || !list->next)
			break;
	}
	*names = all;
	return 0;
}

int dm_names(char ***names)
{
	struct dm_task *task = dm_new_task(DM_DEVICE_LIST, NULL);
	struct dm_names *list;
	int r;

	if (!task)
		return no_task(NULL);
	r = dm_run_task(task);
	list = r ? NULL : dm_task_get_names(task);
	if (!r)
		r = list ? copy_names(list, names) : -EIO;
	dm_task_destroy(task);
	return fail_as(r, "device mapper");
}

char *dm_path(const char *name)
{
	struct dm_task *task = dm_new_task(DM_DEVICE_INFO, name);
	char *mangled = NULL, *path = NULL;

	/* the name is that of the answer, which there is without a device as well */
	if (task && !dm_run_task(task))
		mangled = dm_task_get_name_mangled(task);
	if (asprintf(&path, "%s/%s", dm_dir(), mangled ? mangled : name) < 0)
		path = NULL;
	dm_free(mangled);
	if (task)
		dm_task_destroy(task);
	return path;
}

/*----------------------------------------------------------------
 * Changes
 *----------------------------------------------------------------
 */

bool dm_set_cookie(struct dm_task *task, u32 *cookie, bool hidden)
{
	const uint16_t flags = DM_UDEV_DISABLE_SUBSYSTEM_RULES_FLAG |
			       DM_UDEV_DISABLE_DISK_RULES_FLAG |
			       DM_UDEV_DISABLE_OTHER_RULES_FLAG;

	return dm_task_set_cookie(task, cookie, hidden ? flags : 0);
}

/* Run what makes udev do something, and wait for that */
static int run_with_udev(struct dm_task *task, bool hidden)
{
	uint32_t cookie = 0;
	int r;

	if (!dm_set_cookie(task, &cookie, hidden))
		return -EIO;
	r = dm_run_task(task);
	dm_udev_wait(cookie);
	return r;
}

static int create(const char *name, const char *uuid)
{
	struct dm_task *task = dm_new_task(DM_DEVICE_CREATE, name);
	int r;

	if (!task)
		return no_task(name);
	r = dm_task_set_uuid(task, uuid) && dm_task_set_add_node(task, DM_ADD_NODE_ON_RESUME) ?
	    dm_run_task(task) : -EINVAL;
	dm_task_destroy(task);
	if (r == -EBUSY)
		return fail(EEXIST, "%s: there is such a device", name);
	return fail_as(r, name);
}

/* The kernel says only in its log why it refuses a table, or to activate it. */
int dm_say_refused(int r, const char *name, const char *what)
{
	const char *said = kmsg_said();

	return fail(-r, "%s: %s: %s%s%s", name, what, strerror(-r), *said ? ": " : "", said);
}

int dm_load(const char *name, u64 sectors, const char *params, bool read_only)
{
	struct dm_task *task = dm_new_task(DM_DEVICE_RELOAD, name);
	int r;

	if (!task)
		return no_task(name);
	kmsg_mark();
	r = dm_task_add_target(task, 0, sectors, DM_TARGET, params) &&
	    (!read_only || dm_task_set_ro(task)) ? dm_run_task(task) : -ENOMEM;
	dm_task_destroy(task);
	return r ? dm_say_refused(r, name, "the table is refused") : 0;
}

int dm_resume(const char *name, bool hidden)
{
	struct dm_task *task = dm_new_task(DM_DEVICE_RESUME, name);
	int r;

	if (!task)
		return no_task(name);
	r = dm_task_set_add_node(task, DM_ADD_NODE_ON_RESUME) ? run_with_udev(task, hidden) : -EIO;
	dm_task_destroy(task);
	return r ? dm_say_refused(r, name, "cannot be activated") : 0;
}

int dm_clear(const char *name)
{
	struct dm_task *task = dm_new_task(DM_DEVICE_CLEAR, name);
	int r;

	if (!task)
		return no_task(name);
	r = dm_run_task(task);
	dm_task_destroy(task);
	return fail_as(r, name);
}

int dm_make(const char *name, const char *uuid, u64 sectors, const char *params, bool read_only,
	    bool hidden)
{
	int r = create(name, uuid);

	if (r)
		return r;
	r = dm_load(name, sectors, params, read_only);
	if (!r)
		r = dm_resume(name, hidden);
	if (r)
		dm_remove(name, false);
	return r;
}

int dm_replace(const char *name, u64 sectors, const char *params, bool read_only, bool hidden)
{
	int r = dm_load(name, sectors, params, read_only);

	return r ? r : dm_resume(name, hidden);
}

void dm_update_node(const char *name)
{
	struct dm_task *task = dm_new_task(DM_DEVICE_MKNODES, name);

	if (!task)
		return;
	dm_run_task(task);
	dm_task_destroy(task);
	dm_task_update_nodes();
}

int dm_remove(const char *name, bool deferred)
{
	struct dm_task *task = dm_new_task(DM_DEVICE_REMOVE, name);
	int r;

	if (!task)
		return no_task(name);
	/* who only had a look, as udev does, is gone soon */
	if (deferred ? !dm_task_deferred_remove(task) : !dm_task_retry_remove(task))
		r = -EIO;
	else
		r = run_with_udev(task, false);
	dm_task_destroy(task);
	/* the node goes away in any case, the device does not */
	if (!r && deferred)
		dm_update_node(name);
	return r == -EBUSY ? r : fail_as(r, name);
}

int dm_send(const char *name, const char *message)
{
	struct dm_task *task = dm_new_task(DM_DEVICE_TARGET_MSG, name);
	int r;

	if (!task)
		return no_task(name);
	kmsg_mark();
	r = dm_task_set_sector(task, 0) && dm_task_set_message(task, message) ? dm_run_task(task) :
										 -ENOMEM;
	dm_task_destroy(task);
	return r ? dm_say_refused(r, name, message) : 0;
}

int dm_keep(const char *name)
{
	int r = dm_send(name, "@cancel_deferred_remove");

	if (!r)
		dm_update_node(name);
	return r;
}
