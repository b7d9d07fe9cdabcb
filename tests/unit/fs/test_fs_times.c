/* SPDX-License-Identifier: BSD-2-Clause */
/* L37: times in nanoseconds, relatime, and a clock that does what it likes; numbers of users at their extremes. */
#include "fsrig.h"

#include "fs/core.h"

#undef fail /* cmocka's */

#define DAY_NS (24 * 3600 * (int64_t)NS_PER_SEC)
#define NOON   (1000000000 * (int64_t)NS_PER_SEC + 123456789)

/* The clock of file times, by --wrap. */
static int64_t clock_ns = NOON;
uint64_t __wrap_clock_real_coarse_ns(void);
uint64_t __wrap_clock_real_coarse_ns(void)
{
	return (uint64_t)clock_ns;
}

static struct fs_attr stat_of(struct rig *r, const char *path)
{
	struct fs_attr a = {0};

	assert_int_equal(fs_stat(r->fs, &r->root, path, false, &a), 0);
	return a;
}

static void read_one(struct rig *r, const char *path)
{
	struct fs_handle *h = rig_open(r, path, O_RDONLY);
	char c;

	assert_int_equal(fs_read(h, &r->root, &c, 1, 0), 1);
	fs_close(h, NULL, 0);
}

static bool nothing(void *ctx, const struct fs_dirent *d)
{
	(void)ctx, (void)d;
	return true;
}

static void list(struct rig *r, const char *path)
{
	struct fs_handle *h = rig_open(r, path, O_RDONLY);

	assert_int_equal(fs_readdir(h, &r->root, 0, nothing, NULL), 0);
	fs_close(h, NULL, 0);
}

static int set_times(struct rig *r, const char *path, int64_t atime, int64_t mtime)
{
	struct fs_setattr s = {.mask = FS_SET_ATIME | FS_SET_MTIME, .atime_ns = atime, .mtime_ns = mtime};

	return fs_setattr(r->fs, &r->root, path, false, &s);
}

static void a_read_is_noted_once_after_a_change_and_once_a_day(void **state)
{
	struct rig *r = *state;

	assert_true(stat_of(r, "/f").atime_ns == NOON);
	clock_ns += 1;
	read_one(r, "/f");
	assert_true(stat_of(r, "/f").atime_ns == NOON + 1);
	clock_ns += 1000;
	read_one(r, "/f");
	assert_true(stat_of(r, "/f").atime_ns == NOON + 1);
	clock_ns = NOON + DAY_NS;
	read_one(r, "/f");
	assert_true(stat_of(r, "/f").atime_ns == NOON + 1);
	clock_ns = NOON + 1 + DAY_NS;
	read_one(r, "/f");
	assert_true(stat_of(r, "/f").atime_ns == NOON + 1 + DAY_NS);
	/* A change of attributes is one, too. */
	clock_ns += 5;
	assert_int_equal(fs_xattr_set(r->fs, &r->root, "/f", true, "user.x", "y", 1, 0), 0);
	clock_ns += 5;
	read_one(r, "/f");
	assert_true(stat_of(r, "/f").atime_ns == clock_ns);
	rig_remount(r, false);
	assert_true(stat_of(r, "/f").atime_ns == clock_ns);
}

static void directories_and_symlinks_are_read_too(void **state)
{
	struct rig *r = *state;
	char target[8];

	clock_ns += 7;
	list(r, "/d");
	assert_true(stat_of(r, "/d").atime_ns == NOON + 7);
	assert_int_equal(fs_readlink(r->fs, &r->root, "/s", target, sizeof(target)), 1);
	assert_true(stat_of(r, "/s").atime_ns == NOON + 7);
	clock_ns += 7;
	list(r, "/d");
	assert_true(stat_of(r, "/d").atime_ns == NOON + 7);
	assert_int_equal(fs_sync_all(r->fs), 0);
	rig_remount(r, true);
	assert_true(stat_of(r, "/d").atime_ns == NOON + 7);
	assert_true(stat_of(r, "/s").atime_ns == NOON + 7);
}

