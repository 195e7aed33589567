// SPDX-License-Identifier: GPL-2.0-only
/*
 * The check of the header, see header.h.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"
#include "header.h"
#include "l1.h"

bool qed_header_is_qed(const struct qed_image *img, const char **error)
{
	const struct qed_header *h = &img->header;

	if (img->size < sizeof(*h) || le32toh(h->magic) != QED_MAGIC) {
		*error = "not a QED image";
		return false;
	}
	if (le64toh(h->features) & ~(u64)QED_FEATURES) {
		*error = "has incompatible features that this version does not know";
		return false;
	}
	return true;
}

static struct qed_finding *add(struct qed_header_check *check, enum qed_code code,
			       const char *field, u64 value)
{
	struct qed_finding *finding = &check->findings[check->nr++];

	memset(finding, 0, sizeof(*finding));
	finding->code = code;
	finding->field = field;
	finding->value = value;
	finding->has = QED_HAS_VALUE;
	return finding;
}

static void set_new(struct qed_finding *finding, u64 value)
{
	finding->new_value = value;
	finding->has |= QED_HAS_NEW_VALUE;
}

static bool is_power_of_2_in(u32 n, u32 least, u32 most)
{
	return n >= least && n <= most && !(n & (n - 1));
}

static void check_sizes(struct qed_image *img, struct qed_header_check *check)
{
	u32 cluster_size = le32toh(img->header.cluster_size);
	u32 table_size = le32toh(img->header.table_size);

	if (!is_power_of_2_in(cluster_size, QED_MIN_CLUSTER_SIZE, QED_MAX_CLUSTER_SIZE)) {
		add(check, QED_CLUSTER_SIZE_ILLEGAL, "cluster_size", cluster_size);
		check->fatal = true;
	}
	if (!is_power_of_2_in(table_size, QED_MIN_TABLE_SIZE, QED_MAX_TABLE_SIZE)) {
		add(check, QED_TABLE_SIZE_ILLEGAL, "table_size", table_size);
		check->fatal = true;
	}
	if (check->fatal)
		return;

	img->cluster_shift = __builtin_ctz(cluster_size);
	img->table_clusters = table_size;
	img->entries_shift = img->cluster_shift + __builtin_ctz(table_size) - 3;
	qed_image_count_clusters(img);
}

/*----------------------------------------------------------------
 * The place of the L1 table
 *----------------------------------------------------------------
 */

static u32 header_limit(const struct qed_image *img)
{
	return ~0U >> img->cluster_shift;
}

static bool backing_name_fits(const struct qed_image *img, u64 clusters)
{
	u64 end = (u64)le32toh(img->header.backing_filename_offset) +
		  le32toh(img->header.backing_filename_size);

	return end <= clusters << img->cluster_shift;
}

/* In clusters: one, or what the name of the backing file needs */
static u32 smallest_header(const struct qed_image *img)
{
	u64 end = (u64)le32toh(img->header.backing_filename_offset) +
		  le32toh(img->header.backing_filename_size);
	u64 clusters = div_up(end, qed_cluster_size(img));

	if (!(le64toh(img->header.features) & QED_F_BACKING_FILE) || !clusters ||
	    clusters > header_limit(img) ||
	    le32toh(img->header.backing_filename_size) > QED_MAX_BACKING_NAME)
		return 1;
	return clusters;
}

/* The first plausible place: 1 and the geometry, 0, or an error */
static int try_places(struct qed_image *img, void *buf, bool size_is_legal, bool offset_is_legal,
		      bool may_be_empty)
{
	u64 offset = le64toh(img->header.l1_table_offset);
	u64 size = le32toh(img->header.header_size);
	u32 smallest = smallest_header(img);
	enum qed_empty_l1 empty = may_be_empty ? QED_EMPTY_AT_END : QED_EMPTY_NEVER;
	int r = 0;

	if (offset_is_legal)
		r = qed_try_l1(img, buf, smallest, offset,
			       may_be_empty && !size_is_legal ? QED_EMPTY_ALWAYS : empty);
	if (!r && size_is_legal)
		r = qed_try_l1(img, buf, size, size << img->cluster_shift, empty);
	if (!r)
		r = qed_try_l1(img, buf, smallest, (u64)smallest << img->cluster_shift, empty);
	return r;
}

/*
 * What looks like an L1 table where the header says may be none nevertheless: as in
 * search_misplaced(), which looks at the header once this has been repaired. 1, or an error.
 */
