/* SPDX-License-Identifier: BSD-2-Clause */
/* The offline calls on pools. */
#include "local/local.h"

#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "base/error.h"
#include "tools/tools.h"

int local_pool_make(const char *path, struct lh_make_options *opt)
{
	struct fs_format_options format = {.root_uid = geteuid(), .root_gid = getegid(), .root_mode = opt->mode};
	struct pool_create_args args = {.path = path, .size = opt->pool_size, .overwrite = opt->overwrite};
	struct pool *pool;
	int err;

	if (strncmp(path, "mem:", 4) == 0)
		return fail(-EINVAL, "%s: a pool in memory ends with its process; open it, it needs no making", path);
	err = pool_create(&args, &pool);
	if (err)
		return err;
	err = fs_format(pool, &format);
	if (!err) {
		snprintf(opt->class_out, sizeof(opt->class_out), "%s", pool_class_name(pool->class));
		snprintf(opt->kind_out, sizeof(opt->kind_out), "%s", pool_kind_name(pool->kind));
		opt->pool_size_out = pool->size;
	}
	pool_close(pool);
	return err;
}

int local_pool_check(const char *path, FILE *out, bool json)
{
	unsigned findings = 0;
	int err;

	err = tool_fsck(path, out, json, &findings);
	if (err)
		return err;
	return findings > INT_MAX ? INT_MAX : (int)findings;
}

int local_pool_repair(const char *path, FILE *out, bool json)
{
	unsigned findings = 0;
	int err;

	err = tool_repair(path, out, json, &findings);
	if (err)
		return err;
	return findings > INT_MAX ? INT_MAX : (int)findings;
}

int local_pool_dump(const char *path, FILE *out, bool json)
{
	return tool_dump(path, out, json);
}
