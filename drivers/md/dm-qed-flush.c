// SPDX-License-Identifier: GPL-2.0-only
/*
 * Flushes of the image device that are under way, see dm-qed-flush.h.
 */

#include "dm-qed-flush.h"

void qed_flushes_init(struct qed_flushes *flushes)
{
	unsigned int i;

	spin_lock_init(&flushes->lock);
	flushes->seq = 0;
	for (i = 0; i < 2; i++) {
		INIT_LIST_HEAD(&flushes->under_way[i]);
		INIT_LIST_HEAD(&flushes->settling[i]);
	}
}

void qed_flush_begin(struct qed_flushes *flushes, struct qed_flush *flush,
		     bool own)
{
	unsigned long flags;

	flush->own = own;
	flush->under_way = true;
	spin_lock_irqsave(&flushes->lock, flags);
	flush->seq = ++flushes->seq;
	list_add_tail(&flush->list, &flushes->under_way[own]);
	spin_unlock_irqrestore(&flushes->lock, flags);
}

/* Are any of these under way that began up to @seq? Caller holds the lock. */
static bool any_before(struct list_head *under_way, u64 seq)
{
	struct qed_flush *first;

	first = list_first_entry_or_null(under_way, struct qed_flush, list);
	return first && first->seq <= seq;
}

/* Caller holds the lock. */
static bool has_to_wait(struct qed_flushes *flushes, struct qed_flush *flush)
{
	return any_before(&flushes->under_way[true], flush->seq) ||
	       (flush->own &&
		any_before(&flushes->under_way[false], flush->seq));
}

/* Those at the head have waited longest. Caller holds the lock. */
static void take_settled(struct qed_flushes *flushes, bool own,
			 struct list_head *settled)
{
	struct qed_flush *flush, *next;

	list_for_each_entry_safe(flush, next, &flushes->settling[own], list) {
		if (has_to_wait(flushes, flush))
			break;
		list_move_tail(&flush->list, settled);
	}
}

bool qed_flush_end(struct qed_flushes *flushes, struct qed_flush *flush,
		   void (*settled)(struct qed_flush *flush))
{
	struct qed_flush *other, *next;
	unsigned long flags;
	LIST_HEAD(others);
	bool waits;

	if (!flush->under_way)
		return false;
	flush->under_way = false;
	spin_lock_irqsave(&flushes->lock, flags);
	list_del(&flush->list);
	flush->seq = flushes->seq;
	flush->settled = settled;
	waits = settled && has_to_wait(flushes, flush);
	if (waits)
		list_add_tail(&flush->list, &flushes->settling[flush->own]);
	take_settled(flushes, false, &others);
	take_settled(flushes, true, &others);
	spin_unlock_irqrestore(&flushes->lock, flags);

	list_for_each_entry_safe(other, next, &others, list)
		other->settled(other);
	return waits;
}
