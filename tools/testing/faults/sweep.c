// SPDX-License-Identifier: GPL-2.0-only
/*
 * sweep - fail each lower I/O of a workload, one run at a time
 *
 * Usage: sweep [-q] [-c CLASS] DEVICE BELOW
 *
 *   -q		not all combinations of how it fails, but each I/O
 *   -c CLASS	only reads, writes, or flushes, or reads of what is below: read, write,
 *		flush, below
 *
 * Both devices are overwritten. Needs the targets qed and fault, as root. An image by
 * itself, one over a backing file, and one over two images and that: what is below is all
 * on BELOW. In each run it is activated, used in the same way, and closed, while the n-th
 * read, write or flush of its device, or the n-th read below, fails: with EIO or ENOSPC,
 * once or from then on, and with the device having done it nevertheless or not. Then
 *
 *  - nothing may have failed before the fault, nor, after it was over, unless the
 *    mode is ro; then all writes and flushes have to fail
 *  - the mode has to be ro if it was the header, or a commit, for another reason than a
 *    lack of space, or for one of a write with FUA that was over at once, so that it may
 *    have been that of a flush; out_of_space if a commit or a new cluster lacked space;
 *    and neither for the sake of data or of what is given back to the device
 *  - once a flush has failed and the mode is not ro, flushes and FUA fail until the device
 *    has been suspended, or its table replaced, after a flush has told; so they do after
 *    a write with FUA, which may be a flush as well
 *  - if the tables could not be scanned they are after the next resume
 *  - what was unmapped is free after a flush that has worked
 *  - a failed read below has let only that fail which needed it, and that works when it is
 *    tried again
 *  - all of the disk can be read as it was written
 *  - the image that is left, also if the device is dead from the end of the
 *    workload on, is in order, and has all that was flushed; see ../crash/judge.h
 *  - it can be activated again, and reads as what was found in it
 *
 * Prints TAP. Exit status: 0 all good, 1 not, 2 trouble.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mapper.h"
#include "sweep.h"

/* How an I/O fails */
static const char * const classes[] = { "read", "write", "flush", "below" };
static const char * const errors[] = { "eio", "enospc" };
static const char * const times[] = { "once", "on" };
static const char * const fates[] = { "lost", "done" };

static const struct plan images[] = {
	{ .image = "ordered commits" },
	{ .image = "unordered commits", .zeroed = true },
	{ .image = "over a backing file", .under = RAW },
	{ .image = "over two images", .under = LAYERS },
};

struct run run;
static const char *lower, *below;	/* the devices */
static int lower_fd = -1;
static unsigned int runs, runs_ro, runs_inactive, failures;
static FILE *found;	/* what is wrong, since the last verdict */

noreturn void die(const char *what)
{
	fprintf(stderr, "sweep: %s: %s\n", what, strerror(errno));
	exit(2);
}

/* What is wrong with this run */
void wrong(const char *format, ...)
{
	const struct plan *plan = &run.plan;
	va_list args;

	failures++;
	fprintf(found, "#   %s: %s %u %s %s %s, %s: ",
		plan->image, classes[plan->class],
		plan->nth, errors[plan->error], times[plan->time],
		fates[plan->fate], plan->dies ? "then dead" : "then closed");
	fprintf(found, "sector %ju, in step %d: ", run.sector, run.at);
	va_start(args, format);
	vfprintf(found, format, args);
	va_end(args);
	fputc('\n', found);
}

/* A verdict on what was done since the last one, as TAP */
static void verdict(const char *name, unsigned int ios)
{
	static unsigned int nr, runs_before, failures_before;
	char line[256];

	printf("%sok %u %s: %u I/Os fail, %u runs\n",
	       failures > failures_before ? "not " : "", ++nr, name, ios,
	       runs - runs_before);
	rewind(found);
	while (fgets(line, sizeof(line), found))
		fputs(line, stdout);
	fflush(stdout);
	found = freopen(NULL, "w+", found);
	if (!found)
		die("tmpfile");
	failures_before = failures;
	runs_before = runs;
}

static void read_lower(void)
{
	static unsigned char *data;
	uint32_t i;

	if (!data && posix_memalign((void **)&data, 4096, LOWER * SECTOR_SIZE))
		die("memory");
	if (pread(lower_fd, data, LOWER * SECTOR_SIZE, 0) !=
	    LOWER * SECTOR_SIZE)
		die(lower);
	for (i = 0; i < LOWER; i++)
		run.image[i] = contents_number(&run.contents,
					       data + i * SECTOR_SIZE);
}

static void judge_lower(void)
{
	enum verdict v;

	read_lower();
	v = judge_image(&run.judge, run.image);
	if (v)
		wrong("%s: %s", verdict_names[v], run.judge.message);
}

/* Activate it again: it has to read as the judge has read it. */
static void judge_again(void)
{
	uint64_t first;
	uint32_t i, span;

	if (!activate()) {
		wrong("cannot be activated again");
		return;
	}
	for (span = 0; span < TABLES; span++) {
		first = (uint64_t)span * SPAN;
		if (pread(guest_fd, buffer, AREA * SECTOR_SIZE,
			  first * SECTOR_SIZE) != AREA * SECTOR_SIZE) {
			wrong("span %u cannot be read again", span);
			continue;
		}
		for (i = 0; i < AREA; i++)
			if (contents_number(&run.contents,
					    buffer + i * SECTOR_SIZE) !=
			    judge_read(&run.judge, run.image, first + i))
				wrong("sector %ju reads not as it is in the image",
				      first + i);
	}
	deactivate();
}

