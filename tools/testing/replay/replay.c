// SPDX-License-Identifier: GPL-2.0-only
/*
 * replay - do again what a log of dm-log-writes says, and look at each mark
 *
 * Usage: replay LOG
 *        replay LOG SECTORS COPIES LAST MNT [ENTRY OFFSET]
 *
 * The first form prints the log: number of the entry and where it is in the log,
 * what it is, first sector and number of sectors, and a checksum of each page.
 *
 * The second one writes to the volume of dm-thin of this size that is called volume,
 * number 0 of the pool called pool. At each mark it mounts a snapshot at MNT,
 * number 1, called snapshot. With the mark NAME.N the file NAME has to be there as
 * it is in COPIES/NAME.N, with the marks last and end all files of LAST. If one is not,
 * MNT stays mounted, and the line "MARK ENTRY OFFSET" is printed; to go on from there,
 * call it again with these numbers and nothing mounted. The exit status is 1 then.
 * At the end of the log it prints the last mark: dm-log-writes-end if all is there.
 *
 * The log and the volume are read and written past the page cache, which knows nothing
 * of what device mapper does.
 */

#define _GNU_SOURCE
#include <endian.h>
#include <dirent.h>
#include <err.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include "../faults/mapper.h"

#define SECTOR		512
#define PAGE		4096
#define MAGIC		0x6a736677736872ULL
#define VERSION		1
#define MAX_DATA	(1024 * 1024)

/* As in drivers/md/dm-log-writes.c, with sectors of the size in the super block */
struct super {
	uint64_t magic, version, nr_entries;
	uint32_t sector_size;
};

struct entry {
	uint64_t sector, nr_sectors, flags, data_length;
};

enum {
	FLUSH = 0x1, FUA = 0x2, DISCARD = 0x4, MARK = 0x8, METADATA = 0x10,
};

static unsigned char *head, *data;
static int log_fd, to = -1;
static uint64_t nr_entries;

static void read_log(void *p, size_t n, uint64_t offset)
{
	if (pread(log_fd, p, n, offset) != (ssize_t)n)
		err(2, "cannot read the log at %#llx",
		    (unsigned long long)offset);
}

static void open_log(const char *path)
{
	struct super super;

	head = aligned_alloc(PAGE, PAGE);
	data = aligned_alloc(PAGE, MAX_DATA);
	log_fd = open(path, O_RDONLY | O_DIRECT);
	if (!head || !data || log_fd < 0)
		err(2, "%s", path);
	read_log(head, SECTOR, 0);
	memcpy(&super, head, sizeof(super));
	if (le64toh(super.magic) != MAGIC || le64toh(super.version) != VERSION)
		errx(2, "%s: no log", path);
	if (le32toh(super.sector_size) != SECTOR)
		errx(2, "%s: sectors of %u", path, le32toh(super.sector_size));
	nr_entries = le64toh(super.nr_entries);
}

/* Leaves a mark behind the entry in @head. */
static struct entry read_entry(uint64_t nr, uint64_t offset)
{
	struct entry e;

	read_log(head, SECTOR, offset);
	memcpy(&e, head, sizeof(e));
	e.sector = le64toh(e.sector);
	e.nr_sectors = le64toh(e.nr_sectors);
	e.flags = le64toh(e.flags);
	e.data_length = le64toh(e.data_length);
	if (e.flags & ~(uint64_t)(FLUSH | FUA | DISCARD | MARK | METADATA) ||
	    (!e.flags && !e.nr_sectors) ||
	    e.data_length >= SECTOR - sizeof(e))
		errx(2, "entry %llu at %#llx is damaged",
		     (unsigned long long)nr, (unsigned long long)offset);
	return e;
}

static const char *mark_text(const struct entry *e)
{
	head[sizeof(*e) + e->data_length] = 0;
	return (char *)head + sizeof(*e);
}

static uint64_t data_size(const struct entry *e)
{
	return e->flags & DISCARD ? 0 : e->nr_sectors * SECTOR;
}

static void write_data(const struct entry *e, uint64_t offset)
{
	uint64_t position = e->sector * SECTOR, left = data_size(e);

	while (left) {
		size_t n = left < MAX_DATA ? left : MAX_DATA;

		read_log(data, n, offset);
		if (pwrite(to, data, n, position) != (ssize_t)n)
			err(2, "cannot write at %#llx",
			    (unsigned long long)position);
		offset += n;
		position += n;
		left -= n;
	}
}

static void do_discard(const struct entry *e)
{
	uint64_t range[] = { e->sector * SECTOR, e->nr_sectors * SECTOR };

	if (ioctl(to, BLKDISCARD, range))
		err(2, "cannot discard at %#llx", (unsigned long long)range[0]);
}

/* Replays up to the next mark, which is returned, or NULL at the end. */
static const char *replay(uint64_t *nr, uint64_t *offset)
{
	while (*nr < nr_entries) {
		struct entry e = read_entry(*nr, *offset);

		(*nr)++;
		*offset += SECTOR;
		if (e.flags & MARK)
			return mark_text(&e);
		if (e.flags & DISCARD)
			do_discard(&e);
		else
			write_data(&e, *offset);
		*offset += data_size(&e);
	}
	return NULL;
}

