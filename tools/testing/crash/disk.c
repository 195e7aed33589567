// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a disk may hold after a power cut, see disk.h.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "disk.h"

void *alloc(void *old, size_t nr, size_t size)
{
	void *new = reallocarray(old, nr ? nr : 1, size);

	if (!new) {
		fprintf(stderr, "out of memory\n");
		exit(2);
	}
	if (!old)
		memset(new, 0, nr * size);
	return new;
}

/*----------------------------------------------------------------
 * Contents
 *----------------------------------------------------------------
 */

static uint64_t hash_data(const void *data)
{
	uint64_t words[SECTOR_SIZE / 8], hash = 0;
	unsigned int i;

	memcpy(words, data, sizeof(words));
	for (i = 0; i < SECTOR_SIZE / 8; i++) {
		hash = (hash ^ words[i]) * 0x9fb21c651e98df25ULL;
		hash ^= hash >> 32;
	}
	return hash;
}

static uint32_t *hash_slot(struct contents *c, const void *data)
{
	uint64_t i = hash_data(data);

	for (;; i++) {
		uint32_t *slot = &c->hash[i & (c->hash_size - 1)];

		if (!*slot || !memcmp(c->data[*slot - 1], data, SECTOR_SIZE))
			return slot;
	}
}

static void contents_grow(struct contents *c)
{
	uint32_t i;

	c->room *= 2;
	c->hash_size = c->room * 2;
	c->data = alloc(c->data, c->room, SECTOR_SIZE);
	free(c->hash);
	c->hash = alloc(NULL, c->hash_size, sizeof(*c->hash));
	for (i = 0; i < c->nr; i++)
		*hash_slot(c, c->data[i]) = i + 1;
}

void contents_init(struct contents *c)
{
	static const char zeroes[SECTOR_SIZE];

	memset(c, 0, sizeof(*c));
	c->room = 1024;
	contents_grow(c);
	contents_number(c, zeroes);
}

void contents_free(struct contents *c)
{
	free(c->data);
	free(c->hash);
}

uint32_t contents_number(struct contents *c, const void *data)
{
	uint32_t *slot = hash_slot(c, data);

	if (*slot)
		return *slot - 1;
	if (c->nr == c->room) {
		contents_grow(c);
		slot = hash_slot(c, data);
	}
	memcpy(c->data[c->nr], data, SECTOR_SIZE);
	*slot = ++c->nr;
	return c->nr - 1;
}

/*----------------------------------------------------------------
 * Candidates of a sector
 *----------------------------------------------------------------
 */

static uint32_t node_get(struct disk *disk)
{
	uint32_t node = disk->free_node;

	if (node) {
		disk->free_node = disk->nodes[node].next;
		return node;
	}
	if (!(disk->nr_nodes & (disk->nr_nodes - 1)))
		disk->nodes = alloc(disk->nodes, 2 * (size_t)disk->nr_nodes,
				    sizeof(*disk->nodes));
	return disk->nr_nodes++;
}

static void sector_add(struct disk *disk, uint64_t sector, uint32_t write)
{
	uint32_t node = node_get(disk), *link = &disk->head[sector];

	if (!*link) {
		disk->active_index[sector] = disk->nr_active;
		disk->active[disk->nr_active++] = sector;
	}
	while (*link)
		link = &disk->nodes[*link].next;
	*link = node;
	disk->nodes[node].write = write;
	disk->nodes[node].next = 0;
	disk->writes[write].live++;
}

static void sector_calm(struct disk *disk, uint64_t sector)
{
	uint32_t last = disk->active[--disk->nr_active];

	disk->active[disk->active_index[sector]] = last;
	disk->active_index[last] = disk->active_index[sector];
}

static void sector_remove(struct disk *disk, uint32_t *link)
{
	uint32_t node = *link;

	disk->writes[disk->nodes[node].write].live--;
	*link = disk->nodes[node].next;
	disk->nodes[node].next = disk->free_node;
	disk->free_node = node;
}

/* A write to this sector is stable: nothing before it can be seen any more. */
static void sector_stable(struct disk *disk, uint64_t sector, uint32_t write)
{
	uint64_t submitted = disk->writes[write].submitted;
	uint32_t *link = &disk->head[sector], node;
	bool found = false;

	for (node = *link; node && !found; node = disk->nodes[node].next)
		found = disk->nodes[node].write == write;
	if (!found)	/* overwritten itself */
		return;

	disk->base[sector] = NO_CONTENT;
	while (*link) {
		uint32_t other = disk->nodes[*link].write;

		if (other != write && disk->writes[other].done < submitted)
			sector_remove(disk, link);
		else
			link = &disk->nodes[*link].next;
	}
	node = disk->head[sector];
	if (!disk->nodes[node].next) {
		disk->base[sector] = disk_node_content(disk, node, sector);
		sector_remove(disk, &disk->head[sector]);
		sector_calm(disk, sector);
	}
}

