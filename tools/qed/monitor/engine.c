// SPDX-License-Identifier: GPL-2.0-only
/*
 * Looks at all devices, and gives them space, see engine.h.
 */

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "../qedsetup/fail.h"
#include "../qedsetup/size.h"
#include "child.h"
#include "control.h"
#include "engine.h"
#include "grower.h"
#include "hooks.h"
#include "log.h"
#include "policy.h"
#include "watch.h"

/* In milliseconds: how often a device is looked at that may need space soon */
#define SOON		1000

/* ... how long it takes until something is tried again that failed, and at most so */
#define RETRY		1000
#define MAX_RETRY	10000

#define SECOND		1000
#define TEXT		512

/**
 * struct growth - how a device gets space
 * @child: who is doing so, or 0
 * @total: how many clusters there were before
 * @failures: so many in a row; half as many after a success
 * @retry_at: not before that
 * @full_since: since then writes wait although clusters are free; 0: they do not
 */
struct growth {
	pid_t child;
	u64 total;
	unsigned int failures;
	u64 retry_at, full_since;
};

/**
 * struct told - what has been told of it, and is not again before it has changed
 * @mode: as it was
 * @limit: it may not become larger
 * @file_system: there is less than the reserve
 * @nobody: there is nobody to make it larger
 * @low_water: the table's is less than the headroom
 */
struct told {
	char mode[16];
	bool limit, file_system, nobody, low_water;
};

struct device {
	struct view view;
	bool present;
	u64 low_water;
	struct growth growth;
	struct told told;
};

static struct device devices[WATCH_DEVICES];
static unsigned int nr_devices;
static const struct config *config;

/* Something has been told in this pass. */
static bool news;

static void tell(const struct device *device, int priority, const char *event,
		 const char *format, ...) __printf(4, 5);

static void tell(const struct device *device, int priority, const char *event,
		 const char *format, ...)
{
	char text[TEXT];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	log_line(priority, "%s: %s", device->view.name, text);
	hooks_tell(event, device->view.name, text);
	news = true;
}

void engine_configure(const struct config *new)
{
	unsigned int i;

	config = new;
	for (i = 0; i < nr_devices; i++) {
		devices[i].told.limit = false;
		devices[i].told.nobody = false;
		devices[i].told.low_water = false;
	}
}

/*----------------------------------------------------------------
 * What there is
 *----------------------------------------------------------------
 */

static struct device *add(const char *name, dev_t number)
{
	struct device *device = devices + nr_devices;
	static bool told;

	if (nr_devices == WATCH_DEVICES) {
		if (!told)
			log_line(LOG_ERR, "%s is not watched: there are more than %d devices", name,
				 WATCH_DEVICES);
		told = true;
		return NULL;
	}
	nr_devices++;
	memset(device, 0, sizeof(*device));
	snprintf(device->view.name, sizeof(device->view.name), "%s", name);
	device->view.device = number;
	return device;
}

static void see(const char *name, dev_t number)
{
	struct device *device = devices;

	while (device < devices + nr_devices &&
	       (device->view.device != number || strcmp(device->view.name, name)))
		device++;
	if (device == devices + nr_devices) {
		device = add(name, number);
		if (!device)
			return;
	}
	device->present = true;
}

/* Nothing is lost by forgetting one: what it has been given the kernel sees. */
static void forget_absent(void)
{
	unsigned int i = 0;

	while (i < nr_devices) {
		if (devices[i].present)
			i++;
		else
			devices[i] = devices[--nr_devices];
	}
}

/* Of the table: the image device is its first word. */
static void take_table(struct device *device, char *params)
{
	unsigned int major = 0, minor = 0;
	char *option = strstr(params, " low_water ");

	if (sscanf(params, "%u:%u", &major, &minor) != 2)
		major = 0;
	device->view.image = makedev(major, minor);
	device->low_water = option ? strtoull(option + strlen(" low_water "), NULL, 10) : 0;
}

static int get_status(struct device *device)
{
	static char params[CONTROL_PARAMS];
	int r = control_get(device->view.device, false, params);

	if (!r)
		r = target_parse_status(device->view.name, params, &device->view.status);
	return r;
}

