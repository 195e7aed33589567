// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reads and writes by io_uring, see ring.h. By the system calls: it is little, and
 * there is no library to depend on.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <linux/io_uring.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ring.h"

static int ring;
static struct io_uring_params params;
static unsigned char *submitted, *completed;
static struct io_uring_sqe *request;

static void *map(size_t size, off_t what)
{
	return mmap(NULL, size, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_POPULATE, ring, what);
}

bool ring_init(void)
{
	ring = syscall(__NR_io_uring_setup, 1, &params);
	if (ring < 0)
		return false;
	submitted = map(params.sq_off.array +
			params.sq_entries * sizeof(uint32_t), IORING_OFF_SQ_RING);
	completed = map(params.cq_off.cqes +
			params.cq_entries * sizeof(struct io_uring_cqe),
			IORING_OFF_CQ_RING);
	request = map(params.sq_entries * sizeof(*request), IORING_OFF_SQES);
	return submitted != MAP_FAILED && completed != MAP_FAILED &&
	       request != MAP_FAILED;
}

static uint32_t *at(unsigned char *base, uint32_t offset)
{
	return (uint32_t *)(base + offset);
}

static int take_result(void)
{
	uint32_t *head = at(completed, params.cq_off.head);
	struct io_uring_cqe *cqes = (void *)(completed + params.cq_off.cqes);
	int result;

	if (__atomic_load_n(at(completed, params.cq_off.tail),
			    __ATOMIC_ACQUIRE) == *head)
		return -EIO;
	result = cqes[*head & *at(completed, params.cq_off.ring_mask)].res;
	__atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
	return result;
}

static int once(int opcode, int fd, const void *p, size_t n, off_t offset)
{
	uint32_t *tail = at(submitted, params.sq_off.tail);
	int r;

	*request = (struct io_uring_sqe) {
		.opcode = opcode, .fd = fd, .addr = (uintptr_t)p, .len = n,
		.off = offset,
	};
	*at(submitted, params.sq_off.array) = 0;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	r = syscall(__NR_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS,
		    NULL, 0);
	return r == 1 ? take_result() : -errno;
}

static ssize_t all(int opcode, int fd, const unsigned char *p, size_t n,
		   off_t offset)
{
	size_t done = 0;

	while (done < n) {
		int r = once(opcode, fd, p + done, n - done, offset + done);

		if (r == -EINTR || r == -EAGAIN)
			continue;
		if (r < 0) {
			errno = -r;
			return -1;
		}
		if (!r)
			break;
		done += r;
	}
	return done;
}

ssize_t ring_read(int fd, void *p, size_t n, off_t offset)
{
	return all(IORING_OP_READ, fd, p, n, offset);
}

ssize_t ring_write(int fd, const void *p, size_t n, off_t offset)
{
	return all(IORING_OP_WRITE, fd, p, n, offset);
}
