// SPDX-License-Identifier: GPL-2.0-only
/*
 * qedsetup resize, grow, trim, check: what is done with an image that is in use
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "device.h"
#include "fail.h"
#include "grow.h"
#include "intent.h"
#include "output.h"
#include "request.h"
#include "size.h"

#define SECTOR		512

/* How often the progress of work in the background is looked at */
#define LOOK_NS		200000000

/**
 * struct work - something that is done with a device
 * @alone: nobody else may do anything with it meanwhile
 * @run: does it, and adds to what is printed
 */
struct work {
	bool alone;
	int (*run)(const struct request *request, struct device *device,
		   struct json_object *object);
};

static int with_device(const struct request *request, const struct work *work)
{
	struct json_object *object;
	struct device device;
	int r = device_find(&device, request->words[0]);

	if (r)
		return r;
	object = json_document();
	json_text(object, "name", device.name);
	r = work->run(request, &device, object);
	if (!r && request->json)
		json_print(object, false);
	else
		json_object_put(object);
	device_free(&device);
	return r;
}

static int run_work(const struct request *request, const struct work *work)
{
	struct intent intent;
	int r = dm_check();

	if (!r && work->alone)
		r = intent_begin(&intent, request->words[0]);
	if (r)
		return r;
	r = with_device(request, work);
	if (work->alone)
		intent_leave(&intent);
	return r;
}

/*----------------------------------------------------------------
 * resize
 *----------------------------------------------------------------
 */

/* The same table, with another size. What was begun by one who was killed is in the header. */
static int load_size(const struct device *device, u64 sectors)
{
	u64 unused;
	char *params;
	int r = dm_get(device->name, true, &unused, &params);

	if (r)
		return r;
	r = dm_replace(device->name, sectors, params, false, device_is_hidden(device));
	free(params);
	return r;
}

static int check_size(const struct request *request, const struct device *device, u64 *size)
{
	if (!size_parse(request->words[1], size))
		return fail(EINVAL, "%s: is no size, such as 512M or 1.5T", request->words[1]);
	if (!*size || *size % SECTOR)
		return fail(EINVAL, "%llu: the size of a disk is a multiple of %d", *size, SECTOR);
	if (*size < device->sectors * SECTOR)
		return fail(EINVAL, "%s: has %llu bytes: a disk can only become larger",
			    device->name, device->sectors * SECTOR);
	if (device->table.read_only || device->state.read_only)
		return fail(EROFS, "%s: is open for reading only", device->name);
	return 0;
}

static int do_resize(const struct request *request, struct device *device,
		     struct json_object *object)
{
	char message[64];
	u64 size;
	int r = check_size(request, device, &size);

	if (r)
		return r;
	snprintf(message, sizeof(message), "resize %llu", size / SECTOR);
	r = dm_send(device->name, message);
	/* a larger disk may need a longer file */
	if (!r && device_is_file(device))
		r = grow_device(device, NOT_GIVEN);
	if (!r && size != device->sectors * SECTOR)
		r = load_size(device, size / SECTOR);
	json_u64(object, "size", size);
	return r;
}

int run_resize(const struct request *request)
{
	static const struct work work = { .alone = true, .run = do_resize };

	return run_work(request, &work);
}

/*----------------------------------------------------------------
 * grow
 *----------------------------------------------------------------
 */

static int grow(const struct request *request, struct device *device, struct json_object *object)
{
	struct target_status status;
	int r = grow_device(device, request->headroom);

	if (!r)
		r = target_get_status(device->name, &status);
	if (!r)
		json_u64(object, "total-clusters", status.total);
	return r;
}

int run_grow(const struct request *request)
{
	static const struct work work = { .alone = true, .run = grow };

	return run_work(request, &work);
}

/*----------------------------------------------------------------
 * trim, check
 *----------------------------------------------------------------
 */

static void show_progress(const struct request *request, const char *what,
			  const struct target_progress *progress)
{
	if (request->quiet || !isatty(STDERR_FILENO))
		return;
	if (progress->running && progress->total)
		fprintf(stderr, "\r%s: %3llu %%", what, progress->done * 100 / progress->total);
	else
		fprintf(stderr, "\r%s: %5s\n", what, "done");
}

/* Which of the two is looked at */
enum background {
	BACKGROUND_TRIM,
	BACKGROUND_CHECK,
};

static int wait_for_end(const struct request *request, const struct device *device,
			enum background kind, struct target_status *status)
{
	const struct timespec pause = { .tv_nsec = LOOK_NS };
	const struct target_progress *progress = kind == BACKGROUND_TRIM ? &status->trim :
									   &status->check;
	int r;

	for (;;) {
		r = target_get_status(device->name, status);
		if (r)
			return r;
		show_progress(request, request->verb->name, progress);
		if (!progress->running)
			return 0;
		nanosleep(&pause, NULL);
	}
}

static int begin(const struct device *device, const char *message)
{
	struct target_status status;
	int r = target_get_status(device->name, &status);

	if (r)
		return r;
	if (status.scan.running)
		return fail_advise(EAGAIN, "again when that is done",
				   "%s: its tables are being scanned, %llu of %llu", device->name,
				   status.scan.done, status.scan.total);
	return dm_send(device->name, message);
}

static int trim(const struct request *request, struct device *device, struct json_object *object)
{
	struct target_status status;
	int r = begin(device, "trim");

	(void)object;
	if (r || request->no_wait)
		return r;
	return wait_for_end(request, device, BACKGROUND_TRIM, &status);
}

int run_trim(const struct request *request)
{
	static const struct work work = { .run = trim };

	return run_work(request, &work);
}

static int say_result(const struct request *request, const struct device *device,
		      const struct target_status *status)
{
	if (!status->checked)
		return fail(EINTR, "%s: the check has not come to its end: suspended meanwhile?",
			    device->name);
	if (status->defects)
		return fail_advise(EIO, "it can only be read now: close it, and run qed-fsck",
				   "%s: %llu defects", device->name, status->defects);
	if (!request->json && !request->quiet)
		printf("%llu leaked clusters, no defects\n", status->leaks);
	return 0;
}

static int check(const struct request *request, struct device *device,
		 struct json_object *object)
{
	struct target_status status;
	int r = begin(device, "check");

	if (r || request->no_wait)
		return r;
	r = wait_for_end(request, device, BACKGROUND_CHECK, &status);
	if (r)
		return r;
	json_u64(object, "leaks", status.leaks);
	json_u64(object, "defects", status.defects);
	return say_result(request, device, &status);
}

int run_check(const struct request *request)
{
	static const struct work work = { .run = check };

	return run_work(request, &work);
}
