// SPDX-License-Identifier: GPL-2.0-only
/*
 * Unit tests of dm-qed's space map: what it does, beside a model of it, and for how
 * long its lock is held, on maps of up to 64 TiB.
 *
 * The source is included, with locks and searches that measure.
 */

#include <kunit/test.h>
#include <linux/bitmap.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "dm-qed-kunit-locks.h"

static unsigned long looked_at(unsigned long from, unsigned long to)
{
	held.words += to / BITS_PER_LONG - from / BITS_PER_LONG + 1;
	return to;
}

static unsigned long next_bit(const unsigned long *map, unsigned long size,
			      unsigned long from)
{
	return looked_at(from, find_next_bit(map, size, from));
}

static unsigned long next_zero_bit(const unsigned long *map, unsigned long size,
				   unsigned long from)
{
	return looked_at(from, find_next_zero_bit(map, size, from));
}

static unsigned int weight(unsigned long word)
{
	held.words++;
	return hweight_long(word);
}

static unsigned int last_bit(unsigned long word)
{
	held.words++;
	return __fls(word);
}

static void copy(void *to, const void *from, size_t size)
{
	held.words += size / sizeof(long);
	memcpy(to, from, size);
}

#define find_next_bit			next_bit
#define find_next_zero_bit		next_zero_bit
#define hweight_long			weight
#define __fls				last_bit
#undef memcpy
#define memcpy				copy

#include "dm-qed-space.c"
#include "dm-qed-space-build.c"

/*----------------------------------------------------------------
 * Examples
 *----------------------------------------------------------------
 */

/* One that has all of its memory */
static struct qed_space *whole_space(struct kunit *test, u64 nr, u64 zeroed_from,
				     unsigned int table)
{
	struct qed_space *space = qed_space_create(nr, zeroed_from, table);

	KUNIT_ASSERT_NOT_NULL(test, space);
	KUNIT_ASSERT_EQ(test, 0, qed_space_complete(space, NULL));
	return space;
}

static void expect_run(struct kunit *test, struct qed_space *space, u64 want,
		       u64 first, u64 nr, bool zero)
{
	struct qed_run run;

	KUNIT_ASSERT_EQ(test, 0, qed_space_alloc(space, want, &run));
	KUNIT_EXPECT_EQ(test, run.first, first);
	KUNIT_EXPECT_EQ(test, run.nr, nr);
	KUNIT_EXPECT_EQ(test, run.zero, zero);
}

static void expect_table(struct kunit *test, struct qed_space *space, u64 first,
			 bool zero)
{
	struct qed_run run;

	KUNIT_ASSERT_EQ(test, 0, qed_space_alloc_table(space, &run));
	KUNIT_EXPECT_EQ(test, run.first, first);
	KUNIT_EXPECT_EQ(test, run.nr, space->table_nr);
	KUNIT_EXPECT_EQ(test, run.zero, zero);
}

static void give(struct qed_space *space, u64 first, u64 nr, bool zero)
{
	struct qed_run run = { first, nr, zero };

	qed_space_free(space, &run);
}

static void expect_full(struct kunit *test, struct qed_space *space)
{
	struct qed_run run;

	KUNIT_EXPECT_EQ(test, -ENOSPC, qed_space_alloc(space, 1, &run));
	KUNIT_EXPECT_EQ(test, -ENOSPC, qed_space_alloc_table(space, &run));
}

static void expect_no_table(struct kunit *test, struct qed_space *space)
{
	struct qed_run run;

	KUNIT_EXPECT_EQ(test, -ENOSPC, qed_space_alloc_table(space, &run));
}

/* Clusters 0 to 9 of 100 may be in use, the others are zero. */
static void space_next_fit(struct kunit *test)
{
	struct qed_space *space = whole_space(test, 100, 10, 1);

	KUNIT_ASSERT_NOT_NULL(test, space);
	KUNIT_EXPECT_EQ(test, qed_space_nr_free(space), 90);
	KUNIT_EXPECT_TRUE(test, qed_space_is_used(space, 9));
	KUNIT_EXPECT_FALSE(test, qed_space_is_used(space, 10));
	KUNIT_EXPECT_FALSE(test, qed_space_is_used(space, 100));
	expect_run(test, space, 5, 10, 5, true);
	expect_run(test, space, 5, 15, 5, true);
	give(space, 10, 5, false);
	/* on, not back; what was freed is not zero any more */
	expect_run(test, space, 79, 20, 79, true);
	expect_run(test, space, 10, 99, 1, true);
	expect_run(test, space, 10, 10, 5, false);
	expect_full(test, space);
	KUNIT_EXPECT_EQ(test, qed_space_nr_free(space), 0);
	qed_space_destroy(space);
}

