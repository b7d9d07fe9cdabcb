/* SPDX-License-Identifier: BSD-2-Clause */
#include "fs/tree.h"

#include <errno.h>
#include <stdlib.h>

#include "base/error.h"

#define MEMBERS_FIRST 64u
#define HARD_FIRST    64u

void tree_init(struct tree *t, bool counted)
{
	*t = (struct tree){.counted = counted};
}

void tree_fini(struct tree *t)
{
	free(t->m);
	free(t->hard);
	tree_init(t, t->counted);
}

void tree_put(struct fs *fs, struct tree *t)
{
	if (!t->counted)
		return;
	for (uint64_t k = 0; k < t->count; k++)
		inode_put(fs, t->m[k].inode);
	t->count = 0;
}

/* --- hard links ----------------------------------------------------------------------------------------------------
 */

static bool has_names(const struct inode *i)
{
	return i->type != DT_DIR && i->nlink > 1;
}

static uint32_t *hard_cell(const struct tree *t, uint64_t ino)
{
	uint64_t k = (ino * 0x9e3779b97f4a7c15u >> 20) & (t->hard_room - 1);

	while (t->hard[k] && ino_of(t->m[t->hard[k] - 1].inode) != ino)
		k = (k + 1) & (t->hard_room - 1);
	return &t->hard[k];
}

static int hard_grow(struct tree *t)
{
	struct tree bigger = *t;

	bigger.hard_room = t->hard_room ? t->hard_room * 2 : HARD_FIRST;
	bigger.hard = calloc(bigger.hard_room, sizeof(*bigger.hard));
	if (!bigger.hard)
		return -ENOMEM;
	for (uint64_t k = 0; k < t->hard_room; k++) {
		if (t->hard[k])
			*hard_cell(&bigger, ino_of(t->m[t->hard[k] - 1].inode)) = t->hard[k];
	}
	free(t->hard);
	*t = bigger;
	return 0;
}

static struct tree_member *hard_find(const struct tree *t, const struct inode *i)
{
	uint32_t at = t->hard_room ? *hard_cell(t, ino_of(i)) : 0;

	return at ? &t->m[at - 1] : NULL;
}

/* The newest member has other names. */
static int hard_note(struct tree *t)
{
	int err = (t->hard_count + 1) * 2 > t->hard_room ? hard_grow(t) : 0;

	if (err)
		return err;
	*hard_cell(t, ino_of(t->m[t->count - 1].inode)) = (uint32_t)t->count;
	t->hard_count++;
	return 0;
}

/* --- members --------------------------------------------------------------------------------------------------------
 */

static int member_add(struct tree *t, struct inode *i, const struct tree_filter *f, bool leaf)
{
	int err = f->each ? f->each(f->ctx, i) : 0;

	if (err)
		return err;
	if (t->count == TREE_MEMBERS_MAX)
		return fail(-E2BIG, "the tree has more than %llu files", (unsigned long long)TREE_MEMBERS_MAX);
	if (t->count == t->room) {
		uint64_t room = t->room ? t->room * 2 : MEMBERS_FIRST;
		struct tree_member *m = reallocarray(t->m, room, sizeof(*m));

		if (!m)
			return -ENOMEM;
		t->m = m;
		t->room = room;
	}
	t->m[t->count++] = (struct tree_member){.inode = i, .leaf = leaf};
	if (t->counted)
		inode_get(i);
	return has_names(i) ? hard_note(t) : 0;
}

static int entry_add(struct tree *t, const struct entry *e, const struct tree_filter *f)
{
	struct inode *i = e->inode;
	struct tree_member *known = has_names(i) ? hard_find(t, i) : NULL;
	enum tree_do what = TREE_ENTER;
	int err;

	if (known) {
		known->names++;
		return 0;
	}
	if (i->type == DT_DIR && f->dir)
		what = f->dir(f->ctx, i);
	if (what == TREE_SKIP)
		return 0;
	err = member_add(t, i, f, what == TREE_LEAF);
	if (!err)
		t->m[t->count - 1].names = 1;
	return err;
}

int tree_collect(struct tree *t, struct inode *top, const struct tree_filter *f)
{
	int err = member_add(t, top, f, false);
	struct dir_walk w;
	struct entry *e;

	for (uint64_t k = 0; !err && k < t->count; k++) {
		const struct inode *d = t->m[k].inode;

		if (d->type != DT_DIR || t->m[k].leaf)
			continue;
		dir_walk_begin(&w, &d->dir->list, 0);
		for (e = dir_walk_next(&w); !err && e; e = dir_walk_next(&w))
			err = entry_add(t, e, f);
	}
	return err;
}

struct tree_member *tree_child(const struct tree *t, const struct inode *child, uint64_t *next)
{
	if (*next < t->count && t->m[*next].inode == child)
		return &t->m[(*next)++];
	assert(has_names(child));
	return hard_find(t, child);
}
