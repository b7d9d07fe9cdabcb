/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Exchange of two ranges, of two files or of one: the blocks change places by one record, so that a crash leaves both
 * as they were or both exchanged. Sizes stay. Rules as XFS_IOC_EXCHANGE_RANGE: both ranges lie inside their files; a
 * length that is no multiple of the block size must end both files.
 *
 * Both ranges are broken before either is waited for. Holders are told to drain: what they wrote before they let go
 * goes along with its block.
 */
#include <errno.h>

#include "base/error.h"
#include "fs/extmap_move.h"
#include "fs/layout.h"
#include "fs/limit.h"

struct side {
	struct inode *inode;
	uint64_t off;   /* bytes */
	uint64_t first; /* block */
	struct gate gate;
	struct gate_need need;
	struct change change;
	struct inode_attr attr; /* as it will be */
	struct extmap_piece in; /* what comes here */
	struct extmap_patch patch;
	uint64_t extents; /* before */
};

struct exchange {
	struct fs *fs;
	const struct fs_caller *who;
	uint64_t len, blocks;
	struct side side[2];
};

/* Under both locks. */
static int exchange_check(struct exchange *x)
{
	struct side *a = &x->side[0];
	struct side *b = &x->side[1];
	bool ends = true;

	for (unsigned k = 0; k < 2; k++) {
		const struct side *s = &x->side[k];

		if (s->inode->gone)
			return inode_stale(s->inode);
		if (s->off > s->inode->attr.size || x->len > s->inode->attr.size - s->off)
			return fail(-EINVAL, "exchange: a range ends behind its file");
		ends = ends && s->off + x->len == s->inode->attr.size;
	}
	if (x->len % LH_BLOCK_SIZE && !ends)
		return fail(-EINVAL, "exchange: the length must be whole blocks of %u bytes, or end both files",
			    LH_BLOCK_SIZE);
	x->blocks = block_up(x->len);
	for (unsigned k = 0; k < 2; k++)
		x->side[k].need = (struct gate_need){block_range(x->side[k].first, x->blocks), LEASE_ANY_MODE,
						     LEASE_FOR_EXCHANGE, LEASE_DRAIN};
	if (a->inode == b->inode && range_overlaps(a->need.range, b->need.range))
		return fail(-EINVAL, "exchange: the ranges of one file overlap");
	return 0;
}

static void exchange_items(const struct exchange *x, struct jtxn *t)
{
	for (unsigned k = 0; k < 2; k++)
		jtxn_inode(t, &x->side[k].attr);
	for (unsigned k = 0; k < 2; k++)
		jtxn_unmap(t, x->side[k].attr.ino, x->side[k].first, x->blocks);
	for (unsigned k = 0; k < 2; k++) {
		const struct side *s = &x->side[k];
		struct extmap_walk w;
		struct extent e;

		extmap_walk_start(&w, &s->in);
		while (!t->error && extmap_walk_next(&w, &e))
			jtxn_map(t, s->attr.ino, &e);
	}
}

/* One file: one patch from the lower range to the end of the higher one, with what is between. */
static int prepare_one(struct exchange *x)
{
	struct side *low = &x->side[x->side[0].first > x->side[1].first];
	struct side *high = &x->side[low == &x->side[0]];
	struct extmap *m = &low->inode->map;
	uint64_t low_end = low->first + x->blocks;
	const struct extmap_piece pieces[] = {
	    low->in, {.from = m, .first = low_end, .end = high->first, .to = low_end}, high->in};

	return extmap_patch_prepare(&low->patch, m, low->first, high->first + x->blocks, pieces, ARRAY_LEN(pieces));
}

/* Memory for both maps, and both receipts. */
static int exchange_prepare(struct exchange *x)
{
	struct side *a = &x->side[0];
	struct side *b = &x->side[1];
	int err = 0;

	a->in = (struct extmap_piece){&b->inode->map, b->first, b->first + x->blocks, a->first, false};
	b->in = (struct extmap_piece){&a->inode->map, a->first, a->first + x->blocks, b->first, false};
	if (a->inode == b->inode)
		err = prepare_one(x);
	else
		err = extmap_patch_prepare(&a->patch, &a->inode->map, a->first, a->first + x->blocks, &a->in, 1);
	if (!err && a->inode != b->inode)
		err = extmap_patch_prepare(&b->patch, &b->inode->map, b->first, b->first + x->blocks, &b->in, 1);
	for (unsigned k = 0; k < 2 && !err; k++) {
		struct side *s = &x->side[k];

		s->attr = attr_changed(s->inode, x->who);
		s->extents = s->inode->map.extents;
		if (s->patch.map)
			err = layout_extents_fit(x->fs, extmap_patch_extents(&s->patch));
		if (err)
			break;
		err = change_begin(&s->change, x->fs, s->inode, s->need.range, x->who);
	}
	return err;
}

