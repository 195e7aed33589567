// SPDX-License-Identifier: GPL-2.0-only
/*
 * qedsetup list
 */

#define _GNU_SOURCE
#include <errno.h>
#include <libsmartcols/libsmartcols.h>
#include <stdlib.h>
#include <string.h>

#include "device.h"
#include "fail.h"
#include "output.h"
#include "request.h"
#include "size.h"

#define SECTOR	512

enum column {
	COLUMN_NAME, COLUMN_IMAGE, COLUMN_SIZE, COLUMN_USED, COLUMN_MODE, COLUMN_OPEN,
	COLUMN_DEVICE, COLUMN_BACKING, COLUMN_DEPTH, COLUMN_UUID, COLUMNS,
};

static const struct {
	const char *name;
	int flags;
} columns[] = {
	[COLUMN_NAME]		= { "NAME", 0 },
	[COLUMN_IMAGE]		= { "IMAGE", 0 },
	[COLUMN_SIZE]		= { "SIZE", SCOLS_FL_RIGHT },
	[COLUMN_USED]		= { "USED", SCOLS_FL_RIGHT },
	[COLUMN_MODE]		= { "MODE", 0 },
	[COLUMN_OPEN]		= { "OPEN", SCOLS_FL_RIGHT },
	[COLUMN_DEVICE]		= { "DEVICE", 0 },
	[COLUMN_BACKING]	= { "BACKING", 0 },
	[COLUMN_DEPTH]		= { "DEPTH", SCOLS_FL_RIGHT },
	[COLUMN_UUID]		= { "UUID", 0 },
};

static const char default_columns[] = "NAME,IMAGE,SIZE,USED,MODE,OPEN";

/* Which ones, in which order */
struct choice {
	enum column columns[COLUMNS];
	unsigned int nr;
};

static int choose(struct choice *choice, const char *text)
{
	char *copy = strdup(text), *word, *rest;
	unsigned int i;
	int r = 0;

	if (!copy)
		return -ENOMEM;
	choice->nr = 0;
	for (word = strtok_r(copy, ",", &rest); word && !r; word = strtok_r(NULL, ",", &rest)) {
		for (i = 0; i < COLUMNS && strcasecmp(word, columns[i].name); i++)
			;
		if (i == COLUMNS || choice->nr == COLUMNS)
			r = fail_advise(EINVAL, "see qedsetup list --help",
					"-o: %s: no such column, or too many", word);
		else
			choice->columns[choice->nr++] = i;
	}
	free(copy);
	return r;
}

/*----------------------------------------------------------------
 * A device
 *----------------------------------------------------------------
 */

static char *bytes_text(const struct request *request, u64 bytes)
{
	char text[SIZE_TEXT];

	if (bytes == TARGET_UNKNOWN)
		return strdup("-");
	if (request->bytes)
		snprintf(text, sizeof(text), "%llu", bytes);
	else
		size_text(bytes, text, sizeof(text));
	return strdup(text);
}

static char *number_text(unsigned int number)
{
	char text[32];

	snprintf(text, sizeof(text), "%u", number);
	return strdup(text);
}

static u64 used_bytes(const struct target_status *status)
{
	return status->used == TARGET_UNKNOWN ? TARGET_UNKNOWN :
						status->used * status->cluster_size;
}

/* The text of a column, to be freed */
static char *cell(const struct request *request, const struct device *device,
		  const struct target_status *status, enum column column)
{
	switch (column) {
	case COLUMN_NAME:
		return printable(device->name);
	case COLUMN_IMAGE:
		return printable(device->image ? device->image : "-");
	case COLUMN_SIZE:
		return bytes_text(request, device->sectors * SECTOR);
	case COLUMN_USED:
		return bytes_text(request, used_bytes(status));
	case COLUMN_MODE:
		return strdup(status->mode);
	case COLUMN_OPEN:
		return number_text(device->state.open_count);
	case COLUMN_DEVICE:
		return printable(device->path);
	case COLUMN_BACKING:
		return printable(device->below[0] ? device->below[0] : "-");
	case COLUMN_DEPTH:
		return number_text(device->table.nr_below);
	case COLUMN_UUID:
		return printable(*device->state.uuid ? device->state.uuid : "-");
	case COLUMNS:
		break;
	}
	return NULL;
}

