/* SPDX-License-Identifier: BSD-2-Clause */
/* L37: extended attributes by the rules of xattr(7); L38: each change is one record; format 4.9. */
#include "fsrig.h"

#include <sys/xattr.h>

#include "format/format.h"
#include "fs/core.h"

#undef fail /* cmocka's */

#define BIG FS_XATTR_SIZE_MAX

static ssize_t get(struct rig *r, const struct fs_caller *who, const char *path, const char *name, void *buf, size_t n)
{
	return fs_xattr_get(r->fs, who, path, false, name, buf, n);
}

static int set(struct rig *r, const struct fs_caller *who, const char *path, const char *name, const char *value)
{
	return fs_xattr_set(r->fs, who, path, false, name, value, strlen(value), 0);
}

/* Of size bytes that begin with c and differ from place to place. */
static void set_big(struct rig *r, const char *path, const char *name, int c, size_t size)
{
	uint8_t *value = malloc(size);

	for (size_t k = 0; k < size; k++)
		value[k] = (uint8_t)(c + k / 251);
	assert_int_equal(fs_xattr_set(r->fs, &r->root, path, false, name, value, size, 0), 0);
	free(value);
}

static void expect_big(struct rig *r, const char *path, const char *name, int c, size_t size)
{
	uint8_t *value = malloc(BIG);

	assert_int_equal(get(r, &r->root, path, name, value, BIG), (ssize_t)size);
	for (size_t k = 0; k < size; k++) {
		if (value[k] != (uint8_t)(c + k / 251))
			assert_int_equal(k, SIZE_MAX);
	}
	free(value);
}

/* /f of root 0644, /u of the user 0600, /d of the user 0755, /s -> f, /p a pipe, /sticky 01777 */
static int xattr_setup(void **state)
{
	struct fs_setattr own = {.mask = FS_SET_UID | FS_SET_GID, .uid = 1000, .gid = 1000};
	int err = rig_setup(state);
	struct rig *r = *state;

	if (err)
		return err;
	rig_file(r, "/f", 'f', 10);
	rig_file(r, "/u", 'u', 10);
	assert_int_equal(fs_mkdir(r->fs, &r->root, "/d", 0755), 0);
	assert_int_equal(fs_setattr(r->fs, &r->root, "/u", false, &own), 0);
	assert_int_equal(fs_setattr(r->fs, &r->root, "/d", false, &own), 0);
	own = (struct fs_setattr){.mask = FS_SET_MODE, .mode = 0600};
	assert_int_equal(fs_setattr(r->fs, &r->root, "/u", false, &own), 0);
	assert_int_equal(fs_symlink(r->fs, &r->root, "f", "/s"), 0);
	assert_int_equal(fs_mknod(r->fs, &r->user, "/d/p", S_IFIFO | 0666, 0), 0);
	assert_int_equal(fs_mkdir(r->fs, &r->root, "/sticky", 0777), 0);
	own = (struct fs_setattr){.mask = FS_SET_MODE, .mode = 01777};
	return fs_setattr(r->fs, &r->root, "/sticky", false, &own);
}

static void values_are_read_back(void **state)
{
	struct rig *r = *state;
	char buf[32];

	assert_int_equal(get(r, &r->root, "/f", "user.a", buf, sizeof(buf)), -ENODATA);
	assert_int_equal(set(r, &r->root, "/f", "user.a", "first"), 0);
	assert_int_equal(set(r, &r->root, "/f", "user.empty", ""), 0);
	assert_int_equal(get(r, &r->root, "/f", "user.a", NULL, 0), 5);
	assert_int_equal(get(r, &r->root, "/f", "user.a", buf, 4), -ERANGE);
	assert_int_equal(get(r, &r->root, "/f", "user.a", buf, 5), 5);
	assert_memory_equal(buf, "first", 5);
	assert_int_equal(get(r, &r->root, "/f", "user.empty", buf, sizeof(buf)), 0);
	assert_int_equal(set(r, &r->root, "/f", "user.a", "another one"), 0);
	assert_int_equal(fs_xattr_get(r->fs, &r->root, "/s", true, "user.a", buf, sizeof(buf)), 11);
	assert_int_equal(fs_xattr_remove(r->fs, &r->root, "/f", false, "user.a"), 0);
	assert_int_equal(fs_xattr_remove(r->fs, &r->root, "/f", false, "user.a"), -ENODATA);
	assert_int_equal(get(r, &r->root, "/f", "user.a", buf, sizeof(buf)), -ENODATA);
}

