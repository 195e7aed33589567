// SPDX-License-Identifier: GPL-2.0-only
/*
 * What qed-fsck prints for programs, see report.h.
 */

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "escape.h"
#include "report-parts.h"

static void add_string(struct json_object *object, const char *key, const char *value)
{
	json_object_object_add(object, key, json_object_new_string(value));
}

static void add_number(struct json_object *object, const char *key, u64 value)
{
	json_object_object_add(object, key, json_object_new_uint64(value));
}

static void add_bool(struct json_object *object, const char *key, bool value)
{
	json_object_object_add(object, key, json_object_new_boolean(value));
}

/* A name may be any bytes; JSON is UTF-8: what is none becomes a question mark */
static void add_path(struct json_object *object, const char *key, const char *path)
{
	char *copy = strdup(path), *p = copy;
	unsigned int length;
	u32 code;

	for (; p && *p; p += length) {
		length = qed_next_char(p, &code);
		if (length)
			continue;
		*p = '?';
		length = 1;
	}
	add_string(object, key, copy ? copy : "?");
	free(copy);
}

/* Print JSON text, control characters that it may have as they are as escapes */
static void print_escaped(const char *text, const char *end)
{
	const char *from = text;
	unsigned int length;
	u32 code;

	for (; text < end; text += length) {
		length = qed_next_char(text, &code);
		if (length && qed_is_control(code)) {
			fwrite(from, 1, text - from, stdout);
			printf("\\u%04x", code);
			from = text + length;
		}
		length = length ? length : 1;
	}
	fwrite(from, 1, end - from, stdout);
}

/* Print the members of an object without its braces, and free it */
static void print_members(struct json_object *object)
{
	const char *text = json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN |
							  JSON_C_TO_STRING_NOSLASHESCAPE);

	print_escaped(text + 1, text + strlen(text) - 1);
	json_object_put(object);
}

static void print_head_of(struct qed_reporter *reporter, const char *format)
{
	struct json_object *object = json_object_new_object();

	reporter->has_head = true;
	add_path(object, "filename", reporter->path);
	add_string(object, "format", format);
	add_number(object, "schema", QED_JSON_SCHEMA);
	putchar('{');
	print_members(object);
}

static void print_head(struct qed_reporter *reporter)
{
	print_head_of(reporter, "qed");
}

static struct json_object *owner_object(const struct qed_finding *finding)
{
	struct json_object *object = json_object_new_object();

	add_string(object, "kind", qed_owner_names[finding->owner]);
	if (finding->has & QED_HAS_OWNER_GUEST) {
		add_number(object, "guest-offset", finding->owner_offset);
		add_number(object, "guest-length", finding->owner_length);
	}
	return object;
}

static struct json_object *finding_object(const struct qed_finding *finding)
{
	struct json_object *object = json_object_new_object();

	add_string(object, "code", qed_code_names[finding->code]);
	add_string(object, "severity", qed_severity_names[qed_code_severity(finding->code)]);
	if (finding->has & QED_HAS_GUEST) {
		add_number(object, "guest-offset", finding->guest_offset);
		add_number(object, "guest-length", finding->guest_length);
	}
	if (finding->has & QED_HAS_ENTRY) {
		add_number(object, "table-offset", finding->table_offset);
		add_number(object, "index", finding->index);
	}
	if (finding->field)
		add_string(object, "field", finding->field);
	if (finding->has & QED_HAS_VALUE)
		add_number(object, "value", finding->value);
	if (finding->has & QED_HAS_NEW_VALUE)
		add_number(object, "new-value", finding->new_value);
	if (finding->has & QED_HAS_OWNER)
		json_object_object_add(object, "other", owner_object(finding));
	if (finding->has & QED_HAS_RANGE) {
		add_number(object, "offset", finding->offset);
		add_number(object, "length", finding->length);
	}
	add_string(object, "action", qed_action_names[finding->action]);
	return object;
}

