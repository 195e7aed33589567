// SPDX-License-Identifier: GPL-2.0-only
/*
 * qedsetup status
 */

#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "device.h"
#include "fail.h"
#include "identity.h"
#include "loop.h"
#include "output.h"
#include "request.h"

#define SECTOR	512

static void add_known(struct json_object *object, const char *key, u64 number)
{
	if (number == TARGET_UNKNOWN)
		json_null(object, key);
	else
		json_u64(object, key, number);
}

/*----------------------------------------------------------------
 * For programs
 *----------------------------------------------------------------
 */

static struct json_object *device_object(dev_t number, const char *path)
{
	struct json_object *object = json_object_new_object();
	char *file = qed_loop_path(number), text[32];
	bool is_loop = file;

	free(file);
	json_text(object, "path", path ? path : "");
	snprintf(text, sizeof(text), "%u:%u", major(number), minor(number));
	json_text(object, "device", text);
	json_flag(object, "file", is_loop);
	if (is_loop)
		json_flag(object, "direct-io", loop_is_direct(number));
	return object;
}

static struct json_object *below_array(const struct device *device)
{
	struct json_object *array = json_object_new_array(), *object;
	unsigned int i;

	for (i = 0; i < device->table.nr_below; i++) {
		object = device_object(device->table.below[i], device->below[i]);
		json_text(object, "format", device_is_layer(device, i) ? "qed" : "raw");
		json_object_array_add(array, object);
	}
	return array;
}

static void add_progress(struct json_object *object, const char *key,
			 const struct target_progress *progress)
{
	struct json_object *member;

	if (!progress->running)
		return json_null(object, key);
	member = json_object_new_object();
	json_u64(member, "done", progress->done);
	json_u64(member, "total", progress->total);
	json_object_object_add(object, key, member);
}

static void add_check(struct json_object *object, const struct target_status *status)
{
	struct json_object *member;

	if (!status->checked)
		return add_progress(object, "check", &status->check);
	member = json_object_new_object();
	json_u64(member, "leaks", status->leaks);
	json_u64(member, "defects", status->defects);
	json_object_object_add(object, "check", member);
}

static void add_space(struct json_object *object, const struct target_status *status)
{
	json_u64(object, "cluster-size", status->cluster_size);
	add_known(object, "used-clusters", status->used);
	add_known(object, "total-clusters", status->total);
	add_known(object, "mapped-clusters", status->mapped);
	add_known(object, "virtual-clusters", status->virtual);
	add_known(object, "free-clusters", status->free);
	add_known(object, "zeroed-clusters", status->zeroed);
	add_known(object, "reclaiming-clusters", status->reclaiming);
	json_u64(object, "zeroed-ahead-clusters", status->ahead);
	json_u64(object, "cached-bytes", status->cached);
	json_u64(object, "cache-limit", status->cache_limit);
	json_u64(object, "dirty-blocks", status->dirty);
	json_u64(object, "allocations", status->allocations);
	json_u64(object, "commits", status->commits);
	json_u64(object, "queued", status->queued);
}

static void add_status(struct json_object *object, const struct target_status *status)
{
	json_text(object, "mode", status->mode);
	json_flag(object, "needs-check", status->needs_check);
	add_space(object, status);
	add_progress(object, "scan", &status->scan);
	add_progress(object, "trim", &status->trim);
	add_check(object, status);
	if (!status->has_below)
		return;
	json_u64(object, "copied-clusters", status->copied);
	json_u64(object, "reads-below", status->reads_below);
}

static void print_json(const struct device *device, const struct target_status *status)
{
	struct json_object *object = json_document();

	json_text(object, "name", device->name);
	json_text(object, "path", device->path);
	json_flag(object, "active", true);
	json_text(object, "uuid", device->state.uuid);
	json_text(object, "profile", identity_profile(device->state.uuid));
	json_u64(object, "open-count", device->state.open_count);
	json_flag(object, "suspended", device->state.suspended);
	json_flag(object, "read-only", device->state.read_only);
	json_flag(object, "deferred-remove", device->state.deferred);
	json_u64(object, "size", device->sectors * SECTOR);
	json_object_object_add(object, "image", device_object(device->table.image, device->image));
	json_object_object_add(object, "below", below_array(device));
	json_text(object, "options", device->table.options);
	add_status(object, status);
	json_print(object, false);
}

/*----------------------------------------------------------------
 * For people
 *----------------------------------------------------------------
 */

static void print_known_size(const char *key, u64 clusters, u64 cluster_size)
{
	if (clusters != TARGET_UNKNOWN)
		print_size(key, clusters * cluster_size);
	else
		print_text(key, "not known yet");
}

static const char *mode_text(const struct target_status *status)
{
	if (!strcmp(status->mode, "rw"))
		return "read and write";
	if (!strcmp(status->mode, "ro"))
		return "only reads: asked for, or after a failure that the kernel log tells";
	if (!strcmp(status->mode, "out_of_space"))
		return "out of space, writes wait: give it more, then qedsetup grow";
	return "failed: the kernel log tells why; repair that, then dmsetup resume";
}

static void print_progress(const char *key, const struct target_progress *progress)
{
	char text[64];

	if (!progress->running)
		return;
	snprintf(text, sizeof(text), "%llu of %llu", progress->done, progress->total);
	print_text(key, text);
}

static void print_device(const struct device *device)
{
	char *path = printable(device->path), number[32];
	unsigned int i;

	printf("%s is active%s%s%s.\n", path, device->state.open_count ? " and is in use" : "",
	       device->state.suspended ? ", suspended" : "",
	       device->state.deferred ? ", and goes away with its last user" : "");
	free(path);
	print_text("image:", device->image ? device->image : "not known");
	snprintf(number, sizeof(number), "%u:%u", major(device->table.image),
		 minor(device->table.image));
	if (device_is_file(device))
		print_text("loop device:", number);
	if (device_is_file(device) && !loop_is_direct(device->table.image))
		print_text("page cache:", "used, it was opened with --buffered");
	for (i = 0; i < device->table.nr_below; i++)
		print_text(device_is_layer(device, i) ? "layer:" : "backing file:",
			   device->below[i] ? device->below[i] : "not known");
	print_text("profile:", identity_profile(device->state.uuid));
	print_size("size:", device->sectors * SECTOR);
}

static void print_status(const struct target_status *status)
{
	char text[64];

	print_text("mode:", mode_text(status));
	print_size("cluster size:", status->cluster_size);
	print_known_size("mapped:", status->mapped, status->cluster_size);
	print_known_size("used:", status->used, status->cluster_size);
	print_known_size("free:", status->free, status->cluster_size);
	print_progress("scan:", &status->scan);
	print_progress("trim:", &status->trim);
	print_progress("check:", &status->check);
	if (status->checked) {
		snprintf(text, sizeof(text), "%llu leaked clusters, %llu defects", status->leaks,
			 status->defects);
		print_text("last check:", text);
	}
}

int run_status(const struct request *request)
{
	struct target_status status;
	struct device device;
	int r = dm_check();

	if (!r)
		r = device_find(&device, request->words[0]);
	if (r)
		return r;
	r = target_get_status(device.name, &status);
	if (!r && request->json) {
		print_json(&device, &status);
	} else if (!r && !request->quiet) {
		print_device(&device);
		print_status(&status);
	}
	device_free(&device);
	return r;
}
