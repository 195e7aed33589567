// SPDX-License-Identifier: GPL-2.0-only
/*
 * Writes the record, see stamp.h.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "identity.h"
#include "stamp.h"

static void name_host(char host[QED_HOST_SIZE])
{
	const struct qed_record none = { .state = QED_RECORD_NONE };
	struct utsname name;
	char *c;

	identity_host(&none, host);
	if (*host || uname(&name))
		return;
	snprintf(host, QED_HOST_SIZE, "%.*s", QED_HOST_SIZE - 1,
		 *name.nodename ? name.nodename : "-");
	for (c = host; *c; c++)
		if (!qed_host_is_char(*c))
			*c = '-';
}

int stamp_fill(struct qed_disk_record *record, u64 end, u64 zero_end, u64 device_size)
{
	char host[QED_HOST_SIZE] = "";

	memset(record, 0, sizeof(*record));
	if (getrandom(record->owner, QED_OWNER_SIZE, 0) != QED_OWNER_SIZE)
		return -EIO;
	name_host(host);
	memcpy(record->host, host, strnlen(host, QED_HOST_SIZE - 1));
	record->magic = htole32(QED_RECORD_MAGIC);
	record->version = htole16(QED_RECORD_VERSION);
	record->end = htole64(end);
	if (zero_end > end) {
		record->zero_from = htole64(end);
		record->zero_end = htole64(zero_end);
	}
	record->device_size = htole64(device_size);
	record->crc = htole32(qed_record_crc(record));
	return 0;
}

int stamp_size(int fd, u64 size, u64 end)
{
	struct qed_disk_record record;
	u64 done;
	ssize_t n = qed_read_all(fd, &record, QED_RECORD_OFFSET, sizeof(record));
	int r;

	if (n != sizeof(record))
		return n < 0 ? n : -EIO;
	record.end = htole64(end);
	record.zero_from = 0;
	record.zero_end = 0;
	record.device_size = htole64(size);
	record.crc = htole32(qed_record_crc(&record));
	r = qed_write_all(fd, &record, QED_RECORD_OFFSET, sizeof(record), &done);
	return !r && fsync(fd) ? -errno : r;
}
