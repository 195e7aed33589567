// SPDX-License-Identifier: GPL-2.0-only
/*
 * Loop devices, see loop.h.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "fail.h"
#include "loop.h"

/* How long loop_wait() waits at most: five seconds */
#define WAIT_TRIES	500
#define WAIT_NS		10000000

/* Others may take the device that is free: so often another one is asked for. */
#define TRIES		64

/*----------------------------------------------------------------
 * What there is
 *----------------------------------------------------------------
 */

int loop_behind(dev_t device, struct stat *st)
{
	struct loop_info64 info;
	int r = qed_loop_status(device, &info);

	if (r)
		return r;
	memset(st, 0, sizeof(*st));
	st->st_dev = info.lo_device;
	st->st_ino = info.lo_inode;
	st->st_rdev = info.lo_rdevice;
	return 0;
}

bool loop_is_direct(dev_t device)
{
	struct loop_info64 info;

	return !qed_loop_status(device, &info) && info.lo_flags & LO_FLAGS_DIRECT_IO;
}

bool loop_goes_away(dev_t device)
{
	struct loop_info64 info;

	return !qed_loop_status(device, &info) && info.lo_flags & LO_FLAGS_AUTOCLEAR;
}

static bool is_holder(const struct loop_info64 *info)
{
	return !strncmp((const char *)info->lo_file_name, LOOP_HOLDER, sizeof(LOOP_HOLDER));
}

static bool take_name(dev_t device, const struct loop_info64 *info, void *ctx)
{
	if (info && is_holder(info))
		return false;
	return !qed_block_node(device, ctx);
}

bool loop_find(const struct stat *st, char name[QED_NODE_SIZE])
{
	return qed_loop_each(st, take_name, name);
}

void loop_wait(const struct stat *st)
{
	const struct timespec pause = { .tv_nsec = WAIT_NS };
	char name[QED_NODE_SIZE];
	int i;

	for (i = 0; i < WAIT_TRIES && loop_find(st, name); i++)
		nanosleep(&pause, NULL);
}

/*----------------------------------------------------------------
 * New ones
 *----------------------------------------------------------------
 */

/* What it has become may differ from what was asked for. */
static int read_back(struct loop *loop)
{
	struct loop_info64 info;
	struct stat st;
	int size;

	if (ioctl(loop->fd, LOOP_GET_STATUS64, &info) || ioctl(loop->fd, BLKSSZGET, &size) ||
	    fstat(loop->fd, &st))
		return -errno;
	loop->device = st.st_rdev;
	loop->is_direct = info.lo_flags & LO_FLAGS_DIRECT_IO;
	loop->sector_size = size;
	snprintf(loop->name, sizeof(loop->name), "/dev/loop%u", info.lo_number);
	return 0;
}

/* One try: -EBUSY if somebody else has taken the device meanwhile */
static int configure_free(int control, struct loop *loop, const struct loop_config *config)
{
	int number = ioctl(control, LOOP_CTL_GET_FREE), r;

	if (number < 0)
		return -errno;
	snprintf(loop->name, sizeof(loop->name), "/dev/loop%d", number);
	loop->fd = open(loop->name, O_RDWR | O_CLOEXEC);
	if (loop->fd < 0)
		return errno == ENXIO ? -EBUSY : -errno;
	r = ioctl(loop->fd, LOOP_CONFIGURE, config) ? -errno : read_back(loop);
	if (r)
		close(loop->fd);
	return r;
}

static int configure(struct loop *loop, const struct loop_config *config)
{
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), r = -EBUSY, i;

	if (control < 0)
		return fail(errno, "/dev/loop-control: %s%s", strerror(errno),
			    errno == ENOENT ? ": modprobe loop" : "");
	for (i = 0; i < TRIES && r == -EBUSY; i++)
		r = configure_free(control, loop, config);
	close(control);
	return fail_as(r, "cannot make a loop device");
}

int loop_attach(struct loop *loop, int fd, const char *path, bool read_only, bool direct,
		unsigned int sector_size)
{
	struct loop_config config = {
		.fd = fd,
		.block_size = sector_size,
		.info.lo_flags = LO_FLAGS_AUTOCLEAR | (read_only ? LO_FLAGS_READ_ONLY : 0) |
				 (direct ? LO_FLAGS_DIRECT_IO : 0),
	};

	snprintf((char *)config.info.lo_file_name, LO_NAME_SIZE, "%s%s", LOOP_IMAGE, path);
	return configure(loop, &config);
}

/* What loop_share() looks for */
struct wanted {
	struct loop *loop;
	bool direct;
	unsigned int sector_size;
};

static bool is_wanted(const struct wanted *wanted, const struct loop_info64 *info)
{
	struct loop_info64 now;

	/* it may have become another one before we had it open */
	return !ioctl(wanted->loop->fd, LOOP_GET_STATUS64, &now) &&
	       !memcmp(&now, info, sizeof(now)) && !read_back(wanted->loop) &&
	       wanted->loop->is_direct == wanted->direct &&
	       wanted->loop->sector_size == wanted->sector_size;
}

static bool take_shared(dev_t device, const struct loop_info64 *info, void *ctx)
{
	const u32 flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR;
	struct wanted *wanted = ctx;

	if (!info || (info->lo_flags & flags) != flags || info->lo_offset || info->lo_sizelimit)
		return false;
	/* one that somebody else has made has no locks */
	if (strncmp((const char *)info->lo_file_name, LOOP_IMAGE, strlen(LOOP_IMAGE)))
		return false;
	wanted->loop->fd = qed_loop_open(device);
	if (wanted->loop->fd < 0)
		return false;
	if (is_wanted(wanted, info))
		return true;
	close(wanted->loop->fd);
	return false;
}

bool loop_share(struct loop *loop, const struct stat *st, bool direct,
		unsigned int sector_size)
{
	struct wanted wanted = { .loop = loop, .direct = direct, .sector_size = sector_size };

	return qed_loop_each(st, take_shared, &wanted);
}

void loop_close(struct loop *loop)
{
	close(loop->fd);
}

int loop_update_size(dev_t device)
{
	int fd = qed_loop_open(device), r;

	if (fd < 0)
		return fd;
	r = ioctl(fd, LOOP_SET_CAPACITY) ? -errno : 0;
	close(fd);
	return r;
}

/*----------------------------------------------------------------
 * Those that only keep locks
 *----------------------------------------------------------------
 */

int loop_hold(int fd)
{
	struct loop_config config = {
		.fd = fd,
		.info.lo_flags = LO_FLAGS_READ_ONLY,
		.info.lo_file_name = LOOP_HOLDER,
	};
	struct loop loop;
	int r = configure(&loop, &config);

	if (!r)
		close(loop.fd);
	return r;
}

static bool release(dev_t device, const struct loop_info64 *info, void *ctx)
{
	int fd;

	(void)ctx;
	if (!info || !is_holder(info))
		return false;
	fd = qed_loop_open(device);
	if (fd < 0)
		return false;
	ioctl(fd, LOOP_CLR_FD);
	close(fd);
	return false;
}

void loop_release(const struct stat *st)
{
	qed_loop_each(st, release, NULL);
}
