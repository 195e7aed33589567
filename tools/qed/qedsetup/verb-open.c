// SPDX-License-Identifier: GPL-2.0-only
/*
 * qedsetup open
 */

#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "../host.h"
#include "../locks.h"
#include "base.h"
#include "device.h"
#include "fail.h"
#include "follow.h"
#include "grow.h"
#include "holder.h"
#include "identity.h"
#include "intent.h"
#include "line.h"
#include "loop.h"
#include "output.h"
#include "request.h"
#include "tail.h"

#define SECTOR		512
#define MAX_SECTOR	4096

/**
 * struct opening - a device that is being made
 * @request: what was asked for
 * @name: of the device
 * @path: of the image, absolute, as it was given: it decides where a backing file is
 * @real: the same without links
 * @intent: that we are at it
 * @top: the image
 * @below: all below it
 * @tail: what has been done to the file
 * @loop: over the image, if that is a file
 * @has_loop: there is one
 * @params: of the table, or NULL
 */
struct opening {
	const struct request *request;
	const char *name;
	char *path, *real;
	struct intent intent;
	struct subject top;
	struct below below;
	struct tail tail;
	struct loop loop;
	bool has_loop;
	char *params;
};

/*----------------------------------------------------------------
 * What is asked for
 *----------------------------------------------------------------
 */

static int check_request(const struct request *request)
{
	const char *name = request->words[1];

	if (strchr(name, '/') || !strcmp(name, ".") || !strcmp(name, ".."))
		return fail(EINVAL, "%s: cannot be the name of a device: it is one in /dev/mapper",
			    name);
	if (request->sector_size != NOT_GIVEN && request->sector_size != SECTOR &&
	    request->sector_size != MAX_SECTOR)
		return fail(EINVAL, "--sector-size can be 512 or 4096");
	if (request->cache != NOT_GIVEN && request->cache < 65536)
		return fail(EINVAL, "--cache has to be at least 64K");
	if (request->commit_interval != NOT_GIVEN && request->commit_interval > 3600000)
		return fail(EINVAL, "--commit-interval can be 0 to 3600000 milliseconds");
	if (request->read_only && request->takeover)
		return fail(EINVAL, "--takeover does not go with --readonly, which takes nothing");
	return 0;
}

static unsigned int sector_size(const struct request *request)
{
	return request->sector_size == NOT_GIVEN ? SECTOR : request->sector_size;
}

/*----------------------------------------------------------------
 * The table
 *----------------------------------------------------------------
 */

static void add_if(struct line *line, bool wanted, const char *word)
{
	if (wanted)
		line_word(line, word);
}

static void add_number(struct line *line, const char *word, u64 number)
{
	if (number != NOT_GIVEN)
		line_number(line, word, number);
}

/* A size in clusters, at least one */
static u64 clusters(const struct opening *o, u64 size)
{
	return size == NOT_GIVEN ? size : div_up(size, qed_cluster_size(&o->top.img));
}

/*
 * What only a writer needs. The zeroes of a file are known by the file system: what is behind
 * the end of the image has been given back to it.
 */
static void add_writer_options(struct opening *o, struct line *line)
{
	const struct request *request = o->request;
	char host[QED_HOST_SIZE];

	identity_host(&o->top.record, host);
	if (*host) {
		line_word(line, "host");
		line_word(line, host);
	}
	add_if(line, request->takeover, "takeover");
	add_if(line, request->known_zeroes || !o->top.is_block, "known_zeroes");
	if (o->tail.zeroed_from)
		add_number(line, "zeroed_from", o->tail.zeroed_from);
	add_number(line, "commit_interval", request->commit_interval);
	add_number(line, "low_water", clusters(o, request->low_water));
	add_number(line, "zero_ahead", clusters(o, request->zero_ahead));
	add_if(line, request->error_if_no_space, "error_if_no_space");
	add_if(line, request->ignore_discard, "ignore_discard");
	add_if(line, request->no_discard_passdown, "no_discard_passdown");
}

/* Nearest first */
static void add_below(struct line *line, const struct below *below)
{
	const struct qed_chain *chain = &below->chain;
	unsigned int i;

	for (i = 1; i < chain->nr; i++)
		line_below(line, base_device(below, i), qed_chain_is_raw(chain, i));
}

static int write_params(struct opening *o)
{
	const struct request *request = o->request;
	struct line line = { .nr = 0 };

	add_below(&line, &o->below);
	add_if(&line, request->read_only, "read_only");
	if (request->cache != NOT_GIVEN)
		line_number(&line, "cache_kib", request->cache / 1024);
	if (!request->read_only)
		add_writer_options(o, &line);
	o->params = line_params(&line, o->top.is_block ? o->top.st.st_rdev : o->loop.device);
	return o->params ? 0 : fail(E2BIG, "%s: too many options", o->name);
}

