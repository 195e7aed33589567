/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who has an image.
 *
 * A mapping that may write is an owner, a new one with each activation. Its identity is in
 * the record of the header while it is active, whatever the path to the image. Here is the
 * list of the owners of this module: an owner of this host that is not on it has ended in a
 * crash. It is a guard against mistakes, no fencing: nothing keeps another host from writing.
 */

#ifndef DM_QED_OWNER_H
#define DM_QED_OWNER_H

#include <linux/list.h>
#include <linux/types.h>

#include "dm-qed-record.h"

/**
 * struct qed_owner - a mapping that may write
 * @list: of all of them
 * @id: random bytes of this activation
 * @host: where it is
 * @device: that the mapping is a table of
 * @takes: it is about to write that it has the image ...
 * @put_off: or has not been able to, for want of space
 * @key: of its first sector as it is until then; so of one that does not write
 */
struct qed_owner {
	struct list_head list;
	u8 id[QED_OWNER_SIZE];
	const char *host;
	const void *device;
	bool takes;
	bool put_off;
	u32 key;
};

/**
 * enum qed_holder - who has the image, by its record
 * @QED_HOLDER_NONE: nobody
 * @QED_HOLDER_GONE: this host, but no mapping of it any more, or another table of the
 *	same device
 * @QED_HOLDER_HERE: another device of this host
 * @QED_HOLDER_AWAY: another host
 */
enum qed_holder {
	QED_HOLDER_NONE,
	QED_HOLDER_GONE,
	QED_HOLDER_HERE,
	QED_HOLDER_AWAY,
};

/**
 * qed_host_default() - how a host is called that nobody has given a name for
 * @host: the result, of QED_HOST_SIZE
 *
 * The name of the node, with "-" for what is not legal. Context: Any.
 */
void qed_host_default(char *host);

/* Not on the list yet. Context: Any. */
void qed_owner_init(struct qed_owner *owner);

/**
 * qed_owner_enter() - become an owner, with a new identity
 * @owner: the owner, not on the list
 * @host: its host, valid as long as it is
 * @device: any pointer that is the same for all tables of a device
 *
 * Context: Process context, may sleep.
 */
void qed_owner_enter(struct qed_owner *owner, const char *host,
		     const void *device);

/* It is none any more, if it ever was. Context: Process, may sleep. */
void qed_owner_leave(struct qed_owner *owner);

/**
 * qed_owner_begin_take() - wait until nobody else takes what may be the same image
 * @owner: who is about to look whether the image is as it was, and to write that it has it
 * @key: of what it was, see qed_record_key()
 * @takeover: also from one that could not write that it has it: this is another image
 *
 * Both are not one step: two paths of this host that do so at a time would both have it. But it may
 * be another image with the same first sector, on a disk that does not answer: not for ever.
 *
 * Context: Process context, may sleep. Ends with qed_owner_end_take() unless it fails.
 * Return: 0; 1 if somebody else is about to still; -EINTR; or -EBUSY if another device has it
 * that could not write that.
 */
int qed_owner_begin_take(struct qed_owner *owner, u32 key, bool takeover);

/* It has written that, or will not, or if it is @put_off, later. Context: Process. */
void qed_owner_end_take(struct qed_owner *owner, bool put_off);

/* What was put off has been written. Context: Process. */
void qed_owner_written(struct qed_owner *owner);

/*
 * Has another device taken what may be the same image, by @owner's key, and not been able to write
 * that? Context: Process.
 */
bool qed_owner_is_put_off(const struct qed_owner *owner);

/* Is this the identity of another device of this host? Context: Process, may sleep. */
bool qed_owner_is_here(const struct qed_owner *owner, const u8 *id);

/**
 * qed_owner_judge() - may somebody else have the image?
 * @owner: who wants it
 * @record: what its header says
 *
 * Context: Process context, may sleep.
 * Return: who has it.
 */
enum qed_holder qed_owner_judge(const struct qed_owner *owner,
				const struct qed_record *record);

#endif /* DM_QED_OWNER_H */
