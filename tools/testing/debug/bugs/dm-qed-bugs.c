// SPDX-License-Identifier: GPL-2.0-only
/*
 * Bugs of each kind that the kernels for debugging have to find.
 *
 * insmod dm-qed-bugs.ko bug=overflow|lock_order|sleep|leak|race
 */

#include <linux/compiler.h>
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

static char *bug = "";
module_param(bug, charp, 0444);
MODULE_PARM_DESC(bug, "the one to make");

static void overflow(void)
{
	char *p = kmalloc(13, GFP_KERNEL);

	OPTIMIZER_HIDE_VAR(p);
	if (p)
		p[13] = 1;
	kfree(p);
}

static void lock_order(void)
{
	static DEFINE_MUTEX(a);
	static DEFINE_MUTEX(b);

	mutex_lock(&a);
	mutex_lock(&b);
	mutex_unlock(&b);
	mutex_unlock(&a);
	mutex_lock(&b);
	mutex_lock(&a);
	mutex_unlock(&a);
	mutex_unlock(&b);
}

static void sleep(void)
{
	static DEFINE_SPINLOCK(lock);

	spin_lock(&lock);
	msleep(20);
	spin_unlock(&lock);
}

static void leak(void)
{
	unsigned int i;

	/* more than one: some old copy of a pointer may be around */
	for (i = 0; i < 100; i++) {
		void *p = kmalloc(333, GFP_KERNEL);

		OPTIMIZER_HIDE_VAR(p);
	}
}

static unsigned long shared;

static int racer(void *data)
{
	unsigned long end = jiffies + 20 * HZ;

	while (time_before(jiffies, end)) {
		shared++;
		cond_resched();
	}
	complete(data);
	return 0;
}

static void race(void)
{
	DECLARE_COMPLETION_ONSTACK(done);
	struct task_struct *task = kthread_run(racer, &done, "racer");
	DECLARE_COMPLETION_ONSTACK(mine);

	racer(&mine);
	if (!IS_ERR(task))
		wait_for_completion(&done);
}

static const struct {
	const char *name;
	void (*make)(void);
} bugs[] = {
	{ "overflow", overflow },
	{ "lock_order", lock_order },
	{ "sleep", sleep },
	{ "leak", leak },
	{ "race", race },
};

static int __init bugs_init(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(bugs); i++) {
		if (!strcmp(bugs[i].name, bug)) {
			bugs[i].make();
			return 0;
		}
	}
	return -EINVAL;
}

static void __exit bugs_exit(void)
{
}

module_init(bugs_init);
module_exit(bugs_exit);

MODULE_DESCRIPTION("Bugs for the tests of dm-qed");
MODULE_LICENSE("GPL");
