/* SPDX-License-Identifier: BSD-2-Clause */
/* Goal: every public call on names and files does what it says in process, and its errors say why (L37). */
#include "local_test.h"

#include <dirent.h>

static struct lh_stat stat_of(struct lh_fs *fs, const char *path)
{
	struct lh_stat st = {.size_of = sizeof(st)};

	ok(lh_path_stat(fs, path, false, &st));
	return st;
}

static void names_are_made_looked_up_and_removed(void **state)
{
	struct lh_stat st = {.size_of = sizeof(st)};
	struct lh_fs *fs = mem_open(0);
	char target[64];

	ok(lh_path_mkdir(fs, "/d", 0750));
	st = stat_of(fs, "/d");
	assert_int_equal(st.mode, S_IFDIR | 0750);
	assert_int_equal(st.uid, geteuid());
	refused(-EEXIST, lh_path_mkdir(fs, "/d", 0750));
	refused(-ENOENT, lh_path_mkdir(fs, "/missing/d", 0750));
	lh_file_close(file_make(fs, "/d/f"));
	refused(-ENOTDIR, lh_path_stat(fs, "/d/f/x", false, &st));
	refused(-ENOTEMPTY, lh_path_rmdir(fs, "/d"));
	refused(-EISDIR, lh_path_unlink(fs, "/d"));
	ok(lh_path_link(fs, "/d/f", "/g"));
	assert_int_equal(stat_of(fs, "/g").nlink, 2);
	ok(lh_path_symlink(fs, "d/f", "/s"));
	assert_int_equal(lh_path_readlink(fs, "/s", target, sizeof(target)), 3);
	assert_memory_equal(target, "d/f", 3);
	refused(-ERANGE, lh_path_readlink(fs, "/s", target, 2));
	refused(-EINVAL, lh_path_readlink(fs, "/g", target, sizeof(target)));
	ok(lh_path_stat(fs, "/s", true, &st));
	assert_true(S_ISREG(st.mode));
	ok(lh_path_symlink(fs, "loop", "/loop"));
	refused(-ELOOP, lh_path_stat(fs, "/loop", true, &st));
	ok(lh_path_unlink(fs, "/d/f"));
	ok(lh_path_rmdir(fs, "/d"));
	refused(-ENOENT, lh_path_unlink(fs, "/d/f"));
	ok(lh_fs_close(fs));
}

static void names_and_paths_have_their_limits(void **state)
{
	struct lh_stat st = {.size_of = sizeof(st)};
	struct lh_fs *fs = mem_open(0);
	char name[300], path[5000];

	memset(name, 'n', sizeof(name));
	name[0] = '/';
	name[257] = '\0';
	refused(-ENAMETOOLONG, lh_path_mkdir(fs, name, 0755));
	name[256] = '\0';
	ok(lh_path_mkdir(fs, name, 0755));
	memset(path, '/', sizeof(path));
	path[4999] = '\0';
	refused(-ENAMETOOLONG, lh_path_stat(fs, path, false, &st));
	path[4096] = '\0';
	ok(lh_path_stat(fs, path, false, &st));
	ok(lh_fs_close(fs));
}

static void rename_replaces_refuses_or_exchanges(void **state)
{
	struct lh_fs *fs = mem_open(0);
	uint64_t a, b;

	lh_file_close(file_make(fs, "/a"));
	lh_file_close(file_make(fs, "/b"));
	a = stat_of(fs, "/a").ino;
	b = stat_of(fs, "/b").ino;
	refused(-EEXIST, lh_path_rename(fs, "/a", "/b", LH_RENAME_NOREPLACE));
	ok(lh_path_rename(fs, "/a", "/b", LH_RENAME_EXCHANGE));
	assert_int_equal(stat_of(fs, "/a").ino, b);
	assert_int_equal(stat_of(fs, "/b").ino, a);
	ok(lh_path_rename(fs, "/a", "/b", 0));
	assert_int_equal(stat_of(fs, "/b").ino, b);
	refused(-ENOENT, lh_path_rename(fs, "/a", "/b", 0));
	refused(-EINVAL, lh_path_rename(fs, "/b", "/c", 64));
	ok(lh_path_mkdir(fs, "/d", 0755));
	refused(-EINVAL, lh_path_rename(fs, "/d", "/d/in", 0));
	ok(lh_fs_close(fs));
}

