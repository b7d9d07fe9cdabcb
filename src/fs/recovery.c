/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Opening: the walk over the medium (scan.c) with replay as its visitor. Checkpoint items and log items go through the
 * same calls, and nothing is written: what has to be written to go on, journal_start writes, after all has been
 * accepted.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "fs/journal_impl.h"

struct replay {
	const struct journal_apply *apply;
	void *ctx;
	struct pool *pool;
};

static const char *replay_inode(const struct replay *r, const struct item *it)
{
	const struct inode_attr a = inode_attr_of_item(it);

	return r->apply->inode(r->ctx, &a);
}

static const char *replay_map(const struct replay *r, const struct item *it)
{
	const struct extent e = {
	    .off = it->map.off,
	    .start = it->map.start,
	    .blocks = it->map.blocks,
	    .flags = (it->map.flags & ITEM_MAP_UNWRITTEN) != 0 ? EXT_UNWRITTEN : 0,
	};

	return r->apply->map(r->ctx, it->ino, &e);
}

static const char *replay_claim(const struct replay *r, const struct item *it)
{
	struct journal_claim c = {.id = it->claim.id,
				  .ino = it->ino,
				  .start = it->claim.start,
				  .end = it->claim.end,
				  .until_ns = it->claim.until_ns,
				  .uid = it->claim.uid,
				  .mode = it->claim.mode};

	memcpy(c.client, it->claim.client, sizeof(c.client));
	return r->apply->claim(r->ctx, &c);
}

static const char *replay_item(void *ctx, const struct item *it, const struct scan_at *at, const void *bytes)
{
	const struct replay *r = ctx;

	(void)at;
	(void)bytes;
	switch (it->type) {
	case ITEM_INODE:
		return replay_inode(r, it);
	case ITEM_FORGET:
		return r->apply->forget(r->ctx, it->ino);
	case ITEM_SYMLINK:
		return r->apply->symlink(r->ctx, it->ino, it->name.name, it->name.len);
	case ITEM_DIRENT:
		return r->apply->dirent(r->ctx, it->ino, it->name.cookie, it->name.target_ino, it->name.dtype,
					it->name.name, it->name.len);
	case ITEM_UNDIRENT:
		return r->apply->undirent(r->ctx, it->ino, it->name.cookie);
	case ITEM_MAP:
		return replay_map(r, it);
	case ITEM_UNMAP:
		return r->apply->unmap(r->ctx, it->ino, it->map.off, it->map.blocks);
	case ITEM_XATTR:
		if (r->apply->xattr == NULL)
			break;
		return r->apply->xattr(r->ctx, it->ino, it->xattr.name, it->xattr.name_len, it->xattr.value,
				       it->xattr.value_len, it->xattr.flags);
	case ITEM_LIMIT:
		if (r->apply->limit == NULL)
			break;
		return r->apply->limit(r->ctx, it->limit.kind, it->limit.id, it->ino, it->limit.blocks,
				       it->limit.inodes);
	case ITEM_BAD:
		if (r->apply->bad == NULL)
			break;
		return r->apply->bad(r->ctx, (struct run){it->map.start, it->map.blocks},
				     (it->map.flags & ITEM_BAD_GOOD) != 0);
	case ITEM_CLAIM:
		if (r->apply->claim == NULL)
			break;
		return replay_claim(r, it);
	}
	return "4.1c unknown item type";
}

static void replay_copy_damaged(void *ctx, const char *rule)
{
	(void)ctx;
	log_warn("journal", "the copy of the superblock is damaged (format %s); a writable mount writes it anew", rule);
}

static void replay_checkpoint(void *ctx, const struct checkpoint_head *h, const void *bytes)
{
	const struct replay *r = ctx;
	uint64_t most = min_u64(h->bytes, pool_size(r->pool)) / FORMAT_ITEM_MIN;

	(void)bytes;
	if (r->apply->expect != NULL)
		r->apply->expect(r->ctx, min_u64(h->items, most));
}

static const struct scan_ops replay_ops = {
    .item = replay_item, .checkpoint = replay_checkpoint, .copy_damaged = replay_copy_damaged};

