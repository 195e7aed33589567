// SPDX-License-Identifier: GPL-2.0-only
/*
 * qed-fsck - check and repair a QED image, see qed-fsck(8)
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arguments.h"
#include "chain.h"
#include "descriptors.h"
#include "fsck.h"
#include "geometry.h"
#include "header.h"
#include "host.h"
#include "open.h"
#include "report.h"
#include "undo-apply.h"
#include "undo.h"

/* What dm-qed counts in, in bytes */
#define SECTOR		512

/* Set by signals */
static int stop;

static void on_signal(int number)
{
	(void)number;
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
}

static void catch_signals(void)
{
	/* without SA_RESTART: a question is interrupted, too */
	struct sigaction action = { .sa_handler = on_signal }, before;

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	/* not under nohup(1) */
	if (!sigaction(SIGHUP, NULL, &before) && before.sa_handler != SIG_IGN)
		sigaction(SIGHUP, &action, NULL);
	/* a limit of the file size is an error like others */
	signal(SIGXFSZ, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
}

/*----------------------------------------------------------------
 * Work
 *----------------------------------------------------------------
 */

/* Of a run that has failed only what is durable counts */
static bool has_repaired(int error, const struct qed_image *img,
			 const struct qed_fsck_result *result)
{
	enum qed_code code;

	for (code = 0; error && code < QED_CODES; code++)
		if (result->fixed[code])
			return true;
	return img->modified && (!error || result->moved);
}

static int exit_status(int error, const struct qed_image *img, const struct qed_fsck_result *result)
{
	int status = 0;

	if (has_repaired(error, img, result))
		status |= EXIT_REPAIRED;
	if (qed_fsck_left(result, QED_DAMAGE) || qed_fsck_left(result, QED_WASTE))
		status |= EXIT_LEFT;
	if (qed_fsck_left(result, QED_ERROR) || (error && error != -EINTR))
		status |= EXIT_OPERATION;
	if (error == -EINTR)
		status |= EXIT_CANCELLED;
	return status;
}

static enum qed_mode fsck_mode(const struct arguments *args)
{
	switch (args->mode) {
	case 'n':
		return QED_MODE_CHECK;
	case 'p':
		return QED_MODE_PREEN;
	case 'y':
		return QED_MODE_REPAIR;
	default:
		return QED_MODE_ASK;
	}
}

static int check(const struct arguments *args, struct qed_reporter *reporter, struct qed_image *img)
{
	struct qed_fsck_options options = {
		.mode = fsck_mode(args),
		.always = args->always || args->compact || args->discard || args->stats,
		.takeover = args->takeover,
		.compact = args->compact,
		.discard = args->discard,
		.new_header = args->has_geometry,
		.orphans = args->orphans,
		.cut = args->cut,
		.nr_places = args->nr_places,
		.threads = args->threads,
		.report = qed_report_finding,
		.ask = qed_report_ask,
		.ctx = reporter,
		.progress.show = qed_report_progress,
		.progress.ctx = reporter,
	};
	static const char no_device[] =
		"--discard is for block devices: what is free in a file is a hole already";
	struct qed_fsck_result result;
	char error[640] = "";
	int r, r2, status;
	bool undo_failed, cannot_read;

	memcpy(options.places, args->places, sizeof(options.places));
	r = qed_fsck(img, &options, &result);
	if (r == -EINTR)
		snprintf(error, sizeof(error), "stopped");
	else if (r)
		snprintf(error, sizeof(error), "%s: %s", result.what ? result.what : "failed",
			 strerror(-r));
	undo_failed = qed_undo_error(img->undo);
	cannot_read = qed_undo_was_reading(img->undo);
	r2 = qed_undo_finish(img->undo, img);
	img->undo = NULL;
	if (undo_failed || (r2 && !r)) {
		r = r2;
		snprintf(error, sizeof(error), "undo file %.512s: %s%s", args->undo,
			 cannot_read ? "the image cannot be read: " : "", strerror(-r));
	}
	if (args->discard && !img->is_block)
		reporter->note = no_device;
	status = exit_status(r, img, &result);
	qed_report_end(reporter, &result, *error ? error : NULL, status);
	return status;
}

static int fail(struct qed_reporter *reporter, const char *error)
{
	qed_report_failure(reporter, error, EXIT_OPERATION);
	return EXIT_OPERATION;
}

static int apply_undo(const struct arguments *args, struct qed_reporter *reporter,
		      struct qed_image *img)
{
	const char *what = "";
	char error[1024];
	int r = qed_undo_apply(args->undo_apply, img, args->force, &what), status;

	if (!r) {
		status = img->modified ? EXIT_REPAIRED : 0;
		qed_report_undone(reporter, args->undo_apply, status);
		return status;
	}
	if (r == -EUCLEAN || r == -ESTALE)
		snprintf(error, sizeof(error), "undo file %.512s: %s", args->undo_apply, what);
	else
		snprintf(error, sizeof(error), "undo file %.512s: %s: %s", args->undo_apply, what,
			 strerror(-r));
	return fail(reporter, error);
}

/*
 * Does the record say that another host has the image? Nothing else tells. Of this one it may
 * be that of a crash, and that somebody has the device is seen when it is opened.
 */
static int check_owner(const struct arguments *args, struct qed_reporter *reporter,
		       struct qed_image *img)
{
	char error[256], owner[2 * QED_OWNER_SIZE + 1];
	struct qed_record record;
	unsigned int i;
	int r;

	if (args->mode == 'n' || args->takeover)
		return 0;
	r = qed_record_owner(img, &record);
	if (!r && (!record.active || qed_is_this_host(record.host)))
		return 0;
	for (i = 0; i < QED_OWNER_SIZE; i++)
		sprintf(owner + 2 * i, "%02x", record.owner[i]);
	if (r)
		snprintf(error, sizeof(error), "cannot read the header: %s", strerror(-r));
	else
		snprintf(error, sizeof(error),
			 "is in use by host %s, owner %s: --takeover if that writes no more",
			 record.host, owner);
	return fail(reporter, error);
}

/* Does something that is printed go into this file? Then no more of it does. */
static bool prints_into(const struct arguments *args, int file)
{
	int fds[] = { STDOUT_FILENO, STDERR_FILENO, args->progress_fd };
	bool found = false;
	unsigned int i;
	int null;

	for (i = 0; i < ARRAY_SIZE(fds); i++) {
		if (fds[i] < 0 || !qed_is_same_file(fds[i], file))
			continue;
		found = true;
		null = open("/dev/null", O_RDWR | O_CLOEXEC);
		if (null < 0 || dup2(null, fds[i]) < 0)
			_exit(EXIT_OPERATION);
		close(null);
	}
	return found;
}

/* The same of the undo file to be applied, if there is one */
static bool prints_into_undo(const struct arguments *args)
{
	int fd = args->undo_apply ? open(args->undo_apply, O_PATH | O_CLOEXEC) : -1;
	bool found = fd >= 0 && prints_into(args, fd);

	if (fd >= 0)
		close(fd);
	return found;
}

static int search_geometry(struct qed_reporter *reporter, struct qed_image *img)
{
	struct qed_proposal proposals[QED_MAX_PROPOSALS];
	unsigned int nr;
	char error[256];
	int r = qed_geometry_search(img, proposals, &nr);

	if (r) {
		snprintf(error, sizeof(error), "cannot be searched: %s", strerror(-r));
		return fail(reporter, error);
	}
	if (!nr)
		return fail(reporter, "no tables were found");
	qed_report_proposals(reporter, proposals, nr);
	return 0;
}

static int use_geometry(const struct arguments *args, struct qed_reporter *reporter,
			struct qed_image *img)
{
	struct qed_geometry geometry = args->geometry;
	char error[256];
	int r = qed_geometry_apply(&geometry, img);

	if (!r)
		return 0;
	snprintf(error, sizeof(error), "--geometry: %s",
		 r == -EEXIST ? "has a legal header" : strerror(-r));
	return fail(reporter, error);
}

static int work_on(const struct arguments *args, struct qed_reporter *reporter,
		   struct qed_image *img)
{
	const char *why;
	char error[1024];
	int r;

	if (prints_into(args, img->fd))
		return fail(reporter, "is where the output goes");
	if (prints_into_undo(args))
		return fail(reporter, "the undo file is where the output goes");
	r = check_owner(args, reporter, img);
	if (r)
		return r;
	/* an undo file can be what an image lacks to be one */
	if (args->undo_apply)
		return apply_undo(args, reporter, img);
	if (args->search)
		return search_geometry(reporter, img);
	if (!args->has_geometry && !qed_header_is_qed(img, &why))
		return fail(reporter, why);
	if (args->direct) {
		r = qed_image_direct(img);
		if (r) {
			snprintf(error, sizeof(error), "--direct: %s", strerror(-r));
			return fail(reporter, error);
		}
	}
	if (args->undo) {
		r = qed_undo_create(&img->undo, args->undo, img);
		if (r) {
			snprintf(error, sizeof(error), "undo file %.512s: %s", args->undo,
				 strerror(-r));
			return fail(reporter, error);
		}
	}
	/* an undo file knows what is on the disk */
	if (args->has_geometry) {
		r = use_geometry(args, reporter, img);
		if (r) {
			qed_undo_finish(img->undo, img);
			return r;
		}
	}
	return check(args, reporter, img);
}

/*----------------------------------------------------------------
 * Backing files
 *----------------------------------------------------------------
 */

/* What there is to say of its size; NULL if that is nothing, or there is no memory */
static char *compare_size(const struct qed_image *above, u64 size)
{
	u64 image_size = above->image_size;
	char *text = NULL;
	int r = 0;

	if (size < image_size)
		r = asprintf(&text,
			     "shorter than the image above by %llu bytes, which read as zeroes",
			     image_size - size);
	else if (size > image_size)
		r = asprintf(&text,
			     "longer than the image above by %llu bytes, which do not show",
			     size - image_size);
	return r < 0 ? NULL : text;
}

static int check_raw(struct qed_reporter *reporter, const struct qed_chain *chain)
{
	const struct qed_image *img = chain->images[chain->nr - 1];
	int status = img->size % SECTOR ? EXIT_LEFT : 0;
	char *note = compare_size(chain->images[chain->nr - 2], img->size);

	reporter->note = status ? "its size is not a multiple of 512: dm-qed refuses it" : note;
	qed_report_raw(reporter, status);
	reporter->note = NULL;
	free(note);
	return status;
}

static int check_layer(const struct arguments *args, struct qed_reporter *reporter,
		       const struct qed_chain *chain)
{
	struct qed_image *img = chain->images[chain->nr - 1];
	char *note;
	int status;

	if (prints_into(args, img->fd))
		return fail(reporter, "is where the output goes");
	img->stop = &stop;
	if (chain->is_raw)
		return check_raw(reporter, chain);
	note = compare_size(chain->images[chain->nr - 2], le64toh(img->header.image_size));
	reporter->note = note;
	status = check(args, reporter, img);
	free(note);
	return status;
}

static void start_report(struct qed_reporter *reporter, const struct arguments *args,
			 const struct qed_image *img, const char *path)
{
	memset(reporter, 0, sizeof(*reporter));
	qed_report_init(reporter, path);
	reporter->mode = args->mode;
	reporter->img = img;
	reporter->json = args->json;
	reporter->quiet = args->quiet;
	reporter->verbose = args->verbose;
	reporter->stats = args->stats;
	reporter->threads = args->threads;
	reporter->progress_fd = args->progress_fd;
	reporter->bar = args->bar || (args->progress_fd < 0 && !args->quiet &&
				      isatty(STDERR_FILENO));
	reporter->bar_delay = args->bar ? 0 : 1;
}

/* Who else uses them is not asked: nothing of them is changed. */
static int check_below(const struct arguments *args, struct qed_image *img)
{
	static struct qed_reporter reporter;
	struct arguments layer_args = {
		.mode = 'n', .always = args->always, .verbose = args->verbose,
		.quiet = args->quiet, .json = args->json, .stats = args->stats, .bar = args->bar,
		.progress_fd = args->progress_fd, .threads = args->threads,
	};
	struct qed_chain chain = { .images = { img }, .nr = 1, .force = args->force };
	const char *path, *error;
	int status = 0, r;

	do {
		r = qed_chain_next(&chain, &path, &error);
		if (!r)
			break;
		start_report(&reporter, &layer_args, r < 0 ? img : chain.images[chain.nr - 1],
			     path);
		qed_report_chain_next(&reporter);
		status |= r < 0 ? fail(&reporter, error) :
				  check_layer(&layer_args, &reporter, &chain);
		qed_report_done(&reporter);
	} while (r > 0 && !(status & (EXIT_OPERATION | EXIT_CANCELLED)));
	qed_chain_close(&chain);
	return status;
}

/* The same of what is below the image, before anything is printed */
static bool prints_below(const struct arguments *args, struct qed_image *img)
{
	struct qed_chain chain = { .images = { img }, .nr = 1, .force = true };
	const char *path, *error;
	bool found = false;
	int r, fd;

	if (!qed_header_is_qed(img, &error))
		return false;
	do {
		r = qed_chain_next(&chain, &path, &error);
		fd = path != img->path ? open(path, O_PATH | O_CLOEXEC) : -1;
		found |= fd >= 0 && prints_into(args, fd);
		if (fd >= 0)
			close(fd);
	} while (r > 0);
	qed_chain_close(&chain);
	return found;
}

static int work_on_chain(const struct arguments *args, struct qed_reporter *reporter,
			 struct qed_image *img)
{
	bool is_below;
	int status;

	if (!args->chain)
		return work_on(args, reporter, img);
	is_below = prints_below(args, img);
	qed_report_chain_begin(reporter);
	status = is_below ? fail(reporter, "a backing file is where the output goes") :
			    work_on(args, reporter, img);
	if (!(status & (EXIT_OPERATION | EXIT_CANCELLED)))
		status |= check_below(args, img);
	qed_report_chain_end(reporter, status);
	return status;
}

int main(int argc, char **argv)
{
	static struct qed_reporter reporter;
	struct arguments args;
	struct qed_image img;
	const char *error;
	int status;

	if (qed_open_standard())
		return EXIT_OPERATION;
	qed_parse_arguments(&args, argc, argv);
	catch_signals();
	start_report(&reporter, &args, &img, args.path);

	if (qed_image_open(&img, args.path, args.mode != 'n', args.force && args.mode == 'n',
			   &error))
		return qed_end_output(fail(&reporter, error));
	img.stop = &stop;
	status = work_on_chain(&args, &reporter, &img);
	qed_image_close(&img);
	return qed_end_output(status);
}
