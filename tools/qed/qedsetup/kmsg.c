// SPDX-License-Identifier: GPL-2.0-only
/*
 * The kernel's log, see kmsg.h. It is only shown: nothing depends on what it says.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kmsg.h"

#define PREFIX	"device-mapper: qed: "

static int log_fd = -1;
static char said[2048];

void kmsg_mark(void)
{
	if (log_fd < 0)
		log_fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (log_fd >= 0)
		lseek(log_fd, 0, SEEK_END);
}

static void take_line(const char *line)
{
	const char *text = strstr(line, PREFIX);
	size_t length = strlen(said), n;

	if (!text)
		return;
	text += strlen(PREFIX);
	n = strcspn(text, "\n");
	if (length + n + sizeof("; ") < sizeof(said))
		snprintf(said + length, sizeof(said) - length, "%s%.*s", length ? "; " : "",
			 (int)n, text);
}

const char *kmsg_said(void)
{
	char line[8192];
	ssize_t n;

	*said = '\0';
	while (log_fd >= 0) {
		n = read(log_fd, line, sizeof(line) - 1);
		if (n < 0 && (errno == EPIPE || errno == EINTR))
			continue;	/* some of it is lost */
		if (n <= 0)
			break;
		line[n] = '\0';
		take_line(line);
	}
	return said;
}
