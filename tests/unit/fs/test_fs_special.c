/* SPDX-License-Identifier: BSD-2-Clause */
/* L37: special files, files without a name, hard links of everything, and what stat shows of them. */
#include "fsrig.h"

#include <sys/sysmacros.h>

#include "fs/core.h"

#undef fail /* cmocka's */

static struct fs_attr stat_of(struct rig *r, const char *path)
{
	struct fs_attr a = {0};

	assert_int_equal(fs_stat(r->fs, &r->root, path, false, &a), 0);
	return a;
}

static int set_mode(struct rig *r, const char *path, uint32_t mode)
{
	struct fs_setattr s = {.mask = FS_SET_MODE, .mode = mode};

	return fs_setattr(r->fs, &r->root, path, true, &s);
}

static int special_setup(void **state)
{
	int err = rig_setup(state);
	struct rig *r = *state;

	if (!err)
		err = fs_mkdir(r->fs, &r->root, "/d", 0777);
	return err ? err : set_mode(r, "/d", 0777);
}

static void nodes_are_made_as_in_mknod(void **state)
{
	static const struct {
		const char *path;
		uint32_t mode;
		int user, root;
	} t[] = {
	    {"/d/fifo", S_IFIFO | 0640, 0, 0},
	    {"/d/sock", S_IFSOCK | 0600, 0, 0},
	    {"/d/reg", S_IFREG | 0644, 0, 0},
	    {"/d/reg2", 0644, 0, 0},
	    {"/d/chr", S_IFCHR | 0600, -EPERM, 0},
	    {"/d/blk", S_IFBLK | 0660, -EPERM, 0},
	    {"/d/dir", S_IFDIR | 0755, -EPERM, -EPERM},
	    {"/d/lnk", S_IFLNK | 0777, -EINVAL, -EINVAL},
	    {"/d/bad", 0170000 | 0777, -EINVAL, -EINVAL},
	    {"/d/fifo2/", S_IFIFO | 0640, -ENOENT, -ENOENT},
	    {"/d", S_IFIFO | 0640, -EEXIST, -EEXIST},
	};
	struct rig *r = *state;
	uint64_t dev = makedev(1234, 567890);

	for (unsigned round = 0; round < 2; round++) {
		for (size_t k = 0; k < sizeof(t) / sizeof(t[0]); k++) {
			const struct fs_caller *who = round ? &r->root : &r->user;
			int want = round ? t[k].root : t[k].user;

			assert_int_equal(fs_mknod(r->fs, who, t[k].path, t[k].mode, dev), want);
			if (want)
				continue;
			assert_int_equal(stat_of(r, t[k].path).mode,
					 t[k].mode & S_IFMT ? t[k].mode : t[k].mode | S_IFREG);
			assert_int_equal(fs_unlink(r->fs, who, t[k].path), 0);
		}
	}
}

static void device_numbers_are_kept(void **state)
{
	struct rig *r = *state;
	uint64_t dev = makedev(0xfffff, 0xfffffff);

	assert_int_equal(fs_mknod(r->fs, &r->root, "/chr", S_IFCHR | 0600, dev), 0);
	assert_int_equal(fs_mknod(r->fs, &r->root, "/blk", S_IFBLK | 0600, UINT64_MAX), 0);
	assert_int_equal(fs_mknod(r->fs, &r->root, "/fifo", S_IFIFO | 0600, dev), 0);
	for (unsigned round = 0; round < 3; round++) {
		assert_int_equal(stat_of(r, "/chr").rdev, dev);
		assert_int_equal(stat_of(r, "/blk").rdev, UINT64_MAX);
		assert_int_equal(stat_of(r, "/fifo").rdev, 0);
		rig_remount(r, round == 0);
	}
}

static void nobody_opens_them(void **state)
{
	static const uint32_t types[] = {S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK};
	struct rig *r = *state;
	struct fs_handle *h;
	char path[16];

	for (unsigned k = 0; k < 4; k++) {
		snprintf(path, sizeof(path), "/n%u", k);
		assert_int_equal(fs_mknod(r->fs, &r->root, path, types[k] | 0600, 1), 0);
		assert_int_equal(fs_open(r->fs, &r->root, path, O_RDWR, 0, &h), -ENXIO);
		assert_int_equal(fs_open(r->fs, &r->root, path, O_RDWR | O_CREAT, 0600, &h), -ENXIO);
		assert_int_equal(fs_open(r->fs, &r->root, path, O_RDONLY | O_DIRECTORY, 0, &h), -ENOTDIR);
		assert_int_equal(fs_open(r->fs, &r->user, path, O_RDONLY, 0, &h), -EACCES);
		assert_int_equal(fs_rmdir(r->fs, &r->root, path), -ENOTDIR);
	}
}

