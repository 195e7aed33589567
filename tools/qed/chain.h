/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The images below an image, as their headers name them.
 */

#ifndef QED_CHAIN_H
#define QED_CHAIN_H

#include "image.h"

/* Images of a chain, the raw base counts */
#define QED_MAX_CHAIN	65U

/**
 * struct qed_chain - images that are open, the one that is written first
 * @images: the first one is its user's
 * @paths: their names, but for that of the first one; one more if that could not be opened
 * @nr: number of them
 * @is_raw: the last one is a raw base
 * @force: open them even if they are in use
 *
 * All members but @images[0], @nr, to be 1, and @force begin as zeroes.
 */
struct qed_chain {
	struct qed_image *images[QED_MAX_CHAIN];
	char *paths[QED_MAX_CHAIN + 1];
	unsigned int nr;
	bool is_raw, force;
};

/**
 * qed_backing_path() - what QEMU would open for a name in a header
 * @above: the path of the image that has it
 * @name: the name
 *
 * A relative one is looked for in the folder of the image, by its path, not by what that is a
 * link to.
 * Return: the path, to be freed; NULL if it is none of a file, or there is no memory.
 */
char *qed_backing_path(const char *above, const char *name);

/**
 * qed_chain_add() - open an image as what is below the last one
 * @chain: the chain; gets one more image, for reading, with QEMU's locks
 * @path: of it; freed when the chain is closed, also if this fails
 * @is_raw: it is a raw image; else it has to be one of the format
 * @error: a text for the user if it fails; overwritten by the next call
 *
 * Return: 0, -ELOOP if it is in the chain already, -EUCLEAN if it is no such image, or what
 * failed.
 */
int qed_chain_add(struct qed_chain *chain, char *path, bool is_raw, const char **error);

/**
 * qed_chain_next() - open what is below the last image
 * @chain: the chain; gets one more image, for reading, with QEMU's locks
 * @path: the name of it, also if it cannot be opened, or of the image that names none;
 *        until the chain is closed
 * @error: a text for the user if it fails; overwritten by the next call
 *
 * Its name is resolved as QEMU does. What has no QED header is never taken for an image, and
 * never for a raw base unless the header above says so.
 * Return: 1 if there is one, 0 if the last one is a raw base or has nothing below, or what
 * failed, as of qed_chain_add().
 */
int qed_chain_next(struct qed_chain *chain, const char **path, const char **error);

/* Is the image at @index a raw one? */
static inline bool qed_chain_is_raw(const struct qed_chain *chain, unsigned int index)
{
	return chain->is_raw && index == chain->nr - 1;
}

/* Close all images but the first one, which is its user's. */
void qed_chain_close(struct qed_chain *chain);

#endif /* QED_CHAIN_H */
