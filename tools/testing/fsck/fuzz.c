// SPDX-License-Identifier: GPL-2.0-only
/*
 * fuzz - check and repair of small images, to be driven by libFuzzer
 *
 * The input says how an image differs from a good one. It is checked, repaired
 * as with -p, if its length is even, repaired as with -y, and, with half of the
 * lengths, compacted. These have to hold:
 *
 * - A check changes nothing, and finds the same when it is done again.
 * - What the guest reads is the same after each step, except for what a finding of
 *   that step has cleared, and for data in clusters that are tables as well.
 * - After -y nothing is left to be found, unless the header cannot be repaired or
 *   there is no space.
 * - After compacting no cluster is free.
 * - What a record says of the end is true after each of these.
 *
 * The guest's view is read here, not by the library. To look at the image of an
 * input, let $FUZZ_IMAGE name a file for it.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../qed/fsck.h"
#include "../../qed/header.h"
#include "fuzz.h"
#include "fuzz_record.h"

#define MAX_CLUSTERS	96U
#define MAX_SIZE	16777216U	/* of the file, also after repairs */
#define MAX_RANGES	4096U
#define MAX_VIEW	65536U

struct range {
	u64 offset, length;
};

/* A guest cluster that reads as something else than zeroes, or than what is below */
struct view_entry {
	u64 guest, entry, content;
};

struct view {
	struct view_entry entries[MAX_VIEW];
	unsigned int nr;
	bool too_large;
	bool is_table[MAX_SIZE / 4096];	/* by clusters of the file */
};

/* What a step reported */
struct seen {
	struct range ranges[MAX_RANGES];
	unsigned int nr;
	bool too_many;
	u64 hash;
};

/* These change places: a copy would take as long as a check */
static struct view views[2], *before = &views[0], *after = &views[1];
static struct seen seen, seen_again;
static bool backed;			/* the image has a backing file: holes are no zeroes */

static void check(bool condition, const char *what)
{
	if (condition)
		return;
	fprintf(stderr, "fuzz: %s\n", what);
	abort();
}

/*----------------------------------------------------------------
 * The disk
 *
 * A file in memory, without the cost of system calls: the linker has the library
 * call the functions named __wrap_... here. It has holes, by blocks of 4 KiB, and a
 * greatest size.
 *----------------------------------------------------------------
 */

#define DISK_FD		1000
#define BLOCK		4096U

static struct {
	char data[MAX_SIZE];		/* zero in holes, and behind the end */
	bool is_data[MAX_SIZE / BLOCK];
	size_t size;
	bool read_only;
} disk;

/* Whole blocks become holes */
static void disk_zero(size_t offset, size_t end)
{
	size_t block, begin, next;

	for (block = offset / BLOCK; block * BLOCK < end; block++) {
		if (!disk.is_data[block])
			continue;
		begin = max_u64(block * BLOCK, offset);
		next = min_u64((block + 1) * BLOCK, end);
		memset(disk.data + begin, 0, next - begin);
		disk.is_data[block] = next - begin < BLOCK;
	}
}

static void disk_resize(size_t size)
{
	if (size < disk.size)
		disk_zero(size, div_up(disk.size, BLOCK) * BLOCK);
	disk.size = size;
}

static void disk_punch(size_t offset, size_t length)
{
	disk_zero(offset, offset + length < disk.size ? offset + length : disk.size);
}

static int fail_with(int error)
{
	errno = error;
	return -1;
}

ssize_t __wrap_pread64(int fd, void *buf, size_t length, off_t offset)
{
	if (fd != DISK_FD)
		return __real_pread64(fd, buf, length, offset);
	if ((size_t)offset >= disk.size)
		return 0;
	length = min_u64(length, disk.size - offset);
	memcpy(buf, disk.data + offset, length);
	return length;
}

ssize_t __wrap_pwrite64(int fd, const void *buf, size_t length, off_t offset)
{
	size_t block;

	if (fd != DISK_FD)
		return __real_pwrite64(fd, buf, length, offset);
	check(!disk.read_only, "a check writes");
	if ((size_t)offset > MAX_SIZE || length > MAX_SIZE - (size_t)offset)
		return fail_with(EFBIG);
	memcpy(disk.data + offset, buf, length);
	for (block = offset / BLOCK; block * BLOCK < offset + length; block++)
		disk.is_data[block] = true;
	if (disk.size < offset + length)
		disk.size = offset + length;
	return length;
}

