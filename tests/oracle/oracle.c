/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Names and attributes of the reference filesystem. A path is walked once; what it means is a `struct place`. The order
 * of checks is Linux's, because the error that wins is part of the answer.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "oracle_internal.h"

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#define RENAME_EXCHANGE  2
#endif
#define NONE UINT32_MAX

/* --- states ----------------------------------------------------------------------------------------------------------
 */

void *must_alloc(void *old, size_t size)
{
	void *p = realloc(old, size ? size : 1);

	if (!p) {
		fprintf(stderr, "oracle: no memory\n");
		abort();
	}
	return p;
}

void version_put(struct oversion *v)
{
	while (v && --v->refs == 0) {
		struct oversion *older = v->older;

		free(v);
		v = older;
	}
}

void node_clear(struct onode *n)
{
	for (unsigned i = 0; i < n->blocks; i++)
		version_put(n->block[i].v);
	for (unsigned i = 0; i < n->xattrs; i++)
		free(n->xattr[i].value);
	free(n->block);
	free(n->xattr);
	free(n->entry);
	free(n->target);
	memset(n, 0, sizeof(*n));
}

unsigned oracle_node_new(struct oracle *o, uint32_t mode)
{
	unsigned k = 0;

	while (k < o->nodes && (o->history || o->node[k].used))
		k++;
	if (k == o->nodes)
		o->node = must_alloc(o->node, ++o->nodes * sizeof(o->node[0]));
	o->node[k] = (struct onode){.used = true, .mode = mode};
	return k;
}

struct oracle *oracle_new(bool history)
{
	struct oracle *o = must_alloc(NULL, sizeof(*o));

	*o = (struct oracle){.history = history};
	o->next_cell = must_alloc(NULL, sizeof(*o->next_cell));
	o->family = must_alloc(NULL, sizeof(*o->family));
	*o->next_cell = 1;
	*o->family = 1;
	oracle_node_new(o, S_IFDIR | 0755);
	o->node[0].nlink = 2;
	return o;
}

static void *copy_of(const void *from, size_t size)
{
	return from ? memcpy(must_alloc(NULL, size), from, size) : NULL;
}

struct oracle *oracle_copy(const struct oracle *o)
{
	struct oracle *c = copy_of(o, sizeof(*o));

	(*c->family)++;
	c->text = NULL;
	c->node = copy_of(o->node, o->nodes * sizeof(o->node[0]));
	for (unsigned k = 0; k < c->nodes; k++) {
		struct onode *n = &c->node[k];

		if (!n->used)
			continue;
		n->target = n->target ? strdup(n->target) : NULL;
		n->entry = copy_of(n->entry, n->entries * sizeof(n->entry[0]));
		n->block = copy_of(n->block, n->blocks * sizeof(n->block[0]));
		n->xattr = copy_of(n->xattr, n->xattrs * sizeof(n->xattr[0]));
		for (unsigned i = 0; i < n->blocks; i++)
			if (n->block[i].v)
				n->block[i].v->refs++;
		for (unsigned i = 0; i < n->xattrs; i++)
			n->xattr[i].value = copy_of(n->xattr[i].value, n->xattr[i].len);
	}
	return c;
}

void oracle_free(struct oracle *o)
{
	if (!o)
		return;
	for (unsigned k = 0; k < o->nodes; k++)
		node_clear(&o->node[k]);
	if (--*o->family == 0) {
		free(o->family);
		free(o->next_cell);
	}
	free(o->node);
	text_free(o->text);
	free(o);
}

/* Without a name and without a handle a node is no more. */
void oracle_node_settle(struct oracle *o, unsigned k)
{
	if (o->node[k].nlink == 0 && o->node[k].opens == 0)
		node_clear(&o->node[k]);
}

void oracle_close_all(struct oracle *o)
{
	for (unsigned s = 0; s < FSOP_SLOTS; s++) {
		if (!o->h[s].open)
			continue;
		o->h[s].open = false;
		o->node[o->h[s].node].opens--;
		oracle_node_settle(o, o->h[s].node);
	}
}

