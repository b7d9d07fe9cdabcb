/* SPDX-License-Identifier: BSD-2-Clause */
/* Handles: open, close, attributes by path and by handle, reading directories. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "fs/layout.h"
#include "fs/limit.h"
#include "fs/namespace.h"
#include "fs/acl.h"
#include "fs/perm.h"
#include "fs/special.h"

#define OPEN_FLAGS (O_ACCMODE | O_CREAT | O_EXCL | O_TRUNC | O_APPEND | O_DIRECTORY | O_NOFOLLOW | O_TMPFILE)

static bool is_tmpfile(int flags)
{
	return (flags & O_TMPFILE) == O_TMPFILE;
}

static unsigned wanted(int flags)
{
	unsigned want = 0;

	if ((flags & O_ACCMODE) != O_WRONLY)
		want |= MAY_READ;
	if ((flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC))
		want |= MAY_WRITE;
	return want;
}

/* Whether an inode that is there may be opened so. */
static int open_check(const struct fs *fs, struct inode *i, const struct fs_cred *cred, int flags)
{
	unsigned want = wanted(flags);
	int err;

	if (i->type == DT_LNK)
		return -ELOOP;
	if ((flags & O_DIRECTORY) && i->type != DT_DIR)
		return -ENOTDIR;
	if (i->type == DT_DIR && ((want & MAY_WRITE) || (flags & O_CREAT)))
		return -EISDIR;
	rwlock_take_read(&i->lock);
	err = perm_check(i, cred, want);
	if (!err && i->type != DT_DIR && i->type != DT_REG)
		err = fail(-ENXIO, "device nodes, pipes and sockets are names only here");
	if (!err && (want & MAY_WRITE))
		err = inode_changeable(fs, i);
	rwlock_drop(&i->lock);
	return err;
}

/* The last component with O_CREAT: under the directory's lock it is there (counted) or made. 1: made. */
static int open_or_create(struct walk *w, int flags, const struct node *n, struct inode **out)
{
	struct entry *e;
	int err;

	if (w->last != LAST_NAME)
		return flags & O_EXCL ? -EEXIST : -EISDIR;
	rwlock_take_write(&w->dir->lock);
	err = walk_look(w, &e);
	if (!err && (flags & O_EXCL)) {
		err = -EEXIST;
	} else if (!err) {
		*out = e->inode;
		inode_get(*out);
	} else if (err == -ENOENT) {
		err = w->slash ? -EISDIR : node_create(w, n, out);
		err = err ? err : 1;
	}
	rwlock_drop(&w->dir->lock);
	return err;
}

/* 1: made; 0: was there. */
static int open_walk(struct fs *fs, const struct fs_caller *who, const char *path, int flags, uint32_t mode,
		     struct inode **out)
{
	struct node n = {.mode = S_IFREG | (mode & MODE_PERM), .umask = who->umask};
	struct walk w;
	int err;

	if (is_tmpfile(flags)) {
		err = tmpfile_make(fs, who, path, flags, mode, out);
		return err ? err : 1;
	}
	if (!(flags & O_CREAT))
		return path_inode(fs, who, path, !(flags & O_NOFOLLOW), out);
	err = walk_path(&w, fs, who, 0, path);
	while (!err) {
		struct inode *i;

		err = open_or_create(&w, flags, &n, &i);
		if (err == 0 && i->type == DT_LNK && !(flags & O_NOFOLLOW)) {
			err = walk_follow(&w, i);
			inode_put(fs, i);
			continue;
		}
		if (err == 0 && w.slash) {
			err = i->type == DT_DIR ? -EISDIR : -ENOTDIR;
			inode_put(fs, i);
		}
		walk_end(&w);
		*out = i;
		return err;
	}
	return err;
}

static void handle_set(struct fs_handle *h, struct fs *fs, struct inode *i, int flags)
{
	*h = (struct fs_handle){.fs = fs,
				.inode = i,
				.readable = (flags & O_ACCMODE) != O_WRONLY,
				.writable = (flags & O_ACCMODE) != O_RDONLY,
				.append = flags & O_APPEND};
	atomic_fetch_add_explicit(&fs->handles, 1, memory_order_relaxed);
}

static int open_truncate(struct fs_handle *h, const struct fs_caller *who)
{
	bool writable = h->writable;
	int err;

	if (h->inode->type != DT_REG)
		return 0;
	h->writable = true; /* O_RDONLY|O_TRUNC, as Linux has it: permission was checked */
	err = fs_truncate(h, who, 0);
	h->writable = writable;
	return err;
}

