// SPDX-License-Identifier: GPL-2.0-only
/*
 * qedsetup rebase
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../succession.h"
#include "base.h"
#include "fail.h"
#include "output.h"
#include "request.h"

/* Where QEMU puts names; as long as they end before the record they are in one sector with it. */
#define NAME_OFFSET	sizeof(struct qed_header)
#define NAME_ALIGN	64

/*----------------------------------------------------------------
 * The header
 *----------------------------------------------------------------
 */

/* Short names are beside the header, others behind all that is there, and not written over it. */
static u64 place_of(const struct qed_image *img, const char *name)
{
	const struct qed_header *header = &img->header;
	u64 end = QED_FIRST_SIZE;

	if (NAME_OFFSET + strlen(name) <= QED_RECORD_OFFSET)
		return NAME_OFFSET;
	if (le64toh(header->features) & QED_F_BACKING_FILE)
		end = max_u64(end, (u64)le32toh(header->backing_filename_offset) +
				   le32toh(header->backing_filename_size));
	return div_up(max_u64(end, qed_succession_end(img)), NAME_ALIGN) * NAME_ALIGN;
}

static void fill_header(struct qed_header *header, u64 offset, const char *name, bool is_raw)
{
	u64 features = le64toh(header->features);

	features &= ~(u64)(QED_F_BACKING_FILE | QED_F_BACKING_FORMAT_NO_PROBE);
	if (*name)
		features |= QED_F_BACKING_FILE | (is_raw ? QED_F_BACKING_FORMAT_NO_PROBE : 0);
	header->features = htole64(features);
	header->backing_filename_offset = htole32(*name ? offset : 0);
	header->backing_filename_size = htole32(strlen(name));
}

static int write_durably(int fd, const void *data, u64 offset, u64 length)
{
	u64 done;
	int r = qed_write_all(fd, data, offset, length, &done);

	return !r && fsync(fd) ? -errno : r;
}

/*
 * What is not in the first sector is durable before that, which is what makes it the name: the
 * image has the old one, or the new one, at any time.
 */
static int write_name(struct subject *subject, const char *name, bool is_raw)
{
	struct qed_image *img = &subject->img;
	u64 offset = place_of(img, name);
	struct qed_header header = img->header;
	unsigned char first[QED_FIRST_SIZE];
	int r = 0;

	fill_header(&header, offset, name, is_raw);
	memcpy(first, img->first, sizeof(first));
	memcpy(first, &header, sizeof(header));
	if (offset == NAME_OFFSET)
		memcpy(first + offset, name, strlen(name));
	else if (offset + strlen(name) <= (u64)img->header_clusters << img->cluster_shift)
		r = write_durably(subject->fd, name, offset, strlen(name));
	else
		return fail(ENAMETOOLONG, "%s: has no room in its header for %s", subject->path,
			    name);
	if (!r)
		r = qed_succession_move(img, &header);
	if (!r)
		r = write_durably(subject->fd, first, 0, sizeof(first));
	return fail_as(r, subject->path);
}

/*----------------------------------------------------------------
 * The verb
 *----------------------------------------------------------------
 */

static int check_request(const struct request *request, bool *is_raw)
{
	const char *format = request->backing_format;

	if (!request->backing)
		return fail(EINVAL, "what is to be below it? See qedsetup rebase --help");
	if (!request->unsafe)
		return fail_advise(EINVAL, "qemu-img rebase compares, and copies what differs",
				   "rebase changes the name only, and needs --unsafe");
	*is_raw = format && !strcmp(format, "raw");
	if (format && !*is_raw && strcmp(format, "qed"))
		return fail(EINVAL, "--backing-format can be raw or qed, not %s", format);
	return 0;
}

static int rebase(const struct request *request, bool is_raw)
{
	const char *path = request->words[0];
	struct subject subject;
	u64 unused;
	int r = subject_open_image(&subject, path, SUBJECT_WRITE);

	if (r)
		return r;
	if (subject_is_active(&subject) || subject_needs_check(&subject))
		r = fail_advise(EBUSY, "open and close it", "%s: was not closed", path);
	if (!r && *request->backing)
		r = base_measure(path, request->backing, is_raw, &unused);
	if (!r)
		r = write_name(&subject, request->backing, is_raw);
	subject_close(&subject);
	return r;
}

static void print(const struct request *request)
{
	struct json_object *object;

	if (!request->json)
		return;
	object = json_document();
	json_text(object, "filename", request->words[0]);
	if (*request->backing)
		json_text(object, "backing-filename", request->backing);
	json_print(object, false);
}

int run_rebase(const struct request *request)
{
	bool is_raw;
	int r = check_request(request, &is_raw);

	if (!r)
		r = rebase(request, is_raw);
	if (!r)
		print(request);
	return r;
}
