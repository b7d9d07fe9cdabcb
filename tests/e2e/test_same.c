/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Goal: one header, both backends: whatever a program calls, a server gives the answer that a pool of its own gives
 * (L37; docs/protocol.md 4). The same list of calls runs on two fresh pools, one in this process and one behind the
 * server; every result, every byte that came back and every error is written down, and the two papers are compared.
 */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define POOL "mem:64M"
#define WIDE 65536u /* of an attribute's value */

static struct rig rig;

/* What happened, a line a call. */
struct paper {
	FILE *out;
	char *text;
	size_t len;
	struct lh_fs *fs;
};

static void say(struct paper *p, const char *what, int64_t result)
{
	if (result < 0)
		fprintf(p->out, "%s: %s\n", what, strerrorname_np((int)-result));
	else
		fprintf(p->out, "%s: %lld\n", what, (long long)result);
}
#define SAY(call) say(p, #call, (int64_t)(call))

static void say_bytes(struct paper *p, const char *what, const void *bytes, size_t len)
{
	uint64_t sum = 14695981039346656037u;

	for (size_t i = 0; i < len; i++)
		sum = (sum ^ ((const uint8_t *)bytes)[i]) * 1099511628211u;
	fprintf(p->out, "  %s: %zu bytes, sum %016llx\n", what, len, (unsigned long long)sum);
}

/* Everything but times, which no two runs share. */
static void say_stat(struct paper *p, const char *path, bool follow)
{
	struct lh_stat st = {.size_of = sizeof(st)};
	int err = lh_path_stat(p->fs, path, follow, &st);

	say(p, path, err);
	if (!err)
		fprintf(p->out, "  mode %o ino %llu nlink %u %u:%u size %llu blocks %llu rdev %llx flags %u tree %u\n",
			st.mode, (unsigned long long)st.ino, st.nlink, st.uid, st.gid, (unsigned long long)st.size,
			(unsigned long long)st.blocks, (unsigned long long)st.rdev, st.flags, st.tree);
}

static void say_content(struct paper *p, struct lh_file *f)
{
	struct lh_stat st = {.size_of = sizeof(st)};
	uint8_t *buf;
	ssize_t n;

	SAY(lh_file_stat(f, &st));
	buf = malloc(st.size + 1);
	n = lh_file_read(f, buf, st.size + 1, 0);
	say(p, "content", n);
	say_bytes(p, "content", buf, n > 0 ? (size_t)n : 0);
	free(buf);
}

/* Where in the pool is told in process only, and how many pieces lie there is chance: neighbours of one kind are one.
 */
static void say_extents(struct paper *p, struct lh_file *f)
{
	struct lh_extent e[64], one = {0};
	int n = lh_file_extents(f, 0, INT64_MAX, e, 64);

	say(p, "extents", n < 0 ? n : 0);
	for (int i = 0; i <= n; i++) {
		bool goes_on = i < n && one.len && e[i].file_off == one.file_off + one.len && e[i].flags == one.flags;

		if (goes_on) {
			one.len += e[i].len;
			continue;
		}
		if (one.len)
			fprintf(p->out, "  %llu+%llu %u\n", (unsigned long long)one.file_off,
				(unsigned long long)one.len, one.flags);
		if (i < n)
			one = e[i];
	}
}

static void say_map(struct paper *p, struct lh_file *f)
{
	int64_t at = 0;

	for (unsigned i = 0; i < 20 && at >= 0; i++) {
		at = lh_file_seek(f, (uint64_t)at, i % 2 ? SEEK_HOLE : SEEK_DATA);
		say(p, i % 2 ? "hole" : "data", at);
	}
}

static struct lh_file *open_file(struct paper *p, const char *path, int flags)
{
	struct lh_file *f = NULL;

	say(p, path, lh_file_open(p->fs, path, flags, 0644, &f));
	return f;
}

static struct lh_file *filled(struct paper *p, const char *path, size_t size, unsigned seed)
{
	struct lh_file *f = open_file(p, path, O_RDWR | O_CREAT | O_TRUNC);
	uint8_t *buf = malloc(size);

	assert_non_null(f);
	rig_fill(buf, size, seed, 0);
	SAY(lh_file_write(f, buf, size, 0));
	free(buf);
	return f;
}

/* Lists have no order that anybody promised. */
struct list {
	struct paper *p;
	unsigned count;
	char *lines[1024];
};

__attribute__((format(printf, 2, 3))) static void list_add(struct list *l, const char *fmt, ...)
{
	va_list ap;

	assert_true(l->count < 1024);
	va_start(ap, fmt);
	assert_true(vasprintf(&l->lines[l->count++], fmt, ap) >= 0);
	va_end(ap);
}

