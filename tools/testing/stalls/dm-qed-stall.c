// SPDX-License-Identifier: GPL-2.0-only
/*
 * Stalls inside dm-qed, see dm-qed-stall.h. Parameters of the module say where, how
 * often and how long, and tell how often the code has come there.
 */

#include <linux/atomic.h>
#include <linux/delay.h>
#include <linux/errno.h>
#include <linux/hash.h>
#include <linux/jiffies.h>
#include <linux/kernel.h>
#include <linux/minmax.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/preempt.h>
#include <linux/random.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/srcu.h>
#include <linux/string.h>
#include <linux/sysfs.h>
#include <linux/wait.h>

#include "dm-qed-stall.h"

/* The longest time with a processor that does nothing else */
#define MAX_SPIN_US	1000

static const char * const names[] = { QED_STALL_NAMES };
static atomic_t passed[ARRAY_SIZE(names)];
static atomic_t stalled[ARRAY_SIZE(names)];
/* None at first: a module without parameters stalls everywhere. */
static bool left_out[ARRAY_SIZE(names)];

/* Patterns with spaces between them, as they were given */
static char patterns[256] = "*";

/*
 * Who has just stalled does so again, at the next of these points, with an even chance:
 * what takes two of them in a row would hardly ever happen. By hash; one that is lost
 * does no harm.
 */
static struct task_struct *again[64];

static unsigned int chance = 20;
/* Each of the points stalls once, until others are chosen, and then no more */
static bool once;
static atomic_t choices;
static DECLARE_WAIT_QUEUE_HEAD(choice_wait);
static unsigned int min_us;
static unsigned int max_us = 3000;

DEFINE_SRCU(qed_stall_srcu);

static bool may_sleep(void)
{
	if (IS_ENABLED(CONFIG_DEBUG_LOCK_ALLOC) && rcu_read_lock_held())
		return false;
	return !preempt_count() && !irqs_disabled() && !rcu_preempt_depth();
}

static bool is_to_stall(void)
{
	struct task_struct **last = &again[hash_ptr(current, 6)];
	unsigned int of_1000 = READ_ONCE(chance);
	bool stalls;

	if (READ_ONCE(*last) == current)
		of_1000 = max(of_1000, 500U);
	stalls = get_random_u32() % 1000 < of_1000;
	WRITE_ONCE(*last, stalls ? current : NULL);
	return stalls;
}

static void stall_once(enum qed_stall_point point)
{
	int choice = atomic_read(&choices);

	/* Who chooses others does so before it counts. */
	if (!may_sleep() || xchg(&left_out[point], true))
		return;
	atomic_inc(&stalled[point]);
	wait_event_timeout(choice_wait, atomic_read(&choices) != choice,
			   usecs_to_jiffies(READ_ONCE(max_us)));
}

void qed_stall(enum qed_stall_point point)
{
	unsigned int least = READ_ONCE(min_us), most = READ_ONCE(max_us), us;

	atomic_inc(&passed[point]);
	if (READ_ONCE(left_out[point]) || least > most || !is_to_stall())
		return;
	if (READ_ONCE(once)) {
		stall_once(point);
		return;
	}

	atomic_inc(&stalled[point]);
	us = least + get_random_u32() % (most - least + 1);
	if (may_sleep())
		usleep_range(us, us + us / 8 + 1);
	else
		udelay(min_t(unsigned int, us, MAX_SPIN_US));
}

/* A name, or the beginning of some and a star; not every kernel has glob_match(). */
static bool matches(const char *pattern, const char *name)
{
	size_t length = strcspn(pattern, "*");

	return !strncmp(pattern, name, length) &&
	       (pattern[length] || !name[length]);
}

static bool choose(const char *pattern)
{
	bool any = false;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(names); i++) {
		if (!matches(pattern, names[i]))
			continue;
		WRITE_ONCE(left_out[i], false);
		any = true;
	}
	return any;
}

static int set_patterns(const char *value, const struct kernel_param *kp)
{
	char words[sizeof(patterns)], *rest = words, *word;

	if (strscpy(words, value, sizeof(words)) < 0)
		return -EINVAL;
	memset(left_out, true, sizeof(left_out));
	while ((word = strsep(&rest, "\n ")))
		if (*word && !choose(word))
			return -ENOENT;
	strscpy(patterns, value, sizeof(patterns));
	atomic_inc(&choices);
	wake_up_all(&choice_wait);
	return 0;
}

static int get_patterns(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%s\n", strim(patterns));
}

/* Whatever is written there sets all counters to zero. */
static int reset_points(const char *value, const struct kernel_param *kp)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(names); i++) {
		atomic_set(&passed[i], 0);
		atomic_set(&stalled[i], 0);
	}
	return 0;
}

static int get_points(char *buffer, const struct kernel_param *kp)
{
	unsigned int i;
	int len = 0;

	for (i = 0; i < ARRAY_SIZE(names); i++)
		len += sysfs_emit_at(buffer, len, "%s %d %d\n", names[i],
				     atomic_read(&passed[i]),
				     atomic_read(&stalled[i]));
	return len;
}

static const struct kernel_param_ops pattern_ops = {
	.set = set_patterns,
	.get = get_patterns,
};

static const struct kernel_param_ops point_ops = {
	.set = reset_points,
	.get = get_points,
};

module_param_cb(stall, &pattern_ops, NULL, 0644);
MODULE_PARM_DESC(stall, "Patterns of the points where to stall");
module_param_cb(stall_points, &point_ops, NULL, 0644);
MODULE_PARM_DESC(stall_points, "All points, how often they were passed, how often stalled");
module_param_named(stall_chance, chance, uint, 0644);
MODULE_PARM_DESC(stall_chance, "Of 1000 passes so many stall");
module_param_named(stall_once, once, bool, 0644);
MODULE_PARM_DESC(stall_once, "Each of the points stalls once, until the next write to stall");
module_param_named(stall_min_us, min_us, uint, 0644);
MODULE_PARM_DESC(stall_min_us, "The shortest stall, in microseconds");
module_param_named(stall_max_us, max_us, uint, 0644);
MODULE_PARM_DESC(stall_max_us, "The longest stall, in microseconds");
