/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Judges the QED image that a crash has left.
 *
 * Written from the description of the format, without anything of dm-qed.
 */

#ifndef CRASH_JUDGE_H
#define CRASH_JUDGE_H

#include "disk.h"

enum verdict {
	GOOD,
	BAD_HEADER,	/* damaged */
	BAD_ENTRY,	/* a table entry is not aligned, or out of range */
	CROSS_LINK,	/* two references to a cluster, or one to metadata */
	LOST,		/* a sector lost what had been flushed */
	FOREIGN,	/* a sector shows what was never written to it */
	CLEAN_BIT,	/* NEED_CHECK is clear, but tables or what is above the end was touched */
	RECORD,		/* what the record says is not true */
	VERDICTS,
};

extern const char * const verdict_names[VERDICTS];

struct judge {
	const struct contents *contents;
	struct disk *guest;		/* what may be there */
	const uint32_t *initial;	/* the image at first */
	const uint32_t *below;		/* what shows where it has nothing; NULL: zeroes */
	uint64_t nr_below;		/* sectors of that */
	bool recovered;			/* used after it had not been closed */
	uint64_t nr_sectors;		/* of the image's device */
	uint64_t size, next_size;	/* of the guest's disk; 0: no change */

	/*
	 * What a sector had when NEED_CHECK was cleared last, or at first: a content,
	 * or NO_CONTENT and a list of what it might have
	 */
	uint32_t *settled, *maybe;
	struct judge_maybe {
		uint32_t content, next;
	} *maybes;			/* [0] is none */
	uint32_t nr_maybes, room_maybes;
	bool clear;			/* as was written last */
	bool informed;			/* of all writes to the header: set by the caller */

	/* Geometry, from the initial image; in sectors unless said otherwise */
	uint32_t cluster, table, header;
	uint64_t l1, entries;		/* entries of a table */
	uint64_t nr_clusters;		/* of the device */

	/*
	 * How many sectors must not read as zeroes, of each guest cluster, of
	 * those of each sector of an L2 table, and of each L2 table
	 */
	uint32_t *must_cluster, *must_sector, *must_table;
	unsigned char *must;		/* by guest sector */

	uint32_t *claims;		/* by cluster: the round it was seen in */
	uint32_t round;
	uint64_t end;			/* of the clusters seen in this round */

	uint64_t records, ends, zeroes;	/* states with a record, and what these claim */

	char message[256];		/* of the last verdict that is not GOOD */
};

/*
 * Begin with an image of @nr_sectors, and a guest's disk to be filled with what
 * the image has, which will not become larger than @guest_sectors. @below: what its
 * backing file has, of so many sectors, or NULL. Returns false, with a message, if it is
 * no QED image.
 */
bool judge_init(struct judge *judge, const struct contents *contents,
		const uint32_t *initial, uint64_t nr_sectors,
		const uint32_t *below, uint64_t nr_below,
		struct disk *guest, uint64_t guest_sectors);
void judge_free(struct judge *judge);

/* The first sector is about to be written to on the image's device. */
void judge_header_write(struct judge *judge, const struct disk *disk,
			uint32_t content);

/* The guest's disk gets another size, and has it for sure. */
void judge_resize(struct judge *judge, uint64_t sectors);
void judge_resized(struct judge *judge);

enum verdict judge_image(struct judge *judge, const uint32_t *image);

/* The size that an image has in sectors, as its first one says */
uint64_t judge_size(const struct judge *judge, uint32_t content);

/* The content of a guest's sector in an image that was found to be good */
uint32_t judge_read(const struct judge *judge, const uint32_t *image,
		    uint64_t sector);

#endif /* CRASH_JUDGE_H */