/* --- permissions -----------------------------------------------------------------------------------------------------
 */

static int may_delete(const struct onode *dir, const struct onode *n, const struct fs_cred *c)
{
	int err = oracle_may(dir, c, MAY_W | MAY_X);

	if (err)
		return err;
	return (dir->mode & S_ISVTX) && c->uid && c->uid != n->uid && c->uid != dir->uid ? -EPERM : 0;
}

static int may_add(const struct onode *dir, const struct fs_cred *c)
{
	return dir->nlink == 0 ? -ENOENT : oracle_may(dir, c, MAY_W | MAY_X);
}

/* --- paths -----------------------------------------------------------------------------------------------------------
 */

enum last { NAME, DOT, DOTDOT, ROOT };
struct place {
	unsigned dir;
	enum last last;
	char name[FS_NAME_MAX + 1];
	bool slash;
	int err; /* of looking the last name up: told when it is looked at */
};

static struct oentry *entry_find(const struct onode *dir, const char *name)
{
	for (unsigned i = 0; i < dir->entries; i++)
		if (strcmp(dir->entry[i].name, name) == 0)
			return &dir->entry[i];
	return NULL;
}

void oracle_entry_add(struct onode *dir, const char *name, unsigned node)
{
	dir->entry = must_alloc(dir->entry, ++dir->entries * sizeof(dir->entry[0]));
	memset(&dir->entry[dir->entries - 1], 0, sizeof(dir->entry[0]));
	strcpy(dir->entry[dir->entries - 1].name, name);
	dir->entry[dir->entries - 1].node = node;
}

static void entry_remove(struct onode *dir, struct oentry *e)
{
	unsigned i = (unsigned)(e - dir->entry);

	memmove(e, e + 1, (--dir->entries - i) * sizeof(*e));
}

static int step(const struct oracle *o, const struct fs_cred *c, const struct place *p, unsigned *out)
{
	const struct onode *dir = &o->node[p->dir];
	const struct oentry *e;
	int err = p->last == ROOT ? 0 : oracle_may(dir, c, MAY_X);

	if (err)
		return err;
	*out = p->last == DOTDOT ? dir->parent : p->dir;
	if (p->last == DOTDOT && dir->nlink == 0)
		return -ENOENT;
	if (p->last != NAME)
		return 0;
	e = entry_find(dir, p->name);
	if (!e)
		return -ENOENT;
	*out = e->node;
	return 0;
}

/* All but the last component; links in the middle are followed, and at the end with `follow`. *node: NONE or what the
 * last one is. */
static int walk(const struct oracle *o, const struct fs_cred *c, const char *path, bool follow, struct place *p,
		unsigned *node)
{
	char rest[2 * FS_PATH_MAX];
	unsigned links = 0;
	int err;

	snprintf(rest, sizeof(rest), "%s", path);
	p->dir = 0;
	for (;;) {
		char tail[2 * FS_PATH_MAX];
		const char *s = rest + strspn(rest, "/");
		size_t n = strcspn(s, "/");
		bool final;

		memcpy(p->name, s, n);
		p->name[n] = '\0';
		p->slash = s[n] == '/';
		s += n + strspn(s + n, "/");
		final = *s == '\0';
		p->last = n == 0 ? ROOT : strcmp(p->name, ".") == 0 ? DOT : strcmp(p->name, "..") == 0 ? DOTDOT : NAME;
		err = step(o, c, p, node);
		if (err && !final)
			return err;
		p->err = err == -ENOENT && p->last == NAME ? 0 : err;
		*node = err ? NONE : *node;
		snprintf(tail, sizeof(tail), "%s%s", p->slash ? "/" : "", s);
		if (*node != NONE && o->node[*node].target && (!final || follow)) {
			if (++links > FS_SYMLINKS_MAX)
				return -ELOOP;
			snprintf(rest, sizeof(rest), "%s%s", o->node[*node].target, tail);
			p->dir = rest[0] == '/' ? 0 : p->dir;
			continue;
		}
		if (final)
			return 0;
		if (!S_ISDIR(o->node[*node].mode))
			return -ENOTDIR;
		p->dir = *node;
		memmove(rest, s, strlen(s) + 1);
	}
}

