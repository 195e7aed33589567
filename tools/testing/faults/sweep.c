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
 * itself, and one over a backing file, which is on BELOW. In each run it is activated, used
 * in the same way, and closed, while the n-th read, write or flush of its device, or the
 * n-th read below, fails: with EIO or ENOSPC, once or from then on, and with the device
 * having done it nevertheless or not. Then
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
#include <linux/fs.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdnoreturn.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../crash/judge.h"
#include "../crash/stamp.h"
#include "mapper.h"

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

#define CLUSTER		8			/* sectors; 4 KiB */
#define SPAN		(512 * CLUSTER)		/* that an L2 table maps */
#define TABLES		24
#define GUEST		((uint64_t)TABLES * SPAN)
#define GROWN		(GUEST + SPAN)		/* after RESIZE */
#define LOWER		8192			/* sectors of the device */
#define AREA		64			/* in use, at the begin of each span */
#define ZEROED_FROM	256			/* clusters, when it is known */
#define SCAN_WORD	13			/* of the status, from 0 */
#define BELOW_VERSION	63			/* of the sectors below */

/* The workload: what is done to which sectors of which span */
enum what {
	WRITE,
	FUA,
	READ,
	FLUSH,
	SUSPEND,	/* and resume */
	COMMIT,		/* by message */
	RELOAD,
	DISCARD,
	PUNCH,		/* zeroes, without space where that is possible */
	ZERO,		/* zeroes, in the space that is there */
	TRIM,		/* these three by message */
	CHECK,
	RESIZE,
};

static const struct step {
	enum what what;
	unsigned int span, offset, nr;
} steps[] = {
	{ READ, 0, 0, 16 },
	{ WRITE, 0, 2, 3 },		/* in place */
	{ WRITE, 1, 21, 3 },		/* a part of a new cluster */
	{ .what = FLUSH },
	{ .what = FLUSH },			/* with nothing to do */
	{ WRITE, 2, 11, 37 },		/* several new ones, and parts */
	{ WRITE, 18, 0, 8 },		/* a new table */
	{ WRITE, 19, 5, 30 },
	{ READ, 19, 0, 64 },
	{ .what = FLUSH },
	{ FUA, 19, 6, 2 },		/* in place, durable */
	{ WRITE, 3, 8, 8 },
	{ FUA, 3, 9, 1 },		/* in place, not durable */
	{ FUA, 4, 32, 9 },		/* new */
	{ FUA, 20, 0, 1 },		/* new, with a new table */
	{ READ, 5, 0, 8 },
	{ READ, 6, 0, 64 },
	{ READ, 7, 8, 56 },
	{ DISCARD, 2, 8, 32 },		/* clusters that have just been written to */
	{ DISCARD, 5, 0, 8 },		/* all that a table has */
	{ PUNCH, 19, 3, 18 },		/* a cluster, and parts of others */
	{ ZERO, 19, 25, 4 },		/* a part */
	{ .what = FLUSH },
	{ .what = CHECK },
	{ WRITE, 8, 16, 16 },
	{ WRITE, 9, 20, 1 },
	{ WRITE, 10, 24, 8 },
	{ WRITE, 11, 28, 12 },
	{ READ, 12, 0, 8 },
	{ READ, 13, 0, 8 },
	{ .what = SUSPEND },
	{ WRITE, 14, 40, 8 },
	{ WRITE, 14, 44, 8 },
	{ .what = COMMIT },
	{ WRITE, 15, 8, 1 },
	{ WRITE, 15, 0, 4 },
	{ .what = RESIZE },
	{ DISCARD, 14, 0, 64 },
	{ .what = RELOAD },
	{ READ, 15, 0, 16 },
	{ WRITE, 16, 8, 9 },
	{ WRITE, 21, 0, 64 },
	{ .what = FLUSH },
	{ .what = SUSPEND },
	{ WRITE, 0, 0, 1 },
	{ .what = FLUSH },
	{ WRITE, 17, 30, 20 },
	{ WRITE, 5, 0, 1 },		/* a new table again */
	{ DISCARD, 21, 8, 40 },
	{ .what = FLUSH },
	{ .what = TRIM },
	{ WRITE, 24, 0, 12 },		/* behind the old end */
	{ WRITE, 22, 1, 2 },
};