/* A table needs its clusters in one piece, zero or not. */
static void space_pieces(struct kunit *test)
{
	struct qed_space *space = whole_space(test, 256, 0, 4);
	u64 i;

	KUNIT_ASSERT_NOT_NULL(test, space);
	expect_run(test, space, 256, 0, 256, true);
	for (i = 0; i < 256; i += 2)
		give(space, i, 1, false);
	KUNIT_EXPECT_EQ(test, qed_space_nr_free(space), 128);
	expect_no_table(test, space);
	give(space, 41, 1, false);
	expect_no_table(test, space);
	give(space, 43, 1, true);
	expect_table(test, space, 40, false);
	/* over the border of two words, and at both ends */
	give(space, 63, 1, false);
	give(space, 61, 1, true);
	expect_table(test, space, 60, false);
	give(space, 0, 4, true);
	expect_table(test, space, 0, true);
	give(space, 252, 4, true);
	expect_table(test, space, 252, true);
	expect_no_table(test, space);
	give(space, 9, 0, false);
	expect_no_table(test, space);
	expect_run(test, space, 8, 4, 1, false);
	qed_space_destroy(space);
}

/* Of zeroes if there are any, wherever they are */
static void space_zero_and_not(struct kunit *test)
{
	struct qed_space *space = whole_space(test, 16, 8, 4);
	unsigned long used[1] = { 0x3f };

	KUNIT_ASSERT_NOT_NULL(test, space);
	qed_space_install(space, used);
	KUNIT_EXPECT_EQ(test, qed_space_nr_free(space), 10);
	expect_run(test, space, 8, 8, 8, true);
	expect_run(test, space, 8, 6, 2, false);
	qed_space_destroy(space);

	/* A table takes both if it has to. */
	space = whole_space(test, 16, 8, 4);
	KUNIT_ASSERT_NOT_NULL(test, space);
	qed_space_install(space, used);
	expect_run(test, space, 8, 8, 8, true);
	give(space, 8, 2, true);
	expect_table(test, space, 6, false);
	qed_space_destroy(space);
}

/* Runs, tables, and what is given back, at the border of two groups */
static void space_groups(struct kunit *test)
{
	struct qed_space *space = whole_space(test, 3 * QED_GROUP, 0, 4);
	unsigned int before;

	KUNIT_ASSERT_NOT_NULL(test, space);
	expect_run(test, space, U64_MAX, 0, QED_GROUP, true);
	expect_run(test, space, U64_MAX, QED_GROUP, QED_GROUP, true);
	expect_run(test, space, U64_MAX, 2 * QED_GROUP, QED_GROUP, true);
	expect_full(test, space);
	for (before = 0; before <= 4; before++) {
		/* one group learns that it has none, and then its neighbour gets some */
		give(space, QED_GROUP - before, before, true);
		if (before < 4)
			expect_no_table(test, space);
		give(space, QED_GROUP, 4 - before, true);
		expect_table(test, space, QED_GROUP - before, true);
	}
	give(space, 100, 2 * QED_GROUP, false);
	KUNIT_EXPECT_EQ(test, qed_space_nr_free(space), 2 * QED_GROUP);
	expect_run(test, space, U64_MAX, 100, QED_GROUP - 100, false);
	qed_space_destroy(space);
}

