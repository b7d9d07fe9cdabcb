/* SPDX-License-Identifier: BSD-2-Clause */
/* The calls by path. */
#include "api/check.h"

#include <string.h>
#include <sys/stat.h>

static int begin(const struct lh_fs *fs, const char *path, const char *call)
{
	int err = api_fs(fs, call);

	return err ? err : api_path(path, call);
}

int lh_path_stat(struct lh_fs *fs, const char *path, bool follow, struct lh_stat *out)
{
	struct lh_stat st = {.size_of = sizeof(st)};
	int err = begin(fs, path, __func__);

	if (!err)
		err = api_room(out, API_STAT_MIN, "lh_stat", __func__);
	if (err)
		return err;
	err = fs_be(fs)->path_stat(fs, path, follow, &st);
	if (!err)
		api_give(out, &st, sizeof(st));
	return (int)api_result(err, __func__, path);
}

int lh_path_mkdir(struct lh_fs *fs, const char *path, uint32_t mode)
{
	int err = begin(fs, path, __func__);

	if (!err)
		err = api_mode(mode, __func__);
	if (err)
		return err;
	return (int)api_result(fs_be(fs)->path_mkdir(fs, path, mode), __func__, path);
}

int lh_path_rmdir(struct lh_fs *fs, const char *path)
{
	int err = begin(fs, path, __func__);

	if (err)
		return err;
	return (int)api_result(fs_be(fs)->path_rmdir(fs, path), __func__, path);
}

int lh_path_unlink(struct lh_fs *fs, const char *path)
{
	int err = begin(fs, path, __func__);

	if (err)
		return err;
	return (int)api_result(fs_be(fs)->path_unlink(fs, path), __func__, path);
}

int lh_path_rename(struct lh_fs *fs, const char *from, const char *to, unsigned flags)
{
	int err = begin(fs, from, __func__);

	if (!err)
		err = api_path(to, __func__);
	if (err)
		return err;
	if (flags & ~(LH_RENAME_NOREPLACE | LH_RENAME_EXCHANGE))
		return fail(-EINVAL, "%s: flags %#x: only LH_RENAME_NOREPLACE or LH_RENAME_EXCHANGE", __func__, flags);
	if (flags == (LH_RENAME_NOREPLACE | LH_RENAME_EXCHANGE))
		return fail(-EINVAL, "%s: LH_RENAME_NOREPLACE and LH_RENAME_EXCHANGE exclude each other", __func__);
	return (int)api_result(fs_be(fs)->path_rename(fs, from, to, flags), __func__, from);
}

int lh_path_link(struct lh_fs *fs, const char *from, const char *to)
{
	int err = begin(fs, from, __func__);

	if (!err)
		err = api_path(to, __func__);
	if (err)
		return err;
	return (int)api_result(fs_be(fs)->path_link(fs, from, to), __func__, to);
}

int lh_path_symlink(struct lh_fs *fs, const char *target, const char *path)
{
	int err = begin(fs, path, __func__);

	if (!err)
		err = api_path(target, __func__);
	if (err)
		return err;
	return (int)api_result(fs_be(fs)->path_symlink(fs, target, path), __func__, path);
}

ssize_t lh_path_readlink(struct lh_fs *fs, const char *path, char *buf, size_t size)
{
	int err = begin(fs, path, __func__);

	if (!err)
		err = api_given(buf, "buf", __func__);
	if (!err && size == 0)
		err = fail(-EINVAL, "%s: the buffer has no bytes", __func__);
	if (err)
		return err;
	return (ssize_t)api_result(fs_be(fs)->path_readlink(fs, path, buf, size), __func__, path);
}

int lh_path_chmod(struct lh_fs *fs, const char *path, uint32_t mode)
{
	int err = begin(fs, path, __func__);

	if (!err)
		err = api_mode(mode, __func__);
	if (err)
		return err;
	return (int)api_result(fs_be(fs)->path_chmod(fs, path, mode), __func__, path);
}