int __wrap_fallocate64(int fd, int mode, off_t offset, off_t length)
{
	if (fd != DISK_FD)
		return __real_fallocate64(fd, mode, offset, length);
	check(!disk.read_only, "a check allocates");
	if (mode & FALLOC_FL_PUNCH_HOLE)
		disk_punch(offset, length);
	else if (offset > (off_t)MAX_SIZE || length > (off_t)MAX_SIZE - offset)
		return fail_with(EFBIG);
	return 0;
}

int __wrap_ftruncate64(int fd, off_t size)
{
	if (fd != DISK_FD)
		return __real_ftruncate64(fd, size);
	check(!disk.read_only, "a check sets the size");
	if (size > MAX_SIZE)
		return fail_with(EFBIG);
	disk_resize(size);
	return 0;
}

off_t __wrap_lseek64(int fd, off_t offset, int whence)
{
	size_t block = offset / BLOCK;

	if (fd != DISK_FD)
		return __real_lseek64(fd, offset, whence);
	if ((size_t)offset >= disk.size)
		return fail_with(ENXIO);
	while (block * BLOCK < disk.size && disk.is_data[block] != (whence == SEEK_DATA))
		block++;
	if (block * BLOCK >= disk.size)
		return whence == SEEK_DATA ? fail_with(ENXIO) : (off_t)disk.size;
	return max_u64(offset, block * BLOCK);
}

int __wrap_fdatasync(int fd)
{
	return fd == DISK_FD ? 0 : __real_fdatasync(fd);
}

int __wrap_fstat64(int fd, struct stat *st)
{
	if (fd != DISK_FD)
		return __real_fstat64(fd, st);
	memset(st, 0, sizeof(*st));
	st->st_mode = S_IFREG | 0600;
	st->st_size = disk.size;
	return 0;
}

int __wrap_fstatvfs64(int fd, struct statvfs *st)
{
	return fd == DISK_FD ? fail_with(ENODEV) : __real_fstatvfs64(fd, st);
}

/*----------------------------------------------------------------
 * The image
 *----------------------------------------------------------------
 */

static void put(u64 offset, const void *data, size_t length)
{
	if (offset <= MAX_SIZE - length)
		check(__wrap_pwrite64(DISK_FD, data, length, offset) > 0, "cannot write");
}

static void put_entry(u64 offset, u64 value)
{
	__le64 entry = htole64(value);

	put(offset, &entry, sizeof(entry));
}

/* An odd value of a header field, or of an entry */
static u64 odd_value(struct input *input, u64 cluster_size)
{
	u32 kind = take(input, 1), value = take(input, 2);

	switch (kind % 8) {
	case 0:
		return value;
	case 1:
		return (u64)value << 48 | take(input, 4);
	case 2:
		return ~(u64)value;
	case 3:
		return 1ULL << value % 64;
	default:
		return (value % (MAX_CLUSTERS + 4)) * cluster_size;
	}
}

static void spoil_header(struct input *input, struct qed_header *header)
{
	u64 value = odd_value(input, le32toh(header->cluster_size));

	switch (take(input, 1) % 12) {
	case 0:
		header->header_size = htole32(value);
		break;
	case 1:
		header->features = htole64(value);
		break;
	case 2:
		header->autoclear_features = htole64(value);
		break;
	case 3:
		header->l1_table_offset = htole64(value);
		break;
	case 4:
		header->image_size = htole64(value);
		break;
	case 5:
		header->backing_filename_offset = htole32(value);
		break;
	case 6:
		header->backing_filename_size = htole32(value);
		break;
	case 7:
		header->table_size = htole32(value);
		break;
	case 8:
		header->cluster_size = htole32(value);
		break;
	case 9:
		header->image_size = htole64(value << 9);
		break;
	case 10:
		header->l1_table_offset = htole64(value << 12);
		break;
	default:
		header->features = htole64(value & QED_FEATURES);
		break;
	}
}

/*
 * Clusters of 4 KiB, or 8 KiB; a table has 512 to 2048 entries. Each cluster
 * begins with its number, unless it is a table.
 */
