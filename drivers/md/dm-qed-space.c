// SPDX-License-Identifier: GPL-2.0-only
/*
 * The space map of an image device, see dm-qed-space.h.
 */

#include <linux/bitmap.h>
#include <linux/err.h>
#include <linux/minmax.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/vmalloc.h>

#include "dm-qed-space.h"

/* Clusters that are looked at, one by one, with the lock held */
#define QED_STEP	(64 * BITS_PER_LONG)

struct qed_space {
	/*
	 * Protects everything below. Taken in bio completion context, and nests
	 * inside every other lock of the target.
	 */
	spinlock_t lock;

	u64 nr;
	u64 nr_free;
	u64 nr_zero;		/* of the free clusters */
	u64 nr_allocated;	/* ever, and not given back */
	u64 zeroed_from;	/* constant: limit of qed_space_install() */
	u64 cursor;		/* where next-fit goes on */
	unsigned long *used;
	unsigned long *zero;	/* of the free clusters: known to be zero */
};

unsigned long *qed_space_bitmap(u64 nr)
{
	u64 bytes = BITS_TO_LONGS(nr) * sizeof(unsigned long);

	/* A device may be larger than kvmalloc() or this machine can serve. */
	if (nr > ULONG_MAX - BITS_PER_LONG)
		return NULL;
	return __vmalloc(max_t(u64, bytes, sizeof(unsigned long)),
			 GFP_KERNEL | __GFP_ZERO | __GFP_NOWARN);
}

/* Like bitmap_set(), which takes 32-bit numbers only. */
static void set_bits(unsigned long *map, u64 first, u64 nr)
{
	for (; nr && first % BITS_PER_LONG; first++, nr--)
		__set_bit(first, map);
	for (; nr >= BITS_PER_LONG; first += BITS_PER_LONG, nr -= BITS_PER_LONG)
		map[first / BITS_PER_LONG] = ~0UL;
	for (; nr; first++, nr--)
		__set_bit(first, map);
}

struct qed_space *qed_space_create(u64 nr, u64 zeroed_from)
{
	struct qed_space *space = kzalloc(sizeof(*space), GFP_KERNEL);

	if (!space)
		return NULL;
	space->used = qed_space_bitmap(nr);
	space->zero = qed_space_bitmap(nr);
	if (!space->used || !space->zero) {
		qed_space_destroy(space);
		return NULL;
	}

	spin_lock_init(&space->lock);
	space->nr = nr;
	space->zeroed_from = min(nr, zeroed_from);
	space->nr_free = nr - space->zeroed_from;
	space->nr_zero = space->nr_free;
	/* With nothing known to be zero next-fit starts at the first hole. */
	space->cursor = space->nr_free ? space->zeroed_from : 0;
	set_bits(space->used, 0, space->zeroed_from);
	set_bits(space->zero, space->zeroed_from, space->nr_free);

	return space;
}

void qed_space_destroy(struct qed_space *space)
{
	if (!space)
		return;
	vfree(space->used);
	vfree(space->zero);
	kfree(space);
}

void qed_space_install(struct qed_space *space, const unsigned long *used)
{
	u64 first, end, bit;

	for (first = 0; first < space->zeroed_from; first = end) {
		end = min(first + QED_STEP, space->zeroed_from);
		spin_lock_irq(&space->lock);
		for (bit = first; bit < end; bit++) {
			if (!test_bit(bit, used)) {
				__clear_bit(bit, space->used);
				space->nr_free++;
			}
		}
		spin_unlock_irq(&space->lock);
		cond_resched();
	}
}

int qed_space_grow(struct qed_space *space, u64 nr)
{
	unsigned long *used, *zero;
	size_t bytes;

	if (nr <= space->nr)
		return 0;

	used = qed_space_bitmap(nr);
	zero = qed_space_bitmap(nr);
	if (!used || !zero) {
		vfree(used);
		vfree(zero);
		return -ENOMEM;
	}

	spin_lock_irq(&space->lock);
	bytes = BITS_TO_LONGS(space->nr) * sizeof(unsigned long);
	memcpy(used, space->used, bytes);
	memcpy(zero, space->zero, bytes);
	swap(used, space->used);
	swap(zero, space->zero);
	space->nr_free += nr - space->nr;
	space->nr = nr;
	spin_unlock_irq(&space->lock);

	vfree(used);
	vfree(zero);
	return 1;
}

/* Finds a run of clusters known to be zero in [from, to). */
static bool find_zero_run(struct qed_space *space, u64 from, u64 to, u64 least,
			  u64 want, struct qed_run *run)
{
	u64 first, end = from;

	run->zero = true;
	do {
		first = find_next_bit(space->zero, to, end);
		if (first >= to)
			return false;
		end = find_next_zero_bit(space->zero, min(to, first + want),
					 first);
	} while (end - first < least);
	run->first = first;
	run->nr = end - first;
	return true;
}

