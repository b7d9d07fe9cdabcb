/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Moves the blocks of a range to new places. One break for the range; its gate stays closed over all batches. Holders
 * are told to drain: what they wrote before they let go is copied (L10), also into blocks that only memory calls
 * zeroed.
 */
#include <errno.h>

#include "base/error.h"
#include "fs/layout.h"

#define MOVE_PARTS  32u
#define MOVE_BLOCKS 4096u /* 16 MiB a record: bounds the time under the lock */

struct move {
	struct fs *fs;
	struct inode *inode;
	const struct fs_caller *who;
	struct extent to[MOVE_PARTS];
	uint64_t from[MOVE_PARTS];
	unsigned count;
	uint64_t next, blocks;
};

/* New places for what is in [next, end), as far as one batch goes. */
static int move_plan(struct move *m, uint64_t end)
{
	uint64_t goal = 0;
	struct extent e;

	while (m->count < MOVE_PARTS && m->blocks < MOVE_BLOCKS && layout_next(m->inode, m->next, end, &e)) {
		struct run r;
		int err = blocks_take(m->fs, min_u64(e.blocks, MOVE_BLOCKS - m->blocks), goal, &r);

		if (err)
			return m->count ? 0 : err;
		m->to[m->count] = (struct extent){e.off, r.start, r.blocks, e.flags};
		m->from[m->count] = e.start;
		m->count++;
		m->blocks += r.blocks;
		m->next = e.off + r.blocks;
		goal = r.start + r.blocks;
	}
	if (m->count < MOVE_PARTS && m->blocks < MOVE_BLOCKS)
		m->next = end;
	return 0;
}

static void move_copy(struct move *m)
{
	for (unsigned k = 0; k < m->count; k++) {
		const struct extent *e = &m->to[k];

		if (e->flags == EXT_UNWRITTEN)
			continue;
		pool_copy(m->fs->pool, block_bytes(e->start), block_bytes(m->from[k]), block_bytes(e->blocks));
		if (!(e->flags & EXT_UNWRITTEN))
			journal_data(m->fs->journal, block_bytes(e->start), block_bytes(e->blocks));
	}
}

static int move_commit(struct move *m, uint64_t *seq)
{
	struct jtxn t;
	int err;

	jtxn_init(&t);
	jtxn_inode(&t, &m->inode->attr);
	for (unsigned k = 0; k < m->count; k++) {
		struct extent e = m->to[k];

		e.flags &= EXT_UNWRITTEN;
		jtxn_map(&t, ino_of(m->inode), &e);
	}
	err = commit_content(m->fs, &t, seq);
	jtxn_fini(&t);
	return err;
}

/* Under INODE exclusive with the gate closed. */
static int move_batch(struct move *m, uint64_t end)
{
	struct inode *i = m->inode;
	uint64_t extents = i->map.extents;
	uint64_t first = m->next;
	struct change c;
	uint64_t seq;
	int err;

	m->count = 0;
	m->blocks = 0;
	err = move_plan(m, end);
	if (err || m->count == 0)
		return err;
	err = extmap_reserve(&i->map, m->count);
	if (!err)
		err = change_begin(&c, m->fs, i, block_range(first, m->next - first), m->who);
	if (err)
		goto undo;
	move_copy(m);
	err = move_commit(m, &seq);
	for (unsigned k = 0; k < m->count && !err; k++) {
		extmap_set(&i->map, &m->to[k]);
		alloc_release(m->fs->alloc, &c.gone, (struct run){m->from[k], m->to[k].blocks}, seq);
	}
	if (!err && i->may_share)
		hazard_note(m->fs, seq);
	walk_account(m->fs, ((int64_t)i->map.extents - (int64_t)extents) * WALK_EXTENT_BYTES);
	change_end(&c);
	if (!err)
		return 0;
undo:
	for (unsigned k = 0; k < m->count; k++)
		alloc_undo(m->fs->alloc, (struct run){m->to[k].start, m->to[k].blocks});
	return err;
}

int fs_relocate(struct fs_handle *h, const struct fs_caller *who, uint64_t off, uint64_t len, uint64_t *moved_blocks)
{
	struct inode *i = h->inode;
	struct gate gate = {0};
	struct gate_need need = {.modes = LEASE_ANY_MODE, .reason = LEASE_FOR_RELOCATE, .kind = LEASE_DRAIN};
	struct move m = {.fs = h->fs, .inode = i, .who = who, .next = block_of(off)};
	uint64_t end_byte;
	uint64_t moved = 0;
	uint64_t end;
	int err = 0;

	if (i->type != DT_REG)
		return i->type == DT_DIR ? -EISDIR : -EINVAL;
	if (h->fs->read_only)
		return -EROFS;
	if (add_overflows(off, len, &end_byte) || end_byte > FS_SIZE_MAX)
		end_byte = FS_SIZE_MAX;
	end = block_up(end_byte);
	need.range = block_range(block_of(off), max_u64(end, block_of(off)) - block_of(off));
	while (!err && m.next < end) {
		struct extent e;

		rwlock_take_write(&i->lock);
		if (!layout_next(i, m.next, end, &e))
			m.next = end;
		else if (layout_free(&gate, i, &need, who))
			err = move_batch(&m, end);
		else
			err = NEED_GATE;
		rwlock_drop(&i->lock);
		if (!err)
			moved += m.blocks;
		m.blocks = 0;
		if (err == NEED_GATE)
			err = gate_break(&gate, h->fs, i, &need, who);
	}
	gate_end(&gate);
	if (moved_blocks)
		*moved_blocks = moved;
	return err;
}
