/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A tiny owner of a journal for tests: inodes with a size, and how many blocks each maps. What replay delivers is kept
 * in `struct rig_state`; the same state is what a checkpoint walks.
 */
#ifndef LH_TEST_JOURNAL_RIG_H
#define LH_TEST_JOURNAL_RIG_H

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/lock.h"
#include "fs/alloc.h"
#include "fs/journal.h"
#include "pool/pool.h"

#define RIG_INODES 512u

struct rig_inode {
	bool there;
	uint64_t size, maps, names;
};
struct rig_state {
	struct rig_inode ino[RIG_INODES];
};
struct rig {
	struct pool *pool;
	struct journal *j;
	struct alloc *alloc;
	struct rig_state *state;
	struct rwlock lock[RIG_INODES];
};

static inline const char *rig_inode(void *ctx, const struct inode_attr *a)
{
	struct rig_state *s = ctx;

	if (a->ino >= RIG_INODES)
		return "rig: inode number";
	s->ino[a->ino].there = true;
	s->ino[a->ino].size = a->size;
	return NULL;
}
static inline const char *rig_forget(void *ctx, uint64_t ino)
{
	struct rig_state *s = ctx;

	s->ino[ino % RIG_INODES] = (struct rig_inode){0};
	return NULL;
}
static inline const char *rig_symlink(void *ctx, uint64_t ino, const char *target, uint32_t len)
{
	struct rig_state *s = ctx;

	(void)target;
	s->ino[ino % RIG_INODES].names += len;
	return NULL;
}
static inline const char *rig_dirent(void *ctx, uint64_t dir, uint64_t cookie, uint64_t ino, uint8_t type,
				     const char *name, uint32_t len)
{
	struct rig_state *s = ctx;

	(void)cookie, (void)ino, (void)type, (void)name, (void)len;
	s->ino[dir % RIG_INODES].names++;
	return NULL;
}
static inline const char *rig_undirent(void *ctx, uint64_t dir, uint64_t cookie)
{
	struct rig_state *s = ctx;

	(void)cookie;
	s->ino[dir % RIG_INODES].names--;
	return NULL;
}
static inline const char *rig_map(void *ctx, uint64_t ino, const struct extent *e)
{
	struct rig_state *s = ctx;

	s->ino[ino % RIG_INODES].maps += e->blocks;
	return NULL;
}
static inline const char *rig_unmap(void *ctx, uint64_t ino, uint64_t off, uint64_t blocks)
{
	struct rig_state *s = ctx;

	(void)off, (void)blocks;
	s->ino[ino % RIG_INODES].maps = 0;
	return NULL;
}
static const struct journal_apply rig_apply = {
    .inode = rig_inode,
    .forget = rig_forget,
    .symlink = rig_symlink,
    .dirent = rig_dirent,
    .undirent = rig_undirent,
    .map = rig_map,
    .unmap = rig_unmap,
};

static inline int rig_format(struct pool *pool)
{
	const struct inode_attr root = {.ino = 1, .mode = S_IFDIR | 0755};

	return journal_format(pool, &root);
}

static inline void rig_close(struct rig *r)
{
	journal_close(r->j);
	alloc_free(r->alloc);
	for (unsigned i = 0; i < RIG_INODES; i++)
		rwlock_destroy(&r->lock[i]);
	free(r->state);
	memset(r, 0, sizeof(*r));
}

/* Opens, replays, starts. On an error nothing is left open. */
static inline int rig_open(struct rig *r, struct pool *pool, bool read_only)
{
	int err;

	memset(r, 0, sizeof(*r));
	r->pool = pool;
	r->state = calloc(1, sizeof(*r->state));
	assert(r->state != NULL);
	for (unsigned i = 0; i < RIG_INODES; i++)
		rwlock_init(&r->lock[i], RANK_INODE, i);
	err = journal_open(pool, &rig_apply, r->state, &r->j);
	if (err == 0)
		err = alloc_new(pool->size >> LH_BLOCK_SHIFT, pool->class == POOL_MSYNC, &r->alloc);
	if (err == 0)
		err = journal_mark_space(r->j, r->alloc);
	if (err == 0)
		err = journal_start(r->j, r->alloc, read_only);
	if (err != 0)
		rig_close(r);
	return err;
}

/* One record: the inode has this size. Memory follows, as in the fs. */
static inline int rig_set(struct rig *r, uint64_t ino, uint64_t size, bool frees)
{
	const struct inode_attr a = {.ino = ino, .size = size, .mode = S_IFREG | 0644};
	struct jtxn t;
	uint64_t seq;
	int err;

	rwlock_take_write(&r->lock[ino]);
	jtxn_init(&t);
	t.frees = frees;
	jtxn_inode(&t, &a);
	err = jtxn_commit(r->j, &t, &seq);
	jtxn_fini(&t);
	if (err == 0)
		rig_inode(r->state, &a);
	rwlock_drop(&r->lock[ino]);
	return err;
}

static inline int rig_forget_one(struct rig *r, uint64_t ino)
{
	struct jtxn t;
	uint64_t seq;
	int err;

	rwlock_take_write(&r->lock[ino]);
	jtxn_init(&t);
	t.frees = true;
	jtxn_forget(&t, ino);
	err = jtxn_commit(r->j, &t, &seq);
	jtxn_fini(&t);
	if (err == 0)
		rig_forget(r->state, ino);
	rwlock_drop(&r->lock[ino]);
	return err;
}

/* One operation of many items. */
static inline int rig_map_many(struct rig *r, uint64_t ino, unsigned count)
{
	struct jtxn t;
	uint64_t seq;
	int err;

	rwlock_take_write(&r->lock[ino]);
	jtxn_init(&t);
	jtxn_unmap(&t, ino, 0, 1);
	for (unsigned i = 0; i < count; i++)
		jtxn_map(&t, ino, &(struct extent){i * 2, 100 + i % 3000, 1, 0});
	err = jtxn_commit(r->j, &t, &seq);
	jtxn_fini(&t);
	if (err == 0)
		r->state->ino[ino].maps = count;
	rwlock_drop(&r->lock[ino]);
	return err;
}

static inline int rig_walk(void *ctx, struct checkpoint *cp)
{
	struct rig *r = ctx;
	struct jtxn t;
	int err = 0;

	jtxn_init(&t);
	for (uint64_t i = 1; err == 0 && i < RIG_INODES; i++) {
		const struct rig_inode *n = &r->state->ino[i];
		struct inode_attr a = {.ino = i, .mode = (i == 1 ? S_IFDIR : S_IFREG) | 0644};

		rwlock_take_read(&r->lock[i]);
		a.size = n->size;
		if (n->there)
			jtxn_inode(&t, &a);
		if (n->maps != 0)
			jtxn_unmap(&t, i, 0, 1);
		for (uint64_t left = n->maps; left > 0; left -= left < 3000 ? left : 3000)
			jtxn_map(&t, i, &(struct extent){0, 100, left < 3000 ? left : 3000, 0});
		rwlock_drop(&r->lock[i]);
		if (t.len > 4096)
			err = checkpoint_add(cp, &t);
	}
	if (err == 0)
		err = checkpoint_add(cp, &t);
	jtxn_fini(&t);
	return err;
}

static inline int rig_checkpoint(struct rig *r, bool clean)
{
	return journal_checkpoint(r->j, rig_walk, r, clean);
}

#endif
