// SPDX-License-Identifier: GPL-2.0-only
/*
 * Modes, and bios that wait for a commit or for space, see dm-qed-mode.h.
 */

#include <linux/device-mapper.h>
#include <linux/jiffies.h>
#include <linux/workqueue.h>

#include "dm-qed-mode.h"

#define DM_MSG_PREFIX "qed"

/* Longest wait for space, in seconds; 0: no end */
#define QED_NO_SPACE_TIMEOUT		60

static const char * const mode_names[] = {
	[QED_MODE_RW] = "rw",
	[QED_MODE_OUT_OF_SPACE] = "out_of_space",
	[QED_MODE_RO] = "ro",
	[QED_MODE_FAIL] = "fail",
};

static unsigned int no_space_timeout_secs = QED_NO_SPACE_TIMEOUT;

/*----------------------------------------------------------------
 * Modes
 *----------------------------------------------------------------
 */

const char *qed_mode_name(enum qed_mode mode)
{
	return mode_names[mode];
}

void qed_retry_bios(struct qed *qed, struct bio_list *bios)
{
	struct bio *bio;

	while ((bio = bio_list_pop(bios)))
		queue_work(qed->wq, &bio_io(bio)->work);
}

/* Caller holds the lock. */
static struct bio_list take_nospace(struct qed *qed)
{
	struct bio_list bios = qed->nospace_bios;

	bio_list_init(&qed->nospace_bios);
	qed->nr_nospace = 0;
	return bios;
}

/* Caller says whether the image device itself may have space now. */
static void __retry_nospace(struct qed *qed, bool lower)
{
	struct bio_list bios;
	unsigned long flags;
	bool commit;

	spin_lock_irqsave(&qed->lock, flags);
	bios = take_nospace(qed);
	qed->nospace_seq++;
	if (lower)
		WRITE_ONCE(qed->lower_full, false);
	commit = qed->commit_full;
	WRITE_ONCE(qed->commit_full, false);
	spin_unlock_irqrestore(&qed->lock, flags);

	qed_retry_bios(qed, &bios);
	if (commit)
		mod_delayed_work(qed->commit_wq, &qed->commit_work, 0);
}

void qed_retry_nospace(struct qed *qed)
{
	__retry_nospace(qed, true);
}

int qed_grow(struct qed *qed)
{
	u64 nr;
	int r = qed_meta_see_growth(qed->meta, &nr);

	if (r)
		return r;
	/* Who finds that it has grown already finds that the writes have been told, too. */
	mutex_lock(&qed->mode_mutex);
	r = qed_meta_grow(qed->meta, nr);
	if (r > 0) {
		DMINFO("%s: the image device has %llu clusters now",
		       qed_name(qed), qed_space_nr(qed_meta_space(qed->meta)));
		qed_retry_nospace(qed);
	}
	mutex_unlock(&qed->mode_mutex);
	return r;
}

/* A guest can go in and out of out_of_space as often as it likes. */
static void report_mode(struct qed *qed, enum qed_mode mode)
{
	const char *from = mode_names[qed->mode], *to = mode_names[mode];

	if (mode < QED_MODE_RO)
		DMINFO_LIMIT("%s: switching from mode %s to %s", qed_name(qed),
			     from, to);
	else
		DMINFO("%s: switching from mode %s to %s", qed_name(qed), from,
		       to);
}

/*
 * The way back from a worse mode leads over a load of the metadata, except from
 * out of space. Returns whether the mode has changed.
 */
static bool __set_mode(struct qed *qed, enum qed_mode mode, bool load)
{
	lockdep_assert_held(&qed->mode_mutex);

	if (qed->mode == mode ||
	    (!load && qed->mode >= QED_MODE_RO && mode < qed->mode))
		return false;

	if (!load)
		report_mode(qed, mode);
	WRITE_ONCE(qed->mode, mode);
	WRITE_ONCE(qed->no_space_expired, false);
	return true;
}

/* Who waits for space fails after some time. */
static void limit_wait(struct qed *qed)
{
	unsigned int timeout = READ_ONCE(no_space_timeout_secs);

	lockdep_assert_held(&qed->mode_mutex);

	if (timeout && !qed->features.error_if_no_space)
		queue_delayed_work(qed->commit_wq, &qed->no_space_work,
				   min_t(u64, (u64)timeout * HZ, INT_MAX));
}

