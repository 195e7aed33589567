// SPDX-License-Identifier: GPL-2.0-only
/*
 * The space map of an image device, see dm-qed-space.h.
 *
 * Clusters are in groups, and bitmaps with a bit for each group tell where it is
 * worth to look. So an allocation under a lock looks at one word for 64 groups, and at
 * the words of two groups, however full and fragmented the device is: it takes some
 * microseconds at most. What has to look at more does so in steps, a group at a time.
 */

#include <linux/bitmap.h>
#include <linux/errno.h>
#include <linux/minmax.h>
#include <linux/sched.h>
#include <linux/spinlock.h>

#include "dm-qed-space-priv.h"

/*----------------------------------------------------------------
 * Bits
 *----------------------------------------------------------------
 */

/* Set or clear bits. Returns how many of them were not as they are now. */
static unsigned int change_bits(unsigned long *map, unsigned int first,
				unsigned int nr, bool set)
{
	unsigned int end = first + nr, stop, changed = 0;

	for (; first < end; first = stop) {
		unsigned long *word = map + first / BITS_PER_LONG, mask;

		stop = min(end, round_down(first, BITS_PER_LONG) + BITS_PER_LONG);
		mask = GENMASK((stop - 1) % BITS_PER_LONG, first % BITS_PER_LONG);
		changed += hweight_long(mask & (set ? ~*word : *word));
		*word = set ? *word | mask : *word & ~mask;
	}
	return changed;
}

/*
 * Find a run of @nr set bits that ends in this word, and may begin before it,
 * where @before bits are set: it is the number of bits set at the end of the
 * word then. Returns the first bit, or BITS_PER_LONG.
 */
static int run_in_word(unsigned long word, unsigned int nr, unsigned int *before)
{
	unsigned int low = ~word ? ffz(word) : BITS_PER_LONG, have, more;
	int first = -*before;

	if (*before + low >= nr)
		return first;
	/* There is a bit that is not set, for a run is not longer than a word. */
	*before = BITS_PER_LONG - 1 - __fls(~word);
	for (have = 1; word && have < nr; have += more) {
		more = min(have, nr - have);
		word &= word >> more;
	}
	return word ? __ffs(word) : BITS_PER_LONG;
}

/* The first cluster in [from, to) that is free and not known to be zero, or not so */
static unsigned int find_unzeroed(const struct qed_group *group,
				  unsigned int from, unsigned int to, bool so)
{
	unsigned int i = from / BITS_PER_LONG;
	unsigned long mask = BITMAP_FIRST_WORD_MASK(from), word;

	for (; i * BITS_PER_LONG < to; i++, mask = ~0UL) {
		word = group->map[QED_FREE][i] ^ group->map[QED_ZERO][i];
		word = (so ? word : ~word) & mask;
		if (word)
			return min_t(unsigned int, to,
				     i * BITS_PER_LONG + __ffs(word));
	}
	return to;
}

/* End of the last one of the first @nr clusters that is not of a kind, or 0 */
static unsigned int find_end(const struct qed_group *group, enum qed_kind kind,
			     unsigned int nr)
{
	unsigned long mask = BITMAP_LAST_WORD_MASK(nr), word;
	unsigned int i = DIV_ROUND_UP(nr, BITS_PER_LONG);

	for (; i; mask = ~0UL) {
		word = ~group->map[kind][--i] & mask;
		if (word)
			return i * BITS_PER_LONG + __fls(word) + 1;
	}
	return 0;
}

/*----------------------------------------------------------------
 * Groups
 *----------------------------------------------------------------
 */

void qed_space_added(struct qed_space *space, enum qed_kind kind, u64 first,
		     unsigned int nr)
{
	unsigned long g = first >> QED_GROUP_BITS;

	space->groups[g]->nr[kind] += nr;
	space->nr_of[kind] += nr;
	__set_bit(g, space->some[kind]);
	/* A run that the first ones are a part of may begin before them. */
	__set_bit(g, space->table[kind]);
	if (g && first % QED_GROUP < space->table_nr)
		__set_bit(g - 1, space->table[kind]);
}

