/* SPDX-License-Identifier: BSD-2-Clause */
/* Goal: L38: operations on names happened or did not, whatever store the power fails at. */
#include "crash_fs.h"

static int prepare(struct fs *fs)
{
	int err = fs_mkdir(fs, &x_root, "/d", 0755);

	if (!err)
		err = fs_mkdir(fs, &x_root, "/e", 0755);
	if (!err)
		err = x_create(fs, "/d/a");
	if (!err)
		err = x_write(fs, "/d/a", 'a', 5000, 0);
	if (!err)
		err = x_create(fs, "/e/b");
	return err ? err : x_write(fs, "/e/b", 'b', 9000, 0);
}

static int create_x(struct fs *fs)
{
	return x_create(fs, "/d/x");
}
static int create_y(struct fs *fs)
{
	return x_create(fs, "/e/y with a long name that needs more than one line of the log to be written down");
}
static int mkdir_n(struct fs *fs)
{
	return fs_mkdir(fs, &x_root, "/d/n", 0700);
}
static int rmdir_n(struct fs *fs)
{
	return fs_rmdir(fs, &x_root, "/d/n");
}
static int symlink_s(struct fs *fs)
{
	return fs_symlink(fs, &x_root, "d/a", "/s");
}
static int link_l(struct fs *fs)
{
	return fs_link(fs, &x_root, "/d/a", "/e/l");
}
static int unlink_a(struct fs *fs)
{
	return fs_unlink(fs, &x_root, "/d/a");
}
static int unlink_l(struct fs *fs)
{
	return fs_unlink(fs, &x_root, "/e/l");
}
static int move_a(struct fs *fs)
{
	return fs_rename(fs, &x_root, "/d/a", "/e/moved", 0);
}
static int replace_b(struct fs *fs)
{
	return fs_rename(fs, &x_root, "/e/moved", "/e/b", 0);
}
static int exchange(struct fs *fs)
{
	return fs_rename(fs, &x_root, "/d/a", "/e/b", RENAME_EXCHANGE);
}
static int move_dir(struct fs *fs)
{
	return fs_rename(fs, &x_root, "/e", "/d/e", 0);
}
static int chmod_d(struct fs *fs)
{
	struct fs_setattr set = {.mask = FS_SET_MODE, .mode = 0711};

	return fs_setattr(fs, &x_root, "/d", true, &set);
}

/* The blocks of a file that was open when its name went come back, at the close or at the next mount. */
static int unlink_open(struct fs *fs)
{
	struct fs_handle *h;
	int err = fs_open(fs, &x_root, "/e/b", O_RDWR, 0, &h);

	if (err)
		return err;
	err = fs_unlink(fs, &x_root, "/e/b");
	if (!err && fs_write(h, &x_root, "more", 4, 20000) != 4)
		err = -EIO;
	fs_close(h, NULL, 0);
	return err;
}

static void making(void **state)
{
	const struct fscrash c = {"making", prepare, {create_x, mkdir_n, symlink_s, x_sync, create_y, chmod_d},
				  NULL,     -1,      0};

	(void)state;
	fscrash_run(&c);
}

static void linking_and_unlinking(void **state)
{
	const struct fscrash c = {"unlink", prepare, {link_l, unlink_a, x_sync, unlink_l, mkdir_n, rmdir_n},
				  NULL,     -1,      0};

	(void)state;
	fscrash_run(&c);
}

static void renaming(void **state)
{
	const struct fscrash c = {"rename", prepare, {move_a, x_sync, replace_b, move_dir}, NULL, -1, 0};

	(void)state;
	fscrash_run(&c);
}

static void exchanging(void **state)
{
	const struct fscrash c = {"exchange", prepare, {exchange, x_sync, exchange}, NULL, -1, 0};

	(void)state;
	fscrash_run(&c);
}

static void unlinking_what_is_open(void **state)
{
	const struct fscrash c = {"orphan", prepare, {unlink_open, x_sync}, NULL, -1, 0};

	(void)state;
	fscrash_run(&c);
}

static void making_around_a_checkpoint(void **state)
{
	const struct fscrash c = {"checkpoint", prepare, {create_x, unlink_a, mkdir_n, x_sync}, NULL, 2, 0};

	(void)state;
	fscrash_run(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(making),
	    cmocka_unit_test(linking_and_unlinking),
	    cmocka_unit_test(renaming),
	    cmocka_unit_test(exchanging),
	    cmocka_unit_test(unlinking_what_is_open),
	    cmocka_unit_test(making_around_a_checkpoint),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