/* Finds a run of any clusters in [from, to). */
static bool find_run(struct qed_space *space, u64 from, u64 to, u64 least,
		     u64 want, struct qed_run *run)
{
	u64 first = from, bit;

	for (;;) {
		first = find_next_zero_bit(space->used, to, first);
		if (first >= to)
			return false;

		run->first = first;
		run->zero = test_bit(first, space->zero);
		for (bit = first + 1; bit < to && bit < first + want; bit++) {
			bool zero = test_bit(bit, space->zero);

			if (test_bit(bit, space->used))
				break;
			if (zero != run->zero) {
				if (bit - first >= least)
					break;
				run->zero = false;
			}
		}
		run->nr = bit - first;
		if (run->nr >= least)
			return true;
		first = bit;
	}
}

/* Caller holds the lock. */
static void use(struct qed_space *space, const struct qed_run *run)
{
	u64 bit;

	for (bit = run->first; bit < run->first + run->nr; bit++) {
		__set_bit(bit, space->used);
		space->nr_zero -= __test_and_clear_bit(bit, space->zero);
	}
	space->nr_free -= run->nr;
}

int qed_space_alloc(struct qed_space *space, u64 least, u64 want,
		    struct qed_run *run)
{
	unsigned long flags;
	int r = -ENOSPC;
	u64 again;

	spin_lock_irqsave(&space->lock, flags);
	/* The second try may overlap the first one: a run can span the cursor. */
	again = min(space->cursor + least, space->nr);
	if (space->nr_zero >= least &&
	    (find_zero_run(space, space->cursor, space->nr, least, want, run) ||
	     find_zero_run(space, 0, again, least, want, run)))
		goto found;
	if (space->nr_free < least ||
	    (!find_run(space, space->cursor, space->nr, least, want, run) &&
	     !find_run(space, 0, again, least, want, run)))
		goto out;
found:

	use(space, run);
	space->nr_allocated += run->nr;
	space->cursor = run->first + run->nr;
	r = 0;
out:
	spin_unlock_irqrestore(&space->lock, flags);
	return r;
}

/* Caller holds the lock. */
static void unuse(struct qed_space *space, const struct qed_run *run, bool zero)
{
	u64 bit;

	for (bit = run->first; bit < run->first + run->nr; bit++) {
		__clear_bit(bit, space->used);
		if (zero)
			__set_bit(bit, space->zero);
	}
	space->nr_free += run->nr;
	if (zero)
		space->nr_zero += run->nr;
}

void qed_space_free(struct qed_space *space, const struct qed_run *run)
{
	unsigned long flags;

	spin_lock_irqsave(&space->lock, flags);
	unuse(space, run, run->zero);
	spin_unlock_irqrestore(&space->lock, flags);
}

void qed_space_give_back(struct qed_space *space, const struct qed_run *run)
{
	unsigned long flags;

	spin_lock_irqsave(&space->lock, flags);
	unuse(space, run, false);
	space->nr_allocated -= run->nr;
	spin_unlock_irqrestore(&space->lock, flags);
}

bool qed_space_take_unzeroed(struct qed_space *space, u64 from, u64 to,
			     u64 want, struct qed_run *run)
{
	bool found = false;
	u64 end, step;

	/* In steps, for those that wait for the lock with interrupts off. */
	for (; from < to && !found; from = step) {
		step = min(from + QED_STEP, to);
		spin_lock_irq(&space->lock);
		while (from < step && (test_bit(from, space->used) ||
				       test_bit(from, space->zero)))
			from++;
		for (end = from; end < step && end < from + want; end++)
			if (test_bit(end, space->used) ||
			    test_bit(end, space->zero))
				break;
		found = end > from;
		if (found) {
			run->first = from;
			run->nr = end - from;
			run->zero = false;
			use(space, run);
		}
		spin_unlock_irq(&space->lock);
		cond_resched();
	}
	return found;
}

u64 qed_space_end(struct qed_space *space)
{
	u64 i = BITS_TO_LONGS(qed_space_nr(space)), stop;
	unsigned long word = 0;

	while (i && !word) {
		stop = i > QED_STEP / BITS_PER_LONG ?
		       i - QED_STEP / BITS_PER_LONG : 0;
		spin_lock_irq(&space->lock);
		while (i > stop && !word)
			word = space->used[--i];
		spin_unlock_irq(&space->lock);
		cond_resched();
	}
	return word ? i * BITS_PER_LONG + __fls(word) + 1 : 0;
}

bool qed_space_is_used(struct qed_space *space, u64 cluster)
{
	unsigned long flags;
	bool used;

	spin_lock_irqsave(&space->lock, flags);
	used = cluster < space->nr && test_bit(cluster, space->used);
	spin_unlock_irqrestore(&space->lock, flags);
	return used;
}

void qed_space_count(struct qed_space *space, u64 *used, u64 *allocated)
{
	unsigned long flags;

	spin_lock_irqsave(&space->lock, flags);
	*used = space->nr - space->nr_free;
	*allocated = space->nr_allocated;
	spin_unlock_irqrestore(&space->lock, flags);
}

u64 qed_space_nr(struct qed_space *space)
{
	return READ_ONCE(space->nr);
}

u64 qed_space_nr_free(struct qed_space *space)
{
	return READ_ONCE(space->nr_free);
}

u64 qed_space_nr_zero(struct qed_space *space)
{
	return READ_ONCE(space->nr_zero);
}
