// SPDX-License-Identifier: GPL-2.0-only
/*
 * Copy-up, see dm-qed-copy.h.
 */

#include <linux/atomic.h>
#include <linux/bio.h>
#include <linux/device-mapper.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/overflow.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>

#include "dm-qed-below.h"
#include "dm-qed-bio.h"
#include "dm-qed-cell.h"
#include "dm-qed-compat.h"
#include "dm-qed-copy.h"
#include "dm-qed-mode.h"

/* Pages of a copy: the most, and those that each target can have without memory */
#define QED_COPY_PAGES			BIO_MAX_VECS
#define QED_COPY_RESERVE		4

/* Pages that the module keeps: one that is new costs the kernel to clear it */
#define QED_SPARE_PAGES			256

/* Pages of all copies, in parts of the memory, and in bytes: what is written costs more */
#define QED_COPY_MEMORY			64
#define QED_MAX_COPY_MEMORY		SZ_64M

/* Without waiting, and without the last reserves of others */
#define QED_COPY_GFP			(GFP_NOWAIT | __GFP_NOWARN | __GFP_NOMEMALLOC)

/**
 * struct qed_copies - the copies of a target
 * @qed: the target
 * @wq: goes on with copies; nothing there waits but for reads of tables below
 * @bios: that are read and written
 * @nr: clusters that were copied in part
 * @wake: lets those that wait try again
 * @lock: see there
 * @reserve: the copy that can be had without memory; NULL while it is in use
 * @waiters: bios that wait for it, or for the end of others
 * @full: one has come to wait since they were tried last
 */
struct qed_copies {
	struct qed *qed;
	struct workqueue_struct *wq;
	struct bio_set bios;
	atomic64_t nr;
	struct work_struct wake;

	/* Protects what follows; taken in bio completion context. */
	spinlock_t lock;
	struct qed_copy *reserve;
	struct bio_list waiters;
	bool full;
};

/**
 * struct qed_copy - a copy
 * @work: goes on with it, when all bios have come back
 * @copies: those of the target
 * @args: what is to be copied
 * @end_io: of the data
 * @whole: the pages are a part of the data
 * @writing: a piece is being written; otherwise it is being read, or all is
 * @done: sectors that have been copied piece by piece
 * @piece: those of the piece
 * @pending: bios under way, and one for who submits them
 * @status: of one of them that has failed
 * @reserved: it is the one of the target that needs no memory
 * @used: pages that are a part of the data
 * @nr_pages: number of pages
 * @pages: they
 */
struct qed_copy {
	struct work_struct work;
	struct qed_copies *copies;
	struct qed_copy_args args;
	bio_end_io_t *end_io;
	bool whole;
	bool writing;
	unsigned int done;
	unsigned int piece;
	atomic_t pending;
	blk_status_t status;
	bool reserved;
	unsigned int used;
	unsigned int nr_pages;
	struct page *pages[];
};

/*----------------------------------------------------------------
 * Pages
 *----------------------------------------------------------------
 */

static LIST_HEAD(spare_pages);

static unsigned int nr_spare;

/* Protects the two. */
static DEFINE_SPINLOCK(spare_lock);

/* Of copies, but for the reserves; nothing else bounds them, for nobody reclaims them. */
static atomic_t nr_used;

static unsigned int max_used;

/* Returns how many there were. */
static unsigned int take_spare(struct page **pages, unsigned int nr)
{
	unsigned long flags;
	unsigned int n;

	spin_lock_irqsave(&spare_lock, flags);
	for (n = 0; n < nr && nr_spare; n++, nr_spare--) {
		pages[n] = list_first_entry(&spare_pages, struct page, lru);
		list_del(&pages[n]->lru);
	}
	spin_unlock_irqrestore(&spare_lock, flags);
	return n;
}

/* Returns how many were kept. */
static unsigned int keep_spare(struct page **pages, unsigned int nr)
{
	unsigned long flags;
	unsigned int n;

	spin_lock_irqsave(&spare_lock, flags);
	for (n = 0; n < nr && nr_spare < QED_SPARE_PAGES; n++, nr_spare++)
		list_add(&pages[n]->lru, &spare_pages);
	spin_unlock_irqrestore(&spare_lock, flags);
	return n;
}