#define NR_STEPS	ARRAY_SIZE(steps)
#define PREPARED	18	/* spans that have a table at first */

/* How an I/O fails */
static const char * const classes[] = { "read", "write", "flush", "below" };
static const char * const errors[] = { "eio", "enospc" };
static const char * const times[] = { "once", "on" };
static const char * const fates[] = { "lost", "done" };

enum { READS, WRITES, FLUSHES, BELOW };

struct plan {
	unsigned int class, nth, error, time, fate;
	bool zeroed;		/* commits without order */
	bool backed;		/* there is a backing file */
	bool dies;		/* at the end of the workload */
};

/* Do flushes and FUA fail because writes are lost? */
enum loss {
	NOTHING,
	PERHAPS,		/* the next one shows it */
	GONE,
};

static struct run {
	struct plan plan;
	struct contents contents;
	struct disk guest;
	struct judge judge;
	uint32_t image[LOWER];
	uint64_t *now;		/* by sector: steps + 1 whose content it may have */
	uint64_t pos;		/* of the last event */
	uint32_t id;		/* of the last write or flush */
	bool active;
	bool over;		/* the fault has happened, and does not go on */
	int at;			/* the step it happened in; -1: activation */
	bool hit;
	uint64_t sector;
	bool meta;
	bool fua;
	uint64_t size;		/* of the guest's disk */
	uint32_t lost;		/* writes up to this one may be, if a flush says so */
	bool told;		/* a flush did, before the table was replaced */
	enum loss loss;
	bool loss_told;		/* since the last suspend */
} run;

static const char *lower, *below;	/* the devices */
static int lower_fd = -1, guest_fd = -1;
static unsigned char *template, *buffer;
static unsigned int runs, runs_ro, runs_inactive, failures;
static FILE *found;	/* what is wrong, since the last verdict */

static noreturn void die(const char *what)
{
	fprintf(stderr, "sweep: %s: %s\n", what, strerror(errno));
	exit(2);
}

