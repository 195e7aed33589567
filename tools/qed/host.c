// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which host this is, see host.h.
 */

#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include "host.h"
#include "record.h"

/* As dm-qed does without the option host: "-" for what is not legal */
static bool is_node(const char *host)
{
	struct utsname name;
	char *c;

	if (uname(&name))
		return false;
	name.nodename[QED_HOST_SIZE - 1] = '\0';
	for (c = name.nodename; *c; c++)
		if (!qed_host_is_char(*c))
			*c = '-';
	return !strcmp(host, *name.nodename ? name.nodename : "-");
}

/* 32 digits of it, the rest of the line is the end of it */
static bool is_machine(const char *host)
{
	FILE *file = fopen("/etc/machine-id", "re");
	char id[QED_HOST_SIZE] = "";

	if (!file)
		return false;
	if (!fgets(id, sizeof(id), file))
		*id = '\0';
	fclose(file);
	id[strcspn(id, "\n")] = '\0';
	return *id && !strcmp(host, id);
}

bool qed_is_this_host(const char *host)
{
	return is_node(host) || is_machine(host);
}
