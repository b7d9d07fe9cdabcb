/* SPDX-License-Identifier: BSD-2-Clause */
/* Goal: L37: limits of space and inodes, per uid and per directory tree: nobody gets beyond one, over it nothing is
 * changed, and what is given up is returned exactly once. */
#include "fsrig.h"
#include "rnd.h"

#include <stdatomic.h>

#undef fail /* cmocka's; ours is a function */

static void set_uid(struct rig *r, uint32_t uid, uint64_t blocks, uint64_t inodes)
{
	struct fs_limit l = {.kind = FS_LIMIT_UID, .id = uid, .blocks = blocks, .inodes = inodes};

	assert_int_equal(fs_limit_set(r->fs, &r->root, NULL, &l), 0);
}

static uint32_t set_tree(struct rig *r, const char *path, uint64_t blocks, uint64_t inodes)
{
	struct fs_limit l = {.kind = FS_LIMIT_TREE, .blocks = blocks, .inodes = inodes};
	int err = fs_limit_set(r->fs, &r->root, path, &l);

	if (err)
		fprintf(stderr, "limit of %s: %d %s\n", path, err, fail_text());
	assert_int_equal(err, 0);
	return l.id;
}

static struct fs_limit get_uid(struct rig *r, uint32_t uid)
{
	struct fs_limit l = {.kind = FS_LIMIT_UID, .id = uid};

	assert_int_equal(fs_limit_get(r->fs, &r->user, NULL, &l), 0);
	return l;
}

static struct fs_limit get_tree(struct rig *r, const char *path)
{
	struct fs_limit l = {.kind = FS_LIMIT_TREE};

	assert_int_equal(fs_limit_get(r->fs, &r->root, path, &l), 0);
	return l;
}

static void expect_used(struct fs_limit l, uint64_t blocks, uint64_t inodes)
{
	assert_int_equal(l.blocks_used, blocks);
	assert_int_equal(l.inodes_used, inodes);
}

static struct fs_handle *user_open(struct rig *r, const char *path, int flags)
{
	struct fs_handle *h;

	assert_int_equal(fs_open(r->fs, &r->user, path, flags, 0644, &h), 0);
	return h;
}

static int user_fill(struct rig *r, struct fs_handle *h, uint64_t blocks, uint64_t off_blocks)
{
	uint8_t *buf = calloc(blocks, BLK);
	ssize_t n = fs_write(h, &r->user, buf, blocks * BLK, off_blocks * BLK);

	free(buf);
	return n < 0 ? (int)n : (int)(n / (ssize_t)BLK);
}

static void home(struct rig *r, const char *path)
{
	struct fs_setattr own = {.mask = FS_SET_UID, .uid = 1000};

	assert_int_equal(fs_mkdir(r->fs, &r->root, path, 0755), 0);
	assert_int_equal(fs_setattr(r->fs, &r->root, path, true, &own), 0);
}

/* --- uids
 * ---------------------------------------------------------------------------------------------------------------- */

static void blocks_of_a_uid_are_limited(void **state)
{
	struct rig *r = *state;
	struct fs_handle *h;

	home(r, "/h");
	set_uid(r, 1000, 20, 0);
	h = user_open(r, "/h/f", O_RDWR | O_CREAT);
	assert_int_equal(user_fill(r, h, 15, 0), 15);
	expect_used(get_uid(r, 1000), 15, 2);
	assert_int_equal(user_fill(r, h, 10, 0), 10); /* in place */
	assert_int_equal(user_fill(r, h, 10, 15), 5); /* short, as with a full pool */
	assert_int_equal(user_fill(r, h, 1, 20), -EDQUOT);
	assert_int_equal(rig_size(h), 20 * BLK);
	expect_used(get_uid(r, 1000), 20, 2);
	/* Space can always be given back. */
	assert_int_equal(fs_truncate(h, &r->user, 3 * BLK), 0);
	expect_used(get_uid(r, 1000), 3, 2);
	assert_int_equal(fs_allocate(h, &r->user, 0, 0, 21 * BLK), -EDQUOT);
	assert_int_equal(rig_size(h), 3 * BLK);
	expect_used(get_uid(r, 1000), 3, 2);
	assert_int_equal(fs_allocate(h, &r->user, FALLOC_FL_KEEP_SIZE, 0, 20 * BLK), 0);
	expect_used(get_uid(r, 1000), 20, 2);
	assert_int_equal(fs_allocate(h, &r->user, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, BLK, 4 * BLK), 0);
	expect_used(get_uid(r, 1000), 16, 2);
	assert_int_equal(fs_unlink(r->fs, &r->user, "/h/f"), 0);
	expect_used(get_uid(r, 1000), 16, 2); /* it is open */
	fs_close(h, NULL, 0);
	expect_used(get_uid(r, 1000), 0, 1);
}

