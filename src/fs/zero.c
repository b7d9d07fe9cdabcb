/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Zero range: the range reads as zeroes and all of it has blocks.
 *
 * Holes become unwritten blocks first. Where nobody leases the range, what is written becomes unwritten by one record
 * and no byte is stored, but for the partial blocks at its ends. Where somebody does, the zeroes are stored in place,
 * so that nobody has to be broken (L1: "none if zeroed in place"); what is shared there is replaced, its runs broken.
 * Zeroes stored in place are data, as a write's bytes are: a crash may leave a part of them.
 */
#include <errno.h>

#include "base/error.h"
#include "fs/extmap_move.h"
#include "fs/layout.h"
#include "fs/limit.h"

struct zero {
	struct store s; /* for everything but the conversion */
	uint64_t off, end;
	bool keep_size;
};

/* Whole blocks of a file that become unwritten: what they will be, own blocks in place of shared ones. */
struct convert {
	struct fs *fs;
	struct inode *inode;
	const struct fs_caller *who;
	uint64_t first, end;
	struct extmap to;
	bool any; /* something is not unwritten yet */
};

static int convert_add(struct convert *c, const struct extent *e)
{
	struct extent u = *e;
	int err = extmap_reserve(&c->to, 1);

	if (err)
		return err;
	u.flags = EXT_UNWRITTEN;
	extmap_set(&c->to, &u);
	return 0;
}

/* Other blocks for a shared run. */
static int convert_replace(struct convert *c, const struct extent *old)
{
	uint64_t done = 0;
	uint64_t goal = 0;

	while (done < old->blocks) {
		struct extent e = {.off = old->off + done};
		struct run r;
		int err = blocks_take(c->fs, old->blocks - done, goal, &r);

		if (err)
			return err;
		e.start = r.start;
		e.blocks = r.blocks;
		err = convert_add(c, &e);
		if (err) {
			alloc_undo(c->fs->alloc, r);
			return err;
		}
		done += r.blocks;
		goal = r.start + r.blocks;
	}
	return 0;
}

/* -ENOSPC and -ENOMEM leave what was taken in c->to. */
static int convert_plan(struct convert *c)
{
	struct extent e;
	int err = 0;

	for (uint64_t b = c->first; !err && layout_next(c->inode, b, c->end, &e); b = e.off + e.blocks) {
		uint64_t alike = e.blocks;
		bool shared = false;

		if (e.flags != EXT_UNWRITTEN && c->inode->may_share)
			shared = alloc_shared(c->fs->alloc, (struct run){e.start, e.blocks}, &alike);
		e.blocks = alike;
		c->any |= e.flags != EXT_UNWRITTEN;
		err = shared ? convert_replace(c, &e) : convert_add(c, &e);
	}
	return err;
}

/* The next run at *b or behind that lies elsewhere now; *b moves behind it. */
static bool convert_moved(const struct convert *c, uint64_t *b, struct run *old, struct run *new)
{
	struct extent was, will;

	while (layout_next(c->inode, *b, c->end, &was) && extmap_find(&c->to, was.off, &will)) {
		uint64_t into = was.off - will.off;

		if (will.off > was.off)
			return false;
		was.blocks = min_u64(was.blocks, will.blocks - into);
		*b = was.off + was.blocks;
		*old = (struct run){was.start, was.blocks};
		*new = (struct run){will.start + into, was.blocks};
		if (old->start != new->start)
			return true;
	}
	return false;
}

/* Under INODE exclusive with the receipt for the range, which nobody leases. One record. */
static int convert_commit(struct convert *c, struct change *change, const struct inode_attr *attr)
{
	const struct extmap_piece piece = {.from = &c->to, .first = c->first, .end = c->end, .to = c->first};
	uint64_t extents = c->inode->map.extents;
	uint64_t b = c->first;
	struct extmap_patch patch;
	struct extmap_walk w;
	struct run old, new;
	struct jtxn t;
	struct extent e;
	uint64_t seq;
	int err = extmap_patch_prepare(&patch, &c->inode->map, c->first, c->end, &piece, 1);

	if (!err && c->any)
		err = layout_extents_fit(c->fs, extmap_patch_extents(&patch));
	if (err)
		goto drop;
	jtxn_init(&t);
	jtxn_inode(&t, attr);
	extmap_walk_start(&w, &piece);
	while (c->any && extmap_walk_next(&w, &e))
		jtxn_map(&t, attr->ino, &e);
	err = commit_content(c->fs, &t, &seq);
	jtxn_fini(&t);
	if (!err) {
		while (convert_moved(c, &b, &old, &new))
			alloc_release(c->fs->alloc, &change->gone, old, seq);
		/* The same blocks, but what is written to them next must not show as long as they count as written. */
		hazard_remapped(c->fs, c->inode, seq);
		extmap_patch_apply(&patch);
		inode_attr_set(c->fs, c->inode, attr, CHANGED_DATA, c->who);
		atomic_store_explicit(&c->inode->lazy, false, memory_order_relaxed);
		walk_account(c->fs, ((int64_t)c->inode->map.extents - (int64_t)extents) * WALK_EXTENT_BYTES);
	}
drop:
	extmap_patch_drop(&patch);
	return err;
}

