/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Snapshots that are there: removing one whole, and listing them.
 *
 * Removing is one record: the name, and all inodes of the tree forgotten; files that are open or leased stay as
 * orphans, as after unlink, and are reclaimed with their last reference. A file of a writable snapshot with names
 * elsewhere stays with those.
 *
 * Listing freezes nothing: it counts what it meets, directory by directory.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/error.h"
#include "format/format.h"
#include "fs/freeze.h"
#include "fs/path.h"
#include "fs/perm.h"
#include "fs/keeper.h"
#include "fs/tree.h"

struct removal {
	struct fs *fs;
	struct walk walk;
	struct entry *entry;
	struct tree tree;
	struct inode_attr dir;
	bool *forget; /* of each member */
};

/* Frozen. The snapshot that the name means. */
static int removal_check(struct removal *r)
{
	const struct fs_cred *cred = r->walk.cred;
	const struct inode *top;
	int err = walk_look(&r->walk, &r->entry);

	if (err)
		return err;
	top = r->entry->inode;
	if (!(top->attr.flags & INODE_SNAPSHOT))
		return fail(-EINVAL, "this is not the root of a snapshot");
	err = inode_changeable(r->fs, r->walk.dir);
	if (!err)
		err = perm_delete(r->walk.dir, top, cred);
	if (!err && !cred_is_super(cred) && cred->uid != top->attr.uid)
		err = fail(-EPERM, "only root and its owner may remove a snapshot");
	return err;
}

static bool is_last(const struct tree_member *m)
{
	return m->inode->type == DT_DIR || m->names == m->inode->nlink;
}

static int removal_record(struct removal *r, uint64_t *seq)
{
	struct jtxn t;
	int err;

	r->dir = inode_attr_copy(r->walk.dir);
	r->dir.mtime_ns = r->dir.ctime_ns = time_now();
	jtxn_init(&t);
	t.frees = true;
	jtxn_inode(&t, &r->dir);
	jtxn_undirent(&t, r->dir.ino, r->entry->cookie);
	for (uint64_t k = 0; k < r->tree.count; k++) {
		const struct tree_member *m = &r->tree.m[k];
		struct inode_attr a = inode_attr_copy(m->inode);

		/* Only files stay on the medium as orphans: what else is open needs nothing of it. */
		r->forget[k] = is_last(m) && (m->inode->type != DT_REG || inode_unused(m->inode));
		a.ctime_ns = r->dir.ctime_ns;
		if (r->forget[k])
			jtxn_forget(&t, a.ino);
		else
			jtxn_inode(&t, &a);
	}
	err = jtxn_commit(r->fs->journal, &t, seq);
	jtxn_fini(&t);
	return err;
}

/* Cannot fail. Who has the directory open finds it empty. */
static void removal_names(struct removal *r, struct inode *i)
{
	const struct entry *e;
	struct dir_walk w;
	int64_t bytes = 0;

	dir_walk_begin(&w, &i->dir->list, 0);
	for (e = dir_walk_next(&w); e; e = dir_walk_next(&w)) {
		bytes += WALK_DIRENT_BYTES + e->len;
		name_changed(r->fs, i, e->name, e->len, r->walk.who);
	}
	dir_clear(i->dir);
	walk_account(r->fs, -bytes);
}

static void removal_apply(struct removal *r, uint64_t seq)
{
	struct inode *dir = r->walk.dir;

	rwlock_take_write(&dir->lock);
	inode_attr_set(r->fs, dir, &r->dir, CHANGED_NOTHING, NULL); /* the name tells */
	atomic_store_explicit(&dir->lazy, false, memory_order_relaxed);
	dir->nlink--;
	walk_account(r->fs, -(int64_t)(WALK_DIRENT_BYTES + r->entry->len));
	dir_remove(dir->dir, r->entry);
	name_changed(r->fs, dir, r->entry->name, r->entry->len, r->walk.who);
	rwlock_drop(&dir->lock);
	free(r->entry);
	for (uint64_t k = 0; k < r->tree.count; k++) {
		const struct tree_member *m = &r->tree.m[k];
		struct inode *i = m->inode;
		bool last = is_last(m);

		rwlock_take_write(&i->lock);
		i->attr.ctime_ns = r->dir.ctime_ns;
		inode_changed(r->fs, i, CHANGED_ATTR, r->walk.who);
		if (i->type == DT_DIR)
			removal_names(r, i);
		if (last)
			inode_orphan(i);
		else
			i->nlink -= m->names;
		if (r->forget[k])
			inode_forgotten(r->fs, i, seq);
		else if (last)
			orphan_note(r->fs, i);
		rwlock_drop(&i->lock);
	}
}

/* One try. */
static int removal_frozen(struct removal *r)
{
	const struct tree_filter all = {0};
	uint64_t seq;
	int err;

	r->forget = NULL;
	tree_init(&r->tree, true);
	freeze_begin(r->fs);
	err = removal_check(r);
	if (!err)
		err = tree_collect(&r->tree, r->entry->inode, &all);
	if (!err) {
		r->forget = calloc(r->tree.count, sizeof(*r->forget));
		err = r->forget ? removal_record(r, &seq) : -ENOMEM;
	}
	if (!err)
		removal_apply(r, seq);
	freeze_end(r->fs);
	tree_put(r->fs, &r->tree);
	tree_fini(&r->tree);
	free(r->forget);
	return err;
}