void qed_set_mode(struct qed *qed, enum qed_mode mode, bool load)
{
	bool changed;

	mutex_lock(&qed->mode_mutex);
	changed = __set_mode(qed, mode, load);
	/* With the mutex held, for it may change again at once. */
	if (changed && mode == QED_MODE_OUT_OF_SPACE)
		limit_wait(qed);
	else if (changed)
		cancel_delayed_work(&qed->no_space_work);
	mutex_unlock(&qed->mode_mutex);
	if (!changed)
		return;

	/* Those that waited in the old mode have to see the new one. */
	if (mode != QED_MODE_OUT_OF_SPACE)
		qed_retry_nospace(qed);
	dm_table_event(qed->ti->table);
}

/* Those that wait try once more, and fail. */
static void do_no_space(struct work_struct *work)
{
	struct qed *qed = container_of(to_delayed_work(work), struct qed,
				       no_space_work);

	bool expired;

	mutex_lock(&qed->mode_mutex);
	expired = qed->mode == QED_MODE_OUT_OF_SPACE;
	WRITE_ONCE(qed->no_space_expired, expired);
	mutex_unlock(&qed->mode_mutex);
	if (!expired)
		return;
	DMWARN("%s: no space for %u seconds: writes that need it fail now",
	       qed_name(qed), READ_ONCE(no_space_timeout_secs));
	__retry_nospace(qed, false);
}

void qed_restart_wait(struct qed *qed)
{
	mutex_lock(&qed->mode_mutex);
	WRITE_ONCE(qed->no_space_expired, false);
	if (qed->mode == QED_MODE_OUT_OF_SPACE)
		limit_wait(qed);
	mutex_unlock(&qed->mode_mutex);
}

/* Is a write to fail, rather than wait for space? */
static bool fails_without_space(struct qed *qed)
{
	return qed->features.error_if_no_space ||
	       READ_ONCE(qed->no_space_expired);
}

static bool is_low(struct qed *qed)
{
	return qed_meta_nr_free(qed->meta) < qed->features.low_water;
}

void qed_look_at_low_water(struct qed *qed)
{
	bool low, event;

	if (READ_ONCE(qed->scanning))
		return;
	low = is_low(qed);
	/* Nobody has to be told who has made it larger already. */
	if (low && qed_grow(qed) > 0)
		low = is_low(qed);
	if (low == READ_ONCE(qed->low_water_reached))
		return;

	mutex_lock(&qed->mode_mutex);
	event = low && !qed->low_water_reached;
	WRITE_ONCE(qed->low_water_reached, low);
	mutex_unlock(&qed->mode_mutex);
	if (event) {
		DMWARN_LIMIT("%s: less than %llu clusters are free",
			     qed_name(qed), qed->features.low_water);
		dm_table_event(qed->ti->table);
	}
}

/*----------------------------------------------------------------
 * Callbacks of the metadata
 *----------------------------------------------------------------
 */

static struct qed *client_to_qed(struct qed_meta_client *client)
{
	return container_of(client, struct qed, client);
}

void qed_set_lost(struct qed *qed)
{
	unsigned long flags;

	spin_lock_irqsave(&qed->lock, flags);
	WRITE_ONCE(qed->lost, true);
	WRITE_ONCE(qed->losses, qed->losses + 1);
	qed->told = false;
	spin_unlock_irqrestore(&qed->lock, flags);
}

void qed_lose_writes(struct qed *qed)
{
	qed_set_lost(qed);
	qed_meta_flush_failed(qed->meta);
}

void qed_tell_lost(struct qed *qed, unsigned int losses, bool own)
{
	unsigned long flags;

	spin_lock_irqsave(&qed->lock, flags);
	if (own)
		WRITE_ONCE(qed->lost, true);
	if (losses == qed->losses && !qed->suspending)
		qed->told = true;
	spin_unlock_irqrestore(&qed->lock, flags);
}

void qed_set_suspending(struct qed *qed, bool suspending)
{
	unsigned long flags;

	spin_lock_irqsave(&qed->lock, flags);
	qed->suspending = suspending;
	spin_unlock_irqrestore(&qed->lock, flags);
}

static void meta_failed(struct qed_meta_client *client, const char *why,
			bool lost)
{
	struct qed *qed = client_to_qed(client);

	DMERR("%s: %s: going read-only", qed_name(qed), why);
	if (lost)
		qed_set_lost(qed);
	qed_set_mode(qed, QED_MODE_RO, false);
}

