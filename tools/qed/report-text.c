// SPDX-License-Identifier: GPL-2.0-only
/*
 * What qed-fsck prints for people, see report.h.
 */

#include <stdio.h>
#include <stdlib.h>

#include "escape.h"
#include "report-parts.h"

/* A size for people, beside that in bytes */
#define SIZE_TEXT	32

static const char *size_text(char *text, u64 bytes)
{
	static const char units[] = "KMGTPE";
	double size = bytes / 1024.0;
	unsigned int unit = 0;

	for (; size >= 1024; size /= 1024)
		unit++;
	if (bytes < 1024)
		*text = '\0';
	else
		snprintf(text, SIZE_TEXT, " (%.*f %ciB)", size != (u64)size ? 1 : 0, size,
			 units[unit]);
	return text;
}

/*----------------------------------------------------------------
 * Findings
 *----------------------------------------------------------------
 */

static const char * const phrases[QED_CODES] = {
	[QED_CLUSTER_SIZE_ILLEGAL]	= "is no legal cluster size",
	[QED_TABLE_SIZE_ILLEGAL]	= "is no legal table size",
	[QED_HEADER_SIZE_ILLEGAL]	= "is no legal size of the header",
	[QED_L1_OFFSET_ILLEGAL]		= "is no legal offset of the L1 table",
	[QED_L1_IN_HEADER]		= "puts the L1 table into the header",
	[QED_L1_MISPLACED]		= "has an empty L1 table, but another is in use",
	[QED_L1_OVER_END]		= "the L1 table reaches over the end",
	[QED_IMAGE_SIZE_ILLEGAL]	= "is no legal size of the disk",
	[QED_BACKING_NAME_ILLEGAL]	= "has a backing file, but no legal name of it",
	[QED_NEED_CHECK]		= "the image was not closed",
	[QED_RECORD_VOID]		= "what the header has for a record is none",
	[QED_RECORD_UNTRUE]		= "the record says that nothing here is in use",
	[QED_L1_ENTRY_UNALIGNED]	= "is not aligned to a cluster",
	[QED_L1_ENTRY_IN_HEADER]	= "points into the header",
	[QED_L1_ENTRY_BEYOND_END]	= "is beyond the end of the image",
	[QED_L1_ENTRY_ON_L1]		= "overlaps the L1 table",
	[QED_L1_ENTRY_SHARED]		= "is referenced already",
	[QED_L1_ENTRY_OVER_END]		= "reaches over the end of the image",
	[QED_L1_ENTRY_BEYOND_SIZE]	= "is beyond the size of the disk",
	[QED_L1_ENTRY_NO_TABLE]		= "refers to what is no table",
	[QED_L2_ENTRY_UNALIGNED]	= "is not aligned to a cluster",
	[QED_L2_ENTRY_IN_HEADER]	= "points into the header",
	[QED_L2_ENTRY_BEYOND_END]	= "is beyond the end of the image",
	[QED_L2_ENTRY_ON_L1]		= "points into the L1 table",
	[QED_L2_ENTRY_SHARED]		= "is referenced already",
	[QED_L2_ENTRY_BEYOND_SIZE]	= "is beyond the size of the disk",
	[QED_PARTIAL_CLUSTER]		= "the end of the last cluster is missing",
	[QED_ORPHAN_TABLE]		= "reads as an L2 table that nothing refers to",
	[QED_MOSTLY_LEAKED]		= "more clusters are leaked than are in use",
	[QED_LEAK]			= "not referenced",
	[QED_LEAK_TAIL]			= "nothing behind the last cluster in use is referenced",
	[QED_READ_ERROR]		= "cannot be read",
};

static void print_range(const char *name, u64 offset, u64 length)
{
	printf(" %s 0x%llx-0x%llx:", name, offset, length ? offset + length - 1 : offset);
}

