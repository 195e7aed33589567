/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The geometry of an image whose header is lost.
 */

#ifndef QED_GEOMETRY_H
#define QED_GEOMETRY_H

#include "image.h"

#define QED_MAX_PROPOSALS	5U

/**
 * struct qed_geometry - what a header says
 * @cluster_size: in bytes
 * @table_size: in clusters
 * @l1_offset: of the L1 table, in bytes; 0: unknown
 * @image_size: of the disk, in bytes; 0: unknown
 */
struct qed_geometry {
	u64 cluster_size, table_size, l1_offset, image_size;
};

/**
 * struct qed_proposal - a geometry that may be the right one
 * @geometry: this one
 * @tables: number of L2 tables by it
 * @legal: number of entries in those that were looked at that are legal
 * @illegal: number of those that are not
 * @adjacent: number of tables that something begins behind, of these
 */
struct qed_proposal {
	struct qed_geometry geometry;
	u64 tables, legal, illegal, adjacent;
};

/* Read what --geometry takes, see qed-fsck(8). Is it legal? */
bool qed_geometry_parse(struct qed_geometry *geometry, const char *text);

/**
 * qed_geometry_apply() - take an image for one with this geometry
 * @geometry: it; what is unknown is found out
 * @img: the image; its header becomes one with NEED_CHECK, not on the disk
 *
 * Return: 0, -EEXIST if it has a legal header, or another error.
 */
int qed_geometry_apply(struct qed_geometry *geometry, struct qed_image *img);

/**
 * qed_geometry_search() - look for geometries by which there are tables
 * @img: the image
 * @proposals: room for QED_MAX_PROPOSALS; the best comes first
 * @nr: number of proposals
 *
 * Reads at most the first 16 clusters, of each size, in search of an L1 table, and some
 * L2 tables of each.
 * Return: 0, or an error.
 */
int qed_geometry_search(struct qed_image *img, struct qed_proposal *proposals, unsigned int *nr);

#endif /* QED_GEOMETRY_H */