static int line_compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void list_end(struct list *l)
{
	qsort(l->lines, l->count, sizeof(l->lines[0]), line_compare);
	for (unsigned i = 0; i < l->count; i++) {
		fprintf(l->p->out, "  %s\n", l->lines[i]);
		free(l->lines[i]);
	}
	l->count = 0;
}

/* --- the list --- */

static void names(struct paper *p)
{
	struct lh_fs *fs = p->fs;
	char target[64] = "";

	SAY(lh_path_mkdir(fs, "/n", 0755));
	SAY(lh_path_mkdir(fs, "/n", 0755));
	SAY(lh_path_mkdir(fs, "/no/where", 0755));
	SAY(lh_file_close(filled(p, "/n/f", 5000, 1)));
	SAY(lh_path_link(fs, "/n/f", "/n/g"));
	SAY(lh_path_link(fs, "/n", "/n2"));
	SAY(lh_path_symlink(fs, "f", "/n/s"));
	SAY(lh_path_readlink(fs, "/n/s", target, sizeof(target)));
	SAY(lh_path_readlink(fs, "/n/f", target, sizeof(target)));
	SAY(lh_path_rename(fs, "/n/g", "/n/h", 0));
	SAY(lh_path_rename(fs, "/n/h", "/n/f", LH_RENAME_NOREPLACE));
	SAY(lh_path_rename(fs, "/n/h", "/n/s", LH_RENAME_EXCHANGE));
	SAY(lh_path_chmod(fs, "/n/f", 04711));
	SAY(lh_path_chown(fs, "/n/h", 7, 8));
	SAY(lh_path_lchown(fs, "/n/h", 9, UINT32_MAX));
	SAY(lh_path_set_times(fs, "/n/f", true, 1000, 2000));
	say_stat(p, "/n/f", true);
	say_stat(p, "/n/h", false);
	say_stat(p, "/n/h", true);
	SAY(lh_path_rmdir(fs, "/n"));
	SAY(lh_path_unlink(fs, "/n/s"));
	SAY(lh_path_unlink(fs, "/n/s"));
	say_stat(p, "/n/f", false);
}

static void special_files(struct paper *p)
{
	struct lh_fs *fs = p->fs;
	struct lh_file *f = NULL;

	SAY(lh_path_mkdir(fs, "/dev", 0755));
	SAY(lh_path_mknod(fs, "/dev/pipe", S_IFIFO | 0600, 5));
	SAY(lh_path_mknod(fs, "/dev/sock", S_IFSOCK | 0600, 0));
	SAY(lh_path_mknod(fs, "/dev/null", S_IFCHR | 0666, makedev(1, 3)));
	SAY(lh_path_mknod(fs, "/dev/disk", S_IFBLK | 0660, makedev(259, 70000)));
	SAY(lh_path_mknod(fs, "/dev/file", 0640, 0));
	SAY(lh_path_mknod(fs, "/dev/file", S_IFREG | 0640, 0));
	SAY(lh_path_mknod(fs, "/dev/dir", S_IFDIR | 0640, 0));
	SAY(lh_path_mknod(fs, "/dev/link", S_IFLNK | 0640, 0));
	SAY(lh_path_mknod(fs, "/dev/wrong", 0x80000000u, 0));
	SAY(lh_file_open(fs, "/dev/pipe", O_RDONLY, 0, &f));
	SAY(lh_file_open(fs, "/dev/null", O_RDWR, 0, &f));
	SAY(lh_file_open(fs, "/dev", O_RDONLY, 0, &f));
	say_stat(p, "/dev/pipe", true);
	say_stat(p, "/dev/sock", true);
	say_stat(p, "/dev/null", true);
	say_stat(p, "/dev/disk", true);
	say_stat(p, "/dev/file", true);
}

static void directories(struct paper *p)
{
	struct lh_dirent e;
	struct lh_dir *dir = NULL;
	char path[64];

	SAY(lh_path_mkdir(p->fs, "/d", 0755));
	for (unsigned i = 0; i < 300; i++) {
		snprintf(path, sizeof(path), "/d/entry%u", i);
		assert_ok(lh_path_mknod(p->fs, path, S_IFREG | 0600, 0));
	}
	SAY(lh_dir_open(p->fs, "/d", &dir));
	while (lh_dir_next(dir, &e) > 0)
		fprintf(p->out, "  %s %u %llu\n", e.name, e.type, (unsigned long long)e.ino);
	lh_dir_seek(dir, 0);
	SAY(lh_dir_next(dir, &e));
	fprintf(p->out, "  again %s\n", e.name);
	lh_dir_close(dir);
}

