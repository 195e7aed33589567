/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * .status and .message of the target.
 */

#ifndef DM_QED_STATUS_H
#define DM_QED_STATUS_H

#include <linux/device-mapper.h>

#define QED_DEFAULT_COMMIT_MS		1000

void qed_status(struct dm_target *ti, status_type_t type,
		unsigned int status_flags, char *result, unsigned int maxlen);
int qed_message(struct dm_target *ti, unsigned int argc, char **argv,
		char *result, unsigned int maxlen);

#endif /* DM_QED_STATUS_H */
