// SPDX-License-Identifier: GPL-2.0-only
/*
 * What new clusters are filled with, see dm-qed-fill.h.
 */

#include <linux/bio.h>
#include <linux/device-mapper.h>
#include <linux/mm.h>

#include "dm-qed-bio.h"
#include "dm-qed-cell.h"
#include "dm-qed-compat.h"
#include "dm-qed-copy.h"
#include "dm-qed-fill.h"

/* Up to so much is filled with zeroes in the bio that has the data, in bytes */
#define QED_MAX_COMPOSED_FILL		SZ_1M

/* A piece of zeroes to compose bios of, in bytes */
#define QED_ZEROES_SIZE			SZ_64K

static struct page *zeroes;

static unsigned int nr_zero_vecs(unsigned int sectors)
{
	return DIV_ROUND_UP(sectors << SECTOR_SHIFT, QED_ZEROES_SIZE);
}

static void add_zeroes(struct bio *bio, unsigned int sectors)
{
	unsigned int bytes = sectors << SECTOR_SHIFT, len;

	for (; bytes; bytes -= len) {
		len = min_t(unsigned int, bytes, QED_ZEROES_SIZE);
		__bio_add_page(bio, zeroes, len, 0);
	}
}

static bool is_zeroes(struct bio *bio)
{
	return bio_op(bio) == REQ_OP_WRITE_ZEROES;
}

/*
 * A bio for data that the guest's does not have, or not alone. Zeroes that could not be
 * written in place are such data.
 */
static struct bio *data_bio(struct qed *qed, struct qed_io *io,
			    unsigned int vecs)
{
	struct bio *from = io_bio(io), *bio;
	blk_opf_t opf = from->bi_opf;

	if (is_zeroes(from))
		opf = REQ_OP_WRITE | (opf & ~(REQ_OP_MASK | REQ_NOUNMAP));
	bio = bio_alloc_bioset(qed->bdev, vecs, opf, GFP_NOIO, &qed->composed);
	bio->bi_ioprio = from->bi_ioprio;
	qed_bio_copy_hints(bio, from);
	return bio;
}

/* The first sectors of the guest's bio */
static struct bvec_iter first_of(struct bio *bio, unsigned int nr)
{
	struct bvec_iter start = bio->bi_iter;

	start.bi_size = nr << SECTOR_SHIFT;
	return start;
}

static unsigned int nr_vecs(struct bio *bio, unsigned int nr)
{
	struct bvec_iter start = first_of(bio, nr), iter;
	unsigned int vecs = 0;
	struct bio_vec vec;

	if (is_zeroes(bio))
		return nr_zero_vecs(nr);
	__bio_for_each_bvec(vec, bio, iter, start)
		vecs++;
	return vecs;
}

static void add_data(struct bio *to, struct bio *bio, unsigned int nr)
{
	struct bvec_iter start = first_of(bio, nr), iter;
	struct bio_vec vec;

	if (is_zeroes(bio)) {
		add_zeroes(to, nr);
		return;
	}
	__bio_for_each_bvec(vec, bio, iter, start)
		__bio_add_page(to, vec.bv_page, vec.bv_len, vec.bv_offset);
}

static void add_fill(struct bio *to, struct qed_copy *copy, unsigned int nr)
{
	if (copy)
		qed_copy_add(copy, to, nr);
	else
		add_zeroes(to, nr);
}

/* Is this small enough for one bio, with so many vectors for the guest's data? */
static bool fits(struct qed_copy *copy, unsigned int vecs, unsigned int head,
		 unsigned int tail)
{
	if (copy)
		return qed_copy_fits(copy, head, tail) &&
		       vecs + qed_copy_vecs(head) + qed_copy_vecs(tail) <=
		       BIO_MAX_VECS;
	return (head + tail) << SECTOR_SHIFT <= QED_MAX_COMPOSED_FILL &&
	       vecs + nr_zero_vecs(head) + nr_zero_vecs(tail) <= BIO_MAX_VECS;
}

/*
 * Like qed_clone_bio(), with zeroes around, or the pages of a copy; NULL where that makes
 * it too large.
 */
static struct bio *compose_bio(struct qed *qed, struct qed_io *io,
			       struct qed_cell *cell, struct qed_copy *copy,
			       unsigned int nr, unsigned int head, unsigned int tail)
{
	struct bio *bio = io_bio(io), *composed;
	unsigned int vecs = nr_vecs(bio, nr);
	struct qed_extent to = {
		.sector = cell->run.first << qed_meta_cluster_bits(qed->meta),
	};

	if (!fits(copy, vecs, head, tail))
		return NULL;
	vecs += copy ? qed_copy_vecs(head) + qed_copy_vecs(tail) :
		       nr_zero_vecs(head) + nr_zero_vecs(tail);
	composed = data_bio(qed, io, vecs);
	qed_clone_init(composed, io, cell, &to);

	add_fill(composed, copy, head);
	add_data(composed, bio, nr);
	add_fill(composed, copy, tail);
	bio_advance(bio, nr << SECTOR_SHIFT);
	return composed;
}

