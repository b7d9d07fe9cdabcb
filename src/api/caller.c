/* SPDX-License-Identifier: BSD-2-Clause */
/* Acting for others, and hearing of others' changes. The backends read base/caller.h. */
#include "api/check.h"

#include "base/caller.h"

int lh_thread_caller(struct lh_caller *caller)
{
	fail_clear();
	if (caller && caller->size < sizeof(*caller))
		return fail(-EINVAL, "lh_thread_caller: size says %u bytes, at least %zu are needed (set it to sizeof)",
			    caller->size, sizeof(*caller));
	if (caller && caller->flags & ~(LH_CALLER_CHECKED | LH_CALLER_NOWAIT))
		return fail(-EINVAL, "lh_thread_caller: flags %#x: only LH_CALLER_CHECKED and LH_CALLER_NOWAIT",
			    caller->flags);
	if (caller && caller->group_count && !caller->groups)
		return fail(-EINVAL, "lh_thread_caller: %u groups, and groups is NULL", caller->group_count);
	thread_caller = caller;
	return 0;
}

int lh_fs_act(struct lh_fs *fs)
{
	int err = api_fs(fs, __func__);

	if (err)
		return err;
	if (!fs_be(fs)->fs_act)
		return fail(-EOPNOTSUPP, "%s: not with a server in this version", __func__);
	return (int)api_result(fs_be(fs)->fs_act(fs), __func__, NULL);
}

int lh_dir_next_stat(struct lh_dir *dir, struct lh_dirent *out, struct lh_stat *st)
{
	struct lh_stat got = {.size_of = sizeof(got)};
	int err = api_dir(dir, __func__);

	if (!err)
		err = api_given(out, "out", __func__);
	if (!err)
		err = api_room(st, API_STAT_MIN, "lh_stat", __func__);
	if (err)
		return err;
	if (!dir_be(dir)->dir_next_stat)
		return fail(-EOPNOTSUPP, "%s: not with a server in this version", __func__);
	err = dir_be(dir)->dir_next_stat(dir, out, &got);
	if (err == 1)
		api_give(st, &got, sizeof(got));
	return (int)api_result(err, __func__, NULL);
}

int lh_fs_watch(struct lh_fs *fs, void (*each)(void *ctx, const struct lh_change *change), void *ctx)
{
	int err = api_fs(fs, __func__);

	if (err)
		return err;
	if (!fs_be(fs)->fs_watch)
		return fail(-EOPNOTSUPP, "%s: not there yet", __func__);
	return (int)api_result(fs_be(fs)->fs_watch(fs, each, ctx), __func__, NULL);
}

unsigned lh_fs_watch_behind(struct lh_fs *fs, uint64_t ino)
{
	if (api_fs(fs, __func__) || !fs_be(fs)->fs_watch_behind)
		return 0;
	return fs_be(fs)->fs_watch_behind(fs, ino);
}
