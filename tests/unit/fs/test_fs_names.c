/* SPDX-License-Identifier: BSD-2-Clause */
/* L37: names, links, permissions, open flags and times: POSIX where POSIX speaks, Linux where Linux does. */
#include "fsrig.h"

static char deep[FS_PATH_MAX + 8];
static char long_name[FS_NAME_MAX + 8];

/* /d (dir) /d/f (file) /d/e (empty dir) /d/full (dir with x) /s -> d/f /sd -> d /loop -> loop /dangling -> nowhere */
static int names_setup(void **state)
{
	int err = rig_setup(state);
	struct rig *r = *state;

	if (err)
		return err;
	assert_int_equal(fs_mkdir(r->fs, &r->root, "/d", 0777), 0);
	rig_file(r, "/d/f", 'f', 10);
	assert_int_equal(fs_mkdir(r->fs, &r->root, "/d/e", 0755), 0);
	assert_int_equal(fs_mkdir(r->fs, &r->root, "/d/full", 0755), 0);
	rig_file(r, "/d/full/x", 'x', 1);
	assert_int_equal(fs_symlink(r->fs, &r->root, "d/f", "/s"), 0);
	assert_int_equal(fs_symlink(r->fs, &r->root, "d", "/sd"), 0);
	assert_int_equal(fs_symlink(r->fs, &r->root, "loop", "/loop"), 0);
	assert_int_equal(fs_symlink(r->fs, &r->root, "nowhere", "/dangling"), 0);
	memset(long_name, 'n', sizeof(long_name));
	long_name[0] = '/';
	long_name[FS_NAME_MAX + 2] = '\0';
	for (size_t k = 0; k < sizeof(deep) - 2; k += 2)
		memcpy(deep + k, "/.", 2);
	deep[FS_PATH_MAX + 2] = '\0';
	return 0;
}

static void paths_resolve_as_in_posix(void **state)
{
	static const struct {
		const char *path;
		bool follow;
		int err;
		unsigned type;
	} t[] = {
	    {"/", true, 0, S_IFDIR},           {"", true, -ENOENT, 0},
	    {"d/f", true, 0, S_IFREG},         {"//d///f", true, 0, S_IFREG},
	    {"/d/./e/../f", true, 0, S_IFREG}, {"/../../d", true, 0, S_IFDIR},
	    {"/d/f/", true, -ENOTDIR, 0},      {"/d/", true, 0, S_IFDIR},
	    {"/d/f/x", true, -ENOTDIR, 0},     {"/d/f/.", true, -ENOTDIR, 0},
	    {"/no/x", true, -ENOENT, 0},       {"/no", true, -ENOENT, 0},
	    {"/s", true, 0, S_IFREG},          {"/s", false, 0, S_IFLNK},
	    {"/s/", true, -ENOTDIR, 0},        {"/sd", false, 0, S_IFLNK},
	    {"/sd/", false, 0, S_IFDIR},       {"/sd/f", false, 0, S_IFREG},
	    {"/loop", true, -ELOOP, 0},        {"/loop", false, 0, S_IFLNK},
	    {"/loop/x", true, -ELOOP, 0},      {"/dangling", true, -ENOENT, 0},
	    {deep, true, -ENAMETOOLONG, 0},    {long_name, true, -ENAMETOOLONG, 0},
	};
	struct rig *r = *state;

	for (size_t k = 0; k < sizeof(t) / sizeof(t[0]); k++) {
		struct fs_attr a = {0};
		int err = fs_stat(r->fs, &r->root, t[k].path, t[k].follow, &a);

		if (err != t[k].err || (!err && (a.mode & S_IFMT) != t[k].type))
			fprintf(stderr, "%.60s: %d, mode %o\n", t[k].path, err, a.mode);
		assert_int_equal(err, t[k].err);
		if (!err)
			assert_int_equal(a.mode & S_IFMT, t[k].type);
	}
	deep[FS_PATH_MAX] = '\0';
	assert_int_equal(fs_stat(r->fs, &r->root, deep, true, &(struct fs_attr){0}), 0);
	long_name[FS_NAME_MAX + 1] = '\0';
	rig_file(r, long_name, 'l', 1);
	assert_int_equal(fs_unlink(r->fs, &r->root, long_name), 0);
}