/* Sectors that were written before the workload have version 1, and those below theirs. */
static void expect_template(void)
{
	uint64_t sector;

	memset(run.now, 0, GROWN * sizeof(*run.now));
	for (sector = 0; sector < GROWN; sector++)
		run.now[sector] = 1ULL << version_of(run.guest.base[sector]);
}

static void begin(const struct plan *plan)
{
	uint64_t *now = run.now;
	uint32_t i, *initial = calloc(LOWER, sizeof(*initial));

	memset(&run, 0, sizeof(run));
	run.plan = *plan;
	run.now = now;
	run.size = GUEST;
	run.at = -1;
	choose_backing(plan->under);
	contents_init(&run.contents);
	for (i = 0; i < LOWER; i++)
		initial[i] = contents_number(&run.contents,
					     template + i * SECTOR_SIZE);
	if (!judge_init(&run.judge, &run.contents, initial, LOWER, contents_below(),
			plan->under ? GUEST : 0, &run.guest, GROWN))
		die("template");
	expect_template();
	if (pwrite(lower_fd, template, LOWER * SECTOR_SIZE, 0) !=
	    LOWER * SECTOR_SIZE)
		die(lower);
}

static void end(void)
{
	uint32_t id;

	for (id = 1; id <= run.id; id++)
		free(run.guest.writes[id].contents);
	free((void *)run.judge.initial);
	free((void *)run.judge.below);
	judge_free(&run.judge);
	contents_free(&run.contents);
}

/* Returns whether there was such an I/O. */
static bool try_plan(const struct plan *plan)
{
	bool hit;

	begin(plan);
	arm(failing(), plan->class == BELOW ? "read" : classes[plan->class], plan->nth,
	    errors[plan->error], times[plan->time], fates[plan->fate]);
	run.active = activate();
	look(-1, run.active);
	if (run.active && !plan->zeroed)
		scan_again();
	if (run.active)
		workload();
	else if (!run.hit)
		wrong("cannot be activated");
	runs_inactive += !run.active;

	if (run.active) {
		runs_ro += mode_is("ro");
		disarm();
		read_all();
		if (plan->dies)
			arm("sweep-lower", "all", 1, "eio", "on", "lost");
		deactivate();
	}
	hit = run.hit;
	disarm();
	judge_lower();
	run.plan.zeroed = false;	/* no more */
	judge_again();
	end();
	runs++;
	return hit;
}

/* Each I/O of a class, in one of the ways or in all of them */
static void sweep(const struct plan *image, unsigned int class, bool quick)
{
	unsigned int way, hit, nth = 0;
	char name[64];

	do {
		struct plan plan = *image;

		plan.class = class;
		plan.nth = ++nth;
		hit = 0;
		for (way = 0; way < 16; way++) {
			if (quick && way != nth * 5 % 16 && way != nth * 11 % 16)
				continue;
			plan.error = way & 1;
			plan.time = way >> 1 & 1;
			plan.fate = way >> 2 & 1;
			plan.dies = way >> 3 & 1;
			hit |= try_plan(&plan);
		}
	} while (hit);
	snprintf(name, sizeof(name), "%s, each %s%s", image->image,
		 class == BELOW ? "read " : "", classes[class]);
	verdict(name, nth - 1);
}

/*
 * The image at first: some tables, a piece of data in each, garbage in free space
 */
/* Without any fault nothing may be wrong. */
static void rehearse(const struct plan *image)
{
	struct plan plan = *image;

	plan.class = WRITES;
	begin(&plan);
	if (!activate())
		die("activate");
	arm("sweep-lower", "all", 0, "eio", "once", "lost");
	workload();
	read_all();
	deactivate();
	judge_lower();
	end();
}

static void setup(void)
{
	found = tmpfile();
	if (!found)
		die("tmpfile");
	mapper_init();
	lower_fd = open(lower, O_RDWR | O_DIRECT);
	run.now = calloc(GROWN, sizeof(*run.now));
	if (lower_fd < 0 || !run.now ||
	    posix_memalign((void **)&template, 4096, LOWER * SECTOR_SIZE) ||
	    posix_memalign((void **)&buffer, 4096, AREA * SECTOR_SIZE))
		die(lower);
	make_template();
	make_below(below);
	make_devices(lower, below);
}

int main(int argc, char **argv)
{
	unsigned int class, i, verdicts = 0;
	const char *only = NULL;
	bool quick = false;
	int option;

	while ((option = getopt(argc, argv, "qc:")) != -1) {
		if (option == 'q')
			quick = true;
		else if (option == 'c')
			only = optarg;
		else
			return 2;
	}
	if (optind != argc - 2) {
		fprintf(stderr, "usage: sweep [-q] [-c CLASS] DEVICE BELOW\n");
		return 2;
	}
	lower = argv[optind];
	below = argv[optind + 1];
	setup();
	for (i = 0; i < ARRAY_SIZE(images); i++) {
		rehearse(&images[i]);
		for (class = READS; class <= (images[i].under ? BELOW : FLUSHES); class++) {
			if (only && strcmp(only, classes[class]))
				continue;
			sweep(&images[i], class, quick);
			verdicts++;
		}
	}
	remove_devices();
	printf("# %u runs: %u ended read-only, %u were not activated, %u defects\n",
	       runs, runs_ro, runs_inactive, failures);
	printf("1..%u\n", verdicts);
	return !!failures;
}

