/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a sector may read as, while anybody writes to it.
 *
 * Time is counted: the beginning of each write and its end are a moment of their
 * own. A write of data puts the moment of its beginning, its version, into each of
 * its sectors; zeroes, by discard or otherwise, name none, and are version 0.
 *
 * A version is stale once a write that began after the end of the version's own
 * has ended itself. A read must not find what was stale when it began. That is all
 * that a disk promises for a sector, and it takes no order of the writes: they, and
 * discards and zeroes, may overlap at will. What a read has found counts, for those
 * that begin after its end, as a write that has ended. After a crash only writes
 * count that a flush covers.
 *
 * It is kept in a file, if it has to survive the program. All of it may be called
 * by many threads at once, of one program at a time.
 */

#ifndef DM_QED_ORACLE_H
#define DM_QED_ORACLE_H

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define ORACLE_MOMENTS	0x10000000U

struct oracle_sector {
	atomic_uint settled;	/* when the latest began of the writes that have ended */
	atomic_uint durable;	/* the same of those that a flush covers */
	atomic_uint zeroing;	/* number of writes of zeroes on their way */
	atomic_uint zeroed;	/* when the latest of them ended */
};

/* The file; most of it is a hole. */
struct oracle_state {
	atomic_uint now;
	uint32_t born;				/* what began before has ended */
	atomic_uint ends[ORACLE_MOMENTS];	/* by the version; 0: on its way */
	struct oracle_sector sectors[];
};

struct oracle {
	struct oracle_state *state;
	atomic_uint *seen;	/* by sector: the latest version that a read has found */
	uint64_t nr_sectors;
};

static inline void oracle_raise(atomic_uint *where, uint32_t moment)
{
	uint32_t old = atomic_load(where);

	while (old < moment && !atomic_compare_exchange_weak(where, &old, moment))
		;
}

static inline uint32_t oracle_tick(struct oracle *oracle)
{
	return atomic_fetch_add(&oracle->state->now, 1) + 1;
}

/* The program that wrote is gone, and whatever it had begun has ended with it. */
static inline void oracle_reborn(struct oracle *oracle)
{
	struct oracle_sector *sector = oracle->state->sectors;
	uint64_t i;

	oracle->state->born = oracle_tick(oracle);
	for (i = 0; i < oracle->nr_sectors; i++, sector++)
		if (atomic_exchange(&sector->zeroing, 0))
			oracle_raise(&sector->zeroed, oracle->state->born);
}

/*
 * What no flush covers may be lost from here on, and everything older may be found
 * again, back to what is durable. After oracle_open(), before anything is written.
 */
static inline void oracle_lose(struct oracle *oracle)
{
	struct oracle_sector *sector = oracle->state->sectors;
	uint64_t i;

	for (i = 0; i < oracle->nr_sectors; i++, sector++)
		atomic_store(&sector->settled, atomic_load(&sector->durable));
}

/*
 * Open it for @nr_sectors, with what is known from @file, or NULL: none.
 * @crashed: what was on its way may still be found. Returns 0 or -1, with errno.
 */
static inline int oracle_open(struct oracle *oracle, const char *file,
			      uint64_t nr_sectors, bool crashed)
{
	size_t length = sizeof(*oracle->state) +
			nr_sectors * sizeof(struct oracle_sector);
	int flags = MAP_SHARED | MAP_NORESERVE, fd = -1;
	void *map;

	if (file) {
		fd = open(file, O_RDWR | O_CREAT, 0644);
		/* never made shorter: there may be more sectors than these */
		if (fd < 0 || (lseek(fd, 0, SEEK_END) < (off_t)length &&
			       ftruncate(fd, length)))
			return -1;
	}
	map = mmap(NULL, length, PROT_READ | PROT_WRITE,
		   file ? flags : flags | MAP_ANONYMOUS, fd, 0);
	if (file)
		close(fd);
	if (map == MAP_FAILED)
		return -1;
	oracle->state = map;
	oracle->nr_sectors = nr_sectors;
	oracle->seen = calloc(nr_sectors, sizeof(*oracle->seen));
	if (!oracle->seen)
		return -1;
	if (!crashed)
		oracle_reborn(oracle);
	return 0;
}

