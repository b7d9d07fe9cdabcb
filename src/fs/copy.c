/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * copy_file_range(2): whole blocks that lie alike in their blocks are cloned, the rest goes through a buffer. Short
 * when something fails after some bytes, as a write is. Not atomic: each clone and each write is.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/error.h"
#include "fs/layout.h"

#define COPY_BUFFER ((uint64_t)1 << 20)

struct copy {
	struct fs_handle *dst, *src;
	const struct fs_caller *who;
	uint64_t dst_off, src_off, left;
	uint8_t *buf;
};

static void copy_moved(struct copy *c, uint64_t n)
{
	c->src_off += n;
	c->dst_off += n;
	c->left -= n;
}

/* At most n bytes through the buffer. 0 bytes: the source ended meanwhile. */
static ssize_t copy_bytes(struct copy *c, uint64_t n)
{
	ssize_t got, put;

	if (!c->buf)
		c->buf = malloc(COPY_BUFFER);
	if (!c->buf)
		return -ENOMEM;
	got = fs_read(c->src, c->who, c->buf, min_u64(n, COPY_BUFFER), c->src_off);
	if (got <= 0)
		return got;
	put = fs_write(c->dst, c->who, c->buf, (size_t)got, c->dst_off);
	if (put > 0)
		copy_moved(c, (uint64_t)put);
	return put;
}

static uint64_t size_of(struct inode *i)
{
	uint64_t size;

	rwlock_take_read(&i->lock);
	size = i->attr.size;
	rwlock_drop(&i->lock);
	return size;
}

/* How many bytes from here on can be shared: whole blocks, and the source's last block where the destination ends too.
 */
static uint64_t cloneable(const struct copy *c)
{
	uint64_t whole = round_down_u64(c->left, LH_BLOCK_SIZE);

	if (c->src_off % LH_BLOCK_SIZE || c->dst_off % LH_BLOCK_SIZE)
		return 0;
	if (whole < c->left && c->src_off + c->left == size_of(c->src->inode) &&
	    c->dst_off + c->left >= size_of(c->dst->inode))
		return c->left;
	return whole;
}

/* One step: up to the next block, a clone, or a buffer. */
static ssize_t copy_step(struct copy *c)
{
	uint64_t into = c->src_off % LH_BLOCK_SIZE;
	uint64_t n = cloneable(c);
	int err;

	if (n > 0) {
		err = fs_clone_range(c->dst, c->dst_off, c->src, c->src_off, n, c->who);
		if (!err) {
			copy_moved(c, n);
			return (ssize_t)n;
		}
		/* -EINVAL: an end moved since it was looked at; by bytes then. */
		if (err != -EINVAL)
			return err;
		return copy_bytes(c, c->left);
	}
	if (into && into == c->dst_off % LH_BLOCK_SIZE)
		return copy_bytes(c, min_u64(c->left, LH_BLOCK_SIZE - into));
	return copy_bytes(c, c->left);
}

/* The rules of copy_file_range(2); cuts the length. */
static int copy_check(struct copy *c)
{
	uint64_t size, end;

	if (c->src->fs != c->dst->fs)
		return fail(-EXDEV, "copy: the files are in different pools");
	if (c->src->inode->type != DT_REG || c->dst->inode->type != DT_REG)
		return c->src->inode->type == DT_DIR || c->dst->inode->type == DT_DIR ? -EISDIR : -EINVAL;
	if (!c->src->readable || !c->dst->writable || c->dst->append)
		return fail(-EBADF,
			    "copy needs a source open for reading and a destination open for writing, not appending");
	if (add_overflows(c->src_off, c->left, &end) || add_overflows(c->dst_off, c->left, &end))
		return -EOVERFLOW;
	size = size_of(c->src->inode);
	c->left = min_u64(c->left, c->src_off < size ? size - c->src_off : 0);
	if (c->left > 0 && c->dst_off >= FS_SIZE_MAX)
		return fail(-EFBIG, "a file cannot be longer than %llu bytes", (unsigned long long)FS_SIZE_MAX);
	c->left = c->dst_off < FS_SIZE_MAX ? min_u64(c->left, FS_SIZE_MAX - c->dst_off) : 0;
	if (c->src->inode == c->dst->inode && range_overlaps((struct range){c->src_off, c->src_off + c->left},
							     (struct range){c->dst_off, c->dst_off + c->left}))
		return fail(-EINVAL, "copy: the ranges of one file overlap");
	return 0;
}

ssize_t fs_copy_range(struct fs_handle *dst, uint64_t dst_off, struct fs_handle *src, uint64_t src_off, uint64_t len,
		      const struct fs_caller *who)
{
	struct copy c = {.dst = dst,
			 .src = src,
			 .who = who,
			 .dst_off = dst_off,
			 .src_off = src_off,
			 .left = min_u64(len, SSIZE_MAX)};
	ssize_t done = 0;
	ssize_t n = 1;
	int err = copy_check(&c);

	while (!err && c.left > 0 && n > 0) {
		n = copy_step(&c);
		if (n > 0)
			done += n;
	}
	free(c.buf);
	if (err)
		return err;
	return done > 0 ? done : n < 0 ? n : 0;
}