/* What there is before all of the memory is there, and after that */
static void space_complete(struct kunit *test)
{
	struct qed_space *space = qed_space_create(7 * QED_GROUP + 5,
						   2 * QED_GROUP + 1, 4);
	u64 first = 3 * QED_GROUP;
	bool stop = true;

	KUNIT_ASSERT_NOT_NULL(test, space);
	qed_space_limit_zeroes(space, first, 6 * QED_GROUP + 2);
	KUNIT_EXPECT_EQ(test, qed_space_nr(space), 7 * QED_GROUP + 5);
	KUNIT_EXPECT_EQ(test, qed_space_nr_free(space), 3 * QED_GROUP - 1);
	KUNIT_EXPECT_EQ(test, qed_space_nr_zero(space), 2 * QED_GROUP);
	KUNIT_EXPECT_EQ(test, qed_space_end(space), 2 * QED_GROUP + 1);
	KUNIT_EXPECT_TRUE(test, qed_space_is_used(space, 5));
	KUNIT_EXPECT_TRUE(test, qed_space_is_used(space, 2 * QED_GROUP));
	KUNIT_EXPECT_FALSE(test, qed_space_is_used(space, 6 * QED_GROUP));
	expect_run(test, space, U64_MAX, first, QED_GROUP, true);
	expect_run(test, space, U64_MAX, first + QED_GROUP, QED_GROUP, true);
	expect_table(test, space, 2 * QED_GROUP + 1, false);
	expect_run(test, space, U64_MAX, 2 * QED_GROUP + 5, QED_GROUP - 5, false);
	expect_full(test, space);
	KUNIT_EXPECT_EQ(test, -EINTR, qed_space_complete(space, &stop));
	expect_full(test, space);
	stop = false;
	KUNIT_EXPECT_EQ(test, 0, qed_space_complete(space, &stop));
	KUNIT_EXPECT_EQ(test, 0, qed_space_complete(space, NULL));
	KUNIT_EXPECT_EQ(test, qed_space_nr_free(space), 2 * QED_GROUP + 5);
	expect_run(test, space, U64_MAX, 5 * QED_GROUP, QED_GROUP, true);
	expect_run(test, space, 2, 6 * QED_GROUP, 2, true);
	expect_run(test, space, U64_MAX, 6 * QED_GROUP + 2, QED_GROUP - 2, false);
	give(space, 5, 1, false);
	expect_run(test, space, U64_MAX, 7 * QED_GROUP, 5, false);
	expect_run(test, space, 1, 5, 1, false);
	qed_space_destroy(space);

	/* growth has the rest of it made, too; nothing was free */
	space = qed_space_create(5 * QED_GROUP, U64_MAX, 4);
	KUNIT_ASSERT_NOT_NULL(test, space);
	expect_full(test, space);
	KUNIT_EXPECT_EQ(test, 1, qed_space_grow(space, 5 * QED_GROUP + 3));
	expect_run(test, space, U64_MAX, 5 * QED_GROUP, 3, false);
	give(space, 77, 1, false);
	expect_run(test, space, U64_MAX, 77, 1, false);
	qed_space_destroy(space);
}

static void space_grow(struct kunit *test)
{
	struct qed_space *space = qed_space_create(70, U64_MAX, 4);

	KUNIT_ASSERT_NOT_NULL(test, space);
	KUNIT_EXPECT_EQ(test, qed_space_nr_free(space), 0);
	expect_full(test, space);
	KUNIT_EXPECT_EQ(test, 0, qed_space_grow(space, 70));
	KUNIT_EXPECT_EQ(test, 0, qed_space_grow(space, 60));
	KUNIT_EXPECT_EQ(test, 1, qed_space_grow(space, 200));
	KUNIT_EXPECT_EQ(test, qed_space_nr(space), 200);
	KUNIT_EXPECT_EQ(test, qed_space_nr_free(space), 130);
	/* nobody has said that the new ones are zero */
	expect_table(test, space, 70, false);
	expect_run(test, space, 200, 74, 126, false);
	expect_full(test, space);
	/* into further groups, none of which was there */
	KUNIT_EXPECT_EQ(test, 1, qed_space_grow(space, 2 * QED_GROUP + 1));
	KUNIT_EXPECT_EQ(test, qed_space_nr_free(space), 2 * QED_GROUP - 199);
	expect_run(test, space, U64_MAX, 200, QED_GROUP - 200, false);
	expect_run(test, space, U64_MAX, QED_GROUP, QED_GROUP, false);
	expect_run(test, space, U64_MAX, 2 * QED_GROUP, 1, false);
	expect_full(test, space);
	KUNIT_EXPECT_EQ(test, -ENOMEM, qed_space_grow(space, 1ULL << 50));
	KUNIT_EXPECT_EQ(test, qed_space_nr(space), 2 * QED_GROUP + 1);
	KUNIT_EXPECT_EQ(test, 1, qed_space_grow(space, 2 * QED_GROUP + 2));
	expect_run(test, space, U64_MAX, 2 * QED_GROUP + 1, 1, false);
	qed_space_destroy(space);
}