static void inodes_of_a_uid_are_limited(void **state)
{
	struct rig *r = *state;
	struct fs_handle *h;

	home(r, "/h");
	set_uid(r, 1000, 0, 4);
	assert_int_equal(fs_mkdir(r->fs, &r->user, "/h/d", 0755), 0);
	assert_int_equal(fs_symlink(r->fs, &r->user, "x", "/h/s"), 0);
	h = user_open(r, "/h", O_RDWR | O_TMPFILE);
	expect_used(get_uid(r, 1000), 0, 4);
	assert_int_equal(fs_mkdir(r->fs, &r->user, "/h/e", 0755), -EDQUOT);
	assert_int_equal(fs_mknod(r->fs, &r->user, "/h/p", S_IFIFO | 0600, 0), -EDQUOT);
	assert_int_equal(fs_link(r->fs, &r->user, "/h/s", "/h/s2"), 0); /* no inode */
	fs_close(h, NULL, 0);
	assert_int_equal(fs_mkdir(r->fs, &r->user, "/h/e", 0755), 0);
	assert_int_equal(fs_rmdir(r->fs, &r->user, "/h/d"), 0);
	assert_int_equal(fs_unlink(r->fs, &r->user, "/h/s"), 0);
	expect_used(get_uid(r, 1000), 0, 3);
	assert_int_equal(fs_unlink(r->fs, &r->user, "/h/s2"), 0);
	expect_used(get_uid(r, 1000), 0, 2);
}

static void what_is_there_already_counts(void **state)
{
	struct rig *r = *state;
	struct fs_handle *h;

	home(r, "/h");
	h = user_open(r, "/h/f", O_RDWR | O_CREAT);
	assert_int_equal(user_fill(r, h, 30, 0), 30);
	set_uid(r, 1000, 10, 100); /* below what is used: nothing is taken, nothing more is given */
	expect_used(get_uid(r, 1000), 30, 2);
	assert_int_equal(user_fill(r, h, 1, 30), -EDQUOT);
	assert_int_equal(user_fill(r, h, 5, 0), 5);
	assert_int_equal(fs_truncate(h, &r->user, 9 * BLK), 0);
	assert_int_equal(user_fill(r, h, 2, 9), 1);
	fs_close(h, NULL, 0);
}

static void chown_moves_the_charge(void **state)
{
	struct rig *r = *state;
	struct fs_setattr to = {.mask = FS_SET_UID, .uid = 1001};
	struct fs_attr a;

	rig_file(r, "/f", 'f', 10 * BLK);
	set_uid(r, 1000, 15, 0);
	set_uid(r, 1001, 9, 0);
	assert_int_equal(fs_setattr(r->fs, &r->root, "/f", true, &to), -EDQUOT);
	assert_int_equal(fs_stat(r->fs, &r->root, "/f", true, &a), 0);
	assert_int_equal(a.uid, 0);
	expect_used(get_uid(r, 1001), 0, 0);
	to.uid = 1000;
	assert_int_equal(fs_setattr(r->fs, &r->root, "/f", true, &to), 0);
	expect_used(get_uid(r, 1000), 10, 1);
	to.uid = 0;
	assert_int_equal(fs_setattr(r->fs, &r->root, "/f", true, &to), 0);
	expect_used(get_uid(r, 1000), 0, 0);
}

