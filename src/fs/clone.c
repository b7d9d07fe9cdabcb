/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Clone of a range: the destination names the source's blocks from then on; the next write to either copies.
 *
 * Source: writers are broken (their blocks become shared), readers stay. Destination: everybody is broken. Both breaks
 * start before either is waited for. Blocks that only memory calls zeroed become written in the same record, because
 * the copy must see what a direct writer left there. Unwritten blocks are not shared: they read as zeroes, so does a
 * hole.
 *
 * The references are counted before the record and taken back when it fails: the source's own reference keeps every
 * block from being freed by that, and after the record nothing can fail. So a clone of any number of extents is one
 * record.
 */
#include "fs/clone.h"

#include <errno.h>

#include "base/error.h"
#include "fs/extmap_move.h"
#include "fs/limit.h"

#define CLONE_EXTENTS (1u << 24) /* one record; a source in more pieces takes several, each whole */

/* One record under construction. */
struct batch {
	struct change src, dst;
	struct extmap_piece piece; /* source blocks, as they come to the destination */
	struct extmap_patch patch;
	struct inode_attr attr; /* of the destination */
	uint64_t shared_end;    /* source block: up to here references are counted */
	unsigned converts;      /* of the source: zeroed in memory, becomes written */
};

/* FICLONERANGE's rules. Under both locks. */
static int clone_check(struct clone *c)
{
	uint64_t size = c->src->attr.size;
	uint64_t len = c->len;
	uint64_t dst_end;

	if (c->src_off > size || len > size - c->src_off)
		return fail(-EINVAL, "the source ends before the range does");
	if (len == 0)
		len = size - c->src_off;
	if (add_overflows(c->dst_off, len, &dst_end) || dst_end > FS_SIZE_MAX)
		return fail(-EFBIG, "a file cannot be longer than %llu bytes", (unsigned long long)FS_SIZE_MAX);
	if (len % LH_BLOCK_SIZE && (c->src_off + len != size || dst_end < c->dst->attr.size))
		return fail(-EINVAL, "the length must be whole blocks of %u bytes, or end where both files end",
			    LH_BLOCK_SIZE);
	c->len = len;
	c->blocks = block_up(len);
	if (c->src == c->dst &&
	    range_overlaps(block_range(c->src_block, c->blocks), block_range(c->dst_block, c->blocks)))
		return fail(-EINVAL, "the ranges of one file overlap");
	c->src_need =
	    (struct gate_need){block_range(c->src_block, c->blocks), LEASE_WRITE, LEASE_FOR_CLONE_SOURCE, LEASE_DRAIN};
	c->dst_need = (struct gate_need){block_range(c->dst_block, c->blocks), LEASE_ANY_MODE, LEASE_FOR_CLONE_TARGET,
					 LEASE_STOP};
	return 0;
}

/* The next run at *b or behind that is shared by the clone, and its kind. */
static bool source_next(const struct clone *c, uint64_t *b, uint64_t end, struct extent *e)
{
	while (layout_next(c->src, *b, end, e)) {
		*b = e->off + e->blocks;
		if (e->flags != EXT_UNWRITTEN)
			return true;
	}
	return false;
}

/* References for the runs from piece.first on; ends the piece where a record does. */
static int batch_share(struct clone *c, struct batch *x)
{
	uint64_t b = x->piece.first;
	uint64_t count = 0;
	struct extent e;

	while (count < CLONE_EXTENTS && source_next(c, &b, x->piece.end, &e)) {
		int err = alloc_share_prepare(c->fs->alloc, (struct run){e.start, e.blocks});

		if (err)
			return err;
		alloc_share(c->fs->alloc, (struct run){e.start, e.blocks});
		x->shared_end = b;
		x->converts += (e.flags & EXT_ZEROED) != 0;
		count++;
	}
	if (count == CLONE_EXTENTS)
		x->piece.end = b;
	return 0;
}

/* No record named them through the destination, so its receipt is proof enough. The source's references stay. */
static void batch_unshare(struct clone *c, struct batch *x)
{
	uint64_t b = x->piece.first;
	struct extent e;

	while (source_next(c, &b, x->shared_end, &e))
		alloc_release(c->fs->alloc, &x->dst.gone, (struct run){e.start, e.blocks}, 0);
}

/* The destination's attributes when all of the piece is there. A dedupe changes no content. */
static struct inode_attr attr_after(const struct clone *c, const struct batch *x)
{
	struct inode_attr a;

	if (c->compare)
		return c->dst->attr;
	a = attr_changed(c->dst, c->who);
	a.size = max_u64(a.size, c->dst_off + min_u64(c->len, block_bytes(x->piece.end - c->src_block)));
	return a;
}

