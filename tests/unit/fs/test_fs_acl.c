/* SPDX-License-Identifier: BSD-2-Clause */
/* L37: POSIX ACLs as acl(5): checked, enforced, inherited, and in step with the mode. Format 6.12, 6.13. */
#include "fsrig.h"

#include <sys/xattr.h>

#include "fs/core.h"

#undef fail /* cmocka's */

#define ACCESS  "system.posix_acl_access"
#define DEFAULT "system.posix_acl_default"

enum tag { U = 1, USER = 2, G = 4, GROUP = 8, M = 16, O = 32 };

struct ace {
	uint16_t tag, perm;
	uint32_t id;
};

/* The kernel's form, little endian as all machines that run this. */
struct acl {
	uint32_t version;
	struct ace e[64];
};

/* From text: "u::6 u:1000:7 g::4 g:5:1 m::7 o::0". Returns the size. */
static size_t acl_make(struct acl *a, const char *text)
{
	unsigned n = 0;

	a->version = 2;
	while (*text) {
		char kind = *text;
		bool named = text[2] != ':';
		uint32_t id = named ? (uint32_t)strtoul(text + 2, (char **)&text, 10) : UINT32_MAX;

		text = named ? text + 1 : text + 3;
		a->e[n].tag = kind == 'u'   ? (named ? USER : U)
			      : kind == 'g' ? (named ? GROUP : G)
			      : kind == 'm' ? M
					    : O;
		a->e[n].perm = (uint16_t)(*text++ - '0');
		a->e[n++].id = id;
		while (*text == ' ')
			text++;
	}
	return 4 + n * sizeof(struct ace);
}

static int set_as(struct rig *r, const struct fs_caller *who, const char *path, const char *name, const char *text)
{
	struct acl a;
	size_t size = acl_make(&a, text);

	return fs_xattr_set(r->fs, who, path, true, name, &a, size, 0);
}

static void set(struct rig *r, const char *path, const char *name, const char *text)
{
	assert_int_equal(set_as(r, &r->root, path, name, text), 0);
}

/* The ACL there is exactly this one; NULL: there is none. */
static void expect(struct rig *r, const char *path, const char *name, const char *text)
{
	struct acl want, have;
	ssize_t n = fs_xattr_get(r->fs, &r->root, path, true, name, &have, sizeof(have));

	if (!text) {
		assert_int_equal(n, -ENODATA);
		return;
	}
	assert_int_equal(n, (ssize_t)acl_make(&want, text));
	for (size_t k = 0; k < ((size_t)n - 4) / sizeof(struct ace); k++) {
		if (memcmp(&want.e[k], &have.e[k], sizeof(struct ace)) != 0)
			fprintf(stderr, "entry %zu: tag %u id %u perm %u\n", k, have.e[k].tag, have.e[k].id,
				have.e[k].perm);
		assert_memory_equal(&want.e[k], &have.e[k], sizeof(struct ace));
	}
}

static uint32_t mode_of(struct rig *r, const char *path)
{
	struct fs_attr a;

	assert_int_equal(fs_stat(r->fs, &r->root, path, true, &a), 0);
	return a.mode & 07777;
}

static int chmod_as(struct rig *r, const struct fs_caller *who, const char *path, uint32_t mode)
{
	struct fs_setattr s = {.mask = FS_SET_MODE, .mode = mode};

	return fs_setattr(r->fs, who, path, true, &s);
}

static int open_as(struct rig *r, const struct fs_caller *who, const char *path, int flags)
{
	struct fs_handle *h;
	int err = fs_open(r->fs, who, path, flags, 0666, &h);

	if (!err)
		fs_close(h, NULL, 0);
	return err;
}

