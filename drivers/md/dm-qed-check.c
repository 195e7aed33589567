// SPDX-License-Identifier: GPL-2.0-only
/*
 * The set of clusters that a check has seen, see dm-qed-check.h.
 */

#include <linux/bitops.h>

#include "dm-qed-check.h"

const char *qed_check_see(struct qed_check *check, u64 cluster)
{
	if (!qed_space_is_used(check->space, cluster))
		return "refers to a cluster that counts as free";
	/* What the device has grown by is left out: leaks are not counted then. */
	if (cluster >= check->nr)
		return NULL;
	if (__test_and_set_bit(cluster, check->seen))
		return "refers to a cluster that is referenced already";
	check->nr_seen++;
	return NULL;
}

void qed_check_forget(struct qed_check *check, u64 cluster)
{
	if (cluster < check->nr)
		check->nr_seen -= __test_and_clear_bit(cluster, check->seen);
}