int oracle_find(const struct oracle *o, const struct fs_cred *c, const char *path, bool follow, unsigned *node)
{
	struct place p;
	int err = walk(o, c, path, follow, &p, node);

	if (err || p.err)
		return err ? err : p.err;
	if (*node == NONE)
		return -ENOENT;
	return p.slash && !S_ISDIR(o->node[*node].mode) ? -ENOTDIR : 0;
}

void oracle_entry_remove(struct onode *dir, const char *name)
{
	entry_remove(dir, entry_find(dir, name));
}

int oracle_place(const struct oracle *o, const struct fs_cred *c, const char *path, unsigned *dir,
		 char name[FS_NAME_MAX + 1], unsigned *node)
{
	struct place p;
	int err = walk(o, c, path, false, &p, node);

	if (err)
		return err;
	*dir = p.dir;
	memcpy(name, p.name, sizeof(p.name));
	return p.last != NAME ? -EEXIST : p.err;
}

/* --- making ----------------------------------------------------------------------------------------------------------
 */

static unsigned make(struct oracle *o, const struct fs_cred *c, unsigned dir, uint32_t mode)
{
	unsigned k = oracle_node_new(o, mode);
	struct onode *n = &o->node[k], *d = &o->node[dir];

	n->uid = c->uid;
	n->gid = c->gid;
	n->parent = dir;
	if (!(d->mode & S_ISGID))
		return k;
	n->gid = d->gid;
	if (S_ISDIR(mode))
		n->mode |= S_ISGID;
	else if ((mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) && c->uid && !oracle_in_group(c, d->gid))
		n->mode &= ~(uint32_t)S_ISGID;
	return k;
}

static void make_name(struct oracle *o, const struct place *p, unsigned k)
{
	oracle_entry_add(&o->node[p->dir], p->name, k);
	o->node[k].nlink = 1;
	if (S_ISDIR(o->node[k].mode)) {
		o->node[k].nlink = 2;
		o->node[p->dir].nlink++;
	}
}

/* mkdir, symlink, mknod. */
static int64_t do_make(struct oracle *o, const struct fsop *op, uint32_t mode, const char *target)
{
	const struct fs_cred *c = &fsop_caller[op->who].cred;
	struct place p;
	unsigned node;
	int err = walk(o, c, fsop_path[op->a], false, &p, &node);

	if (err)
		return err;
	if (p.last != NAME || node != NONE)
		return -EEXIST;
	if (p.err)
		return p.err;
	if (p.slash && !S_ISDIR(mode))
		return -ENOENT;
	err = may_add(&o->node[p.dir], c);
	if (err)
		return err;
	node = make(o, c, p.dir, mode);
	if (target) {
		o->node[node].target = strdup(target);
		o->node[node].size = strlen(target);
	}
	if (S_ISCHR(mode))
		o->node[node].rdev = op->off;
	make_name(o, &p, node);
	return 0;
}

static int64_t do_mknod(struct oracle *o, const struct fsop *op)
{
	if (S_ISCHR(op->mode) && op->who != 0)
		return -EPERM;
	return do_make(o, op, op->mode, NULL);
}

/* --- open and close --------------------------------------------------------------------------------------------------
 */

static int open_check(const struct onode *n, const struct fs_cred *c, int flags)
{
	unsigned want = (flags & O_ACCMODE) != O_WRONLY ? MAY_R : 0;

	if ((flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC))
		want |= MAY_W;
	if (S_ISLNK(n->mode))
		return -ELOOP;
	if ((flags & O_DIRECTORY) && !S_ISDIR(n->mode))
		return -ENOTDIR;
	if (S_ISDIR(n->mode) && ((want & MAY_W) || (flags & O_CREAT)))
		return -EISDIR;
	if (oracle_may(n, c, want))
		return -EACCES;
	return S_ISDIR(n->mode) || S_ISREG(n->mode) ? 0 : -ENXIO;
}

