// SPDX-License-Identifier: GPL-2.0-only
/*
 * A new image over that of a device in use, see overlay.h.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "../locks.h"
#include "fail.h"
#include "holder.h"
#include "leftover.h"
#include "make.h"
#include "naming.h"
#include "overlay.h"
#include "retable.h"

/*----------------------------------------------------------------
 * The device, as it is
 *----------------------------------------------------------------
 */

static int check_state(const struct overlay *o)
{
	const struct dm_state *state = &o->device.state;
	const char *name = o->name;

	if (state->suspended)
		return fail_advise(EBUSY, "dmsetup resume", "%s: is suspended", name);
	if (state->inactive)
		return fail_advise(EBUSY, "dmsetup clear", "%s: has another table loaded", name);
	if (state->deferred)
		return fail_advise(EBUSY, "qedsetup close --cancel-deferred",
				   "%s: goes away with its last user", name);
	if (o->device.table.read_only || state->read_only)
		return fail(EROFS, "%s: is open for reading only", name);
	if (o->request->revert && state->open_count)
		return fail_advise(EBUSY, "end that",
				   "%s: is in use, and --revert changes what it has", name);
	return 0;
}

static int check_mode(const struct overlay *o)
{
	struct target_status status;
	int r = target_get_status(o->name, &status);

	if (r || !strcmp(status.mode, "rw"))
		return r;
	return fail_advise(EIO, "see qedsetup status", "%s: does not work as it should: mode %s",
			   o->name, status.mode);
}

/* Its image, by the path that the kernel knows: that need not be there any more */
static int open_old(struct overlay *o)
{
	const char *path = o->device.image;
	int r;

	if (!path)
		return fail(ENOENT, "%s: nothing is known of its image", o->name);
	o->old_path = naming_path(path);
	if (!o->old_path)
		return fail(errno, "%s: %s", path, strerror(errno));
	r = subject_open_image(&o->old, o->old_path, SUBJECT_LOOK);
	if (r)
		return r;
	o->has_old = true;
	if (holder_is_image(&o->old.st, o->device.table.image) == 1)
		return 0;
	return fail(ENOENT, "%s: is not the image of %s: that has been moved or removed", path,
		    o->name);
}

/*
 * Its device stays until we know that it is needed no more, also when no table has it. What has
 * another size of logical blocks cannot take its place.
 */
static int open_device(struct overlay *o)
{
	int size;

	o->old_fd = o->old.is_block ? fcntl(o->old.fd, F_DUPFD_CLOEXEC, 0) :
				      qed_loop_open(o->device.table.image);
	if (o->old_fd < 0 || ioctl(o->old_fd, BLKSSZGET, &size))
		return fail(errno, "%s: its device cannot be opened: %s", o->old_path,
			    strerror(errno));
	o->sector_size = size;
	return 0;
}

static int find_device(struct overlay *o)
{
	int r = device_find(&o->device, o->name);

	if (r)
		return r;
	o->has_device = true;
	r = check_state(o);
	if (!r)
		r = check_mode(o);
	return r ? r : dm_get(o->name, true, &o->swap.sectors, &o->params);
}

int overlay_find(struct overlay *o)
{
	int r = find_device(o);

	if (!r)
		r = open_old(o);
	return r ? r : open_device(o);
}

/*----------------------------------------------------------------
 * What is to be right below the new image
 *----------------------------------------------------------------
 */

/* One of those that the present image is over, by its path */
static int find_in_chain(struct overlay *o, const struct stat *st)
{
	const struct target_table *table = &o->device.table;

	for (o->from = 0; o->from < table->nr_below; o->from++)
		if (holder_is_image(st, table->below[o->from]) == 1)
			break;
	o->image.is_raw = !device_is_layer(&o->device, o->from);
	if (o->from < table->nr_below)
		return 0;
	return fail_advise(ENOENT, "qedsetup status tells what is below it",
			   "%s: %s is not over it", o->request->revert, o->old_path);
}

