/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The image that a verb is about: opened, locked, and what its header says.
 */

#ifndef QEDSETUP_SUBJECT_H
#define QEDSETUP_SUBJECT_H

#include <sys/stat.h>

#include "../image.h"
#include "../record.h"

enum subject_use {
	SUBJECT_LOOK,	/* whatever others do with it */
	SUBJECT_READ,	/* nobody may write to it */
	SUBJECT_WRITE,	/* nobody may use it */
};

/**
 * struct subject - an open file or device
 * @path: as it was given
 * @fd: open, with QEMU's locks but for SUBJECT_LOOK
 * @st: of it
 * @is_block: it is a block device
 * @img: the image on it, once its header has been read; its descriptor is @fd
 * @record: the record in the header
 */
struct subject {
	const char *path;
	int fd;
	struct stat st;
	bool is_block;
	struct qed_image img;
	struct qed_record record;
};

/**
 * subject_open() - open a file or a block device, whatever it has
 * @subject: the result, to be closed if 0 is returned
 * @path: of it
 * @use: what for
 *
 * Also sees to it that no other loop device is over the file, and no other user of the device.
 * Return: 0 or a negative error number, and it is noted what failed.
 */
int subject_open(struct subject *subject, const char *path, enum subject_use use);

/**
 * subject_read() - read the header
 * @subject: open
 *
 * Fails if there is no image, or its header has a defect.
 * Return: the same.
 */
int subject_read(struct subject *subject);

/**
 * subject_check_header() - does the header have a defect?
 * @img: the image; its geometry is set
 *
 * Return: 0, -EUCLEAN if so, or what failed; it is noted.
 */
int subject_check_header(struct qed_image *img);

/* The same as both, and closed if that fails */
int subject_open_image(struct subject *subject, const char *path, enum subject_use use);

void subject_close(struct subject *subject);

/* Is its record active: does somebody have it, or had it when its host crashed? */
static inline bool subject_is_active(const struct subject *subject)
{
	return subject->record.state == QED_RECORD_VALID && subject->record.active;
}

static inline bool subject_needs_check(const struct subject *subject)
{
	return le64toh(subject->img.header.features) & QED_F_NEED_CHECK;
}

/* Fail, and name who has it */
int subject_busy(const char *path, const struct stat *st);

#endif /* QEDSETUP_SUBJECT_H */
