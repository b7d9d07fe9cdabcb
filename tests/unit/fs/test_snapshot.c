/* SPDX-License-Identifier: BSD-2-Clause */
/* Goal: L37: a snapshot is a copy of the tree at one point in time, and nothing that happens later shows in it. */
#include "fsrig.h"
#include "rnd.h"

#include <stdatomic.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/crc.h"

#undef fail /* cmocka's; ours is a function */

/* --- what a tree looks like
 * -------------------------------------------------------------------------------------------- */

struct look {
	struct fs *fs;
	const struct fs_caller *who;
	uint32_t sum;
	unsigned files;
	char path[1024];
};

static const struct fs_caller nobody_special;

static uint32_t add(uint32_t sum, const void *p, size_t n)
{
	return crc32c(sum, p, n);
}

static void look_file(struct look *l, const struct fs_attr *a)
{
	static _Thread_local uint8_t buf[64 << 10];
	struct fs_handle *h;
	ssize_t n;

	assert_int_equal(fs_open(l->fs, l->who, l->path, O_RDONLY, 0, &h), 0);
	for (uint64_t off = 0; off < a->size; off += (uint64_t)n) {
		n = fs_read(h, l->who, buf, sizeof(buf), off);
		assert_true(n > 0);
		l->sum = add(l->sum, buf, (size_t)n);
	}
	fs_close(h, NULL, 0);
}

static void look_xattrs(struct look *l)
{
	char names[1024], value[1024];
	ssize_t n = fs_xattr_list(l->fs, l->who, l->path, false, names, sizeof(names));

	assert_true(n >= 0);
	for (const char *at = names; at < names + n; at += strlen(at) + 1) {
		ssize_t len = fs_xattr_get(l->fs, l->who, l->path, false, at, value, sizeof(value));

		assert_true(len >= 0);
		l->sum = add(l->sum, at, strlen(at));
		l->sum = add(l->sum, value, (size_t)len);
	}
}

static bool look_entry(void *ctx, const struct fs_dirent *d)
{
	struct look *l = ctx;
	size_t base = strlen(l->path);
	struct fs_handle *h;
	struct fs_attr a;
	char target[512];
	ssize_t n;

	snprintf(l->path + base, sizeof(l->path) - base, "/%s", d->name);
	l->files++;
	assert_int_equal(fs_stat(l->fs, l->who, l->path, false, &a), 0);
	l->sum = add(l->sum, d->name, d->name_len);
	l->sum = add(l->sum, &a.mode, sizeof(a.mode));
	l->sum = add(l->sum, &a.uid, sizeof(a.uid));
	l->sum = add(l->sum, &a.nlink, sizeof(a.nlink));
	l->sum = add(l->sum, &a.size, sizeof(a.size));
	l->sum = add(l->sum, &a.rdev, sizeof(a.rdev));
	l->sum = add(l->sum, &a.mtime_ns, sizeof(a.mtime_ns));
	look_xattrs(l);
	switch (a.mode & S_IFMT) {
	case S_IFDIR:
		assert_int_equal(fs_open(l->fs, l->who, l->path, O_RDONLY, 0, &h), 0);
		assert_int_equal(fs_readdir(h, l->who, 0, look_entry, l), 0);
		fs_close(h, NULL, 0);
		break;
	case S_IFLNK:
		n = fs_readlink(l->fs, l->who, l->path, target, sizeof(target));
		assert_true(n > 0);
		l->sum = add(l->sum, target, (size_t)n);
		break;
	case S_IFREG:
		look_file(l, &a);
		break;
	}
	l->path[base] = '\0';
	return true;
}

static uint32_t hash_of(struct fs *fs, const char *path, unsigned *files)
{
	struct look l = {.fs = fs, .who = &nobody_special};
	struct fs_handle *h;

	snprintf(l.path, sizeof(l.path), "%s", path);
	assert_int_equal(fs_open(fs, l.who, path, O_RDONLY, 0, &h), 0);
	assert_int_equal(fs_readdir(h, l.who, 0, look_entry, &l), 0);
	fs_close(h, NULL, 0);
	if (files)
		*files = l.files;
	return l.sum;
}

static void assert_same(struct rig *r, const char *a, const char *b)
{
	unsigned in_a, in_b;
	uint32_t of_a = hash_of(r->fs, a, &in_a);
	uint32_t of_b = hash_of(r->fs, b, &in_b);

	assert_int_equal(in_a, in_b);
	assert_int_equal(of_a, of_b);
}

static int snap(struct rig *r, const char *from, const char *to, bool read_only)
{
	int err = fs_snapshot(r->fs, &r->root, from, to, read_only);

	if (err)
		fprintf(stderr, "snapshot %s -> %s: %d %s\n", from, to, err, fail_text());
	return err;
}

static void mkdirs(struct rig *r, const char *path)
{
	assert_int_equal(fs_mkdir(r->fs, &r->root, path, 0755), 0);
}