static void make_image(struct input *input)
{
	static const char zeroes[8192], name[4] = "base";
	u32 flags = take(input, 1), clusters = take(input, 1) % MAX_CLUSTERS + 1;
	u64 cluster_size = flags & 1 ? 8192 : 4096, table_size = 1U << (flags >> 1 & 1);
	u64 entries = table_size * cluster_size / 8, header_size = 1 + (flags >> 2 & 1);
	u64 l1 = (header_size + (flags >> 3 & 1)) * cluster_size, at, i;
	struct qed_disk_record record;
	struct qed_header header;

	backed = flags >> 5 == 6;
	header = (struct qed_header){
		.magic = htole32(QED_MAGIC),
		.cluster_size = htole32(cluster_size),
		.table_size = htole32(table_size),
		.header_size = htole32(header_size),
		.features = htole64((flags >> 4 & 1 ? QED_F_NEED_CHECK : 0) |
				    (backed ? QED_F_BACKING_FILE : 0)),
		.l1_table_offset = htole64(l1),
		.image_size = htole64((entries * 2 + 100) * cluster_size - 512),
		.backing_filename_offset = htole32(backed ? sizeof(header) : 0),
		.backing_filename_size = htole32(backed ? sizeof(name) : 0),
	};
	disk.read_only = false;
	disk_resize(0);
	for (i = 0; i < clusters; i++)
		put_entry(i * cluster_size, i << 32 | 0xdada);
	if (flags >> 5 == 7) {
		fuzz_record(input, &record);
		put(QED_RECORD_OFFSET, &record, sizeof(record));
		header.autoclear_features = htole64(QED_AF_RECORD);
	}
	if (backed)
		put(sizeof(header), name, sizeof(name));
	for (i = 0; i < table_size; i++)
		put(l1 + i * cluster_size, zeroes, cluster_size);
	while (input->left) {
		u32 kind = take(input, 1), index = take(input, 2);

		at = take(input, 1) % (MAX_CLUSTERS + 2) * cluster_size;
		switch (kind % 8) {
		case 0:
			spoil_header(input, &header);
			break;
		case 1:		/* a table */
			for (i = 0; i < table_size; i++)
				put(at + i * cluster_size, zeroes, cluster_size);
			put_entry(l1 + index % 4 * 8, at);
			break;
		case 2:
			put_entry(l1 + index % entries * 8, odd_value(input, cluster_size));
			break;
		case 3:
			put_entry(at + index % entries * 8, odd_value(input, cluster_size));
			break;
		case 4:		/* a run of data */
			for (i = 0; i < index % 32; i++)
				put_entry(at + (index / 32 + i) % entries * 8,
					  (take(input, 1) % MAX_CLUSTERS) * cluster_size);
			break;
		case 5:
			disk_resize((at + index) % (2 * MAX_CLUSTERS * cluster_size));
			break;
		case 6:
			disk_punch(at, cluster_size);
			break;
		default:
			put_entry(at + index % cluster_size, odd_value(input, cluster_size));
			break;
		}
	}
	put(0, &header, sizeof(header));
}

/*----------------------------------------------------------------
 * The guest's view
 *----------------------------------------------------------------
 */

/* There are zeroes behind the end of the disk */
static u64 get(u64 offset)
{
	return offset <= MAX_SIZE - 8 ? le64toh(*(__le64 *)(disk.data + offset)) : 0;
}

/* The next entry of a table from this one on that is not zero, or the last one */
static u64 next_entry(u64 table, u64 i, u64 end)
{
	while (i < end && !get(table + i * 8)) {
		i++;
		while (table % BLOCK == 0 && i % (BLOCK / 8) == 0 && i < end &&
		       (table + i * 8 >= disk.size || !disk.is_data[(table + i * 8) / BLOCK]))
			i += BLOCK / 8;
	}
	return min_u64(i, end);
}

static bool is_cluster(const struct qed_image *img, u64 offset, u64 clusters, u64 end)
{
	u64 first = offset >> img->cluster_shift, l1 = img->l1_offset >> img->cluster_shift;

	return !(offset & (qed_cluster_size(img) - 1)) && first >= img->header_clusters &&
	       first < end && (first + clusters <= l1 || first >= l1 + img->table_clusters);
}

static void view_table(struct view *view, const struct qed_image *img, u64 l1_index, u64 table,
		       u64 end)
{
	u64 i, entry, content, guest;

	for (i = 0; i < img->table_clusters; i++)
		if ((table >> img->cluster_shift) + i < MAX_SIZE / 4096)
			view->is_table[(table >> img->cluster_shift) + i] = true;
	for (i = 0; (i = next_entry(table, i, qed_table_entries(img))) < qed_table_entries(img);
	     i++) {
		guest = ((l1_index << img->entries_shift) + i) << img->cluster_shift;
		if (guest >= img->image_size)
			return;
		entry = get(table + i * 8);
		if (entry != 1 && !is_cluster(img, entry, 1, end))
			continue;
		content = entry == 1 ? 0 : get(entry);
		if (!content && !backed)
			continue;
		if (view->nr == MAX_VIEW) {
			view->too_large = true;
			return;
		}
		view->entries[view->nr].guest = guest;
		view->entries[view->nr].entry = entry;
		view->entries[view->nr++].content = content;
	}
}

