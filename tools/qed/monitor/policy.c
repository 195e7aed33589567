// SPDX-License-Identifier: GPL-2.0-only
/*
 * How much more space an image is to have, see policy.h.
 */

#include <stdint.h>
#include <string.h>

#include "policy.h"

/* Bytes of an entry of an L2 table, and the most clusters that one has */
#define ENTRY_SIZE	8
#define MAX_TABLE	16

/* What is tried at least, in bytes: an extent of a volume group, as it is by default */
#define LEAST		(4ULL << 20)

#define MAX_HALVES	32

bool policy_is_out(const struct target_status *status)
{
	return !strcmp(status->mode, "out_of_space");
}

bool policy_is_writable(const struct target_status *status)
{
	return !strcmp(status->mode, "rw") || policy_is_out(status);
}

/*
 * So many clusters can still be asked for: all of the disk that has none, and tables, some of
 * which may be there already.
 */
static u64 still_needed(const struct target_status *status)
{
	return status->virtual - min_u64(status->mapped, status->virtual) +
	       div_up(status->virtual * ENTRY_SIZE, status->cluster_size) + MAX_TABLE;
}

/* In clusters, with less free than the headroom */
static u64 wanted(const struct settings *settings, const struct target_status *status,
		  u64 headroom, unsigned int failures)
{
	u64 size = status->cluster_size;
	u64 more = headroom - status->free + div_up(settings->chunk, size);

	if (failures)
		more = max_u64(more >> (failures < MAX_HALVES ? failures : MAX_HALVES),
			       div_up(LEAST, size));
	return min_u64(more, still_needed(status) - status->free);
}

void policy_find(const struct settings *settings, const struct target_status *status,
		 unsigned int failures, struct policy *policy)
{
	u64 size = status->cluster_size, headroom, most;

	memset(policy, 0, sizeof(*policy));
	if (!settings->grow || !policy_is_writable(status) || status->free == TARGET_UNKNOWN ||
	    status->mapped == TARGET_UNKNOWN || !size)
		return;
	headroom = min_u64(div_up(settings->headroom, size), still_needed(status));
	policy->near = status->free < 2 * headroom;
	if (status->free >= headroom)
		return;
	most = settings->limit / size - min_u64(status->total, settings->limit / size);
	policy->bytes = min_u64(wanted(settings, status, headroom, failures), most) * size;
	policy->limited = !most;
}