static void sharing_counts_for_each(void **state)
{
	struct rig *r = *state;
	struct fs_handle *a, *b;

	home(r, "/h");
	a = user_open(r, "/h/a", O_RDWR | O_CREAT);
	b = user_open(r, "/h/b", O_RDWR | O_CREAT);
	assert_int_equal(user_fill(r, a, 8, 0), 8);
	set_uid(r, 1000, 20, 0);
	assert_int_equal(fs_clone_range(b, 0, a, 0, 0, &r->user), 0);
	expect_used(get_uid(r, 1000), 16, 3);
	assert_int_equal(fs_clone_range(b, 8 * BLK, a, 0, 0, &r->user), -EDQUOT);
	assert_int_equal(rig_size(b), 8 * BLK);
	assert_int_equal(fs_clone_range(b, 0, a, 0, 0, &r->user), 0); /* in place of as many */
	assert_int_equal(user_fill(r, b, 8, 0), 8);                   /* copy on write takes no more */
	expect_used(get_uid(r, 1000), 16, 3);
	assert_int_equal(fs_snapshot(r->fs, &r->user, "/h", "/h/s", false), -EDQUOT);
	set_uid(r, 1000, 32, 6);
	assert_int_equal(fs_snapshot(r->fs, &r->user, "/h", "/h/s", false), 0);
	expect_used(get_uid(r, 1000), 32, 6);
	assert_int_equal(fs_snapshot_delete(r->fs, &r->user, "/h/s"), 0);
	expect_used(get_uid(r, 1000), 16, 3);
	fs_close(a, NULL, 0);
	fs_close(b, NULL, 0);
}

static void a_lease_to_write_is_charged(void **state)
{
	struct rig *r = *state;
	struct fs_setattr own = {.mask = FS_SET_UID, .uid = 1000};
	struct holder o;

	rig_file(r, "/f", 'f', 2 * BLK);
	assert_int_equal(fs_setattr(r->fs, &r->root, "/f", true, &own), 0);
	set_uid(r, 1000, 10, 0);
	holder_open(&o, r, "/f", false);
	assert_int_equal(holder_try(&o, LEASE_WRITE, 0, 11 * BLK), -EDQUOT);
	expect_used(get_uid(r, 1000), 2, 1);
	holder_get(&o, LEASE_WRITE, 0, 10 * BLK);
	expect_used(get_uid(r, 1000), 10, 1);
	holder_close(&o);
}

static void uids_at_their_extremes(void **state)
{
	struct rig *r = *state;
	struct fs_limit l = {.kind = FS_LIMIT_UID, .id = UINT32_MAX, .blocks = 1};
	struct fs_setattr to = {.mask = FS_SET_UID, .uid = UINT32_MAX - 1};
	struct fs_handle *h;

	assert_int_equal(fs_limit_set(r->fs, &r->root, NULL, &l), -EINVAL);
	set_uid(r, UINT32_MAX - 1, 5, 1);
	set_uid(r, 0, UINT64_MAX, UINT64_MAX);
	rig_file(r, "/f", 'f', 6 * BLK);
	assert_int_equal(fs_setattr(r->fs, &r->root, "/f", true, &to), -EDQUOT);
	h = rig_open(r, "/f", O_RDWR);
	assert_int_equal(fs_truncate(h, &r->root, 5 * BLK), 0);
	assert_int_equal(fs_setattr(r->fs, &r->root, "/f", true, &to), 0);
	expect_used(get_uid(r, UINT32_MAX - 1), 5, 1);
	/* Root, too, writes into his space. */
	assert_int_equal(fs_write(h, &r->root, "x", 1, 5 * BLK), -EDQUOT);
	fs_close(h, NULL, 0);
	rig_remount(r, true);
	expect_used(get_uid(r, UINT32_MAX - 1), 5, 1);
	expect_used(get_uid(r, 0), 0, 1);
}

/* --- trees
 * ------------------------------------------------------------------------------------------------------------------ */

