// SPDX-License-Identifier: GPL-2.0-only
/*
 * Other tables for devices in use, see swap.h.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <libdevmapper.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "dm.h"
#include "fail.h"
#include "kmsg.h"
#include "swap.h"

/* What libdevmapper takes for a call is far less; so is the stack. */
#define HEAP_RESERVE	4194304
#define STACK_RESERVE	131072

static sigset_t signals;

/*----------------------------------------------------------------
 * Before
 *----------------------------------------------------------------
 */

int swap_load(struct swap *swap)
{
	int r = dm_load(swap->name, swap->sectors, swap->new, false);

	swap->loaded = !r;
	return r;
}

/* Of these one runs, the other one does not: udev will not tell of it. */
static struct dm_task *new_resume(const struct swap *swap, u32 *cookie)
{
	struct dm_task *task = dm_new_task(DM_DEVICE_RESUME, swap->name);

	if (task && dm_set_cookie(task, cookie, swap->hidden))
		return task;
	if (task)
		dm_task_destroy(task);
	return NULL;
}

static struct dm_task *new_suspend(const struct swap *swap)
{
	struct dm_task *task = dm_new_task(DM_DEVICE_SUSPEND, swap->name);

	if (!task || !swap->hidden || dm_task_skip_lockfs(task))
		return task;
	dm_task_destroy(task);
	return NULL;
}

static struct dm_task *new_reload(const struct swap *swap)
{
	struct dm_task *task = dm_new_task(DM_DEVICE_RELOAD, swap->name);

	if (!task || dm_task_add_target(task, 0, swap->sectors, DM_TARGET, swap->old))
		return task;
	dm_task_destroy(task);
	return NULL;
}

int swap_prepare(struct swap *swap)
{
	swap->suspend = new_suspend(swap);
	swap->clear = dm_new_task(DM_DEVICE_CLEAR, swap->name);
	swap->reload = new_reload(swap);
	swap->resume = new_resume(swap, &swap->resume_cookie);
	swap->again = new_resume(swap, &swap->again_cookie);
	if (swap->suspend && swap->clear && swap->reload && swap->resume && swap->again)
		return 0;
	return fail(ENOMEM, "%s: device mapper cannot be called", swap->name);
}

/* What malloc() gets from here on comes from what it has, which is in memory. */
static int reserve(void)
{
	char stack[STACK_RESERVE];
	void *heap;

	mallopt(M_TRIM_THRESHOLD, 2 * HEAP_RESERVE);
	mallopt(M_MMAP_MAX, 0);
	explicit_bzero(stack, sizeof(stack));
	heap = malloc(HEAP_RESERVE);
	if (!heap)
		return -ENOMEM;
	explicit_bzero(heap, HEAP_RESERVE);
	free(heap);
	return 0;
}

/* What the kernel gets for us must not wait for I/O, as far as it can do that. */
static void set_io_flusher(int on)
{
	prctl(PR_SET_IO_FLUSHER, on, 0, 0, 0);
}

int swap_lock(void)
{
	sigset_t all;
	int r = reserve();

	if (!r && mlockall(MCL_CURRENT | MCL_FUTURE))
		r = -errno;
	if (r)
		return fail(-r, "cannot stay in memory: %s", strerror(-r));
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &signals);
	set_io_flusher(1);
	kmsg_mark();
	return 0;
}

void swap_unlock(void)
{
	set_io_flusher(0);
	sigprocmask(SIG_SETMASK, &signals, NULL);
	munlockall();
}

/*----------------------------------------------------------------
 * While devices are suspended
 *----------------------------------------------------------------
 */

int swap_suspend(struct swap *swap)
{
	int r = dm_run_task(swap->suspend);

	swap->suspended = !r;
	return r ? dm_say_refused(r, swap->name, "cannot be suspended") : 0;
}

int swap_resume(struct swap *swap)
{
	int r = dm_run_task(swap->resume);

	swap->has_resumed = true;
	swap->resumed = !r;
	if (!r)
		swap->suspended = false;
	return r ? dm_say_refused(r, swap->name, "cannot be activated") : 0;
}

/* A table that cannot be resumed is in the place of the old one: that is loaded once more. */
static int is_gone(const struct swap *swap, bool *gone)
{
	struct dm_state state;
	int r = dm_find(swap->name, &state);

	*gone = !r && swap->loaded && !state.inactive;
	return r;
}

int swap_back(struct swap *swap)
{
	bool gone;
	int r;

	if (swap->resumed || (!swap->loaded && !swap->suspended))
		return 0;
	r = is_gone(swap, &gone);
	if (!r && gone)
		r = dm_run_task(swap->reload);
	else if (!r && swap->loaded)
		r = dm_run_task(swap->clear);
	if (!r)
		swap->loaded = false;
	if (!r && swap->suspended) {
		r = dm_run_task(swap->again);
		swap->has_gone_on = true;
	}
	if (!r)
		swap->suspended = false;
	return r ? dm_say_refused(r, swap->name, "cannot go on as before") : 0;
}

/*----------------------------------------------------------------
 * After
 *----------------------------------------------------------------
 */

static void end_resume(struct dm_task *task, u32 cookie, bool has_run)
{
	if (task)
		dm_task_destroy(task);
	if (!cookie)
		return;
	/* nobody else will tell of it */
	if (!has_run)
		dm_udev_complete(cookie);
	dm_udev_wait(cookie);
}

void swap_end(struct swap *swap)
{
	if (swap->suspend)
		dm_task_destroy(swap->suspend);
	if (swap->clear)
		dm_task_destroy(swap->clear);
	if (swap->reload)
		dm_task_destroy(swap->reload);
	end_resume(swap->resume, swap->resume_cookie, swap->has_resumed);
	end_resume(swap->again, swap->again_cookie, swap->has_gone_on);
}
