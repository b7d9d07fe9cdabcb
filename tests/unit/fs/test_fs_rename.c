/* SPDX-License-Identifier: BSD-2-Clause */
/* L37: renames that replace and exchange, between things of every kind; the sticky bit; link counts at their limit. */
#include "fsrig.h"

#include "fs/core.h"
#include "fs/dir.h"

#undef fail /* cmocka's */

static struct fs_attr stat_of(struct rig *r, const char *path)
{
	struct fs_attr a = {0};

	assert_int_equal(fs_stat(r->fs, &r->root, path, false, &a), 0);
	return a;
}

static bool there(struct rig *r, const char *path)
{
	struct fs_attr a;

	return fs_stat(r->fs, &r->root, path, false, &a) == 0;
}

static int ren(struct rig *r, const char *from, const char *to, unsigned flags)
{
	return fs_rename(r->fs, &r->root, from, to, flags);
}

enum kind { FILE_, EMPTY, FULL, LINK, PIPE, NODE, KINDS };

static const mode_t type_of[KINDS] = {S_IFREG, S_IFDIR, S_IFDIR, S_IFLNK, S_IFIFO, S_IFCHR};

static void make(struct rig *r, enum kind kind, const char *path)
{
	char in[64];

	switch (kind) {
	case FILE_:
		rig_file(r, path, 'f', 5000);
		break;
	case FULL:
		assert_int_equal(fs_mkdir(r->fs, &r->root, path, 0755), 0);
		snprintf(in, sizeof(in), "%s/in", path);
		rig_file(r, in, 'i', 1);
		break;
	case EMPTY:
		assert_int_equal(fs_mkdir(r->fs, &r->root, path, 0755), 0);
		break;
	case LINK:
		assert_int_equal(fs_symlink(r->fs, &r->root, "nowhere", path), 0);
		break;
	case PIPE:
		assert_int_equal(fs_mknod(r->fs, &r->root, path, S_IFIFO | 0600, 0), 0);
		break;
	case NODE:
		assert_int_equal(fs_mknod(r->fs, &r->root, path, S_IFCHR | 0600, 5), 0);
		break;
	case KINDS:
		abort();
	}
}

static void drop(struct rig *r, const char *path)
{
	char in[64];

	snprintf(in, sizeof(in), "%s/in", path);
	if (!there(r, path))
		return;
	if (there(r, in))
		assert_int_equal(fs_unlink(r->fs, &r->root, in), 0);
	if (S_ISDIR(stat_of(r, path).mode))
		assert_int_equal(fs_rmdir(r->fs, &r->root, path), 0);
	else
		assert_int_equal(fs_unlink(r->fs, &r->root, path), 0);
}

static int want_replace(enum kind from, enum kind to)
{
	bool dir = from == EMPTY || from == FULL;

	if (dir && to != EMPTY && to != FULL)
		return -ENOTDIR;
	if (!dir && (to == EMPTY || to == FULL))
		return -EISDIR;
	return to == FULL ? -ENOTEMPTY : 0;
}

/* Every kind over every kind, in one directory and between two, in each way. */
static void everything_meets_everything(void **state)
{
	static const char *const to_names[] = {"/a/to", "/b/to"};
	struct rig *r = *state;

	for (enum kind from = 0; from < KINDS; from++) {
		for (enum kind to = 0; to < KINDS; to++) {
			for (unsigned where = 0; where < 2; where++) {
				const char *name = to_names[where];
				int want = want_replace(from, to);
				uint64_t old, new;

				make(r, from, "/a/from");
				make(r, to, name);
				old = stat_of(r, "/a/from").ino;
				new = stat_of(r, name).ino;
				assert_int_equal(ren(r, "/a/from", name, RENAME_NOREPLACE), -EEXIST);
				assert_int_equal(ren(r, "/a/from", name, RENAME_EXCHANGE), 0);
				assert_int_equal(stat_of(r, name).ino, old);
				assert_int_equal(stat_of(r, "/a/from").ino, new);
				assert_int_equal(ren(r, "/a/from", name, RENAME_EXCHANGE), 0);
				assert_int_equal(ren(r, "/a/from", name, 0), want);
				assert_int_equal(there(r, "/a/from"), want != 0);
				assert_int_equal(stat_of(r, name).ino, want ? new : old);
				assert_int_equal(stat_of(r, name).mode & S_IFMT, type_of[want ? to : from]);
				drop(r, "/a/from");
				drop(r, name);
			}
		}
	}
	assert_int_equal(stat_of(r, "/a").nlink, 2);
	assert_int_equal(stat_of(r, "/b").nlink, 2);
	rig_check(r);
	rig_remount(r, true);
}

