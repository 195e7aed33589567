// SPDX-License-Identifier: GPL-2.0-only
/*
 * The images below an image, see chain.h.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "chain.h"
#include "header.h"
#include "open.h"

/* Overwritten by the next call */
static char message[512];

/*----------------------------------------------------------------
 * Names
 *----------------------------------------------------------------
 */

/* A name with a colon before any slash is not one of a file: path_has_protocol() of QEMU */
static bool has_protocol(const char *name)
{
	return name[strcspn(name, ":/")] == ':';
}

/*
 * The path that QEMU would open for a name in the header of the image at @above: to be
 * freed. NULL if it is no path, or there is no memory.
 */
static char *resolve(const char *above, const char *name)
{
	const char *slash = strrchr(above, '/');
	char *path = NULL;

	if (!strncmp(name, "file:", 5))
		name += 5;
	else if (has_protocol(name))
		return NULL;
	if (*name == '/' || !slash)
		return strdup(name);
	if (asprintf(&path, "%.*s%s", (int)(slash + 1 - above), above, name) < 0)
		return NULL;
	return path;
}

/* Sets @name to what the header has, to be freed. Return: 1, 0 if that is none, or an error */
static int read_name(struct qed_image *img, char **name)
{
	u32 size = le32toh(img->header.backing_filename_size);
	int r;

	if (!(le64toh(img->header.features) & QED_F_BACKING_FILE) || !size)
		return 0;
	if (size > QED_MAX_BACKING_NAME)
		return -ENAMETOOLONG;
	*name = calloc(1, size + 1);
	if (!*name)
		return -ENOMEM;
	r = qed_read(img, *name, le32toh(img->header.backing_filename_offset), size);
	if (!r && strlen(*name) != size)
		r = -EINVAL;
	return r ? r : 1;
}

/*----------------------------------------------------------------
 * Images
 *----------------------------------------------------------------
 */

static bool is_same(const struct qed_image *one, const struct qed_image *other)
{
	struct stat a, b;

	if (fstat(one->fd, &a) || fstat(other->fd, &b))
		return false;
	if (S_ISBLK(a.st_mode) && S_ISBLK(b.st_mode))
		return a.st_rdev == b.st_rdev;
	return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* Is it what the header above says? */
static int judge(const struct qed_chain *chain, const struct qed_image *img, bool is_raw)
{
	const char *why;
	unsigned int i;

	for (i = 0; i < chain->nr; i++) {
		if (!is_same(chain->images[i], img))
			continue;
		snprintf(message, sizeof(message), "is below itself");
		return -ELOOP;
	}
	if (is_raw || qed_header_is_qed(img, &why))
		return 0;
	snprintf(message, sizeof(message),
		 "%s. If it is a raw image: qemu-img rebase -u -F raw, of the image above", why);
	return -EUCLEAN;
}

static int add(struct qed_chain *chain, const char *path, bool is_raw, const char **error)
{
	struct qed_image *img = calloc(1, sizeof(*img));
	int r;

	if (!img)
		return -ENOMEM;
	r = qed_image_open(img, path, false, chain->force, error);
	if (r) {
		free(img);
		return r;
	}
	*error = message;
	r = judge(chain, img, is_raw);
	if (r) {
		qed_image_close(img);
		free(img);
		return r;
	}
	chain->images[chain->nr++] = img;
	chain->is_raw = is_raw;
	return 0;
}

int qed_chain_next(struct qed_chain *chain, const char **path, const char **error)
{
	struct qed_image *above = chain->images[chain->nr - 1];
	char *name = NULL, **below = &chain->paths[chain->nr];
	int r = chain->is_raw ? 0 : read_name(above, &name);

	*path = above->path;
	*error = message;
	if (r < 0)
		snprintf(message, sizeof(message), "the name of its backing file: %s",
			 strerror(-r));
	if (r > 0) {
		*below = resolve(above->path, name);
		if (!*below) {
			snprintf(message, sizeof(message),
				 "its backing file is neither a file nor a device: %.400s", name);
			r = -EPROTONOSUPPORT;
		}
	}
	free(name);
	if (r <= 0)
		return r;
	*path = *below;
	if (chain->nr == QED_MAX_CHAIN) {
		snprintf(message, sizeof(message), "is below %u images: too many", chain->nr);
		return -EMLINK;
	}
	r = add(chain, *below, le64toh(above->header.features) & QED_F_BACKING_FORMAT_NO_PROBE,
		error);
	return r ? r : 1;
}

void qed_chain_close(struct qed_chain *chain)
{
	free(chain->paths[chain->nr]);
	while (chain->nr > 1) {
		struct qed_image *img = chain->images[--chain->nr];

		qed_image_close(img);
		free(img);
		free(chain->paths[chain->nr]);
	}
}
