// SPDX-License-Identifier: GPL-2.0-only
/*
 * The space map is made, learns what a scan has found, and grows, see dm-qed-space-build.h.
 */

#include <linux/bitmap.h>
#include <linux/errno.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "dm-qed-space-build.h"
#include "dm-qed-space-priv.h"

/* Groups of free clusters that a map has from the start */
#define QED_FIRST_GROUPS	2

/* A map that is too large must not make the system kill processes. */
#define QED_SPACE_GFP		(GFP_KERNEL | __GFP_NOWARN | __GFP_RETRY_MAYFAIL)

unsigned long *qed_space_bitmap(u64 nr)
{
	u64 bytes = BITS_TO_LONGS(nr) * sizeof(unsigned long);

	/* A device may be larger than kvmalloc() or this machine can serve. */
	if (nr > ULONG_MAX - BITS_PER_LONG)
		return NULL;
	return __vmalloc(max_t(u64, bytes, sizeof(unsigned long)),
			 QED_SPACE_GFP | __GFP_ZERO);
}

static void group_free(struct qed_group *group)
{
	if (!group)
		return;
	kfree(group->map[QED_FREE]);
	kfree(group->map[QED_ZERO]);
	kfree(group);
}

static struct qed_group *group_alloc(void)
{
	struct qed_group *group = kzalloc(sizeof(*group), QED_SPACE_GFP);
	unsigned int kind;

	for (kind = 0; group && kind < QED_KINDS; kind++) {
		group->map[kind] = kcalloc(QED_GROUP_LONGS,
					   sizeof(unsigned long),
					   QED_SPACE_GFP);
		if (!group->map[kind]) {
			group_free(group);
			group = NULL;
		}
	}
	return group;
}

/* Make room for a bit for each of @nr groups. */
static int bits_enlarge(struct qed_space *space, unsigned long **bits,
			unsigned long nr)
{
	unsigned long *new = kvcalloc(BITS_TO_LONGS(nr), sizeof(*new),
				      QED_SPACE_GFP);

	if (!new)
		return -ENOMEM;
	spin_lock_irq(&space->lock);
	if (*bits)
		memcpy(new, *bits,
		       BITS_TO_LONGS(space->nr_groups) * sizeof(*new));
	swap(new, *bits);
	spin_unlock_irq(&space->lock);
	kvfree(new);
	return 0;
}

/* Make room for @nr groups. Only this changes the pointers to them. */
static int groups_enlarge(struct qed_space *space, unsigned long nr)
{
	struct qed_group **new = kvcalloc(nr, sizeof(*new),
					  QED_SPACE_GFP);
	unsigned int kind;
	int r = 0;

	if (!new)
		return -ENOMEM;
	if (space->nr_groups)
		memcpy(new, space->groups, space->nr_groups * sizeof(*new));
	spin_lock_irq(&space->lock);
	swap(new, space->groups);
	spin_unlock_irq(&space->lock);
	kvfree(new);

	for (kind = 0; kind < QED_KINDS && !r; kind++) {
		r = bits_enlarge(space, &space->some[kind], nr);
		if (!r)
			r = bits_enlarge(space, &space->table[kind], nr);
	}
	return r;
}

/* Have room for the groups of so many clusters. */
static int enlarge(struct qed_space *space, u64 clusters)
{
	u64 nr = (clusters >> QED_GROUP_BITS) + !!(clusters % QED_GROUP);
	int r;

	/* A device may be larger than this machine can serve. */
	if (nr * 2 * QED_GROUP_LONGS * sizeof(unsigned long) / PAGE_SIZE >=
	    totalram_pages() || nr > INT_MAX / sizeof(struct qed_group *))
		return -ENOMEM;
	if (nr <= space->nr_groups)
		return 0;
	r = groups_enlarge(space, nr);
	if (r)
		return r;
	spin_lock_irq(&space->lock);
	space->nr_groups = nr;
	spin_unlock_irq(&space->lock);
	return 0;
}

/* Have the groups of these clusters, without a free one in those that are new. */
static int make_groups(struct qed_space *space, u64 first, u64 end)
{
	unsigned long g = first >> QED_GROUP_BITS;
	struct qed_group *group;

	for (; (u64)g << QED_GROUP_BITS < end; g++) {
		if (space->groups[g])
			continue;
		group = group_alloc();
		if (!group)
			return -ENOMEM;
		spin_lock_irq(&space->lock);
		space->groups[g] = group;
		spin_unlock_irq(&space->lock);
		cond_resched();
	}
	return 0;
}

/* Those up to @end that are not in the maps yet are free. */
static void fill(struct qed_space *space, u64 end)
{
	u64 first, zero_from, zero_end;
	unsigned int nr;

	while (space->filled < end) {
		first = space->filled;
		nr = in_group(first, end - first);
		zero_from = max(first, space->zero_from);
		zero_end = min(first + nr, space->zero_end);
		spin_lock_irq(&space->lock);
		qed_space_add(space, QED_FREE, first, nr);
		if (zero_from < zero_end)
			qed_space_add(space, QED_ZERO, zero_from,
				      zero_end - zero_from);
		space->filled += nr;
		spin_unlock_irq(&space->lock);
		cond_resched();
	}
}