static void print_action(const struct qed_finding *finding)
{
	switch (finding->action) {
	case QED_ACTION_NONE:
		break;
	case QED_ACTION_SET:
		printf("; set to 0x%llx", finding->new_value);
		break;
	case QED_ACTION_CLEARED:
		if (finding->code == QED_NEED_CHECK)
			printf("; NEED_CHECK cleared");
		else if (finding->code == QED_RECORD_UNTRUE)
			printf("; record dropped");
		else
			printf("; set to 0");
		break;
	case QED_ACTION_COPIED:
		printf("; copied");
		if (finding->has & QED_HAS_NEW_VALUE)
			printf(" to 0x%llx", finding->new_value);
		break;
	case QED_ACTION_EXTENDED:
		printf("; file extended");
		break;
	case QED_ACTION_PUNCHED:
		printf(finding->code == QED_LEAK ? "; hole punched" : "; to be freed");
		break;
	case QED_ACTION_TRUNCATED:
		printf("; file cut");
		break;
	case QED_ACTION_RECONNECTED:
		printf("; reconnected");
		break;
	}
}

static void print_owner(const struct qed_finding *finding)
{
	if (!(finding->has & QED_HAS_OWNER) || finding->owner == QED_OWNER_UNKNOWN)
		return;
	printf(", as %s", finding->owner == QED_OWNER_TABLE ? "L2 table" : "data");
	if (finding->has & QED_HAS_OWNER_GUEST)
		printf(" of guest 0x%llx-0x%llx", finding->owner_offset,
		       finding->owner_offset + finding->owner_length - 1);
}

static void print_finding(const char *name, const struct qed_finding *finding)
{
	bool is_l1 = finding->code < QED_L2_ENTRY_UNALIGNED;

	printf("%s: %s:", name, qed_code_names[finding->code]);
	if (finding->has & QED_HAS_GUEST)
		print_range("guest", finding->guest_offset, finding->guest_length);
	if (finding->has & QED_HAS_ENTRY)
		printf(" %s table at 0x%llx, entry %llu: 0x%llx", is_l1 ? "L1" : "L2",
		       finding->table_offset, finding->index, finding->value);
	else if (finding->has & QED_HAS_RANGE)
		print_range("image", finding->offset, finding->length);
	else if (finding->field)
		printf(" header field %s: 0x%llx", finding->field, finding->value);
	printf(" %s", phrases[finding->code]);
	print_owner(finding);
}

void text_finding(struct qed_reporter *reporter, const struct qed_finding *finding)
{
	if (!is_listed(reporter, finding) || reporter->quiet)
		return;
	hide_bar(reporter);
	print_finding(reporter->name, finding);
	print_action(finding);
	putchar('\n');
	if (reporter->listed[finding->code] == QED_MAX_LISTED && !reporter->verbose)
		printf("%s: %s: more of these are only counted\n", reporter->name,
		       qed_code_names[finding->code]);
}

/* What would be done, before it is */
void text_question(struct qed_reporter *reporter, const struct qed_finding *finding)
{
	print_finding(reporter->name, finding);
	putchar('\n');
	switch (finding->action) {
	case QED_ACTION_NONE:
		break;
	case QED_ACTION_SET:
		printf("Set it to 0x%llx", finding->new_value);
		break;
	case QED_ACTION_CLEARED:
		if (finding->code == QED_NEED_CHECK)
			printf("Nothing wrong remains. Clear NEED_CHECK");
		else
			printf("Set it to 0");
		break;
	case QED_ACTION_COPIED:
		printf("Make a copy of its own for it");
		break;
	case QED_ACTION_EXTENDED:
		printf("Extend the file");
		break;
	case QED_ACTION_PUNCHED:
		printf(finding->code == QED_LEAK ? "Punch a hole there" :
						   "May that be freed");
		break;
	case QED_ACTION_TRUNCATED:
		printf("Cut the file there");
		break;
	case QED_ACTION_RECONNECTED:
		printf("Make it the table of this guest range again");
		break;
	}
}

/*----------------------------------------------------------------
 * The image
 *----------------------------------------------------------------
 */

static void print_geometry(const struct qed_reporter *reporter)
{
	const struct qed_image *img = reporter->img;
	char disk[SIZE_TEXT], cluster[SIZE_TEXT], table[SIZE_TEXT];

	if (!has_geometry(img))
		return;
	printf("%s: disk of %llu bytes%s; clusters of %llu bytes%s, tables of %llu bytes%s\n",
	       reporter->name, img->image_size, size_text(disk, img->image_size),
	       qed_cluster_size(img), size_text(cluster, qed_cluster_size(img)),
	       qed_table_bytes(img), size_text(table, qed_table_bytes(img)));
}

