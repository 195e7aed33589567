// SPDX-License-Identifier: GPL-2.0-only
/*
 * A device mapper target for tests: records all that changes a disk and passes it.
 *
 *	<device> lower|upper [zeroes] [discard]
 *
 * dm-qed is between two of them. Both append to one trace, see trace.h, so it
 * has one order for what happened below and above. The lower one offers to write
 * zeroes, or to discard, if it is told to: its device has to read as zeroes what was
 * discarded. Parameters of the module let it hold back some writes of data, so
 * that they are in flight for long. /dev/crash-record reads as the trace; what is
 * written there begins with one of these characters:
 *
 *	0	begin an empty trace
 *	F	a flush of the upper disk begins, by other means than a bio
 *	f	and has been successful
 *	R<n>	a change of the size of the upper disk begins, to n sectors
 *	r	and has been successful
 */

#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/bvec.h>
#include <linux/device-mapper.h>
#include <linux/fs.h>
#include <linux/kstrtox.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>

#include "trace.h"

#define DM_MSG_PREFIX "crash-record"

struct recorder {
	struct dm_dev *dev;
	enum trace_disk disk;
	bool zeroes;		/* offer to write them */
	bool discard;
};

/* Per bio: what to record at its end, if @event.id, and to submit it later */
struct recorded {
	struct trace_event event;
	struct bio *bio;
	struct delayed_work work;
};

static unsigned int trace_mib = 256;
module_param(trace_mib, uint, 0444);
MODULE_PARM_DESC(trace_mib, "Memory for the trace");

static unsigned int delay_every;
module_param(delay_every, uint, 0644);
MODULE_PARM_DESC(delay_every, "Hold back every n-th write of data below; 0: none");

static unsigned int delay_ms = 50;
module_param(delay_ms, uint, 0644);
MODULE_PARM_DESC(delay_ms, "For so long");

static atomic_t nr_data_writes;

static DEFINE_SPINLOCK(trace_lock);
static void *trace;
static size_t trace_len;
static u32 trace_id;
static bool trace_full;
static u32 external_flush, external_resize;

/* Returns where the data goes; NULL if there is no room. */
static void *append(struct trace_event *event, size_t data_len)
{
	size_t len = sizeof(*event) + data_len;
	unsigned long flags;
	void *data = NULL;

	spin_lock_irqsave(&trace_lock, flags);
	if (!event->id)
		event->id = ++trace_id;
	if (len > ((size_t)trace_mib << 20) - trace_len) {
		trace_full = true;
	} else {
		memcpy(trace + trace_len, event, sizeof(*event));
		data = trace + trace_len + sizeof(*event);
		trace_len += len;
	}
	spin_unlock_irqrestore(&trace_lock, flags);
	return data;
}

static void record_write(struct trace_event *event, struct bio *bio)
{
	struct bvec_iter iter;
	struct bio_vec vec;
	void *data;

	event->type = TRACE_WRITE;
	event->sector = bio->bi_iter.bi_sector;
	event->nr = bio_sectors(bio);
	if (bio->bi_opf & REQ_FUA)
		event->flags |= TRACE_FUA;
	if (bio_op(bio) == REQ_OP_WRITE_ZEROES ||
	    bio_op(bio) == REQ_OP_DISCARD) {
		event->flags |= bio_op(bio) == REQ_OP_DISCARD ? TRACE_DISCARD :
								TRACE_ZEROES;
		append(event, 0);
		return;
	}

	data = append(event, bio->bi_iter.bi_size);
	if (!data)
		return;
	bio_for_each_segment(vec, bio, iter) {
		memcpy_from_bvec(data, &vec);
		data += vec.bv_len;
	}
}

static void submit_delayed(struct work_struct *work)
{
	struct recorded *recorded = container_of(to_delayed_work(work),
						 struct recorded, work);

	submit_bio_noacct(recorded->bio);
}

/* Metadata is written by commits, which would only stop everything. */
static bool is_held_back(struct recorder *rec, struct bio *bio)
{
	unsigned int every = READ_ONCE(delay_every);

	if (rec->disk != TRACE_LOWER || !every || bio_op(bio) != REQ_OP_WRITE ||
	    bio->bi_opf & (REQ_META | REQ_PREFLUSH))
		return false;
	return atomic_inc_return(&nr_data_writes) % every == 0;
}

static int record_map(struct dm_target *ti, struct bio *bio)
{
	struct recorded *recorded = dm_per_bio_data(bio, sizeof(*recorded));
	struct recorder *rec = ti->private;

	recorded->event = (struct trace_event){ .disk = rec->disk };
	if (bio->bi_opf & REQ_PREFLUSH) {
		recorded->event.type = TRACE_FLUSH;
		append(&recorded->event, 0);
	} else if (op_is_write(bio_op(bio))) {
		record_write(&recorded->event, bio);
	}
	bio_set_dev(bio, rec->dev->bdev);
	if (rec->disk == TRACE_LOWER && bio_op(bio) == REQ_OP_WRITE_ZEROES)
		bio->bi_opf = (bio->bi_opf & ~(REQ_OP_MASK | REQ_NOUNMAP)) |
			      REQ_OP_DISCARD;
	if (is_held_back(rec, bio)) {
		recorded->bio = bio;
		INIT_DELAYED_WORK(&recorded->work, submit_delayed);
		schedule_delayed_work(&recorded->work,
				      msecs_to_jiffies(READ_ONCE(delay_ms)));
		return DM_MAPIO_SUBMITTED;
	}
	return DM_MAPIO_REMAPPED;
}

