// SPDX-License-Identifier: GPL-2.0-only
/*
 * explore - look for a crash that leaves a bad image
 *
 * Usage: explore [option...] IMAGE TRACE
 *
 *   -n STATES	how many to judge; default 10000
 *   -x SEED	of the choice of states; default 1
 *   -d NUMBER	write this state to FILE, given by -o
 *   -o FILE	for -d
 *   -s NUMBER	write so many states, spread over all, to FOLDER, given by -O,
 *		as N.img, and what the guest's disk has as N.raw
 *   -O FOLDER	for -s
 *   -b FILE	what is below the image
 *   -q		print only bad states
 *
 * Replays the TRACE of what went to the disk that had IMAGE at first. A power cut
 * is tried after each event that matters: what may be on the disk grows with a
 * write or a discard and shrinks with the completion of a flush or FUA; what has to
 * be there grows when the guest's flush or FUA completes. Each time several of the
 * possible states are judged. Stops at the first bad one. The states depend on
 * nothing but the arguments, and are numbered from 1.
 *
 * Exit status: 0 all good, 1 a bad one was found, 2 trouble.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdnoreturn.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "disk.h"
#include "judge.h"
#include "stamp.h"
#include "trace.h"

#define fallthrough __attribute__((__fallthrough__))

/* How a state is put together of the writes that may be on the disk */
enum kind {
	NOTHING,	/* but what is stable for sure */
	EVERYTHING,
	PREFIX,		/* in the order of submission */
	HALF,		/* of the writes */
	FEW,
	MOST,
	ALL_BUT_ONE,
	ONE,
	TORN_PREFIX,	/* the same, and by sector for some of the writes */
	TORN_HALF,
	TORN_ONE,
	TORN_ALL,
	KINDS,
};

struct explorer {
	struct contents contents;
	struct disk disk[TRACE_DISKS];
	struct judge judge;
	uint32_t *initial, *image, *below;
	uint64_t nr_sectors, nr_below;

	const unsigned char *trace;
	size_t trace_len;
	uint32_t **write_contents;	/* by id */
	unsigned char *discards;	/* likewise: of the guest */
	uint32_t nr_ids;

	uint64_t points, epochs, writes, flushes;	/* of the whole trace */
	uint64_t states;

	/* The state being made: writes of it, and those that are torn */
	unsigned char *chosen, *torn;
	uint32_t *undo;			/* contents of the active sectors */
};

static uint64_t wanted = 10000, seed = 1, dump_state, samples;
static const char *dump_file, *sample_folder, *below_file;
static bool quiet;

static noreturn void die(const char *what)
{
	fprintf(stderr, "explore: %s: %s\n", what,
		errno ? strerror(errno) : "damaged");
	exit(2);
}

static const void *map_file(const char *path, size_t *len)
{
	struct stat st;
	int fd = open(path, O_RDONLY);
	const void *data;

	if (fd < 0 || fstat(fd, &st))
		die(path);
	*len = st.st_size;
	data = mmap(NULL, *len ? *len : 1, PROT_READ, MAP_PRIVATE, fd, 0);
	if (data == MAP_FAILED)
		die(path);
	close(fd);
	return data;
}

/*----------------------------------------------------------------
 * States
 *----------------------------------------------------------------
 */

static void choose_some(struct explorer *e, uint64_t *rng, unsigned int of_256)
{
	struct disk *disk = &e->disk[TRACE_LOWER];
	uint32_t i;

	for (i = 0; i < disk->nr_pending; i++)
		e->chosen[disk->pending[i]] = stamp_random(rng) % 256 < of_256;
}

static void choose_range(struct explorer *e, uint32_t from, uint32_t to,
			 bool chosen)
{
	for (; from < to; from++)
		e->chosen[e->disk[TRACE_LOWER].pending[from]] = chosen;
}

static void tear_some(struct explorer *e, uint64_t *rng)
{
	struct disk *disk = &e->disk[TRACE_LOWER];
	uint32_t i;

	for (i = 0; i < disk->nr_pending; i++)
		e->torn[disk->pending[i]] = stamp_random(rng) % 2;
}

