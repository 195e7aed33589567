// SPDX-License-Identifier: GPL-2.0-only
/*
 * Free clusters that are given to the image device, see dm-qed-trim.h.
 */

#include <linux/device-mapper.h>
#include <linux/minmax.h>

#include "dm-qed-trim.h"

#define DM_MSG_PREFIX "qed"

/* The most that is taken in a step */
#define QED_TRIM_RUNS		256
#define QED_TRIM_CLUSTERS	4096

/* Clusters to take in a step: others may want some meanwhile. */
static u64 step_clusters(struct qed_reclaim *reclaim)
{
	return clamp_t(u64, qed_space_nr_free(reclaim->space) / 2, 1,
		       QED_TRIM_CLUSTERS);
}

/*----------------------------------------------------------------
 * All of them
 *----------------------------------------------------------------
 */

static void trim_some(struct qed_trim *trim, struct qed_drop *drop)
{
	struct qed_reclaim *reclaim = trim->reclaim;
	u64 next = qed_reclaim_take(reclaim, drop, trim->next, trim->end,
				    step_clusters(reclaim));

	spin_lock_irq(&trim->lock);
	trim->next = next;
	spin_unlock_irq(&trim->lock);
	qed_reclaim_zero_taken(reclaim, drop, QED_ZERO_NONE);
}

/* Returns whether there is more to do. */
static bool trim_step(struct qed_trim *trim)
{
	struct qed_drop *drop = qed_drop_alloc(QED_TRIM_RUNS);
	struct qed_reclaim *reclaim = trim->reclaim;
	bool more = false;

	if (drop)
		trim_some(trim, drop);
	else
		DMWARN("%s: no memory to trim", reclaim->name);
	if (drop && reclaim->client->may_write(reclaim))
		more = trim->next < trim->end;

	spin_lock_irq(&trim->lock);
	/* What else there is to reclaim comes before the next step. */
	more = more && qed_reclaim_queue(reclaim, &trim->work);
	trim->trimming = more;
	spin_unlock_irq(&trim->lock);
	return more;
}

static void do_trim(struct work_struct *work)
{
	struct qed_trim *trim = container_of(work, struct qed_trim, work);
	bool more;

	mutex_lock(&trim->reclaim->turn);
	more = trim_step(trim);
	mutex_unlock(&trim->reclaim->turn);
	if (more)
		return;
	trim->client->end(trim);
	trim->client->trimmed(trim);
}

/* Returns false if it is being done, or there is a pause. */
static bool trim_begin(struct qed_trim *trim)
{
	u64 end = qed_space_nr(trim->reclaim->space);
	bool begun = false;

	spin_lock_irq(&trim->lock);
	if (!trim->trimming) {
		trim->next = 0;
		trim->end = end;
		begun = qed_reclaim_queue(trim->reclaim, &trim->work);
		trim->trimming = begun;
	}
	spin_unlock_irq(&trim->lock);
	return begun;
}

int qed_trim_all(struct qed_trim *trim)
{
	int r;

	if (qed_zero_way(&trim->reclaim->zeroer) == QED_ZERO_NONE)
		return -EOPNOTSUPP;
	r = trim->client->begin(trim);
	if (r)
		return r;
	if (trim_begin(trim))
		return 0;
	trim->client->end(trim);
	return -EBUSY;
}

bool qed_trim_state(struct qed_trim *trim, u64 *next, u64 *end)
{
	unsigned long flags;
	bool trimming;

	spin_lock_irqsave(&trim->lock, flags);
	trimming = trim->trimming;
	*next = trim->next;
	*end = trim->end;
	spin_unlock_irqrestore(&trim->lock, flags);
	return trimming;
}

/*----------------------------------------------------------------
 * Some, ahead
 *----------------------------------------------------------------
 */

/* Number of free clusters that should be zero, too. */
static u64 ahead_wanted(struct qed_trim *trim)
{
	struct qed_space *space = trim->reclaim->space;
	u64 zero = qed_space_nr_zero(space);
	u64 goal = min(trim->ahead, qed_space_nr_free(space));

	return zero < goal ? goal - zero : 0;
}

/* Returns false if there is nothing more to do, or nothing can be done. */
static bool ahead_some(struct qed_trim *trim, enum qed_zero_way way)
{
	struct qed_reclaim *reclaim = trim->reclaim;
	u64 most = min(ahead_wanted(trim), step_clusters(reclaim));
	struct qed_drop *drop = qed_drop_alloc(QED_TRIM_RUNS);
	u64 nr = qed_space_nr(reclaim->space), next, zeroed;

	if (!drop)
		return false;
	next = qed_reclaim_take(reclaim, drop, trim->ahead_next, nr, most);
	if (!drop->nr)
		next = qed_reclaim_take(reclaim, drop, 0, nr, most);
	trim->ahead_next = next;
	zeroed = qed_reclaim_zero_taken(reclaim, drop, way);
	WRITE_ONCE(trim->nr_ahead, trim->nr_ahead + zeroed);
	return zeroed;
}

static void queue_ahead(struct qed_trim *trim)
{
	if (ahead_wanted(trim) &&
	    qed_zero_own_way(&trim->reclaim->zeroer) != QED_ZERO_NONE)
		qed_reclaim_queue(trim->reclaim, &trim->ahead_work);
}

static void ahead_step(struct qed_trim *trim)
{
	enum qed_zero_way way = qed_zero_own_way(&trim->reclaim->zeroer);
	bool more;

	/* It may have been refused meanwhile. */
	if (way == QED_ZERO_NONE || !trim->client->begin_ahead(trim))
		return;
	more = ahead_some(trim, way);
	trim->client->end(trim);
	/* What else there is to reclaim comes before the next step. */
	if (more)
		queue_ahead(trim);
}

static void do_ahead(struct work_struct *work)
{
	struct qed_trim *trim = container_of(work, struct qed_trim, ahead_work);

	mutex_lock(&trim->reclaim->turn);
	ahead_step(trim);
	mutex_unlock(&trim->reclaim->turn);
}

/* What has failed, too, is tried again for new clusters only: an idle image comes to rest. */
void qed_trim_ahead(struct qed_trim *trim)
{
	u64 used, allocated;

	if (!trim->ahead)
		return;
	qed_space_count(trim->reclaim->space, &used, &allocated);
	if (allocated == trim->ahead_allocated)
		return;
	trim->ahead_allocated = allocated;
	queue_ahead(trim);
}

/*----------------------------------------------------------------
 * Construction
 *----------------------------------------------------------------
 */

void qed_trim_init(struct qed_trim *trim, struct qed_reclaim *reclaim,
		   const struct qed_trim_client *client, u64 ahead)
{
	trim->reclaim = reclaim;
	trim->client = client;
	trim->ahead = ahead;
	spin_lock_init(&trim->lock);
	INIT_WORK(&trim->work, do_trim);
	INIT_WORK(&trim->ahead_work, do_ahead);
}

void qed_trim_start(struct qed_trim *trim)
{
	trim->ahead_next = 0;
	trim->ahead_allocated = 0;
	WRITE_ONCE(trim->nr_ahead, 0);
}

void qed_trim_pause(struct qed_trim *trim)
{
	qed_reclaim_pause(trim->reclaim);
	flush_work(&trim->work);
	flush_work(&trim->ahead_work);
}
