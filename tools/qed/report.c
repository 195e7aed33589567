// SPDX-License-Identifier: GPL-2.0-only
/*
 * What qed-fsck prints, see report.h.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <json-c/json.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "report.h"

/* Seconds between two reports of progress, columns of the bar */
#define PROGRESS_INTERVAL	0.1
#define BAR_WIDTH		40

static pthread_mutex_t progress_lock = PTHREAD_MUTEX_INITIALIZER;

double qed_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

/*----------------------------------------------------------------
 * Progress
 *----------------------------------------------------------------
 */

static void hide_bar(struct qed_reporter *reporter)
{
	if (reporter->bar_is_shown)
		fprintf(stderr, "\r%*s\r", BAR_WIDTH + 40, "");
	reporter->bar_is_shown = false;
}

static void show_bar(struct qed_reporter *reporter, unsigned int pass, u64 done, u64 all)
{
	static const char * const names[] = {
		"", "reading", "checking", "repairing", "compacting", "reading again"
	};
	int percent = all ? done * 100.0 / all : 100;
	int width = percent * BAR_WIDTH / 100;

	fprintf(stderr, "\r%-14s |%.*s%*s| %3d%% ", names[pass], width,
		"========================================", BAR_WIDTH - width, "", percent);
	fflush(stderr);
	reporter->bar_is_shown = true;
}

void qed_report_progress(void *ctx, unsigned int pass, u64 done, u64 all)
{
	struct qed_reporter *reporter = ctx;
	double now = qed_now();

	if (pthread_mutex_trylock(&progress_lock))
		return;
	if (now - reporter->last_progress >= PROGRESS_INTERVAL) {
		reporter->last_progress = now;
		if (reporter->progress_fd >= 0)
			dprintf(reporter->progress_fd, "%u %llu %llu %s\n", pass, done, all,
				reporter->path);
		if (reporter->bar && now - reporter->started >= reporter->bar_delay)
			show_bar(reporter, pass, done, all);
	}
	pthread_mutex_unlock(&progress_lock);
}

/*----------------------------------------------------------------
 * Text
 *----------------------------------------------------------------
 */

static const char * const phrases[QED_CODES] = {
	[QED_CLUSTER_SIZE_ILLEGAL]	= "is no legal cluster size",
	[QED_TABLE_SIZE_ILLEGAL]	= "is no legal table size",
	[QED_HEADER_SIZE_ILLEGAL]	= "is no legal size of the header",
	[QED_L1_OFFSET_ILLEGAL]		= "is no legal offset of the L1 table",
	[QED_L1_IN_HEADER]		= "puts the L1 table into the header",
	[QED_L1_MISPLACED]		= "has an empty L1 table, but another is in use",
	[QED_L1_OVER_END]		= "the L1 table reaches over the end",
	[QED_IMAGE_SIZE_ILLEGAL]	= "is no legal size of the disk",
	[QED_BACKING_NAME_ILLEGAL]	= "has a backing file, but no legal name of it",
	[QED_NEED_CHECK]		= "the image was not closed",
	[QED_L1_ENTRY_UNALIGNED]	= "is not aligned to a cluster",
	[QED_L1_ENTRY_IN_HEADER]	= "points into the header",
	[QED_L1_ENTRY_BEYOND_END]	= "is beyond the end of the image",
	[QED_L1_ENTRY_ON_L1]		= "overlaps the L1 table",
	[QED_L1_ENTRY_SHARED]		= "is referenced already",
	[QED_L1_ENTRY_OVER_END]		= "reaches over the end of the image",
	[QED_L1_ENTRY_BEYOND_SIZE]	= "is beyond the size of the disk",
	[QED_L2_ENTRY_UNALIGNED]	= "is not aligned to a cluster",
	[QED_L2_ENTRY_IN_HEADER]	= "points into the header",
	[QED_L2_ENTRY_BEYOND_END]	= "is beyond the end of the image",
	[QED_L2_ENTRY_ON_L1]		= "points into the L1 table",
	[QED_L2_ENTRY_SHARED]		= "is referenced already",
	[QED_L2_ENTRY_BEYOND_SIZE]	= "is beyond the size of the disk",
	[QED_PARTIAL_CLUSTER]		= "the end of the last cluster is missing",
	[QED_LEAK]			= "not referenced",
	[QED_LEAK_TAIL]			= "nothing behind the last cluster in use is referenced",
	[QED_READ_ERROR]		= "cannot be read",
};

