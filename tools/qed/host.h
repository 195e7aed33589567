/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which host this is, as dm-qed calls it in a record.
 */

#ifndef QED_HOST_H
#define QED_HOST_H

#include "common.h"

/* Is that the name of the node, or what /etc/machine-id says? */
bool qed_is_this_host(const char *host);

#endif /* QED_HOST_H */