/* One of everything. */
static void make_tree(struct rig *r)
{
	struct fs_setattr owner = {.mask = FS_SET_UID | FS_SET_GID, .uid = 1000, .gid = 1000};
	struct fs_handle *h;

	mkdirs(r, "/t");
	mkdirs(r, "/t/d");
	mkdirs(r, "/t/d/e");
	mkdirs(r, "/t/empty");
	rig_file(r, "/t/a", 'a', 3 * BLK + 100);
	rig_file(r, "/t/d/b", 'b', 40 * BLK);
	rig_file(r, "/t/d/e/zero", 0, 0);
	assert_int_equal(fs_setattr(r->fs, &r->root, "/t/d/b", true, &owner), 0);
	assert_int_equal(fs_symlink(r->fs, &r->root, "../a", "/t/d/s"), 0);
	assert_int_equal(fs_link(r->fs, &r->root, "/t/a", "/t/d/e/a2"), 0);
	assert_int_equal(fs_link(r->fs, &r->root, "/t/a", "/outside"), 0);
	assert_int_equal(fs_mknod(r->fs, &r->root, "/t/fifo", S_IFIFO | 0600, 0), 0);
	assert_int_equal(fs_mknod(r->fs, &r->root, "/t/dev", S_IFCHR | 0600, 0x501), 0);
	assert_int_equal(fs_xattr_set(r->fs, &r->root, "/t/a", true, "user.color", "green", 5, 0), 0);
	h = rig_open(r, "/t/sparse", O_RDWR | O_CREAT);
	rig_fill(r, h, 's', BLK, 7 * BLK);
	rig_fill(r, h, 's', 10, 30 * BLK + 5);
	assert_int_equal(fs_allocate(h, &r->root, 0, 10 * BLK, 4 * BLK), 0);
	fs_close(h, NULL, 0);
}

/* --- cases
 * -------------------------------------------------------------------------------------------------------------- */

static void everything_is_copied(void **state)
{
	struct rig *r = *state;
	struct fs_attr a, b;

	make_tree(r);
	/* The name outside counts for the original only. */
	assert_int_equal(fs_unlink(r->fs, &r->root, "/outside"), 0);
	assert_int_equal(snap(r, "/t", "/s", false), 0);
	assert_same(r, "/t", "/s");
	rig_check(r);
	assert_int_equal(fs_stat(r->fs, &r->root, "/s", true, &a), 0);
	assert_int_equal(a.flags, FS_ATTR_SNAPSHOT);
	assert_int_equal(fs_stat(r->fs, &r->root, "/s/a", true, &a), 0);
	assert_int_equal(fs_stat(r->fs, &r->root, "/s/d/e/a2", true, &b), 0);
	assert_int_equal(a.ino, b.ino);
	assert_int_equal(a.nlink, 2);
	rig_remount(r, true);
	assert_same(r, "/t", "/s");
	rig_remount(r, false);
	assert_same(r, "/t", "/s");
}

static void a_name_outside_is_not_of_the_copy(void **state)
{
	struct rig *r = *state;
	struct fs_attr a;

	make_tree(r);
	assert_int_equal(snap(r, "/t", "/s", false), 0);
	assert_int_equal(fs_stat(r->fs, &r->root, "/s/a", true, &a), 0);
	assert_int_equal(a.nlink, 2);
	assert_int_equal(fs_stat(r->fs, &r->root, "/outside", true, &a), 0);
	assert_int_equal(a.nlink, 3);
}

static void both_sides_go_their_own_ways(void **state)
{
	struct rig *r = *state;
	struct fs_handle *h;
	uint32_t before;

	make_tree(r);
	assert_int_equal(snap(r, "/t", "/s", false), 0);
	before = hash_of(r->fs, "/s", NULL);
	h = rig_open(r, "/t/d/b", O_RDWR);
	rig_fill(r, h, 'X', BLK, 3 * BLK + 7);
	assert_int_equal(fs_truncate(h, &r->root, 10 * BLK), 0);
	fs_close(h, NULL, 0);
	h = rig_open(r, "/t/a", O_RDWR | O_APPEND);
	rig_fill(r, h, 'Y', 5000, 0);
	fs_close(h, NULL, 0);
	assert_int_equal(fs_unlink(r->fs, &r->root, "/t/sparse"), 0);
	assert_int_equal(fs_rename(r->fs, &r->root, "/t/d", "/t/empty/d", 0), 0);
	assert_int_equal(fs_xattr_set(r->fs, &r->root, "/t/a", true, "user.color", "red", 3, 0), 0);
	assert_int_equal(hash_of(r->fs, "/s", NULL), before);
	before = hash_of(r->fs, "/t", NULL);
	h = rig_open(r, "/s/d/b", O_RDWR);
	rig_fill(r, h, 'Z', 2 * BLK, 1);
	fs_close(h, NULL, 0);
	rig_file(r, "/s/new", 'n', 100);
	assert_int_equal(fs_unlink(r->fs, &r->root, "/s/a"), 0);
	assert_int_equal(hash_of(r->fs, "/t", NULL), before);
	rig_check(r);
	rig_remount(r, true);
	assert_int_equal(hash_of(r->fs, "/t", NULL), before);
}