/* Cannot fail. */
static void exchange_apply(struct exchange *x, uint64_t seq)
{
	struct side *a = &x->side[0];
	struct side *b = &x->side[1];
	struct range of_a = a->need.range;
	struct range of_b = b->need.range;
	bool share = a->inode->may_share || b->inode->may_share;
	uint64_t a_off = a->inode->dirty_off;
	uint64_t a_end = a->inode->dirty_end;

	for (unsigned k = 0; k < 2; k++) {
		struct side *s = &x->side[k];

		if (s->patch.map)
			extmap_patch_apply(&s->patch);
		inode_attr_set(x->fs, s->inode, &s->attr, CHANGED_DATA, x->who);
		atomic_store_explicit(&s->inode->lazy, false, memory_order_relaxed);
		s->inode->may_share = share;
		hazard_remapped(x->fs, s->inode, seq);
		if (x->len % LH_BLOCK_SIZE)
			s->inode->tail_stale = true; /* what lay behind the other's end */
	}
	/* A hull that is wider than need be costs a flush; the first side's is as it was before. */
	inode_dirty_as(a->inode, of_a.start, b->inode, of_b);
	if (range_overlaps(of_a, (struct range){a_off, a_end}))
		inode_dirty(b->inode, of_b.start, of_b.end);
	walk_account(x->fs, ((int64_t)a->inode->map.extents - (int64_t)a->extents) * WALK_EXTENT_BYTES);
	if (a->inode != b->inode)
		walk_account(x->fs, ((int64_t)b->inode->map.extents - (int64_t)b->extents) * WALK_EXTENT_BYTES);
}

/* Who gets more blocks than he gives must have room for them. */
static int exchange_charge(struct exchange *x)
{
	uint64_t has[2];

	if (x->side[0].inode == x->side[1].inode)
		return 0;
	for (unsigned k = 0; k < 2; k++)
		has[k] = x->blocks - layout_missing(x->side[k].inode, x->side[k].first, x->side[k].first + x->blocks);
	if (has[0] == has[1])
		return 0;
	return limit_blocks(x->fs, x->side[has[0] > has[1]].inode, has[0] > has[1] ? has[0] - has[1] : has[1] - has[0],
			    NULL);
}

/* Under both locks. 0, NEED_GATE or an error. */
static int exchange_locked(struct exchange *x)
{
	struct jtxn t;
	uint64_t seq;
	int err = exchange_check(x);

	if (err || x->len == 0)
		return err;
	for (unsigned k = 0; k < 2 && err >= 0; k++) {
		int found = layout_check(&x->side[k].gate, x->side[k].inode, &x->side[k].need, x->who);

		err = found ? found : err;
	}
	if (err)
		return err;
	err = exchange_charge(x);
	if (!err)
		err = exchange_prepare(x);
	if (!err) {
		jtxn_init(&t);
		exchange_items(x, &t);
		err = commit_content(x->fs, &t, &seq);
		jtxn_fini(&t);
	}
	if (!err)
		exchange_apply(x, seq);
	for (unsigned k = 0; k < 2; k++) {
		extmap_patch_drop(&x->side[k].patch);
		change_end(&x->side[k].change);
		limit_settle(x->fs, x->side[k].inode);
		x->side[k].change = (struct change){0};
	}
	for (unsigned k = 0; k < 2 && !err && x->len % LH_BLOCK_SIZE && x->fs->pool->class != POOL_MSYNC; k++)
		err = store_tail(x->fs, x->side[k].inode);
	return err;
}

static int exchange_run(struct exchange *x)
{
	const struct gate_side side[2] = {{&x->side[0].gate, x->side[0].inode, &x->side[0].need},
					  {&x->side[1].gate, x->side[1].inode, &x->side[1].need}};
	int err;

	for (;;) {
		struct lockset set = {0};

		lockset_add(&set, x->side[0].inode);
		lockset_add(&set, x->side[1].inode);
		lockset_take(&set);
		err = exchange_locked(x);
		lockset_drop(&set);
		if (err != NEED_GATE)
			return err;
		err = gate_break_two(x->fs, side, x->who);
		if (err)
			return err;
	}
}

int fs_exchange_range(struct fs_handle *a, uint64_t a_off, struct fs_handle *b, uint64_t b_off, uint64_t len,
		      const struct fs_caller *who)
{
	struct exchange x = {.fs = a->fs,
			     .who = who,
			     .len = len,
			     .side = {{.inode = a->inode, .off = a_off, .first = block_of(a_off)},
				      {.inode = b->inode, .off = b_off, .first = block_of(b_off)}}};
	int err;

	if (a->fs != b->fs)
		return fail(-EXDEV, "exchange: the files are in different pools");
	for (unsigned k = 0; k < 2; k++) {
		if (x.side[k].inode->type != DT_REG)
			return x.side[k].inode->type == DT_DIR ? -EISDIR : -EINVAL;
	}
	if (!a->readable || !a->writable || a->append || !b->readable || !b->writable || b->append)
		return fail(-EBADF, "exchange needs both files open for reading and writing, not appending");
	if (a_off % LH_BLOCK_SIZE || b_off % LH_BLOCK_SIZE)
		return fail(-EINVAL, "exchange: offsets must be multiples of %u", LH_BLOCK_SIZE);
	err = exchange_run(&x);
	gate_end(&x.side[0].gate);
	gate_end(&x.side[1].gate);
	return err;
}
