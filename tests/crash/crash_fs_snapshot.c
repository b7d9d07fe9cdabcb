/* SPDX-License-Identifier: BSD-2-Clause */
/* Goal: L38: a snapshot, its removal, and a limit on a filled tree happened whole or not at all, whatever store the
 * power fails at; and I1: a snapshot that is there shows what it showed before. */
#include "crash_fs.h"

#include <sys/stat.h>
#include <sys/xattr.h>

static int prepare(struct fs *fs)
{
	int err = fs_mkdir(fs, &x_root, "/t", 0755);

	if (!err)
		err = fs_mkdir(fs, &x_root, "/t/d", 0750);
	if (!err)
		err = x_create(fs, "/t/a");
	if (!err)
		err = x_write(fs, "/t/a", 'a', 5000, 0);
	if (!err)
		err = x_create(fs, "/t/d/b");
	if (!err)
		err = x_write(fs, "/t/d/b", 'b', 9000, 8192);
	if (!err)
		err = fs_link(fs, &x_root, "/t/a", "/t/d/a2");
	if (!err)
		err = fs_symlink(fs, &x_root, "../a", "/t/d/s");
	if (!err)
		err = fs_mknod(fs, &x_root, "/t/p", S_IFIFO | 0600, 0);
	return err ? err : fs_xattr_set(fs, &x_root, "/t/a", true, "user.color", "green", 5, 0);
}

/* An operation larger than a segment of the log. */
static int prepare_large(struct fs *fs)
{
	static char value[30000];
	int err = prepare(fs);

	memset(value, 'v', sizeof(value));
	if (!err)
		err = fs_xattr_set(fs, &x_root, "/t/a", true, "user.large", value, sizeof(value), 0);
	if (!err)
		err = fs_xattr_set(fs, &x_root, "/t/d", true, "user.large", value, sizeof(value), 0);
	return err ? err : fs_xattr_set(fs, &x_root, "/t/d/b", true, "user.large", value, sizeof(value), 0);
}

static int prepare_snapshot(struct fs *fs)
{
	int err = prepare(fs);

	return err ? err : fs_snapshot(fs, &x_root, "/t", "/s", false);
}

static int take(struct fs *fs)
{
	return fs_snapshot(fs, &x_root, "/t", "/s", false);
}
static int take_read_only(struct fs *fs)
{
	return fs_snapshot(fs, &x_root, "/t", "/r", true);
}
static int take_inside(struct fs *fs)
{
	return fs_snapshot(fs, &x_root, "/", "/t/i", true);
}
static int drop(struct fs *fs)
{
	return fs_snapshot_delete(fs, &x_root, "/s");
}
static int write_source(struct fs *fs)
{
	return x_write(fs, "/t/a", 'A', 3000, 100);
}
static int write_in_place(struct fs *fs)
{
	return x_write(fs, "/t/d/b", 'B', 3000, 8192 + 100);
}
static int write_copy(struct fs *fs)
{
	return x_write(fs, "/s/d/b", 'B', 5000, 0);
}
static int cut_source(struct fs *fs)
{
	return x_truncate(fs, "/t/d/b", 100);
}
static int unlink_source(struct fs *fs)
{
	return fs_unlink(fs, &x_root, "/t/d/b");
}

/* The name goes first, then the blocks at the close. */
static int drop_open(struct fs *fs)
{
	struct fs_handle *h;
	int err = fs_open(fs, &x_root, "/s/d/b", O_RDWR, 0, &h);

	if (err)
		return err;
	err = drop(fs);
	if (!err && fs_write(h, &x_root, "more", 4, 30000) != 4)
		err = -EIO;
	fs_close(h, NULL, 0);
	return err;
}

static int limit_set(struct fs *fs, const char *path, uint64_t blocks)
{
	struct fs_limit l = {.kind = FS_LIMIT_TREE, .blocks = blocks};

	return fs_limit_set(fs, &x_root, path, &l);
}
static int limit_tree(struct fs *fs)
{
	return limit_set(fs, "/t", 50);
}
static int limit_tree_anew(struct fs *fs)
{
	return limit_set(fs, "/t", 60);
}
static int limit_none(struct fs *fs)
{
	return limit_set(fs, "/t", 0);
}
static int limit_inner(struct fs *fs)
{
	return limit_set(fs, "/t/d", 7);
}
static int limit_uid(struct fs *fs)
{
	struct fs_limit l = {.kind = FS_LIMIT_UID, .id = 0, .blocks = 100, .inodes = 100};

	return fs_limit_set(fs, &x_root, NULL, &l);
}