static void choose(struct explorer *e, enum kind how, uint64_t *rng)
{
	struct disk *disk = &e->disk[TRACE_LOWER];
	uint32_t nr = disk->nr_pending, one = nr ? stamp_random(rng) % nr : 0;
	bool tear = false;
	uint32_t i;

	choose_range(e, 0, nr, false);
	switch (how) {
	case EVERYTHING:
		choose_range(e, 0, nr, true);
		break;
	case TORN_PREFIX:
		tear = true;
		fallthrough;
	case PREFIX:
		choose_range(e, 0, one + !!nr, true);
		break;
	case TORN_HALF:
		tear = true;
		fallthrough;
	case HALF:
		choose_some(e, rng, 128);
		break;
	case FEW:
		choose_some(e, rng, 32);
		break;
	case MOST:
		choose_some(e, rng, 224);
		break;
	case ALL_BUT_ONE:
		choose_range(e, 0, nr, true);
		choose_range(e, one, one + !!nr, false);
		break;
	case TORN_ONE:
		tear = true;
		fallthrough;
	case ONE:
		choose_range(e, one, one + !!nr, true);
		break;
	case TORN_ALL:
		tear = true;
		choose_range(e, 0, nr, true);
		break;
	default:
		break;
	}
	for (i = 0; i < nr; i++)
		e->torn[disk->pending[i]] = 0;
	if (how == TORN_ONE || how == TORN_ALL)
		for (i = 0; i < nr; i++)
			e->torn[disk->pending[i]] = 1;
	else if (tear)
		tear_some(e, rng);
}

/* What a discarded sector has that had @content */
static uint32_t discarded(const struct disk *disk, uint32_t content,
			  uint64_t *rng)
{
	switch (stamp_random(rng) % 4) {
	case 0:
		return content;
	case 1:
		return 0;
	default:
		return disk->poison;
	}
}

static uint32_t pick(struct explorer *e, uint32_t sector, uint64_t *rng)
{
	struct disk *disk = &e->disk[TRACE_LOWER];
	uint32_t content = disk->base[sector], node, id;

	for (node = disk->head[sector]; node; node = disk->nodes[node].next) {
		id = disk->nodes[node].write;
		if (disk->writes[id].stable) {
			/* one of several: any of them may have been last */
			if (content != NO_CONTENT && stamp_random(rng) % 2)
				continue;
		} else if (!e->chosen[id] ||
			   (e->torn[id] && stamp_random(rng) % 2)) {
			continue;
		}
		content = disk_node_is_discard(disk, node) ?
			  discarded(disk, content, rng) :
			  disk_node_content(disk, node, sector);
	}
	return content;
}

/* Sectors that no write may change have their content in e->image already. */
static void make_state(struct explorer *e, enum kind how, uint64_t *rng)
{
	struct disk *disk = &e->disk[TRACE_LOWER];
	uint32_t i;

	choose(e, how, rng);
	for (i = 0; i < disk->nr_active; i++)
		e->image[disk->active[i]] = pick(e, disk->active[i], rng);
}

/*----------------------------------------------------------------
 * Output
 *----------------------------------------------------------------
 */

static void write_contents(struct explorer *e, const char *path, bool guest)
{
	uint64_t nr = guest ? judge_size(&e->judge, e->image[0]) :
			      e->nr_sectors, i;
	FILE *file = fopen(path, "w");
	uint32_t content;

	if (!file)
		die(path);
	for (i = 0; i < nr; i++) {
		content = guest ? judge_read(&e->judge, e->image, i) :
				  e->image[i];
		if (content && (fseeko(file, i * SECTOR_SIZE, SEEK_SET) ||
				fwrite(e->contents.data[content], SECTOR_SIZE,
				       1, file) != 1))
			die(path);
	}
	if (fflush(file) || ftruncate(fileno(file), nr * SECTOR_SIZE) ||
	    fclose(file))
		die(path);
}

static void write_sample(struct explorer *e)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/%ju.img", sample_folder,
		 e->states);
	write_contents(e, path, false);
	snprintf(path, sizeof(path), "%s/%ju.raw", sample_folder,
		 e->states);
	write_contents(e, path, true);
}

/* The one in the middle of each of so many parts */
static bool is_sample(struct explorer *e)
{
	uint64_t half = wanted / 2;

	return (e->states * samples + half) / wanted !=
	       ((e->states - 1) * samples + half) / wanted;
}

/*----------------------------------------------------------------
 * The trace
 *----------------------------------------------------------------
 */

/* Returns false at the end. */
static bool next_event(struct explorer *e, size_t *pos,
		       struct trace_event *event, const unsigned char **data)
{
	size_t len = 0;