/* What is free but not known to be zero, piece by piece */
static void space_take(struct kunit *test)
{
	enum { NR = QED_GROUP + 20000 };
	struct qed_space *space = whole_space(test, NR, 0, 1);
	u64 used, allocated;
	struct qed_run run;

	KUNIT_ASSERT_NOT_NULL(test, space);
	KUNIT_EXPECT_EQ(test, qed_space_end(space), 0);
	KUNIT_EXPECT_EQ(test, qed_space_nr_zero(space), NR);
	KUNIT_EXPECT_FALSE(test, qed_space_take_unzeroed(space, 0, NR, NR, &run));
	expect_run(test, space, NR, 0, QED_GROUP, true);
	expect_run(test, space, NR, QED_GROUP, 20000, true);
	KUNIT_EXPECT_EQ(test, qed_space_end(space), NR);
	give(space, 10, 5, false);
	give(space, 15, 5, true);
	give(space, QED_GROUP - 5, 10, false);
	give(space, QED_GROUP + 12000, 8000, true);
	KUNIT_EXPECT_EQ(test, qed_space_nr_zero(space), 8005);
	KUNIT_EXPECT_EQ(test, qed_space_end(space), QED_GROUP + 12000);

	KUNIT_EXPECT_TRUE(test, qed_space_take_unzeroed(space, 0, NR, 3, &run));
	KUNIT_EXPECT_EQ(test, run.first, 10);
	KUNIT_EXPECT_EQ(test, run.nr, 3);
	KUNIT_EXPECT_FALSE(test, run.zero);
	KUNIT_EXPECT_TRUE(test, qed_space_is_used(space, 12));
	KUNIT_EXPECT_FALSE(test, qed_space_is_used(space, 13));
	KUNIT_EXPECT_TRUE(test, qed_space_take_unzeroed(space, 13, NR, 99, &run));
	KUNIT_EXPECT_EQ(test, run.first, 13);
	KUNIT_EXPECT_EQ(test, run.nr, 2);
	KUNIT_EXPECT_FALSE(test, qed_space_take_unzeroed(space, 15, QED_GROUP - 5,
							 9, &run));
	KUNIT_EXPECT_TRUE(test, qed_space_take_unzeroed(space, 15, NR, 99, &run));
	KUNIT_EXPECT_EQ(test, run.first, QED_GROUP - 5);
	KUNIT_EXPECT_EQ(test, run.nr, 5);
	KUNIT_EXPECT_TRUE(test, qed_space_take_unzeroed(space, QED_GROUP + 2,
							U64_MAX, 99, &run));
	KUNIT_EXPECT_EQ(test, run.first, QED_GROUP + 2);
	KUNIT_EXPECT_EQ(test, run.nr, 3);

	/* what is taken so does not count as allocated */
	qed_space_count(space, &used, &allocated);
	KUNIT_EXPECT_EQ(test, allocated, NR);
	run.first = 100;
	run.nr = 7;
	qed_space_give_back(space, &run, true);
	qed_space_count(space, &used, &allocated);
	KUNIT_EXPECT_EQ(test, allocated, NR - 7);
	KUNIT_EXPECT_EQ(test, used, qed_space_nr(space) - qed_space_nr_free(space));
	qed_space_destroy(space);
}

/* A map of this size cannot be had, and must not be tried. */
static void space_too_large(struct kunit *test)
{
	KUNIT_EXPECT_NULL(test, qed_space_create(U64_MAX, U64_MAX, 4));
	KUNIT_EXPECT_NULL(test, qed_space_create(1ULL << 50, 0, 4));
	KUNIT_EXPECT_NULL(test, qed_space_bitmap(U64_MAX));
}

/*----------------------------------------------------------------
 * At random, beside a model that is too simple to be wrong
 *----------------------------------------------------------------
 */

enum { USED, FREE, ZERO };

struct model {
	struct kunit *test;
	struct qed_space *space;
	u8 *state, *later;	/* what is free when there is memory for it */
	u64 nr, max, cursor, allocated, zeroed_from, filled;
	unsigned int table;
	u64 random;
};

static u64 draw(struct model *m, u64 below)
{
	m->random ^= m->random << 13;
	m->random ^= m->random >> 7;
	m->random ^= m->random << 17;
	return (m->random >> 16) % below;
}

/* A cluster; every other one is near the border of a group, or an end */
static u64 draw_cluster(struct model *m)
{
	u64 border;

	if (draw(m, 2))
		return draw(m, m->nr);
	border = draw(m, m->nr / QED_GROUP + 2) * QED_GROUP + draw(m, 40);
	return min(border > 20 ? border - 20 : 0, m->nr - 1);
}

/* The first cluster from @from on that is of @state, or the end */
static u64 model_find(struct model *m, u64 from, u8 state)
{
	u8 *found = memchr(m->state + from, state, m->nr - from);

	return found ? found - m->state : m->nr;
}

/* From there on as many of this state as one allocation gets */
static u64 model_length(struct model *m, u64 first, u8 state, u64 want)
{
	u64 end = min3(m->nr, first + want, round_down(first, QED_GROUP) + QED_GROUP);
	u64 i;

	for (i = first; i < end && m->state[i] == state; i++)
		;
	return i - first;
}