static void attributes_are_set_and_kept(void **state)
{
	struct lh_fs *fs = mem_open(0);
	struct lh_stat st;

	lh_file_close(file_make(fs, "/f"));
	ok(lh_path_chmod(fs, "/f", 0601));
	assert_int_equal(stat_of(fs, "/f").mode, S_IFREG | 0601);
	ok(lh_path_set_times(fs, "/f", true, 5, 1234567890123456789));
	st = stat_of(fs, "/f");
	assert_int_equal(st.atime_ns, 5);
	assert_int_equal(st.mtime_ns, 1234567890123456789);
	ok(lh_path_set_times(fs, "/f", true, INT64_MAX, 7));
	assert_int_equal(stat_of(fs, "/f").atime_ns, 5);
	assert_int_equal(stat_of(fs, "/f").mtime_ns, 7);
	ok(lh_path_set_times(fs, "/f", true, INT64_MIN, INT64_MAX));
	assert_true(stat_of(fs, "/f").atime_ns > 1000000000);
	ok(lh_path_chown(fs, "/f", UINT32_MAX, UINT32_MAX));
	if (geteuid() == 0) {
		ok(lh_path_chown(fs, "/f", 7, UINT32_MAX));
		assert_int_equal(stat_of(fs, "/f").uid, 7);
	} else {
		refused(-EPERM, lh_path_chown(fs, "/f", geteuid() + 1, UINT32_MAX));
	}
	ok(lh_fs_close(fs));
}

static void directories_list_every_entry_once_also_from_a_cookie(void **state)
{
	struct lh_fs *fs = mem_open(0);
	enum { FILES = 300 };
	unsigned seen[FILES] = {0};
	struct lh_dirent d;
	struct lh_dir *dir;
	uint64_t middle = 0;
	unsigned after = 0, n = 0;

	for (unsigned i = 0; i < FILES; i++) {
		char path[32];

		snprintf(path, sizeof(path), "/f%u", i);
		lh_file_close(file_make(fs, path));
	}
	ok(lh_dir_open(fs, "/", &dir));
	while (lh_dir_next(dir, &d) == 1) {
		assert_int_equal(d.type, DT_REG);
		seen[atoi(d.name + 1)]++;
		if (++n == FILES / 2)
			middle = d.cookie;
	}
	for (unsigned i = 0; i < FILES; i++)
		assert_int_equal(seen[i], 1);
	lh_dir_seek(dir, middle);
	while (lh_dir_next(dir, &d) == 1)
		after++;
	assert_int_equal(after, FILES - FILES / 2);
	lh_dir_seek(dir, 0);
	assert_int_equal(lh_dir_next(dir, &d), 1);
	lh_dir_close(dir);
	lh_dir_close(NULL);
	refused(-ENOTDIR, lh_dir_open(fs, "/f0", &dir));
	refused(-ENOENT, lh_dir_open(fs, "/none", &dir));
	ok(lh_fs_close(fs));
}

static void files_are_read_written_cut_and_cloned(void **state)
{
	struct lh_fs *fs = mem_open(0);
	struct lh_file *f = file_make(fs, "/f"), *g = file_make(fs, "/g");
	struct lh_stat st = {.size_of = sizeof(st)};
	struct lh_extent e[8];
	uint8_t buf[3 * BLOCK];

	write_pattern(f, 0, 3 * BLOCK, 1);
	assert_int_equal(lh_file_read(f, buf, sizeof(buf), 100), 3 * BLOCK - 100);
	expect_pattern(buf, 3 * BLOCK - 100, 100, 1);
	assert_int_equal(lh_file_read(f, buf, 10, 1 << 20), 0);
	ok(lh_file_clone_range(g, 0, f, 0, 0));
	assert_int_equal(lh_file_extents(g, 0, UINT64_MAX, e, 8), 1);
	assert_true(e[0].flags & LH_EXTENT_SHARED);
	assert_int_equal(e[0].len, 3 * BLOCK);
	refused(-EINVAL, lh_file_clone_range(g, 1, f, 0, BLOCK));
	write_pattern(f, BLOCK, BLOCK, 2);
	assert_int_equal(lh_file_read(g, buf, sizeof(buf), 0), 3 * BLOCK);
	expect_pattern(buf, 3 * BLOCK, 0, 1);
	assert_true(lh_file_relocate(g, 0, 3 * BLOCK) >= 0);
	assert_int_equal(lh_file_read(g, buf, sizeof(buf), 0), 3 * BLOCK);
	expect_pattern(buf, 3 * BLOCK, 0, 1);
	ok(lh_file_punch(g, BLOCK, BLOCK));
	assert_int_equal(lh_file_extents(g, 0, UINT64_MAX, e, 8), 2);
	assert_int_equal(lh_file_extents(g, 0, UINT64_MAX, e, 1), 1);
	ok(lh_file_truncate(g, 5000));
	ok(lh_file_stat(g, &st));
	assert_int_equal(st.size, 5000);
	ok(lh_file_allocate(g, 0, 4 * BLOCK, false));
	ok(lh_file_allocate(g, 0, 64 * BLOCK, true));
	ok(lh_file_stat(g, &st));
	assert_int_equal(st.size, 4 * BLOCK);
	ok(lh_file_sync(g));
	ok(lh_fs_sync(fs));
	ok(lh_file_close(g));
	ok(lh_file_close(f));
	ok(lh_file_close(NULL));
	ok(lh_fs_close(fs));
}

