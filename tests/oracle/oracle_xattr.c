/* SPDX-License-Identifier: BSD-2-Clause */
/* Extended attributes of the reference: the namespaces' rules of xattr(7). */
#include <errno.h>
#include <sys/xattr.h>

#include "base/crc.h"
#include "oracle_internal.h"

enum space { SPACE_USER, SPACE_TRUSTED, SPACE_SECURITY, SPACE_NONE };

static enum space space_of(const char *name)
{
	if (strncmp(name, "user.", 5) == 0)
		return SPACE_USER;
	if (strncmp(name, "trusted.", 8) == 0)
		return SPACE_TRUSTED;
	return strncmp(name, "security.", 9) == 0 ? SPACE_SECURITY : SPACE_NONE;
}

static struct oxattr *xattr_find(const struct onode *n, const char *name)
{
	for (unsigned i = 0; i < n->xattrs; i++)
		if (strcmp(n->xattr[i].name, name) == 0)
			return &n->xattr[i];
	return NULL;
}

static bool keeps_user(const struct onode *n)
{
	return S_ISREG(n->mode) || S_ISDIR(n->mode);
}

static int may_read(const struct onode *n, const struct fs_cred *c, const char *name)
{
	switch (space_of(name)) {
	case SPACE_USER:
		return keeps_user(n) ? oracle_may(n, c, MAY_R) : -ENODATA;
	case SPACE_TRUSTED:
		return c->uid ? -ENODATA : 0;
	case SPACE_SECURITY:
		return 0;
	case SPACE_NONE:
		return oracle_may(n, c, MAY_R) ? -EACCES : -EOPNOTSUPP;
	}
	return 0;
}

static int may_change(const struct onode *n, const struct fs_cred *c, const char *name)
{
	switch (space_of(name)) {
	case SPACE_USER:
		if (!keeps_user(n))
			return -EPERM;
		if (S_ISDIR(n->mode) && (n->mode & S_ISVTX) && c->uid && c->uid != n->uid)
			return -EPERM;
		return oracle_may(n, c, MAY_W);
	case SPACE_TRUSTED:
	case SPACE_SECURITY:
		return c->uid ? -EPERM : 0;
	case SPACE_NONE:
		return oracle_may(n, c, MAY_W) ? -EACCES : -EOPNOTSUPP;
	}
	return 0;
}

static int find(const struct oracle *o, const struct fsop *op, unsigned *node)
{
	return oracle_find(o, &fsop_caller[op->who].cred, fsop_path[op->a], true, node);
}

static void xattr_drop(struct onode *n, struct oxattr *x)
{
	free(x->value);
	memmove(x, x + 1, (size_t)(n->xattr + --n->xattrs - x) * sizeof(*x));
}

int64_t xattr_set(struct oracle *o, const struct fsop *op)
{
	const char *name = fsop_xattr[op->name];
	struct oxattr *x;
	struct onode *n;
	unsigned node;
	int err = find(o, op, &node);

	if (err)
		return err;
	n = &o->node[node];
	err = may_change(n, &fsop_caller[op->who].cred, name);
	if (err)
		return err;
	x = xattr_find(n, name);
	if (x && (op->flags & XATTR_CREATE))
		return -EEXIST;
	if (!x && (op->flags & XATTR_REPLACE))
		return -ENODATA;
	if (!x) {
		n->xattr = must_alloc(n->xattr, ++n->xattrs * sizeof(*x));
		x = &n->xattr[n->xattrs - 1];
		memset(x, 0, sizeof(*x));
		strcpy(x->name, name);
	}
	x->value = must_alloc(x->value, op->len);
	x->len = op->len;
	for (size_t i = 0; i < op->len; i++)
		x->value[i] = fsop_byte(op->fill, i);
	return 0;
}

int64_t xattr_get(struct oracle *o, const struct fsop *op, uint32_t *crc)
{
	const struct oxattr *x;
	unsigned node;
	int err = find(o, op, &node);

	if (!err)
		err = may_read(&o->node[node], &fsop_caller[op->who].cred, fsop_xattr[op->name]);
	if (err)
		return err;
	x = xattr_find(&o->node[node], fsop_xattr[op->name]);
	if (!x)
		return -ENODATA;
	*crc = crc32c(0, x->value, x->len);
	return (int64_t)x->len;
}

int64_t xattr_list(struct oracle *o, const struct fsop *op, uint32_t *crc)
{
	const struct onode *n;
	unsigned node;
	int64_t len = 0;
	int err = oracle_find(o, &fsop_caller[op->who].cred, fsop_path[op->a], true, &node);

	if (err)
		return err;
	n = &o->node[node];
	for (unsigned i = 0; i < n->xattrs; i++) {
		if (op->who && space_of(n->xattr[i].name) == SPACE_TRUSTED)
			continue;
		len += (int64_t)strlen(n->xattr[i].name) + 1;
		*crc += crc32c(0, n->xattr[i].name, strlen(n->xattr[i].name));
	}
	return len;
}

int64_t xattr_remove(struct oracle *o, const struct fsop *op)
{
	struct oxattr *x;
	unsigned node;
	int err = find(o, op, &node);

	if (!err)
		err = may_change(&o->node[node], &fsop_caller[op->who].cred, fsop_xattr[op->name]);
	if (err)
		return err;
	x = xattr_find(&o->node[node], fsop_xattr[op->name]);
	if (!x)
		return -ENODATA;
	xattr_drop(&o->node[node], x);
	return 0;
}
