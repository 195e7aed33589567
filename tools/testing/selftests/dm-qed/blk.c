// SPDX-License-Identifier: GPL-2.0
/*
 * What the tests do most, in one small static program: where the processor is
 * emulated, every start of dmsetup, dd or dmesg takes a tenth of a second.
 *
 *  blk dm create|load|swap NAME [ro]	table on standard input; create prints
 *					the device and leaves nothing if it fails;
 *					swap is load, suspend, and resume
 *  blk dm resume|remove|wipe|status|table|events NAME
 *  blk dm settle NAME			until an image has been scanned, or for two
 *					minutes
 *  blk dm suspend NAME [noflush]
 *  blk dm list PREFIX			names, what is in use last
 *  blk loop add FILE [ro] [BLOCKSIZE]	prints the device
 *  blk loop del DEVICE			and waits until nobody uses it
 *  blk sectors DEVICE
 *  blk u64 FILE OFFSET			a little-endian number
 *  blk poke FILE OFFSET NUMBER		put one there
 *  blk image FILE SIZE CLUSTER TABLE FEATURES
 *					write the header of a QED image
 *  blk kmsg MARK			what the kernel said after that line
 *  blk io DEVICE COMMAND...		direct I/O, one command after the other
 *
 * The commands of io, all numbers in bytes; each prints a line if it fails and
 * ends the program with status 1:
 *
 *  write:OFFSET:LENGTH:BYTE		fill with a byte
 *  fua:OFFSET:LENGTH:BYTE		the same as a sync write
 *  read:OFFSET:LENGTH:BYTE		all must be this byte
 *  cmp:OFFSET:LENGTH:FILE		as the file has it at the same place
 *  flush
 *  discard:OFFSET:LENGTH
 *  punch:OFFSET:LENGTH			zeroes that need no space
 *  zero:OFFSET:LENGTH			zeroes that keep their space
 *  quick:OFFSET:LENGTH			zeroes that cost no writing, since Linux 6.17
 *  nowait-write:OFFSET:LENGTH:BYTE	must neither wait nor fail
 *  nowait-read:OFFSET:LENGTH:BYTE
 *
 * with a prefix for those that have to fail: !EIO/write:..., !EAGAIN/nowait-...
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "blk.h"

#ifndef FALLOC_FL_WRITE_ZEROES
#define FALLOC_FL_WRITE_ZEROES	0x80
#endif

#define MAX_IO		1048576

void fatal(const char *what)
{
	fprintf(stderr, "blk: %s: %s\n", what, strerror(errno));
	exit(1);
}

void usage(void)
{
	fprintf(stderr, "blk: bad arguments\n");
	exit(2);
}

void retry_delay(void)
{
	usleep(50000);
}

/*
 * Loop devices
 */

static int loop_add(const char *file, bool ro, unsigned int block_size)
{
	struct loop_config config = {
		.block_size = block_size,
		.info.lo_flags = ro ? LO_FLAGS_READ_ONLY : 0,
	};
	int control, nr, fd, i;
	char name[32];

	control = open("/dev/loop-control", O_RDWR);
	config.fd = open(file, ro ? O_RDONLY : O_RDWR);
	if (control < 0 || (int)config.fd < 0)
		fatal(file);
	for (i = 0; i < RETRIES; i++) {
		nr = ioctl(control, LOOP_CTL_GET_FREE);
		snprintf(name, sizeof(name), "/dev/loop%d", nr);
		fd = open(name, ro ? O_RDONLY : O_RDWR);
		if (nr < 0 || fd < 0)
			fatal(name);
		if (!ioctl(fd, LOOP_CONFIGURE, &config)) {
			puts(name);
			return 0;
		}
		close(fd);
		if (errno != EBUSY)
			break;
	}
	fatal("LOOP_CONFIGURE");
	return 1;
}

static int loop_del(const char *device)
{
	struct loop_info64 info;
	int fd = open(device, O_RDONLY), i;

	if (fd < 0)
		fatal(device);
	ioctl(fd, LOOP_CLR_FD);
	close(fd);

	/* Detached with the last close, which need not have been ours. */
	for (i = 0; i < RETRIES; i++) {
		bool gone;

		fd = open(device, O_RDONLY);
		gone = fd < 0 || (ioctl(fd, LOOP_GET_STATUS64, &info) && errno == ENXIO);
		if (fd >= 0)
			close(fd);
		if (gone)
			return 0;
		retry_delay();
	}
	errno = EBUSY;
	fatal(device);
	return 1;
}

static int loop_main(int argc, char **argv)
{
	bool ro = false;
	unsigned int block_size = 0;
	int i;

	if (!strcmp(argv[0], "del"))
		return loop_del(argv[1]);
	if (strcmp(argv[0], "add"))
		usage();
	for (i = 2; i < argc; i++) {
		if (!strcmp(argv[i], "ro"))
			ro = true;
		else
			block_size = atoi(argv[i]);
	}
	return loop_add(argv[1], ro, block_size);
}

/*
 * I/O
 */