/* Changes carry what the clock says, also when that is less than before; nothing else depends on it. */
static void a_clock_that_goes_back_breaks_nothing(void **state)
{
	struct rig *r = *state;
	struct fs_handle *h = rig_open(r, "/f", O_RDWR);

	clock_ns = NOON - 400 * DAY_NS;
	rig_fill(r, h, 'x', 10000, 0);
	assert_true(stat_of(r, "/f").mtime_ns == clock_ns && stat_of(r, "/f").ctime_ns == clock_ns);
	assert_true(stat_of(r, "/f").btime_ns == NOON);
	assert_int_equal(fs_rename(r->fs, &r->root, "/f", "/d/f", 0), 0);
	assert_true(stat_of(r, "/d").mtime_ns == clock_ns);
	read_one(r, "/d/f");
	/* Its last read lies in the future: that is newer than all changes. */
	assert_true(stat_of(r, "/d/f").atime_ns == NOON);
	clock_ns = -5;
	rig_fill(r, h, 'y', 1, 0);
	read_one(r, "/d/f");
	rig_file(r, "/before 1970", 'b', 1);
	assert_true(stat_of(r, "/before 1970").btime_ns == -5);
	fs_close(h, NULL, 0);
	assert_int_equal(fs_unlink(r->fs, &r->root, "/d/f"), 0);
	rig_check(r);
	rig_remount(r, true);
	clock_ns = NOON;
	read_one(r, "/before 1970");
	assert_true(stat_of(r, "/before 1970").atime_ns == NOON);
}

static void times_at_their_extremes(void **state)
{
	static const int64_t extremes[] = {INT64_MAX, INT64_MIN + 1, 0, -1, 1};
	struct rig *r = *state;

	for (unsigned k = 0; k < sizeof(extremes) / sizeof(extremes[0]); k++) {
		assert_int_equal(set_times(r, "/f", extremes[k], extremes[k]), 0);
		assert_true(stat_of(r, "/f").atime_ns == extremes[k] && stat_of(r, "/f").mtime_ns == extremes[k]);
		rig_remount(r, k & 1);
		assert_true(stat_of(r, "/f").atime_ns == extremes[k] && stat_of(r, "/f").mtime_ns == extremes[k]);
		read_one(r, "/f");
	}
	clock_ns = INT64_MAX;
	read_one(r, "/f");
	clock_ns = INT64_MIN + 1;
	assert_int_equal(set_times(r, "/f", INT64_MAX, 0), 0);
	read_one(r, "/f");
	clock_ns = NOON;
	assert_int_equal(set_times(r, "/f", INT64_MIN, INT64_MIN), 0);
	assert_true(stat_of(r, "/f").atime_ns == NOON && stat_of(r, "/f").mtime_ns == NOON);
}

/* ctime is nobody's to set, and moves with every change of the inode or of its names. */
static void every_change_moves_ctime(void **state)
{
	struct rig *r = *state;
	struct fs_setattr mode = {.mask = FS_SET_MODE, .mode = 0600};
	struct fs_setattr own = {.mask = FS_SET_GID, .gid = 7};

#define MOVES(call)                                                                                                    \
	do {                                                                                                           \
		clock_ns++;                                                                                            \
		assert_int_equal(call, 0);                                                                             \
		assert_true(stat_of(r, "/f").ctime_ns == clock_ns);                                                    \
	} while (0)
	MOVES(fs_setattr(r->fs, &r->root, "/f", true, &mode));
	MOVES(fs_setattr(r->fs, &r->root, "/f", true, &own));
	MOVES(set_times(r, "/f", 1, 1));
	MOVES(fs_link(r->fs, &r->root, "/f", "/g"));
	MOVES(fs_unlink(r->fs, &r->root, "/g"));
	MOVES(fs_rename(r->fs, &r->root, "/f", "/f2", 0) || fs_rename(r->fs, &r->root, "/f2", "/f", 0));
	MOVES(fs_xattr_set(r->fs, &r->root, "/f", true, "user.a", "b", 1, 0));
	MOVES(fs_xattr_remove(r->fs, &r->root, "/f", true, "user.a"));
	assert_true(stat_of(r, "/f").mtime_ns == 1 && stat_of(r, "/f").btime_ns == NOON);
}

