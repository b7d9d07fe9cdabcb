/* SPDX-License-Identifier: BSD-2-Clause */
/* mkdir, rmdir, unlink, link, symlink, readlink, and the making of inodes for open and mknod. Each is one record. */
#include "fs/namespace.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "fs/acl.h"
#include "fs/keeper.h"
#include "fs/limit.h"
#include "fs/perm.h"

int dir_writable(const struct walk *w)
{
	int err = inode_changeable(w->fs, w->dir);

	if (err)
		return err;
	if (w->dir->nlink == 0)
		return -ENOENT;
	return perm_check(w->dir, w->cred, MAY_WRITE | MAY_EXEC);
}

/* --- making ------------------------------------------------------------------------------------------------------- */

static int set_target(struct inode *i, const struct node *n)
{
	i->target = malloc(n->target_len + 1);
	if (!i->target)
		return -ENOMEM;
	memcpy(i->target, n->target, n->target_len);
	i->target[n->target_len] = '\0';
	i->target_len = n->target_len;
	return 0;
}

static int node_new(const struct walk *w, const struct node *n, int64_t now, struct inode **out)
{
	struct inode_attr a = {.mode = n->mode, .atime_ns = now, .mtime_ns = now, .ctime_ns = now, .btime_ns = now};
	int err;

	a.ino = atomic_fetch_add_explicit(&w->fs->next_ino, 1, memory_order_relaxed);
	a.size = n->target_len;
	a.rdev = n->rdev;
	perm_inherit(&w->dir->attr, w->cred, &a);
	err = inode_new(w->fs, &a, out);
	if (err)
		return err;
	(*out)->linkable = n->linkable;
	err = acl_inherit(w->dir, *out, n->umask);
	if (!err && n->target)
		err = set_target(*out, n);
	if (err)
		inode_free(*out);
	return err;
}

/* e: NULL when it has no name. */
static int create_record(const struct walk *w, const struct inode *i, const struct entry *e,
			 const struct inode_attr *dir)
{
	struct jtxn t;
	uint64_t seq;
	int err;

	jtxn_init(&t);
	if (e)
		jtxn_inode(&t, dir);
	jtxn_inode(&t, &i->attr);
	xattrs_record(&t, i);
	if (i->type == DT_LNK)
		jtxn_symlink(&t, ino_of(i), i->target, i->target_len);
	if (e)
		jtxn_dirent(&t, dir->ino, e->cookie, ino_of(i), e->type, e->name, e->len);
	err = jtxn_commit(w->fs->journal, &t, &seq);
	jtxn_fini(&t);
	return err;
}

static void create_apply(const struct walk *w, struct inode *i, struct entry *e, const struct inode_attr *dir)
{
	struct inode *d = w->dir;

	walk_account(w->fs, walk_inode_bytes(i));
	if (!e) {
		inode_orphan(i);
		return;
	}
	inode_attr_set(w->fs, d, dir, CHANGED_NOTHING, NULL); /* the name tells */
	atomic_store_explicit(&d->lazy, false, memory_order_relaxed);
	dir_add(d->dir, e);
	i->nlink = 1;
	if (i->type == DT_DIR) {
		i->nlink = 2;
		i->dir->parent = d;
		d->nlink++;
	}
	name_changed(w->fs, d, e->name, e->len, w->who);
	walk_account(w->fs, WALK_DIRENT_BYTES + e->len);
}

/* The entry that it will have. */
static int make_entry(const struct walk *w, const struct node *n, struct inode *i, struct entry **out)
{
	int err;

	*out = NULL;
	if (n->nameless)
		return 0;
	*out = entry_new(w->dir->dir, i, w->name, w->len);
	err = *out ? dir_reserve(w->dir->dir, *out) : -ENOMEM;
	if (err) {
		free(*out);
		*out = NULL;
	}
	return err;
}

/* A checkpoint may meet the inode as soon as it is in the table: its lock is held until it is known whether it exists.
 */
