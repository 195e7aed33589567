// SPDX-License-Identifier: GPL-2.0-only
/*
 * qedsetup close
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "device.h"
#include "fail.h"
#include "identity.h"
#include "intent.h"
#include "loop.h"
#include "output.h"
#include "request.h"
#include "tail.h"

/**
 * struct closing - a device that is being removed
 * @request: what was asked for
 * @name: of the device
 * @intent: that we are at it
 * @deferred: it will go away later
 * @size: of the file then, 0 if that has not been looked at
 */
struct closing {
	const struct request *request;
	const char *name;
	struct intent intent;
	bool deferred;
	u64 size;
};

/*----------------------------------------------------------------
 * The file
 *----------------------------------------------------------------
 */

/* Is it still the file that was in use? It need not be there any more. */
static bool is_file(const char *path, const struct stat *st)
{
	struct stat now;

	return !stat(path, &now) && now.st_dev == st->st_dev && now.st_ino == st->st_ino;
}

/*
 * What cannot be done now is done when it is opened the next time: the device is closed. Somebody
 * may use the file already, then it is not ours any more.
 */
static void trim(struct closing *c, const char *path, const struct stat *st)
{
	struct subject subject;
	int r;

	loop_wait(st);
	if (!is_file(path, st)) {
		warn("%s: is closed, but has been moved or removed: the file keeps its tail", path);
		return;
	}
	r = subject_open(&subject, path, SUBJECT_WRITE);
	if (!r) {
		r = tail_trim(&subject);
		c->size = subject.img.size;
		if (!r && subject_needs_check(&subject))
			warn("%s: its last changes could not be written: see the kernel log", path);
		subject_close(&subject);
	}
	if (!r)
		return;
	warn("%s: is closed, but longer than the image: %s", path, failure());
	forget_failure();
}

/* Whoever began it has been killed: the device is gone. */
static int finish(struct closing *c)
{
	dm_update_node(c->name);
	if (S_ISBLK(c->intent.st.st_mode))
		loop_release(&c->intent.st);
	else
		trim(c, c->intent.path, &c->intent.st);
	return 0;
}

/*----------------------------------------------------------------
 * The device
 *----------------------------------------------------------------
 */

static int say_busy(const struct closing *c, const struct device *device)
{
	char *user = device_user(device);
	int r = fail(EBUSY, "%s: is in use by %s: end that, or --deferred", c->name,
		     user ? user : "somebody");

	free(user);
	return r;
}

static int defer(struct closing *c, const struct device *device)
{
	int r = dm_remove(c->name, true);

	if (r)
		return fail_as(r, c->name);
	c->deferred = true;
	if (device_is_file(device) && !c->request->quiet)
		warn("%s: the file keeps its tail until it is opened and closed once more",
		     device->image);
	return 0;
}

/* What is known of the image is asked before the device is gone. */
static int find_image(const struct device *device, struct stat *st)
{
	if (device_is_file(device))
		return loop_behind(device->table.image, st);
	memset(st, 0, sizeof(*st));
	st->st_mode = S_IFBLK;
	st->st_rdev = device->table.image;
	return 0;
}

static int close_now(struct closing *c, const struct device *device)
{
	struct stat st;
	int r = find_image(device, &st);

	if (r)
		return fail_as(r, c->name);
	/* a loop device knows its file, but not what kind it has */
	if (!st.st_mode)
		st.st_mode = S_IFREG;
	if (!device->table.read_only)
		r = intent_write(&c->intent, INTENT_CLOSE, device->image ? device->image : "-",
				 &st);
	if (!r)
		r = dm_remove(c->name, false);
	if (r == -EBUSY)
		return say_busy(c, device);
	if (r || device->table.read_only)
		return r;
	if (S_ISBLK(st.st_mode))
		loop_release(&st);
	else
		trim(c, device->image ? device->image : "-", &st);
	return 0;
}

static int close_device(struct closing *c)
{
	struct device device;
	int r = device_find(&device, c->name);

	if (r)
		return r;
	if (c->request->cancel_deferred)
		r = dm_keep(c->name);
	else if (device.state.open_count && c->request->deferred)
		r = defer(c, &device);
	else
		r = close_now(c, &device);
	device_free(&device);
	return r;
}

static int close_locked(struct closing *c)
{
	struct dm_state state;
	int r = dm_find(c->name, &state);

	if (r)
		return r;
	if (!state.exists && !strcmp(c->intent.verb, INTENT_CLOSE))
		return finish(c);
	/* one that was not made to its end */
	if (state.exists && !state.live && strcmp(identity_profile(state.uuid), "other"))
		return dm_remove(c->name, false);
	return close_device(c);
}

static void print(const struct closing *c)
{
	struct json_object *object;

	if (!c->request->json)
		return;
	object = json_document();
	json_text(object, "name", c->name);
	json_flag(object, "deferred", c->deferred);
	if (c->size)
		json_u64(object, "file-size", c->size);
	json_print(object, false);
}

int run_close(const struct request *request)
{
	struct closing c = { .request = request, .name = request->words[0] };
	int r;

	if (request->deferred && request->cancel_deferred)
		return fail(EINVAL, "--deferred or --cancel-deferred?");
	r = dm_check();
	if (!r)
		r = intent_begin(&c.intent, c.name);
	if (r)
		return r;
	r = close_locked(&c);
	intent_end(&c.intent);
	if (!r)
		print(&c);
	return r;
}