void qed_space_add(struct qed_space *space, enum qed_kind kind, u64 first,
		   unsigned int nr)
{
	struct qed_group *group = space->groups[first >> QED_GROUP_BITS];

	nr = change_bits(group->map[kind], first % QED_GROUP, nr, true);
	if (nr)
		qed_space_added(space, kind, first, nr);
}

unsigned int qed_space_remove(struct qed_space *space, enum qed_kind kind,
			      u64 first, unsigned int nr)
{
	unsigned long g = first >> QED_GROUP_BITS;
	struct qed_group *group = space->groups[g];

	nr = change_bits(group->map[kind], first % QED_GROUP, nr, false);
	group->nr[kind] -= nr;
	space->nr_of[kind] -= nr;
	if (!group->nr[kind])
		__clear_bit(g, space->some[kind]);
	return nr;
}

/* Caller holds the lock. */
static void use(struct qed_space *space, struct qed_run *run)
{
	u64 first = run->first, end = first + run->nr, zeroes = 0;
	unsigned int nr;

	for (; first < end; first += nr) {
		nr = in_group(first, end - first);
		zeroes += qed_space_remove(space, QED_ZERO, first, nr);
		qed_space_remove(space, QED_FREE, first, nr);
	}
	run->zero = zeroes == run->nr;
	space->end_group = max_t(unsigned long, space->end_group,
				 ((end - 1) >> QED_GROUP_BITS) + 1);
}

/*----------------------------------------------------------------
 * Allocation
 *----------------------------------------------------------------
 */

/*
 * Find the next clusters of a kind of which there are some, without crossing the
 * border of a group. Caller holds the lock.
 */
static void find_next(struct qed_space *space, enum qed_kind kind, u64 want,
		      struct qed_run *run)
{
	unsigned long g = space->cursor >> QED_GROUP_BITS;
	const struct qed_group *group = space->groups[g];
	const unsigned long *map;
	unsigned int first = QED_GROUP;

	if (group) {
		map = group->map[kind];
		first = find_next_bit(map, QED_GROUP, space->cursor % QED_GROUP);
	}
	if (first == QED_GROUP) {
		g = find_next_bit(space->some[kind], space->nr_groups, g + 1);
		if (g >= space->nr_groups)
			g = find_next_bit(space->some[kind], space->nr_groups, 0);
		map = space->groups[g]->map[kind];
		first = find_next_bit(map, QED_GROUP, 0);
	}
	run->first = ((u64)g << QED_GROUP_BITS) + first;
	run->nr = find_next_zero_bit(map, first + in_group(first, want), first) -
		  first;
}

int qed_space_alloc(struct qed_space *space, u64 want, struct qed_run *run)
{
	enum qed_kind kind;
	unsigned long flags;
	int r = -ENOSPC;

	spin_lock_irqsave(&space->lock, flags);
	kind = space->nr_of[QED_ZERO] ? QED_ZERO : QED_FREE;
	if (space->nr_of[kind]) {
		find_next(space, kind, want, run);
		use(space, run);
		space->nr_allocated += run->nr;
		space->cursor = run->first + run->nr;
		if (space->cursor == space->nr)
			space->cursor = 0;
		r = 0;
	}
	spin_unlock_irqrestore(&space->lock, flags);
	return r;
}

/* A run for a table that begins in a group. Caller holds the lock. */
static bool find_table(const struct qed_space *space, enum qed_kind kind,
		       unsigned long g, struct qed_run *run)
{
	const struct qed_group *group = space->groups[g];
	const unsigned long *map;
	unsigned int before = 0, i;
	int first = BITS_PER_LONG;

	/* It may have been looked at for the sake of the next one. */
	if (!group)
		return false;
	map = group->map[kind];
	for (i = 0; i < QED_GROUP_LONGS; i++) {
		first = run_in_word(map[i], space->table_nr, &before);
		if (first < BITS_PER_LONG)
			break;
	}
	/* It may end in the next group. */
	if (i == QED_GROUP_LONGS && before && g + 1 < space->nr_groups &&
	    space->groups[g + 1])
		first = run_in_word(space->groups[g + 1]->map[kind][0],
				    space->table_nr, &before);
	if (i == QED_GROUP_LONGS && first >= 0)
		return false;
	run->first = ((u64)g << QED_GROUP_BITS) + i * BITS_PER_LONG + first;
	run->nr = space->table_nr;
	return true;
}

