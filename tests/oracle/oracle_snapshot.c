/* SPDX-License-Identifier: BSD-2-Clause */
/* Whole-tree snapshots of the reference: a copy of every node below, its cells shared. */
#include <errno.h>

#include "oracle_internal.h"

struct copying {
	struct oracle *o;
	unsigned *to; /* by node; NO_NODE: not copied */
	unsigned known;
	bool inside; /* the new tree lies in the old one: snapshots in it are left out */
};

/* What is written and inside the file is shared; the content is durable before the record that names it again. */
static void copy_blocks(struct oracle *o, unsigned from, unsigned to)
{
	struct onode *a = &o->node[from], *b = &o->node[to];

	b->block = NULL;
	b->blocks = 0;
	for (unsigned i = 0; i < a->blocks; i++) {
		if (!a->block[i].v || a->block[i].no * B >= a->size)
			continue;
		a->block[i].was_shared = true;
		a->block[i].durable = o->time;
		a->block[i].v->refs++;
		b->block = must_alloc(b->block, (b->blocks + 1) * sizeof(b->block[0]));
		b->block[b->blocks++] = a->block[i];
	}
}

static void copy_xattrs(struct onode *n)
{
	struct oxattr *x = n->xattr;

	if (!n->xattrs)
		return;
	n->xattr = must_alloc(NULL, n->xattrs * sizeof(*x));
	memcpy(n->xattr, x, n->xattrs * sizeof(*x));
	for (unsigned i = 0; i < n->xattrs; i++) {
		n->xattr[i].value = must_alloc(NULL, x[i].len);
		memcpy(n->xattr[i].value, x[i].value, x[i].len);
	}
}

static unsigned copy_node(struct copying *c, unsigned from, unsigned parent, bool top)
{
	struct oracle *o = c->o;
	bool leaf = !top && c->inside && o->node[from].snapshot;
	unsigned to, entries;

	if (from < c->known && c->to[from] != NO_NODE) {
		o->node[c->to[from]].nlink++;
		return c->to[from];
	}
	to = oracle_node_new(o, o->node[from].mode);
	o->node[to] = o->node[from];
	o->node[to].nlink = S_ISDIR(o->node[to].mode) ? 2 : 1;
	o->node[to].opens = 0;
	o->node[to].parent = parent;
	o->node[to].snapshot = top || (o->node[from].snapshot && !leaf);
	o->node[to].target = o->node[from].target ? strdup(o->node[from].target) : NULL;
	copy_xattrs(&o->node[to]);
	copy_blocks(o, from, to);
	entries = leaf ? 0 : o->node[from].entries;
	o->node[to].entry = must_alloc(NULL, (entries + 1) * sizeof(o->node[to].entry[0]));
	o->node[to].entries = entries;
	if (from < c->known && !S_ISDIR(o->node[from].mode))
		c->to[from] = to;
	for (unsigned i = 0; i < entries; i++) {
		struct oentry e = o->node[from].entry[i];

		e.node = copy_node(c, e.node, to, false);
		o->node[to].entry[i] = e;
		o->node[to].nlink += S_ISDIR(o->node[e.node].mode);
	}
	return to;
}

static bool lies_in(const struct oracle *o, unsigned dir, unsigned top)
{
	while (dir != top && dir != 0)
		dir = o->node[dir].parent;
	return dir == top;
}

int64_t snapshot_take(struct oracle *o, const struct fsop *op)
{
	const struct fs_cred *cred = &fsop_caller[op->who].cred;
	struct copying c = {.o = o};
	char name[FS_NAME_MAX + 1];
	unsigned from, dir, there, to;
	int err = oracle_find(o, cred, fsop_path[op->a], true, &from);

	if (err)
		return err;
	if (!S_ISDIR(o->node[from].mode))
		return -ENOTDIR;
	err = oracle_place(o, cred, fsop_path[op->b], &dir, name, &there);
	if (err || there != NO_NODE)
		return err ? err : -EEXIST;
	c.inside = lies_in(o, dir, from);
	c.known = o->nodes;
	c.to = must_alloc(NULL, c.known * sizeof(c.to[0]));
	memset(c.to, 0xff, c.known * sizeof(c.to[0]));
	to = copy_node(&c, from, dir, true);
	free(c.to);
	oracle_entry_add(&o->node[dir], name, to);
	o->node[dir].nlink++;
	return 0;
}

static void drop_tree(struct oracle *o, unsigned k)
{
	struct onode *n = &o->node[k];

	while (n->entries) {
		unsigned child = n->entry[--n->entries].node;

		if (S_ISDIR(o->node[child].mode)) {
			drop_tree(o, child);
		} else {
			o->node[child].nlink--;
			oracle_node_settle(o, child);
		}
	}
	n->nlink = 0;
	oracle_node_settle(o, k);
}

int64_t snapshot_delete(struct oracle *o, const struct fsop *op)
{
	char name[FS_NAME_MAX + 1];
	unsigned dir, top;
	int err = oracle_place(o, &fsop_caller[op->who].cred, fsop_path[op->a], &dir, name, &top);

	if (err == -EEXIST)
		return -EINVAL;
	if (err || top == NO_NODE)
		return err ? err : -ENOENT;
	if (!o->node[top].snapshot)
		return -EINVAL;
	oracle_entry_remove(&o->node[dir], name);
	o->node[dir].nlink--;
	drop_tree(o, top);
	return 0;
}