static void flags_say_whether_it_may_or_must_be_there(void **state)
{
	struct rig *r = *state;

	assert_int_equal(fs_xattr_set(r->fs, &r->root, "/f", false, "user.a", "x", 1, XATTR_REPLACE), -ENODATA);
	assert_int_equal(fs_xattr_set(r->fs, &r->root, "/f", false, "user.a", "x", 1, XATTR_CREATE), 0);
	assert_int_equal(fs_xattr_set(r->fs, &r->root, "/f", false, "user.a", "y", 1, XATTR_CREATE), -EEXIST);
	assert_int_equal(fs_xattr_set(r->fs, &r->root, "/f", false, "user.a", "y", 1, XATTR_REPLACE), 0);
	assert_int_equal(fs_xattr_set(r->fs, &r->root, "/f", false, "user.a", "y", 1, 4), -EINVAL);
}

static void names_and_sizes_have_limits(void **state)
{
	static char name[300], value[BIG + 1];
	struct rig *r = *state;

	memset(name, 'n', sizeof(name) - 1);
	memcpy(name, "user.", 5);
	assert_int_equal(set(r, &r->root, "/f", name, "x"), -ERANGE);
	name[FS_XATTR_NAME_MAX + 1] = '\0';
	assert_int_equal(set(r, &r->root, "/f", name, "x"), -ERANGE);
	name[FS_XATTR_NAME_MAX] = '\0';
	assert_int_equal(set(r, &r->root, "/f", name, "x"), 0);
	assert_int_equal(set(r, &r->root, "/f", "", "x"), -ERANGE);
	assert_int_equal(set(r, &r->root, "/f", "user.", "x"), -EINVAL);
	assert_int_equal(set(r, &r->root, "/f", "trusted.", "x"), -EINVAL);
	assert_int_equal(set(r, &r->root, "/f", "userx", "x"), -EOPNOTSUPP);
	assert_int_equal(set(r, &r->root, "/f", "system.other", "x"), -EOPNOTSUPP);
	assert_int_equal(get(r, &r->root, "/f", "nothing.x", value, 1), -EOPNOTSUPP);
	assert_int_equal(fs_xattr_set(r->fs, &r->root, "/f", false, "user.v", value, BIG + 1, 0), -E2BIG);
	assert_int_equal(fs_xattr_set(r->fs, &r->root, "/f", false, "user.v", value, BIG, 0), 0);
	assert_int_equal(get(r, &r->root, "/f", "user.v", NULL, 0), BIG);
	assert_int_equal(get(r, &r->root, "/f", name, NULL, 0), 1);
	rig_remount(r, true);
	assert_int_equal(get(r, &r->root, "/f", name, NULL, 0), 1);
}

/* As xattr(7): user. on files and directories only, by their permissions; trusted. is root's and unseen by others. */
static void namespaces_have_their_own_permissions(void **state)
{
	static const struct {
		const char *path, *name;
		int user_set, user_get, other_set, other_get; /* others after root has set it */
	} t[] = {
	    {"/f", "user.x", -EACCES, 1, -EACCES, 1},
	    {"/u", "user.x", 0, 1, -EACCES, -EACCES},
	    {"/d", "user.x", 0, 1, -EACCES, 1},
	    {"/sticky", "user.x", -EPERM, 1, -EPERM, 1},
	    {"/f", "trusted.x", -EPERM, -ENODATA, -EPERM, -ENODATA},
	    {"/u", "security.x", -EPERM, 1, -EPERM, 1},
	    {"/s", "security.x", -EPERM, 1, -EPERM, 1},
	    {"/s", "trusted.x", -EPERM, -ENODATA, -EPERM, -ENODATA},
	};
	struct rig *r = *state;
	char c;

	for (size_t k = 0; k < sizeof(t) / sizeof(t[0]); k++) {
		assert_int_equal(set(r, &r->user, t[k].path, t[k].name, "x"), t[k].user_set);
		assert_int_equal(set(r, &r->root, t[k].path, t[k].name, "x"), 0);
		assert_int_equal(get(r, &r->user, t[k].path, t[k].name, &c, 1), t[k].user_get);
		assert_int_equal(get(r, &r->other, t[k].path, t[k].name, &c, 1), t[k].other_get);
		assert_int_equal(set(r, &r->other, t[k].path, t[k].name, "y"), t[k].other_set);
		assert_int_equal(fs_xattr_remove(r->fs, &r->other, t[k].path, false, t[k].name), t[k].other_set);
		assert_int_equal(get(r, &r->root, t[k].path, t[k].name, &c, 1), 1);
		assert_int_equal(c, 'x');
	}
	assert_int_equal(set(r, &r->root, "/s", "user.x", "x"), -EPERM);
	assert_int_equal(get(r, &r->root, "/s", "user.x", &c, 1), -ENODATA);
	assert_int_equal(set(r, &r->user, "/d/p", "user.x", "x"), -EPERM);
}

