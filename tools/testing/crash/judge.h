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
	CLEAN_BIT,	/* NEED_CHECK is clear, but space above the end in use */
	VERDICTS,
};

extern const char * const verdict_names[VERDICTS];

struct judge {
	const struct contents *contents;
	struct disk *guest;		/* what may be there */
	const uint32_t *initial;	/* the image at first */
	bool recovered;			/* used after it had not been closed */
	uint64_t nr_sectors;		/* of the image's device */

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

	char message[256];		/* of the last verdict that is not GOOD */
};

/*
 * Begin with an image of @nr_sectors, and a guest's disk to be filled with what
 * the image has. Returns false, with a message, if it is no QED image.
 */
bool judge_init(struct judge *judge, const struct contents *contents,
		const uint32_t *initial, uint64_t nr_sectors,
		struct disk *guest);
void judge_free(struct judge *judge);

enum verdict judge_image(struct judge *judge, const uint32_t *image);

/* The content of a guest's sector in an image that was found to be good */
uint32_t judge_read(const struct judge *judge, const uint32_t *image,
		    uint64_t sector);

#endif /* CRASH_JUDGE_H */