static void handle_open(struct oracle *o, unsigned slot, unsigned node, int flags)
{
	o->h[slot] = (struct ohandle){true, (flags & O_ACCMODE) != O_WRONLY, (flags & O_ACCMODE) != O_RDONLY,
				      flags & O_APPEND, node};
	o->node[node].opens++;
}

static int64_t do_open(struct oracle *o, const struct fsop *op)
{
	const struct fs_cred *c = &fsop_caller[op->who].cred;
	bool creat = op->flags & O_CREAT, excl = op->flags & O_EXCL;
	struct place p;
	unsigned node;
	int err = walk(o, c, fsop_path[op->a], !(op->flags & O_NOFOLLOW) && !(creat && excl), &p, &node);

	if (err)
		return err;
	if (creat && p.last != NAME)
		return excl ? -EEXIST : -EISDIR;
	if (p.err)
		return p.err;
	if (creat && excl && node != NONE)
		return -EEXIST;
	if (node == NONE) {
		if (!creat)
			return -ENOENT;
		if (p.slash)
			return -EISDIR;
		err = may_add(&o->node[p.dir], c);
		if (err)
			return err;
		node = make(o, c, p.dir, S_IFREG | (op->mode & 07777));
		make_name(o, &p, node);
	} else {
		if (p.slash && creat)
			return S_ISDIR(o->node[node].mode) ? -EISDIR : -ENOTDIR;
		if (p.slash && !S_ISDIR(o->node[node].mode))
			return -ENOTDIR;
		err = open_check(&o->node[node], c, op->flags);
		if (err)
			return err;
		if ((op->flags & O_TRUNC) && S_ISREG(o->node[node].mode)) {
			struct onode *n = &o->node[node];

			data_cut(o, n, 0);
			if (c->uid)
				n->mode &= n->mode & S_IXGRP ? ~(uint32_t)(S_ISUID | S_ISGID) : ~(uint32_t)S_ISUID;
		}
	}
	handle_open(o, op->h, node, op->flags);
	return 0;
}

static int64_t do_tmpfile(struct oracle *o, const struct fsop *op)
{
	const struct fs_cred *c = &fsop_caller[op->who].cred;
	unsigned dir, node;
	int err = oracle_find(o, c, fsop_path[op->a], true, &dir);

	if (err)
		return err;
	if (!S_ISDIR(o->node[dir].mode))
		return -ENOTDIR;
	err = may_add(&o->node[dir], c);
	if (err)
		return err;
	node = make(o, c, dir, S_IFREG | (op->mode & 07777));
	o->node[node].no_link = op->flags & O_EXCL;
	o->node[node].nameless = true;
	handle_open(o, op->h, node, O_RDWR);
	return 0;
}

static int64_t do_close(struct oracle *o, const struct fsop *op)
{
	unsigned node = o->h[op->h].node;

	o->h[op->h].open = false;
	o->node[node].opens--;
	oracle_node_settle(o, node);
	return 0;
}

/* --- removing and linking --------------------------------------------------------------------------------------------
 */

static void unname(struct oracle *o, unsigned dir, unsigned node)
{
	struct onode *n = &o->node[node];

	n->nlink--;
	if (S_ISDIR(n->mode)) {
		n->nlink = 0;
		o->node[dir].nlink--;
	}
	oracle_node_settle(o, node);
}

