// SPDX-License-Identifier: GPL-2.0-only
/*
 * What qed-fsck prints, see report.h: what text and JSON have in common.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "escape.h"
#include "report-parts.h"

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

void hide_bar(struct qed_reporter *reporter)
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
				reporter->name);
		if (reporter->bar && now - reporter->started >= reporter->bar_delay)
			show_bar(reporter, pass, done, all);
	}
	pthread_mutex_unlock(&progress_lock);
}

/*----------------------------------------------------------------
 * Parts
 *----------------------------------------------------------------
 */

u64 sum_findings(const u64 *by_code, enum qed_severity severity)
{
	enum qed_code code;
	u64 all = 0;

	for (code = 0; code < QED_CODES; code++)
		if (qed_code_severity(code) == severity)
			all += by_code[code];
	return all;
}

enum verdict find_verdict(const struct qed_fsck_result *result, const char *error)
{
	if (qed_fsck_left(result, QED_DAMAGE))
		return VERDICT_DAMAGED;
	if (error || sum_findings(result->found, QED_ERROR))
		return VERDICT_UNKNOWN;
	if (qed_fsck_left(result, QED_WASTE))
		return VERDICT_WASTE;
	if (sum_findings(result->found, QED_DAMAGE) || sum_findings(result->found, QED_WASTE))
		return VERDICT_REPAIRED;
	return VERDICT_CLEAN;
}

u64 peak_memory(void)
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

bool is_listed(struct qed_reporter *reporter, const struct qed_finding *finding)
{
	return ++reporter->listed[finding->code] <= QED_MAX_LISTED || reporter->verbose;
}

/*----------------------------------------------------------------
 * Reports
 *----------------------------------------------------------------
 */

void qed_report_init(struct qed_reporter *reporter, const char *path)
{
	reporter->path = path;
	reporter->name = qed_escape(path);
	reporter->started = qed_now();
}

void qed_report_done(struct qed_reporter *reporter)
{
	free(reporter->name);
}

void qed_report_finding(void *ctx, const struct qed_finding *finding)
{
	struct qed_reporter *reporter = ctx;

	if (reporter->json)
		json_finding(reporter, finding);
	else
		text_finding(reporter, finding);
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
	sigaddset(&blocked, SIGHUP);
	sigprocmask(SIG_BLOCK, &blocked, &before);
	stopped = qed_stopped(img);
	if (!stopped)
		ppoll(&poll, 1, NULL, &before);
	sigprocmask(SIG_SETMASK, &before, NULL);
	return !stopped && !qed_stopped(img);
}

/* Read a line: its first letter if it is one of the answers, or a whole word of these */
static int read_answer(char *answer)
{
	static const char * const words[] = { "yes", "no", "all" };
	char line[64];
	unsigned int i;

	if (!fgets(line, sizeof(line), stdin))
		return -EINTR;
	*answer = '\0';
	if (!strchr(line, '\n')) {
		/* the rest of it is no answer to the next question */
		while (!feof(stdin) && !ferror(stdin) && getchar() != '\n')
			;
		return 0;
	}
	line[strcspn(line, "\n")] = '\0';
	for (i = 0; i < sizeof(words) / sizeof(*words); i++)
		if (!strcasecmp(line, words[i]) || (!strncasecmp(line, words[i], 1) && !line[1]))
			*answer = words[i][0];
	return 0;
}

int qed_report_ask(void *ctx, const struct qed_finding *finding)
{
	struct qed_reporter *reporter = ctx;
	char answer;

	if (reporter->all)
		return 1;
	hide_bar(reporter);
	for (;;) {
		text_question(reporter, finding);
		printf(" (y: yes, n: no, a: yes to all)? ");
		fflush(stdout);
		if (!wait_for_answer(reporter->img) || read_answer(&answer)) {
			putchar('\n');
			return -EINTR;
		}
		switch (answer) {
		case 'a':
			reporter->all = true;
			return 1;
		case 'y':
			return 1;
		case 'n':
			return 0;
		}
	}
}

static void print_error(const struct qed_reporter *reporter, const char *error)
{
	char *escaped = qed_escape(error);

	fflush(stdout);
	fprintf(stderr, "qed-fsck: %s: %s\n", reporter->name, escaped);
	free(escaped);
}

void qed_report_end(struct qed_reporter *reporter, const struct qed_fsck_result *result,
		    const char *error, int exit_status)
{
	hide_bar(reporter);
	if (reporter->json)
		json_end(reporter, result, error, exit_status);
	else if (!reporter->quiet)
		text_end(reporter, result, error);
	if (error)
		print_error(reporter, error);
}

void qed_report_undone(struct qed_reporter *reporter, const char *file, int exit_status)
{
	if (reporter->json)
		json_undone(reporter, file, exit_status);
	else if (!reporter->quiet)
		text_undone(reporter);
}

void qed_report_proposals(struct qed_reporter *reporter, const struct qed_proposal *proposals,
			  unsigned int nr)
{
	if (reporter->json)
		json_proposals(reporter, proposals, nr);
	else
		text_proposals(proposals, nr);
}

void qed_report_raw(struct qed_reporter *reporter, int exit_status)
{
	if (reporter->json)
		json_raw(reporter, exit_status);
	else if (!reporter->quiet)
		text_raw(reporter);
}

void qed_report_chain_begin(const struct qed_reporter *reporter)
{
	if (reporter->json)
		printf("{\"schema\":%u,\"chain\":[\n", QED_JSON_SCHEMA);
}

void qed_report_chain_next(const struct qed_reporter *reporter)
{
	if (reporter->json)
		puts(",");
}

void qed_report_chain_end(const struct qed_reporter *reporter, int exit_status)
{
	if (reporter->json)
		printf("],\"exit-status\":%d}\n", exit_status);
}

void qed_report_failure(struct qed_reporter *reporter, const char *error, int exit_status)
{
	hide_bar(reporter);
	if (reporter->json)
		json_failure(reporter, error, exit_status);
	print_error(reporter, error);
}
