/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Faulting access (L33): a device that names (file, offset) and is told for every chunk where that is now.
 *
 * A chunk is moved under INODE shared. That is the whole fence: every change of a layout holds INODE exclusively while
 * it looks at the map, copies, records and releases, so that no block is moved, shared or freed under a chunk, and none
 * of it needs a recall. What a call finds between two chunks is what it would find between two pwrites.
 *
 * A chunk that is stored is inside the freeze lock as well: a snapshot is taken from a tree in which nothing changes,
 * and its thread looks at inodes without their locks. Everything else that must not change under a reader is changed
 * with INODE exclusive, which an in-place store does not need: it touches no field of the inode. So it leaves no mark
 * of what it wrote either; the key's owner knows that (fs_fault_flush), and commit flushes its whole range.
 *
 * Stored in place is only what nobody else can see or have a claim on: blocks that are written and of this file alone,
 * or zeroed behind the end (an uncommitted write, L30). Everything else is a fault, and so is a lock that somebody has:
 * a mover never waits. fs_lease_fault makes the range what the access needs, as a WRITE grant would.
 */
#include <errno.h>

#include "base/error.h"
#include "base/relax.h"
#include "fs/freeze.h"
#include "fs/layout.h"
#include "fs/limit.h"

/* A lock is often had for less than a microsecond; a fault costs a message. */
#define TRIES 64u

/* POOL_MSYNC: some record may not be durable yet that made bytes changeable in place (hazard_note). */
static bool hazard_is_open(struct fs *fs)
{
	return unlikely(atomic_load(&fs->hazard_seq) > atomic_load(&fs->settled_seq));
}

static void chunk_at(struct fs *fs, const struct extent *e, uint64_t off, uint64_t most, struct fs_chunk *out)
{
	uint64_t into = off - block_bytes(e->off);

	out->len = min_u64(most, block_bytes(e->blocks) - into);
	out->mem = pool_window(fs->pool, block_bytes(e->start) + into, out->len);
}

/* Under INODE. What fs_read would show: NULL for zeroes. */
static int chunk_read(struct fs *fs, const struct inode *i, uint64_t off, uint64_t len, struct fs_chunk *out)
{
	struct extent e;

	if (off >= i->attr.size)
		return -EAGAIN;
	len = min_u64(len, i->attr.size - off);
	*out = (struct fs_chunk){.len = len};
	if (!extmap_find(&i->map, block_of(off), &e))
		return 0;
	if (e.off > block_of(off)) {
		out->len = min_u64(len, block_bytes(e.off) - off);
		return 0;
	}
	if (likely(e.flags != EXT_UNWRITTEN))
		chunk_at(fs, &e, off, len, out);
	else
		out->len = min_u64(len, block_bytes(e.off + e.blocks) - off);
	return 0;
}

/* Under INODE. Whether bytes behind the end of file may be stored: what is there is the writer's own, or zeroes. */
static bool tail_is_clean(struct fs *fs, const struct inode *i, uint64_t off, uint64_t end)
{
	uint64_t size = i->attr.size;

	if (end <= size)
		return true;
	return !hazard_is_open(fs) && !(i->tail_stale && off < block_bytes(block_up(size)));
}

/* Under INODE. */
static int chunk_write(struct fs *fs, const struct inode *i, uint64_t off, uint64_t len, struct fs_chunk *out)
{
	uint64_t b = block_of(off), alike;
	struct extent e;

	if (!extmap_find(&i->map, b, &e) || e.off > b)
		return -EAGAIN;
	/* What memory calls zeroed becomes written by a record before it holds bytes inside the file. */
	if ((e.flags & EXT_UNWRITTEN) && (!(e.flags & EXT_ZEROED) || b < block_up(i->attr.size)))
		return -EAGAIN;
	chunk_at(fs, &e, off, len, out);
	if ((i->may_share || i->remapped) && hazard_is_open(fs))
		return -EAGAIN;
	if (i->may_share) {
		struct run r = {e.start + (b - e.off), block_up(off + out->len) - b};

		if (alloc_shared(fs->alloc, r, &alike))
			return -EAGAIN;
		out->len = min_u64(out->len, block_bytes(b + alike) - off);
	}
	return tail_is_clean(fs, i, off, off + out->len) ? 0 : -EAGAIN;
}

