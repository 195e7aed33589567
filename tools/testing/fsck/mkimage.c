// SPDX-License-Identifier: GPL-2.0-only
/*
 * mkimage - make a QED image of any size, quickly
 *
 * Usage: mkimage [-c CLUSTER-SIZE] [-t TABLE-SIZE] [-r SEED] [-a SEED] [-d] SIZE FILE
 *
 * Sizes are in bytes, that of a table in clusters; SIZE takes K, M, G or T, and
 * has to be as much as whole L2 tables map. Only the tables are written, the data
 * is a hole in the file. Without -r each table is followed by its data, in order,
 * as if the guest had written its disk from the start to the end. With -r all
 * tables come first, and the data is in a pseudo-random order. All clusters are
 * mapped; but with -a as after years of use: eight each are in order, and runs of 16 on
 * an average are mapped in eight of twelve cases, or were discarded, or are zero.
 * With -d each mapped cluster has 4 KiB of data, so that what was discarded is a hole
 * beside data.
 */

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/types.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../../drivers/md/dm-qed-format.h"

/* Clusters that are in order in an aged image, unless all are in random order */
#define RUN	8U

typedef __u64 u64;

struct layout {
	u64 cluster_size, table_size, entries, tables;
	u64 first;		/* cluster behind the L1 table */
	bool is_random, is_aged, has_data;
	u64 seed, age_seed;
	unsigned int bits;	/* log2 of the number of clusters of data */
};

static void die(const char *what)
{
	fprintf(stderr, "mkimage: %s: %s\n", what, strerror(errno));
	exit(2);
}

static u64 parse_size(const char *text)
{
	static const char units[] = "KMGT";
	char *end;
	u64 size = strtoull(text, &end, 0);
	const char *unit = *end ? strchr(units, *end) : NULL;

	return unit ? size << 10 * (unit - units + 1) : size;
}

/* A permutation of the numbers of so many bits: each step can be reversed */
static u64 shuffle(u64 n, unsigned int bits, u64 seed)
{
	u64 mask = (1ULL << bits) - 1;
	unsigned int half = bits / 2 + 1, round;

	for (round = 0; round < 3; round++) {
		n = (n * 0x9e3779b97f4a7c15ULL + seed) & mask;
		n ^= n >> half;
	}
	return n;
}

static u64 table_cluster(const struct layout *l, u64 table)
{
	if (l->is_random)
		return l->first + table * l->table_size;
	return l->first + table * (l->table_size + l->entries);
}

static u64 data_cluster(const struct layout *l, u64 table, u64 index)
{
	u64 runs = l->entries / RUN;

	if (l->is_aged && !l->is_random)
		index = shuffle(index / RUN, __builtin_ctzll(runs), l->age_seed) * RUN +
			index % RUN;
	if (!l->is_random)
		return table_cluster(l, table) + l->table_size + index;
	return l->first + l->tables * l->table_size +
	       shuffle(table * l->entries + index, l->bits, l->seed);
}

/* What is mapped: 0 is free, 1 is zero; each run ends where it is decided again */
static u64 entry_of(const struct layout *l, u64 table, u64 index)
{
	u64 cluster = data_cluster(l, table, index), run = index, dice;

	if (l->is_aged) {
		while (run && shuffle(table * l->entries + run, 48, l->age_seed) % 16)
			run--;
		dice = shuffle(table * l->entries + run, 40, l->age_seed + 1) % 12;
		if (dice >= 8)
			return dice >= 11;
	}
	return cluster * l->cluster_size;
}

static void write_at(int fd, const void *buf, size_t length, u64 offset)
{
	if (pwrite(fd, buf, length, offset) != (ssize_t)length)
		die("cannot write");
}

static void write_image(int fd, const struct layout *l, u64 size)
{
	struct qed_header header = {
		.magic = htole32(QED_MAGIC),
		.cluster_size = htole32(l->cluster_size),
		.table_size = htole32(l->table_size),
		.header_size = htole32(1),
		.l1_table_offset = htole64(l->cluster_size),
		.image_size = htole64(size),
	};
	static const char data[4096] = "data";
	u64 table_bytes = l->entries * 8, i, j;
	__le64 *table = malloc(table_bytes);
	u64 end = (l->first + l->tables * l->table_size) * l->cluster_size;

	if (!table)
		die("cannot begin");
	if (ftruncate(fd, (l->first + l->tables * (l->table_size + l->entries)) * l->cluster_size))
		die("cannot set the size");
	write_at(fd, &header, sizeof(header), 0);
	memset(table, 0, table_bytes);
	for (i = 0; i < l->tables; i++)
		table[i] = htole64(table_cluster(l, i) * l->cluster_size);
	write_at(fd, table, table_bytes, l->cluster_size);
	for (i = 0; i < l->tables; i++) {
		for (j = 0; j < l->entries; j++)
			table[j] = htole64(entry_of(l, i, j));
		write_at(fd, table, table_bytes, table_cluster(l, i) * l->cluster_size);
		for (j = 0; j < l->entries; j++) {
			if (le64toh(table[j]) <= 1)
				continue;
			if (le64toh(table[j]) + l->cluster_size > end)
				end = le64toh(table[j]) + l->cluster_size;
			if (l->has_data)
				write_at(fd, data, sizeof(data), le64toh(table[j]));
		}
	}
	if (l->is_aged && ftruncate(fd, end))
		die("cannot set the size");
	free(table);
}

int main(int argc, char **argv)
{
	struct layout l = { .cluster_size = 65536, .table_size = 4 };
	int option, fd;
	u64 size, span;

	while ((option = getopt(argc, argv, "c:t:r:a:d")) != -1) {
		switch (option) {
		case 'c':
			l.cluster_size = parse_size(optarg);
			break;
		case 't':
			l.table_size = parse_size(optarg);
			break;
		case 'r':
			l.is_random = true;
			l.seed = parse_size(optarg);
			break;
		case 'a':
			l.is_aged = true;
			l.age_seed = parse_size(optarg);
			break;
		case 'd':
			l.has_data = true;
			break;
		default:
			return 2;
		}
	}
	if (argc - optind != 2) {
		fprintf(stderr,
			"usage: mkimage [-c SIZE] [-t CLUSTERS] [-r SEED] [-a SEED] [-d] SIZE FILE\n");
		return 2;
	}

	size = parse_size(argv[optind]);
	l.entries = l.table_size * l.cluster_size / 8;
	span = l.entries * l.cluster_size;
	l.tables = span ? size / span : 0;
	l.first = 1 + l.table_size;
	if (!l.tables || size % span || l.tables > l.entries) {
		fprintf(stderr, "mkimage: size is not a multiple of %llu, or too large\n", span);
		return 2;
	}
	while (1ULL << l.bits < l.tables * l.entries)
		l.bits++;
	if (l.is_random && 1ULL << l.bits != l.tables * l.entries) {
		fprintf(stderr, "mkimage: -r needs a size that is a power of two\n");
		return 2;
	}
	fd = open(argv[optind + 1], O_RDWR | O_CREAT | O_TRUNC, 0644);
	if (fd < 0)
		die(argv[optind + 1]);
	write_image(fd, &l, size);
	if (close(fd))
		die(argv[optind + 1]);
	return 0;
}