int node_create(const struct walk *w, const struct node *n, struct inode **out)
{
	struct inode_attr dir;
	struct inode *i;
	struct entry *e;
	int err = dir_writable(w);

	if (err)
		return err;
	if (w->cred->uid == FS_ID_NONE || w->cred->gid == FS_ID_NONE)
		return fail(-EOVERFLOW, "the caller's uid or gid is nobody's number");
	if (S_ISDIR(n->mode) && w->dir->nlink >= FS_LINKS_MAX)
		return fail(-EMLINK, "a directory has at most %u subdirectories", FS_LINKS_MAX - 2);
	err = node_new(w, n, time_now(), &i);
	if (err)
		return err;
	err = limit_charge(w->fs, &i->attr, 0, 1);
	if (!err) {
		err = make_entry(w, n, i, &e);
		if (err)
			limit_return(w->fs, &i->attr, 0, 1);
	}
	if (err) {
		inode_free(i);
		return err;
	}
	dir = w->dir->attr;
	dir.mtime_ns = dir.ctime_ns = i->attr.ctime_ns;
	rwlock_take_write(&i->lock);
	itable_add(w->fs, i);
	err = create_record(w, i, e, &dir);
	if (err) {
		i->gone = true;
		itable_remove(w->fs, i);
		limit_return(w->fs, &i->attr, 0, 1);
		inode_orphan(i);
		free(e);
	} else {
		create_apply(w, i, e, &dir);
	}
	rwlock_drop(&i->lock);
	if (err || !out)
		inode_put(w->fs, i);
	else
		*out = i;
	return err;
}

int node_make(struct fs *fs, const struct fs_caller *who, const char *path, const struct node *n)
{
	struct inode *made = NULL;
	struct walk w;
	struct entry *e;
	int err = walk_path(&w, fs, who, 0, path);

	if (err)
		return err;
	rwlock_take_write(&w.dir->lock);
	if (w.last != LAST_NAME) {
		err = -EEXIST;
	} else {
		err = walk_look(&w, &e);
		if (!err)
			err = -EEXIST;
		else if (err == -ENOENT && w.slash && !S_ISDIR(n->mode))
			err = -ENOENT;
		else if (err == -ENOENT)
			err = node_create(&w, n, &made);
	}
	rwlock_drop(&w.dir->lock);
	walk_end(&w);
	if (made) {
		inode_tell(made, who);
		inode_put(fs, made);
	}
	return err;
}

int fs_mkdir(struct fs *fs, const struct fs_caller *who, const char *path, uint32_t mode)
{
	struct node n = {.mode = S_IFDIR | (mode & 01777), .umask = who->umask};

	return node_make(fs, who, path, &n);
}

int fs_symlink(struct fs *fs, const struct fs_caller *who, const char *target, const char *path)
{
	struct node n = {.mode = S_IFLNK | 0777, .target = target};
	size_t len = strnlen(target, TARGET_MAX + 1);
	unsigned tries = 0;
	int err;

	if (len == 0)
		return fail(-ENOENT, "the target of a symbolic link cannot be empty");
	if (len > TARGET_MAX)
		return fail(-ENAMETOOLONG, "the target of a symbolic link is longer than %u bytes", TARGET_MAX);
	n.target_len = (uint32_t)len;
	do {
		err = node_make(fs, who, path, &n);
	} while (walk_joined_room(fs, err, &tries));
	return err;
}

ssize_t fs_readlink(struct fs *fs, const struct fs_caller *who, const char *path, char *buf, size_t size)
{
	struct inode *i;
	ssize_t len;
	int err = path_inode(fs, who, path, false, &i);

	if (err)
		return err;
	if (i->type != DT_LNK) {
		len = -EINVAL;
	} else if (i->target_len > size) {
		len = -ERANGE;
	} else {
		memcpy(buf, i->target, i->target_len);
		len = i->target_len;
		rwlock_take_read(&i->lock);
		inode_touch_atime(fs, i);
		rwlock_drop(&i->lock);
	}
	inode_put(fs, i);
	return len;
}

/* --- removing ------------------------------------------------------------------------------------------------------
 */

/* Usually the child is younger than its directory; else both locks are taken anew, in order, and the name looked up
 * again. */
