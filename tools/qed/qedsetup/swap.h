/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Other tables for devices that are in use, for all of them at the same moment.
 *
 * While one is suspended its I/O waits, maybe ours as well: all that is needed then is there
 * before, and is locked in memory.
 */

#ifndef QEDSETUP_SWAP_H
#define QEDSETUP_SWAP_H

#include "dm.h"

/**
 * struct swap - a device
 * @name: of it
 * @sectors: its size
 * @old: parameters of its table
 * @new: of the one that it is to have
 * @hidden: udev rules do not look at what it has, and it has no file system of this host
 * @suspend: prepared
 * @clear: the same
 * @reload: the same, for the old table
 * @resume: the same, for the new one, and ...
 * @again: for the old one
 * @resume_cookie: what udev tells when it has seen the one, and ...
 * @again_cookie: the other; 0: nobody waits for it
 * @loaded: the new table is
 * @suspended: the device is
 * @resumed: with the new table
 * @has_resumed: @resume has run
 * @has_gone_on: so has @again
 */
struct swap {
	const char *name;
	u64 sectors;
	const char *old, *new;
	bool hidden;
	struct dm_task *suspend, *clear, *reload, *resume, *again;
	u32 resume_cookie, again_cookie;
	bool loaded, suspended, resumed, has_resumed, has_gone_on;
};

/* All of these return 0 or a negative error number, and have noted what failed. */

/* Load the new table, which leaves the device as it is. */
int swap_load(struct swap *swap);

/* Prepare all that follows, for one device. To be ended in any case. */
int swap_prepare(struct swap *swap);

/* From here on no signal interrupts us, and nothing needs memory, until swap_unlock(). */
int swap_lock(void);
void swap_unlock(void);

/* Wait for all I/O, and let none begin. The image is closed then. */
int swap_suspend(struct swap *swap);

/* Go on with the new table. If that fails swap_back() is still possible. */
int swap_resume(struct swap *swap);

/* Forget the new table, and go on with the old one, as far as it has come. */
int swap_back(struct swap *swap);

/* Release what was prepared, and wait for udev. */
void swap_end(struct swap *swap);

#endif /* QEDSETUP_SWAP_H */