static void a_tree_has_its_own_limit(void **state)
{
	struct rig *r = *state;
	struct fs_limit l = {.kind = FS_LIMIT_TREE};
	struct fs_attr a;
	struct fs_handle *h;
	uint32_t id;

	assert_int_equal(fs_mkdir(r->fs, &r->root, "/p", 0755), 0);
	assert_int_equal(fs_mkdir(r->fs, &r->root, "/p/q", 0755), 0);
	rig_file(r, "/p/q/old", 'o', 3 * BLK);
	rig_file(r, "/out", 'o', 30 * BLK);
	assert_int_equal(fs_limit_get(r->fs, &r->root, "/p", &l), -ENODATA);
	id = set_tree(r, "/p", 10, 5);
	assert_int_not_equal(id, 0);
	expect_used(get_tree(r, "/p/q/old"), 3, 3);
	assert_int_equal(fs_stat(r->fs, &r->root, "/p/q/old", true, &a), 0);
	assert_int_equal(a.tree, id);
	rig_file(r, "/p/q/new", 'n', 7 * BLK);
	expect_used(get_tree(r, "/p"), 10, 4);
	h = rig_open(r, "/p/q/new", O_RDWR);
	assert_int_equal(fs_write(h, &r->root, "x", 1, 7 * BLK), -EDQUOT);
	fs_close(h, NULL, 0);
	assert_int_equal(fs_mkdir(r->fs, &r->root, "/p/r", 0755), 0);
	assert_int_equal(fs_mkdir(r->fs, &r->root, "/p/s", 0755), -EDQUOT);
	rig_file(r, "/more", 'm', 30 * BLK); /* outside nobody minds */
	/* The same directory again: another limit, the same tree. */
	assert_int_equal(set_tree(r, "/p", 11, 6), id);
	assert_int_equal(fs_mkdir(r->fs, &r->root, "/p/s", 0755), 0);
	rig_remount(r, true);
	expect_used(get_tree(r, "/p/s"), 10, 6);
	assert_int_equal(get_tree(r, "/p").blocks, 11);
	rig_remount(r, false);
	expect_used(get_tree(r, "/p/s"), 10, 6);
	/* Both 0: none any more. */
	l = (struct fs_limit){.kind = FS_LIMIT_TREE};
	assert_int_equal(fs_limit_set(r->fs, &r->root, "/p/q", &l), -ENODATA);
	assert_int_equal(fs_limit_set(r->fs, &r->root, "/p", &l), 0);
	assert_int_equal(fs_limit_get(r->fs, &r->root, "/p", &l), -ENODATA);
	assert_int_equal(fs_stat(r->fs, &r->root, "/p/q/old", true, &a), 0);
	assert_int_equal(a.tree, 0);
	rig_remount(r, true);
	assert_int_equal(fs_limit_get(r->fs, &r->root, "/p", &l), -ENODATA);
}

static void borders_are_not_crossed(void **state)
{
	struct rig *r = *state;
	struct fs *fs = r->fs;
	const struct fs_caller *w = &r->root;

	assert_int_equal(fs_mkdir(fs, w, "/a", 0755), 0);
	assert_int_equal(fs_mkdir(fs, w, "/b", 0755), 0);
	set_tree(r, "/a", 100, 100);
	set_tree(r, "/b", 100, 100);
	rig_file(r, "/a/f", 'f', BLK);
	rig_file(r, "/b/g", 'g', BLK);
	rig_file(r, "/h", 'h', BLK);
	assert_int_equal(fs_rename(fs, w, "/a/f", "/b/f", 0), -EXDEV);
	assert_int_equal(fs_rename(fs, w, "/a/f", "/f", 0), -EXDEV);
	assert_int_equal(fs_rename(fs, w, "/h", "/a/h", 0), -EXDEV);
	assert_int_equal(fs_rename(fs, w, "/a/f", "/b/g", RENAME_EXCHANGE), -EXDEV);
	assert_int_equal(fs_link(fs, w, "/a/f", "/b/f"), -EXDEV);
	assert_int_equal(fs_link(fs, w, "/h", "/a/h"), -EXDEV);
	assert_int_equal(fs_link(fs, w, "/a/f", "/f"), -EXDEV);
	assert_int_equal(fs_link(fs, w, "/a/f", "/a/f2"), 0);
	assert_int_equal(fs_rename(fs, w, "/a/f", "/a/f3", 0), 0);
	assert_int_equal(fs_rename(fs, w, "/a", "/c", 0), 0); /* the whole tree, inside what is around it */
	expect_used(get_tree(r, "/c/f3"), 1, 2);
	rig_remount(r, true);
	expect_used(get_tree(r, "/c/f3"), 1, 2);
}

struct listed {
	unsigned uids, trees;
};

static void list_one(void *ctx, const struct fs_limit *l)
{
	struct listed *n = ctx;

	n->uids += l->kind == FS_LIMIT_UID;
	n->trees += l->kind == FS_LIMIT_TREE;
}