static void mkdir_errors(void **state)
{
	static const struct {
		const char *path;
		int err;
	} t[] = {{"/d", -EEXIST},        {"/d/f", -EEXIST},  {"/d/f/x", -ENOTDIR}, {"/no/x", -ENOENT},
		 {"/.", -EEXIST},        {"/d/..", -EEXIST}, {"/", -EEXIST},       {"/s", -EEXIST},
		 {"/dangling", -EEXIST}, {"/d/new/", 0},     {"/d/new/.", -EEXIST}};
	struct rig *r = *state;

	for (size_t k = 0; k < sizeof(t) / sizeof(t[0]); k++)
		assert_int_equal(fs_mkdir(r->fs, &r->root, t[k].path, 0755), t[k].err);
}

static void unlink_and_rmdir_errors(void **state)
{
	static const struct {
		const char *path;
		int unlink, rmdir;
	} t[] = {{"/d", -EISDIR, -ENOTEMPTY},    {"/no", -ENOENT, -ENOENT},    {"/d/f/", -ENOTDIR, -ENOTDIR},
		 {"/d/f/x", -ENOTDIR, -ENOTDIR}, {"/d/.", -EISDIR, -EINVAL},   {"/d/..", -EISDIR, -ENOTEMPTY},
		 {"/", -EISDIR, -EBUSY},         {"/sd/", -ENOTDIR, -ENOTDIR}, {"/d/e", -EISDIR, 0}};
	struct rig *r = *state;

	for (size_t k = 0; k < sizeof(t) / sizeof(t[0]); k++) {
		assert_int_equal(fs_unlink(r->fs, &r->root, t[k].path), t[k].unlink);
		assert_int_equal(fs_rmdir(r->fs, &r->root, t[k].path), t[k].rmdir);
	}
	assert_int_equal(fs_rmdir(r->fs, &r->root, "/d/f"), -ENOTDIR);
	assert_int_equal(fs_unlink(r->fs, &r->root, "/s"), 0);
	assert_int_equal(fs_stat(r->fs, &r->root, "/d/f", true, &(struct fs_attr){0}), 0);
}

static void rename_errors(void **state)
{
	static const struct {
		const char *from, *to;
		unsigned flags;
		int err;
	} t[] = {
	    {"/no", "/x", 0, -ENOENT},
	    {"/d/f", "/no/x", 0, -ENOENT},
	    {"/d/f", "/d/f/x", 0, -ENOTDIR},
	    {"/d/f", "/d/e", 0, -EISDIR},
	    {"/d/e", "/d/f", 0, -ENOTDIR},
	    {"/d/e", "/d/full", 0, -ENOTEMPTY},
	    {"/d", "/d/e/x", 0, -EINVAL},
	    {"/d", "/d/x", 0, -EINVAL},
	    {"/d/full/x", "/d/full", 0, -ENOTEMPTY},
	    {"/d/full", "/d", 0, -ENOTEMPTY},
	    {"/d/.", "/x", 0, -EBUSY},
	    {"/d/f", "/d/..", 0, -EBUSY},
	    {"/", "/x", 0, -EBUSY},
	    {"/d/f", "/s", RENAME_NOREPLACE, -EEXIST},
	    {"/d/f", "/x", RENAME_EXCHANGE, -ENOENT},
	    {"/d/f", "/x", RENAME_EXCHANGE | RENAME_NOREPLACE, -EINVAL},
	    {"/d/f", "/x", 8, -EINVAL},
	    {"/d", "/d/full", RENAME_EXCHANGE, -EINVAL},
	    {"/d/full", "/d", RENAME_EXCHANGE, -EINVAL},
	    {"/d/f/", "/x", 0, -ENOTDIR},
	    {"/d/f", "/x/", 0, -ENOTDIR},
	    {"/d/f", "/d/f", 0, 0},
	    {"/d/e/", "/d/g/", 0, 0},
	    {"/d/g", "/g", 0, 0},
	    {"/d/f", "/g/f", RENAME_NOREPLACE, 0},
	    {"/d/full", "/g", RENAME_EXCHANGE, 0},
	    {"/d/full/f", "/s", 0, 0},
	    {"/d/full", "/g/sub", 0, 0},
	    {"/g/sub", "/d/full", 0, 0},
	};
	struct rig *r = *state;

	for (size_t k = 0; k < sizeof(t) / sizeof(t[0]); k++) {
		int err = fs_rename(r->fs, &r->root, t[k].from, t[k].to, t[k].flags);

		if (err != t[k].err)
			fprintf(stderr, "rename %s %s %u: %d\n", t[k].from, t[k].to, t[k].flags, err);
		assert_int_equal(err, t[k].err);
	}
	rig_check(r);
	rig_remount(r, true);
	assert_int_equal(fs_stat(r->fs, &r->root, "/g/x", true, &(struct fs_attr){0}), 0);
}

