// SPDX-License-Identifier: GPL-2.0-only
/*
 * The geometry of an image whose header is lost, see geometry.h.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "geometry.h"
#include "header.h"

/* An L1 table is looked for in so many clusters */
#define L1_PLACES	16U

/* So many L2 tables are looked at, and so much of each, and of an L1 table */
#define MOST_TABLES	32U
#define MOST_BLOCKS	64U

/* So much is read at most, of all that may be an L1 or L2 table, in bytes */
#define MOST_BYTES	536870912U

#define BLOCK_ENTRIES	(QED_ALIGNMENT / sizeof(__le64))

/*----------------------------------------------------------------
 * What the user says
 *----------------------------------------------------------------
 */

/* A number with a unit; false if there is none. @text: what follows */
static bool parse_number(const char **text, u64 *number)
{
	static const char units[] = "KMGT";
	const char *unit;
	char *end;

	errno = 0;
	*number = strtoull(*text, &end, 0);
	if (errno || end == *text || **text == '-')
		return false;
	unit = *end ? strchr(units, *end) : NULL;
	if (unit) {
		unsigned int shift = 10 * (unit - units + 1);

		if (*number > ~0ULL >> shift)
			return false;
		*number <<= shift;
		end++;
	}
	*text = end;
	return true;
}

static bool is_legal(const struct qed_geometry *g)
{
	return g->cluster_size >= QED_MIN_CLUSTER_SIZE &&
	       g->cluster_size <= QED_MAX_CLUSTER_SIZE &&
	       !(g->cluster_size & (g->cluster_size - 1)) &&
	       g->table_size >= QED_MIN_TABLE_SIZE && g->table_size <= QED_MAX_TABLE_SIZE &&
	       !(g->table_size & (g->table_size - 1)) &&
	       !(g->l1_offset % g->cluster_size) && !(g->image_size % 512);
}

bool qed_geometry_parse(struct qed_geometry *geometry, const char *text)
{
	const struct {
		const char *name;
		u64 *value;
	} fields[] = {
		{ "cluster=", &geometry->cluster_size },
		{ "table=", &geometry->table_size },
		{ "l1=", &geometry->l1_offset },
		{ "size=", &geometry->image_size },
	};
	unsigned int i;

	memset(geometry, 0, sizeof(*geometry));
	for (;;) {
		for (i = 0; i < ARRAY_SIZE(fields); i++)
			if (!strncmp(text, fields[i].name, strlen(fields[i].name)))
				break;
		if (i == ARRAY_SIZE(fields))
			return false;
		text += strlen(fields[i].name);
		if (!parse_number(&text, fields[i].value))
			return false;
		if (!*text)
			return is_legal(geometry);
		if (*text++ != ',')
			return false;
	}
}

/*----------------------------------------------------------------
 * Headers
 *----------------------------------------------------------------
 */

static void set_geometry(struct qed_image *img, const struct qed_geometry *g)
{
	img->cluster_shift = __builtin_ctzll(g->cluster_size);
	img->table_clusters = g->table_size;
	img->entries_shift = img->cluster_shift + __builtin_ctzll(g->table_size) - 3;
	img->header_clusters = 1;
	img->l1_offset = g->l1_offset;
	img->image_size = g->image_size;
	qed_image_count_clusters(img);
}

/* Is there a header that is not lost? */
static bool has_header(struct qed_image *img)
{
	struct qed_image copy = *img;
	struct qed_header_check check;
	const char *why;

	return qed_header_is_qed(&copy, &why) && !qed_header_check(&copy, &check) && !check.nr;
}

int qed_geometry_apply(struct qed_geometry *g, struct qed_image *img)
{
	struct qed_header header = { .magic = htole32(QED_MAGIC) };
	int r = 0;

	if (has_header(img))
		return -EEXIST;
	if (!g->l1_offset)
		g->l1_offset = g->cluster_size;
	set_geometry(img, g);
	if (!g->image_size)
		r = qed_mapped_size(img, &g->image_size);
	header.cluster_size = htole32(g->cluster_size);
	header.table_size = htole32(g->table_size);
	header.header_size = htole32(1);
	header.features = htole64(QED_F_NEED_CHECK);
	header.l1_table_offset = htole64(g->l1_offset);
	/* that is not to be doubted */
	header.autoclear_features = htole64(QED_AF_PLACED);
	header.image_size = htole64(g->image_size);
	img->header = header;
	return r;
}

/*----------------------------------------------------------------
 * Search
 *----------------------------------------------------------------
 */

struct search {
	struct qed_image *img;		/* with the geometry that is tried */
	struct qed_proposal *proposals, trial;
	unsigned int *nr;
	__le64 *buf;
	u64 tables[MOST_TABLES];	/* offsets, in order */
	unsigned int nr_tables;
	u64 left;			/* of MOST_BYTES */
};

/* What to do with an entry that is not 0 or 1; false: no more */
typedef bool (*visit_entry)(struct search *s, u64 entry);