static void print_features(const struct qed_reporter *reporter)
{
	u64 features = le64toh(reporter->img->header.features);
	char *name, *escaped;

	if (features & QED_F_NEED_CHECK)
		printf("%s: NEED_CHECK is set: not closed, or not repaired to the end\n",
		       reporter->name);
	if (!qed_backing_name(reporter->img, &name) && name) {
		escaped = qed_escape(name);
		printf("%s: backing file%s: %s\n", reporter->name,
		       features & QED_F_BACKING_FORMAT_NO_PROBE ? ", raw" : "", escaped);
		free(escaped);
	}
	free(name);
}

static void print_known_space(const struct qed_image *img, const struct qed_record *record)
{
	unsigned int shift = img->cluster_shift;

	if (record->end)
		printf("; nothing in use from byte %llu on", record->end << shift);
	if (record->zero_end && record->device_size == img->size)
		printf(", zeroes from %llu to %llu", record->zero_from << shift,
		       record->zero_end << shift);
}

static void print_record(const struct qed_reporter *reporter, const struct qed_record *record)
{
	unsigned int i;

	if (record->state == QED_RECORD_NONE)
		return;
	printf("%s: record: ", reporter->name);
	if (record->state == QED_RECORD_IGNORED) {
		printf("void, it %s", record->what);
	} else {
		printf("%s host %s, owner ", record->active ? "in use by" : "last used by",
		       record->host);
		for (i = 0; i < QED_OWNER_SIZE; i++)
			printf("%02x", record->owner[i]);
		print_known_space(reporter->img, record);
	}
	puts(qed_has_record(reporter->img) ? "" : "; dropped");
}

static void print_counts(const struct qed_reporter *reporter, const struct qed_fsck_result *result)
{
	const struct qed_image *img = reporter->img;
	const struct qed_counts *counts = &result->counts;
	u64 left = result->leaks - result->leaks_fixed, end = result->end << img->cluster_shift;
	u64 data = counts->allocated << img->cluster_shift;
	char text[SIZE_TEXT], other[SIZE_TEXT];

	printf("%s: guest: %llu/%llu clusters with data, %llu bytes%s; %llu zero, ",
	       reporter->name, counts->allocated, qed_guest_clusters(img), data,
	       size_text(text, data), counts->zero);
	printf("%.1f%% fragmented\n",
	       counts->allocated ? counts->fragmented * 100.0 / counts->allocated : 0.0);
	printf("%s: image: %llu clusters used, %llu free, %llu leaked; %llu L2 tables\n",
	       reporter->name, result->used, result->free, left, counts->tables);
	printf("%s: image: used up to byte %llu%s, size %llu%s\n", reporter->name, end,
	       size_text(text, end), img->size, size_text(other, img->size));
	if (result->moved)
		printf("%s: %llu clusters moved\n", reporter->name, result->moved);
}

/*----------------------------------------------------------------
 * The end
 *----------------------------------------------------------------
 */

static void print_sums(const struct qed_reporter *reporter, const struct qed_fsck_result *result)
{
	enum qed_code code;

	for (code = 0; code < QED_CODES; code++)
		if (result->found[code] && qed_code_severity(code) != QED_NOTE)
			printf("%s: %s: %llu found, %llu repaired\n", reporter->name,
			       qed_code_names[code], result->found[code], result->fixed[code]);
	if (result->unsettled)
		printf("%s: %llu more listed as repaired, but that is not on the disk for sure\n",
		       reporter->name, result->unsettled);
	if (sum_findings(result->found, QED_ERROR))
		printf("%s: parts cannot be read%s\n", reporter->name,
		       reporter->img->modified ? "" : ", nothing was repaired");
}

static void print_verdict(const struct qed_reporter *reporter,
			  const struct qed_fsck_result *result, const char *error)
{
	static const char * const texts[] = {
		[VERDICT_CLEAN]		= "clean",
		[VERDICT_REPAIRED]	= "repaired",
		[VERDICT_WASTE]		= "usable, but has unreachable contents or leaked clusters",
		[VERDICT_DAMAGED]	= "damaged",
		[VERDICT_UNKNOWN]	= "not known to be sound",
	};
	const char *more = "";

	if (error)
		more = ", the check did not come to its end";
	else if (!result->scanned && !sum_findings(result->found, QED_DAMAGE))
		more = ", as it is marked; -f reads the tables";
	printf("%s: %s%s\n", reporter->name, texts[find_verdict(result, error)], more);
}