static void rename_of_two_links_to_one_file_does_nothing(void **state)
{
	struct rig *r = *state;
	struct fs_attr a;

	assert_int_equal(fs_link(r->fs, &r->root, "/d/f", "/l"), 0);
	assert_int_equal(fs_rename(r->fs, &r->root, "/d/f", "/l", 0), 0);
	assert_int_equal(fs_stat(r->fs, &r->root, "/d/f", true, &a), 0);
	assert_int_equal(a.nlink, 2);
	assert_int_equal(fs_rename(r->fs, &r->root, "/d/f", "/l", RENAME_NOREPLACE), -EEXIST);
}

static void link_errors(void **state)
{
	struct rig *r = *state;
	struct fs_attr a;

	assert_int_equal(fs_link(r->fs, &r->root, "/d", "/x"), -EPERM);
	assert_int_equal(fs_link(r->fs, &r->root, "/no", "/x"), -ENOENT);
	assert_int_equal(fs_link(r->fs, &r->root, "/d/f", "/s"), -EEXIST);
	assert_int_equal(fs_link(r->fs, &r->root, "/d/f", "/x/"), -ENOENT);
	assert_int_equal(fs_link(r->fs, &r->root, "/d/f", "/no/x"), -ENOENT);
	assert_int_equal(fs_link(r->fs, &r->root, "/s", "/s2"), 0);
	assert_int_equal(fs_stat(r->fs, &r->root, "/s2", false, &a), 0);
	assert_true(S_ISLNK(a.mode));
	assert_int_equal(a.nlink, 2);
}

static void symlink_and_readlink_errors(void **state)
{
	struct rig *r = *state;
	char buf[16];
	char *target = calloc(1, 5000);

	assert_int_equal(fs_symlink(r->fs, &r->root, "", "/x"), -ENOENT);
	assert_int_equal(fs_symlink(r->fs, &r->root, "a", "/s"), -EEXIST);
	assert_int_equal(fs_symlink(r->fs, &r->root, "a", "/x/"), -ENOENT);
	memset(target, 't', 4096);
	assert_int_equal(fs_symlink(r->fs, &r->root, target, "/x"), -ENAMETOOLONG);
	target[4095] = '\0';
	assert_int_equal(fs_symlink(r->fs, &r->root, target, "/x"), 0);
	assert_int_equal(fs_readlink(r->fs, &r->root, "/x", buf, sizeof(buf)), -ERANGE);
	assert_int_equal(fs_readlink(r->fs, &r->root, "/d/f", buf, sizeof(buf)), -EINVAL);
	assert_int_equal(fs_readlink(r->fs, &r->root, "/s", buf, sizeof(buf)), 3);
	assert_memory_equal(buf, "d/f", 3);
	free(target);
}

