/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the offline tools remember: every inode, entry, extent, attribute and limit after all items, kept apart from the
 * filesystem's own code so that a mistake there is not repeated here. Nothing is refused: what contradicts is judged at
 * the end. Mount refuses some items that come at the wrong time, whatever all together say; those are noted (early).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

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

static int limit_cmp(const struct fsck_limit *a, const struct fsck_limit *b)
{
	if (a->kind != b->kind)
		return a->kind < b->kind ? -1 : 1;
	return a->id < b->id ? -1 : a->id > b->id;
}

RB_GENERATE_INTERNAL(fsck_inodes, fsck_inode, entry, inode_cmp, static __attribute__((unused)))
RB_GENERATE_INTERNAL(fsck_entries, fsck_entry, entry, entry_cmp, static __attribute__((unused)))
RB_GENERATE_INTERNAL(fsck_limits, fsck_limit, entry, limit_cmp, static __attribute__((unused)))

#define STOPPED      "fsck ran out of memory"
#define BAD_RUNS_MAX 4096u /* as many as the filesystem takes */

/* --- inodes --------------------------------------------------------------------------------------------------------
 */

struct fsck_inode *fsck_inode_find(struct fsck_state *s, uint64_t ino)
{
	return RB_FIND(fsck_inodes, &s->inodes, &(struct fsck_inode){.ino = ino});
}

struct fsck_inode *fsck_inode_first(struct fsck_state *s)
{
	return RB_MIN(fsck_inodes, &s->inodes);
}

struct fsck_inode *fsck_inode_next(struct fsck_inode *i)
{
	return RB_NEXT(fsck_inodes, NULL, i);
}

struct fsck_inode *fsck_inode_get(struct fsck_state *s, uint64_t ino)
{
	struct fsck_inode *i = fsck_inode_find(s, ino);

	if (i == NULL) {
		i = calloc(1, sizeof(*i));
		if (i == NULL) {
			s->error = -ENOMEM;
			return NULL;
		}
		i->ino = ino;
		extmap_init(&i->map);
		RB_INSERT(fsck_inodes, &s->inodes, i);
	}
	i->doubtful = i->doubtful || s->doubtful;
	return i;
}

void fsck_xattrs_drop(struct fsck_inode *i)
{
	while (i->xattrs != NULL) {
		struct fsck_xattr *x = i->xattrs;

		i->xattrs = x->next;
		free(x);
	}
}

void fsck_inode_drop(struct fsck_state *s, struct fsck_inode *i)
{
	RB_REMOVE(fsck_inodes, &s->inodes, i);
	fsck_xattrs_drop(i);
	extmap_fini(&i->map);
	free(i->target);
	free(i);
}

/* --- entries -------------------------------------------------------------------------------------------------------
 */

struct fsck_entry *fsck_entry_first(struct fsck_state *s)
{
	return RB_MIN(fsck_entries, &s->entries);
}

struct fsck_entry *fsck_entry_from(struct fsck_state *s, uint64_t dir, uint64_t cookie)
{
	struct fsck_entry key = {.dir = dir, .cookie = cookie};

	return RB_NFIND(fsck_entries, &s->entries, &key);
}

struct fsck_entry *fsck_entry_next(struct fsck_entry *e)
{
	return RB_NEXT(fsck_entries, NULL, e);
}

void fsck_entry_drop(struct fsck_state *s, struct fsck_entry *e)
{
	RB_REMOVE(fsck_entries, &s->entries, e);
	free(e);
}

int fsck_entry_put(struct fsck_state *s, uint64_t dir, uint64_t cookie, uint64_t ino, uint8_t dtype, const char *name,
		   uint32_t len)
{
	struct fsck_entry key = {.dir = dir, .cookie = cookie}, *old;
	struct fsck_entry *e = malloc(sizeof(*e) + len + 1);

	if (e == NULL) {
		s->error = -ENOMEM;
		return -ENOMEM;
	}
	old = RB_FIND(fsck_entries, &s->entries, &key);
	if (old != NULL)
		fsck_entry_drop(s, old);
	e->dir = dir;
	e->cookie = cookie;
	e->ino = ino;
	e->dtype = dtype;
	e->len = (uint8_t)len;
	memcpy(e->name, name, len);
	e->name[len] = '\0';
	RB_INSERT(fsck_entries, &s->entries, e);
	return 0;
}

/* --- limits --------------------------------------------------------------------------------------------------------
 */

struct fsck_limit *fsck_limit_first(struct fsck_state *s)
{
	return RB_MIN(fsck_limits, &s->limits);
}

struct fsck_limit *fsck_limit_next(struct fsck_limit *l)
{
	return RB_NEXT(fsck_limits, NULL, l);
}

void fsck_limit_drop(struct fsck_state *s, struct fsck_limit *l)
{
	RB_REMOVE(fsck_limits, &s->limits, l);
	free(l);
}