bool disk_may_have(const struct disk *disk, uint64_t sector, uint32_t content)
{
	uint32_t node;

	if (disk->base[sector] == content)
		return true;
	for (node = disk->head[sector]; node; node = disk->nodes[node].next) {
		if (disk_node_is_discard(disk, node)) {
			if (!content || content == disk->poison)
				return true;
		} else if (disk_node_content(disk, node, sector) == content) {
			return true;
		}
	}
	return false;
}

/*----------------------------------------------------------------
 * Events
 *----------------------------------------------------------------
 */

static struct disk_write *submit(struct disk *disk, uint32_t id, uint64_t pos)
{
	while (id >= disk->nr_writes) {
		size_t nr = disk->nr_writes ? 2 * (size_t)disk->nr_writes : 64;

		disk->writes = alloc(disk->writes, nr, sizeof(*disk->writes));
		disk->pending = alloc(disk->pending, nr, sizeof(uint32_t));
		memset(disk->writes + disk->nr_writes, 0,
		       (nr - disk->nr_writes) * sizeof(*disk->writes));
		disk->nr_writes = nr;
	}
	disk->writes[id].submitted = pos;
	disk->writes[id].done = UINT64_MAX;
	return &disk->writes[id];
}

static void changed(struct disk *disk, const struct disk_write *w)
{
	uint64_t sector;

	for (sector = w->sector; disk->changed && sector < w->sector + w->nr;
	     sector++)
		disk->changed(disk, sector);
}

static void make_stable(struct disk *disk, uint32_t id)
{
	struct disk_write *w = &disk->writes[id];
	uint32_t i;

	w->stable = true;
	for (i = 0; i < w->nr; i++)
		sector_stable(disk, w->sector + i, id);
	changed(disk, w);
}

/* Forget those that are stable, or that cannot be seen. Keeps the order. */
static void prune_pending(struct disk *disk)
{
	uint32_t i, nr = 0;

	for (i = 0; i < disk->nr_pending; i++) {
		struct disk_write *w = &disk->writes[disk->pending[i]];

		if (!w->stable && w->live)
			disk->pending[nr++] = disk->pending[i];
	}
	disk->nr_pending = nr;
}

void disk_write(struct disk *disk, uint32_t id, uint64_t pos, uint64_t sector,
		uint32_t nr, uint32_t *contents, bool fua)
{
	struct disk_write *w = submit(disk, id, pos);
	uint32_t i;

	w->sector = sector;
	w->nr = nr;
	w->contents = contents;
	w->fua = fua;
	for (i = 0; i < nr; i++)
		sector_add(disk, sector + i, id);
	disk->pending[disk->nr_pending++] = id;
	changed(disk, w);
}

void disk_discard(struct disk *disk, uint32_t id, uint64_t pos, uint64_t sector,
		  uint32_t nr)
{
	disk_write(disk, id, pos, sector, nr, NULL, false);
}

void disk_write_done(struct disk *disk, uint32_t id, uint64_t pos, bool ok)
{
	struct disk_write *w = &disk->writes[id];

	w->done = pos;
	w->failed = !ok;
	if (ok && w->fua) {
		make_stable(disk, id);
		prune_pending(disk);
	}
}

void disk_flush(struct disk *disk, uint32_t id, uint64_t pos)
{
	submit(disk, id, pos)->flush = true;
}

void disk_flush_done(struct disk *disk, uint32_t id, uint64_t pos, bool ok)
{
	struct disk_write *flush = &disk->writes[id];
	uint32_t i;

	flush->done = pos;
	if (!ok)
		return;
	for (i = 0; i < disk->nr_pending; i++) {
		struct disk_write *w = &disk->writes[disk->pending[i]];

		if (w->contents && !w->failed && w->done < flush->submitted)
			make_stable(disk, disk->pending[i]);
	}
	prune_pending(disk);
}

void disk_lose(struct disk *disk)
{
	uint32_t i;

	for (i = 0; i < disk->nr_pending; i++) {
		struct disk_write *w = &disk->writes[disk->pending[i]];

		if (w->done != UINT64_MAX)
			w->failed = true;
	}
}

void disk_init(struct disk *disk, uint64_t nr)
{
	memset(disk, 0, sizeof(*disk));
	disk->nr = nr;
	disk->base = alloc(NULL, nr, sizeof(uint32_t));
	disk->head = alloc(NULL, nr, sizeof(uint32_t));
	disk->active = alloc(NULL, nr, sizeof(uint32_t));
	disk->active_index = alloc(NULL, nr, sizeof(uint32_t));
	disk->nodes = alloc(NULL, 1, sizeof(*disk->nodes));
	disk->nr_nodes = 1;
}

void disk_free(struct disk *disk)
{
	free(disk->base);
	free(disk->head);
	free(disk->active);
	free(disk->active_index);
	free(disk->nodes);
	free(disk->writes);
	free(disk->pending);
}
