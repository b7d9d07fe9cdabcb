/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Checkpoints: all inodes as items, each under its lock, large directories and files in batches with the lock dropped
 * between (the checkpoint is fuzzy anyway: what changes meanwhile is in the log behind its position).
 */
#include <errno.h>

#include "base/log.h"
#include "fs/claims.h"
#include "fs/core.h"
#include "fs/dir.h"
#include "fs/evacuate.h"
#include "fs/limit.h"
#include "fs/xattr.h"

#define WALK_BATCH        512u        /* items under one lock */
#define WALK_HINT_BYTES   (256 << 10) /* how far the estimate may drift before the journal hears of it */
#define ROOM_TRIES        3u
#define WALK_TARGET_BYTES 24u
#define ROOM_SCATTERED    64u         /* blocks: a log segment or two */
#define WALK_FLUSH        (64u << 10) /* bytes of items handed over at once */

struct walker {
	struct fs *fs;
	struct checkpoint *cp;
	struct jtxn t;
	struct inode *dead;
};

/* Under INODE. Returns the cookie to go on after; 0: done. */
static uint64_t walk_names(struct walker *w, const struct inode *i, uint64_t after)
{
	const struct entry *e;
	struct dir_walk at;
	unsigned count = 0;

	dir_walk_begin(&at, &i->dir->list, after);
	for (e = dir_walk_next(&at); e; e = dir_walk_next(&at)) {
		if (count++ == WALK_BATCH)
			return after;
		jtxn_dirent(&w->t, ino_of(i), e->cookie, ino_of(e->inode), e->type, e->name, e->len);
		after = e->cookie;
	}
	return 0;
}

/* Under INODE. Returns the block to go on at; 0: done. */
static uint64_t walk_extents(struct walker *w, const struct inode *i, uint64_t block)
{
	unsigned count = 0;
	struct extent e;

	for (; extmap_find(&i->map, block, &e); block = e.off + e.blocks) {
		if (count++ == WALK_BATCH)
			return block;
		e.flags &= EXT_UNWRITTEN;
		jtxn_map(&w->t, ino_of(i), &e);
	}
	return 0;
}

/* Where the walk of one inode is. */
struct walk_at {
	uint64_t content; /* 0: all told, or not begun */
	struct xattr_at xattr;
	uint32_t xattrs_left;
};

/* Under INODE: the inode and as much of what it has as one batch holds. */
static void walk_batch(struct walker *w, const struct inode *i, struct walk_at *at)
{
	jtxn_inode(&w->t, &i->attr);
	if (unlikely(i->xattrs)) {
		at->xattrs_left = xattrs_walk(&w->t, i, &at->xattr, WALK_FLUSH);
		if (at->xattrs_left)
			return;
	}
	if (i->type == DT_DIR)
		at->content = walk_names(w, i, at->content);
	else if (i->type == DT_REG)
		at->content = walk_extents(w, i, at->content);
	else if (i->type == DT_LNK)
		jtxn_symlink(&w->t, ino_of(i), i->target, i->target_len);
}

static int walk_inode(void *ctx, struct inode *i)
{
	struct walker *w = ctx;
	struct walk_at at;
	bool more;
	int err = 0;

	at.content = 0;
	at.xattr.len = 0;
	do {
		at.xattrs_left = 0;
		rwlock_take_read(&i->lock);
		more = !i->gone;
		if (more)
			walk_batch(w, i, &at);
		more = more && (at.content || at.xattrs_left);
		rwlock_drop(&i->lock);
		if (w->t.len >= WALK_FLUSH || w->t.error)
			err = checkpoint_add(w->cp, &w->t);
	} while (!err && more);
	return err;
}

static int walk_all(void *ctx, struct checkpoint *cp)
{
	struct walker *w = ctx;
	int err;

	w->cp = cp;
	jtxn_init(&w->t);
	err = limit_walk(w->fs, &w->t);
	bad_walk(w->fs, &w->t);
	claims_walk(w->fs, &w->t);
	if (!err)
		err = itable_each(w->fs, walk_inode, w, &w->dead);
	if (!err && w->t.items)
		err = checkpoint_add(cp, &w->t);
	jtxn_fini(&w->t);
	return err;
}

int walk_checkpoint(struct fs *fs, bool clean)
{
	struct walker w = {.fs = fs};
	bool confirm = clean && !atomic_load(&fs->lazy_left) && journal_unchanged(fs->journal);
	int err = journal_checkpoint(fs->journal, confirm ? NULL : walk_all, &w, clean);

	/* Their records belong behind the checkpoint, not into its making. */
	inodes_put_dead(fs, w.dead);
	if (!err && !clean)
		orphans_reclaim(fs);
	return err;
}

bool walk_made_room(struct fs *fs, int err, unsigned *tries)
{
	if (likely(err != -ENOSPC) || (*tries)++ >= ROOM_TRIES)
		return false;
	lock_assert_none();
	if (!fs->has_thread || pthread_equal(pthread_self(), fs->thread))
		return walk_checkpoint(fs, false) == 0;
	return journal_make_room(fs->journal) == 0;
}

bool walk_joined_room(struct fs *fs, int err, unsigned *tries)
{
	return unlikely(err == -ENOSPC) && alloc_avail_blocks(fs->alloc) >= ROOM_SCATTERED &&
	       walk_made_room(fs, err, tries);
}

int64_t walk_inode_bytes(const struct inode *i)
{
	int64_t target = i->type == DT_LNK ? (int64_t)(WALK_TARGET_BYTES + i->target_len) : 0;

	return WALK_INODE_BYTES + xattrs_bytes(i) + target;
}

/* The hint is said again when it has moved on by a step; who crosses it says it. */
void walk_account(struct fs *fs, int64_t bytes)
{
	int64_t now = atomic_fetch_add_explicit(&fs->checkpoint_bytes, bytes, memory_order_relaxed) + bytes;
	int64_t said = atomic_load_explicit(&fs->checkpoint_hinted, memory_order_relaxed);

	if (likely(now - said < WALK_HINT_BYTES && said - now < WALK_HINT_BYTES) || !fs->journal_ready)
		return;
	if (atomic_compare_exchange_strong(&fs->checkpoint_hinted, &said, now))
		journal_size_hint(fs->journal, now > 0 ? (uint64_t)now : 0);
}
