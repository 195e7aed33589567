// SPDX-License-Identifier: GPL-2.0-only
/*
 * Judges a QED image, see judge.h.
 */

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "judge.h"
#include "stamp.h"

#define ENTRIES		(SECTOR_SIZE / 8)	/* of a table, in a sector */

/* Of the header, byte offsets */
#define H_MAGIC		0
#define H_CLUSTER	4
#define H_TABLE		8
#define H_HEADER	12
#define H_FEATURES	16
#define H_L1		40
#define H_IMAGE		48
#define NEED_CHECK	2
#define H_RECORDED	39			/* bit 63 of the autoclear features */
#define RECORDED	0x80
#define H_RECORD	384
#define RECORD_SIZE	128

/* Of the record, likewise */
#define R_MAGIC		0
#define R_VERSION	4
#define R_FLAGS		6
#define R_HOST		24
#define R_END		88
#define R_ZERO_FROM	96
#define R_ZERO_END	104
#define R_SIZE		112
#define R_RESERVED	120
#define R_CRC		124
#define ACTIVE		1

const char * const verdict_names[VERDICTS] = {
	[GOOD] = "good",
	[BAD_HEADER] = "bad header",
	[BAD_ENTRY] = "bad table entry",
	[CROSS_LINK] = "cross link",
	[LOST] = "lost data",
	[FOREIGN] = "foreign data",
	[CLEAN_BIT] = "NEED_CHECK is clear",
	[RECORD] = "the record",
};