static const struct {
	const char *name;
	int number;
} errnos[] = {
	{ "EIO", EIO },
	{ "EAGAIN", EAGAIN },
	{ "ENOSPC", ENOSPC },
	{ "EOPNOTSUPP", EOPNOTSUPP },
	{ "EROFS", EROFS },
	{ "EPERM", EPERM },
};

static int errno_by_name(const char *name, size_t length)
{
	unsigned int i;

	for (i = 0; i < sizeof(errnos) / sizeof(*errnos); i++)
		if (strlen(errnos[i].name) == length &&
		    !strncmp(errnos[i].name, name, length))
			return errnos[i].number;
	usage();
	return 0;
}

static bool all_are(const unsigned char *buf, size_t length, int byte)
{
	return buf[0] == byte && !memcmp(buf, buf + 1, length - 1);
}

struct io {
	int fd;
	char *buf;
	char *other;			/* for what a file has */
};

static bool mismatch(const char *what, off_t at, const unsigned char *buf, size_t length)
{
	size_t i;

	printf("%s: wrong data in the I/O at %lld:", what, (long long)at);
	for (i = 0; i < length && i < 64; i++)
		printf(" %02x", buf[i]);
	printf(" ...\n");
	errno = 0;
	return false;
}

/* One I/O of at most MAX_IO. Returns false with errno, 0 for wrong data. */
static bool io_piece(struct io *io, const char *command, off_t at, size_t length,
		     int byte, int file)
{
	bool nowait = !strncmp(command, "nowait-", 7);
	bool fua = !strncmp(command, "fua", 3);
	bool is_write = fua || !strncmp(command + (nowait ? 7 : 0), "write", 5);
	struct iovec iov = { .iov_base = io->buf, .iov_len = length };
	int flags = (nowait ? RWF_NOWAIT : 0) | (fua ? RWF_DSYNC : 0);
	ssize_t r;

	memset(io->buf, is_write ? byte : ~byte, length);
	r = is_write ? pwritev2(io->fd, &iov, 1, at, flags) :
		       preadv2(io->fd, &iov, 1, at, flags);
	if (r != (ssize_t)length) {
		if (r >= 0)
			errno = ENODATA;
		return false;
	}
	if (is_write)
		return true;
	if (file < 0)
		return all_are((unsigned char *)io->buf, length, byte) ||
		       mismatch(command, at, (unsigned char *)io->buf, length);

	memset(io->other, 0, length);
	if (pread(file, io->other, length, at) < 0)
		fatal("file");
	return !memcmp(io->buf, io->other, length) ||
	       mismatch(command, at, (unsigned char *)io->buf, length);
}

/* Returns -1 if the command is none of these. */
static int unmap(int fd, const char *command, long long at, long long length)
{
	unsigned long long range[2] = { at, length };
	int mode = FALLOC_FL_KEEP_SIZE;

	if (!strncmp(command, "discard", 7))
		return !ioctl(fd, BLKDISCARD, range);
	if (!strncmp(command, "punch", 5))
		mode |= FALLOC_FL_PUNCH_HOLE;
	else if (!strncmp(command, "zero", 4))
		mode |= FALLOC_FL_ZERO_RANGE;
	else if (!strncmp(command, "quick", 5))
		mode = FALLOC_FL_WRITE_ZEROES;
	else
		return -1;
	return !fallocate(fd, mode, at, length);
}

static bool io_range(struct io *io, const char *command)
{
	long long at, length;
	char last[256] = "";
	bool ok = true;
	int file = -1, unmapped;

	if (!strcmp(command, "flush"))
		return !fdatasync(io->fd);

	if (sscanf(command, "%*[a-z-]:%lli:%lli:%255s", &at, &length, last) < 2 ||
	    length <= 0)
		usage();
	unmapped = unmap(io->fd, command, at, length);
	if (unmapped >= 0)
		return unmapped;
	if (!strncmp(command, "cmp", 3)) {
		file = open(last, O_RDONLY);
		if (file < 0)
			fatal(last);
	}
	while (length && ok) {
		size_t piece = length < MAX_IO ? length : MAX_IO;

		ok = io_piece(io, command, at, piece, strtol(last, NULL, 0), file);
		at += piece;
		length -= piece;
	}
	if (file >= 0)
		close(file);
	return ok;
}

static int io_main(const char *device, int argc, char **argv)
{
	struct io io;
	int i, expected;

	io.fd = open(device, O_RDWR | O_DIRECT);
	if (io.fd < 0 && (errno == EROFS || errno == EACCES || errno == EPERM))
		io.fd = open(device, O_RDONLY | O_DIRECT);
	if (io.fd < 0 || posix_memalign((void **)&io.buf, 4096, 2 * MAX_IO))
		fatal(device);
	io.other = io.buf + MAX_IO;

	for (i = 0; i < argc; i++) {
		const char *command = argv[i];

		expected = 0;
		if (*command == '!') {
			size_t length = strcspn(++command, "/");

			expected = errno_by_name(command, length);
			command += length + 1;
		}
		errno = 0;
		if (io_range(&io, command) ? !expected : expected && errno == expected)
			continue;
		printf("%s: %s\n", argv[i], errno ? strerror(errno) :
		       expected ? "no error" : "wrong data");
		return 1;
	}
	return 0;
}

