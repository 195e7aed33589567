/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The metadata of a QED image: header, L1 and L2 tables and their cache, space
 * map and commits. This side of the target never sees a bio of the guest.
 *
 * The tables in memory run ahead of those on the device. A change of a mapping
 * is made in memory at once and written by the next commit, which orders the
 * writes so that the image is consistent at every moment a power cut may hit
 * (see qed_meta_commit()).
 */

#ifndef DM_QED_META_H
#define DM_QED_META_H

#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/percpu-refcount.h>
#include <linux/types.h>

#include "dm-qed-check.h"
#include "dm-qed-space.h"

#define QED_MIN_CACHE_KIB	64

struct work_struct;
struct qed_meta;
struct qed_block;
struct qed_drop;

/**
 * struct qed_meta_client - what the metadata asks of its user
 * @failed: the metadata has become read-only because of a failed write, a defect in
 *	a table, or no space to clear autoclear bits, described by the text; what a flush
 *	has promised may be lost where @lost says so. Called once, in process
 *	context, with locks of the metadata held: may sleep, must not call back.
 * @want_commit: there are uncommitted changes; a commit is due after the
 *	interval, or at once where @now says so. Called in any context.
 * @flush_failed: what the guest has written may be lost; the mappings are not.
 *	Called in any context.
 * @more_space: clusters have become free, or tables can be written again. Called in
 *	process context.
 * @scanned: a scan in the background has ended, with or without success. Called in
 *	process context, for each that qed_meta_is_scanning() has told of, unless it was
 *	stopped.
 * @event: something that was asked for is done. Called in process context.
 * @name: of the device, for messages
 *
 * The callbacks get the struct they are in and find their user around it.
 */
struct qed_meta_client {
	void (*failed)(struct qed_meta_client *client, const char *why,
		       bool lost);
	void (*want_commit)(struct qed_meta_client *client, bool now);
	void (*flush_failed)(struct qed_meta_client *client);
	void (*more_space)(struct qed_meta_client *client);
	void (*scanned)(struct qed_meta_client *client);
	void (*event)(struct qed_meta_client *client);
	const char *name;
};

/**
 * enum qed_extent_kind - what is known about a range of the guest
 * @QED_EXTENT_DATA: it is mapped to the image device
 * @QED_EXTENT_HOLE: it has no cluster: what is below shows, or zeroes if nothing is
 * @QED_EXTENT_ZERO: it has no cluster, and reads as zeroes whatever is below
 * @QED_EXTENT_UNCACHED: the table block has to be read first
 * @QED_EXTENT_BAD: its table entry is defective
 */
enum qed_extent_kind {
	QED_EXTENT_DATA,
	QED_EXTENT_HOLE,
	QED_EXTENT_ZERO,
	QED_EXTENT_UNCACHED,
	QED_EXTENT_BAD,
};

/**
 * struct qed_extent - the longest range of one kind
 * @bdev: where it is, for QED_EXTENT_DATA: the image device
 * @sector: its place there
 * @nr: length in sectors
 * @hold: for qed_meta_release(), for QED_EXTENT_DATA; else NULL
 */
struct qed_extent {
	struct block_device *bdev;
	sector_t sector;
	unsigned int nr;
	struct percpu_ref *hold;
};

/**
 * struct qed_meta_stats - numbers for the status line
 * @known: whether @used and @mapped are known: the tables have been scanned
 * @used: clusters of the device in use
 * @total: clusters of the device
 * @mapped: clusters of the guest's disk with data
 * @virtual: clusters of the guest's disk
 * @free: clusters of the device that can be allocated
 * @zero: those of them that are known to be zero
 * @reclaiming: clusters that nothing refers to, but that are not free yet
 * @scanning: the tables are being scanned in the background
 * @scanned: L2 blocks that the scan has come by
 * @ahead: clusters that were zeroed ahead since the image was loaded
 * @trimming: free clusters are being given to the device
 * @trimmed: how far this has come, in clusters
 * @trim_end: where it ends
 * @check: how far a check has come
 * @checked: L2 blocks that it has looked at
 * @blocks: number of L2 blocks
 * @leaks: clusters in use that nothing refers to, as it has found
 * @defects: wrong entries, as it has found
 * @cached_kib: size of the cached L2 blocks
 * @cache_limit_kib: its limit
 * @dirty_blocks: table blocks that differ from the device
 * @changes: qed_meta_begin() without qed_meta_end()
 * @commits: commits that wrote something
 * @needs_check: whether NEED_CHECK is set
 */
