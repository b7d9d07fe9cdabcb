/* SPDX-License-Identifier: BSD-2-Clause */
/* The filesystem calls, and which backend an address belongs to. */
#include "api/check.h"

#include <ctype.h>
#include <string.h>

const char *lh_error_text(void)
{
	return fail_text();
}

static bool begins(const char *s, const char *with)
{
	return strncmp(s, with, strlen(with)) == 0;
}

/* Letters up to a colon: an address, not a file's name. A file of such a name can be opened as "./name". */
static bool has_scheme(const char *where)
{
	const char *p = where;

	while (isalpha((unsigned char)*p))
		p++;
	return p > where && *p == ':';
}

static int check_options(const struct lh_open_options *o)
{
	if (o->fabric < LH_FABRIC_AUTO || o->fabric > LH_FABRIC_NONE)
		return fail(-EINVAL, "lh_fs_open: fabric %d is none of enum lh_fabric", (int)o->fabric);
	if (o->deadline_ns > API_NS_MAX || o->deadline_max_ns > API_NS_MAX || o->spin_ns > API_NS_MAX ||
	    o->connect_timeout_ns > API_NS_MAX)
		return fail(-EINVAL, "lh_fs_open: a time is longer than a year; times are in nanoseconds");
	if (o->deadline_max_ns && o->deadline_ns > o->deadline_max_ns)
		return fail(-EINVAL, "lh_fs_open: deadline_ns is over deadline_max_ns");
	return 0;
}

int lh_fs_open(const char *where, const struct lh_open_options *opt, struct lh_fs **out)
{
	struct lh_open_options o;
	int err;

	fail_clear();
	err = api_given(out, "out", "lh_fs_open");
	if (err)
		return err;
	*out = NULL;
	err = api_path(where, "lh_fs_open");
	if (!err)
		err = api_take(&o, sizeof(o), opt, "lh_open_options");
	if (!err)
		err = check_options(&o);
	if (err)
		return err;
	if (begins(where, "unix:") || begins(where, "tcp:"))
		return (int)api_result(client_open(where, &o, out), "lh_fs_open", where);
	if (begins(where, "tls:"))
		return fail(-EINVAL, "lh_fs_open %s: TLS is not there yet; use unix:PATH or tcp:127.0.0.1:PORT", where);
	if (has_scheme(where) && !begins(where, "mem:"))
		return fail(-EINVAL,
			    "lh_fs_open %s: no such kind of address; use a pool's path (./NAME when it has a colon), "
			    "mem:SIZE, unix:PATH or tcp:HOST:PORT",
			    where);
	return (int)api_result(local_open(where, &o, out), "lh_fs_open", where);
}

int lh_fs_close(struct lh_fs *fs)
{
	fail_clear();
	if (!fs)
		return 0;
	return (int)api_result(fs_be(fs)->fs_close(fs), "lh_fs_close", NULL);
}

int lh_fs_sync(struct lh_fs *fs)
{
	int err = api_fs(fs, __func__);

	if (err)
		return err;
	return (int)api_result(fs_be(fs)->fs_sync(fs), __func__, NULL);
}

int lh_fs_ping(struct lh_fs *fs)
{
	int err = api_fs(fs, __func__);

	if (err || !fs_be(fs)->fs_ping)
		return err;
	return (int)api_result(fs_be(fs)->fs_ping(fs), __func__, NULL);
}

bool lh_fs_is_remote(const struct lh_fs *fs)
{
	return fs && strcmp(fs_be(fs)->name, "client") == 0;
}

int lh_fs_stat(struct lh_fs *fs, struct lh_statfs *out)
{
	int err = api_fs(fs, __func__);

	if (!err)
		err = api_room(out, sizeof(*out), "lh_statfs", __func__);
	if (err)
		return err;
	return (int)api_result(fs_be(fs)->fs_stat(fs, out), __func__, NULL);
}

void lh_fs_set_nowait(struct lh_fs *fs, bool nowait)
{
	if (fs)
		fs_be(fs)->fs_set_nowait(fs, nowait);
}

int lh_fs_leases(struct lh_fs *fs, const char *path, void (*each)(void *ctx, const struct lh_lease_info *info),
		 void *ctx)
{
	int err = api_fs(fs, __func__);

	if (!err && !each)
		err = fail(-EINVAL, "%s: each is NULL", __func__);
	if (!err && path)
		err = api_path(path, __func__);
	if (err)
		return err;
	return (int)api_result(fs_be(fs)->fs_leases(fs, path, each, ctx), __func__, path);
}

int lh_fs_revoke(struct lh_fs *fs, const struct lh_revoke_filter *filter)
{
	struct lh_revoke_filter f;
	int err = api_fs(fs, __func__);

	if (!err)
		err = api_take(&f, sizeof(f), filter, "lh_revoke_filter");
	if (!err && f.path)
		err = api_path(f.path, __func__);
	if (err)
		return err;
	if (!f.by_uid && !f.number && !f.session && !f.path)
		return fail(-EINVAL, "%s: name a lease, a session, a file or a uid; revoking everything is not meant",
			    __func__);
	return (int)api_result(fs_be(fs)->fs_revoke(fs, &f), __func__, f.path);
}

int lh_fs_lease_stats(struct lh_fs *fs, struct lh_lease_stats *out)
{
	int err = api_fs(fs, __func__);

	if (!err)
		err = api_room(out, sizeof(*out), "lh_lease_stats", __func__);
	if (err)
		return err;
	return (int)api_result(fs_be(fs)->fs_lease_stats(fs, out), __func__, NULL);
}

int lh_fs_trace(struct lh_fs *fs, uint64_t *cursor, struct lh_trace *out, unsigned max)
{
	int err = api_fs(fs, __func__);

	if (!err)
		err = api_given(cursor, "cursor", __func__);
	if (!err && max)
		err = api_given(out, "out", __func__);
	if (err)
		return err;
	return (int)api_result(fs_be(fs)->fs_trace(fs, cursor, out, max), __func__, NULL);
}
