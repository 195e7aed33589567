/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * .map and .end_io of the target.
 */

#ifndef DM_QED_MAP_H
#define DM_QED_MAP_H

#include <linux/device-mapper.h>

int qed_map(struct dm_target *ti, struct bio *bio);
int qed_end_io(struct dm_target *ti, struct bio *bio, blk_status_t *error);

#endif /* DM_QED_MAP_H */
