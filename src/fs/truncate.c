/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Truncate and punch: what gives blocks up. The protocol is in layout.h.
 *
 * The partial blocks at the ends of a punched range are zeroed in place before the record: that is data, as a write is,
 * and a crash may leave a part of it. The blocks between go in one record.
 */
#include <errno.h>

#include "base/error.h"
#include "fs/layout.h"

void release_blocks(struct change *c, uint64_t first, uint64_t end, uint64_t seq)
{
	struct inode *i = c->inode;
	struct extent e;

	for (uint64_t b = first; layout_next(i, b, end, &e); b = e.off + e.blocks)
		alloc_release(c->fs->alloc, &c->gone, (struct run){e.start, e.blocks}, seq);
	if (i->may_share)
		hazard_note(c->fs, seq);
}

static bool has_blocks(const struct inode *i, uint64_t first, uint64_t end)
{
	struct extent e;

	return extmap_find(&i->map, first, &e) && e.off < end;
}

/* Under INODE exclusive, nobody else leases the range: the attributes, and [first, end) unmapped, in one record. */
static int unmap(struct fs *fs, struct inode *i, const struct fs_caller *who, const struct inode_attr *attr,
		 uint64_t first, uint64_t end)
{
	uint64_t blocks = end - first;
	bool any = first < end && has_blocks(i, first, end);
	uint64_t extents = i->map.extents;
	struct change c;
	struct jtxn t;
	uint64_t seq;
	bool shrinks = attr->size < i->attr.size;
	int err = any && attr->size >= i->attr.size && layout_cuts_in_two(i, first, end)
		      ? layout_extents_fit(fs, i->map.extents + 1)
		      : 0;

	if (!err && any)
		err = extmap_reserve(&i->map, 1);
	if (!err && any)
		err = change_begin(&c, fs, i,
				   (struct range){block_bytes(first), end == BLOCKS_END ? RANGE_MAX : block_bytes(end)},
				   who);
	if (err)
		return err;
	jtxn_init(&t);
	t.frees = true;
	jtxn_inode(&t, attr);
	if (any)
		jtxn_unmap(&t, attr->ino, first, blocks);
	err = commit_content(fs, &t, &seq);
	jtxn_fini(&t);
	if (!err) {
		inode_attr_set(fs, i, attr, CHANGED_DATA, who);
		atomic_store_explicit(&i->lazy, false, memory_order_relaxed);
	}
	if (!err && shrinks)
		hazard_note(fs, seq);
	if (!err && any) {
		release_blocks(&c, first, end, seq);
		extmap_clear(&i->map, first, blocks);
		walk_account(fs, ((int64_t)i->map.extents - (int64_t)extents) * WALK_EXTENT_BYTES);
	}
	if (any)
		change_end(&c);
	return err;
}

/* 0; NEED_GATE: the gate first. Under INODE exclusive, which store_gap may drop. */
static int truncate_locked(struct store *s, uint64_t size, struct gate_need *need)
{
	struct inode *i = s->inode;
	struct inode_attr attr;
	bool cut;
	int err;

	do {
		s->dropped = false;
		err = size > i->attr.size ? store_gap(s, size) : 0;
	} while (!err && s->dropped);
	if (err)
		return err;
	*need = (struct gate_need){{size, RANGE_MAX}, LEASE_ANY_MODE, LEASE_FOR_TRUNCATE, LEASE_STOP};
	cut = size < i->attr.size || (size == i->attr.size && has_blocks(i, block_up(size), BLOCKS_END));
	err = cut ? layout_check(s->gate, i, need, s->who) : inode_stale(i);
	if (err)
		return err;
	attr = attr_changed(i, s->who);
	attr.size = size;
	err = unmap(s->fs, i, s->who, &attr, block_up(size), cut ? BLOCKS_END : 0);
	if (err || !cut)
		return err;
	i->tail_stale = true;
	return s->fs->pool->class == POOL_MSYNC ? 0 : store_tail(s->fs, i);
}

bool change_again(struct store *s, const struct gate_need *need, unsigned *tries, int *err)
{
	if (walk_made_room(s->fs, *err, tries))
		return true;
	if (*err != NEED_GATE)
		return false;
	*err = gate_break(s->gate, s->fs, s->inode, need, s->who);
	return *err == 0;
}

int fs_truncate(struct fs_handle *h, const struct fs_caller *who, uint64_t size)
{
	struct inode *i = h->inode;
	struct gate gate = {0};
	struct gate_need need;
	struct store s = {.fs = h->fs, .inode = i, .who = who, .gate = &gate};
	unsigned tries = 0;
	int err;

	if (i->type != DT_REG)
		return i->type == DT_DIR ? -EISDIR : -EINVAL;
	if (!h->writable)
		return fail(-EINVAL, "truncate needs a handle that is open for writing");
	if (size > FS_SIZE_MAX)
		return fail(-EFBIG, "a file cannot be longer than %llu bytes", (unsigned long long)FS_SIZE_MAX);
	do {
		rwlock_take_write(&i->lock);
		err = truncate_locked(&s, size, &need);
		rwlock_drop(&i->lock);
	} while (change_again(&s, &need, &tries, &err));
	gate_end(&gate);
	return err;
}

int store_zeroes(struct store *s, uint64_t from, uint64_t to)
{
	if (from >= to)
		return 0;
	s->kind = STORE_ZEROES;
	s->pos = from;
	s->end = to;
	return store_run(s);
}

static int punch_locked(struct store *s, struct range r, struct gate_need *need)
{
	struct inode *i = s->inode;
	uint64_t first = block_up(r.start);
	uint64_t end = block_of(r.end);
	struct inode_attr attr;
	int err;

	need->range = block_range(block_of(r.start), block_up(r.end) - block_of(r.start));
	err = layout_check(s->gate, i, need, s->who);
	if (err)
		return err;
	s->dropped = false;
	if (first > end) {
		err = store_zeroes(s, r.start, r.end);
	} else {
		err = store_zeroes(s, r.start, block_bytes(first));
		if (!err && !s->dropped)
			err = store_zeroes(s, block_bytes(end), r.end);
	}
	/* Only when the gate did not cover: it does, from the second round on. */
	if (!err && s->dropped)
		return NEED_GATE;
	if (err)
		return err;
	attr = attr_changed(i, s->who);
	return unmap(s->fs, i, s->who, &attr, first, max_u64(first, end));
}

int punch_range(struct fs_handle *h, const struct fs_caller *who, uint64_t off, uint64_t end)
{
	struct inode *i = h->inode;
	struct gate gate = {0};
	struct gate_need need = {.modes = LEASE_ANY_MODE, .reason = LEASE_FOR_PUNCH, .kind = LEASE_STOP};
	struct store s = {.fs = h->fs, .inode = i, .who = who, .gate = &gate};
	unsigned tries = 0;
	int err;

	do {
		rwlock_take_write(&i->lock);
		err = punch_locked(&s, (struct range){off, end}, &need);
		rwlock_drop(&i->lock);
	} while (change_again(&s, &need, &tries, &err));
	gate_end(&gate);
	return err;
}
