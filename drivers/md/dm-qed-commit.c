// SPDX-License-Identifier: GPL-2.0-only
/*
 * Commits: see qed_meta_commit() in dm-qed-meta.h for the order of what is written.
 */

#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/completion.h>
#include <linux/device-mapper.h>
#include <linux/list_sort.h>
#include <linux/mempool.h>
#include <linux/sched.h>

#include "dm-qed-header.h"
#include "dm-qed-sync.h"
#include "dm-qed-table.h"

#define DM_MSG_PREFIX "qed"

/* Up to so many writes are made with FUA where a flush would have to follow */
#define QED_COMMIT_FUA		4

/* Blocks of a commit to let go of with the lock held */
#define QED_COMMIT_STEP		64

struct qed_commit {
	struct qed_meta *meta;
	struct list_head *todo;		/* dirty, not yet copied; sorted */
	struct list_head blocks;	/* copied into the bios */
	struct bio_list bios;		/* not yet submitted */
	unsigned int nr_bios;
	bool ordered;
	bool flushes;			/* the bios make the device flush: */
	struct bio *fua[QED_COMMIT_FUA];	/* these */
	struct bvec_iter iter[QED_COMMIT_FUA];	/* as they were submitted */
	struct qed_flush under_way;	/* all of them */
	atomic_t pending;
	bool full;			/* the device has no space for a block */
	bool failed;			/* something else went wrong */
	struct completion done;
};

static int block_cmp(void *priv, const struct list_head *a,
		     const struct list_head *b)
{
	sector_t x = list_entry(a, struct qed_block, dirty_list)->sector;
	sector_t y = list_entry(b, struct qed_block, dirty_list)->sector;

	/* There may be as many as the memory has room for. */
	cond_resched();
	return x < y ? -1 : x > y;
}

static void commit_settled(struct qed_flush *flush)
{
	complete(&container_of(flush, struct qed_commit, under_way)->done);
}

/* Is it open whether it was a write or a flush that had no space? */
static bool commit_is_open(struct qed_commit *commit)
{
	return commit->flushes && commit->full;
}

static void commit_put(struct qed_commit *commit)
{
	if (!atomic_dec_and_test(&commit->pending))
		return;
	if (commit_is_open(commit) ||
	    !qed_flush_end(&commit->meta->flushes, &commit->under_way,
			   commit_settled))
		complete(&commit->done);
}

/* Context: any; like all that a flush may have lost, before somebody goes on. */
static void commit_lost(struct qed_commit *commit)
{
	WRITE_ONCE(commit->failed, true);
	if (commit->flushes)
		qed_flush_lost(commit->meta);
}

static void commit_free_bio(struct qed_commit *commit, struct bio *bio)
{
	struct bvec_iter_all iter;
	struct bio_vec *vec;

	bio_for_each_segment_all(vec, bio, iter)
		mempool_free(bvec_virt(vec), &commit->meta->copies);
	bio_put(bio);
}

static void commit_endio(struct bio *bio)
{
	struct qed_commit *commit = bio->bi_private;

	if (bio->bi_status == BLK_STS_NOSPC)
		WRITE_ONCE(commit->full, true);
	else if (bio->bi_status)
		commit_lost(commit);
	if (!commit->flushes)
		commit_free_bio(commit, bio);
	commit_put(commit);
}

/* Number of blocks from @block on that are adjacent on the device */
static unsigned int adjacent(struct qed_block *block, struct list_head *todo)
{
	struct qed_block *next = block;
	unsigned int nr = 0;

	list_for_each_entry_from(next, todo, dirty_list) {
		if (next->sector != block->sector + nr * QED_BLOCK_SECTORS)
			break;
		if (++nr == BIO_MAX_VECS)
			break;
	}
	return nr;
}

static struct bio *commit_bio(struct qed_commit *commit,
			      struct qed_block *block)
{
	struct bio *bio = commit->bios.tail;
	gfp_t gfp = GFP_NOWAIT | __GFP_NOWARN;

