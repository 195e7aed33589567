// SPDX-License-Identifier: GPL-2.0-only
/*
 * The header of the image, and NEED_CHECK in it, see dm-qed-header.h.
 */

#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/device-mapper.h>
#include <linux/jiffies.h>
#include <linux/mutex.h>

#include "dm-qed-compare.h"
#include "dm-qed-header.h"
#include "dm-qed-record.h"
#include "dm-qed-sync.h"

#define DM_MSG_PREFIX "qed"

/*----------------------------------------------------------------
 * The end of all writing
 *----------------------------------------------------------------
 */

void qed_meta_fail(struct qed_meta *meta, const char *why)
{
	bool first, lost;

	spin_lock_irq(&meta->cache.lock);
	first = !meta->frozen;
	lost = meta->txn != QED_TXN_DURABLE;
	meta->frozen = true;
	if (first) {
		WRITE_ONCE(meta->txn, QED_TXN_FAILED);
		qed_cache_set_stuck(&meta->cache, true);
	}
	spin_unlock_irq(&meta->cache.lock);

	qed_cache_wake(&meta->cache);
	if (first)
		meta->client->failed(meta->client, why, lost);
}

/*----------------------------------------------------------------
 * Header
 *----------------------------------------------------------------
 */

/* Who asks for it has no lock. */
static void note_needs_check(struct qed_meta *meta)
{
	__le64 bit = meta->header->features & cpu_to_le64(QED_F_NEED_CHECK);

	WRITE_ONCE(meta->needs_check, !!bit);
}

int qed_header_read(struct qed_meta *meta, char **error)
{
	u64 size = bdev_nr_bytes(meta->bdev);
	struct qed_geometry geo;
	int r;

	if (size < QED_BLOCK_SIZE) {
		DMERR("%s: the device of %llu bytes is too small for a QED image",
		      meta->client->name, size);
		*error = "Image device is too small";
		return -EINVAL;
	}
	r = qed_sync_io(meta, REQ_OP_READ, 0, meta->header, QED_BLOCK_SIZE);
	if (r) {
		DMERR("%s: cannot read the header: error %d",
		      meta->client->name, r);
		*error = "Cannot read the header";
		return r;
	}
	r = qed_geometry_parse(&geo, meta->header, size, meta->client->name,
			       error);
	if (r)
		return r;

	spin_lock_irq(&meta->cache.lock);
	meta->geo = geo;
	spin_unlock_irq(&meta->cache.lock);
	note_needs_check(meta);
	return 0;
}

/* Is NEED_CHECK clear in next, as the header is on the device, though we have set it? */
static bool lacks_need_check(struct qed_meta *meta)
{
	__le64 gone = meta->header->features & ~meta->next->features;

	return gone & cpu_to_le64(QED_F_NEED_CHECK);
}

/*
 * Somebody else has opened the image to write: the record is void from now on, or it would
 * say what is not known. Without a record it is NEED_CHECK that tells. Caller holds
 * header_mutex.
 */
static void image_had(struct qed_meta *meta)
{
	if (meta->recording)
		DMWARN("%s: somebody else has cleared bit 63: the record is void",
		       meta->client->name);
	else
		DMWARN_LIMIT("%s: somebody else has cleared NEED_CHECK",
			     meta->client->name);
	meta->had = true;
	meta->recording = false;
	meta->header->autoclear_features = 0;
}

/* The header in next is that of the image: whose is that? */
static void tell_owner(struct qed_meta *meta)
{
	const char *name = meta->client->name, *what;
	struct qed_record record;
	int r = qed_record_parse(&record, meta->next, &what);

	if (!r)
		DMERR("%s: host %s has taken the image, owner %*phN", name,
		      record.host, QED_OWNER_SIZE, record.owner);
	else if (r == -ENOENT)
		DMERR("%s: somebody else has had the image, and then bit 63 was cleared",
		      name);
	else
		DMERR("%s: somebody else has written the record: it %s", name,
		      what);
}

/* What is in memory is not what is on the device any more. */
static int image_lost(struct qed_meta *meta, enum qed_record_change change)
{
	const char *why = "the image has another owner";

	if (change == QED_RECORD_GONE)
		why = "the header is not that of the image any more";
	else if (change == QED_RECORD_VOID)
		why = "somebody else has opened the image for writing";
	else
		tell_owner(meta);
	qed_meta_fail(meta, why);
	return -EROFS;
}

/*
 * Whoever has had the image may have checked it, or written to it, now or since then. If
 * that is in the tables those in memory are old, and free is what is not. Caller holds
 * header_mutex; overwrites next.
 */
static int look_at_tables(struct qed_meta *meta, bool all)
{
	int r = all ? qed_compare_tables(meta, meta->next) :
		      qed_compare_some(meta, meta->next);

	if (r != -EUCLEAN)
		return r;
	qed_meta_fail(meta, "somebody else has changed the tables");
	return -EROFS;
}

