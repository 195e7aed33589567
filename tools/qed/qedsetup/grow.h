/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * More space for an image that is in use.
 */

#ifndef QEDSETUP_GROW_H
#define QEDSETUP_GROW_H

#include "device.h"

/**
 * grow_device() - give an image more space, and let it use what there is
 * @device: the device, active for writing
 * @headroom: of a file: so much is to be free; NOT_GIVEN: all that it may need
 *
 * Of a block device it uses the size that it has.
 * Return: 0 or what failed, which is noted.
 */
int grow_device(const struct device *device, u64 headroom);

#endif /* QEDSETUP_GROW_H */