	if (bio && bio->bi_vcnt < bio->bi_max_vecs &&
	    bio_end_sector(bio) == block->sector)
		return bio;

	/* Who may not wait gets no vectors of the reserve, and nobody waits for these. */
	if (commit->nr_bios < QED_COMMIT_BIOS)
		gfp = GFP_NOIO;
	bio = bio_alloc_bioset(commit->meta->bdev, adjacent(block, commit->todo),
			       REQ_OP_WRITE | REQ_META | REQ_SYNC, gfp,
			       &commit->meta->bs);
	if (!bio)
		return NULL;
	bio->bi_iter.bi_sector = block->sector;
	bio->bi_end_io = commit_endio;
	bio->bi_private = commit;
	bio_list_add(&commit->bios, bio);
	commit->nr_bios++;
	return bio;
}

/* Returns false without memory. */
static bool commit_add(struct qed_commit *commit, struct qed_block *block)
{
	struct qed_cache *cache = &commit->meta->cache;
	struct bio *bio;
	void *copy;

	copy = mempool_alloc(&commit->meta->copies, GFP_NOWAIT | __GFP_NOWARN);
	if (!copy)
		return false;
	bio = commit_bio(commit, block);
	if (!bio) {
		mempool_free(copy, &commit->meta->copies);
		return false;
	}

	spin_lock_irq(&cache->lock);
	memcpy(copy, block->entries, QED_BLOCK_SIZE);
	qed_block_pin(block);
	qed_block_clean(block);
	cache->nr_writing++;
	cache->nr_taken++;
	commit->ordered |= block->ordered;
	block->ordered = false;
	spin_unlock_irq(&cache->lock);

	list_add_tail(&block->commit_list, &commit->blocks);
	__bio_add_page(bio, virt_to_page(copy), QED_BLOCK_SIZE,
		       offset_in_page(copy));
	return true;
}

/* Take the dirty blocks, and what is dropped with them. */
static void commit_take(struct qed_commit *commit)
{
	struct qed_cache *cache = &commit->meta->cache;

	spin_lock_irq(&cache->lock);
	list_splice_init(&cache->dirty, commit->todo);
	qed_reclaim_collect(&commit->meta->reclaim);
	spin_unlock_irq(&cache->lock);

	/* Dirty blocks stay where they are: nobody else moves them. */
	list_sort(NULL, commit->todo, block_cmp);
}

/*
 * Copy the blocks into bios. Short of memory it stops early, and the next round goes
 * on, but not before the first block: the reserves are ours alone.
 */
static void commit_collect(struct qed_commit *commit)
{
	struct qed_block *block, *next;

	list_for_each_entry_safe(block, next, commit->todo, dirty_list) {
		if (!commit_add(commit, block))
			break;
		cond_resched();
	}
}

static void commit_abort(struct qed_commit *commit)
{
	struct bio *bio;

	atomic_set(&commit->pending, 1 + commit->nr_bios);
	while ((bio = bio_list_pop(&commit->bios)))
		bio_io_error(bio);
}

/* The bios that are about to make the device flush are kept, see commit_flushed(). */
static void commit_flushes(struct qed_commit *commit)
{
	unsigned int n = 0;
	struct bio *bio;

	bio_list_for_each(bio, &commit->bios) {
		commit->fua[n] = bio;
		commit->iter[n++] = bio->bi_iter;
	}
	commit->flushes = true;
	qed_flush_begin(&commit->meta->flushes, &commit->under_way,
			QED_FLUSH_OWN);
}

/* They have come back. Those without space tell what had none, unless all is lost. */
static void commit_flushed(struct qed_commit *commit)
{
	struct qed_meta *meta = commit->meta;
	unsigned int n;

	for (n = 0; n < commit->nr_bios; n++) {
		if (commit->fua[n]->bi_status == BLK_STS_NOSPC &&
		    !commit->failed)
			commit->failed = qed_fua_again(meta, commit->fua[n],
						       &commit->iter[n]) != -ENOSPC;
		commit_free_bio(commit, commit->fua[n]);
	}
	qed_flush_end(&meta->flushes, &commit->under_way, NULL);
}