/* What to do next with an image that is damaged */
static const char *damage_advice(const struct qed_reporter *reporter,
				 const struct qed_fsck_result *result)
{
	if (!result->scanned)
		return "restore a backup: too little is left of the header";
	if (result->is_cut)
		return "get back the end of the image; or -y --cut clear gives up what was there";
	if (reporter->mode == 'y')
		return "copy what can be read, or restore a backup: -y can do no more";
	return "-y repairs it, and with --undo FILE that can be taken back";
}

static const char *waste_advice(const struct qed_reporter *reporter,
				const struct qed_fsck_result *result)
{
	if (result->found[QED_ORPHAN_TABLE] > result->fixed[QED_ORPHAN_TABLE])
		return "a table was lost: -y --orphans reconnect, or free, decides about it";
	if (reporter->mode == 'y')
		return NULL;
	if (result->found[QED_L1_ENTRY_BEYOND_SIZE] || result->found[QED_L2_ENTRY_BEYOND_SIZE])
		return "-y drops what is beyond the size, if that is what it should be";
	if (result->found[QED_MOSTLY_LEAKED])
		return "much is lost if these are no leaks: -y frees them, --undo FILE keeps it";
	return "-pf frees what is leaked";
}

/* What to do next, or NULL */
static const char *advice(const struct qed_reporter *reporter,
			  const struct qed_fsck_result *result, const char *error)
{
	if (sum_findings(result->found, QED_ERROR))
		return "first copy it from this disk, as by ddrescue, and check the copy";
	if (error && reporter->img->modified)
		return "check it again before it is used: what was begun goes on then";
	if (error)
		return "check it again";
	switch (find_verdict(result, error)) {
	case VERDICT_DAMAGED:
		return damage_advice(reporter, result);
	case VERDICT_WASTE:
		return waste_advice(reporter, result);
	case VERDICT_CLEAN:
		return result->found[QED_NEED_CHECK] > result->fixed[QED_NEED_CHECK] ?
		       "-p clears NEED_CHECK" : NULL;
	default:
		return NULL;
	}
}

void text_end(struct qed_reporter *reporter, const struct qed_fsck_result *result,
	      const char *error)
{
	const char *next = advice(reporter, result, error);

	print_geometry(reporter);
	print_features(reporter);
	print_record(reporter, &result->record);
	if (result->complete && !error)
		print_counts(reporter, result);
	print_sums(reporter, result);
	if (reporter->stats)
		printf("%s: %.3f s, %llu bytes read, peak memory %llu bytes, %u threads\n",
		       reporter->name, qed_now() - reporter->started, reporter->img->bytes_read,
		       peak_memory(), reporter->threads);
	if (reporter->note)
		printf("%s: %s\n", reporter->name, reporter->note);
	print_verdict(reporter, result, error);
	if (next)
		printf("%s: next: %s\n", reporter->name, next);
}

void text_raw(const struct qed_reporter *reporter)
{
	char text[SIZE_TEXT];

	printf("%s: raw, %llu bytes%s\n", reporter->name, reporter->img->size,
	       size_text(text, reporter->img->size));
	if (reporter->note)
		printf("%s: %s\n", reporter->name, reporter->note);
}

void text_undone(struct qed_reporter *reporter)
{
	const struct qed_image *img = reporter->img;
	char text[SIZE_TEXT];

	if (img->modified)
		printf("%s: as before the run again: %llu bytes%s were put back\n",
		       reporter->name, img->bytes_written, size_text(text, img->bytes_written));
	else
		printf("%s: is as before the run already, nothing was changed\n",
		       reporter->name);
}

void text_proposals(const struct qed_proposal *proposals, unsigned int nr)
{
	const struct qed_geometry *geometry;
	unsigned int i;

	for (i = 0; i < nr; i++) {
		geometry = &proposals[i].geometry;
		printf("--geometry cluster=%llu,table=%llu,l1=%llu,size=%llu  # %llu tables\n",
		       geometry->cluster_size, geometry->table_size, geometry->l1_offset,
		       geometry->image_size, proposals[i].tables);
	}
}
