/* SPDX-License-Identifier: BSD-2-Clause */
#include "look.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/error.h"
#include "tools/tools.h"

#define MADE_LATER_NS 1750000000000000000ll /* the seed's times are before */
#define DEPTH_MAX     64u
#define READ_MAX      ((uint64_t)64 << 10)
#define NAMES_MAX     65536u
#define WALK_BUDGET   4096u /* names; a fuzzer finds pools with more */

static const struct fs_caller root = {0};

struct look {
	struct fs *fs;
	uint64_t digest;
	unsigned left;
};

static uint64_t mix(uint64_t h, const void *p, size_t len)
{
	const uint8_t *b = p;

	for (size_t i = 0; i < len; i++)
		h = (h ^ b[i]) * 0x100000001b3ull;
	return h;
}

static uint64_t mix_u64(uint64_t h, uint64_t v)
{
	return mix(h, &v, sizeof(v));
}

/* What repair makes has the time of the repair. */
static uint64_t stamp(int64_t ns)
{
	return ns > MADE_LATER_NS ? 0 : (uint64_t)ns;
}

static bool mix_extent(void *ctx, const struct fs_run *run, unsigned flags)
{
	uint64_t *h = ctx;

	(void)flags; /* sharing follows from the runs */
	*h = mix_u64(mix_u64(mix_u64(*h, run->file_off), run->len), run->pool_off);
	return true;
}

static uint64_t look_file(struct look *l, const char *path, const struct fs_attr *a)
{
	static uint8_t buf[READ_MAX];
	struct fs_handle *h;
	uint64_t digest = 3;
	ssize_t n;

	if (fs_open(l->fs, &root, path, O_RDONLY, 0, &h) != 0)
		return 7;
	n = fs_read(h, &root, buf, sizeof(buf), 0);
	digest = mix(digest, buf, n > 0 ? (size_t)n : 0);
	if (a->size > READ_MAX) {
		n = fs_read(h, &root, buf, sizeof(buf), a->size - READ_MAX);
		digest = mix(digest, buf, n > 0 ? (size_t)n : 0);
	}
	fs_extents(h, 0, UINT64_MAX, mix_extent, &digest);
	fs_close(h, NULL, 0);
	return digest;
}

static uint64_t look_xattrs(struct look *l, const char *path)
{
	static char names[NAMES_MAX + 1], value[NAMES_MAX + 1];
	ssize_t n = fs_xattr_list(l->fs, &root, path, false, names, NAMES_MAX);
	uint64_t digest = 0;

	for (ssize_t at = 0; at < n; at += (ssize_t)strlen(names + at) + 1) {
		ssize_t len = fs_xattr_get(l->fs, &root, path, false, names + at, value, NAMES_MAX);

		digest ^= mix(mix(11, names + at, strlen(names + at)), value, len > 0 ? (size_t)len : 0);
	}
	return digest;
}

static void look_path(struct look *l, char *path, unsigned depth);

struct names {
	char *list;
	size_t len, room;
};

static bool name_add(void *ctx, const struct fs_dirent *d)
{
	struct names *n = ctx;

	if (n->len + d->name_len + 1 > n->room) {
		n->room = n->room * 2 + d->name_len + 256;
		n->list = realloc(n->list, n->room);
		if (n->list == NULL)
			abort();
	}
	memcpy(n->list + n->len, d->name, d->name_len);
	n->list[n->len + d->name_len] = '\0';
	n->len += d->name_len + 1;
	return true;
}

static void look_dir(struct look *l, char *path, unsigned depth)
{
	struct names n = {0};
	size_t end = strlen(path);
	struct fs_handle *h;

	if (depth == DEPTH_MAX || fs_open(l->fs, &root, path, O_RDONLY | O_DIRECTORY, 0, &h) != 0)
		return;
	fs_readdir(h, &root, 0, name_add, &n);
	fs_close(h, NULL, 0);
	for (size_t at = 0; at < n.len && l->left > 0; at += strlen(n.list + at) + 1) {
		if (end + strlen(n.list + at) + 2 > 4096)
			continue;
		path[end] = '/';
		strcpy(path + end + 1, n.list + at);
		l->left--;
		look_path(l, path, depth + 1);
	}
	path[end] = '\0';
	free(n.list);
}