static void open_flags(void **state)
{
	static const struct {
		const char *path;
		int flags, err;
	} t[] = {
	    {"/d/f", O_RDONLY, 0},
	    {"/d/f", O_WRONLY | O_CREAT | O_EXCL, -EEXIST},
	    {"/d/f", O_RDONLY | O_DIRECTORY, -ENOTDIR},
	    {"/d", O_RDONLY | O_DIRECTORY, 0},
	    {"/d", O_RDONLY, 0},
	    {"/d", O_WRONLY, -EISDIR},
	    {"/d", O_RDONLY | O_TRUNC, -EISDIR},
	    {"/d", O_RDONLY | O_CREAT, -EISDIR},
	    {"/", O_RDONLY | O_CREAT, -EISDIR},
	    {"/d/new/", O_RDWR | O_CREAT, -EISDIR},
	    {"/d/f/", O_RDWR | O_CREAT, -ENOTDIR},
	    {"/no", O_RDONLY, -ENOENT},
	    {"/s", O_RDONLY | O_NOFOLLOW, -ELOOP},
	    {"/s", O_RDONLY | O_CREAT | O_NOFOLLOW, -ELOOP},
	    {"/s", O_RDONLY | O_CREAT | O_EXCL, -EEXIST},
	    {"/dangling", O_RDONLY | O_CREAT | O_EXCL, -EEXIST},
	    {"/dangling", O_RDWR | O_CREAT, 0},
	    {"/nowhere", O_RDONLY, 0},
	    {"/loop", O_RDWR | O_CREAT, -ELOOP},
	    {"/d/f", O_ACCMODE, -EINVAL},
	    {"/d/f", O_RDONLY | O_SYNC, -EINVAL},
	    {"/d/x", O_RDWR | O_CREAT | O_DIRECTORY, -EINVAL},
	};
	struct rig *r = *state;

	for (size_t k = 0; k < sizeof(t) / sizeof(t[0]); k++) {
		struct fs_handle *h;
		int err = fs_open(r->fs, &r->root, t[k].path, t[k].flags, 0600, &h);

		if (err != t[k].err)
			fprintf(stderr, "open %s 0%o: %d\n", t[k].path, t[k].flags, err);
		assert_int_equal(err, t[k].err);
		if (!err)
			fs_close(h, NULL, 0);
	}
}

static void handles_do_what_they_were_opened_for(void **state)
{
	struct rig *r = *state;
	struct fs_handle *rd = rig_open(r, "/d/f", O_RDONLY);
	struct fs_handle *wr = rig_open(r, "/d/f", O_WRONLY);
	struct fs_handle *ap = rig_open(r, "/d/f", O_RDWR | O_APPEND);
	struct fs_handle *dir = rig_open(r, "/d", O_RDONLY);
	char c = 'c';

	assert_int_equal(fs_write(rd, &r->root, &c, 1, 0), -EBADF);
	assert_int_equal(fs_truncate(rd, &r->root, 0), -EINVAL);
	assert_int_equal(fs_allocate(rd, &r->root, 0, 0, 1), -EBADF);
	assert_int_equal(fs_commit(rd, &r->root, 0, 1), -EBADF);
	assert_int_equal(fs_read(wr, &r->root, &c, 1, 0), -EBADF);
	assert_int_equal(fs_read(dir, &r->root, &c, 1, 0), -EISDIR);
	assert_int_equal(fs_truncate(dir, &r->root, 0), -EISDIR);
	assert_int_equal(fs_write(ap, &r->root, &c, 1, 3), 1);
	assert_int_equal(rig_size(ap), 11);
	assert_int_equal(fs_read(ap, &r->root, &c, 1, 10), 1);
	assert_int_equal(c, 'c');
	assert_int_equal(fs_read(ap, &r->root, &c, 1, 11), 0);
	assert_int_equal(fs_write(wr, &r->root, &c, 1, FS_SIZE_MAX), -EFBIG);
	assert_int_equal(fs_truncate(wr, &r->root, (uint64_t)FS_SIZE_MAX + 1), -EFBIG);
	assert_int_equal(fs_allocate(wr, &r->root, 0, 5, 0), -EINVAL);
	assert_int_equal(fs_allocate(wr, &r->root, 0x40000000, 0, BLK), -EOPNOTSUPP);
	fs_close(rd, NULL, 0);
	fs_close(wr, NULL, 0);
	fs_close(ap, NULL, 0);
	fs_close(dir, NULL, 0);
}

