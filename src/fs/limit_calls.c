/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Setting, reading and listing limits. A tree's limit on a directory that is filled tags all that is below it in the
 * same record, frozen, so that nothing is made there untagged meanwhile; what belongs to another tree below stays that
 * tree's. Files with names outside too go with the tree that was set last.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/error.h"
#include "format/format.h"
#include "fs/freeze.h"
#include "fs/limit_impl.h"
#include "fs/path.h"
#include "fs/perm.h"
#include "fs/tree.h"

struct limit_set {
	struct fs *fs;
	const struct fs_caller *who;
	struct fs_limit *want;
	struct inode *top; /* TREE */
	struct limit *old; /* in the table */
	struct limit *fresh;
	struct tree tree;
	uint32_t id, tag; /* what the members are tagged with */
	bool removes;
};

static enum tree_do same_tree(void *ctx, const struct inode *i)
{
	const struct limit_set *s = ctx;

	return i->attr.tree == s->top->attr.tree ? TREE_ENTER : TREE_SKIP;
}

static bool is_top(const struct limit_set *s, const struct limit *l)
{
	return l && l->root == ino_of(s->top);
}

/* Frozen: which limit it is, and what has to be tagged. */
static int look_tree(struct limit_set *s)
{
	const struct tree_filter filter = {.dir = same_tree, .ctx = s};
	struct limits *all = s->fs->limits;
	int err = inode_changeable(s->fs, s->top);

	if (!err && s->top->nlink == 0)
		err = -ENOENT;
	if (err)
		return err;
	s->old = limit_find(all, ITEM_LIMIT_TREE, s->top->attr.tree);
	if (!is_top(s, s->old))
		s->old = NULL;
	s->id = s->old ? s->old->id : (uint32_t)all->next_tree;
	s->tag = s->id;
	if (!s->old && all->next_tree > UINT32_MAX)
		return fail(-ENOSPC, "no number is left for another tree");
	if (s->removes && !s->old)
		return fail(-ENODATA, "the directory is not the top of a tree with a limit");
	if (s->removes)
		s->tag = s->top == s->fs->root ? 0 : s->top->dir->parent->attr.tree;
	return s->old && !s->removes ? 0 : tree_collect(&s->tree, s->top, &filter);
}

static int look_uid(struct limit_set *s)
{
	s->id = s->want->id;
	s->old = limit_find(s->fs->limits, s->want->kind, s->id);
	if (s->removes && !s->old)
		return fail(-ENODATA, "there is no limit of %s %u", item_limit_name(s->want->kind), s->id);
	return 0;
}

static int set_commit(struct limit_set *s)
{
	struct jtxn t;
	uint64_t seq;
	int err;

	jtxn_init(&t);
	t.frees = s->removes;
	jtxn_limit(&t, s->want->kind, s->id, s->top ? ino_of(s->top) : FS_ROOT_INO, s->want->blocks, s->want->inodes);
	for (uint64_t k = 0; k < s->tree.count; k++) {
		struct inode_attr a = s->tree.m[k].inode->attr;

		a.tree = s->tag;
		jtxn_inode(&t, &a);
	}
	err = jtxn_commit(s->fs->journal, &t, &seq);
	jtxn_fini(&t);
	return err;
}

/* Cannot fail. */
static void set_apply(struct limit_set *s)
{
	struct limits *all = s->fs->limits;
	struct limit *l = s->old;

	for (uint64_t k = 0; k < s->tree.count; k++) {
		struct inode *i = s->tree.m[k].inode;

		rwlock_take_write(&i->lock);
		i->attr.tree = s->tag;
		inode_changed(s->fs, i, CHANGED_ATTR, s->who);
		rwlock_drop(&i->lock);
	}
	if (s->removes) {
		limit_drop(all, l);
		l = NULL;
	} else if (!l) {
		l = s->fresh;
		s->fresh = NULL;
		l->kind = s->want->kind;
		l->id = s->id;
		l->root = s->top ? ino_of(s->top) : FS_ROOT_INO;
		if (s->top)
			all->next_tree++;
	}
	if (l) {
		lock_take(&all->lock);
		l->blocks = s->want->blocks;
		l->inodes = s->want->inodes;
		lock_drop(&all->lock);
	}
	if (l && l != s->old)
		limit_add(all, l);
	limits_count(s->fs);
	s->want->id = s->id;
	if (l)
		*s->want = limit_info(l);
}

/* Of trees whose top was removed. */
static void drop_dead(struct fs *fs)
{
	struct limits *all = fs->limits;

	for (unsigned k = 0; k < LIMIT_BUCKETS; k++) {
		struct limit *next;

		for (struct limit *l = all->bucket[k]; l; l = next) {
			next = l->next;
			if (l->kind == ITEM_LIMIT_TREE && !itable_peek(fs, l->root))
				limit_drop(all, l);
		}
	}
}

/* The arbiter first, which may lack memory; what it had before, if the record fails. */
static int pins_commit(struct limit_set *s)
{
	struct fs_limit was = {.kind = s->want->kind, .id = s->want->id};
	int err = limit_pins_tell(s->fs, s->want);

	if (err)
		return err;
	err = set_commit(s);
	if (!err)
		return 0;
	if (s->old)
		was = limit_info(s->old);
	(void)limit_pins_tell(s->fs, &was);
	return err;
}