/* /f of uid 500, gid 500, 0640; /d of the same, 0750 */
static int acl_setup(void **state)
{
	struct fs_setattr own = {.mask = FS_SET_UID | FS_SET_GID, .uid = 500, .gid = 500};
	int err = rig_setup(state);
	struct rig *r = *state;

	if (err)
		return err;
	rig_file(r, "/f", 'f', 10);
	assert_int_equal(fs_mkdir(r->fs, &r->root, "/d", 0750), 0);
	assert_int_equal(fs_setattr(r->fs, &r->root, "/f", false, &own), 0);
	assert_int_equal(fs_setattr(r->fs, &r->root, "/d", false, &own), 0);
	return chmod_as(r, &r->root, "/f", 0640);
}

static void what_is_no_acl_is_refused(void **state)
{
	static const char *const bad[] = {
	    "u::7 g::7",                             /* no others */
	    "g::7 u::7 o::7",                        /* order */
	    "u::7 u::7 g::7 o::7",                   /* twice */
	    "u::7 u:1:7 g::7 o::7",                  /* no mask */
	    "u::7 g::7 g:1:7 o::7",                  /* no mask */
	    "u::7 u:1:7 u:1:6 g::7 m::7 o::7",       /* the same user twice */
	    "u::7 g::7 g:2:1 g:1:1 g:2:1 m::7 o::7", /* the same group twice */
	    "u::8 g::7 o::7",                        /* permissions */
	    "u::7 u:4294967295:7 g::7 m::7 o::7",    /* nobody */
	    "u::7 g::7 o::7 m::7",                   /* order */
	};
	struct rig *r = *state;
	struct acl a = {.version = 2};

	for (size_t k = 0; k < sizeof(bad) / sizeof(bad[0]); k++) {
		int err = set_as(r, &r->root, "/f", ACCESS, bad[k]);

		if (err != -EINVAL)
			fprintf(stderr, "%s: %d\n", bad[k], err);
		assert_int_equal(err, -EINVAL);
	}
	assert_int_equal(fs_xattr_set(r->fs, &r->root, "/f", true, ACCESS, &a, 3, 0), -EINVAL);
	assert_int_equal(fs_xattr_set(r->fs, &r->root, "/f", true, ACCESS, &a, 11, 0), -EINVAL);
	acl_make(&a, "u::7 g::7 o::7");
	a.version = 1;
	assert_int_equal(fs_xattr_set(r->fs, &r->root, "/f", true, ACCESS, &a, 28, 0), -EOPNOTSUPP);
	a.version = 2;
	a.e[1].tag = 64;
	assert_int_equal(fs_xattr_set(r->fs, &r->root, "/f", true, ACCESS, &a, 28, 0), -EINVAL);
	expect(r, "/f", ACCESS, NULL);
	assert_int_equal(mode_of(r, "/f"), 0640);
}

static void named_entries_are_kept_in_order(void **state)
{
	struct rig *r = *state;

	set(r, "/f", ACCESS, "u::6 u:9:4 u:3:6 g::4 g:8:1 g:2:0 m::7 o::0");
	expect(r, "/f", ACCESS, "u::6 u:3:6 u:9:4 g::4 g:2:0 g:8:1 m::7 o::0");
}

