/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rename, with replacement, NOREPLACE and EXCHANGE: one record. Up to four inodes are locked: both directories and what
 * the names mean. They are looked up first, then locked in order, then looked up again; when a name has come to mean
 * something else, all begins anew.
 *
 * Directories that move hold RENAME as well, so that parents stand still: the walk to the root that keeps a directory
 * from becoming its own ancestor needs no lock of the ancestors (none of them can go, they are not empty).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "fs/limit.h"
#include "fs/namespace.h"
#include "fs/perm.h"

struct rename {
	struct fs *fs;
	struct walk from, to;
	struct inode *old, *new; /* counted; what the names mean; new may be NULL */
	struct entry *old_entry, *new_entry;
	unsigned flags;
};

static int look_counted(struct walk *w, struct inode **out)
{
	struct entry *e;
	int err;

	rwlock_take_read(&w->dir->lock);
	err = walk_look(w, &e);
	*out = err ? NULL : e->inode;
	if (!err)
		inode_get(*out);
	rwlock_drop(&w->dir->lock);
	return err;
}

static int look_both(struct rename *r)
{
	int err = look_counted(&r->from, &r->old);
	int to = look_counted(&r->to, &r->new);

	/* Who may not search the one directory does not hear what is in the other. */
	if (err)
		return err == -ENOENT && to == -EACCES ? to : err;
	err = to;
	if (err == -ENOENT && !(r->flags & RENAME_EXCHANGE))
		err = 0;
	return err;
}

static void forget_both(struct rename *r)
{
	inode_put(r->fs, r->old);
	inode_put(r->fs, r->new);
	r->old = r->new = NULL;
}

/* Under all locks: the names still mean what they did. */
static bool still(struct rename *r)
{
	return walk_look(&r->from, &r->old_entry) == 0 && r->old_entry->inode == r->old &&
	       (r->new ? walk_look(&r->to, &r->new_entry) == 0 && r->new_entry->inode == r->new
		       : walk_look(&r->to, &r->new_entry) == -ENOENT);
}

/* Whether `dir` is `top` or below it. Holds RENAME. */
static bool below(const struct inode *dir, const struct inode *top)
{
	for (;;) {
		if (dir == top)
			return true;
		if (!dir || dir->dir->parent == dir)
			return false;
		dir = dir->dir->parent;
	}
}

/* RENAME is wanted: a directory moves, or is replaced and must not be above what moves. */
static bool moves_directory(const struct rename *r)
{
	return r->old->type == DT_DIR || (r->new && r->new->type == DT_DIR);
}

/* What the kernel asks in this order, before it asks who calls. */
static int check_shape(const struct rename *r)
{
	bool exchange = r->flags & RENAME_EXCHANGE;

	if (r->new && (r->flags & RENAME_NOREPLACE))
		return -EEXIST;
	if (exchange && r->to.slash && r->new->type != DT_DIR)
		return -ENOTDIR;
	if (r->old->type != DT_DIR && (r->from.slash || (r->to.slash && !exchange)))
		return -ENOTDIR;
	if (r->from.dir == r->to.dir)
		return 0;
	if (r->old->type == DT_DIR && below(r->to.dir, r->old))
		return fail(-EINVAL, "a directory cannot be moved into itself");
	if (!r->new || r->new->type != DT_DIR || !below(r->from.dir, r->new))
		return 0;
	return exchange ? fail(-EINVAL, "a directory cannot be exchanged with one inside it") : -ENOTEMPTY;
}

/* A directory that gets another parent is written to, in a way. */
static int check_reparent(const struct rename *r, const struct inode *i)
{
	if (i->type != DT_DIR || r->from.dir == r->to.dir)
		return 0;
	return perm_check(i, r->from.cred, MAY_WRITE);
}

static int check_target(const struct rename *r)
{
	int err;

	if (!r->new)
		return dir_writable(&r->to);
	err = perm_delete(r->to.dir, r->new, r->to.cred);
	if (err || (r->flags & RENAME_EXCHANGE))
		return err;
	if (r->old->type == DT_DIR && r->new->type != DT_DIR)
		return -ENOTDIR;
	return r->old->type != DT_DIR && r->new->type == DT_DIR ? -EISDIR : 0;
}

/* A directory comes, and none goes for it: its ".." is one more link. */
static bool too_many(const struct inode *dir, const struct inode *comes, const struct inode *goes)
{
	return comes->type == DT_DIR && !(goes && goes->type == DT_DIR) && dir->nlink >= FS_LINKS_MAX;
}

