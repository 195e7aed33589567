// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who has an image, see dm-qed-owner.h.
 */

#include <linux/mutex.h>
#include <linux/random.h>
#include <linux/string.h>
#include <linux/utsname.h>

#include "dm-qed-owner.h"

static LIST_HEAD(owners);

/* Protects the list, and what its members say. No I/O under it: others would wait. */
static DEFINE_MUTEX(owners_mutex);

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
	mutex_lock(&owners_mutex);
	get_random_bytes(owner->id, QED_OWNER_SIZE);
	owner->host = host;
	owner->device = device;
	list_add(&owner->list, &owners);
	mutex_unlock(&owners_mutex);
}

void qed_owner_leave(struct qed_owner *owner)
{
	mutex_lock(&owners_mutex);
	list_del_init(&owner->list);
	mutex_unlock(&owners_mutex);
}

/* Is it another device of this module that has this identity? */
static bool is_held(const struct qed_owner *owner, const u8 *id)
{
	const struct qed_owner *other;
	bool held = false;

	mutex_lock(&owners_mutex);
	list_for_each_entry(other, &owners, list)
		held |= other->device != owner->device &&
			!memcmp(other->id, id, QED_OWNER_SIZE);
	mutex_unlock(&owners_mutex);
	return held;
}

enum qed_holder qed_owner_judge(const struct qed_owner *owner,
				const struct qed_record *record)
{
	if (!record->active)
		return QED_HOLDER_NONE;
	/* First: whatever they call the host, it is this one. */
	if (is_held(owner, record->owner))
		return QED_HOLDER_HERE;
	return strcmp(record->host, owner->host) ? QED_HOLDER_AWAY :
						   QED_HOLDER_GONE;
}