/* I1: what the record names a second time is durable first, also bytes written in place that nobody has synced. */
static void source_flush(const struct clone *c, const struct batch *x)
{
	struct range dirty = {c->src->dirty_off, c->src->dirty_end};
	uint64_t b = x->piece.first;
	struct extent e;

	dirty = range_cut(dirty, block_range(x->piece.first, x->piece.end - x->piece.first));
	if (range_empty(dirty))
		return;
	while (source_next(c, &b, x->piece.end, &e)) {
		struct range part = range_cut(block_range(e.off, e.blocks), dirty);

		if (!range_empty(part))
			journal_data(c->fs->journal, block_bytes(e.start) + (part.start - block_bytes(e.off)),
				     part.end - part.start);
	}
}

static void batch_items(const struct clone *c, const struct batch *x, struct jtxn *t)
{
	struct extmap_walk w;
	uint64_t b = x->piece.first;
	struct extent e;

	source_flush(c, x);
	jtxn_inode(t, &c->src->attr);
	jtxn_inode(t, &x->attr);
	while (!t->error && x->converts && source_next(c, &b, x->piece.end, &e)) {
		if (!(e.flags & EXT_ZEROED))
			continue;
		e.flags = 0;
		journal_data(c->fs->journal, block_bytes(e.start), block_bytes(e.blocks));
		jtxn_map(t, ino_of(c->src), &e);
	}
	jtxn_unmap(t, ino_of(c->dst), x->piece.to, x->piece.end - x->piece.first);
	extmap_walk_start(&w, &x->piece);
	while (!t->error && extmap_walk_next(&w, &e))
		jtxn_map(t, ino_of(c->dst), &e);
}

/* After the patch: what a direct writer left in the source is written there too. */
static void source_convert(struct clone *c, const struct batch *x)
{
	uint64_t b = x->piece.first;
	struct extent e;

	while (x->converts && source_next(c, &b, x->piece.end, &e)) {
		if (!(e.flags & EXT_ZEROED))
			continue;
		e.flags = 0;
		extmap_set(&c->src->map, &e);
	}
}

/* Cannot fail. */
static void batch_apply(struct clone *c, struct batch *x, uint64_t seq)
{
	uint64_t blocks = x->piece.end - x->piece.first;
	uint64_t extents = c->dst->map.extents;
	struct range bytes = block_range(x->piece.to, blocks);

	release_blocks(&x->dst, x->piece.to, x->piece.to + blocks, seq);
	extmap_patch_apply(&x->patch);
	source_convert(c, x);
	inode_dirty_as(c->dst, bytes.start, c->src, block_range(x->piece.first, blocks));
	inode_attr_set(c->fs, c->dst, &x->attr, c->compare ? CHANGED_NOTHING : CHANGED_DATA, c->who);
	if (bytes.end > x->attr.size)
		c->dst->tail_stale = true;
	atomic_store_explicit(&c->dst->lazy, false, memory_order_relaxed);
	c->src->may_share = true;
	c->dst->may_share = true;
	walk_account(c->fs, ((int64_t)c->dst->map.extents - (int64_t)extents) * WALK_EXTENT_BYTES);
}

/* What the destination will name more than now; change_end settles it. */
static int batch_charge(struct clone *c, const struct batch *x)
{
	uint64_t blocks = x->piece.end - x->piece.first;
	uint64_t has = blocks - layout_missing(c->dst, x->piece.to, x->piece.to + blocks);
	uint64_t gets = 0;
	uint64_t b = x->piece.first;
	struct extent e;

	while (source_next(c, &b, x->piece.end, &e))
		gets += e.blocks;
	return gets > has ? limit_blocks(c->fs, c->dst, gets - has, NULL) : 0;
}

/* The references, the record's memory and the record. */
static int batch_commit(struct clone *c, struct batch *x, uint64_t *seq)
{
	struct jtxn t;
	int err = batch_share(c, x);

	if (!err)
		err = batch_charge(c, x);
	if (!err)
		err = extmap_patch_prepare(&x->patch, &c->dst->map, x->piece.to,
					   x->piece.to + (x->piece.end - x->piece.first), &x->piece, 1);
	if (!err)
		err = layout_extents_fit(c->fs, extmap_patch_extents(&x->patch));
	if (!err && c->src == c->dst)
		err = extmap_patch_reserve(&x->patch, x->converts);
	else if (!err)
		err = extmap_reserve(&c->src->map, x->converts);
	if (err)
		return err;
	x->attr = attr_after(c, x);
	jtxn_init(&t);
	batch_items(c, x, &t);
	err = commit_content(c->fs, &t, seq);
	jtxn_fini(&t);
	return err;
}