static void model_alloc(struct model *m)
{
	u64 want = draw(m, 20) ? draw(m, 16) + 1 : draw(m, 3 * QED_GROUP) + 1;
	u8 state = model_find(m, 0, ZERO) < m->nr ? ZERO : FREE;
	u64 first = model_find(m, m->cursor, state), nr;
	struct qed_run run;
	int r = qed_space_alloc(m->space, want, &run);

	if (first == m->nr)
		first = model_find(m, 0, state);
	if (first == m->nr) {
		KUNIT_ASSERT_EQ(m->test, r, -ENOSPC);
		return;
	}
	KUNIT_ASSERT_EQ(m->test, r, 0);
	nr = model_length(m, first, state, want);
	KUNIT_ASSERT_EQ(m->test, run.first, first);
	KUNIT_ASSERT_EQ(m->test, run.nr, nr);
	KUNIT_ASSERT_EQ(m->test, run.zero, state == ZERO);
	memset(m->state + first, USED, nr);
	m->cursor = (first + nr) % m->nr;
	m->allocated += nr;
}

/* Is there a run for a table, of zeroes or of anything? */
static bool model_has_table(struct model *m, u8 worst)
{
	unsigned int length = 0;
	u64 i;

	for (i = 0; i < m->nr && length < m->table; i++)
		length = m->state[i] >= worst ? length + 1 : 0;
	return length == m->table;
}

static void model_table(struct model *m)
{
	bool zero = model_has_table(m, ZERO);
	struct qed_run run;
	int r = qed_space_alloc_table(m->space, &run);
	u64 i;

	if (!zero && !model_has_table(m, FREE)) {
		KUNIT_ASSERT_EQ(m->test, r, -ENOSPC);
		return;
	}
	KUNIT_ASSERT_EQ(m->test, r, 0);
	KUNIT_ASSERT_EQ(m->test, run.nr, m->table);
	KUNIT_ASSERT_LE(m->test, run.first + run.nr, m->nr);
	for (i = run.first; i < run.first + run.nr; i++)
		KUNIT_ASSERT_GE(m->test, m->state[i], zero ? ZERO : FREE);
	KUNIT_ASSERT_EQ(m->test, run.zero, zero);
	memset(m->state + run.first, USED, run.nr);
	m->allocated += run.nr;
}

static void model_free(struct model *m)
{
	struct qed_run run = { .first = draw_cluster(m), .zero = draw(m, 2) };
	u64 max = draw(m, 30) ? draw(m, 8) + 1 : draw(m, 2 * QED_GROUP) + 1;
	bool undo = !draw(m, 4);

	for (; run.nr < max && run.first + run.nr < m->nr; run.nr++)
		if (m->state[run.first + run.nr] != USED)
			break;
	if (undo)
		qed_space_give_back(m->space, &run, true);
	else
		qed_space_free(m->space, &run);
	memset(m->state + run.first, run.zero && !undo ? ZERO : FREE, run.nr);
	if (undo)
		m->allocated -= run.nr;
}

static void model_take(struct model *m)
{
	u64 from = draw_cluster(m), to = draw_cluster(m), want = draw(m, 100) + 1;
	u64 first = model_find(m, from, FREE);
	struct qed_run run;

	if (first >= to) {
		KUNIT_ASSERT_FALSE(m->test, qed_space_take_unzeroed(m->space, from, to,
								    want, &run));
		return;
	}
	KUNIT_ASSERT_TRUE(m->test, qed_space_take_unzeroed(m->space, from, to, want,
							   &run));
	KUNIT_ASSERT_EQ(m->test, run.first, first);
	KUNIT_ASSERT_EQ(m->test, run.nr,
			model_length(m, first, FREE, min(want, to - first)));
	memset(m->state + first, USED, run.nr);
}

static void model_complete(struct model *m)
{
	memcpy(m->state + m->filled, m->later + m->filled, m->nr - m->filled);
	m->filled = m->nr;
}

static void model_grow(struct model *m)
{
	u64 nr = m->nr + draw(m, draw(m, 2) ? 100 : QED_GROUP);

	if (nr > m->max)
		return;
	KUNIT_ASSERT_EQ(m->test, qed_space_grow(m->space, nr), nr > m->nr);
	if (nr == m->nr)
		return;
	model_complete(m);
	memset(m->state + m->nr, FREE, nr - m->nr);
	m->nr = nr;
	m->filled = nr;
}

