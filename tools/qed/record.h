/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The record in the header: who has the image, and what is known of its free space.
 *
 * Documentation/admin-guide/device-mapper/dm-qed-record.rst tells what it consists of.
 */

#ifndef QED_RECORD_H
#define QED_RECORD_H

#include "image.h"

enum qed_record_state {
	QED_RECORD_NONE,
	QED_RECORD_IGNORED,	/* void: as if there were none */
	QED_RECORD_VALID,
};

/**
 * struct qed_record - a record
 * @state: all else is zero unless there is one
 * @what: what voids it, as the end of a sentence
 * @owner: random bytes of the activation that has written it
 * @host: where that was, a legal name
 * @active: the owner has the image; what follows is 0
 * @end: nothing refers to this cluster or one behind it; 0: not known
 * @zero_from: clusters from this one on read as zeroes ...
 * @zero_end: ... up to this one, which does not; 0: none are known to
 * @device_size: of the image, in bytes; the zeroes hold only if it is that
 */
struct qed_record {
	enum qed_record_state state;
	const char *what;
	u8 owner[QED_OWNER_SIZE];
	char host[QED_HOST_SIZE];
	bool active;
	u64 end, zero_from, zero_end, device_size;
};

/**
 * qed_record_read() - read the record of an image
 * @img: the image, its geometry is set
 * @header: its header as it should be
 * @record: the result
 *
 * Only reads anything if the header says that there is a record.
 * Return: 0 or what failed.
 */
int qed_record_read(struct qed_image *img, const struct qed_header *header,
		    struct qed_record *record);

/**
 * qed_record_owner() - who has the image?
 * @img: the image, whose geometry may not be known
 * @record: the result; what it says of free space is not checked
 *
 * Return: 0 or what failed.
 */
int qed_record_owner(struct qed_image *img, struct qed_record *record);

/* The checksum that a record has to have */
u32 qed_record_crc(const struct qed_disk_record *disk);

/* May it be in the name of a host? */
bool qed_host_is_char(char c);

/* Does the header on the disk still say that there is a record? */
static inline bool qed_has_record(const struct qed_image *img)
{
	return le64toh(img->header.autoclear_features) & QED_AF_RECORD;
}

#endif /* QED_RECORD_H */