static uint32_t segment_blocks_for(uint64_t pool_blocks)
{
	uint64_t bytes = (pool_blocks << LH_BLOCK_SHIFT) / 256;

	bytes = bytes < SEGMENT_BYTES_MIN ? SEGMENT_BYTES_MIN : min_u64(bytes, SEGMENT_BYTES_MAX);
	return (uint32_t)(bytes >> LH_BLOCK_SHIFT);
}

/* Takes over what the walk found; the scan keeps what it still owns. */
static void journal_adopt(struct journal *j, struct scan *s)
{
	j->super = s->super;
	j->copy_bad = s->copy_bad;
	j->segment_blocks = segment_blocks_for(s->super.blocks);
	j->head = s->head;
	j->was_clean = (s->head.flags & CHECKPOINT_CLEAN) != 0;
	j->seq = s->end_seq - 1;
	j->durable_seq = j->seq;
	j->generation = s->end_generation;
	j->salt = s->end_salt;
	j->next_ino = s->next_ino;
	j->records = s->records;
	j->unchanged = s->records == 0 && !s->cut;
	j->cut = s->cut;
	j->log_bytes = s->log_bytes;
	j->chunks = s->chunks;
	j->chunk_count = s->chunk_count;
	j->old_segments = s->segments;
	j->old_segment_count = s->segment_count;
	j->old_end_offset = s->end_offset;
	s->chunks = NULL;
	s->segments = NULL;
}

static int open_with(struct pool *pool, const struct scan_ops *ops, const struct journal_apply *apply, void *ctx,
		     struct journal **out)
{
	struct replay r = {apply, ctx, pool};
	struct journal *j = calloc(1, sizeof(*j));
	struct scan s;
	int err;

	if (j == NULL)
		return -ENOMEM;
	err = scan_pool(&s, pool, ops, &r);
	if (err != 0) {
		scan_fini(&s);
		free(j);
		return err;
	}
	j->pool = pool;
	j->msync = pool->class == POOL_MSYNC;
	lock_init(&j->lock, RANK_JOURNAL);
	cond_init(&j->synced);
	cond_init(&j->flew);
	cond_init(&j->tick);
	cond_init(&j->work);
	STAILQ_INIT(&j->live);
	STAILQ_INIT(&j->spares);
	journal_adopt(j, &s);
	scan_fini(&s);
	*out = j;
	return 0;
}

int journal_open(struct pool *pool, const struct journal_apply *apply, void *ctx, struct journal **out)
{
	return open_with(pool, &replay_ops, apply, ctx, out);
}

int journal_open_read_only(struct pool *pool, const struct journal_apply *apply, void *ctx, struct journal **out)
{
	struct scan_ops ops = replay_ops;

	ops.up_to_damage = true;
	return open_with(pool, &ops, apply, ctx, out);
}

int journal_mark_space(struct journal *j, struct alloc *alloc)
{
	const struct segment *s;
	uint64_t blocks = alloc_pool_blocks(alloc);
	int err = alloc_mark_meta(alloc, (struct run){j->head.block, 1});

	/* The file is longer than the pool: the superblock's copy is in the middle, and what follows is not ours. */
	if (err == 0 && blocks > j->super.blocks) {
		err =
		    alloc_fence(alloc, (struct run){j->super.blocks - 1, blocks - j->super.blocks}, ALLOC_FENCE_MOVING);
		if (err == 0)
			err = alloc_resize(alloc, j->super.blocks);
	}
	for (uint64_t i = 0; err == 0 && i < j->chunk_count; i++)
		err = alloc_mark_meta(alloc, j->chunks[i]);
	for (uint64_t i = 0; err == 0 && i < j->old_segment_count; i++)
		err = alloc_mark_meta(alloc, j->old_segments[i].run);
	STAILQ_FOREACH (s, &j->live, entry) {
		if (err == 0)
			err = alloc_mark_meta(alloc, s->run);
	}
	STAILQ_FOREACH (s, &j->spares, entry) {
		if (err == 0)
			err = alloc_mark_meta(alloc, s->run);
	}
	if (err == -EUCLEAN)
		return fail(err, "pool %s: format 6.7 runs of checkpoint and log overlap: run leasehold fsck on it",
			    j->pool->name);
	return err;
}