static void a_read_only_snapshot_refuses_every_change(void **state)
{
	struct rig *r = *state;
	struct fs *fs = r->fs;
	const struct fs_caller *w = &r->root;
	struct fs_setattr set = {.mask = FS_SET_MODE, .mode = 0600};
	struct fs_setattr times = {.mask = FS_SET_ATIME | FS_SET_MTIME, .atime_ns = 1, .mtime_ns = 1};
	struct fs_limit limit = {.kind = FS_LIMIT_TREE, .blocks = 10};
	struct fs_handle *h;
	struct fs_attr a, b;
	uint32_t before;
	char buf[10];

	make_tree(r);
	assert_int_equal(fs_unlink(fs, w, "/outside"), 0);
	assert_int_equal(snap(r, "/t", "/s", true), 0);
	assert_same(r, "/t/d", "/s/d");
	before = hash_of(fs, "/s", NULL);
	assert_int_equal(fs_stat(fs, w, "/s/d/b", true, &a), 0);
	assert_int_equal(a.flags, FS_ATTR_READ_ONLY);
	assert_int_equal(fs_open(fs, w, "/s/a", O_RDWR, 0, &h), -EROFS);
	assert_int_equal(fs_open(fs, w, "/s/a", O_WRONLY, 0, &h), -EROFS);
	assert_int_equal(fs_open(fs, w, "/s/a", O_RDONLY | O_TRUNC, 0, &h), -EROFS);
	assert_int_equal(fs_open(fs, w, "/s/new", O_RDWR | O_CREAT, 0644, &h), -EROFS);
	assert_int_equal(fs_open(fs, w, "/s/d", O_RDWR | O_TMPFILE, 0644, &h), -EROFS);
	assert_int_equal(fs_mkdir(fs, w, "/s/new", 0755), -EROFS);
	assert_int_equal(fs_mknod(fs, w, "/s/new", S_IFIFO | 0600, 0), -EROFS);
	assert_int_equal(fs_symlink(fs, w, "x", "/s/new"), -EROFS);
	assert_int_equal(fs_link(fs, w, "/s/a", "/s/new"), -EROFS);
	assert_int_equal(fs_link(fs, w, "/s/a", "/new"), -EROFS);
	assert_int_equal(fs_link(fs, w, "/t/a", "/s/new"), -EROFS);
	assert_int_equal(fs_unlink(fs, w, "/s/a"), -EROFS);
	assert_int_equal(fs_rmdir(fs, w, "/s/empty"), -EROFS);
	assert_int_equal(fs_rename(fs, w, "/s/a", "/s/new", 0), -EROFS);
	assert_int_equal(fs_rename(fs, w, "/s/a", "/new", 0), -EROFS);
	assert_int_equal(fs_rename(fs, w, "/t/a", "/s/a", 0), -EROFS);
	assert_int_equal(fs_rename(fs, w, "/s", "/moved", 0), -EROFS);
	assert_int_equal(fs_rename(fs, w, "/t", "/s", RENAME_EXCHANGE), -EROFS);
	assert_int_equal(fs_rmdir(fs, w, "/s"), -EROFS);
	assert_int_equal(fs_setattr(fs, w, "/s/a", true, &set), -EROFS);
	assert_int_equal(fs_setattr(fs, w, "/s", true, &set), -EROFS);
	assert_int_equal(fs_setattr(fs, w, "/s/a", true, &times), -EROFS);
	assert_int_equal(fs_xattr_set(fs, w, "/s/a", true, "user.x", "1", 1, 0), -EROFS);
	assert_int_equal(fs_xattr_remove(fs, w, "/s/a", true, "user.color"), -EROFS);
	assert_int_equal(fs_snapshot(fs, w, "/t", "/s/new", false), -EROFS);
	assert_int_equal(fs_limit_set(fs, w, "/s/d", &limit), -EROFS);
	/* Reading is no change. */
	assert_int_equal(fs_stat(fs, w, "/s/a", true, &a), 0);
	h = rig_open(r, "/s/a", O_RDONLY);
	assert_int_equal(fs_read(h, w, buf, sizeof(buf), 0), sizeof(buf));
	assert_int_equal(fs_fsetattr(h, w, &set), -EROFS);
	assert_int_equal(fs_write(h, w, "x", 1, 0), -EBADF);
	fs_close(h, NULL, 0);
	assert_int_equal(fs_stat(fs, w, "/s/a", true, &b), 0);
	assert_int_equal(a.atime_ns, b.atime_ns);
	assert_int_equal(hash_of(fs, "/s", NULL), before);
	rig_remount(r, true);
	assert_int_equal(fs_rmdir(r->fs, w, "/s"), -EROFS);
	assert_int_equal(hash_of(r->fs, "/s", NULL), before);
	assert_int_equal(fs_snapshot_delete(r->fs, w, "/s"), 0);
}