/* Of those that are free from the start, not all are zero. */
static void model_limit(struct model *m)
{
	u64 first = draw_cluster(m), end = draw_cluster(m), i;

	qed_space_limit_zeroes(m->space, first, end);
	for (i = m->zeroed_from; i < m->nr; i++)
		if (i < first || i >= end)
			m->later[i] = FREE;
	memcpy(m->state + m->zeroed_from, m->later + m->zeroed_from,
	       m->filled - m->zeroed_from);
}

/* Also of those that are not in the maps yet */
static bool model_is_zero(const struct model *m, u64 i)
{
	return (i < m->filled ? m->state : m->later)[i] == ZERO;
}

static void model_last_zeroes(struct model *m)
{
	u64 first, end = m->nr;
	struct qed_run run;

	while (end && !model_is_zero(m, end - 1))
		end--;
	for (first = end; first && model_is_zero(m, first - 1); first--)
		;
	qed_space_last_zeroes(m->space, &run);
	KUNIT_ASSERT_EQ(m->test, run.nr, end - first);
	if (run.nr)
		KUNIT_ASSERT_EQ(m->test, run.first, first);
}

static void model_compare(struct model *m)
{
	u64 cluster = draw(m, m->nr + 10), end = m->filled, used, allocated, i;
	u64 count[3] = {};

	for (i = 0; i < m->nr; i++)
		count[m->state[i]]++;
	while (end && m->state[end - 1] != USED)
		end--;
	qed_space_count(m->space, &used, &allocated);
	KUNIT_ASSERT_EQ(m->test, used, count[USED]);
	KUNIT_ASSERT_EQ(m->test, allocated, m->allocated);
	KUNIT_ASSERT_EQ(m->test, qed_space_nr(m->space), m->nr);
	KUNIT_ASSERT_EQ(m->test, qed_space_nr_free(m->space), count[FREE] + count[ZERO]);
	KUNIT_ASSERT_EQ(m->test, qed_space_nr_zero(m->space), count[ZERO]);
	KUNIT_ASSERT_EQ(m->test, qed_space_end(m->space), end);
	model_last_zeroes(m);
	KUNIT_ASSERT_EQ(m->test, qed_space_is_used(m->space, cluster),
			cluster < m->filled && m->state[cluster] == USED);
}

/* What a scan finds below @below, in stretches of any length */
static void model_install(struct model *m, u64 below)
{
	unsigned long *used = qed_space_bitmap(m->nr);
	u64 i, end;

	KUNIT_ASSERT_NOT_NULL(m->test, used);
	for (i = 0; i < below; i = end) {
		bool set = draw(m, 2);

		end = min(below, i + draw(m, draw(m, 4) ? 10 : QED_GROUP) + 1);
		memset(m->state + i, set ? USED : FREE, end - i);
		for (; set && i < end; i++)
			__set_bit(i, used);
	}
	/* nothing above is taken from there */
	for (; i < m->nr; i++)
		if (draw(m, 2))
			__set_bit(i, used);
	qed_space_install(m->space, used);
	vfree(used);
	/* holes come first, unless there are zeroes */
	if (model_find(m, 0, ZERO) == m->nr)
		m->cursor = 0;
}

static void model_run(struct kunit *test, u64 nr, u64 zeroed_from, u64 max,
		      unsigned int table, unsigned int rounds)
{
	struct model m = {
		.test = test, .nr = nr, .max = max, .table = table,
		.random = 88172645463325252ULL + nr + table,
	};
	unsigned int round, phase;

	m.state = vzalloc(max);
	m.later = vzalloc(max);
	m.space = qed_space_create(nr, zeroed_from, table);
	KUNIT_ASSERT_NOT_NULL(test, m.state);
	KUNIT_ASSERT_NOT_NULL(test, m.later);
	KUNIT_ASSERT_NOT_NULL(test, m.space);
	m.zeroed_from = zeroed_from;
	m.filled = min(nr, round_up(zeroed_from, (u64)QED_GROUP) +
			   QED_FIRST_GROUPS * QED_GROUP);
	memset(m.later + zeroed_from, ZERO, nr - zeroed_from);
	memset(m.state + zeroed_from, ZERO, m.filled - zeroed_from);
	if (draw(&m, 2))
		model_limit(&m);
	m.cursor = zeroed_from < nr ? zeroed_from : 0;
	for (round = 0; round < rounds; round++) {
		if (round == rounds / 20) {
			KUNIT_ASSERT_EQ(test, 0, qed_space_complete(m.space, NULL));
			model_complete(&m);
		}
		if (round == rounds / 10)
			model_install(&m, zeroed_from);
		/* it becomes full and empty by turns */
		phase = round / 500 % 2 ? 3 : 6;
		if (draw(&m, 9) < phase)
			model_alloc(&m);
		else if (round > rounds / 10)
			model_free(&m);
		if (!draw(&m, 3))
			model_table(&m);
		if (round > rounds / 10 && !draw(&m, 8))
			model_take(&m);
		if (!draw(&m, 50))
			model_grow(&m);
		if (!draw(&m, 10))
			model_compare(&m);
	}
	model_compare(&m);
	qed_space_destroy(m.space);
	vfree(m.later);
	vfree(m.state);
}

