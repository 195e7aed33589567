// SPDX-License-Identifier: GPL-2.0-only
/*
 * A checksum of an image's tables, see digest.h.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "crc.h"
#include "digest.h"
#include "header.h"
#include "map.h"

struct digest {
	struct qed_image img;
	struct qed_map seen;		/* first clusters of tables */
	char *l1_buf, *l2_buf;
	u32 crc;
};

static bool is_zero(const char *buf, u64 length)
{
	return !buf[0] && !memcmp(buf, buf + 1, length - 1);
}

/* Where something is counts, but not how long the zeroes between are */
static void add_piece(struct digest *d, const char *buf, u64 offset, u64 length)
{
	__le64 place;
	u64 i;

	for (i = 0; i < length; i += QED_ALIGNMENT) {
		if (is_zero(buf + i, QED_ALIGNMENT))
			continue;
		place = htole64(offset + i);
		d->crc = qed_crc(d->crc, &place, sizeof(place));
		d->crc = qed_crc(d->crc, buf + i, QED_ALIGNMENT);
	}
}

typedef int (*use_piece)(struct digest *d, const char *buf, u64 length);

static int add_table(struct digest *d, char *buf, u64 table, use_piece use)
{
	u64 offset = table, end = table + qed_table_bytes(&d->img);
	long length = 0;
	int r = 0;

	while (!r && (length = qed_next_piece(&d->img, buf, QED_PIECE_SIZE, &offset, end)) > 0) {
		add_piece(d, buf, offset, length);
		if (use)
			r = use(d, buf, length);
		offset += length;
	}
	return length < 0 ? length : r;
}

static int add_l2_tables(struct digest *d, const char *buf, u64 length)
{
	const __le64 *entries = (const __le64 *)buf;
	u64 i, entry, cluster;
	int r = 0;

	for (i = 0; !r && i < length / sizeof(*entries); i++) {
		entry = le64toh(entries[i]);
		cluster = entry >> d->img.cluster_shift;
		if (!entry || qed_entry_defect(&d->img, entry, d->img.table_clusters) ||
		    qed_map_test(&d->seen, cluster))
			continue;
		r = qed_map_set(&d->seen, cluster, 1);
		if (!r)
			r = add_table(d, d->l2_buf, entry, NULL);
	}
	return r;
}

static int add_all(struct digest *d)
{
	struct qed_header_check check;
	const char *why;
	int r;

	if (!qed_header_is_qed(&d->img, &why))
		return 0;
	r = qed_header_check(&d->img, &check);
	if (r || check.fatal)
		return r;
	d->l1_buf = qed_alloc_piece(&d->img);
	d->l2_buf = qed_alloc_piece(&d->img);
	if (!d->l1_buf || !d->l2_buf)
		return -ENOMEM;
	return add_table(d, d->l1_buf, d->img.l1_offset, add_l2_tables);
}

int qed_digest_tables(const struct qed_image *img, const struct qed_header *header, u32 *digest)
{
	struct digest d = { };
	int r = qed_image_init(&d.img, img->fd, img->path, false);

	if (!r && header)
		d.img.header = *header;
	if (!r)
		r = add_all(&d);
	free(d.l1_buf);
	free(d.l2_buf);
	qed_map_free(&d.seen);
	*digest = d.crc;
	return r;
}