static int64_t do_remove(struct oracle *o, const struct fsop *op, bool directory)
{
	static const int special[2][4] = {{0, -EISDIR, -EISDIR, -EISDIR}, {0, -EINVAL, -ENOTEMPTY, -EBUSY}};
	const struct fs_cred *c = &fsop_caller[op->who].cred;
	struct place p;
	unsigned node;
	int err = walk(o, c, fsop_path[op->a], false, &p, &node);

	if (err)
		return err;
	if (p.last != NAME)
		return special[directory][p.last];
	if (p.err)
		return p.err;
	if (node == NONE)
		return -ENOENT;
	err = may_delete(&o->node[p.dir], &o->node[node], c);
	if (err)
		return err;
	if (directory && !S_ISDIR(o->node[node].mode))
		return -ENOTDIR;
	if (directory && o->node[node].entries)
		return -ENOTEMPTY;
	if (!directory && S_ISDIR(o->node[node].mode))
		return -EISDIR;
	if (!directory && p.slash)
		return -ENOTDIR;
	entry_remove(&o->node[p.dir], entry_find(&o->node[p.dir], p.name));
	unname(o, p.dir, node);
	return 0;
}

static int64_t link_node(struct oracle *o, const struct fs_cred *c, unsigned node, const char *path)
{
	struct place p;
	unsigned there;
	int err = walk(o, c, path, false, &p, &there);

	if (err)
		return err;
	if (p.last != NAME || there != NONE)
		return -EEXIST;
	if (p.err)
		return p.err;
	if (p.slash)
		return -ENOENT;
	err = may_add(&o->node[p.dir], c);
	if (err)
		return err;
	if (S_ISDIR(o->node[node].mode))
		return -EPERM;
	if (o->node[node].nlink == 0 && (o->node[node].no_link || !o->node[node].nameless))
		return -ENOENT;
	oracle_entry_add(&o->node[p.dir], p.name, node);
	o->node[node].nameless = false;
	o->node[node].nlink++;
	return 0;
}

static int64_t do_link(struct oracle *o, const struct fsop *op)
{
	const struct fs_cred *c = &fsop_caller[op->who].cred;
	unsigned node;
	int err = oracle_find(o, c, fsop_path[op->a], false, &node);

	return err ? err : link_node(o, c, node, fsop_path[op->b]);
}

static int64_t do_link_handle(struct oracle *o, const struct fsop *op)
{
	return link_node(o, &fsop_caller[op->who].cred, o->h[op->h].node, fsop_path[op->a]);
}

/* --- rename ----------------------------------------------------------------------------------------------------------
 */

static bool below(const struct oracle *o, unsigned dir, unsigned top)
{
	while (dir != top && dir != 0)
		dir = o->node[dir].parent;
	return dir == top;
}

static int rename_check(const struct oracle *o, const struct fs_cred *c, const struct place *from, unsigned old,
			const struct place *to, unsigned new, int flags)
{
	const struct onode *a = &o->node[old], *b = new == NONE ? NULL : &o->node[new];
	bool moves = from->dir != to->dir;
	int err;

	/* The kernel's order. */
	if (b && (flags & RENAME_NOREPLACE))
		return -EEXIST;
	if ((flags & RENAME_EXCHANGE) && to->slash && !S_ISDIR(b->mode))
		return -ENOTDIR;
	if (!S_ISDIR(a->mode) && (from->slash || (to->slash && !(flags & RENAME_EXCHANGE))))
		return -ENOTDIR;
	if (moves && S_ISDIR(a->mode) && below(o, to->dir, old))
		return -EINVAL;
	if (moves && b && S_ISDIR(b->mode) && below(o, from->dir, new))
		return flags & RENAME_EXCHANGE ? -EINVAL : -ENOTEMPTY;
	if (o->node[to->dir].nlink == 0)
		return -ENOENT;
	err = may_delete(&o->node[from->dir], a, c);
	if (!err)
		err = b ? may_delete(&o->node[to->dir], b, c) : may_add(&o->node[to->dir], c);
	if (err)
		return err;
	if (b && !(flags & RENAME_EXCHANGE)) {
		if (S_ISDIR(a->mode) && !S_ISDIR(b->mode))
			return -ENOTDIR;
		if (!S_ISDIR(a->mode) && S_ISDIR(b->mode))
			return -EISDIR;
	}
	if (moves && S_ISDIR(a->mode))
		err = oracle_may(a, c, MAY_W);
	if (!err && moves && (flags & RENAME_EXCHANGE) && S_ISDIR(b->mode))
		err = oracle_may(b, c, MAY_W);
	return !err && b && !(flags & RENAME_EXCHANGE) && b->entries ? -ENOTEMPTY : err;
}

