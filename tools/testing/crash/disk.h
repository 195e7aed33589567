/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a disk with a volatile write cache may hold after a power cut.
 *
 * Everything is by sector and independent of other sectors: that is what random
 * tearing means. After the events so far, a sector may have the content of any
 * write that was submitted, unless a write to it that is stable for sure was
 * submitted after the former had completed. A write is stable for sure when it
 * had FUA and has completed, or when it completed before a flush was submitted
 * that has completed. The content before all writes counts as a stable write.
 *
 * A discard is not like a write: from then on each sector of it may, each time
 * anew, be as it was, have zeroes, or something else, called poison. No flush
 * changes that, only a write that is stable and was submitted after the discard
 * had completed.
 *
 * The same rules hold for the disk below dm-qed, where they say what a crash may
 * leave, and for the disk it offers, where they say what it may then show.
 *
 * Contents are numbers of a dictionary: equal numbers, and only these, are equal
 * contents. Number 0 is zeroes.
 */

#ifndef CRASH_DISK_H
#define CRASH_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SECTOR_SIZE	512
#define NO_CONTENT	UINT32_MAX

struct contents {
	unsigned char (*data)[SECTOR_SIZE];
	uint32_t nr, room;
	uint32_t *hash;		/* number + 1; open addressing */
	uint32_t hash_size;	/* a power of two */
};

void contents_init(struct contents *c);
void contents_free(struct contents *c);
uint32_t contents_number(struct contents *c, const void *data);

/* Exits when there is no memory. */
void *alloc(void *old, size_t nr, size_t size);

struct disk_write {
	uint64_t submitted, done;	/* positions; UINT64_MAX: not yet */
	uint64_t sector;
	uint32_t nr;
	uint32_t live;			/* sectors that may have its content */
	uint32_t *contents;		/* NULL: a discard */
	bool fua, flush, failed, stable;
};

/* A write that a sector may have the content of */
struct disk_node {
	uint32_t write, next;
};

struct disk {
	uint64_t nr;			/* sectors */
	uint32_t *base;			/* content before; or NO_CONTENT */
	uint32_t *head;			/* nodes by submission; 0: none */
	uint32_t *active_index;

	uint32_t *active;		/* the sectors that have nodes */
	uint32_t nr_active;

	struct disk_write *writes;	/* by id; [0] is none */
	uint32_t nr_writes;
	uint32_t *pending;		/* of these, neither stable nor dead */
	uint32_t nr_pending;

	struct disk_node *nodes;
	uint32_t nr_nodes, free_node;

	uint32_t poison;		/* content */

	/* The candidates of a sector have changed, or NULL */
	void (*changed)(struct disk *disk, uint64_t sector);
	void *private;
};

void disk_init(struct disk *disk, uint64_t nr);
void disk_free(struct disk *disk);

/* Events, at ascending positions. The caller keeps @contents. */
void disk_write(struct disk *disk, uint32_t id, uint64_t pos, uint64_t sector,
		uint32_t nr, uint32_t *contents, bool fua);
void disk_discard(struct disk *disk, uint32_t id, uint64_t pos, uint64_t sector,
		  uint32_t nr);
void disk_write_done(struct disk *disk, uint32_t id, uint64_t pos, bool ok);
void disk_flush(struct disk *disk, uint32_t id, uint64_t pos);
void disk_flush_done(struct disk *disk, uint32_t id, uint64_t pos, bool ok);

/* Who kept what was completed and is not stable is gone: no later flush makes it so. */
void disk_lose(struct disk *disk);

/* May a sector have this content now? */
bool disk_may_have(const struct disk *disk, uint64_t sector, uint32_t content);

static inline bool disk_node_is_discard(const struct disk *disk, uint32_t node)
{
	return !disk->writes[disk->nodes[node].write].contents;
}

/* Of a node that is no discard */
static inline uint32_t disk_node_content(const struct disk *disk, uint32_t node,
					 uint64_t sector)
{
	const struct disk_write *w = &disk->writes[disk->nodes[node].write];

	return w->contents[sector - w->sector];
}

#endif /* CRASH_DISK_H */
