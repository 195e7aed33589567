// SPDX-License-Identifier: GPL-2.0-only
/*
 * Comparing images and undo files, see undo-compare.h.
 *
 * The image is gone through by chunks. In each one it is found out which sectors are of
 * interest, these are read, and compared first with what was saved, then with what the
 * file tells of them.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "crc.h"
#include "image.h"
#include "undo-compare.h"

#define CHUNK		UNDO_PIECE
#define SECTORS		(CHUNK / UNDO_SECTOR)

/* What is known of a sector */
enum {
	WANTED	= 1,	/* the file tells what it is to be, or was */
	OPEN	= 2,	/* it is not what it was before */
	KNOWN	= 4,	/* it is what the file tells */
	SUMMED	= 8,	/* its checksum is there */
};

/**
 * struct cursor - a place in a list
 * @list: the list
 * @i: the first record that does not end before the chunk
 * @next: the next place to be looked at; once it is passed it is looked for again.
 *	0 at first: the header is looked at in any case.
 */
struct cursor {
	const struct undo_list *list;
	u64 i, next;
};

/**
 * struct compare - a comparison
 * @index: what is in the undo file
 * @img: the image
 * @result: of it
 * @exactly: see undo_compare()
 * @saved: at which record the chunk is
 * @told: the same
 * @zero: the same
 * @any: the same
 * @begin: of the chunk, in bytes
 * @flags: of its sectors
 * @crcs: of those with SUMMED
 * @now: what is in them
 * @data: of a record
 */
struct compare {
	const struct undo_index *index;
	struct qed_image *img;
	struct undo_compared *result;
	bool exactly;
	struct cursor saved, told, zero, any;
	u64 begin;
	u8 flags[SECTORS];
	u32 crcs[SECTORS];
	char now[CHUNK], data[CHUNK];
};

bool undo_is_marked(const struct qed_image *img)
{
	return le32toh(img->header.magic) == QED_MAGIC &&
	       le64toh(img->header.autoclear_features) & QED_AF_UNDO;
}

static bool is_zero(const char *buf, u64 length)
{
	return !buf[0] && !memcmp(buf, buf + 1, length - 1);
}

/*----------------------------------------------------------------
 * Ranges
 *----------------------------------------------------------------
 */

/* Does something for the sectors from @first to @last of the chunk that a record is about */
typedef int (*use_range)(struct compare *c, const struct undo_range *range, u64 first, u64 last);

/* For each record of a list that is about the chunk */
static int for_ranges(struct compare *c, struct cursor *cursor, use_range use)
{
	const struct undo_list *list = cursor->list;
	const struct undo_range *range;
	u64 i, first, last;
	int r = 0;

	while (cursor->i < list->nr && list->ranges[cursor->i].end <= c->begin)
		cursor->i++;
	for (i = cursor->i; !r && i < list->nr; i++) {
		range = &list->ranges[i];
		if (range->first >= c->begin + CHUNK)
			break;
		/* one that is longer than others can end behind these */
		if (range->end <= c->begin)
			continue;
		first = max_u64(range->first, c->begin) - c->begin;
		last = min_u64(range->end, c->begin + CHUNK) - c->begin;
		r = use(c, range, first / UNDO_SECTOR, div_up(last, UNDO_SECTOR));
	}
	return r;
}

static int load(struct compare *c, const struct undo_range *range)
{
	int r = undo_index_load(c->index, range, c->data);

	if (r)
		c->result->failed = range->at;
	return r;
}

static int want(struct compare *c, const struct undo_range *range, u64 first, u64 last)
{
	(void)range;
	for (; first < last; first++)
		c->flags[first] |= WANTED;
	return 0;
}

/* Which sectors are not as they were saved? */
static int open_saved(struct compare *c, const struct undo_range *range, u64 first, u64 last)
{
	u64 offset = c->begin + first * UNDO_SECTOR - range->first;
	u64 length = range->end - range->first;
	int r = load(c, range);

	if (r)
		return r;
	/* the rest of the last sector was behind the end */
	memset(c->data + length, 0, min_u64(UNDO_PIECE - length, UNDO_SECTOR));
	for (; first < last; first++, offset += UNDO_SECTOR)
		if (memcmp(c->now + first * UNDO_SECTOR, c->data + offset, UNDO_SECTOR))
			c->flags[first] |= OPEN;
	return 0;
}