static void view_guest(struct view *view, const struct qed_image *img)
{
	u64 end = div_up(img->size, qed_cluster_size(img)), i, table;

	view->nr = 0;
	view->too_large = false;
	memset(view->is_table, 0, sizeof(view->is_table));
	if (qed_table_entries(img) > 2048) {
		view->too_large = true;
		return;
	}
	for (i = 0; !view->too_large; i++) {
		i = next_entry(img->l1_offset, i, qed_table_entries(img));
		if (i == qed_table_entries(img) || i << qed_span_shift(img) >= img->image_size)
			return;
		table = get(img->l1_offset + i * 8);
		if (table && is_cluster(img, table, img->table_clusters, end))
			view_table(view, img, i, table, end);
	}
}

/* Is there data in a cluster that is a table, which repairs change? */
static bool is_in_table(const struct view *view, const struct view_entry *entry, unsigned int shift)
{
	return entry && entry->entry >> shift < MAX_SIZE / 4096 &&
	       view->is_table[entry->entry >> shift];
}

static bool is_named(u64 guest)
{
	unsigned int i;

	for (i = 0; i < seen.nr; i++)
		if (guest >= seen.ranges[i].offset &&
		    guest - seen.ranges[i].offset < seen.ranges[i].length)
			return true;
	return seen.too_many;
}

static void compare_views(const struct qed_image *img, const char *what)
{
	unsigned int i = 0, j = 0;

	if (before->too_large || after->too_large)
		return;
	while (i < before->nr || j < after->nr) {
		struct view_entry *a = i < before->nr ? &before->entries[i] : NULL;
		struct view_entry *b = j < after->nr ? &after->entries[j] : NULL;
		u64 guest = !b || (a && a->guest < b->guest) ? a->guest : b->guest;

		if (!(a && b && a->guest == b->guest && a->content == b->content) &&
		    !is_in_table(before, a && a->guest == guest ? a : NULL, img->cluster_shift) &&
		    !is_named(guest)) {
			fprintf(stderr, "fuzz: guest 0x%llx changed\n", guest);
			check(false, what);
		}
		i += a && a->guest == guest;
		j += b && b->guest == guest;
	}
}

/*----------------------------------------------------------------
 * Steps
 *----------------------------------------------------------------
 */

static void add_range(struct seen *s, u64 offset, u64 length)
{
	if (s->nr == MAX_RANGES) {
		s->too_many = true;
		return;
	}
	s->ranges[s->nr].offset = offset;
	s->ranges[s->nr++].length = length;
}

/* What is done about tables that nothing refers to */
static enum qed_orphan_policy orphans = QED_ORPHANS_FREE;

static void report(void *ctx, const struct qed_finding *finding)
{
	struct seen *s = ctx;

	/* a table that is reconnected brings its data, which its finding names */
	if (finding->has & QED_HAS_GUEST && (finding->action == QED_ACTION_CLEARED ||
					     orphans == QED_ORPHANS_RECONNECT))
		add_range(s, finding->guest_offset, finding->guest_length);
	s->hash = s->hash * 31 + finding->code * 7 + finding->index + finding->value;
}

static int run(enum qed_mode mode, bool compact, struct seen *s, struct qed_image *img,
	       struct qed_fsck_result *result)
{
	struct qed_fsck_options options = {
		.mode = mode,
		.orphans = orphans,
		.cut = QED_CUT_CLEAR,
		.always = true,
		.compact = compact,
		.threads = 1,
		.report = report,
		.ctx = s,
	};

	s->nr = 0;
	s->too_many = false;
	s->hash = 0;
	check(!qed_image_init(img, DISK_FD, "image", mode != QED_MODE_CHECK),
	      "cannot read the image");
	return qed_fsck(img, &options, result);
}

static bool is_known_failure(int r)
{
	return r == -ENOSPC || r == -EFBIG;
}