static void limit(struct fsck_state *s, const struct item *it)
{
	struct fsck_limit key = {.kind = it->limit.kind, .id = it->limit.id};
	struct fsck_limit *l = RB_FIND(fsck_limits, &s->limits, &key);

	if (it->limit.blocks == 0 && it->limit.inodes == 0) {
		if (l != NULL)
			fsck_limit_drop(s, l);
		return;
	}
	if (l == NULL) {
		l = calloc(1, sizeof(*l));
		if (l == NULL) {
			s->error = -ENOMEM;
			return;
		}
		l->kind = key.kind;
		l->id = key.id;
		RB_INSERT(fsck_limits, &s->limits, l);
	}
	l->root = it->ino;
	l->blocks = it->limit.blocks;
	l->inodes = it->limit.inodes;
}

/* --- items ---------------------------------------------------------------------------------------------------------
 */

static void early(struct fsck_state *s, const char *rule, uint64_t ino, const struct scan_at *at)
{
	if (s->early_count < FSCK_EARLY_MAX)
		s->early[s->early_count++] = (struct fsck_early){rule, ino, *at};
}

/* An item of an inode that must be there already, and of this type (0: any). */
static struct fsck_inode *inode_of(struct fsck_state *s, const struct item *it, uint32_t type, const char *rule,
				   const struct scan_at *at)
{
	struct fsck_inode *i = fsck_inode_find(s, it->ino);

	if (i == NULL || !i->there || (type != 0 && (i->attr.mode & S_IFMT) != type))
		early(s, rule, it->ino, at);
	return fsck_inode_get(s, it->ino);
}

static void forget(struct fsck_state *s, uint64_t ino)
{
	struct fsck_inode *i = fsck_inode_find(s, ino);
	struct fsck_entry *e = fsck_entry_from(s, ino, 0);

	while (e != NULL && e->dir == ino) {
		struct fsck_entry *next = fsck_entry_next(e);

		fsck_entry_drop(s, e);
		e = next;
	}
	if (i != NULL)
		fsck_inode_drop(s, i);
}

#define NO_DIRECTORY "6.3 an entry of what is no directory"

static void undirent(struct fsck_state *s, const struct item *it, const struct scan_at *at)
{
	struct fsck_entry *e = fsck_entry_from(s, it->ino, it->name.cookie);
	const struct fsck_inode *d = fsck_inode_find(s, it->ino);

	if (d == NULL || !d->there || !S_ISDIR(d->attr.mode))
		early(s, NO_DIRECTORY, it->ino, at);
	if (e != NULL && e->dir == it->ino && e->cookie == it->name.cookie)
		fsck_entry_drop(s, e);
}

static void dirent(struct fsck_state *s, const struct item *it, const struct scan_at *at)
{
	const struct fsck_inode *d = fsck_inode_find(s, it->ino);

	if (d == NULL || !d->there || !S_ISDIR(d->attr.mode))
		early(s, NO_DIRECTORY, it->ino, at);
	fsck_entry_put(s, it->ino, it->name.cookie, it->name.target_ino, it->name.dtype, it->name.name, it->name.len);
}

static void attributes(struct fsck_state *s, const struct item *it, const struct scan_at *at)
{
	struct fsck_inode *i = fsck_inode_get(s, it->ino);

	if (i == NULL)
		return;
	if (i->there && ((i->attr.mode ^ it->inode.mode) & S_IFMT) != 0)
		early(s, "4.4a the type of an inode changes", it->ino, at);
	i->there = true;
	i->attr = inode_attr_of_item(it);
}

static void target(struct fsck_state *s, const struct item *it, const struct scan_at *at)
{
	struct fsck_inode *i = inode_of(s, it, S_IFLNK, "6.8 a target of what is no symlink", at);
	char *copy = malloc(it->name.len + 1ul);

	if (i == NULL || copy == NULL) {
		s->error = -ENOMEM;
		free(copy);
		return;
	}
	memcpy(copy, it->name.name, it->name.len);
	copy[it->name.len] = '\0';
	free(i->target);
	i->target = copy;
	i->target_len = it->name.len;
}

static void extent(struct fsck_state *s, const struct item *it, const struct scan_at *at)
{
	struct fsck_inode *i = inode_of(s, it, S_IFREG, "6.6 an extent of what is no regular file", at);
	const struct extent e = {it->map.off, it->map.start, it->map.blocks,
				 (it->map.flags & ITEM_MAP_UNWRITTEN) != 0 ? EXT_UNWRITTEN : 0};

	if (i == NULL)
		return;
	if (extmap_reserve(&i->map, 1) != 0)
		s->error = -ENOMEM;
	else if (it->type == ITEM_MAP)
		extmap_set(&i->map, &e);
	else
		extmap_clear(&i->map, e.off, e.blocks);
}

/* Where the attribute's pointer is, or where it would go: the list is in the order in which they came. */
static struct fsck_xattr **xattr_place(struct fsck_inode *i, const struct item *it)
{
	struct fsck_xattr **at = &i->xattrs;