static int open_range(struct compare *c, const struct undo_range *range, u64 first, u64 last)
{
	if (range->type == UNDO_SAVED)
		return open_saved(c, range, first, last);
	for (; first < last; first++)
		if (!is_zero(c->now + first * UNDO_SECTOR, UNDO_SECTOR))
			c->flags[first] |= OPEN;
	return 0;
}

static int know_zero(struct compare *c, const struct undo_range *range, u64 first, u64 last)
{
	(void)range;
	for (; first < last; first++)
		if (is_zero(c->now + first * UNDO_SECTOR, UNDO_SECTOR))
			c->flags[first] |= KNOWN;
	return 0;
}

static int know_any(struct compare *c, const struct undo_range *range, u64 first, u64 last)
{
	(void)range;
	for (; first < last; first++)
		c->flags[first] |= KNOWN;
	return 0;
}

/*
 * The header's sector with the mark: without it, is it what was left? It was set for taking
 * back, with NEED_CHECK and without bit 63, or the run was killed before it wrote the header that it left.
 */
static bool is_marked_header(const char *sector, u32 crc)
{
	char copy[UNDO_SECTOR];
	struct qed_header *header = (struct qed_header *)copy;
	unsigned int way;

	memcpy(copy, sector, sizeof(copy));
	if (le32toh(header->magic) != QED_MAGIC ||
	    !(le64toh(header->autoclear_features) & QED_AF_UNDO))
		return false;
	for (way = 0; way < 8; way++) {
		memcpy(copy, sector, sizeof(copy));
		if (way & 1)
			header->features &= ~htole64(QED_F_NEED_CHECK);
		header->autoclear_features &= way & 2 ? 0 : ~htole64(QED_AF_UNDO);
		if (way & 4)
			header->autoclear_features |= htole64(QED_AF_RECORD);
		if (qed_crc(0, copy, sizeof(copy)) == crc)
			return true;
	}
	return false;
}

static bool is_as_told(struct compare *c, u64 sector, u32 crc)
{
	const char *now = c->now + sector * UNDO_SECTOR;

	if (!(c->flags[sector] & SUMMED))
		c->crcs[sector] = qed_crc(0, now, UNDO_SECTOR);
	c->flags[sector] |= SUMMED;
	if (c->crcs[sector] == crc)
		return true;
	return !c->begin && !sector && le32toh(c->index->file->head.is_complete) &&
	       is_marked_header(now, crc);
}

static int know_told(struct compare *c, const struct undo_range *range, u64 first, u64 last)
{
	u64 number = (c->begin + first * UNDO_SECTOR - range->first) / UNDO_SECTOR;
	const __le32 *crcs = (const __le32 *)c->data + number;
	int r = load(c, range);

	for (; !r && first < last; first++, crcs++)
		if (c->flags[first] & WANTED && is_as_told(c, first, le32toh(*crcs)))
			c->flags[first] |= KNOWN;
	return r;
}

/*----------------------------------------------------------------
 * Chunks
 *----------------------------------------------------------------
 */

/* The first sector that was behind the end before the run, and will be again */
static u64 behind_end(const struct compare *c)
{
	return div_up(le64toh(c->index->file->head.size), UNDO_SECTOR);
}

static int read_wanted(struct compare *c)
{
	u64 first = 0, last, from = 0;
	int r = 0;

	for (; !r; first = last) {
		while (first < SECTORS && !(c->flags[first] & WANTED))
			first++;
		for (last = first; last < SECTORS && c->flags[last] & WANTED;)
			last++;
		if (first == last)
			return 0;
		from = first * UNDO_SECTOR;
		r = qed_read(c->img, c->now + from, c->begin + from, last * UNDO_SECTOR - from);
	}
	c->result->failed = c->begin + from;
	c->result->in_image = true;
	return r;
}