static void free_pages_of(struct qed_copy *copy)
{
	unsigned int n = keep_spare(copy->pages, copy->nr_pages);

	for (; n < copy->nr_pages; n++)
		__free_page(copy->pages[n]);
}

static bool alloc_pages_of(struct qed_copy *copy, unsigned int nr, gfp_t gfp)
{
	copy->nr_pages = take_spare(copy->pages, nr);
	for (; copy->nr_pages < nr; copy->nr_pages++) {
		copy->pages[copy->nr_pages] = alloc_page(gfp);
		if (!copy->pages[copy->nr_pages]) {
			free_pages_of(copy);
			return false;
		}
	}
	return true;
}

/*----------------------------------------------------------------
 * Copies
 *----------------------------------------------------------------
 */

static void do_copy(struct work_struct *work);

static struct qed_copy *alloc_copy(struct qed_copies *copies, unsigned int nr,
				   gfp_t gfp)
{
	struct qed_copy *copy;

	copy = kmalloc(struct_size(copy, pages, nr), gfp);
	if (!copy)
		return NULL;
	if (!alloc_pages_of(copy, nr, gfp)) {
		kfree(copy);
		return NULL;
	}
	INIT_WORK(&copy->work, do_copy);
	copy->copies = copies;
	copy->reserved = false;
	copy->used = 0;
	return copy;
}

static void free_copy(struct qed_copy *copy)
{
	free_pages_of(copy);
	kfree(copy);
}

/* Returns NULL without memory, or if copies have enough of it. */
static struct qed_copy *try_copy(struct qed_copies *copies, unsigned int nr)
{
	struct qed_copy *copy = NULL;

	if (atomic_add_return(nr, &nr_used) <= max_used)
		copy = alloc_copy(copies, nr, QED_COPY_GFP);
	if (!copy)
		atomic_sub(nr, &nr_used);
	return copy;
}

static struct bio *next_waiter(struct qed_copies *copies)
{
	struct bio *bio;

	spin_lock_irq(&copies->lock);
	bio = bio_list_pop(&copies->waiters);
	WRITE_ONCE(copies->full, false);
	spin_unlock_irq(&copies->lock);
	return bio;
}

/*
 * One after the other, here: all at once they would take the last pages from each other,
 * and each would try for each that ends. Who goes on may not need a copy any more: the
 * next ones do, until one has to wait again, for the reserve, of which the end comes here.
 */
static void wake_waiters(struct work_struct *work)
{
	struct qed_copies *copies = container_of(work, struct qed_copies, wake);
	struct bio *bio;

	do {
		bio = next_waiter(copies);
		if (!bio)
			break;
		work = &bio_io(bio)->work;
		work->func(work);
		cond_resched();
	} while (!READ_ONCE(copies->full));
}

/* The reserve is there again, or, with NULL, there may be memory. */
static void end_copy(struct qed_copies *copies, struct qed_copy *reserve)
{
	unsigned long flags;
	bool waits;

	spin_lock_irqsave(&copies->lock, flags);
	if (reserve)
		copies->reserve = reserve;
	waits = !bio_list_empty(&copies->waiters);
	spin_unlock_irqrestore(&copies->lock, flags);
	if (waits)
		queue_work(copies->qed->wq, &copies->wake);
}

/* Returns NULL if it is in use: then the bio waits. */
static struct qed_copy *take_reserve(struct qed_copies *copies, struct bio *bio)
{
	struct qed_copy *copy;

	spin_lock_irq(&copies->lock);
	copy = copies->reserve;
	copies->reserve = NULL;
	if (copy) {
		copy->used = 0;
	} else {
		bio_list_add(&copies->waiters, bio);
		WRITE_ONCE(copies->full, true);
	}
	spin_unlock_irq(&copies->lock);
	return copy;
}

unsigned int qed_copy_vecs(unsigned int sectors)
{
	return DIV_ROUND_UP(sectors, PAGE_SECTORS);
}

