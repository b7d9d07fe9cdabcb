/* SPDX-License-Identifier: BSD-2-Clause */
/* The offline calls on pools: make, check, repair, dump. */
#include "api/check.h"

#include <string.h>

int lh_pool_make(const char *path, struct lh_make_options *opt)
{
	struct lh_make_options o;
	int err;

	fail_clear();
	err = api_path(path, __func__);
	if (!err)
		err = api_take(&o, sizeof(o), opt, "lh_make_options");
	if (!err)
		err = api_mode(o.mode, __func__);
	if (err)
		return err;
	if (o.pool_size && (o.pool_size < API_POOL_MIN || o.pool_size > API_POOL_MAX))
		return fail(-EINVAL, "%s %s: %llu bytes: a pool has 16 MiB to 16 TiB", __func__, path,
			    (unsigned long long)o.pool_size);
	err = (int)api_result(local_pool_make(path, &o), __func__, path);
	if (!err && opt) {
		memcpy(opt->class_out, o.class_out, sizeof(opt->class_out));
		memcpy(opt->kind_out, o.kind_out, sizeof(opt->kind_out));
		opt->pool_size_out = o.pool_size_out;
	}
	return err;
}

/* The three calls that look at a pool offline differ in one thing. */
static int offline(const char *call, int (*look)(const char *path, FILE *out, bool json), const char *path, FILE *out,
		   bool json)
{
	int err;

	fail_clear();
	err = api_path(path, call);
	if (!err)
		err = api_given(out, "out", call);
	if (err)
		return err;
	return (int)api_result(look(path, out, json), call, path);
}

int lh_pool_check(const char *path, FILE *out, bool json)
{
	return offline(__func__, local_pool_check, path, out, json);
}

int lh_pool_repair(const char *path, FILE *out, bool json)
{
	return offline(__func__, local_pool_repair, path, out, json);
}

int lh_pool_dump(const char *path, FILE *out, bool json)
{
	return offline(__func__, local_pool_dump, path, out, json);
}
