/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Operands in a mount: when no pool is named, paths that lie in a mount of Leasehold name it themselves. They are
 * replaced by the paths inside, and the mount's server becomes the pool, before the verb sees them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cli.h"

static const char *first; /* the operand that named the pool */

/* A verb that works on symbolic links themselves must not have them followed: its directory is asked for, then. */
static int link_at(const char *path, struct lh_mounted *out)
{
	const char *base = cli_base_name(path);
	struct stat st;
	size_t n;
	char *dir;
	int err;

	if (base[0] == '\0' || lstat(path, &st) != 0 || !S_ISLNK(st.st_mode))
		return lh_mounted_at(path, out);
	dir = base > path ? strndup(path, (size_t)(base - path)) : strdup(".");
	err = dir ? lh_mounted_at(dir, out) : -ENOMEM;
	free(dir);
	/* A link that leads into a mount from outside. */
	if (err == -ENOTTY)
		return lh_mounted_at(path, out);
	n = strlen(out->path);
	if (!err && n + 1 + strlen(base) >= sizeof(out->path))
		return -ENAMETOOLONG;
	if (!err)
		sprintf(out->path + n, "%s%s", n > 1 ? "/" : "", base);
	return err;
}

char *cli_mounted_path(const struct cli_verb *v, char *path)
{
	struct lh_mounted m = {.size = sizeof(m)};
	int err = v->links ? link_at(path, &m) : lh_mounted_at(path, &m);
	char *inside, *address;

	if ((err == -ENOTTY || err == -ENOENT) && !first)
		return path; /* if nobody else names a pool, that is what is missing */
	if (err == -ENOTTY)
		exit(cli_fail("%s is not in the filesystem that %s is in", path, first));
	if (err)
		exit(cli_error(err, "%s", path));
	address = strdup(m.address);
	inside = strdup(m.path);
	if (!address || !inside)
		exit(cli_fail("out of memory"));
	if (!first)
		cli_set_pool(address);
	else if (strcmp(cli_pool(), address) != 0)
		exit(cli_fail("%s and %s are in different filesystems", first, path));
	first = first ? first : path;
	return inside;
}

/* Whether operand i of n is a path inside the filesystem. */
static bool is_path(enum cli_paths which, int i, int n)
{
	switch (which) {
	case PATHS_NONE:
		return false;
	case PATHS_ALL:
		return true;
	case PATHS_FIRST:
		return i == 0;
	case PATHS_SECOND:
		return i == 1;
	case PATHS_AFTER_FIRST:
		return i > 0;
	case PATHS_LAST:
		return i == n - 1;
	case PATHS_BUT_LAST:
		return i < n - 1;
	}
	return false;
}

void cli_mounted_operands(const struct cli_verb *v, char **operands, int count)
{
	char *outside = NULL;

	for (int i = 0; i < count; i++) {
		char *before = operands[i];

		if (!is_path(v->paths, i, count))
			continue;
		operands[i] = cli_mounted_path(v, before);
		if (operands[i] == before)
			outside = before;
	}
	if (outside && first)
		exit(cli_fail("%s is not in the filesystem that %s is in", outside, first));
}

const char *cli_mounted_pool(const char *where)
{
	static struct lh_mounted m = {.size = sizeof(m)};
	struct stat st;

	if (stat(where, &st) == 0 && S_ISDIR(st.st_mode) && lh_mounted_at(where, &m) == 0)
		return m.address;
	return where;
}
