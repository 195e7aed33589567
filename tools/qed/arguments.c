// SPDX-License-Identifier: GPL-2.0-only
/*
 * The command line of qed-fsck, see arguments.h.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arguments.h"
#include "descriptors.h"

#define MAX_THREADS	64

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
"      --takeover     write, though the record says that another host has the image\n"
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
"      --chain        look at the backing files as well, without changing them\n"
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
	OPT_TAKEOVER,
	OPT_COMPACT,
	OPT_DISCARD,
	OPT_GEOMETRY,
	OPT_ORPHANS,
	OPT_CUT,
	OPT_RECONNECT,
	OPT_CHAIN,
	OPT_UNDO,
	OPT_UNDO_APPLY,
};

static const struct option long_options[] = {
	{ "json", no_argument, NULL, OPT_JSON },
	{ "stats", no_argument, NULL, OPT_STATS },
	{ "direct", no_argument, NULL, OPT_DIRECT },
	{ "force", no_argument, NULL, OPT_FORCE },
	{ "takeover", no_argument, NULL, OPT_TAKEOVER },
	{ "compact", no_argument, NULL, OPT_COMPACT },
	{ "discard", no_argument, NULL, OPT_DISCARD },
	{ "geometry", required_argument, NULL, OPT_GEOMETRY },
	{ "orphans", required_argument, NULL, OPT_ORPHANS },
	{ "cut", required_argument, NULL, OPT_CUT },
	{ "reconnect", required_argument, NULL, OPT_RECONNECT },
	{ "chain", no_argument, NULL, OPT_CHAIN },
	{ "undo", required_argument, NULL, OPT_UNDO },
	{ "undo-apply", required_argument, NULL, OPT_UNDO_APPLY },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'V' },
	{ }
};

int qed_end_output(int status)
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
	case OPT_TAKEOVER:
		args->takeover = true;
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
	case OPT_CHAIN:
		args->chain = true;
		break;
	case OPT_UNDO:
		args->undo = optarg;
		break;
	case OPT_UNDO_APPLY:
		args->undo_apply = optarg;
		break;
	case 'h':
		fputs(help, stdout);
		exit(qed_end_output(0));
	case 'V':
		puts("qed-fsck " QED_VERSION);
		exit(qed_end_output(0));
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
		    args->stats || args->direct || args->chain)
			usage_error("--undo-apply goes with --force, --takeover, --json and -q");
		return;
	}
	if (args->chain && (args->search || args->has_geometry))
		usage_error("--chain does not go with --geometry");
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
	if (args->takeover)
		usage_error("--takeover needs -p, -y, --undo-apply, or a terminal to ask");
	if (args->undo)
		usage_error("--undo needs -p, -y, or a terminal to ask");
}

void qed_parse_arguments(struct arguments *args, int argc, char **argv)
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