static void hard_links_to_everything_but_directories(void **state)
{
	struct rig *r = *state;
	static const char *const names[] = {"/fifo", "/chr", "/lnk", "/reg"};
	char to[32];

	assert_int_equal(fs_mknod(r->fs, &r->root, "/fifo", S_IFIFO | 0600, 0), 0);
	assert_int_equal(fs_mknod(r->fs, &r->root, "/chr", S_IFCHR | 0600, 7), 0);
	assert_int_equal(fs_symlink(r->fs, &r->root, "nowhere", "/lnk"), 0);
	rig_file(r, "/reg", 'r', 3);
	for (unsigned k = 0; k < 4; k++) {
		snprintf(to, sizeof(to), "/d%s", names[k]);
		assert_int_equal(fs_link(r->fs, &r->root, names[k], to), 0);
		assert_int_equal(fs_link(r->fs, &r->root, names[k], to), -EEXIST);
	}
	rig_remount(r, true);
	for (unsigned k = 0; k < 4; k++) {
		snprintf(to, sizeof(to), "/d%s", names[k]);
		assert_int_equal(stat_of(r, to).nlink, 2);
		assert_int_equal(stat_of(r, to).ino, stat_of(r, names[k]).ino);
		assert_int_equal(fs_unlink(r->fs, &r->root, names[k]), 0);
		assert_int_equal(stat_of(r, to).nlink, 1);
		assert_int_equal(fs_unlink(r->fs, &r->root, to), 0);
	}
	assert_int_equal(fs_link(r->fs, &r->root, "/d", "/d2"), -EPERM);
}

/* --- without a name --------------------------------------------------------------------------------------------------
 */

static int open_tmp(struct rig *r, const struct fs_caller *who, const char *dir, int flags, struct fs_handle **h)
{
	return fs_open(r->fs, who, dir, O_TMPFILE | flags, 0640, h);
}

static void tmpfile_flags(void **state)
{
	struct rig *r = *state;
	struct fs_handle *h;

	rig_file(r, "/f", 'f', 1);
	assert_int_equal(fs_symlink(r->fs, &r->root, "d", "/s"), 0);
	assert_int_equal(open_tmp(r, &r->root, "/d", O_RDONLY, &h), -EINVAL);
	assert_int_equal(open_tmp(r, &r->root, "/d", O_RDWR | O_CREAT, &h), -EINVAL);
	assert_int_equal(open_tmp(r, &r->root, "/f", O_RDWR, &h), -ENOTDIR);
	assert_int_equal(open_tmp(r, &r->root, "/no", O_RDWR, &h), -ENOENT);
	assert_int_equal(open_tmp(r, &r->root, "/s", O_RDWR | O_NOFOLLOW, &h), -ENOTDIR);
	assert_int_equal(open_tmp(r, &r->user, "/", O_RDWR, &h), -EACCES);
	assert_int_equal(open_tmp(r, &r->root, "/s", O_RDWR, &h), 0);
	fs_close(h, NULL, 0);
	assert_int_equal(fs_open(r->fs, &r->root, "/d", (O_TMPFILE & ~O_DIRECTORY) | O_RDWR, 0, &h), -EINVAL);
}

static void a_file_without_a_name_is_seen_by_nobody_and_gone_at_close(void **state)
{
	struct rig *r = *state;
	uint64_t blocks = rig_free_blocks(r);
	struct fs_statfs before, now;
	struct fs_attr a, dir = stat_of(r, "/d");
	struct fs_handle *h;

	fs_statfs(r->fs, &before);
	assert_int_equal(open_tmp(r, &r->user, "/d", O_RDWR, &h), 0);
	rig_fill(r, h, 't', 100000, 0);
	rig_expect(r, h, 't', 100000, 0);
	assert_int_equal(fs_fstat(h, &a), 0);
	assert_int_equal(a.nlink, 0);
	assert_int_equal(a.uid, 1000);
	assert_int_equal(a.mode, S_IFREG | 0640);
	assert_int_equal(stat_of(r, "/d").size, 0);
	assert_int_equal(stat_of(r, "/d").mtime_ns, dir.mtime_ns);
	rig_check(r);
	assert_int_equal(fs_checkpoint(r->fs), 0);
	fs_close(h, NULL, 0);
	fs_statfs(r->fs, &now);
	assert_int_equal(now.files, before.files);
	assert_true(rig_free_blocks(r) + 64 > blocks);
}

