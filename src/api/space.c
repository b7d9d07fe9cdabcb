/* SPDX-License-Identifier: BSD-2-Clause */
/* The calls on trees, limits and space: snapshots, limits, resizing, evacuating. */
#include "api/check.h"

#include <string.h>

int lh_fs_snapshot(struct lh_fs *fs, const char *from, const char *to, unsigned flags)
{
	int err = api_fs(fs, __func__);

	if (!err)
		err = api_path(from, __func__);
	if (!err)
		err = api_path(to, __func__);
	if (err)
		return err;
	if (flags & ~LH_SNAPSHOT_READ_ONLY)
		return fail(-EINVAL, "%s: flags %#x: 0 or LH_SNAPSHOT_READ_ONLY", __func__, flags);
	return (int)api_result(fs_be(fs)->fs_snapshot(fs, from, to, flags), __func__, to);
}

int lh_fs_snapshot_delete(struct lh_fs *fs, const char *path)
{
	int err = api_fs(fs, __func__);

	if (!err)
		err = api_path(path, __func__);
	if (err)
		return err;
	return (int)api_result(fs_be(fs)->fs_snapshot_delete(fs, path), __func__, path);
}

int lh_fs_snapshots(struct lh_fs *fs, void (*each)(void *ctx, const struct lh_snapshot_info *info), void *ctx)
{
	int err = api_fs(fs, __func__);

	if (!err && !each)
		err = fail(-EINVAL, "%s: each is NULL", __func__);
	if (err)
		return err;
	return (int)api_result(fs_be(fs)->fs_snapshots(fs, each, ctx), __func__, NULL);
}

static int begin_limit(const struct lh_fs *fs, const char *tree, const struct lh_limit *limit, struct lh_limit *mine,
		       const char *call)
{
	int err = api_fs(fs, call);

	if (!err)
		err = api_given(limit, "limit", call);
	if (!err)
		err = api_take(mine, sizeof(*mine), limit, "lh_limit");
	if (!err && tree)
		err = api_path(tree, call);
	if (err)
		return err;
	if (mine->kind < LH_LIMIT_UID || mine->kind > LH_LIMIT_PINS_POOL)
		return fail(-EINVAL, "%s: kind %u is none of LH_LIMIT_*", call, mine->kind);
	if ((mine->kind == LH_LIMIT_TREE) != (tree != NULL))
		return fail(-EINVAL, "%s: a limit of a tree needs its directory, the others have none", call);
	return 0;
}

int lh_fs_limit_set(struct lh_fs *fs, const char *tree, struct lh_limit *limit)
{
	struct lh_limit mine;
	int err = begin_limit(fs, tree, limit, &mine, __func__);

	if (err)
		return err;
	err = fs_be(fs)->fs_limit_set(fs, tree, &mine);
	if (!err)
		api_give(limit, &mine, sizeof(mine));
	return (int)api_result(err, __func__, tree);
}

int lh_fs_limit_get(struct lh_fs *fs, const char *tree, struct lh_limit *limit)
{
	struct lh_limit mine;
	int err = begin_limit(fs, tree, limit, &mine, __func__);

	if (err)
		return err;
	err = fs_be(fs)->fs_limit_get(fs, tree, &mine);
	if (!err)
		api_give(limit, &mine, sizeof(mine));
	return (int)api_result(err, __func__, tree);
}

int lh_fs_limits(struct lh_fs *fs, void (*each)(void *ctx, const struct lh_limit *limit), void *ctx)
{
	int err = api_fs(fs, __func__);

	if (!err && !each)
		err = fail(-EINVAL, "%s: each is NULL", __func__);
	if (err)
		return err;
	return (int)api_result(fs_be(fs)->fs_limits(fs, each, ctx), __func__, NULL);
}

int lh_fs_resize(struct lh_fs *fs, uint64_t bytes, lh_progress progress, void *ctx)
{
	int err = api_fs(fs, __func__);

	if (err)
		return err;
	if (bytes % LH_BLOCK_SIZE)
		return fail(-EINVAL, "%s: %llu bytes: not a multiple of %u", __func__, (unsigned long long)bytes,
			    LH_BLOCK_SIZE);
	if (bytes < API_POOL_MIN || bytes > API_POOL_MAX)
		return fail(-EINVAL, "%s: %llu bytes: a pool has 16 MiB to 16 TiB", __func__,
			    (unsigned long long)bytes);
	return (int)api_result(fs_be(fs)->fs_resize(fs, bytes, progress, ctx), __func__, NULL);
}

int lh_fs_evacuate(struct lh_fs *fs, uint64_t off, uint64_t len, void (*each)(void *ctx, const struct lh_loss *loss),
		   void *ctx)
{
	int err = api_fs(fs, __func__);

	if (err)
		return err;
	if (len == 0 || off > API_POOL_MAX || len > API_POOL_MAX - off)
		return fail(-EINVAL, "%s: the range is empty or outside of every pool", __func__);
	return (int)api_result(fs_be(fs)->fs_evacuate(fs, off, len, each, ctx), __func__, NULL);
}