static void deleting_gives_back_what_was_not_shared(void **state)
{
	struct rig *r = *state;
	uint64_t free_before, files_before;
	struct fs_handle *h, *d, *dir;
	struct fs_attr a;
	struct fs_statfs st;

	make_tree(r);
	free_before = rig_free_blocks(r);
	fs_statfs(r->fs, &st);
	files_before = st.files;
	assert_int_equal(snap(r, "/t", "/s", false), 0);
	h = rig_open(r, "/s/d/b", O_RDWR);
	d = rig_open(r, "/s/a", O_RDONLY);
	dir = rig_open(r, "/s/d", O_RDONLY);
	rig_fill(r, h, 'q', 20 * BLK, 0);
	assert_int_equal(fs_snapshot_delete(r->fs, &r->root, "/s/d"), -EINVAL);
	assert_int_equal(fs_snapshot_delete(r->fs, &r->root, "/t"), -EINVAL);
	assert_int_equal(fs_snapshot_delete(r->fs, &r->root, "/"), -EINVAL);
	assert_int_equal(fs_snapshot_delete(r->fs, &r->user, "/s"), -EACCES);
	assert_int_equal(fs_snapshot_delete(r->fs, &r->root, "/s"), 0);
	assert_int_equal(fs_snapshot_delete(r->fs, &r->root, "/s"), -ENOENT);
	assert_int_equal(fs_stat(r->fs, &r->root, "/s", true, &a), -ENOENT);
	rig_expect(r, h, 'q', 20 * BLK, 0);
	rig_expect(r, d, 'a', 100, 0);
	assert_int_equal(fs_fstat(d, &a), 0);
	assert_int_equal(a.nlink, 0);
	assert_int_equal(fs_fstat(dir, &a), 0);
	assert_int_equal(a.nlink, 0);
	assert_int_equal(fs_mkdir(r->fs, &r->root, "/s/d/x", 0755), -ENOENT);
	rig_check(r);
	fs_close(h, NULL, 0);
	fs_close(d, NULL, 0);
	fs_close(dir, NULL, 0);
	rig_check(r);
	fs_statfs(r->fs, &st);
	assert_int_equal(st.files, files_before);
	rig_remount(r, false);
	assert_int_equal(rig_free_blocks(r), free_before);
}

static void a_file_of_a_writable_snapshot_with_a_name_outside_stays(void **state)
{
	struct rig *r = *state;
	struct fs_handle *h;
	struct fs_attr a;

	make_tree(r);
	assert_int_equal(snap(r, "/t", "/s", false), 0);
	assert_int_equal(fs_link(r->fs, &r->root, "/s/a", "/kept"), 0);
	assert_int_equal(fs_snapshot_delete(r->fs, &r->root, "/s"), 0);
	assert_int_equal(fs_stat(r->fs, &r->root, "/kept", true, &a), 0);
	assert_int_equal(a.nlink, 1);
	h = rig_open(r, "/kept", O_RDONLY);
	rig_expect(r, h, 'a', 3 * BLK + 100, 0);
	fs_close(h, NULL, 0);
	rig_remount(r, true);
}

static void snapshots_of_snapshots(void **state)
{
	struct rig *r = *state;
	uint32_t of_t;
	struct fs_attr a;

	make_tree(r);
	assert_int_equal(fs_unlink(r->fs, &r->root, "/outside"), 0);
	of_t = hash_of(r->fs, "/t", NULL);
	assert_int_equal(snap(r, "/t", "/s1", true), 0);
	assert_int_equal(snap(r, "/s1", "/s2", false), 0);
	assert_int_equal(hash_of(r->fs, "/s2", NULL), of_t);
	rig_file(r, "/s2/d/new", 'n', 10); /* writable again */
	assert_int_equal(fs_rename(r->fs, &r->root, "/s2", "/t/in", 0), 0);
	/* One that contains one: copied whole. */
	assert_int_equal(snap(r, "/t", "/s3", false), 0);
	assert_same(r, "/t", "/s3");
	assert_int_equal(fs_stat(r->fs, &r->root, "/s3/in", true, &a), 0);
	assert_int_equal(a.flags, FS_ATTR_SNAPSHOT);
	assert_int_equal(fs_snapshot_delete(r->fs, &r->root, "/s3/in"), 0);
	assert_int_equal(fs_snapshot_delete(r->fs, &r->root, "/s1"), 0);
	assert_int_equal(fs_snapshot_delete(r->fs, &r->root, "/s3"), 0);
	rig_remount(r, true);
}

static void a_snapshot_inside_what_it_shows_leaves_snapshots_out(void **state)
{
	struct rig *r = *state;
	unsigned files[6];
	char path[32];

	make_tree(r);
	mkdirs(r, "/snaps");
	for (unsigned k = 0; k < 6; k++) {
		snprintf(path, sizeof(path), "/snaps/%u", k);
		assert_int_equal(snap(r, "/", path, true), 0);
		hash_of(r->fs, path, &files[k]);
		/* One more empty directory each time. */
		assert_int_equal(files[k], files[0] + k);
	}
	assert_same(r, "/t", "/snaps/5/t");
	rig_remount(r, true);
	for (unsigned k = 0; k < 6; k++) {
		snprintf(path, sizeof(path), "/snaps/%u", k);
		assert_int_equal(fs_snapshot_delete(r->fs, &r->root, path), 0);
	}
}

