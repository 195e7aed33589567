/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Measures for how long a lock is held, and counts what is looked at meanwhile: to
 * be included before a source that takes one lock with interrupts off.
 */

#include <kunit/test.h>
#include <linux/minmax.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/timekeeping.h>

#define LONGEST		50000	/* ns for which the lock may be held */

/* What the holds of the lock were like since measure() */
static struct {
	unsigned long holds, late;		/* late: longer than LONGEST */
	unsigned long words, most_words;	/* looked at, in this hold, in one */
	u64 start, longest;			/* ns */
} held;

static void measure(void)
{
	memset(&held, 0, sizeof(held));
}

static void hold_begin(void)
{
	held.words = 0;
	held.start = ktime_get_ns();
}

static void hold_end(void)
{
	u64 ns = ktime_get_ns() - held.start;

	held.longest = max(held.longest, ns);
	held.late += ns > LONGEST;
	held.most_words = max(held.most_words, held.words);
	held.holds++;
}

static unsigned long lock_irqsave(spinlock_t *lock)
{
	unsigned long flags;

	spin_lock_irqsave(lock, flags);
	hold_begin();
	return flags;
}

static void unlock_irqrestore(spinlock_t *lock, unsigned long flags)
{
	hold_end();
	spin_unlock_irqrestore(lock, flags);
}

static void lock_irq(spinlock_t *lock)
{
	spin_lock_irq(lock);
	hold_begin();
}

static void unlock_irq(spinlock_t *lock)
{
	hold_end();
	spin_unlock_irq(lock);
}

/*
 * The best of some repetitions counts: whatever else the host does only makes a hold
 * longer. It does so in one of some hundred holds, so among many a few do not count.
 */
struct best {
	unsigned long holds, late, words;
	u64 longest;
};

#define BEST	{ .late = ULONG_MAX, .longest = U64_MAX }

static void best_add(struct best *best)
{
	best->holds = held.holds;
	best->late = min(best->late, held.late);
	best->longest = min(best->longest, held.longest);
	best->words = max(best->words, held.most_words);
}

static void best_expect(struct kunit *test, const struct best *best,
			unsigned long allowed_words, const char *what)
{
	KUNIT_EXPECT_LE_MSG(test, best->late, best->holds / 20, "%s", what);
	KUNIT_EXPECT_LE_MSG(test, best->words, allowed_words, "%s", what);
	kunit_info(test, "%s: %lu holds of %llu ns at most, %lu late, %lu words",
		   what, best->holds, best->longest, best->late, best->words);
}

#undef spin_lock_irqsave
#define spin_lock_irqsave(lock, flags)	({ flags = lock_irqsave(lock); })
#define spin_unlock_irqrestore		unlock_irqrestore
#define spin_lock_irq			lock_irq
#define spin_unlock_irq			unlock_irq