struct qed_meta_stats {
	bool known;
	u64 used;
	u64 total;
	u64 mapped;
	u64 virtual;
	u64 free;
	u64 zero;
	u64 reclaiming;
	bool scanning;
	u64 scanned;
	u64 ahead;
	bool trimming;
	u64 trimmed;
	u64 trim_end;
	enum qed_check_state check;
	u64 checked;
	u64 blocks;
	u64 leaks;
	u64 defects;
	u64 cached_kib;
	u64 cache_limit_kib;
	u64 dirty_blocks;
	u64 changes;
	u64 commits;
	bool needs_check;
};

/**
 * qed_meta_create() - open the metadata of an image
 * @bdev: the image device
 * @client: callbacks, valid until qed_meta_destroy()
 * @cache_kib: limit of the table cache in KiB, at least QED_MIN_CACHE_KIB, or 0: as
 *	much as the disk needs, within bounds
 * @passdown: give clusters that become free to the image device
 * @zero_ahead: keep so many free clusters zeroed, where the device is good at it
 * @error: a phrase for the user where it fails
 *
 * Reads and validates the header only, see qed_meta_load(). What is wrong with
 * it is logged with field and value.
 *
 * Context: Process context, may sleep.
 * Return: the metadata or an ERR_PTR: -EINVAL for a header that breaks a rule
 * of the format, -EOPNOTSUPP for what is legal but not supported, -EIO, -ENOMEM.
 */
struct qed_meta *qed_meta_create(struct block_device *bdev,
				 struct qed_meta_client *client,
				 unsigned int cache_kib, bool passdown,
				 u64 zero_ahead, char **error);
/* Read and validate the header again. It must not be loaded. Context and result as above. */
int qed_meta_reread(struct qed_meta *meta, char **error);

/**
 * qed_meta_is_as_loaded() - is the header still as it was when the image was loaded?
 * @meta: the metadata, loaded to be read only
 *
 * If not its tables may be others than those in memory, too. The log tells.
 *
 * Context: Process context, may sleep.
 * Return: 0, -EBUSY if somebody has written it, or the error of the device.
 */
int qed_meta_is_as_loaded(struct qed_meta *meta);
void qed_meta_destroy(struct qed_meta *meta);

/**
 * struct qed_load_args - how to load the tables
 * @readonly: nothing is ever written; defective tables are tolerated
 * @below: and it is below other images, in which there will be what follows from it
 * @zeroed: @zeroed_from is given
 * @zeroed_from: clusters of the device from here on are durably zero and
 *	nothing refers to them
 * @known_zeroes: this is the device that the record was written on
 * @takeover: whoever else has the image, by its record, does not write any more
 * @host: how this one is called, valid as long as it is loaded
 * @device: the same for all tables of a device
 * @sectors: of the image that are wanted
 * @backing: there is a device for its backing file
 */
struct qed_load_args {
	bool readonly;
	bool below;
	bool zeroed;
	u64 zeroed_from;
	bool known_zeroes;
	bool takeover;
	const char *host;
	const void *device;
	sector_t sectors;
	bool backing;
};

/**
 * qed_meta_load() - read the header again, and the tables
 * @meta: the metadata, not loaded
 * @args: see there
 *
 * An image is ready when its L1 table has been read. A scan of all tables, in the
 * background, builds its space map: until then clusters are free only from where the
 * record says so, or from zeroed_from on, and nothing can be unmapped. An image that
 * is marked as one to be checked, and not by us, is scanned before. The record says then
 * that we have it; unless @readonly is set it must not say that somebody else has.
 * Clears unknown autoclear bits; without space for that the metadata fails, and serves
 * reads.
 *
 * Context: Process context, may sleep. The caller serialises it with unload.
 * Return: 0, -EBUSY if somebody else has the image, or has come first, -EUCLEAN for defective
 * tables, -EINTR, -EIO, -ENOMEM, -EINVAL if it is too short, or what qed_meta_create() may
 * say of the header.
 */
