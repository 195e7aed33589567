// SPDX-License-Identifier: GPL-2.0-only
/*
 * The image that a verb is about, see subject.h.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../header.h"
#include "../locks.h"
#include "fail.h"
#include "holder.h"
#include "loop.h"
#include "subject.h"

int subject_busy(const char *path, const struct stat *st)
{
	char *holder = holder_find(st, true);
	const char *nobody = geteuid() ? "somebody else (root is told who it is)" :
					 "somebody else, maybe on another host";
	int r = fail(EBUSY, "%s: is in use by %s", path, holder ? holder : nobody);

	free(holder);
	return r;
}

/* What was looked at is what is opened, whatever its name stands for meanwhile. */
static int reopen(int pin, int flags)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", pin);
	fd = open(path, flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* Only to ask: device mapper takes it exclusively itself. */
static int check_exclusive(struct subject *subject, int pin)
{
	int fd = reopen(pin, O_RDONLY | O_EXCL);

	if (fd == -EBUSY)
		return subject_busy(subject->path, &subject->st);
	if (fd >= 0)
		close(fd);
	return 0;
}

static int open_pinned(struct subject *subject, int pin, enum subject_use use)
{
	int r;

	if (fstat(pin, &subject->st))
		return fail(errno, "%s: %s", subject->path, strerror(errno));
	subject->is_block = S_ISBLK(subject->st.st_mode);
	if (!subject->is_block && !S_ISREG(subject->st.st_mode))
		return fail(ENOTBLK, "%s: is neither a file nor a block device", subject->path);
	if (subject->is_block && use == SUBJECT_WRITE) {
		r = check_exclusive(subject, pin);
		if (r)
			return r;
	}
	subject->fd = reopen(pin, use == SUBJECT_WRITE ? O_RDWR : O_RDONLY);
	if (subject->fd < 0)
		return fail(-subject->fd, "%s: cannot be opened%s: %s", subject->path,
			    use == SUBJECT_WRITE ? " for writing" : "", strerror(-subject->fd));
	return 0;
}

static int check_use(struct subject *subject, enum subject_use use)
{
	char name[QED_NODE_SIZE];

	if (use == SUBJECT_LOOK)
		return 0;
	/* left behind by a device that is gone */
	if (subject->is_block && use == SUBJECT_WRITE)
		loop_release(&subject->st);
	if (qed_lock(subject->fd, use == SUBJECT_WRITE ? QED_LOCK_WRITE : QED_LOCK_READ))
		return subject_busy(subject->path, &subject->st);
	if (use == SUBJECT_WRITE && loop_find(&subject->st, name))
		return subject_busy(subject->path, &subject->st);
	return 0;
}

int subject_open(struct subject *subject, const char *path, enum subject_use use)
{
	int pin = open(path, O_PATH | O_CLOEXEC), r;

	memset(subject, 0, sizeof(*subject));
	subject->path = path;
	if (pin < 0)
		return fail(errno, "%s: %s", path, strerror(errno));
	r = open_pinned(subject, pin, use);
	close(pin);
	if (r)
		return r;
	r = check_use(subject, use);
	if (r)
		close(subject->fd);
	return r;
}

int subject_check_header(struct qed_image *img)
{
	struct qed_header_check check;
	int r = qed_header_check(img, &check);

	if (r)
		return fail(-r, "%s: cannot be read: %s", img->path, strerror(-r));
	if (check.nr)
		return fail_advise(EUCLEAN, "qed-fsck tells which, and repairs them",
				   "%s: its header has defects", img->path);
	return 0;
}

int subject_read(struct subject *subject)
{
	const char *why;
	int r = qed_image_init(&subject->img, subject->fd, subject->path, false);

	if (r)
		return fail(-r, "%s: cannot be read: %s", subject->path, strerror(-r));
	if (!qed_header_is_qed(&subject->img, &why))
		return fail(EUCLEAN, "%s: %s", subject->path, why);
	r = subject_check_header(&subject->img);
	if (r)
		return r;
	r = qed_record_read(&subject->img, &subject->img.header, &subject->record);
	return r ? fail(-r, "%s: cannot be read: %s", subject->path, strerror(-r)) : 0;
}

int subject_open_image(struct subject *subject, const char *path, enum subject_use use)
{
	int r = subject_open(subject, path, use);

	if (r)
		return r;
	r = subject_read(subject);
	if (r)
		subject_close(subject);
	return r;
}

void subject_close(struct subject *subject)
{
	close(subject->fd);
}