static void attributes(struct paper *p)
{
	static uint8_t wide[WIDE + 1], back[WIDE + 1];
	struct lh_fs *fs = p->fs;
	char names[512];
	ssize_t n;

	rig_fill(wide, sizeof(wide), 3, 0);
	SAY(lh_file_close(filled(p, "/x", 100, 1)));
	SAY(lh_path_setxattr(fs, "/x", true, "user.a", "one", 3, 0));
	SAY(lh_path_setxattr(fs, "/x", true, "user.a", "two", 3, LH_XATTR_CREATE));
	SAY(lh_path_setxattr(fs, "/x", true, "user.b", "two", 3, LH_XATTR_REPLACE));
	SAY(lh_path_setxattr(fs, "/x", true, "user.b", "", 0, LH_XATTR_CREATE));
	SAY(lh_path_setxattr(fs, "/x", true, "user.wide", wide, WIDE, 0));
	SAY(lh_path_setxattr(fs, "/x", true, "user.wider", wide, WIDE + 1, 0));
	SAY(lh_path_setxattr(fs, "/x", true, "trusted.t", "t", 1, 0));
	SAY(lh_path_setxattr(fs, "/x", true, "security.s", "s", 1, 0));
	SAY(lh_path_setxattr(fs, "/x", true, "strange.s", "s", 1, 0));
	SAY(lh_path_setxattr(fs, "/x", true, "user.", "s", 1, 0));
	SAY(lh_path_setxattr(fs, "/x", true, "", "s", 1, 0));
	SAY(lh_path_setxattr(fs, "/no", true, "user.a", "s", 1, 0));
	SAY(lh_path_getxattr(fs, "/x", true, "user.a", NULL, 0));
	SAY(lh_path_getxattr(fs, "/x", true, "user.a", back, 2));
	SAY(n = lh_path_getxattr(fs, "/x", true, "user.a", back, sizeof(back)));
	say_bytes(p, "user.a", back, n > 0 ? (size_t)n : 0);
	SAY(lh_path_getxattr(fs, "/x", true, "user.b", back, sizeof(back)));
	SAY(lh_path_getxattr(fs, "/x", true, "user.none", back, sizeof(back)));
	SAY(lh_path_getxattr(fs, "/x", true, "user.wide", NULL, 0));
	SAY(n = lh_path_getxattr(fs, "/x", true, "user.wide", back, WIDE));
	say_bytes(p, "user.wide", back, n > 0 ? (size_t)n : 0);
	SAY(lh_path_listxattr(fs, "/x", true, NULL, 0));
	SAY(lh_path_listxattr(fs, "/x", true, names, 3));
	SAY(n = lh_path_listxattr(fs, "/x", true, names, sizeof(names)));
	say_bytes(p, "names", names, n > 0 ? (size_t)n : 0);
	SAY(lh_path_removexattr(fs, "/x", true, "user.a"));
	SAY(lh_path_removexattr(fs, "/x", true, "user.a"));
	SAY(lh_path_symlink(fs, "x", "/xl"));
	SAY(lh_path_setxattr(fs, "/xl", false, "user.a", "s", 1, 0));
	SAY(lh_path_setxattr(fs, "/xl", false, "trusted.a", "s", 1, 0));
	SAY(lh_path_listxattr(fs, "/xl", false, names, sizeof(names)));
	SAY(lh_path_listxattr(fs, "/xl", true, names, sizeof(names)));
}

/* The kernel's binary form: version 2; tag, permissions, id. */
static void access_lists(struct paper *p)
{
	static const uint8_t acl[] = {2, 0,    0,    0,    1,    0,    6,  0, 0xff, 0xff, 0xff, 0xff, 2,    0,   4,
				      0, 0xe8, 3,    0,    0,    4,    0,  4, 0,    0xff, 0xff, 0xff, 0xff, 16,  0,
				      4, 0,    0xff, 0xff, 0xff, 0xff, 32, 0, 0,    0,    0xff, 0xff, 0xff, 0xff};
	struct lh_fs *fs = p->fs;
	uint8_t back[128];
	ssize_t n;

	SAY(lh_file_close(filled(p, "/acl", 100, 1)));
	SAY(lh_path_setxattr(fs, "/acl", true, "system.posix_acl_access", acl, sizeof(acl), 0));
	SAY(lh_path_setxattr(fs, "/acl", true, "system.posix_acl_access", acl, sizeof(acl) - 1, 0));
	SAY(lh_path_setxattr(fs, "/acl", true, "system.posix_acl_default", acl, sizeof(acl), 0));
	say_stat(p, "/acl", true);
	SAY(n = lh_path_getxattr(fs, "/acl", true, "system.posix_acl_access", back, sizeof(back)));
	say_bytes(p, "acl", back, n > 0 ? (size_t)n : 0);
	SAY(lh_path_removexattr(fs, "/acl", true, "system.posix_acl_access"));
	SAY(lh_path_mkdir(fs, "/acld", 0755));
	SAY(lh_path_setxattr(fs, "/acld", true, "system.posix_acl_default", acl, sizeof(acl), 0));
	SAY(lh_path_mkdir(fs, "/acld/in", 0777));
	SAY(lh_path_getxattr(fs, "/acld/in", true, "system.posix_acl_access", back, sizeof(back)));
	say_stat(p, "/acld/in", true);
}

