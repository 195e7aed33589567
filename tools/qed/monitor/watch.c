// SPDX-License-Identifier: GPL-2.0-only
/*
 * A thread for what may have to wait, see watch.h.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "log.h"
#include "metrics.h"
#include "watch.h"

#define STACK	(256 * 1024)

/* In seconds: how often a file system is looked at that has little space */
#define SOON	1

/* ... and how often anything is done at most */
#define LEAST	1

/* What both threads know. Nobody waits for anything while he holds the mutex. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct metrics shared[WATCH_DEVICES];
static unsigned int nr_shared, nr_added;
static char path[PATH_MAX];
static unsigned int interval;
static bool has_news;

static pthread_cond_t changed;

/* Those of the thread alone */
static struct metrics own[WATCH_DEVICES];

void watch_configure(const struct config *config)
{
	pthread_mutex_lock(&mutex);
	snprintf(path, sizeof(path), "%s", config->metrics);
	interval = config->interval;
	has_news = true;
	pthread_cond_signal(&changed);
	pthread_mutex_unlock(&mutex);
}

void watch_begin(void)
{
	pthread_mutex_lock(&mutex);
	nr_added = 0;
	pthread_mutex_unlock(&mutex);
}

void watch_add(const struct view *view)
{
	struct metrics *to = &shared[nr_added];

	pthread_mutex_lock(&mutex);
	/* what is known of the file system stays, if it is the same */
	if (to->view.image != view->image)
		to->has_space = false;
	to->view = *view;
	nr_added++;
	pthread_mutex_unlock(&mutex);
}

void watch_end(bool news)
{
	pthread_mutex_lock(&mutex);
	nr_shared = nr_added;
	has_news |= news;
	if (has_news)
		pthread_cond_signal(&changed);
	pthread_mutex_unlock(&mutex);
}

bool watch_space(dev_t image, struct file_space *space)
{
	bool found = false;
	unsigned int i;

	pthread_mutex_lock(&mutex);
	for (i = 0; i < nr_shared && !found; i++) {
		found = shared[i].has_space && shared[i].view.image == image;
		if (found)
			*space = shared[i].space;
	}
	pthread_mutex_unlock(&mutex);
	return found;
}

static unsigned int take_shared(char own_path[PATH_MAX], unsigned int *pause)
{
	unsigned int nr;

	pthread_mutex_lock(&mutex);
	nr = nr_shared;
	memcpy(own, shared, nr * sizeof(*own));
	memcpy(own_path, path, sizeof(path));
	*pause = interval;
	pthread_mutex_unlock(&mutex);
	return nr;
}

static void give_spaces(unsigned int nr)
{
	unsigned int i;

	pthread_mutex_lock(&mutex);
	for (i = 0; i < nr && i < nr_shared; i++) {
		if (shared[i].view.image != own[i].view.image)
			continue;
		shared[i].has_space = own[i].has_space;
		shared[i].space = own[i].space;
	}
	pthread_mutex_unlock(&mutex);
}

/* Returns when to look again, in seconds. */
static unsigned int look(void)
{
	static char own_path[PATH_MAX], old_path[PATH_MAX];
	unsigned int pause, nr = take_shared(own_path, &pause), i;
	static int told;
	int r = 0;

	for (i = 0; i < nr; i++) {
		own[i].has_space = !file_space(own[i].view.image, &own[i].space);
		if (own[i].has_space && own[i].space.available < 2 * own[i].view.reserve)
			pause = SOON;
	}
	give_spaces(nr);
	if (*old_path && strcmp(old_path, own_path))
		unlink(old_path);
	memcpy(old_path, own_path, sizeof(old_path));
	if (*own_path)
		r = metrics_write(own_path, own, nr);
	if (r && r != told)
		log_line(LOG_ERR, "%s: cannot be written: %s", own_path, strerror(-r));
	told = r;
	return pause;
}

/* Until something has changed, or for so many seconds */
static void wait_for_news(unsigned int seconds)
{
	struct timespec end;
	int r = 0;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += seconds;
	pthread_mutex_lock(&mutex);
	while (!has_news && !r)
		r = pthread_cond_timedwait(&changed, &mutex, &end);
	has_news = false;
	pthread_mutex_unlock(&mutex);
}

static void *run(void *unused)
{
	for (;;) {
		wait_for_news(look());
		sleep(LEAST);
	}
	return unused;
}

static void init_changed(void)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&changed, &attr);
	pthread_condattr_destroy(&attr);
}

int watch_start(const struct config *config)
{
	sigset_t all, before;
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	init_changed();
	watch_configure(config);
	/* signals are for the other one */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK);
	r = pthread_create(&thread, &attr, run, NULL);
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -r;
}

void watch_stop(void)
{
	if (*path)
		unlink(path);
}
