/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The calls on extended attributes: who may see and change which name (xattr(7)), and one record for each change, with
 * the inode's attributes. Setting an access ACL is a chmod as well, in the same record.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "base/error.h"
#include "format/format.h"
#include "fs/acl.h"
#include "fs/layout.h"
#include "fs/path.h"
#include "fs/perm.h"

static_assert(FS_XATTR_NAME_MAX == FORMAT_XATTR_NAME_MAX && FS_XATTR_SIZE_MAX == FORMAT_XATTR_VALUE_MAX, "format 4.9");

enum space { SPACE_USER, SPACE_TRUSTED, SPACE_SECURITY, SPACE_ACCESS, SPACE_DEFAULT, SPACE_SYSTEM, SPACE_NONE };

/* The namespace of a whole name, always. -EOPNOTSUPP: of none that is kept; -EINVAL: nothing behind it. */
static int space_of(const char *name, uint32_t len, enum space *out)
{
	static const struct {
		const char *prefix;
		uint32_t len;
	} prefixes[] = {
	    [SPACE_USER] = {"user.", 5},
	    [SPACE_TRUSTED] = {"trusted.", 8},
	    [SPACE_SECURITY] = {"security.", 9},
	};

	for (unsigned k = 0; k < ARRAY_LEN(prefixes); k++) {
		if (len < prefixes[k].len || memcmp(name, prefixes[k].prefix, prefixes[k].len) != 0)
			continue;
		*out = (enum space)k;
		return len > prefixes[k].len ? 0 : -EINVAL;
	}
	*out = SPACE_ACCESS;
	if (len == sizeof(ACL_ACCESS_NAME) - 1 && memcmp(name, ACL_ACCESS_NAME, len) == 0)
		return 0;
	*out = SPACE_DEFAULT;
	if (len == sizeof(ACL_DEFAULT_NAME) - 1 && memcmp(name, ACL_DEFAULT_NAME, len) == 0)
		return 0;
	*out = len >= 7 && memcmp(name, "system.", 7) == 0 ? SPACE_SYSTEM : SPACE_NONE;
	return -EOPNOTSUPP;
}

/* What a call is about. */
struct wanted {
	const char *name;
	uint32_t len;
	enum space space;
	int error; /* of the name; said after the inode and permission, as the kernel does */
};

static int wanted_init(struct wanted *w, const char *name)
{
	size_t len = strnlen(name, FS_XATTR_NAME_MAX + 1);

	if (len == 0 || len > FS_XATTR_NAME_MAX)
		return fail(-ERANGE, "the name of an extended attribute has 1 to %u bytes", FS_XATTR_NAME_MAX);
	*w = (struct wanted){.name = name, .len = (uint32_t)len};
	w->error = space_of(name, w->len, &w->space);
	return 0;
}

static int name_error(const struct wanted *w)
{
	if (w->error == -EINVAL)
		return fail(w->error, "\"%s\" names nothing in its namespace", w->name);
	if (w->error)
		return fail(w->error,
			    "\"%.40s\": names begin with user., trusted., security., or are those of POSIX ACLs",
			    w->name);
	return 0;
}

/* --- permission ----------------------------------------------------------------------------------------------------
 */

static int may_read_space(const struct inode *i, const struct fs_cred *c, enum space space)
{
	switch (space) {
	case SPACE_USER:
		if (i->type != DT_REG && i->type != DT_DIR)
			return -ENODATA;
		return perm_check(i, c, MAY_READ);
	case SPACE_TRUSTED:
		return cred_is_super(c) ? 0 : -ENODATA;
	case SPACE_SECURITY:
	case SPACE_SYSTEM:
		return 0;
	case SPACE_NONE:
		return perm_check(i, c, MAY_READ);
	case SPACE_ACCESS:
	case SPACE_DEFAULT:
		return i->type == DT_LNK ? -EOPNOTSUPP : 0;
	}
	return -EOPNOTSUPP;
}