static void reparent(struct oracle *o, unsigned node, unsigned from, unsigned to)
{
	if (!S_ISDIR(o->node[node].mode))
		return;
	o->node[from].nlink--;
	o->node[to].nlink++;
	o->node[node].parent = to;
}

static int64_t do_rename(struct oracle *o, const struct fsop *op)
{
	const struct fs_cred *c = &fsop_caller[op->who].cred;
	struct place from, to;
	unsigned old, new;
	int err;

	if (op->flags == (RENAME_NOREPLACE | RENAME_EXCHANGE))
		return -EINVAL;
	err = walk(o, c, fsop_path[op->a], false, &from, &old);
	/* A source that is not there is told after the other path was walked. */
	if (!err)
		err = walk(o, c, fsop_path[op->b], false, &to, &new);
	if (err)
		return err;
	if (from.last != NAME || to.last != NAME)
		return (op->flags & RENAME_NOREPLACE) && to.last != NAME ? -EEXIST : -EBUSY;
	if (from.err || old == NONE)
		return from.err ? from.err : to.err == -EACCES ? -EACCES : -ENOENT;
	if (to.err || (new == NONE && (op->flags & RENAME_EXCHANGE)))
		return to.err ? to.err : -ENOENT;
	if (old == new && !(op->flags & RENAME_NOREPLACE))
		return 0;
	err = rename_check(o, c, &from, old, &to, new, op->flags);
	if (err)
		return err;
	if (op->flags & RENAME_EXCHANGE) {
		entry_find(&o->node[from.dir], from.name)->node = new;
		entry_find(&o->node[to.dir], to.name)->node = old;
		reparent(o, new, to.dir, from.dir);
	} else {
		entry_remove(&o->node[from.dir], entry_find(&o->node[from.dir], from.name));
		if (new != NONE) {
			entry_find(&o->node[to.dir], to.name)->node = old;
			unname(o, to.dir, new);
		} else {
			oracle_entry_add(&o->node[to.dir], to.name, old);
		}
	}
	reparent(o, old, from.dir, to.dir);
	return 0;
}

/* --- all -------------------------------------------------------------------------------------------------------------
 */

static int64_t do_sync(struct oracle *o, const struct fsop *op)
{
	data_synced(o, &o->node[o->h[op->h].node]);
	return 0;
}

static int64_t do_sync_all(struct oracle *o)
{
	for (unsigned k = 0; k < o->nodes; k++)
		data_synced(o, &o->node[k]);
	return 0;
}

static const uint64_t two_handles =
    FSOP_BIT(OP_CLONE) | FSOP_BIT(OP_DEDUPE) | FSOP_BIT(OP_EXCHANGE) | FSOP_BIT(OP_COPY);
static const uint64_t one_handle =
    FSOP_BIT(OP_CLOSE) | FSOP_BIT(OP_FSETATTR) | FSOP_BIT(OP_READDIR) | FSOP_BIT(OP_READ) | FSOP_BIT(OP_WRITE) |
    FSOP_BIT(OP_TRUNCATE) | FSOP_BIT(OP_ALLOCATE) | FSOP_BIT(OP_RELOCATE) | FSOP_BIT(OP_SYNC) |
    FSOP_BIT(OP_LINK_HANDLE) | FSOP_BIT(OP_SEEK) | FSOP_BIT(OP_DEFRAGMENT) | FSOP_BIT(OP_DIRECT);