static uint32_t le32(const unsigned char *p)
{
	return p[0] | p[1] << 8 | p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint64_t le64(const unsigned char *p)
{
	return le32(p) | (uint64_t)le32(p + 4) << 32;
}

static enum verdict verdict(struct judge *judge, enum verdict verdict,
			    const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(judge->message, sizeof(judge->message), format, args);
	va_end(args);
	return verdict;
}

/*----------------------------------------------------------------
 * Structure
 *----------------------------------------------------------------
 */

/* All but NEED_CHECK and the record has to stay as it was, and the size to be right. */
static enum verdict judge_header(struct judge *judge, const uint32_t *image)
{
	unsigned char now[SECTOR_SIZE], was[SECTOR_SIZE];
	uint64_t size = judge_size(judge, image[0]);

	if (size != judge->size && (!judge->next_size ||
				    size != judge->next_size))
		return verdict(judge, BAD_HEADER, "the size is %llu sectors",
			       (unsigned long long)size);
	if (image[0] == judge->initial[0])
		return GOOD;
	memcpy(now, judge->contents->data[image[0]], SECTOR_SIZE);
	memcpy(was, judge->contents->data[judge->initial[0]], SECTOR_SIZE);
	now[H_FEATURES] &= ~NEED_CHECK;
	was[H_FEATURES] &= ~NEED_CHECK;
	memcpy(now + H_IMAGE, was + H_IMAGE, 8);
	now[H_RECORDED] &= ~RECORDED;
	was[H_RECORDED] &= ~RECORDED;
	memcpy(now + H_RECORD, was + H_RECORD, RECORD_SIZE);
	if (memcmp(now, was, SECTOR_SIZE))
		return verdict(judge, BAD_HEADER, "the header has changed");
	return GOOD;
}

/* Claim the @nr clusters that an entry, called @what, refers to. */
static enum verdict claim(struct judge *judge, uint64_t entry, uint64_t nr,
			  const char *what, uint64_t index)
{
	uint64_t size = (uint64_t)judge->cluster * SECTOR_SIZE;
	uint64_t first = entry / size, i;

	if (entry % size)
		return verdict(judge, BAD_ENTRY, "%s %llu, 0x%llx, is not aligned",
			       what, (unsigned long long)index,
			       (unsigned long long)entry);
	if (first >= judge->nr_clusters || nr > judge->nr_clusters - first)
		return verdict(judge, BAD_ENTRY, "%s %llu, 0x%llx, is beyond the end",
			       what, (unsigned long long)index,
			       (unsigned long long)entry);
	for (i = first; i < first + nr; i++) {
		if (judge->claims[i] == judge->round)
			return verdict(judge, CROSS_LINK,
				       "%s %llu, 0x%llx, refers to what is in use",
				       what, (unsigned long long)index,
				       (unsigned long long)entry);
		judge->claims[i] = judge->round;
	}
	if (first + nr > judge->end)
		judge->end = first + nr;
	return GOOD;
}

static void claims_begin(struct judge *judge)
{
	uint64_t i;

	judge->round++;
	for (i = 0; i < judge->header; i++)
		judge->claims[i] = judge->round;
	for (i = 0; i < judge->table / judge->cluster; i++)
		judge->claims[judge->l1 / judge->cluster + i] = judge->round;
	judge->end = judge->l1 / judge->cluster + judge->table / judge->cluster;
	if (judge->end < judge->header)
		judge->end = judge->header;
}

/*----------------------------------------------------------------
 * Contents
 *----------------------------------------------------------------
 */

static enum verdict bad_content(struct judge *judge, uint64_t sector,
				uint32_t content)
{
	const unsigned char *data = judge->contents->data[content];
	struct stamp stamp;

	if (!content)
		return verdict(judge, LOST, "guest sector %llu reads as zeroes",
			       (unsigned long long)sector);
	memcpy(&stamp, data, sizeof(stamp));
	if (!stamp_valid(data))
		return verdict(judge, FOREIGN,
			       "guest sector %llu reads as %02x%02x%02x%02x...",
			       (unsigned long long)sector, data[0], data[1],
			       data[2], data[3]);
	return verdict(judge, stamp.sector == sector ? LOST : FOREIGN,
		       "guest sector %llu reads as sector %llu, version 0x%llx",
		       (unsigned long long)sector,
		       (unsigned long long)stamp.sector,
		       (unsigned long long)stamp.version);
}

static uint32_t below(const struct judge *judge, uint64_t sector)
{
	return sector < judge->nr_below ? judge->below[sector] : 0;
}

/* What a guest cluster has that nothing refers to */
static enum verdict judge_below(struct judge *judge, uint64_t cluster)
{
	uint64_t sector = cluster * judge->cluster, end = sector + judge->cluster;

	if (end > judge->guest->nr)
		end = judge->guest->nr;
	for (; sector < end; sector++)
		if (judge->guest->base[sector] != below(judge, sector) &&
		    !disk_may_have(judge->guest, sector, below(judge, sector)))
			return bad_content(judge, sector, below(judge, sector));
	return GOOD;
}

/* What a guest cluster has with an entry 1, or if nothing refers to it, and is below */
static enum verdict judge_zeroes(struct judge *judge, uint64_t cluster)
{
	uint64_t sector = cluster * judge->cluster;

	if (!judge->must_cluster[cluster])
		return GOOD;
	while (!judge->must[sector])
		sector++;
	return bad_content(judge, sector, 0);
}

static enum verdict judge_data(struct judge *judge, const uint32_t *image,
			       uint64_t cluster, uint64_t entry)
{
	uint64_t from = entry / SECTOR_SIZE, to = cluster * judge->cluster, i;
	uint64_t nr = judge->cluster;

	if (nr > judge->guest->nr - to)
		nr = judge->guest->nr - to;
	/* NO_CONTENT is no content of an image. */
	if (!memcmp(image + from, judge->guest->base + to,
		    nr * sizeof(*image)))
		return GOOD;
	for (i = 0; i < nr; i++)
		if (!disk_may_have(judge->guest, to + i, image[from + i]))
			return bad_content(judge, to + i, image[from + i]);
	return GOOD;
}

/*----------------------------------------------------------------
 * Tables
 *----------------------------------------------------------------
 */

static uint64_t guest_clusters(const struct judge *judge)
{
	return (judge->guest->nr + judge->cluster - 1) / judge->cluster;
}

static enum verdict judge_entry(struct judge *judge, const uint32_t *image,
				uint64_t cluster, uint64_t entry)
{
	enum verdict v;

	if (entry > 1) {
		v = claim(judge, entry, 1, "L2 entry", cluster);
		if (v || cluster >= guest_clusters(judge))
			return v;
		return judge_data(judge, image, cluster, entry);
	}
	if (cluster >= guest_clusters(judge))
		return GOOD;
	return entry || !judge->nr_below ? judge_zeroes(judge, cluster) :
					   judge_below(judge, cluster);
}

static enum verdict judge_table(struct judge *judge, const uint32_t *image,
				uint64_t index, uint64_t offset)
{
	uint64_t sector, cluster = index * judge->entries, i;
	enum verdict v;

	for (sector = 0; sector < judge->table; sector++) {
		uint32_t content = image[offset / SECTOR_SIZE + sector];
		const unsigned char *data = judge->contents->data[content];

		if (!content && (cluster >= guest_clusters(judge) ||
				 (!judge->nr_below &&
				  !judge->must_sector[cluster / ENTRIES]))) {
			cluster += ENTRIES;
			continue;
		}
		for (i = 0; i < ENTRIES; i++, cluster++) {
			v = judge_entry(judge, image, cluster,
					le64(data + 8 * i));
			if (v)
				return v;
		}
	}
	return GOOD;
}

static enum verdict judge_no_table(struct judge *judge, uint64_t index)
{
	uint64_t cluster = index * judge->entries, end = cluster + judge->entries;
	enum verdict v = GOOD;

	if (judge->nr_below) {
		for (; cluster < end && cluster < guest_clusters(judge) && !v; cluster++)
			v = judge_below(judge, cluster);
		return v;
	}
	if (cluster >= guest_clusters(judge) || !judge->must_table[index])
		return GOOD;
	while (!judge->must_cluster[cluster])
		cluster++;
	return judge_zeroes(judge, cluster);
}

static enum verdict judge_tables(struct judge *judge, const uint32_t *image)
{
	enum verdict v = GOOD;
	uint64_t i;

	for (i = 0; i < judge->entries && !v; i++) {
		uint32_t content = image[judge->l1 + i / ENTRIES];
		uint64_t entry;

		if (!content && i * judge->entries >= guest_clusters(judge)) {
			i |= ENTRIES - 1;
			continue;
		}
		entry = le64(judge->contents->data[content] + 8 * (i % ENTRIES));
		if (!entry) {
			v = judge_no_table(judge, i);
			continue;
		}
		v = claim(judge, entry, judge->table / judge->cluster,
			  "L1 entry", i);
		if (!v)
			v = judge_table(judge, image, i, entry);
	}
	return v;
}

/* NEED_CHECK is clear: no table has changed since it was cleared, or changes yet. */
static enum verdict judge_settled_table(struct judge *judge,
					const uint32_t *image, uint64_t from)
{
	uint64_t i;

	if (!memcmp(image + from, judge->settled + from,
		    judge->table * sizeof(*image)))
		return GOOD;
	for (i = from; image[i] == judge->settled[i]; i++)
		;
	return verdict(judge, CLEAN_BIT,
		       "image sector %llu, of a table, was not durable",
		       (unsigned long long)i);
}

static enum verdict judge_settled_tables(struct judge *judge,
					 const uint32_t *image)
{
	enum verdict v = judge_settled_table(judge, image, judge->l1);
	uint64_t i;

	for (i = 0; i < judge->entries && !v; i++) {
		uint32_t content = image[judge->l1 + i / ENTRIES];
		uint64_t entry;

		entry = le64(judge->contents->data[content] + 8 * (i % ENTRIES));
		if (!content)
			i |= ENTRIES - 1;
		else if (entry)
			v = judge_settled_table(judge, image,
						entry / SECTOR_SIZE);
	}
	return v;
}

/*
 * NEED_CHECK is clear: nothing above the last cluster in use was touched since it
 * was cleared. A file is truncated there, so later it may have to read as zeroes.
 * What a crash has left there is not known, so not known to be harmless.
 *
 * Clusters above the end may have been in use and been freed before. So what a
 * sector there must have is what it had when the write that clears NEED_CHECK was
 * submitted, or, if a write to it was not stable then, or it was discarded, any of
 * what it might have had then. Before the first such write it is what it had at
 * first.
 */
static bool is_settled(const struct judge *judge, uint64_t sector,
		       uint32_t content)
{
	uint32_t i;

	if (judge->settled[sector] == content)
		return true;
	for (i = judge->maybe[sector]; i; i = judge->maybes[i].next)
		if (judge->maybes[i].content == content)
			return true;
	return false;
}

static enum verdict judge_clean(struct judge *judge, const uint32_t *image)
{
	uint64_t from = judge->end * judge->cluster;
	enum verdict v;

	if (judge->contents->data[image[0]][H_FEATURES] & NEED_CHECK ||
	    judge->recovered)
		return GOOD;
	v = judge->informed ? judge_settled_tables(judge, image) : GOOD;
	if (v)
		return v;
	while (from < judge->nr_sectors && is_settled(judge, from, image[from]))
		from++;
	if (from == judge->nr_sectors)
		return GOOD;
	return verdict(judge, CLEAN_BIT,
		       "image sector %llu, behind the end, was written to",
		       (unsigned long long)from);
}

/*----------------------------------------------------------------
 * The record
 *----------------------------------------------------------------
 */

static uint32_t crc32c(const unsigned char *data, size_t len)
{
	uint32_t crc = ~0;
	int bit;

	while (len--) {
		crc ^= *data++;
		for (bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
	}
	return ~crc;
}

/* It is whole, in each state: it is written with the rest of the sector. */
static enum verdict judge_record_form(struct judge *judge,
				      const unsigned char *record)
{
	if (memcmp(record + R_MAGIC, "QEDR\1\0", 6) || record[R_FLAGS + 1] ||
	    record[R_FLAGS] & ~ACTIVE || le32(record + R_RESERVED) ||
	    !record[R_HOST] || record[R_END - 1])
		return verdict(judge, RECORD, "it is none");
	if (le32(record + R_CRC) != crc32c(record, R_CRC))
		return verdict(judge, RECORD, "its checksum is wrong");
	return GOOD;
}

/*
 * All of them read as zeroes, and nothing refers to one of them. A disk that has become larger
 * has had another size, of which the record may be.
 */
static enum verdict judge_record_zeroes(struct judge *judge, const uint32_t *image,
					const unsigned char *record)
{
	uint64_t from = le64(record + R_ZERO_FROM), i;
	uint64_t to = le64(record + R_ZERO_END), end = le64(record + R_END);
	uint64_t sectors = le64(record + R_SIZE) / SECTOR_SIZE;

	if (!to && !from)
		return GOOD;
	if (!end || from < end || from >= to || to > sectors / judge->cluster ||
	    sectors > judge->nr_sectors)
		return verdict(judge, RECORD, "clusters %llu to %llu cannot be zero",
			       (unsigned long long)from, (unsigned long long)to);
	for (i = from * judge->cluster; i < to * judge->cluster; i++)
		if (image[i])
			return verdict(judge, RECORD, "image sector %llu is not zero",
				       (unsigned long long)i);
	judge->zeroes++;
	return GOOD;
}

static enum verdict judge_record(struct judge *judge, const uint32_t *image)
{
	const unsigned char *header = judge->contents->data[image[0]];
	const unsigned char *record = header + H_RECORD;
	uint64_t end = le64(record + R_END);
	enum verdict v;

	if (!(header[H_RECORDED] & RECORDED))
		return GOOD;
	v = judge_record_form(judge, record);
	if (v)
		return v;
	judge->records++;
	if (header[H_FEATURES] & NEED_CHECK || record[R_FLAGS] & ACTIVE)
		return end | le64(record + R_ZERO_FROM) | le64(record + R_ZERO_END) ?
			verdict(judge, RECORD, "it claims something of an image in use") :
			GOOD;
	if (end && end < judge->end)
		return verdict(judge, RECORD, "the end is %llu, and cluster %llu in use",
			       (unsigned long long)end,
			       (unsigned long long)judge->end - 1);
	judge->ends += !!end;
	return judge_record_zeroes(judge, image, record);
}

enum verdict judge_image(struct judge *judge, const uint32_t *image)
{
	enum verdict v = judge_header(judge, image);

	if (v)
		return v;
	claims_begin(judge);
	v = judge_tables(judge, image);
	if (!v)
		v = judge_clean(judge, image);
	return v ? v : judge_record(judge, image);
}

uint64_t judge_size(const struct judge *judge, uint32_t content)
{
	return le64(judge->contents->data[content] + H_IMAGE) / SECTOR_SIZE;
}

uint32_t judge_read(const struct judge *judge, const uint32_t *image,
		    uint64_t sector)
{
	uint64_t cluster = sector / judge->cluster;
	uint64_t index = cluster / judge->entries, entry;
	const unsigned char *data;

	data = judge->contents->data[image[judge->l1 + index / ENTRIES]];
	entry = le64(data + 8 * (index % ENTRIES));
	if (!entry)
		return below(judge, sector);
	index = cluster % judge->entries;
	data = judge->contents->data[image[entry / SECTOR_SIZE +
					   index / ENTRIES]];
	entry = le64(data + 8 * (index % ENTRIES));
	if (entry <= 1)
		return entry ? 0 : below(judge, sector);
	return image[entry / SECTOR_SIZE + sector % judge->cluster];
}

/*----------------------------------------------------------------
 * Events
 *----------------------------------------------------------------
 */

static void add_maybe(struct judge *judge, uint64_t sector, uint32_t content)
{
	struct judge_maybe *maybe;

	if (judge->nr_maybes == judge->room_maybes) {
		judge->room_maybes = judge->room_maybes * 2 + 64;
		judge->maybes = alloc(judge->maybes, judge->room_maybes,
				      sizeof(*judge->maybes));
	}
	maybe = &judge->maybes[judge->nr_maybes];
	maybe->content = content;
	maybe->next = judge->maybe[sector];
	judge->maybe[sector] = judge->nr_maybes++;
}

/* Note what the sectors may have now. */
static void settle(struct judge *judge, const struct disk *disk)
{
	uint32_t i, node;
	uint64_t sector;

	memcpy(judge->settled, disk->base, disk->nr * sizeof(uint32_t));
	memset(judge->maybe, 0, disk->nr * sizeof(uint32_t));
	judge->nr_maybes = 1;
	for (i = 0; i < disk->nr_active; i++) {
		sector = disk->active[i];
		for (node = disk->head[sector]; node;
		     node = disk->nodes[node].next) {
			if (!disk_node_is_discard(disk, node)) {
				add_maybe(judge, sector,
					  disk_node_content(disk, node, sector));
				continue;
			}
			add_maybe(judge, sector, 0);
			add_maybe(judge, sector, disk->poison);
		}
	}
}

void judge_header_write(struct judge *judge, const struct disk *disk,
			uint32_t content)
{
	bool clear = !(judge->contents->data[content][H_FEATURES] & NEED_CHECK);

	if (clear && !judge->clear)
		settle(judge, disk);
	judge->clear = clear;
}

void judge_resize(struct judge *judge, uint64_t sectors)
{
	judge->next_size = sectors;
}

void judge_resized(struct judge *judge)
{
	judge->size = judge->next_size;
	judge->next_size = 0;
}

/*----------------------------------------------------------------
 * Construction
 *----------------------------------------------------------------
 */

static void guest_changed(struct disk *guest, uint64_t sector)
{
	struct judge *judge = guest->private;
	unsigned char must = !disk_may_have(guest, sector, 0);
	uint64_t cluster = sector / judge->cluster;
	int change = must - judge->must[sector];

	judge->must[sector] = must;
	judge->must_cluster[cluster] += change;
	judge->must_sector[cluster / ENTRIES] += change;
	judge->must_table[cluster / judge->entries] += change;
}

static bool power_of_two(uint64_t value, uint64_t least, uint64_t most)
{
	return value >= least && value <= most && !(value & (value - 1));
}

bool judge_init(struct judge *judge, const struct contents *contents,
		const uint32_t *initial, uint64_t nr_sectors,
		const uint32_t *below, uint64_t nr_below,
		struct disk *guest, uint64_t guest_sectors)
{
	const unsigned char *header = contents->data[initial[0]];
	uint64_t image_size = le64(header + H_IMAGE), clusters, sector;
	uint32_t cluster_size = le32(header + H_CLUSTER);
	uint32_t table_size = le32(header + H_TABLE);

	memset(judge, 0, sizeof(*judge));
	if (memcmp(header + H_MAGIC, "QED", 4) ||
	    !power_of_two(cluster_size, 4096, 1 << 26) ||
	    !power_of_two(table_size, 1, 16) ||
	    image_size % SECTOR_SIZE ||
	    le64(header + H_L1) / SECTOR_SIZE >= nr_sectors) {
		verdict(judge, BAD_HEADER, "no QED image");
		return false;
	}
	judge->contents = contents;
	judge->initial = initial;
	judge->below = below;
	judge->nr_below = nr_below;
	judge->nr_sectors = nr_sectors;
	judge->guest = guest;
	judge->cluster = cluster_size / SECTOR_SIZE;
	judge->table = table_size * judge->cluster;
	judge->header = le32(header + H_HEADER);
	judge->l1 = le64(header + H_L1) / SECTOR_SIZE;
	judge->entries = (uint64_t)judge->table * ENTRIES;
	judge->nr_clusters = nr_sectors / judge->cluster;
	judge->claims = alloc(NULL, judge->nr_clusters, sizeof(uint32_t));
	judge->size = image_size / SECTOR_SIZE;
	judge->clear = !(header[H_FEATURES] & NEED_CHECK);
	judge->settled = alloc(NULL, nr_sectors, sizeof(uint32_t));
	memcpy(judge->settled, initial, nr_sectors * sizeof(uint32_t));
	judge->maybe = alloc(NULL, nr_sectors, sizeof(uint32_t));
	add_maybe(judge, 0, 0);		/* none */
	judge->maybe[0] = 0;

	if (guest_sectors < judge->size)
		guest_sectors = judge->size;
	disk_init(guest, guest_sectors);
	clusters = guest_clusters(judge);
	judge->must = alloc(NULL, guest->nr, 1);
	judge->must_cluster = alloc(NULL, clusters, sizeof(uint32_t));
	judge->must_sector = alloc(NULL, clusters / ENTRIES + 1,
				   sizeof(uint32_t));
	judge->must_table = alloc(NULL, clusters / judge->entries + 1,
				  sizeof(uint32_t));
	guest->changed = guest_changed;
	guest->private = judge;
	for (sector = 0; sector < guest->nr; sector++) {
		guest->base[sector] = judge_read(judge, initial, sector);
		guest_changed(guest, sector);
	}
	return true;
}

void judge_free(struct judge *judge)
{
	disk_free(judge->guest);
	free(judge->claims);
	free(judge->settled);
	free(judge->maybe);
	free(judge->maybes);
	free(judge->must);
	free(judge->must_cluster);
	free(judge->must_sector);
	free(judge->must_table);
}
