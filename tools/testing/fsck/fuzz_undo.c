// SPDX-License-Identifier: GPL-2.0-only
/*
 * fuzz_undo - undo files that are not what a run has written, to be driven by libFuzzer
 *
 * The whole program is called, as by a user: nothing here knows how an undo file looks.
 * To begin with it repairs a few images with --undo. The input says which of the undo
 * files is taken, how it differs from that, and to what image it is applied. These have
 * to hold:
 *
 * - Who refuses, or fails, has changed nothing.
 * - The file that the program has written brings back every byte, of the image that it
 *   was written for, once, again, and after it was interrupted.
 * - It is not applied to another image, nor over what was written since, nor in part
 *   if something of it is missing.
 *
 * Checksums are looked for in the files, so that some inputs can put them right.
 */

#define _GNU_SOURCE
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../../drivers/md/dm-qed-format.h"
#include "fuzz.h"
#include "fuzz_undo.h"

#define CLUSTER		4096U
#define MAX_FILE	1048576U
#define MAX_SUMS	64U
#define REPAIRED	1
#define OPERATION	8

struct file {
	unsigned char data[MAX_FILE];
	size_t size;
};

/* A checksum of a range, which it may be a part of, being zeroes then */
struct sum {
	u32 place, first, end, polynomial;
};

/* A run that was done before */
struct run {
	struct file before, after, undo;
	struct timespec times[2];	/* of the image after it */
	struct sum sums[MAX_SUMS];
	unsigned int nr_sums;
};

enum state { AFTER, BEFORE, OTHER, CHANGED, HALF_UNDONE, STATES };

static struct run runs[3];
static struct file undo, image, result;
static int image_fd, undo_fd, say_fd;
static char image_path[32], undo_path[32];

static void check(bool condition, const char *what)
{
	if (condition)
		return;
	dprintf(say_fd, "fuzz_undo: %s\n", what);
	abort();
}

static void store(int fd, const struct file *file)
{
	check(!ftruncate(fd, file->size) &&
	      pwrite(fd, file->data, file->size, 0) == (ssize_t)file->size, "cannot write a file");
}

static void load(int fd, struct file *file)
{
	ssize_t n = pread(fd, file->data, MAX_FILE, 0);

	check(n >= 0, "cannot read a file");
	file->size = n;
}

/* The whole array would take longer than all the rest */
static void copy(struct file *to, const struct file *from)
{
	memcpy(to->data, from->data, from->size);
	to->size = from->size;
}

static bool is_same(const struct file *one, const struct file *two)
{
	return one->size == two->size && !memcmp(one->data, two->data, one->size);
}

/* Call the program for the image, with options, of which the last one may be NULL */
static int call(char *first, char *second, char *third, char *fourth)
{
	char *argv[7];
	int argc = 0;

	argv[argc++] = "qed-fsck";
	argv[argc++] = first;
	argv[argc++] = second;
	argv[argc++] = third;
	if (fourth)
		argv[argc++] = fourth;
	argv[argc++] = image_path;
	argv[argc] = NULL;
	optind = 0;
	return qed_fsck_main(argc, argv);
}

/*----------------------------------------------------------------
 * What was done before
 *----------------------------------------------------------------
 */

static void put(struct file *file, size_t offset, u64 value)
{
	memcpy(file->data + offset, &value, sizeof(value));
}

/*
 * An image with one table behind the L1 table, and data behind that: with entries that are
 * wrong, one that is shared, a leak, and something behind the end.
 */
static void make_image(struct file *file, unsigned int number)
{
	unsigned int clusters = 10 + number * 2, i;
	struct qed_header header = {
		.magic = htole32(QED_MAGIC),
		.cluster_size = htole32(CLUSTER),
		.table_size = htole32(1),
		.header_size = htole32(1),
		.features = htole64(number == 1 ? QED_F_NEED_CHECK : 0),
		.l1_table_offset = htole64(CLUSTER),
		.image_size = htole64(CLUSTER * 512),
	};

	memset(file, 0, sizeof(*file));
	memcpy(file->data, &header, sizeof(header));
	put(file, CLUSTER, 2 * CLUSTER);
	for (i = 3; i < clusters; i++) {
		memset(file->data + i * CLUSTER, i + number * 16, CLUSTER / (i % 2 + 1));
		if (i != 5)
			put(file, 2 * CLUSTER + i * 8, i * CLUSTER);
	}
	put(file, 2 * CLUSTER + 100 * 8, 4711);
	if (number != 2)
		put(file, 2 * CLUSTER + 200 * 8, 4 * CLUSTER);
	file->size = clusters * CLUSTER + (number == 2 ? -100 : 3000);
}