static void by_handle(struct paper *p)
{
	struct lh_stat st = {.size_of = sizeof(st)};
	struct lh_file *f, *ro;

	f = filled(p, "/h", 3000, 4);
	ro = open_file(p, "/h", O_RDONLY);
	SAY(lh_file_chmod(f, 0600));
	SAY(lh_file_chmod(f, 010000));
	SAY(lh_file_chown(f, 11, UINT32_MAX));
	SAY(lh_file_chown(f, UINT32_MAX, 12));
	SAY(lh_file_set_times(f, INT64_MAX, 123456789));
	SAY(lh_file_stat(f, &st));
	fprintf(p->out, "  mtime %lld\n", (long long)st.mtime_ns);
	SAY(lh_file_link(f, "/h2"));
	SAY(lh_file_link(f, "/h2"));
	say_stat(p, "/h2", false);
	SAY(lh_path_unlink(p->fs, "/h2"));
	SAY(lh_path_unlink(p->fs, "/h"));
	SAY(lh_file_link(f, "/h3"));
	SAY(lh_file_write(ro, "x", 1, 0));
	SAY(lh_file_truncate(ro, 0));
	SAY(lh_file_fallocate(ro, 0, 0, 4096));
	SAY(lh_file_read(ro, &st, 10, INT64_MAX - 10));
	SAY(lh_file_sync(f));
	SAY(lh_file_close(ro));
	SAY(lh_file_close(f));
	SAY(lh_fs_sync(p->fs));
}

static void nameless(struct paper *p)
{
	struct lh_file *f = NULL;

	SAY(lh_path_mkdir(p->fs, "/t", 0755));
	SAY(lh_file_open(p->fs, "/t", O_TMPFILE | O_RDONLY, 0600, &f));
	f = open_file(p, "/t", O_TMPFILE | O_RDWR);
	assert_non_null(f);
	SAY(lh_file_write(f, "nameless", 8, 0));
	SAY(lh_file_link(f, "/t/named"));
	say_stat(p, "/t/named", true);
	SAY(lh_file_close(f));
	f = open_file(p, "/t", O_TMPFILE | O_RDWR | O_EXCL);
	assert_non_null(f);
	SAY(lh_file_link(f, "/t/never"));
	SAY(lh_file_close(f));
	say_stat(p, "/t/never", true);
	SAY(lh_file_open(p->fs, "/t/named", O_TMPFILE | O_RDWR, 0600, &f));
}

static void layouts(struct paper *p)
{
	static const struct {
		int mode;
		uint64_t off, len;
	} changes[] = {{0, 100000, 5000},
		       {FALLOC_FL_KEEP_SIZE, 200000, 5000},
		       {FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 5000, 20000},
		       {FALLOC_FL_PUNCH_HOLE, 0, 4096},
		       {FALLOC_FL_ZERO_RANGE, 30000, 6000},
		       {FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 100000, 60000},
		       {FALLOC_FL_ZERO_RANGE, 100000, 60000},
		       {FALLOC_FL_COLLAPSE_RANGE, 4096, 8192},
		       {FALLOC_FL_COLLAPSE_RANGE, 100, 8192},
		       {FALLOC_FL_COLLAPSE_RANGE, 0, 1 << 20},
		       {FALLOC_FL_INSERT_RANGE, 8192, 12288},
		       {FALLOC_FL_INSERT_RANGE, 8192, 100},
		       {FALLOC_FL_INSERT_RANGE, 1 << 30, 4096},
		       {FALLOC_FL_UNSHARE_RANGE, 0, 65536},
		       {FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_KEEP_SIZE, 0, 4096},
		       {0x4000, 0, 4096},
		       {-1, 0, 4096},
		       {0, INT64_MAX, 4096},
		       {0, 0, 0}};
	struct lh_file *f = filled(p, "/l", 60000, 5);

	for (unsigned i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		fprintf(p->out, "fallocate %x %llu+%llu\n", changes[i].mode, (unsigned long long)changes[i].off,
			(unsigned long long)changes[i].len);
		SAY(lh_file_fallocate(f, changes[i].mode, changes[i].off, changes[i].len));
		say_extents(p, f);
	}
	say_content(p, f);
	say_map(p, f);
	SAY(lh_file_punch(f, 0, 100));
	SAY(lh_file_allocate(f, 0, 8192, true));
	SAY(lh_file_truncate(f, 3));
	SAY(lh_file_truncate(f, UINT64_MAX));
	say_content(p, f);
	SAY(lh_file_seek(f, 3, SEEK_DATA));
	SAY(lh_file_seek(f, 0, SEEK_SET));
	SAY(lh_file_seek(f, UINT64_MAX, SEEK_HOLE));
	SAY(lh_file_close(f));
}

