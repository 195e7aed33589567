/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Cells: guest clusters whose first write is under way.
 *
 * No two cells overlap. The mapping is entered when the first write to a cell has
 * completed, so a reader sees a hole, or data that is complete. Who comes to a cell that
 * has to be filled waits for its end; into one that is known to be zero all write at once.
 */

#ifndef DM_QED_CELL_H
#define DM_QED_CELL_H

#include "dm-qed-space.h"
#include "dm-qed-target.h"

/**
 * struct qed_cell - guest clusters whose first write is under way
 * @node: in the tree of cells
 * @first: first guest cluster
 * @run: where they go to
 * @block: their pinned table block
 * @refs: writes under way
 * @open: as long as @run has no data it reads as the guest's clusters do: nothing has to
 *	be filled, other writes may go to it at once, and the mapping needs no order
 * @bare: nothing but zeroes is below the guest's clusters
 * @shows: what is below shows in them: where the guest does not write it is copied
 * @mapped: the mapping has been entered
 * @untouched: its only write has failed before anything was submitted for it
 * @waiters: bios to be looked at again when the cell is gone
 */
struct qed_cell {
	struct rb_node node;
	u64 first;
	struct qed_run run;
	struct qed_block *block;
	unsigned int refs;
	bool open;
	bool bare;
	bool shows;
	bool mapped;
	bool untouched;
	struct bio_list waiters;
};

/**
 * qed_cell_alloc() - a cell for the unmapped clusters at the head of a bio
 * @qed: the target
 * @bio: the bio; of zeroes only the first cluster
 * @block: their pinned table block, which is taken over, or NULL to make the table
 *
 * Not yet among the cells, see qed_cell_enter().
 *
 * Context: The worker; may sleep, read from and write to the image device.
 * Return: the cell or an ERR_PTR, -ENOSPC among others.
 */
struct qed_cell *qed_cell_alloc(struct qed *qed, struct bio *bio,
				struct qed_block *block);

/**
 * qed_cell_enter() - find the cell of a cluster, or put in a new one
 * @qed: the target
 * @io: of the bio that is to be written
 * @new: from qed_cell_alloc(); it gets space for as many of its clusters as are
 *	unmapped and in no other cell
 * @r: set to 0 if the cluster has been mapped by now, 1 if the bio waits for a cell and
 *	is not to be touched any more, or an error, where there is no cell
 *
 * Context: The worker.
 * Return: the cell to write to, with a reference for qed_cell_put(), or NULL.
 */
struct qed_cell *qed_cell_enter(struct qed *qed, struct qed_io *io,
				struct qed_cell *new, int *r);

/**
 * qed_cell_waits() - let a bio wait for a cell that is being filled
 * @qed: the target
 * @io: of the bio
 *
 * So that nothing is got in vain for one that is about to find that in qed_cell_enter().
 *
 * Context: The worker.
 * Return: true if it waits, and is not to be touched any more.
 */
bool qed_cell_waits(struct qed *qed, struct qed_io *io);

/* Free a cell that is not among the cells, and look again at those it held up. */
void qed_cell_free(struct qed *qed, struct qed_cell *cell, bool ended);

/**
 * qed_cell_put() - a write to a cell has completed
 * @qed: the target
 * @cell: the cell
 * @status: of the write
 *
 * The first success enters the mapping: what is still to be written reads as before.
 * Without any success the clusters are given back.
 *
 * Context: Any.
 * Return: the status of the write, which fails if it cannot be mapped.
 */
blk_status_t qed_cell_put(struct qed *qed, struct qed_cell *cell,
			  blk_status_t status);

/**
 * qed_cells_unmap() - unmap clusters, up to one whose first write is under way
 * @qed: the target
 * @io: of the bio; if that is the first cluster it waits for the cell
 * @block: the pinned table block
 * @cluster: first guest cluster
 * @nr: number of them
 * @hide: like @drop for qed_meta_unmap()
 * @drop: takes the clusters; handed over in any case
 * @waits: set if the bio waits, and is not to be touched any more
 *
 * Context: The worker, between qed_meta_begin() and qed_meta_end().
 * Return: the number of clusters that are unmapped now, or an error.
 */
int qed_cells_unmap(struct qed *qed, struct qed_io *io,
		    struct qed_block *block, u64 cluster, unsigned int nr,
		    bool hide, struct qed_drop *drop, bool *waits);

/* Context: Process context, may sleep. */
int qed_cells_init(struct qed *qed);
void qed_cells_exit(struct qed *qed);
int qed_cell_module_init(void);
void qed_cell_module_exit(void);

#endif /* DM_QED_CELL_H */
