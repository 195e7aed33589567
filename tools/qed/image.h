/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A QED image: the file or block device, its geometry, and reading it.
 *
 * All sizes and offsets are in bytes unless said otherwise. Functions return 0
 * or a negative error number unless said otherwise.
 */

#ifndef QED_IMAGE_H
#define QED_IMAGE_H

#include <sys/types.h>

#include "../../drivers/md/dm-qed-format.h"
#include "common.h"

struct qed_undo;

/* Tables are read in pieces of at most this size, aligned to it in a table. */
#define QED_PIECE_SIZE		262144U
#define QED_PIECE_ENTRIES	(QED_PIECE_SIZE / sizeof(__le64))

/* Alignment of buffers and reads, for O_DIRECT; a table is a multiple of it. */
#define QED_ALIGNMENT		4096U

/* With the header, and the record */
#define QED_FIRST_SIZE	512U

/**
 * struct qed_image - an open image
 * @path: for messages
 * @fd: the file or device
 * @table_fd: to read tables with: the same, or another one with O_DIRECT
 * @is_block: it is a block device
 * @writable: it may be written to
 * @size: of the file or device
 * @header: as it is on the disk
 * @first: what that and the record were when the image was opened
 * @cluster_shift: log2 of the cluster size
 * @entries_shift: log2 of the number of entries of a table
 * @table_clusters: size of a table
 * @header_clusters: size of the header
 * @l1_offset: of the L1 table
 * @image_size: of the guest's disk
 * @nr_clusters: of the image: what refers to a cluster behind is illegal
 * @undo: where to save what gets overwritten, or NULL
 * @modified: something was written
 * @sync_error: what failed when changes were to be durable: nothing will be any more
 * @changed_end: the end of all that was written or punched, in bytes
 * @bytes_read: from tables
 * @bytes_written: to anywhere
 * @stop: set, by a signal handler, when the user wants no more, or NULL
 *
 * The members from @cluster_shift to @image_size are what the header says, or
 * should say, see qed_header_check().
 */
struct qed_image {
	const char *path;
	int fd, table_fd;
	bool is_block, writable;
	u64 size;
	struct qed_header header;
	unsigned char first[QED_FIRST_SIZE];

	unsigned int cluster_shift, entries_shift;
	u32 table_clusters, header_clusters;
	u64 l1_offset, image_size;
	u64 nr_clusters;

	struct qed_undo *undo;
	bool modified;
	int sync_error;
	u64 changed_end;
	u64 bytes_read, bytes_written;
	const int *stop;
};

/* What is wrong with a table entry */
enum qed_defect {
	QED_DEFECT_NONE,
	QED_DEFECT_UNALIGNED,
	QED_DEFECT_IN_HEADER,
	QED_DEFECT_BEYOND_END,
	QED_DEFECT_ON_L1,
	QED_DEFECT_OVER_END,	/* begins in the image, and reaches over its end */
};

/**
 * qed_image_init() - take an open file or device for an image
 * @img: the image
 * @fd: open for reading, and for writing if @writable
 * @path: for messages
 * @writable: it may be written to
 *
 * Reads the header, as zeroes where the file is shorter. The descriptor is
 * closed by qed_image_close(), also after a failure.
 * Return: 0 or what failed.
 */
int qed_image_init(struct qed_image *img, int fd, const char *path, bool writable);

/**
 * qed_image_direct() - read tables past the page cache from now on
 * @img: the image
 *
 * Return: 0, or -EINVAL and others if the file system cannot.
 */
int qed_image_direct(struct qed_image *img);

void qed_image_close(struct qed_image *img);

/* Count the clusters by img->size: a part counts in a file, not on a device. */
void qed_image_count_clusters(struct qed_image *img);

/* Has the user asked to stop? */
static inline bool qed_stopped(const struct qed_image *img)
{
	return img->stop && __atomic_load_n(img->stop, __ATOMIC_RELAXED);
}

static inline u64 qed_cluster_size(const struct qed_image *img)
{
	return 1ULL << img->cluster_shift;
}

static inline u64 qed_table_bytes(const struct qed_image *img)
{
	return (u64)img->table_clusters << img->cluster_shift;
}

/* Number of entries of a table */
static inline u64 qed_table_entries(const struct qed_image *img)
{
	return 1ULL << img->entries_shift;
}

