// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is printed, see output.h.
 */

#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "../escape.h"
#include "fail.h"
#include "output.h"
#include "size.h"

static bool has_begun;

/*----------------------------------------------------------------
 * JSON
 *----------------------------------------------------------------
 */

static struct json_object *text_object(const char *text)
{
	struct json_object *object;
	char *copy = strdup(text), *p = copy;
	unsigned int length;
	u32 code;

	for (; p && *p; p += length) {
		length = qed_next_char(p, &code);
		if (length)
			continue;
		*p = '?';
		length = 1;
	}
	object = json_object_new_string(copy ? copy : "?");
	free(copy);
	return object;
}

void json_text(struct json_object *object, const char *key, const char *text)
{
	json_object_object_add(object, key, text_object(text));
}

void json_array_text(struct json_object *array, const char *text)
{
	json_object_array_add(array, text_object(text));
}

void json_u64(struct json_object *object, const char *key, u64 number)
{
	json_object_object_add(object, key, json_object_new_uint64(number));
}

void json_flag(struct json_object *object, const char *key, bool flag)
{
	json_object_object_add(object, key, json_object_new_boolean(flag));
}

void json_null(struct json_object *object, const char *key)
{
	json_object_object_add(object, key, NULL);
}

struct json_object *json_document(void)
{
	struct json_object *object = json_object_new_object();

	json_u64(object, "schema", JSON_SCHEMA);
	return object;
}

void json_failure(struct json_object *object, int r)
{
	json_text(object, "error", failure());
	json_u64(object, "exit-status", exit_status(r));
}

/* What json-c leaves as it is, and a terminal would take for something else, as escapes */
static void print_escaped(const char *text, size_t size)
{
	const char *end = text + size;
	unsigned int length;
	u32 code;

	for (; text < end; text += length) {
		length = qed_next_char(text, &code);
		length = length ? length : 1;
		if (qed_is_control(code) && code >= 0x20)
			printf("\\u%04x", code);
		else
			fwrite(text, 1, length, stdout);
	}
}

static const char *json_string(struct json_object *object)
{
	return json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN |
					      JSON_C_TO_STRING_NOSLASHESCAPE);
}

void json_print(struct json_object *object, bool open)
{
	const char *text = json_string(object);

	has_begun = true;
	print_escaped(text, strlen(text) - open);
	if (!open)
		putchar('\n');
	json_object_put(object);
}

void json_print_rest(struct json_object *object)
{
	const char *text = json_string(object);

	/* a comma takes the place of the first brace; there may be no members */
	if (strlen(text) > strlen("{}"))
		putchar(',');
	print_escaped(text + 1, strlen(text) - 1);
	putchar('\n');
	json_object_put(object);
}

bool json_has_begun(void)
{
	return has_begun;
}

/*----------------------------------------------------------------
 * Text
 *----------------------------------------------------------------
 */

char *printable(const char *text)
{
	return qed_escape(text);
}

void print_text(const char *key, const char *text)
{
	char *escaped = qed_escape(text);

	printf("  %-15s %s\n", key, escaped);
	free(escaped);
}

void print_size(const char *key, u64 size)
{
	char unit[SIZE_TEXT], text[2 * SIZE_TEXT + 16];

	size_text(size, unit, sizeof(unit));
	if (!strstr(unit, "bytes"))
		snprintf(text, sizeof(text), "%s (%llu bytes)", unit, size);
	print_text(key, strstr(unit, "bytes") ? unit : text);
}
