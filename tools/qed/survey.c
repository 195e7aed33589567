// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is in tables, see survey.h.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "survey.h"

/* What is in a cluster of a table, or in a table */
struct known {
	u64 cluster;		/* the key */
	struct qed_survey survey;
	bool is_bad;		/* cannot be read */
};

void qed_surveys_forget(struct qed_surveys *surveys)
{
	qed_hash_free(&surveys->tables);
	qed_hash_free(&surveys->clusters);
}

/*----------------------------------------------------------------
 * Clusters
 *----------------------------------------------------------------
 */

/* Also remembers what is behind the end: it must not come true when the file gets longer */
static int survey_entry(struct qed_surveys *surveys, u64 entry, struct qed_survey *survey)
{
	const struct qed_image *img = surveys->img;
	u64 cluster = entry >> img->cluster_shift;
	enum qed_defect defect;
	int r = 0;

	survey->zeroes += entry == QED_ENTRY_ZERO;
	if (entry <= QED_ENTRY_ZERO)
		return 0;
	defect = qed_entry_defect(img, entry, 1);
	survey->legal += !defect;
	survey->illegal += !!defect;
	survey->cut += qed_is_cut_off(img, defect, entry);
	if (surveys->reached && !defect)
		r = qed_map_set(surveys->reached, cluster, 1);
	if (r || !surveys->refers || (defect && defect != QED_DEFECT_BEYOND_END))
		return r;
	return qed_map_set(surveys->refers, cluster, 1);
}

/* Read a cluster of a table, a piece at a time */
static int read_cluster(struct qed_surveys *surveys, __le64 *buf, struct known *known)
{
	struct qed_image *img = surveys->img;
	u64 offset = known->cluster << img->cluster_shift, end = offset + qed_cluster_size(img);
	long length, i;
	int r;

	while ((length = qed_next_piece(img, buf, QED_PIECE_SIZE, &offset, end)) > 0) {
		for (i = 0; i < length / 8; i++) {
			r = survey_entry(surveys, le64toh(buf[i]), &known->survey);
			if (r)
				return r;
		}
		offset += length;
	}
	if (!length || length == -EINTR)
		return length;
	known->is_bad = true;
	surveys->unread++;
	return 0;
}

static int survey_cluster(struct qed_surveys *surveys, __le64 *buf, u64 cluster,
			  struct known *table)
{
	struct known *known = qed_hash_find(&surveys->clusters, cluster);
	int r;

	if (!known) {
		known = qed_hash_add(&surveys->clusters, cluster, sizeof(*known));
		if (!known)
			return -ENOMEM;
		r = read_cluster(surveys, buf, known);
		if (r)
			return r;
	}
	table->survey.legal += known->survey.legal;
	table->survey.illegal += known->survey.illegal;
	table->survey.cut += known->survey.cut;
	table->survey.zeroes += known->survey.zeroes;
	table->is_bad |= known->is_bad;
	return 0;
}

/*----------------------------------------------------------------
 * Tables
 *----------------------------------------------------------------
 */

/* Clusters that are holes are not remembered: there can be more of them than data */
static int survey_clusters(struct qed_surveys *surveys, struct known *table)
{
	struct qed_image *img = surveys->img;
	u64 offset = table->cluster << img->cluster_shift, end = offset + qed_table_bytes(img);
	__le64 *buf = qed_alloc_piece(img);
	int r = buf ? 0 : -ENOMEM;

	while (!r && (offset = qed_next_data(img, offset, end)) < end) {
		r = survey_cluster(surveys, buf, offset >> img->cluster_shift, table);
		offset = ((offset >> img->cluster_shift) + 1) << img->cluster_shift;
	}
	free(buf);
	if (!r && surveys->refers)
		r = qed_map_set(surveys->refers, table->cluster, img->table_clusters);
	return r;
}

int qed_survey_table(struct qed_surveys *surveys, u64 table, struct qed_survey *survey)
{
	u64 cluster = table >> surveys->img->cluster_shift;
	struct known *known = qed_hash_find(&surveys->tables, cluster);
	int r;

	if (!known) {
		known = qed_hash_add(&surveys->tables, cluster, sizeof(*known));
		if (!known)
			return -ENOMEM;
		r = survey_clusters(surveys, known);
		if (r)
			return r;
	}
	*survey = known->survey;
	return known->is_bad ? -EREMOTEIO : 0;
}