	if (*pos == e->trace_len)
		return false;
	errno = 0;
	if (e->trace_len - *pos < sizeof(*event))
		die("trace");
	memcpy(event, e->trace + *pos, sizeof(*event));
	*pos += sizeof(*event);
	*data = e->trace + *pos;
	if (event->type == TRACE_WRITE &&
	    !(event->flags & (TRACE_ZEROES | TRACE_DISCARD)))
		len = (size_t)event->nr * SECTOR_SIZE;
	if (event->disk >= TRACE_DISKS || e->trace_len - *pos < len)
		die("trace");
	*pos += len;
	return true;
}

static bool is_fua(struct explorer *e, const struct trace_event *event)
{
	struct disk *disk = &e->disk[event->disk];

	return event->id < disk->nr_writes && disk->writes[event->id].fua;
}

/* Does the event change what may, or has to, be on the disk? */
static bool is_point(struct explorer *e, const struct trace_event *event)
{
	switch (event->type) {
	case TRACE_WRITE:
		return event->disk == TRACE_LOWER;
	case TRACE_FLUSH_DONE:
	case TRACE_RESIZE_DONE:
		return true;
	case TRACE_WRITE_DONE:
		return is_fua(e, event);
	default:
		return false;
	}
}

static uint32_t *number_contents(struct explorer *e,
				 const struct trace_event *event,
				 const unsigned char *data)
{
	uint32_t *contents = alloc(NULL, event->nr, sizeof(uint32_t)), i;
	struct stamp stamp;

	if (event->flags & (TRACE_ZEROES | TRACE_DISCARD))
		return contents;
	for (i = 0; i < event->nr; i++) {
		contents[i] = contents_number(&e->contents,
					      data + i * SECTOR_SIZE);
		/* Zeroes may have to be written as such. */
		if (event->disk != TRACE_UPPER || !contents[i])
			continue;
		memcpy(&stamp, data + i * SECTOR_SIZE, sizeof(stamp));
		if (!stamp_valid(data + i * SECTOR_SIZE) ||
		    stamp.sector != event->sector + i)
			die("stamp of a sector in the trace");
	}
	return contents;
}

/*
 * A discard of the guest's disk makes the clusters zero that it covers, and leaves
 * the parts at its ends. What is there at the end of the disk is no part. Over a backing
 * file, where nobody has written, it leaves that, too, so it counts as one that fails.
 */
static void guest_discard(struct explorer *e, const struct trace_event *event,
			  uint64_t pos)
{
	uint32_t cluster = e->judge.cluster;
	uint64_t from = event->sector, to = event->sector + event->nr;

	from = (from + cluster - 1) / cluster * cluster;
	if (to != e->judge.size)
		to = to / cluster * cluster;
	disk_write(&e->disk[TRACE_UPPER], event->id, pos, from,
		   to > from ? to - from : 0, e->write_contents[event->id],
		   false);
}

static void handle_write(struct explorer *e, const struct trace_event *event,
			 uint64_t pos)
{
	uint32_t *contents = e->write_contents[event->id];
	struct disk *disk = &e->disk[event->disk];

	if (event->disk == TRACE_UPPER && event->flags & TRACE_DISCARD) {
		guest_discard(e, event, pos);
		return;
	}
	if (event->flags & TRACE_DISCARD) {
		disk_discard(disk, event->id, pos, event->sector, event->nr);
		return;
	}
	if (event->disk == TRACE_LOWER && !event->sector)
		judge_header_write(&e->judge, disk, contents[0]);
	disk_write(disk, event->id, pos, event->sector, event->nr, contents,
		   event->flags & TRACE_FUA);
}

/* The end of a discard of the guest that may have left what is below */
static bool is_left(struct explorer *e, const struct trace_event *event)
{
	return e->nr_below && event->disk == TRACE_UPPER &&
	       event->type == TRACE_WRITE_DONE && e->discards[event->id];
}

static void handle(struct explorer *e, const struct trace_event *event,
		   uint64_t pos)
{
	struct disk *disk = &e->disk[event->disk];
	bool ok = !(event->flags & TRACE_ERROR) && !is_left(e, event);

	switch (event->type) {
	case TRACE_WRITE:
		handle_write(e, event, pos);
		break;
	case TRACE_WRITE_DONE:
		disk_write_done(disk, event->id, pos, ok);
		break;
	case TRACE_FLUSH:
		disk_flush(disk, event->id, pos);
		break;
	case TRACE_FLUSH_DONE:
		disk_flush_done(disk, event->id, pos, ok);
		break;
	case TRACE_RESIZE:
		judge_resize(&e->judge, event->sector);
		break;
	case TRACE_RESIZE_DONE:
		judge_resized(&e->judge);
		break;
	case TRACE_LOST:
		disk_lose(disk);
		break;
	}
}