static u32 crc(const struct file *file, const struct sum *sum)
{
	u32 value = ~0U, i, bit, byte;

	for (i = sum->first; i < sum->end; i++) {
		byte = i >= sum->place && i < sum->place + 4 ? 0 : file->data[i];
		value ^= byte;
		for (bit = 0; bit < 8; bit++)
			value = value >> 1 ^ (value & 1 ? sum->polynomial : 0);
	}
	return ~value;
}

/* Look for checksums of a structure that has them within, or at its end */
static void find_sums(struct run *run, u32 place)
{
	static const u32 polynomials[] = { 0xedb88320, 0x82f63b78 };
	struct sum sum = { .place = place };
	u32 there, p;

	memcpy(&there, run->undo.data + place, 4);
	for (sum.first = place > 96 ? place - 96 : 0; there && sum.first <= place; sum.first += 4) {
		for (sum.end = place + 4; sum.end < place + 36; sum.end += 4) {
			for (p = 0; p < 2; p++) {
				sum.polynomial = polynomials[p];
				if (run->nr_sums < MAX_SUMS && sum.end <= run->undo.size &&
				    crc(&run->undo, &sum) == there)
					run->sums[run->nr_sums++] = sum;
			}
		}
	}
}

static void make_run(struct run *run, unsigned int number, char *folder)
{
	char path[64];
	struct stat st;
	int fd, status;
	size_t i;

	snprintf(path, sizeof(path), "%s/undo", folder);
	make_image(&run->before, number);
	store(image_fd, &run->before);
	status = call("-yf", "--undo", path, NULL);
	check(status == REPAIRED, "the first repair fails");
	load(image_fd, &run->after);
	check(!is_same(&run->before, &run->after), "nothing was repaired");
	check(!fstat(image_fd, &st), "cannot look at the image");
	run->times[0] = st.st_atim;
	run->times[1] = st.st_mtim;
	fd = open(path, O_RDONLY);
	check(fd >= 0, "there is no undo file");
	load(fd, &run->undo);
	check(run->undo.size && run->undo.size < MAX_FILE / 2, "the undo file is too large");
	close(fd);
	unlink(path);
	for (i = 0; i + 4 <= run->undo.size && i < 8192; i += 4)
		find_sums(run, i);
}

int initialize(int *argc, char ***argv)
{
	char folder[] = "/dev/shm/qed-fuzz-XXXXXX";
	unsigned int i;

	(void)argc;
	(void)argv;
	prepare_buffers();
	say_fd = dup(2);
	image_fd = memfd_create("image", MFD_CLOEXEC);
	undo_fd = memfd_create("undo", MFD_CLOEXEC);
	snprintf(image_path, sizeof(image_path), "/proc/self/fd/%d", image_fd);
	snprintf(undo_path, sizeof(undo_path), "/proc/self/fd/%d", undo_fd);
	check(say_fd >= 0 && image_fd >= 0 && undo_fd >= 0 && mkdtemp(folder), "cannot begin");
	check(freopen("/dev/null", "w", stdout), "cannot begin");
	for (i = 0; i < 3; i++)
		make_run(&runs[i], i, folder);
	rmdir(folder);
	return 0;
}

/*----------------------------------------------------------------
 * The undo file
 *----------------------------------------------------------------
 */

static void cut_out(struct file *file, size_t at, size_t length)
{
	length = length < file->size - at ? length : file->size - at;
	memmove(file->data + at, file->data + at + length, file->size - at - length);
	file->size -= length;
}

/* Make room for, and copy, what may be a part of the file itself */
static void insert(struct file *file, size_t at, const unsigned char *data, size_t length)
{
	static unsigned char copy[65536];

	if (file->size + length > MAX_FILE || length > sizeof(copy))
		return;
	memcpy(copy, data, length);
	memmove(file->data + at + length, file->data + at, file->size - at);
	memcpy(file->data + at, copy, length);
	file->size += length;
}