static void must(bool ok, const char *what)
{
	if (!ok)
		err(2, "%s", what);
}

/* The volume as it is, to be mounted, and repaired for that */
static void mount_snapshot(const char *sectors, const char *mnt)
{
	must(mapper_simple(DM_DEVICE_SUSPEND, "volume"), "suspend");
	must(mapper_message("pool", "create_snap 1 0"), "create_snap");
	must(mapper_simple(DM_DEVICE_RESUME, "volume"), "resume");
	must(mapper_load("snapshot", DM_DEVICE_CREATE, strtoull(sectors, NULL, 0),
			 "thin", "/dev/mapper/pool 1"), "snapshot");
	must(!mount("/dev/mapper/snapshot", mnt, "xfs", 0, "nouuid"), "mount");
}

static void drop_snapshot(const char *mnt)
{
	must(!umount(mnt), "umount");
	must(mapper_simple(DM_DEVICE_REMOVE, "snapshot"), "remove");
	must(mapper_message("pool", "delete 1"), "delete");
}

static size_t read_file(const char *folder, const char *name, unsigned char *p)
{
	char path[4096];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return 0;
	n = read(fd, p, MAX_DATA);
	if (n < 0 || n == MAX_DATA)
		err(2, "%s", path);
	close(fd);
	return n;
}

static bool same_file(const char *folder, const char *name, const char *mnt,
		      const char *file)
{
	static unsigned char expected[MAX_DATA];
	size_t n = read_file(folder, name, expected);

	return read_file(mnt, file, data) == n && !memcmp(data, expected, n);
}

static bool same_files(const char *folder, const char *mnt)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;
	bool same = true;
	int nr = 0;

	must(dir, folder);
	while ((entry = readdir(dir))) {
		if (*entry->d_name == '.')
			continue;
		nr++;
		same &= same_file(folder, entry->d_name, mnt, entry->d_name);
	}
	closedir(dir);
	return same && nr;
}

/* Marks that are none of ours, of mkfs and of the end of the log, only have to mount. */
static bool right(const char *mark, const char *copies, const char *last,
		  const char *mnt)
{
	const char *dot = strchr(mark, '.');
	char file[SECTOR] = "";

	if (!strcmp(mark, "last") || !strcmp(mark, "end"))
		return same_files(last, mnt);
	if (!dot)
		return true;
	memcpy(file, mark, dot - mark);
	return same_file(copies, mark, mnt, file);
}

static int replay_marks(char **args, uint64_t nr, uint64_t offset)
{
	const char *sectors = args[2], *copies = args[3], *last = args[4];
	const char *mnt = args[5], *mark;
	char seen[SECTOR] = "none";

	mapper_init();
	to = open("/dev/mapper/volume", O_WRONLY | O_DIRECT);
	must(to >= 0, "volume");
	while ((mark = replay(&nr, &offset))) {
		mount_snapshot(sectors, mnt);
		snprintf(seen, sizeof(seen), "%s", mark);
		if (!right(mark, copies, last, mnt)) {
			printf("%s %llu %llu\n", mark, (unsigned long long)nr,
			       (unsigned long long)offset);
			return 1;
		}
		drop_snapshot(mnt);
	}
	puts(seen);
	return 0;
}

/* FNV-1a; 0 for zeroes, as these are what one looks for */
static uint32_t checksum(const unsigned char *p, size_t n)
{
	uint32_t sum = 2166136261;
	bool zero = true;

	for (; n; n--, p++) {
		zero &= !*p;
		sum = (sum ^ *p) * 16777619;
	}
	return zero ? 0 : sum;
}

static void print_data(const struct entry *e, uint64_t offset)
{
	uint64_t end = offset + data_size(e);

	for (; offset < end; offset += PAGE) {
		size_t n = end - offset < PAGE ? end - offset : PAGE;

		read_log(data, n, offset);
		printf(" %x", checksum(data, n));
	}
}

static void print_log(void)
{
	uint64_t nr, offset = SECTOR;

	for (nr = 0; nr < nr_entries; nr++) {
		struct entry e = read_entry(nr, offset);

		printf("%llu %#llx%s%s%s%s%s", (unsigned long long)nr,
		       (unsigned long long)offset,
		       e.flags & FLUSH ? " flush" : "",
		       e.flags & FUA ? " fua" : "",
		       e.flags & DISCARD ? " discard" : "",
		       e.flags & METADATA ? " metadata" : "",
		       e.flags & MARK ? " mark " : "");
		offset += SECTOR;
		if (e.flags & MARK) {
			puts(mark_text(&e));
			continue;
		}
		printf(" %llu+%llu", (unsigned long long)e.sector,
		       (unsigned long long)e.nr_sectors);
		print_data(&e, offset);
		putchar('\n');
		offset += data_size(&e);
	}
}

int main(int argc, char **argv)
{
	if (argc != 2 && argc != 6 && argc != 8)
		errx(2, "usage: replay LOG [SECTORS COPIES LAST MNT [ENTRY OFFSET]]");
	open_log(argv[1]);
	if (argc == 2) {
		print_log();
		return 0;
	}
	if (argc == 6)
		return replay_marks(argv, 0, SECTOR);
	return replay_marks(argv, strtoull(argv[6], NULL, 0),
			    strtoull(argv[7], NULL, 0));
}