/*----------------------------------------------------------------
 * What a device needs besides
 *----------------------------------------------------------------
 */

/* Of a block device nobody would know QEMU's locks once we have ended. */
static void hold_locks(const struct opening *o, int fd)
{
	if (!loop_hold(fd))
		return;
	warn("%s: QEMU is not kept from it: %s", o->path, failure());
	forget_failure();
}

/*
 * An image that was not closed has kept its tail, and may need more: it becomes longer once the
 * kernel has seen that its tables are in order, for what is behind the end is a defect.
 */
static void grow_active(const struct opening *o)
{
	struct device device;
	int r = device_find(&device, o->name);

	if (!r) {
		r = grow_device(&device, o->request->headroom);
		device_free(&device);
	}
	if (!r)
		return;
	warn("%s: is open, but has not got more space: %s: see qedsetup grow", o->path, failure());
	forget_failure();
}

/* Somebody has made the device who was killed then, before what would have followed. */
static int finish(struct opening *o)
{
	struct subject top;

	dm_update_node(o->name);
	if (o->request->read_only)
		return 1;
	if (!S_ISBLK(o->top.st.st_mode)) {
		grow_active(o);
		return 1;
	}
	if (subject_open(&top, o->path, SUBJECT_LOOK))
		return 1;
	loop_release(&top.st);
	if (!qed_lock(top.fd, QED_LOCK_WRITE))
		hold_locks(o, top.fd);
	subject_close(&top);
	return 1;
}

/*----------------------------------------------------------------
 * What was there
 *----------------------------------------------------------------
 */

static int is_this_image(const struct opening *o)
{
	struct target_table table;
	int r = target_get_table(o->name, &table);

	return r ? r : holder_is_image(&o->top.st, table.image);
}

static int say_exists(const struct opening *o)
{
	char *user = NULL;
	struct device device;
	int r = device_find(&device, o->name);

	if (!r) {
		user = device.image ? strdup(device.image) : NULL;
		device_free(&device);
	}
	forget_failure();
	r = fail(EEXIST, "%s: there is such a device%s%s: close it, or take another name", o->name,
		 user ? ", with the image " : "", user ? user : "");
	free(user);
	return r;
}

/*
 * A device of this name: 1 if it is what is asked for, and was asked for by one who has been
 * killed, or may be there; 0 if there is none any more.
 */
static int settle_existing(struct opening *o)
{
	struct dm_state state;
	int r = dm_find(o->name, &state);

	if (r || !state.exists)
		return r;
	if (!state.live && strcmp(identity_profile(state.uuid), "other")) {
		r = dm_remove(o->name, false);
		if (!r && S_ISREG(o->top.st.st_mode))
			loop_wait(&o->top.st);
		return r;
	}
	if (is_this_image(o) != 1)
		return say_exists(o);
	if (intent_was(&o->intent, INTENT_OPEN, &o->top.st))
		return finish(o);
	return o->request->if_needed ? 1 : say_exists(o);
}

/*----------------------------------------------------------------
 * Loop devices
 *----------------------------------------------------------------
 */

static int check_direct(const struct opening *o, const struct loop *loop, const char *path)
{
	if (loop->is_direct || o->request->buffered)
		return 0;
	if (loop->sector_size < MAX_SECTOR)
		return fail_advise(ENOTSUP, "--sector-size 4096, or --buffered, see qedsetup(8)",
				   "%s: no direct I/O with sectors of %u bytes", path,
				   loop->sector_size);
	return fail_advise(ENOTSUP, "another one is better, but --buffered does without",
			   "%s: its file system has no direct I/O", path);
}

/*
 * Over the file of an image whose disk has @size bytes. What is only read does for all of its
 * readers.
 */
static int attach(const struct opening *o, struct loop *loop, int fd, const struct stat *st,
		  const char *path, u64 size, bool read_only)
{
	bool direct = !o->request->buffered;
	unsigned int sector = sector_size(o->request);

	if (size % sector)
		return fail(EINVAL, "%s: its disk has %llu bytes, which are no whole sectors of %u",
			    path, size, sector);
	if (read_only && loop_share(loop, st, direct, sector))
		return 0;
	return loop_attach(loop, fd, path, read_only, direct, sector);
}

static int attach_image(struct opening *o)
{
	const struct subject *top = &o->top;
	int r;

	if (top->is_block)
		return 0;
	r = attach(o, &o->loop, top->fd, &top->st, o->real, top->img.image_size,
		   o->request->read_only);
	if (r)
		return r;
	o->has_loop = true;
	return check_direct(o, &o->loop, o->path);
}

static int attach_layer(const struct opening *o, const struct qed_image *img, bool is_raw,
			struct below_layer *layer)
{
	int r;

	if (img->is_block)
		return 0;
	r = attach(o, &layer->loop, img->fd, &layer->st, img->path,
		   is_raw ? img->size : img->image_size, true);
	if (r)
		return r;
	layer->has_loop = true;
	return check_direct(o, &layer->loop, img->path);
}

