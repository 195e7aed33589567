// SPDX-License-Identifier: GPL-2.0-only
/*
 * The engine of qed-monitor, with devices, time, and who makes image devices larger simulated.
 *
 *   simulate NAME=VALUE...
 *
 * Values are numbers; sizes are in bytes, times in milliseconds, see "values" below. A guest
 * writes to new clusters of a device at a rate. What came of it is printed as NAME=VALUE.
 */

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "../../qed/monitor/control.h"
#include "../../qed/monitor/engine.h"
#include "../../qed/monitor/grower.h"
#include "../../qed/monitor/hooks.h"
#include "../../qed/monitor/metrics.h"
#include "../../qed/monitor/watch.h"
#include "../../qed/qedsetup/fail.h"

#define MIB		(1024ULL * 1024)
#define GIB		(1024 * MIB)

#define TICK		10	/* ms */
#define TIMEOUT		60000	/* ms: no_space_timeout of the module */
#define DEVICE		makedev(254, 7)
#define IMAGE		makedev(7, 3)
#define CHILD		4711

static struct {
	u64 headroom, chunk, limit, reserve, interval;
	u64 cluster, total, virtual, low_water;
	u64 rate, burst, time, lag, delay;
	u64 group, fails, grower, available, fills, empties, told, scans, readonly;
} values = {
	.headroom = 2 * GIB, .chunk = 2 * GIB, .limit = UINT64_MAX, .interval = 10,
	.cluster = 65536, .total = 3 * GIB, .virtual = 1024 * GIB, .low_water = 2 * GIB,
	.time = 600000, .delay = 4000, .group = UINT64_MAX, .grower = GROWER_VOLUME,
	.available = UINT64_MAX, .told = 1,
};

#define VALUE(name)	{ #name, &values.name }

static const struct {
	const char *name;
	u64 *value;
} names[] = {
	VALUE(headroom), VALUE(chunk), VALUE(limit), VALUE(reserve), VALUE(interval),
	VALUE(cluster),
	VALUE(total),		/* of the image device, at first */
	VALUE(virtual),
	VALUE(low_water),	/* of the table, in bytes */
	VALUE(rate),		/* bytes that the guest writes in a second */
	VALUE(burst),		/* bytes that it writes at once, in the beginning */
	VALUE(time),		/* how long all of it takes */
	VALUE(lag),		/* the monitor is so late */
	VALUE(delay),		/* so long it takes to make the image device larger */
	VALUE(group),		/* free in the volume group */
	VALUE(fails),		/* so often that fails */
	VALUE(grower),		/* see enum grower */
	VALUE(available),	/* in the file system */
	VALUE(fills),		/* then it is full */
	VALUE(empties),		/* then it is not any more */
	VALUE(told),		/* 0: the one who makes it larger only says so */
	VALUE(scans),		/* so long the tables are scanned at first */
	VALUE(readonly),	/* then it is, for a failure of its disk */
};

/* What there is, in clusters */
static u64 now, lower, total, used, mapped, wanted, waiting_since, free_low;
static u64 child_ends, child_bytes;
static bool event, out, stuck, low_told;

/* What came of it */
static u64 waited, lost, growths, refused, passes, messages;
static char events[4096];	/* one after the other, without repetitions */
static struct view last;

static u64 clusters(u64 bytes)
{
	return bytes / values.cluster;
}

static bool scanning(void)
{
	return now < values.scans;
}

static bool file_system_full(void)
{
	return values.grower == GROWER_FILE && now >= values.fills && now < values.empties;
}

/*----------------------------------------------------------------
 * The kernel
 *----------------------------------------------------------------
 */

static const char *mode(void)
{
	if (values.readonly && now >= values.readonly)
		return "ro";
	return out ? "out_of_space" : "rw";
}

static void enter_out(void)
{
	if (!out) {
		event = true;
		waiting_since = now;
	}
	out = true;
}

static void leave_out(void)
{
	if (out)
		event = true;
	out = false;
}

int control_list(void (*each)(const char *name, dev_t device))
{
	passes++;
	each("other", makedev(254, 1));
	each("vm \"1\"", DEVICE);
	return 0;
}

int control_get(dev_t device, bool table, char params[CONTROL_PARAMS])
{
	char space[64] = "-/-/-", in_use[32] = "-", has_data[32] = "-";

	if (device != DEVICE)
		return -ENODEV;
	if (table) {
		snprintf(params, CONTROL_PARAMS, "7:3 4 known_zeroes host a low_water %llu",
			 clusters(values.low_water));
		return 0;
	}
	if (!scanning()) {
		snprintf(space, sizeof(space), "%llu/0/0", total - used);
		snprintf(in_use, sizeof(in_use), "%llu", used);
		snprintf(has_data, sizeof(has_data), "%llu", mapped);
	}
	snprintf(params, CONTROL_PARAMS,
		 "%llu %s/%llu %s/%llu 0/1024 0 0 17 %s - %s %d - - %s 0 -", values.cluster / 512,
		 in_use, total, has_data, clusters(values.virtual), mode(), space, out,
		 scanning() ? "1/2" : "-");
	return 0;
}

int control_send(dev_t device, const char *message)
{
	messages++;
	if (device != DEVICE || strcmp(message, "grow"))
		return -EINVAL;
	if (lower > total && !scanning()) {
		total = lower;
		/* those that wait are tried again */
		stuck = false;
		leave_out();
	}
	return 0;
}

static void wait_some(void)
{
	waited += TICK;
	if (now - waiting_since < TIMEOUT)
		return;
	lost += wanted;
	wanted = 0;
}

/* What is wanted, as far as there is space */
static void use(void)
{
	u64 more = min_u64(wanted, total - used);

	used += more;
	mapped += more;
	wanted -= more;
}