static int find_below(struct overlay *o)
{
	const char *revert = o->request->revert;
	struct stat st = o->old.st;
	char *path;
	int r = 0;

	if (revert && stat(revert, &st))
		return fail(errno, "%s: %s", revert, strerror(errno));
	if (revert)
		r = find_in_chain(o, &st);
	if (r)
		return r;
	path = revert ? naming_path(revert) : strdup(o->old_path);
	if (path)
		o->name_below = naming_in_header(path, &st, o->path);
	free(path);
	return o->name_below ? 0 : -ENOMEM;
}

/*----------------------------------------------------------------
 * The new image
 *----------------------------------------------------------------
 */

static int make(struct overlay *o)
{
	struct request request = *o->request;
	int r;

	request.words[0] = o->path;
	o->image.backing = o->name_below;
	o->image.shape.image_size = o->old.img.image_size;
	r = make_design(&request, &o->image);
	if (!r)
		r = make_image(&request, &o->image);
	o->is_made = !r;
	return r;
}

/* A guest does not expect its disk to get others. */
static int check_sectors(const struct overlay *o)
{
	int size;

	if (!o->top.is_block)
		return 0;
	if (ioctl(o->top.fd, BLKSSZGET, &size))
		return fail(errno, "%s: %s", o->path, strerror(errno));
	if (size == (int)o->sector_size)
		return 0;
	return fail(EINVAL, "%s: has sectors of %d bytes, but the disk has some of %u", o->path,
		    size, o->sector_size);
}

static int open_new(struct overlay *o)
{
	u64 headroom = o->request->headroom == NOT_GIVEN ? 0 : o->request->headroom;
	int r = subject_open_image(&o->top, o->path, SUBJECT_WRITE);

	if (r)
		return r;
	o->has_top = true;
	r = check_sectors(o);
	return r ? r : tail_grow(&o->top, headroom, &o->tail);
}

int overlay_make(struct overlay *o)
{
	int r = find_below(o);

	if (!r)
		r = intent_write(&o->intent, INTENT_SNAPSHOT, o->path, &o->old.st);
	if (r)
		return r;
	*o->intent.verb = '\0';
	r = make(o);
	return r ? fail_as(r, o->path) : open_new(o);
}

/*----------------------------------------------------------------
 * The new table
 *----------------------------------------------------------------
 */

static bool is_buffered(const struct overlay *o)
{
	return o->request->buffered ||
	       (!o->old.is_block && !loop_is_direct(o->device.table.image));
}

static int attach_new(struct overlay *o)
{
	int r;

	if (o->top.is_block)
		return 0;
	r = loop_attach(&o->loop, o->top.fd, o->path, false, !is_buffered(o), o->sector_size);
	if (r)
		return r;
	o->has_loop = true;
	if (o->loop.is_direct || is_buffered(o))
		return 0;
	return fail_advise(ENOTSUP, "another one is better, but --buffered does without",
			   "%s: its file system has no direct I/O", o->path);
}

/*
 * As a layer it may be read by others. The loop device that it has been written by goes away with
 * the old table, and its locks with it.
 */
static int attach_layer(struct overlay *o)
{
	int r;

	if (o->old.is_block || o->request->revert)
		return 0;
	r = loop_attach(&o->layer, o->old.fd, o->old_path, true,
			loop_is_direct(o->device.table.image), o->sector_size);
	if (r)
		return r;
	o->has_layer = true;
	qed_lock_beside(o->old.fd);
	return 0;
}

static u64 zeroed_from(const struct overlay *o)
{
	if (!o->top.is_block)
		return o->tail.zeroed_from;
	return o->image.zeroed ? bound_empty(&o->image.shape) / o->image.shape.cluster_size : 0;
}

static int write_params(struct overlay *o)
{
	struct retable change = {
		.top = o->top.is_block ? o->top.st.st_rdev : o->loop.device,
		.from = o->from,
		.zeroed_from = zeroed_from(o),
		.known_zeroes = !o->top.is_block,
		.cluster_size = o->image.shape.cluster_size,
		.old_cluster_size = qed_cluster_size(&o->old.img),
	};

	if (!o->request->revert)
		change.layer = o->has_layer ? o->layer.device : o->old.st.st_rdev;
	o->new_params = retable(&o->device.table, &change);
	return o->new_params ? 0 : fail(E2BIG, "%s: too many images", o->name);
}