static void what_is_refused(void **state)
{
	struct rig *r = *state;
	struct fs_setattr own = {.mask = FS_SET_UID, .uid = 1000};

	make_tree(r);
	assert_int_equal(fs_snapshot(r->fs, &r->root, "/none", "/s", false), -ENOENT);
	assert_int_equal(fs_snapshot(r->fs, &r->root, "/t/a", "/s", false), -ENOTDIR);
	assert_int_equal(fs_snapshot(r->fs, &r->root, "/t", "/t/d", false), -EEXIST);
	assert_int_equal(fs_snapshot(r->fs, &r->root, "/t", "/", false), -EEXIST);
	assert_int_equal(fs_snapshot(r->fs, &r->root, "/t", "/none/s", false), -ENOENT);
	assert_int_equal(fs_snapshot(r->fs, &r->user, "/t", "/s", false), -EACCES);
	assert_int_equal(fs_mkdir(r->fs, &r->root, "/home", 0777), 0);
	assert_int_equal(fs_setattr(r->fs, &r->root, "/home", true, &own), 0);
	assert_int_equal(fs_snapshot(r->fs, &r->user, "/t", "/home/s", false), -EPERM);
	assert_int_equal(fs_mkdir(r->fs, &r->user, "/home/w", 0755), 0);
	assert_int_equal(fs_snapshot(r->fs, &r->user, "/home/w", "/home/s", false), 0);
	rig_file(r, "/home/w/roots", 'r', 10);
	assert_int_equal(fs_snapshot(r->fs, &r->user, "/home/w", "/home/s2", false), -EPERM);
	assert_int_equal(fs_snapshot_delete(r->fs, &r->other, "/home/s"), -EPERM);
	assert_int_equal(fs_snapshot_delete(r->fs, &r->user, "/home/s"), 0);
}

struct seen {
	unsigned count;
	char paths[512];
	uint64_t inodes, blocks;
	bool read_only;
};

static void see(void *ctx, const struct fs_snapshot_info *info)
{
	struct seen *s = ctx;

	s->count++;
	snprintf(s->paths + strlen(s->paths), sizeof(s->paths) - strlen(s->paths), "%s ", info->path);
	s->inodes = info->inodes;
	s->blocks = info->blocks;
	s->read_only = info->read_only;
	assert_true(info->created_ns > 0);
}

static void snapshots_are_listed(void **state)
{
	struct rig *r = *state;
	struct seen s = {0};

	mkdirs(r, "/t");
	mkdirs(r, "/deep");
	rig_file(r, "/t/a", 'a', 5 * BLK);
	assert_int_equal(fs_snapshots(r->fs, see, &s), 0);
	assert_int_equal(s.count, 0);
	assert_int_equal(snap(r, "/t", "/deep/one", true), 0);
	assert_int_equal(fs_snapshots(r->fs, see, &s), 0);
	assert_string_equal(s.paths, "/deep/one ");
	assert_int_equal(s.inodes, 2);
	assert_int_equal(s.blocks, 5);
	assert_true(s.read_only);
	rig_remount(r, true);
	assert_int_equal(snap(r, "/t", "/deep/two", false), 0);
	s = (struct seen){0};
	assert_int_equal(fs_snapshots(r->fs, see, &s), 0);
	assert_int_equal(s.count, 2);
}

/* --- leases
 * -------------------------------------------------------------------------------------------------------------- */

/* The lease has ended for its pin too: that can be used again. */
static void wait_gone(struct holder *o)
{
	while (atomic_load(&o->pin.gone) == 0)
		sched_yield();
}

static void direct_writers_are_recalled_and_their_bytes_belong_to_it(void **state)
{
	struct rig *r = *state;
	struct fs_handle *h;
	struct holder o;

	mkdirs(r, "/t");
	rig_file(r, "/t/f", 'f', 8 * BLK);
	holder_open(&o, r, "/t/f", true);
	holder_get(&o, LEASE_WRITE, 0, 8 * BLK);
	memset(pin_at(&o.pin, 2 * BLK), 'D', BLK); /* L10: drain keeps what was written before the release */
	assert_int_equal(snap(r, "/t", "/s", true), 0);
	assert_int_equal(o.recalls, 1);
	assert_int_equal(o.last.kind, LEASE_DRAIN);
	assert_null(pin_at(&o.pin, 0));
	h = rig_open(r, "/s/f", O_RDONLY);
	rig_expect(r, h, 'D', BLK, 2 * BLK);
	/* The next lease is on copies. */
	wait_gone(&o);
	holder_get(&o, LEASE_WRITE, 0, 8 * BLK);
	memset(pin_at(&o.pin, 2 * BLK), 'E', BLK);
	rig_expect(r, h, 'D', BLK, 2 * BLK);
	rig_expect(r, h, 'f', BLK, 3 * BLK);
	fs_close(h, NULL, 0);
	holder_close(&o);
}

static void readers_stay_and_own_writers_are_not_told(void **state)
{
	struct rig *r = *state;
	struct holder reader, own;
	struct fs_handle *h;

	mkdirs(r, "/t");
	rig_file(r, "/t/f", 'f', 8 * BLK);
	holder_open(&reader, r, "/t/f", false);
	holder_get(&reader, LEASE_READ, 0, 8 * BLK);
	holder_open(&own, r, "/t/f", false);
	holder_get(&own, LEASE_WRITE, 0, 4 * BLK);
	memset(pin_at(&own.pin, 0), 'O', BLK);
	assert_int_equal(fs_snapshot(r->fs, &own.who, "/t", "/s", false), 0);
	assert_int_equal(reader.recalls, 0);
	assert_int_equal(own.recalls, 0);
	assert_non_null(pin_at(&reader.pin, 0));
	assert_null(pin_at(&own.pin, 0)); /* it faults, and gets copies */
	h = rig_open(r, "/s/f", O_RDONLY);
	rig_expect(r, h, 'O', BLK, 0);
	fs_close(h, NULL, 0);
	holder_close(&reader);
	holder_close(&own);
}

