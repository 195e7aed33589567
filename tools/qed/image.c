// SPDX-License-Identifier: GPL-2.0-only
/*
 * A QED image, see image.h.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image.h"

/*----------------------------------------------------------------
 * Opening
 *----------------------------------------------------------------
 */

static int find_size(struct qed_image *img)
{
	struct stat st;

	if (fstat(img->fd, &st))
		return -errno;
	if (S_ISBLK(st.st_mode)) {
		img->is_block = true;
		if (ioctl(img->fd, BLKGETSIZE64, &img->size))
			return -errno;
		return 0;
	}
	if (!S_ISREG(st.st_mode))
		return S_ISDIR(st.st_mode) ? -EISDIR : -ENOTBLK;
	img->size = st.st_size;
	return 0;
}

/*
 * The page cache does not know what a target of device mapper has written. That it can be dropped
 * is only a hope.
 */
static int read_first(const struct qed_image *img, unsigned char first[QED_FIRST_SIZE])
{
	posix_fadvise(img->fd, 0, QED_ALIGNMENT, POSIX_FADV_DONTNEED);
	return qed_read(img, first, 0, QED_FIRST_SIZE);
}

int qed_image_init(struct qed_image *img, int fd, const char *path, bool writable)
{
	int r;

	memset(img, 0, sizeof(*img));
	img->path = path;
	img->fd = fd;
	img->table_fd = fd;
	img->writable = writable;
	r = find_size(img);
	if (!r)
		r = read_first(img, img->first);
	if (!r)
		memcpy(&img->header, img->first, sizeof(img->header));
	return r;
}

int qed_image_untouched(const struct qed_image *img)
{
	unsigned char now[QED_FIRST_SIZE];
	int r = read_first(img, now);

	return !r && memcmp(now, img->first, sizeof(now)) ? -EBUSY : r;
}

int qed_image_direct(struct qed_image *img)
{
	char path[64];
	void *buf;
	int fd, r = 0;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", img->fd);
	fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	buf = aligned_alloc(QED_ALIGNMENT, QED_ALIGNMENT);
	if (!buf)
		r = -ENOMEM;
	else if (pread(fd, buf, QED_ALIGNMENT, 0) < 0)
		r = -errno;
	free(buf);
	if (r)
		close(fd);
	else
		img->table_fd = fd;
	return r;
}

void qed_image_close(struct qed_image *img)
{
	if (img->table_fd != img->fd)
		close(img->table_fd);
	close(img->fd);
}

void qed_image_count_clusters(struct qed_image *img)
{
	img->nr_clusters = img->size >> img->cluster_shift;
	if (!img->is_block && img->size % qed_cluster_size(img))
		img->nr_clusters++;
}

/*----------------------------------------------------------------
 * Rules
 *----------------------------------------------------------------
 */

enum qed_defect qed_entry_defect(const struct qed_image *img, u64 entry, u64 clusters)
{
	u64 first = entry >> img->cluster_shift;
	u64 l1_first = img->l1_offset >> img->cluster_shift;

	if (entry & (qed_cluster_size(img) - 1))
		return QED_DEFECT_UNALIGNED;
	if (first < img->header_clusters)
		return QED_DEFECT_IN_HEADER;
	if (first >= img->nr_clusters)
		return QED_DEFECT_BEYOND_END;
	if (first < l1_first + img->table_clusters && l1_first < first + clusters)
		return QED_DEFECT_ON_L1;
	if (clusters > img->nr_clusters - first)
		return QED_DEFECT_OVER_END;
	return QED_DEFECT_NONE;
}

/*----------------------------------------------------------------
 * Reading and writing
 *----------------------------------------------------------------
 */

