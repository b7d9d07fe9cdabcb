/* SPDX-License-Identifier: BSD-2-Clause */
/* The calls on open directories. */
#include "api/check.h"

int lh_dir_open(struct lh_fs *fs, const char *path, struct lh_dir **out)
{
	int err = api_fs(fs, __func__);

	if (!err)
		err = api_given(out, "out", __func__);
	if (err)
		return err;
	*out = NULL;
	err = api_path(path, __func__);
	if (err)
		return err;
	return (int)api_result(fs_be(fs)->dir_open(fs, path, out), __func__, path);
}

int lh_dir_next(struct lh_dir *dir, struct lh_dirent *out)
{
	int err = api_dir(dir, __func__);

	if (!err)
		err = api_given(out, "out", __func__);
	if (err)
		return err;
	return (int)api_result(dir_be(dir)->dir_next(dir, out), __func__, NULL);
}

void lh_dir_seek(struct lh_dir *dir, uint64_t cookie)
{
	if (dir)
		dir_be(dir)->dir_seek(dir, cookie);
}

void lh_dir_close(struct lh_dir *dir)
{
	if (dir)
		dir_be(dir)->dir_close(dir);
}