static u64 left(const struct qed_fsck_result *result)
{
	return qed_fsck_left(result, QED_DAMAGE) + qed_fsck_left(result, QED_WASTE);
}

/* Only check, twice if wanted: nothing may change */
static bool only_check(bool again)
{
	struct qed_fsck_result first, second;
	struct qed_image img;
	int r;

	disk.read_only = true;
	r = run(QED_MODE_CHECK, false, &seen, &img, &first);
	check(!r && !img.modified, "a check failed");
	if (first.scanned)
		view_guest(before, &img);
	if (again) {
		r = run(QED_MODE_CHECK, false, &seen_again, &img, &second);
		check(!r && !memcmp(first.found, second.found, sizeof(first.found)) &&
		      seen.hash == seen_again.hash, "a second check finds something else");
	}
	disk.read_only = false;
	return first.scanned;
}

/* Nothing that the guest has is behind the end, and nothing else is in use there. */
static void check_record(struct qed_image *img, const struct view *view,
			 const struct qed_fsck_result *result)
{
	struct qed_record record;
	unsigned int i;

	check(!qed_record_read(img, &img->header, &record), "the record cannot be read");
	if (record.state != QED_RECORD_VALID || !record.end || left(result))
		return;
	check(result->end <= record.end, "the record is not true");
	for (i = 0; i < view->nr; i++)
		check(view->entries[i].entry >> img->cluster_shift < record.end,
		      "the record is not true of data");
}

static bool repair(enum qed_mode mode, const char *what)
{
	struct qed_fsck_result result;
	struct qed_image img;
	int r = run(mode, false, &seen, &img, &result);

	check(!r || is_known_failure(r), "an error of operation");
	if (!result.scanned || r)
		return false;
	view_guest(after, &img);
	compare_views(&img, what);
	check_record(&img, after, &result);
	if (mode != QED_MODE_REPAIR)
		return true;
	check(!left(&result), "not all was repaired");
	check(!(le64toh(img.header.features) & QED_F_NEED_CHECK), "NEED_CHECK is set");
	r = run(QED_MODE_CHECK, false, &seen, &img, &result);
	check(!r && !left(&result), "the repaired image is not clean");
	return true;
}

/* Repair, and reconnect tables; whatever cannot be stays */
static bool reconnect(void)
{
	struct qed_fsck_result result;
	struct qed_image img;
	int r;

	orphans = QED_ORPHANS_RECONNECT;
	r = run(QED_MODE_REPAIR, false, &seen, &img, &result);
	orphans = QED_ORPHANS_FREE;
	check(!r || is_known_failure(r), "an error of operation");
	if (r || !result.scanned)
		return false;
	check(!qed_fsck_left(&result, QED_DAMAGE), "not all was repaired");
	view_guest(after, &img);
	compare_views(&img, "changed when tables were reconnected");
	/* what is an L1 table can look different now */
	return only_check(false);
}

static void swap_views(void)
{
	struct view *view = before;

	before = after;
	after = view;
}

static void shorten(void)
{
	struct qed_fsck_result result;
	struct qed_image img;
	int r = run(QED_MODE_REPAIR, true, &seen, &img, &result);

	if (is_known_failure(r))
		return;
	check(!r && !left(&result), "an error of operation, or damage");
	check(!result.free && img.size == result.end << img.cluster_shift,
	      "clusters are free, or the size is wrong");
	swap_views();
	view_guest(after, &img);
	compare_views(&img, "changed when made short");
	check_record(&img, after, &result);
}

static void save_image(const char *path)
{
	int to = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	check(to >= 0 && write(to, disk.data, disk.size) == (ssize_t)disk.size,
	      "cannot save the image");
	close(to);
}

int initialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	prepare_buffers();
	return 0;
}

int test_input(const u8 *data, size_t size)
{
	struct input input = { .data = data, .left = size };
	struct qed_image img;
	const char *why;

	make_image(&input);
	if (getenv("FUZZ_IMAGE"))
		save_image(getenv("FUZZ_IMAGE"));
	check(!qed_image_init(&img, DISK_FD, "image", true), "cannot read the image");
	if (qed_header_is_qed(&img, &why) && only_check(size % 8 == 0) &&
	    (size % 2 || repair(QED_MODE_PREEN, "changed by -p")) &&
	    (size % 3 || reconnect()) &&
	    repair(QED_MODE_REPAIR, "changed by -y") && size / 2 % 2)
		shorten();
	check_buffers();
	return 0;
}