void json_finding(struct qed_reporter *reporter, const struct qed_finding *finding)
{
	if (!is_listed(reporter, finding)) {
		reporter->omitted++;
		return;
	}
	if (!reporter->has_head)
		print_head(reporter);
	fputs(reporter->has_finding ? ",\n{" : ",\"findings\":[\n{", stdout);
	reporter->has_finding = true;
	print_members(finding_object(finding));
	putchar('}');
}

static void add_geometry(struct json_object *object, const struct qed_image *img)
{
	char *name;

	if (!qed_backing_name(img, &name) && name)
		add_path(object, "backing-filename", name);
	free(name);
	if (!has_geometry(img))
		return;
	add_number(object, "cluster-size", qed_cluster_size(img));
	add_number(object, "table-size", qed_table_bytes(img));
	add_number(object, "image-size", img->image_size);
}

static void add_counts(struct json_object *object, const struct qed_image *img,
		       const struct qed_fsck_result *result)
{
	add_number(object, "total-clusters", qed_guest_clusters(img));
	add_number(object, "allocated-clusters", result->counts.allocated);
	add_number(object, "zero-clusters", result->counts.zero);
	add_number(object, "fragmented-clusters", result->counts.fragmented);
	add_number(object, "tables", result->counts.tables);
	add_number(object, "used-clusters", result->used);
	add_number(object, "free-clusters", result->free);
	add_number(object, "high-water-mark", result->end << img->cluster_shift);
	add_number(object, "moved-clusters", result->moved);
}

static struct json_object *stats_object(const struct qed_reporter *reporter)
{
	struct json_object *object = json_object_new_object();

	json_object_object_add(object, "seconds",
			       json_object_new_double(qed_now() - reporter->started));
	add_number(object, "bytes-read", reporter->img->bytes_read);
	add_number(object, "peak-memory", peak_memory());
	add_number(object, "threads", reporter->threads);
	return object;
}

static struct json_object *codes_object(const struct qed_fsck_result *result)
{
	struct json_object *object = json_object_new_object();
	enum qed_code code;

	for (code = 0; code < QED_CODES; code++)
		if (result->found[code])
			add_number(object, qed_code_names[code], result->found[code]);
	return object;
}

static void add_verdict(struct json_object *object, const struct qed_fsck_result *result,
			const char *error)
{
	static const char * const names[] = {
		[VERDICT_CLEAN]		= "clean",
		[VERDICT_REPAIRED]	= "repaired",
		[VERDICT_WASTE]		= "waste",
		[VERDICT_DAMAGED]	= "damaged",
		[VERDICT_UNKNOWN]	= "unknown",
	};
	enum verdict verdict = find_verdict(result, error);

	add_string(object, "verdict", names[verdict]);
	if (verdict == VERDICT_UNKNOWN)
		json_object_object_add(object, "damaged", NULL);
	else
		add_bool(object, "damaged", verdict == VERDICT_DAMAGED);
}

static struct json_object *record_object(const struct qed_record *record,
					 const struct qed_image *img)
{
	struct json_object *object = json_object_new_object();
	char owner[2 * QED_OWNER_SIZE + 1];
	unsigned int i;

	add_bool(object, "valid", record->state == QED_RECORD_VALID);
	add_bool(object, "dropped", !qed_has_record(img));
	if (record->state == QED_RECORD_IGNORED) {
		add_string(object, "defect", record->what);
		return object;
	}
	for (i = 0; i < QED_OWNER_SIZE; i++)
		sprintf(owner + 2 * i, "%02x", record->owner[i]);
	add_string(object, "host", record->host);
	add_string(object, "owner", owner);
	add_bool(object, "active", record->active);
	add_number(object, "end", record->end << img->cluster_shift);
	add_number(object, "zero-from", record->zero_from << img->cluster_shift);
	add_number(object, "zero-end", record->zero_end << img->cluster_shift);
	add_number(object, "device-size", record->device_size);
	return object;
}

