// SPDX-License-Identifier: GPL-2.0-only
/*
 * The walk of a check through all tables, see dm-qed-walk.h and dm-qed-check.h.
 */

#include <linux/device-mapper.h>
#include <linux/err.h>
#include <linux/sched.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>

#include "dm-qed-header.h"
#include "dm-qed-space-build.h"
#include "dm-qed-table.h"
#include "dm-qed-walk.h"

#define DM_MSG_PREFIX "qed"

/*
 * Of all devices. Not the workqueue of the scan: a walk may have to wait for a commit, which
 * waits for what is on that, and there may be a single worker. Nobody waits for a walk to
 * begin, so it needs none of its own.
 */
static struct workqueue_struct *walk_wq;

/* Let the walk pass an L2 block, or a table that is not there. */
static int check_block_nr(struct qed_meta *meta, u64 nr)
{
	u64 index = nr >> table_blocks_bits(meta);
	struct qed_block *block;

	block = qed_block_get(meta, nr << QED_BLOCK_BITS, false);
	if (IS_ERR(block))
		return PTR_ERR(block);

	spin_lock_irq(&meta->cache.lock);
	if (block) {
		if (nr == index << table_blocks_bits(meta))
			qed_see_table(meta, index);
		qed_see_entries(meta, block, nr << QED_BLOCK_BITS,
				QED_BLOCK_ENTRIES);
		meta->check.next = nr + 1;
	} else if (l1_entry(meta, index) == QED_ENTRY_UNALLOCATED) {
		meta->check.next = (index + 1) << table_blocks_bits(meta);
	}
	/* Otherwise a table has just been made: the same again. */
	spin_unlock_irq(&meta->cache.lock);

	if (block)
		qed_block_put(meta, block);
	return 0;
}

static void check_end(struct qed_meta *meta, enum qed_check_state state)
{
	unsigned long *seen;

	spin_lock_irq(&meta->cache.lock);
	seen = meta->check.seen;
	meta->check.seen = NULL;
	meta->check.state = state;
	spin_unlock_irq(&meta->cache.lock);
	vfree(seen);
}

static void check_walk(struct work_struct *work)
{
	struct qed_meta *meta = container_of(work, struct qed_meta, check_work);
	int r = 0;

	while (meta->check.next < meta->check.blocks && !r) {
		cond_resched();
		r = READ_ONCE(meta->scan_stop) ? -EINTR :
		    check_block_nr(meta, meta->check.next);
	}
	if (!r) {
		queue_work(meta->reclaim.wq, &meta->result_work);
		return;
	}
	check_end(meta, QED_CHECK_NONE);
	if (r != -EINTR) {
		DMWARN("%s: the check cannot go on: error %d",
		       meta->client->name, r);
		meta->client->event(meta->client);
	}
}

/*
 * Nothing is reclaimed now, so everything that is in use is either referenced,
 * about to be, or not yet free again.
 */
static void check_result(struct work_struct *work)
{
	struct qed_meta *meta = container_of(work, struct qed_meta, result_work);
	struct qed_check *check = &meta->check;
	u64 used, allocated, accounted, defects;
	bool grown;

	spin_lock_irq(&meta->cache.lock);
	qed_space_count(meta->space, &used, &allocated);
	accounted = meta->nr_others + check->nr_seen +
		    (allocated - meta->nr_entered) +
		    qed_reclaim_nr(&meta->reclaim);
	check->leaks = used > accounted ? used - accounted : 0;
	grown = qed_space_nr(meta->space) != check->nr;
	spin_unlock_irq(&meta->cache.lock);

	defects = atomic64_read(&check->defects.nr);
	check_end(meta, grown ? QED_CHECK_NONE : QED_CHECK_DONE);
	if (grown)
		DMWARN("%s: the check is void: the image device has grown",
		       meta->client->name);
	else
		DMINFO("%s: checked: %llu leaked clusters, %llu defects",
		       meta->client->name, check->leaks, defects);
	if (defects)
		qed_meta_fail(meta, "the check has found defects");
	meta->client->event(meta->client);
}

int qed_meta_check(struct qed_meta *meta)
{
	struct qed_check *check = &meta->check;
	unsigned long *seen;
	int r = 0;
	u64 nr;

	if (!meta->space)
		return -EROFS;
	nr = qed_space_nr(meta->space);
	seen = qed_space_bitmap(nr);
	if (!seen)
		return -ENOMEM;

	spin_lock_irq(&meta->cache.lock);
	if (check->state == QED_CHECK_RUNNING || !meta->known)
		r = -EBUSY;
	else if (meta->frozen)
		r = -EROFS;
	if (!r) {
		memset(check, 0, sizeof(*check));
		check->state = QED_CHECK_RUNNING;
		check->space = meta->space;
		check->seen = seen;
		check->nr = nr;
		check->blocks = qed_guest_tables(&meta->geo) <<
				table_blocks_bits(meta);
		check->defects.name = meta->client->name;
	}
	spin_unlock_irq(&meta->cache.lock);

	if (r)
		vfree(seen);
	else
		queue_work(walk_wq, &meta->check_work);
	return r;
}

void qed_walk_init(struct qed_meta *meta)
{
	INIT_WORK(&meta->check_work, check_walk);
	INIT_WORK(&meta->result_work, check_result);
}

void qed_walk_stop(struct qed_meta *meta)
{
	/* Without memory for a worker it may not have begun, and is not waited for. */
	if (cancel_work_sync(&meta->check_work))
		check_end(meta, QED_CHECK_NONE);
	flush_work(&meta->result_work);
}

int qed_walk_module_init(void)
{
	walk_wq = alloc_workqueue("dm-qed-check", WQ_UNBOUND, 0);
	return walk_wq ? 0 : -ENOMEM;
}

void qed_walk_module_exit(void)
{
	destroy_workqueue(walk_wq);
}
