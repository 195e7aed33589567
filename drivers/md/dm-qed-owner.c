// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who has an image, see dm-qed-owner.h.
 */

#include <linux/errno.h>
#include <linux/jiffies.h>
#include <linux/random.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/utsname.h>
#include <linux/wait.h>

#include "dm-qed-owner.h"

/* For what may be the same image: a write should not take longer. */
#define QED_TAKE_WAIT	(10 * HZ)

static LIST_HEAD(owners);

/* Protects the list, and what its members say. Process context only. */
static DEFINE_SPINLOCK(owners_lock);

/* Who waits until another one does not take its image any more */
static DECLARE_WAIT_QUEUE_HEAD(takers);

/* Not that of a container: the device belongs to the host. */
void qed_host_default(char *host)
{
	char *c;

	strscpy(host, init_utsname()->nodename, QED_HOST_SIZE);
	for (c = host; *c; c++)
		if (!qed_host_is_char(*c))
			*c = '-';
	if (!*host)
		strscpy(host, "-", QED_HOST_SIZE);
}

void qed_owner_init(struct qed_owner *owner)
{
	INIT_LIST_HEAD(&owner->list);
}

void qed_owner_enter(struct qed_owner *owner, const char *host,
		     const void *device)
{
	get_random_bytes(owner->id, QED_OWNER_SIZE);
	owner->host = host;
	owner->device = device;
	owner->takes = false;
	owner->put_off = false;
	spin_lock(&owners_lock);
	list_add(&owner->list, &owners);
	spin_unlock(&owners_lock);
}

void qed_owner_leave(struct qed_owner *owner)
{
	spin_lock(&owners_lock);
	list_del_init(&owner->list);
	spin_unlock(&owners_lock);
}

static bool may_begin_take(struct qed_owner *owner, u32 key, bool anyway)
{
	const struct qed_owner *other;
	bool may = true;

	spin_lock(&owners_lock);
	list_for_each_entry(other, &owners, list)
		if (other->takes && other->key == key)
			may = false;
	owner->takes = may || anyway;
	owner->key = key;
	spin_unlock(&owners_lock);
	return may;
}

bool qed_owner_is_put_off(const struct qed_owner *owner)
{
	const struct qed_owner *other;
	bool put_off = false;

	spin_lock(&owners_lock);
	list_for_each_entry(other, &owners, list)
		if (other->put_off && other->key == owner->key &&
		    other->device != owner->device)
			put_off = true;
	spin_unlock(&owners_lock);
	return put_off;
}

/*
 * Not a lock for all: an image may be on the device of another one, which cannot be resumed
 * while somebody waits for it who has that lock.
 */
int qed_owner_begin_take(struct qed_owner *owner, u32 key, bool takeover)
{
	long left = wait_event_killable_timeout(takers, may_begin_take(owner, key, false),
						QED_TAKE_WAIT);

	if (left < 0)
		return -EINTR;
	if (!left)
		left = may_begin_take(owner, key, true);
	if (takeover || !qed_owner_is_put_off(owner))
		return !left;
	qed_owner_end_take(owner, false);
	return -EBUSY;
}

void qed_owner_end_take(struct qed_owner *owner, bool put_off)
{
	spin_lock(&owners_lock);
	owner->takes = false;
	owner->put_off = put_off;
	spin_unlock(&owners_lock);
	wake_up_all(&takers);
}

void qed_owner_written(struct qed_owner *owner)
{
	spin_lock(&owners_lock);
	owner->put_off = false;
	spin_unlock(&owners_lock);
}

/* Which device of this module has this identity? QED_HOLDER_AWAY: none */
static enum qed_holder find_holder(const struct qed_owner *owner, const u8 *id)
{
	enum qed_holder holder = QED_HOLDER_AWAY;
	const struct qed_owner *other;

	spin_lock(&owners_lock);
	list_for_each_entry(other, &owners, list)
		if (!memcmp(other->id, id, QED_OWNER_SIZE))
			holder = other->device == owner->device ?
				 QED_HOLDER_GONE : QED_HOLDER_HERE;
	spin_unlock(&owners_lock);
	return holder;
}

bool qed_owner_is_here(const struct qed_owner *owner, const u8 *id)
{
	return find_holder(owner, id) == QED_HOLDER_HERE;
}

enum qed_holder qed_owner_judge(const struct qed_owner *owner,
				const struct qed_record *record)
{
	enum qed_holder holder;

	if (!record->active)
		return QED_HOLDER_NONE;
	/* First: whatever they call the host, it is this one. */
	holder = find_holder(owner, record->owner);
	if (holder != QED_HOLDER_AWAY)
		return holder;
	return strcmp(record->host, owner->host) ? QED_HOLDER_AWAY :
						   QED_HOLDER_GONE;
}
