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

/* Clusters handled with the lock held when a scan is installed */
#define QED_INSTALL_STEP	(64 * BITS_PER_LONG)

struct qed_space {
	/*
	 * Protects everything below. Taken in bio completion context, and nests
	 * inside every other lock of the target.
	 */
	spinlock_t lock;

	u64 nr;
	u64 nr_free;
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
		end = min(first + QED_INSTALL_STEP, space->zeroed_from);
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

/* Finds a run in [from, to). */
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

int qed_space_alloc(struct qed_space *space, u64 least, u64 want,
		    struct qed_run *run)
{
	unsigned long flags;
	int r = -ENOSPC;
	u64 bit;

	spin_lock_irqsave(&space->lock, flags);
	if (space->nr_free < least)
		goto out;
	/* The second try may overlap the first one: a run can span the cursor. */
	if (!find_run(space, space->cursor, space->nr, least, want, run) &&
	    !find_run(space, 0, min(space->cursor + least, space->nr), least,
		      want, run))
		goto out;

	for (bit = run->first; bit < run->first + run->nr; bit++) {
		__set_bit(bit, space->used);
		__clear_bit(bit, space->zero);
	}
	space->nr_free -= run->nr;
	space->cursor = run->first + run->nr;
	r = 0;
out:
	spin_unlock_irqrestore(&space->lock, flags);
	return r;
}

void qed_space_free(struct qed_space *space, u64 first, u64 nr)
{
	unsigned long flags;
	u64 bit;

	spin_lock_irqsave(&space->lock, flags);
	for (bit = first; bit < first + nr; bit++)
		__clear_bit(bit, space->used);
	space->nr_free += nr;
	spin_unlock_irqrestore(&space->lock, flags);
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

u64 qed_space_nr(struct qed_space *space)
{
	return READ_ONCE(space->nr);
}

u64 qed_space_nr_free(struct qed_space *space)
{
	return READ_ONCE(space->nr_free);
}