static void trees_in_trees_and_snapshots_of_them(void **state)
{
	struct rig *r = *state;
	struct listed n = {0};

	assert_int_equal(fs_mkdir(r->fs, &r->root, "/p", 0755), 0);
	assert_int_equal(fs_mkdir(r->fs, &r->root, "/p/in", 0755), 0);
	rig_file(r, "/p/in/f", 'f', 5 * BLK);
	set_tree(r, "/p/in", 6, 0);
	expect_used(get_tree(r, "/p/in"), 5, 2);
	rig_file(r, "/p/f", 'f', 7 * BLK);
	set_tree(r, "/p", 20, 0);
	expect_used(get_tree(r, "/p"), 7, 2);
	expect_used(get_tree(r, "/p/in"), 5, 2);
	/* The copy is where it is made: in /p's tree, all of it. */
	assert_int_equal(fs_snapshot(r->fs, &r->root, "/p", "/p/s", true), 0);
	expect_used(get_tree(r, "/p"), 19, 6);
	assert_int_equal(get_tree(r, "/p/s/in/f").id, get_tree(r, "/p").id);
	assert_int_equal(fs_snapshot(r->fs, &r->root, "/p/in", "/p/t", true), -EDQUOT);
	expect_used(get_tree(r, "/p"), 19, 6);
	assert_int_equal(fs_snapshot_delete(r->fs, &r->root, "/p/s"), 0);
	expect_used(get_tree(r, "/p"), 7, 2);
	set_uid(r, 7, 1, 1);
	assert_int_equal(fs_limits(r->fs, list_one, &n), 0);
	assert_int_equal(n.uids, 1);
	assert_int_equal(n.trees, 2);
	/* A tree whose top is gone is no tree. */
	assert_int_equal(fs_unlink(r->fs, &r->root, "/p/in/f"), 0);
	assert_int_equal(fs_rmdir(r->fs, &r->root, "/p/in"), 0);
	n = (struct listed){0};
	assert_int_equal(fs_limits(r->fs, list_one, &n), 0);
	assert_int_equal(n.trees, 1);
	rig_remount(r, false);
	n = (struct listed){0};
	assert_int_equal(fs_limits(r->fs, list_one, &n), 0);
	assert_int_equal(n.uids, 1);
	assert_int_equal(n.trees, 1);
}

static void who_may_set_what(void **state)
{
	struct rig *r = *state;
	struct fs_limit l = {.kind = FS_LIMIT_UID, .id = 1000, .blocks = 5};

	assert_int_equal(fs_limit_set(r->fs, &r->user, NULL, &l), -EPERM);
	assert_int_equal(fs_limit_get(r->fs, &r->user, NULL, &l), -ENODATA);
	l.kind = FS_LIMIT_TREE;
	assert_int_equal(fs_limit_set(r->fs, &r->root, NULL, &l), -EINVAL);
	assert_int_equal(fs_limit_set(r->fs, &r->root, "/none", &l), -ENOENT);
	rig_file(r, "/f", 'f', 1);
	assert_int_equal(fs_limit_set(r->fs, &r->root, "/f", &l), -ENOTDIR);
	l.kind = 6;
	assert_int_equal(fs_limit_set(r->fs, &r->root, "/", &l), -EINVAL);
	assert_int_equal(fs_limit_get(r->fs, &r->root, "/", &l), -EINVAL);
	set_tree(r, "/", 1000, 0);
	assert_int_equal(get_tree(r, "/f").blocks_used, 1);
	rig_remount(r, true);
	assert_int_equal(get_tree(r, "/f").blocks_used, 1);
}

/* Contents that change hands. */
static void exchange_and_dedupe_check(void **state)
{
	struct rig *r = *state;
	struct fs_handle *a, *b;

	assert_int_equal(fs_mkdir(r->fs, &r->root, "/p", 0755), 0);
	set_tree(r, "/p", 6, 0);
	rig_file(r, "/p/a", 'x', 4 * BLK);
	rig_file(r, "/b", 'x', 8 * BLK);
	a = rig_open(r, "/p/a", O_RDWR);
	b = rig_open(r, "/b", O_RDWR);
	assert_int_equal(fs_truncate(a, &r->root, 8 * BLK), 0);
	assert_int_equal(fs_exchange_range(a, 0, b, 0, 8 * BLK, &r->root), -EDQUOT);
	expect_used(get_tree(r, "/p"), 4, 2);
	assert_int_equal(fs_exchange_range(a, 0, b, 0, 5 * BLK, &r->root), 0);
	expect_used(get_tree(r, "/p"), 5, 2);
	assert_int_equal(fs_exchange_range(b, 0, a, 0, 5 * BLK, &r->root), 0);
	expect_used(get_tree(r, "/p"), 4, 2);
	assert_int_equal(fs_dedupe_range(a, 0, b, 0, 4 * BLK, &r->root), 0);
	expect_used(get_tree(r, "/p"), 4, 2);
	assert_true(fs_copy_range(a, 0, b, 0, 8 * BLK, &r->root) < (ssize_t)(8 * BLK));
	assert_true(get_tree(r, "/p").blocks_used <= 6);
	fs_close(a, NULL, 0);
	fs_close(b, NULL, 0);
}

