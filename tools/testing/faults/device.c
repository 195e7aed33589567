// SPDX-License-Identifier: GPL-2.0-only
/*
 * The devices of a sweep: what fails, and the image over it.
 */

#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mapper.h"
#include "sweep.h"

#define SCAN_WORD	13			/* of the status, from 0 */
#define LAYER_WORDS	" layer /dev/mapper/sweep-near layer /dev/mapper/sweep-far"
#define RAW_WORDS	" backing /dev/mapper/sweep-raw"

int guest_fd = -1;

/* The device whose I/O fails */
const char *failing(void)
{
	return run.plan.class == BELOW ? "sweep-below" : "sweep-lower";
}

void arm(const char *device, const char *class, unsigned int nth, const char *error,
	 const char *time, const char *fate)
{
	char text[64];

	snprintf(text, sizeof(text), "%s %s %u %s %s %s", "arm", class, nth,
		 error, time, fate);
	if (!mapper_message(device, text))
		die("arm");
}

/* Has a fault happened by now? Sets where. */
unsigned int hits(unsigned int count[3])
{
	char *text = mapper_status(failing()), kind[5], fua[4];
	unsigned int nr;

	if (sscanf(text, "%u %u %u %u %ju %4s %3s", &count[0], &count[1], &count[2],
		   &nr, &run.sector, kind, fua) != 7)
		die("status of the faults");
	run.meta = !strcmp(kind, "meta");
	run.fua = !strcmp(fua, "fua");
	free(text);
	return nr;
}

bool mode_is(const char *mode)
{
	char *text = mapper_status("sweep-qed"), pattern[16];
	bool found;

	snprintf(pattern, sizeof(pattern), " %s ", mode);
	found = strstr(text, pattern);
	free(text);
	return found;
}

/* A scan in the background may have failed. */
bool is_known(void)
{
	char *text = mapper_status("sweep-qed");
	bool known = !strstr(text, " -/");

	free(text);
	return known;
}

/* Does a scan go on in the background? Then this word of the status is its progress. */
static bool is_scanning(void)
{
	char *text = mapper_status("sweep-qed"), *word = text;
	unsigned int i;
	bool scanning;

	for (i = 0; i < SCAN_WORD && word; i++)
		word = strchr(word + 1, ' ');
	if (!word)
		die("status of the scan");
	scanning = word[1] != '-';
	free(text);
	return scanning;
}

/* Wait for its end: before it nothing is unmapped. */
static void settle(void)
{
	unsigned int i;

	for (i = 0; is_scanning(); i++) {
		if (i == 2000) {
			wrong("the scan has no end");
			return;
		}
		usleep(5000);
	}
}

/* The image, with the options of each table line, and these */
static bool load(int type, uint64_t size, const char *more, unsigned int nr_more)
{
	static const struct {
		const char *words;
		unsigned int nr;
	} below[] = {
		[ZEROES] = { "", 0 },
		[RAW] = { RAW_WORDS, 2 },
		[LAYERS] = { LAYER_WORDS RAW_WORDS, 6 },
	};
	char parameters[256];

	snprintf(parameters, sizeof(parameters),
		 "/dev/mapper/sweep-lower %u commit_interval 3600000 error_if_no_space%s%s",
		 3 + below[run.plan.under].nr + nr_more, below[run.plan.under].words, more);
	return mapper_load("sweep-qed", type, size, "qed", parameters);
}

bool activate(void)
{
	char more[64] = " cache_kib 64";
	bool zeroed = run.plan.zeroed;

	/* what is written only when it is asked for */
	if (zeroed)
		snprintf(more, sizeof(more), " cache_kib 64 zeroed_from %d", ZEROED_FROM);
	if (!load(DM_DEVICE_CREATE, GUEST, more, zeroed ? 4 : 2))
		return false;
	settle();
	guest_fd = open("/dev/mapper/sweep-qed", O_RDWR | O_DIRECT);
	if (guest_fd < 0)
		die("/dev/mapper/sweep-qed");
	return true;
}

void deactivate(void)
{
	close(guest_fd);
	guest_fd = -1;
	if (!mapper_simple(DM_DEVICE_REMOVE, "sweep-qed"))
		die("remove");
}

bool resume(void)
{
	if (!mapper_simple(DM_DEVICE_RESUME, "sweep-qed"))
		return false;
	settle();
	return true;
}

bool reload(void)
{
	return load(DM_DEVICE_RELOAD, run.size, "", 0) && resume();
}

void disarm(void)
{
	if (!mapper_message("sweep-lower", "disarm") ||
	    !mapper_message("sweep-below", "disarm"))
		die("disarm");
}

/* A part of what is below */
static void make_part(const char *name, uint64_t at, uint64_t nr)
{
	char parameters[64];

	snprintf(parameters, sizeof(parameters), "/dev/mapper/sweep-below %ju", at);
	if (!mapper_load(name, DM_DEVICE_CREATE, nr, "linear", parameters))
		die(name);
}

void make_devices(const char *lower, const char *below)
{
	if (!mapper_load("sweep-lower", DM_DEVICE_CREATE, LOWER, "fault", lower) ||
	    !mapper_load("sweep-below", DM_DEVICE_CREATE, BELOW_SECTORS, "fault", below))
		die("the target fault");
	make_part("sweep-raw", 0, GUEST);
	make_part("sweep-near", FIRST_LAYER, LAYER);
	make_part("sweep-far", SECOND_LAYER, LAYER);
}

void remove_devices(void)
{
	static const char * const names[] = {
		"sweep-far", "sweep-near", "sweep-raw", "sweep-below", "sweep-lower",
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(names); i++)
		mapper_simple(DM_DEVICE_REMOVE, names[i]);
}