int lock_dir_child(struct walk *w, struct entry **entry, struct inode **child)
{
	for (;;) {
		struct lockset set = {0};
		struct inode *i;
		int err;

		rwlock_take_write(&w->dir->lock);
		err = walk_look(w, entry);
		if (err) {
			rwlock_drop(&w->dir->lock);
			return err;
		}
		i = (*entry)->inode;
		inode_get(i);
		*child = i;
		if (ino_of(i) > ino_of(w->dir)) {
			rwlock_take_write(&i->lock);
			return 0;
		}
		rwlock_drop(&w->dir->lock);
		lockset_add(&set, w->dir);
		lockset_add(&set, i);
		lockset_take(&set);
		err = walk_look(w, entry);
		if (!err && (*entry)->inode == i)
			return 0;
		lockset_drop(&set);
		inode_put(w->fs, i);
	}
}

void victim_plan(struct victim *v, struct inode *i, int64_t now, struct jtxn *t)
{
	*v = (struct victim){.inode = i, .attr = i->attr};
	v->attr.ctime_ns = now;
	v->last = i->type == DT_DIR || i->nlink == 1;
	/* Only files stay on the medium as orphans: what else is open needs nothing of it. */
	v->forget = v->last && (i->type != DT_REG || inode_unused(i));
	if (v->forget)
		jtxn_forget(t, v->attr.ino);
	else
		jtxn_inode(t, &v->attr);
}

void victim_apply(struct fs *fs, struct victim *v, uint64_t seq, const struct fs_caller *who)
{
	inode_attr_set(fs, v->inode, &v->attr, CHANGED_ATTR, who);
	atomic_store_explicit(&v->inode->lazy, false, memory_order_relaxed);
	if (v->last)
		inode_orphan(v->inode);
	else
		v->inode->nlink--;
	if (v->forget) {
		inode_forgotten(fs, v->inode, seq);
		if (v->inode->type == DT_DIR)
			itable_unnamed(fs, v->inode);
	} else if (v->last) {
		orphan_note(fs, v->inode);
	}
}

static int remove_check(const struct walk *w, const struct inode *child, bool directory)
{
	int err = inode_changeable(w->fs, w->dir);

	if (!err)
		err = inode_changeable(w->fs, child);
	if (!err)
		err = perm_delete(w->dir, child, w->cred);
	if (err)
		return err;
	if (directory && child->type != DT_DIR)
		return -ENOTDIR;
	if (directory)
		return child->dir->live ? -ENOTEMPTY : 0;
	if (child->type == DT_DIR)
		return -EISDIR;
	return w->slash ? -ENOTDIR : 0;
}

/* Under both locks. */
static int remove_now(const struct walk *w, struct entry *e, struct inode *child)
{
	struct inode *d = w->dir;
	struct inode_attr dir = d->attr;
	struct victim v;
	struct jtxn t;
	uint64_t seq;
	int err;

	dir.mtime_ns = dir.ctime_ns = time_now();
	jtxn_init(&t);
	t.frees = true;
	jtxn_inode(&t, &dir);
	jtxn_undirent(&t, dir.ino, e->cookie);
	victim_plan(&v, child, dir.ctime_ns, &t);
	err = jtxn_commit(w->fs->journal, &t, &seq);
	jtxn_fini(&t);
	if (err)
		return err;
	inode_attr_set(w->fs, d, &dir, CHANGED_NOTHING, NULL); /* the name tells */
	atomic_store_explicit(&d->lazy, false, memory_order_relaxed);
	d->nlink -= child->type == DT_DIR;
	walk_account(w->fs, -(int64_t)(WALK_DIRENT_BYTES + e->len));
	dir_remove(d->dir, e);
	name_changed(w->fs, d, e->name, e->len, w->who);
	free(e);
	victim_apply(w->fs, &v, seq, w->who);
	return 0;
}

static int remove_last(struct walk *w, bool directory)
{
	struct inode *child;
	struct entry *e;
	int err = 0;

	switch (w->last) {
	case LAST_NAME:
		err = lock_dir_child(w, &e, &child);
		break;
	case LAST_DOT:
		err = directory ? -EINVAL : -EISDIR;
		break;
	case LAST_DOTDOT:
		err = directory ? -ENOTEMPTY : -EISDIR;
		break;
	case LAST_ROOT:
		err = directory ? -EBUSY : -EISDIR;
		break;
	}
	if (err)
		return err;
	err = remove_check(w, child, directory);
	if (!err)
		err = remove_now(w, e, child);
	rwlock_drop(&child->lock);
	rwlock_drop(&w->dir->lock);
	inode_put(w->fs, child);
	return err;
}