/* As it is on the device, into next. Caller holds header_mutex. */
static int header_reread(struct qed_meta *meta)
{
	int r = qed_sync_io(meta, REQ_OP_READ, 0, meta->next, QED_BLOCK_SIZE);

	if (r)
		DMERR_LIMIT("%s: cannot read the header: error %d",
			    meta->client->name, r);
	return r;
}

/*
 * Is the image still ours? Caller holds header_mutex; next has the header then. What was
 * done behind a void record while we were paused nobody knows: tables that we have in memory
 * may be old.
 */
static int header_look(struct qed_meta *meta, bool paused)
{
	enum qed_record_change change;
	int r = header_reread(meta);

	if (r)
		return r;
	change = qed_record_compare(meta->next, meta->header, meta->owner.id);
	/* Nor what since it is void. */
	if (change == QED_RECORD_SAME &&
	    (lacks_need_check(meta) || (paused && meta->had)))
		change = QED_RECORD_VOID;
	if (change == QED_RECORD_SAME)
		return 0;
	if (change != QED_RECORD_VOID || paused)
		return image_lost(meta, change);
	image_had(meta);
	return 0;
}

/*
 * Look before each write: then the header is in next, to be changed. Who has opened the
 * image to write and has it still leaves no other trace than in the tables.
 */
static int header_begin(struct qed_meta *meta)
{
	int r;

	lockdep_assert_held(&meta->header_mutex);

	r = header_look(meta, false);
	if (!r && meta->had)
		r = look_at_tables(meta, true);
	if (!r)
		memcpy(meta->next, meta->header, QED_BLOCK_SIZE);
	meta->record.device_size = bdev_nr_bytes(meta->bdev);
	return r;
}

/* It is on the device. */
static void header_is_next(struct qed_meta *meta)
{
	memcpy(meta->header, meta->next, QED_BLOCK_SIZE);
	note_needs_check(meta);
	qed_owner_written(&meta->owner);
}

/*
 * A sector is enough, and tears least, but the device may have larger blocks. No autoclear
 * bit is kept up to date by us but that of the record.
 */
static int header_write(struct qed_meta *meta)
{
	int r;

	meta->next->autoclear_features = 0;
	if (meta->recording)
		qed_record_build(meta->next, &meta->record);
	r = qed_sync_io(meta, REQ_OP_WRITE | REQ_FUA, 0, meta->next,
			bdev_logical_block_size(meta->bdev));
	if (r)
		DMERR_LIMIT("%s: cannot write the header: error %d",
			    meta->client->name, r);
	else
		header_is_next(meta);
	return r;
}

/* The same when the image is in use. */
static int header_update(struct qed_meta *meta)
{
	int r = header_write(meta);

	/* Without space nothing is lost: it can be tried again, as for tables. */
	if (r && r != -ENOSPC)
		qed_meta_fail(meta, "cannot write the header");
	return r;
}

int qed_header_look(struct qed_meta *meta)
{
	int r;

	mutex_lock(&meta->header_mutex);
	r = header_look(meta, true);
	mutex_unlock(&meta->header_mutex);
	return r;
}

/*
 * Whoever has cleared NEED_CHECK has done so though the image is in use: it is set again,
 * whenever that is, and until it succeeds. Who has the image still leaves no other trace than
 * in the tables.
 */
static void header_glance(struct qed_meta *meta)
{
	bool had = meta->had;

	if (header_look(meta, false) || !meta->had)
		return;
	if (had && !lacks_need_check(meta))
		look_at_tables(meta, false);
	else if (!header_begin(meta))
		header_update(meta);
}

void qed_header_glance(struct qed_meta *meta)
{
	mutex_lock(&meta->header_mutex);
	if (!READ_ONCE(meta->frozen))
		header_glance(meta);
	mutex_unlock(&meta->header_mutex);
}

bool qed_header_needs_check(struct qed_meta *meta)
{
	return READ_ONCE(meta->needs_check);
}

static int header_set_needs_check(struct qed_meta *meta)
{
	int r = header_begin(meta);

	if (r)
		return r;
	meta->next->features |= cpu_to_le64(QED_F_NEED_CHECK);
	r = header_update(meta);
	/* Whether it is on the device or not, that is safe to assume. */
	WRITE_ONCE(meta->needs_check, true);
	return r;
}

u64 qed_header_size(struct qed_meta *meta)
{
	u64 size;

	mutex_lock(&meta->header_mutex);
	size = le64_to_cpu(meta->header->image_size);
	mutex_unlock(&meta->header_mutex);
	return size;
}

