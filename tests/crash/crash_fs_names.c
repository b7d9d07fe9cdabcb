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

/* --- what few inodes have ------------------------------------------------------------------------------------------
 */

static int set_x(struct fs *fs, const char *path, const char *name, int c, size_t size)
{
	uint8_t *value = malloc(size);
	int err;

	for (size_t k = 0; k < size; k++)
		value[k] = (uint8_t)(c + k / 4096);
	err = fs_xattr_set(fs, &x_root, path, false, name, value, size, 0);
	free(value);
	return err;
}

static int set_small(struct fs *fs)
{
	return set_x(fs, "/d/a", "user.small", 's', 9);
}
static int replace_small(struct fs *fs)
{
	return set_x(fs, "/d/a", "user.small", 'r', 100);
}
static int remove_small(struct fs *fs)
{
	return fs_xattr_remove(fs, &x_root, "/d/a", false, "user.small");
}
static int set_big(struct fs *fs)
{
	return set_x(fs, "/d/a", "user.big", 'b', FS_XATTR_SIZE_MAX);
}
static int replace_big(struct fs *fs)
{
	return set_x(fs, "/d/a", "user.big", 'c', FS_XATTR_SIZE_MAX - 1);
}
static int remove_big(struct fs *fs)
{
	return fs_xattr_remove(fs, &x_root, "/d/a", false, "user.big");
}

/* owner 7, user 1000 7, group 5, mask 7, others 5; in the kernel's form */
static const uint8_t an_acl[] = {2,  0, 0, 0,                         /* version */
				 1,  0, 7, 0, 0xff, 0xff, 0xff, 0xff, /* owner */
				 2,  0, 7, 0, 0xe8, 3,    0,    0,    /* user 1000 */
				 4,  0, 5, 0, 0xff, 0xff, 0xff, 0xff, /* group */
				 16, 0, 7, 0, 0xff, 0xff, 0xff, 0xff, /* mask */
				 32, 0, 5, 0, 0xff, 0xff, 0xff, 0xff};

static int set_default_acl(struct fs *fs)
{
	return fs_xattr_set(fs, &x_root, "/d", false, "system.posix_acl_default", an_acl, sizeof(an_acl), 0);
}
static int set_access_acl(struct fs *fs)
{
	return fs_xattr_set(fs, &x_root, "/d", false, "system.posix_acl_access", an_acl, sizeof(an_acl), 0);
}
static int remove_access_acl(struct fs *fs)
{
	return fs_xattr_remove(fs, &x_root, "/d", false, "system.posix_acl_access");
}
static int make_fifo(struct fs *fs)
{
	return fs_mknod(fs, &x_root, "/d/fifo", S_IFIFO | 0640, 0);
}
static int make_device(struct fs *fs)
{
	return fs_mknod(fs, &x_root, "/e/device", S_IFBLK | 0600, 0x123456789abcull);
}
static int replace_by_fifo(struct fs *fs)
{
	return fs_rename(fs, &x_root, "/d/fifo", "/e/b", 0);
}
static int exchange_file_and_dir(struct fs *fs)
{
	return fs_rename(fs, &x_root, "/d/a", "/e", RENAME_EXCHANGE);
}

static int with_tmpfile(struct fs *fs, const char *name)
{
	struct fs_handle *h;
	int err = fs_open(fs, &x_root, "/d", O_RDWR | O_TMPFILE, 0600, &h);

	if (err)
		return err;
	if (fs_write(h, &x_root, "without a name", 14, 3) != 14)
		err = -EIO;
	if (!err)
		err = fs_fxattr_set(h, &x_root, "user.x", "y", 1, 0);
	if (!err && name)
		err = fs_link_handle(h, &x_root, name);
	fs_close(h, NULL, 0);
	return err;
}
static int tmpfile_linked(struct fs *fs)
{
	return with_tmpfile(fs, "/e/linked");
}
static int tmpfile_dropped(struct fs *fs)
{
	return with_tmpfile(fs, NULL);
}
static int unlink_linked(struct fs *fs)
{
	return fs_unlink(fs, &x_root, "/e/linked");
}

static void making(void **state)
{
	const struct fscrash c = {.name = "making",
				  .prepare = prepare,
				  .op = {create_x, mkdir_n, symlink_s, x_sync, create_y, chmod_d},
				  .checkpoint_at = -1};

	(void)state;
	fscrash_run(&c);
}