static void o_trunc_empties(void **state)
{
	struct rig *r = *state;

	fs_close(rig_open(r, "/d/f", O_WRONLY | O_TRUNC), NULL, 0);
	struct fs_handle *h = rig_open(r, "/d/f", O_RDONLY);
	assert_int_equal(rig_size(h), 0);
	fs_close(h, NULL, 0);
}

static void permissions(void **state)
{
	struct rig *r = *state;
	struct fs_setattr set = {.mask = FS_SET_MODE, .mode = 0700};
	struct fs_handle *h;
	struct fs_attr a;

	/* Nobody else may search a 0700 directory, nor write to root's file. */
	assert_int_equal(fs_open(r->fs, &r->user, "/d/f", O_RDONLY, 0, &h), 0);
	fs_close(h, NULL, 0);
	assert_int_equal(fs_open(r->fs, &r->user, "/d/f", O_RDWR, 0, &h), -EACCES);
	assert_int_equal(fs_open(r->fs, &r->user, "/d/f", O_RDONLY | O_TRUNC, 0, &h), -EACCES);
	assert_int_equal(fs_setattr(r->fs, &r->root, "/d", true, &set), 0);
	assert_int_equal(fs_stat(r->fs, &r->user, "/d/f", true, &a), -EACCES);
	assert_int_equal(fs_mkdir(r->fs, &r->user, "/x", 0755), -EACCES);
	assert_int_equal(fs_unlink(r->fs, &r->user, "/s"), -EACCES);
	assert_int_equal(fs_rename(r->fs, &r->user, "/s", "/t", 0), -EACCES);
	assert_int_equal(fs_setattr(r->fs, &r->user, "/s", true, &set), -EACCES);
	set.mode = 0777;
	assert_int_equal(fs_setattr(r->fs, &r->root, "/d", true, &set), 0);
	assert_int_equal(fs_setattr(r->fs, &r->user, "/d/f", true, &set), -EPERM);
	assert_int_equal(fs_unlink(r->fs, &r->user, "/d/f"), 0);
	assert_int_equal(fs_open(r->fs, &r->user, "/d/mine", O_CREAT | O_WRONLY, 0000, &h), 0);
	fs_close(h, NULL, 0);
	assert_int_equal(fs_open(r->fs, &r->user, "/d/mine", O_RDONLY, 0, &h), -EACCES);
	assert_int_equal(fs_open(r->fs, &r->root, "/d/mine", O_RDWR, 0, &h), 0);
	fs_close(h, NULL, 0);
	/* The owner's bits count for the owner, also when others may more. */
	set.mode = 0077;
	assert_int_equal(fs_setattr(r->fs, &r->user, "/d/mine", true, &set), 0);
	assert_int_equal(fs_open(r->fs, &r->user, "/d/mine", O_RDONLY, 0, &h), -EACCES);
	assert_int_equal(fs_open(r->fs, &r->other, "/d/mine", O_RDONLY, 0, &h), 0);
	fs_close(h, NULL, 0);
}