/* The guest, for one tick. It waits for the end of a scan without a lack of space. */
static void write_some(void)
{
	static u64 rest;
	u64 bytes = values.rate * TICK / 1000 + rest;

	rest = bytes % values.cluster;
	wanted = min_u64(wanted + clusters(bytes), clusters(values.virtual) - mapped);
	if (scanning() || !strcmp(mode(), "ro"))
		return;
	stuck |= wanted && file_system_full();
	if (!stuck)
		use();
	if (!wanted) {
		leave_out();
		return;
	}
	enter_out();
	wait_some();
}

static void look_at_low_water(void)
{
	bool is_low = total - used < clusters(values.low_water);

	if (scanning())
		return;
	if (is_low && lower > total)
		return;
	if (is_low && !low_told)
		event = true;
	low_told = is_low;
	free_low = min_u64(free_low, total - used);
}

/*----------------------------------------------------------------
 * Who makes the image device larger
 *----------------------------------------------------------------
 */

bool file_is(dev_t loop)
{
	return loop == IMAGE && values.grower == GROWER_FILE;
}

enum grower grower_of(dev_t image, const struct settings *settings)
{
	(void)settings;
	return image == IMAGE ? values.grower : GROWER_NONE;
}

static int enlarge(u64 bytes)
{
	if (values.fails && values.fails--)
		return fail(EIO, "simulated");
	if (bytes > values.group)
		return fail(ENOSPC, "the group is full");
	values.group -= values.group == UINT64_MAX ? 0 : bytes;
	growths++;
	if (values.told)
		lower += clusters(bytes);
	return 0;
}

pid_t grower_start(enum grower grower, const char *name, dev_t image, u64 bytes,
		   const struct settings *settings)
{
	(void)name;
	if (image != IMAGE || !bytes || bytes % values.cluster || child_ends)
		abort();
	if (grower == GROWER_FILE && (file_system_full() || values.available < settings->reserve)) {
		refused++;
		return fail(ENOSPC, "the file system is full");
	}
	if (grower == GROWER_FILE)
		return enlarge(bytes);
	child_ends = now + values.delay;
	child_bytes = bytes;
	return CHILD;
}

/*----------------------------------------------------------------
 * Who is told
 *----------------------------------------------------------------
 */

void hooks_tell(const char *told, const char *name, const char *text)
{
	size_t length = strlen(events);
	static char before[32];

	(void)text;
	if (strcmp(name, "vm \"1\""))
		abort();
	if (strcmp(told, before))
		snprintf(events + length, sizeof(events) - length, "%s%s", length ? "," : "", told);
	snprintf(before, sizeof(before), "%s", told);
}

void watch_begin(void)
{
}

void watch_add(const struct view *view)
{
	last = *view;
}

void watch_end(bool news)
{
	(void)news;
}

bool watch_space(dev_t image, struct file_space *space)
{
	space->size = UINT64_MAX;
	space->available = file_system_full() ? 0 : values.available;
	return file_is(image);
}

/*----------------------------------------------------------------
 * Time
 *----------------------------------------------------------------
 */

static void end_child(void)
{
	int r = enlarge(child_bytes);

	forget_failure();
	child_ends = 0;
	if (!engine_ended(CHILD, r ? 5 << 8 : 0, now))
		abort();
}

static void run(void)
{
	u64 next = 0, seen = UINT64_MAX;
	bool ended;

	for (now = 0; now < values.time; now += TICK) {
		write_some();
		look_at_low_water();
		ended = child_ends && now >= child_ends;
		if (ended)
			end_child();
		/* poll() returns, and it takes the lag until somebody looks */
		if ((event || ended || now >= next) && seen == UINT64_MAX)
			seen = now + values.lag;
		event = false;
		if (now < seen)
			continue;
		seen = UINT64_MAX;
		next = engine_pass(now);
	}
}

static void print(const char *path)
{
	struct metrics metrics = { .view = last };

	printf("waited=%llu lost=%llu growths=%llu refused=%llu failed=%llu passes=%llu\n", waited,
	       lost, growths, refused, last.counters.failed, passes);
	printf("free_low=%llu free=%llu size=%llu written=%llu messages=%llu events=%s\n",
	       free_low * values.cluster, (total - used) * values.cluster, total * values.cluster,
	       mapped * values.cluster, messages, *events ? events : "-");
	if (path && metrics_write(path, &metrics, 1))
		abort();
}

static bool take(const char *argument)
{
	const char *equals = strchr(argument, '=');
	unsigned int i;

	for (i = 0; equals && i < ARRAY_SIZE(names); i++) {
		if (strlen(names[i].name) != (size_t)(equals - argument) ||
		    strncmp(names[i].name, argument, equals - argument))
			continue;
		*names[i].value = strtoull(equals + 1, NULL, 0);
		return true;
	}
	return false;
}

static void set_up(struct config *config)
{
	struct settings *settings = &config->defaults;

	settings->grow = true;
	settings->headroom = values.headroom;
	settings->chunk = values.chunk;
	settings->limit = values.limit;
	settings->reserve = values.reserve;
	config->interval = values.interval;
	lower = clusters(values.total);
	total = lower;
	used = 10;
	wanted = clusters(values.burst);
	free_low = total;
	engine_configure(config);
}

int main(int argc, char **argv)
{
	static struct config config;
	const char *path = NULL;
	int i;

	for (i = 1; i < argc; i++) {
		if (!strncmp(argv[i], "metrics=", strlen("metrics="))) {
			path = argv[i] + strlen("metrics=");
		} else if (!take(argv[i])) {
			fprintf(stderr, "%s: there is no such value\n", argv[i]);
			return 2;
		}
	}
	set_up(&config);
	run();
	print(path);
	return 0;
}
