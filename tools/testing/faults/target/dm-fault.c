// SPDX-License-Identifier: GPL-2.0-only
/*
 * A device mapper target for tests: fails the n-th I/O.
 *
 *	<device>
 *
 * Messages:
 *
 *	arm read|write|flush|all <n> eio|enospc once|on lost|done
 *		The n-th I/O of that class, from now on, fails; with "on" all that
 *		come later, too. If it is "done" the device gets it nevertheless.
 *	disarm
 *
 * Writes of zeroes and discards are writes; both are offered if the device can
 * discard, and reads as zeroes after that. The status has the numbers of reads,
 * writes and flushes since it was armed, how many I/Os have failed, the sector of the
 * first one of them, whether that was "meta" or "data", and "fua", or "-".
 */

#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/device-mapper.h>
#include <linux/module.h>
#include <linux/spinlock.h>

#define DM_MSG_PREFIX "fault"

enum fault_class {
	FAULT_READ,
	FAULT_WRITE,
	FAULT_FLUSH,
	FAULT_CLASSES,
	FAULT_ALL = FAULT_CLASSES,
	FAULT_NONE,
};

static const char * const class_names[] = {
	[FAULT_READ] = "read",
	[FAULT_WRITE] = "write",
	[FAULT_FLUSH] = "flush",
	[FAULT_ALL] = "all",
};

struct fault {
	struct dm_dev *dev;
	spinlock_t lock;		/* protects all that follows */
	enum fault_class class;
	unsigned int nth;
	blk_status_t status;
	bool on, done;
	unsigned int count[FAULT_CLASSES];
	unsigned int seen;		/* of the class that is armed */
	unsigned int hits;
	sector_t sector;		/* of the first hit */
	bool meta;
	bool fua;
};

struct fault_io {
	blk_status_t status;		/* to end with */
};

static enum fault_class fault_classify(struct bio *bio)
{
	if (bio->bi_opf & REQ_PREFLUSH)
		return FAULT_FLUSH;
	return op_is_write(bio_op(bio)) ? FAULT_WRITE : FAULT_READ;
}

/* Returns what the I/O has to fail with; sets @lost if nobody is to see it. */
static blk_status_t fault_decide(struct fault *fault, struct bio *bio,
				 bool *lost)
{
	enum fault_class class = fault_classify(bio);
	blk_status_t status = BLK_STS_OK;
	unsigned long flags;

	spin_lock_irqsave(&fault->lock, flags);
	fault->count[class]++;
	if (fault->class == class || fault->class == FAULT_ALL) {
		fault->seen++;
		if (fault->seen == fault->nth ||
		    (fault->on && fault->seen > fault->nth)) {
			if (!fault->hits++) {
				fault->sector = bio->bi_iter.bi_sector;
				fault->meta = bio->bi_opf & REQ_META;
				fault->fua = bio->bi_opf & REQ_FUA;
			}
			status = fault->status;
			*lost = !fault->done;
		}
	}
	spin_unlock_irqrestore(&fault->lock, flags);
	return status;
}

static int fault_map(struct dm_target *ti, struct bio *bio)
{
	struct fault_io *io = dm_per_bio_data(bio, sizeof(*io));
	struct fault *fault = ti->private;
	bool lost = false;

	io->status = fault_decide(fault, bio, &lost);
	if (lost) {
		bio->bi_status = io->status;
		bio_endio(bio);
		return DM_MAPIO_SUBMITTED;
	}
	bio_set_dev(bio, fault->dev->bdev);
	if (bio_op(bio) == REQ_OP_WRITE_ZEROES)
		bio->bi_opf = (bio->bi_opf & ~(REQ_OP_MASK | REQ_NOUNMAP)) |
			      REQ_OP_DISCARD;
	return DM_MAPIO_REMAPPED;
}

static int fault_end_io(struct dm_target *ti, struct bio *bio,
			blk_status_t *error)
{
	struct fault_io *io = dm_per_bio_data(bio, sizeof(*io));

	if (io->status)
		*error = io->status;
	return DM_ENDIO_DONE;
}