static int record_end_io(struct dm_target *ti, struct bio *bio,
			 blk_status_t *error)
{
	struct recorded *recorded = dm_per_bio_data(bio, sizeof(*recorded));
	struct trace_event *event = &recorded->event;

	if (event->id) {
		event->type = event->type == TRACE_FLUSH ? TRACE_FLUSH_DONE :
							   TRACE_WRITE_DONE;
		event->flags = *error ? TRACE_ERROR : 0;
		append(event, 0);
	}
	return DM_ENDIO_DONE;
}

static int record_ctr(struct dm_target *ti, unsigned int argc, char **argv)
{
	struct recorder *rec;
	unsigned int i;
	int r;

	if (argc < 2) {
		ti->error = "Invalid argument count";
		return -EINVAL;
	}
	rec = kzalloc(sizeof(*rec), GFP_KERNEL);
	if (!rec)
		return -ENOMEM;
	rec->disk = strcmp(argv[1], "upper") ? TRACE_LOWER : TRACE_UPPER;
	for (i = 2; i < argc; i++) {
		rec->zeroes |= !strcmp(argv[i], "zeroes");
		rec->discard |= !strcmp(argv[i], "discard");
	}
	r = dm_get_device(ti, argv[0], dm_table_get_mode(ti->table), &rec->dev);
	if (r) {
		ti->error = "Cannot open the device";
		kfree(rec);
		return r;
	}

	/* With a write cache, and FUA, whatever the device has */
	ti->flush_supported = true;
	ti->num_flush_bios = 1;
	ti->num_discard_bios = rec->disk == TRACE_UPPER || rec->discard;
	ti->num_write_zeroes_bios = 1;
	/*
	 * Device mapper wants the device below to have what the target does. It never
	 * gets any, see record_map().
	 */
	if (rec->disk == TRACE_LOWER)
		bdev_get_queue(rec->dev->bdev)->limits.max_write_zeroes_sectors =
			rec->zeroes ? bdev_max_discard_sectors(rec->dev->bdev) :
				      0;
	ti->per_io_data_size = sizeof(struct recorded);
	ti->private = rec;
	return 0;
}

static void record_dtr(struct dm_target *ti)
{
	struct recorder *rec = ti->private;

	dm_put_device(ti, rec->dev);
	kfree(rec);
}

static int record_iterate_devices(struct dm_target *ti,
				  iterate_devices_callout_fn fn, void *data)
{
	struct recorder *rec = ti->private;

	return fn(ti, rec->dev, 0, ti->len, data);
}

static struct target_type record_target = {
	.name = "crash-record",
	.version = {1, 0, 0},
	.module = THIS_MODULE,
	.ctr = record_ctr,
	.dtr = record_dtr,
	.map = record_map,
	.end_io = record_end_io,
	.iterate_devices = record_iterate_devices,
};

static void clear_trace(void)
{
	spin_lock_irq(&trace_lock);
	trace_len = 0;
	trace_id = 0;
	trace_full = false;
	spin_unlock_irq(&trace_lock);
}

static ssize_t trace_write(struct file *file, const char __user *buf,
			   size_t len, loff_t *pos)
{
	struct trace_event event = { .disk = TRACE_UPPER };
	char text[24] = "";
	int r;

	if (len >= sizeof(text))
		return -EINVAL;
	if (copy_from_user(text, buf, len))
		return -EFAULT;
	switch (text[0]) {
	case '0':
		clear_trace();
		return 1;
	case 'F':
		event.type = TRACE_FLUSH;
		append(&event, 0);
		external_flush = event.id;
		return 1;
	case 'f':
		event.type = TRACE_FLUSH_DONE;
		event.id = external_flush;
		append(&event, 0);
		return 1;
	case 'R':
		event.type = TRACE_RESIZE;
		r = kstrtou64(text + 1, 10, &event.sector);
		if (r)
			return r;
		append(&event, 0);
		external_resize = event.id;
		return len;
	case 'r':
		event.type = TRACE_RESIZE_DONE;
		event.id = external_resize;
		append(&event, 0);
		return 1;
	case 'x':
		event.type = TRACE_LOST;
		append(&event, 0);
		return 1;
	default:
		return -EINVAL;
	}
}

static ssize_t trace_read(struct file *file, char __user *buf, size_t len,
			  loff_t *pos)
{
	if (trace_full)
		return -EFBIG;
	return simple_read_from_buffer(buf, len, pos, trace, trace_len);
}

static const struct file_operations trace_fops = {
	.owner = THIS_MODULE,
	.read = trace_read,
	.write = trace_write,
};

static struct miscdevice trace_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "crash-record",
	.fops = &trace_fops,
};

static int __init record_init(void)
{
	int r;

	trace = vmalloc((size_t)trace_mib << 20);
	if (!trace)
		return -ENOMEM;
	r = misc_register(&trace_device);
	if (r)
		goto bad_misc;
	r = dm_register_target(&record_target);
	if (r)
		goto bad_target;
	return 0;

bad_target:
	misc_deregister(&trace_device);
bad_misc:
	vfree(trace);
	return r;
}

static void __exit record_exit(void)
{
	dm_unregister_target(&record_target);
	misc_deregister(&trace_device);
	vfree(trace);
}

module_init(record_init);
module_exit(record_exit);

MODULE_DESCRIPTION("Recorder of writes for the tests of dm-qed");
MODULE_LICENSE("GPL");