static void the_sticky_bit_protects_others_files(void **state)
{
	struct rig *r = *state;
	struct fs_handle *h;

	assert_int_equal(fs_mkdir(r->fs, &r->root, "/tmp", 01777), 0);
	struct fs_setattr set = {.mask = FS_SET_MODE, .mode = 01777};
	assert_int_equal(fs_setattr(r->fs, &r->root, "/tmp", true, &set), 0);
	assert_int_equal(fs_open(r->fs, &r->user, "/tmp/u", O_CREAT | O_RDWR, 0666, &h), 0);
	fs_close(h, NULL, 0);
	assert_int_equal(fs_open(r->fs, &r->other, "/tmp/o", O_CREAT | O_RDWR, 0666, &h), 0);
	fs_close(h, NULL, 0);
	assert_int_equal(fs_unlink(r->fs, &r->other, "/tmp/u"), -EPERM);
	assert_int_equal(fs_rename(r->fs, &r->other, "/tmp/u", "/tmp/v", 0), -EPERM);
	assert_int_equal(fs_rename(r->fs, &r->other, "/tmp/o", "/tmp/u", 0), -EPERM);
	assert_int_equal(fs_unlink(r->fs, &r->user, "/tmp/u"), 0);
	assert_int_equal(fs_unlink(r->fs, &r->root, "/tmp/o"), 0);
}

static void setgid_directories_give_their_group(void **state)
{
	struct rig *r = *state;
	struct fs_setattr set = {.mask = FS_SET_MODE | FS_SET_GID, .mode = 02777, .gid = 77};
	struct fs_handle *h;
	struct fs_attr a;

	assert_int_equal(fs_setattr(r->fs, &r->root, "/d", true, &set), 0);
	assert_int_equal(fs_open(r->fs, &r->user, "/d/x", O_CREAT | O_RDWR, 02755, &h), 0);
	assert_int_equal(fs_fstat(h, &a), 0);
	assert_int_equal(a.gid, 77);
	assert_int_equal(a.mode & 07777, 0755);
	fs_close(h, NULL, 0);
	assert_int_equal(fs_mkdir(r->fs, &r->user, "/d/sub", 0755), 0);
	assert_int_equal(fs_stat(r->fs, &r->root, "/d/sub", true, &a), 0);
	assert_int_equal(a.gid, 77);
	assert_int_equal(a.mode & 07777, 02755);
}

static void owners_and_setid_bits(void **state)
{
	struct rig *r = *state;
	struct fs_setattr own = {.mask = FS_SET_UID | FS_SET_GID, .uid = 1000, .gid = 1000};
	struct fs_setattr suid = {.mask = FS_SET_MODE, .mode = 06755};
	struct fs_handle *h;
	struct fs_attr a;

	assert_int_equal(fs_setattr(r->fs, &r->root, "/d/f", true, &own), 0);
	assert_int_equal(fs_setattr(r->fs, &r->user, "/d/f", true, &suid), 0);
	assert_int_equal(fs_stat(r->fs, &r->root, "/d/f", true, &a), 0);
	assert_int_equal(a.mode & 07777, 06755);
	/* A write by somebody else than root takes them. */
	assert_int_equal(fs_open(r->fs, &r->user, "/d/f", O_RDWR, 0, &h), 0);
	assert_int_equal(fs_write(h, &r->user, "x", 1, 0), 1);
	assert_int_equal(fs_fstat(h, &a), 0);
	assert_int_equal(a.mode & 07777, 0755);
	/* So does chown. */
	assert_int_equal(fs_setattr(r->fs, &r->user, "/d/f", true, &suid), 0);
	own.mask = FS_SET_GID;
	r->user.cred.groups[r->user.cred.group_count++] = 50;
	own.gid = 50;
	assert_int_equal(fs_fsetattr(h, &r->user, &own), 0);
	assert_int_equal(fs_fstat(h, &a), 0);
	assert_int_equal(a.mode & 07777, 0755);
	assert_int_equal(a.gid, 50);
	own.gid = 51;
	assert_int_equal(fs_fsetattr(h, &r->user, &own), -EPERM);
	own = (struct fs_setattr){.mask = FS_SET_UID, .uid = 1001};
	assert_int_equal(fs_fsetattr(h, &r->user, &own), -EPERM);
	/* Set-group-id needs membership. */
	own = (struct fs_setattr){.mask = FS_SET_GID, .gid = 51};
	assert_int_equal(fs_fsetattr(h, &r->root, &own), 0);
	assert_int_equal(fs_fsetattr(h, &r->user, &suid), 0);
	assert_int_equal(fs_fstat(h, &a), 0);
	assert_int_equal(a.mode & 07777, 04755);
	fs_close(h, NULL, 0);
}