/* One record. Under both locks, both ranges free of others. */
static int clone_batch(struct clone *c)
{
	uint64_t first = c->src_block + c->done;
	uint64_t end = c->src_block + c->blocks;
	struct batch x = {.piece = {.from = &c->src->map, .first = first, .end = end, .shown_only = true}};
	uint64_t seq;
	int err;

	x.piece.to = first - c->src_block + c->dst_block;
	err = change_begin_shared(&x.src, c->fs, c->src, block_range(first, end - first), c->who);
	if (!err)
		err = change_begin(&x.dst, c->fs, c->dst, block_range(x.piece.to, end - first), c->who);
	if (!err && c->compare)
		err = c->compare(c, first, end);
	if (!err)
		err = batch_commit(c, &x, &seq);
	if (!err) {
		batch_apply(c, &x, seq);
		c->done = x.piece.end - c->src_block;
	} else {
		batch_unshare(c, &x);
	}
	extmap_patch_drop(&x.patch);
	change_end(&x.dst);
	change_end(&x.src);
	return err;
}

/* What lies between the destination's end and the range must read as zeroes. By itself: the other lock is not held. */
static int clone_gap(struct clone *c)
{
	struct store gap = {.fs = c->fs, .inode = c->dst, .who = c->who, .gate = &c->dst_gate};
	int err;

	rwlock_take_write(&c->dst->lock);
	do {
		gap.dropped = false;
		err = c->dst_off > c->dst->attr.size ? store_gap(&gap, c->dst_off) : 0;
	} while (!err && gap.dropped);
	c->gap_size = c->dst->attr.size;
	rwlock_drop(&c->dst->lock);
	return err;
}

/* 0 when all is done, NEED_GATE, or an error. */
static int clone_locked(struct clone *c)
{
	int err = inode_stale(c->src);
	int src, dst;

	if (!err)
		err = inode_stale(c->dst);
	if (!err && !c->done)
		err = c->check(c);
	if (err)
		return err;
	if (c->blocks == 0)
		return 0;
	src = layout_check(&c->src_gate, c->src, &c->src_need, c->who);
	dst = layout_check(&c->dst_gate, c->dst, &c->dst_need, c->who);
	/* A denial on one side before the other is broken for nothing. */
	err = src < 0 || dst == 0 ? src : dst;
	while (!err && c->done < c->blocks)
		err = clone_batch(c);
	return err;
}

int clone_run(struct clone *c)
{
	const struct gate_side side[2] = {{&c->src_gate, c->src, &c->src_need}, {&c->dst_gate, c->dst, &c->dst_need}};
	uint64_t len = c->len;
	int err = clone_gap(c);

	while (!err) {
		struct lockset set = {0};
		bool moved_end;

		lockset_add(&set, c->src);
		lockset_add(&set, c->dst);
		lockset_take(&set);
		moved_end = c->dst_off > c->dst->attr.size && c->gap_size != c->dst->attr.size;
		if (!c->done)
			c->len = len;
		err = moved_end ? 0 : clone_locked(c);
		lockset_drop(&set);
		if (moved_end)
			err = clone_gap(c);
		else if (err == NEED_GATE)
			err = gate_break_two(c->fs, side, c->who);
		else
			break;
	}
	gate_end(&c->src_gate);
	gate_end(&c->dst_gate);
	return err;
}

int clone_begin(struct clone *c, const char *kind, struct fs_handle *dst, uint64_t dst_off, struct fs_handle *src,
		uint64_t src_off, uint64_t len, const struct fs_caller *who)
{
	*c = (struct clone){.fs = dst->fs,
			    .src = src->inode,
			    .dst = dst->inode,
			    .who = who,
			    .src_off = src_off,
			    .dst_off = dst_off,
			    .len = len,
			    .src_block = block_of(src_off),
			    .dst_block = block_of(dst_off)};
	if (src->fs != dst->fs)
		return fail(-EXDEV, "%s: the files are in different pools", kind);
	if (c->src->type != DT_REG || c->dst->type != DT_REG)
		return c->src->type == DT_DIR || c->dst->type == DT_DIR ? -EISDIR : -EINVAL;
	if (!src->readable)
		return fail(-EBADF, "%s: the source is not open for reading", kind);
	if (src_off % LH_BLOCK_SIZE || dst_off % LH_BLOCK_SIZE)
		return fail(-EINVAL, "%s: offsets must be multiples of %u", kind, LH_BLOCK_SIZE);
	return 0;
}

int fs_clone_range(struct fs_handle *dst, uint64_t dst_off, struct fs_handle *src, uint64_t src_off, uint64_t len,
		   const struct fs_caller *who)
{
	struct clone c;
	int err = clone_begin(&c, "clone", dst, dst_off, src, src_off, len, who);

	if (err)
		return err;
	if (!dst->writable || dst->append)
		return fail(-EBADF, "clone: the destination is not open for writing, or is for appending");
	c.check = clone_check;
	return clone_run(&c);
}