static void an_acl_sets_the_mode_and_a_minimal_one_is_not_kept(void **state)
{
	struct rig *r = *state;

	set(r, "/f", ACCESS, "u::7 g::5 o::1");
	assert_int_equal(mode_of(r, "/f"), 0751);
	expect(r, "/f", ACCESS, NULL);
	assert_int_equal(fs_xattr_list(r->fs, &r->root, "/f", true, NULL, 0), 0);
	set(r, "/f", ACCESS, "u::6 u:1000:7 g::5 m::2 o::4");
	assert_int_equal(mode_of(r, "/f"), 0624);
	assert_int_equal(fs_xattr_list(r->fs, &r->other, "/f", true, NULL, 0), (ssize_t)sizeof(ACCESS));
	/* A minimal one in its place, an empty one, and removal, leave none. */
	set(r, "/f", ACCESS, "u::6 g::6 o::6");
	expect(r, "/f", ACCESS, NULL);
	assert_int_equal(mode_of(r, "/f"), 0666);
	set(r, "/f", ACCESS, "u::6 u:1000:7 g::5 m::2 o::4");
	set(r, "/f", ACCESS, "");
	expect(r, "/f", ACCESS, NULL);
	assert_int_equal(mode_of(r, "/f"), 0624);
	set(r, "/f", ACCESS, "u::6 u:1000:7 g::5 m::2 o::4");
	assert_int_equal(fs_xattr_remove(r->fs, &r->root, "/f", true, ACCESS), 0);
	assert_int_equal(fs_xattr_remove(r->fs, &r->root, "/f", true, ACCESS), 0);
	expect(r, "/f", ACCESS, NULL);
	rig_remount(r, true);
	expect(r, "/f", ACCESS, NULL);
	assert_int_equal(mode_of(r, "/f"), 0624);
}

static void chmod_goes_to_the_mask(void **state)
{
	struct rig *r = *state;

	set(r, "/f", ACCESS, "u::7 u:1000:7 g::5 m::7 o::4");
	assert_int_equal(chmod_as(r, &r->root, "/f", 0641), 0);
	expect(r, "/f", ACCESS, "u::6 u:1000:7 g::5 m::4 o::1");
	rig_remount(r, true);
	expect(r, "/f", ACCESS, "u::6 u:1000:7 g::5 m::4 o::1");
	assert_int_equal(chmod_as(r, &r->root, "/f", 04770), 0);
	expect(r, "/f", ACCESS, "u::7 u:1000:7 g::5 m::7 o::0");
	rig_remount(r, false);
	expect(r, "/f", ACCESS, "u::7 u:1000:7 g::5 m::7 o::0");
}

/* The algorithm of acl(5), entry by entry. */
static void access_follows_the_entries(void **state)
{
	static const struct {
		const char *acl;
		uint32_t uid, gid;
		int read, write;
	} t[] = {
	    /* the owner */
	    {"u::0 u:500:7 g::7 m::7 o::7", 500, 1, -EACCES, -EACCES},
	    {"u::6 u:1000:0 g::0 m::7 o::0", 500, 1, 0, 0},
	    /* a named user, masked */
	    {"u::6 u:1000:6 g::0 m::7 o::0", 1000, 1, 0, 0},
	    {"u::6 u:1000:6 g::0 m::4 o::0", 1000, 1, 0, -EACCES},
	    {"u::6 u:1000:0 g::7 m::7 o::7", 1000, 500, -EACCES, -EACCES},
	    {"u::6 u:1000:6 g::0 m::0 o::7", 1000, 1, -EACCES, -EACCES},
	    {"u::6 u:999:0 u:1000:4 u:1001:0 g::0 m::7 o::0", 1000, 1, 0, -EACCES},
	    /* the owning group and named groups: one of them must give all that is asked for */
	    {"u::6 g::4 g:7:2 m::7 o::0", 1000, 500, 0, -EACCES},
	    {"u::6 g::4 g:7:2 m::7 o::0", 1000, 7, -EACCES, 0},
	    {"u::6 g::0 g:7:6 m::7 o::0", 1000, 7, 0, 0},
	    {"u::6 g::6 g:7:0 m::4 o::6", 1000, 500, 0, -EACCES},
	    {"u::6 g::0 g:7:0 m::7 o::6", 1000, 7, -EACCES, -EACCES},
	    /* others, whom the mask does not touch */
	    {"u::6 u:1:7 g::7 m::0 o::6", 1000, 1, 0, 0},
	    {"u::6 u:1:7 g::7 m::7 o::4", 1000, 1, 0, -EACCES},
	};
	struct rig *r = *state;

	for (size_t k = 0; k < sizeof(t) / sizeof(t[0]); k++) {
		struct fs_caller who = {.cred = {.uid = t[k].uid, .gid = t[k].gid}};

		set(r, "/f", ACCESS, t[k].acl);
		assert_int_equal(open_as(r, &who, "/f", O_RDONLY), t[k].read);
		assert_int_equal(open_as(r, &who, "/f", O_WRONLY), t[k].write);
		/* Group 500 and 7 by supplementary groups, too: both at once give no more than each. */
		assert_int_equal(open_as(r, &r->root, "/f", O_RDWR), 0);
	}
	set(r, "/f", ACCESS, "u::6 g::4 g:7:2 m::7 o::0");
	struct fs_caller both = {.cred = {.uid = 1000, .gid = 500, .group_count = 1, .groups = {7}}};
	assert_int_equal(open_as(r, &both, "/f", O_RDONLY), 0);
	assert_int_equal(open_as(r, &both, "/f", O_WRONLY), 0);
	assert_int_equal(open_as(r, &both, "/f", O_RDWR), -EACCES);
}