static void two_files(struct paper *p)
{
	struct lh_file *a = filled(p, "/a", 100000, 6);
	struct lh_file *b = filled(p, "/b", 100000, 6);
	struct lh_file *c = filled(p, "/c", 40960, 7);
	struct lh_file *ro = open_file(p, "/a", O_RDONLY);

	SAY(lh_file_clone_range(c, 8192, a, 4096, 8192));
	SAY(lh_file_clone_range(c, 100, a, 4096, 8192));
	say_extents(p, c);
	SAY(lh_file_dedupe_range(b, 0, a, 0, 100000));
	say_extents(p, b);
	SAY(lh_file_dedupe_range(c, 0, a, 0, 4096));
	SAY(lh_file_dedupe_range(b, 1, a, 1, 4096));
	SAY(lh_file_dedupe_range(b, 0, a, 0, 1 << 20));
	SAY(lh_file_dedupe_range(b, INT64_MAX, a, 0, 4096));
	SAY(lh_file_exchange_range(a, 0, c, 4096, 8192));
	SAY(lh_file_exchange_range(a, 0, c, 0, 100));
	SAY(lh_file_exchange_range(a, 0, a, 4096, 8192));
	SAY(lh_file_exchange_range(a, 0, a, 8192, 8192));
	SAY(lh_file_exchange_range(ro, 0, c, 0, 4096));
	say_content(p, a);
	say_content(p, c);
	SAY(lh_file_copy_range(c, 123, a, 77, 30000));
	SAY(lh_file_copy_range(c, 65536, a, 0, SIZE_MAX));
	SAY(lh_file_copy_range(c, 0, a, 100000, 10));
	SAY(lh_file_copy_range(c, 0, a, 200000, 10));
	SAY(lh_file_copy_range(ro, 0, c, 0, 10));
	SAY(lh_file_copy_range(a, 0, a, 100, 1000));
	say_content(p, c);
	say_extents(p, c);
	SAY(lh_file_relocate(c, 0, 8192));
	SAY(lh_file_close(ro));
	SAY(lh_file_close(c));
	SAY(lh_file_close(b));
	SAY(lh_file_close(a));
}

static void one_run(struct paper *p)
{
	struct lh_file *f = open_file(p, "/frag", O_RDWR | O_CREAT);
	struct lh_file *other = open_file(p, "/between", O_RDWR | O_CREAT);
	uint8_t buf[BLOCK];
	uint64_t runs[2] = {0, 0};

	memset(buf, 9, sizeof(buf));
	for (unsigned i = 0; i < 16; i++) {
		assert_ok(lh_file_write(f, buf, BLOCK, i * BLOCK));
		assert_ok(lh_file_write(other, buf, BLOCK, i * BLOCK));
	}
	SAY(lh_file_defragment(f, runs));
	fprintf(p->out, "  %llu runs, fewer: %d\n", (unsigned long long)runs[1], runs[1] <= runs[0]);
	SAY(lh_file_defragment(f, NULL));
	say_content(p, f);
	SAY(lh_file_close(other));
	SAY(lh_file_close(f));
}

static void snapshot_line(void *ctx, const struct lh_snapshot_info *s)
{
	list_add(ctx, "%s ino %llu: %s, %llu inodes, %llu blocks, at %d", s->path, (unsigned long long)s->ino,
		 s->read_only ? "read-only" : "writable", (unsigned long long)s->inodes, (unsigned long long)s->blocks,
		 s->created_ns > 0);
}

static void say_snapshots(struct paper *p)
{
	struct list l = {.p = p};

	SAY(lh_fs_snapshots(p->fs, snapshot_line, &l));
	list_end(&l);
}

