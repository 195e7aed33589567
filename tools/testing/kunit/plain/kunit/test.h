/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * As much of KUnit as our tests use, for kernels that are built without it, as those of
 * distributions are. What is printed is as KUnit prints it.
 *
 * Each case has a thread, which an assertion ends.
 */

#ifndef PLAIN_KUNIT_TEST_H
#define PLAIN_KUNIT_TEST_H

#include <linux/completion.h>
#include <linux/err.h>
#include <linux/kthread.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/overflow.h>
#include <linux/printk.h>
#include <linux/slab.h>
#include <linux/string.h>

struct kunit_suite;

/**
 * struct kunit - a case that runs
 * @priv: of the test
 * @name: of the case
 * @suite: that it belongs to
 * @run: it
 * @done: its thread has ended
 * @memory: to be freed then
 * @failed: not all was as expected
 */
struct kunit {
	void *priv;
	const char *name;
	struct kunit_suite *suite;
	void (*run)(struct kunit *test);
	struct completion done;
	struct list_head memory;
	bool failed;
};

struct kunit_case {
	void (*run_case)(struct kunit *test);
	const char *name;
};

struct kunit_suite {
	const char *name;
	int (*suite_init)(struct kunit_suite *suite);
	void (*suite_exit)(struct kunit_suite *suite);
	int (*init)(struct kunit *test);
	void (*exit)(struct kunit *test);
	struct kunit_case *test_cases;
};

struct plain_memory {
	struct list_head list;
	char data[] __aligned(8);
};

#define KUNIT_CASE(test)	{ .run_case = test, .name = #test }