static void directories_ask_them_for_everything(void **state)
{
	struct rig *r = *state;

	assert_int_equal(chmod_as(r, &r->root, "/d", 0700), 0);
	assert_int_equal(fs_mkdir(r->fs, &r->user, "/d/x", 0777), -EACCES);
	set(r, "/d", ACCESS, "u::7 u:1000:1 g::0 m::7 o::0");
	assert_int_equal(fs_mkdir(r->fs, &r->user, "/d/x", 0777), -EACCES);
	assert_int_equal(open_as(r, &r->user, "/d", O_RDONLY), -EACCES);
	assert_int_equal(open_as(r, &r->user, "/d/no", O_RDONLY), -ENOENT);
	set(r, "/d", ACCESS, "u::7 u:1000:7 g::0 m::7 o::0");
	assert_int_equal(fs_mkdir(r->fs, &r->user, "/d/x", 0777), 0);
	assert_int_equal(fs_rename(r->fs, &r->user, "/d/x", "/d/y", 0), 0);
	assert_int_equal(fs_rename(r->fs, &r->other, "/d/y", "/d/z", 0), -EACCES);
	assert_int_equal(fs_rmdir(r->fs, &r->user, "/d/y"), 0);
	/* Times to "now" need write permission, which an ACL gives. */
	struct fs_setattr now = {.mask = FS_SET_ATIME | FS_SET_MTIME, .atime_ns = INT64_MIN, .mtime_ns = INT64_MIN};
	assert_int_equal(fs_setattr(r->fs, &r->user, "/d", true, &now), 0);
	assert_int_equal(fs_setattr(r->fs, &r->other, "/d", true, &now), -EACCES);
}

static void only_the_owner_sets_them(void **state)
{
	struct rig *r = *state;
	struct fs_caller owner = {.cred = {.uid = 500, .gid = 1}};

	assert_int_equal(set_as(r, &r->user, "/f", ACCESS, "u::7 g::7 o::7"), -EPERM);
	assert_int_equal(fs_xattr_remove(r->fs, &r->user, "/f", true, ACCESS), -EPERM);
	/* set-group-id goes when the owner is not in the group */
	assert_int_equal(chmod_as(r, &r->root, "/f", 02770), 0);
	assert_int_equal(set_as(r, &owner, "/f", ACCESS, "u::7 u:1:1 g::7 m::7 o::0"), 0);
	assert_int_equal(mode_of(r, "/f"), 0770);
	assert_int_equal(chmod_as(r, &r->root, "/f", 02770), 0);
	set(r, "/f", ACCESS, "u::7 u:1:1 g::7 m::7 o::0");
	assert_int_equal(mode_of(r, "/f"), 02770);
}