static int look_behind_header(struct qed_image *img, void *buf, bool size_is_legal)
{
	int r = 0;

	if (img->l1_offset >> img->cluster_shift == img->header_clusters)
		return 1;
	if (size_is_legal)
		r = qed_try_behind_header(img, buf, le32toh(img->header.header_size),
					  QED_NAMED_LIKELY);
	if (!r)
		r = qed_try_behind_header(img, buf, smallest_header(img), QED_NAMED_LIKELY);
	return r < 0 ? r : 1;
}

/*
 * The most plausible place: as try_places(); one that is empty only if no other has
 * anything
 */
static int search_l1(struct qed_image *img, bool size_is_legal, bool offset_is_legal)
{
	void *buf = qed_alloc_piece(img);
	int r;

	if (!buf)
		return -ENOMEM;
	r = try_places(img, buf, size_is_legal, offset_is_legal, false);
	if (r == 1)
		r = look_behind_header(img, buf, size_is_legal);
	if (!r)
		r = try_places(img, buf, size_is_legal, offset_is_legal, true);
	free(buf);
	return r;
}

/* Tell the fields that have to change; those of findings that are there already */
static void place_l1(struct qed_image *img, struct qed_header_check *check,
		     struct qed_finding *size, struct qed_finding *offset)
{
	struct qed_header *h = &check->fixed;

	if (img->header_clusters != le32toh(h->header_size)) {
		h->header_size = htole32(img->header_clusters);
		if (!size) {
			/* only the other field was illegal, or none by itself */
			size = offset->code == QED_L1_IN_HEADER ? offset :
			       add(check, QED_HEADER_SIZE_ILLEGAL, NULL,
				   le32toh(img->header.header_size));
			size->field = "header_size";
			size->value = le32toh(img->header.header_size);
		}
		set_new(size, img->header_clusters);
	}
	if (img->l1_offset != le64toh(h->l1_table_offset)) {
		h->l1_table_offset = htole64(img->l1_offset);
		if (!offset || offset == size)
			offset = add(check, QED_L1_OFFSET_ILLEGAL, "l1_table_offset",
				     le64toh(img->header.l1_table_offset));
		set_new(offset, img->l1_offset);
	}
}

/*
 * The L1 table is at a legal place, but not right behind the header, where all
 * programs put it: is it there after all? A repair would clear what may be anything.
 */
static int search_misplaced(struct qed_image *img, void *buf, struct qed_header_check *check)
{
	u64 offset = img->l1_offset;
	bool over_end = offset + qed_table_bytes(img) >
			img->nr_clusters << img->cluster_shift;
	u64 legal, illegal;
	struct qed_finding *finding;
	enum qed_named kind;
	int r = qed_survey_l1(img, buf, &legal, &illegal);

	kind = legal > illegal ? QED_NAMED_LIKELY : illegal ? QED_NAMED_WRONG : QED_NAMED_EMPTY;
	if (!r)
		r = qed_try_behind_header(img, buf, img->header_clusters, kind);
	if (r != 1)
		return r;
	finding = add(check, legal || illegal || over_end ? QED_L1_OFFSET_ILLEGAL :
							    QED_L1_MISPLACED,
		      "l1_table_offset", offset);
	set_new(finding, img->l1_offset);
	check->fixed.l1_table_offset = htole64(img->l1_offset);
	return 0;
}

/* Has a repair chosen the place that was interrupted, and may have changed tables since? */
static bool is_placed(const struct qed_image *img)
{
	return le64toh(img->header.features) & QED_F_NEED_CHECK &&
	       le64toh(img->header.autoclear_features) & QED_AF_PLACED;
}

static int check_misplaced(struct qed_image *img, struct qed_header_check *check)
{
	void *buf;
	int r;

	if (img->l1_offset >> img->cluster_shift == img->header_clusters || is_placed(img))
		return 0;
	buf = qed_alloc_piece(img);
	if (!buf)
		return -ENOMEM;
	r = search_misplaced(img, buf, check);
	free(buf);
	return r;
}