static void directories_carry_their_links(void **state)
{
	struct rig *r = *state;

	make(r, EMPTY, "/a/d");
	make(r, FILE_, "/b/f");
	assert_int_equal(ren(r, "/a/d", "/b/f", RENAME_EXCHANGE), 0);
	assert_int_equal(stat_of(r, "/a").nlink, 2);
	assert_int_equal(stat_of(r, "/b").nlink, 3);
	make(r, EMPTY, "/a/e");
	assert_int_equal(ren(r, "/b/f", "/a/e", 0), 0);
	assert_int_equal(stat_of(r, "/a").nlink, 3);
	assert_int_equal(stat_of(r, "/b").nlink, 2);
	rig_check(r);
	assert_int_equal(fs_stat(r->fs, &r->root, "/a/e/..", true, &(struct fs_attr){0}), 0);
	rig_remount(r, true);
}

static void no_directory_comes_below_itself(void **state)
{
	struct rig *r = *state;

	make(r, EMPTY, "/a/1");
	make(r, EMPTY, "/a/1/2");
	make(r, EMPTY, "/a/1/2/3");
	assert_int_equal(ren(r, "/a", "/a/1/2/3/x", 0), -EINVAL);
	assert_int_equal(ren(r, "/a/1", "/a/1/2/3", 0), -EINVAL);
	assert_int_equal(ren(r, "/a/1/2/3", "/a/1", 0), -ENOTEMPTY);
	assert_int_equal(ren(r, "/a/1/2/3", "/a/1", RENAME_EXCHANGE), -EINVAL);
	assert_int_equal(ren(r, "/a/1", "/a/1/2/3", RENAME_EXCHANGE), -EINVAL);
	assert_int_equal(ren(r, "/a/1/2/3", "/a/3", 0), 0);
	assert_int_equal(ren(r, "/a/1", "/a/3/1", 0), 0);
	assert_int_equal(ren(r, "/a/3/1/2", "/b", RENAME_EXCHANGE), 0);
	rig_check(r);
	rig_remount(r, true);
}

static void what_is_replaced_and_open_lives_on(void **state)
{
	struct rig *r = *state;
	struct fs_handle *h;
	struct fs_attr a;

	make(r, FILE_, "/a/x");
	rig_file(r, "/a/y", 'y', 7000);
	h = rig_open(r, "/a/y", O_RDWR);
	assert_int_equal(ren(r, "/a/x", "/a/y", 0), 0);
	rig_expect(r, h, 'y', 7000, 0);
	assert_int_equal(fs_fstat(h, &a), 0);
	assert_int_equal(a.nlink, 0);
	rig_check(r);
	fs_close(h, NULL, 0);
	make(r, EMPTY, "/a/d");
	make(r, EMPTY, "/a/e");
	h = rig_open(r, "/a/e", O_RDONLY);
	assert_int_equal(ren(r, "/a/d", "/a/e", 0), 0);
	assert_int_equal(fs_fstat(h, &a), 0);
	assert_int_equal(a.nlink, 0);
	assert_int_equal(fs_link_handle(h, &r->root, "/a/no"), -EPERM);
	fs_close(h, NULL, 0);
}

