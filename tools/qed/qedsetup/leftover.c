// SPDX-License-Identifier: GPL-2.0-only
/*
 * What snapshots leave behind, see leftover.h.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../locks.h"
#include "../succession.h"
#include "device.h"
#include "fail.h"
#include "holder.h"
#include "identity.h"
#include "leftover.h"
#include "loop.h"
#include "overlay.h"
#include "subject.h"
#include "tables.h"
#include "tail.h"

/* It matters to nobody who asks for something else: what failed is a warning. */
static void warn_of(const char *path, const char *what)
{
	warn("%s: %s: %s", path, what, *failure() ? failure() : strerror(EIO));
	forget_failure();
}

/*----------------------------------------------------------------
 * New images
 *----------------------------------------------------------------
 */

/* Over another one, with nothing of its own */
static bool is_empty(struct subject *subject)
{
	struct qed_image *img = &subject->img;
	struct tables tables;
	u64 end = 0;
	int r;

	if (subject_read(subject) || !(le64toh(img->header.features) & QED_F_BACKING_FILE) ||
	    tables_init(&tables, img))
		return false;
	r = tables_end(&tables, &end);
	tables_free(&tables);
	return !r && end == (img->l1_offset >> img->cluster_shift) + img->table_clusters;
}

/* Then it is no image any more. */
static int wipe(int fd)
{
	static const u8 zeroes[QED_ALIGNMENT];
	u64 done;
	int r = qed_write_all(fd, zeroes, 0, sizeof(zeroes), &done);

	return !r && fsync(fd) ? -errno : r;
}

static int remove_empty(struct subject *subject)
{
	if (!is_empty(subject))
		return fail(EEXIST, "it is not empty");
	if (subject->is_block)
		return fail_as(wipe(subject->fd), subject->path);
	return unlink(subject->path) ? fail(errno, "%s", strerror(errno)) : 0;
}

/* A loop device that is over it still goes away by itself. */
void leftover_remove(const char *path)
{
	struct subject subject;
	struct stat st;
	int r;

	if (stat(path, &st))
		return;
	if (S_ISREG(st.st_mode))
		loop_wait(&st);
	r = subject_open(&subject, path, SUBJECT_WRITE);
	if (!r) {
		r = remove_empty(&subject);
		subject_close(&subject);
	}
	if (r)
		warn_of(path, "is left behind");
}

/*----------------------------------------------------------------
 * Old images
 *----------------------------------------------------------------
 */

/* Nobody else may write to it: it is a layer. */
static int trim(struct subject *subject)
{
	struct subject writable = *subject;
	char path[64];
	int r;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", subject->fd);
	writable.fd = open(path, O_RDWR | O_CLOEXEC);
	if (writable.fd < 0)
		return fail(errno, "%s", strerror(errno));
	r = tail_trim(&writable);
	close(writable.fd);
	return r;
}

void leftover_trim(const char *path)
{
	struct subject subject;
	int r = subject_open(&subject, path, SUBJECT_LOOK);

	if (!r) {
		r = trim(&subject);
		subject_close(&subject);
	}
	if (r)
		warn_of(path, "is longer than its image");
}

static int clear_note(const char *path)
{
	static const u8 no_mark[QED_MARK_SIZE];
	struct subject subject;
	struct qed_note note;
	int r = subject_open_image(&subject, path, SUBJECT_LOOK);

	if (r)
		return r;
	r = qed_note_prepare(&note, &subject.img, "", no_mark);
	if (!r) {
		r = qed_note_clear(&note);
		qed_note_free(&note);
	}
	subject_close(&subject);
	return fail_as(r, path);
}

/*----------------------------------------------------------------
 * Of one that was killed
 *----------------------------------------------------------------
 */

/* Its path; NULL if there is none, or it is not there */
static char *image_of(const char *name)
{
	struct target_table table;

	return target_get_table(name, &table) ? NULL : device_behind(table.image);
}

static bool has_image(const char *name, const char *path)
{
	struct target_table table;
	struct stat st;

	return !stat(path, &st) && !target_get_table(name, &table) &&
	       holder_is_image(&st, table.image) == 1;
}

int leftover_find(struct leftover *leftover, const char *name, const struct intent *intent)
{
	int r;

	*leftover = (struct leftover){ .name = name, .path = intent->path };
	if (strcmp(intent->verb, INTENT_SNAPSHOT))
		return 0;
	r = dm_find(name, &leftover->state);
	leftover->begun = !r && leftover->state.live;
	if (!r)
		leftover->live = leftover->begun && has_image(name, intent->path);
	return r;
}

static int resume(const struct leftover *leftover)
{
	bool hidden = !strcmp(identity_profile(leftover->state.uuid), "guest");

	return dm_resume(leftover->name, hidden);
}

/* Locks of block devices: those of the old image are not needed any more. */
static void hold(const char *path)
{
	struct subject subject;

	if (subject_open(&subject, path, SUBJECT_LOOK)) {
		forget_failure();
		return;
	}
	if (subject.is_block) {
		loop_release(&subject.st);
		if (!qed_lock(subject.fd, QED_LOCK_WRITE) && loop_hold(subject.fd))
			forget_failure();
	}
	subject_close(&subject);
}

/* What is right below the new image was the image before, unless that was reverted. */
static void tidy_below(const char *name)
{
	struct device device;
	struct stat st;

	if (device_find(&device, name)) {
		forget_failure();
		return;
	}
	if (device.table.nr_below && device_is_layer(&device, 0) && device.below[0] &&
	    !stat(device.below[0], &st)) {
		if (S_ISBLK(st.st_mode))
			loop_release(&st);
		else
			leftover_trim(device.below[0]);
	}
	device_free(&device);
}

int leftover_finish(struct leftover *leftover)
{
	int r = 0;

	if (!leftover->live && !leftover->state.inactive)
		return leftover_undo(leftover);
	if (leftover->state.inactive || leftover->state.suspended)
		r = resume(leftover);
	if (r)
		return r;
	leftover->live = true;
	hold(leftover->path);
	tidy_below(leftover->name);
	return 0;
}

int leftover_undo(struct leftover *leftover)
{
	char *image = image_of(leftover->name);
	int r = 0;

	if (leftover->state.inactive)
		r = dm_clear(leftover->name);
	if (!r && leftover->state.suspended && image)
		r = clear_note(image);
	if (!r && leftover->state.suspended)
		r = resume(leftover);
	free(image);
	if (!r)
		leftover_remove(leftover->path);
	leftover->begun = r;
	return r;
}