void json_end(struct qed_reporter *reporter, const struct qed_fsck_result *result,
	      const char *error, int exit_status)
{
	const struct qed_image *img = reporter->img;
	struct json_object *object = json_object_new_object();

	if (!reporter->has_head)
		print_head(reporter);
	fputs(reporter->has_finding ? "],\n" : ",\"findings\":[],\n", stdout);
	add_number(object, "findings-omitted", reporter->omitted);
	add_bool(object, "scanned", result->scanned);
	add_number(object, "corruptions", sum_findings(result->found, QED_DAMAGE));
	add_number(object, "corruptions-fixed", sum_findings(result->fixed, QED_DAMAGE));
	add_number(object, "leaks", result->leaks);
	add_number(object, "leaks-fixed", result->leaks_fixed);
	add_number(object, "check-errors", sum_findings(result->found, QED_ERROR));
	json_object_object_add(object, "counts", codes_object(result));
	add_verdict(object, result, error);
	add_bool(object, "need-check", le64toh(img->header.features) & QED_F_NEED_CHECK);
	add_bool(object, "modified", img->modified);
	add_number(object, "file-size", img->size);
	add_geometry(object, img);
	if (result->record.state != QED_RECORD_NONE)
		json_object_object_add(object, "record", record_object(&result->record, img));
	if (result->complete && !error)
		add_counts(object, img, result);
	if (reporter->stats)
		json_object_object_add(object, "stats", stats_object(reporter));
	if (reporter->note)
		add_string(object, "note", reporter->note);
	if (error)
		add_path(object, "error", error);
	add_number(object, "exit-status", exit_status);
	print_members(object);
	puts("}");
}

void json_failure(struct qed_reporter *reporter, const char *error, int exit_status)
{
	struct json_object *object = json_object_new_object();

	print_head(reporter);
	add_path(object, "error", error);
	add_number(object, "exit-status", exit_status);
	putchar(',');
	print_members(object);
	puts("}");
}

void json_raw(struct qed_reporter *reporter, int exit_status)
{
	struct json_object *object = json_object_new_object();

	print_head_of(reporter, "raw");
	add_number(object, "file-size", reporter->img->size);
	if (reporter->note)
		add_string(object, "note", reporter->note);
	add_number(object, "exit-status", exit_status);
	putchar(',');
	print_members(object);
	puts("}");
}

void json_undone(struct qed_reporter *reporter, const char *file, int exit_status)
{
	const struct qed_image *img = reporter->img;
	struct json_object *object = json_object_new_object();

	print_head(reporter);
	add_path(object, "undo-file", file);
	add_bool(object, "modified", img->modified);
	add_number(object, "bytes-written", img->bytes_written);
	add_number(object, "file-size", img->size);
	add_number(object, "exit-status", exit_status);
	putchar(',');
	print_members(object);
	puts("}");
}

static struct json_object *proposal_object(const struct qed_proposal *proposal)
{
	struct json_object *object = json_object_new_object();

	add_number(object, "cluster-size", proposal->geometry.cluster_size);
	add_number(object, "table-size",
		   proposal->geometry.table_size * proposal->geometry.cluster_size);
	add_number(object, "l1-offset", proposal->geometry.l1_offset);
	add_number(object, "image-size", proposal->geometry.image_size);
	add_number(object, "tables", proposal->tables);
	return object;
}

void json_proposals(struct qed_reporter *reporter, const struct qed_proposal *proposals,
		    unsigned int nr)
{
	struct json_object *object = json_object_new_object();
	struct json_object *array = json_object_new_array();
	unsigned int i;

	for (i = 0; i < nr; i++)
		json_object_array_add(array, proposal_object(&proposals[i]));
	print_head(reporter);
	json_object_object_add(object, "proposals", array);
	add_number(object, "exit-status", 0);
	putchar(',');
	print_members(object);
	puts("}");
}
