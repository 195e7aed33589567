// SPDX-License-Identifier: GPL-2.0-only
/*
 * May we have the image, by what its record says? See dm-qed-judge.h.
 */

#include <linux/blkdev.h>
#include <linux/device-mapper.h>
#include <linux/string.h>

#include "dm-qed-judge.h"
#include "dm-qed-owner.h"
#include "dm-qed-record.h"

#define DM_MSG_PREFIX "qed"

/* Of the record that has been found. Returns whether the image may be taken. */
static bool may_take(struct qed_meta *meta, const struct qed_record *record,
		     bool takeover)
{
	const char *name = meta->client->name;
	enum qed_holder holder = qed_owner_judge(&meta->owner, record);

	if (holder == QED_HOLDER_NONE)
		return true;
	if (holder == QED_HOLDER_GONE)
		DMINFO("%s: taken over: left active by host %s, owner %*phN",
		       name, record->host, QED_OWNER_SIZE, record->owner);
	/* It writes: whatever the administrator has fenced, that it was not. */
	else if (holder == QED_HOLDER_HERE)
		DMERR("%s: in use on this host, %s, by another path: owner %*phN",
		      name, record->host, QED_OWNER_SIZE, record->owner);
	else if (takeover)
		DMWARN("%s: taken over from host %s, owner %*phN, on demand",
		       name, record->host, QED_OWNER_SIZE, record->owner);
	else
		DMERR("%s: in use by host %s, owner %*phN: see takeover",
		      name, record->host, QED_OWNER_SIZE, record->owner);
	return holder == QED_HOLDER_GONE ||
	       (holder == QED_HOLDER_AWAY && takeover);
}

/*
 * The record is void, but what is left of it may be that of another device of this host, which
 * goes on: see image_had() in dm-qed-header.c. Or this is a copy of its image.
 */
static bool may_take_void(struct qed_meta *meta, bool takeover)
{
	const u8 *id = qed_record_owner(meta->header);

	if (takeover || !id || !qed_owner_is_here(&meta->owner, id))
		return true;
	DMERR("%s: in use on this host, by another path, though bit 63 is clear: owner %*phN",
	      meta->client->name, QED_OWNER_SIZE, id);
	return false;
}

/* To write to it, that is */
static bool may_have(struct qed_meta *meta, const struct qed_load_args *args)
{
	if (!meta->recorded)
		return may_take_void(meta, args->takeover);
	return may_take(meta, &meta->record, args->takeover);
}

/*
 * What is below others must not change. A device of this host may have it by another path,
 * which claims do not see, whatever its bit says. Not another table of the device that it is
 * loaded for: that is on its way out.
 */
static bool may_be_below(struct qed_meta *meta, const struct qed_load_args *args)
{
	const u8 *id = qed_record_owner(meta->header);

	meta->owner.device = args->device;
	meta->owner.key = qed_record_key(meta->header);
	if (qed_owner_is_put_off(&meta->owner)) {
		DMERR("%s: in use on this host, by a device with no space for its record",
		      meta->client->name);
		return false;
	}
	if (!id || !qed_owner_is_here(&meta->owner, id))
		return true;
	DMERR("%s: in use on this host, by another path: owner %*phN",
	      meta->client->name, QED_OWNER_SIZE, id);
	return false;
}

/* Sets meta->recorded, and meta->record as it has been found. Nothing else has happened yet. */
static void find_record(struct qed_meta *meta)
{
	const char *what;
	int r = qed_record_parse(&meta->record, meta->header, &what);

	if (r == -EUCLEAN)
		DMWARN("%s: the record in the header is ignored: it %s",
		       meta->client->name, what);
	if (r)
		memset(&meta->record, 0, sizeof(meta->record));
	meta->recorded = !r;
}

/*
 * Whoever does not know bit 63, and reopens the image to write, leaves it set, as QEMU does for a
 * commit into a backing file. Then there are new clusters behind the old end of the device.
 */
static void check_size(struct qed_meta *meta)
{
	if (meta->record.device_size == bdev_nr_bytes(meta->bdev))
		return;
	meta->recorded = false;
	meta->record.end = 0;
	meta->record.zero_end = 0;
}

int qed_judge(struct qed_meta *meta, const struct qed_load_args *args)
{
	struct qed_record *record = &meta->record;

	find_record(meta);
	if (args->below ? !may_be_below(meta, args) :
			  !args->readonly && !may_have(meta, args))
		return -EBUSY;
	if (args->readonly && record->active)
		DMWARN("%s: the record says that host %s has the image, or has crashed",
		       meta->client->name, record->host);
	check_size(meta);
	return 0;
}