static void ctimes_move_with_names(void **state)
{
	struct rig *r = *state;
	struct fs_attr x, y, a;

	make(r, FILE_, "/a/x");
	make(r, FILE_, "/a/y");
	assert_int_equal(fs_link(r->fs, &r->root, "/a/y", "/b/kept"), 0);
	x = stat_of(r, "/a/x");
	y = stat_of(r, "/a/y");
	a = stat_of(r, "/a");
	nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, NULL);
	assert_int_equal(ren(r, "/a/x", "/a/y", 0), 0);
	assert_true(stat_of(r, "/a/y").ctime_ns > x.ctime_ns);
	assert_true(stat_of(r, "/a/y").mtime_ns == x.mtime_ns);
	assert_true(stat_of(r, "/b/kept").ctime_ns > y.ctime_ns);
	assert_true(stat_of(r, "/b/kept").mtime_ns == y.mtime_ns);
	assert_true(stat_of(r, "/a").mtime_ns > a.mtime_ns);
	assert_true(stat_of(r, "/a").ctime_ns > a.ctime_ns);
	assert_int_equal(stat_of(r, "/b/kept").nlink, 1);
}

/* --- permission ------------------------------------------------------------------------------------------------------
 */

static void chmod_to(struct rig *r, const char *path, uint32_t mode)
{
	struct fs_setattr s = {.mask = FS_SET_MODE, .mode = mode};

	assert_int_equal(fs_setattr(r->fs, &r->root, path, true, &s), 0);
}

static void give(struct rig *r, const char *path, uint32_t uid)
{
	struct fs_setattr s = {.mask = FS_SET_UID | FS_SET_GID, .uid = uid, .gid = uid};

	assert_int_equal(fs_setattr(r->fs, &r->root, path, false, &s), 0);
}

/* A name in a sticky directory is moved, replaced and exchanged by the owner of the directory or of what it means. */
static void the_sticky_bit_counts_on_both_sides(void **state)
{
	static const struct {
		bool from_sticky, to_sticky;
		uint32_t old, new; /* owners */
		int replace, exchange;
	} t[] = {
	    {true, false, 1000, 1001, 0, 0},  {true, false, 1001, 1000, -EPERM, -EPERM},
	    {false, true, 1001, 1000, 0, 0},  {false, true, 1000, 1001, -EPERM, -EPERM},
	    {true, true, 1000, 1000, 0, 0},   {true, true, 1000, 1001, -EPERM, -EPERM},
	    {false, false, 1001, 1001, 0, 0},
	};
	struct rig *r = *state;

	for (size_t k = 0; k < sizeof(t) / sizeof(t[0]); k++) {
		chmod_to(r, "/a", t[k].from_sticky ? 01777 : 0777);
		chmod_to(r, "/b", t[k].to_sticky ? 01777 : 0777);
		make(r, FILE_, "/a/x");
		make(r, FILE_, "/b/y");
		give(r, "/a/x", t[k].old);
		give(r, "/b/y", t[k].new);
		assert_int_equal(fs_rename(r->fs, &r->user, "/a/x", "/b/y", RENAME_EXCHANGE), t[k].exchange);
		if (!t[k].exchange)
			assert_int_equal(ren(r, "/a/x", "/b/y", RENAME_EXCHANGE), 0);
		assert_int_equal(fs_rename(r->fs, &r->user, "/a/x", "/b/y", 0), t[k].replace);
		drop(r, "/a/x");
		drop(r, "/b/y");
	}
	/* The directory's owner may, too. */
	give(r, "/a", 1000);
	make(r, FILE_, "/a/x");
	give(r, "/a/x", 1001);
	chmod_to(r, "/a", 01777);
	assert_int_equal(fs_rename(r->fs, &r->user, "/a/x", "/a/y", 0), 0);
	assert_int_equal(fs_unlink(r->fs, &r->user, "/a/y"), 0);
}