unsigned int qed_copy_pages(struct qed *qed, struct bio *bio)
{
	unsigned int size = 1U << qed_meta_cluster_bits(qed->meta);
	sector_t first = bio->bi_iter.bi_sector, end = bio_end_sector(bio);
	unsigned int head = first & (size - 1), tail;

	/* What is below may end within the cluster, and before the bio. */
	if (first - head >= qed->below_end)
		return 0;
	if (is_unmapping(bio)) {
		/* Of a large cluster they are written in parts: see qed_cell_write(). */
		if (size > QED_COPY_PAGES * PAGE_SECTORS)
			return QED_COPY_PAGES;
		end = min(end, first - head + size);
	}
	tail = -end & (size - 1);
	return min(qed_copy_vecs(head) + qed_copy_vecs(tail), QED_COPY_PAGES);
}

int qed_copy_get(struct qed *qed, struct bio *bio, unsigned int nr,
		 struct qed_copy **copy)
{
	*copy = try_copy(qed->copies, nr);
	if (!*copy)
		*copy = take_reserve(qed->copies, bio);
	return !*copy;
}

void qed_copy_put(struct qed_copy *copy)
{
	struct qed_copies *copies;

	if (!copy)
		return;
	copies = copy->copies;
	if (copy->reserved) {
		end_copy(copies, copy);
		return;
	}
	atomic_sub(copy->nr_pages, &nr_used);
	free_copy(copy);
	end_copy(copies, NULL);
}

bool qed_copy_fits(struct qed_copy *copy, unsigned int head, unsigned int tail)
{
	return qed_copy_vecs(head) + qed_copy_vecs(tail) <= copy->nr_pages;
}

/* So many sectors of pages, behind the first @from of them. */
static void add_copied(struct bio *bio, struct page **pages, unsigned int from,
		       unsigned int nr)
{
	unsigned int offset, n;

	for (; nr; nr -= n, from += n) {
		offset = from % PAGE_SECTORS;
		n = min_t(unsigned int, nr, PAGE_SECTORS - offset);
		__bio_add_page(bio, pages[from / PAGE_SECTORS],
			       n << SECTOR_SHIFT, offset << SECTOR_SHIFT);
	}
}

void qed_copy_add(struct qed_copy *copy, struct bio *bio, unsigned int sectors)
{
	add_copied(bio, copy->pages + copy->used, 0, sectors);
	copy->used += qed_copy_vecs(sectors);
}

/*----------------------------------------------------------------
 * The way of a copy
 *----------------------------------------------------------------
 */

static void put_pending(struct qed_copy *copy)
{
	if (atomic_dec_and_test(&copy->pending))
		queue_work(copy->copies->wq, &copy->work);
}

static void copy_endio(struct bio *bio)
{
	struct qed_copy *copy = bio->bi_private;

	if (bio->bi_status)
		WRITE_ONCE(copy->status, bio->bi_status);
	bio_put(bio);
	put_pending(copy);
}

/*
 * On behalf of the guest's bio, for what its cgroup may do, and where that is counted. The
 * first of a copy is submitted by the worker, before any other part of the guest's bio can
 * be: device mapper demands that for its statistics.
 */
static void submit_pages(struct qed_copy *copy, struct block_device *bdev,
			 blk_opf_t opf, sector_t sector, struct page **pages,
			 unsigned int from, unsigned int nr)
{
	unsigned int vecs = qed_copy_vecs(from % PAGE_SECTORS + nr);
	struct bio *bio = bio_alloc_bioset(bdev, vecs, opf, GFP_NOIO,
					   &copy->copies->bios);

	bio->bi_iter.bi_sector = sector;
	bio->bi_private = copy;
	bio->bi_end_io = copy_endio;
	bio->bi_ioprio = copy->args.data->bi_ioprio;
	add_copied(bio, pages, from, nr);
	atomic_inc(&copy->pending);
	qed_io_submit(copy->args.io, bio);
}