/*
 * The rest
 */

static int print_sectors(const char *device)
{
	int fd = open(device, O_RDONLY);
	struct stat st;
	__u64 size;

	if (fd < 0 || fstat(fd, &st))
		fatal(device);
	if (ioctl(fd, BLKGETSIZE64, &size))
		size = st.st_size;
	printf("%llu\n", (unsigned long long)size / 512);
	return 0;
}

/* Not through the page cache: a device-mapper target does not see it. */
static int print_u64(const char *file, const char *offset)
{
	off_t at = strtoll(offset, NULL, 0), block = at & ~4095LL;
	unsigned long long number = 0;
	unsigned char *buf;
	int fd = open(file, O_RDONLY | O_DIRECT), i;

	if (fd < 0)
		fd = open(file, O_RDONLY);
	if (fd < 0 || posix_memalign((void **)&buf, 4096, 4096) ||
	    pread(fd, buf, 4096, block) < 0)
		fatal(file);
	for (i = 7; i >= 0; i--)
		number = number << 8 | buf[at - block + i];
	printf("%llu\n", number);
	return 0;
}

/* Puts a number to its place in the header. */
static void put(unsigned char *header, unsigned int at, unsigned int bytes,
		unsigned long long number)
{
	for (; bytes--; number >>= 8)
		header[at++] = number;
}

static int poke(const char *file, const char *offset, const char *number)
{
	off_t at = strtoll(offset, NULL, 0), block = at & ~4095LL;
	unsigned char *buf;
	int fd = open(file, O_RDWR | O_DIRECT);

	if (fd < 0)
		fd = open(file, O_RDWR);
	if (fd < 0 || posix_memalign((void **)&buf, 4096, 4096) ||
	    pread(fd, buf, 4096, block) < 0)
		fatal(file);
	put(buf, at - block, 8, strtoull(number, NULL, 0));
	if (pwrite(fd, buf, 4096, block) != 4096)
		fatal(file);
	return 0;
}

/* The rest of the image, the L1 table, has to be zero already. */
static int make_image(const char *file, char **argv)
{
	unsigned long long size = strtoull(argv[0], NULL, 0);
	unsigned long long cluster = strtoull(argv[1], NULL, 0);
	unsigned long long table = strtoull(argv[2], NULL, 0);
	int fd = open(file, O_RDWR | O_CREAT | O_DIRECT, 0644);
	unsigned char *header;
	struct stat st;

	/* not every file system has direct I/O */
	if (fd < 0)
		fd = open(file, O_RDWR | O_CREAT, 0644);
	if (fd < 0 || fstat(fd, &st) ||
	    posix_memalign((void **)&header, 4096, 4096))
		fatal(file);
	memset(header, 0, 4096);
	memcpy(header, "QED", 4);
	put(header, 4, 4, cluster);
	put(header, 8, 4, table);
	put(header, 12, 4, 1);
	put(header, 16, 8, strtoull(argv[3], NULL, 0));
	put(header, 40, 8, cluster);
	put(header, 48, 8, size);
	if (pwrite(fd, header, 4096, 0) != 4096)
		fatal(file);
	if (S_ISREG(st.st_mode) && (unsigned long long)st.st_size < cluster * (1 + table) &&
	    ftruncate(fd, cluster * (1 + table)))
		fatal(file);
	return 0;
}

static int print_kmsg(const char *mark)
{
	int size = klogctl(10 /* SYSLOG_ACTION_SIZE_BUFFER */, NULL, 0);
	char *log, *at, *next;

	log = malloc(size + 1);
	if (!log)
		fatal("memory");
	size = klogctl(3 /* SYSLOG_ACTION_READ_ALL */, log, size);
	if (size < 0)
		fatal("klogctl");
	log[size] = 0;
	at = log;
	while ((next = strstr(at, mark)))
		at = next + strlen(mark);
	at = strchr(at, '\n');
	/* without the priority in angle brackets */
	while (at && *++at) {
		next = strchr(at, '\n');
		if (*at == '<' && strchr(at, '>'))
			at = strchr(at, '>') + 1;
		printf("%.*s\n", next ? (int)(next - at) : (int)strlen(at), at);
		at = next;
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc < 3)
		usage();
	if (!strcmp(argv[1], "dm") && (argc == 4 || argc == 5))
		return dm_main(argv[2], argv[3], argv[4]);
	if (!strcmp(argv[1], "loop") && argc >= 4)
		return loop_main(argc - 2, argv + 2);
	if (!strcmp(argv[1], "io"))
		return io_main(argv[2], argc - 3, argv + 3);
	if (!strcmp(argv[1], "sectors"))
		return print_sectors(argv[2]);
	if (!strcmp(argv[1], "u64") && argc == 4)
		return print_u64(argv[2], argv[3]);
	if (!strcmp(argv[1], "poke") && argc == 5)
		return poke(argv[2], argv[3], argv[4]);
	if (!strcmp(argv[1], "image") && argc == 7)
		return make_image(argv[2], argv + 3);
	if (!strcmp(argv[1], "kmsg"))
		return print_kmsg(argv[2]);
	usage();
	return 2;
}