/* Visit the entries of the first blocks of a table that have data. 0 or an error */
static int visit_table(struct search *s, u64 table, visit_entry visit)
{
	struct qed_image *img = s->img;
	u64 offset = table, end = table + qed_table_bytes(img);
	unsigned int blocks, i;
	long r;

	for (blocks = 0; blocks < MOST_BLOCKS && s->left; blocks++) {
		s->left -= QED_ALIGNMENT;
		r = qed_next_piece(img, s->buf, QED_ALIGNMENT, &offset, end);
		if (r <= 0)
			return r == -EINTR ? -EINTR : 0;
		for (i = 0; i < BLOCK_ENTRIES; i++)
			if (le64toh(s->buf[i]) > QED_ENTRY_ZERO && !visit(s, le64toh(s->buf[i])))
				return 0;
		offset += QED_ALIGNMENT;
	}
	return 0;
}

/* The first one of the tables that is at this offset or behind it */
static unsigned int table_from(const struct search *s, u64 offset)
{
	unsigned int low = 0, high = s->nr_tables, middle;

	while (low < high) {
		middle = (low + high) / 2;
		if (s->tables[middle] < offset)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* An L1 table has nothing but tables, which do not overlap */
static bool visit_l1(struct search *s, u64 entry)
{
	u64 size = qed_table_bytes(s->img);
	unsigned int i = table_from(s, entry);

	if (qed_entry_defect(s->img, entry, s->img->table_clusters) ||
	    (i && entry < s->tables[i - 1] + size) ||
	    (i < s->nr_tables && s->tables[i] < entry + size)) {
		s->trial.tables = 0;
		return false;
	}
	s->trial.tables++;
	if (s->nr_tables == MOST_TABLES)
		return true;
	memmove(&s->tables[i + 1], &s->tables[i], (s->nr_tables - i) * sizeof(*s->tables));
	s->tables[i] = entry;
	s->nr_tables++;
	return true;
}

static bool visit_l2(struct search *s, u64 entry)
{
	unsigned int i = table_from(s, entry);
	u64 behind = i ? s->tables[i - 1] + qed_table_bytes(s->img) : 0;
	bool is_table = entry < behind || (i < s->nr_tables && entry == s->tables[i]);

	s->trial.adjacent += entry == behind;
	if (is_table || qed_entry_defect(s->img, entry, 1))
		s->trial.illegal++;
	else
		s->trial.legal++;
	return true;
}

/* Which one is better? First by what is legal, then by what follows on tables */
static bool is_better(const struct qed_proposal *a, const struct qed_proposal *b)
{
	u64 first = a->legal / (1 + a->illegal), second = b->legal / (1 + b->illegal);

	if (first != second)
		return first > second;
	if (a->adjacent != b->adjacent)
		return a->adjacent > b->adjacent;
	return a->geometry.cluster_size > b->geometry.cluster_size;
}

static void propose(struct search *s)
{
	unsigned int i = *s->nr;

	if (*s->nr < QED_MAX_PROPOSALS)
		++*s->nr;
	else if (!is_better(&s->trial, &s->proposals[--i]))
		return;
	for (; i && is_better(&s->trial, &s->proposals[i - 1]); i--)
		s->proposals[i] = s->proposals[i - 1];
	s->proposals[i] = s->trial;
}

static int try_geometry(struct search *s, const struct qed_geometry *g)
{
	unsigned int i;
	int r;

	memset(&s->trial, 0, sizeof(s->trial));
	s->trial.geometry = *g;
	s->nr_tables = 0;
	set_geometry(s->img, g);
	if (g->l1_offset + qed_table_bytes(s->img) > s->img->size)
		return 0;
	r = visit_table(s, g->l1_offset, visit_l1);
	if (r || !s->trial.tables)
		return r;
	for (i = 0; i < s->nr_tables; i++) {
		u64 behind = s->tables[i] + qed_table_bytes(s->img);
		unsigned int j;

		for (j = 0; j < s->nr_tables; j++)
			s->trial.adjacent += s->tables[j] == behind;
		s->trial.adjacent += s->tables[i] == g->l1_offset + qed_table_bytes(s->img);
		r = visit_table(s, s->tables[i], visit_l2);
		if (r)
			return r;
	}
	if (s->trial.legal > s->trial.illegal)
		propose(s);
	return 0;
}

static int try_all(struct search *s)
{
	struct qed_geometry g;
	unsigned int i;
	int r = 0;

	memset(&g, 0, sizeof(g));
	for (g.cluster_size = QED_MIN_CLUSTER_SIZE; g.cluster_size <= QED_MAX_CLUSTER_SIZE;
	     g.cluster_size *= 2)
		for (g.table_size = QED_MIN_TABLE_SIZE; g.table_size <= QED_MAX_TABLE_SIZE;
		     g.table_size *= 2)
			for (i = 1; !r && i <= L1_PLACES; i++) {
				g.l1_offset = i * g.cluster_size;
				r = try_geometry(s, &g);
			}
	return r;
}

int qed_geometry_search(struct qed_image *img, struct qed_proposal *proposals, unsigned int *nr)
{
	struct qed_image copy = *img;
	struct search s = { .img = &copy, .proposals = proposals, .nr = nr,
			    .left = MOST_BYTES };
	unsigned int i;
	int r = -ENOMEM;

	*nr = 0;
	s.buf = aligned_alloc(QED_ALIGNMENT, QED_ALIGNMENT);
	if (s.buf)
		r = try_all(&s);
	free(s.buf);
	for (i = 0; !r && i < *nr; i++) {
		set_geometry(&copy, &proposals[i].geometry);
		r = qed_mapped_size(&copy, &proposals[i].geometry.image_size);
	}
	return r;
}