static void times(void **state)
{
	struct rig *r = *state;
	struct fs_setattr set = {.mask = FS_SET_ATIME | FS_SET_MTIME, .atime_ns = 123456789012345678, .mtime_ns = -5};
	struct fs_handle *h;
	struct fs_attr a, b;

	assert_int_equal(fs_setattr(r->fs, &r->user, "/d/f", true, &set), -EPERM);
	assert_int_equal(fs_setattr(r->fs, &r->root, "/d/f", true, &set), 0);
	assert_int_equal(fs_stat(r->fs, &r->root, "/d/f", true, &a), 0);
	assert_true(a.atime_ns == 123456789012345678 && a.mtime_ns == -5);
	rig_remount(r, true);
	assert_int_equal(fs_stat(r->fs, &r->root, "/d/f", true, &b), 0);
	assert_true(b.atime_ns == a.atime_ns && b.mtime_ns == -5 && b.ctime_ns == a.ctime_ns);
	set.atime_ns = set.mtime_ns = INT64_MIN;
	assert_int_equal(fs_setattr(r->fs, &r->user, "/d/f", true, &set), -EACCES);
	set.mask = FS_SET_MTIME;
	assert_int_equal(fs_setattr(r->fs, &r->user, "/d/f", true, &set), -EPERM);
	/* A write moves mtime and ctime; also in place; and fsync keeps it over a crash. */
	h = rig_open(r, "/d/f", O_RDWR);
	rig_fill(r, h, 'w', 1, 0);
	assert_int_equal(fs_fstat(h, &a), 0);
	assert_true(a.mtime_ns > 0 && a.ctime_ns >= b.ctime_ns);
	assert_int_equal(fs_sync(h, false), 0);
	fs_close(h, NULL, 0);
	rig_remount(r, true);
	assert_int_equal(fs_stat(r->fs, &r->root, "/d/f", true, &b), 0);
	assert_true(a.mtime_ns == b.mtime_ns);
}

struct list {
	unsigned count, limit;
	char seen[1000];
	uint64_t cookie;
};

static bool list_one(void *ctx, const struct fs_dirent *d)
{
	struct list *l = ctx;

	if (l->count == l->limit)
		return false;
	l->count++;
	l->cookie = d->cookie;
	assert_int_equal(strlen(d->name), d->name_len);
	if (d->name[0] == 'e')
		l->seen[atoi(d->name + 1)]++;
	return true;
}

static void listings_go_on_while_entries_come_and_go(void **state)
{
	struct rig *r = *state;
	struct list l = {.limit = 7};
	struct fs_handle *h;
	char path[32];

	assert_int_equal(fs_mkdir(r->fs, &r->root, "/l", 0755), 0);
	for (int k = 0; k < 500; k++) {
		snprintf(path, sizeof(path), "/l/e%d", k);
		rig_file(r, path, 'e', 0);
	}
	h = rig_open(r, "/l", O_RDONLY);
	for (int k = 0; k < 100; k++) {
		l.count = 0;
		assert_int_equal(fs_readdir(h, &r->root, l.cookie, list_one, &l), 0);
		/* Every even one goes, new ones come. */
		for (int j = 0; j < 5; j++) {
			snprintf(path, sizeof(path), "/l/e%d", k * 10 + j * 2);
			if (k < 50)
				assert_int_equal(fs_unlink(r->fs, &r->root, path), 0);
		}
		snprintf(path, sizeof(path), "/l/n%d", k);
		rig_file(r, path, 'n', 0);
	}
	for (int k = 1; k < 500; k += 2)
		assert_int_equal(l.seen[k], 1);
	for (int k = 0; k < 500; k += 2)
		assert_true(l.seen[k] <= 1);
	fs_close(h, NULL, 0);
}