static void linking_and_unlinking(void **state)
{
	const struct fscrash c = {.name = "unlink",
				  .prepare = prepare,
				  .op = {link_l, unlink_a, x_sync, unlink_l, mkdir_n, rmdir_n},
				  .checkpoint_at = -1};

	(void)state;
	fscrash_run(&c);
}

static void renaming(void **state)
{
	const struct fscrash c = {
	    .name = "rename", .prepare = prepare, .op = {move_a, x_sync, replace_b, move_dir}, .checkpoint_at = -1};

	(void)state;
	fscrash_run(&c);
}

static void exchanging(void **state)
{
	const struct fscrash c = {
	    .name = "exchange", .prepare = prepare, .op = {exchange, x_sync, exchange}, .checkpoint_at = -1};

	(void)state;
	fscrash_run(&c);
}

static void unlinking_what_is_open(void **state)
{
	const struct fscrash c = {
	    .name = "orphan", .prepare = prepare, .op = {unlink_open, x_sync}, .checkpoint_at = -1};

	(void)state;
	fscrash_run(&c);
}

static void making_around_a_checkpoint(void **state)
{
	const struct fscrash c = {
	    .name = "checkpoint", .prepare = prepare, .op = {create_x, unlink_a, mkdir_n, x_sync}, .checkpoint_at = 2};

	(void)state;
	fscrash_run(&c);
}

static void attributes(void **state)
{
	const struct fscrash c = {.name = "xattr",
				  .prepare = prepare,
				  .op = {set_small, replace_small, x_sync, remove_small},
				  .checkpoint_at = -1};

	(void)state;
	fscrash_run(&c);
}

/* Values that are two items, and records larger than what a segment has left. */
static void large_attributes(void **state)
{
	const struct fscrash c = {.name = "xattr-64K",
				  .prepare = prepare,
				  .op = {set_big, x_sync, replace_big, set_small, remove_big},
				  .checkpoint_at = -1};

	(void)state;
	fscrash_run(&c);
}

static void attributes_around_a_checkpoint(void **state)
{
	const struct fscrash c = {.name = "xattr-checkpoint",
				  .prepare = prepare,
				  .op = {set_small, set_big, replace_small, remove_big},
				  .checkpoint_at = 2};

	(void)state;
	fscrash_run(&c);
}

static void acls(void **state)
{
	const struct fscrash c = {
	    .name = "acl",
	    .prepare = prepare,
	    .op = {set_access_acl, set_default_acl, x_sync, chmod_d, create_x, mkdir_n, remove_access_acl},
	    .checkpoint_at = -1};

	(void)state;
	fscrash_run(&c);
}

static void special_files(void **state)
{
	const struct fscrash c = {.name = "mknod",
				  .prepare = prepare,
				  .op = {make_fifo, make_device, x_sync, replace_by_fifo},
				  .checkpoint_at = -1};

	(void)state;
	fscrash_run(&c);
}

static void exchanging_unlike_things(void **state)
{
	const struct fscrash c = {.name = "exchange-dir",
				  .prepare = prepare,
				  .op = {exchange_file_and_dir, x_sync, exchange_file_and_dir},
				  .checkpoint_at = -1};

	(void)state;
	fscrash_run(&c);
}

static void files_without_a_name(void **state)
{
	const struct fscrash c = {.name = "tmpfile",
				  .prepare = prepare,
				  .op = {tmpfile_linked, tmpfile_dropped, x_sync, unlink_linked},
				  .checkpoint_at = -1};

	(void)state;
	fscrash_run(&c);
}

static void a_file_without_a_name_around_a_checkpoint(void **state)
{
	const struct fscrash c = {.name = "tmpfile-checkpoint",
				  .prepare = prepare,
				  .op = {tmpfile_linked, unlink_linked, x_sync},
				  .checkpoint_at = 1};

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
	    cmocka_unit_test(attributes),
	    cmocka_unit_test(large_attributes),
	    cmocka_unit_test(attributes_around_a_checkpoint),
	    cmocka_unit_test(acls),
	    cmocka_unit_test(special_files),
	    cmocka_unit_test(exchanging_unlike_things),
	    cmocka_unit_test(files_without_a_name),
	    cmocka_unit_test(a_file_without_a_name_around_a_checkpoint),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