static int open_flags_check(int flags)
{
	bool tmpfile_bit = flags & O_TMPFILE & ~O_DIRECTORY;

	if (flags & ~OPEN_FLAGS || (flags & O_ACCMODE) == O_ACCMODE || (tmpfile_bit && !is_tmpfile(flags)) ||
	    (!tmpfile_bit && (flags & O_CREAT) && (flags & O_DIRECTORY)))
		return fail(-EINVAL, "open flags 0%o are not supported", flags);
	return tmpfile_bit ? tmpfile_flags_check(flags) : 0;
}

int fs_open(struct fs *fs, const struct fs_caller *who, const char *path, int flags, uint32_t mode,
	    struct fs_handle **out)
{
	struct fs_handle *h;
	struct inode *i;
	int made;
	int err;

	err = open_flags_check(flags);
	if (err)
		return err;
	/* Before anything is made. */
	h = malloc(sizeof(*h));
	if (!h)
		return -ENOMEM;
	made = open_walk(fs, who, path, flags, mode, &i);
	if (made < 0) {
		free(h);
		return made;
	}
	err = made ? 0 : open_check(fs, i, &who->cred, flags);
	if (err) {
		free(h);
		inode_put(fs, i);
		return err;
	}
	handle_set(h, fs, i, flags);
	if ((flags & O_TRUNC) && !made)
		err = open_truncate(h, who);
	if (err) {
		fs_close(h, NULL, 0);
		return err;
	}
	inode_tell(i, who);
	*out = h;
	return 0;
}

int fs_open_ino(struct fs *fs, const struct fs_caller *who, uint64_t ino, int64_t btime_ns, int flags,
		struct fs_handle **out)
{
	struct fs_handle *h;
	struct inode *i;
	int err = 0;

	if (flags & ~(O_ACCMODE | O_APPEND) || (flags & O_ACCMODE) == O_ACCMODE)
		return fail(-EINVAL, "open flags 0%o are not supported when a file is opened by its number", flags);
	h = malloc(sizeof(*h));
	if (!h)
		return -ENOMEM;
	i = itable_get(fs, ino);
	if (i) {
		/* Numbers are not used again; the time tells one pool's file from another's. */
		rwlock_take_read(&i->lock);
		if (i->gone || i->attr.btime_ns != btime_ns)
			err = -ESTALE;
		rwlock_drop(&i->lock);
		err = err ? err : open_check(fs, i, &who->cred, flags);
	}
	if (!i || err) {
		free(h);
		inode_put(fs, i);
		return i && err != -ESTALE
			   ? err
			   : fail(-ESTALE, "inode %llu: there is no such file any more", (unsigned long long)ino);
	}
	handle_set(h, fs, i, flags);
	*out = h;
	return 0;
}

void fs_close(struct fs_handle *h, struct lease_session *session, uint64_t handle_number)
{
	struct fs *fs = h->fs;

	if (session)
		lease_handle_close(session, handle_number);
	inode_put(fs, h->inode);
	free(h);
	atomic_fetch_sub_explicit(&fs->handles, 1, memory_order_relaxed);
}

uint64_t fs_handle_ino(const struct fs_handle *h)
{
	return ino_of(h->inode);
}

struct fs *fs_handle_fs(const struct fs_handle *h)
{
	return h->fs;
}

/* --- attributes ----------------------------------------------------------------------------------------------------
 */

static void stat_inode(struct inode *i, struct fs_attr *out)
{
	rwlock_take_read(&i->lock);
	inode_attr_read(i, out);
	rwlock_drop(&i->lock);
}

int fs_stat(struct fs *fs, const struct fs_caller *who, const char *path, bool follow, struct fs_attr *out)
{
	struct inode *i;
	int err = path_inode(fs, who, path, follow, &i);

	if (err)
		return err;
	stat_inode(i, out);
	inode_put(fs, i);
	return 0;
}

int fs_fstat(struct fs_handle *h, struct fs_attr *out)
{
	struct inode *i = h->inode;
	int err;

	rwlock_take_read(&i->lock);
	/* A directory without a name is no more than its attributes; a file's blocks have been given to others. */
	err = i->type == DT_REG ? inode_stale(i) : 0;
	if (!err)
		inode_attr_read(i, out);
	rwlock_drop(&i->lock);
	return err;
}

/* The access ACL as it will be after a chmod; *out NULL: there is none. -ENOMEM. */
static int chmod_acl(const struct inode *i, const struct inode_attr *a, struct xattr **out)
{
	const struct xattr *acl = xattrs_access(i);

	*out = NULL;
	if (!acl || (a->mode & 0777) == (i->attr.mode & 0777))
		return 0;
	*out = xattr_new(acl->name, acl->name_len, xattr_value(acl), acl->size);
	if (!*out)
		return -ENOMEM;
	acl_set_mode(xattr_value(*out), (*out)->size, a->mode);
	return 0;
}

