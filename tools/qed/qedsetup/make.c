// SPDX-License-Identifier: GPL-2.0-only
/*
 * Puts new images where they are to be, see make.h.
 */

#define _GNU_SOURCE
#include <blkid/blkid.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "fail.h"
#include "make.h"
#include "size.h"
#include "subject.h"

/* What goes into a record's place: dm-qed has none then, and has to scan at each start. */
#define LONGEST_SHORT_NAME	(QED_RECORD_OFFSET - sizeof(struct qed_header))

/* What is zeroed or discarded at a time, so that an interrupt comes through */
#define STEP			1073741824ULL

/*----------------------------------------------------------------
 * What it is to be
 *----------------------------------------------------------------
 */

/* May the name be in the header? */
static int check_name(const struct new_image *image)
{
	if (!image->backing)
		return 0;
	if (sizeof(struct qed_header) + strlen(image->backing) > image->shape.cluster_size)
		return fail(ENAMETOOLONG, "%s: is too long for the header", image->backing);
	if (strlen(image->backing) > LONGEST_SHORT_NAME)
		warn("%s: leaves no room for a record, which a name of at most %zu bytes does",
		     image->backing, LONGEST_SHORT_NAME);
	return 0;
}

int make_design(const struct request *request, struct new_image *image)
{
	int r = shape_choose(&image->shape, request,
			     image->backing ? OVERLAY_CLUSTER_SIZE : CLUSTER_SIZE);

	return r ? r : check_name(image);
}

/*----------------------------------------------------------------
 * Files
 *----------------------------------------------------------------
 */

/**
 * struct new_file - a file that does not have its name yet
 * @path: what it will be called
 * @folder: where that is
 * @temporary: its name until then
 * @fd: the file
 * @named: it has the temporary name; else none at all, where the file system can do that
 */
struct new_file {
	const char *path;
	char *folder, *temporary;
	int fd;
	bool named;
};

/* One that somebody has left behind who was killed is of no use. */
static int open_named(struct new_file *file)
{
	struct stat now, st;

	for (;;) {
		file->fd = open(file->temporary, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW,
				0666);
		if (file->fd < 0)
			return -errno;
		if (flock(file->fd, LOCK_EX | LOCK_NB))
			return -EBUSY;
		if (!stat(file->temporary, &now) && !fstat(file->fd, &st) &&
		    now.st_ino == st.st_ino)
			break;
		close(file->fd);
	}
	file->named = true;
	return ftruncate(file->fd, 0) ? -errno : 0;
}

static int open_new(struct new_file *file)
{
	file->fd = open(file->folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0666);
	if (file->fd >= 0)
		return 0;
	if (errno != EOPNOTSUPP && errno != EISDIR)
		return -errno;
	return open_named(file);
}

