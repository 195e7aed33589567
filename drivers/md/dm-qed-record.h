/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The record in the header: who has the image, and what is known of its free space.
 *
 * Here it is only read from a sector in memory and written there: no I/O, no locks.
 * What it means, and who else sees it, is in
 * Documentation/admin-guide/device-mapper/dm-qed-record.rst.
 */

#ifndef DM_QED_RECORD_H
#define DM_QED_RECORD_H

#include <linux/types.h>

#include "dm-qed-format.h"

/**
 * struct qed_record - a record
 * @owner: random bytes of the activation that has written it
 * @host: where that was, NUL-terminated
 * @active: the owner has the image; all that follows is 0, but the size
 * @end: no table refers to this cluster or one behind it; 0 if that is not known
 * @zero_from: clusters from this one on read as zeroes, durably ...
 * @zero_end: ... up to here, not included; 0 if none are known to; not below @end
 * @device_size: of the image device in bytes; of another size nothing of this holds but who has
 *	it; nor do the zeroes on another device, which nothing here tells
 */
struct qed_record {
	u8 owner[QED_OWNER_SIZE];
	char host[QED_HOST_SIZE];
	bool active;
	u64 end;
	u64 zero_from;
	u64 zero_end;
	u64 device_size;
};

/**
 * enum qed_record_change - what has become of a record
 * @QED_RECORD_SAME: nothing
 * @QED_RECORD_VOID: it is void: somebody has written who does not know it, and nobody else
 * @QED_RECORD_FOREIGN: it is that of another owner, or was meanwhile, or of a kind that we
 *	do not know
 * @QED_RECORD_GONE: so is the image: there is another one, or it has been changed
 */
enum qed_record_change {
	QED_RECORD_SAME,
	QED_RECORD_VOID,
	QED_RECORD_FOREIGN,
	QED_RECORD_GONE,
};

/* May it be in the name of a host? Context: Any. */
bool qed_host_is_char(char c);

/**
 * qed_host_is_legal() - is this the name of a host?
 * @host: the name, NUL-terminated
 *
 * 1 to 63 of the characters A-Z a-z 0-9 . _ -; so "(none)", what a kernel without a
 * name calls itself, is not.
 *
 * Context: Any.
 * Return: whether it is.
 */
bool qed_host_is_legal(const char *host);

/**
 * qed_record_has_room() - can the header have a record?
 * @header: the header
 *
 * Not where the name of the backing file is in its place.
 *
 * Context: Any.
 * Return: whether it can.
 */
bool qed_record_has_room(const struct qed_header *header);

/**
 * qed_record_parse() - read the record of a header
 * @record: the result
 * @header: the first sector of the image, its fields checked by qed_geometry_parse()
 * @what: what is wrong with it, as the end of a sentence, if that is returned
 *
 * Context: Any.
 * Return: 0, -ENOENT if there is none, -EUCLEAN if it is as if there were none.
 */
int qed_record_parse(struct qed_record *record, const struct qed_header *header,
		     const char **what);

/**
 * qed_record_build() - write a record into a header
 * @header: the first sector of the image, as it is to be written
 * @record: the record; its host is legal
 *
 * What a record must not claim while it is active, or @header has NEED_CHECK, is left
 * out. Without room @header gets no record.
 *
 * Context: Any.
 * Return: whether there was room.
 */
bool qed_record_build(struct qed_header *header, const struct qed_record *record);

/**
 * qed_record_compare() - has somebody else taken the image?
 * @now: the first sector, as it is now, whatever that is
 * @was: as it was when we looked last, or have written it
 * @owner: who we are: a record with that is ours
 *
 * Of the header NEED_CHECK and autoclear bits may change, as by qemu-img check, and the image
 * is still the same. Bit 63 alone does not tell that nobody has taken it: he may have had it
 * before the bit was cleared.
 *
 * Context: Any.
 * Return: what has happened to the record since.
 */
enum qed_record_change qed_record_compare(const struct qed_header *now,
					  const struct qed_header *was,
					  const u8 *owner);

/*
 * Who has written the record last that is there, whatever bit 63 says; NULL if there is none that
 * is whole. Context: Any.
 */
const u8 *qed_record_owner(const struct qed_header *header);

/* Has nobody written header or record, not even a bit of them? Context: Any. */
bool qed_record_untouched(const struct qed_header *now,
			  const struct qed_header *was);

/* The same of two paths to an image, as long as nobody writes them. Context: Any. */
u32 qed_record_key(const struct qed_header *header);

#endif /* DM_QED_RECORD_H */
