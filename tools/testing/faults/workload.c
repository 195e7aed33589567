// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is done to the image in each run, and what has to come of it
 */

#define _GNU_SOURCE
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../crash/stamp.h"
#include "mapper.h"
#include "sweep.h"

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
static_assert(NR_STEPS + 2 <= FIRST_BELOW, "versions");

unsigned char *buffer;

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
	bool sure = step->what != DISCARD || (is_known() && !run.plan.under), ok;
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

/*
 * What follows
 */

unsigned int version_of(uint32_t content)
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

static bool writes(const struct step *step)
{
	return step->what != READ && step->what != SUSPEND &&
	       step->what != RELOAD;
}

static bool makes_durable(const struct step *step)
{
	return step->what == FLUSH || step->what == FUA || step->what == COMMIT;
}

/* A failed read below must not let anything else fail. */
static bool reads_below(const struct step *step)
{
	switch (step->what) {
	case READ:
	case WRITE:
	case FUA:
	case PUNCH:
	case ZERO:
	case SUSPEND:
	case RELOAD:
		return true;
	default:
		return false;
	}
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

	if (run.plan.class == BELOW && !ok && !reads_below(step))
		wrong("step %d has failed, and needs nothing from below", nr);
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
void look(int nr, bool ok)
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
void scan_again(void)
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

/* What a failed read below has stopped is as it was: it works now. */
static void do_again(unsigned int nr)
{
	if (steps[nr].what != SUSPEND && steps[nr].what != RELOAD && !do_step(nr))
		wrong("step %u has failed again", nr);
}

void workload(void)
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
		if (steps[nr].what == RELOAD && run.hit && run.plan.class != BELOW)
			may_be_older();
		if (!ok && run.plan.class == BELOW && run.over)
			do_again(nr);
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
void read_all(void)
{
	struct step step = { READ, 0, 0, AREA };

	for (step.span = 0; step.span * SPAN < run.size; step.span++)
		if (!do_read(&step))
			wrong("span %u cannot be read", step.span);
}
