// SPDX-License-Identifier: GPL-2.0-only
/*
 * The sparse tail of a file, see tail.h.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "bound.h"
#include "fail.h"
#include "stamp.h"
#include "tables.h"
#include "tail.h"

static u64 round_up(const struct subject *subject, u64 size)
{
	u64 cluster_size = qed_cluster_size(&subject->img);

	return div_up(size, cluster_size) * cluster_size;
}

static int set_size(struct subject *subject, u64 size)
{
	if (ftruncate(subject->fd, size))
		return -errno;
	subject->img.size = size;
	qed_image_count_clusters(&subject->img);
	return 0;
}

/* Where an image that was closed ends, in bytes, if its record tells */
static bool recorded_end(const struct subject *subject, u64 *end)
{
	const struct qed_record *record = &subject->record;

	if (record->state != QED_RECORD_VALID || !record->end ||
	    record->device_size != subject->img.size)
		return false;
	*end = min_u64(record->end << subject->img.cluster_shift, subject->img.size);
	return true;
}

u64 tail_target(const struct subject *subject, u64 end, u64 headroom)
{
	const struct qed_image *img = &subject->img;
	struct shape shape = {
		.cluster_size = qed_cluster_size(img),
		.table_size = img->table_clusters,
		.header_size = img->l1_offset >> img->cluster_shift,
		.image_size = img->image_size,
	};

	return round_up(subject, headroom ? end + headroom : max_u64(end, bound_full(&shape)));
}

int tail_extend(int fd, u64 size, u64 target)
{
	u64 more = target > size ? target - size : 0;

	while (more && ftruncate(fd, size + more)) {
		if ((errno != EFBIG && errno != EINVAL) || more < 2 * QED_MAX_CLUSTER_SIZE)
			return -errno;
		/* as far as the file system can have it */
		more = more / 2 / QED_MAX_CLUSTER_SIZE * QED_MAX_CLUSTER_SIZE;
	}
	/* the space that it has is a promise to the kernel */
	return fsync(fd) ? -errno : 0;
}

/* What is behind the end may be anything: it is given back, and is a hole again. */
static int cut_and_extend(struct subject *subject, u64 headroom, struct tail *tail)
{
	u64 size = round_up(subject, tail->end);
	struct stat st;
	int r;

	r = size < subject->img.size ? set_size(subject, size) : 0;
	if (!r)
		r = tail_extend(subject->fd, subject->img.size,
				tail_target(subject, size, headroom));
	if (!r && fstat(subject->fd, &st))
		r = -errno;
	if (r)
		return fail(-r, "%s: cannot be made longer: %s", subject->path, strerror(-r));
	tail->grown = true;
	tail->zeroed_from = size >> subject->img.cluster_shift;
	return set_size(subject, st.st_size);
}

int tail_grow(struct subject *subject, u64 headroom, struct tail *tail)
{
	memset(tail, 0, sizeof(*tail));
	if (subject->is_block || subject_is_active(subject) || subject_needs_check(subject))
		return 0;
	if (!recorded_end(subject, &tail->end))
		tail->end = subject->img.size;
	return cut_and_extend(subject, headroom, tail);
}

void tail_undo(struct subject *subject, const struct tail *tail)
{
	if (!tail->grown || qed_image_untouched(&subject->img))
		return;
	if (ftruncate(subject->fd, tail->end))
		warn("%s: is longer than its image now: %s", subject->path, strerror(errno));
}

/* By its tables, as it has no record that tells */
static int search_end(struct subject *subject, u64 *end)
{
	struct tables tables;
	u64 clusters;
	int r = tables_init(&tables, &subject->img);

	if (r)
		return r;
	r = tables_end(&tables, &clusters);
	tables_free(&tables);
	*end = min_u64(clusters << subject->img.cluster_shift, subject->img.size);
	return r;
}

/* Whoever was killed here may have left a record of the file as it was. */
static int cut(struct subject *subject, u64 end)
{
	struct qed_image *img = &subject->img;
	int r = end < img->size ? set_size(subject, end) : 0;

	if (!r && fsync(subject->fd))
		r = -errno;
	if (!r && subject->record.state == QED_RECORD_VALID &&
	    subject->record.device_size != img->size)
		r = stamp_size(subject->fd, img->size, img->nr_clusters);
	return r;
}

int tail_trim(struct subject *subject)
{
	u64 end;
	int r = subject_read(subject);

	if (r)
		return r;
	if (subject->is_block || subject_is_active(subject) || subject_needs_check(subject))
		return 0;
	r = recorded_end(subject, &end) ? 0 : search_end(subject, &end);
	if (!r)
		r = cut(subject, end);
	if (r == -EUCLEAN)
		return fail(EUCLEAN, "%s: its tables have a defect: run qed-fsck", subject->path);
	return r ? fail(-r, "%s: cannot be made shorter: %s", subject->path, strerror(-r)) : 0;
}
