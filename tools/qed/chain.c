// SPDX-License-Identifier: GPL-2.0-only
/*
 * The images below an image, see chain.h.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "chain.h"
#include "descriptors.h"
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

char *qed_backing_path(const char *above, const char *name)
{
	const char *slash = strrchr(above, '/');
	char *path = NULL;

	if (!strncmp(name, "file:", 5))
		return strdup(name + 5);	/* from the working folder */
	if (has_protocol(name))
		return NULL;
	if (*name == '/' || !slash)
		return strdup(name);
	if (asprintf(&path, "%.*s%s", (int)(slash + 1 - above), above, name) < 0)
		return NULL;
	return path;
}

/*----------------------------------------------------------------
 * Images
 *----------------------------------------------------------------
 */

/* Told before it is opened: our own locks would look like those of somebody else */
static bool is_in_chain(const struct qed_chain *chain, const char *path)
{
	int fd = open(path, O_PATH | O_CLOEXEC);
	bool found = false;
	unsigned int i;

	for (i = 0; fd >= 0 && i < chain->nr; i++)
		found |= qed_is_same_file(chain->images[i]->fd, fd);
	if (fd >= 0)
		close(fd);
	return found;
}

/* Is it what the header above says? */
static int judge(const struct qed_image *img, bool is_raw)
{
	const char *why;

	if (is_raw || qed_header_is_qed(img, &why))
		return 0;
	snprintf(message, sizeof(message),
		 "%s. If it is a raw image: qemu-img rebase -u -F raw, of the image above", why);
	return -EUCLEAN;
}

static int open_image(struct qed_image *img, const struct qed_chain *chain, const char *path,
		      bool is_raw, const char **error)
{
	int r = qed_image_open(img, path, false, chain->force, error);

	if (r)
		return r;
	*error = message;
	r = judge(img, is_raw);
	if (r)
		qed_image_close(img);
	return r;
}

int qed_chain_add(struct qed_chain *chain, char *path, bool is_raw, const char **error)
{
	struct qed_image *img;
	int r;

	*error = message;
	free(chain->paths[chain->nr]);
	chain->paths[chain->nr] = path;
	if (chain->nr == QED_MAX_CHAIN) {
		snprintf(message, sizeof(message), "is below %u images: too many", chain->nr);
		return -EMLINK;
	}
	if (is_in_chain(chain, path)) {
		snprintf(message, sizeof(message), "is below itself");
		return -ELOOP;
	}
	img = calloc(1, sizeof(*img));
	if (!img) {
		snprintf(message, sizeof(message), "%s", strerror(ENOMEM));
		return -ENOMEM;
	}
	r = open_image(img, chain, path, is_raw, error);
	if (r) {
		free(img);
		return r;
	}
	chain->images[chain->nr++] = img;
	chain->is_raw = is_raw;
	return 0;
}

/* Sets @path to that of what is below an image. Return: 1, 0 if there is none, or an error */
static int find_below(const struct qed_image *above, char **path)
{
	char *name;
	int r = qed_backing_name(above, &name);

	if (!r && !name)
		return 0;
	if (!r && strlen(name) != le32toh(above->header.backing_filename_size))
		r = -EINVAL;
	if (r) {
		snprintf(message, sizeof(message), "the name of its backing file: %s",
			 r == -ERANGE ? "is not in its header" : strerror(-r));
	} else {
		*path = qed_backing_path(above->path, name);
		if (!*path)
			snprintf(message, sizeof(message),
				 "its backing file is neither a file nor a device: %.400s", name);
		r = *path ? 1 : -EPROTONOSUPPORT;
	}
	free(name);
	return r;
}

int qed_chain_next(struct qed_chain *chain, const char **path, const char **error)
{
	const struct qed_image *above = chain->images[chain->nr - 1];
	char *below = NULL;
	int r = chain->is_raw ? 0 : find_below(above, &below);

	*path = above->path;
	*error = message;
	if (r <= 0)
		return r;
	*path = below;
	r = qed_chain_add(chain, below,
			  le64toh(above->header.features) & QED_F_BACKING_FORMAT_NO_PROBE, error);
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