static void print_range(const char *name, u64 offset, u64 length)
{
	printf(" %s 0x%llx-0x%llx:", name, offset, length ? offset + length - 1 : offset);
}

static void print_action(const struct qed_finding *finding)
{
	switch (finding->action) {
	case QED_ACTION_NONE:
		break;
	case QED_ACTION_SET:
		printf("; set to 0x%llx", finding->new_value);
		break;
	case QED_ACTION_CLEARED:
		if (finding->code == QED_NEED_CHECK)
			printf("; NEED_CHECK cleared");
		else
			printf("; set to 0");
		break;
	case QED_ACTION_COPIED:
		printf("; copied");
		if (finding->has & QED_HAS_NEW_VALUE)
			printf(" to 0x%llx", finding->new_value);
		break;
	case QED_ACTION_EXTENDED:
		printf("; file extended");
		break;
	case QED_ACTION_PUNCHED:
		printf("; hole punched");
		break;
	case QED_ACTION_TRUNCATED:
		printf("; file cut");
		break;
	}
}

static void print_owner(const struct qed_finding *finding)
{
	if (!(finding->has & QED_HAS_OWNER) || finding->owner == QED_OWNER_UNKNOWN)
		return;
	printf(", as %s", finding->owner == QED_OWNER_TABLE ? "L2 table" : "data");
	if (finding->has & QED_HAS_OWNER_GUEST)
		printf(" of guest 0x%llx-0x%llx", finding->owner_offset,
		       finding->owner_offset + finding->owner_length - 1);
}

static void print_finding(const char *path, const struct qed_finding *finding)
{
	bool is_l1 = finding->code < QED_L2_ENTRY_UNALIGNED;

	printf("%s: %s:", path, qed_code_names[finding->code]);
	if (finding->has & QED_HAS_GUEST)
		print_range("guest", finding->guest_offset, finding->guest_length);
	if (finding->has & QED_HAS_ENTRY)
		printf(" %s table at 0x%llx, entry %llu: 0x%llx", is_l1 ? "L1" : "L2",
		       finding->table_offset, finding->index, finding->value);
	else if (finding->has & QED_HAS_RANGE)
		print_range("image", finding->offset, finding->length);
	else if (finding->field)
		printf(" header field %s: 0x%llx", finding->field, finding->value);
	printf(" %s", phrases[finding->code]);
	print_owner(finding);
	print_action(finding);
}

static void print_text(struct qed_reporter *reporter, const struct qed_finding *finding)
{
	u64 nr = ++reporter->listed[finding->code];

	if (reporter->quiet || (nr > QED_MAX_LISTED && !reporter->verbose))
		return;
	hide_bar(reporter);
	print_finding(reporter->path, finding);
	putchar('\n');
	if (nr == QED_MAX_LISTED && !reporter->verbose)
		printf("%s: %s: more of these are only counted\n", reporter->path,
		       qed_code_names[finding->code]);
}

/*
 * Wait until there is something to be read, or a signal came: also one that comes
 * just before
 */
static bool wait_for_answer(const struct qed_image *img)
{
	struct pollfd poll = { .fd = STDIN_FILENO, .events = POLLIN };
	sigset_t blocked, before;
	bool stopped;

	sigemptyset(&blocked);
	sigaddset(&blocked, SIGINT);
	sigaddset(&blocked, SIGTERM);
	sigprocmask(SIG_BLOCK, &blocked, &before);
	stopped = qed_stopped(img);
	if (!stopped)
		ppoll(&poll, 1, NULL, &before);
	sigprocmask(SIG_SETMASK, &before, NULL);
	return !stopped && !qed_stopped(img);
}

