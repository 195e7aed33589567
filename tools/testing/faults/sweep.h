/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Parts of a sweep, and what they know of a run.
 */

#ifndef FAULTS_SWEEP_H
#define FAULTS_SWEEP_H

#include <stdbool.h>
#include <stdint.h>
#include <stdnoreturn.h>

#include "../crash/judge.h"

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

#define CLUSTER		8			/* sectors; 4 KiB */
#define SPAN		(512 * CLUSTER)		/* that an L2 table maps */
#define TABLES		24
#define GUEST		((uint64_t)TABLES * SPAN)
#define GROWN		(GUEST + SPAN)		/* after the workload has resized it */
#define LOWER		8192			/* sectors of the device */
#define AREA		64			/* in use, at the begin of each span */
#define ZEROED_FROM	256			/* clusters, when it is known */

/* Which I/O fails */
enum { READS, WRITES, FLUSHES, BELOW };

/* What shows where the image has nothing */
enum under {
	ZEROES,
	RAW,			/* a backing file */
	LAYERS,			/* two images over such a file, of which the nearest is short */
};

struct plan {
	const char *image;	/* its name */
	unsigned int class, nth, error, time, fate;
	bool zeroed;		/* commits without order */
	enum under under;
	bool dies;		/* at the end of the workload */
};

/* Do flushes and FUA fail because writes are lost? */
enum loss {
	NOTHING,
	PERHAPS,		/* the next one shows it */
	GONE,
};

struct run {
	struct plan plan;
	struct contents contents;
	struct disk guest;
	struct judge judge;
	uint32_t image[LOWER];
	uint64_t *now;		/* by sector: steps + 1 whose content it may have */
	uint64_t pos;		/* of the last event */
	uint32_t id;		/* of the last write or flush */
	bool active;
	bool over;		/* the fault has happened, and does not go on */
	int at;			/* the step it happened in; -1: activation */
	bool hit;
	uint64_t sector;
	bool meta;
	bool fua;
	uint64_t size;		/* of the guest's disk */
	uint32_t lost;		/* writes up to this one may be, if a flush says so */
	bool told;		/* a flush did, before the table was replaced */
	enum loss loss;
	bool loss_told;		/* since the last suspend */
};

extern struct run run;

/* sweep.c: end at once; and what is wrong with this run */
noreturn void die(const char *what);
void wrong(const char *format, ...);

/*
 * device.c: the devices
 */

extern int guest_fd;

/* What fails, over these devices; and parts of what is below. To be removed when all is done */
void make_devices(const char *lower, const char *below);
void remove_devices(void);

/*
 * Let the nth I/O of a class fail, see target/dm-fault.c, or none. hits() returns how many
 * have failed by now, and sets the numbers of reads, writes and flushes, and in run where the
 * first one was.
 */
void arm(const char *device, const char *class, unsigned int nth, const char *error,
	 const char *time, const char *fate);
void disarm(void);
unsigned int hits(unsigned int count[3]);
const char *failing(void);

/* Each until a scan in the background has ended. Whether it has worked */
bool activate(void);
bool resume(void);
bool reload(void);
void deactivate(void);

/* What the status says: the mode, and is it known what is free? */
bool mode_is(const char *mode);
bool is_known(void);

/*
 * images.c: what is there at first. The image is template, of LOWER sectors. What may be
 * below it is on one device: raw content of the size of the guest's disk, and each layer.
 */

#define LAYER		2048			/* sectors of a layer's device */
#define FIRST_LAYER	GUEST			/* where it is: the nearest one */
#define SECOND_LAYER	(FIRST_LAYER + LAYER)
#define BELOW_SECTORS	(SECOND_LAYER + LAYER)
#define FIRST_BELOW	61			/* version of sectors below, of three kinds */

extern unsigned char *template;

void make_template(void);
void choose_backing(enum under under);	/* for template */
void make_below(const char *device);

/* What shows where the image has nothing, by sector; NULL: zeroes */
const uint32_t *contents_below(void);

/*
 * workload.c: what is done with it. buffer has room for AREA sectors.
 */

extern unsigned char *buffer;

void workload(void);
void read_all(void);

/* Look for the fault after a step, -1: activation, which has worked, or not */
void look(int nr, bool ok);

/* It may have stopped a scan, after a resume. */
void scan_again(void);

/* The step + 1 that has written this content; 0: zeroes */
unsigned int version_of(uint32_t content);

#endif /* FAULTS_SWEEP_H */