/* Bring the sectors up to date that an event has made certain. */
static void settle(struct explorer *e, const uint32_t *was, uint32_t nr)
{
	struct disk *disk = &e->disk[TRACE_LOWER];
	uint32_t i;

	for (i = 0; i < nr; i++)
		if (!disk->head[was[i]])
			e->image[was[i]] = disk->base[was[i]];
}

/* A look at all of it: numbers of all contents, and what there is. */
static void prepare(struct explorer *e)
{
	unsigned char *fua = NULL;
	struct trace_event event;
	const unsigned char *data;
	size_t pos = 0;

	while (next_event(e, &pos, &event, &data)) {
		if (event.id >= e->nr_ids) {
			uint32_t nr = (event.id + 1) * 2;

			e->write_contents = alloc(e->write_contents, nr,
						  sizeof(*e->write_contents));
			fua = alloc(fua, nr, 1);
			memset(fua + e->nr_ids, 0, nr - e->nr_ids);
			e->discards = alloc(e->discards, nr, 1);
			memset(e->discards + e->nr_ids, 0, nr - e->nr_ids);
			e->nr_ids = nr;
		}
		if (event.type == TRACE_WRITE) {
			if (event.sector + event.nr > e->disk[event.disk].nr)
				die("trace");
			e->write_contents[event.id] =
				number_contents(e, &event, data);
			fua[event.id] = !!(event.flags & TRACE_FUA);
			e->discards[event.id] = !!(event.flags & TRACE_DISCARD);
			e->writes += event.disk == TRACE_LOWER;
			e->points += event.disk == TRACE_LOWER;
		} else if (event.type == TRACE_FLUSH_DONE) {
			e->epochs += event.disk == TRACE_LOWER;
			e->flushes += event.disk == TRACE_UPPER;
			e->points++;
		} else if (event.type == TRACE_RESIZE_DONE) {
			e->points++;
		} else if (event.type == TRACE_WRITE_DONE) {
			e->points += fua[event.id];
		}
	}
	free(fua);
	e->chosen = alloc(NULL, e->nr_ids, 1);
	e->torn = alloc(NULL, e->nr_ids, 1);
}

/*----------------------------------------------------------------
 * Exploration
 *----------------------------------------------------------------
 */

static void report(struct explorer *e, enum verdict v, enum kind how,
		   uint64_t pos)
{
	printf("bad state %ju, seed %ju, kind %d, after event %ju: ",
	       e->states, seed, how, pos);
	printf("%s: %s\n", verdict_names[v], e->judge.message);
}

/* Judge so many states of a power cut now. Returns false to stop. */
static bool try_point(struct explorer *e, uint64_t nr, uint64_t pos)
{
	uint64_t rng = seed ^ pos * 0x9e3779b97f4a7c15ULL, i;
	enum verdict v;
	enum kind how;

	for (i = 0; i < nr; i++) {
		/* each point begins elsewhere, for all of them to have a turn */
		how = (pos * 5 + i) % KINDS;
		make_state(e, how, &rng);
		e->states++;
		if (dump_state) {
			if (e->states < dump_state)
				continue;
			write_contents(e, dump_file, false);
			return false;
		}
		v = judge_image(&e->judge, e->image);
		if (v) {
			report(e, v, how, pos);
			return false;
		}
		if (is_sample(e))
			write_sample(e);
	}
	return true;
}

/* Without anything to choose from there is one state only. */
static uint64_t point_states(struct explorer *e, double *due)
{
	uint32_t nr = e->disk[TRACE_LOWER].nr_pending;
	uint64_t most = !e->disk[TRACE_LOWER].nr_active ? 1 :
			nr < 3 ? 8 : 1 << 20;
	uint64_t states = *due;

	if (states > most)
		states = most;
	*due -= states;
	return states;
}

static bool explore(struct explorer *e)
{
	struct disk *lower = &e->disk[TRACE_LOWER];
	uint32_t *was = alloc(NULL, lower->nr, sizeof(*was)), nr_was;
	struct trace_event event;
	const unsigned char *data;
	size_t offset = 0;
	bool good = true;
	double due = 0;
	uint64_t pos;

	for (pos = 1; good && next_event(e, &offset, &event, &data); pos++) {
		nr_was = 0;
		if (event.disk == TRACE_LOWER &&
		    (event.type == TRACE_FLUSH_DONE ||
		     event.type == TRACE_WRITE_DONE)) {
			nr_was = lower->nr_active;
			memcpy(was, lower->active, nr_was * sizeof(*was));
		}
		handle(e, &event, pos);
		settle(e, was, nr_was);
		if (is_point(e, &event)) {
			due += (double)wanted / e->points;
			good = try_point(e, point_states(e, &due), pos);
		}
	}
	free(was);
	return good;
}

