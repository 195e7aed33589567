// SPDX-License-Identifier: GPL-2.0-only
/*
 * Large buffers for the fuzzers
 *
 * They are given out by turns: the sanitizer's allocator would map each of them anew, which
 * takes longer than all that is done with it. As there, what is not allocated must not be
 * touched, what was freed is not the next to be used, and no buffer begins with zeroes.
 */

#include <sanitizer/asan_interface.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "fuzz.h"

#define BUFFERS		16U
#define SMALLEST	4096U
#define LARGEST		1048576U
#define SIZE		(LARGEST + ALIGNMENT)	/* with a gap behind it */
#define ALIGNMENT	4096U
#define GARBAGE		0xbe

static struct {
	char *data;			/* SIZE for each one */
	size_t size[BUFFERS];		/* 0 if it is not allocated */
	unsigned int last;
} buffers;

static void check(bool condition, const char *what)
{
	if (condition)
		return;
	fprintf(stderr, "fuzz: %s\n", what);
	abort();
}

/* NULL if it has another size, or there are none */
static void *take_buffer(size_t size)
{
	unsigned int i, nr;
	char *data;

	if (!buffers.data || size < SMALLEST || size > LARGEST)
		return NULL;
	for (i = 1; i <= BUFFERS; i++) {
		nr = (buffers.last + i) % BUFFERS;
		if (buffers.size[nr])
			continue;
		buffers.last = nr;
		buffers.size[nr] = size;
		data = buffers.data + nr * SIZE;
		ASAN_UNPOISON_MEMORY_REGION(data, size);
		memset(data, GARBAGE, SMALLEST);
		return data;
	}
	return NULL;
}

void *__wrap_malloc(size_t size)
{
	void *p = take_buffer(size);

	return p ? p : __real_malloc(size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
	void *p = alignment <= ALIGNMENT ? take_buffer(size) : NULL;

	return p ? p : __real_aligned_alloc(alignment, size);
}

void __wrap_free(void *p)
{
	size_t at = (uintptr_t)p - (uintptr_t)buffers.data, nr = at / SIZE;

	if (!buffers.data || nr >= BUFFERS) {
		__real_free(p);
		return;
	}
	check(at % SIZE == 0 && buffers.size[nr], "free() of what is not allocated");
	ASAN_POISON_MEMORY_REGION(p, buffers.size[nr]);
	buffers.size[nr] = 0;
}

void prepare_buffers(void)
{
	buffers.data = mmap(NULL, BUFFERS * SIZE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	check(buffers.data != MAP_FAILED, "no memory");
	ASAN_POISON_MEMORY_REGION(buffers.data, BUFFERS * SIZE);
}

void check_buffers(void)
{
	unsigned int i;

	for (i = 0; i < BUFFERS; i++)
		check(!buffers.size[i], "a buffer is leaked");
}