static void default_acls_belong_to_directories(void **state)
{
	struct rig *r = *state;
	char c;

	assert_int_equal(set_as(r, &r->root, "/f", DEFAULT, "u::7 g::7 o::7"), -EACCES);
	assert_int_equal(fs_xattr_remove(r->fs, &r->root, "/f", true, DEFAULT), 0);
	assert_int_equal(fs_xattr_get(r->fs, &r->root, "/f", true, DEFAULT, &c, 1), -ENODATA);
	assert_int_equal(fs_symlink(r->fs, &r->root, "f", "/s"), 0);
	assert_int_equal(fs_xattr_set(r->fs, &r->root, "/s", false, ACCESS, "", 0, 0), -EOPNOTSUPP);
	assert_int_equal(fs_xattr_get(r->fs, &r->root, "/s", false, ACCESS, &c, 1), -EOPNOTSUPP);
	/* A default ACL may be a minimal one and does not touch the mode. */
	set(r, "/d", DEFAULT, "u::7 g::7 o::7");
	expect(r, "/d", DEFAULT, "u::7 g::7 o::7");
	assert_int_equal(mode_of(r, "/d"), 0750);
	assert_int_equal(fs_xattr_remove(r->fs, &r->root, "/d", true, DEFAULT), 0);
	expect(r, "/d", DEFAULT, NULL);
}

static void what_is_made_inherits(void **state)
{
	struct rig *r = *state;
	struct fs_caller root = r->root;
	struct fs_handle *h;

	set(r, "/d", DEFAULT, "u::7 u:1000:7 g::5 m::7 o::5");
	/* The mode asked for limits it; the umask does not count. */
	root.umask = 077;
	assert_int_equal(fs_open(r->fs, &root, "/d/file", O_RDWR | O_CREAT, 0660, &h), 0);
	fs_close(h, NULL, 0);
	expect(r, "/d/file", ACCESS, "u::6 u:1000:7 g::5 m::6 o::0");
	expect(r, "/d/file", DEFAULT, NULL);
	assert_int_equal(mode_of(r, "/d/file"), 0660);
	assert_int_equal(fs_mkdir(r->fs, &root, "/d/dir", 0777), 0);
	expect(r, "/d/dir", ACCESS, "u::7 u:1000:7 g::5 m::7 o::5");
	expect(r, "/d/dir", DEFAULT, "u::7 u:1000:7 g::5 m::7 o::5");
	assert_int_equal(mode_of(r, "/d/dir"), 0775);
	assert_int_equal(fs_mknod(r->fs, &root, "/d/pipe", S_IFIFO | 0600, 0), 0);
	expect(r, "/d/pipe", ACCESS, "u::6 u:1000:7 g::5 m::0 o::0");
	assert_int_equal(fs_symlink(r->fs, &root, "file", "/d/link"), 0);
	assert_int_equal(fs_xattr_list(r->fs, &root, "/d/link", false, NULL, 0), 0);
	assert_int_equal(fs_open(r->fs, &root, "/d", O_RDWR | O_TMPFILE, 0640, &h), 0);
	assert_int_equal(fs_link_handle(h, &root, "/tmp"), 0);
	fs_close(h, NULL, 0);
	expect(r, "/tmp", ACCESS, "u::6 u:1000:7 g::5 m::4 o::0");
	rig_remount(r, true);
	expect(r, "/d/file", ACCESS, "u::6 u:1000:7 g::5 m::6 o::0");
	expect(r, "/d/dir", DEFAULT, "u::7 u:1000:7 g::5 m::7 o::5");
	/* A minimal default gives no ACL, just a mode. */
	set(r, "/d", DEFAULT, "u::7 g::5 o::0");
	assert_int_equal(fs_mkdir(r->fs, &root, "/d/plain", 0777), 0);
	expect(r, "/d/plain", ACCESS, NULL);
	expect(r, "/d/plain", DEFAULT, "u::7 g::5 o::0");
	assert_int_equal(mode_of(r, "/d/plain"), 0750);
}