static void a_caller_who_does_not_wait_starts_the_break(void **state)
{
	struct rig *r = *state;
	struct fs_caller hasty = r->root;
	struct holder o;

	hasty.nowait = true;
	mkdirs(r, "/t");
	rig_file(r, "/t/f", 'f', 8 * BLK);
	holder_open(&o, r, "/t/f", false);
	holder_get(&o, LEASE_WRITE, 0, BLK);
	assert_int_equal(fs_snapshot(r->fs, &hasty, "/t", "/s", false), -EWOULDBLOCK);
	assert_int_equal(o.recalls, 1);
	assert_int_equal(lease_release(o.session, o.lease.lease, RANGE_ALL), 0);
	assert_int_equal(fs_snapshot(r->fs, &hasty, "/t", "/s", false), 0);
	holder_close(&o);
}

/* L7: all of them have the same time, and who does not answer is forced. */
static void holders_that_do_not_answer_are_forced(void **state)
{
	struct rig *r = *state;
	struct fs_caller who = r->root;
	static struct holder o[40];
	uint64_t began = clock_now_ns();
	struct fs_handle *h;
	char path[32];

	who.deadline_ns = 100 * NS_PER_MS;
	mkdirs(r, "/t");
	for (unsigned k = 0; k < 40; k++) {
		snprintf(path, sizeof(path), "/t/f%u", k);
		rig_file(r, path, 'f', 2 * BLK);
		holder_open(&o[k], r, path, false);
		holder_get(&o[k], LEASE_WRITE, 0, 2 * BLK);
		memset(pin_at(&o[k].pin, BLK), 'D', BLK);
	}
	assert_int_equal(fs_snapshot(r->fs, &who, "/t", "/s", true), 0);
	assert_true(clock_now_ns() - began < 40 * 100 * NS_PER_MS);
	for (unsigned k = 0; k < 40; k++) {
		assert_int_equal(o[k].recalls, 1);
		/* The holder is told after its pins are gone, by the thread that forced it. */
		for (unsigned wait = 0; wait < 10000 && atomic_load(&o[k].revokes) == 0; wait++)
			usleep(1000);
		assert_int_equal(o[k].revokes, 1);
		assert_null(pin_at(&o[k].pin, 0));
		snprintf(path, sizeof(path), "/s/f%u", k);
		h = rig_open(r, path, O_RDONLY);
		rig_expect(r, h, 'D', BLK, BLK);
		fs_close(h, NULL, 0);
		holder_close(&o[k]);
	}
}

static void *snapshot_main(void *ctx)
{
	struct rig *r = ctx;

	return (void *)(intptr_t)fs_snapshot(r->fs, &r->root, "/t", "/s", false);
}

struct asker {
	struct holder o;
	_Atomic bool done;
	int err;
};

static void *asker_main(void *ctx)
{
	struct asker *a = ctx;

	a->err = holder_try(&a->o, LEASE_WRITE, 0, BLK);
	atomic_store(&a->done, true);
	return NULL;
}

/* L8, L9: a grant that waits for a snapshot, which waits for a writer, can be let go. */
static void who_waits_for_a_snapshot_can_be_interrupted(void **state)
{
	struct rig *r = *state;
	static struct asker a;
	struct holder o;
	struct fs_lease_args args = {
	    .range = {0, BLK}, .mode = LEASE_WRITE, .handle_number = 7, .deadline_ns = 60 * NS_PER_SEC};
	pthread_t snapshot, asker;
	void *result;

	mkdirs(r, "/t");
	rig_file(r, "/t/f", 'f', 8 * BLK);
	rig_file(r, "/t/g", 'g', 8 * BLK);
	holder_open(&o, r, "/t/f", false);
	pin_init(&o.pin, r);
	args.pin = &o.pin.pin;
	assert_int_equal(fs_lease_get(o.h, &o.who, &args, &o.lease), 0);
	memset(&a, 0, sizeof(a));
	holder_open(&a.o, r, "/t/g", false);
	assert_int_equal(pthread_create(&snapshot, NULL, snapshot_main, r), 0);
	while (atomic_load(&o.recalls) == 0)
		sched_yield();
	/* From here on there are no new WRITE grants. */
	assert_int_equal(pthread_create(&asker, NULL, asker_main, &a), 0);
	while (!atomic_load(&a.done)) {
		lease_interrupt(a.o.session, 0, false);
		usleep(1000);
	}
	pthread_join(asker, NULL);
	assert_int_equal(a.err, -EINTR);
	assert_int_equal(lease_release(o.session, o.lease.lease, RANGE_ALL), 0);
	pthread_join(snapshot, &result);
	assert_int_equal((intptr_t)result, 0);
	/* And now there are again. */
	holder_get(&a.o, LEASE_WRITE, 0, BLK);
	holder_close(&a.o);
	holder_close(&o);
}

struct loop {
	struct holder o;
	pthread_t thread;
	_Atomic bool stop;
	_Atomic unsigned got;
};

static void *loop_main(void *ctx)
{
	struct loop *l = ctx;

	while (!atomic_load(&l->stop)) {
		int err = holder_try(&l->o, LEASE_WRITE, 0, 8 * BLK);

		if (err && err != -EAGAIN)
			abort();
		atomic_fetch_add(&l->got, 1);
		if (err)
			continue;
		lease_release(l->o.session, l->o.lease.lease, RANGE_ALL);
		wait_gone(&l->o);
	}
	return NULL;
}

