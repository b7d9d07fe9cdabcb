/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is behind a descriptor: the mount says its server's address in an attribute, and the kernel says where the file
 * is: /proc/self/fd has the path that this process sees, statx(2) the mount that it was opened in, and
 * /proc/self/mountinfo which part of the filesystem that mount shows, and where.
 *
 * Whoever may mount FUSE can answer the attribute, so what it says is checked like a peer's bytes, and only addresses
 * of servers are taken: never the path of a pool, which this process would open by itself.
 */
#include "api/mounted.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"

#define PROC_FD_MAX 40u /* "/proc/self/fd/2147483647" */

/* --- the attribute --- */

/* An O_PATH descriptor has no attributes of its own; by its name in /proc it has. */
static ssize_t attribute(int fd, int flags, const char *name, void *value, size_t size)
{
	char proc[PROC_FD_MAX];
	ssize_t n;

	if (flags & O_PATH) {
		snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
		n = getxattr(proc, name, value, size);
	} else {
		n = fgetxattr(fd, name, value, size);
	}
	return n < 0 ? -errno : n;
}

static bool is_server(const char *address)
{
	return strncmp(address, "unix:", 5) == 0 || strncmp(address, "tcp:", 4) == 0;
}

int mounted_place(int fd, struct mounted_place *out)
{
	int flags = fcntl(fd, F_GETFL);
	ssize_t n;

	memset(out, 0, sizeof(*out));
	if (flags < 0)
		return fail(-EBADF, "descriptor %d is not open", fd);
	n = attribute(fd, flags, MOUNTED_ADDRESS, out->address, sizeof(out->address) - 1);
	if (n == -ENODATA || n == -EOPNOTSUPP)
		return fail(-ENOTTY, "not a file in a mount of Leasehold");
	if (n == -ENOTCONN)
		return fail(-ENOTCONN, "the process that served this mount has gone; unmount it (fusermount3 -u)");
	if (n < 0)
		return fail((int)n, "cannot ask the mount for its server: %s", strerror((int)-n));
	if (n == 0)
		return fail(-EOPNOTSUPP, "nothing serves the pool behind this mount to others; mount it with --listen");
	if (strlen(out->address) != (size_t)n || !is_server(out->address))
		return fail(-EPROTO, "the mount gives no server's address, unix:PATH or tcp:HOST:PORT");
	n = attribute(fd, flags, MOUNTED_UUID, out->uuid, sizeof(out->uuid));
	if (n < 0 && n != -ENODATA && n != -EOPNOTSUPP)
		return fail((int)n, "cannot ask the mount which filesystem it is: %s", strerror((int)-n));
	out->uuid_known = n == sizeof(out->uuid);
	return 0;
}

/* --- the path --- */

/* In place: mountinfo writes blanks, tabs, newlines, backslashes and # as \ooo. */
static void unescape(char *s)
{
	char *to = s;

	while (*s) {
		bool octal = s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' && s[3] >= '0' &&
			     s[3] <= '7';

		if (octal) {
			*to++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 4;
		} else {
			*to++ = *s++;
		}
	}
	*to = '\0';
}

/*
 * "36 35 0:44 /root /mount/point rw,noatime ... - fuse.leasehold ...": whether it is the mount's; root and point are
 * inside the line then.
 */
static bool line_is(char *line, uint64_t id, char **root, char **point)
{
	char *rest = line, *field[5];
	char *end;

	for (unsigned i = 0; i < 5; i++) {
		field[i] = strsep(&rest, " ");
		if (!field[i] || !rest)
			return false;
	}
	if (strtoull(field[0], &end, 10) != id || *end != '\0' || end == field[0])
		return false;
	unescape(field[3]);
	unescape(field[4]);
	*root = field[3];
	*point = field[4];
	return **root == '/' && **point == '/';
}

/* What of `seen` is below the mount point: "" or "/...". NULL: it is not. */
static const char *below(const char *seen, const char *point)
{
	size_t n = strlen(point);

	if (strcmp(point, "/") == 0)
		return seen;
	if (strncmp(seen, point, n) != 0 || (seen[n] != '/' && seen[n] != '\0'))
		return NULL;
	return seen + n;
}

int mounted_inside(FILE *mountinfo, uint64_t id, const char *seen, char *out, size_t size)
{
	char *root = NULL, *point = NULL;
	scoped_free char *line = NULL;
	const char *rest;
	size_t room = 0;
	bool found = false;
	int n;

	while (!found && getline(&line, &room, mountinfo) > 0)
		found = line_is(line, id, &root, &point);
	if (!found)
		return fail(-ENOENT, "the file is in a mount that this process does not see");
	rest = below(seen, point);
	if (!rest)
		return fail(-ENOENT, "%s is not below its mount point %s", seen, point);
	if (strcmp(root, "/") == 0)
		root = rest[0] ? "" : root;
	else if (strcmp(rest, "/") == 0)
		rest = "";
	n = snprintf(out, size, "%s%s", root, rest);
	if (n < 0 || (size_t)n >= size)
		return fail(-ENAMETOOLONG, "the path inside the mount is longer than %zu bytes", size - 1);
	return 0;
}

int mounted_path(int fd, char *out, size_t size)
{
	char proc[PROC_FD_MAX], seen[MOUNTED_PATH_MAX];
	struct statx stx;
	FILE *table;
	ssize_t n;
	int err;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &stx))
		return fail(-errno, "statx: %s", strerror(errno));
	if (!(stx.stx_mask & STATX_MNT_ID))
		return fail(-ENOSYS, "this kernel does not tell mounts from each other (Linux 5.8 does)");
	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	n = readlink(proc, seen, sizeof(seen) - 1);
	if (n < 0)
		return fail(-errno, "%s: %s; is /proc mounted?", proc, strerror(errno));
	seen[n] = '\0';
	if (seen[0] != '/')
		return fail(-ENOENT, "the file is not below this process's root directory");
	table = fopen("/proc/self/mountinfo", "re");
	if (!table)
		return fail(-errno, "/proc/self/mountinfo: %s", strerror(errno));
	err = mounted_inside(table, stx.stx_mnt_id, seen, out, size);
	fclose(table);
	return err;
}