static int may_read(const struct inode *i, const struct fs_cred *c, const struct wanted *w)
{
	int err = may_read_space(i, c, w->space);

	return err ? err : name_error(w);
}

static int may_write_space(const struct inode *i, const struct fs_cred *c, enum space space)
{
	bool owner = cred_is_super(c) || c->uid == i->attr.uid;

	switch (space) {
	case SPACE_USER:
		if (i->type != DT_REG && i->type != DT_DIR)
			return fail(-EPERM, "only files and directories have user. attributes");
		if (i->type == DT_DIR && (i->attr.mode & S_ISVTX) && !owner)
			return -EPERM;
		return perm_check(i, c, MAY_WRITE);
	case SPACE_TRUSTED:
	case SPACE_SECURITY:
		return cred_is_super(c) ? 0 : -EPERM;
	case SPACE_ACCESS:
	case SPACE_DEFAULT:
		if (i->type == DT_LNK)
			return fail(-EOPNOTSUPP, "symbolic links have no ACLs");
		return owner ? 0 : -EPERM;
	case SPACE_SYSTEM:
		return 0;
	case SPACE_NONE:
		return perm_check(i, c, MAY_WRITE);
	}
	return -EOPNOTSUPP;
}

static int may_write(const struct inode *i, const struct fs_cred *c, const struct wanted *w)
{
	int err = may_write_space(i, c, w->space);

	return err ? err : name_error(w);
}

/* --- reading -------------------------------------------------------------------------------------------------------
 */

static ssize_t get_inode(struct inode *i, const struct fs_cred *c, const struct wanted *w, void *value, size_t size)
{
	const struct xattr *x;
	ssize_t n;

	rwlock_take_read(&i->lock);
	n = may_read(i, c, w);
	x = n ? NULL : xattrs_find(i, w->name, w->len);
	if (!n && !x)
		n = -ENODATA;
	else if (!n)
		n = size > 0 && size < x->size ? -ERANGE : (ssize_t)x->size;
	if (n > 0 && size > 0)
		memcpy(value, xattr_value(x), (size_t)n);
	rwlock_drop(&i->lock);
	return n;
}

static bool visible(const struct xattr *x, const struct fs_cred *c)
{
	enum space space;

	return space_of(x->name, x->name_len, &space) == 0 && (space != SPACE_TRUSTED || cred_is_super(c));
}

static ssize_t list_inode(struct inode *i, const struct fs_cred *c, char *names, size_t size)
{
	ssize_t used = 0;

	rwlock_take_read(&i->lock);
	for (uint32_t k = 0; i->xattrs && k < i->xattrs->count && used >= 0; k++) {
		const struct xattr *x = i->xattrs->list[k];

		if (!visible(x, c))
			continue;
		if (size > 0 && size - (size_t)used < x->name_len + 1u) {
			used = -ERANGE;
			break;
		}
		if (size > 0) {
			memcpy(names + used, x->name, x->name_len);
			names[used + x->name_len] = '\0';
		}
		used += x->name_len + 1;
	}
	rwlock_drop(&i->lock);
	return used;
}

/* --- changing ------------------------------------------------------------------------------------------------------
 */

/* A change under way: the new attribute, or none; and the inode's attributes with it. */
struct change_x {
	struct fs *fs;
	struct inode *inode;
	const struct fs_caller *who;
	const struct fs_cred *cred; /* his */
	struct wanted w;
	struct xattr *new; /* NULL: remove. The change's own */
	bool minimal;      /* new is an ACL that only sets the mode */
	int flags;         /* XATTR_CREATE, XATTR_REPLACE */
	bool removal;      /* the call was a removal: of what is not there it is an error, but for ACLs */
	struct inode_attr attr;
};

/* An access ACL says the mode too; one that says nothing else is not kept. set-group-id goes as with chmod. */
static void plan_access(struct change_x *c)
{
	if (c->w.space != SPACE_ACCESS)
		return;
	if (c->new)
		c->attr.mode = (c->attr.mode & ~0777u) | acl_mode(xattr_value(c->new), c->new->size, &c->minimal);
	if (!cred_is_super(c->cred) && !cred_in_group(c->cred, c->attr.gid))
		c->attr.mode &= ~(uint32_t)S_ISGID;
}