/* --- numbers of users ------------------------------------------------------------------------------------------------
 */

static void nobody_is_no_owner(void **state)
{
	struct rig *r = *state;
	struct fs_setattr s = {.mask = FS_SET_UID, .uid = FS_ID_NONE};
	struct fs_caller none = {.cred = {.uid = FS_ID_NONE, .gid = 1}};
	struct fs_handle *h;

	assert_int_equal(fs_setattr(r->fs, &r->root, "/f", true, &s), -EINVAL);
	s = (struct fs_setattr){.mask = FS_SET_GID, .gid = FS_ID_NONE};
	assert_int_equal(fs_setattr(r->fs, &r->root, "/f", true, &s), -EINVAL);
	s = (struct fs_setattr){.mask = FS_SET_UID | FS_SET_GID, .uid = FS_ID_NONE - 1, .gid = FS_ID_NONE - 1};
	assert_int_equal(fs_setattr(r->fs, &r->root, "/f", true, &s), 0);
	rig_remount(r, true);
	assert_int_equal(stat_of(r, "/f").uid, FS_ID_NONE - 1);
	assert_int_equal(stat_of(r, "/f").gid, FS_ID_NONE - 1);
	s = (struct fs_setattr){.mask = FS_SET_MODE, .mode = 0777};
	assert_int_equal(fs_setattr(r->fs, &r->root, "/d", true, &s), 0);
	assert_int_equal(fs_open(r->fs, &none, "/d/x", O_RDWR | O_CREAT, 0644, &h), -EOVERFLOW);
	assert_int_equal(fs_mkdir(r->fs, &none, "/d/x", 0755), -EOVERFLOW);
	none.cred.uid = FS_ID_NONE - 1;
	assert_int_equal(fs_mkdir(r->fs, &none, "/d/x", 0755), 0);
	assert_int_equal(stat_of(r, "/d/x").uid, FS_ID_NONE - 1);
}

static void more_groups_than_fit_are_not_looked_at(void **state)
{
	struct rig *r = *state;
	struct fs_setattr s = {.mask = FS_SET_GID | FS_SET_MODE, .gid = 77, .mode = 0640};
	struct fs_caller many = {.cred = {.uid = 5, .gid = 5, .group_count = UINT32_MAX}};
	struct fs_handle *h;

	assert_int_equal(fs_setattr(r->fs, &r->root, "/f", true, &s), 0);
	assert_int_equal(fs_open(r->fs, &many, "/f", O_RDONLY, 0, &h), -EACCES);
	many.cred.groups[FS_GROUPS_MAX - 1] = 77;
	assert_int_equal(fs_open(r->fs, &many, "/f", O_RDONLY, 0, &h), 0);
	fs_close(h, NULL, 0);
}

static int times_setup(void **state)
{
	int err;
	struct rig *r;

	clock_ns = NOON;
	err = rig_setup(state);
	r = *state;
	if (err)
		return err;
	rig_file(r, "/f", 'f', 10);
	assert_int_equal(fs_mkdir(r->fs, &r->root, "/d", 0755), 0);
	return fs_symlink(r->fs, &r->root, "f", "/s");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, times_setup, rig_teardown)
	    CASE(a_read_is_noted_once_after_a_change_and_once_a_day),
	    CASE(directories_and_symlinks_are_read_too),
	    CASE(a_clock_that_goes_back_breaks_nothing),
	    CASE(times_at_their_extremes),
	    CASE(every_change_moves_ctime),
	    CASE(nobody_is_no_owner),
	    CASE(more_groups_than_fit_are_not_looked_at),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
