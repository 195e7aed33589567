/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is in tables, whether they are any, and what they refer to.
 *
 * Tables may overlap each other in any way. Each of their clusters is read once.
 */

#ifndef QED_SURVEY_H
#define QED_SURVEY_H

#include "image.h"
#include "map.h"

/**
 * struct qed_survey - what is in a table
 * @legal: number of entries that are legal, without 0 and 1
 * @illegal: number of entries that are illegal
 * @cut: number of those that refer to what may have been cut off
 * @zeroes: number of entries that are 1
 */
struct qed_survey {
	u64 legal, illegal, cut, zeroes;
};

/*
 * Does it point to what was behind the end before the image was cut? Or is it just wrong,
 * as one that points further away than the image is long.
 */
static inline bool qed_is_cut_off(const struct qed_image *img, enum qed_defect defect, u64 entry)
{
	return defect == QED_DEFECT_BEYOND_END &&
	       entry >> img->cluster_shift < 2 * img->nr_clusters;
}

/**
 * struct qed_surveys - what is known about tables
 * @img: the image
 * @refers: where to set the bits of all clusters of these tables, and of those
 *	that their entries refer to, also behind the end; or NULL
 * @reached: where to set those that legal entries of tables refer to that are not
 *	known yet; or NULL
 * @tables: what is known about tables, by their first cluster
 * @clusters: about clusters of tables
 * @unread: how often something could not be read
 *
 * With @img and @refers set, all else zero, nothing is known.
 */
struct qed_surveys {
	struct qed_image *img;
	struct qed_map *refers, *reached;
	struct qed_hash tables, clusters;
	u64 unread;
};

/* Forget all, but what was unread, to begin again, as when @refers was cleared. */
void qed_surveys_forget(struct qed_surveys *surveys);

/**
 * qed_survey_table() - look what is in a table
 * @surveys: what is known
 * @table: offset of the table, whose first cluster is in the image
 * @survey: the result
 *
 * Return: 0, -EREMOTEIO if it cannot be read, or another error.
 */
int qed_survey_table(struct qed_surveys *surveys, u64 table, struct qed_survey *survey);

/* Is there so much that is no entry that this is no table, when others claim it, too? */
static inline bool qed_is_no_table(const struct qed_survey *survey)
{
	return survey->illegal > survey->legal;
}

/* So many illegal entries, and as many more for each 1, tell that there is something else */
#define QED_NO_TABLE_ENTRIES	16U

/*
 * Is it none, also if nothing else claims it? Data has 1 now and then; what is mapped would be
 * lost with the table.
 */
static inline bool qed_is_surely_no_table(const struct qed_survey *survey)
{
	return !survey->legal && !survey->cut &&
	       survey->illegal / QED_NO_TABLE_ENTRIES > survey->zeroes;
}

/**
 * qed_survey_part() - look what is in a part of a table
 * @img: the image
 * @table: offset of the table
 * @limit: only entries before this one
 * @reached: where to set the bits of the clusters that legal entries refer to
 * @survey: the result
 *
 * Return: 0, -EREMOTEIO if it cannot be read, or another error.
 */
int qed_survey_part(struct qed_image *img, u64 table, u64 limit, struct qed_map *reached,
		    struct qed_survey *survey);

/**
 * struct qed_no_tables - L1 entries within the size, by index, whose tables are none
 * @dropped: those whose tables share clusters with others
 * @alone: those whose tables do not
 */
struct qed_no_tables {
	struct qed_map dropped, alone;
};

/**
 * qed_find_no_tables() - find what is no table
 * @surveys: what is known
 * @shared: clusters that are referenced more than once; those of a table that is may all be
 * @doubtful: L1 entries, by index, whose tables have %QED_NO_TABLE_ENTRIES illegal entries;
 *	of those that are shared it does not matter
 * @found: bits are set
 *
 * A table that cannot be read is one, and counts as unread: unless others know of it,
 * what comes out must not be used.
 * Return: 0, or an error.
 */
int qed_find_no_tables(struct qed_surveys *surveys, const struct qed_map *shared,
		       const struct qed_map *doubtful, struct qed_no_tables *found);

#endif /* QED_SURVEY_H */