int qed_survey_part(struct qed_image *img, u64 table, u64 limit, struct qed_map *reached,
		    struct qed_survey *survey)
{
	struct qed_surveys surveys = { .img = img, .reached = reached };
	u64 offset = table, end = table + limit * 8, i;
	__le64 *buf = qed_alloc_piece(img);
	int r = buf ? 0 : -ENOMEM;
	long length = 0;

	memset(survey, 0, sizeof(*survey));
	while (!r && (length = qed_next_piece(img, buf, QED_PIECE_SIZE, &offset, end)) > 0) {
		for (i = 0; !r && i < (u64)length / 8 && offset + i * 8 < end; i++)
			r = survey_entry(&surveys, le64toh(buf[i]), survey);
		offset += length;
	}
	free(buf);
	if (length < 0)
		return length == -EINTR ? -EINTR : -EREMOTEIO;
	return r;
}

/*----------------------------------------------------------------
 * What is no table
 *----------------------------------------------------------------
 */

struct search {
	struct qed_surveys *surveys;
	const struct qed_map *shared, *doubtful;
	struct qed_no_tables *found;
	__le64 *l1_buf;
};

static bool has_shared_cluster(const struct search *search, u64 table)
{
	const struct qed_image *img = search->surveys->img;
	u64 first = table >> img->cluster_shift, end = first + img->table_clusters;

	return qed_map_next(search->shared, first, end, true) < end;
}

static int search_shared(struct search *search, u64 index, u64 table)
{
	struct qed_survey survey;
	int r = qed_survey_table(search->surveys, table, &survey);

	if (r == -EREMOTEIO)
		return 0;
	if (r || !qed_is_no_table(&survey))
		return r;
	return qed_map_set(&search->found->dropped, index, 1);
}

/* Its claims are known already: what it refers to is not remembered */
static int search_alone(struct search *search, u64 index, u64 table)
{
	struct qed_image *img = search->surveys->img;
	struct qed_survey survey;
	int r = qed_survey_part(img, table, qed_table_entries(img), NULL, &survey);

	search->surveys->unread += r == -EREMOTEIO;
	if (r == -EREMOTEIO)
		return 0;
	if (r || !qed_is_surely_no_table(&survey))
		return r;
	return qed_map_set(&search->found->alone, index, 1);
}

static int search_entry(struct search *search, u64 index, u64 entry)
{
	const struct qed_image *img = search->surveys->img;
	enum qed_defect defect = qed_entry_defect(img, entry, img->table_clusters);

	if (defect && (defect != QED_DEFECT_OVER_END || img->is_block))
		return 0;
	if (has_shared_cluster(search, entry))
		return search_shared(search, index, entry);
	return qed_map_test(search->doubtful, index) ? search_alone(search, index, entry) : 0;
}

static int search_l1(struct search *search)
{
	struct qed_image *img = search->surveys->img;
	u64 table = img->l1_offset, end = table + qed_l1_limit(img) * 8, offset = table, i;
	long length;
	int r;

	while ((length = qed_next_piece(img, search->l1_buf, QED_PIECE_SIZE, &offset, end))) {
		if (length == -EINTR)
			return -EINTR;
		if (length < 0) {
			search->surveys->unread++;
			offset += QED_PIECE_SIZE;
			continue;
		}
		for (i = 0; i < (u64)length / 8 && offset + i * 8 < end; i++) {
			if (!search->l1_buf[i])
				continue;
			r = search_entry(search, (offset - table) / 8 + i,
					 le64toh(search->l1_buf[i]));
			if (r)
				return r;
		}
		offset += length;
	}
	return 0;
}

int qed_find_no_tables(struct qed_surveys *surveys, const struct qed_map *shared,
		       const struct qed_map *doubtful, struct qed_no_tables *found)
{
	struct search search = {
		.surveys = surveys,
		.shared = shared,
		.doubtful = doubtful,
		.found = found,
	};
	int r;

	search.l1_buf = qed_alloc_piece(surveys->img);
	if (!search.l1_buf)
		return -ENOMEM;
	r = search_l1(&search);
	free(search.l1_buf);
	return r;
}