static int convert(struct zero *z, uint64_t first, uint64_t end)
{
	struct inode *i = z->s.inode;
	struct convert c = {.fs = z->s.fs, .inode = i, .who = z->s.who, .first = first, .end = end};
	struct inode_attr attr = attr_changed(i, z->s.who);
	struct change change;
	uint64_t b = first;
	struct run old, new;
	int err;

	if (!z->keep_size)
		attr.size = max_u64(attr.size, z->end);
	extmap_init(&c.to);
	err = change_begin(&change, c.fs, i, block_range(first, end - first), z->s.who);
	if (!err)
		err = convert_plan(&c);
	if (!err)
		err = convert_commit(&c, &change, &attr);
	while (err && convert_moved(&c, &b, &old, &new))
		alloc_undo(c.fs->alloc, new);
	extmap_fini(&c.to);
	change_end(&change);
	return err;
}

/* Everything has blocks, and nothing old shows when the size grows over the range. May drop INODE. */
static int zero_prepare(struct zero *z)
{
	struct store *s = &z->s;
	struct inode *i = s->inode;
	int err;

	s->kind = STORE_RESERVE;
	s->pos = z->off;
	s->end = z->end;
	err = store_run(s);
	if (!err && !s->dropped && !z->keep_size && z->end > i->attr.size)
		err = store_gap(s, z->end);
	return err;
}

/* Under INODE exclusive. 0 and s.dropped: once more. */
static int zero_locked(struct zero *z)
{
	struct store *s = &z->s;
	struct inode *i = s->inode;
	uint64_t first = block_up(z->off);
	/* Nothing that counts lies behind the end in its block. */
	uint64_t end = z->end >= i->attr.size ? block_up(z->end) : block_of(z->end);
	struct range blocks = block_range(block_of(z->off), block_up(z->end) - block_of(z->off));
	int err;

	s->dropped = false;
	err = zero_prepare(z);
	if (err || s->dropped)
		return err;
	/* Also where somebody denies changes: bytes are none. */
	if (lease_busy(&i->anchor) && lease_conflicts(&i->anchor, blocks, LEASE_ANY_MODE, NULL) != 0) {
		err = store_zeroes(s, z->off, z->end);
		return err || s->dropped ? err : range_attr(s->fs, i, s->who, z->keep_size ? 0 : z->end);
	}
	if (first >= end) {
		err = store_zeroes(s, z->off, z->end);
		return err ? err : range_attr(s->fs, i, s->who, z->keep_size ? 0 : z->end);
	}
	err = store_zeroes(s, z->off, block_bytes(first));
	if (!err && block_bytes(end) < z->end)
		err = store_zeroes(s, block_bytes(end), z->end);
	return err ? err : convert(z, first, end);
}

int zero_range(struct fs_handle *h, const struct fs_caller *who, uint64_t off, uint64_t end, bool keep_size)
{
	struct inode *i = h->inode;
	struct gate gate = {0};
	struct zero z = {
	    .s = {.fs = h->fs, .inode = i, .who = who, .gate = &gate}, .off = off, .end = end, .keep_size = keep_size};
	uint64_t missing;
	int err;

	rwlock_take_write(&i->lock);
	missing = layout_missing(i, block_of(off), block_up(end));
	err = limit_fits(h->fs, i, missing);
	if (!err && missing > alloc_avail_blocks(h->fs->alloc))
		err = fail(-ENOSPC, "not enough free space for %llu bytes", (unsigned long long)(end - off));
	if (!err) {
		do {
			err = zero_locked(&z);
		} while (!err && z.s.dropped);
	}
	rwlock_drop(&i->lock);
	gate_end(&gate);
	return err;
}