/* All that is in the folder for it to be found after a power cut */
static int sync_folder(const struct new_file *file)
{
	int fd = open(file->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r;

	if (fd < 0)
		return -errno;
	/* not all file systems do that */
	r = fsync(fd) && errno != EINVAL ? -errno : 0;
	close(fd);
	return r;
}

/* Give it a name: the temporary one, if it then takes the place of another file */
static int link_unnamed(const struct new_file *file, bool replace)
{
	const char *name = replace ? file->temporary : file->path;
	char self[64];

	snprintf(self, sizeof(self), "/proc/self/fd/%d", file->fd);
	if (replace)
		unlink(name);
	return linkat(AT_FDCWD, self, AT_FDCWD, name, AT_SYMLINK_FOLLOW) ? -errno : 0;
}

static int publish(struct new_file *file, bool replace)
{
	int r = 0;

	if (!file->named)
		r = link_unnamed(file, replace);
	if (!r && (file->named || replace) &&
	    renameat2(AT_FDCWD, file->temporary, AT_FDCWD, file->path,
		      replace ? 0 : RENAME_NOREPLACE))
		r = -errno;
	if (r && (file->named || replace))
		unlink(file->temporary);
	return r ? r : sync_folder(file);
}

static int find_names(struct new_file *file, const char *path)
{
	char *copy = strdup(path), *other = strdup(path);
	int r = -ENOMEM;

	file->path = path;
	if (copy && other) {
		file->folder = strdup(dirname(copy));
		if (asprintf(&file->temporary, "%s/.%s.qedsetup", file->folder,
			     basename(other)) < 0)
			file->temporary = NULL;
		r = file->folder && file->temporary ? 0 : -ENOMEM;
	}
	free(copy);
	free(other);
	return r;
}

static int create_file(const struct new_image *image, const char *path, bool replace)
{
	struct new_file file = { .fd = -1 };
	int r = find_names(&file, path);

	if (!r)
		r = open_new(&file);
	if (!r)
		r = new_image_write(image, file.fd);
	if (!r)
		r = publish(&file, replace);
	else if (file.named)
		unlink(file.temporary);
	if (file.fd >= 0)
		close(file.fd);
	free(file.folder);
	free(file.temporary);
	return r ? fail(-r, "%s: cannot be made: %s", path, strerror(-r)) : 0;
}

/* A file that is there is replaced, not written to: whoever has it keeps what it has. */
static int replace_file(const struct new_image *image, const char *path)
{
	char *real = realpath(path, NULL);
	struct subject old;
	int r;

	if (!real)
		return fail(errno, "%s: %s", path, strerror(errno));
	r = subject_open(&old, real, SUBJECT_WRITE);
	if (!r) {
		r = create_file(image, real, true);
		subject_close(&old);
	}
	free(real);
	return r;
}

/*----------------------------------------------------------------
 * Block devices
 *----------------------------------------------------------------
 */

/* What is on it, by its looks; NULL if nothing is known */
static char *find_content(int fd)
{
	blkid_probe probe = blkid_new_probe();
	const char *value;
	char *content = NULL;
	u32 magic = 0;

	if (qed_read_all(fd, &magic, 0, sizeof(magic)) == sizeof(magic) &&
	    le32toh(magic) == QED_MAGIC)
		content = strdup("a QED image");
	if (!probe || content || blkid_probe_set_device(probe, fd, 0, 0))
		goto out;
	blkid_probe_enable_superblocks(probe, 1);
	blkid_probe_enable_partitions(probe, 1);
	if (blkid_do_safeprobe(probe) == 1)
		goto out;
	if (!blkid_probe_lookup_value(probe, "TYPE", &value, NULL) ||
	    !blkid_probe_lookup_value(probe, "PTTYPE", &value, NULL))
		content = strdup(value);
	else
		content = strdup("more than one thing");
out:
	blkid_free_probe(probe);
	return content;
}

static int check_content(const struct subject *device)
{
	char *content = find_content(device->fd);
	int r;

	if (!content)
		return 0;
	r = fail(EEXIST, "%s: has %s on it: --force overwrites that", device->path, content);
	free(content);
	return r;
}

static int clear_device(const struct subject *device, u64 size, unsigned long request)
{
	const char *what = request == BLKDISCARD ? "discarded" : "zeroed";
	u64 range[2];

	for (range[0] = 0; range[0] < size; range[0] += range[1]) {
		range[1] = min_u64(STEP, size - range[0]);
		if (ioctl(device->fd, request, range))
			return fail(errno, "%s: cannot be %s: %s", device->path, what,
				    strerror(errno));
	}
	return fsync(device->fd) ? fail(errno, "%s: %s", device->path, strerror(errno)) : 0;
}

static int write_device(const struct request *request, struct new_image *image,
			const struct subject *device)
{
	char text[SIZE_TEXT];
	u64 size;
	int r;

	if (ioctl(device->fd, BLKGETSIZE64, &size))
		return fail(errno, "%s: %s", device->path, strerror(errno));
	if (size < bound_empty(&image->shape) + image->shape.cluster_size)
		return fail(ENOSPC, "%s: is too small, even an empty image needs %s", device->path,
			    size_text(bound_empty(&image->shape) + image->shape.cluster_size, text,
				      sizeof(text)));
	r = request->force ? 0 : check_content(device);
	if (!r && request->discard)
		r = clear_device(device, size, BLKDISCARD);
	if (!r && request->zero)
		r = clear_device(device, size, BLKZEROOUT);
	if (r)
		return r;
	image->zeroed = request->zero ? size : 0;
	return fail_as(new_image_write(image, device->fd), device->path);
}

static int create_on_device(const struct request *request, struct new_image *image)
{
	struct subject device;
	int r = subject_open(&device, request->words[0], SUBJECT_WRITE);

	if (r)
		return r;
	r = write_device(request, image, &device);
	subject_close(&device);
	return r;
}

/*----------------------------------------------------------------
 * One or the other
 *----------------------------------------------------------------
 */

int make_image(const struct request *request, struct new_image *image)
{
	const char *path = request->words[0];
	struct stat st;
	bool exists = !stat(path, &st);

	if (exists && S_ISBLK(st.st_mode))
		return create_on_device(request, image);
	if (request->zero || request->discard)
		return fail(ENOTBLK, "%s: --zero and --discard are for block devices", path);
	if (exists && !S_ISREG(st.st_mode))
		return fail(ENOTBLK, "%s: is neither a file nor a block device", path);
	if (exists && !request->force)
		return fail(EEXIST, "%s: there is such a file: --force replaces it", path);
	return exists ? replace_file(image, path) : create_file(image, path, false);
}
