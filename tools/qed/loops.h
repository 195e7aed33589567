/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Loop devices that are there.
 */

#ifndef QED_LOOPS_H
#define QED_LOOPS_H

#include <linux/loop.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>

/* Longer than the name of any block device, with /dev/ */
#define QED_NODE_SIZE	64

/* The path of a block device's node, by the kernel's name of it: 0 or a negative error number */
int qed_block_node(dev_t device, char node[QED_NODE_SIZE]);

/* Open a loop device, for reading: a descriptor or what failed */
int qed_loop_open(dev_t device);

/* Ask a loop device: 0 or what failed, as -ENXIO if it has no file */
int qed_loop_status(dev_t device, struct loop_info64 *info);

/* The path of the file behind it, as far as the kernel knows that, to be freed; NULL if none */
char *qed_loop_path(dev_t device);

/**
 * qed_loop_each() - look at all loop devices over a file or block device
 * @st: of the file or device
 * @each: is called with each of them, until it returns true; @info is NULL if we may not ask it,
 *        which then has been found by its path
 * @ctx: for @each
 *
 * Return: has it returned true?
 */
bool qed_loop_each(const struct stat *st,
		   bool (*each)(dev_t device, const struct loop_info64 *info, void *ctx),
		   void *ctx);

#endif /* QED_LOOPS_H */
