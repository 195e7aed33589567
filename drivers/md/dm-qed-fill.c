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

/* A bio for data that the guest's does not have, or not alone */
static struct bio *data_bio(struct qed *qed, struct qed_io *io,
			    unsigned int vecs, blk_opf_t opf)
{
	struct bio *bio = bio_alloc_bioset(qed->bdev, vecs, opf, GFP_NOIO,
					   &qed->composed);

	bio->bi_ioprio = io_bio(io)->bi_ioprio;
	qed_bio_copy_hints(bio, io_bio(io));
	return bio;
}

/* Like qed_clone_bio(), with zeroes around; NULL where that makes it too large. */
static struct bio *compose_bio(struct qed *qed, struct qed_io *io,
			       struct qed_cell *cell, unsigned int nr,
			       unsigned int head, unsigned int tail)
{
	struct bio *bio = io_bio(io), *composed;
	struct bvec_iter start = bio->bi_iter, iter;
	unsigned int vecs = nr_zero_vecs(head) + nr_zero_vecs(tail);
	struct qed_extent to = {
		.sector = cell->run.first << qed_meta_cluster_bits(qed->meta),
	};
	struct bio_vec vec;

	start.bi_size = nr << SECTOR_SHIFT;
	__bio_for_each_bvec(vec, bio, iter, start)
		vecs++;
	if (vecs > BIO_MAX_VECS ||
	    (head + tail) << SECTOR_SHIFT > QED_MAX_COMPOSED_FILL)
		return NULL;

	composed = data_bio(qed, io, vecs, bio->bi_opf);
	qed_clone_init(composed, io, cell, &to);

	add_zeroes(composed, head);
	__bio_for_each_bvec(vec, bio, iter, start)
		__bio_add_page(composed, vec.bv_page, vec.bv_len,
			       vec.bv_offset);
	add_zeroes(composed, tail);
	bio_advance(bio, nr << SECTOR_SHIFT);
	return composed;
}

static int zero_sectors(struct qed *qed, sector_t sector, unsigned int nr)
{
	return qed_meta_zero(qed->meta, sector, nr);
}

int qed_cell_write(struct qed *qed, struct qed_io *io,
		   struct qed_cell *cell)
{
	unsigned int bits = qed_meta_cluster_bits(qed->meta);
	sector_t to = cell->run.first << bits;
	struct bio *bio = io_bio(io), *composed;
	sector_t offset = bio->bi_iter.bi_sector - (cell->first << bits);
	sector_t room = (cell->run.nr << bits) - offset;
	unsigned int nr = min_t(sector_t, bio_sectors(bio), room);
	unsigned int tail = room - nr;
	struct qed_extent ext = { .sector = to + offset, .nr = nr };
	int r;

	if (cell->open || (!offset && !tail))
		return qed_submit_head(qed, io, cell, &ext);

	composed = compose_bio(qed, io, cell, nr, offset, tail);
	if (composed) {
		qed_io_submit(io, composed);
		return 0;
	}

	r = zero_sectors(qed, to, offset);
	if (!r)
		r = zero_sectors(qed, to + offset + nr, tail);
	if (r) {
		if (r == -ENOSPC)
			WRITE_ONCE(io->lower_full, true);
		qed_cell_put(qed, cell, errno_to_blk_status(r));
		return r;
	}
	return qed_submit_head(qed, io, cell, &ext);
}

int qed_submit_zeroes(struct qed *qed, struct qed_io *io,
		      const struct qed_extent *to)
{
	struct bio *bio = io_bio(io), *data;
	blk_opf_t flags = bio->bi_opf & ~(REQ_OP_MASK | REQ_NOUNMAP);
	unsigned int nr = min_t(unsigned int, to->nr,
				QED_MAX_COMPOSED_FILL >> SECTOR_SHIFT);

	data = data_bio(qed, io, nr_zero_vecs(nr), REQ_OP_WRITE | flags);
	qed_clone_init(data, io, NULL, to);
	add_zeroes(data, nr);
	bio_advance(bio, nr << SECTOR_SHIFT);
	qed_io_submit(io, data);
	return 0;
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