static void meta_want_commit(struct qed_meta_client *client, bool now)
{
	struct qed *qed = client_to_qed(client);

	if (now)
		mod_delayed_work(qed->commit_wq, &qed->commit_work, 0);
	else
		queue_delayed_work(qed->commit_wq, &qed->commit_work,
				   msecs_to_jiffies(qed->features.commit_ms));
}

static void meta_flush_failed(struct qed_meta_client *client)
{
	qed_set_lost(client_to_qed(client));
}

static void meta_more_space(struct qed_meta_client *client)
{
	struct qed *qed = client_to_qed(client);

	qed_retry_nospace(qed);
	/* A commit may have been made by others than do_commit(), which has to know. */
	if (READ_ONCE(qed->commit_short))
		mod_delayed_work(qed->commit_wq, &qed->commit_work, 0);
}

/*
 * Who has looked for a cluster before, and not found one, sees that the scan goes on, and
 * waits, or that it is to look again.
 */
static void meta_scanned(struct qed_meta_client *client)
{
	struct qed *qed = client_to_qed(client);
	struct bio_list bios;

	/* Somebody may have told of that before. */
	if (is_writable(qed))
		qed_grow(qed);

	spin_lock_irq(&qed->lock);
	WRITE_ONCE(qed->scanning, false);
	bios = take_nospace(qed);
	qed->nospace_seq++;
	spin_unlock_irq(&qed->lock);

	qed_retry_bios(qed, &bios);
	if (is_writable(qed))
		qed_check_low_water(qed);
	dm_table_event(qed->ti->table);
}

void qed_expect_scan(struct qed *qed)
{
	spin_lock_irq(&qed->lock);
	/* It says no before meta_scanned() comes, which may have waited for the lock. */
	WRITE_ONCE(qed->scanning, qed_meta_is_scanning(qed->meta));
	spin_unlock_irq(&qed->lock);
}

static void meta_event(struct qed_meta_client *client)
{
	dm_table_event(client_to_qed(client)->ti->table);
}

/*----------------------------------------------------------------
 * Bios that have to wait
 *----------------------------------------------------------------
 */

void qed_complete_after_commit(struct qed *qed, struct bio *bio)
{
	unsigned long flags;

	spin_lock_irqsave(&qed->lock, flags);
	bio_list_add(&qed->commit_bios, bio);
	spin_unlock_irqrestore(&qed->lock, flags);
	mod_delayed_work(qed->commit_wq, &qed->commit_work, 0);
}

void qed_io_restart(struct qed_io *io)
{
	qed_bio_rewind(io_bio(io), &io->iter);
	atomic_set(&io->pending, 1);
	io->status = BLK_STS_OK;
	io->wait = io->lower_full;
	io->lower_full = false;
	io->refused = false;
	/* Not behind those that may wait for a commit. */
	if (unlikely(io->doubt))
		qed_meta_queue_work(io->qed->meta, &io->work);
	else
		queue_work(io->qed->wq, &io->work);
}

/* A write with FUA had no space. What it is without tells whether that was its flush. */
static void end_doubt(struct qed_io *io)
{
	if (!io->lower_full)
		qed_lose_writes(io->qed);
	qed_flush_end(qed_meta_flushes(io->qed->meta), &io->under_way, NULL);
	io->doubt = false;
}

void qed_io_put(struct qed_io *io, blk_status_t status)
{
	struct bio *bio = io_bio(io);

	if (unlikely(status))
		cmpxchg(&io->status, BLK_STS_OK, status);
	if (!atomic_dec_and_test(&io->pending))
		return;

	if (unlikely(io->doubt))
		end_doubt(io);
	if (unlikely(io->lower_full || io->refused)) {
		qed_io_restart(io);
		return;
	}
	bio->bi_status = io->status;
	if (io->sync && !io->status)
		qed_complete_after_commit(io->qed, bio);
	else
		bio_endio(bio);
}

void qed_requeue_nospace(struct qed *qed)
{
	struct bio_list bios, commit_bios = BIO_EMPTY_LIST;
	struct bio *bio;

	spin_lock_irq(&qed->lock);
	bios = take_nospace(qed);
	if (qed->commit_full) {
		commit_bios = qed->commit_bios;
		bio_list_init(&qed->commit_bios);
	}
	spin_unlock_irq(&qed->lock);

	while ((bio = bio_list_pop(&bios)))
		qed_io_put(bio_io(bio), BLK_STS_DM_REQUEUE);
	while ((bio = bio_list_pop(&commit_bios))) {
		bio->bi_status = BLK_STS_DM_REQUEUE;
		bio_endio(bio);
	}
}