int qed_meta_load(struct qed_meta *meta, const struct qed_load_args *args);

/**
 * qed_meta_unload() - forget the tables
 * @meta: the metadata
 *
 * What is not committed is lost: see qed_meta_close().
 *
 * Context: Process context, may sleep. No other call may be running.
 */
void qed_meta_unload(struct qed_meta *meta);

/**
 * qed_meta_close() - commit everything, mark the image clean, and give it up
 * @meta: the running metadata, with no change under way
 *
 * Free clusters that are still to be given to the image device are not. To be followed
 * by qed_meta_unload() if it succeeds, else by qed_meta_pause().
 *
 * Context: Process context, may sleep.
 * Return: 0 if the image is complete on the device, and clean if there was space for
 * the header; -EROFS if the metadata has failed before, or the error of the device, also
 * if it is the header that could not be read.
 */
int qed_meta_close(struct qed_meta *meta);

/**
 * qed_meta_pause() - leave the image device alone
 * @meta: the loaded metadata, with no change under way
 *
 * For metadata that could not be closed, and is kept: another table may be loaded for
 * the image meanwhile. On return nothing is in flight, and neither commits nor
 * reclaiming, trimming, checks and scans touch the device. What is in memory stays.
 *
 * Context: Process context, may sleep. The caller serialises it with load and unload.
 */
void qed_meta_pause(struct qed_meta *meta);

/**
 * qed_meta_continue() - the end of a pause
 * @meta: the loaded metadata
 *
 * If the metadata has failed what it has in memory serves reads, and nothing else. So it is
 * if somebody else has taken the image meanwhile. A check that was going on is given up.
 *
 * Context: Process context, may sleep. The caller serialises it with load and unload.
 * Return: 0, or the error with which the header cannot be read: it is paused as before.
 */
int qed_meta_continue(struct qed_meta *meta);

bool qed_meta_is_loaded(struct qed_meta *meta);

/*
 * Does a scan go on in the background? It has ended before scanned() of the client is
 * called. Context: Any.
 */
bool qed_meta_is_scanning(struct qed_meta *meta);

/*
 * Somebody waits for that scan: begin at once, if it has not begun.
 * Context: Process context; takes cache.lock.
 */
void qed_meta_hurry_scan(struct qed_meta *meta);

/**
 * qed_meta_state() - may the metadata use the image device?
 * @meta: the metadata
 *
 * Context: Any; the answer lasts as long as load, unload and pause are kept from it.
 * Return: 0; -ENODATA if it is not loaded; -EBUSY if it is paused; -EROFS if it has
 * failed before the pause, which does not end then.
 */
int qed_meta_state(struct qed_meta *meta);

/* The size of the guest's disk in sectors, as of the last read of the header. */
sector_t qed_meta_guest_sectors(struct qed_meta *meta);

/* Is it that long? Logs, and returns -EINVAL, if not. */
int qed_meta_check_length(struct qed_meta *meta, sector_t sectors);

/* log2 of the cluster size in sectors. */
unsigned int qed_meta_cluster_bits(struct qed_meta *meta);

/**
 * qed_meta_lookup() - find out where a guest range is
 * @meta: the loaded metadata
 * @sector: guest sector
 * @nr: number of sectors, at least one, all inside the image
 * @ext: the result; starts at @sector and has at most @nr sectors
 *
 * Takes no lock and allocates nothing. An UNCACHED, HOLE or ZERO extent does not
 * reach over the end of a table block. If nothing is below, HOLE and ZERO are the same.
 * The clusters of a DATA extent are not used for anything else until qed_meta_release().
 *
 * Context: Any context that may enter an RCU read side section.
 * Return: the kind of the extent.
 */
enum qed_extent_kind qed_meta_lookup(struct qed_meta *meta, sector_t sector,
				     unsigned int nr, struct qed_extent *ext);

/* The same where it was loaded @readonly: nothing is ever unmapped, and nothing is held. */
enum qed_extent_kind qed_meta_lookup_readonly(struct qed_meta *meta, sector_t sector,
					      unsigned int nr, struct qed_extent *ext);

