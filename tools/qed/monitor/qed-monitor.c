// SPDX-License-Identifier: GPL-2.0-only
/*
 * qed-monitor: gives QED images that are in use more space before they need it.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "child.h"
#include "config.h"
#include "control.h"
#include "engine.h"
#include "hooks.h"
#include "log.h"
#include "watch.h"

#define LOCK_FILE	"/run/qed-monitor.lock"

#define EXIT_CONFIG	1
#define EXIT_SYSTEM	2

/* What the stack may need is there from the beginning. */
#define STACK		(256 * 1024)

/* The one in use, and the other one for the next */
static struct config configs[2];
static unsigned int current;

static const char *config_path = CONFIG_FILE;
static bool config_named;

static const char usage[] =
	"Usage: qed-monitor [option...]\n"
	"Gives QED images that are in use more space before they need it.\n"
	"\n"
	"  -c, --config FILE   the configuration, default " CONFIG_FILE "\n"
	"  -t, --test          only tell whether that is right\n"
	"  -h, --help          this text\n"
	"  -V, --version       the version\n";

/*----------------------------------------------------------------
 * The loop
 *----------------------------------------------------------------
 */

static u64 now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000ULL + time.tv_nsec / 1000000;
}

static void configure(const struct config *config)
{
	engine_configure(config);
	watch_configure(config);
	hooks_configure(config->hook);
}

static void reload(void)
{
	struct config *next = &configs[!current];
	char error[CONFIG_ERROR];

	if (config_read(next, config_path, !config_named, error)) {
		log_line(LOG_ERR, "%s: %s; what was read before stays", config_path, error);
		return;
	}
	current = !current;
	configure(next);
	log_line(LOG_INFO, "%s has been read", config_path);
}

static void reap(void)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		if (!hooks_ended(pid, status))
			engine_ended(pid, status, now());
}

/* Returns whether to go on. */
static bool take_signals(int fd)
{
	struct signalfd_siginfo info;

	while (read(fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGHUP)
			reload();
		else if (info.ssi_signo != SIGCHLD)
			return false;
	}
	reap();
	return true;
}

static int timeout(u64 next)
{
	u64 time = now();

	return next > time ? min_u64(next - time, INT32_MAX) : 0;
}

static int loop(int control, int signals)
{
	struct pollfd fds[] = {
		{ .fd = control, .events = POLLIN },
		{ .fd = signals, .events = POLLIN },
	};
	u64 next;
	int r;

	do {
		/* before it looks: what comes meanwhile is an event */
		r = control_arm();
		if (r) {
			log_line(LOG_ERR, "device mapper: %s", strerror(-r));
			return EXIT_SYSTEM;
		}
		next = engine_pass(now());
		next = min_u64(next, hooks_run(now()));
		if (poll(fds, ARRAY_SIZE(fds), timeout(next)) < 0 && errno != EINTR) {
			log_line(LOG_ERR, "poll: %s", strerror(errno));
			return EXIT_SYSTEM;
		}
	} while (take_signals(signals));
	return 0;
}

/*----------------------------------------------------------------
 * The beginning
 *----------------------------------------------------------------
 */

static int refuse(const char *what, int error, const char *advice)
{
	fprintf(stderr, "qed-monitor: %s: %s%s\n", what, strerror(error), advice);
	return EXIT_SYSTEM;
}

/* Two would give everything twice. It stays until the process ends. */
static int lock(void)
{
	int fd = open(LOCK_FILE, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0)
		return refuse(LOCK_FILE, errno, "");
	if (!flock(fd, LOCK_EX | LOCK_NB))
		return 0;
	return refuse(LOCK_FILE, errno, ": another qed-monitor is running");
}

static int open_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

static void touch_stack(void)
{
	char stack[STACK];

	explicit_bzero(stack, sizeof(stack));
}

/* Nothing of it has to be read, or found room for, when memory is short. */
static int lock_memory(void)
{
	if (mlockall(MCL_CURRENT | MCL_FUTURE))
		return refuse("memory cannot be locked", errno, "");
	touch_stack();
	return 0;
}

static int prepare(int *control, int *signals)
{
	int r = lock();

	if (r)
		return r;
	*control = control_open();
	if (*control == -EOPNOTSUPP)
		return refuse("/dev/mapper/control", EOPNOTSUPP, ": Linux is older than 4.14");
	if (*control < 0)
		return refuse("/dev/mapper/control", -*control, *control == -EACCES ?
			      ": only root may do this" : ": modprobe dm-mod");
	*signals = open_signals();
	r = *signals < 0 ? -errno : child_init();
	if (r)
		return refuse("cannot begin", -r, "");
	r = lock_memory();
	if (r)
		return r;
	r = watch_start(&configs[current]);
	return r ? refuse("cannot make a thread", -r, "") : 0;
}

static int run(void)
{
	int control = -1, signals = -1, r = prepare(&control, &signals);

	if (r)
		return r;
	log_init();
	configure(&configs[current]);
	log_line(LOG_INFO, "qed-monitor %s has begun", QED_VERSION);
	r = loop(control, signals);
	watch_stop();
	log_line(LOG_INFO, "qed-monitor has ended");
	return r;
}

static int fail_usage(void)
{
	fputs("qed-monitor --help shows what there is\n", stderr);
	return EXIT_CONFIG;
}

/* Returns the exit status, or -1 to go on. */
static int take_arguments(int argc, char **argv, bool *test)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "test", no_argument, NULL, 't' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ },
	};
	int option;

	while ((option = getopt_long(argc, argv, "c:thV", options, NULL)) >= 0) {
		if (option == 'c') {
			config_path = optarg;
			config_named = true;
		} else if (option == 't') {
			*test = true;
		} else if (option == 'h') {
			return fputs(usage, stdout) < 0;
		} else if (option == 'V') {
			return printf("qed-monitor %s\n", QED_VERSION) < 0;
		} else {
			return fail_usage();
		}
	}
	return optind < argc ? fail_usage() : -1;
}

int main(int argc, char **argv)
{
	char error[CONFIG_ERROR];
	bool test = false;
	int r = take_arguments(argc, argv, &test);

	if (r >= 0)
		return r;
	if (config_read(&configs[current], config_path, !config_named, error)) {
		fprintf(stderr, "qed-monitor: %s: %s\n", config_path, error);
		return EXIT_CONFIG;
	}
	return test ? 0 : run();
}