static int check_l1_place(struct qed_image *img, struct qed_header_check *check)
{
	u64 offset = le64toh(img->header.l1_table_offset);
	u32 header_size = le32toh(img->header.header_size);
	bool size_is_legal = header_size && header_size <= header_limit(img);
	bool offset_is_legal = qed_l1_offset_is_legal(img, offset);
	struct qed_finding *bad_size = NULL, *bad_offset = NULL;
	int r;

	img->header_clusters = header_size;
	img->l1_offset = offset;
	img->image_size = le64toh(img->header.image_size);
	if (!size_is_legal)
		bad_size = add(check, QED_HEADER_SIZE_ILLEGAL, "header_size", header_size);
	if (!offset_is_legal)
		bad_offset = add(check, QED_L1_OFFSET_ILLEGAL, "l1_table_offset", offset);
	else if (size_is_legal && offset >> img->cluster_shift < header_size)
		bad_offset = add(check, QED_L1_IN_HEADER, "l1_table_offset", offset);
	if (!bad_size && !bad_offset)
		return check_misplaced(img, check);

	r = search_l1(img, size_is_legal, offset_is_legal);
	if (r < 0)
		return r;
	if (r)
		place_l1(img, check, bad_size, bad_offset);
	else
		check->fatal = true;
	return 0;
}

static void check_l1_end(struct qed_image *img, struct qed_header_check *check)
{
	u64 end = img->l1_offset + qed_table_bytes(img);
	struct qed_finding *finding;

	if (end >> img->cluster_shift <= img->nr_clusters)
		return;
	finding = add(check, QED_L1_OVER_END, NULL, 0);
	finding->has = QED_HAS_RANGE;
	finding->offset = img->size;
	finding->length = end - img->size;
	check->fatal = img->is_block;
}

/*----------------------------------------------------------------
 * The size of the guest's disk
 *----------------------------------------------------------------
 */

/* Is it an entry that maps something, or names a table that may? */
static bool is_mapping(const struct qed_image *img, u64 entry, bool l1)
{
	enum qed_defect defect;

	if (entry == QED_ENTRY_UNALLOCATED)
		return false;
	if (entry == QED_ENTRY_ZERO)
		return !l1;
	defect = qed_entry_defect(img, entry, l1 ? img->table_clusters : 1);
	return !defect || (defect == QED_DEFECT_OVER_END && !img->is_block);
}

/* What find_mapped_end() has */
struct mapped {
	struct qed_image *img;
	struct qed_hash empty;		/* clusters of tables that map nothing */
	struct qed_hash tables;		/* tables of these, but for those that are holes */
	__le64 *buf;
};

/*
 * The last entry that maps something, between two offsets in a table: its offset, 0 if
 * there is none, or an error in @r
 */
static u64 last_mapping(struct mapped *m, u64 offset, u64 end, int *r)
{
	struct qed_image *img = m->img;
	u64 last = 0;
	long length, i;

	while ((length = qed_next_piece(img, m->buf, QED_PIECE_SIZE, &offset, end)) > 0) {
		for (i = 0; i < length / 8; i++)
			if (is_mapping(img, le64toh(m->buf[i]), false))
				last = offset + i * 8;
		offset += length;
	}
	*r = length;
	return last;
}

/* The same for an L2 table. One that maps nothing is read once, as is each cluster of such. */
static u64 last_in_table(struct mapped *m, u64 table, int *r)
{
	unsigned int shift = m->img->cluster_shift;
	u64 offset = table, end = table + qed_table_bytes(m->img), next, found, last = 0;
	bool has_data = false;

	if (qed_hash_find(&m->tables, table))
		return 0;
	while (!*r && (offset = qed_next_data(m->img, offset, end)) < end) {
		next = ((offset >> shift) + 1) << shift;
		found = 0;
		if (!qed_hash_find(&m->empty, next >> shift))
			found = last_mapping(m, offset, next, r);
		if (found)
			last = found;
		else if (!*r && !qed_hash_add(&m->empty, next >> shift, sizeof(u64)))
			*r = -ENOMEM;
		offset = next;
		has_data = true;
	}
	if (!*r && !last && has_data && !qed_hash_add(&m->tables, table, sizeof(u64)))
		*r = -ENOMEM;
	return last;
}

/* The last L1 entry of a piece whose table maps something: as find_mapped_end() */
static int search_tables(struct mapped *m, const __le64 *l1, u64 first, u64 nr, u64 *clusters)
{
	struct qed_image *img = m->img;
	u64 table, last, i;
	int r = 0;

	for (i = nr; !r && i-- > 0;) {
		table = le64toh(l1[i]);
		if (!is_mapping(img, table, true))
			continue;
		last = last_in_table(m, table, &r);
		if (!last)
			continue;
		*clusters = ((first + i) << img->entries_shift) + (last - table) / 8 + 1;
		break;
	}
	return r;
}

