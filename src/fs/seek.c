/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * SEEK_DATA and SEEK_HOLE. A hole is what reads as zeroes for sure: no blocks, or unwritten ones that nobody could have
 * written through a lease. The end of file counts as a hole.
 */
#include <errno.h>
#include <stdio.h>

#include "base/error.h"
#include "fs/layout.h"

/* Under INODE: the first block at b or behind that is not data; `end` when all is. */
static uint64_t next_hole(const struct inode *i, uint64_t b, uint64_t end)
{
	struct extent e;

	while (layout_next(i, b, end, &e) && e.off == b && e.flags != EXT_UNWRITTEN)
		b = e.off + e.blocks;
	return b;
}

/* The first block at b or behind that is data; `end` when none is. */
static uint64_t next_data(const struct inode *i, uint64_t b, uint64_t end)
{
	struct extent e;

	while (layout_next(i, b, end, &e)) {
		if (e.flags != EXT_UNWRITTEN)
			return e.off;
		b = e.off + e.blocks;
	}
	return end;
}

int64_t fs_seek(struct fs_handle *h, uint64_t off, int whence)
{
	struct inode *i = h->inode;
	uint64_t size, end, found;
	int err;

	if (i->type != DT_REG)
		return i->type == DT_DIR ? -EISDIR : -EINVAL;
	if (whence != SEEK_DATA && whence != SEEK_HOLE)
		return fail(-EINVAL, "seek: whence is SEEK_DATA or SEEK_HOLE");
	rwlock_take_read(&i->lock);
	err = inode_stale(i);
	size = i->attr.size;
	end = block_up(size);
	if (err || off >= size)
		found = UINT64_MAX;
	else if (whence == SEEK_HOLE)
		found = next_hole(i, block_of(off), end);
	else
		found = next_data(i, block_of(off), end);
	rwlock_drop(&i->lock);
	if (err)
		return err;
	if (found == UINT64_MAX || (whence == SEEK_DATA && found == end))
		return -ENXIO;
	return (int64_t)min_u64(max_u64(block_bytes(found), off), size);
}
