/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The table of a device with another image on top.
 */

#ifndef QEDSETUP_RETABLE_H
#define QEDSETUP_RETABLE_H

#include "target.h"

/**
 * struct retable - what is to change
 * @top: the device of the new image
 * @layer: what is right below that, 0 if that is in the table already
 * @from: what of all that is below the present image is below the new one: from this index on
 * @zeroed_from: in clusters, 0: not known
 * @known_zeroes: what the record of the new image says of zeroes holds
 * @cluster_size: of the new image, and ...
 * @old_cluster_size: of the present one
 */
struct retable {
	dev_t top, layer;
	unsigned int from;
	u64 zeroed_from;
	bool known_zeroes;
	u64 cluster_size, old_cluster_size;
};

/**
 * retable() - make a table of another one
 * @old: the present table
 * @retable: what is to change
 *
 * Options stay, and what is a number of clusters remains the same size.
 * Return: its parameters, to be freed; NULL if they are too long, or there is no memory.
 */
char *retable(const struct target_table *old, const struct retable *retable);

#endif /* QEDSETUP_RETABLE_H */