static void it_gets_a_name_once(void **state)
{
	struct rig *r = *state;
	struct fs_handle *h;

	assert_int_equal(open_tmp(r, &r->user, "/d", O_RDWR, &h), 0);
	rig_fill(r, h, 't', 5000, 0);
	assert_int_equal(fs_fxattr_set(h, &r->user, "user.x", "y", 1, 0), 0);
	assert_int_equal(fs_link_handle(h, &r->user, "/name"), -EACCES);
	assert_int_equal(fs_link_handle(h, &r->user, "/d/no/name"), -ENOENT);
	assert_int_equal(fs_link_handle(h, &r->user, "/d"), -EEXIST);
	assert_int_equal(fs_link_handle(h, &r->user, "/d/name"), 0);
	assert_int_equal(stat_of(r, "/d/name").nlink, 1);
	/* An ordinary file from then on: more names, and orphaned for good by the last unlink. */
	assert_int_equal(fs_link_handle(h, &r->user, "/d/name"), -EEXIST);
	assert_int_equal(fs_link_handle(h, &r->user, "/d/second"), 0);
	rig_check(r);
	assert_int_equal(fs_unlink(r->fs, &r->user, "/d/second"), 0);
	assert_int_equal(fs_unlink(r->fs, &r->user, "/d/name"), 0);
	assert_int_equal(fs_link_handle(h, &r->user, "/d/name"), -ENOENT);
	rig_expect(r, h, 't', 5000, 0);
	fs_close(h, NULL, 0);
	assert_int_equal(open_tmp(r, &r->user, "/d", O_RDWR, &h), 0);
	rig_fill(r, h, 'k', 5000, 0);
	assert_int_equal(fs_link_handle(h, &r->user, "/d/kept"), 0);
	fs_close(h, NULL, 0);
	rig_remount(r, true);
	h = rig_open(r, "/d/kept", O_RDONLY);
	rig_expect(r, h, 'k', 5000, 0);
	fs_close(h, NULL, 0);
}

static void with_o_excl_it_never_gets_one(void **state)
{
	struct rig *r = *state;
	struct fs_handle *h;

	assert_int_equal(open_tmp(r, &r->root, "/d", O_RDWR | O_EXCL, &h), 0);
	assert_int_equal(fs_link_handle(h, &r->root, "/d/name"), -ENOENT);
	fs_close(h, NULL, 0);
}

static void handles_link_any_file_but_no_directory(void **state)
{
	struct rig *r = *state;
	struct fs_handle *h;

	rig_file(r, "/f", 'f', 1);
	h = rig_open(r, "/f", O_RDONLY);
	assert_int_equal(fs_link_handle(h, &r->root, "/g"), 0);
	assert_int_equal(stat_of(r, "/f").nlink, 2);
	fs_close(h, NULL, 0);
	h = rig_open(r, "/d", O_RDONLY);
	assert_int_equal(fs_link_handle(h, &r->root, "/d2"), -EPERM);
	fs_close(h, NULL, 0);
}

/* The crash comes while it is open: by the log, and by a checkpoint that has it. */
static void a_crash_takes_it(void **state)
{
	struct rig *r = *state;

	for (unsigned round = 0; round < 2; round++) {
		struct fs_statfs before, after;
		struct fs_handle *h;

		fs_statfs(r->fs, &before);
		assert_int_equal(open_tmp(r, &r->root, "/d", O_RDWR, &h), 0);
		rig_fill(r, h, 't', 50000, 0);
		assert_int_equal(fs_fxattr_set(h, &r->root, "user.x", "y", 1, 0), 0);
		if (round)
			assert_int_equal(fs_checkpoint(r->fs), 0);
		/* The crash: what the handle holds in memory is forgotten, its close is never recorded. */
		h->inode->gone = true;
		itable_remove(r->fs, h->inode);
		fs_close(h, NULL, 0);
		rig_remount(r, true);
		fs_statfs(r->fs, &after);
		assert_int_equal(after.files, before.files);
	}
}

/* --- what stat shows -------------------------------------------------------------------------------------------------
 */

static void stat_shows_flags_and_tree(void **state)
{
	struct rig *r = *state;
	struct inode *i;
	struct fs_attr a = stat_of(r, "/d");

	assert_int_equal(a.flags, 0);
	assert_int_equal(a.tree, 0);
	i = itable_peek(r->fs, a.ino);
	i->attr.flags = 3;
	i->attr.tree = 77;
	a = stat_of(r, "/d");
	assert_int_equal(a.flags, FS_ATTR_SNAPSHOT | FS_ATTR_READ_ONLY);
	assert_int_equal(a.tree, 77);
	/* What belongs to a read-only snapshot does not change. */
	assert_int_equal(set_mode(r, "/d", 0700), -EROFS);
	assert_int_equal(fs_mkdir(r->fs, &r->root, "/d/x", 0700), -EROFS);
	assert_int_equal(fs_xattr_set(r->fs, &r->root, "/d", true, "user.x", "y", 1, 0), -EROFS);
	i->attr.flags = 0;
	i->attr.tree = 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, special_setup, rig_teardown)
	    CASE(nodes_are_made_as_in_mknod),
	    CASE(device_numbers_are_kept),
	    CASE(nobody_opens_them),
	    CASE(hard_links_to_everything_but_directories),
	    CASE(tmpfile_flags),
	    CASE(a_file_without_a_name_is_seen_by_nobody_and_gone_at_close),
	    CASE(it_gets_a_name_once),
	    CASE(with_o_excl_it_never_gets_one),
	    CASE(handles_link_any_file_but_no_directory),
	    CASE(a_crash_takes_it),
	    CASE(stat_shows_flags_and_tree),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