static void snapshots(struct paper *p)
{
	struct lh_fs *fs = p->fs;
	struct lh_file *f = NULL;
	char path[64];

	SAY(lh_path_mkdir(fs, "/tree", 0755));
	SAY(lh_path_mkdir(fs, "/tree/sub", 0755));
	SAY(lh_file_close(filled(p, "/tree/sub/f", 20000, 8)));
	say_snapshots(p);
	SAY(lh_fs_snapshot(fs, "/tree", "/ro", LH_SNAPSHOT_READ_ONLY));
	SAY(lh_fs_snapshot(fs, "/tree", "/rw", 0));
	SAY(lh_fs_snapshot(fs, "/tree", "/rw", 0));
	SAY(lh_fs_snapshot(fs, "/tree", "/tree/self", 0));
	SAY(lh_fs_snapshot(fs, "/tree/sub/f", "/file", 0));
	SAY(lh_fs_snapshot(fs, "/tree", "/flags", 2));
	SAY(lh_file_open(fs, "/ro/sub/f", O_RDWR, 0, &f));
	SAY(lh_path_unlink(fs, "/ro/sub/f"));
	SAY(lh_path_mkdir(fs, "/ro/new", 0755));
	SAY(lh_path_unlink(fs, "/rw/sub/f"));
	say_stat(p, "/ro", true);
	say_stat(p, "/ro/sub/f", true);
	say_stat(p, "/rw/sub/f", true);
	say_stat(p, "/tree/sub/f", true);
	/* More than one message carries. */
	for (unsigned i = 0; i < 70; i++) {
		snprintf(path, sizeof(path), "/shot%u", i);
		assert_ok(lh_fs_snapshot(fs, "/tree/sub", path, LH_SNAPSHOT_READ_ONLY));
	}
	say_snapshots(p);
	SAY(lh_fs_snapshot_delete(fs, "/tree"));
	SAY(lh_fs_snapshot_delete(fs, "/ro/sub"));
	SAY(lh_fs_snapshot_delete(fs, "/none"));
	SAY(lh_fs_snapshot_delete(fs, "/ro"));
	SAY(lh_fs_snapshot_delete(fs, "/rw"));
	for (unsigned i = 0; i < 70; i++) {
		snprintf(path, sizeof(path), "/shot%u", i);
		assert_ok(lh_fs_snapshot_delete(fs, path));
	}
	say_snapshots(p);
}

static void limit_line(void *ctx, const struct lh_limit *l)
{
	list_add(ctx, "kind %u id %u ino %llu: %llu of %llu bytes, %llu of %llu inodes", l->kind, l->id,
		 (unsigned long long)l->ino, (unsigned long long)l->bytes_used, (unsigned long long)l->bytes,
		 (unsigned long long)l->inodes_used, (unsigned long long)l->inodes);
}

static void say_limit(struct paper *p, const struct lh_limit *limit)
{
	struct list l = {.p = p};

	limit_line(&l, limit);
	list_end(&l);
}

static void say_limits(struct paper *p)
{
	struct list l = {.p = p};

	SAY(lh_fs_limits(p->fs, limit_line, &l));
	list_end(&l);
}

static void limits(struct paper *p)
{
	struct lh_limit uid = {.size = sizeof(uid), .kind = LH_LIMIT_UID, .id = 4242, .bytes = 10000, .inodes = 2};
	struct lh_limit tree = {.size = sizeof(tree), .kind = LH_LIMIT_TREE, .bytes = 16384};
	struct lh_limit wrong = {.size = sizeof(wrong), .kind = 3};
	struct lh_fs *fs = p->fs;
	uint8_t buf[20000] = {1};
	struct lh_file *f;

	SAY(lh_fs_limit_get(fs, NULL, &uid));
	SAY(lh_fs_limit_set(fs, NULL, &uid));
	say_limit(p, &uid);
	SAY(lh_path_mkdir(fs, "/limited", 0777));
	SAY(lh_fs_limit_get(fs, "/limited", &tree));
	SAY(lh_fs_limit_set(fs, "/limited", &tree));
	say_limit(p, &tree);
	SAY(lh_fs_limit_set(fs, "/none", &tree));
	SAY(lh_fs_limit_set(fs, NULL, &tree));
	SAY(lh_fs_limit_set(fs, "/limited", &uid));
	SAY(lh_fs_limit_set(fs, NULL, &wrong));
	f = open_file(p, "/limited/f", O_RDWR | O_CREAT);
	SAY(lh_file_write(f, buf, sizeof(buf), 0));
	SAY(lh_file_fallocate(f, 0, 0, 1 << 20));
	SAY(lh_file_chown(f, 4242, 4242));
	SAY(lh_path_rename(fs, "/limited/f", "/out", 0));
	SAY(lh_path_link(fs, "/limited/f", "/out"));
	say_stat(p, "/limited/f", true);
	SAY(lh_fs_limit_get(fs, "/limited", &tree));
	say_limit(p, &tree);
	for (unsigned i = 0; i < 600; i++) {
		struct lh_limit l = {.size = sizeof(l), .kind = LH_LIMIT_UID, .id = 10000 + i, .inodes = i + 1};

		assert_ok(lh_fs_limit_set(fs, NULL, &l));
	}
	say_limits(p);
	SAY(lh_file_close(f));
	uid.bytes = uid.inodes = 0;
	SAY(lh_fs_limit_set(fs, NULL, &uid));
	SAY(lh_fs_limit_get(fs, NULL, &uid));
}