static int set_frozen(struct limit_set *s)
{
	int err;

	freeze_begin(s->fs);
	tree_init(&s->tree, false);
	err = s->top ? look_tree(s) : look_uid(s);
	if (s->fs->limits->count >= LIMITS_MAX)
		drop_dead(s->fs);
	if (!err && !s->old && s->fs->limits->count >= LIMITS_MAX)
		err = fail(-ENOSPC, "there are %u limits already", LIMITS_MAX);
	if (!err)
		err = limit_is_pins(s->want->kind) ? pins_commit(s) : set_commit(s);
	if (!err)
		set_apply(s);
	freeze_end(s->fs);
	tree_fini(&s->tree);
	return err;
}

static int set_run(struct limit_set *s)
{
	unsigned tries = 0;
	int err;

	s->removes = s->want->blocks == 0 && s->want->inodes == 0;
	s->fresh = calloc(1, sizeof(*s->fresh));
	if (!s->fresh)
		return -ENOMEM;
	do {
		err = set_frozen(s);
	} while (walk_made_room(s->fs, err, &tries));
	free(s->fresh);
	return err;
}

int fs_limit_set(struct fs *fs, const struct fs_caller *who, const char *tree_path, struct fs_limit *limit)
{
	struct limit_set s = {.fs = fs, .who = who, .want = limit};
	int err;

	if (!cred_is_super(&who->cred))
		return fail(-EPERM, "only root may set limits");
	if (fs->read_only)
		return fail(-EROFS, "the filesystem is mounted read-only");
	switch (limit->kind) {
	case FS_LIMIT_UID:
		if (limit->id == FS_ID_NONE)
			return fail(-EINVAL, "%u is nobody's number", FS_ID_NONE);
		return set_run(&s);
	case FS_LIMIT_TREE:
		if (!tree_path)
			break;
		err = path_inode(fs, who, tree_path, true, &s.top);
		if (err)
			return err;
		err = s.top->type == DT_DIR ? set_run(&s) : -ENOTDIR;
		inode_put(fs, s.top);
		return err;
	case FS_LIMIT_PINS:
	case FS_LIMIT_PINS_DEFAULT:
	case FS_LIMIT_PINS_POOL:
		err = limit_pins_check(limit);
		if (!err)
			err = set_run(&s);
		if (!err)
			limit_pins_show(fs, limit);
		return err;
	}
	return fail(-EINVAL, "a limit is for a uid, for a tree and its path, or for pins");
}

int fs_limit_clear(struct fs *fs, const struct fs_caller *who, struct fs_limit *limit)
{
	struct limit_set s = {.fs = fs, .who = who, .want = limit};
	int err;

	if (!cred_is_super(&who->cred))
		return fail(-EPERM, "only root may set limits");
	if (fs->read_only)
		return fail(-EROFS, "the filesystem is mounted read-only");
	if (!limit_is_pins(limit->kind))
		return fail(-EINVAL, "a limit of space is cleared by setting 0");
	err = limit_pins_check(limit);
	limit->blocks = limit->inodes = 0;
	return err ? err : set_run(&s);
}

static int limit_read(struct fs *fs, uint32_t kind, uint32_t id, struct fs_limit *out)
{
	struct limits *all = fs->limits;
	const struct limit *l;

	lock_take(&all->lock);
	l = limit_find(all, kind, id);
	if (l)
		*out = limit_info(l);
	lock_drop(&all->lock);
	return l ? 0 : -ENODATA;
}

int fs_limit_get(struct fs *fs, const struct fs_caller *who, const char *tree_path, struct fs_limit *limit)
{
	struct inode *i;
	uint32_t tree;
	int err;

	switch (limit->kind) {
	case FS_LIMIT_UID:
		return limit_read(fs, limit->kind, limit->id, limit);
	case FS_LIMIT_TREE:
		if (!tree_path)
			break;
		err = path_inode(fs, who, tree_path, true, &i);
		if (err)
			return err;
		rwlock_take_read(&i->lock);
		tree = i->attr.tree;
		rwlock_drop(&i->lock);
		inode_put(fs, i);
		return tree ? limit_read(fs, limit->kind, tree, limit) : -ENODATA;
	case FS_LIMIT_PINS:
	case FS_LIMIT_PINS_DEFAULT:
	case FS_LIMIT_PINS_POOL:
		err = limit_read(fs, limit->kind, limit->id, limit);
		if (!err)
			limit_pins_show(fs, limit);
		return err;
	}
	return fail(-EINVAL, "a limit is for a uid, for a tree and its path, or for pins");
}

/* A tree whose top was removed has nothing in it, and its limit goes with the next mount. */
static bool is_shown(struct fs *fs, const struct fs_limit *l)
{
	struct inode *top;

	if (l->kind != FS_LIMIT_TREE)
		return true;
	top = itable_get(fs, l->ino);
	inode_put(fs, top);
	return top;
}

int fs_limits(struct fs *fs, void (*each)(void *ctx, const struct fs_limit *limit), void *ctx)
{
	struct fs_limit *list;
	uint32_t count;
	int err = limits_copy(fs, &list, &count);

	for (uint32_t k = 0; !err && k < count; k++) {
		if (!is_shown(fs, &list[k]))
			continue;
		if (limit_is_pins(list[k].kind))
			limit_pins_show(fs, &list[k]);
		each(ctx, &list[k]);
	}
	free(list);
	return err;
}
