/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The features of a table line: what its arguments after the image device say.
 */

#ifndef DM_QED_FEATURES_H
#define DM_QED_FEATURES_H

#include "dm-qed-target.h"

/**
 * qed_features_parse() - read the features of a table line
 * @as: the arguments: their number, and so many; or none at all
 * @f: the features, all of them zero
 * @error: a phrase for the user where it fails
 *
 * Whether they suit the image device is not its business.
 *
 * Context: Process context.
 * Return: 0 or -EINVAL.
 */
int qed_features_parse(struct dm_arg_set *as, struct qed_features *f, char **error);

#endif /* DM_QED_FEATURES_H */