ssize_t qed_read_all(int fd, void *buf, u64 offset, u64 length)
{
	u64 done = 0;
	ssize_t n;

	while (done < length) {
		n = pread(fd, (char *)buf + done, length - done, offset + done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			break;
		done += n;
	}
	return done;
}

int qed_write_all(int fd, const void *buf, u64 offset, u64 length, u64 *done)
{
	ssize_t n;

	for (*done = 0; *done < length; *done += n) {
		n = pwrite(fd, (const char *)buf + *done, length - *done, offset + *done);
		if (n < 0 && errno != EINTR)
			return -errno;
		n = n < 0 ? 0 : n;
	}
	return 0;
}

static int read_fd(int fd, void *buf, u64 offset, u64 length)
{
	/* there is nothing beyond what off_t can tell */
	ssize_t n = offset > INT64_MAX - length ? 0 : qed_read_all(fd, buf, offset, length);

	if (n < 0)
		return n;
	memset((char *)buf + n, 0, length - n);
	return 0;
}

int qed_read(const struct qed_image *img, void *buf, u64 offset, u64 length)
{
	return read_fd(img->fd, buf, offset, length);
}

/* What is behind the header is the guest's. The geometry may not be known. */
static bool is_in_header(const struct qed_header *header)
{
	u64 end = (u64)le32toh(header->backing_filename_offset) +
		  le32toh(header->backing_filename_size);
	u64 cluster_size = le32toh(header->cluster_size);

	return cluster_size >= QED_MIN_CLUSTER_SIZE && cluster_size <= QED_MAX_CLUSTER_SIZE &&
	       !(cluster_size & (cluster_size - 1)) &&
	       end <= cluster_size * le32toh(header->header_size) &&
	       cluster_size * le32toh(header->header_size) <= ~0U;
}

int qed_backing_name(const struct qed_image *img, char **name)
{
	u32 size = le32toh(img->header.backing_filename_size);
	int r;

	*name = NULL;
	if (!(le64toh(img->header.features) & QED_F_BACKING_FILE) || !size)
		return 0;
	if (size > QED_MAX_BACKING_NAME)
		return -ENAMETOOLONG;
	if (!is_in_header(&img->header))
		return -ERANGE;
	*name = calloc(1, size + 1);
	if (!*name)
		return -ENOMEM;
	r = qed_read(img, *name, le32toh(img->header.backing_filename_offset), size);
	if (r) {
		free(*name);
		*name = NULL;
	}
	return r;
}

int qed_read_table(struct qed_image *img, void *buf, u64 offset, u64 length)
{
	u64 inside = offset < img->size ? min_u64(length, img->size - offset) : 0;

	__atomic_fetch_add(&img->bytes_read, inside, __ATOMIC_RELAXED);
	if (inside == length || img->table_fd == img->fd)
		return read_fd(img->table_fd, buf, offset, length);

	/* O_DIRECT does not take the rest of a read that met the end */
	memset(buf, 0, length);
	return inside ? read_fd(img->fd, buf, offset, inside) : 0;
}

void *qed_alloc_piece(const struct qed_image *img)
{
	return aligned_alloc(QED_ALIGNMENT, min_u64(qed_table_bytes(img), QED_PIECE_SIZE));
}

u64 qed_next_data(const struct qed_image *img, u64 offset, u64 end)
{
	off_t data;

	if (offset >= end || offset >= img->size)
		return end;
	if (img->is_block)
		return offset;
	data = lseek(img->fd, offset, SEEK_DATA);
	if (data < 0)
		return errno == ENXIO ? end : offset;
	return min_u64(data, end);
}

u64 qed_next_hole(const struct qed_image *img, u64 offset, u64 end)
{
	off_t hole;

	if (img->is_block)
		return end;
	hole = lseek(img->fd, offset, SEEK_HOLE);
	return hole < 0 ? end : min_u64(hole, end);
}

long qed_next_piece(struct qed_image *img, void *buf, u64 most, u64 *offset, u64 end)
{
	u64 length;
	int r;

	*offset = qed_next_data(img, *offset, end);
	if (*offset >= end)
		return 0;
	if (qed_stopped(img))
		return -EINTR;
	*offset -= *offset % QED_ALIGNMENT;
	length = min_u64(div_up(end - *offset, QED_ALIGNMENT) * QED_ALIGNMENT, most);
	r = qed_read_table(img, buf, *offset, length);
	return r ? r : (long)length;
}

/*----------------------------------------------------------------
 * Space
 *----------------------------------------------------------------
 */

int qed_allocate(const struct qed_image *img, u64 offset, u64 length)
{
	if (img->is_block || !length)
		return 0;
	if (offset > INT64_MAX || length > INT64_MAX - offset)
		return -EFBIG;
	while (fallocate(img->fd, FALLOC_FL_KEEP_SIZE, offset, length)) {
		if (errno == EOPNOTSUPP)
			return 0;
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

void qed_release(const struct qed_image *img, u64 offset, u64 length)
{
	u64 end = min_u64(offset + length, img->size), next;

	if (img->is_block)
		return;
	for (; offset < end; offset = qed_next_hole(img, next, end)) {
		next = qed_next_data(img, offset, end);
		if (next > offset && fallocate(img->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					       offset, next - offset))
			return;
		if (next >= end)
			return;
	}
}

void qed_release_end(const struct qed_image *img)
{
	/* to the size that it has: this frees what is behind it */
	if (!img->is_block && ftruncate(img->fd, img->size))
		return;
}

int qed_sync(struct qed_image *img)
{
	if (img->sync_error || !fdatasync(img->fd))
		return img->sync_error;
	img->sync_error = -errno;
	/*
	 * The kernel counts what it could not write as written, and tells of it only once:
	 * this must not be what the next run sees, but what is on the disk.
	 */
	posix_fadvise(img->fd, 0, 0, POSIX_FADV_DONTNEED);
	return img->sync_error;
}