static int remove_name(struct fs *fs, const struct fs_caller *who, const char *path, bool directory)
{
	unsigned tries = 0;
	struct walk w;
	int err = walk_path(&w, fs, who, 0, path);

	if (err)
		return err;
	do {
		err = remove_last(&w, directory);
	} while (walk_made_room(fs, err, &tries));
	walk_end(&w);
	return err;
}

int fs_unlink(struct fs *fs, const struct fs_caller *who, const char *path)
{
	return remove_name(fs, who, path, false);
}

int fs_rmdir(struct fs *fs, const struct fs_caller *who, const char *path)
{
	return remove_name(fs, who, path, true);
}

/* --- hard links --------------------------------------------------------------------------------------------------- */

static int link_now(const struct walk *w, struct inode *i)
{
	struct inode_attr dir = w->dir->attr;
	struct inode_attr attr = i->attr;
	struct entry *e = entry_new(w->dir->dir, i, w->name, w->len);
	struct jtxn t;
	uint64_t seq;
	int err = e ? dir_reserve(w->dir->dir, e) : -ENOMEM;

	if (err) {
		free(e);
		return err;
	}
	dir.mtime_ns = dir.ctime_ns = attr.ctime_ns = time_now();
	jtxn_init(&t);
	jtxn_inode(&t, &dir);
	jtxn_inode(&t, &attr);
	jtxn_dirent(&t, dir.ino, e->cookie, attr.ino, e->type, e->name, e->len);
	err = jtxn_commit(w->fs->journal, &t, &seq);
	jtxn_fini(&t);
	if (err) {
		free(e);
		return err;
	}
	inode_attr_set(w->fs, w->dir, &dir, CHANGED_NOTHING, NULL); /* the name tells */
	inode_attr_set(w->fs, i, &attr, CHANGED_ATTR, w->who);
	inode_named(i);
	dir_add(w->dir->dir, e);
	name_changed(w->fs, w->dir, e->name, e->len, w->who);
	walk_account(w->fs, WALK_DIRENT_BYTES + e->len);
	return 0;
}

/* Under both locks. */
static int link_check(const struct walk *w, const struct inode *i)
{
	struct entry *e;
	int err;

	if (w->last != LAST_NAME)
		return -EEXIST;
	err = walk_look(w, &e);
	if (err != -ENOENT)
		return err ? err : -EEXIST;
	if (w->slash)
		return -ENOENT;
	err = dir_writable(w);
	if (!err)
		err = inode_changeable(w->fs, i);
	if (!err)
		err = limit_border(i->attr.tree, w->dir->attr.tree);
	if (err)
		return err;
	if (i->type == DT_DIR)
		return fail(-EPERM, "a directory cannot have hard links");
	if (i->nlink == 0 && !i->linkable)
		return -ENOENT;
	return i->nlink >= FS_LINKS_MAX ? fail(-EMLINK, "a file has at most %u names", FS_LINKS_MAX) : 0;
}

int inode_link(struct fs *fs, const struct fs_caller *who, struct inode *i, unsigned which, const char *to)
{
	struct lockset set = {0};
	struct walk w;
	int err = walk_path(&w, fs, who, which, to);

	if (err)
		return err;
	lockset_add(&set, w.dir);
	lockset_add(&set, i);
	lockset_take(&set);
	err = link_check(&w, i);
	if (!err)
		err = link_now(&w, i);
	lockset_drop(&set);
	walk_end(&w);
	if (!err)
		inode_tell(i, who);
	return err;
}

int fs_link(struct fs *fs, const struct fs_caller *who, const char *from, const char *to)
{
	struct inode *i;
	int err = path_inode(fs, who, from, false, &i);

	if (err)
		return err;
	err = inode_link(fs, who, i, 1, to);
	inode_put(fs, i);
	return err;
}
