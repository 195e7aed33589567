/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How much more space an image is to have.
 *
 * With less than the headroom free it gets so much that there would be headroom and chunk, if
 * nobody wrote meanwhile. So a guest that writes at most headroom / T per second never waits if
 * that takes less than T seconds: it starts with a full headroom, and as the chunk is no smaller
 * than that, so it ends, and begins anew.
 */

#ifndef MONITOR_POLICY_H
#define MONITOR_POLICY_H

#include "../qedsetup/target.h"
#include "config.h"

/**
 * struct policy - what is to be done
 * @bytes: the image device is to be larger by so much; 0: it stays as it is
 * @near: less than twice the headroom is free: look at it soon
 * @limited: it needs more, but may not become larger
 */
struct policy {
	u64 bytes;
	bool near, limited;
};

/**
 * policy_find() - decide that
 * @settings: of the device
 * @status: of the device
 * @failures: how often it failed in a row: the more, the less is tried
 * @policy: the result
 */
void policy_find(const struct settings *settings, const struct target_status *status,
		 unsigned int failures, struct policy *policy);

/* Can it be written to? */
bool policy_is_writable(const struct target_status *status);

/* Do writes wait for space? */
bool policy_is_out(const struct target_status *status);

#endif /* MONITOR_POLICY_H */