static void told(void *ctx, uint64_t done, uint64_t total)
{
	assert_true(done <= total);
	*(unsigned *)ctx += 1;
}

static void loss_line(void *ctx, const struct lh_loss *l)
{
	struct paper *p = ctx;

	fprintf(p->out, "  lost %s %llu+%llu\n", l->path, (unsigned long long)l->off, (unsigned long long)l->len);
}

static void say_space(struct paper *p)
{
	struct lh_statfs st = {.size = sizeof(st)};

	SAY(lh_fs_stat(p->fs, &st));
	fprintf(p->out, "  %llu blocks of %u, %llu files\n", (unsigned long long)st.blocks, st.block_size,
		(unsigned long long)st.files);
}

static void space(struct paper *p)
{
	struct lh_fs *fs = p->fs;
	struct lh_file *f = filled(p, "/space", 4 << 20, 9);
	unsigned times = 0;

	SAY(lh_fs_resize(fs, 12345, told, &times));
	SAY(lh_fs_resize(fs, 1 << 20, told, &times));
	SAY(lh_fs_resize(fs, 1ull << 60, told, &times));
	SAY(lh_fs_resize(fs, 48ull << 20, told, &times));
	say_space(p);
	SAY(lh_fs_resize(fs, 96ull << 20, NULL, NULL));
	say_space(p);
	SAY(lh_fs_evacuate(fs, 0, 0, loss_line, p));
	SAY(lh_fs_evacuate(fs, 1ull << 50, 4096, loss_line, p));
	SAY(lh_fs_evacuate(fs, 20ull << 20, 64 << 10, loss_line, p));
	SAY(lh_fs_evacuate(fs, 4ull << 20, 4096, NULL, NULL));
	say_content(p, f);
	say_space(p);
	SAY(lh_file_close(f));
}

static void direct(struct paper *p)
{
	struct lh_file *f = filled(p, "/direct", 256 << 10, 10);
	struct lh_lease_options o = {.size = sizeof(o), .flags = LH_LEASE_READ};
	struct lh_lease_state s = {.size = sizeof(s)};
	static uint8_t buf[512 << 10];
	struct lh_lease *r = NULL, *w = NULL;
	ssize_t n;

	SAY(lh_lease_get(f, 0, 512 << 10, &o, &r));
	o.flags = LH_LEASE_WRITE;
	SAY(lh_lease_get(f, 0, 256 << 10, &o, &w));
	SAY(n = lh_lease_read(r, buf, sizeof(buf), 0));
	say_bytes(p, "read", buf, n > 0 ? (size_t)n : 0);
	SAY(lh_lease_write(w, "direct", 6, 4095));
	SAY(lh_lease_write(r, "direct", 6, 4095));
	SAY(lh_lease_read(r, buf, 10, 1 << 20));
	SAY(lh_lease_commit(w, 0, 8192));
	SAY(lh_file_fallocate(f, FALLOC_FL_COLLAPSE_RANGE, 8192, 8192));
	SAY(n = lh_lease_read(r, buf, sizeof(buf), 0));
	say_bytes(p, "read", buf, n > 0 ? (size_t)n : 0);
	SAY(lh_lease_state(r, &s));
	fprintf(p->out, "  revocations %llu\n", (unsigned long long)s.revocations);
	SAY(lh_lease_release(w));
	SAY(lh_lease_release(r));
	/* L30: a commit grows the file to where direct writes end, whatever its range. */
	SAY(lh_lease_get(f, 0, 512 << 10, &o, &w));
	SAY(lh_lease_commit(w, 0, 512 << 10));
	SAY(lh_file_seek(f, 0, SEEK_HOLE));
	SAY(lh_lease_write(w, "tail", 4, 300 << 10));
	SAY(lh_lease_commit(w, (300 << 10) + 4, 4096));
	SAY(lh_file_seek(f, 0, SEEK_HOLE));
	SAY(lh_lease_commit(w, 0, 512 << 10));
	SAY(n = lh_file_read(f, buf, sizeof(buf), 0));
	say_bytes(p, "read", buf, n > 0 ? (size_t)n : 0);
	SAY(lh_lease_release(w));
	SAY(lh_file_close(f));
}