/* log2 of the number of bytes of the guest's disk that an L2 table maps */
static inline unsigned int qed_span_shift(const struct qed_image *img)
{
	return img->entries_shift + img->cluster_shift;
}

/* Number of clusters of the guest's disk */
static inline u64 qed_guest_clusters(const struct qed_image *img)
{
	return div_up(img->image_size, qed_cluster_size(img));
}

/* Number of L1 entries for the guest's disk; all others are beyond its size */
static inline u64 qed_l1_limit(const struct qed_image *img)
{
	return div_up(qed_guest_clusters(img), qed_table_entries(img));
}

/* Number of entries of the table of an L1 entry that are not beyond the size */
static inline u64 qed_l2_limit(const struct qed_image *img, u64 l1_index)
{
	u64 first = l1_index << img->entries_shift;
	u64 clusters = qed_guest_clusters(img);

	return first < clusters ? min_u64(clusters - first, qed_table_entries(img)) : 0;
}

/* Is @first still on the disk? Returns 0, -EBUSY if not, or the error of the read. */
int qed_image_untouched(const struct qed_image *img);

/**
 * qed_entry_defect() - check a table entry by itself
 * @img: the image
 * @entry: the entry, not one of the legal values that are no offset
 * @clusters: number of clusters that it refers to
 *
 * Return: the first defect.
 */
enum qed_defect qed_entry_defect(const struct qed_image *img, u64 entry, u64 clusters);

/**
 * qed_read_all() - read from a file, as often as it takes
 * @fd: the file
 * @buf: where to
 * @offset: where from
 * @length: how much
 *
 * Return: how much there was, less than @length only at the end of the file, or an error.
 */
ssize_t qed_read_all(int fd, void *buf, u64 offset, u64 length);

/* The same for writes: 0 or an error; in both cases it is told how much is done. */
int qed_write_all(int fd, const void *buf, u64 offset, u64 length, u64 *done);

/**
 * qed_read() - read from the image
 * @img: the image
 * @buf: where to
 * @offset: where from
 * @length: how much; what is behind the end reads as zeroes
 *
 * Return: 0 or what failed.
 */
int qed_read(const struct qed_image *img, void *buf, u64 offset, u64 length);

/* The same for tables: all of this is aligned to QED_ALIGNMENT. */
int qed_read_table(struct qed_image *img, void *buf, u64 offset, u64 length);

/**
 * qed_backing_name() - read the name of the backing file
 * @img: the image
 * @name: as it is in the header, to be freed; NULL if there is none, or an error
 *
 * Return: 0, -ENAMETOOLONG if it is longer than is legal, -ERANGE if it is not in the header,
 * as far as that can be told, or what failed.
 */
int qed_backing_name(const struct qed_image *img, char **name);

/* A buffer for a piece of a table, to be freed; NULL if there is no memory */
void *qed_alloc_piece(const struct qed_image *img);

/**
 * qed_next_piece() - read the next piece of a table that may have something
 * @img: the image
 * @buf: where to
 * @most: the most that is read, a multiple of QED_ALIGNMENT, as is where the table begins
 * @offset: where to begin; set to where the piece does, which is a multiple, too
 * @end: where to end; the rest of the last QED_ALIGNMENT bytes is read, too
 *
 * Return: the length, 0 if there are only holes, -EINTR if the user wants no more, or what
 * failed.
 */
long qed_next_piece(struct qed_image *img, void *buf, u64 most, u64 *offset, u64 end);

/**
 * qed_next_data() - skip a hole
 * @img: the image
 * @offset: where to begin
 * @end: where to end
 *
 * Return: the first offset in this range that may be something else than zero,
 * or @end.
 */
u64 qed_next_data(const struct qed_image *img, u64 offset, u64 end);

/* The other way round: where the data at @offset ends, at most @end. */
u64 qed_next_hole(const struct qed_image *img, u64 offset, u64 end);

/*
 * Space in the file system for a range of a file, of which neither content nor size
 * change: to take it, to give back what is still a hole, and what is behind the end.
 * All that the file system may do without is no error.
 */
int qed_allocate(const struct qed_image *img, u64 offset, u64 length);
void qed_release(const struct qed_image *img, u64 offset, u64 length);
void qed_release_end(const struct qed_image *img);

/* Make all changes durable. If that fails once it does so from then on. */
int qed_sync(struct qed_image *img);

#endif /* QED_IMAGE_H */