static bool locks_try(struct fs *fs, struct inode *i, bool write)
{
	if (write && !freeze_try_enter(fs))
		return false;
	for (unsigned k = 0; k < TRIES; k++) {
		if (likely(rwlock_try_read(&i->lock)))
			return true;
		cpu_relax();
	}
	if (write)
		freeze_leave(fs);
	return false;
}

int fs_fault_enter(struct fs_handle *h, enum lease_mode mode, uint64_t off, uint64_t len, struct fs_chunk *out)
{
	bool write = mode == LEASE_WRITE;
	int err;

	if (!locks_try(h->fs, h->inode, write))
		return -EAGAIN;
	/* Of a file that was reclaimed there is nothing, not even zeroes; fs_lease_fault says so. */
	err = -EAGAIN;
	if (likely(!h->inode->gone))
		err = write ? chunk_write(h->fs, h->inode, off, len, out) : chunk_read(h->fs, h->inode, off, len, out);
	if (err)
		fs_fault_leave(h, mode);
	return err;
}

void fs_fault_leave(struct fs_handle *h, enum lease_mode mode)
{
	rwlock_drop(&h->inode->lock);
	if (mode == LEASE_WRITE)
		freeze_leave(h->fs);
}

void fs_fault_flush(struct fs_handle *h, struct range range)
{
	struct inode *i = h->inode;
	struct extent e;

	rwlock_take_read(&i->lock);
	for (uint64_t b = block_of(range.start); layout_next(i, b, block_up(range.end), &e); b = e.off + e.blocks) {
		if (e.flags != EXT_UNWRITTEN)
			pool_flush(h->fs->pool, block_bytes(e.start), block_bytes(e.blocks));
	}
	rwlock_drop(&i->lock);
}

/* Under INODE exclusive, which may be dropped: as a WRITE grant finds it. */
static int make_writable(struct store *s)
{
	struct inode *i = s->inode;
	struct range range = {s->pos, s->end};
	uint64_t missing = layout_missing(i, block_of(range.start), block_of(range.end));
	int err = inode_stale(i);

	if (!err)
		err = limit_fits(s->fs, i, missing);
	if (!err && missing > alloc_avail_blocks(s->fs->alloc))
		err = fail(-ENOSPC, "not enough free space to write %llu bytes into a hole",
			   (unsigned long long)(range.end - range.start));
	if (!err)
		err = store_run(s);
	if (!err && i->tail_stale && range_overlaps(range, block_range(block_of(i->attr.size), 1)))
		err = store_tail(s->fs, i);
	return err ? err : hazard_settle(s->fs);
}

int fs_lease_fault(struct fs_handle *h, const struct fs_caller *who, enum lease_mode mode, struct range range,
		   uint64_t *size)
{
	struct inode *i = h->inode;
	struct gate gate = {0};
	struct store s = {.fs = h->fs, .inode = i, .who = who, .gate = &gate, .kind = STORE_LEASE};
	int err = 0;

	assert(i->type == DT_REG && (mode == LEASE_READ || h->writable));
	if (mode == LEASE_READ) {
		/* Whoever was in the way is gone then. */
		rwlock_take_read(&i->lock);
		err = inode_stale(i);
		*size = i->attr.size;
		rwlock_drop(&i->lock);
		return err;
	}
	if (range_empty(range) || range.end > FS_SIZE_MAX - LH_BLOCK_SIZE)
		return fail(-EFBIG, "a fault for writing beyond the longest file");
	s.pos = round_down_u64(range.start, LH_BLOCK_SIZE);
	s.end = round_up_u64(range.end, LH_BLOCK_SIZE);
	rwlock_take_write(&i->lock);
	err = make_writable(&s);
	*size = i->attr.size;
	rwlock_drop(&i->lock);
	gate_end(&gate);
	return err;
}