/* What will be there. */
static struct xattr *next_of(const struct change_x *c)
{
	return c->minimal ? NULL : c->new;
}

/* Under INODE exclusive. 1: nothing is to be done. */
static int plan(struct change_x *c)
{
	struct inode *i = c->inode;
	const struct xattr *old = xattrs_find(i, c->w.name, c->w.len);
	bool acl = c->w.space == SPACE_ACCESS || c->w.space == SPACE_DEFAULT;
	const struct xattr *next;
	/* A record about it would bring it back. */
	int err = i->type == DT_REG ? inode_stale(i) : i->gone ? -ENOENT : 0;

	if (!err)
		err = inode_changeable(c->fs, i);

	if (!err && c->w.space == SPACE_DEFAULT && i->type != DT_DIR && i->type != DT_LNK)
		return c->new ? fail(-EACCES, "only directories have a default ACL") : 1;
	if (!err)
		err = may_write(i, c->cred, &c->w);
	if (!err && acl && c->new)
		err = acl_accept(xattr_value(c->new), c->new->size);
	if (err)
		return err;
	if ((c->flags & XATTR_CREATE) && old)
		return -EEXIST;
	if (((c->flags & XATTR_REPLACE) || (c->removal && !acl)) && !old)
		return -ENODATA;
	c->attr = i->attr;
	c->attr.ctime_ns = time_now();
	plan_access(c);
	next = next_of(c);
	if (next && !old && (i->xattrs ? i->xattrs->name_bytes : 0) + c->w.len + 1 > FS_XATTR_LIST_MAX)
		return fail(-ENOSPC, "the names of the extended attributes of one file have at most %u bytes",
			    FS_XATTR_LIST_MAX);
	if (!next && !old && c->attr.mode == i->attr.mode)
		return 1;
	return next ? xattrs_reserve(i) : 0;
}

static void carry_out(struct change_x *c)
{
	struct inode *i = c->inode;
	const struct xattr *old = xattrs_find(i, c->w.name, c->w.len);
	struct xattr *next = next_of(c);

	walk_account(c->fs, (next ? xattr_bytes(next) : 0) - (old ? xattr_bytes(old) : 0));
	inode_attr_set(c->fs, i, &c->attr, CHANGED_ATTR, c->who);
	atomic_store_explicit(&i->lazy, false, memory_order_relaxed);
	if (next) {
		xattrs_put(i, next);
		c->new = NULL;
	} else {
		xattrs_remove(i, c->w.name, c->w.len);
	}
}

/* Under INODE exclusive. */
static int change_locked(struct change_x *c)
{
	const struct xattr *next;
	struct jtxn t;
	uint64_t seq;
	int err = plan(c);

	if (err)
		return err == 1 ? 0 : err;
	next = next_of(c);
	jtxn_init(&t);
	t.frees = !next;
	jtxn_inode(&t, &c->attr);
	jtxn_xattr(&t, c->attr.ino, c->w.name, c->w.len, next ? xattr_value(next) : NULL, next ? next->size : 0);
	err = jtxn_commit(c->fs->journal, &t, &seq);
	jtxn_fini(&t);
	if (!err)
		carry_out(c);
	return err;
}

static int change_inode(struct change_x *c)
{
	unsigned tries = 0;
	int err;

	do {
		rwlock_take_write(&c->inode->lock);
		err = change_locked(c);
		rwlock_drop(&c->inode->lock);
	} while (walk_made_room(c->fs, err, &tries));
	free(c->new);
	return err;
}

