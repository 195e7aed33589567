// SPDX-License-Identifier: GPL-2.0-only
/*
 * More space for an image that is in use, see grow.h.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "fail.h"
#include "grow.h"
#include "holder.h"
#include "loop.h"
#include "request.h"
#include "tail.h"

/* How long the file is to be. What is free is not known before it has been scanned. */
static int find_target(const struct device *device, const struct subject *subject, u64 headroom,
		       u64 *target)
{
	u64 size = subject->img.size, free_space;
	struct target_status status;
	int r;

	*target = tail_target(subject, size, 0);
	if (headroom == NOT_GIVEN)
		return 0;
	r = target_get_status(device->name, &status);
	if (r)
		return r;
	free_space = status.free == TARGET_UNKNOWN ? 0 : status.free * status.cluster_size;
	*target = headroom > free_space ? tail_target(subject, size, headroom - free_space) : size;
	return 0;
}

/* The file by its path, which may be another one meanwhile */
static int open_file(const struct device *device, struct subject *subject)
{
	int r = subject_open_image(subject, device->image, SUBJECT_LOOK), fd;

	if (r)
		return r;
	fd = open(device->image, O_RDWR | O_CLOEXEC);
	close(subject->fd);
	subject->fd = fd;
	if (fd < 0)
		return fail(errno, "%s: %s", device->image, strerror(errno));
	if (fstat(fd, &subject->st) || holder_is_image(&subject->st, device->table.image) != 1) {
		close(fd);
		return fail(ESTALE, "%s: is not the file of this device any more", device->image);
	}
	return 0;
}

static int grow_file(const struct device *device, u64 headroom)
{
	struct subject subject;
	u64 target;
	int r = open_file(device, &subject);

	if (r)
		return r;
	r = find_target(device, &subject, headroom, &target);
	if (!r && target > subject.img.size)
		r = tail_extend(subject.fd, subject.img.size, target);
	if (!r)
		r = loop_update_size(device->table.image);
	subject_close(&subject);
	return fail_as(r, device->image);
}

int grow_device(const struct device *device, u64 headroom)
{
	int r = 0;

	if (device->table.read_only || device->state.read_only)
		return fail(EROFS, "%s: is open for reading only", device->name);
	if (device_is_file(device))
		r = grow_file(device, headroom);
	else if (headroom != NOT_GIVEN)
		r = fail_advise(EINVAL, "make that larger, then grow without --headroom",
				"%s: is on a block device", device->name);
	return r ? r : dm_send(device->name, "grow");
}
