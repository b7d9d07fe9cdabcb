/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Replay: items of checkpoint and log become inodes, and at the end the rules of docs/format.md 6 are checked and what
 * is never recorded is derived: names to inodes, link counts, references of blocks.
 *
 * While items arrive the state may be inconsistent (the checkpoint is fuzzy, an old record may come after a newer
 * state); only the end counts. So items of inodes that are not there, or not of the kind, are damage only when they
 * cannot come from such a record: every record carries the attributes of the inodes that it touches, before its other
 * items.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "fs/acl.h"
#include "fs/claims.h"
#include "fs/core.h"
#include "fs/dir.h"
#include "fs/evacuate.h"
#include "fs/limit.h"

#define NO_MEMORY     "out of memory"
#define RESOLVE_AHEAD 16u /* entries */

static const char *no_memory(struct fs *fs)
{
	fs->apply_error = -ENOMEM;
	return NO_MEMORY;
}

/* Items of one inode, and entries of one directory, mostly follow each other. */
static struct inode *replayed(struct fs *fs, uint64_t ino)
{
	struct inode *i = fs->replayed;

	if (i && ino_of(i) == ino)
		return i;
	i = itable_peek(fs, ino);
	if (i)
		fs->replayed = i;
	return i;
}

static void apply_expect(void *ctx, uint64_t items)
{
	/* A file has an inode, an entry and a map. */
	itable_presize(ctx, items / 3);
}

static const char *apply_inode(void *ctx, const struct inode_attr *a)
{
	struct fs *fs = ctx;
	struct inode *i = replayed(fs, a->ino);

	if (i && i->type != mode_type(a->mode))
		return "4.4a the type of an inode changes";
	if (a->ino >= atomic_load_explicit(&fs->next_ino, memory_order_relaxed))
		atomic_store_explicit(&fs->next_ino, a->ino + 1, memory_order_relaxed);
	if (i) {
		i->attr = *a;
		return NULL;
	}
	if (inode_new(fs, a, &i))
		return no_memory(fs);
	atomic_store_explicit(&i->refs, 0, memory_order_relaxed);
	i->tail_stale = true;
	itable_add(fs, i);
	fs->replayed = i;
	return NULL;
}

static const char *apply_forget(void *ctx, uint64_t ino)
{
	struct fs *fs = ctx;
	struct inode *i = replayed(fs, ino);

	if (!i)
		return NULL;
	fs->replayed = NULL;
	itable_remove(fs, i);
	inode_free(i);
	return NULL;
}

static const char *apply_symlink(void *ctx, uint64_t ino, const char *target, uint32_t len)
{
	struct fs *fs = ctx;
	struct inode *i = replayed(fs, ino);
	char *copy;

	if (!i || i->type != DT_LNK)
		return "6.8 a target of what is no symlink";
	copy = malloc(len + 1ul);
	if (!copy)
		return no_memory(fs);
	memcpy(copy, target, len);
	copy[len] = '\0';
	free(i->target);
	i->target = copy;
	i->target_len = len;
	return NULL;
}

static const char *apply_dirent(void *ctx, uint64_t dir, uint64_t cookie, uint64_t ino, uint8_t type, const char *name,
				uint32_t len)
{
	struct fs *fs = ctx;
	struct inode *d = replayed(fs, dir);

	if (!d || d->type != DT_DIR)
		return "6.3 an entry of what is no directory";
	if (dir_replay_set(d->dir, cookie, ino, type, name, len))
		return no_memory(fs);
	return NULL;
}

static const char *apply_undirent(void *ctx, uint64_t dir, uint64_t cookie)
{
	struct inode *d = replayed(ctx, dir);

	if (!d || d->type != DT_DIR)
		return "6.3 an entry of what is no directory";
	dir_replay_clear(d->dir, cookie);
	return NULL;
}

