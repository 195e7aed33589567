// SPDX-License-Identifier: GPL-2.0-only
/*
 * qedsetup snapshot
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fail.h"
#include "freeze.h"
#include "leftover.h"
#include "naming.h"
#include "output.h"
#include "overlay.h"

/**
 * struct group - disks that have their snapshots at the same moment
 * @request: what was asked for
 * @disks: all of them
 * @nr: number of them
 * @freeze: the guest, if it is told
 * @paused: for how long they have been suspended, in microseconds
 */
struct group {
	const struct request *request;
	struct overlay disks[MAX_WORDS / 2];
	unsigned int nr;
	struct freeze freeze;
	u64 paused;
};

/* Do something with each disk, up to the first one that fails */
static int each(struct group *group, int (*act)(struct overlay *overlay))
{
	unsigned int i;
	int r = 0;

	for (i = 0; i < group->nr && !r; i++)
		r = act(&group->disks[i]);
	return r;
}

/*----------------------------------------------------------------
 * While they are suspended
 *----------------------------------------------------------------
 */

static int commit(struct overlay *overlay)
{
	return dm_send(overlay->name, "commit");
}

static int suspend(struct overlay *overlay)
{
	return swap_suspend(&overlay->swap);
}

static int resume(struct overlay *overlay)
{
	return swap_resume(&overlay->swap);
}

/* All of them, also if one fails */
static void go_back(struct group *group)
{
	struct overlay *overlay;
	unsigned int i;
	int r;

	for (i = 0; i < group->nr; i++) {
		overlay = &group->disks[i];
		if (overlay->swap.resumed)
			continue;
		r = overlay_unrecord(overlay);
		overlay->is_stuck = swap_back(&overlay->swap) || r;
	}
}

/*
 * No write completes on a disk that is suspended, and none is resumed before all are: what was
 * complete before a write of the snapshot was issued is in that of its own disk.
 */
static int cut(struct group *group)
{
	int r = each(group, suspend);

	if (!r)
		r = each(group, overlay_check);
	if (!r)
		r = each(group, overlay_record);
	if (!r)
		r = each(group, resume);
	if (r)
		go_back(group);
	return r;
}

static u64 now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000ULL + time.tv_nsec / 1000;
}

/* What the disks of the guest still have to write is done before they have to wait for it. */
static int commit_and_cut(struct group *group)
{
	u64 began;
	int r = each(group, commit);

	if (!r)
		r = swap_lock();
	if (r)
		return r;
	began = now();
	r = cut(group);
	group->paused = now() - began;
	swap_unlock();
	return r;
}

/*----------------------------------------------------------------
 * Before and after
 *----------------------------------------------------------------
 */

/* The disks that have come to their snapshot go on in that, whatever has become of others. */
static void end_disks(struct group *group)
{
	struct overlay *overlay;
	unsigned int i;

	for (i = 0; i < group->nr; i++) {
		overlay = &group->disks[i];
		if (overlay->swap.resumed)
			overlay_complete(overlay);
		else if (!overlay->is_stuck)
			overlay_undo(overlay);
	}
}

/* A failure after the first one has been resumed cannot be undone. */
static int say_split(const struct group *group, int r)
{
	unsigned int i, done = 0;
	char *why;

	for (i = 0; i < group->nr; i++)
		done += group->disks[i].swap.resumed;
	if (!r || !done)
		return r;
	why = strdup(failure());
	forget_failure();
	fail(-r, "%s: but %u of %u disks go on in their new images, the first ones", why ? why : "",
	     done, group->nr);
	free(why);
	return r;
}

static int take_snapshot(struct group *group)
{
	int r = each(group, overlay_find);

	if (!r)
		r = each(group, overlay_make);
	if (!r)
		r = each(group, overlay_load);
	if (!r)
		r = freeze_begin(&group->freeze, group->request->freeze);
	if (!r)
		r = commit_and_cut(group);
	if (r)
		go_back(group);
	freeze_end(&group->freeze);
	end_disks(group);
	return say_split(group, r);
}

/*----------------------------------------------------------------
 * What was begun by one who was killed
 *----------------------------------------------------------------
 */

