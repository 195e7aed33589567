// SPDX-License-Identifier: GPL-2.0-only
/*
 * Device mapper, see mapper.h.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mapper.h"

/* Most of what fails in the tests has to. */
static void quiet(int level, const char *file, int line, int error,
		  const char *format, ...)
{
	(void)level, (void)file, (void)line, (void)error, (void)format;
}

void mapper_init(void)
{
	dm_udev_set_sync_support(0);
	dm_log_with_errno_init(quiet);
}

static struct dm_task *task(int type, const char *name)
{
	struct dm_task *task = dm_task_create(type);

	if (task && !dm_task_set_name(task, name)) {
		dm_task_destroy(task);
		return NULL;
	}
	return task;
}

static bool finish(struct dm_task *task)
{
	bool ok = dm_task_run(task);
	int error = dm_task_get_errno(task);

	dm_task_destroy(task);
	dm_task_update_nodes();	/* of a new device, now */
	errno = error;
	return ok;
}

bool mapper_simple(int type, const char *name)
{
	struct dm_task *t = task(type, name);

	return t && finish(t);
}

bool mapper_message(const char *name, const char *text)
{
	struct dm_task *t = task(DM_DEVICE_TARGET_MSG, name);

	return t && dm_task_set_message(t, text) && finish(t);
}

bool mapper_load(const char *name, int type, uint64_t nr, const char *target,
		 const char *parameters)
{
	struct dm_task *t = task(type, name);

	return t && dm_task_add_target(t, 0, nr, target, parameters) &&
	       finish(t);
}

char *mapper_status(const char *name)
{
	struct dm_task *t = task(DM_DEVICE_STATUS, name);
	char *type, *parameters, *copy = NULL;
	uint64_t start, length;

	if (!t)
		return NULL;
	dm_task_no_flush(t);
	if (dm_task_run(t)) {
		dm_get_next_target(t, NULL, &start, &length, &type, &parameters);
		copy = parameters ? strdup(parameters) : NULL;
	}
	dm_task_destroy(t);
	return copy;
}