/* Is there time for @writes more of them? */
static inline bool oracle_has_time(struct oracle *oracle, uint32_t writes)
{
	return atomic_load(&oracle->state->now) < ORACLE_MOMENTS - 2 * writes;
}

/* A write begins, to @nr sectors; returns its version. Before it is sent. */
static inline uint32_t oracle_begin(struct oracle *oracle, uint64_t first,
				    unsigned int nr, bool zeroes)
{
	struct oracle_sector *sector = &oracle->state->sectors[first];
	unsigned int i;

	for (i = 0; zeroes && i < nr; i++)
		atomic_fetch_add(&sector[i].zeroing, 1);
	return oracle_tick(oracle);
}

/*
 * It has ended: with an error, what it wrote may be there. @durable: it is, if it
 * was successful.
 */
static inline void oracle_end(struct oracle *oracle, uint64_t first,
			      unsigned int nr, uint32_t version, bool zeroes,
			      bool ok, bool durable)
{
	struct oracle_sector *sector = &oracle->state->sectors[first];
	uint32_t end = oracle_tick(oracle);
	unsigned int i;

	atomic_store(&oracle->state->ends[version], end);
	for (i = 0; i < nr; i++, sector++) {
		if (zeroes) {
			oracle_raise(&sector->zeroed, end);
			atomic_fetch_sub(&sector->zeroing, 1);
		}
		if (ok)
			oracle_raise(&sector->settled, version);
		if (ok && durable)
			oracle_raise(&sector->durable, version);
	}
}

/* Before a flush: note what it covers. After it, if it was successful: that is durable. */
static inline void oracle_flush(struct oracle *oracle, uint32_t *covers)
{
	uint64_t i;

	for (i = 0; i < oracle->nr_sectors; i++)
		covers[i] = atomic_load(&oracle->state->sectors[i].settled);
}

static inline void oracle_flushed(struct oracle *oracle, const uint32_t *covers)
{
	uint64_t i;

	for (i = 0; i < oracle->nr_sectors; i++)
		oracle_raise(&oracle->state->sectors[i].durable, covers[i]);
}

/* Before a read: what ended before this moment is stale. */
static inline uint32_t oracle_read(struct oracle *oracle, uint64_t sector)
{
	uint32_t settled = atomic_load(&oracle->state->sectors[sector].settled);
	uint32_t seen = atomic_load(&oracle->seen[sector]);

	return seen > settled ? seen : settled;
}

static inline uint32_t oracle_durable(struct oracle *oracle, uint64_t sector)
{
	return atomic_load(&oracle->state->sectors[sector].durable);
}

/* After it: may it have found zeroes? @moment is that of oracle_read(). */
static inline bool oracle_may_be_zero(struct oracle *oracle, uint64_t sector,
				      uint32_t moment)
{
	struct oracle_sector *s = &oracle->state->sectors[sector];

	return atomic_load(&s->zeroing) || atomic_load(&s->zeroed) >= moment;
}

/* And may it have found this version, of which it is certain that it is of this sector? */
static inline bool oracle_may_be(struct oracle *oracle, uint32_t version,
				 uint32_t moment)
{
	uint32_t end;

	if (!version || version > atomic_load(&oracle->state->now))
		return false;
	if (version >= moment)
		return true;
	end = atomic_load(&oracle->state->ends[version]);
	if (!end && version <= oracle->state->born)
		end = oracle->state->born;
	return !end || end >= moment;
}

/* It has: later reads find nothing older. Not with errors, which may undo a write. */
static inline void oracle_saw(struct oracle *oracle, uint64_t sector,
			      uint32_t version)
{
	oracle_raise(&oracle->seen[sector], version);
}

#endif /* DM_QED_ORACLE_H */