	while (*at != NULL &&
	       ((*at)->name_len != it->xattr.name_len || memcmp((*at)->bytes, it->xattr.name, it->xattr.name_len) != 0))
		at = &(*at)->next;
	return at;
}

static void xattr(struct fsck_state *s, const struct item *it, const struct scan_at *at)
{
	struct fsck_inode *i = inode_of(s, it, 0, "6.11 extended attributes belong to an inode", at);
	struct fsck_xattr **place, *old, *x;
	uint32_t before;

	if (i == NULL)
		return;
	place = xattr_place(i, it);
	old = *place;
	if (it->xattr.flags == ITEM_XATTR_REMOVE) {
		if (old != NULL)
			*place = old->next;
		free(old);
		return;
	}
	if (it->xattr.flags == ITEM_XATTR_APPEND && old == NULL)
		early(s, "4.9d a piece of a value without its beginning", it->ino, at);
	before = it->xattr.flags == ITEM_XATTR_APPEND && old != NULL ? old->value_len : 0;
	if (before + it->xattr.value_len > FORMAT_XATTR_VALUE_MAX) {
		early(s, "4.9d value longer than 65536 bytes", it->ino, at);
		return;
	}
	x = malloc(sizeof(*x) + it->xattr.name_len + before + it->xattr.value_len);
	if (x == NULL) {
		s->error = -ENOMEM;
		return;
	}
	x->next = old != NULL ? old->next : NULL;
	x->name_len = it->xattr.name_len;
	x->value_len = before + it->xattr.value_len;
	memcpy(x->bytes, it->xattr.name, it->xattr.name_len);
	if (before != 0)
		memcpy(x->bytes + x->name_len, old->bytes + old->name_len, before);
	if (it->xattr.value_len != 0)
		memcpy(x->bytes + x->name_len + before, it->xattr.value, it->xattr.value_len);
	*place = x;
	free(old);
}

static void bad_blocks(struct fsck_state *s, const struct item *it, const struct scan_at *at)
{
	const struct extent e = {it->map.start, it->map.start, it->map.blocks, 0};

	if (extmap_reserve(&s->bad, 1) != 0)
		s->error = -ENOMEM;
	else if ((it->map.flags & ITEM_BAD_GOOD) != 0)
		extmap_clear(&s->bad, e.off, e.blocks);
	else
		extmap_set(&s->bad, &e);
	if (s->bad.extents > BAD_RUNS_MAX)
		early(s, "4.11c more than 4096 bad runs", it->map.start, at);
}

/* 4.12c. What they say counts only after a crash, and only until the pool is repaired or mounted. */
static void claim(struct fsck_state *s, const struct item *it, const struct scan_at *at)
{
	const struct extent e = {it->claim.id, (uint32_t)it->claim.id, 1, 0};

	if (extmap_reserve(&s->claims, 1) != 0)
		s->error = -ENOMEM;
	else if (it->claim.end == 0)
		extmap_clear(&s->claims, e.off, 1);
	else
		extmap_set(&s->claims, &e);
	if (s->claims.blocks > FORMAT_CLAIMS_MAX)
		early(s, "4.12c more than 65536 claims", it->ino, at);
}

const char *fsck_state_item(struct fsck_state *s, const struct item *it, const struct scan_at *at)
{
	switch (it->type) {
	case ITEM_INODE:
		attributes(s, it, at);
		break;
	case ITEM_FORGET:
		forget(s, it->ino);
		break;
	case ITEM_SYMLINK:
		target(s, it, at);
		break;
	case ITEM_DIRENT:
		dirent(s, it, at);
		break;
	case ITEM_UNDIRENT:
		undirent(s, it, at);
		break;
	case ITEM_MAP:
	case ITEM_UNMAP:
		extent(s, it, at);
		break;
	case ITEM_XATTR:
		xattr(s, it, at);
		break;
	case ITEM_LIMIT:
		limit(s, it);
		break;
	case ITEM_BAD:
		bad_blocks(s, it, at);
		break;
	case ITEM_CLAIM:
		claim(s, it, at);
		break;
	}
	return s->error == 0 ? NULL : STOPPED;
}

void fsck_state_init(struct fsck_state *s)
{
	memset(s, 0, sizeof(*s));
	RB_INIT(&s->inodes);
	RB_INIT(&s->entries);
	RB_INIT(&s->limits);
	extmap_init(&s->bad);
	extmap_init(&s->claims);
}

void fsck_state_fini(struct fsck_state *s)
{
	while (!RB_EMPTY(&s->inodes))
		fsck_inode_drop(s, RB_ROOT(&s->inodes));
	while (!RB_EMPTY(&s->entries))
		fsck_entry_drop(s, RB_ROOT(&s->entries));
	while (!RB_EMPTY(&s->limits))
		fsck_limit_drop(s, RB_ROOT(&s->limits));
	extmap_fini(&s->bad);
	extmap_fini(&s->claims);
}