/* Submit the bios, and a flush beside them where it is asked for, and wait. */
static int commit_submit(struct qed_commit *commit, bool fua, bool flush)
{
	struct qed_wait wait;
	struct bio *bio;

	atomic_set(&commit->pending, 1 + commit->nr_bios);
	if (fua && qed_fua_flushes(commit->meta->bdev))
		commit_flushes(commit);
	while ((bio = bio_list_pop(&commit->bios))) {
		if (fua)
			bio->bi_opf |= REQ_FUA;
		submit_bio(bio);
	}
	commit_put(commit);
	if (flush)
		qed_flush_start(commit->meta, &wait);
	wait_for_completion(&commit->done);
	if (commit->flushes)
		commit_flushed(commit);
	/* Last, since it waits for what else is under way. */
	if (flush && qed_flush_wait(&wait))
		commit->failed = true;
	if (commit->failed)
		return -EIO;
	return commit->full ? -ENOSPC : 0;
}

/*
 * Write the collected blocks in the order that qed_meta_commit() promises. A
 * few blocks are cheaper with FUA, which also lets the flush for the data run
 * beside them; it needs a device that does not emulate FUA by flushes.
 */
static int commit_write(struct qed_commit *commit, bool flush)
{
	bool fua = flush && commit->nr_bios <= QED_COMMIT_FUA &&
		   bdev_fua(commit->meta->bdev);
	int r = 0;

	if (commit->ordered)
		r = qed_flush(commit->meta);
	if (!r && READ_ONCE(commit->meta->doubtful))
		r = -EIO;
	if (r) {
		commit_abort(commit);
		return r;
	}

	r = commit_submit(commit, fua, fua && !commit->ordered);
	if (!r && flush && !fua)
		r = qed_flush(commit->meta);
	/* A flush of the guest may have failed meanwhile, and lost some blocks. */
	if (!r && READ_ONCE(commit->meta->doubtful))
		r = -EIO;
	return r;
}

/* Let go of the blocks, some at a time for those who wait for the lock. */
static void commit_release(struct qed_commit *commit, bool again)
{
	struct qed_cache *cache = &commit->meta->cache;
	struct qed_block *block;
	unsigned int n;

	while (!list_empty(&commit->blocks)) {
		spin_lock_irq(&cache->lock);
		for (n = 0; n < QED_COMMIT_STEP && !list_empty(&commit->blocks);
		     n++) {
			block = list_first_entry(&commit->blocks,
						 struct qed_block, commit_list);
			list_del(&block->commit_list);
			cache->nr_writing--;
			if (again)
				qed_cache_dirty(cache, block);
			qed_block_unpin(block);
		}
		spin_unlock_irq(&cache->lock);
		cond_resched();
	}
}

/* Account for the commit; what became dirty meanwhile is for the next one. */
static void commit_finish(struct qed_commit *commit, bool flushed, int r)
{
	struct qed_meta *meta = commit->meta;
	bool more, stuck = r == -ENOSPC, was_stuck;

	commit_release(commit, r);
	spin_lock_irq(&meta->cache.lock);
	more = !list_empty(&meta->cache.dirty) || !list_empty(commit->todo);
	if (!r && !meta->frozen) {
		if (more)
			WRITE_ONCE(meta->txn, QED_TXN_DIRTY);
		else if (flushed)
			WRITE_ONCE(meta->txn, QED_TXN_DURABLE);
		else if (meta->txn == QED_TXN_DIRTY)
			WRITE_ONCE(meta->txn, QED_TXN_WRITTEN);
		meta->commits += !!commit->nr_bios;
	}
	was_stuck = qed_cache_set_stuck(&meta->cache, stuck || meta->frozen);
	spin_unlock_irq(&meta->cache.lock);

	qed_cache_wake(&meta->cache);
	if (was_stuck && !stuck)
		meta->client->more_space(meta->client);
	if (more && !r)
		meta->client->want_commit(meta->client, false);
}

