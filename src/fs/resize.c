/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Another size for the mounted pool (format 2.4).
 *
 * Growing:   1. memory longer, allocated, durable          crash: a pool longer than its size
 *            2. copy of the superblock, size word          crash: the old size or the new one
 *            3. the allocator hands the new blocks out
 * Shrinking: 1. fence behind the new end; everything moves out: files, log, checkpoint
 *            2. a checkpoint: no record from its beginning on names a block there      crash so far: the old size
 *            3. copy, size word                                                        crash: either
 *            4. the allocator forgets the blocks, the memory is cut                    crash: longer than its size
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "fs/evacuate.h"
#include "fs/journal_size.h"
#include "fs/move.h"

static int check(struct fs *fs, const struct fs_caller *who, uint64_t bytes)
{
	if (!cred_is_super(&who->cred))
		return fail(-EPERM, "only root can resize a pool");
	if (fs->read_only)
		return fail(-EROFS, "the filesystem is mounted read-only");
	if (bytes < POOL_SIZE_MIN || bytes > POOL_SIZE_MAX)
		return fail(-EINVAL, "a pool has 16 MiB to 16 TiB");
	if (fs->pool->kind == POOL_KIND_DEVDAX || fs->pool->kind == POOL_KIND_HUGETLBFS)
		return fail(-EOPNOTSUPP, "pool %s: %s cannot change its size", fs->pool->name,
			    pool_kind_name(fs->pool->kind));
	return 0;
}

static int grow(struct fs *fs, uint64_t old, uint64_t blocks)
{
	int err = alloc_resize_prepare(fs->alloc, blocks);

	if (!err)
		err = pool_resize(fs->pool, block_bytes(blocks));
	if (!err)
		err = journal_set_blocks(fs->journal, blocks);
	if (err)
		return err;
	/* Nobody shall find the old copy when the new one and block 0 are gone. */
	pool_zero(fs->pool, block_bytes(old - 1), LH_BLOCK_SIZE);
	journal_data(fs->journal, block_bytes(old - 1), LH_BLOCK_SIZE);
	err = pool_fault(fs->pool);
	alloc_resize(fs->alloc, blocks);
	return err;
}

/* Steps 2 to 4. Everything in s->run is held. */
static int cut(struct sweep *s, uint64_t blocks)
{
	struct fs *fs = s->fs;
	struct run *bad;
	unsigned bad_count;
	int err = bad_take(fs, s->run, &bad, &bad_count);

	if (!err)
		err = walk_checkpoint(fs, false);
	if (!err)
		err = sweep_journal(s);
	if (!err)
		err = journal_set_blocks(fs->journal, blocks);
	if (err)
		bad_put_back(fs, bad, bad_count);
	free(bad);
	if (err)
		return err;
	alloc_resize(fs->alloc, blocks);
	return pool_resize(fs->pool, block_bytes(blocks));
}

static int shrink(struct sweep *s, uint64_t old, uint64_t blocks)
{
	struct alloc *a = s->fs->alloc;
	uint64_t used;
	int err = journal_sync(s->fs->journal);

	s->run = (struct run){blocks - 1, old - blocks};
	if (!err)
		err = alloc_fence(a, s->run, ALLOC_FENCE_MOVING);
	if (err)
		return err;
	used = s->run.blocks - alloc_held(a, s->run);
	if (used > alloc_avail_blocks(a))
		err = fail(-ENOSPC, "%llu blocks lie behind the new end and %llu are free in front of it",
			   (unsigned long long)used, (unsigned long long)alloc_avail_blocks(a));
	if (!err)
		err = sweep_all(s);
	if (!err)
		err = cut(s, blocks);
	if (err && alloc_pool_blocks(a) == old)
		alloc_unfence(a, s->run);
	return err;
}

int fs_resize(struct fs *fs, const struct fs_caller *who, uint64_t bytes,
	      void (*progress)(void *ctx, uint64_t done, uint64_t total), void *ctx)
{
	struct sweep s = {.fs = fs, .who = who, .progress = progress, .ctx = ctx};
	uint64_t blocks = bytes >> LH_BLOCK_SHIFT;
	uint64_t old;
	int err = check(fs, who, bytes);

	if (err)
		return err;
	err = space_work_begin(fs);
	if (err)
		return err;
	old = alloc_pool_blocks(fs->alloc);
	if (blocks > old)
		err = grow(fs, old, blocks);
	else if (blocks < old)
		err = shrink(&s, old, blocks);
	else if (pool_size(fs->pool) != block_bytes(blocks))
		err = pool_resize(fs->pool, block_bytes(blocks));
	sweep_fini(&s);
	space_work_end(fs);
	return err;
}