/* L8: whoever asks for leases in a loop does not keep a snapshot from being taken. */
static void holders_that_ask_again_in_a_loop_do_not_starve_it(void **state)
{
	struct rig *r = *state;
	static struct loop l[3];
	char path[32];

	mkdirs(r, "/t");
	for (unsigned k = 0; k < 3; k++) {
		snprintf(path, sizeof(path), "/t/f%u", k);
		rig_file(r, path, 'f', 8 * BLK);
		memset(&l[k], 0, sizeof(l[k]));
		holder_open(&l[k].o, r, path, true);
		assert_int_equal(pthread_create(&l[k].thread, NULL, loop_main, &l[k]), 0);
	}
	for (unsigned n = 0; n < 50; n++) {
		assert_int_equal(snap(r, "/t", "/s", n & 1), 0);
		assert_int_equal(fs_snapshot_delete(r->fs, &r->root, "/s"), 0);
	}
	for (unsigned k = 0; k < 3; k++) {
		unsigned seen = atomic_load(&l[k].got);

		while (atomic_load(&l[k].got) == seen)
			sched_yield();
		atomic_store(&l[k].stop, true);
		pthread_join(l[k].thread, NULL);
		holder_close(&l[k].o);
	}
}

/* --- many changes
 * ----------------------------------------------------------------------------------------------------------- */

#define WRITERS 3u
#define FILES   6u
#define MESSES  10000u

static void mess_path(char *path, size_t size, struct rnd *rnd)
{
	snprintf(path, size, "/t/d%u/f%u", (unsigned)rnd_below(rnd, 3), (unsigned)rnd_below(rnd, FILES));
}

/* One random change somewhere in /t; what cannot be done is fine. */
static void mess(struct rig *r, struct rnd *rnd)
{
	uint8_t buf[3 * LH_BLOCK_SIZE];
	char a[64], b[64];
	struct fs_handle *h, *g;
	uint64_t off = rnd_below(rnd, 12 * BLK);
	size_t len = 1 + rnd_below(rnd, sizeof(buf) - 1);

	mess_path(a, sizeof(a), rnd);
	mess_path(b, sizeof(b), rnd);
	memset(buf, (int)rnd_below(rnd, 256), len);
	switch (rnd_below(rnd, 9)) {
	case 0:
		fs_unlink(r->fs, &r->root, a);
		return;
	case 1:
		fs_rename(r->fs, &r->root, a, b, rnd_below(rnd, 2) ? RENAME_EXCHANGE : 0);
		return;
	case 2:
		fs_link(r->fs, &r->root, a, b);
		return;
	case 3:
		fs_xattr_set(r->fs, &r->root, a, true, "user.x", buf, len % 50, 0);
		return;
	default:
		break;
	}
	if (fs_open(r->fs, &r->root, a, O_RDWR | O_CREAT, 0644, &h) != 0)
		return;
	switch (rnd_below(rnd, 7)) {
	case 0:
		fs_truncate(h, &r->root, off);
		break;
	case 4:
		fs_relocate(h, &r->root, 0, UINT64_MAX / 4, NULL);
		break;
	case 5:
		fs_defragment(h, &r->root, NULL, NULL);
		break;
	case 6:
		if (fs_open(r->fs, &r->root, b, O_RDWR, 0, &g) == 0) {
			fs_exchange_range(h, 0, g, 0, 2 * BLK, &r->root);
			fs_dedupe_range(h, 0, g, 0, 4 * BLK, &r->root);
			fs_close(g, NULL, 0);
		}
		break;
	case 1:
		fs_allocate(h, &r->root, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len);
		break;
	case 2:
		if (fs_open(r->fs, &r->root, b, O_RDONLY, 0, &g) == 0) {
			fs_clone_range(h, 0, g, 0, 0, &r->root);
			fs_close(g, NULL, 0);
		}
		break;
	case 3:
		fs_write(h, &r->root, buf, len, off);
		break;
	}
	fs_close(h, NULL, 0);
}

static void make_mess_dirs(struct rig *r)
{
	mkdirs(r, "/t");
	mkdirs(r, "/t/d0");
	mkdirs(r, "/t/d1");
	mkdirs(r, "/t/d2");
}

static void random_changes_never_show(void **state)
{
	struct rig *r = *state;
	struct rnd rnd = rnd_start();
	uint32_t sum = 0;

	make_mess_dirs(r);
	for (unsigned n = 0; n < MESSES; n++) {
		if (n % 50 == 0) {
			if (n) {
				assert_int_equal(hash_of(r->fs, "/s", NULL), sum);
				assert_int_equal(fs_snapshot_delete(r->fs, &r->root, "/s"), 0);
			}
			assert_int_equal(snap(r, "/t", "/s", n % 100 == 0), 0);
			sum = hash_of(r->fs, "/s", NULL);
		}
		if (n % 50 == 25 && n % 500 < 50) {
			rig_remount(r, rnd_below(&rnd, 2));
			assert_int_equal(hash_of(r->fs, "/s", NULL), sum);
		}
		mess(r, &rnd);
	}
	assert_int_equal(hash_of(r->fs, "/s", NULL), sum);
}

struct messer {
	struct rig *r;
	struct rnd rnd;
	pthread_t thread;
	_Atomic bool *stop;
};

