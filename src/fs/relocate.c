/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Moves the blocks of a range of one file to new places. One break for the range; its gate stays closed over all
 * batches.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/error.h"
#include "fs/move.h"

/* All batches of a file's range; whoever leases it is broken first. *moved grows. */
static int move_range(struct move *m, const struct gate_need *whole, uint64_t *moved)
{
	struct gate gate = {0};
	unsigned tries = 0;
	int err = 0;

	m->gate = &gate;
	while (!err && m->next < m->end) {
		rwlock_take_write(&m->inode->lock);
		err = layout_check(&gate, m->inode, whole, m->who);
		if (!err)
			err = move_batch(m);
		rwlock_drop(&m->inode->lock);
		if (!err)
			*moved += m->blocks;
		if (err == NEED_GATE)
			err = gate_break(&gate, m->fs, m->inode, whole, m->who);
		if (walk_made_room(m->fs, err, &tries))
			err = 0;
	}
	gate_end(&gate);
	move_fini(m);
	return err;
}

/* Under INODE. It takes leases of others, EXCLUSIVE ones too. */
static int may_move(const struct fs_handle *h, const struct fs_caller *who, const char *what)
{
	int err = inode_stale(h->inode);

	if (err || h->writable || cred_is_super(&who->cred) || who->cred.uid == h->inode->attr.uid)
		return err;
	return fail(-EBADF, "%s needs a handle that is open for writing, the owner or root", what);
}

int fs_relocate(struct fs_handle *h, const struct fs_caller *who, uint64_t off, uint64_t len, uint64_t *moved_blocks)
{
	struct inode *i = h->inode;
	struct gate_need need = {.modes = MOVE_MODES, .reason = LEASE_FOR_RELOCATE, .kind = LEASE_DRAIN};
	struct move m = {.fs = h->fs, .inode = i, .who = who, .next = block_of(off)};
	uint64_t end_byte;
	uint64_t moved = 0;
	int err;

	if (i->type != DT_REG)
		return i->type == DT_DIR ? -EISDIR : -EINVAL;
	if (h->fs->read_only)
		return -EROFS;
	rwlock_take_read(&i->lock);
	err = may_move(h, who, "relocate");
	rwlock_drop(&i->lock);
	if (err)
		return err;
	if (add_overflows(off, len, &end_byte) || end_byte > FS_SIZE_MAX)
		end_byte = FS_SIZE_MAX;
	m.end = block_up(end_byte);
	need.range = block_range(block_of(off), max_u64(m.end, block_of(off)) - block_of(off));
	err = move_range(&m, &need, &moved);
	if (moved_blocks)
		*moved_blocks = moved;
	return err;
}

/* --- defragment ---------------------------------------------------------------------------------------------------
 *
 * Room for all of the file is set aside first, in as few runs as there are; only when these are fewer than the file has
 * now is anything moved. Blocks that the file gets meanwhile stay where they are, and what is set aside and not used is
 * given back.
 */

#define DEFRAG_RUNS 4096u

/* Pieces of the file that do not continue each other in the pool, and its blocks. */
static uint64_t count_pieces(const struct inode *i, uint64_t *blocks)
{
	uint64_t pieces = 0, expected = 0;
	struct extent e;

	*blocks = 0;
	for (uint64_t b = 0; layout_next(i, b, BLOCKS_END, &e); b = e.off + e.blocks) {
		if (pieces == 0 || e.start != expected)
			pieces++;
		expected = e.start + e.blocks;
		*blocks += e.blocks;
	}
	return pieces;
}

static void give_back(struct fs *fs, const struct run *runs, unsigned count)
{
	for (unsigned k = 0; k < count; k++)
		alloc_undo(fs->alloc, runs[k]);
}

/* At most `most` runs for so many blocks. -ENOSPC: they do not suffice; nothing is kept then. */
static int set_aside(struct fs *fs, uint64_t blocks, uint64_t most, struct run *runs, unsigned *count)
{
	uint64_t goal = 0;
	int err = 0;

	*count = 0;
	while (!err && blocks > 0) {
		struct run *last = *count ? &runs[*count - 1] : NULL;
		struct run r;

		err = blocks_take(fs, blocks, goal, &r);
		if (err)
			break;
		blocks -= r.blocks;
		goal = r.start + r.blocks;
		if (last && last->start + last->blocks == r.start) {
			last->blocks += r.blocks;
		} else if (*count < most) {
			runs[(*count)++] = r;
		} else {
			alloc_undo(fs->alloc, r);
			err = -ENOSPC;
		}
	}
	if (!err)
		return 0;
	give_back(fs, runs, *count);
	*count = 0;
	return err;
}

static int defragment(struct fs_handle *h, const struct fs_caller *who, uint64_t pieces, uint64_t blocks)
{
	struct gate_need need = {RANGE_ALL, MOVE_MODES, LEASE_FOR_RELOCATE, LEASE_DRAIN};
	struct move m = {.fs = h->fs, .inode = h->inode, .who = who, .end = BLOCKS_END};
	uint64_t most = min_u64(pieces - 1, DEFRAG_RUNS), moved = 0;
	struct run *runs = malloc(most * sizeof(*runs));
	unsigned count;
	int err;

	if (!runs)
		return -ENOMEM;
	err = set_aside(h->fs, blocks, most, runs, &count);
	if (!err) {
		m.into = runs;
		m.into_count = count;
		err = move_range(&m, &need, &moved);
		give_back(h->fs, m.into, m.into_count);
		/* What was set aside is used up: the rest came meanwhile. */
		if (err == -ENOSPC && moved > 0)
			err = 0;
	} else if (err == -ENOSPC) {
		err = 0;
	}
	free(runs);
	return err;
}

int fs_defragment(struct fs_handle *h, const struct fs_caller *who, uint64_t *before, uint64_t *after)
{
	struct inode *i = h->inode;
	uint64_t pieces, blocks, left;
	int err = 0;

	if (i->type != DT_REG)
		return i->type == DT_DIR ? -EISDIR : -EINVAL;
	if (h->fs->read_only)
		return -EROFS;
	rwlock_take_read(&i->lock);
	err = may_move(h, who, "defragment");
	pieces = count_pieces(i, &blocks);
	rwlock_drop(&i->lock);
	if (err)
		return err;
	if (pieces > 1)
		err = defragment(h, who, pieces, blocks);
	rwlock_take_read(&i->lock);
	left = count_pieces(i, &blocks);
	rwlock_drop(&i->lock);
	if (before)
		*before = pieces;
	if (after)
		*after = left;
	return err;
}