int qed_report_ask(void *ctx, const struct qed_finding *finding)
{
	struct qed_reporter *reporter = ctx;
	char answer[64];

	if (reporter->all)
		return 1;
	hide_bar(reporter);
	for (;;) {
		print_finding(reporter->path, finding);
		printf("\nDo that (y: yes, n: no, a: yes to all)? ");
		fflush(stdout);
		if (!wait_for_answer(reporter->img) || !fgets(answer, sizeof(answer), stdin))
			return -EINTR;
		switch (answer[0]) {
		case 'a':
		case 'A':
			reporter->all = true;
			return 1;
		case 'y':
		case 'Y':
			return 1;
		case 'n':
		case 'N':
			return 0;
		}
	}
}

static u64 sum(const u64 *by_code, enum qed_severity severity)
{
	enum qed_code code;
	u64 all = 0;

	for (code = 0; code < QED_CODES; code++)
		if (qed_code_severity(code) == severity)
			all += by_code[code];
	return all;
}

static void print_verdict(const char *path, const struct qed_fsck_result *result)
{
	u64 damage = sum(result->found, QED_DAMAGE), waste = sum(result->found, QED_WASTE);
	u64 errors = sum(result->found, QED_ERROR);
	enum qed_code code;

	for (code = 0; code < QED_CODES; code++)
		if (result->found[code] && qed_code_severity(code) != QED_NOTE)
			printf("%s: %s: %llu found, %llu repaired\n", path, qed_code_names[code],
			       result->found[code], result->fixed[code]);
	if (errors)
		printf("%s: parts cannot be read, nothing was repaired\n", path);
	else if (qed_fsck_left(result, QED_DAMAGE))
		printf("%s: damaged\n", path);
	else if (qed_fsck_left(result, QED_WASTE))
		printf("%s: usable, but has unreachable contents or leaked clusters\n", path);
	else if (damage + waste)
		printf("%s: repaired\n", path);
	else
		printf("%s: clean\n", path);
}

static void print_counts(const struct qed_reporter *reporter, const struct qed_fsck_result *result)
{
	const struct qed_image *img = reporter->img;
	const struct qed_counts *counts = &result->counts;
	u64 left = result->leaks - result->leaks_fixed;

	printf("%s: guest: %llu/%llu clusters with data, %llu zero, %.1f%% fragmented\n",
	       reporter->path, counts->allocated, qed_guest_clusters(img), counts->zero,
	       counts->allocated ? counts->fragmented * 100.0 / counts->allocated : 0.0);
	printf("%s: image: %llu clusters used, %llu free, %llu leaked; %llu L2 tables\n",
	       reporter->path, result->used, result->free, left, counts->tables);
	printf("%s: image: high-water mark %llu, size %llu\n", reporter->path,
	       result->end << img->cluster_shift, img->size);
	if (result->moved)
		printf("%s: %llu clusters moved\n", reporter->path, result->moved);
}

static u64 peak_memory(void)
{
	FILE *file = fopen("/proc/self/status", "re");
	struct rusage usage;
	char line[128];
	u64 kib = 0;

	while (file && !kib && fgets(line, sizeof(line), file))
		if (sscanf(line, "VmHWM: %llu kB", &kib) != 1)
			kib = 0;
	if (file)
		fclose(file);
	/* that is of all programs that this process has been */
	if (!kib && !getrusage(RUSAGE_SELF, &usage))
		kib = usage.ru_maxrss;
	return kib * 1024;
}

static void print_end(struct qed_reporter *reporter, const struct qed_fsck_result *result,
		      const char *error)
{
	if (!error && !result->scanned && !sum(result->found, QED_DAMAGE)) {
		printf("%s: clean\n", reporter->path);
		return;
	}
	print_verdict(reporter->path, result);
	if (result->complete)
		print_counts(reporter, result);
	if (reporter->stats)
		printf("%s: %.3f s, %llu bytes read, peak memory %llu bytes, %u threads\n",
		       reporter->path, qed_now() - reporter->started, reporter->img->bytes_read,
		       peak_memory(), reporter->threads);
}

