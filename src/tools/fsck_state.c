/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What fsck remembers: every inode, entry and extent after all items, kept apart from the filesystem's own code so that
 * a mistake there is not repeated here. Nothing is refused: what contradicts is judged at the end.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tools/fsck.h"

static int inode_cmp(const struct fsck_inode *a, const struct fsck_inode *b)
{
	return a->ino < b->ino ? -1 : a->ino > b->ino;
}

static int entry_cmp(const struct fsck_entry *a, const struct fsck_entry *b)
{
	if (a->dir != b->dir)
		return a->dir < b->dir ? -1 : 1;
	return a->cookie < b->cookie ? -1 : a->cookie > b->cookie;
}

RB_GENERATE_INTERNAL(fsck_inodes, fsck_inode, entry, inode_cmp, static __attribute__((unused)))
RB_GENERATE_INTERNAL(fsck_entries, fsck_entry, entry, entry_cmp, static __attribute__((unused)))

#define STOPPED "fsck ran out of memory"

struct fsck_inode *fsck_inode_find(struct fsck *f, uint64_t ino)
{
	return RB_FIND(fsck_inodes, &f->inodes, &(struct fsck_inode){.ino = ino});
}

struct fsck_inode *fsck_inode_first(struct fsck *f)
{
	return RB_MIN(fsck_inodes, &f->inodes);
}

struct fsck_inode *fsck_inode_next(struct fsck_inode *i)
{
	return RB_NEXT(fsck_inodes, NULL, i);
}

struct fsck_entry *fsck_entry_first(struct fsck *f)
{
	return RB_MIN(fsck_entries, &f->entries);
}

struct fsck_entry *fsck_entry_next(struct fsck_entry *e)
{
	return RB_NEXT(fsck_entries, NULL, e);
}

static struct fsck_inode *inode_get(struct fsck *f, uint64_t ino)
{
	struct fsck_inode *i = fsck_inode_find(f, ino);

	if (i != NULL)
		return i;
	i = calloc(1, sizeof(*i));
	if (i == NULL) {
		f->error = -ENOMEM;
		return NULL;
	}
	i->ino = ino;
	extmap_init(&i->map);
	RB_INSERT(fsck_inodes, &f->inodes, i);
	return i;
}

static void inode_drop(struct fsck *f, struct fsck_inode *i)
{
	RB_REMOVE(fsck_inodes, &f->inodes, i);
	extmap_fini(&i->map);
	free(i);
}

static void entry_drop(struct fsck *f, struct fsck_entry *e)
{
	RB_REMOVE(fsck_entries, &f->entries, e);
	free(e);
}

static void forget(struct fsck *f, uint64_t ino)
{
	struct fsck_inode *i = fsck_inode_find(f, ino);
	struct fsck_entry key = {.dir = ino};
	struct fsck_entry *e = RB_NFIND(fsck_entries, &f->entries, &key);

	while (e != NULL && e->dir == ino) {
		struct fsck_entry *next = fsck_entry_next(e);

		entry_drop(f, e);
		e = next;
	}
	if (i != NULL)
		inode_drop(f, i);
}

static void undirent(struct fsck *f, const struct item *it)
{
	struct fsck_entry key = {.dir = it->ino, .cookie = it->name.cookie};
	struct fsck_entry *e = RB_FIND(fsck_entries, &f->entries, &key);

	if (e != NULL)
		entry_drop(f, e);
}

static void dirent(struct fsck *f, const struct item *it)
{
	struct fsck_entry *e = malloc(sizeof(*e) + it->name.len + 1);

	if (e == NULL) {
		f->error = -ENOMEM;
		return;
	}
	undirent(f, it);
	e->dir = it->ino;
	e->cookie = it->name.cookie;
	e->ino = it->name.target_ino;
	e->dtype = it->name.dtype;
	e->len = (uint8_t)it->name.len;
	memcpy(e->name, it->name.name, it->name.len);
	e->name[it->name.len] = '\0';
	RB_INSERT(fsck_entries, &f->entries, e);
}

static void attributes(struct fsck *f, const struct item *it)
{
	struct fsck_inode *i = inode_get(f, it->ino);

	if (i == NULL)
		return;
	i->there = true;
	i->mode = it->inode.mode;
	i->size = it->inode.size;
}

static void target(struct fsck *f, const struct item *it)
{
	struct fsck_inode *i = inode_get(f, it->ino);

	if (i != NULL)
		i->target_len = it->name.len;
}

static void extent(struct fsck *f, const struct item *it)
{
	struct fsck_inode *i = inode_get(f, it->ino);
	const struct extent e = {it->map.off, it->map.start, it->map.blocks, it->map.flags};

	if (i == NULL)
		return;
	if (extmap_reserve(&i->map, 1) != 0)
		f->error = -ENOMEM;
	else if (it->type == ITEM_MAP)
		extmap_set(&i->map, &e);
	else
		extmap_clear(&i->map, e.off, e.blocks);
}

static const char *item_visit(void *ctx, const struct item *it, const struct scan_at *at, const void *bytes)
{
	struct fsck *f = ctx;

	(void)at;
	(void)bytes;
	switch (it->type) {
	case ITEM_INODE:
		attributes(f, it);
		break;
	case ITEM_FORGET:
		forget(f, it->ino);
		break;
	case ITEM_SYMLINK:
		target(f, it);
		break;
	case ITEM_DIRENT:
		dirent(f, it);
		break;
	case ITEM_UNDIRENT:
		undirent(f, it);
		break;
	case ITEM_MAP:
	case ITEM_UNMAP:
		extent(f, it);
		break;
	case ITEM_XATTR:
	case ITEM_LIMIT:
	case ITEM_BAD:
		break;
	}
	return f->error == 0 ? NULL : STOPPED;
}

static void copy_damaged(void *ctx, const char *rule)
{
	fsck_finding(ctx, "2.2a copy of the superblock",
		     "if block 0 is damaged too, the pool cannot be recognised; a writable mount writes the copy anew",
		     "last block: %s", rule);
}

const struct scan_ops fsck_ops = {.item = item_visit, .copy_damaged = copy_damaged};

void fsck_state_init(struct fsck *f)
{
	RB_INIT(&f->inodes);
	RB_INIT(&f->entries);
}

void fsck_state_fini(struct fsck *f)
{
	while (!RB_EMPTY(&f->inodes))
		inode_drop(f, RB_ROOT(&f->inodes));
	while (!RB_EMPTY(&f->entries))
		entry_drop(f, RB_ROOT(&f->entries));
}