static void without_a_default_acl_the_umask_counts(void **state)
{
	struct rig *r = *state;
	struct fs_caller root = r->root;
	struct fs_handle *h;

	root.umask = 027;
	assert_int_equal(fs_open(r->fs, &root, "/d/file", O_RDWR | O_CREAT, 0666, &h), 0);
	fs_close(h, NULL, 0);
	assert_int_equal(mode_of(r, "/d/file"), 0640);
	assert_int_equal(fs_mkdir(r->fs, &root, "/d/dir", 01777), 0);
	assert_int_equal(mode_of(r, "/d/dir"), 01750);
	assert_int_equal(fs_mknod(r->fs, &root, "/d/sock", S_IFSOCK | 0777, 0), 0);
	assert_int_equal(mode_of(r, "/d/sock"), 0750);
}

/* L38: the largest that fits, by log and by checkpoint. */
static void large_acls_work(void **state)
{
	enum { ENTRIES = (FS_XATTR_SIZE_MAX - 4) / 8 };
	struct rig *r = *state;
	uint8_t *value = calloc(1, FS_XATTR_SIZE_MAX + 8);
	struct ace *e = (struct ace *)(void *)(value + 4);
	unsigned n = 0;

	value[0] = 2;
	e[n++] = (struct ace){U, 7, UINT32_MAX};
	while (n < ENTRIES - 3u) {
		e[n] = (struct ace){USER, (uint16_t)(n & 7), 2000 + n};
		n++;
	}
	e[n++] = (struct ace){G, 0, UINT32_MAX};
	e[n++] = (struct ace){M, 7, UINT32_MAX};
	e[n++] = (struct ace){O, 0, UINT32_MAX};
	assert_int_equal(fs_xattr_set(r->fs, &r->root, "/f", true, ACCESS, value, 4 + n * 8, 0), 0);
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned k = 6; k < 16; k++) {
			struct fs_caller who = {.cred = {.uid = 2000 + k, .gid = 1}};

			assert_int_equal(open_as(r, &who, "/f", O_RDWR), (k & 6) == 6 ? 0 : -EACCES);
		}
		rig_remount(r, round == 0);
	}
	free(value);
}

/* format 6.13 */
static void an_acl_that_contradicts_the_mode_is_refused(void **state)
{
	struct rig *r = *state;
	struct fs_attr a;
	struct jtxn t;
	uint64_t seq;
	struct fs *fs;
	struct acl acl;
	size_t size = acl_make(&acl, "u::7 u:1:7 g::7 m::7 o::7");

	assert_int_equal(fs_stat(r->fs, &r->root, "/f", true, &a), 0);
	jtxn_init(&t);
	jtxn_xattr(&t, a.ino, ACCESS, sizeof(ACCESS) - 1, &acl, (uint32_t)size);
	assert_int_equal(jtxn_commit(r->fs->journal, &t, &seq), 0);
	jtxn_fini(&t);
	fs_abandon(r->fs);
	assert_int_equal(fs_mount(r->pool, &r->mount, &fs), -EUCLEAN);
	assert_non_null(strstr(fail_text(), "6.13"));
	assert_int_equal(fs_format(r->pool, NULL), 0);
	assert_int_equal(fs_mount(r->pool, &r->mount, &r->fs), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, acl_setup, rig_teardown)
	    CASE(what_is_no_acl_is_refused),
	    CASE(named_entries_are_kept_in_order),
	    CASE(an_acl_sets_the_mode_and_a_minimal_one_is_not_kept),
	    CASE(chmod_goes_to_the_mask),
	    CASE(access_follows_the_entries),
	    CASE(directories_ask_them_for_everything),
	    CASE(only_the_owner_sets_them),
	    CASE(default_acls_belong_to_directories),
	    CASE(what_is_made_inherits),
	    CASE(without_a_default_acl_the_umask_counts),
	    CASE(large_acls_work),
	    CASE(an_acl_that_contradicts_the_mode_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