int fs_snapshot_delete(struct fs *fs, const struct fs_caller *who, const char *path)
{
	struct removal r = {.fs = fs};
	unsigned tries = 0;
	int err = walk_path(&r.walk, fs, who, 0, path);

	if (err)
		return err;
	if (r.walk.last != LAST_NAME) {
		err = fail(-EINVAL, "this is not the root of a snapshot");
	} else {
		do {
			err = removal_frozen(&r);
		} while (walk_made_room(fs, err, &tries));
	}
	walk_end(&r.walk);
	return err;
}

/* --- listing
 * ---------------------------------------------------------------------------------------------------------- */

struct listing {
	struct fs *fs;
	void (*each)(void *ctx, const struct fs_snapshot_info *info);
	void *ctx;
	struct inode **todo; /* counted */
	uint64_t count, room;
	char path[FS_PATH_MAX + FS_NAME_MAX + 2];
};

static int todo_add(struct listing *l, struct inode *i)
{
	if (l->count == l->room) {
		uint64_t room = l->room ? l->room * 2 : 64;
		struct inode **todo = reallocarray(l->todo, room, sizeof(*todo));

		if (!todo)
			return -ENOMEM;
		l->todo = todo;
		l->room = room;
	}
	inode_get(i);
	l->todo[l->count++] = i;
	return 0;
}

static int is_snapshot(void *ctx, struct inode *i)
{
	bool wanted;

	rwlock_take_read(&i->lock);
	wanted = (i->attr.flags & INODE_SNAPSHOT) && i->type == DT_DIR && i->nlink > 0 && !i->gone;
	rwlock_drop(&i->lock);
	return wanted ? todo_add(ctx, i) : 0;
}

/* Puts "/name" of a directory in front of the path that begins at `at`. Returns where it begins now; 0: no room, or it
 * has no name any more. */
static size_t prepend_name(struct listing *l, size_t at, const struct inode *i, struct inode *parent)
{
	const struct entry *e;
	struct dir_walk w;
	size_t to = 0;

	rwlock_take_read(&parent->lock);
	dir_walk_begin(&w, &parent->dir->list, 0);
	for (e = dir_walk_next(&w); e; e = dir_walk_next(&w)) {
		if (e->inode != i)
			continue;
		if (at > e->len + 1ul) {
			to = at - e->len - 1;
			l->path[to] = '/';
			memcpy(l->path + to + 1, e->name, e->len);
		}
		break;
	}
	rwlock_drop(&parent->lock);
	return to;
}

static struct inode *parent_of(struct inode *i)
{
	struct inode *parent;

	rwlock_take_read(&i->lock);
	parent = i->dir->parent;
	if (parent)
		inode_get(parent);
	rwlock_drop(&i->lock);
	return parent;
}

/* NULL: it has gone, or its path is too long. */
static const char *path_of(struct listing *l, struct inode *i)
{
	size_t at = sizeof(l->path) - 1;

	l->path[at] = '\0';
	inode_get(i);
	while (i && i != l->fs->root) {
		struct inode *parent = parent_of(i);

		at = parent ? prepend_name(l, at, i, parent) : 0;
		inode_put(l->fs, i);
		i = at ? parent : NULL;
		if (!at)
			inode_put(l->fs, parent);
	}
	inode_put(l->fs, i);
	return at ? l->path + at : NULL;
}

/* The next of the list: counted, and what is in it comes onto the list. A file with several names counts once a name.
 */
static int visit(struct listing *l, struct fs_snapshot_info *info)
{
	struct inode *i = l->todo[--l->count];
	const struct entry *e;
	struct dir_walk w;
	int err = 0;

	info->inodes++;
	rwlock_take_read(&i->lock);
	if (i->type == DT_REG)
		info->blocks += i->map.blocks;
	if (i->type == DT_DIR) {
		dir_walk_begin(&w, &i->dir->list, 0);
		for (e = dir_walk_next(&w); !err && e; e = dir_walk_next(&w))
			err = todo_add(l, e->inode);
	}
	rwlock_drop(&i->lock);
	inode_put(l->fs, i);
	return err;
}

static int list_one(struct listing *l, struct inode *top)
{
	struct fs_snapshot_info info = {.ino = ino_of(top)};
	uint64_t base = l->count;
	int err;

	rwlock_take_read(&top->lock);
	info.created_ns = top->attr.btime_ns;
	info.read_only = top->attr.flags & INODE_READ_ONLY;
	rwlock_drop(&top->lock);
	err = todo_add(l, top);
	while (!err && l->count > base)
		err = visit(l, &info);
	if (err)
		return err;
	info.path = path_of(l, top);
	if (info.path)
		l->each(l->ctx, &info);
	return 0;
}

int fs_snapshots(struct fs *fs, void (*each)(void *ctx, const struct fs_snapshot_info *info), void *ctx)
{
	struct listing *l = calloc(1, sizeof(*l));
	struct inode *dead = NULL;
	uint64_t tops;
	int err;

	if (!l)
		return -ENOMEM;
	*l = (struct listing){.fs = fs, .each = each, .ctx = ctx};
	err = itable_each(fs, is_snapshot, l, &dead);
	inodes_put_dead(fs, dead);
	tops = l->count;
	for (uint64_t k = 0; !err && k < tops; k++)
		err = list_one(l, l->todo[k]);
	while (l->count > 0)
		inode_put(fs, l->todo[--l->count]);
	free(l->todo);
	free(l);
	return err;
}