/* --- threads
 * -------------------------------------------------------------------------------------------------------------------
 */

#define THREADS 4u
#define ROUNDS  4000u
#define MOST    64u

struct hammer {
	struct rig *r;
	struct rnd rnd;
	unsigned id;
	pthread_t thread;
	_Atomic unsigned *over;
};

static void hammer_once(struct hammer *h)
{
	static uint8_t buf[16 * LH_BLOCK_SIZE];
	struct fs_handle *f;
	char path[32];
	int err;

	snprintf(path, sizeof(path), "/h/%u", (unsigned)rnd_below(&h->rnd, 24));
	switch (rnd_below(&h->rnd, 6)) {
	case 0:
		fs_unlink(h->r->fs, &h->r->user, path);
		return;
	case 1:
		fs_snapshot(h->r->fs, &h->r->user, "/h", h->id & 1 ? "/s1" : "/s0", false);
		fs_snapshot_delete(h->r->fs, &h->r->user, h->id & 1 ? "/s1" : "/s0");
		return;
	}
	err = fs_open(h->r->fs, &h->r->user, path, O_RDWR | O_CREAT, 0644, &f);
	if (err == -EDQUOT)
		atomic_fetch_add(h->over, 1);
	if (err)
		return;
	switch (rnd_below(&h->rnd, 4)) {
	case 0:
		fs_truncate(f, &h->r->user, rnd_below(&h->rnd, 20 * BLK));
		break;
	case 1:
		fs_allocate(f, &h->r->user, FALLOC_FL_KEEP_SIZE, rnd_below(&h->rnd, 20 * BLK), 5 * BLK);
		break;
	default:
		if (fs_write(f, &h->r->user, buf, 1 + rnd_below(&h->rnd, sizeof(buf)), rnd_below(&h->rnd, 20 * BLK)) ==
		    -EDQUOT)
			atomic_fetch_add(h->over, 1);
	}
	fs_close(f, NULL, 0);
}

static void *hammer_main(void *ctx)
{
	struct hammer *h = ctx;

	for (unsigned n = 0; n < ROUNDS; n++) {
		struct fs_limit l = {.kind = FS_LIMIT_UID, .id = 1000};

		hammer_once(h);
		if (fs_limit_get(h->r->fs, &h->r->user, NULL, &l) != 0 || l.blocks_used > MOST || l.inodes_used > 40) {
			fprintf(stderr, "beyond the limit: %llu blocks, %llu inodes\n",
				(unsigned long long)l.blocks_used, (unsigned long long)l.inodes_used);
			abort();
		}
	}
	return NULL;
}

static void many_threads_never_get_beyond(void **state)
{
	struct rig *r = *state;
	struct rnd rnd = rnd_start();
	struct hammer h[THREADS];
	_Atomic unsigned over = 0;
	struct fs_limit was, l;
	struct fs_setattr open_to_all = {.mask = FS_SET_MODE, .mode = 01777};

	assert_int_equal(fs_setattr(r->fs, &r->root, "/", true, &open_to_all), 0);
	home(r, "/h");
	set_uid(r, 1000, MOST, 40);
	set_tree(r, "/h", MOST - 10, 38);
	for (unsigned k = 0; k < THREADS; k++) {
		h[k] = (struct hammer){.r = r, .rnd = {rnd_next(&rnd) | 1}, .id = k, .over = &over};
		assert_int_equal(pthread_create(&h[k].thread, NULL, hammer_main, &h[k]), 0);
	}
	for (unsigned k = 0; k < THREADS; k++)
		pthread_join(h[k].thread, NULL);
	assert_true(atomic_load(&over) > 0);
	rig_check(r);
	was = get_uid(r, 1000);
	rig_remount(r, true);
	l = get_uid(r, 1000);
	expect_used(was, l.blocks_used, l.inodes_used);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define CASE(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)
	    CASE(blocks_of_a_uid_are_limited),
	    CASE(inodes_of_a_uid_are_limited),
	    CASE(what_is_there_already_counts),
	    CASE(chown_moves_the_charge),
	    CASE(sharing_counts_for_each),
	    CASE(a_lease_to_write_is_charged),
	    CASE(uids_at_their_extremes),
	    CASE(a_tree_has_its_own_limit),
	    CASE(borders_are_not_crossed),
	    CASE(trees_in_trees_and_snapshots_of_them),
	    CASE(who_may_set_what),
	    CASE(exchange_and_dedupe_check),
	    CASE(many_threads_never_get_beyond),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
