/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Dedupe: a clone of what is the same already, by FIDEDUPERANGE's rules; no times change, for no content does.
 *
 * The bytes are compared twice: first under shared locks, so that ranges that differ cost nobody a lease; then with
 * both files locked and all writers gone, at once before the record.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "fs/clone.h"
#include "fs/perm.h"

#define DIFFERENT 2 /* 1 is NEED_GATE */

#define COMPARE_BYTES ((uint64_t)64 << 10)

struct buffers {
	uint8_t a[COMPARE_BYTES], b[COMPARE_BYTES];
};

/* Where the byte at off lies in the pool, and how many from there on (at most *n) are alike; false: they read as
 * zeroes. */
static bool bytes_at(const struct inode *i, uint64_t off, uint64_t *n, uint64_t *pool_off)
{
	uint64_t b = block_of(off);
	struct extent e;

	if (!extmap_find(&i->map, b, &e))
		return false;
	if (e.off > b) {
		*n = min_u64(*n, block_bytes(e.off) - off);
		return false;
	}
	*n = min_u64(*n, block_bytes(e.off + e.blocks) - off);
	*pool_off = block_bytes(e.start) + (off - block_bytes(e.off));
	return e.flags != EXT_UNWRITTEN;
}

/* Under INODE. -EIO: the memory fails there. */
static int fetch(struct fs *fs, const struct inode *i, bool there, uint64_t pool_off, uint64_t off, uint8_t *to,
		 uint64_t n)
{
	if (!there)
		memset(to, 0, n);
	else if (unlikely(pool_read(fs->pool, pool_off, to, n)))
		return media_error(i, off, n);
	return 0;
}

/* Under both locks. What both name is not looked at. */
static int compare_bytes(const struct clone *c, struct buffers *buf, uint64_t src, uint64_t dst, uint64_t len)
{
	while (len > 0) {
		uint64_t n = len;
		uint64_t a = 0;
		uint64_t b = 0;
		bool has_a = bytes_at(c->src, src, &n, &a);
		bool has_b = bytes_at(c->dst, dst, &n, &b);
		int err;

		if (has_a != has_b || (has_a && a != b)) {
			n = min_u64(n, COMPARE_BYTES);
			err = fetch(c->fs, c->src, has_a, a, src, buf->a, n);
			if (!err)
				err = fetch(c->fs, c->dst, has_b, b, dst, buf->b, n);
			if (err)
				return err;
			if (memcmp(buf->a, buf->b, n) != 0)
				return DIFFERENT;
		}
		src += n;
		dst += n;
		len -= n;
	}
	return 0;
}

static int compare_range(const struct clone *c, uint64_t from, uint64_t to)
{
	struct buffers *buf = malloc(sizeof(*buf));
	int err = buf ? compare_bytes(c, buf, c->src_off + from, c->dst_off + from, to - from) : -ENOMEM;

	free(buf);
	return err;
}

static int compare_batch(struct clone *c, uint64_t first, uint64_t end)
{
	uint64_t from = block_bytes(first - c->src_block);
	uint64_t to = min_u64(c->len, block_bytes(end - c->src_block));

	return compare_range(c, from, to);
}

/* Under both locks. */
static int dedupe_check(struct clone *c)
{
	uint64_t src_size = c->src->attr.size;
	uint64_t dst_size = c->dst->attr.size;
	int err = inode_stale(c->src);

	err = err ? err : inode_stale(c->dst);
	if (err)
		return err;
	if (c->src_off > src_size || c->len > src_size - c->src_off || c->dst_off > dst_size ||
	    c->len > dst_size - c->dst_off)
		return fail(-EINVAL, "dedupe: a range ends behind its file");
	if (c->len % LH_BLOCK_SIZE && (c->src_off + c->len != src_size || c->dst_off + c->len != dst_size))
		return fail(-EINVAL, "dedupe: the length must be whole blocks of %u bytes, or end both files",
			    LH_BLOCK_SIZE);
	c->blocks = block_up(c->len);
	c->src_need =
	    (struct gate_need){block_range(c->src_block, c->blocks), LEASE_WRITE, LEASE_FOR_DEDUPE, LEASE_DRAIN};
	c->dst_need =
	    (struct gate_need){block_range(c->dst_block, c->blocks), LEASE_ANY_MODE, LEASE_FOR_DEDUPE, LEASE_DRAIN};
	if (c->src == c->dst && range_overlaps(c->src_need.range, c->dst_need.range))
		return fail(-EINVAL, "the ranges of one file overlap");
	return 0;
}

/* Under INODE: into a handle that is not open for writing, as Linux has it. */
static int may_dedupe(const struct clone *c)
{
	const struct fs_cred *cred = &c->who->cred;
	int err = inode_changeable(c->fs, c->dst);

	if (err)
		return err;
	if (cred_is_super(cred) || cred->uid == c->dst->attr.uid || perm_check(c->dst, cred, MAY_WRITE) == 0)
		return 0;
	return fail(-EPERM, "dedupe into a file that you may not write");
}

/* Without breaking anybody. Exclusive locks: rwlocks of two inodes are only taken together by a lockset. */
static int look_first(struct clone *c, bool writable)
{
	struct lockset set = {0};
	int err;

	lockset_add(&set, c->src);
	lockset_add(&set, c->dst);
	lockset_take(&set);
	err = writable ? 0 : may_dedupe(c);
	if (!err)
		err = dedupe_check(c);
	if (!err)
		err = compare_range(c, 0, c->len);
	lockset_drop(&set);
	return err;
}

int fs_dedupe_range(struct fs_handle *dst, uint64_t dst_off, struct fs_handle *src, uint64_t src_off, uint64_t len,
		    const struct fs_caller *who)
{
	struct clone c;
	int err = clone_begin(&c, "dedupe", dst, dst_off, src, src_off, len, who);

	if (err)
		return err;
	c.check = dedupe_check;
	c.compare = compare_batch;
	err = look_first(&c, dst->writable);
	if (!err)
		err = clone_run(&c);
	return err == DIFFERENT ? 1 : err;
}