/* A directory that changes its parent is written to. */
static void directories_move_only_for_who_may_write_them(void **state)
{
	struct rig *r = *state;

	chmod_to(r, "/a", 0777);
	chmod_to(r, "/b", 0777);
	make(r, EMPTY, "/a/d");
	assert_int_equal(fs_rename(r->fs, &r->user, "/a/d", "/a/e", 0), 0);
	assert_int_equal(fs_rename(r->fs, &r->user, "/a/e", "/b/e", 0), -EACCES);
	make(r, FILE_, "/b/f");
	assert_int_equal(fs_rename(r->fs, &r->user, "/b/f", "/a/e", RENAME_EXCHANGE), -EACCES);
	chmod_to(r, "/a/e", 0777);
	assert_int_equal(fs_rename(r->fs, &r->user, "/b/f", "/a/e", RENAME_EXCHANGE), 0);
}

/* --- link counts at the limit ----------------------------------------------------------------------------------------
 */

/* As if it had so many: a million real ones take seconds. */
static uint32_t pretend(struct rig *r, const char *path, uint32_t nlink)
{
	struct inode *i = itable_peek(r->fs, stat_of(r, path).ino);
	uint32_t was = i->nlink;

	i->nlink = nlink;
	return was;
}

static void a_file_has_at_most_so_many_names(void **state)
{
	struct rig *r = *state;
	uint32_t was;

	make(r, FILE_, "/a/f");
	was = pretend(r, "/a/f", FS_LINKS_MAX - 1);
	assert_int_equal(fs_link(r->fs, &r->root, "/a/f", "/a/last"), 0);
	assert_int_equal(stat_of(r, "/a/f").nlink, FS_LINKS_MAX);
	assert_int_equal(fs_link(r->fs, &r->root, "/a/f", "/a/more"), -EMLINK);
	assert_false(there(r, "/a/more"));
	assert_int_equal(fs_unlink(r->fs, &r->root, "/a/last"), 0);
	assert_int_equal(fs_link(r->fs, &r->root, "/a/f", "/a/more"), 0);
	pretend(r, "/a/f", was + 1);
	rig_remount(r, true);
}

static void a_directory_has_at_most_so_many_subdirectories(void **state)
{
	struct rig *r = *state;
	uint32_t was;

	make(r, EMPTY, "/b/d");
	make(r, FILE_, "/a/f");
	make(r, EMPTY, "/a/e");
	was = pretend(r, "/a", FS_LINKS_MAX);
	assert_int_equal(fs_mkdir(r->fs, &r->root, "/a/new", 0755), -EMLINK);
	assert_int_equal(ren(r, "/b/d", "/a/new", 0), -EMLINK);
	assert_int_equal(ren(r, "/b/d", "/a/f", RENAME_EXCHANGE), -EMLINK);
	assert_int_equal(ren(r, "/a/f", "/b/d", RENAME_EXCHANGE), -EMLINK);
	/* One comes for one that goes. */
	assert_int_equal(ren(r, "/b/d", "/a/e", RENAME_EXCHANGE), 0);
	assert_int_equal(ren(r, "/b/d", "/a/e", 0), 0);
	assert_int_equal(ren(r, "/a/e", "/a/g", 0), 0);
	make(r, FILE_, "/a/still");
	pretend(r, "/a", was);
	rig_check(r);
}

static int rename_setup(void **state)
{
	int err = rig_setup(state);
	struct rig *r = *state;

	if (!err)
		err = fs_mkdir(r->fs, &r->root, "/a", 0755);
	return err ? err : fs_mkdir(r->fs, &r->root, "/b", 0755);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, rename_setup, rig_teardown)
	    CASE(everything_meets_everything),
	    CASE(directories_carry_their_links),
	    CASE(no_directory_comes_below_itself),
	    CASE(what_is_replaced_and_open_lives_on),
	    CASE(ctimes_move_with_names),
	    CASE(the_sticky_bit_counts_on_both_sides),
	    CASE(directories_move_only_for_who_may_write_them),
	    CASE(a_file_has_at_most_so_many_names),
	    CASE(a_directory_has_at_most_so_many_subdirectories),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
