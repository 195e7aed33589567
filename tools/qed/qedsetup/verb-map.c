// SPDX-License-Identifier: GPL-2.0-only
/*
 * qedsetup map
 */

#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "fail.h"
#include "output.h"
#include "request.h"
#include "subject.h"
#include "tables.h"

/**
 * struct piece - a part of the guest's disk, as it is printed
 * @start: in bytes
 * @length: in bytes, 0 if there is none
 * @depth: of the image that it is in; that of the last one if it is in none
 * @kind: what it is
 * @offset: where that image has it
 */
struct piece {
	u64 start, length, depth, offset;
	enum extent_kind kind;
};

/**
 * struct mapping - a map that is being made
 * @request: what was asked for
 * @chain: the images
 * @tables: a reader for each of them that is looked at
 * @nr: number of these
 * @last: what has not been printed yet, as it may go on
 * @printed: something has been
 */
struct mapping {
	const struct request *request;
	struct qed_chain chain;
	struct tables tables[QED_MAX_CHAIN];
	unsigned int nr;
	struct piece last;
	bool printed;
};

/*----------------------------------------------------------------
 * Output
 *----------------------------------------------------------------
 */

static const char * const kind_names[] = {
	[EXTENT_NONE] = "none",
	[EXTENT_ZERO] = "zero",
	[EXTENT_DATA] = "data",
};

static const char *truth(bool value)
{
	return value ? "true" : "false";
}

/* The members that qemu-img map has, with the same meaning */
static void print_json(const struct mapping *mapping, const struct piece *piece)
{
	printf("%s{\"start\":%llu,\"length\":%llu,\"depth\":%llu,",
	       mapping->printed ? ",\n" : "\n", piece->start, piece->length, piece->depth);
	printf("\"present\":%s,\"zero\":%s,\"data\":%s", truth(piece->kind != EXTENT_NONE),
	       truth(piece->kind != EXTENT_DATA), truth(piece->kind == EXTENT_DATA));
	if (piece->kind == EXTENT_DATA)
		printf(",\"offset\":%llu", piece->offset);
	putchar('}');
}

static void print_line(const struct mapping *mapping, const struct piece *piece)
{
	if (!mapping->printed)
		printf("%16s %16s  %-4s %5s %16s\n", "START", "LENGTH", "KIND", "DEPTH", "OFFSET");
	printf("%16llu %16llu  %-4s %5llu ", piece->start, piece->length,
	       kind_names[piece->kind], piece->depth);
	if (piece->kind == EXTENT_DATA)
		printf("%16llu\n", piece->offset);
	else
		printf("%16s\n", "-");
}

static void print_last(struct mapping *mapping)
{
	if (!mapping->last.length)
		return;
	if (mapping->request->json)
		print_json(mapping, &mapping->last);
	else
		print_line(mapping, &mapping->last);
	mapping->printed = true;
}

static bool goes_on(const struct piece *last, const struct piece *piece)
{
	if (!last->length || last->kind != piece->kind || last->depth != piece->depth)
		return false;
	return piece->kind != EXTENT_DATA || last->offset + last->length == piece->offset;
}

static void add(struct mapping *mapping, const struct piece *piece)
{
	if (goes_on(&mapping->last, piece)) {
		mapping->last.length += piece->length;
		return;
	}
	print_last(mapping);
	mapping->last = *piece;
}

/*----------------------------------------------------------------
 * Images
 *----------------------------------------------------------------
 */

/* The size of the disk that an image shows to the one above it */
static u64 layer_size(const struct mapping *mapping, unsigned int depth)
{
	const struct tables *tables = &mapping->tables[depth];

	return tables->img ? tables->img->image_size : tables->size;
}

/* The uppermost image that has something there, as far as one and the same has it */
static int find(struct mapping *mapping, u64 offset, u64 most, struct piece *piece)
{
	struct extent extent = { .kind = EXTENT_NONE };
	unsigned int depth;
	int r = 0;

	for (depth = 0; !r && depth < mapping->nr && extent.kind == EXTENT_NONE; depth++) {
		/* behind its end nothing shows of an image, nor of what is below that */
		if (offset >= layer_size(mapping, depth))
			break;
		most = min_u64(most, layer_size(mapping, depth) - offset);
		r = tables_find(&mapping->tables[depth], offset, most, &extent);
		most = extent.length;
	}
	*piece = (struct piece){ .start = offset, .length = most, .depth = depth - 1,
				 .kind = extent.kind, .offset = extent.offset };
	return r;
}

static int map(struct mapping *mapping)
{
	u64 size = layer_size(mapping, 0), offset;
	struct piece piece;
	int r;

	for (offset = 0; offset < size; offset += piece.length) {
		r = find(mapping, offset, size - offset, &piece);
		if (r == -EUCLEAN)
			return fail_advise(EUCLEAN, "qed-fsck --chain tells which",
					   "%s: a table has a defect", mapping->request->words[0]);
		if (r)
			return fail_as(r, mapping->request->words[0]);
		add(mapping, &piece);
	}
	print_last(mapping);
	return 0;
}

static int add_layer(struct mapping *mapping, unsigned int depth)
{
	struct qed_image *img = mapping->chain.images[depth];
	int r;

	if (qed_chain_is_raw(&mapping->chain, depth)) {
		r = tables_init_raw(&mapping->tables[depth], img->fd, img->size);
	} else {
		r = subject_check_header(img);
		if (!r)
			r = tables_init(&mapping->tables[depth], img);
	}
	if (!r)
		mapping->nr++;
	return fail_as(r, img->path);
}

static int add_layers(struct mapping *mapping)
{
	unsigned int depth;
	int r = mapping->request->chain ? base_open_chain(&mapping->chain) : 0;

	for (depth = 0; !r && depth < mapping->chain.nr; depth++)
		r = add_layer(mapping, depth);
	return r;
}

/*----------------------------------------------------------------
 * The verb
 *----------------------------------------------------------------
 */

static int print_map(struct mapping *mapping)
{
	struct json_object *object;
	int r = add_layers(mapping);

	if (r || !mapping->request->json)
		return r ? r : map(mapping);
	object = json_document();
	json_text(object, "filename", mapping->request->words[0]);
	json_u64(object, "image-size", mapping->chain.images[0]->image_size);
	json_print(object, true);
	printf(",\"extents\":[");
	r = map(mapping);
	putchar(']');
	object = json_object_new_object();
	if (r)
		json_failure(object, r);
	json_print_rest(object);
	return r;
}

int run_map(const struct request *request)
{
	struct mapping *mapping = calloc(1, sizeof(*mapping));
	struct subject subject;
	int r = mapping ? subject_open_image(&subject, request->words[0], SUBJECT_READ) : -ENOMEM;

	if (r) {
		free(mapping);
		return r;
	}
	mapping->request = request;
	mapping->chain.images[0] = &subject.img;
	mapping->chain.nr = 1;
	r = print_map(mapping);
	while (mapping->nr)
		tables_free(&mapping->tables[--mapping->nr]);
	qed_chain_close(&mapping->chain);
	subject_close(&subject);
	free(mapping);
	return r;
}