/* The slots that it needs are open, or free. */
static bool ready(const struct oracle *o, const struct fsop *op)
{
	if (op->kind == OP_OPEN || op->kind == OP_TMPFILE)
		return !o->h[op->h].open;
	if (two_handles & FSOP_BIT(op->kind))
		return o->h[op->h].open && o->h[op->h2].open;
	return !(one_handle & FSOP_BIT(op->kind)) || o->h[op->h].open;
}

static int64_t move_blocks(struct oracle *o, const struct fsop *op)
{
	const struct onode *n = &o->node[o->h[op->h].node];
	uint32_t uid = fsop_caller[op->who].cred.uid;

	if (S_ISDIR(n->mode))
		return -EISDIR;
	if (op->kind == OP_DEFRAGMENT && !o->h[op->h].writable && uid != 0 && uid != n->uid)
		return -EBADF;
	return 0;
}

static int64_t run(struct oracle *o, const struct fsop *op, uint32_t *crc)
{
	switch (op->kind) {
	case OP_OPEN:
		return do_open(o, op);
	case OP_CLOSE:
		return do_close(o, op);
	case OP_MKDIR:
		return do_make(o, op, S_IFDIR | (op->mode & 01777), NULL);
	case OP_RMDIR:
		return do_remove(o, op, true);
	case OP_UNLINK:
		return do_remove(o, op, false);
	case OP_RENAME:
		return do_rename(o, op);
	case OP_LINK:
		return do_link(o, op);
	case OP_SYMLINK:
		return do_make(o, op, S_IFLNK | 0777, fsop_path[op->b]);
	case OP_READLINK:
		return attr_readlink(o, op, crc);
	case OP_STAT:
		return attr_stat(o, op, crc);
	case OP_SETATTR:
		return attr_set(o, op);
	case OP_FSETATTR:
		return attr_set_node(&o->node[o->h[op->h].node], &fsop_caller[op->who].cred, op);
	case OP_READDIR:
		return attr_readdir(o, op, crc);
	case OP_READ:
		return data_read(o, op, crc);
	case OP_WRITE:
		return data_write(o, op);
	case OP_TRUNCATE:
		return data_truncate(o, op);
	case OP_ALLOCATE:
		return data_allocate(o, op);
	case OP_CLONE:
		return data_clone(o, op);
	case OP_RELOCATE:
	case OP_DEFRAGMENT:
		return move_blocks(o, op);
	case OP_SYNC:
		return do_sync(o, op);
	case OP_SYNC_ALL:
		return do_sync_all(o);
	case OP_CHECKPOINT:
		return 0;
	case OP_MKNOD:
		return do_mknod(o, op);
	case OP_TMPFILE:
		return do_tmpfile(o, op);
	case OP_LINK_HANDLE:
		return do_link_handle(o, op);
	case OP_XATTR_SET:
		return xattr_set(o, op);
	case OP_XATTR_GET:
		return xattr_get(o, op, crc);
	case OP_XATTR_LIST:
		return xattr_list(o, op, crc);
	case OP_XATTR_REMOVE:
		return xattr_remove(o, op);
	case OP_DEDUPE:
		return data_dedupe(o, op);
	case OP_EXCHANGE:
		return data_exchange(o, op);
	case OP_COPY:
		return data_copy(o, op);
	case OP_SEEK:
		return data_seek(o, op);
	case OP_SNAPSHOT:
		return snapshot_take(o, op);
	case OP_SNAPSHOT_DELETE:
		return snapshot_delete(o, op);
	case OP_DIRECT:
		return data_direct(o, op);
	case FSOP_KINDS:
		break;
	}
	return -EINVAL;
}

void oracle_do(struct oracle *o, const struct fsop *op, struct fsop_result *out)
{
	*out = (struct fsop_result){0};
	o->time++;
	o->steps = 0;
	text_free(o->text);
	o->text = NULL;
	out->value = ready(o, op) ? run(o, op, &out->crc) : -EBADF;
	if (o->history)
		data_unshared(o);
}

bool oracle_was_atomic(const struct oracle *o)
{
	return o->steps <= 1;
}
