// SPDX-License-Identifier: GPL-2.0-only
/*
 * Status and messages, see dm-qed-status.h and the documentation of the target.
 */

#include <linux/device-mapper.h>
#include <linux/kstrtox.h>
#include <linux/string.h>

#include "dm-qed-below.h"
#include "dm-qed-copy.h"
#include "dm-qed-mode.h"
#include "dm-qed-status.h"

#define DM_MSG_PREFIX "qed"

/*----------------------------------------------------------------
 * Status
 *----------------------------------------------------------------
 */

static void status_count(char *result, unsigned int maxlen, unsigned int *pos,
			 bool known, u64 count, u64 of)
{
	unsigned int sz = *pos;

	if (known)
		DMEMIT(" %llu/%llu", count, of);
	else
		DMEMIT(" -/%llu", of);
	*pos = sz;
}

static void status_space(struct qed *qed, const struct qed_meta_stats *stats,
			 char *result, unsigned int maxlen, unsigned int *pos)
{
	unsigned int sz = *pos;

	if (stats->known)
		DMEMIT(" %llu/%llu/%llu", stats->free, stats->zero,
		       stats->reclaiming);
	else
		DMEMIT(" -");
	DMEMIT(" %u", READ_ONCE(qed->nr_nospace));
	if (stats->trimming)
		DMEMIT(" %llu/%llu", stats->trimmed, stats->trim_end);
	else
		DMEMIT(" -");
	switch (stats->check) {
	case QED_CHECK_NONE:
		DMEMIT(" -");
		break;
	case QED_CHECK_RUNNING:
		DMEMIT(" %llu/%llu", stats->checked, stats->blocks);
		break;
	case QED_CHECK_DONE:
		DMEMIT(" %llu,%llu", stats->leaks, stats->defects);
		break;
	}
	if (stats->scanning)
		DMEMIT(" %llu/%llu", stats->scanned, stats->blocks);
	else
		DMEMIT(" -");
	DMEMIT(" %llu", stats->ahead);
	*pos = sz;
}

/* How deep it goes, what has been copied from there, and read. */
static void status_below(struct qed *qed, char *result, unsigned int maxlen,
			 unsigned int *pos)
{
	unsigned int sz = *pos;

	if (qed_has_below(qed))
		DMEMIT(" %u/%llu/%llu", qed->nr_layers + !!qed->backing,
		       qed_copies_nr(qed->copies), qed_reads_below(qed));
	else
		DMEMIT(" -");
	*pos = sz;
}

/*
 * <cluster size in sectors> <used>/<total clusters of the device>
 * <mapped>/<virtual clusters> <cached KiB>/<limit KiB> <dirty blocks>
 * <allocations in flight> <commits> <mode> <needs_check|->
 * <free>/<zeroed>/<reclaiming clusters> <queued bios> <trim> <check> <scan>
 * <clusters zeroed ahead> <devices below>/<clusters copied from there>/<reads there>
 */
static void status_info(struct qed *qed, char *result, unsigned int maxlen)
{
	struct qed_meta_stats stats;
	unsigned int sz = 0;

	qed_meta_get_stats(qed->meta, &stats);
	DMEMIT("%u", 1U << qed_meta_cluster_bits(qed->meta));
	status_count(result, maxlen, &sz, stats.known, stats.used, stats.total);
	status_count(result, maxlen, &sz, stats.known, stats.mapped,
		     stats.virtual);
	DMEMIT(" %llu/%llu %llu %llu %llu %s %s", stats.cached_kib,
	       stats.cache_limit_kib, stats.dirty_blocks, stats.changes,
	       stats.commits, qed_mode_name(get_mode(qed)),
	       stats.needs_check ? "needs_check" : "-");
	status_space(qed, &stats, result, maxlen, &sz);
	status_below(qed, result, maxlen, &sz);
}

/* zeroed_from and takeover are left out: they were true once, before the image was used. */
static void status_table(struct qed *qed, char *result, unsigned int maxlen)
{
	const struct qed_features *f = &qed->features;
	bool commit = f->commit_ms != QED_DEFAULT_COMMIT_MS;
	/* With what a header does not ask for any more the line could not be loaded again. */
	bool raw;
	unsigned int nr_layers = qed_below_linked(qed, &raw), sz = 0, i;
	unsigned int nr = f->read_only + f->error_if_no_space +
			  f->ignore_discard + f->no_discard_passdown +
			  f->known_zeroes +
			  2 * !!f->cache_kib + 2 * commit + 2 * !!f->low_water +
			  2 * !!f->zero_ahead + 2 * f->named +
			  2 * nr_layers + 2 * raw;

	DMEMIT("%s", qed->dev->name);
	if (nr)
		DMEMIT(" %u", nr);
	for (i = 0; i < nr_layers; i++)
		DMEMIT(" layer %s", qed->layers[i].dev->name);
	if (raw)
		DMEMIT(" backing %s", qed->backing->name);
	if (f->read_only)
		DMEMIT(" read_only");
	if (f->cache_kib)
		DMEMIT(" cache_kib %u", f->cache_kib);
	if (commit)
		DMEMIT(" commit_interval %u", f->commit_ms);
	if (f->error_if_no_space)
		DMEMIT(" error_if_no_space");
	if (f->low_water)
		DMEMIT(" low_water %llu", f->low_water);
	if (f->ignore_discard)
		DMEMIT(" ignore_discard");
	if (f->no_discard_passdown)
		DMEMIT(" no_discard_passdown");
	if (f->known_zeroes)
		DMEMIT(" known_zeroes");
	if (f->zero_ahead)
		DMEMIT(" zero_ahead %llu", f->zero_ahead);
	if (f->named)
		DMEMIT(" host %s", f->host);
}