static void opening_obeys_its_flags(void **state)
{
	struct lh_fs *fs = mem_open(0);
	struct lh_file *f;
	uint8_t byte = 1;

	refused(-ENOENT, lh_file_open(fs, "/f", O_RDWR, 0, &f));
	ok(lh_file_open(fs, "/f", O_WRONLY | O_CREAT | O_EXCL, 0644, &f));
	refused(-EBADF, lh_file_read(f, &byte, 1, 0));
	assert_int_equal(lh_file_write(f, "abc", 3, 0), 3);
	ok(lh_file_close(f));
	refused(-EEXIST, lh_file_open(fs, "/f", O_WRONLY | O_CREAT | O_EXCL, 0644, &f));
	ok(lh_file_open(fs, "/f", O_WRONLY | O_APPEND, 0, &f));
	assert_int_equal(lh_file_write(f, "d", 1, 0), 1);
	ok(lh_file_close(f));
	ok(lh_file_open(fs, "/f", O_RDONLY, 0, &f));
	refused(-EBADF, lh_file_write(f, &byte, 1, 0));
	assert_int_equal(lh_file_read(f, &byte, 1, 3), 1);
	assert_int_equal(byte, 'd');
	ok(lh_file_close(f));
	ok(lh_file_open(fs, "/f", O_RDWR | O_TRUNC, 0, &f));
	assert_int_equal(lh_file_read(f, &byte, 1, 0), 0);
	ok(lh_file_close(f));
	ok(lh_path_mkdir(fs, "/d", 0755));
	refused(-EISDIR, lh_file_open(fs, "/d", O_RDONLY, 0, &f));
	refused(-EISDIR, lh_file_open(fs, "/d", O_RDWR, 0, &f));
	ok(lh_path_symlink(fs, "f", "/s"));
	refused(-ELOOP, lh_file_open(fs, "/s", O_RDONLY | O_NOFOLLOW, 0, &f));
	ok(lh_fs_close(fs));
}

static void the_filesystem_tells_its_size_and_what_it_is(void **state)
{
	struct lh_statfs s = {.size = sizeof(s)};
	struct lh_fs *fs = mem_open(0);

	ok(lh_fs_stat(fs, &s));
	assert_int_equal(s.block_size, BLOCK);
	assert_int_equal(s.blocks * s.block_size, 64 << 20);
	assert_true(s.avail_blocks <= s.free_blocks && s.free_blocks < s.blocks && s.avail_blocks > 0);
	assert_string_equal(s.pool_class, "volatile");
	assert_false(lh_fs_is_remote(fs));
	ok(lh_fs_close(fs));
}

static void closing_refuses_while_handles_are_open(void **state)
{
	struct lh_fs *fs = mem_open(0);
	struct lh_file *f = file_make(fs, "/f");

	refused(-EBUSY, lh_fs_close(fs));
	ok(lh_file_close(f));
	ok(lh_fs_close(fs));
	ok(lh_fs_close(NULL));
}

static void two_filesystems_do_not_clone_into_each_other(void **state)
{
	struct lh_fs *one = mem_open(0), *two = mem_open(0);
	struct lh_file *f = file_make(one, "/f"), *g = file_make(two, "/g");

	write_pattern(f, 0, BLOCK, 1);
	refused(-EXDEV, lh_file_clone_range(g, 0, f, 0, 0));
	ok(lh_file_close(f));
	ok(lh_file_close(g));
	ok(lh_fs_close(one));
	ok(lh_fs_close(two));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(names_are_made_looked_up_and_removed),
	    cmocka_unit_test(names_and_paths_have_their_limits),
	    cmocka_unit_test(rename_replaces_refuses_or_exchanges),
	    cmocka_unit_test(attributes_are_set_and_kept),
	    cmocka_unit_test(directories_list_every_entry_once_also_from_a_cookie),
	    cmocka_unit_test(files_are_read_written_cut_and_cloned),
	    cmocka_unit_test(opening_obeys_its_flags),
	    cmocka_unit_test(the_filesystem_tells_its_size_and_what_it_is),
	    cmocka_unit_test(closing_refuses_while_handles_are_open),
	    cmocka_unit_test(two_filesystems_do_not_clone_into_each_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
