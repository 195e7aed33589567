/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Functions of the fuzzer that the linker, or libFuzzer, knows by their names.
 */

#ifndef FUZZ_H
#define FUZZ_H

#include <sys/stat.h>
#include <sys/statvfs.h>

#include "../../qed/common.h"

/* What is left of an input */
struct input {
	const u8 *data;
	size_t left;
};

/* The next bytes of it as a number; zeroes behind its end */
static inline u32 take(struct input *input, unsigned int bytes)
{
	u32 value = 0;

	while (bytes--) {
		value <<= 8;
		if (input->left) {
			value |= *input->data++;
			input->left--;
		}
	}
	return value;
}

/* Called before the first input */
int initialize(int *argc, char ***argv) __asm__("LLVMFuzzerInitialize");

/* Called for each input */
int test_input(const u8 *data, size_t size) __asm__("LLVMFuzzerTestOneInput");

/* What the library calls in place of the C library, see --wrap of ld(1) ... */
ssize_t __wrap_pread64(int fd, void *buf, size_t length, off_t offset);
ssize_t __wrap_pwrite64(int fd, const void *buf, size_t length, off_t offset);
int __wrap_fallocate64(int fd, int mode, off_t offset, off_t length);
int __wrap_ftruncate64(int fd, off_t size);
off_t __wrap_lseek64(int fd, off_t offset, int whence);
int __wrap_fdatasync(int fd);
int __wrap_fstat64(int fd, struct stat *st);
int __wrap_fstatvfs64(int fd, struct statvfs *st);
void *__wrap_malloc(size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
void __wrap_free(void *p);

/* ... and what that has */
ssize_t __real_pread64(int fd, void *buf, size_t length, off_t offset);
ssize_t __real_pwrite64(int fd, const void *buf, size_t length, off_t offset);
int __real_fallocate64(int fd, int mode, off_t offset, off_t length);
int __real_ftruncate64(int fd, off_t size);
off_t __real_lseek64(int fd, off_t offset, int whence);
int __real_fdatasync(int fd);
int __real_fstat64(int fd, struct stat *st);
int __real_fstatvfs64(int fd, struct statvfs *st);
void *__real_malloc(size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void __real_free(void *p);

/* Large buffers: to be called before the first, and after each input */
void prepare_buffers(void);
void check_buffers(void);

#endif /* FUZZ_H */