/* Make clusters free that only lack a commit. */
static void want_flush(struct qed *qed)
{
	spin_lock_irq(&qed->lock);
	qed->flush_wanted = true;
	spin_unlock_irq(&qed->lock);
	mod_delayed_work(qed->commit_wq, &qed->commit_work, 0);
}

/* Returns like qed_io_no_space(). */
static int wait_nospace(struct qed *qed, struct qed_io *io, unsigned long seq)
{
	int r = 0;

	/* Whoever changes the mode looks at the list afterwards. */
	spin_lock_irq(&qed->lock);
	if (!is_writable(qed)) {
		r = -EROFS;
	} else if (qed->nospace_seq == seq) {
		r = 1;
		bio_list_add(&qed->nospace_bios, io_bio(io));
		qed->nr_nospace++;
	}
	spin_unlock_irq(&qed->lock);

	/* Presuspend may have come too early to see it. */
	if (r == 1 && dm_noflush_suspending(qed->ti))
		qed_requeue_nospace(qed);
	return r;
}

/* There is no space, as far as is known. Returns like qed_io_no_space(). */
static int out_of_space(struct qed *qed, struct qed_io *io, unsigned long seq)
{
	bool reclaiming = qed_meta_reclaiming(qed->meta);

	/* It may just have become free, or be there. Then it is no shortage. */
	if (qed_grow(qed) > 0 || READ_ONCE(qed->nospace_seq) != seq)
		return 0;
	if (reclaiming)
		want_flush(qed);
	if (!reclaiming || READ_ONCE(qed->commit_fails)) {
		qed_set_mode(qed, QED_MODE_OUT_OF_SPACE, false);
		if (fails_without_space(qed))
			return -ENOSPC;
	}
	return wait_nospace(qed, io, seq);
}

int qed_io_no_space(struct qed *qed, struct qed_io *io, unsigned long seq)
{
	bool early;

	/* Of a scan, or one that has ended since the search: see meta_scanned(). */
	spin_lock_irq(&qed->lock);
	early = qed->scanning || qed->nospace_seq != seq;
	spin_unlock_irq(&qed->lock);
	if (!early)
		return out_of_space(qed, io, seq);
	qed_meta_hurry_scan(qed->meta);
	return wait_nospace(qed, io, seq);
}

int qed_io_lower_full(struct qed *qed, struct qed_io *io)
{
	unsigned long seq;

	io->wait = false;
	io->retried = true;
	spin_lock_irq(&qed->lock);
	WRITE_ONCE(qed->lower_full, true);
	seq = qed->nospace_seq;
	spin_unlock_irq(&qed->lock);
	return out_of_space(qed, io, seq);
}

void qed_found_space(struct qed *qed, bool lower)
{
	bool wait;

	spin_lock_irq(&qed->lock);
	/* Who waits for a scan does not wait for space. */
	wait = (!bio_list_empty(&qed->nospace_bios) && !qed->scanning) ||
	       qed->commit_full || READ_ONCE(qed->commit_fails);
	if (lower && !wait)
		WRITE_ONCE(qed->lower_full, false);
	wait |= qed->lower_full;
	spin_unlock_irq(&qed->lock);
	if (!wait)
		qed_set_mode(qed, QED_MODE_RW, false);
}

static void do_space(struct work_struct *work)
{
	qed_found_space(container_of(work, struct qed, space_work), true);
}

void qed_space_was_found(struct qed *qed)
{
	if (unlikely(get_mode(qed) == QED_MODE_OUT_OF_SPACE))
		queue_work(qed->commit_wq, &qed->space_work);
}

/*----------------------------------------------------------------
 * Commits
 *----------------------------------------------------------------
 */

/*
 * The image device has no space for the tables. What waits for the commit goes on
 * to do so until there is some. Returns whether it does.
 */