/* The new attribute as it will be kept; an empty ACL is none. */
static int make_new(struct change_x *c, const void *value, size_t size)
{
	bool acl = c->w.space == SPACE_ACCESS || c->w.space == SPACE_DEFAULT;
	uint32_t entries = 1;
	int err = 0;

	if (size > FS_XATTR_SIZE_MAX)
		return fail(-E2BIG, "the value of an extended attribute has at most %u bytes", FS_XATTR_SIZE_MAX);
	if (size > 0 && !value)
		return -EINVAL;
	if (acl && size == 0)
		return 0;
	c->new = xattr_new(c->w.name, c->w.len, value, (uint32_t)size);
	if (!c->new)
		return -ENOMEM;
	if (acl)
		err = acl_canonical(xattr_value(c->new), (uint32_t)size, &entries);
	if (err || entries == 0) {
		free(c->new);
		c->new = NULL;
	}
	return err;
}

static int set_new(struct change_x *c, const void *value, size_t size)
{
	int err;

	if (c->flags & ~(XATTR_CREATE | XATTR_REPLACE))
		err = fail(-EINVAL, "flags of a new extended attribute are CREATE and REPLACE");
	else
		err = make_new(c, value, size);
	return err ? err : change_inode(c);
}

/* --- by path -------------------------------------------------------------------------------------------------------
 */

ssize_t fs_xattr_get(struct fs *fs, const struct fs_caller *who, const char *path, bool follow, const char *name,
		     void *value, size_t size)
{
	struct wanted w;
	struct inode *i;
	ssize_t n = wanted_init(&w, name);

	if (n)
		return n;
	n = path_inode(fs, who, path, follow, &i);
	if (n)
		return n;
	n = get_inode(i, &who->cred, &w, value, size);
	inode_put(fs, i);
	return n;
}

int fs_xattr_set(struct fs *fs, const struct fs_caller *who, const char *path, bool follow, const char *name,
		 const void *value, size_t size, int flags)
{
	struct change_x c = {.fs = fs, .who = who, .cred = &who->cred, .flags = flags};
	int err = wanted_init(&c.w, name);

	if (!err)
		err = path_inode(fs, who, path, follow, &c.inode);
	if (err)
		return err;
	err = set_new(&c, value, size);
	inode_put(fs, c.inode);
	return err;
}

ssize_t fs_xattr_list(struct fs *fs, const struct fs_caller *who, const char *path, bool follow, char *names,
		      size_t size)
{
	struct inode *i;
	ssize_t n = path_inode(fs, who, path, follow, &i);

	if (n)
		return n;
	n = list_inode(i, &who->cred, names, size);
	inode_put(fs, i);
	return n;
}

int fs_xattr_remove(struct fs *fs, const struct fs_caller *who, const char *path, bool follow, const char *name)
{
	struct change_x c = {.fs = fs, .who = who, .cred = &who->cred, .removal = true};
	int err = wanted_init(&c.w, name);

	if (!err)
		err = path_inode(fs, who, path, follow, &c.inode);
	if (err)
		return err;
	err = change_inode(&c);
	inode_put(fs, c.inode);
	return err;
}

/* --- by handle -----------------------------------------------------------------------------------------------------
 */

ssize_t fs_fxattr_get(struct fs_handle *h, const struct fs_caller *who, const char *name, void *value, size_t size)
{
	struct wanted w;
	int err = wanted_init(&w, name);

	return err ? err : get_inode(h->inode, &who->cred, &w, value, size);
}

int fs_fxattr_set(struct fs_handle *h, const struct fs_caller *who, const char *name, const void *value, size_t size,
		  int flags)
{
	struct change_x c = {.fs = h->fs, .inode = h->inode, .who = who, .cred = &who->cred, .flags = flags};
	int err = wanted_init(&c.w, name);

	return err ? err : set_new(&c, value, size);
}

ssize_t fs_fxattr_list(struct fs_handle *h, const struct fs_caller *who, char *names, size_t size)
{
	return list_inode(h->inode, &who->cred, names, size);
}

int fs_fxattr_remove(struct fs_handle *h, const struct fs_caller *who, const char *name)
{
	struct change_x c = {.fs = h->fs, .inode = h->inode, .who = who, .cred = &who->cred, .removal = true};
	int err = wanted_init(&c.w, name);

	return err ? err : change_inode(&c);
}
