// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is being done, see intent.h.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "../image.h"
#include "dm.h"
#include "fail.h"
#include "intent.h"

#define FOLDER	"/run/qed"

/*
 * The locked file that still has its name, in @intent->fd: who has ended removes it. Return: 1,
 * 0 if it has none any more, or what failed.
 */
static int lock_file(struct intent *intent)
{
	struct stat open_st, st;
	int fd = open(intent->file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB)) {
		close(fd);
		return errno == EWOULDBLOCK ? -EBUSY : -errno;
	}
	if (!fstat(fd, &open_st) && !stat(intent->file, &st) && st.st_ino == open_st.st_ino) {
		intent->fd = fd;
		return 1;
	}
	close(fd);
	return 0;
}

static void read_file(struct intent *intent)
{
	unsigned long long dev, ino;
	char text[sizeof(intent->path) + 128], kind;
	ssize_t n = qed_read_all(intent->fd, text, 0, sizeof(text) - 1);
	int end = 0;

	text[n > 0 ? n : 0] = '\0';
	/* what is not whole has not been begun */
	if (n <= 0 || text[n - 1] != '\n')
		return;
	text[n - 1] = '\0';
	if (sscanf(text, "%15s %c %llu %llu %n", intent->verb, &kind, &dev, &ino, &end) != 4 ||
	    !end) {
		*intent->verb = '\0';
		return;
	}
	intent->st.st_mode = kind == 'b' ? S_IFBLK : S_IFREG;
	intent->st.st_dev = dev;
	intent->st.st_rdev = dev;
	intent->st.st_ino = ino;
	snprintf(intent->path, sizeof(intent->path), "%s", text + end);
}

static int find_file(struct intent *intent, const char *name)
{
	char *path = dm_path(name);
	int n;

	if (!path)
		return -ENOMEM;
	/* as device mapper has it, without slashes */
	n = snprintf(intent->file, sizeof(intent->file), FOLDER "/%s", strrchr(path, '/') + 1);
	free(path);
	return n < (int)sizeof(intent->file) ? 0 : -ENAMETOOLONG;
}

int intent_begin(struct intent *intent, const char *name)
{
	int r;

	memset(intent, 0, sizeof(*intent));
	if (mkdir(FOLDER, 0700) && errno != EEXIST)
		return fail(errno, FOLDER ": %s", strerror(errno));
	r = find_file(intent, name);
	while (!r)
		r = lock_file(intent);
	if (r == -EBUSY)
		return fail_advise(EBUSY, "wait until it has ended",
				   "%s: another qedsetup is at work on this device", name);
	if (r < 0)
		return fail(-r, "%s: %s", intent->file, strerror(-r));
	read_file(intent);
	return 0;
}

int intent_write(struct intent *intent, const char *verb, const char *path,
		 const struct stat *st)
{
	bool is_block = S_ISBLK(st->st_mode);
	char text[sizeof(intent->path) + 128];
	int n = snprintf(text, sizeof(text), "%s %c %llu %llu %s\n", verb, is_block ? 'b' : 'f',
			 (unsigned long long)(is_block ? st->st_rdev : st->st_dev),
			 (unsigned long long)st->st_ino, path);
	u64 done;
	int r = 0;

	if (n >= (int)sizeof(text))
		return fail(ENAMETOOLONG, "%s: %s", path, strerror(ENAMETOOLONG));
	if (ftruncate(intent->fd, 0))
		r = -errno;
	if (!r)
		r = qed_write_all(intent->fd, text, 0, n, &done);
	return fail_as(r, intent->file);
}

void intent_end(struct intent *intent)
{
	unlink(intent->file);
	close(intent->fd);
}

void intent_leave(struct intent *intent)
{
	if (*intent->verb)
		close(intent->fd);
	else
		intent_end(intent);
}

bool intent_was(const struct intent *intent, const char *verb, const struct stat *st)
{
	if (strcmp(intent->verb, verb) || S_ISBLK(st->st_mode) != S_ISBLK(intent->st.st_mode))
		return false;
	return S_ISBLK(st->st_mode) ? st->st_rdev == intent->st.st_rdev :
		st->st_dev == intent->st.st_dev && st->st_ino == intent->st.st_ino;
}
