// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is in an undo file, see undo-index.h.
 */

#include <errno.h>
#include <stdlib.h>

#include "crc.h"
#include "undo-index.h"

static int add(struct undo_list *list, const struct undo_range *range)
{
	struct undo_range *ranges = list->ranges;

	if (list->nr == list->room) {
		list->room = list->room * 2 + 64;
		ranges = realloc(ranges, list->room * sizeof(*ranges));
		if (!ranges)
			return -ENOMEM;
		list->ranges = ranges;
	}
	ranges[list->nr++] = *range;
	return 0;
}

static int compare_places(const void *a, const void *b)
{
	const struct undo_range *one = a, *two = b;

	return (one->first > two->first) - (one->first < two->first);
}

static void sort(struct undo_list *list)
{
	if (list->nr)
		qsort(list->ranges, list->nr, sizeof(*list->ranges), compare_places);
}

/*----------------------------------------------------------------
 * Reading
 *----------------------------------------------------------------
 */

static bool is_complete(const struct undo_index *index)
{
	return le32toh(index->file->head.is_complete);
}

static void count_size(struct undo_index *index, u64 size)
{
	index->least = min_u64(index->least, size);
	index->most = max_u64(index->most, size);
}

/* A record tells what was written, or what was left; only one of them is of interest. */
static int add_told(struct undo_index *index, const struct undo_range *range, bool is_left)
{
	if (is_left != is_complete(index))
		return 0;
	if (range->type == UNDO_WRITTEN || range->type == UNDO_WRITTEN_ANY)
		index->most = max_u64(index->most, range->end);
	return add(&index->told, range);
}

static int add_record(struct undo_index *index, const struct undo_record *record, u64 at)
{
	struct undo_range range = {
		.first = le64toh(record->offset),
		.end = le64toh(record->offset) + le64toh(record->length),
		.at = at,
		.type = le32toh(record->type),
	};

	switch (range.type) {
	case UNDO_SAVED:
	case UNDO_SAVED_ZERO:
		return add(&index->saved, &range);
	case UNDO_WRITTEN:
	case UNDO_WRITTEN_ZERO:
	case UNDO_WRITTEN_ANY:
		return add_told(index, &range, false);
	case UNDO_LEFT:
	case UNDO_LEFT_ZERO:
	case UNDO_LEFT_ANY:
		return add_told(index, &range, true);
	case UNDO_RESIZED:
		if (!is_complete(index))
			count_size(index, range.first);
	}
	return 0;
}

/* Read all records, also those that a run which was killed has not told of in a head. */
static int read_records(struct undo_index *index, void *data, u64 *at)
{
	struct undo_file *file = index->file;
	struct undo_head *head = &file->head;
	bool is_begun = le32toh(head->state) == UNDO_BEGUN, is_whole;
	u64 end = le64toh(head->end), next = undo_first_record(), nr = 0;
	struct undo_record record;
	u32 chain = 0;
	int r;

	for (is_whole = false;; nr++) {
		*at = next;
		if (*at == end)
			is_whole = nr == le64toh(head->nr) && chain == le32toh(head->chain);
		if (*at >= end && (!is_whole || !is_begun))
			break;
		r = undo_read_record(file, &next, &record, data);
		if (r < 0)
			return r;
		if (!r)
			break;
		r = add_record(index, &record, *at);
		if (r)
			return r;
		chain = qed_crc(chain, &record.crc, sizeof(record.crc));
	}
	if (!is_whole)
		return -EUCLEAN;
	head->end = htole64(*at);
	head->nr = htole64(nr);
	head->chain = htole32(chain);
	return 0;
}

/*----------------------------------------------------------------
 * Order
 *----------------------------------------------------------------
 */

static int check_overlaps(const struct undo_list *list, u64 *bad)
{
	u64 i;

	for (i = 1; i < list->nr; i++) {
		if (list->ranges[i].first < list->ranges[i - 1].end) {
			*bad = max_u64(list->ranges[i].at, list->ranges[i - 1].at);
			return -EUCLEAN;
		}
	}
	return 0;
}

/* Ranges come in order */
static int merge(struct undo_list *list, const struct undo_range *range)
{
	struct undo_range *last = list->nr ? &list->ranges[list->nr - 1] : NULL;

	if (!last || range->first > last->end)
		return add(list, range);
	last->end = max_u64(last->end, range->end);
	return 0;
}

/* Only what has checksums remains in @told */
static int split_told(struct undo_index *index)
{
	struct undo_list *told = &index->told;
	const struct undo_range *range = told->ranges, *end = range + told->nr;
	int r = 0;

	for (told->nr = 0; !r && range < end; range++) {
		switch (range->type) {
		case UNDO_WRITTEN_ZERO:
		case UNDO_LEFT_ZERO:
			r = merge(&index->zero, range);
			break;
		case UNDO_WRITTEN_ANY:
		case UNDO_LEFT_ANY:
			r = merge(&index->any, range);
			break;
		default:
			told->ranges[told->nr++] = *range;
		}
	}
	return r;
}

/* What was behind this size was cut off, and reads as zeroes. */
static int add_cut(struct undo_index *index)
{
	u64 size = is_complete(index) ? le64toh(index->file->head.size_left) : index->least;
	struct undo_range range = {
		.first = div_up(size, UNDO_SECTOR) * UNDO_SECTOR,
		.end = 1ULL << 63,
		.type = UNDO_WRITTEN_ZERO,
	};

	return add(&index->told, &range);
}

static int put_in_order(struct undo_index *index, u64 *bad)
{
	struct undo_list *saved = &index->saved;
	int r;

	sort(saved);
	sort(&index->told);
	/* nothing is changed before the header is */
	if ((saved->nr && saved->ranges[0].first) || (!saved->nr && index->told.nr)) {
		*bad = undo_first_record();
		return -EUCLEAN;
	}
	r = check_overlaps(saved, bad);
	if (!r && is_complete(index))
		r = check_overlaps(&index->told, bad);
	if (!r)
		r = add_cut(index);
	if (r)
		return r;
	sort(&index->told);
	return split_told(index);
}

int undo_index_read(struct undo_index *index, struct undo_file *file, void *data, u64 *bad)
{
	u64 size = le64toh(file->head.size);
	int r;

	index->file = file;
	index->least = size;
	index->most = size;
	if (is_complete(index))
		count_size(index, le64toh(file->head.size_left));
	r = read_records(index, data, bad);
	return r ? r : put_in_order(index, bad);
}

int undo_index_load(const struct undo_index *index, const struct undo_range *range, void *data)
{
	struct undo_record record;
	u64 at = range->at;
	int r = undo_read_record(index->file, &at, &record, data);

	if (r < 0)
		return r;
	return r && le32toh(record.type) == range->type && le64toh(record.offset) == range->first &&
	       le64toh(record.length) == range->end - range->first ? 0 : -EUCLEAN;
}

void undo_index_free(struct undo_index *index)
{
	free(index->saved.ranges);
	free(index->told.ranges);
	free(index->zero.ranges);
	free(index->any.ranges);
}