static const char *apply_map(void *ctx, uint64_t ino, const struct extent *e)
{
	struct fs *fs = ctx;
	struct inode *i = replayed(fs, ino);

	if (!i || i->type != DT_REG)
		return "6.6 an extent of what is no regular file";
	if (extmap_reserve(&i->map, 1))
		return no_memory(fs);
	extmap_set(&i->map, e);
	return NULL;
}

static const char *apply_unmap(void *ctx, uint64_t ino, uint64_t off, uint64_t blocks)
{
	struct fs *fs = ctx;
	struct inode *i = replayed(fs, ino);

	if (!i || i->type != DT_REG)
		return "6.6 an extent of what is no regular file";
	if (extmap_reserve(&i->map, 1))
		return no_memory(fs);
	extmap_clear(&i->map, off, blocks);
	return NULL;
}

static const char *apply_xattr(void *ctx, uint64_t ino, const char *name, uint32_t name_len, const void *value,
			       uint32_t len, uint32_t flags)
{
	struct fs *fs = ctx;
	struct inode *i = replayed(fs, ino);
	struct xattr_piece p = {name, value, name_len, len, flags};
	int err;

	if (!i)
		return "6.11 extended attributes belong to an inode";
	err = xattrs_replay(i, &p);
	if (err == -ENOMEM)
		return no_memory(fs);
	return err ? "4.9d an extended attribute of more than 65536 bytes, or the second half of none" : NULL;
}

const struct journal_apply fs_apply = {
    .expect = apply_expect,
    .inode = apply_inode,
    .forget = apply_forget,
    .symlink = apply_symlink,
    .dirent = apply_dirent,
    .undirent = apply_undirent,
    .map = apply_map,
    .unmap = apply_unmap,
    .xattr = apply_xattr,
    .limit = limit_apply,
    .bad = bad_apply,
    .claim = claim_apply,
};

/* --- the end ------------------------------------------------------------------------------------------------------ */

/*
 * Calls each() for all inodes until one fails, about in the order of their numbers, which is that of their blocks too.
 * Mount only: nothing else runs.
 */
static int each_inode(struct fs *fs, int (*each)(struct fs *fs, struct inode *i))
{
	uint32_t most = 0;
	int err = 0;

	for (unsigned k = 0; k < ITABLE_SHARDS; k++)
		most = fs->table[k].bucket_count > most ? fs->table[k].bucket_count : most;
	for (uint32_t b = 0; b < most; b++) {
		for (unsigned k = 0; k < ITABLE_SHARDS; k++) {
			struct itable_shard *s = &fs->table[k];

			for (struct inode *i = b < s->bucket_count ? s->buckets[b] : NULL; i && !err; i = i->next)
				err = each(fs, i);
			/* The next round finds this one's inode in the cache. */
			if (b + 1 < s->bucket_count)
				__builtin_prefetch(s->buckets[b + 1]);
		}
	}
	return err;
}

static int damaged(const struct fs *fs, const struct inode *i, const char *rule)
{
	return fail(-EUCLEAN, "pool %s: format %s (inode %llu): run leasehold fsck on it", fs->pool->name, rule,
		    (unsigned long long)ino_of(i));
}

static int resolve_entry(struct fs *fs, struct inode *dir, struct entry *e)
{
	struct inode *i = itable_peek(fs, e->ino);

	if (!i || i->type != e->type)
		return damaged(fs, dir, "6.2 every entry's inode exists, and has the entry's type");
	e->inode = i;
	if (i->type == DT_DIR) {
		if (i->dir->parent || i == fs->root)
			return damaged(fs, i, "6.4 a directory has exactly one name");
		i->dir->parent = dir;
		dir->nlink++;
	} else {
		i->nlink++;
	}
	walk_account(fs, WALK_DIRENT_BYTES + e->len);
	return 0;
}