/* What it is now: 0, -ENODEV if it is none of ours, or what failed. */
static int look(struct device *device)
{
	static char params[CONTROL_PARAMS];
	int r = get_status(device);

	if (!r)
		r = control_get(device->view.device, true, params);
	if (!r)
		take_table(device, params);
	return r;
}

/*----------------------------------------------------------------
 * What is told
 *----------------------------------------------------------------
 */

static void tell_mode(struct device *device)
{
	const struct target_status *status = &device->view.status;
	char *told = device->told.mode;

	if (!strcmp(told, status->mode))
		return;
	if (policy_is_out(status))
		tell(device, LOG_WARNING, "out-of-space", "writes wait for space");
	else if (!strcmp(told, "out_of_space") && policy_is_writable(status))
		tell(device, LOG_NOTICE, "space", "there is space again");
	else if (!strcmp(status->mode, "fail") ||
		 (*told && !policy_is_writable(status)))
		tell(device, LOG_ERR, "stopped", "it cannot be written to any more: mode %s",
		     status->mode);
	memcpy(told, status->mode, sizeof(device->told.mode));
}

static void tell_limit(struct device *device, bool limited)
{
	char size[SIZE_TEXT];

	device->view.limited = limited;
	if (limited && !device->told.limit)
		tell(device, LOG_WARNING, "limit", "it needs more space, but has %s already: limit",
		     size_text(device->view.status.total * device->view.status.cluster_size, size,
			       sizeof(size)));
	device->told.limit = limited;
}

static void tell_file_system(struct device *device, const struct settings *settings)
{
	struct file_space space;
	char size[SIZE_TEXT];
	bool low;

	device->view.reserve = settings->reserve;
	if (!watch_space(device->view.image, &space))
		return;
	low = space.available < settings->reserve;
	if (low == device->told.file_system)
		return;
	device->told.file_system = low;
	size_text(space.available, size, sizeof(size));
	if (low)
		tell(device, LOG_WARNING, "file-system-low",
		     "the file system below has %s left, less than the reserve", size);
	else
		tell(device, LOG_NOTICE, "file-system", "the file system below has %s again", size);
}

static void tell_low_water(struct device *device, const struct settings *settings)
{
	u64 size = device->view.status.cluster_size;

	if (device->told.low_water || device->low_water >= settings->headroom / size)
		return;
	device->told.low_water = true;
	log_line(LOG_NOTICE,
		 "%s: its table has low_water %llu, less than the headroom: it is looked at each %u seconds only",
		 device->view.name, device->low_water, config->interval);
}

/*----------------------------------------------------------------
 * Growth
 *----------------------------------------------------------------
 */

static void failed(struct device *device, const char *why, u64 now)
{
	struct growth *growth = &device->growth;
	u64 pause = RETRY << (growth->failures < 4 ? growth->failures : 4);

	growth->failures++;
	growth->retry_at = now + min_u64(pause, MAX_RETRY);
	device->view.counters.failed++;
	/* the more of them there are the less often */
	if (!(growth->failures & (growth->failures - 1)))
		tell(device, LOG_ERR, "failed", "cannot get more space: %s", why);
}

/* The kernel is told, and tells whether there is more. */
static void finish(struct device *device, u64 now)
{
	struct growth *growth = &device->growth;
	struct target_status *status = &device->view.status;
	char size[SIZE_TEXT];
	u64 bytes;
	int r = control_send(device->view.device, "grow");

	if (!r)
		r = get_status(device);
	if (r || status->total <= growth->total) {
		failed(device, r ? strerror(-r) : "it is as small as before", now);
		return;
	}
	bytes = (status->total - growth->total) * status->cluster_size;
	/* where there was no room for more there may not be for the next one, either */
	growth->failures /= 2;
	device->view.counters.grown++;
	device->view.counters.bytes += bytes;
	tell(device, LOG_INFO, "grown", "it has got %s", size_text(bytes, size, sizeof(size)));
}