static void space_random(struct kunit *test)
{
	unsigned int table;

	for (table = 1; table <= 16; table *= 2) {
		model_run(test, 500, 200, 700, table, 8000);
		model_run(test, 100, 100, 100, table, 4000);
		model_run(test, 64, 0, 65, table, 4000);
	}
}

static void space_random_groups(struct kunit *test)
{
	model_run(test, 4 * QED_GROUP + 700, 77, 6 * QED_GROUP, 4, 1000);
	model_run(test, 2 * QED_GROUP + 700, QED_GROUP + 77, 4 * QED_GROUP, 4, 3000);
	model_run(test, 2 * QED_GROUP, 2 * QED_GROUP, 2 * QED_GROUP + 99, 16, 2000);
}

/*----------------------------------------------------------------
 * How long the lock is held
 *----------------------------------------------------------------
 */

static unsigned long *scanned;	/* for try_install() */

/* So many words may be looked at: a bit for each group, twice, and some groups */
static unsigned long allowed_words(struct qed_space *space)
{
	return 2 * BITS_TO_LONGS(space->nr_groups) + 5 * QED_GROUP_LONGS;
}

static void expect_short(struct kunit *test, struct qed_space *space,
			 const char *what, unsigned int repetitions,
			 void (*try)(struct kunit *test, struct qed_space *space))
{
	struct best best = BEST;

	while (repetitions--) {
		try(test, space);
		best_add(&best);
	}
	best_expect(test, &best, allowed_words(space), what);
}

static void try_install(struct kunit *test, struct qed_space *space)
{
	measure();
	qed_space_install(space, scanned);
}

static void try_alloc(struct kunit *test, struct qed_space *space)
{
	struct qed_run run;

	measure();
	KUNIT_EXPECT_EQ(test, 0, qed_space_alloc(space, 512, &run));
}

static void try_no_table(struct kunit *test, struct qed_space *space)
{
	struct qed_run run;

	measure();
	KUNIT_EXPECT_EQ(test, -ENOSPC, qed_space_alloc_table(space, &run));
}

/* A guest goes on to discard every second cluster: that costs a look at a group. */
static void try_discard(struct kunit *test, struct qed_space *space)
{
	struct qed_run run;
	unsigned int i;

	for (i = 0; i < 10; i++) {
		KUNIT_EXPECT_EQ(test, 0, qed_space_alloc(space, 512, &run));
		qed_space_free(space, &run);
	}
	try_no_table(test, space);
	KUNIT_EXPECT_LE(test, held.holds, 4);
}

/* Four of the last clusters are free. */
static void try_table(struct kunit *test, struct qed_space *space)
{
	struct qed_run run = { .first = space->nr - 4, .nr = 4 };

	qed_space_free(space, &run);
	measure();
	KUNIT_EXPECT_EQ(test, 0, qed_space_alloc_table(space, &run));
	KUNIT_EXPECT_GE(test, run.first, space->nr - 5);
}

static void try_end(struct kunit *test, struct qed_space *space)
{
	measure();
	KUNIT_EXPECT_GE(test, qed_space_end(space), space->nr - 1);
}

static void try_take(struct kunit *test, struct qed_space *space)
{
	struct qed_run run;

	measure();
	KUNIT_EXPECT_TRUE(test, qed_space_take_unzeroed(space, 0, space->nr, 512,
							&run));
}

static void try_take_none(struct kunit *test, struct qed_space *space)
{
	struct qed_run run;

	measure();
	KUNIT_EXPECT_FALSE(test, qed_space_take_unzeroed(space, 0, space->nr, 512,
							 &run));
}

static void try_grow(struct kunit *test, struct qed_space *space)
{
	measure();
	KUNIT_EXPECT_EQ(test, 1, qed_space_grow(space, space->nr + 1));
}

static void try_grow_much(struct kunit *test, struct qed_space *space)
{
	measure();
	KUNIT_EXPECT_EQ(test, 1, qed_space_grow(space, space->nr + space->nr / 16));
}

