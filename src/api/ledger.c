/* SPDX-License-Identifier: BSD-2-Clause */
/* The calls on who holds what beyond single leases: filters, sessions, the audit; interrupting, changing, what was
 * lost. */
#include "api/check.h"

#include <errno.h>

/* A backend without the call says so. */
static int absent(const char *call, const struct lh_backend *be)
{
	return fail(-EOPNOTSUPP, "%s: the %s backend of this version does not have it", call, be->name);
}

int lh_fs_leases_matching(struct lh_fs *fs, const struct lh_revoke_filter *filter,
			  void (*each)(void *ctx, const struct lh_lease_info *info), void *ctx)
{
	struct lh_revoke_filter f;
	int err = api_fs(fs, __func__);

	if (!err && !each)
		err = fail(-EINVAL, "%s: each is NULL", __func__);
	if (!err)
		err = api_take(&f, sizeof(f), filter, "lh_revoke_filter");
	if (!err && f.path)
		err = api_path(f.path, __func__);
	if (!err && !fs_be(fs)->fs_leases_matching)
		err = absent(__func__, fs_be(fs));
	if (err)
		return err;
	return (int)api_result(fs_be(fs)->fs_leases_matching(fs, &f, each, ctx), __func__, f.path);
}

int lh_fs_sessions(struct lh_fs *fs, void (*each)(void *ctx, const struct lh_session_info *info), void *ctx)
{
	int err = api_fs(fs, __func__);

	if (!err && !each)
		err = fail(-EINVAL, "%s: each is NULL", __func__);
	if (!err && !fs_be(fs)->fs_sessions)
		err = absent(__func__, fs_be(fs));
	if (err)
		return err;
	return (int)api_result(fs_be(fs)->fs_sessions(fs, each, ctx), __func__, NULL);
}

int lh_fs_audit(struct lh_fs *fs, uint64_t *cursor, struct lh_audit *out, unsigned max)
{
	int err = api_fs(fs, __func__);

	if (!err)
		err = api_given(cursor, "cursor", __func__);
	if (!err && max)
		err = api_given(out, "out", __func__);
	if (!err && !fs_be(fs)->fs_audit)
		err = absent(__func__, fs_be(fs));
	if (err)
		return err;
	return (int)api_result(fs_be(fs)->fs_audit(fs, cursor, out, max), __func__, NULL);
}

void lh_fs_interrupt(struct lh_fs *fs)
{
	if (fs && fs_be(fs)->fs_interrupt)
		fs_be(fs)->fs_interrupt(fs);
}

int lh_fs_limit_clear(struct lh_fs *fs, struct lh_limit *limit)
{
	struct lh_limit mine;
	int err = api_fs(fs, __func__);

	if (!err)
		err = api_given(limit, "limit", __func__);
	if (!err)
		err = api_take(&mine, sizeof(mine), limit, "lh_limit");
	if (!err && (mine.kind < LH_LIMIT_PINS || mine.kind > LH_LIMIT_PINS_POOL))
		err = fail(-EINVAL, "%s: kind %u is none of LH_LIMIT_PINS*; a limit of space is cleared by setting 0",
			   __func__, mine.kind);
	if (!err && !fs_be(fs)->fs_limit_clear)
		err = absent(__func__, fs_be(fs));
	if (err)
		return err;
	return (int)api_result(fs_be(fs)->fs_limit_clear(fs, &mine), __func__, NULL);
}

int lh_file_lost(struct lh_file *file, struct lh_range *out, unsigned max)
{
	int err = api_file(file, __func__);

	if (!err && max)
		err = api_given(out, "out", __func__);
	if (err)
		return err;
	if (!file_be(file)->file_lost)
		return 0; /* in process nothing can be lost without this process */
	return (int)api_result(file_be(file)->file_lost(file, out, max), __func__, NULL);
}

int lh_lease_change(struct lh_lease *lease, uint32_t flags, uint64_t max_age_ns)
{
	uint32_t mode = flags & (LH_LEASE_READ | LH_LEASE_WRITE);
	int err = api_lease(lease, __func__);

	if (err)
		return err;
	if (flags & ~(LH_LEASE_READ | LH_LEASE_WRITE | LH_LEASE_EXCLUSIVE))
		return fail(-EINVAL, "%s: flags %#x: only a mode and LH_LEASE_EXCLUSIVE", __func__, flags);
	if (mode != LH_LEASE_READ && mode != LH_LEASE_WRITE)
		return fail(-EINVAL, "%s: either LH_LEASE_READ or LH_LEASE_WRITE", __func__);
	if (max_age_ns > API_NS_MAX)
		return fail(-EINVAL, "%s: the age is longer than a year; it is in nanoseconds", __func__);
	if (!lease_be(lease)->lease_change)
		return absent(__func__, lease_be(lease));
	return (int)api_result(lease_be(lease)->lease_change(lease, flags, max_age_ns), __func__, NULL);
}