/* False if values of the input's own were written, which may be right by chance */
static bool change(struct file *file, struct input *input)
{
	u32 kind = take(input, 1), at = take(input, 2), length = take(input, 1), i;
	u64 value;

	if (!file->size)
		return true;
	at %= file->size;
	switch (kind % 8) {
	case 0:
		file->size = at;
		break;
	case 1:
		cut_out(file, at, length * 4 + 4);
		break;
	case 2:		/* the same twice */
		i = take(input, 2) % file->size;
		length = length * 16 + 16;
		insert(file, at, file->data + i, length < file->size - i ? length : file->size - i);
		break;
	case 3:		/* a word of some size */
		value = take(input, 4);
		value |= length & 8 ? (u64)take(input, 4) << 32 : 0;
		for (i = 0; i < (length & 7) + 1 && at + i < file->size; i++)
			file->data[at + i] = value >> 8 * i;
		return false;
	case 4:
		for (i = 0; i < length % 32U && at + i < file->size; i++)
			file->data[at + i] = take(input, 1);
		return false;
	case 5:
		value = length;
		for (i = take(input, 2) % 4096; i; i--)
			insert(file, file->size, (unsigned char *)&value, 1);
		break;
	case 6:
		file->data[at] ^= 1 << length % 8;
		break;
	default:
		memset(file->data + at, length, file->size - at < 64 ? file->size - at : 64);
		break;
	}
	return true;
}

/* Put the checksums right that are where they were */
static void repair_sums(struct file *file, const struct run *run)
{
	u32 value;
	unsigned int i;

	for (i = 0; i < run->nr_sums; i++) {
		if (run->sums[i].end > file->size)
			continue;
		value = crc(file, &run->sums[i]);
		memcpy(file->data + run->sums[i].place, &value, 4);
	}
}

/*----------------------------------------------------------------
 * Applying
 *----------------------------------------------------------------
 */

/* Where the image was changed since */
struct changed {
	size_t first, end;
};

static void make_state(const struct run *run, enum state state, struct input *input,
		       struct changed *changed)
{
	unsigned int other = take(input, 1);
	size_t at = take(input, 4);

	copy(&image, state == BEFORE ? &run->before : &run->after);
	memset(changed, 0, sizeof(*changed));
	if (state == OTHER) {
		copy(&image, &runs[(run - runs + 1 + other % 2) % 3].after);
	} else if (state == CHANGED) {
		at %= image.size;
		changed->first = at;
		changed->end = at + 1 + other % 16 < image.size ? at + 1 + other % 16 : image.size;
		memset(image.data + at, take(input, 1), changed->end - at);
	} else if (state == HALF_UNDONE) {
		/* the places differ in what has happened to them, and the length */
		at = at % image.size & ~511U;
		if (other % 2 || run->before.size < image.size)
			image.size = run->before.size;
		if (at < image.size)
			memcpy(image.data + at, run->before.data + at, image.size - at);
	}
}

/* The program's own file */
static void judge_original(const struct run *run, enum state state, bool force, int status,
			   const struct changed *changed)
{
	size_t i;

	if (state == AFTER) {
		check(status == REPAIRED && is_same(&result, &run->before), "not undone");
	} else if (state == BEFORE) {
		check(is_same(&result, &run->before), "undone already, and not the same then");
	} else if (state == OTHER && !force) {
		check(status & OPERATION, "applied to another image");
	} else if (state == CHANGED && !force && !(status & OPERATION)) {
		check(result.size == run->before.size, "of an image that was changed: the size");
		for (i = 0; i < result.size; i++)
			check(result.data[i] == run->before.data[i] ||
			      (i >= changed->first && i < changed->end &&
			       result.data[i] == image.data[i]), "an image that was changed");
	}
}

int test_input(const u8 *data, size_t size)
{
	struct input input = { .data = data, .left = size };
	u32 flags = take(&input, 1), how = take(&input, 1);
	const struct run *run = &runs[how % 3];
	enum state state = how / 3 % STATES;
	bool force = flags & 1, is_torn = !(flags & 2);
	struct changed changed;
	int status;

	make_state(run, state, &input, &changed);
	copy(&undo, &run->undo);
	while (input.left)
		is_torn &= change(&undo, &input);
	if (flags & 2 && !is_same(&undo, &run->undo))
		repair_sums(&undo, run);
	store(image_fd, &image);
	store(undo_fd, &undo);
	if (state != CHANGED)
		check(!futimens(image_fd, run->times), "cannot set the time");
	status = call("--json", "--undo-apply", undo_path, force ? "--force" : NULL);
	load(image_fd, &result);

	check(!(status & ~(REPAIRED | OPERATION)), "an unknown exit status");
	if (status & OPERATION)
		check(is_same(&result, &image), "refused, and changed nevertheless");
	if (is_same(&undo, &run->undo))
		judge_original(run, state, force, status, &changed);
	else if (is_torn && state == AFTER && !(status & OPERATION))
		check(is_same(&result, &run->before), "a part of a file was applied");
	check_buffers();
	return 0;
}