/* What resolve_entry looks at is asked for a few entries ahead. */
static int resolve_entries(struct fs *fs, struct inode *dir)
{
	struct entry *ahead[RESOLVE_AHEAD];
	struct dir_walk w;
	unsigned count;
	int err = 0;

	dir_walk_begin(&w, &dir->dir->list, 0);
	do {
		for (count = 0; count < RESOLVE_AHEAD; count++) {
			ahead[count] = dir_walk_next(&w);
			if (!ahead[count])
				break;
			itable_prefetch(fs, ahead[count]->ino, false);
		}
		for (unsigned k = 0; k < count; k++)
			itable_prefetch(fs, ahead[k]->ino, true);
		for (unsigned k = 0; !err && k < count; k++)
			err = resolve_entry(fs, dir, ahead[k]);
	} while (!err && count == RESOLVE_AHEAD);
	return err;
}

static int finish_dir(struct fs *fs, struct inode *i)
{
	int err;

	if (i->type != DT_DIR)
		return 0;
	err = dir_finish(i->dir);
	if (err == -EUCLEAN)
		return damaged(fs, i, "6.5 names are unique in a directory");
	return err ? err : resolve_entries(fs, i);
}

/*
 * Climbs until a directory that is known to hang below the root, then gives the whole way its link count: 2 and its
 * children, which it has from resolve_entry already. A way longer than there are inodes is a loop.
 */
static int finish_tree(struct fs *fs, struct inode *i)
{
	uint64_t limit = atomic_load(&fs->files);
	struct inode *d = i;

	if (i->type != DT_DIR)
		return 0;
	while (d && !d->reached && limit-- > 0)
		d = d->dir->parent;
	if (!d || !d->reached)
		return damaged(fs, i, "6.4 a directory is reached from the root");
	for (d = i; !d->reached; d = d->dir->parent) {
		d->reached = true;
		d->nlink += 2;
	}
	return 0;
}

static int finish_file(struct fs *fs, struct inode *i)
{
	struct extent e;
	int err = 0;

	walk_account(fs, walk_inode_bytes(i));
	if (acl_rule(i))
		return damaged(fs, i, acl_rule(i));
	if (i->type != DT_DIR && i->nlink == 0 && !fs->read_only)
		atomic_fetch_or(&i->refs, REF_ORPHAN);
	if (i->type == DT_LNK && (!i->target || i->target_len != i->attr.size))
		return damaged(fs, i, "6.8 a symlink has a target as long as its size");
	if (i->type != DT_REG)
		return 0;
	walk_account(fs, (int64_t)i->map.extents * WALK_EXTENT_BYTES);
	for (uint64_t b = 0; !err && extmap_find(&i->map, b, &e); b = e.off + e.blocks)
		err = alloc_mark(fs->alloc, (struct run){e.start, e.blocks});
	return err == -EUCLEAN
		   ? damaged(fs, i, "6.6 extents lie inside the pool, over no superblock, checkpoint or log")
		   : err;
}

/* After all references are counted. */
static int finish_sharing(struct fs *fs, struct inode *i)
{
	struct extent e;
	uint64_t alike;

	if (i->type != DT_REG)
		return 0;
	for (uint64_t b = 0; !i->may_share && extmap_find(&i->map, b, &e); b = e.off + alike) {
		if (e.off < b) {
			e.start += b - e.off;
			e.blocks -= b - e.off;
			e.off = b;
		}
		i->may_share = alloc_shared(fs->alloc, (struct run){e.start, e.blocks}, &alike);
	}
	return 0;
}

int apply_finish(struct fs *fs)
{
	int err;

	fs->root = itable_peek(fs, FS_ROOT_INO);
	if (!fs->root || fs->root->type != DT_DIR)
		return fail(-EUCLEAN, "pool %s: format 6.1 inode 1 exists and is a directory: run leasehold fsck on it",
			    fs->pool->name);
	err = each_inode(fs, finish_dir);
	if (err)
		return err;
	fs->root->dir->parent = fs->root;
	fs->root->reached = true;
	fs->root->nlink += 2;
	err = each_inode(fs, finish_tree);
	if (!err)
		err = each_inode(fs, finish_file);
	if (!err && alloc_any_shared(fs->alloc))
		err = each_inode(fs, finish_sharing);
	if (!err)
		limit_finish(fs);
	return err;
}