/*----------------------------------------------------------------
 * JSON
 *----------------------------------------------------------------
 */

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
	char *copy = strdup(path);
	u8 *p = (u8 *)copy;
	int more, i;

	while (p && *p) {
		more = *p >= 0xc2 && *p <= 0xdf ? 1 : *p >= 0xe0 && *p <= 0xef ? 2 :
		       *p >= 0xf0 && *p <= 0xf4 ? 3 : *p < 0x80 ? 0 : -1;
		for (i = 1; i <= more; i++)
			if ((p[i] & 0xc0) != 0x80)
				more = -1;
		/* overlong, surrogates, too large */
		if ((*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] > 0x9f) ||
		    (*p == 0xf0 && p[1] < 0x90) || (*p == 0xf4 && p[1] > 0x8f))
			more = -1;
		if (more < 0)
			*p = '?';
		p += more < 0 ? 1 : more + 1;
	}
	add_string(object, key, copy ? copy : "?");
	free(copy);
}

/* Print the members of an object without its braces, and free it */
static void print_members(struct json_object *object)
{
	const char *text = json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN |
							  JSON_C_TO_STRING_NOSLASHESCAPE);

	printf("%.*s", (int)strlen(text) - 2, text + 1);
	json_object_put(object);
}

static void print_head(struct qed_reporter *reporter)
{
	struct json_object *object = json_object_new_object();

	reporter->has_head = true;
	add_path(object, "filename", reporter->path);
	add_string(object, "format", "qed");
	putchar('{');
	print_members(object);
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

static void print_json(struct qed_reporter *reporter, const struct qed_finding *finding)
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

	if (!reporter->has_head)
		print_head(reporter);
	fputs(reporter->has_finding ? ",\n{" : ",\"findings\":[\n{", stdout);
	reporter->has_finding = true;
	print_members(object);
	putchar('}');
}

static void add_geometry(struct json_object *object, const struct qed_image *img)
{
	if (!img->entries_shift)
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

static void end_json(struct qed_reporter *reporter, const struct qed_fsck_result *result,
		     const char *error, int exit_status)
{
	const struct qed_image *img = reporter->img;
	struct json_object *object = json_object_new_object();

	if (!reporter->has_head)
		print_head(reporter);
	fputs(reporter->has_finding ? "],\n" : ",\"findings\":[],\n", stdout);
	add_bool(object, "scanned", result->scanned);
	add_number(object, "corruptions", sum(result->found, QED_DAMAGE));
	add_number(object, "corruptions-fixed", sum(result->fixed, QED_DAMAGE));
	add_number(object, "leaks", result->leaks);
	add_number(object, "leaks-fixed", result->leaks_fixed);
	add_number(object, "check-errors", sum(result->found, QED_ERROR));
	json_object_object_add(object, "counts", codes_object(result));
	add_bool(object, "damaged", qed_fsck_left(result, QED_DAMAGE));
	add_bool(object, "need-check", le64toh(img->header.features) & QED_F_NEED_CHECK);
	add_bool(object, "modified", img->modified);
	add_number(object, "file-size", img->size);
	add_geometry(object, img);
	if (result->complete)
		add_counts(object, img, result);
	if (reporter->stats)
		json_object_object_add(object, "stats", stats_object(reporter));
	if (error)
		add_path(object, "error", error);
	add_number(object, "exit-status", exit_status);
	print_members(object);
	puts("}");
}

/*----------------------------------------------------------------
 * Both
 *----------------------------------------------------------------
 */

void qed_report_finding(void *ctx, const struct qed_finding *finding)
{
	struct qed_reporter *reporter = ctx;

	if (reporter->json)
		print_json(reporter, finding);
	else
		print_text(reporter, finding);
}

void qed_report_end(struct qed_reporter *reporter, const struct qed_fsck_result *result,
		    const char *error, int exit_status)
{
	hide_bar(reporter);
	if (reporter->json)
		end_json(reporter, result, error, exit_status);
	else if (!reporter->quiet)
		print_end(reporter, result, error);
	fflush(stdout);
	if (error)
		fprintf(stderr, "qed-fsck: %s: %s\n", reporter->path, error);
}

void qed_report_failure(struct qed_reporter *reporter, const char *error, int exit_status)
{
	struct json_object *object;

	hide_bar(reporter);
	if (reporter->json) {
		object = json_object_new_object();
		print_head(reporter);
		add_path(object, "error", error);
		add_number(object, "exit-status", exit_status);
		putchar(',');
		print_members(object);
		puts("}");
		fflush(stdout);
	}
	fprintf(stderr, "qed-fsck: %s: %s\n", reporter->path, error);
}
