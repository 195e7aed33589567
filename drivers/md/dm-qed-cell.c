// SPDX-License-Identifier: GPL-2.0-only
/*
 * Guest clusters whose first write is under way, see dm-qed-cell.h.
 */

#include <linux/device-mapper.h>
#include <linux/err.h>
#include <linux/mempool.h>
#include <linux/rbtree.h>
#include <linux/slab.h>

#include "dm-qed-below.h"
#include "dm-qed-cell.h"
#include "dm-qed-mode.h"
#include "dm-qed-reclaim.h"

/* Cells that can be had without memory */
#define QED_MIN_CELLS			32

static struct kmem_cache *cell_slab;

static u64 cell_end(struct qed_cell *cell)
{
	return cell->first + cell->run.nr;
}

/* The first cell that ends behind a guest cluster. Caller holds the lock. */
static struct qed_cell *cell_find(struct qed *qed, u64 cluster)
{
	struct rb_node *node = qed->cells.rb_node;
	struct qed_cell *found = NULL;

	while (node) {
		struct qed_cell *cell = rb_entry(node, struct qed_cell, node);

		if (cluster < cell_end(cell)) {
			found = cell;
			node = node->rb_left;
		} else {
			node = node->rb_right;
		}
	}
	return found;
}

static bool cell_before(struct rb_node *a, const struct rb_node *b)
{
	return rb_entry(a, struct qed_cell, node)->first <
	       rb_entry(b, struct qed_cell, node)->first;
}

void qed_cell_free(struct qed *qed, struct qed_cell *cell, bool ended)
{
	qed_retry_bios(qed, &cell->waiters);
	if (!ended)
		qed_meta_end(qed->meta, cell->block);
	mempool_free(cell, &qed->cell_pool);
}

blk_status_t qed_cell_put(struct qed *qed, struct qed_cell *cell,
			  blk_status_t status)
{
	bool last, mapped, ended = false;
	unsigned long flags;

	if (!status && unlikely(READ_ONCE(qed->lower_full)))
		qed_space_was_found(qed);
	spin_lock_irqsave(&qed->lock, flags);
	last = !--cell->refs;
	if (!status && !cell->mapped) {
		/* The only write of a cell, as most are: all of it in one go. */
		if (qed_meta_map(qed->meta, cell->block, cell->first,
				 &cell->run, !cell->open, last)) {
			status = BLK_STS_IOERR;
		} else {
			cell->mapped = true;
			ended = last;
		}
	}
	mapped = cell->mapped;
	if (last)
		rb_erase(&cell->node, &qed->cells);
	spin_unlock_irqrestore(&qed->lock, flags);

	if (!last)
		return status;
	if (!mapped) {
		qed_meta_give_back(qed->meta, &cell->run, !cell->untouched);
		/* Nor is there space for others if the device itself has none. */
		if (status != BLK_STS_NOSPC)
			qed_retry_nospace(qed);
	}
	qed_cell_free(qed, cell, ended);
	return status;
}

bool qed_cell_waits(struct qed *qed, struct qed_io *io)
{
	unsigned int bits = qed_meta_cluster_bits(qed->meta);
	u64 cluster = io_bio(io)->bi_iter.bi_sector >> bits;
	struct qed_cell *cell;
	bool waits;

	spin_lock_irq(&qed->lock);
	cell = cell_find(qed, cluster);
	waits = cell && cell->first <= cluster && !cell->open;
	if (waits)
		bio_list_add(&cell->waiters, io_bio(io));
	spin_unlock_irq(&qed->lock);
	return waits;
}

struct qed_cell *qed_cell_enter(struct qed *qed, struct qed_io *io,
				struct qed_cell *new, int *r)
{
	struct qed_cell *cell = NULL, *next;
	bool zero;
	u64 nr;

	*r = 0;
	spin_lock_irq(&qed->lock);
	nr = qed_block_hole(new->block, new->first, new->run.nr, &zero);
	if (!nr)
		goto out;

	next = cell_find(qed, new->first);
	if (next && next->first <= new->first) {
		if (next->open) {
			next->refs++;
			cell = next;
		} else {
			bio_list_add(&next->waiters, io_bio(io));
			*r = 1;
		}
		goto out;
	}
	if (next)
		nr = min(nr, next->first - new->first);
	*r = qed_space_alloc(qed_meta_space(qed->meta), nr, &new->run);
	if (*r)
		goto out;
	new->shows = !zero && !new->bare;
	new->open = new->run.zero && !new->shows;
	rb_add(&new->node, &qed->cells, cell_before);
	cell = new;
out:
	spin_unlock_irq(&qed->lock);
	return cell;
}

struct qed_cell *qed_cell_alloc(struct qed *qed, struct bio *bio,
				struct qed_block *block)
{
	unsigned int bits = qed_meta_cluster_bits(qed->meta);
	u64 first = bio->bi_iter.bi_sector >> bits;
	u64 last = is_unmapping(bio) ? first : (bio_end_sector(bio) - 1) >> bits;
	struct qed_cell *cell;
	int r;

	r = qed_meta_begin(qed->meta);
	if (r) {
		if (block)
			qed_block_put(qed->meta, block);
		return ERR_PTR(r);
	}
	qed_want_idle(qed);

	if (!block)
		block = qed_block_get(qed->meta, first, true);
	if (IS_ERR(block)) {
		qed_meta_end(qed->meta, NULL);
		return ERR_CAST(block);
	}

	cell = mempool_alloc(&qed->cell_pool, GFP_NOIO);
	cell->first = first;
	cell->run.nr = last - first + 1;
	cell->bare = qed_below_is_zero(qed, first, &cell->run.nr);
	cell->block = block;
	cell->refs = 1;
	cell->mapped = false;
	cell->untouched = false;
	bio_list_init(&cell->waiters);
	return cell;
}

int qed_cells_unmap(struct qed *qed, struct qed_io *io,
		    struct qed_block *block, u64 cluster, unsigned int nr,
		    bool hide, struct qed_drop *drop, bool *waits)
{
	struct qed_cell *cell;
	int r = 0;

	spin_lock_irq(&qed->lock);
	cell = cell_find(qed, cluster);
	*waits = cell && cell->first <= cluster;
	if (*waits) {
		bio_list_add(&cell->waiters, io_bio(io));
		kfree(drop);
	} else {
		if (cell)
			nr = min_t(u64, nr, cell->first - cluster);
		r = qed_meta_unmap(qed->meta, block, cluster, nr, hide, drop);
	}
	spin_unlock_irq(&qed->lock);
	return r;
}

int qed_cells_init(struct qed *qed)
{
	qed->cells = RB_ROOT;
	return mempool_init_slab_pool(&qed->cell_pool, QED_MIN_CELLS, cell_slab);
}

void qed_cells_exit(struct qed *qed)
{
	mempool_exit(&qed->cell_pool);
}

int qed_cell_module_init(void)
{
	cell_slab = KMEM_CACHE(qed_cell, 0);
	return cell_slab ? 0 : -ENOMEM;
}

void qed_cell_module_exit(void)
{
	kmem_cache_destroy(cell_slab);
}