static void start(struct device *device, const struct settings *settings, enum grower grower,
		  u64 bytes, u64 now)
{
	struct growth *growth = &device->growth;
	struct view *view = &device->view;
	pid_t r;

	growth->total = view->status.total;
	r = grower_start(grower, view->name, view->image, bytes, settings);
	if (r < 0)
		failed(device, failure(), now);
	else if (r)
		growth->child = r;
	else
		finish(device, now);
	forget_failure();
}

/*
 * Writes wait, but not for clusters: the file system has been full. When the file grows they are
 * tried again.
 */
static bool is_full_below(struct device *device, u64 now)
{
	struct growth *growth = &device->growth;

	if (!policy_is_out(&device->view.status)) {
		growth->full_since = 0;
		return false;
	}
	/* those that had no cluster may just be going on */
	if (!growth->full_since)
		growth->full_since = now;
	return now >= growth->full_since + SOON;
}

static u64 find_bytes(struct device *device, const struct settings *settings, u64 now)
{
	struct policy policy;

	policy_find(settings, &device->view.status, device->growth.failures, &policy);
	tell_limit(device, policy.limited);
	if (policy.bytes || policy.limited || !settings->grow)
		device->growth.full_since = 0;
	else if (is_full_below(device, now) && file_is(device->view.image))
		return device->view.status.cluster_size;
	return policy.bytes;
}

static bool has_grower(struct device *device, enum grower grower)
{
	if (grower == GROWER_NONE && !device->told.nobody)
		tell(device, LOG_WARNING, "nobody",
		     "it needs more space, but is on nothing that can be made larger here");
	device->told.nobody = grower == GROWER_NONE;
	return grower != GROWER_NONE;
}

/* Has something been done? Then it may be that more is to be done. */
static bool step(struct device *device, const struct settings *settings, u64 now)
{
	struct growth *growth = &device->growth;
	u64 bytes = find_bytes(device, settings, now);
	enum grower grower;

	if (!bytes || growth->child || now < growth->retry_at)
		return false;
	grower = grower_of(device->view.image, settings);
	if (!has_grower(device, grower))
		return false;
	tell_low_water(device, settings);
	/* somebody may have made it larger, and not told */
	if (!control_send(device->view.device, "grow") && !get_status(device))
		bytes = find_bytes(device, settings, now);
	growth->full_since = 0;
	if (bytes)
		start(device, settings, grower, bytes, now);
	return !growth->child && !growth->failures;
}

/* Returns when to look again. */
static u64 care(struct device *device, u64 now)
{
	const struct settings *settings = config_find(config, device->view.name);
	u64 next = now + config->interval * SECOND;
	struct policy policy;
	int i;

	tell_mode(device);
	tell_file_system(device, settings);
	for (i = 0; i < 4 && step(device, settings, now); i++)
		tell_mode(device);
	device->view.growing = device->growth.child;
	policy_find(settings, &device->view.status, 0, &policy);
	if (policy.near || policy_is_out(&device->view.status))
		next = min_u64(next, now + SOON);
	return next;
}

u64 engine_pass(u64 now)
{
	u64 next = now + config->interval * SECOND;
	struct device *device;
	int r;

	for (device = devices; device < devices + nr_devices; device++)
		device->present = false;
	r = control_list(see);
	if (r) {
		log_line(LOG_ERR, "device mapper: %s", strerror(-r));
		return now + SOON;
	}
	forget_absent();
	watch_begin();
	for (device = devices; device < devices + nr_devices; device++) {
		if (look(device)) {
			forget_failure();
			continue;
		}
		next = min_u64(next, care(device, now));
		watch_add(&device->view);
	}
	watch_end(news);
	news = false;
	return next;
}

bool engine_ended(pid_t pid, int status, u64 now)
{
	const char *why = child_failure(status);
	struct device *device = devices;

	while (device < devices + nr_devices && device->growth.child != pid)
		device++;
	if (device == devices + nr_devices)
		return false;
	device->growth.child = 0;
	if (*why)
		failed(device, why, now);
	else
		finish(device, now);
	return true;
}