/* The I/O to a DATA extent has completed. Context: Any. */
static inline void qed_meta_release(struct percpu_ref *hold)
{
	percpu_ref_put(hold);
}

/**
 * qed_meta_is_durable() - are all mappings on stable storage?
 * @meta: the loaded metadata
 *
 * To be asked after the mapping was looked up, with smp_rmb() between.
 *
 * Context: Any.
 * Return: false if a write with FUA needs a commit to be durable.
 */
bool qed_meta_is_durable(struct qed_meta *meta);

/**
 * qed_block_get() - pin the L2 table block that maps a guest cluster
 * @meta: the loaded metadata
 * @cluster: guest cluster
 * @create: make the L2 table if there is none; only after qed_meta_begin()
 *
 * Context: Process context; may sleep, read from and write to the device.
 * Return: the block, to be released by qed_block_put(); NULL if there is no
 * table; ERR_PTR(-ENOSPC) if there is no space for one, or another error.
 */
struct qed_block *qed_block_get(struct qed_meta *meta, u64 cluster, bool create);
void qed_block_put(struct qed_meta *meta, struct qed_block *block);

/**
 * qed_block_hole() - length of the unmapped run that starts at a cluster
 * @block: the pinned block
 * @cluster: guest cluster mapped by it
 * @nr: longest run of interest, clamped to the end of the block
 * @zero: whether they read as zeroes whatever is below; the run is of one kind
 *
 * Context: Any. The answer lasts as long as the caller keeps others from
 * mapping these clusters.
 * Return: number of clusters, 0 if @cluster is mapped.
 */
unsigned int qed_block_hole(struct qed_block *block, u64 cluster,
			    unsigned int nr, bool *zero);

/**
 * qed_meta_begin() - announce an allocating write
 * @meta: the loaded metadata
 *
 * On return NEED_CHECK is durably set and stays so until qed_meta_end().
 *
 * Context: Process context; may sleep and write.
 * Return: 0; -EROFS; -ENOSPC while the image device has no space for the header, or
 * none for tables, and the cache is full of what has changed; or the error of the
 * device.
 */
int qed_meta_begin(struct qed_meta *meta);

/**
 * qed_meta_end() - end what qed_meta_begin() began
 * @meta: the loaded metadata
 * @block: pinned block to be released, or NULL
 *
 * Context: Any.
 */
void qed_meta_end(struct qed_meta *meta, struct qed_block *block);

/**
 * qed_meta_give_back() - free clusters of a write that has failed
 * @meta: the loaded metadata
 * @run: the clusters, allocated but not mapped
 * @touched: something may have been written to them: NEED_CHECK stays set as long as the
 *	metadata is loaded
 *
 * Context: Any.
 */
void qed_meta_give_back(struct qed_meta *meta, const struct qed_run *run,
			bool touched);

/* The space map of the loaded metadata. */
struct qed_space *qed_meta_space(struct qed_meta *meta);

/* For work that nobody who waits for a commit may hold up. Context: Any. */
void qed_meta_queue_work(struct qed_meta *meta, struct work_struct *work);

/* The flushes of the image device. Context: Any. */
struct qed_flushes *qed_meta_flushes(struct qed_meta *meta);

/**
 * qed_meta_map() - enter a mapping whose data is complete on the device
 * @meta: the loaded metadata
 * @block: the pinned block of the guest clusters
 * @cluster: first guest cluster
 * @run: where they are now
 * @ordered: the entries must not become durable before the data: what the clusters
 *	held before it is not what the guest read there
 * @end: do what qed_meta_end() does, too
 *
 * Context: Any, takes the lock of the metadata.
 * Return: 0, or -EROFS if the metadata has failed: nothing is mapped then, or ended.
 */
int qed_meta_map(struct qed_meta *meta, struct qed_block *block, u64 cluster,
		 const struct qed_run *run, bool ordered, bool end);

/* The first guest cluster behind the block that maps a cluster. */
u64 qed_block_end(u64 cluster);