static int attach_below(struct opening *o)
{
	struct qed_chain *chain = &o->below.chain;
	unsigned int i;
	int r = 0;

	for (i = 1; !r && i < chain->nr; i++)
		r = attach_layer(o, chain->images[i], qed_chain_is_raw(chain, i),
				 &o->below.layers[i]);
	return r;
}

/*----------------------------------------------------------------
 * A device
 *----------------------------------------------------------------
 */

/* The kernel refuses it, too, but only in its log */
static int check_owner(const struct opening *o)
{
	const struct qed_record *record = &o->top.record;
	char host[QED_HOST_SIZE];

	if (o->request->read_only || o->request->takeover || !subject_is_active(&o->top))
		return 0;
	identity_host(record, host);
	if (!strcmp(host, record->host) || qed_is_this_host(record->host))
		return 0;
	return fail_advise(EBUSY, "--takeover if it is sure that this one writes no more",
			   "%s: host %s has it, or had it when it crashed", o->path, record->host);
}

static int make_device(struct opening *o)
{
	u64 sectors = o->top.img.image_size / SECTOR;
	char uuid[DM_UUID_SIZE];
	int r = write_params(o);

	identity_uuid(uuid, o->request->host, o->real, o->name);
	if (!r)
		r = dm_make(o->name, uuid, sectors, o->params, o->request->read_only,
			    !o->request->host);
	if (r)
		return r;
	if (o->top.is_block && !o->request->read_only)
		hold_locks(o, o->top.fd);
	if (!o->request->read_only && !o->tail.grown)
		grow_active(o);
	return 0;
}

static int open_below(struct opening *o)
{
	u64 headroom = o->request->headroom == NOT_GIVEN ? 0 : o->request->headroom;
	int r = check_owner(o);

	if (!r)
		r = base_open(&o->below, &o->top, o->request->backing);
	if (!r && !o->request->read_only)
		r = tail_grow(&o->top, headroom, &o->tail);
	if (!r)
		r = attach_image(o);
	return r ? r : attach_below(o);
}

/* Those that the device has go on without us, and the others go away. */
static void close_all(struct opening *o, int r)
{
	if (o->has_loop)
		loop_close(&o->loop);
	base_close(&o->below);
	if (r)
		tail_undo(&o->top, &o->tail);
	subject_close(&o->top);
}

static int open_new(struct opening *o)
{
	int r = subject_open_image(&o->top, o->path,
				   o->request->read_only ? SUBJECT_READ : SUBJECT_WRITE);

	if (r)
		return r;
	r = open_below(o);
	if (!r)
		r = make_device(o);
	close_all(o, r);
	return r;
}

static int open_locked(struct opening *o)
{
	int r = settle_existing(o);

	if (r == 1)
		return 0;
	if (r)
		return r;
	r = intent_write(&o->intent, INTENT_OPEN, o->real, &o->top.st);
	return r ? r : open_new(o);
}

static void print(const struct opening *o)
{
	struct json_object *object;
	char *path;

	if (!o->request->json)
		return;
	object = json_document();
	path = dm_path(o->name);
	json_text(object, "name", o->name);
	json_text(object, "path", path ? path : "");
	json_text(object, "image", o->path);
	json_print(object, false);
	free(path);
}

/* Links of the path stay: QEMU looks for a backing file beside them. */
static int take_path(struct opening *o, const char *path)
{
	char *folder = *path == '/' ? NULL : getcwd(NULL, 0);

	if (asprintf(&o->path, "%s%s%s", folder ? folder : "", folder ? "/" : "", path) < 0)
		o->path = NULL;
	free(folder);
	if (!o->path)
		return -ENOMEM;
	o->real = realpath(path, NULL);
	if (!o->real || stat(path, &o->top.st))
		return fail(errno, "%s: %s", path, strerror(errno));
	return 0;
}

/* Who reads gets what is named, and who writes what the disk is in now. */
static int find_image(struct opening *o)
{
	const char *path = o->request->words[0];
	char *top;
	int r;

	if (o->request->read_only || o->request->frozen)
		return take_path(o, path);
	r = follow(path, &top);
	if (r)
		return r;
	r = take_path(o, top);
	free(top);
	return r;
}

int run_open(const struct request *request)
{
	struct opening o = { .request = request, .name = request->words[1] };
	int r = check_request(request);

	if (!r)
		r = dm_check();
	if (!r)
		r = dm_check_target();
	if (r)
		return r;
	r = find_image(&o);
	if (r)
		goto out;
	r = intent_begin(&o.intent, o.name);
	if (!r) {
		r = open_locked(&o);
		intent_end(&o.intent);
	}
	if (!r)
		print(&o);
out:
	free(o.params);
	free(o.path);
	free(o.real);
	return r;
}