static void open_behind_end(struct compare *c)
{
	u64 first = c->begin / UNDO_SECTOR, i = max_u64(first, behind_end(c)) - first;

	for (; i < SECTORS; i++)
		if (c->flags[i] & WANTED && !is_zero(c->now + i * UNDO_SECTOR, UNDO_SECTOR))
			c->flags[i] |= OPEN;
}

static void judge(struct compare *c)
{
	struct undo_compared *result = c->result;
	u8 flag = c->exactly ? WANTED : OPEN;
	u64 i;

	for (i = 0; i < SECTORS; i++) {
		if (c->flags[i] & OPEN)
			result->is_before = false;
		if (c->flags[i] & KNOWN ||
		    !(c->flags[i] & (c->begin || i ? flag : WANTED)))
			continue;
		if (result->is_after)
			result->bad = c->begin + i * UNDO_SECTOR;
		result->is_after = false;
	}
}

static int compare_chunk(struct compare *c)
{
	u64 first = c->begin / UNDO_SECTOR, end = div_up(c->img->size, UNDO_SECTOR);
	int r;

	memset(c->flags, 0, sizeof(c->flags));
	r = for_ranges(c, &c->saved, want);
	if (!r && c->exactly)
		r = for_ranges(c, &c->told, want);
	if (!r && c->exactly)
		r = for_ranges(c, &c->zero, want);
	if (!r && max_u64(first, behind_end(c)) < min_u64(first + SECTORS, end))
		want(c, NULL, max_u64(first, behind_end(c)) - first,
		     min_u64(SECTORS, end - first));
	if (!r)
		r = read_wanted(c);
	if (!r)
		r = for_ranges(c, &c->saved, open_range);
	if (r)
		return r;
	open_behind_end(c);
	r = for_ranges(c, &c->zero, know_zero);
	if (!r)
		r = for_ranges(c, &c->any, know_any);
	if (!r)
		r = for_ranges(c, &c->told, know_told);
	if (!r)
		judge(c);
	return r;
}

/*----------------------------------------------------------------
 * All
 *----------------------------------------------------------------
 */

/* The next place from @pos on that a list wants to be looked at: no holes that are to be such */
static u64 next_in_list(struct compare *c, struct cursor *cursor, u64 pos)
{
	const struct undo_list *list = cursor->list;
	const struct undo_range *range;
	u64 i, place;

	if (cursor->next >= pos)
		return cursor->next;
	for (i = cursor->i; i < list->nr; i++) {
		range = &list->ranges[i];
		if (range->end <= pos)
			continue;
		place = max_u64(range->first, pos);
		if (range->type != UNDO_SAVED && range->type != UNDO_LEFT)
			place = qed_next_data(c->img, place, range->end);
		if (place < range->end)
			break;
	}
	cursor->next = i < list->nr ? place : ~0ULL;
	return cursor->next;
}

static u64 next_place(struct compare *c, u64 pos)
{
	u64 next = next_in_list(c, &c->saved, pos), place, size = c->img->size;

	if (c->exactly) {
		next = min_u64(next, next_in_list(c, &c->told, pos));
		next = min_u64(next, next_in_list(c, &c->zero, pos));
	}
	place = qed_next_data(c->img, max_u64(pos, behind_end(c) * UNDO_SECTOR), size);
	return place < size ? min_u64(next, place) : next;
}

static int compare_all(struct compare *c)
{
	u64 pos = 0;
	int r = 0;

	while (!r && (pos = next_place(c, pos)) != ~0ULL) {
		c->begin = pos - pos % CHUNK;
		r = compare_chunk(c);
		pos = c->begin + CHUNK;
	}
	return r;
}

int undo_compare(const struct undo_index *index, struct qed_image *img, bool exactly,
		 struct undo_compared *compared)
{
	struct compare *c = calloc(1, sizeof(*c));
	int r;

	memset(compared, 0, sizeof(*compared));
	if (!c)
		return -ENOMEM;
	c->index = index;
	c->img = img;
	c->exactly = exactly;
	c->result = compared;
	c->saved.list = &index->saved;
	c->told.list = &index->told;
	c->zero.list = &index->zero;
	c->any.list = &index->any;
	compared->is_before = true;
	compared->is_after = true;
	r = compare_all(c);
	free(c);
	return r;
}