static void look_path(struct look *l, char *path, unsigned depth)
{
	const char *name = path[0] != '\0' ? path : "/";
	char target[4097];
	struct fs_attr a;
	uint64_t h = mix(1, name, strlen(name));
	ssize_t n;

	if (fs_stat(l->fs, &root, name, false, &a) != 0) {
		l->digest ^= mix(13, name, strlen(name));
		return;
	}
	h = mix_u64(mix_u64(mix_u64(mix_u64(h, a.ino), a.mode), a.nlink), a.uid);
	h = mix_u64(mix_u64(mix_u64(mix_u64(h, a.gid), a.size), a.blocks), a.rdev);
	h = mix_u64(mix_u64(mix_u64(h, stamp(a.mtime_ns)), stamp(a.ctime_ns)), stamp(a.btime_ns));
	h = mix_u64(mix_u64(mix_u64(h, a.flags), a.tree), look_xattrs(l, name));
	if ((a.mode & S_IFMT) == S_IFREG)
		h = mix_u64(h, look_file(l, name, &a));
	if ((a.mode & S_IFMT) == S_IFLNK) {
		n = fs_readlink(l->fs, &root, name, target, sizeof(target));
		h = mix(h, target, n > 0 ? (size_t)n : 0);
	}
	l->digest ^= h;
	if ((a.mode & S_IFMT) == S_IFDIR)
		look_dir(l, path, depth);
}

int look_mount(struct pool *pool, bool writable, uint64_t *digest)
{
	const struct fs_mount_options opt = {
	    .read_only = !writable, .no_checkpoint_thread = true, .lease = {.no_timer_thread = true}};
	char *path = calloc(1, 8192);
	struct look l = {.left = WALK_BUDGET};
	int err = fs_mount(pool, &opt, &l.fs);

	if (err == 0) {
		look_path(&l, path, 0);
		if (writable)
			err = fs_unmount(l.fs);
		else
			fs_abandon(l.fs);
	}
	free(path);
	*digest = l.digest;
	return err;
}

static int run_tool(struct pool *pool, char **text, int (*tool)(struct pool *, FILE *, bool, unsigned *))
{
	char *buf = NULL;
	size_t size;
	FILE *out = open_memstream(&buf, &size);
	unsigned findings = 0;
	int err;

	if (out == NULL)
		abort();
	err = tool(pool, out, false, &findings);
	fclose(out);
	if (text != NULL)
		*text = buf;
	else
		free(buf);
	return err != 0 ? err : (int)findings;
}

int look_fsck(struct pool *pool, char **text)
{
	return run_tool(pool, text, tool_fsck_pool);
}

int look_repair(struct pool *pool, char **text)
{
	return run_tool(pool, text, tool_repair_pool);
}

/* A store to the pool is a crash then. */
static void protect(struct pool *pool, bool on)
{
	if (mprotect(pool->base, pool->size, on ? PROT_READ : PROT_READ | PROT_WRITE) != 0)
		abort();
}

static void broken(const char *what, const char *promise, int have, const char *text)
{
	fprintf(stderr, "%s: %s (%d): %s\n%s\n", what, promise, have, fail_text(), text != NULL ? text : "");
	abort();
}

/* Findings that mount does not mind. */
static bool only_harmless(const char *text, int findings)
{
	int harmless = 0;

	for (const char *p = text; (p = strstr(p, "format ")) != NULL; p++)
		harmless += (p == text || p[-1] == '\n') && strncmp(p + 7, "2.2a", 4) == 0;
	return harmless == findings;
}

void look_promises(struct pool *pool, const char *what)
{
	uint64_t digest, repaired;
	char *text, *said = NULL;
	int findings, mounted, err;
	bool sound;

	protect(pool, true);
	findings = look_fsck(pool, &text);
	mounted = look_mount(pool, false, &digest);
	if (findings == 0 && mounted != 0)
		broken(what, "no findings, but it does not mount", mounted, text);
	sound = findings == 0 || (findings > 0 && only_harmless(text, findings));
	/* To be read it may mount as it was before the damage (format 5.4), but a mount that would write is refused. */
	if (!sound && look_mount(pool, true, &repaired) == 0)
		broken(what, "findings, but it mounts", findings, text);
	/* Repair does not store to a sound pool. */
	protect(pool, findings == 0);
	err = look_repair(pool, &said);
	if (findings >= 0 && err != findings && err != -EROFS && err != -EOVERFLOW)
		broken(what, "repair failed", err, said);
	if (err > 0) {
		free(text);
		protect(pool, true);
		findings = look_fsck(pool, &text);
		if (findings != 0)
			broken(what, "findings after the repair", findings, text);
		if (look_repair(pool, NULL) != 0)
			broken(what, "the second repair found something", 0, said);
		protect(pool, false);
		err = look_mount(pool, true, &repaired);
		if (err != 0)
			broken(what, "what was repaired does not mount", err, said);
		if (sound && repaired != digest)
			broken(what, "the repair changed what was sound", 0, said);
		findings = look_fsck(pool, NULL);
		if (findings != 0)
			broken(what, "findings after repair, mount and unmount", findings, said);
	}
	protect(pool, false);
	free(text);
	free(said);
}