/* Without space the next activation finds a record of another size, and scans first. */
static int header_grow(struct qed_meta *meta)
{
	int r = -EROFS;

	if (!READ_ONCE(meta->frozen) && !meta->had)
		r = header_begin(meta);
	if (!r && meta->recording)
		r = header_update(meta);
	if (r == -ENOSPC)
		r = 0;
	if (!meta->had)
		return r;
	DMWARN_LIMIT("%s: not larger before another activation: somebody else has had the image",
		     meta->client->name);
	return -EBUSY;
}

int qed_header_grow(struct qed_meta *meta)
{
	int r;

	mutex_lock(&meta->header_mutex);
	r = header_grow(meta);
	mutex_unlock(&meta->header_mutex);
	return r;
}

int qed_header_set_size(struct qed_meta *meta, u64 size)
{
	int r = -EROFS;

	mutex_lock(&meta->header_mutex);
	if (!READ_ONCE(meta->frozen))
		r = header_begin(meta);
	if (!r) {
		meta->next->image_size = cpu_to_le64(size);
		r = header_update(meta);
	}
	mutex_unlock(&meta->header_mutex);
	return r;
}

/*----------------------------------------------------------------
 * The record
 *----------------------------------------------------------------
 */

/*
 * Without space for the record what is on the device stays true until a table changes, and
 * before that NEED_CHECK is written, and the record with it. Another autoclear bit is not
 * true any more if only the guest's data changes.
 */
static int header_put_off(struct qed_meta *meta, __le64 others)
{
	if (others)
		qed_meta_fail(meta, "no space to clear autoclear features");
	else
		DMWARN("%s: no space for the record: it is written with the first change",
		       meta->client->name);
	return 0;
}

/* Is it as it was when it was loaded? All that is known by now is of that. */
static int header_is_loaded(struct qed_meta *meta)
{
	int r = header_reread(meta);

	if (r || qed_record_untouched(meta->next, meta->header))
		return r;
	DMERR("%s: somebody else has written the header while the image was loaded",
	      meta->client->name);
	return -EBUSY;
}

int qed_meta_is_as_loaded(struct qed_meta *meta)
{
	int r;

	mutex_lock(&meta->header_mutex);
	r = header_is_loaded(meta);
	mutex_unlock(&meta->header_mutex);
	return r;
}

/* Caller holds header_mutex, and nobody else of this host takes the image. */
static int header_take(struct qed_meta *meta, bool *put_off)
{
	__le64 bits = meta->header->autoclear_features;
	struct qed_record *record = &meta->record;
	int r = header_is_loaded(meta);

	if (r)
		return r;
	memset(record, 0, sizeof(*record));
	memcpy(record->owner, meta->owner.id, QED_OWNER_SIZE);
	strscpy(record->host, meta->owner.host, QED_HOST_SIZE);
	record->active = true;
	record->device_size = bdev_nr_bytes(meta->bdev);
	meta->had = false;
	meta->recording = qed_record_has_room(meta->header);
	if (meta->recording || bits) {
		memcpy(meta->next, meta->header, QED_BLOCK_SIZE);
		r = header_write(meta);
	}
	*put_off = r == -ENOSPC;
	if (*put_off)
		r = header_put_off(meta, bits & ~cpu_to_le64(QED_AF_RECORD));
	return r;
}

int qed_header_take(struct qed_meta *meta, bool takeover)
{
	bool put_off = false;
	int r;

	mutex_lock(&meta->header_mutex);
	r = qed_owner_begin_take(&meta->owner, qed_record_key(meta->header),
				 takeover);
	if (r == 1)
		DMWARN("%s: not waiting for a device that takes an image with the same header",
		       meta->client->name);
	if (r == -EBUSY)
		DMERR("%s: in use on this host, by a device with no space for its record",
		      meta->client->name);
	if (r >= 0) {
		r = header_take(meta, &put_off);
		qed_owner_end_take(&meta->owner, put_off);
	}
	mutex_unlock(&meta->header_mutex);
	return r;
}

/*
 * No table refers to a cluster behind the last one in use; nor, before the end of a scan,
 * to what was free from the beginning.
 */
static u64 known_end(struct qed_meta *meta)
{
	u64 end = qed_space_end(meta->space);

	if (!READ_ONCE(meta->known))
		end = max(end, meta->free_from);
	return end <= U64_MAX >> meta->geo.cluster_shift ? end : 0;
}

/* What is known of free space, of an image that is at rest, and that nobody has any more */
static void record_claims(struct qed_meta *meta)
{
	struct qed_record *record = &meta->record;
	struct qed_run zeroes;

	record->end = known_end(meta);
	qed_space_last_zeroes(meta->space, &zeroes);
	if (!record->end || !zeroes.nr || zeroes.first < record->end ||
	    zeroes.first + zeroes.nr > record->device_size >> meta->geo.cluster_shift)
		return;
	record->zero_from = zeroes.first;
	record->zero_end = zeroes.first + zeroes.nr;
}

