// SPDX-License-Identifier: GPL-2.0-only
/*
 * qed-fsck - check and repair a QED image, see qed-fsck(8)
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "descriptors.h"
#include "fsck.h"
#include "geometry.h"
#include "header.h"
#include "open.h"
#include "report.h"
#include "undo-apply.h"
#include "undo.h"

/* Exit status, as of fsck(8): a sum */
#define EXIT_REPAIRED	1
#define EXIT_LEFT	4
#define EXIT_OPERATION	8
#define EXIT_USAGE	16
#define EXIT_CANCELLED	32

#define MAX_THREADS	64

struct arguments {
	char mode;		/* n, p, y, r, or 0 */
	bool always, verbose, quiet, json, stats, direct, force, compact, discard;
	bool bar;
	int progress_fd;	/* -1: none */
	unsigned int threads;
	bool has_geometry, search;
	struct qed_geometry geometry;
	enum qed_orphan_policy orphans;
	enum qed_cut_policy cut;
	struct qed_place places[QED_MAX_PLACES];
	unsigned int nr_places;
	const char *undo, *undo_apply, *path;
};

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
 * Arguments
 *----------------------------------------------------------------
 */

static const char help[] =
"Usage: qed-fsck [-n | -p | -a | -r | -y] [option...] IMAGE\n"
"       qed-fsck --undo-apply FILE IMAGE\n"
"\n"
"Check and repair a QED image, a file or a block device.\n"
"\n"
"  -n                 change nothing\n"
"  -p, -a             repair what needs no guess and loses nothing\n"
"  -y                 repair everything, without asking\n"
"  -r                 ask about each repair, as without these on a terminal\n"
"  -f                 read the tables even if the image is marked clean\n"
"  -v                 list all findings, not just the first 100 of each kind\n"
"  -q                 print only errors\n"
"  -C FD              write the progress to a file descriptor; 0: show a bar\n"
"      --json         print JSON\n"
"      --stats        tell time and memory\n"
"  -j THREADS         number of threads that read\n"
"      --direct       read past the page cache\n"
"      --force        with -n: even if the image is in use;\n"
"                     with --undo-apply: even if it was changed\n"
"      --compact      make the image as short as possible\n"
"      --discard      discard free clusters of a block device\n"
"      --geometry VALUES\n"
"                     the header is lost: cluster=N,table=N,l1=N,size=N; or search\n"
"      --orphans ACTION\n"
"                     with -y, for L2 tables that nothing refers to: keep, free,\n"
"                     or reconnect\n"
"      --cut ACTION   with -y, for an image whose end seems to be cut off: keep it as\n"
"                     it is, or clear what points there\n"
"      --reconnect TABLE:GUEST\n"
"                     where such a table belongs, both in bytes\n"
"      --undo FILE    save what gets overwritten to a new file\n"
"      --undo-apply FILE\n"
"                     take back what a run with --undo has done\n"
"  -h, --help         print this\n"
"  -V, --version      print the version\n"
"\n"
"Exit status, a sum: 0 clean, 1 repaired, 4 not all was repaired, 8 error,\n"
"16 wrong usage, 32 cancelled. See qed-fsck(8).\n";

enum long_option {
	OPT_JSON = 256,
	OPT_STATS,
	OPT_DIRECT,
	OPT_FORCE,
	OPT_COMPACT,
	OPT_DISCARD,
	OPT_GEOMETRY,
	OPT_ORPHANS,
	OPT_CUT,
	OPT_RECONNECT,
	OPT_UNDO,
	OPT_UNDO_APPLY,
};

static const struct option long_options[] = {
	{ "json", no_argument, NULL, OPT_JSON },
	{ "stats", no_argument, NULL, OPT_STATS },
	{ "direct", no_argument, NULL, OPT_DIRECT },
	{ "force", no_argument, NULL, OPT_FORCE },
	{ "compact", no_argument, NULL, OPT_COMPACT },
	{ "discard", no_argument, NULL, OPT_DISCARD },
	{ "geometry", required_argument, NULL, OPT_GEOMETRY },
	{ "orphans", required_argument, NULL, OPT_ORPHANS },
	{ "cut", required_argument, NULL, OPT_CUT },
	{ "reconnect", required_argument, NULL, OPT_RECONNECT },
	{ "undo", required_argument, NULL, OPT_UNDO },
	{ "undo-apply", required_argument, NULL, OPT_UNDO_APPLY },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'V' },
	{ }
};

