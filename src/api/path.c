/* SPDX-License-Identifier: BSD-2-Clause */
/* The calls by path. */
#include "api/check.h"

#include <string.h>

static int begin(const struct lh_fs *fs, const char *path, const char *call)
{
	int err = api_fs(fs, call);

	return err ? err : api_path(path, call);
}

int lh_path_stat(struct lh_fs *fs, const char *path, bool follow, struct lh_stat *out)
{
	int err = begin(fs, path, __func__);

	if (!err)
		err = api_room(out, sizeof(*out), "lh_stat", __func__);
	if (err)
		return err;
	return (int)api_result(fs_be(fs)->path_stat(fs, path, follow, out), __func__, path);
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
	return (int)api_result(fs_be(fs)->path_chown(fs, path, uid, gid), __func__, path);
}

int lh_path_set_times(struct lh_fs *fs, const char *path, bool follow, int64_t atime_ns, int64_t mtime_ns)
{
	int err = begin(fs, path, __func__);

	if (err)
		return err;
	return (int)api_result(fs_be(fs)->path_set_times(fs, path, follow, atime_ns, mtime_ns), __func__, path);
}
