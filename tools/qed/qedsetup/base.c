// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is below an image, see base.h.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../header.h"
#include "../locks.h"
#include "base.h"
#include "create.h"
#include "fail.h"

#define SECTOR	512

int base_open_chain(struct qed_chain *chain)
{
	const char *path, *error;
	int r;

	chain->force = true;
	do
		r = qed_chain_next(chain, &path, &error);
	while (r > 0);
	return r ? fail(-r, "%s: %s", path, error) : 0;
}

static int check_raw_size(const char *path, u64 size)
{
	if (!(size % SECTOR))
		return 0;
	return fail_advise(EUCLEAN, "its end would not show. truncate --size=%512 makes it one",
			   "%s: its size, %llu bytes, is not a multiple of %d", path, size, SECTOR);
}

/*----------------------------------------------------------------
 * For a new image
 *----------------------------------------------------------------
 */

/* The one image below; what is below that is not looked at */
static int measure_below(struct qed_chain *chain, u64 *size)
{
	const char *path, *error;
	struct qed_image *img;
	struct stat st;
	int r;

	chain->force = true;
	r = qed_chain_next(chain, &path, &error);
	if (r == -EUCLEAN)
		return fail_advise(EUCLEAN, "--backing-format raw, if it is a raw one",
				   "%s: is no QED image", path);
	if (r < 0)
		return fail(-r, "%s: %s", path, error);
	img = chain->images[1];
	if (qed_lock(img->fd, QED_LOCK_READ)) {
		r = fstat(img->fd, &st);
		return r ? -errno : subject_busy(path, &st);
	}
	*size = chain->is_raw ? img->size : le64toh(img->header.image_size);
	return check_raw_size(path, *size);
}

/* As it will be resolved: by an image that is in memory, and has the path of the new one */
int base_measure(const char *path, const char *name, bool is_raw, u64 *size)
{
	struct new_image image = {
		.shape = { .cluster_size = 65536, .table_size = 1, .header_size = 1,
			   .image_size = SECTOR },
		.backing = name, .is_raw = is_raw,
	};
	int fd = memfd_create("qed", MFD_CLOEXEC), r;
	struct qed_chain chain = { .nr = 1 };
	struct qed_image img;

	if (fd < 0)
		return fail(errno, "%s: %s", path, strerror(errno));
	r = new_image_write(&image, fd);
	if (!r)
		r = qed_image_init(&img, fd, path, false);
	chain.images[0] = &img;
	r = r ? fail_as(r, path) : measure_below(&chain, size);
	qed_chain_close(&chain);
	close(fd);
	return r;
}

/*----------------------------------------------------------------
 * For a device
 *----------------------------------------------------------------
 */

/* Its path, by the header; it is not kept open here */
static int find_path(struct subject *top, char **path)
{
	struct qed_chain chain = { .images = { &top->img }, .nr = 1, .force = true };
	const char *name, *error;
	bool is_raw;
	int r = qed_chain_next(&chain, &name, &error);

	is_raw = chain.is_raw;
	*path = r > 0 ? strdup(name) : NULL;
	if (r < 0)
		r = fail(-r, "%s: %s", name, error);
	else if (r && !is_raw)
		r = fail_advise(ENOTSUP, "open it with --readonly, its device is the --backing",
				"%s: is a QED image", name);
	else if (r && !*path)
		r = -ENOMEM;
	qed_chain_close(&chain);
	return r < 0 ? r : 0;
}

static int open_raw(struct subject *base, const char *path)
{
	struct qed_image raw;
	int r = subject_open(base, path, SUBJECT_READ);

	if (r)
		return r;
	/* which is only asked for its size */
	r = qed_image_init(&raw, base->fd, path, false);
	r = r ? fail_as(r, path) : check_raw_size(path, raw.size);
	if (r)
		subject_close(base);
	return r;
}

int base_open(struct subject *base, struct subject *top, const char *given, char **path)
{
	int r = 0;

	*path = NULL;
	if (!(le64toh(top->img.header.features) & QED_F_BACKING_FILE))
		return given ? fail(EINVAL, "%s: has no backing file: without --backing",
				    top->path) : 0;
	if (given)
		*path = strdup(given);
	else
		r = find_path(top, path);
	if (!r && *path)
		r = open_raw(base, *path);
	if (r) {
		free(*path);
		*path = NULL;
	}
	return r;
}