/* The exit status, in which it counts if something could not be printed */
static int end_output(int status)
{
	if (!fflush(stdout) && !ferror(stdout))
		return status;
	fprintf(stderr, "qed-fsck: cannot write to standard output\n");
	return status | EXIT_OPERATION;
}

static void usage_error(const char *what)
{
	fprintf(stderr, "qed-fsck: %s\nTry qed-fsck --help.\n", what);
	exit(EXIT_USAGE);
}

static unsigned int parse_number(const char *text, unsigned int least, unsigned int most,
				 const char *error)
{
	unsigned long number;
	char *end;

	errno = 0;
	number = strtoul(text, &end, 10);
	if (errno || end == text || *end || *text == '-' || number < least || number > most)
		usage_error(error);
	return number;
}

static void set_mode(struct arguments *args, char mode)
{
	if (args->mode && args->mode != mode)
		usage_error("only one of -n, -p (-a), -r and -y can be given");
	args->mode = mode;
}

/* The descriptor is looked at before a file could get its number */
static void set_progress(struct arguments *args, const char *text)
{
	static const char error[] = "-C needs the number of a file descriptor";
	int fd = parse_number(text, 0, 1U << 20, error);

	if (args->progress_fd >= 0)
		close(args->progress_fd);
	args->bar = !fd;
	args->progress_fd = fd ? qed_keep_descriptor(fd) : -1;
	if (fd && args->progress_fd < 0)
		usage_error("-C needs a file descriptor that is open for writing");
}

static enum qed_orphan_policy parse_orphans(const char *text)
{
	static const char * const names[] = {
		[QED_ORPHANS_KEEP]	= "keep",
		[QED_ORPHANS_FREE]	= "free",
		[QED_ORPHANS_RECONNECT]	= "reconnect",
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(names); i++)
		if (!strcmp(text, names[i]))
			return i;
	usage_error("--orphans needs keep, free or reconnect");
	return QED_ORPHANS_KEEP;
}

static enum qed_cut_policy parse_cut(const char *text)
{
	if (strcmp(text, "clear") && strcmp(text, "keep"))
		usage_error("--cut needs keep or clear");
	return strcmp(text, "clear") ? QED_CUT_KEEP : QED_CUT_CLEAR;
}

static void parse_place(struct arguments *args, const char *text)
{
	struct qed_place *place = &args->places[args->nr_places];
	char *end;

	if (args->nr_places++ == QED_MAX_PLACES)
		usage_error("too many of --reconnect");
	errno = 0;
	place->table = strtoull(text, &end, 0);
	if (*end == ':')
		place->guest_offset = strtoull(end + 1, &end, 0);
	if (errno || *end || !strchr(text, ':'))
		usage_error("--reconnect needs TABLE:GUEST");
	args->orphans = QED_ORPHANS_RECONNECT;
}