/* The largest size that the guest's disk gets; 0: none but the first */
static uint64_t largest_size(struct explorer *e)
{
	struct trace_event event;
	const unsigned char *data;
	uint64_t largest = 0;
	size_t pos = 0;

	while (next_event(e, &pos, &event, &data))
		if (event.type == TRACE_RESIZE && event.sector > largest)
			largest = event.sector;
	return largest;
}

/* Neither a stamp nor a table */
static uint32_t make_poison(struct contents *contents)
{
	unsigned char data[SECTOR_SIZE];

	memset(data, 0xdb, sizeof(data));
	return contents_number(contents, data);
}

static uint32_t *number_sectors(struct explorer *e, const char *path, uint64_t *nr)
{
	const unsigned char *data;
	uint32_t *contents;
	size_t len;
	uint64_t i;

	data = map_file(path, &len);
	*nr = len / SECTOR_SIZE;
	if (!*nr)
		die(path);
	contents = alloc(NULL, *nr, sizeof(uint32_t));
	for (i = 0; i < *nr; i++)
		contents[i] = contents_number(&e->contents, data + i * SECTOR_SIZE);
	munmap((void *)data, len);
	return contents;
}

static void load(struct explorer *e, const char *image, const char *trace)
{
	e->trace = map_file(trace, &e->trace_len);
	contents_init(&e->contents);
	e->initial = number_sectors(e, image, &e->nr_sectors);
	if (below_file)
		e->below = number_sectors(e, below_file, &e->nr_below);
	e->image = alloc(NULL, e->nr_sectors, sizeof(uint32_t));
	disk_init(&e->disk[TRACE_LOWER], e->nr_sectors);
	e->disk[TRACE_LOWER].poison = make_poison(&e->contents);
	memcpy(e->image, e->initial, e->nr_sectors * sizeof(uint32_t));
	memcpy(e->disk[TRACE_LOWER].base, e->initial,
	       e->nr_sectors * sizeof(uint32_t));
	if (!judge_init(&e->judge, &e->contents, e->initial, e->nr_sectors,
			e->below, e->nr_below, &e->disk[TRACE_UPPER],
			largest_size(e))) {
		errno = 0;
		die(image);
	}
	e->judge.informed = true;
}

static void options(int argc, char **argv)
{
	int option;

	while ((option = getopt(argc, argv, "n:x:d:o:s:O:b:q")) != -1) {
		switch (option) {
		case 'n':
			wanted = strtoull(optarg, NULL, 0);
			break;
		case 'x':
			seed = strtoull(optarg, NULL, 0);
			break;
		case 'd':
			dump_state = strtoull(optarg, NULL, 0);
			break;
		case 'o':
			dump_file = optarg;
			break;
		case 's':
			samples = strtoull(optarg, NULL, 0);
			break;
		case 'O':
			sample_folder = optarg;
			break;
		case 'b':
			below_file = optarg;
			break;
		case 'q':
			quiet = true;
			break;
		default:
			exit(2);
		}
	}
	if (optind != argc - 2 || !dump_state != !dump_file ||
	    !samples != !sample_folder || !wanted) {
		fprintf(stderr, "usage: explore [option...] IMAGE TRACE\n");
		exit(2);
	}
}

int main(int argc, char **argv)
{
	struct explorer e = { 0 };
	struct timespec from, to;
	double seconds;
	bool good;

	options(argc, argv);
	load(&e, argv[optind], argv[optind + 1]);
	prepare(&e);
	clock_gettime(CLOCK_MONOTONIC, &from);
	good = explore(&e);
	clock_gettime(CLOCK_MONOTONIC, &to);
	seconds = to.tv_sec - from.tv_sec + (to.tv_nsec - from.tv_nsec) / 1e9;
	if (dump_state) {
		errno = 0;
		if (e.states < dump_state)
			die("no such state");
		return 0;
	}
	if (!quiet) {
		printf("%ju states, %.0f per second, %ju epochs, %ju writes, ",
		       e.states, e.states / seconds, e.epochs, e.writes);
		printf("%ju guest flushes, %ju power cuts, seed %ju; ",
		       e.flushes, e.points, seed);
		printf("%ju with a record, an end in %ju, zeroes in %ju\n",
		       e.judge.records, e.judge.ends, e.judge.zeroes);
	}
	return !good;
}