static int add_line(struct libscols_table *table, const struct choice *choice,
		    const struct request *request, const struct device *device,
		    const struct target_status *status)
{
	struct libscols_line *line = scols_table_new_line(table, NULL);
	unsigned int i;
	char *text;

	for (i = 0; line && i < choice->nr; i++) {
		text = cell(request, device, status, choice->columns[i]);
		if (!text || scols_line_refer_data(line, i, text))
			return -ENOMEM;
	}
	return line ? 0 : -ENOMEM;
}

static struct json_object *below_array(const struct device *device)
{
	struct json_object *array = json_object_new_array();
	unsigned int i;

	for (i = 0; i < device->table.nr_below; i++)
		json_array_text(array, device->below[i] ? device->below[i] : "");
	return array;
}

static void add_object(struct json_object *array, const struct device *device,
		       const struct target_status *status)
{
	struct json_object *object = json_object_new_object();

	json_text(object, "name", device->name);
	json_text(object, "path", device->path);
	json_text(object, "uuid", device->state.uuid);
	json_text(object, "image", device->image ? device->image : "");
	json_object_object_add(object, "below", below_array(device));
	json_u64(object, "size", device->sectors * SECTOR);
	if (status->used == TARGET_UNKNOWN)
		json_null(object, "used");
	else
		json_u64(object, "used", used_bytes(status));
	json_text(object, "mode", status->mode);
	json_u64(object, "open-count", device->state.open_count);
	json_object_array_add(array, object);
}

/*----------------------------------------------------------------
 * All of them
 *----------------------------------------------------------------
 */

/**
 * struct list - what is printed
 * @request: what was asked for
 * @choice: the columns
 * @table: for people, or NULL
 * @array: for programs, or NULL
 */
struct list {
	const struct request *request;
	struct choice choice;
	struct libscols_table *table;
	struct json_object *array;
};

/* What is of another target, or has gone meanwhile, is left out. */
static int add_device(struct list *list, const char *name)
{
	struct target_status status;
	struct device device;
	int r = 0;

	if (device_find(&device, name)) {
		forget_failure();
		return 0;
	}
	if (target_get_status(name, &status))
		forget_failure();
	else if (list->array)
		add_object(list->array, &device, &status);
	else
		r = add_line(list->table, &list->choice, list->request, &device, &status);
	device_free(&device);
	return r;
}

static int add_devices(struct list *list)
{
	char **names, **name;
	int r = dm_names(&names);

	if (r)
		return r;
	for (name = names; *name; name++) {
		if (!r)
			r = add_device(list, *name);
		free(*name);
	}
	free(names);
	return r;
}

static int start_table(struct list *list)
{
	unsigned int i;

	scols_init_debug(0);
	list->table = scols_new_table();
	if (!list->table)
		return -ENOMEM;
	scols_table_enable_raw(list->table, list->request->raw);
	scols_table_enable_noheadings(list->table, list->request->no_headings);
	for (i = 0; i < list->choice.nr; i++)
		if (!scols_table_new_column(list->table, columns[list->choice.columns[i]].name, 0,
					    columns[list->choice.columns[i]].flags))
			return -ENOMEM;
	return 0;
}

static int print_table(struct list *list)
{
	int r = start_table(list);

	if (!r)
		r = add_devices(list);
	if (!r)
		r = scols_print_table(list->table);
	scols_unref_table(list->table);
	return r;
}

static int print_json(struct list *list)
{
	struct json_object *object = json_document();
	int r;

	list->array = json_object_new_array();
	json_object_object_add(object, "devices", list->array);
	r = add_devices(list);
	if (r)
		json_object_put(object);
	else
		json_print(object, false);
	return r;
}

int run_list(const struct request *request)
{
	struct list list = { .request = request };
	int r = choose(&list.choice, request->columns ? request->columns : default_columns);

	if (!r)
		r = dm_check();
	if (r)
		return r;
	return request->json ? print_json(&list) : print_table(&list);
}