/*
 * Look for a table in the next group that may have one. Returns -EAGAIN if it has
 * none, -ENOSPC if no group has.
 */
static int alloc_table_step(struct qed_space *space, enum qed_kind kind,
			    struct qed_run *run)
{
	unsigned long g;
	int r = -ENOSPC;

	spin_lock_irq(&space->lock);
	g = find_next_bit(space->table[kind], space->nr_groups,
			  space->cursor >> QED_GROUP_BITS);
	if (g >= space->nr_groups)
		g = find_next_bit(space->table[kind], space->nr_groups, 0);
	if (g >= space->nr_groups)
		goto out;

	if (find_table(space, kind, g, run)) {
		use(space, run);
		space->nr_allocated += run->nr;
		r = 0;
	} else {
		__clear_bit(g, space->table[kind]);
		r = -EAGAIN;
	}
out:
	spin_unlock_irq(&space->lock);
	return r;
}

/*
 * That there is none is remembered until clusters of a group are freed, so each step
 * that finds none is one for something that was freed.
 */
int qed_space_alloc_table(struct qed_space *space, struct qed_run *run)
{
	enum qed_kind kind = QED_ZERO;
	int r;

	for (;;) {
		r = alloc_table_step(space, kind, run);
		if (!r || (r == -ENOSPC && kind == QED_FREE))
			return r;
		if (r == -ENOSPC)
			kind = QED_FREE;
		cond_resched();
	}
}

/*
 * Make clusters free, those of one group with each hold of the lock: it may be held
 * with interrupts off.
 */
static void unuse(struct qed_space *space, const struct qed_run *run, bool zero,
		  bool undo)
{
	u64 first = run->first, end = first + run->nr;
	unsigned long flags;
	unsigned int nr;

	for (; first < end; first += nr) {
		nr = in_group(first, end - first);
		spin_lock_irqsave(&space->lock, flags);
		qed_space_add(space, QED_FREE, first, nr);
		if (zero)
			qed_space_add(space, QED_ZERO, first, nr);
		if (undo)
			space->nr_allocated -= nr;
		spin_unlock_irqrestore(&space->lock, flags);
	}
}

void qed_space_free(struct qed_space *space, const struct qed_run *run)
{
	unuse(space, run, run->zero, false);
}

void qed_space_give_back(struct qed_space *space, const struct qed_run *run,
			 bool touched)
{
	unuse(space, run, run->zero && !touched, true);
}

/* The same in [from, to), which is in one group. */
static bool take_unzeroed_step(struct qed_space *space, u64 from, u64 to,
			       u64 want, struct qed_run *run)
{
	unsigned int first = from % QED_GROUP, end = first + (to - from);
	struct qed_group *group;

	spin_lock_irq(&space->lock);
	group = space->groups[from >> QED_GROUP_BITS];
	if (group && group->nr[QED_FREE] > group->nr[QED_ZERO])
		first = find_unzeroed(group, first, end, true);
	else
		first = end;
	if (first < end) {
		run->first = round_down(from, QED_GROUP) + first;
		run->nr = find_unzeroed(group, first,
					min_t(u64, end, first + want), false) -
			  first;
		use(space, run);
	}
	spin_unlock_irq(&space->lock);
	return first < end;
}

bool qed_space_take_unzeroed(struct qed_space *space, u64 from, u64 to,
			     u64 want, struct qed_run *run)
{
	unsigned int nr;

	for (to = min(to, qed_space_nr(space)); from < to; from += nr) {
		nr = in_group(from, to - from);
		if (take_unzeroed_step(space, from, from + nr, want, run))
			return true;
		cond_resched();
	}
	return false;
}

/*----------------------------------------------------------------
 * Numbers
 *----------------------------------------------------------------
 */

/* End of the last cluster in use of a group, or 0. Caller holds the lock. */
static unsigned int used_end(const struct qed_space *space, unsigned long g)
{
	u64 first = (u64)g << QED_GROUP_BITS;

	if (!space->groups[g])
		return in_group(first, space->zeroed_from - first);
	return find_end(space->groups[g], QED_FREE,
			in_group(first, space->nr - first));
}

