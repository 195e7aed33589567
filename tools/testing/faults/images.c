// SPDX-License-Identifier: GPL-2.0-only
/*
 * The image at first, and what is below it
 */

#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../crash/stamp.h"
#include "sweep.h"

#define PREPARED	18	/* spans that have a table at first */
#define BELOW_VERSION	63	/* of the sectors below */

unsigned char *template;

void put64(unsigned char *p, uint64_t value)
{
	unsigned int i;

	for (i = 0; i < 8; i++)
		p[i] = value >> (8 * i);
}

void make_template(void)
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

/* The parts of what is below that may be in use: their sectors are not those of others. */
void make_below(const char *device)
{
	int fd = open(device, O_RDWR | O_DIRECT);
	uint32_t span, i;

	if (fd < 0)
		die(device);
	for (span = 0; span < TABLES; span++) {
		for (i = 0; i < AREA; i++)
			stamp_fill(buffer + i * SECTOR_SIZE, span * SPAN + i, BELOW_VERSION);
		if (pwrite(fd, buffer, AREA * SECTOR_SIZE, (off_t)span * SPAN * SECTOR_SIZE) !=
		    AREA * SECTOR_SIZE)
			die(device);
	}
	close(fd);
}

/* What is below, as contents: all that may be in use; or NULL */
const uint32_t *contents_below(void)
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