/* Zero so many sectors of pages behind the first @from of them. */
static void zero_pages(struct page **pages, unsigned int from, unsigned int nr)
{
	unsigned int offset, n;

	for (; nr; nr -= n, from += n) {
		offset = from % PAGE_SECTORS;
		n = min_t(unsigned int, nr, PAGE_SECTORS - offset);
		memzero_page(pages[from / PAGE_SECTORS],
			     offset << SECTOR_SHIFT, n << SECTOR_SHIFT);
	}
}

/*
 * Read sectors of the guest from below, and zeroes where that has none. Returns whether
 * something has been submitted; what comes back looks at the status.
 */
static bool read_below(struct qed_copy *copy, sector_t sector, unsigned int nr,
		       struct page **pages)
{
	struct qed *qed = copy->copies->qed;
	struct qed_extent ext;
	unsigned int done;
	bool reads = false;

	for (done = 0; done < nr; done += ext.nr) {
		ext.nr = nr - done;
		switch (qed_below(qed, sector + done, &ext, true)) {
		case QED_EXTENT_DATA:
			submit_pages(copy, ext.bdev, REQ_OP_READ, ext.sector,
				     pages, done, ext.nr);
			reads = true;
			break;
		case QED_EXTENT_ZERO:
			zero_pages(pages, done, ext.nr);
			break;
		default:
			WRITE_ONCE(copy->status, BLK_STS_IOERR);
			return reads;
		}
	}
	return reads;
}

/* Where the next piece is, from the beginning of the clusters on. */
static unsigned int piece_offset(const struct qed_copy *copy)
{
	bool behind = copy->done >= copy->args.head;

	return copy->done + (behind ? copy->args.nr : 0);
}

static unsigned int piece_size(const struct qed_copy *copy)
{
	const struct qed_copy_args *args = &copy->args;
	unsigned int end = args->head;

	if (copy->done >= end)
		end += args->tail;
	return min_t(unsigned int, end - copy->done,
		     copy->nr_pages * PAGE_SECTORS);
}

static void begin(struct qed_copy *copy, bool writing)
{
	copy->writing = writing;
	copy->status = BLK_STS_OK;
	atomic_set(&copy->pending, 1);
}

/* Both return whether something is read: the copy goes on when that comes back. */
static bool read_whole(struct qed_copy *copy)
{
	const struct qed_copy_args *args = &copy->args;
	bool reads;

	begin(copy, false);
	reads = read_below(copy, args->guest, args->head, copy->pages);
	reads |= read_below(copy, args->guest + args->head + args->nr, args->tail,
			    copy->pages + qed_copy_vecs(args->head));
	if (reads)
		put_pending(copy);
	return reads;
}

static bool read_piece(struct qed_copy *copy)
{
	bool reads;

	begin(copy, false);
	copy->piece = piece_size(copy);
	reads = read_below(copy, copy->args.guest + piece_offset(copy),
			   copy->piece, copy->pages);
	if (reads)
		put_pending(copy);
	return reads;
}

/* What was read of a block of what is below that is longer than the image: it might grow. */
static void zero_behind(struct qed_copy *copy, unsigned int offset,
			unsigned int nr, struct page **pages)
{
	sector_t end = qed_meta_guest_sectors(copy->copies->qed->meta);
	sector_t first = copy->args.guest + offset;
	unsigned int from = first < end ? min_t(sector_t, end - first, nr) : 0;

	zero_pages(pages, from, nr - from);
}

static void write_piece(struct qed_copy *copy)
{
	zero_behind(copy, piece_offset(copy), copy->piece, copy->pages);
	begin(copy, true);
	submit_pages(copy, copy->copies->qed->bdev, REQ_OP_WRITE,
		     copy->args.to + piece_offset(copy), copy->pages, 0,
		     copy->piece);
	put_pending(copy);
}

/* The data has been written, or is not going to be. */
static void data_endio(struct bio *bio)
{
	struct qed_copy *copy = bio->bi_private;

	/* First, for with the guest's bio the target may go. */
	bio->bi_end_io = copy->end_io;
	qed_copy_put(copy);
	bio->bi_end_io(bio);
}