static bool listed(const char *names, ssize_t n, const char *name)
{
	for (ssize_t k = 0; k < n; k += (ssize_t)strlen(names + k) + 1) {
		if (strcmp(names + k, name) == 0)
			return true;
	}
	return false;
}

static void lists_show_what_the_caller_may_see(void **state)
{
	struct rig *r = *state;
	char buf[256];
	ssize_t n;

	assert_int_equal(fs_xattr_list(r->fs, &r->root, "/u", false, buf, sizeof(buf)), 0);
	assert_int_equal(set(r, &r->root, "/u", "user.one", "1"), 0);
	assert_int_equal(set(r, &r->root, "/u", "trusted.two", "2"), 0);
	assert_int_equal(set(r, &r->root, "/u", "security.three", "3"), 0);
	n = fs_xattr_list(r->fs, &r->root, "/u", false, buf, sizeof(buf));
	assert_int_equal(n, 9 + 12 + 15);
	assert_true(listed(buf, n, "user.one") && listed(buf, n, "trusted.two") && listed(buf, n, "security.three"));
	n = fs_xattr_list(r->fs, &r->other, "/u", false, buf, sizeof(buf));
	assert_int_equal(n, 9 + 15);
	assert_true(listed(buf, n, "user.one") && !listed(buf, n, "trusted.two") && listed(buf, n, "security.three"));
	assert_int_equal(fs_xattr_list(r->fs, &r->other, "/u", false, NULL, 0), 24);
	assert_int_equal(fs_xattr_list(r->fs, &r->other, "/u", false, buf, 23), -ERANGE);
	assert_int_equal(fs_xattr_list(r->fs, &r->other, "/u", false, buf, 24), 24);
}

static void the_names_of_one_inode_have_a_limit(void **state)
{
	struct rig *r = *state;
	char name[256];
	unsigned count = 0;
	int err = 0;

	memset(name, 'n', sizeof(name));
	name[FS_XATTR_NAME_MAX] = '\0';
	while (!err) {
		memcpy(name, "user.", 5);
		snprintf(name + 5, 6, "%05u", count);
		name[10] = 'n';
		err = set(r, &r->root, "/f", name, "x");
		count += !err;
	}
	assert_int_equal(err, -ENOSPC);
	assert_int_equal(count, FS_XATTR_LIST_MAX / 256);
	/* Another value for one of them is no new name. */
	name[5 + 4] = '0';
	assert_int_equal(set(r, &r->root, "/f", name, "y"), 0);
	rig_remount(r, false);
	assert_int_equal(fs_xattr_list(r->fs, &r->root, "/f", false, NULL, 0), FS_XATTR_LIST_MAX);
}

/* Both by replay of the log and from a checkpoint, whose walk goes through large sets in batches. */
static void they_survive(void **state)
{
	static const size_t sizes[] = {0, 1, 7, 8, 32767, 32768, 32769, BIG - 1, BIG};
	struct rig *r = *state;
	char name[32];

	for (unsigned round = 0; round < 4; round++) {
		for (unsigned k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
			snprintf(name, sizeof(name), "user.%u", k);
			if (round == 0)
				set_big(r, "/f", name, (int)k, sizes[k]);
			expect_big(r, "/f", name, (int)k, sizes[k]);
		}
		if (round == 1)
			assert_int_equal(fs_checkpoint(r->fs), 0);
		rig_remount(r, round < 2);
	}
	assert_int_equal(fs_xattr_remove(r->fs, &r->root, "/f", false, "user.8"), 0);
	set_big(r, "/f", "user.7", 1, 3);
	rig_remount(r, true);
	expect_big(r, "/f", "user.7", 1, 3);
	assert_int_equal(get(r, &r->root, "/f", "user.8", NULL, 0), -ENODATA);
}