int lh_path_chown(struct lh_fs *fs, const char *path, uint32_t uid, uint32_t gid)
{
	int err = begin(fs, path, __func__);

	if (err)
		return err;
	return (int)api_result(fs_be(fs)->path_chown(fs, path, true, uid, gid), __func__, path);
}

int lh_path_lchown(struct lh_fs *fs, const char *path, uint32_t uid, uint32_t gid)
{
	int err = begin(fs, path, __func__);

	if (err)
		return err;
	return (int)api_result(fs_be(fs)->path_chown(fs, path, false, uid, gid), __func__, path);
}

int lh_path_mknod(struct lh_fs *fs, const char *path, uint32_t mode, uint64_t rdev)
{
	uint32_t type = mode & S_IFMT;
	int err = begin(fs, path, __func__);

	if (!err)
		err = api_mode(mode & ~(uint32_t)S_IFMT, __func__);
	if (err)
		return err;
	if (type == S_IFDIR)
		return fail(-EPERM, "%s %s: a directory is made by lh_path_mkdir", __func__, path);
	if (type != 0 && type != S_IFREG && type != S_IFIFO && type != S_IFSOCK && type != S_IFCHR && type != S_IFBLK)
		return fail(-EINVAL, "%s %s: mode %#o: type is none of S_IFREG, S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK",
			    __func__, path, mode);
	/* As mknod(2): no type is a regular file, and only devices have a number. */
	if (type == 0)
		mode |= S_IFREG;
	if (type != S_IFCHR && type != S_IFBLK)
		rdev = 0;
	return (int)api_result(fs_be(fs)->path_mknod(fs, path, mode, rdev), __func__, path);
}

static int begin_attribute(const struct lh_fs *fs, const char *path, const char *name, const char *call)
{
	int err = begin(fs, path, call);

	return err ? err : api_attribute(name, call);
}

ssize_t lh_path_getxattr(struct lh_fs *fs, const char *path, bool follow, const char *name, void *value, size_t size)
{
	int err = begin_attribute(fs, path, name, __func__);

	if (!err && size)
		err = api_given(value, "value", __func__);
	if (err)
		return err;
	return (ssize_t)api_result(fs_be(fs)->path_getxattr(fs, path, follow, name, value, size), __func__, path);
}

int lh_path_setxattr(struct lh_fs *fs, const char *path, bool follow, const char *name, const void *value, size_t size,
		     unsigned flags)
{
	int err = begin_attribute(fs, path, name, __func__);

	if (!err && size)
		err = api_given(value, "value", __func__);
	if (err)
		return err;
	if (flags & ~(LH_XATTR_CREATE | LH_XATTR_REPLACE) || flags == (LH_XATTR_CREATE | LH_XATTR_REPLACE))
		return fail(-EINVAL, "%s: flags %#x: none, LH_XATTR_CREATE or LH_XATTR_REPLACE", __func__, flags);
	if (size > API_VALUE_MAX)
		return fail(-E2BIG, "%s %s: a value has at most %u bytes", __func__, path, API_VALUE_MAX);
	return (int)api_result(fs_be(fs)->path_setxattr(fs, path, follow, name, value, size, flags), __func__, path);
}

ssize_t lh_path_listxattr(struct lh_fs *fs, const char *path, bool follow, char *names, size_t size)
{
	int err = begin(fs, path, __func__);

	if (!err && size)
		err = api_given(names, "names", __func__);
	if (err)
		return err;
	return (ssize_t)api_result(fs_be(fs)->path_listxattr(fs, path, follow, names, size), __func__, path);
}

int lh_path_removexattr(struct lh_fs *fs, const char *path, bool follow, const char *name)
{
	int err = begin_attribute(fs, path, name, __func__);

	if (err)
		return err;
	return (int)api_result(fs_be(fs)->path_removexattr(fs, path, follow, name), __func__, path);
}

int lh_path_set_times(struct lh_fs *fs, const char *path, bool follow, int64_t atime_ns, int64_t mtime_ns)
{
	int err = begin(fs, path, __func__);

	if (err)
		return err;
	return (int)api_result(fs_be(fs)->path_set_times(fs, path, follow, atime_ns, mtime_ns), __func__, path);
}
