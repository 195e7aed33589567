// SPDX-License-Identifier: GPL-2.0-only
/*
 * The image at first, and what is below it
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../crash/stamp.h"
#include "sweep.h"

#define PREPARED	18	/* spans that have a table at first */
#define BACKING_FILE	1	/* features */
#define NO_PROBE	4

unsigned char *template;

static void put64(unsigned char *p, uint64_t value)
{
	unsigned int i;

	for (i = 0; i < 8; i++)
		p[i] = value >> (8 * i);
}

static uint64_t get64(const unsigned char *p)
{
	uint64_t value = 0;
	unsigned int i;

	for (i = 0; i < 8; i++)
		value |= (uint64_t)p[i] << (8 * i);
	return value;
}

/* The header of an empty image, whose tables are of one cluster; in sectors */
static void put_header(unsigned char *header, unsigned int cluster, uint64_t size)
{
	memcpy(header, "QED", 3);
	put64(header + 4, cluster * SECTOR_SIZE | 1ULL << 32);
	put64(header + 12, 1);
	put64(header + 40, cluster * SECTOR_SIZE);
	put64(header + 48, size * SECTOR_SIZE);
}

/* The name of the backing file is four bytes somewhere. */
static void put_backing(unsigned char *header, unsigned int features)
{
	put64(header + 16, features);
	put64(header + 56, features ? 128 | 4ULL << 32 : 0);
}

void make_template(void)
{
	uint64_t size = CLUSTER * SECTOR_SIZE, next = 2, rng = 1, i;
	unsigned int span;

	for (i = 0; i < LOWER * SECTOR_SIZE / 8; i++)
		put64(template + 8 * i, stamp_random(&rng));
	memset(template + ZEROED_FROM * size, 0,
	       LOWER * SECTOR_SIZE - ZEROED_FROM * size);
	memset(template, 0, 2 * size);
	put_header(template, CLUSTER, GUEST);
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

void choose_backing(enum under under)
{
	static const unsigned int features[] = {
		[ZEROES] = 0,
		[RAW] = BACKING_FILE | NO_PROBE,
		[LAYERS] = BACKING_FILE,
	};

	put_backing(template, features[under]);
}

/*
 * What is below
 */

enum has {
	HOLE,
	ZERO_CLUSTER,
	DATA,
};

static const struct layer {
	uint64_t at, size;		/* sectors */
	unsigned int cluster, version, features;
} layers[] = {
	{ FIRST_LAYER, GUEST - SPAN + AREA / 2 + 3, CLUSTER, FIRST_BELOW, BACKING_FILE },
	{ SECOND_LAYER, GUEST, 2 * CLUSTER, FIRST_BELOW + 1, BACKING_FILE | NO_PROBE },
};

#define NR_LAYERS	ARRAY_SIZE(layers)
#define RAW_VERSION	(FIRST_BELOW + NR_LAYERS)

/* What a layer has for a sector that may be in use */
static enum has layer_has(unsigned int nr, uint64_t sector)
{
	unsigned int span = sector / SPAN, cluster = sector % SPAN / layers[nr].cluster;

	if (nr)
		return (span + cluster) % 3 ? DATA : HOLE;
	switch ((span + cluster) % 4) {
	case 0:
		return DATA;
	case 1:
		return ZERO_CLUSTER;
	default:
		return HOLE;
	}
}

/* The version that shows below, 0: zeroes */
static unsigned int version_below(uint64_t sector)
{
	unsigned int nr;

	for (nr = 0; run.plan.under == LAYERS && nr < NR_LAYERS; nr++) {
		enum has has = layer_has(nr, sector);

		if (sector >= layers[nr].size || has == ZERO_CLUSTER)
			return 0;
		if (has == DATA)
			return layers[nr].version;
	}
	return RAW_VERSION;
}

/* Enter a cluster of the guest into an image, with data or without. Returns the next free one. */
static uint64_t enter(unsigned char *image, const struct layer *layer, uint64_t sector,
		      enum has has, uint64_t next)
{
	uint64_t size = layer->cluster * SECTOR_SIZE, entries = size / 8, i;
	uint64_t cluster = sector / layer->cluster;
	unsigned char *l1 = image + size + cluster / entries * 8, *l2;

	if (!get64(l1))
		put64(l1, next++ * size);
	l2 = image + get64(l1) + cluster % entries * 8;
	if (has == ZERO_CLUSTER) {
		put64(l2, 1);
		return next;
	}
	put64(l2, next * size);
	for (i = 0; i < layer->cluster; i++)
		stamp_fill(image + next * size + i * SECTOR_SIZE, sector + i, layer->version);
	return next + 1;
}

/* An image with a part of the sectors that may be in use */
static void make_layer(unsigned char *image, unsigned int nr)
{
	const struct layer *layer = &layers[nr];
	uint64_t next = 2, sector;
	enum has has;

	memset(image, 0, LAYER * SECTOR_SIZE);
	put_header(image, layer->cluster, layer->size);
	put_backing(image, layer->features);
	for (sector = 0; sector < layer->size; sector += layer->cluster) {
		has = sector % SPAN < AREA ? layer_has(nr, sector) : HOLE;
		if (has != HOLE)
			next = enter(image, layer, sector, has, next);
	}
	if (next * layer->cluster > LAYER) {
		errno = ENOSPC;
		die("a layer");
	}
}

static void put_below(int fd, const void *data, uint64_t nr, uint64_t at)
{
	if (pwrite(fd, data, nr * SECTOR_SIZE, at * SECTOR_SIZE) != (ssize_t)(nr * SECTOR_SIZE))
		die("what is below");
}

/* The parts that may be in use: their sectors are not those of others. */
void make_below(const char *device)
{
	int fd = open(device, O_RDWR | O_DIRECT);
	unsigned char *data;
	uint32_t span, nr, i;

	if (fd < 0 || posix_memalign((void **)&data, 4096, LAYER * SECTOR_SIZE))
		die(device);
	for (span = 0; span < TABLES; span++) {
		for (i = 0; i < AREA; i++)
			stamp_fill(data + i * SECTOR_SIZE, span * SPAN + i, RAW_VERSION);
		put_below(fd, data, AREA, (uint64_t)span * SPAN);
	}
	for (nr = 0; nr < NR_LAYERS; nr++) {
		make_layer(data, nr);
		put_below(fd, data, LAYER, layers[nr].at);
	}
	free(data);
	close(fd);
}

const uint32_t *contents_below(void)
{
	unsigned char data[SECTOR_SIZE];
	uint32_t *numbers, span, i, version;

	if (run.plan.under == ZEROES)
		return NULL;
	numbers = calloc(GUEST, sizeof(*numbers));
	for (span = 0; span < TABLES; span++)
		for (i = span * SPAN; i < span * SPAN + AREA; i++) {
			version = version_below(i);
			if (!version)
				continue;
			stamp_fill(data, i, version);
			numbers[i] = contents_number(&run.contents, data);
		}
	return numbers;
}
