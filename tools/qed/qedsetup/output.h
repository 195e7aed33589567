/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is printed, for people and for programs.
 */

#ifndef QEDSETUP_OUTPUT_H
#define QEDSETUP_OUTPUT_H

#include <json-c/json.h>
#include <stdio.h>

#include "../common.h"

/* Counts up when a member changes its meaning or goes away, not when one is added */
#define JSON_SCHEMA	1

/* Members of an object. Of a text, such as a name, what is no UTF-8 becomes a question mark. */
void json_text(struct json_object *object, const char *key, const char *text);
void json_u64(struct json_object *object, const char *key, u64 number);
void json_flag(struct json_object *object, const char *key, bool flag);
void json_null(struct json_object *object, const char *key);

/* The same text as one more of an array */
void json_array_text(struct json_object *array, const char *text);

/* A new object with "schema" */
struct json_object *json_document(void);

/* Print an object, and free it. Without the last brace: more members are to be printed. */
void json_print(struct json_object *object, bool open);

/* Print the members of another object as the last ones of that, and free it. */
void json_print_rest(struct json_object *object);

/* Has json_print() printed anything? */
bool json_has_begun(void);

/* What failed, as members of an object */
void json_failure(struct json_object *object, int r);

/* "key: value", escaped; a size in bytes also in a larger unit */
void print_text(const char *key, const char *text);
void print_size(const char *key, u64 size);

/* A text as one word for a terminal, to be freed */
char *printable(const char *text);

#endif /* QEDSETUP_OUTPUT_H */
