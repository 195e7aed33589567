/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is below an image.
 */

#ifndef QEDSETUP_BASE_H
#define QEDSETUP_BASE_H

#include "../chain.h"
#include "loop.h"
#include "subject.h"

/**
 * struct below - what is below an image, for a device
 * @chain: the image, which is its user's, and all below it: open, and locked against writes
 * @layers: what else is known of each of these, but for the image
 * @layers.st: of the file or device
 * @layers.loop: over the file
 * @layers.has_loop: there is one
 */
struct below {
	struct qed_chain chain;
	struct below_layer {
		struct stat st;
		struct loop loop;
		bool has_loop;
	} layers[QED_MAX_CHAIN];
};

/**
 * base_open_chain() - open all that is below an image
 * @chain: its first image is set, and its number; to be closed in any case
 *
 * Whatever others do with it.
 * Return: 0 or a negative error number, and it is noted what failed.
 */
int base_open_chain(struct qed_chain *chain);

/**
 * base_measure() - what an image that is to be made would have below
 * @path: of that image, which may be there
 * @name: of what is below, as it goes into the header
 * @is_raw: it is said to be a raw image; else it has to be a QED image
 * @size: the size of the disk that it has
 *
 * All below that has to be there, too, without that image, and nobody may write to it.
 * Return: the same.
 */
int base_measure(const char *path, const char *name, bool is_raw, u64 *size);

/**
 * base_open() - open all that is below an image, for a device
 * @below: the result, to be closed in any case
 * @top: the image
 * @given: the path of what is right below it, if the user says so, or NULL: by the name in the
 *         header, which also decides whether it is a raw image
 *
 * Each of them has to be one that dm-qed can have below.
 * Return: the same.
 */
int base_open(struct below *below, struct subject *top, const char *given);

/* Close all but the image; loop devices that nobody else uses go away. */
void base_close(struct below *below);

/* The block device for image @index of the chain, from 1 on: itself, or the loop device */
dev_t base_device(const struct below *below, unsigned int index);

#endif /* QEDSETUP_BASE_H */
