// SPDX-License-Identifier: GPL-2.0-only
/*
 * Flushes of the image device that are under way, see dm-qed-flush.h.
 */

#include <linux/bits.h>

#include "dm-qed-flush.h"

/* Which ones each kind waits for */
static const unsigned int waits_for[QED_FLUSH_KINDS] = {
	[QED_FLUSH_GUEST] = BIT(QED_FLUSH_FUA) | BIT(QED_FLUSH_OWN),
	[QED_FLUSH_FUA] = BIT(QED_FLUSH_OWN),
	[QED_FLUSH_OWN] = BIT(QED_FLUSH_KINDS) - 1,
};

void qed_flushes_init(struct qed_flushes *flushes)
{
	enum qed_flush_kind kind;

	spin_lock_init(&flushes->lock);
	flushes->seq = 0;
	for (kind = 0; kind < QED_FLUSH_KINDS; kind++) {
		INIT_LIST_HEAD(&flushes->under_way[kind]);
		INIT_LIST_HEAD(&flushes->settling[kind]);
	}
}

void qed_flush_begin(struct qed_flushes *flushes, struct qed_flush *flush,
		     enum qed_flush_kind kind)
{
	unsigned long flags;

	flush->kind = kind;
	flush->under_way = true;
	spin_lock_irqsave(&flushes->lock, flags);
	flush->seq = ++flushes->seq;
	list_add_tail(&flush->list, &flushes->under_way[kind]);
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
	enum qed_flush_kind kind;

	for (kind = 0; kind < QED_FLUSH_KINDS; kind++)
		if (waits_for[flush->kind] & BIT(kind) &&
		    any_before(&flushes->under_way[kind], flush->seq))
			return true;
	return false;
}

/* Those at the head have waited longest. Caller holds the lock. */
static void take_settled(struct qed_flushes *flushes, enum qed_flush_kind kind,
			 struct list_head *settled)
{
	struct qed_flush *flush, *next;

	list_for_each_entry_safe(flush, next, &flushes->settling[kind], list) {
		if (has_to_wait(flushes, flush))
			break;
		list_move_tail(&flush->list, settled);
	}
}

bool qed_flush_end(struct qed_flushes *flushes, struct qed_flush *flush,
		   void (*settled)(struct qed_flush *flush))
{
	struct qed_flush *other, *next;
	enum qed_flush_kind kind;
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
		list_add_tail(&flush->list, &flushes->settling[flush->kind]);
	for (kind = 0; kind < QED_FLUSH_KINDS; kind++)
		take_settled(flushes, kind, &others);
	spin_unlock_irqrestore(&flushes->lock, flags);

	list_for_each_entry_safe(other, next, &others, list)
		other->settled(other);
	return waits;
}