static int check_links(const struct rename *r)
{
	bool exchange = r->flags & RENAME_EXCHANGE;
	bool many = false;

	if (r->from.dir != r->to.dir)
		many = too_many(r->to.dir, r->old, r->new) || (exchange && too_many(r->from.dir, r->new, r->old));
	if (many)
		return fail(-EMLINK, "a directory has at most %u subdirectories", FS_LINKS_MAX - 2);
	return !exchange && r->new && r->new->type == DT_DIR && r->new->dir->live ? -ENOTEMPTY : 0;
}

static int check_changeable(const struct rename *r)
{
	const struct inode *const in[] = {r->from.dir, r->to.dir, r->old, r->new};
	int err = 0;

	for (unsigned k = 0; !err && k < ARRAY_LEN(in); k++)
		err = in[k] ? inode_changeable(r->fs, in[k]) : 0;
	return err;
}

static int check(const struct rename *r)
{
	int err = check_changeable(r);

	if (!err)
		err = check_shape(r);
	if (!err && r->to.dir->nlink == 0)
		err = -ENOENT;
	if (!err)
		err = perm_delete(r->from.dir, r->old, r->from.cred);
	if (!err)
		err = check_target(r);
	if (!err)
		err = check_reparent(r, r->old);
	if (!err && (r->flags & RENAME_EXCHANGE))
		err = check_reparent(r, r->new);
	if (!err)
		err = limit_border(r->from.dir->attr.tree, r->to.dir->attr.tree);
	return err ? err : check_links(r);
}

/* --- doing -------------------------------------------------------------------------------------------------------- */

struct rename_attrs {
	struct inode_attr from, to, old, new;
};

static void attrs_plan(const struct rename *r, struct rename_attrs *a, struct jtxn *t)
{
	int64_t now = time_now();

	a->from = r->from.dir->attr;
	a->to = r->to.dir->attr;
	a->old = r->old->attr;
	a->from.mtime_ns = a->from.ctime_ns = now;
	a->to.mtime_ns = a->to.ctime_ns = now;
	a->old.ctime_ns = now;
	jtxn_inode(t, &a->from);
	if (r->to.dir != r->from.dir)
		jtxn_inode(t, &a->to);
	jtxn_inode(t, &a->old);
}

static void attrs_apply(struct rename *r, const struct rename_attrs *a)
{
	inode_attr_set(r->fs, r->to.dir, &a->to, CHANGED_NOTHING, NULL); /* the name tells */
	inode_attr_set(r->fs, r->from.dir, &a->from, CHANGED_NOTHING, NULL);
	inode_attr_set(r->fs, r->old, &a->old, CHANGED_ATTR, r->from.who);
	atomic_store_explicit(&r->to.dir->lazy, false, memory_order_relaxed);
	atomic_store_explicit(&r->from.dir->lazy, false, memory_order_relaxed);
	atomic_store_explicit(&r->old->lazy, false, memory_order_relaxed);
}

static void names_changed(const struct rename *r)
{
	if (!is_watched(r->fs))
		return;
	watch_note_name(r->fs, ino_of(r->from.dir), r->from.name, r->from.len, r->from.who);
	watch_note_name(r->fs, ino_of(r->to.dir), r->to.name, r->to.len, r->from.who);
}

/* A directory moves from one parent's links to the other's. */
static void reparent(struct inode *i, struct inode *from, struct inode *to)
{
	if (i->type != DT_DIR)
		return;
	from->nlink--;
	to->nlink++;
	i->dir->parent = to;
}

static void entry_point(struct entry *e, struct inode *i)
{
	e->inode = i;
	e->type = i->type;
}

static int do_exchange(struct rename *r)
{
	struct rename_attrs a;
	struct entry *x = r->old_entry;
	struct entry *y = r->new_entry;
	struct jtxn t;
	uint64_t seq;
	int err;

	jtxn_init(&t);
	attrs_plan(r, &a, &t);
	a.new = r->new->attr;
	a.new.ctime_ns = a.old.ctime_ns;
	jtxn_inode(&t, &a.new);
	jtxn_dirent(&t, a.from.ino, x->cookie, a.new.ino, r->new->type, x->name, x->len);
	jtxn_dirent(&t, a.to.ino, y->cookie, a.old.ino, r->old->type, y->name, y->len);
	err = jtxn_commit(r->fs->journal, &t, &seq);
	jtxn_fini(&t);
	if (err)
		return err;
	attrs_apply(r, &a);
	inode_attr_set(r->fs, r->new, &a.new, CHANGED_ATTR, r->from.who);
	atomic_store_explicit(&r->new->lazy, false, memory_order_relaxed);
	entry_point(x, r->new);
	entry_point(y, r->old);
	reparent(r->old, r->from.dir, r->to.dir);
	reparent(r->new, r->to.dir, r->from.dir);
	names_changed(r);
	return 0;
}

