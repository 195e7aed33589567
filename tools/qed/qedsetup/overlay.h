/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A new image over that of a device in use: what a snapshot consists of for one disk.
 *
 * Until overlay_record() the device has its image as ever, and whatever fails, or kills us, leaves
 * that so. It is called while the device is suspended. From then on whoever opens the old image
 * gets the new one, which reads the same until the device is resumed with it.
 */

#ifndef QEDSETUP_OVERLAY_H
#define QEDSETUP_OVERLAY_H

#include "../succession.h"
#include "create.h"
#include "device.h"
#include "intent.h"
#include "loop.h"
#include "request.h"
#include "subject.h"
#include "swap.h"
#include "tail.h"

#define INTENT_SNAPSHOT	"snapshot"

/**
 * struct overlay - a device, and its new image
 * @request: what was asked for
 * @name: of the device
 * @path: of the new image, from the root
 * @intent: that we are at it
 * @has_intent: it is held
 * @device: as it was
 * @has_device: it has been found
 * @params: of its table
 * @old: its image
 * @old_path: of that, from the root
 * @old_fd: of its device, which does not go away as long as this is open; -1: none
 * @has_old: it is open
 * @sector_size: its logical blocks
 * @from: what of all below it is below the new image, from this index on
 * @name_below: what the new image calls what is right below it
 * @image: what the new one is to be
 * @is_made: it is there
 * @top: the new image, open
 * @has_top: it is
 * @tail: of its file
 * @loop: over that
 * @has_loop: there is one
 * @layer: over the file of the old image, to read it
 * @has_layer: there is one
 * @new_params: of the new table
 * @note: for the old image
 * @has_note: it is prepared
 * @swap: of the tables
 * @is_stuck: it could neither be done nor undone: that is left to the next call
 */
struct overlay {
	const struct request *request;
	const char *name;
	char *path;
	struct intent intent;
	bool has_intent;
	struct device device;
	bool has_device;
	char *params;
	struct subject old;
	char *old_path;
	int old_fd;
	bool has_old;
	unsigned int sector_size;
	unsigned int from;
	char *name_below;
	struct new_image image;
	bool is_made;
	struct subject top;
	bool has_top;
	struct tail tail;
	struct loop loop, layer;
	bool has_loop, has_layer;
	char *new_params;
	struct qed_note note;
	bool has_note;
	struct swap swap;
	bool is_stuck;
};

/* All of these return 0 or a negative error number, and have noted what failed. */

/* Find the device, and see whether it can have a snapshot. To be freed in any case. */
int overlay_find(struct overlay *overlay);

/* Make the new image. */
int overlay_make(struct overlay *overlay);

/* Load the new table, and prepare the note in the old image. */
int overlay_load(struct overlay *overlay);

/* The device is suspended: is the image closed, with all that was written? */
int overlay_check(struct overlay *overlay);

/* Write down that the new image is what the disk goes on in. Takes no memory. */
int overlay_record(struct overlay *overlay);

/* Take that back. */
int overlay_unrecord(struct overlay *overlay);

/* Take away all that is new. The device has its old table. */
void overlay_undo(struct overlay *overlay);

/* The device has its new table: what is left to do with the old image, as far as it can be done */
void overlay_complete(struct overlay *overlay);

void overlay_free(struct overlay *overlay);

#endif /* QEDSETUP_OVERLAY_H */