/* The first sectors of zeroes as data */
static struct bio *zeroes_bio(struct qed *qed, struct qed_io *io,
			      struct qed_cell *cell, const struct qed_extent *to)
{
	struct bio *data = data_bio(qed, io, nr_zero_vecs(to->nr));

	qed_clone_init(data, io, cell, to);
	add_zeroes(data, to->nr);
	bio_advance(io_bio(io), to->nr << SECTOR_SHIFT);
	return data;
}

int qed_submit_data(struct qed *qed, struct qed_io *io, struct qed_cell *cell,
		    const struct qed_extent *to)
{
	struct qed_extent head = *to;

	if (!is_zeroes(io_bio(io)))
		return qed_submit_head(qed, io, cell, to);
	head.nr = min_t(unsigned int, to->nr,
			QED_MAX_COMPOSED_FILL >> SECTOR_SHIFT);
	qed_io_submit(io, zeroes_bio(qed, io, cell, &head));
	return 0;
}

static int zero_sectors(struct qed *qed, sector_t sector, unsigned int nr)
{
	return qed_meta_zero(qed->meta, sector, nr);
}

/* Fill with zeroes around what @ext is to get. */
static int write_zero_filled(struct qed *qed, struct qed_io *io,
			     struct qed_cell *cell, const struct qed_extent *ext,
			     unsigned int head, unsigned int tail)
{
	struct bio *composed = compose_bio(qed, io, cell, NULL, ext->nr, head, tail);
	int r;

	if (composed) {
		qed_io_submit(io, composed);
		return 0;
	}

	r = zero_sectors(qed, ext->sector - head, head);
	if (!r)
		r = zero_sectors(qed, ext->sector + ext->nr, tail);
	if (r) {
		if (r == -ENOSPC)
			WRITE_ONCE(io->lower_full, true);
		qed_cell_put(qed, cell, errno_to_blk_status(r));
		return r;
	}
	return qed_submit_data(qed, io, cell, ext);
}

/* Copy what is below around what @ext is to get. */
static int write_copied(struct qed *qed, struct qed_io *io, struct qed_cell *cell,
			struct qed_copy *copy, const struct qed_extent *ext,
			unsigned int head, unsigned int tail)
{
	struct qed_copy_args args = {
		.io = io,
		.cell = cell,
		.guest = cell->first << qed_meta_cluster_bits(qed->meta),
		.to = ext->sector - head,
		.head = head,
		.nr = ext->nr,
		.tail = tail,
	};

	args.data = compose_bio(qed, io, cell, copy, ext->nr, head, tail);
	if (!args.data)
		args.data = is_zeroes(io_bio(io)) ?
			    zeroes_bio(qed, io, cell, ext) :
			    qed_clone_bio(qed, io, cell, ext);
	qed_copy_up(copy, &args);
	return 0;
}

/* Write to a cell of which the guest's bio, or its head, leaves something. */
static noinline int write_part(struct qed *qed, struct qed_io *io,
			       struct qed_cell *cell, struct qed_copy *copy,
			       struct qed_extent *ext, unsigned int head,
			       unsigned int room)
{
	unsigned int tail;

	if (is_zeroes(io_bio(io)))
		ext->nr = min_t(unsigned int, ext->nr,
				QED_MAX_COMPOSED_FILL >> SECTOR_SHIFT);
	tail = room - ext->nr;
	if (cell->shows && (head || tail))
		return write_copied(qed, io, cell, copy, ext, head, tail);
	qed_copy_put(copy);
	return write_zero_filled(qed, io, cell, ext, head, tail);
}

int qed_cell_write(struct qed *qed, struct qed_io *io,
		   struct qed_cell *cell, struct qed_copy *copy)
{
	unsigned int bits = qed_meta_cluster_bits(qed->meta);
	struct bio *bio = io_bio(io);
	sector_t offset = bio->bi_iter.bi_sector - (cell->first << bits);
	sector_t room = (cell->run.nr << bits) - offset;
	struct qed_extent ext = {
		.bdev = qed->bdev,
		.sector = (cell->run.first << bits) + offset,
		.nr = min_t(sector_t, bio_sectors(bio), room),
	};

	if (!cell->open && (offset || ext.nr < room || is_zeroes(bio)))
		return write_part(qed, io, cell, copy, &ext, offset, room);
	if (unlikely(copy))
		qed_copy_put(copy);
	if (is_zeroes(bio))
		return qed_submit_data(qed, io, cell, &ext);
	return qed_submit_head(qed, io, cell, &ext);
}

int qed_fill_module_init(void)
{
	zeroes = alloc_pages(GFP_KERNEL | __GFP_ZERO | __GFP_COMP,
			     get_order(QED_ZEROES_SIZE));
	return zeroes ? 0 : -ENOMEM;
}

void qed_fill_module_exit(void)
{
	__free_pages(zeroes, get_order(QED_ZEROES_SIZE));
}
