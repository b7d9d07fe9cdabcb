/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fallocate(2): its modes and their rules, preallocation and unsharing. What the other modes do is in truncate.c
 * (punch), shift.c (collapse, insert) and zero.c.
 *
 * What was allocated before an error stays allocated, as with other filesystems: it is unwritten and harms nobody.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>

#include "base/error.h"
#include "fs/keeper.h"
#include "fs/layout.h"
#include "fs/perm.h"
#include "fs/limit.h"

/* Modes exclude each other; KEEP_SIZE goes with some. */
#define MODE_MASK                                                                                                      \
	(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_ZERO_RANGE | FALLOC_FL_INSERT_RANGE |             \
	 FALLOC_FL_UNSHARE_RANGE)

int range_attr(struct fs *fs, struct inode *i, const struct fs_caller *who, uint64_t size)
{
	struct inode_attr attr = attr_changed(i, who);
	struct jtxn t;
	uint64_t seq;
	int err;

	attr.size = max_u64(attr.size, size);
	jtxn_init(&t);
	jtxn_inode(&t, &attr);
	err = commit_content(fs, &t, &seq);
	jtxn_fini(&t);
	if (!err) {
		inode_attr_set(fs, i, &attr, CHANGED_DATA, who);
		atomic_store_explicit(&i->lazy, false, memory_order_relaxed);
	}
	return err;
}

/* Under INODE: how many blocks the kind takes in [first, end). */
static uint64_t blocks_wanted(const struct store *s, uint64_t first, uint64_t end)
{
	const struct inode *i = s->inode;
	uint64_t count = layout_missing(i, first, end);
	struct extent e;
	uint64_t alike;

	if (s->kind != STORE_UNSHARE || !i->may_share)
		return count;
	for (uint64_t b = first; layout_next(i, b, end, &e); b = e.off + alike) {
		if (alloc_shared(s->fs->alloc, (struct run){e.start, e.blocks}, &alike))
			count += alike;
	}
	return count;
}

/* Under INODE exclusive, when no record says so: lazily, as after a write in place. */
static void touch_mtime(struct inode *i)
{
	int64_t now = time_now();

	if (i->attr.mtime_ns == now && i->attr.ctime_ns == now)
		return;
	i->attr.mtime_ns = now;
	i->attr.ctime_ns = now;
	atomic_store_explicit(&i->lazy, true, memory_order_relaxed);
}

/* Holes become unwritten blocks; UNSHARE: shared blocks become own ones, too. Then the size and the times. */
static int allocate(struct fs_handle *h, const struct fs_caller *who, uint64_t off, uint64_t end, bool keep_size,
		    enum store_kind kind)
{
	struct inode *i = h->inode;
	struct gate gate = {0};
	struct store s = {.fs = h->fs, .inode = i, .who = who, .gate = &gate, .kind = kind, .pos = off, .end = end};
	struct store gap = {.fs = h->fs, .inode = i, .who = who, .gate = &gate};
	int err;

	rwlock_take_write(&i->lock);
	if (blocks_wanted(&s, block_of(off), block_up(end)) > alloc_avail_blocks(h->fs->alloc))
		err = fail(-ENOSPC, "not enough free space to allocate %llu bytes", (unsigned long long)(end - off));
	else
		err = limit_fits(h->fs, i, layout_missing(i, block_of(off), block_up(end)));
	if (!err)
		err = store_run(&s);
	while (!err && !keep_size && end > i->attr.size) {
		gap.dropped = false;
		err = store_gap(&gap, end);
		if (!err && !gap.dropped)
			err = range_attr(h->fs, i, who, end);
	}
	/* Who is not root takes set-user-id away, whatever the size does. */
	if (!err && mode_after_write(&i->attr, &who->cred) != i->attr.mode)
		err = range_attr(h->fs, i, who, 0);
	if (!err) {
		touch_mtime(i);
		/* Not its content, but the times, and how many blocks it has. */
		inode_changed(h->fs, i, CHANGED_ATTR, who);
	}
	rwlock_drop(&i->lock);
	gate_end(&gate);
	return err;
}

static int allocate_check(struct fs_handle *h, int mode, uint64_t off, uint64_t len, uint64_t *end)
{
	bool keep_size = mode & FALLOC_FL_KEEP_SIZE;

	if (len == 0)
		return -EINVAL;
	if (mode & ~(MODE_MASK | FALLOC_FL_KEEP_SIZE) || (mode & MODE_MASK & ((mode & MODE_MASK) - 1)))
		return fail(-EOPNOTSUPP, "fallocate mode 0x%x is not one of fallocate(2)", mode);
	if ((mode & FALLOC_FL_PUNCH_HOLE) && !keep_size)
		return fail(-EOPNOTSUPP, "fallocate: PUNCH_HOLE needs KEEP_SIZE");
	if ((mode & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE)) && keep_size)
		return fail(-EOPNOTSUPP, "fallocate: COLLAPSE_RANGE and INSERT_RANGE change the size: no KEEP_SIZE");
	if (!h->writable)
		return -EBADF;
	if (h->inode->type == DT_DIR)
		return -EISDIR;
	if (h->inode->type != DT_REG)
		return h->inode->type == DT_FIFO ? -ESPIPE : -ENODEV;
	if (add_overflows(off, len, end) || *end > FS_SIZE_MAX)
		return fail(-EFBIG, "a file cannot be longer than %llu bytes", (unsigned long long)FS_SIZE_MAX);
	return 0;
}

static int allocate_mode(struct fs_handle *h, const struct fs_caller *who, int mode, uint64_t off, uint64_t len)
{
	bool keep_size = mode & FALLOC_FL_KEEP_SIZE;
	uint64_t end = 0;
	int err = allocate_check(h, mode, off, len, &end);

	if (err)
		return err;
	switch (mode & MODE_MASK) {
	case FALLOC_FL_PUNCH_HOLE:
		return punch_range(h, who, off, end);
	case FALLOC_FL_COLLAPSE_RANGE:
	case FALLOC_FL_INSERT_RANGE:
		return shift_range(h, who, off, len, mode & FALLOC_FL_INSERT_RANGE);
	case FALLOC_FL_ZERO_RANGE:
		return zero_range(h, who, off, end, keep_size);
	case FALLOC_FL_UNSHARE_RANGE:
		return allocate(h, who, off, end, keep_size, STORE_UNSHARE);
	}
	return allocate(h, who, off, end, keep_size, STORE_RESERVE);
}

int fs_allocate(struct fs_handle *h, const struct fs_caller *who, int mode, uint64_t off, uint64_t len)
{
	bool tried = false;
	int err;

	do {
		err = allocate_mode(h, who, mode, off, len);
	} while (orphans_made_room(h->fs, err, &tried));
	return err;
}