static void a_change_is_one_record_and_a_new_ctime(void **state)
{
	struct rig *r = *state;
	struct fs_attr a, b;
	struct journal_stats js[2];

	assert_int_equal(fs_stat(r->fs, &r->root, "/f", false, &a), 0);
	nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
	journal_stats_read(r->fs->journal, &js[0]);
	assert_int_equal(set(r, &r->root, "/f", "user.a", "x"), 0);
	journal_stats_read(r->fs->journal, &js[1]);
	assert_int_equal(js[1].records - js[0].records, 1);
	assert_int_equal(fs_stat(r->fs, &r->root, "/f", false, &b), 0);
	assert_true(b.ctime_ns > a.ctime_ns);
	assert_int_equal(b.mtime_ns, a.mtime_ns);
	assert_int_equal(b.mode, a.mode);
}

static void they_go_with_the_inode(void **state)
{
	struct rig *r = *state;
	int64_t before = atomic_load(&r->fs->checkpoint_bytes);

	rig_file(r, "/gone", 'g', 1);
	set_big(r, "/gone", "user.big", 1, BIG);
	assert_true(atomic_load(&r->fs->checkpoint_bytes) > before + (int64_t)BIG);
	assert_int_equal(fs_unlink(r->fs, &r->root, "/gone"), 0);
	assert_int_equal(atomic_load(&r->fs->checkpoint_bytes), before);
	rig_file(r, "/gone", 'g', 1);
	assert_int_equal(get(r, &r->root, "/gone", "user.big", NULL, 0), -ENODATA);
}

static void by_handle_they_are_the_same(void **state)
{
	struct rig *r = *state;
	struct fs_handle *h = rig_open(r, "/u", O_RDONLY);
	char buf[32];

	assert_int_equal(fs_fxattr_set(h, &r->user, "user.h", "abc", 3, XATTR_CREATE), 0);
	assert_int_equal(fs_fxattr_set(h, &r->other, "user.h", "abc", 3, 0), -EACCES);
	assert_int_equal(get(r, &r->user, "/u", "user.h", buf, sizeof(buf)), 3);
	assert_int_equal(fs_fxattr_get(h, &r->user, "user.h", buf, sizeof(buf)), 3);
	assert_int_equal(fs_fxattr_list(h, &r->user, buf, sizeof(buf)), 7);
	assert_int_equal(fs_fxattr_remove(h, &r->user, "user.h"), 0);
	assert_int_equal(fs_fxattr_remove(h, &r->user, "user.h"), -ENODATA);
	fs_close(h, NULL, 0);
}

static void a_read_only_mount_shows_and_keeps_them(void **state)
{
	struct rig *r = *state;
	char c;

	assert_int_equal(set(r, &r->root, "/f", "user.a", "x"), 0);
	r->mount.read_only = true;
	rig_remount(r, false);
	assert_int_equal(get(r, &r->root, "/f", "user.a", &c, 1), 1);
	assert_int_equal(set(r, &r->root, "/f", "user.a", "y"), -EROFS);
	assert_int_equal(fs_xattr_remove(r->fs, &r->root, "/f", false, "user.a"), -EROFS);
	r->mount.read_only = false;
	rig_remount(r, false);
}

/* A full pool refuses more, keeps what is there, and can always take away. */
static void a_full_pool_refuses_and_gives_back(void **state)
{
	struct rig *r = *state;
	uint8_t *value = calloc(1, BIG);
	char path[32], name[32];
	unsigned files = 0;
	int err = 0;

	while (!err) {
		snprintf(path, sizeof(path), "/x%u", files);
		assert_true(files < 100);
		rig_file(r, path, 'x', 0);
		files++;
		for (unsigned k = 0; k < 40 && !err; k++) {
			snprintf(name, sizeof(name), "user.%u", k);
			err = fs_xattr_set(r->fs, &r->root, path, false, name, value, BIG, 0);
		}
	}
	assert_int_equal(err, -ENOSPC);
	rig_check(r);
	while (files-- > 0) {
		snprintf(path, sizeof(path), "/x%u", files);
		assert_int_equal(fs_xattr_remove(r->fs, &r->root, path, false, "user.0"), 0);
		assert_int_equal(fs_unlink(r->fs, &r->root, path), 0);
	}
	rig_remount(r, true);
	set_big(r, "/f", "user.a", 3, BIG);
	free(value);
}