static void status_ima(struct qed *qed, char *result, unsigned int maxlen)
{
	const struct qed_features *f = &qed->features;
	unsigned int sz = 0, i;

	DMEMIT_TARGET_NAME_VERSION(qed->ti->type);
	DMEMIT(",image_device_name=%s,cluster_sectors=%u,image_sectors=%llu",
	       qed->dev->name, 1U << qed_meta_cluster_bits(qed->meta),
	       (unsigned long long)qed_meta_guest_sectors(qed->meta));
	DMEMIT(",read_only=%c,cache_kib=%u,commit_interval=%u",
	       f->read_only ? 'y' : 'n', f->cache_kib, f->commit_ms);
	DMEMIT(",error_if_no_space=%c,low_water=%llu,ignore_discard=%c",
	       f->error_if_no_space ? 'y' : 'n', f->low_water,
	       f->ignore_discard ? 'y' : 'n');
	DMEMIT(",no_discard_passdown=%c,known_zeroes=%c,zero_ahead=%llu,host=%s",
	       f->no_discard_passdown ? 'y' : 'n', f->known_zeroes ? 'y' : 'n',
	       f->zero_ahead, f->host);
	DMEMIT(",layer_device_names=%s", qed->nr_layers ? "" : "-");
	for (i = 0; i < qed->nr_layers; i++)
		DMEMIT("%s%s", i ? "/" : "", qed->layers[i].dev->name);
	DMEMIT(",backing_device_name=%s;",
	       qed->backing ? qed->backing->name : "-");
}

void qed_status(struct dm_target *ti, status_type_t type,
		unsigned int status_flags, char *result,
		unsigned int maxlen)
{
	struct qed *qed = ti->private;

	switch (type) {
	case STATUSTYPE_INFO:
		status_info(qed, result, maxlen);
		break;
	case STATUSTYPE_TABLE:
		status_table(qed, result, maxlen);
		break;
	case STATUSTYPE_IMA:
		status_ima(qed, result, maxlen);
		break;
	}
}

/*----------------------------------------------------------------
 * Messages
 *----------------------------------------------------------------
 */

/* Make everything durable that has been completed. */
static int message_commit(struct qed *qed)
{
	int r = qed_meta_commit(qed->meta, true);

	if (r == -ENOSPC) {
		qed_set_mode(qed, QED_MODE_OUT_OF_SPACE, false);
		/* The way back is that of do_commit(), which is to find the same. */
		mod_delayed_work(qed->commit_wq, &qed->commit_work, 0);
	}
	/* It is the guest's flush that tells, too. */
	return READ_ONCE(qed->lost) ? -EIO : r;
}

static int message_resize(struct qed *qed, const char *arg)
{
	u64 sectors;

	if (kstrtou64(arg, 10, &sectors)) {
		DMWARN("%s: resize needs a number of sectors, not %s",
		       qed_name(qed), arg);
		return -EINVAL;
	}
	/* What is behind the size of the image would come to light. */
	if (qed_below_is_longer(qed)) {
		DMWARN("%s: cannot resize: the backing device is longer than the image",
		       qed_name(qed));
		return -EOPNOTSUPP;
	}
	return qed_meta_resize(qed->meta, sectors);
}

static int message_trim(struct qed *qed)
{
	int r = qed_meta_trim(qed->meta);

	/* NEED_CHECK is set now, and nobody else may come to have it cleared. */
	if (!r)
		qed_want_idle(qed);
	return r;
}

/* Fails if there is no memory for a larger map. */
static int message_grow(struct qed *qed)
{
	int r = qed_grow(qed);

	return r < 0 ? r : 0;
}

/* Returns 1 if there is no such message. Caller holds life_mutex. */
static int do_message(struct qed *qed, unsigned int argc, char **argv)
{
	int r = qed_meta_state(qed->meta);

	/* Nothing is left to commit while the device is suspended. */
	if (argc == 1 && !strcasecmp(argv[0], "commit"))
		return r ? (r == -ENODATA ? 0 : r) : message_commit(qed);
	if (argc == 1 && !strcasecmp(argv[0], "trim"))
		return r ? r : message_trim(qed);
	if (argc == 1 && !strcasecmp(argv[0], "grow"))
		return r ? r : message_grow(qed);
	if (argc == 1 && !strcasecmp(argv[0], "check"))
		return r ? r : qed_meta_check(qed->meta);
	if (argc == 2 && !strcasecmp(argv[0], "resize"))
		return r ? r : message_resize(qed, argv[1]);
	return 1;
}

int qed_message(struct dm_target *ti, unsigned int argc, char **argv,
		char *result, unsigned int maxlen)
{
	struct qed *qed = ti->private;
	int r;

	mutex_lock(&qed->life_mutex);
	r = do_message(qed, argc, argv);
	mutex_unlock(&qed->life_mutex);
	if (r <= 0)
		return r;

	DMWARN("%s: unrecognised message %s", qed_name(qed), argv[0]);
	return -EINVAL;
}