struct qed_space *qed_space_create(u64 nr, u64 zeroed_from, unsigned int table)
{
	struct qed_space *space = kzalloc(sizeof(*space), GFP_KERNEL);
	u64 end;

	if (!space)
		return NULL;
	spin_lock_init(&space->lock);
	mutex_init(&space->grow_mutex);
	space->table_nr = table;
	space->zero_end = U64_MAX;
	space->zeroed_from = min(nr, zeroed_from);
	space->filled = space->zeroed_from;
	space->nr = nr;
	space->end_group = DIV_ROUND_UP_ULL(space->zeroed_from, QED_GROUP);
	/* With nothing known to be zero next-fit starts at the first hole. */
	space->cursor = space->zeroed_from < nr ? space->zeroed_from : 0;

	end = min(nr, round_up(space->zeroed_from, QED_GROUP) +
		      QED_FIRST_GROUPS * QED_GROUP);
	if (enlarge(space, nr) ||
	    make_groups(space, space->zeroed_from, end)) {
		qed_space_destroy(space);
		return NULL;
	}
	fill(space, end);
	return space;
}

/* The groups up to @end, one after the other: what there is of them is of use. */
static int complete_to(struct qed_space *space, u64 end, const bool *stop)
{
	u64 first, next;
	int r;

	for (first = 0; first < end; first = next) {
		if (stop && READ_ONCE(*stop))
			return -EINTR;
		next = min(first + QED_GROUP, end);
		r = make_groups(space, first, next);
		if (r)
			return r;
		fill(space, next);
	}
	return 0;
}

int qed_space_complete(struct qed_space *space, const bool *stop)
{
	int r;

	mutex_lock(&space->grow_mutex);
	r = complete_to(space, space->nr, stop);
	mutex_unlock(&space->grow_mutex);
	return r;
}

void qed_space_destroy(struct qed_space *space)
{
	unsigned long g;
	unsigned int kind;

	if (!space)
		return;
	for (g = 0; g < space->nr_groups; g++) {
		group_free(space->groups[g]);
		cond_resched();
	}
	for (kind = 0; kind < QED_KINDS; kind++) {
		kvfree(space->some[kind]);
		kvfree(space->table[kind]);
	}
	kvfree(space->groups);
	kfree(space);
}

static int grow(struct qed_space *space, u64 nr)
{
	int r = enlarge(space, nr);

	if (!r)
		r = complete_to(space, space->nr, NULL);
	if (!r)
		r = make_groups(space, space->nr, nr);
	if (r)
		return r;
	spin_lock_irq(&space->lock);
	space->zero_end = min(space->zero_end, space->nr);
	space->nr = nr;
	spin_unlock_irq(&space->lock);
	fill(space, nr);
	return 1;
}

int qed_space_grow(struct qed_space *space, u64 nr)
{
	int r;

	mutex_lock(&space->grow_mutex);
	r = nr > space->nr ? grow(space, nr) : 0;
	mutex_unlock(&space->grow_mutex);
	return r;
}

/* The same for those of a group. Caller holds the lock. */
static void install_group(struct qed_space *space, const unsigned long *used,
			  u64 first, unsigned int nr)
{
	unsigned long *map = space->groups[first >> QED_GROUP_BITS]->map[QED_FREE];
	unsigned int i, nr_free = 0;

	for (i = 0; i < nr; i += BITS_PER_LONG) {
		unsigned long word = ~used[(first + i) / BITS_PER_LONG];

		if (nr - i < BITS_PER_LONG)
			word &= BITMAP_LAST_WORD_MASK(nr);
		nr_free += hweight_long(word);
		map[i / BITS_PER_LONG] |= word;
	}
	if (nr_free)
		qed_space_added(space, QED_FREE, first, nr_free);
}

void qed_space_install(struct qed_space *space, const unsigned long *used)
{
	unsigned int nr;
	u64 first;

	for (first = 0; first < space->zeroed_from; first += nr) {
		nr = in_group(first, space->zeroed_from - first);
		spin_lock_irq(&space->lock);
		install_group(space, used, first, nr);
		spin_unlock_irq(&space->lock);
		cond_resched();
	}
	spin_lock_irq(&space->lock);
	/* What was free behind it was only to be used as long as nothing else was known. */
	if (!space->nr_of[QED_ZERO])
		space->cursor = 0;
	spin_unlock_irq(&space->lock);
}

static void doubt(struct qed_space *space, u64 first, u64 end)
{
	unsigned int nr;

	for (; first < end; first += nr) {
		nr = in_group(first, end - first);
		spin_lock_irq(&space->lock);
		qed_space_remove(space, QED_ZERO, first, nr);
		spin_unlock_irq(&space->lock);
		cond_resched();
	}
}

void qed_space_limit_zeroes(struct qed_space *space, u64 from, u64 end)
{
	mutex_lock(&space->grow_mutex);
	space->zero_from = from;
	space->zero_end = end;
	doubt(space, space->zeroed_from, min(from, space->filled));
	doubt(space, max(end, space->zeroed_from), space->filled);
	mutex_unlock(&space->grow_mutex);
}