static void submit_data(struct qed_copy *copy)
{
	const struct qed_copy_args *args = &copy->args;

	if (copy->whole)
		zero_behind(copy, args->head + args->nr, args->tail,
			    copy->pages + qed_copy_vecs(args->head));
	atomic64_add(1 + (args->head && args->tail && args->head + args->nr >=
			  1U << qed_meta_cluster_bits(copy->copies->qed->meta)),
		     &copy->copies->nr);
	qed_io_submit(args->io, args->data);
}

/* Nor is it a lack of space if a read fails, whatever the device calls it. */
static void fail_data(struct qed_copy *copy)
{
	blk_status_t status = copy->status;

	if (status == BLK_STS_NOSPC && !copy->writing)
		status = BLK_STS_IOERR;
	copy->args.cell->untouched = !copy->done && !copy->writing;
	copy->args.data->bi_status = status;
	bio_endio(copy->args.data);
}

/* All that was to be read is there, and what was to be written of a piece. */
static void go_on(struct qed_copy *copy)
{
	const struct qed_copy_args *args = &copy->args;

	if (!copy->whole && copy->writing)
		copy->done += copy->piece;
	if (copy->whole || copy->done == args->head + args->tail)
		submit_data(copy);
	else if (!copy->writing)
		write_piece(copy);
	else if (!read_piece(copy))
		do_copy(&copy->work);
}

static void do_copy(struct work_struct *work)
{
	struct qed_copy *copy = container_of(work, struct qed_copy, work);

	if (copy->status)
		fail_data(copy);
	else
		go_on(copy);
}

void qed_copy_up(struct qed_copy *copy, const struct qed_copy_args *args)
{
	copy->args = *args;
	copy->whole = copy->used;
	copy->done = 0;
	copy->end_io = args->data->bi_end_io;
	args->data->bi_private = copy;
	args->data->bi_end_io = data_endio;
	if (!(copy->whole ? read_whole(copy) : read_piece(copy)))
		do_copy(&copy->work);
}

/*----------------------------------------------------------------
 * Targets and the module
 *----------------------------------------------------------------
 */

u64 qed_copies_nr(struct qed_copies *copies)
{
	return atomic64_read(&copies->nr);
}

struct qed_copies *qed_copies_create(struct qed *qed)
{
	struct qed_copies *copies = kzalloc(sizeof(*copies), GFP_KERNEL);

	if (!copies)
		return NULL;
	copies->qed = qed;
	INIT_WORK(&copies->wake, wake_waiters);
	spin_lock_init(&copies->lock);
	bio_list_init(&copies->waiters);
	copies->reserve = alloc_copy(copies, QED_COPY_RESERVE, GFP_KERNEL);
	if (!copies->reserve)
		goto bad_reserve;
	copies->reserve->reserved = true;
	if (bioset_init(&copies->bios, 1, 0, BIOSET_NEED_BVECS))
		goto bad_bios;
	/* A thread in reserve of its own: those of the worker may wait for a cell to end. */
	copies->wq = alloc_workqueue("dm-qed-copy/%s", WQ_UNBOUND | WQ_MEM_RECLAIM,
				     0, qed_name(qed));
	if (!copies->wq)
		goto bad_wq;
	return copies;

bad_wq:
	bioset_exit(&copies->bios);
bad_bios:
	free_copy(copies->reserve);
bad_reserve:
	kfree(copies);
	return NULL;
}

void qed_copies_destroy(struct qed_copies *copies)
{
	destroy_workqueue(copies->wq);
	bioset_exit(&copies->bios);
	free_copy(copies->reserve);
	kfree(copies);
}

void qed_copy_module_init(void)
{
	max_used = clamp_t(unsigned long, totalram_pages() / QED_COPY_MEMORY,
			   QED_COPY_PAGES, QED_MAX_COPY_MEMORY >> PAGE_SHIFT);
}

void qed_copy_module_exit(void)
{
	struct page *page, *next;

	list_for_each_entry_safe(page, next, &spare_pages, lru)
		__free_page(page);
}