/* Without space the image is left active, if the record has ever said that it is. */
static void tell_left(struct qed_meta *meta)
{
	struct qed_record record;
	const char *what;

	if (!qed_record_parse(&record, meta->header, &what) && record.active)
		DMWARN("%s: no space to write that the image is given up: to other hosts %s has it",
		       meta->client->name, record.host);
}

/* Caller holds header_mutex, and says whether all is at rest. */
static int header_release(struct qed_meta *meta, bool rest)
{
	int r = header_begin(meta);

	if (r)
		return r;
	meta->record.active = false;
	if (rest) {
		meta->next->features &= ~cpu_to_le64(QED_F_NEED_CHECK);
		record_claims(meta);
	}
	r = header_update(meta);
	if (r == -ENOSPC)
		tell_left(meta);
	return r;
}

static int header_clear_needs_check(struct qed_meta *meta)
{
	int r = header_begin(meta);

	if (r)
		return r;
	meta->next->features &= ~cpu_to_le64(QED_F_NEED_CHECK);
	return header_update(meta);
}

/*----------------------------------------------------------------
 * Changes
 *----------------------------------------------------------------
 */

int qed_meta_state(struct qed_meta *meta)
{
	if (READ_ONCE(meta->running))
		return 0;
	if (!READ_ONCE(meta->loaded))
		return -ENODATA;
	return READ_ONCE(meta->frozen) ? -EROFS : -EBUSY;
}

int qed_meta_begin(struct qed_meta *meta)
{
	bool done = false;
	int r = 0;

	spin_lock_irq(&meta->cache.lock);
	if (meta->frozen) {
		r = -EROFS;
	} else if (qed_cache_is_full(&meta->cache)) {
		r = -ENOSPC;
	} else {
		/* First, so that no flush fails unnoticed beside the header. */
		meta->changes++;
		done = meta->marked;
	}
	spin_unlock_irq(&meta->cache.lock);
	if (r == -ENOSPC)
		/* There may be space by now. */
		meta->client->want_commit(meta->client, true);
	if (r || done)
		return r;

	mutex_lock(&meta->header_mutex);
	if (!meta->marked)
		r = header_set_needs_check(meta);
	spin_lock_irq(&meta->cache.lock);
	if (r)
		meta->changes--;
	else
		meta->marked = true;
	spin_unlock_irq(&meta->cache.lock);
	mutex_unlock(&meta->header_mutex);
	return r;
}

bool qed_begin_marked(struct qed_meta *meta)
{
	bool marked;

	spin_lock_irq(&meta->cache.lock);
	marked = meta->marked && !meta->frozen;
	meta->changes += marked;
	spin_unlock_irq(&meta->cache.lock);
	return marked;
}

bool qed_end_change(struct qed_meta *meta, struct qed_block *block)
{
	meta->changes--;
	meta->last_change = jiffies;
	return block && qed_block_unpin(block);
}

void qed_meta_end(struct qed_meta *meta, struct qed_block *block)
{
	unsigned long flags;
	bool unused;

	spin_lock_irqsave(&meta->cache.lock, flags);
	unused = qed_end_change(meta, block);
	spin_unlock_irqrestore(&meta->cache.lock, flags);
	if (unused)
		qed_cache_wake(&meta->cache);
}

void qed_meta_give_back(struct qed_meta *meta, const struct qed_run *run,
			bool touched)
{
	unsigned long flags;

	qed_space_give_back(meta->space, run, touched);
	if (!touched)
		return;
	spin_lock_irqsave(&meta->cache.lock, flags);
	meta->touched = true;
	spin_unlock_irqrestore(&meta->cache.lock, flags);
}

/*
 * NEED_CHECK is not cleared if a change has been made since the last flush, or is
 * under way. One that begins meanwhile waits for header_mutex. Nor is it cleared
 * while free clusters may hold what a failed write has left, or are being given to
 * the device: that they stay as they are is what a clean image promises. Nor before
 * the tables that were found with it have been looked at.
 */
int qed_header_clean(struct qed_meta *meta, bool release)
{
	bool busy, frozen;
	int r = 0;

	mutex_lock(&meta->header_mutex);
	spin_lock_irq(&meta->cache.lock);
	frozen = meta->frozen;
	busy = frozen || meta->changes || meta->touched || meta->unsure ||
	       meta->txn != QED_TXN_DURABLE || qed_reclaim_goes_on(&meta->reclaim);
	if (!busy)
		meta->marked = false;
	spin_unlock_irq(&meta->cache.lock);
	if (release && meta->recording && !frozen)
		r = header_release(meta, !busy);
	else if (!busy && qed_header_needs_check(meta))
		r = header_clear_needs_check(meta);
	mutex_unlock(&meta->header_mutex);
	return r;
}
