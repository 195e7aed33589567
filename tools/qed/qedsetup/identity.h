/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What hosts and devices are called.
 */

#ifndef QEDSETUP_IDENTITY_H
#define QEDSETUP_IDENTITY_H

#include <stdbool.h>

#include "../record.h"

#define UUID_GUEST	"QED-GUEST-"
#define UUID_HOST	"QED-HOST-"

/**
 * identity_host() - the name of this host for a record
 * @record: the record that the image has
 * @host: the result, empty if the kernel is to take its own
 *
 * That of /etc/machine-id; if the record has another name of this host that one, so that
 * it gets back what it had when it crashed.
 */
void identity_host(const struct qed_record *record, char host[QED_HOST_SIZE]);

/**
 * identity_uuid() - what device mapper knows a device by
 * @uuid: the result, as long as device mapper can have it
 * @host: this host uses what is on it
 * @path: of the image, absolute
 * @name: of the device
 */
void identity_uuid(char *uuid, bool host, const char *path, const char *name);

/* By its uuid: "guest", "host", or "other" if it has none of ours */
const char *identity_profile(const char *uuid);

#endif /* QEDSETUP_IDENTITY_H */