/* --- damage: a record that says what no operation writes ------------------------------------------------------------
 */

/* Commits a record of the test's making, then looks at what a mount says. */
static void expect_refused(struct rig *r, struct jtxn *t, const char *rule)
{
	uint64_t seq;
	struct fs *fs;

	assert_int_equal(jtxn_commit(r->fs->journal, t, &seq), 0);
	jtxn_fini(t);
	fs_abandon(r->fs);
	assert_int_equal(fs_mount(r->pool, &r->mount, &fs), -EUCLEAN);
	if (!strstr(fail_text(), rule))
		fprintf(stderr, "mount said: %s\n", fail_text());
	assert_non_null(strstr(fail_text(), rule));
	assert_int_equal(fs_format(r->pool, NULL), 0);
	assert_int_equal(fs_mount(r->pool, &r->mount, &r->fs), 0);
}

static uint64_t ino_of_path(struct rig *r, const char *path)
{
	struct fs_attr a;

	assert_int_equal(fs_stat(r->fs, &r->root, path, false, &a), 0);
	return a.ino;
}

/* format 4.9d */
static void a_value_that_grows_too_long_is_refused(void **state)
{
	static uint8_t value[BIG];
	struct rig *r = *state;
	uint64_t ino = ino_of_path(r, "/f");
	struct jtxn t;

	jtxn_init(&t);
	jtxn_xattr(&t, ino, "user.x", 6, value, BIG);
	/* Turns the next set into one more append. */
	jtxn_xattr(&t, ino, "user.x", 6, value, 1);
	((struct m_xattr *)(void *)(t.buf + t.len - 24))->xa_flags = ITEM_XATTR_APPEND;
	expect_refused(r, &t, "4.9d");
}

/* format 4.9d */
static void the_second_half_of_nothing_is_refused(void **state)
{
	struct rig *r = *state;
	struct jtxn t;

	jtxn_init(&t);
	jtxn_xattr(&t, ino_of_path(r, "/f"), "user.x", 6, "v", 1);
	((struct m_xattr *)(void *)(t.buf + t.len - 24))->xa_flags = ITEM_XATTR_APPEND;
	expect_refused(r, &t, "4.9d");
}

/* format 6.11 */
static void an_attribute_of_no_inode_is_refused(void **state)
{
	struct rig *r = *state;
	struct jtxn t;

	jtxn_init(&t);
	jtxn_xattr(&t, 4711, "user.x", 6, "v", 1);
	expect_refused(r, &t, "6.11");
}

/* format 6.12 */
static void an_acl_that_is_none_is_refused(void **state)
{
	struct rig *r = *state;
	struct jtxn t;

	jtxn_init(&t);
	jtxn_xattr(&t, ino_of_path(r, "/f"), "system.posix_acl_access", 23, "v", 1);
	expect_refused(r, &t, "6.12");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, xattr_setup, rig_teardown)
	    CASE(values_are_read_back),
	    CASE(flags_say_whether_it_may_or_must_be_there),
	    CASE(names_and_sizes_have_limits),
	    CASE(namespaces_have_their_own_permissions),
	    CASE(lists_show_what_the_caller_may_see),
	    CASE(the_names_of_one_inode_have_a_limit),
	    CASE(they_survive),
	    CASE(a_change_is_one_record_and_a_new_ctime),
	    CASE(they_go_with_the_inode),
	    CASE(by_handle_they_are_the_same),
	    CASE(a_read_only_mount_shows_and_keeps_them),
	    CASE(a_full_pool_refuses_and_gives_back),
	    CASE(a_value_that_grows_too_long_is_refused),
	    CASE(the_second_half_of_nothing_is_refused),
	    CASE(an_attribute_of_no_inode_is_refused),
	    CASE(an_acl_that_is_none_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
