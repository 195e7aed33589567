// SPDX-License-Identifier: GPL-2.0-only
/*
 * What hosts and devices are called, see identity.h.
 */

#include <stdio.h>
#include <string.h>

#include "../host.h"
#include "dm.h"
#include "identity.h"

#define MACHINE_ID	"/etc/machine-id"
#define MACHINE_DIGITS	32

/* 32 digits; a system that is being installed may have something else there */
static bool read_machine_id(char host[QED_HOST_SIZE])
{
	FILE *file = fopen(MACHINE_ID, "re");
	bool found;

	if (!file)
		return false;
	found = fgets(host, MACHINE_DIGITS + 1, file);
	fclose(file);
	return found && strspn(host, "0123456789abcdef") == MACHINE_DIGITS;
}

void identity_host(const struct qed_record *record, char host[QED_HOST_SIZE])
{
	if (record->state == QED_RECORD_VALID && record->active &&
	    qed_is_this_host(record->host))
		memcpy(host, record->host, QED_HOST_SIZE);
	else if (!read_machine_id(host))
		*host = '\0';
}

/* FNV-1a */
static u64 hash(const char *text, u64 seed)
{
	u64 value = 0xcbf29ce484222325ULL ^ seed;

	for (; *text; text++)
		value = (value ^ (unsigned char)*text) * 0x100000001b3ULL;
	return value;
}

/* The same for the same image at each boot: links of udev have it in their names. */
void identity_uuid(char *uuid, bool host, const char *path, const char *name)
{
	char *c;

	snprintf(uuid, DM_UUID_SIZE, "%s%016llx%016llx-%s", host ? UUID_HOST : UUID_GUEST,
		 hash(path, 0), hash(path, ~0ULL), name);
	for (c = uuid; *c; c++)
		if (!qed_host_is_char(*c))
			*c = '_';
}

const char *identity_profile(const char *uuid)
{
	if (!strncmp(uuid, UUID_GUEST, strlen(UUID_GUEST)))
		return "guest";
	return strncmp(uuid, UUID_HOST, strlen(UUID_HOST)) ? "other" : "host";
}