static void unlinked_files_live_until_the_last_close(void **state)
{
	struct rig *r = *state;
	uint64_t before = rig_free_blocks(r);
	struct fs_handle *h, *dir;
	struct fs_attr a;

	rig_file(r, "/o", 'o', 100 * BLK);
	h = rig_open(r, "/o", O_RDWR);
	assert_int_equal(fs_unlink(r->fs, &r->root, "/o"), 0);
	assert_int_equal(fs_fstat(h, &a), 0);
	assert_int_equal(a.nlink, 0);
	rig_expect(r, h, 'o', 100 * BLK, 0);
	rig_fill(r, h, 'p', BLK, 100 * BLK);
	assert_true(rig_free_blocks(r) < before - 90);
	assert_int_equal(fs_unmount(r->fs), -EBUSY);
	fs_close(h, NULL, 0);
	assert_true(rig_free_blocks(r) >= before - 16);
	/* A directory too; nothing can be made in it. */
	dir = rig_open(r, "/d/e", O_RDONLY);
	assert_int_equal(fs_rmdir(r->fs, &r->root, "/d/e"), 0);
	assert_int_equal(fs_fstat(dir, &a), 0);
	rig_check(r);
	fs_close(dir, NULL, 0);
}

static void a_read_only_mount_changes_nothing(void **state)
{
	struct rig *r = *state;
	struct fs_setattr set = {.mask = FS_SET_MODE, .mode = 0700};
	struct fs_handle *h;

	r->mount.read_only = true;
	rig_remount(r, true);
	assert_int_equal(fs_open(r->fs, &r->root, "/d/f", O_RDWR, 0, &h), -EROFS);
	assert_int_equal(fs_open(r->fs, &r->root, "/d/new", O_RDWR | O_CREAT, 0, &h), -EROFS);
	assert_int_equal(fs_mkdir(r->fs, &r->root, "/new", 0), -EROFS);
	assert_int_equal(fs_unlink(r->fs, &r->root, "/d/f"), -EROFS);
	assert_int_equal(fs_rename(r->fs, &r->root, "/d/f", "/x", 0), -EROFS);
	assert_int_equal(fs_link(r->fs, &r->root, "/d/f", "/x"), -EROFS);
	assert_int_equal(fs_symlink(r->fs, &r->root, "a", "/x"), -EROFS);
	assert_int_equal(fs_setattr(r->fs, &r->root, "/d/f", true, &set), -EROFS);
	assert_int_equal(fs_checkpoint(r->fs), -EROFS);
	h = rig_open(r, "/d/f", O_RDONLY);
	rig_expect(r, h, 'f', 10, 0);
	assert_int_equal(fs_relocate(h, &r->root, 0, BLK, NULL), -EROFS);
	assert_int_equal(fs_sync(h, false), 0);
	fs_close(h, NULL, 0);
	r->mount.read_only = false;
	rig_remount(r, false);
}

#define T(f) cmocka_unit_test_setup_teardown(f, names_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(paths_resolve_as_in_posix),
	    T(mkdir_errors),
	    T(unlink_and_rmdir_errors),
	    T(rename_errors),
	    T(rename_of_two_links_to_one_file_does_nothing),
	    T(link_errors),
	    T(symlink_and_readlink_errors),
	    T(open_flags),
	    T(handles_do_what_they_were_opened_for),
	    T(o_trunc_empties),
	    T(permissions),
	    T(the_sticky_bit_protects_others_files),
	    T(setgid_directories_give_their_group),
	    T(owners_and_setid_bits),
	    T(times),
	    T(listings_go_on_while_entries_come_and_go),
	    T(unlinked_files_live_until_the_last_close),
	    T(a_read_only_mount_changes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
