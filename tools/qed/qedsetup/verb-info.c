// SPDX-License-Identifier: GPL-2.0-only
/*
 * qedsetup info
 */

#include <stdlib.h>
#include <string.h>

#include "../locks.h"
#include "base.h"
#include "fail.h"
#include "holder.h"
#include "output.h"
#include "request.h"
#include "subject.h"

/**
 * struct layer - an image of a chain
 * @img: the image
 * @record: its record, if it is a QED image
 * @is_raw: it is a raw one
 * @backing: the name in its header, or NULL
 * @path: of what that stands for, or NULL
 */
struct layer {
	struct qed_image *img;
	struct qed_record record;
	bool is_raw;
	char *backing;
	const char *path;
};

/*----------------------------------------------------------------
 * For programs
 *----------------------------------------------------------------
 */

static void owner_text(const struct qed_record *record, char text[2 * QED_OWNER_SIZE + 1])
{
	unsigned int i;

	for (i = 0; i < QED_OWNER_SIZE; i++)
		sprintf(text + 2 * i, "%02x", record->owner[i]);
}

static struct json_object *record_object(const struct layer *layer)
{
	struct json_object *object = json_object_new_object();
	const struct qed_record *record = &layer->record;
	unsigned int shift = layer->img->cluster_shift;
	char owner[2 * QED_OWNER_SIZE + 1];

	json_flag(object, "valid", record->state == QED_RECORD_VALID);
	if (record->state != QED_RECORD_VALID) {
		json_text(object, "defect", record->what);
		return object;
	}
	owner_text(record, owner);
	json_text(object, "host", record->host);
	json_text(object, "owner", owner);
	json_flag(object, "active", record->active);
	json_u64(object, "end", record->end << shift);
	json_u64(object, "zero-from", record->zero_from << shift);
	json_u64(object, "zero-end", record->zero_end << shift);
	json_u64(object, "device-size", record->device_size);
	return object;
}

static void add_backing(struct json_object *object, const struct layer *layer)
{
	u64 features = le64toh(layer->img->header.features);

	if (!layer->backing)
		return;
	json_text(object, "backing-filename", layer->backing);
	if (layer->path)
		json_text(object, "full-backing-filename", layer->path);
	if (features & QED_F_BACKING_FORMAT_NO_PROBE)
		json_text(object, "backing-filename-format", "raw");
}

static struct json_object *layer_object(const struct layer *layer)
{
	struct json_object *object = json_object_new_object();
	const struct qed_image *img = layer->img;
	u64 features = le64toh(img->header.features);

	json_text(object, "filename", img->path);
	json_text(object, "format", layer->is_raw ? "raw" : "qed");
	json_u64(object, "file-size", img->size);
	if (layer->is_raw)
		return object;
	json_u64(object, "image-size", img->image_size);
	json_u64(object, "cluster-size", qed_cluster_size(img));
	json_u64(object, "table-size", qed_table_bytes(img));
	json_u64(object, "l1-table-offset", img->l1_offset);
	json_flag(object, "need-check", features & QED_F_NEED_CHECK);
	add_backing(object, layer);
	if (layer->record.state == QED_RECORD_NONE)
		json_null(object, "record");
	else
		json_object_object_add(object, "record", record_object(layer));
	return object;
}

/*----------------------------------------------------------------
 * For people
 *----------------------------------------------------------------
 */

static void print_record(const struct layer *layer)
{
	const struct qed_record *record = &layer->record;
	char owner[2 * QED_OWNER_SIZE + 1];

	if (record->state == QED_RECORD_NONE)
		return print_text("record:", "none: dm-qed was not the last to write to it");
	if (record->state == QED_RECORD_IGNORED)
		return print_text("record:", record->what);
	owner_text(record, owner);
	print_text("last host:", record->host);
	print_text("owner:", owner);
	print_text("active:", record->active ? "yes" : "no");
	if (record->end)
		print_size("end:", record->end << layer->img->cluster_shift);
	if (record->zero_end)
		print_size("known zeroes:", (record->zero_end - record->zero_from)
					    << layer->img->cluster_shift);
}

static void print_layer(const struct layer *layer)
{
	const struct qed_image *img = layer->img;
	char *path = printable(img->path);

	printf("%s: %s image\n", path, layer->is_raw ? "raw" : "QED");
	free(path);
	print_size("file size:", img->size);
	if (layer->is_raw)
		return;
	print_size("disk size:", img->image_size);
	print_size("cluster size:", qed_cluster_size(img));
	print_size("table size:", qed_table_bytes(img));
	if (layer->backing)
		print_text("backing file:", layer->backing);
	if (layer->backing && layer->path && strcmp(layer->path, layer->backing))
		print_text("which is:", layer->path);
	print_text("need check:", le64toh(img->header.features) & QED_F_NEED_CHECK ? "yes" : "no");
	print_record(layer);
}

/*----------------------------------------------------------------
 * The verb
 *----------------------------------------------------------------
 */

/* The header of one that is below, too, has to be in order */
static int read_layer(struct layer *layer)
{
	int r;

	if (layer->is_raw)
		return 0;
	r = subject_check_header(layer->img);
	if (!r)
		r = qed_record_read(layer->img, &layer->img->header, &layer->record);
	if (!r)
		r = qed_backing_name(layer->img, &layer->backing);
	return fail_as(r, layer->img->path);
}

static int print_one(const struct qed_chain *chain, unsigned int i, struct json_object *images)
{
	struct layer layer = { .img = chain->images[i] };
	int r;

	layer.is_raw = qed_chain_is_raw(chain, i);
	layer.path = chain->paths[i + 1];
	r = read_layer(&layer);
	if (r)
		return r;
	if (images)
		json_object_array_add(images, layer_object(&layer));
	else
		print_layer(&layer);
	free(layer.backing);
	return 0;
}

/* Who has it now; nobody may have it with an active record: after a crash */
static void print_users(const struct subject *subject, struct json_object *object)
{
	/* to look at all processes takes a while: only if there is one to be found */
	char *holder = holder_find(&subject->st, qed_is_locked(subject->fd));

	if (object && holder)
		json_text(object, "in-use-by", holder);
	else if (object)
		json_null(object, "in-use-by");
	else if (holder)
		print_text("in use by:", holder);
	free(holder);
}

static int print_chain(const struct request *request, struct subject *subject,
		       struct qed_chain *chain)
{
	struct json_object *object = request->json ? json_document() : NULL;
	struct json_object *images = request->json ? json_object_new_array() : NULL;
	unsigned int i;
	int r = 0;

	for (i = 0; !r && i < chain->nr && (!i || request->chain); i++) {
		r = print_one(chain, i, images);
		if (!r && !i)
			print_users(subject, object);
	}
	if (!object)
		return r;
	json_object_object_add(object, "images", images);
	if (r)
		json_object_put(object);
	else
		json_print(object, false);
	return r;
}

int run_info(const struct request *request)
{
	struct qed_chain chain = { .nr = 1 };
	struct subject subject;
	int r = subject_open_image(&subject, request->words[0], SUBJECT_LOOK);

	if (r)
		return r;
	chain.images[0] = &subject.img;
	if (request->chain)
		r = base_open_chain(&chain);
	if (!r)
		r = print_chain(request, &subject, &chain);
	qed_chain_close(&chain);
	subject_close(&subject);
	return r;
}