/* The end of what the tables map, in clusters of the guest's disk: 0 or an error */
static int find_mapped_end(struct mapped *m, __le64 *l1, u64 *clusters)
{
	struct qed_image *img = m->img;
	u64 end = qed_table_entries(img), first, nr, offset;
	int r = 0;

	*clusters = 0;
	for (; !r && !*clusters && end; end = first) {
		first = (end - 1) / QED_PIECE_ENTRIES * QED_PIECE_ENTRIES;
		nr = end - first;
		offset = img->l1_offset + first * 8;
		if (qed_next_data(img, offset, offset + nr * 8) >= offset + nr * 8)
			continue;
		r = qed_read_table(img, l1, offset, nr * 8);
		if (!r)
			r = search_tables(m, l1, first, nr, clusters);
	}
	return r;
}

static int find_clusters(struct qed_image *img, u64 *clusters)
{
	struct mapped m = { .img = img, .buf = qed_alloc_piece(img) };
	__le64 *l1 = qed_alloc_piece(img);
	int r = m.buf && l1 ? find_mapped_end(&m, l1, clusters) : -ENOMEM;

	qed_hash_free(&m.empty);
	qed_hash_free(&m.tables);
	free(m.buf);
	free(l1);
	return r;
}

int qed_mapped_size(struct qed_image *img, u64 *size)
{
	u64 max = qed_max_image_size(img), clusters;
	int r = find_clusters(img, &clusters);

	if (!r && clusters <= max >> img->cluster_shift)
		max = clusters << img->cluster_shift;
	*size = max;
	return r;
}

/* The legal size that is next to an illegal one and has all that is mapped; 0: none */
static int find_image_size(struct qed_image *img, u64 *size)
{
	u64 max = qed_max_image_size(img), rounded = *size + (512 - *size % 512) % 512, clusters;
	int r = find_clusters(img, &clusters);

	if (r)
		return r;
	if (*size && *size <= max && rounded <= max &&
	    div_up(rounded, qed_cluster_size(img)) >= clusters)
		*size = rounded;
	else if (clusters <= max >> img->cluster_shift)
		*size = clusters << img->cluster_shift;
	else
		*size = max;
	return 0;
}

static int check_image_size(struct qed_image *img, struct qed_header_check *check)
{
	u64 size = le64toh(img->header.image_size);
	struct qed_finding *finding;
	int r;

	img->image_size = size;
	if (qed_image_size_is_legal(img, size))
		return 0;
	finding = add(check, QED_IMAGE_SIZE_ILLEGAL, "image_size", size);
	r = find_image_size(img, &size);
	if (r)
		return r;
	if (!size) {
		check->fatal = true;
		return 0;
	}
	set_new(finding, size);
	img->image_size = size;
	check->fixed.image_size = htole64(size);
	return 0;
}

/*----------------------------------------------------------------
 * The name of the backing file
 *----------------------------------------------------------------
 */

static void check_backing_name(struct qed_image *img, struct qed_header_check *check)
{
	u64 features = le64toh(img->header.features);
	u32 size = le32toh(img->header.backing_filename_size);
	struct qed_finding *finding;

	if (!(features & QED_F_BACKING_FILE) ||
	    (size <= QED_MAX_BACKING_NAME && backing_name_fits(img, img->header_clusters)))
		return;
	finding = add(check, QED_BACKING_NAME_ILLEGAL, "features", features);
	features &= ~(u64)(QED_F_BACKING_FILE | QED_F_BACKING_FORMAT_NO_PROBE);
	set_new(finding, features);
	check->fixed.features = htole64(features);
	check->fixed.backing_filename_offset = 0;
	check->fixed.backing_filename_size = 0;
}

int qed_header_check(struct qed_image *img, struct qed_header_check *check)
{
	int r;

	memset(check, 0, sizeof(*check));
	check->fixed = img->header;

	check_sizes(img, check);
	if (check->fatal)
		return 0;
	r = check_l1_place(img, check);
	if (r || check->fatal)
		return r;
	check_l1_end(img, check);
	if (check->fatal)
		return 0;
	r = check_image_size(img, check);
	if (r || check->fatal)
		return r;
	check_backing_name(img, check);
	return 0;
}
