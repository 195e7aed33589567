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

/* Have groups for so many clusters, without a free one in the new groups. */
static int enlarge(struct qed_space *space, u64 clusters)
{
	u64 nr = (clusters >> QED_GROUP_BITS) + !!(clusters % QED_GROUP);
	struct qed_group *group;
	int r;

	/* A device may be larger than this machine can serve. */
	if (nr * 2 * QED_GROUP_LONGS * sizeof(unsigned long) / PAGE_SIZE >=
	    totalram_pages() || nr > INT_MAX / sizeof(group))
		return -ENOMEM;
	r = nr > space->nr_groups ? groups_enlarge(space, nr) : 0;
	while (!r && space->nr_groups < nr) {
		group = group_alloc();
		if (!group)
			return -ENOMEM;
		spin_lock_irq(&space->lock);
		space->groups[space->nr_groups++] = group;
		spin_unlock_irq(&space->lock);
		cond_resched();
	}
	return r;
}

/* Go on to @nr clusters: the new ones are free. */
static void extend(struct qed_space *space, u64 nr, bool zero)
{
	unsigned int step;

	while (space->nr < nr) {
		spin_lock_irq(&space->lock);
		step = in_group(space->nr, nr - space->nr);
		qed_space_add(space, QED_FREE, space->nr, step);
		if (zero)
			qed_space_add(space, QED_ZERO, space->nr, step);
		space->nr += step;
		spin_unlock_irq(&space->lock);
		cond_resched();
	}
}

struct qed_space *qed_space_create(u64 nr, u64 zeroed_from, unsigned int table)
{
	struct qed_space *space = kzalloc(sizeof(*space), GFP_KERNEL);

	if (!space)
		return NULL;
	spin_lock_init(&space->lock);
	mutex_init(&space->grow_mutex);
	space->table_nr = table;
	if (enlarge(space, nr)) {
		qed_space_destroy(space);
		return NULL;
	}

	space->zeroed_from = min(nr, zeroed_from);
	space->nr = space->zeroed_from;
	space->end_group = DIV_ROUND_UP_ULL(space->nr, QED_GROUP);
	/* With nothing known to be zero next-fit starts at the first hole. */
	space->cursor = space->nr < nr ? space->nr : 0;
	extend(space, nr, true);
	return space;
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

int qed_space_grow(struct qed_space *space, u64 nr)
{
	int r = 0;

	mutex_lock(&space->grow_mutex);
	if (nr > space->nr)
		r = enlarge(space, nr) ?: 1;
	if (r > 0)
		extend(space, nr, false);
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

void qed_space_doubt(struct qed_space *space, u64 first, u64 end)
{
	unsigned int nr;

	for (end = min(end, qed_space_nr(space)); first < end; first += nr) {
		nr = in_group(first, end - first);
		spin_lock_irq(&space->lock);
		qed_space_remove(space, QED_ZERO, first, nr);
		spin_unlock_irq(&space->lock);
		cond_resched();
	}
}
