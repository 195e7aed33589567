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
#include <linux/err.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/vmalloc.h>

#include "dm-qed-space.h"

/* Clusters of a group: a bitmap of them has 4 KiB */
#define QED_GROUP		32768U
#define QED_GROUP_BITS		15	/* log2 of that */
#define QED_GROUP_LONGS		(QED_GROUP / BITS_PER_LONG)

/* A map that is too large must not make the system kill processes. */
#define QED_SPACE_GFP		(GFP_KERNEL | __GFP_NOWARN | __GFP_RETRY_MAYFAIL)

/**
 * enum qed_kind - what bitmaps there are
 * @QED_FREE: free clusters
 * @QED_ZERO: those of them that are known to be zero
 * @QED_KINDS: number of kinds
 */
enum qed_kind {
	QED_FREE,
	QED_ZERO,
	QED_KINDS,
};

struct qed_group {
	unsigned long *map[QED_KINDS];
	unsigned int nr[QED_KINDS];	/* bits that are set there */
};

struct qed_space {
	/*
	 * Protects everything below. Taken in bio completion context, and nests
	 * inside every other lock of the target.
	 */
	spinlock_t lock;

	u64 nr;
	u64 nr_of[QED_KINDS];
	u64 nr_allocated;	/* ever, and not given back */
	u64 cursor;		/* where next-fit goes on; below nr */
	unsigned long end_group; /* no cluster is in use from here on */

	unsigned long nr_groups;
	struct qed_group **groups;
	unsigned long *some[QED_KINDS];	/* groups that have clusters of a kind */
	unsigned long *table[QED_KINDS]; /* ... and may have a run for a table */

	struct mutex grow_mutex; /* the number of groups does not change */
	u64 zeroed_from;	/* constant: limit of qed_space_install() */
	unsigned int table_nr;	/* constant: clusters of a table */
};

unsigned long *qed_space_bitmap(u64 nr)
{
	u64 bytes = BITS_TO_LONGS(nr) * sizeof(unsigned long);

	/* A device may be larger than kvmalloc() or this machine can serve. */
	if (nr > ULONG_MAX - BITS_PER_LONG)
		return NULL;
	return __vmalloc(max_t(u64, bytes, sizeof(unsigned long)),
			 QED_SPACE_GFP | __GFP_ZERO);
}

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

/* How many of the clusters are in the group of the first one? */
static unsigned int in_group(u64 first, u64 nr)
{
	return min_t(u64, nr, QED_GROUP - first % QED_GROUP);
}

/* So many more clusters of a group are of this kind. Caller holds the lock. */
static void added(struct qed_space *space, enum qed_kind kind, u64 first,
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

/* Clusters of one group are of this kind from now on. Caller holds the lock. */
static void add_clusters(struct qed_space *space, enum qed_kind kind,
			 u64 first, unsigned int nr)
{
	struct qed_group *group = space->groups[first >> QED_GROUP_BITS];

	nr = change_bits(group->map[kind], first % QED_GROUP, nr, true);
	if (nr)
		added(space, kind, first, nr);
}

/* And not any more. Returns how many were. Caller holds the lock. */
static unsigned int remove_clusters(struct qed_space *space,
				    enum qed_kind kind, u64 first,
				    unsigned int nr)
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
		zeroes += remove_clusters(space, QED_ZERO, first, nr);
		remove_clusters(space, QED_FREE, first, nr);
	}
	run->zero = zeroes == run->nr;
	space->end_group = max_t(unsigned long, space->end_group,
				 ((end - 1) >> QED_GROUP_BITS) + 1);
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

/*----------------------------------------------------------------
 * Construction and growth
 *----------------------------------------------------------------
 */

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
		add_clusters(space, QED_FREE, space->nr, step);
		if (zero)
			add_clusters(space, QED_ZERO, space->nr, step);
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
		added(space, QED_FREE, first, nr_free);
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
		remove_clusters(space, QED_ZERO, first, nr);
		spin_unlock_irq(&space->lock);
		cond_resched();
	}
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
	const unsigned long *map = space->groups[g]->map[kind];
	unsigned int first;

	first = find_next_bit(map, QED_GROUP, space->cursor % QED_GROUP);
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
	const unsigned long *map = space->groups[g]->map[kind];
	unsigned int before = 0, i;
	int first = BITS_PER_LONG;

	for (i = 0; i < QED_GROUP_LONGS; i++) {
		first = run_in_word(map[i], space->table_nr, &before);
		if (first < BITS_PER_LONG)
			break;
	}
	/* It may end in the next group. */
	if (i == QED_GROUP_LONGS && before && g + 1 < space->nr_groups)
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
		add_clusters(space, QED_FREE, first, nr);
		if (zero)
			add_clusters(space, QED_ZERO, first, nr);
		if (undo)
			space->nr_allocated -= nr;
		spin_unlock_irqrestore(&space->lock, flags);
	}
}

void qed_space_free(struct qed_space *space, const struct qed_run *run)
{
	unuse(space, run, run->zero, false);
}

void qed_space_give_back(struct qed_space *space, const struct qed_run *run)
{
	unuse(space, run, false, true);
}

/* The same in [from, to), which is in one group. */
static bool take_unzeroed_step(struct qed_space *space, u64 from, u64 to,
			       u64 want, struct qed_run *run)
{
	unsigned int first = from % QED_GROUP, end = first + (to - from);
	struct qed_group *group;

	spin_lock_irq(&space->lock);
	group = space->groups[from >> QED_GROUP_BITS];
	if (group->nr[QED_FREE] > group->nr[QED_ZERO])
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

u64 qed_space_end(struct qed_space *space)
{
	u64 first = 0;
	unsigned int end = 0;

	do {
		spin_lock_irq(&space->lock);
		if (space->end_group) {
			first = (u64)(space->end_group - 1) << QED_GROUP_BITS;
			end = find_end(space->groups[space->end_group - 1],
				       QED_FREE,
				       in_group(first, space->nr - first));
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
	if (space->groups[g]->nr[QED_ZERO] == QED_GROUP)
		first = 0;
	else
		first = find_end(space->groups[g], QED_ZERO, end);
	spin_unlock_irq(&space->lock);
	return first;
}

void qed_space_last_zeroes(struct qed_space *space, struct qed_run *run)
{
	unsigned int first, end = 0;
	unsigned long g;

	spin_lock_irq(&space->lock);
	g = find_last_bit(space->some[QED_ZERO], space->nr_groups);
	if (g < space->nr_groups)
		end = find_last_bit(space->groups[g]->map[QED_ZERO],
				    QED_GROUP) + 1;
	spin_unlock_irq(&space->lock);
	run->zero = true;
	run->nr = 0;
	run->first = ((u64)g << QED_GROUP_BITS) + end;
	for (; end; end = !first && g-- ? QED_GROUP : 0) {
		first = zeroes_from(space, g, end);
		run->nr += end - first;
		run->first -= end - first;
		cond_resched();
	}
}

bool qed_space_is_used(struct qed_space *space, u64 cluster)
{
	unsigned long flags;
	bool used;

	spin_lock_irqsave(&space->lock, flags);
	used = cluster < space->nr &&
	       !test_bit(cluster % QED_GROUP,
			 space->groups[cluster >> QED_GROUP_BITS]->map[QED_FREE]);
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