static int setattr_record(struct fs *fs, const struct inode *i, const struct inode_attr *a, const struct xattr *acl)
{
	struct jtxn t;
	uint64_t seq;
	int err;

	if (i->gone)
		return 0;
	jtxn_init(&t);
	jtxn_inode(&t, a);
	if (acl)
		jtxn_xattr(&t, a->ino, acl->name, acl->name_len, xattr_value(acl), acl->size);
	err = jtxn_commit(fs->journal, &t, &seq);
	jtxn_fini(&t);
	return err;
}

/* Under INODE exclusive. */
static int setattr_locked(struct fs *fs, struct inode *i, const struct fs_caller *who, const struct fs_setattr *set)
{
	struct inode_attr a;
	struct xattr *acl;
	int err = i->type == DT_REG ? inode_stale(i) : 0;

	if (!err)
		err = inode_changeable(fs, i);
	if (!err)
		err = perm_setattr(i, &who->cred, set, time_now(), &a);
	if (!err)
		err = chmod_acl(i, &a, &acl);
	if (err)
		return err;
	err = limit_owner_begin(fs, i, &a);
	if (!err) {
		err = setattr_record(fs, i, &a, acl);
		limit_owner_end(fs, i, &a, err);
	}
	if (err) {
		free(acl);
		return err;
	}
	inode_attr_set(fs, i, &a, CHANGED_ATTR, who);
	atomic_store_explicit(&i->lazy, false, memory_order_relaxed);
	if (acl)
		xattrs_put(i, acl);
	return 0;
}

static int setattr_inode(struct fs *fs, struct inode *i, const struct fs_caller *who, const struct fs_setattr *set)
{
	int err;

	rwlock_take_write(&i->lock);
	err = setattr_locked(fs, i, who, set);
	rwlock_drop(&i->lock);
	return err;
}

int fs_setattr(struct fs *fs, const struct fs_caller *who, const char *path, bool follow, const struct fs_setattr *set)
{
	struct inode *i;
	int err = path_inode(fs, who, path, follow, &i);

	if (err)
		return err;
	err = set->mask & FS_SET_MODE && i->type == DT_LNK ? -EOPNOTSUPP : setattr_inode(fs, i, who, set);
	if (!err)
		inode_tell(i, who);
	inode_put(fs, i);
	return err;
}

int fs_fsetattr(struct fs_handle *h, const struct fs_caller *who, const struct fs_setattr *set)
{
	int err = setattr_inode(h->fs, h->inode, who, set);

	if (!err)
		inode_tell(h->inode, who);
	return err;
}

/* --- reading directories --------------------------------------------------------------------------------------------
 */

#define LIST_ENTRIES 64u
#define LIST_BYTES   4096u

/* Copied under the lock, shown without it: each() may call the fs. */
struct listing {
	struct fs_dirent d[LIST_ENTRIES];
	char names[LIST_BYTES];
	unsigned count;
};

static void list_fill(struct listing *l, struct inode *dir, uint64_t cookie)
{
	const struct entry *e;
	struct dir_walk w;
	unsigned used = 0;

	l->count = 0;
	rwlock_take_read(&dir->lock);
	dir_walk_begin(&w, &dir->dir->list, cookie);
	for (e = dir_walk_next(&w); e && l->count < LIST_ENTRIES; e = dir_walk_next(&w)) {
		if (used + e->len + 1 > LIST_BYTES)
			break;
		memcpy(l->names + used, e->name, e->len + 1u);
		l->d[l->count++] = (struct fs_dirent){.ino = ino_of(e->inode),
						      .cookie = e->cookie,
						      .type = e->type,
						      .name = l->names + used,
						      .name_len = e->len};
		used += e->len + 1u;
	}
	rwlock_drop(&dir->lock);
}

int fs_readdir(struct fs_handle *h, const struct fs_caller *who, uint64_t cookie,
	       bool (*each)(void *ctx, const struct fs_dirent *d), void *ctx)
{
	struct listing l;

	(void)who;
	if (h->inode->type != DT_DIR)
		return -ENOTDIR;
	if (!h->readable)
		return -EBADF;
	rwlock_take_read(&h->inode->lock);
	inode_touch_atime(h->fs, h->inode);
	rwlock_drop(&h->inode->lock);
	do {
		list_fill(&l, h->inode, cookie);
		for (unsigned k = 0; k < l.count; k++) {
			if (!each(ctx, &l.d[k]))
				return 0;
			cookie = l.d[k].cookie;
		}
	} while (l.count > 0);
	return 0;
}
