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
#include "grow.h"
#include "holder.h"
#include "identity.h"
#include "intent.h"
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
 * @base: what is below, if @base_path is set
 * @base_path: its path, or NULL
 * @tail: what has been done to the file
 * @loop: over the image, if that is a file
 * @base_loop: the same for the base
 * @has_loop: there is one
 * @has_base_loop: the same
 * @params: of the table
 */
struct opening {
	const struct request *request;
	const char *name;
	char *path, *real;
	struct intent intent;
	struct subject top, base;
	char *base_path;
	struct tail tail;
	struct loop loop, base_loop;
	bool has_loop, has_base_loop;
	char params[1024];
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

/**
 * struct options - those of a table line
 * @text: all of them
 * @nr: number of words
 */
struct options {
	char text[768];
	unsigned int nr;
};

static void add_word(struct options *options, const char *word)
{
	size_t length = strlen(options->text);

	snprintf(options->text + length, sizeof(options->text) - length, " %s", word);
	options->nr++;
}

static void add_if(struct options *options, bool wanted, const char *word)
{
	if (wanted)
		add_word(options, word);
}

static void add_number(struct options *options, const char *word, u64 number)
{
	char text[32];

	if (number == NOT_GIVEN)
		return;
	snprintf(text, sizeof(text), "%llu", number);
	add_word(options, word);
	add_word(options, text);
}

/* A size in clusters, at least one */
static u64 clusters(const struct opening *o, u64 size)
{
	return size == NOT_GIVEN ? size : div_up(size, qed_cluster_size(&o->top.img));
}

static void add_device(struct options *options, const char *word, dev_t device)
{
	char text[32];

	snprintf(text, sizeof(text), "%u:%u", major(device), minor(device));
	add_word(options, word);
	add_word(options, text);
}

/*
 * What only a writer needs. The zeroes of a file are known by the file system: what is behind
 * the end of the image has been given back to it.
 */
static void add_writer_options(struct opening *o, struct options *options)
{
	const struct request *request = o->request;
	char host[QED_HOST_SIZE];

	identity_host(&o->top.record, host);
	if (*host) {
		add_word(options, "host");
		add_word(options, host);
	}
	add_if(options, request->takeover, "takeover");
	add_if(options, request->known_zeroes || !o->top.is_block, "known_zeroes");
	if (o->tail.zeroed_from)
		add_number(options, "zeroed_from", o->tail.zeroed_from);
	add_number(options, "commit_interval", request->commit_interval);
	add_number(options, "low_water", clusters(o, request->low_water));
	add_number(options, "zero_ahead", clusters(o, request->zero_ahead));
	add_if(options, request->error_if_no_space, "error_if_no_space");
	add_if(options, request->ignore_discard, "ignore_discard");
	add_if(options, request->no_discard_passdown, "no_discard_passdown");
}

static dev_t device_of(const struct subject *subject, const struct loop *loop)
{
	return subject->is_block ? subject->st.st_rdev : loop->device;
}

static int write_params(struct opening *o)
{
	const struct request *request = o->request;
	dev_t device = device_of(&o->top, &o->loop);
	struct options options = { .nr = 0 };
	int n;

	/* images of the format below this one, nearest first, have their place here */
	if (o->base_path)
		add_device(&options, "backing", device_of(&o->base, &o->base_loop));
	add_if(&options, request->read_only, "read_only");
	if (request->cache != NOT_GIVEN)
		add_number(&options, "cache_kib", request->cache / 1024);
	if (!request->read_only)
		add_writer_options(o, &options);
	n = snprintf(o->params, sizeof(o->params), "%u:%u %u%s", major(device), minor(device),
		     options.nr, options.text);
	return n < (int)sizeof(o->params) ? 0 : fail(E2BIG, "%s: too many options", o->name);
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

static int attach(const struct opening *o, struct loop *loop, const struct subject *subject,
		  const char *path, bool read_only)
{
	bool direct = !o->request->buffered;

	/* what is only read does for all of its readers */
	if (read_only && loop_share(loop, &subject->st, direct, sector_size(o->request)))
		return 0;
	return loop_attach(loop, subject->fd, path, read_only, direct, sector_size(o->request));
}

static int attach_image(struct opening *o)
{
	int r;

	if (o->top.is_block)
		return 0;
	r = attach(o, &o->loop, &o->top, o->real, o->request->read_only);
	if (r)
		return r;
	o->has_loop = true;
	return check_direct(o, &o->loop, o->path);
}

static int attach_base(struct opening *o)
{
	int r;

	if (!o->base_path || o->base.is_block)
		return 0;
	if (o->base.st.st_size % sector_size(o->request))
		return fail(EINVAL, "%s: its size is not a multiple of %u", o->base_path,
			    sector_size(o->request));
	r = attach(o, &o->base_loop, &o->base, o->base_path, true);
	if (r)
		return r;
	o->has_base_loop = true;
	return check_direct(o, &o->base_loop, o->base_path);
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

static int check_disk_size(const struct opening *o)
{
	u64 size = o->top.img.image_size;

	if (o->top.is_block || !(size % sector_size(o->request)))
		return 0;
	return fail(EINVAL, "%s: its disk has %llu bytes, which are no whole sectors of %u",
		    o->path, size, sector_size(o->request));
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
		r = check_disk_size(o);
	if (!r)
		r = base_open(&o->base, &o->top, o->request->backing, &o->base_path);
	if (!r && !o->request->read_only)
		r = tail_grow(&o->top, headroom, &o->tail);
	if (!r)
		r = attach_image(o);
	return r ? r : attach_base(o);
}

/* Those that the device has go on without us, and the others go away. */
static void close_all(struct opening *o, int r)
{
	if (o->has_loop)
		loop_close(&o->loop);
	if (o->has_base_loop)
		loop_close(&o->base_loop);
	if (o->base_path)
		subject_close(&o->base);
	free(o->base_path);
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
static int find_image(struct opening *o)
{
	const char *path = o->request->words[0];
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
	free(o.path);
	free(o.real);
	return r;
}