/* What is wrong with this run */
static void wrong(const char *format, ...)
{
	const struct plan *plan = &run.plan;
	va_list args;

	failures++;
	fprintf(found, "#   %s: %s %u %s %s %s, %s: ",
		plan->backed ? "over a backing" :
		plan->zeroed ? "zeroed" : "ordered", classes[plan->class],
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

/* The device whose I/O fails */
static const char *failing(void)
{
	return run.plan.class == BELOW ? "sweep-below" : "sweep-lower";
}

static void arm(const char *device, const char *class, unsigned int nth,
		const char *error, const char *time, const char *fate)
{
	char text[64];

	snprintf(text, sizeof(text), "%s %s %u %s %s %s", "arm", class, nth,
		 error, time, fate);
	if (!mapper_message(device, text))
		die("arm");
}

/* Has a fault happened by now? Sets where. */
static unsigned int hits(unsigned int count[3])
{
	char *text = mapper_status(failing()), kind[5], fua[4];
	unsigned int nr;

	if (sscanf(text, "%u %u %u %u %ju %4s %3s", &count[0], &count[1], &count[2],
		   &nr, &run.sector, kind, fua) != 7)
		die("status of the faults");
	run.meta = !strcmp(kind, "meta");
	run.fua = !strcmp(fua, "fua");
	free(text);
	return nr;
}

static bool mode_is(const char *mode)
{
	char *text = mapper_status("sweep-qed"), pattern[16];
	bool found;

	snprintf(pattern, sizeof(pattern), " %s ", mode);
	found = strstr(text, pattern);
	free(text);
	return found;
}

/* A scan in the background may have failed. */
static bool is_known(void)
{
	char *text = mapper_status("sweep-qed");
	bool known = !strstr(text, " -/");

	free(text);
	return known;
}

/* Does a scan go on in the background? Then this word of the status is its progress. */
static bool is_scanning(void)
{
	char *text = mapper_status("sweep-qed"), *word = text;
	unsigned int i;
	bool scanning;

	for (i = 0; i < SCAN_WORD && word; i++)
		word = strchr(word + 1, ' ');
	if (!word)
		die("status of the scan");
	scanning = word[1] != '-';
	free(text);
	return scanning;
}

/* Wait for its end: before it nothing is unmapped. */
static void settle(void)
{
	unsigned int i;

	for (i = 0; is_scanning(); i++) {
		if (i == 2000) {
			wrong("the scan has no end");
			return;
		}
		usleep(5000);
	}
}

static const char backing[] = " backing /dev/mapper/sweep-below";

static bool activate(void)
{
	char parameters[192], more[64] = "";

	/* what is written only when it is asked for */
	if (run.plan.zeroed)
		snprintf(more, sizeof(more), " zeroed_from %d", ZEROED_FROM);
	if (run.plan.backed)
		snprintf(more, sizeof(more), "%s", backing);
	snprintf(parameters, sizeof(parameters),
		 "/dev/mapper/sweep-lower %d commit_interval 3600000 cache_kib 64 error_if_no_space%s",
		 *more ? 7 : 5, more);
	if (!mapper_load("sweep-qed", DM_DEVICE_CREATE, GUEST, "qed", parameters))
		return false;
	settle();
	guest_fd = open("/dev/mapper/sweep-qed", O_RDWR | O_DIRECT);
	if (guest_fd < 0)
		die("/dev/mapper/sweep-qed");
	return true;
}

static void deactivate(void)
{
	close(guest_fd);
	guest_fd = -1;
	if (!mapper_simple(DM_DEVICE_REMOVE, "sweep-qed"))
		die("remove");
}

static bool resume(void)
{
	if (!mapper_simple(DM_DEVICE_RESUME, "sweep-qed"))
		return false;
	settle();
	return true;
}

static bool reload(void)
{
	char parameters[128];

	snprintf(parameters, sizeof(parameters),
		 "/dev/mapper/sweep-lower %d commit_interval 3600000 error_if_no_space%s",
		 run.plan.backed ? 5 : 3, run.plan.backed ? backing : "");
	return mapper_load("sweep-qed", DM_DEVICE_RELOAD, run.size, "qed", parameters) &&
	       resume();
}

/*
 * What is expected
 */

static uint64_t sector_of(const struct step *step)
{
	return (uint64_t)step->span * SPAN + step->offset;
}

static void guest_write(const struct step *step, unsigned int version, bool ok,
			int fd)
{
	uint64_t first = sector_of(step);
	bool fua = step->what == FUA;
	uint32_t *numbers = calloc(step->nr, sizeof(*numbers)), i;
	struct iovec vec = { buffer, step->nr * SECTOR_SIZE };
	ssize_t r;

	for (i = 0; i < step->nr; i++) {
		stamp_fill(buffer + i * SECTOR_SIZE, first + i, version);
		numbers[i] = contents_number(&run.contents,
					     buffer + i * SECTOR_SIZE);
	}
	disk_write(&run.guest, ++run.id, ++run.pos, first, step->nr, numbers,
		   fua);
	if (fd >= 0) {
		r = pwritev2(fd, &vec, 1, first * SECTOR_SIZE,
			     fua ? RWF_DSYNC : 0);
		ok = r == (ssize_t)vec.iov_len;
	}
	disk_write_done(&run.guest, run.id, ++run.pos, ok);
	for (i = 0; i < step->nr; i++) {
		if (ok)
			run.now[first + i] = 0;
		run.now[first + i] |= 1ULL << version;
	}
	errno = ok ? 0 : EIO;
}

static bool do_write(const struct step *step, unsigned int version)
{
	guest_write(step, version, false, guest_fd);
	return !errno;
}

static bool unmap(enum what what, uint64_t from, uint64_t nr)
{
	uint64_t bytes[2] = { from * SECTOR_SIZE, nr * SECTOR_SIZE };
	int mode = FALLOC_FL_KEEP_SIZE | (what == PUNCH ? FALLOC_FL_PUNCH_HOLE :
							  FALLOC_FL_ZERO_RANGE);

	if (what == DISCARD)
		return !ioctl(guest_fd, BLKDISCARD, bytes);
	return !fallocate(guest_fd, mode, bytes[0], bytes[1]);
}

/*
 * A discard leaves parts of clusters as they are, and over a backing file those that the
 * image does not have.
 */
static bool do_unmap(const struct step *step)
{
	uint64_t from = sector_of(step), to = from + step->nr, i;
	bool sure = step->what != DISCARD || (is_known() && !run.plan.backed), ok;
	unsigned int count[3];

	if (step->what == DISCARD) {
		from = (from + CLUSTER - 1) / CLUSTER * CLUSTER;
		to = to / CLUSTER * CLUSTER;
	}
	disk_write(&run.guest, ++run.id, ++run.pos, from, to - from,
		   calloc(to - from, sizeof(uint32_t)), false);
	ok = unmap(step->what, sector_of(step), step->nr);
	/* Without space for what says that the image is in use nothing is unmapped. */
	if (step->what == DISCARD && run.plan.error && hits(count))
		sure = false;
	disk_write_done(&run.guest, run.id, ++run.pos, ok && sure);
	for (i = from; i < to; i++)
		run.now[i] = ok && sure ? 1 : run.now[i] | 1;
	return ok;
}

static bool do_resize(void)
{
	char text[32];

	snprintf(text, sizeof(text), "resize %ju", GROWN);
	judge_resize(&run.judge, GROWN);
	if (!mapper_message("sweep-qed", text))
		return false;
	judge_resized(&run.judge);
	run.size = GROWN;
	return true;
}

static bool is_free(void)
{
	char *text = mapper_status("sweep-qed");
	unsigned int reclaiming;
	bool known;

	/* free, zeroed, and not yet free clusters */
	known = sscanf(text, "%*s %*s %*s %*s %*s %*s %*s %*s %*s %*u/%*u/%u",
		       &reclaiming) == 1;
	free(text);
	/* Nothing is unmapped as long as that is not known. */
	return !known || !reclaiming;
}

/* What was unmapped becomes free after a flush. */
static void wait_free(void)
{
	unsigned int i;

	for (i = 0; !is_free() && !mode_is("ro"); i++) {
		if (i == 500) {
			wrong("clusters do not become free");
			return;
		}
		usleep(10000);
	}
}

static bool do_flush(void)
{
	bool ok;

	disk_flush(&run.guest, ++run.id, ++run.pos);
	ok = !fsync(guest_fd);
	disk_flush_done(&run.guest, run.id, ++run.pos, ok);
	return ok;
}

/* May the sector read like this now? */
static bool as_written(uint64_t sector, const unsigned char *data)
{
	static const unsigned char zeroes[SECTOR_SIZE];
	struct stamp stamp;

	if (!memcmp(data, zeroes, SECTOR_SIZE))
		return run.now[sector] & 1;
	memcpy(&stamp, data, sizeof(stamp));
	return stamp_valid(data) && stamp.sector == sector &&
	       run.now[sector] & 1ULL << stamp.version;
}

static bool do_read(const struct step *step)
{
	uint64_t first = sector_of(step);
	uint32_t i;

	if (pread(guest_fd, buffer, step->nr * SECTOR_SIZE,
		  first * SECTOR_SIZE) != (ssize_t)step->nr * SECTOR_SIZE)
		return false;
	for (i = 0; i < step->nr; i++)
		if (!as_written(first + i, buffer + i * SECTOR_SIZE))
			wrong("sector %ju reads as something else", first + i);
	return true;
}

/*
 * Runs
 */

static void put64(unsigned char *p, uint64_t value)
{
	unsigned int i;

	for (i = 0; i < 8; i++)
		p[i] = value >> (8 * i);
}

static bool do_step(unsigned int nr)
{
	const struct step *step = &steps[nr];

	switch (step->what) {
	case WRITE:
	case FUA:
		/* 0 is zeroes, 1 what was there before */
		return do_write(step, nr + 2);
	case READ:
		return do_read(step);
	case FLUSH:
		return do_flush();
	case SUSPEND:
		return mapper_simple(DM_DEVICE_SUSPEND, "sweep-qed") && resume();
	case COMMIT:
		return mapper_message("sweep-qed", "commit");
	case RELOAD:
		return reload();
	case DISCARD:
	case PUNCH:
	case ZERO:
		return do_unmap(step);
	case TRIM:
		/*
		 * It goes behind the end of the image, and nobody tells the judge when
		 * NEED_CHECK is cleared afterwards. The crash tests do, see ../crash.
		 */
		run.judge.recovered = true;
		return mapper_message("sweep-qed", "trim");
	case CHECK:
		return mapper_message("sweep-qed", "check") ||
		       (!is_known() && !mode_is("ro"));
	case RESIZE:
		return do_resize();
	}
	return false;
}

static unsigned int version_of(uint32_t content)
{
	struct stamp stamp;

	memcpy(&stamp, run.contents.data[content], sizeof(stamp));
	return content ? stamp.version : 0;
}

/* A flush has failed: what was not flushed up to this write may be lost. */
static void forgive(uint32_t last)
{
	uint32_t id;

	for (id = 1; id <= last; id++)
		run.guest.writes[id].failed = true;
}

/*
 * The table has been replaced after a failure. The new one has only what is on
 * the device, which may be older; and if no flush has failed, the next one has to.
 */
static void may_be_older(void)
{
	const struct disk *guest = &run.guest;
	uint64_t sector;
	uint32_t node;

	run.judge.recovered = true;
	if (run.told) {
		forgive(run.id);
	} else {
		run.lost = run.id;
		if (run.loss == NOTHING)
			run.loss = PERHAPS;
	}
	for (sector = 0; sector < GROWN; sector++) {
		if (guest->base[sector] != NO_CONTENT)
			run.now[sector] |= 1ULL << version_of(guest->base[sector]);
		for (node = guest->head[sector]; node;
		     node = guest->nodes[node].next)
			run.now[sector] |=
				1ULL << version_of(disk_node_content(guest, node, sector));
	}
}

static void disarm(void)
{
	if (!mapper_message("sweep-lower", "disarm") ||
	    !mapper_message("sweep-below", "disarm"))
		die("disarm");
}

static bool writes(const struct step *step)
{
	return step->what != READ && step->what != SUSPEND &&
	       step->what != RELOAD;
}

static bool makes_durable(const struct step *step)
{
	return step->what == FLUSH || step->what == FUA || step->what == COMMIT;
}

/* What follows from the end of a step for the next ones */
static void follow_loss(const struct step *step, bool ok, bool was_hit)
{
	if (run.hit && !was_hit && run.plan.class == FLUSHES && !mode_is("ro"))
		run.loss = GONE;
	if (run.loss == NOTHING) {
		/* Unless it has gone to a new cluster, which is flushed by a commit */
		if (run.hit && run.plan.class == WRITES && step->what == FUA &&
		    (!run.plan.error || run.over) && !ok && !mode_is("ro"))
			run.loss = PERHAPS;
		return;
	}
	if (makes_durable(step)) {
		run.loss = ok ? NOTHING : GONE;
		/* The message leaves it to a flush to tell the guest, and so does FUA. */
		run.loss_told |= !ok && step->what == FLUSH;
	} else if ((step->what == SUSPEND || step->what == RELOAD) && ok &&
		   run.loss_told) {
		run.loss = NOTHING;
		run.loss_told = false;
	}
}

/* What fails in the background stops writes first, and changes the mode then. */
static bool turns_ro(void)
{
	unsigned int i;

	for (i = 0; i < 50 && !mode_is("ro"); i++)
		usleep(100000);
	return mode_is("ro");
}

/* A step has ended well, or not: is that right? */
static void judge_step(int nr, bool ok, bool was_hit, bool was_ro)
{
	const struct step *step = &steps[nr];
	bool flush = step->what == FLUSH || step->what == COMMIT;

	if (!was_ro && ok && makes_durable(step) && run.loss == GONE)
		wrong("step %d has worked, though writes are lost", nr);
	if (was_ro && step->what != RELOAD && ok == writes(step))
		wrong("step %d has %s in mode ro", nr, ok ? "worked" : "failed");
	else if (flush && !ok && run.lost)
		forgive(run.lost);
	else if (!was_ro && !ok && (!run.hit || (was_hit && run.over)) &&
		 !(makes_durable(step) && run.loss != NOTHING) &&
		 !(run.hit && turns_ro()))
		wrong("step %d has failed without a reason", nr);
	/* The message leaves it to a flush to tell the guest. */
	if (step->what == FLUSH) {
		run.told |= run.hit && !ok;
		run.lost = 0;
	}
}

/*
 * The mode that has to follow from where the fault was. @ok: of the step; a mapping
 * that was not activated has mode fail until it is.
 */
static void judge_mode(int nr, bool ok)
{
	const struct plan *plan = &run.plan;
	enum what what = nr < 0 ? SUSPEND : steps[nr].what;
	bool ro = mode_is("ro"), full = mode_is("out_of_space");

	if (mode_is("fail")) {
		if (ok || (what != SUSPEND && what != RELOAD))
			wrong("the mode is fail");
		return;
	}
	if (full && (plan->class != WRITES || !plan->error))
		wrong("the mode is out_of_space");
	if (ro && (plan->class == READS || plan->class == BELOW))
		wrong("a failed read has made it read-only");
	if (plan->class != WRITES || what == RELOAD)
		return;

	if (!run.sector && !ro && !plan->error)
		wrong("the header was not written, and it is not read-only");
	/* With FUA, if there is space at once for the same without: it was a flush. */
	if (!run.sector && ro && plan->error && !plan->time && !run.fua)
		wrong("there is no space for the header, and it is read-only");
	if (run.meta && run.sector && !plan->error && !ro)
		wrong("a table was not written, and it is not read-only");
	/* When it is resumed it tries again, and there may be space then. */
	if (run.meta && run.sector && plan->error && !ro && !full &&
	    (what != SUSPEND || plan->time))
		wrong("there is no space for a table, and nobody is told");
	if (run.meta && run.sector && plan->error && !plan->time && ro && !run.fua)
		wrong("there is no space for a table, and it is read-only");
	if (!run.meta && ro && !plan->time)
		wrong("data was not written, and it is read-only");
}

/* Look for the fault after a step. */
static void look(int nr, bool ok)
{
	unsigned int count[3];

	if (run.hit || !hits(count))
		return;
	run.hit = true;
	run.at = nr;
	run.over = run.plan.time == 0;
	if (run.active)
		judge_mode(nr, ok);
}

/* A scan has failed: what is free is not known until the next one. */
static void scan_again(void)
{
	if (is_known() || mode_is("ro"))
		return;
	if (!run.hit || run.plan.class != READS)
		wrong("it is not known what is free");
	disarm();
	run.over = true;
	if (!mapper_simple(DM_DEVICE_SUSPEND, "sweep-qed") || !resume() ||
	    !is_known())
		wrong("it is not known what is free, after a resume");
}

static void workload(void)
{
	unsigned int nr;

	for (nr = 0; nr < NR_STEPS; nr++) {
		bool was_hit = run.hit, was_ro = mode_is("ro"), ok;

		/* It could not be resized. */
		if (sector_of(&steps[nr]) >= run.size)
			continue;
		ok = do_step(nr);
		if (ok && (steps[nr].what == FLUSH || steps[nr].what == COMMIT))
			wait_free();
		look(nr, ok);
		judge_step(nr, ok, was_hit, was_ro);
		follow_loss(&steps[nr], ok, was_hit);
		if (steps[nr].what == RELOAD && run.hit)
			may_be_older();
		/* the device may have stayed suspended */
		if (!ok && !writes(&steps[nr]) && steps[nr].what != READ) {
			disarm();
			run.over = true;
			if (steps[nr].what == RELOAD ? !reload() : !resume())
				wrong("cannot be resumed after step %u", nr);
		}
		if (steps[nr].what == SUSPEND || steps[nr].what == RELOAD)
			scan_again();
	}
}

/* All that may be in use can be read, and is as it was written. */
static void read_all(void)
{
	struct step step = { READ, 0, 0, AREA };

	for (step.span = 0; step.span * SPAN < run.size; step.span++)
		if (!do_read(&step))
			wrong("span %u cannot be read", step.span);
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

/* What is below, as contents: all that may be in use; or NULL */
static const uint32_t *contents_below(void)
{
	unsigned char data[SECTOR_SIZE];
	uint32_t *numbers, span, i;

	if (!run.plan.backed)
		return NULL;
	numbers = calloc(GUEST, sizeof(*numbers));
	for (span = 0; span < TABLES; span++)
		for (i = span * SPAN; i < span * SPAN + AREA; i++) {
			stamp_fill(data, i, BELOW_VERSION);
			numbers[i] = contents_number(&run.contents, data);
		}
	return numbers;
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
	/* the features, and the name of the backing file: four bytes somewhere */
	put64(template + 16, plan->backed ? 5 : 0);
	put64(template + 56, plan->backed ? 128 | 4ULL << 32 : 0);
	contents_init(&run.contents);
	for (i = 0; i < LOWER; i++)
		initial[i] = contents_number(&run.contents,
					     template + i * SECTOR_SIZE);
	if (!judge_init(&run.judge, &run.contents, initial, LOWER, contents_below(),
			GUEST, &run.guest, GROWN))
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
static void sweep(unsigned int class, bool zeroed, bool backed, bool quick)
{
	unsigned int way, hit, nth = 0;
	char name[64];

	do {
		struct plan plan = {
			.class = class, .nth = ++nth, .zeroed = zeroed, .backed = backed,
		};

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
	snprintf(name, sizeof(name), "%s, each %s%s",
		 backed ? "over a backing file" : zeroed ? "unordered commits" : "ordered commits",
		 class == BELOW ? "read " : "", classes[class]);
	verdict(name, nth - 1);
}

/*
 * The image at first: some tables, a piece of data in each, garbage in free space
 */

static void make_template(void)
{
	uint64_t size = CLUSTER * SECTOR_SIZE, next = 2, rng = 1, i;
	unsigned char *header = template;
	unsigned int span;

	for (i = 0; i < LOWER * SECTOR_SIZE / 8; i++)
		put64(template + 8 * i, stamp_random(&rng));
	memset(template + ZEROED_FROM * size, 0,
	       LOWER * SECTOR_SIZE - ZEROED_FROM * size);
	memset(template, 0, 2 * size);
	memcpy(header, "QED", 3);
	put64(header + 4, size | 1ULL << 32);
	put64(header + 12, 1);
	put64(header + 40, size);
	put64(header + 48, GUEST * SECTOR_SIZE);
	for (span = 0; span < PREPARED; span++) {
		unsigned char *table = template + next * size;

		put64(template + size + 8 * span, next++ * size);
		memset(table, 0, size);
		put64(table, next * size);
		for (i = 0; i < CLUSTER; i++)
			stamp_fill(template + next * size + i * SECTOR_SIZE,
				   (uint64_t)span * SPAN + i, 1);
		next++;
	}
}

/* Without any fault nothing may be wrong. */
static void rehearse(bool zeroed, bool backed)
{
	struct plan plan = { .class = WRITES, .zeroed = zeroed, .backed = backed };

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

/* The parts of what is below that may be in use: their sectors are not those of others. */
static void make_below(void)
{
	int fd = open(below, O_RDWR | O_DIRECT);
	uint32_t span, i;

	if (fd < 0)
		die(below);
	for (span = 0; span < TABLES; span++) {
		for (i = 0; i < AREA; i++)
			stamp_fill(buffer + i * SECTOR_SIZE, span * SPAN + i, BELOW_VERSION);
		if (pwrite(fd, buffer, AREA * SECTOR_SIZE, (off_t)span * SPAN * SECTOR_SIZE) !=
		    AREA * SECTOR_SIZE)
			die(below);
	}
	close(fd);
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
	make_below();
	if (!mapper_load("sweep-lower", DM_DEVICE_CREATE, LOWER, "fault", lower) ||
	    !mapper_load("sweep-below", DM_DEVICE_CREATE, GUEST, "fault", below))
		die("the target fault");
}

int main(int argc, char **argv)
{
	unsigned int class, way, verdicts = 0;
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
	/* ordered commits, then unordered ones, then over a backing file */
	for (way = 0; way < 3; way++) {
		rehearse(way == 1, way == 2);
		for (class = READS; class <= (way == 2 ? BELOW : FLUSHES); class++) {
			if (only && strcmp(only, classes[class]))
				continue;
			sweep(class, way == 1, way == 2, quick);
			verdicts++;
		}
	}
	mapper_simple(DM_DEVICE_REMOVE, "sweep-below");
	mapper_simple(DM_DEVICE_REMOVE, "sweep-lower");
	printf("# %u runs: %u ended read-only, %u were not activated, %u defects\n",
	       runs, runs_ro, runs_inactive, failures);
	printf("1..%u\n", verdicts);
	return !!failures;
}