static void *mess_main(void *ctx)
{
	struct messer *m = ctx;

	while (!atomic_load(m->stop))
		mess(m->r, &m->rnd);
	return NULL;
}

/* Two names that always mean the same number of files: moved by one rename each, so that a half one would show. */
static void *pair_main(void *ctx)
{
	struct messer *m = ctx;

	while (!atomic_load(m->stop)) {
		fs_rename(m->r->fs, &m->r->root, "/t/left/ball", "/t/right/ball", 0);
		fs_rename(m->r->fs, &m->r->root, "/t/right/ball", "/t/left/ball", 0);
	}
	return NULL;
}

/* Numbers written one behind the other into two files: the second never has one that the first has not. */
static void *ticks_main(void *ctx)
{
	struct messer *m = ctx;
	struct fs_handle *a, *b;

	if (fs_open(m->r->fs, &m->r->root, "/t/first", O_RDWR, 0, &a) ||
	    fs_open(m->r->fs, &m->r->root, "/t/second", O_RDWR, 0, &b))
		abort();
	for (uint64_t n = 1; !atomic_load(m->stop); n++) {
		if (fs_write(a, &m->r->root, &n, sizeof(n), 0) != sizeof(n) ||
		    fs_write(b, &m->r->root, &n, sizeof(n), 0) != sizeof(n))
			abort();
	}
	fs_close(a, NULL, 0);
	fs_close(b, NULL, 0);
	return NULL;
}

static uint64_t tick_of(struct rig *r, const char *path)
{
	struct fs_handle *h = rig_open(r, path, O_RDONLY);
	uint64_t n = 0;

	assert_int_equal(fs_read(h, &r->root, &n, sizeof(n), 0), sizeof(n));
	fs_close(h, NULL, 0);
	return n;
}

static void check_moment(struct rig *r)
{
	struct fs_attr a;
	int left = fs_stat(r->fs, &r->root, "/s/left/ball", false, &a);
	int right = fs_stat(r->fs, &r->root, "/s/right/ball", false, &a);
	uint64_t first = tick_of(r, "/s/first");
	uint64_t second = tick_of(r, "/s/second");

	assert_int_equal(left + right, -ENOENT);
	assert_true(first == second || first == second + 1);
}

#define MOMENTS 600u

static void a_point_in_time_among_many_writers(void **state)
{
	struct rig *r = *state;
	static struct messer m[WRITERS + 2];
	struct rnd rnd = rnd_start();
	_Atomic bool stop = false;
	uint64_t zero = 0;

	make_mess_dirs(r);
	mkdirs(r, "/t/left");
	mkdirs(r, "/t/right");
	rig_file(r, "/t/left/ball", 'o', 100);
	rig_file(r, "/t/first", 0, sizeof(zero));
	rig_file(r, "/t/second", 0, sizeof(zero));
	for (unsigned k = 0; k < WRITERS + 2; k++) {
		m[k] = (struct messer){.r = r, .rnd = {rnd_next(&rnd) | 1}, .stop = &stop};
		assert_int_equal(pthread_create(&m[k].thread, NULL,
						k < WRITERS    ? mess_main
						: k == WRITERS ? pair_main
							       : ticks_main,
						&m[k]),
				 0);
	}
	for (unsigned n = 0; n < MOMENTS; n++) {
		uint32_t sum;

		assert_int_equal(snap(r, "/t", "/s", n & 1), 0);
		sum = hash_of(r->fs, "/s", NULL);
		check_moment(r);
		if (n % 10 == 0)
			assert_int_equal(fs_checkpoint(r->fs), 0);
		assert_int_equal(hash_of(r->fs, "/s", NULL), sum);
		assert_int_equal(fs_snapshot_delete(r->fs, &r->root, "/s"), 0);
	}
	assert_int_equal(snap(r, "/t", "/s", true), 0);
	atomic_store(&stop, true);
	for (unsigned k = 0; k < WRITERS + 2; k++)
		pthread_join(m[k].thread, NULL);
	rig_check(r);
	rnd.state = hash_of(r->fs, "/s", NULL);
	rig_remount(r, true);
	assert_int_equal(hash_of(r->fs, "/s", NULL), rnd.state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)
	    CASE(everything_is_copied),
	    CASE(a_name_outside_is_not_of_the_copy),
	    CASE(both_sides_go_their_own_ways),
	    CASE(a_read_only_snapshot_refuses_every_change),
	    CASE(deleting_gives_back_what_was_not_shared),
	    CASE(a_file_of_a_writable_snapshot_with_a_name_outside_stays),
	    CASE(snapshots_of_snapshots),
	    CASE(a_snapshot_inside_what_it_shows_leaves_snapshots_out),
	    CASE(what_is_refused),
	    CASE(snapshots_are_listed),
	    CASE(direct_writers_are_recalled_and_their_bytes_belong_to_it),
	    CASE(readers_stay_and_own_writers_are_not_told),
	    CASE(a_caller_who_does_not_wait_starts_the_break),
	    CASE(holders_that_do_not_answer_are_forced),
	    CASE(who_waits_for_a_snapshot_can_be_interrupted),
	    CASE(holders_that_ask_again_in_a_loop_do_not_starve_it),
	    CASE(random_changes_never_show),
	    CASE(a_point_in_time_among_many_writers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