static void parse_option(struct arguments *args, int option)
{
	switch (option) {
	case 'n':
	case 'p':
	case 'y':
	case 'r':
		set_mode(args, option);
		break;
	case 'a':
		set_mode(args, 'p');
		break;
	case 'f':
		args->always = true;
		break;
	case 'v':
		args->verbose = true;
		break;
	case 'q':
		args->quiet = true;
		break;
	case 'C':
		set_progress(args, optarg);
		break;
	case 'j':
		args->threads = parse_number(optarg, 1, MAX_THREADS, "-j needs 1 to 64 threads");
		break;
	case OPT_JSON:
		args->json = true;
		break;
	case OPT_STATS:
		args->stats = true;
		break;
	case OPT_DIRECT:
		args->direct = true;
		break;
	case OPT_FORCE:
		args->force = true;
		break;
	case OPT_COMPACT:
		args->compact = true;
		break;
	case OPT_DISCARD:
		args->discard = true;
		break;
	case OPT_GEOMETRY:
		args->search = !strcmp(optarg, "search");
		args->has_geometry = !args->search;
		if (!args->search && !qed_geometry_parse(&args->geometry, optarg))
			usage_error("--geometry needs cluster=N,table=N,l1=N,size=N, or search");
		break;
	case OPT_ORPHANS:
		args->orphans = parse_orphans(optarg);
		break;
	case OPT_CUT:
		args->cut = parse_cut(optarg);
		break;
	case OPT_RECONNECT:
		parse_place(args, optarg);
		break;
	case OPT_UNDO:
		args->undo = optarg;
		break;
	case OPT_UNDO_APPLY:
		args->undo_apply = optarg;
		break;
	case 'h':
		fputs(help, stdout);
		exit(end_output(0));
	case 'V':
		puts("qed-fsck " QED_VERSION);
		exit(end_output(0));
	default:
		usage_error("an option is not known, or lacks its argument");
	}
}

static unsigned int default_threads(void)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);

	return processors < 1 ? 2 : processors > 4 ? 8 : processors * 2;
}

static void check_arguments(struct arguments *args)
{
	if (args->undo_apply) {
		if (args->mode || args->undo || args->compact || args->discard || args->search ||
		    args->has_geometry || args->orphans || args->nr_places || args->always ||
		    args->stats || args->direct)
			usage_error("--undo-apply goes only with --force, --json and -q");
		return;
	}
	if (args->mode == 'r')
		args->mode = 0;
	if (args->force && args->mode != 'n')
		usage_error("--force needs -n or --undo-apply");
	/* without a terminal nobody can answer */
	if (!args->mode && (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO) || args->json ||
			    args->quiet))
		args->mode = 'n';
	if (args->search)
		args->mode = 'n';
	if (args->has_geometry && args->mode != 'n' && args->mode != 'y')
		usage_error("--geometry goes with -n and -y");
	if (args->mode != 'n')
		return;
	if (args->compact || args->discard)
		usage_error("--compact and --discard need -p, -y, or a terminal to ask");
	if (args->undo)
		usage_error("--undo needs -p, -y, or a terminal to ask");
}

static void parse_arguments(struct arguments *args, int argc, char **argv)
{
	int option;

	memset(args, 0, sizeof(*args));
	args->progress_fd = -1;
	args->threads = default_threads();
	opterr = 0;
	while ((option = getopt_long(argc, argv, "anprfvyqC:j:hV", long_options, NULL)) != -1)
		parse_option(args, option);
	if (argc - optind != 1)
		usage_error(argc == optind ? "no image is given" : "too many arguments");
	args->path = argv[optind];
	check_arguments(args);
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
	reporter->note = args->discard && !img->is_block ? no_device : NULL;
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

int main(int argc, char **argv)
{
	static struct qed_reporter reporter;
	struct arguments args;
	struct qed_image img;
	const char *error;
	int status;

	if (qed_open_standard())
		return EXIT_OPERATION;
	parse_arguments(&args, argc, argv);
	catch_signals();
	qed_report_init(&reporter, args.path);
	reporter.mode = args.mode;
	reporter.img = &img;
	reporter.json = args.json;
	reporter.quiet = args.quiet;
	reporter.verbose = args.verbose;
	reporter.stats = args.stats;
	reporter.threads = args.threads;
	reporter.progress_fd = args.progress_fd;
	reporter.bar = args.bar || (args.progress_fd < 0 && !args.quiet && isatty(STDERR_FILENO));
	reporter.bar_delay = args.bar ? 0 : 1;

	if (qed_image_open(&img, args.path, args.mode != 'n', args.force && args.mode == 'n',
			   &error))
		return end_output(fail(&reporter, error));
	img.stop = &stop;
	status = work_on(&args, &reporter, &img);
	qed_image_close(&img);
	return end_output(status);
}
