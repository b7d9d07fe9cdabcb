/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Clone of a range: the destination names the source's blocks from then on; the next write to either copies.
 *
 * Source: writers are broken (their blocks become shared), readers stay. Destination: everybody is broken. Both breaks
 * start before either is waited for. Blocks that only memory calls zeroed become written in the same record, because
 * the copy must see what a direct writer left there. Unwritten blocks are not shared: they read as zeroes, so does a
 * hole.
 */
#include <errno.h>

#include "base/error.h"
#include "fs/layout.h"
#include "fs/perm.h"

#define CLONE_EXTENTS 4096u /* one record; a source in more pieces takes several, each whole */

struct clone {
	struct fs *fs;
	struct inode *src, *dst;
	const struct fs_caller *who;
	uint64_t src_off, dst_off, len; /* bytes; len as asked */
	uint64_t src_block, dst_block, blocks;
	struct gate src_gate, dst_gate;
	struct gate_need src_need, dst_need;
	uint64_t done;     /* blocks */
	uint64_t gap_size; /* of the destination, when the gap behind it was made ready */
};

/* FICLONERANGE's rules. Under both locks. */
static int clone_check(struct clone *c, uint64_t len)
{
	uint64_t size = c->src->attr.size;
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

/* Destination extent of a source extent. */
static struct extent moved(const struct clone *c, struct extent e)
{
	e.off = e.off - c->src_block + c->dst_block;
	e.flags = 0;
	return e;
}

static bool shows_zeroes(const struct extent *e)
{
	return e->flags == EXT_UNWRITTEN;
}

/* Gives back what was prepared for the first `count` runs from `first` on. */
static void clone_unprepare(struct clone *c, uint64_t first, unsigned count)
{
	struct extent e;

	for (uint64_t b = first; count > 0 && layout_next(c->src, b, BLOCKS_END, &e); b = e.off + e.blocks) {
		if (shows_zeroes(&e))
			continue;
		alloc_share_cancel(c->fs->alloc, (struct run){e.start, e.blocks});
		count--;
	}
}

/* The items of one record for source blocks [first, end); *stop: where it ends. Prepares all memory. */
static int clone_items(struct clone *c, uint64_t first, uint64_t end, struct jtxn *t, uint64_t *stop, unsigned *count)
{
	uint64_t b = first;
	unsigned converts = 0;
	struct extent e;
	int err = 0;

	*count = 0;
	while (!err && *count < CLONE_EXTENTS && layout_next(c->src, b, end, &e)) {
		b = e.off + e.blocks;
		if (shows_zeroes(&e))
			continue;
		err = alloc_share_prepare(c->fs->alloc, (struct run){e.start, e.blocks});
		if (err)
			break;
		if (e.flags & EXT_ZEROED) {
			e.flags = 0;
			journal_data(c->fs->journal, block_bytes(e.start), block_bytes(e.blocks));
			jtxn_map(t, ino_of(c->src), &e);
			converts++;
		}
		(*count)++;
	}
	*stop = *count == CLONE_EXTENTS ? b : end;
	jtxn_unmap(t, ino_of(c->dst), first - c->src_block + c->dst_block, *stop - first);
	for (b = first; layout_next(c->src, b, *stop, &e); b = e.off + e.blocks) {
		struct extent to = moved(c, e);

		if (!shows_zeroes(&e))
			jtxn_map(t, ino_of(c->dst), &to);
	}
	if (!err && c->src == c->dst)
		return extmap_reserve(&c->src->map, *count + converts + 1);
	if (!err)
		err = extmap_reserve(&c->src->map, converts);
	return err ? err : extmap_reserve(&c->dst->map, *count + 1);
}

/* Cannot fail. References are added before the destination's are dropped: it may name the same blocks already. */
static void clone_apply(struct clone *c, struct change *dst, uint64_t first, uint64_t stop, uint64_t seq)
{
	uint64_t dst_first = first - c->src_block + c->dst_block;
	uint64_t extents = c->dst->map.extents;
	struct extent e;

	for (uint64_t b = first; layout_next(c->src, b, stop, &e); b = e.off + e.blocks) {
		if (!shows_zeroes(&e))
			alloc_share(c->fs->alloc, (struct run){e.start, e.blocks});
	}
	for (uint64_t b = dst_first; layout_next(c->dst, b, dst_first + (stop - first), &e); b = e.off + e.blocks)
		alloc_release(c->fs->alloc, &dst->gone, (struct run){e.start, e.blocks}, seq);
	if (c->dst->may_share)
		hazard_note(c->fs, seq);
	extmap_clear(&c->dst->map, dst_first, stop - first);
	for (uint64_t b = first; layout_next(c->src, b, stop, &e); b = e.off + e.blocks) {
		struct extent to = moved(c, e);

		if (shows_zeroes(&e))
			continue;
		extmap_set(&c->dst->map, &to);
		if (e.flags & EXT_ZEROED) {
			e.flags = 0;
			extmap_set(&c->src->map, &e);
		}
	}
	c->src->may_share = true;
	c->dst->may_share = true;
	walk_account(c->fs, ((int64_t)c->dst->map.extents - (int64_t)extents) * WALK_EXTENT_BYTES);
}

/* The destination's attributes when source blocks up to `stop` are there. */
static struct inode_attr attr_after(const struct clone *c, uint64_t stop)
{
	struct inode_attr a = c->dst->attr;
	uint64_t reached = min_u64(c->len, block_bytes(stop - c->src_block));

	a.size = max_u64(a.size, c->dst_off + reached);
	a.mtime_ns = time_now();
	a.ctime_ns = a.mtime_ns;
	a.mode = mode_after_write(a.mode, &c->who->cred);
	return a;
}

/* One record. Under both locks, both ranges free of others. */
static int clone_batch(struct clone *c)
{
	uint64_t first = c->src_block + c->done;
	uint64_t end = c->src_block + c->blocks;
	struct change src = {0};
	struct change dst = {0};
	struct inode_attr attr;
	struct jtxn t;
	uint64_t stop;
	uint64_t seq;
	unsigned count = 0;
	bool grown;
	int err;

	err = change_begin_shared(&src, c->fs, c->src, block_range(first, end - first), c->who);
	if (!err)
		err = change_begin(&dst, c->fs, c->dst, block_range(first - c->src_block + c->dst_block, end - first),
				   c->who);
	jtxn_init(&t);
	jtxn_inode(&t, &c->src->attr);
	jtxn_inode(&t, &c->dst->attr);
	if (!err)
		err = clone_items(c, first, end, &t, &stop, &count);
	if (!err) {
		attr = attr_after(c, stop);
		jtxn_inode(&t, &attr);
	}
	if (!err)
		err = commit_content(c->fs, &t, &seq);
	jtxn_fini(&t);
	if (!err) {
		clone_apply(c, &dst, first, stop, seq);
		grown = attr.size != c->dst->attr.size;
		inode_attr_set(c->dst, &attr);
		if (grown)
			c->dst->tail_stale = true;
		atomic_store_explicit(&c->dst->lazy, false, memory_order_relaxed);
		c->done = stop - c->src_block;
	} else {
		clone_unprepare(c, first, count);
	}
	change_end(&dst);
	change_end(&src);
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
static int clone_locked(struct clone *c, uint64_t len)
{
	int err = c->done ? 0 : clone_check(c, len);

	if (err)
		return err;
	if (!layout_free(&c->src_gate, c->src, &c->src_need, c->who) ||
	    !layout_free(&c->dst_gate, c->dst, &c->dst_need, c->who))
		return NEED_GATE;
	while (!err && c->done < c->blocks)
		err = clone_batch(c);
	return err;
}

static int clone_run(struct clone *c, uint64_t len)
{
	const struct gate_side side[2] = {{&c->src_gate, c->src, &c->src_need}, {&c->dst_gate, c->dst, &c->dst_need}};
	int err = clone_gap(c);

	while (!err) {
		struct lockset set = {0};
		bool moved_end;

		lockset_add(&set, c->src);
		lockset_add(&set, c->dst);
		lockset_take(&set);
		moved_end = c->dst_off > c->dst->attr.size && c->gap_size != c->dst->attr.size;
		err = moved_end ? 0 : clone_locked(c, len);
		lockset_drop(&set);
		if (moved_end)
			err = clone_gap(c);
		else if (err == NEED_GATE)
			err = gate_break_two(c->fs, side, c->who);
		else
			break;
	}
	return err;
}

int fs_clone_range(struct fs_handle *dst, uint64_t dst_off, struct fs_handle *src, uint64_t src_off, uint64_t len,
		   const struct fs_caller *who)
{
	struct clone c = {.fs = dst->fs,
			  .src = src->inode,
			  .dst = dst->inode,
			  .who = who,
			  .src_off = src_off,
			  .dst_off = dst_off,
			  .src_block = block_of(src_off),
			  .dst_block = block_of(dst_off)};
	int err;

	if (src->fs != dst->fs)
		return fail(-EXDEV, "clone: source and destination are in different pools");
	if (c.src->type != DT_REG || c.dst->type != DT_REG)
		return c.src->type == DT_DIR || c.dst->type == DT_DIR ? -EISDIR : -EINVAL;
	if (!src->readable || !dst->writable || dst->append)
		return fail(-EBADF,
			    "clone needs a source open for reading and a destination open for writing, not appending");
	if (src_off % LH_BLOCK_SIZE || dst_off % LH_BLOCK_SIZE)
		return fail(-EINVAL, "clone offsets must be multiples of %u", LH_BLOCK_SIZE);
	err = clone_run(&c, len);
	gate_end(&c.src_gate);
	gate_end(&c.dst_gate);
	return err;
}