/* The new image is known by a mark, which the note has as well */
static int prepare_note(struct overlay *o)
{
	u8 mark[QED_MARK_SIZE];
	char *name = naming_in_header(o->path, &o->top.st, o->old_path);
	int r = name ? qed_succession_mark(&o->top.img, mark) : -ENOMEM;

	if (!r)
		r = qed_note_prepare(&o->note, &o->old.img, name, mark);
	o->has_note = !r;
	free(name);
	if (r == -ENOSPC)
		return fail_advise(ENOSPC, "a shorter name may fit",
				   "%s: has no room in its header for the name of %s", o->old_path,
				   o->path);
	return fail_as(r, o->old_path);
}

int overlay_load(struct overlay *o)
{
	int r = attach_new(o);

	if (!r)
		r = attach_layer(o);
	if (!r)
		r = write_params(o);
	if (!r)
		r = prepare_note(o);
	if (r)
		return r;
	o->swap.name = o->name;
	o->swap.old = o->params;
	o->swap.new = o->new_params;
	o->swap.hidden = device_is_hidden(&o->device);
	r = swap_load(&o->swap);
	return r ? r : swap_prepare(&o->swap);
}

/*----------------------------------------------------------------
 * While the device is suspended
 *----------------------------------------------------------------
 */

int overlay_check(struct overlay *o)
{
	struct target_status status;
	int r = target_get_status(o->name, &status);

	if (r)
		return r;
	if (strcmp(status.mode, "rw") || status.dirty || status.needs_check)
		return fail(EIO, "%s: could not be closed, mode %s, %llu blocks left", o->name,
			    status.mode, status.dirty);
	return 0;
}

int overlay_record(struct overlay *o)
{
	int r = qed_note_write(&o->note);

	if (r == -EBUSY || r == -ESTALE)
		return fail(-r, "%s: somebody else has it, too", o->old_path);
	return fail_as(r, o->old_path);
}

int overlay_unrecord(struct overlay *o)
{
	int r;

	if (!o->has_note || !o->note.written)
		return 0;
	r = qed_note_clear(&o->note);
	o->note.written = r;
	return fail_as(r, o->old_path);
}

/*----------------------------------------------------------------
 * Afterwards
 *----------------------------------------------------------------
 */

static void close_files(struct overlay *o)
{
	if (o->has_loop)
		loop_close(&o->loop);
	if (o->has_layer)
		loop_close(&o->layer);
	if (o->has_top)
		subject_close(&o->top);
	if (o->old_fd >= 0)
		close(o->old_fd);
	o->has_loop = false;
	o->has_layer = false;
	o->has_top = false;
	o->old_fd = -1;
}

void overlay_undo(struct overlay *o)
{
	close_files(o);
	if (o->is_made)
		leftover_remove(o->path);
	o->is_made = false;
}

void overlay_complete(struct overlay *o)
{
	bool hold = o->has_top && o->top.is_block;

	if (hold && loop_hold(o->top.fd)) {
		warn("%s: QEMU is not kept from it: %s", o->path, failure());
		forget_failure();
	}
	close_files(o);
	if (o->old.is_block)
		loop_release(&o->old.st);
	else
		leftover_trim(o->old_path);
}

void overlay_free(struct overlay *o)
{
	swap_end(&o->swap);
	if (o->has_note)
		qed_note_free(&o->note);
	close_files(o);
	if (o->has_old)
		subject_close(&o->old);
	if (o->has_device)
		device_free(&o->device);
	if (o->has_intent && o->is_stuck)
		close(o->intent.fd);
	else if (o->has_intent)
		intent_leave(&o->intent);
	free(o->params);
	free(o->new_params);
	free(o->name_below);
	free(o->old_path);
	free(o->path);
}