/* The only free cluster is as far behind the cursor as can be. */
static void try_last(struct kunit *test, struct qed_space *space)
{
	struct qed_run run;

	give(space, space->nr - 1, 1, false);
	space->cursor = 0;
	measure();
	KUNIT_EXPECT_EQ(test, 0, qed_space_alloc(space, 512, &run));
	KUNIT_EXPECT_EQ(test, run.first, space->nr - 1);
}

/* Or before it */
static void try_before(struct kunit *test, struct qed_space *space)
{
	struct qed_run run;

	give(space, space->nr - 2, 1, false);
	space->cursor = space->nr - 1;
	measure();
	KUNIT_EXPECT_EQ(test, 0, qed_space_alloc(space, 512, &run));
	KUNIT_EXPECT_EQ(test, run.first, space->nr - 2);
}

/* More than a group is freed, and allocated. */
static void try_long(struct kunit *test, struct qed_space *space)
{
	struct qed_run run;

	measure();
	give(space, 99, QED_GROUP, true);
	KUNIT_EXPECT_EQ(test, 0, qed_space_alloc(space, U64_MAX, &run));
	KUNIT_EXPECT_EQ(test, 0, qed_space_alloc(space, U64_MAX, &run));
	KUNIT_EXPECT_EQ(test, 0, qed_space_nr_free(space));
}

/* Every second cluster is free. */
static void hold_fragmented(struct kunit *test, u64 nr)
{
	struct qed_space *space = whole_space(test, nr, U64_MAX, 4);

	scanned = qed_space_bitmap(nr);
	KUNIT_ASSERT_NOT_NULL(test, space);
	KUNIT_ASSERT_NOT_NULL(test, scanned);
	memset(scanned, 0x55, nr / BITS_PER_BYTE);
	expect_short(test, space, "install", 1, try_install);
	vfree(scanned);
	KUNIT_EXPECT_EQ(test, qed_space_nr_free(space), nr / 2);

	expect_short(test, space, "alloc", 30, try_alloc);
	/* that there is no table is found out once */
	expect_short(test, space, "no table", 1, try_no_table);
	KUNIT_EXPECT_EQ(test, held.holds, space->nr_groups + 2);
	expect_short(test, space, "still none", 10, try_no_table);
	KUNIT_EXPECT_EQ(test, held.holds, 2);
	expect_short(test, space, "discard", 10, try_discard);
	expect_short(test, space, "table", 10, try_table);
	KUNIT_EXPECT_LE(test, held.holds, 2);
	expect_short(test, space, "end", 10, try_end);
	expect_short(test, space, "take", 10, try_take);
	expect_short(test, space, "grow", 10, try_grow);
	expect_short(test, space, "grow much", 1, try_grow_much);
	qed_space_destroy(space);
}

static void hold_full(struct kunit *test, u64 nr)
{
	struct qed_space *space = whole_space(test, nr, U64_MAX, 4);

	KUNIT_ASSERT_NOT_NULL(test, space);
	expect_short(test, space, "last cluster", 30, try_last);
	expect_short(test, space, "cluster before it", 30, try_before);
	expect_short(test, space, "take nothing", 1, try_take_none);
	expect_short(test, space, "long run", 10, try_long);
	qed_space_destroy(space);
}

/* With clusters of 64 KiB */
static void space_hold_4t(struct kunit *test)
{
	hold_fragmented(test, 1ULL << (42 - 16));
	hold_full(test, 1ULL << (42 - 16));
}

static void space_hold_64t(struct kunit *test)
{
	hold_fragmented(test, 1ULL << (46 - 16));
	hold_full(test, 1ULL << (46 - 16));
}

static struct kunit_case space_cases[] = {
	KUNIT_CASE(space_next_fit),
	KUNIT_CASE(space_pieces),
	KUNIT_CASE(space_zero_and_not),
	KUNIT_CASE(space_groups),
	KUNIT_CASE(space_complete),
	KUNIT_CASE(space_grow),
	KUNIT_CASE(space_take),
	KUNIT_CASE(space_too_large),
	KUNIT_CASE(space_random),
	KUNIT_CASE(space_random_groups),
	KUNIT_CASE(space_hold_4t),
	KUNIT_CASE(space_hold_64t),
	{}
};

static struct kunit_suite space_suite = {
	.name = "dm_qed_space",
	.test_cases = space_cases,
};

kunit_test_suite(space_suite);

MODULE_DESCRIPTION("Unit tests of the space map of dm-qed");
MODULE_LICENSE("GPL");