#define kunit_info(test, fmt, ...) \
	pr_info("    # %s: " fmt "\n", (test)->name, ##__VA_ARGS__)

static inline void *kunit_kzalloc(struct kunit *test, size_t size, gfp_t gfp)
{
	struct plain_memory *memory = kzalloc(sizeof(*memory) + size, gfp);

	if (!memory)
		return NULL;
	list_add(&memory->list, &test->memory);
	return memory->data;
}

static inline void *kunit_kcalloc(struct kunit *test, size_t n, size_t size, gfp_t gfp)
{
	size_t bytes;

	return check_mul_overflow(n, size, &bytes) ? NULL : kunit_kzalloc(test, bytes, gfp);
}

static inline void plain_fail(struct kunit *test, const char *file, int line)
{
	kunit_info(test, "FAILED at %s:%d", file, line);
	WRITE_ONCE(test->failed, true);
}

#define PLAIN_FAIL(test, stop, fmt, ...)				\
do {									\
	struct kunit *__test = (test);					\
									\
	plain_fail(__test, __FILE__, __LINE__);				\
	kunit_info(__test, fmt, ##__VA_ARGS__);				\
	if (stop)							\
		kthread_complete_and_exit(&__test->done, 0);		\
} while (0)

#define PLAIN_NUMBER(x)	((long long)(long)(x))

#define PLAIN_COMPARE(test, stop, left, op, right, fmt, ...)		\
do {									\
	const __auto_type __left = (left);				\
	const __auto_type __right = (right);				\
									\
	if (!(__left op __right))					\
		PLAIN_FAIL(test, stop, "%s: %lld, %lld " fmt,		\
			   #left " " #op " " #right,			\
			   PLAIN_NUMBER(__left), PLAIN_NUMBER(__right),	\
			   ##__VA_ARGS__);				\
} while (0)

#define PLAIN_TRUE(test, stop, value)					\
do {									\
	if (!(value))							\
		PLAIN_FAIL(test, stop, "%s", #value);			\
} while (0)

#define KUNIT_EXPECT_EQ(test, l, r)	PLAIN_COMPARE(test, false, l, ==, r, "")
#define KUNIT_EXPECT_NE(test, l, r)	PLAIN_COMPARE(test, false, l, !=, r, "")
#define KUNIT_EXPECT_LE(test, l, r)	PLAIN_COMPARE(test, false, l, <=, r, "")
#define KUNIT_EXPECT_GE(test, l, r)	PLAIN_COMPARE(test, false, l, >=, r, "")
#define KUNIT_EXPECT_GT(test, l, r)	PLAIN_COMPARE(test, false, l, >, r, "")
#define KUNIT_EXPECT_LE_MSG(test, l, r, fmt, ...) \
	PLAIN_COMPARE(test, false, l, <=, r, fmt, ##__VA_ARGS__)
#define KUNIT_EXPECT_TRUE(test, x)	PLAIN_TRUE(test, false, x)
#define KUNIT_EXPECT_FALSE(test, x)	PLAIN_TRUE(test, false, !(x))
#define KUNIT_EXPECT_NULL(test, p)	PLAIN_TRUE(test, false, !(p))
#define KUNIT_EXPECT_PTR_EQ(test, l, r)	PLAIN_TRUE(test, false, (l) == (r))
#define KUNIT_EXPECT_NOT_NULL(test, p)	PLAIN_TRUE(test, false, p)
#define KUNIT_EXPECT_STREQ(test, l, r)	PLAIN_TRUE(test, false, !strcmp(l, r))
#define KUNIT_ASSERT_EQ(test, l, r)	PLAIN_COMPARE(test, true, l, ==, r, "")
#define KUNIT_ASSERT_LE(test, l, r)	PLAIN_COMPARE(test, true, l, <=, r, "")
#define KUNIT_ASSERT_GE(test, l, r)	PLAIN_COMPARE(test, true, l, >=, r, "")
#define KUNIT_ASSERT_TRUE(test, x)	PLAIN_TRUE(test, true, x)
#define KUNIT_ASSERT_FALSE(test, x)	PLAIN_TRUE(test, true, !(x))
#define KUNIT_ASSERT_NOT_NULL(test, p)	PLAIN_TRUE(test, true, p)

static inline int plain_case(void *data)
{
	struct kunit *test = data;

	if (test->suite->init && test->suite->init(test))
		WRITE_ONCE(test->failed, true);
	else
		test->run(test);
	kthread_complete_and_exit(&test->done, 0);
	return 0;
}

static inline int plain_cleanup(void *data)
{
	struct kunit *test = data;

	test->suite->exit(test);
	kthread_complete_and_exit(&test->done, 0);
	return 0;
}

/* Run a thread, and wait for it. */
static inline void plain_thread(struct kunit *test, int (*func)(void *data))
{
	struct task_struct *task;

	init_completion(&test->done);
	task = kthread_run(func, test, "%s", test->name);
	if (IS_ERR(task))
		test->failed = true;
	else
		wait_for_completion(&test->done);
}

static inline bool plain_ok(struct kunit_suite *suite, struct kunit_case *c)
{
	struct kunit test = {
		.name = c->name,
		.suite = suite,
		.run = c->run_case,
		.memory = LIST_HEAD_INIT(test.memory),
	};
	struct plain_memory *memory, *next;

	plain_thread(&test, plain_case);
	if (suite->exit)
		plain_thread(&test, plain_cleanup);
	list_for_each_entry_safe(memory, next, &test.memory, list)
		kfree(memory);
	return !test.failed;
}

static inline int plain_suite(struct kunit_suite *suite)
{
	struct kunit_case *c;
	int r, nr = 0;

	pr_info("    # Subtest: %s\n", suite->name);
	r = suite->suite_init ? suite->suite_init(suite) : 0;
	if (r)
		return r;
	for (c = suite->test_cases; c->run_case; c++) {
		bool ok = plain_ok(suite, c);

		pr_info("    %sok %d %s\n", ok ? "" : "not ", ++nr, c->name);
	}
	if (suite->suite_exit)
		suite->suite_exit(suite);
	return 0;
}

struct plain_suites {
	struct kunit_suite *suites[16];		/* the last is NULL */
};

static const struct plain_suites plain_all;	/* of kunit_test_suites() */

static int __init plain_init(void)
{
	struct kunit_suite * const *suite;
	int r = 0;

	for (suite = plain_all.suites; *suite && !r; suite++)
		r = plain_suite(*suite);
	return r;
}

static void __exit plain_exit(void)
{
}

module_init(plain_init);
module_exit(plain_exit);

#define kunit_test_suites(...) \
	static const struct plain_suites plain_all = { { __VA_ARGS__ } }
#define kunit_test_suite(suite)	kunit_test_suites(&(suite))

#endif /* PLAIN_KUNIT_TEST_H */
