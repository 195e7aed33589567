// SPDX-License-Identifier: GPL-2.0-only
/*
 * Text for Prometheus, see metrics.h.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "log.h"
#include "metrics.h"

#define BUFFER	65536
#define LINE	1024

/* A file that is being written, and what of it is not written yet */
struct output {
	int fd, error;
	size_t used;
	char text[BUFFER];
};

static void put_out(struct output *output)
{
	ssize_t n;
	size_t at;

	for (at = 0; at < output->used && !output->error; at += n) {
		n = write(output->fd, output->text + at, output->used - at);
		if (n < 0) {
			output->error = -errno;
			break;
		}
	}
	output->used = 0;
}

static void put(struct output *output, const char *format, ...) __printf(2, 3);

static void put(struct output *output, const char *format, ...)
{
	va_list args;

	if (output->used + LINE > BUFFER)
		put_out(output);
	va_start(args, format);
	output->used += vsnprintf(output->text + output->used, LINE, format, args);
	va_end(args);
}

/* As the value of a label */
static const char *escape(const char *name)
{
	static char text[2 * CONTROL_NAME];
	char *to = text;

	for (; *name; name++) {
		if (*name == '\\' || *name == '"' || *name == '\n')
			*to++ = '\\';
		*to++ = *name == '\n' ? 'n' : *name;
	}
	*to = '\0';
	return text;
}

/*----------------------------------------------------------------
 * Values: TARGET_UNKNOWN is what is not known
 *----------------------------------------------------------------
 */

static u64 bytes(const struct metrics *m, u64 clusters)
{
	return clusters == TARGET_UNKNOWN ? clusters : clusters * m->view.status.cluster_size;
}

static u64 size(const struct metrics *m)
{
	return bytes(m, m->view.status.total);
}

static u64 used(const struct metrics *m)
{
	return bytes(m, m->view.status.used);
}

static u64 free_space(const struct metrics *m)
{
	return bytes(m, m->view.status.free);
}

static u64 disk(const struct metrics *m)
{
	return bytes(m, m->view.status.virtual);
}

static u64 mapped(const struct metrics *m)
{
	return bytes(m, m->view.status.mapped);
}

static u64 needs_check(const struct metrics *m)
{
	return m->view.status.needs_check;
}

static u64 queued(const struct metrics *m)
{
	return m->view.status.queued;
}

static u64 commits(const struct metrics *m)
{
	return m->view.status.commits;
}

static u64 growing(const struct metrics *m)
{
	return m->view.growing;
}

static u64 limited(const struct metrics *m)
{
	return m->view.limited;
}

static u64 grown(const struct metrics *m)
{
	return m->view.counters.grown;
}

static u64 grown_bytes(const struct metrics *m)
{
	return m->view.counters.bytes;
}

static u64 growth_failed(const struct metrics *m)
{
	return m->view.counters.failed;
}

static u64 fs_size(const struct metrics *m)
{
	return m->has_space ? m->space.size : TARGET_UNKNOWN;
}

static u64 fs_available(const struct metrics *m)
{
	return m->has_space ? m->space.available : TARGET_UNKNOWN;
}

static u64 reserve(const struct metrics *m)
{
	return m->has_space ? m->view.reserve : TARGET_UNKNOWN;
}

/**
 * struct metric - one of them
 * @name: as Prometheus has it
 * @type: gauge or counter
 * @help: what it is
 * @value: of a device
 */
static const struct metric {
	const char *name, *type, *help;
	u64 (*value)(const struct metrics *m);
} all_metrics[] = {
	{ "qed_size_bytes", "gauge", "What the image is on", size },
	{ "qed_used_bytes", "gauge", "Of that, in use", used },
	{ "qed_free_bytes", "gauge", "Of that, free", free_space },
	{ "qed_disk_bytes", "gauge", "The disk of the guest", disk },
	{ "qed_mapped_bytes", "gauge", "Of that, what has data", mapped },
	{ "qed_needs_check", "gauge", "NEED_CHECK is set", needs_check },
	{ "qed_queued", "gauge", "Requests that wait for space, or for a scan", queued },
	{ "qed_commits_total", "counter", "Commits since the table was loaded", commits },
	{ "qed_growing", "gauge", "It is being given more space", growing },
	{ "qed_limited", "gauge", "It needs more space than its limit", limited },
	{ "qed_grown_total", "counter", "How often it was given more space", grown },
	{ "qed_grown_bytes_total", "counter", "How much space it was given", grown_bytes },
	{ "qed_growth_failed_total", "counter", "How often that failed", growth_failed },
	{ "qed_filesystem_size_bytes", "gauge", "The file system below its file", fs_size },
	{ "qed_filesystem_available_bytes", "gauge", "Of that, available", fs_available },
	{ "qed_filesystem_reserve_bytes", "gauge", "Of that, to stay available", reserve },
};

static void put_metric(struct output *output, const struct metric *metric,
		       const struct metrics *all, unsigned int nr)
{
	unsigned int i;
	u64 value;

	put(output, "# HELP %s %s\n# TYPE %s %s\n", metric->name, metric->help, metric->name,
	    metric->type);
	for (i = 0; i < nr; i++) {
		value = metric->value(&all[i]);
		if (value != TARGET_UNKNOWN)
			put(output, "%s{device=\"%s\"} %llu\n", metric->name,
			    escape(all[i].view.name), value);
	}
}

/* Each device has all modes, one of which is 1. */
static void put_modes(struct output *output, const struct metrics *all, unsigned int nr)
{
	static const char * const modes[] = { "rw", "out_of_space", "ro", "fail" };
	unsigned int i, mode;

	put(output, "# HELP qed_mode Whether it is in this mode\n# TYPE qed_mode gauge\n");
	for (i = 0; i < nr; i++)
		for (mode = 0; mode < ARRAY_SIZE(modes); mode++)
			put(output, "qed_mode{device=\"%s\",mode=\"%s\"} %d\n",
			    escape(all[i].view.name), modes[mode],
			    !strcmp(all[i].view.status.mode, modes[mode]));
}

static void put_own(struct output *output)
{
	put(output, "# HELP qed_monitor_time_seconds When this was written\n"
	    "# TYPE qed_monitor_time_seconds gauge\nqed_monitor_time_seconds %lld\n",
	    (long long)time(NULL));
	put(output, "# HELP qed_monitor_log_lost_total Lines of the log that were lost\n"
	    "# TYPE qed_monitor_log_lost_total counter\nqed_monitor_log_lost_total %lu\n",
	    log_lost());
}

int metrics_write(const char *path, const struct metrics *all, unsigned int nr)
{
	static char new_path[PATH_MAX + 16];
	static struct output output;
	unsigned int i;

	/* node_exporter only reads *.prom */
	snprintf(new_path, sizeof(new_path), "%s.new", path);
	output.used = 0;
	output.error = 0;
	output.fd = open(new_path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (output.fd < 0)
		return -errno;
	for (i = 0; i < ARRAY_SIZE(all_metrics); i++)
		put_metric(&output, &all_metrics[i], all, nr);
	put_modes(&output, all, nr);
	put_own(&output);
	put_out(&output);
	if (close(output.fd) && !output.error)
		output.error = -errno;
	if (!output.error && rename(new_path, path))
		output.error = -errno;
	if (output.error)
		unlink(new_path);
	return output.error;
}