/* Number of runs of data from @cluster on, none over the end. Context: Any. */
unsigned int qed_block_runs(struct qed_meta *meta, struct qed_block *block,
			    u64 cluster, unsigned int nr);

/**
 * qed_meta_can_unmap() - is it known what is mapped?
 * @meta: the loaded metadata
 *
 * Context: Any.
 * Return: false before the end of a scan, or without one that has succeeded.
 */
bool qed_meta_can_unmap(struct qed_meta *meta);

/* Does what is below an image show where that has no cluster? Context: Any. */
bool qed_meta_is_backed(struct qed_meta *meta);

/**
 * qed_meta_unmap() - make clusters read as zeroes that have data, or show what is below
 * @meta: the loaded metadata
 * @block: the pinned block of the guest clusters
 * @cluster: first guest cluster
 * @nr: number of them, none over the end of the block
 * @hide: those that show what is below, too, which has to be something
 * @drop: takes the clusters; handed over in any case. NULL: end where one has data
 *
 * To be called between qed_meta_begin() and qed_meta_end(), and not while one
 * of the clusters is being written for the first time. The clusters become free
 * when that is durable and no bio uses them any more.
 *
 * Context: Any, takes the lock of the metadata.
 * Return: how many of the clusters are done, from the first one on, less
 * than @nr if @drop was full; -EROFS if the metadata has failed.
 */
int qed_meta_unmap(struct qed_meta *meta, struct qed_block *block, u64 cluster,
		   unsigned int nr, bool hide, struct qed_drop *drop);

/* Clusters that will become free after a commit with a flush. Context: Any. */
u64 qed_meta_reclaiming(struct qed_meta *meta);

/* Free clusters, and those that are only being zeroed. Context: Any. */
u64 qed_meta_nr_free(struct qed_meta *meta);

/**
 * qed_meta_throttle() - wait while too much is to be reclaimed
 * @meta: the loaded metadata
 *
 * Context: Process context, nothing pinned or held; may sleep and commit.
 * Return: 0, or the error of the commit.
 */
int qed_meta_throttle(struct qed_meta *meta);

/**
 * qed_meta_zero() - make a range of the image device read as zeroes
 * @meta: the metadata
 * @sector: first sector of the image device
 * @nr: number of sectors, may be 0
 *
 * Context: Process context, may sleep; in the I/O path, too.
 * Return: 0 or a negative error.
 */
int qed_meta_zero(struct qed_meta *meta, sector_t sector, sector_t nr);

/* Does the image device write zeroes, if @keep with REQ_NOUNMAP? Context: Any. */
bool qed_meta_takes_zeroes(struct qed_meta *meta, bool keep);

/**
 * qed_meta_zeroes_failed() - zeroes have failed that the image device was to write
 * @meta: the metadata
 * @keep: those with REQ_NOUNMAP
 * @status: how, not BLK_STS_OK
 *
 * Context: Any.
 * Return: true if it refuses to write such zeroes: qed_meta_takes_zeroes() knows now.
 */
bool qed_meta_zeroes_failed(struct qed_meta *meta, bool keep,
			    blk_status_t status);

/**
 * qed_meta_trim() - give free clusters to the image device, in the background
 * @meta: the loaded metadata
 *
 * NEED_CHECK is set before, and not cleared until it is done.
 *
 * Context: Process context, may sleep.
 * Return: 0, -EROFS, -EBUSY if it is being done, or if it is not known what is free,
 *	-EOPNOTSUPP, -EIO, or -ENOSPC if there is too much to be written to the tables.
 */
int qed_meta_trim(struct qed_meta *meta);

/**
 * qed_meta_check() - check all tables against the space map, in the background
 * @meta: the loaded metadata
 *
 * Mapping and unmapping go on. If an entry is wrong the metadata fails.
 *
 * Context: Process context, may sleep.
 * Return: 0; -EBUSY if it is being done, or if it is not known what is in use; -EROFS,
 * -ENOMEM.
 */
int qed_meta_check(struct qed_meta *meta);