u64 qed_space_end(struct qed_space *space)
{
	u64 first = 0;
	unsigned int end = 0;

	do {
		spin_lock_irq(&space->lock);
		if (space->end_group) {
			first = (u64)(space->end_group - 1) << QED_GROUP_BITS;
			end = used_end(space, space->end_group - 1);
			if (!end)
				space->end_group--;
		} else {
			first = 0;
		}
		spin_unlock_irq(&space->lock);
		cond_resched();
	} while (!end && first);
	return first + end;
}

/* The first of the last clusters of a group that are zero, up to @end */
static unsigned int zeroes_from(struct qed_space *space, unsigned long g,
				unsigned int end)
{
	unsigned int first;

	spin_lock_irq(&space->lock);
	/* Most groups are all zero, or not at all. */
	if (!space->groups[g])
		first = end;
	else if (space->groups[g]->nr[QED_ZERO] == QED_GROUP)
		first = 0;
	else
		first = find_end(space->groups[g], QED_ZERO, end);
	spin_unlock_irq(&space->lock);
	return first;
}

/* The end of the last zeroes in the maps, or 0. Caller holds the lock. */
static u64 zeroes_end(const struct qed_space *space)
{
	unsigned long g = find_last_bit(space->some[QED_ZERO], space->nr_groups);

	if (g == space->nr_groups)
		return 0;
	return ((u64)g << QED_GROUP_BITS) + 1 +
	       find_last_bit(space->groups[g]->map[QED_ZERO], QED_GROUP);
}

/*
 * The last zeroes that are not in the maps yet, or an empty run where those of the maps
 * end. Returns where to go on in the maps, or 0.
 */
static u64 unfilled_zeroes(struct qed_space *space, struct qed_run *run)
{
	u64 first, end, more;

	spin_lock_irq(&space->lock);
	first = max(space->filled, space->zero_from);
	end = min(space->nr, space->zero_end);
	more = first < end ? first : zeroes_end(space);
	run->first = more;
	run->nr = first < end ? end - first : 0;
	if (run->nr && first > space->filled)
		more = 0;
	spin_unlock_irq(&space->lock);
	return more;
}

void qed_space_last_zeroes(struct qed_space *space, struct qed_run *run)
{
	u64 last = unfilled_zeroes(space, run);
	unsigned int first, end = last ? (last - 1) % QED_GROUP + 1 : 0;
	unsigned long g = last ? (last - 1) >> QED_GROUP_BITS : 0;

	run->zero = true;
	for (; end; end = !first && g-- ? QED_GROUP : 0) {
		first = zeroes_from(space, g, end);
		run->nr += end - first;
		run->first -= end - first;
		cond_resched();
	}
}

bool qed_space_is_used(struct qed_space *space, u64 cluster)
{
	const struct qed_group *group;
	unsigned long flags;
	bool used = false;

	spin_lock_irqsave(&space->lock, flags);
	/* What is not in the maps yet is free. */
	if (cluster < space->filled) {
		group = space->groups[cluster >> QED_GROUP_BITS];
		used = !group ||
		       !test_bit(cluster % QED_GROUP, group->map[QED_FREE]);
	}
	spin_unlock_irqrestore(&space->lock, flags);
	return used;
}

void qed_space_count(struct qed_space *space, u64 *used, u64 *allocated)
{
	unsigned long flags;

	spin_lock_irqsave(&space->lock, flags);
	*used = space->nr - space->nr_of[QED_FREE];
	*allocated = space->nr_allocated;
	spin_unlock_irqrestore(&space->lock, flags);
}

/* A number that may be old, but not a half of an old one */
static u64 read_number(struct qed_space *space, const u64 *number)
{
	unsigned long flags;
	u64 value;

	if (IS_ENABLED(CONFIG_64BIT))
		return READ_ONCE(*number);
	spin_lock_irqsave(&space->lock, flags);
	value = *number;
	spin_unlock_irqrestore(&space->lock, flags);
	return value;
}

u64 qed_space_nr(struct qed_space *space)
{
	return read_number(space, &space->nr);
}

u64 qed_space_nr_free(struct qed_space *space)
{
	return read_number(space, &space->nr_of[QED_FREE]);
}

u64 qed_space_nr_zero(struct qed_space *space)
{
	return read_number(space, &space->nr_of[QED_ZERO]);
}