static void take_away(struct rename *r)
{
	walk_account(r->fs, -(int64_t)(WALK_DIRENT_BYTES + r->old_entry->len));
	dir_remove(r->from.dir->dir, r->old_entry);
	free(r->old_entry);
}

/* The new name's entry stays where it is and means something else then. */
static int do_replace(struct rename *r)
{
	struct rename_attrs a;
	struct entry *y = r->new_entry;
	struct victim v;
	struct jtxn t;
	uint64_t seq;
	int err;

	jtxn_init(&t);
	t.frees = true;
	attrs_plan(r, &a, &t);
	jtxn_undirent(&t, a.from.ino, r->old_entry->cookie);
	jtxn_dirent(&t, a.to.ino, y->cookie, a.old.ino, r->old->type, y->name, y->len);
	victim_plan(&v, r->new, a.old.ctime_ns, &t);
	err = jtxn_commit(r->fs->journal, &t, &seq);
	jtxn_fini(&t);
	if (err)
		return err;
	attrs_apply(r, &a);
	take_away(r);
	entry_point(y, r->old);
	r->to.dir->nlink -= r->new->type == DT_DIR;
	reparent(r->old, r->from.dir, r->to.dir);
	victim_apply(r->fs, &v, seq, r->from.who);
	names_changed(r);
	return 0;
}

static int do_move(struct rename *r)
{
	struct rename_attrs a;
	struct entry *e = entry_new(r->to.dir->dir, r->old, r->to.name, r->to.len);
	struct jtxn t;
	uint64_t seq;
	int err = e ? dir_reserve(r->to.dir->dir, e) : -ENOMEM;

	if (err) {
		free(e);
		return err;
	}
	jtxn_init(&t);
	attrs_plan(r, &a, &t);
	jtxn_undirent(&t, a.from.ino, r->old_entry->cookie);
	jtxn_dirent(&t, a.to.ino, e->cookie, a.old.ino, e->type, e->name, e->len);
	err = jtxn_commit(r->fs->journal, &t, &seq);
	jtxn_fini(&t);
	if (err) {
		free(e);
		return err;
	}
	attrs_apply(r, &a);
	dir_add(r->to.dir->dir, e);
	walk_account(r->fs, WALK_DIRENT_BYTES + e->len);
	take_away(r);
	reparent(r->old, r->from.dir, r->to.dir);
	names_changed(r);
	return 0;
}

/* Under all locks. */
static int rename_locked(struct rename *r)
{
	int err;

	if (r->old == r->new && !(r->flags & RENAME_NOREPLACE))
		return 0;
	err = check(r);
	if (err)
		return err;
	if (r->flags & RENAME_EXCHANGE)
		return do_exchange(r);
	return r->new ? do_replace(r) : do_move(r);
}

/* -ESTALE: the names have changed their meaning, look again. */
static int rename_once(struct rename *r)
{
	struct lockset set = {0};
	int err = look_both(r);
	bool directory;

	if (err)
		goto put;
	directory = moves_directory(r);
	if (directory)
		lock_take(&r->fs->rename);
	/* Replacing an ancestor of the source: it is not empty; and its lock would be taken for nothing. */
	lockset_add(&set, r->from.dir);
	lockset_add(&set, r->to.dir);
	lockset_add(&set, r->old);
	lockset_add(&set, r->new);
	lockset_take(&set);
	err = still(r) ? rename_locked(r) : -ESTALE;
	lockset_drop(&set);
	if (directory)
		lock_drop(&r->fs->rename);
put:
	forget_both(r);
	return err;
}

static int rename_walked(struct rename *r)
{
	unsigned tries = 0;
	int err;

	if (r->from.last != LAST_NAME || r->to.last != LAST_NAME)
		return (r->flags & RENAME_NOREPLACE) && r->to.last != LAST_NAME ? -EEXIST : -EBUSY;
	do {
		err = rename_once(r);
	} while (err == -ESTALE || walk_made_room(r->fs, err, &tries));
	return err;
}

int fs_rename(struct fs *fs, const struct fs_caller *who, const char *from, const char *to, unsigned flags)
{
	struct rename r = {.fs = fs, .flags = flags};
	int err;

	if (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE) || flags == (RENAME_NOREPLACE | RENAME_EXCHANGE))
		return fail(-EINVAL, "rename flags are 0, NOREPLACE or EXCHANGE");
	if (fs->read_only)
		return fail(-EROFS, "the filesystem is mounted read-only");
	err = walk_path(&r.from, fs, who, 0, from);
	if (err)
		return err;
	err = walk_path(&r.to, fs, who, 1, to);
	if (!err) {
		err = rename_walked(&r);
		walk_end(&r.to);
	}
	walk_end(&r.from);
	return err;
}