/**
 * qed_meta_resize() - change the size of the guest's disk
 * @meta: the loaded metadata
 * @sectors: the new size
 *
 * Durable on return. What is loaded stays usable for the old size only, and goes
 * on to be used so: tables are read for the new size by the next load.
 *
 * Context: Process context, may sleep.
 * Return: 0; -EINVAL if it is smaller, or larger than the geometry allows;
 * -EUCLEAN if tables refer to something behind the old size; -EROFS; or the error of
 * the device. With -ENOSPC nothing has changed.
 */
int qed_meta_resize(struct qed_meta *meta, u64 sectors);

/**
 * qed_meta_commit() - write the changed table blocks
 * @meta: the loaded metadata
 * @flush: make durable what has been written so far, mappings and data
 *
 * The order depends on the clusters mapped since the last commit:
 *
 * - If each of them was durably zero when it was allocated, then any subset of
 *   the outstanding writes reads as the old or the new content, and nothing
 *   has to be ordered: the blocks are written, and flushed where @flush asks.
 * - Otherwise one flush makes the data and new tables stable before the first
 *   entry that refers to them is written.
 *
 * Blocks are copied first: allocations go on during a commit. It may come too late:
 * what is not loaded has nothing to commit.
 *
 * Context: Process context, may sleep.
 * Return: 0; -ENOSPC if the image device has no space for the tables, which does
 * no harm and may be tried again; -EROFS if the metadata has failed; -EBUSY if it is
 * paused; or the error of the device. It fails with that, unless only what the guest
 * has written is at stake.
 */
int qed_meta_commit(struct qed_meta *meta, bool flush);

/*
 * May the device make a flush of FUA? That says once what other writes it has lost, and no
 * flush that comes later says it again. A device that offers FUA, such as one of device
 * mapper, may consist of others that do not. Context: Any.
 */
static inline bool qed_fua_flushes(struct block_device *bdev)
{
	return bdev_write_cache(bdev);
}

/* Make a bio that has come back ready to be submitted again. Context: Any. */
static inline void qed_bio_rewind(struct bio *bio, const struct bvec_iter *iter)
{
	bio->bi_iter = *iter;
	bio->bi_status = BLK_STS_OK;
	/* It may have been split below, and moved from a partition to its disk. */
	bio_clear_flag(bio, BIO_CHAIN);
	bio_clear_flag(bio, BIO_REMAPPED);
	atomic_set(&bio->__bi_remaining, 1);
}

/**
 * qed_meta_flush_failed() - a flush of the guest has failed
 * @meta: the loaded metadata
 *
 * If clusters were being allocated beside it what it has lost may be theirs: then the
 * next commit fails.
 *
 * Context: Any.
 */
void qed_meta_flush_failed(struct qed_meta *meta);

/**
 * qed_meta_idle() - clear NEED_CHECK if nothing has changed for a while
 * @meta: the loaded metadata
 * @idle: shortest time without a change, in jiffies
 *
 * Context: Process context, may sleep.
 * Return: the time in jiffies after which to ask again, 0 if NEED_CHECK is
 * clear or will never be cleared.
 */
unsigned long qed_meta_idle(struct qed_meta *meta, unsigned long idle);

/**
 * qed_meta_see_growth() - look at the size of the image device, and write a new one
 * @meta: the loaded metadata
 * @nr: the clusters that it has if it has grown, and this succeeds, for qed_meta_grow(); else 0
 *
 * Context: Process context, may sleep; not with a lock that the client's failed() takes.
 * Return: 0, -EBUSY if somebody else may use what it has grown by, -EROFS, or the error of
 * the device.
 */
int qed_meta_see_growth(struct qed_meta *meta, u64 *nr);

/**
 * qed_meta_grow() - follow the growth of the image device
 * @meta: the loaded metadata
 * @nr: the clusters that it has now, by qed_meta_see_growth()
 *
 * Context: Process context, may sleep.
 * Return: 1 if there is more space now, 0, or -ENOMEM.
 */
int qed_meta_grow(struct qed_meta *meta, u64 nr);

/* Context: Process context; valid, with zeroes, while nothing is loaded. */
void qed_meta_get_stats(struct qed_meta *meta, struct qed_meta_stats *stats);

int qed_meta_module_init(void);
void qed_meta_module_exit(void);

#endif /* DM_QED_META_H */
