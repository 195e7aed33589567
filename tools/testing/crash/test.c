// SPDX-License-Identifier: GPL-2.0-only
/*
 * test - hold the model of a disk against its definition
 *
 * Random histories of few writes, discards and flushes, for each of which the
 * contents that a sector may have are worked out anew, by disk.h's words, from the
 * whole history, at every step.
 */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "disk.h"
#include "stamp.h"

#define SECTORS		4
#define EVENTS		40
#define HISTORIES	20000
#define POISON		1000	/* content */

/* A write, a discard, or a flush; its content, of every sector, is its id. */
struct op {
	uint64_t submitted, done;
	uint32_t from, nr;
	bool flush, discard, fua, ok;
};

static struct op ops[EVENTS + 1];
static uint32_t nr_ops;
static uint32_t contents[EVENTS + 1][SECTORS];

static bool covers(const struct op *op, uint32_t sector)
{
	return !op->flush && sector >= op->from && sector < op->from + op->nr;
}

/* Had FUA and has completed, or completed before a flush that has */
static bool is_stable(const struct op *op)
{
	uint32_t i;

	if (op->discard || !op->done || !op->ok)
		return false;
	if (op->fua)
		return true;
	for (i = 1; i <= nr_ops; i++)
		if (ops[i].flush && ops[i].done && ops[i].ok &&
		    op->done < ops[i].submitted)
			return true;
	return false;
}

/* Can operation @id, or the time before all as 0, still be seen in a sector? */
static bool can_see(uint32_t sector, uint32_t id)
{
	uint32_t i;

	if (id && !covers(&ops[id], sector))
		return false;
	for (i = 1; i <= nr_ops; i++) {
		if (i == id || !covers(&ops[i], sector) || !is_stable(&ops[i]))
			continue;
		if (!id || (ops[id].done && ops[id].done < ops[i].submitted))
			return false;
	}
	return true;
}

/* May the sector have content @id, of a write or, as 0, of the time before? */
static bool may_have(uint32_t sector, uint32_t id)
{
	uint32_t i;

	if (id != POISON && !(id && ops[id].discard) && can_see(sector, id))
		return true;
	for (i = 1; (!id || id == POISON) && i <= nr_ops; i++)
		if (ops[i].discard && can_see(sector, i))
			return true;
	return false;
}

static void compare_content(const struct disk *disk, uint64_t history,
			    uint32_t sector, uint32_t id)
{
	if (disk_may_have(disk, sector, id) == may_have(sector, id))
		return;
	printf("history %ju: sector %u, write %u: %d, expected %d\n", history,
	       sector, id, disk_may_have(disk, sector, id),
	       may_have(sector, id));
	exit(1);
}

static void compare(const struct disk *disk, uint64_t history)
{
	uint32_t sector, id;

	for (sector = 0; sector < SECTORS; sector++) {
		for (id = 0; id <= nr_ops; id++)
			if (!id || !ops[id].flush)
				compare_content(disk, history, sector, id);
		compare_content(disk, history, sector, POISON);
	}
}

static void begin_op(struct disk *disk, uint64_t *rng, uint64_t pos)
{
	struct op *op = &ops[++nr_ops];
	uint32_t i;

	*op = (struct op){ .submitted = pos };
	op->flush = stamp_random(rng) % 4 == 0;
	if (op->flush) {
		disk_flush(disk, nr_ops, pos);
		return;
	}
	op->from = stamp_random(rng) % SECTORS;
	op->nr = 1 + stamp_random(rng) % (SECTORS - op->from);
	op->discard = stamp_random(rng) % 4 == 0;
	if (op->discard) {
		disk_discard(disk, nr_ops, pos, op->from, op->nr);
		return;
	}
	op->fua = stamp_random(rng) % 4 == 0;
	for (i = 0; i < op->nr; i++)
		contents[nr_ops][i] = nr_ops;
	disk_write(disk, nr_ops, pos, op->from, op->nr, contents[nr_ops],
		   op->fua);
}

static void end_op(struct disk *disk, uint32_t id, uint64_t *rng, uint64_t pos)
{
	struct op *op = &ops[id];

	op->done = pos;
	op->ok = stamp_random(rng) % 8;
	if (op->flush)
		disk_flush_done(disk, id, pos, op->ok);
	else
		disk_write_done(disk, id, pos, op->ok);
}

/* What is completed, and not stable, never will be. */
static void lose(struct disk *disk)
{
	uint32_t i;

	disk_lose(disk);
	for (i = 1; i <= nr_ops; i++)
		if (!ops[i].flush && ops[i].done && !is_stable(&ops[i]))
			ops[i].ok = false;
}

static void try_history(uint64_t history)
{
	uint64_t rng = history, pos;
	struct disk disk;
	uint32_t id;

	disk_init(&disk, SECTORS);
	disk.poison = POISON;
	nr_ops = 0;
	for (pos = 1; pos <= EVENTS; pos++) {
		id = 1 + stamp_random(&rng) % (nr_ops + 2);
		if (id <= nr_ops && !ops[id].done)
			end_op(&disk, id, &rng, pos);
		else
			begin_op(&disk, &rng, pos);
		if (stamp_random(&rng) % 16 == 0)
			lose(&disk);
		compare(&disk, history);
	}
	disk_free(&disk);
}

int main(void)
{
	uint64_t history;

	for (history = 1; history <= HISTORIES; history++)
		try_history(history);
	printf("%d histories\n", HISTORIES);
	return 0;
}
