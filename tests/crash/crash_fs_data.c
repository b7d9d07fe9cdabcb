/* SPDX-License-Identifier: BSD-2-Clause */
/* Goal: L38, I1: what changes a file's layout or size happened or did not, and names only durable content. */
#include "crash_fs.h"

#define B 4096u

static int prepare(struct fs *fs)
{
	int err = x_create(fs, "/f");

	if (!err)
		err = x_write(fs, "/f", 'f', 6 * B + 100, 0);
	if (!err)
		err = x_create(fs, "/g");
	return err ? err : x_write(fs, "/g", 'g', 3 * B, 0);
}

static int write_hole(struct fs *fs)
{
	return x_write(fs, "/f", 'h', 2 * B + 5, 10 * B + 7);
}
static int write_hole_again(struct fs *fs)
{
	return x_write(fs, "/f", 'H', B, 8 * B);
}
static int append(struct fs *fs)
{
	return x_write(fs, "/f", 'p', 300, 6 * B + 100);
}
static int append_blocks(struct fs *fs)
{
	return x_write(fs, "/f", 'P', 2 * B, 6 * B + 400);
}
static int in_place(struct fs *fs)
{
	return x_write(fs, "/f", 'i', B, B + 50);
}
static int cut(struct fs *fs)
{
	return x_truncate(fs, "/f", 2 * B + 50);
}
static int grow(struct fs *fs)
{
	return x_truncate(fs, "/f", 9 * B);
}
static int punch(struct fs *fs)
{
	return x_allocate(fs, "/f", FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 2 * B, 2 * B);
}
static int preallocate(struct fs *fs)
{
	return x_allocate(fs, "/f", 0, 8 * B, 4 * B);
}
static int write_unwritten(struct fs *fs)
{
	return x_write(fs, "/f", 'u', B + 9, 9 * B + 3);
}
static int clone(struct fs *fs)
{
	return x_clone(fs, "/f", "/g", B, 0, 4 * B);
}
static int copy_on_write(struct fs *fs)
{
	return x_write(fs, "/f", 'c', B + 100, 2 * B + 30);
}
static int copy_on_write_g(struct fs *fs)
{
	return x_write(fs, "/g", 'C', 10, 5);
}
static int relocate(struct fs *fs)
{
	return x_relocate(fs, "/f", B, 3 * B);
}

static void writes(void **state)
{
	const struct fscrash c = {"write", prepare, {write_hole, x_sync, write_hole_again}, NULL, -1, 0};

	(void)state;
	fscrash_run(&c);
}

static void appends(void **state)
{
	const struct fscrash c = {"append", prepare, {append, append_blocks, x_sync}, NULL, -1, 0};

	(void)state;
	fscrash_run(&c);
}

static void writes_in_place(void **state)
{
	const struct fscrash c = {"inplace", prepare, {in_place, x_sync}, "/f", -1, 0};

	(void)state;
	fscrash_run(&c);
}

static void truncates(void **state)
{
	const struct fscrash c = {"truncate", prepare, {cut, grow, x_sync, cut}, NULL, -1, 0};

	(void)state;
	fscrash_run(&c);
}

static void punches(void **state)
{
	const struct fscrash c = {"punch", prepare, {punch, x_sync, write_hole, punch}, NULL, -1, 0};

	(void)state;
	fscrash_run(&c);
}

static void preallocates(void **state)
{
	const struct fscrash c = {"preallocate", prepare, {preallocate, write_unwritten, x_sync}, NULL, -1, 0};

	(void)state;
	fscrash_run(&c);
}

static void clones(void **state)
{
	const struct fscrash c = {"clone", prepare, {clone, x_sync, copy_on_write, copy_on_write_g, cut}, NULL, -1, 0};

	(void)state;
	fscrash_run(&c);
}

static int unlink_g(struct fs *fs)
{
	return fs_unlink(fs, &x_root, "/g");
}

/* The blocks are the file's own again; until that is durable (msync) they must not change under the other. */
static void writes_to_what_was_shared(void **state)
{
	const struct fscrash c = {"unshared", prepare, {clone, x_sync, unlink_g, copy_on_write, x_sync}, "/f", -1, 0};

	(void)state;
	fscrash_run(&c);
}

static int direct_past_end(struct fs *fs)
{
	return x_direct(fs, "/f", 'D', 2 * B, 6 * B + 100);
}
static int direct_inside(struct fs *fs)
{
	return x_direct(fs, "/f", 'd', B + 9, B + 30);
}

/* L28: what a commit has returned for is durable. L30: before it nothing past the end shows. */
static void commits_past_the_end(void **state)
{
	const struct fscrash c = {"commit", prepare, {direct_past_end, x_sync, clone, direct_past_end}, NULL, -1, 9};

	(void)state;
	fscrash_run(&c);
}

static void commits_inside(void **state)
{
	const struct fscrash c = {"commit-inside", prepare, {direct_inside, x_sync}, "/f", -1, 1};

	(void)state;
	fscrash_run(&c);
}

static void relocates(void **state)
{
	const struct fscrash c = {"relocate", prepare, {relocate, x_sync, clone, relocate}, NULL, -1, 0};

	(void)state;
	fscrash_run(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(writes),
	    cmocka_unit_test(appends),
	    cmocka_unit_test(writes_in_place),
	    cmocka_unit_test(truncates),
	    cmocka_unit_test(punches),
	    cmocka_unit_test(preallocates),
	    cmocka_unit_test(writes_to_what_was_shared),
	    cmocka_unit_test(clones),
	    cmocka_unit_test(commits_past_the_end),
	    cmocka_unit_test(commits_inside),
	    cmocka_unit_test(relocates),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