static const struct {
	const char *name;
	void (*run)(struct paper *p);
} sections[] = {{"names", names},
		{"special files", special_files},
		{"directories", directories},
		{"attributes", attributes},
		{"access lists", access_lists},
		{"by handle", by_handle},
		{"nameless", nameless},
		{"layouts", layouts},
		{"two files", two_files},
		{"one run", one_run},
		{"snapshots", snapshots},
		{"limits", limits},
		{"direct", direct},
		{"space", space}};
#define SECTIONS (sizeof(sections) / sizeof(sections[0]))

/* Every section on fs; texts[i] is what section i wrote. */
static void run(struct lh_fs *fs, char *texts[SECTIONS])
{
	for (unsigned i = 0; i < SECTIONS; i++) {
		struct paper p = {.fs = fs};

		p.out = open_memstream(&p.text, &p.len);
		assert_non_null(p.out);
		sections[i].run(&p);
		fclose(p.out);
		texts[i] = p.text;
	}
}

/* The first line in which they differ, with the one before it. */
static void compare(const char *section, const char *local, const char *remote)
{
	const char *before = local;

	while (*local) {
		size_t a = strcspn(local, "\n"), b = strcspn(remote, "\n");

		if (a != b || memcmp(local, remote, a) != 0)
			fail_msg("%s: after\n  %.*s\nin process\n  %.*s\non the server\n  %.*s", section,
				 (int)strcspn(before, "\n"), before, (int)a, local, (int)b, remote);
		before = local;
		local += a + 1;
		remote += b + 1;
	}
	assert_string_equal(remote, "");
}

static void every_call_answers_alike(void **state)
{
	char *here[SECTIONS], *there[SECTIONS];
	struct lh_fs *fs = NULL;

	assert_ok(lh_fs_open(POOL, NULL, &fs));
	run(fs, here);
	assert_ok(lh_fs_close(fs));
	fs = rig_open(&rig);
	run(fs, there);
	for (unsigned i = 0; i < SECTIONS; i++) {
		if (getenv("SHOW"))
			printf("=== %s\n%s", sections[i].name, here[i]);
		compare(sections[i].name, here[i], there[i]);
		free(here[i]);
		free(there[i]);
	}
	assert_ok(lh_fs_close(fs));
}

/* A program that was compiled before lh_stat grew gets what it knows, and not a byte more. */
static void an_older_stat_still_fits(void **state)
{
	struct {
		struct lh_stat st;
		uint8_t behind[64];
	} old, now = {.st = {.size_of = sizeof(now.st)}};
	struct lh_fs *fs = rig_open(&rig);
	struct lh_file *f = NULL;

	assert_ok(lh_file_open(fs, "/old", O_RDWR | O_CREAT, 0640, &f));
	assert_ok(lh_file_stat(f, &now.st));
	memset(&old, 0xaa, sizeof(old));
	old.st.size_of = offsetof(struct lh_stat, rdev);
	assert_ok(lh_file_stat(f, &old.st));
	assert_memory_equal((char *)&old.st + 4, (char *)&now.st + 4, offsetof(struct lh_stat, rdev) - 4);
	assert_int_equal(old.st.rdev, 0xaaaaaaaaaaaaaaaa);
	assert_int_equal(old.st.size_of, offsetof(struct lh_stat, rdev));
	old.st.size_of = sizeof(old);
	assert_ok(lh_path_stat(fs, "/old", true, &old.st));
	assert_int_equal(old.st.rdev, 0);
	assert_int_equal(old.behind[0], 0xaa);
	old.st.size_of = offsetof(struct lh_stat, rdev) - 1;
	assert_int_equal(lh_file_stat(f, &old.st), -EINVAL);
	assert_ok(lh_file_close(f));
	assert_ok(lh_fs_close(fs));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_call_answers_alike),
	    cmocka_unit_test(an_older_stat_still_fits),
	};
	int failed;

	rig_init(argc, argv);
	rig_start(&rig, POOL, SECONDS);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rig_stop(&rig);
	return failed;
}
