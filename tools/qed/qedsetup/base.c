// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is below an image, see base.h.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../locks.h"
#include "base.h"
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

/*
 * A loop device has whole sectors only, and of these dm-qed uses whole clusters: of an image, which
 * ends with one unless it has been damaged, what is behind would be missing.
 */
static int check_size(const struct qed_image *img, bool is_raw)
{
	u64 unit = is_raw ? SECTOR : qed_cluster_size(img);
	char advice[128];

	if (img->is_block || !(img->size % unit))
		return 0;
	snprintf(advice, sizeof(advice),
		 "its end would not show. truncate --size=%%%llu makes it one", unit);
	return fail_advise(EUCLEAN, advice, "%s: its size, %llu bytes, is not a multiple of %llu",
			   img->path, img->size, unit);
}

/* May the image at the end of a chain be used by who only reads? Then it is locked. */
static int check_last(const struct qed_chain *chain, struct stat *st)
{
	struct qed_image *img = chain->images[chain->nr - 1];
	int r;

	if (fstat(img->fd, st))
		return fail(errno, "%s: %s", img->path, strerror(errno));
	if (qed_lock(img->fd, QED_LOCK_READ))
		return subject_busy(img->path, st);
	/* it has been read before that */
	r = qed_image_untouched(img);
	if (r)
		return fail(-r, "%s: %s", img->path,
			    r == -EBUSY ? "changes just now" : strerror(-r));
	r = chain->is_raw ? 0 : subject_check_header(img);
	return r ? r : check_size(img, chain->is_raw);
}

/*----------------------------------------------------------------
 * For a new image
 *----------------------------------------------------------------
 */

/* The one right below, by its name */
static int add_named(struct qed_chain *chain, const char *name, bool is_raw)
{
	const char *above = chain->images[0]->path, *error;
	char *path = qed_backing_path(above, name);
	int r;

	if (!path)
		return fail(EPROTONOSUPPORT, "%s: is neither a file nor a device", name);
	r = qed_chain_add(chain, path, is_raw, &error);
	if (r == -EUCLEAN)
		return fail_advise(EUCLEAN, "--backing-format raw, if it is a raw one",
				   "%s: is no QED image", path);
	return r ? fail(-r, "%s: %s", path, error) : 0;
}

static int measure_chain(struct qed_chain *chain, u64 *size)
{
	const struct qed_image *img = chain->images[1];
	struct stat st;
	int r = check_last(chain, &st);

	if (r)
		return r;
	*size = chain->is_raw ? img->size : img->image_size;
	return base_open_chain(chain);
}

int base_measure(const char *path, const char *name, bool is_raw, u64 *size)
{
	/* one that is there, and will be replaced, must not be among them */
	struct qed_image top = { .path = path, .fd = open(path, O_PATH | O_CLOEXEC) };
	struct qed_chain chain = { .images = { &top }, .nr = 1, .force = true };
	int r = add_named(&chain, name, is_raw);

	if (!r)
		r = measure_chain(&chain, size);
	qed_chain_close(&chain);
	if (top.fd >= 0)
		close(top.fd);
	return r;
}

/*----------------------------------------------------------------
 * For a device
 *----------------------------------------------------------------
 */

/* In place of the one in the header */
static int add_given(struct qed_chain *chain, const char *given)
{
	u64 features = le64toh(chain->images[0]->header.features);
	const char *error;
	char *path;
	int r;

	if (!(features & QED_F_BACKING_FILE))
		return fail(EINVAL, "%s: has no backing file: without --backing",
			    chain->images[0]->path);
	path = strdup(given);
	if (!path)
		return -ENOMEM;
	r = qed_chain_add(chain, path, features & QED_F_BACKING_FORMAT_NO_PROBE, &error);
	return r ? fail(-r, "%s: %s", given, error) : 1;
}

/* Open the next one: 1, 0 if there is none, or what failed */
static int add_next(struct qed_chain *chain, const char *given)
{
	const char *path, *error;
	int r;

	if (given && chain->nr == 1)
		return add_given(chain, given);
	r = qed_chain_next(chain, &path, &error);
	return r < 0 ? fail(-r, "%s: %s", path, error) : r;
}

static void warn_of_crash(const struct qed_chain *chain)
{
	const struct qed_image *img = chain->images[chain->nr - 1];

	if (!chain->is_raw && le64toh(img->header.features) & QED_F_NEED_CHECK)
		warn("%s: was in use when its host crashed, and is used as it is: see qed-fsck",
		     img->path);
}

int base_open(struct below *below, struct subject *top, const char *given)
{
	struct qed_chain *chain = &below->chain;
	int r;

	memset(below, 0, sizeof(*below));
	chain->images[0] = &top->img;
	chain->nr = 1;
	/* their users are looked for here: who only reads them, too, is none */
	chain->force = true;
	while ((r = add_next(chain, given)) > 0) {
		r = check_last(chain, &below->layers[chain->nr - 1].st);
		if (r)
			break;
		warn_of_crash(chain);
	}
	return r;
}

void base_close(struct below *below)
{
	unsigned int i;

	for (i = 1; i < below->chain.nr; i++)
		if (below->layers[i].has_loop)
			loop_close(&below->layers[i].loop);
	qed_chain_close(&below->chain);
}

dev_t base_device(const struct below *below, unsigned int index)
{
	const struct below_layer *layer = &below->layers[index];

	return layer->has_loop ? layer->loop.device : layer->st.st_rdev;
}