static int fault_arm(struct fault *fault, unsigned int argc, char **argv)
{
	int class = match_string(class_names, ARRAY_SIZE(class_names), argv[1]);
	unsigned int nth;

	if (argc != 6 || class < 0 || kstrtouint(argv[2], 10, &nth))
		return -EINVAL;

	spin_lock_irq(&fault->lock);
	fault->class = class;
	fault->nth = nth;
	fault->status = strcmp(argv[3], "enospc") ? BLK_STS_IOERR :
						    BLK_STS_NOSPC;
	fault->on = !strcmp(argv[4], "on");
	fault->done = !strcmp(argv[5], "done");
	memset(fault->count, 0, sizeof(fault->count));
	fault->seen = 0;
	fault->hits = 0;
	fault->sector = 0;
	fault->meta = false;
	fault->fua = false;
	spin_unlock_irq(&fault->lock);
	return 0;
}

static int fault_message(struct dm_target *ti, unsigned int argc, char **argv,
			 char *result, unsigned int maxlen)
{
	struct fault *fault = ti->private;

	if (argc > 1 && !strcmp(argv[0], "arm"))
		return fault_arm(fault, argc, argv);
	if (argc != 1 || strcmp(argv[0], "disarm"))
		return -EINVAL;

	spin_lock_irq(&fault->lock);
	fault->class = FAULT_NONE;
	spin_unlock_irq(&fault->lock);
	return 0;
}

static void fault_status(struct dm_target *ti, status_type_t type,
			 unsigned int status_flags, char *result,
			 unsigned int maxlen)
{
	struct fault *fault = ti->private;
	unsigned int sz = 0;

	if (type == STATUSTYPE_INFO)
		DMEMIT("%u %u %u %u %llu %s %s", fault->count[FAULT_READ],
		       fault->count[FAULT_WRITE], fault->count[FAULT_FLUSH],
		       fault->hits, (unsigned long long)fault->sector,
		       fault->meta ? "meta" : "data", fault->fua ? "fua" : "-");
	else if (type == STATUSTYPE_TABLE)
		DMEMIT("%s", fault->dev->name);
}

static int fault_ctr(struct dm_target *ti, unsigned int argc, char **argv)
{
	struct fault *fault;
	int r;

	if (argc != 1) {
		ti->error = "Invalid argument count";
		return -EINVAL;
	}
	fault = kzalloc(sizeof(*fault), GFP_KERNEL);
	if (!fault)
		return -ENOMEM;
	spin_lock_init(&fault->lock);
	fault->class = FAULT_NONE;
	r = dm_get_device(ti, argv[0], dm_table_get_mode(ti->table),
			  &fault->dev);
	if (r) {
		ti->error = "Cannot open the device";
		kfree(fault);
		return r;
	}

	/* Flushes are to be seen here, whatever the device has */
	ti->flush_supported = true;
	ti->num_flush_bios = 1;
	ti->num_discard_bios = 1;
	ti->num_write_zeroes_bios = 1;
	/* Device mapper wants the device to have it, which never gets any. */
	bdev_get_queue(fault->dev->bdev)->limits.max_write_zeroes_sectors =
		bdev_max_discard_sectors(fault->dev->bdev);
	ti->per_io_data_size = sizeof(struct fault_io);
	ti->private = fault;
	return 0;
}

static void fault_dtr(struct dm_target *ti)
{
	struct fault *fault = ti->private;

	dm_put_device(ti, fault->dev);
	kfree(fault);
}

static int fault_iterate_devices(struct dm_target *ti,
				 iterate_devices_callout_fn fn, void *data)
{
	struct fault *fault = ti->private;

	return fn(ti, fault->dev, 0, ti->len, data);
}

static struct target_type fault_target = {
	.name = "fault",
	.version = {1, 0, 0},
	.module = THIS_MODULE,
	.ctr = fault_ctr,
	.dtr = fault_dtr,
	.map = fault_map,
	.end_io = fault_end_io,
	.message = fault_message,
	.status = fault_status,
	.iterate_devices = fault_iterate_devices,
};

static int __init fault_init(void)
{
	return dm_register_target(&fault_target);
}

static void __exit fault_exit(void)
{
	dm_unregister_target(&fault_target);
}

module_init(fault_init);
module_exit(fault_exit);

MODULE_DESCRIPTION("Failing I/O for the tests of dm-qed");
MODULE_LICENSE("GPL");