static bool commit_no_space(struct qed *qed, struct bio_list *bios,
			    unsigned long seq)
{
	bool again, fails;

	WRITE_ONCE(qed->commit_short, true);
	qed_set_mode(qed, QED_MODE_OUT_OF_SPACE, false);
	fails = fails_without_space(qed);
	/* So does what waits for clusters that it would have made free. */
	if (fails)
		WRITE_ONCE(qed->commit_fails, true);

	spin_lock_irq(&qed->lock);
	/*
	 * Another commit may have been made since: the next one notes that. In mode ro
	 * there is no space to wait for: it fails, see qed_io_no_space().
	 */
	again = qed->nospace_seq != seq || !is_writable(qed);
	if (!fails) {
		bio_list_merge_head(&qed->commit_bios, bios);
		WRITE_ONCE(qed->commit_full, !again);
	}
	spin_unlock_irq(&qed->lock);

	if (fails)
		__retry_nospace(qed, false);
	if (again)
		mod_delayed_work(qed->commit_wq, &qed->commit_work, 0);
	else if (!fails && dm_noflush_suspending(qed->ti))
		qed_requeue_nospace(qed);
	return !fails;
}

static void commit_made(struct qed *qed)
{
	WRITE_ONCE(qed->commit_fails, false);
	if (qed->commit_short) {
		WRITE_ONCE(qed->commit_short, false);
		qed_found_space(qed, false);
	}
}

/*
 * A commit that fails may have lost writes, and the flushes that asked for it tell, but not
 * of what another one has lost.
 */
static void commit_ended(struct qed *qed, struct bio_list *bios, int r)
{
	unsigned int losses = READ_ONCE(qed->losses);
	struct bio *bio;

	while ((bio = bio_list_pop(bios))) {
		if (r && r != -ENOSPC && r != -EROFS)
			bio_io(bio)->losses = losses;
		bio->bi_status = qed_is_lost(qed) ? BLK_STS_IOERR :
						    errno_to_blk_status(r);
		bio_endio(bio);
	}
}

/* One commit serves all bios that have come so far. */
static void do_commit(struct work_struct *work)
{
	struct qed *qed = container_of(to_delayed_work(work), struct qed,
				       commit_work);
	struct bio_list bios;
	unsigned long seq;
	bool flush;
	int r;

	spin_lock_irq(&qed->lock);
	bios = qed->commit_bios;
	bio_list_init(&qed->commit_bios);
	flush = qed->flush_wanted || !bio_list_empty(&bios);
	qed->flush_wanted = false;
	seq = qed->nospace_seq;
	spin_unlock_irq(&qed->lock);

	/* Clusters become free only when it is durable that they are not mapped. */
	r = qed_meta_commit(qed->meta, flush || qed_meta_reclaiming(qed->meta));
	if (r == -ENOSPC && commit_no_space(qed, &bios, seq))
		return;
	if (!r)
		commit_made(qed);
	commit_ended(qed, &bios, r);
}

static void do_idle(struct work_struct *work)
{
	struct qed *qed = container_of(to_delayed_work(work), struct qed,
				       idle_work);
	unsigned long delay = qed_meta_idle(qed->meta, QED_IDLE);

	if (delay)
		queue_delayed_work(qed->commit_wq, &qed->idle_work, delay);
}

/*----------------------------------------------------------------
 * Construction
 *----------------------------------------------------------------
 */

void qed_mode_init(struct qed *qed)
{
	qed->mode = QED_MODE_FAIL;
	spin_lock_init(&qed->lock);
	bio_list_init(&qed->commit_bios);
	bio_list_init(&qed->nospace_bios);
	mutex_init(&qed->mode_mutex);
	INIT_DELAYED_WORK(&qed->commit_work, do_commit);
	INIT_DELAYED_WORK(&qed->idle_work, do_idle);
	INIT_DELAYED_WORK(&qed->no_space_work, do_no_space);
	INIT_WORK(&qed->space_work, do_space);
	qed->client.failed = meta_failed;
	qed->client.want_commit = meta_want_commit;
	qed->client.flush_failed = meta_flush_failed;
	qed->client.more_space = meta_more_space;
	qed->client.scanned = meta_scanned;
	qed->client.event = meta_event;
	qed->client.name = qed_name(qed);
}

void qed_cancel_works(struct qed *qed)
{
	cancel_delayed_work_sync(&qed->no_space_work);
	cancel_delayed_work_sync(&qed->idle_work);
	cancel_delayed_work_sync(&qed->commit_work);
	cancel_work_sync(&qed->space_work);
}

module_param_named(no_space_timeout, no_space_timeout_secs, uint, 0644);
MODULE_PARM_DESC(no_space_timeout,
		 "Seconds that writes wait for space before they fail; 0: no end");