static int limit_pins(struct fs *fs)
{
	struct fs_limit l = {.kind = FS_LIMIT_PINS, .id = 9, .blocks = 0, .inodes = UINT64_MAX};

	return fs_limit_set(fs, &x_root, NULL, &l);
}
static int limit_pins_all(struct fs *fs)
{
	struct fs_limit l = {.kind = FS_LIMIT_PINS_POOL, .blocks = 1 << 20, .inodes = 7};

	return fs_limit_set(fs, &x_root, NULL, &l);
}
static int limit_pins_none(struct fs *fs)
{
	struct fs_limit l = {.kind = FS_LIMIT_PINS, .id = 9};

	return fs_limit_clear(fs, &x_root, &l);
}

static void taking(void **state)
{
	const struct fscrash c = {.name = "snapshot",
				  .prepare = prepare,
				  .op = {take, x_sync, write_source, cut_source, take_read_only},
				  .checkpoint_at = -1};

	(void)state;
	fscrash_run(&c);
}

static void taking_what_needs_many_records(void **state)
{
	const struct fscrash c = {
	    .name = "snapshot-large", .prepare = prepare_large, .op = {take, x_sync}, .checkpoint_at = -1};

	(void)state;
	fscrash_run(&c);
}

static void taking_inside(void **state)
{
	const struct fscrash c = {.name = "snapshot-inside",
				  .prepare = prepare_snapshot,
				  .op = {take_inside, x_sync, write_copy},
				  .checkpoint_at = -1};

	(void)state;
	fscrash_run(&c);
}

/* Bytes in place that nobody has synced are durable with the snapshot that shows them. */
static void taking_what_is_not_synced(void **state)
{
	const struct fscrash c = {.name = "snapshot-dirty",
				  .prepare = prepare,
				  .op = {write_in_place, take, x_sync},
				  .mixed = "/t/d/b",
				  .checkpoint_at = -1};

	(void)state;
	fscrash_run(&c);
}

static void removing(void **state)
{
	const struct fscrash c = {.name = "snapshot-remove",
				  .prepare = prepare_snapshot,
				  .op = {write_copy, unlink_source, x_sync, drop, take},
				  .checkpoint_at = -1};

	(void)state;
	fscrash_run(&c);
}

static void removing_what_is_open(void **state)
{
	const struct fscrash c = {
	    .name = "snapshot-orphan", .prepare = prepare_snapshot, .op = {drop_open, x_sync}, .checkpoint_at = -1};

	(void)state;
	fscrash_run(&c);
}

static void around_a_checkpoint(void **state)
{
	const struct fscrash c = {.name = "snapshot-checkpoint",
				  .prepare = prepare,
				  .op = {take, write_source, drop, x_sync},
				  .checkpoint_at = 1};

	(void)state;
	fscrash_run(&c);
}

static void limits(void **state)
{
	const struct fscrash c = {
	    .name = "limits",
	    .prepare = prepare,
	    .op = {limit_uid, limit_tree, limit_inner, x_sync, limit_tree_anew, cut_source, limit_none},
	    .checkpoint_at = -1};

	(void)state;
	fscrash_run(&c);
}

static void limits_around_a_checkpoint(void **state)
{
	const struct fscrash c = {.name = "limits-checkpoint",
				  .prepare = prepare,
				  .op = {limit_uid, limit_tree, take, limit_none},
				  .checkpoint_at = 2};

	(void)state;
	fscrash_run(&c);
}

static void limits_of_pins(void **state)
{
	const struct fscrash c = {.name = "limits-pins",
				  .prepare = prepare,
				  .op = {limit_pins, limit_pins_all, limit_pins_none, limit_pins},
				  .checkpoint_at = 2};

	(void)state;
	fscrash_run(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(taking),
	    cmocka_unit_test(taking_what_needs_many_records),
	    cmocka_unit_test(taking_inside),
	    cmocka_unit_test(taking_what_is_not_synced),
	    cmocka_unit_test(removing),
	    cmocka_unit_test(removing_what_is_open),
	    cmocka_unit_test(around_a_checkpoint),
	    cmocka_unit_test(limits),
	    cmocka_unit_test(limits_around_a_checkpoint),
	    cmocka_unit_test(limits_of_pins),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