/*
 * One round, of one unless memory runs short. What a round leaves is all that the next
 * one does: what has become dirty meanwhile, maybe again, is for another commit, or
 * this one might have no end. Nor do tables go then, whose blocks may be among it.
 */
static int commit_round(struct qed_meta *meta, struct list_head *todo, bool flush,
			bool *all)
{
	struct qed_commit commit = {
		.meta = meta,
		.todo = todo,
		.blocks = LIST_HEAD_INIT(commit.blocks),
		.bios = BIO_EMPTY_LIST,
		.pending = ATOMIC_INIT(0),
		.done = COMPLETION_INITIALIZER_ONSTACK(commit.done),
	};
	bool again = false;
	int r;

	if (list_empty(todo)) {
		again = qed_free_empty_tables(meta);
		commit_take(&commit);
	}
	commit_collect(&commit);
	*all = list_empty(todo) && !again;
	r = commit_write(&commit, flush);
	commit_finish(&commit, flush, r);
	if (!r && flush && *all)
		qed_reclaim_durable(&meta->reclaim);
	return r;
}

static void commit_failed(struct qed_meta *meta, int r)
{
	/* What the guest has written is all that this flush can have lost. */
	if (qed_meta_is_durable(meta) && !READ_ONCE(meta->doubtful))
		DMERR_LIMIT("%s: flush failed: error %d", meta->client->name, r);
	else
		qed_meta_fail(meta, "cannot write the tables");
}

static int commit_rounds(struct qed_meta *meta, bool flush)
{
	bool all = false;
	LIST_HEAD(todo);
	int r = 0;

	meta->again = false;
	while (!r && !all)
		r = READ_ONCE(meta->txn) == QED_TXN_FAILED ? -EROFS :
		    commit_round(meta, &todo, flush, &all);
	/* What has failed leaves some that are dirty as before. */
	spin_lock_irq(&meta->cache.lock);
	list_splice(&todo, &meta->cache.dirty);
	spin_unlock_irq(&meta->cache.lock);
	return r;
}

/* Caller holds commit_mutex. */
static int commit_running(struct qed_meta *meta, bool flush)
{
	int r;

	if (flush)
		WRITE_ONCE(meta->begun, meta->begun + 1);
	r = commit_rounds(meta, flush);
	if (!r && flush)
		meta->made = meta->begun;
	/* Of an image that is only read, or that nobody has written to, nothing is touched. */
	if (!r && READ_ONCE(meta->marked))
		qed_trim_ahead(&meta->trim);
	if (r == -ENOSPC)
		/* The blocks stay dirty, and the next commit writes them. */
		DMWARN_LIMIT("%s: no space for the tables on the image device",
			     meta->client->name);
	else if (r && r != -EROFS)
		commit_failed(meta, r);
	return r;
}

/* Caller holds commit_mutex. */
static int commit_now(struct qed_meta *meta, bool flush)
{
	if (meta->running)
		return commit_running(meta, flush);
	return meta->loaded ? qed_meta_state(meta) : 0;
}

int qed_meta_commit(struct qed_meta *meta, bool flush)
{
	int r;

	mutex_lock(&meta->commit_mutex);
	r = commit_now(meta, flush);
	mutex_unlock(&meta->commit_mutex);
	return r;
}

/*
 * Make durable what the caller has unmapped. There may be many of them: a commit serves
 * all who have come before it began. It counts itself before it takes the lock of the
 * cache, under which they have unmapped.
 */
static int commit_unmapped(struct qed_meta *meta)
{
	unsigned long begun = READ_ONCE(meta->begun);
	int r = 0;

	mutex_lock(&meta->commit_mutex);
	if ((long)(meta->made - begun) <= 0)
		r = commit_now(meta, true);
	mutex_unlock(&meta->commit_mutex);
	return r;
}

int qed_meta_throttle(struct qed_meta *meta)
{
	int r = 0;

	/* Others may have dropped more since the commit, and do not make another. */
	while (!r && qed_reclaim_is_full(&meta->reclaim)) {
		r = commit_unmapped(meta);
		if (!r)
			qed_reclaim_wait(&meta->reclaim);
	}
	return r;
}