/* Once one of them goes on in its new image all of them can, and have to. */
static int settle_all(struct group *group, struct leftover *leftovers, bool finish)
{
	unsigned int i;
	int r = 0;

	for (i = 0; i < group->nr && !r; i++) {
		if (!leftovers[i].begun)
			continue;
		group->disks[i].is_stuck = true;
		r = finish ? leftover_finish(&leftovers[i]) : leftover_undo(&leftovers[i]);
		group->disks[i].is_stuck = r;
		/* what was begun has come to its end */
		*group->disks[i].intent.verb = '\0';
	}
	return r;
}

/* Is it what is asked for now? 1, 0 if there is nothing left of it, or what failed */
static int judge(const struct group *group, const struct leftover *leftovers)
{
	unsigned int i, done = 0;

	for (i = 0; i < group->nr; i++)
		done += leftovers[i].live && !strcmp(leftovers[i].path, group->disks[i].path);
	if (done && done < group->nr)
		return fail_advise(EEXIST, "give another image, for a new snapshot",
				   "a call that was killed has made some of these snapshots");
	return done;
}

static int settle(struct group *group)
{
	struct leftover leftovers[MAX_WORDS / 2];
	bool finish = false;
	unsigned int i;
	int r = 0;

	for (i = 0; i < group->nr && !r; i++) {
		r = leftover_find(&leftovers[i], group->disks[i].name, &group->disks[i].intent);
		finish |= leftovers[i].live;
	}
	if (!r)
		r = settle_all(group, leftovers, finish);
	return r ? r : judge(group, leftovers);
}

/*----------------------------------------------------------------
 * The verb
 *----------------------------------------------------------------
 */

static bool is_same(const struct overlay *overlay, const struct overlay *other)
{
	return !strcmp(overlay->name, other->name) || !strcmp(overlay->path, other->path);
}

static int begin_disk(struct group *group, struct overlay *overlay)
{
	const char *path = group->request->words[2 * group->nr + 1];
	unsigned int i;
	int r;

	*overlay = (struct overlay){ .request = group->request, .old_fd = -1,
				     .name = group->request->words[2 * group->nr] };
	group->nr++;
	overlay->path = naming_path(path);
	if (!overlay->path)
		return fail(errno, "%s: %s", path, strerror(errno));
	for (i = 0; i < group->nr - 1; i++)
		if (is_same(overlay, &group->disks[i]))
			return fail(EINVAL, "%s, %s: is there twice", overlay->name, path);
	r = intent_begin(&overlay->intent, overlay->name);
	overlay->has_intent = !r;
	return r;
}

static int begin_group(struct group *group)
{
	int r = 0;

	while (!r && group->nr < group->request->nr_words / 2)
		r = begin_disk(group, &group->disks[group->nr]);
	return r;
}

static void print(const struct group *group)
{
	struct json_object *object = json_document(), *array = json_object_new_array(), *disk;
	unsigned int i;

	for (i = 0; i < group->nr; i++) {
		disk = json_object_new_object();
		json_text(disk, "name", group->disks[i].name);
		json_text(disk, "image", group->disks[i].path);
		json_object_array_add(array, disk);
	}
	json_object_object_add(object, "disks", array);
	json_u64(object, "paused-us", group->paused);
	json_print(object, false);
}

static int run_group(struct group *group)
{
	int r = begin_group(group);

	if (!r)
		r = settle(group);
	if (!r)
		r = take_snapshot(group);
	return r < 0 ? r : 0;
}

static int check_request(const struct request *request)
{
	if (request->nr_words % 2)
		return fail_advise(EINVAL, "see qedsetup snapshot --help",
				   "snapshot needs an image for each device");
	if (request->revert && request->nr_words > 2)
		return fail(EINVAL, "--revert is for one device at a time");
	return dm_check();
}

int run_snapshot(const struct request *request)
{
	struct group *group;
	unsigned int i;
	int r = check_request(request);

	if (r)
		return r;
	group = calloc(1, sizeof(*group));
	if (!group)
		return -ENOMEM;
	group->request = request;
	r = run_group(group);
	if (!r && request->json)
		print(group);
	for (i = 0; i < group->nr; i++)
		overlay_free(&group->disks[i]);
	free(group);
	return r;
}
