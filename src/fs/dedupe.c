/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Dedupe: a clone of what is the same already, by FIDEDUPERANGE's rules; no times change, for no content does.
 *
 * The bytes are compared twice: first under shared locks, so that ranges that differ cost nobody a lease; then with
 * both files locked and all writers gone, at once before the record.
 */
#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "fs/clone.h"

#define DIFFERENT 1 /* what the call returns then */

static const uint8_t zeroes[LH_BLOCK_SIZE];

/* How many bytes from off on (at most n) lie in one piece, and where; NULL: they read as zeroes. */
static const uint8_t *bytes_at(const struct clone *c, const struct inode *i, uint64_t off, uint64_t *n)
{
	uint64_t b = block_of(off);
	struct extent e;

	if (!extmap_find(&i->map, b, &e))
		return NULL;
	if (e.off > b) {
		*n = min_u64(*n, block_bytes(e.off) - off);
		return NULL;
	}
	*n = min_u64(*n, block_bytes(e.off + e.blocks) - off);
	if (e.flags == EXT_UNWRITTEN)
		return NULL;
	return pool_at(c->fs->pool, block_bytes(e.start) + (off - block_bytes(e.off)), *n);
}

static bool is_zero(const uint8_t *p, uint64_t n)
{
	while (n > 0) {
		uint64_t step = min_u64(n, sizeof(zeroes));

		if (memcmp(p, zeroes, step) != 0)
			return false;
		p += step;
		n -= step;
	}
	return true;
}

/* Under both locks. The same block in both is not looked at. */
static int compare_bytes(const struct clone *c, uint64_t src, uint64_t dst, uint64_t len)
{
	while (len > 0) {
		uint64_t n = len;
		const uint8_t *a = bytes_at(c, c->src, src, &n);
		const uint8_t *b = bytes_at(c, c->dst, dst, &n);
		bool same = a == b;

		if (!same && a && b)
			same = memcmp(a, b, n) == 0;
		else if (!same)
			same = is_zero(a ? a : b, n);
		if (!same)
			return DIFFERENT;
		src += n;
		dst += n;
		len -= n;
	}
	return 0;
}

static int compare_batch(struct clone *c, uint64_t first, uint64_t end)
{
	uint64_t from = block_bytes(first - c->src_block);
	uint64_t to = min_u64(c->len, block_bytes(end - c->src_block));

	return compare_bytes(c, c->src_off + from, c->dst_off + from, to - from);
}

/* Under both locks. */
static int dedupe_check(struct clone *c)
{
	uint64_t src_size = c->src->attr.size;
	uint64_t dst_size = c->dst->attr.size;

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

/* Without breaking anybody. Exclusive locks: rwlocks of two inodes are only taken together by a lockset. */
static int look_first(struct clone *c)
{
	struct lockset set = {0};
	int err;

	lockset_add(&set, c->src);
	lockset_add(&set, c->dst);
	lockset_take(&set);
	err = dedupe_check(c);
	if (!err)
		err = compare_bytes(c, c->src_off, c->dst_off, c->len);
	lockset_drop(&set);
	return err;
}

int fs_dedupe_range(struct fs_handle *dst, uint64_t dst_off, struct fs_handle *src, uint64_t src_off, uint64_t len,
		    const struct fs_caller *who)
{
	struct clone c = {.fs = dst->fs,
			  .src = src->inode,
			  .dst = dst->inode,
			  .who = who,
			  .src_off = src_off,
			  .dst_off = dst_off,
			  .len = len,
			  .src_block = block_of(src_off),
			  .dst_block = block_of(dst_off),
			  .check = dedupe_check,
			  .compare = compare_batch};
	int err;

	if (src->fs != dst->fs)
		return fail(-EXDEV, "dedupe: the files are in different pools");
	if (c.src->type != DT_REG || c.dst->type != DT_REG)
		return c.src->type == DT_DIR || c.dst->type == DT_DIR ? -EISDIR : -EINVAL;
	if (!src->readable)
		return fail(-EBADF, "dedupe needs a source open for reading");
	if (!dst->writable && who->cred.uid != 0 && who->cred.uid != c.dst->attr.uid)
		return fail(-EPERM, "dedupe into a file that is not yours needs a handle open for writing");
	if (src_off % LH_BLOCK_SIZE || dst_off % LH_BLOCK_SIZE)
		return fail(-EINVAL, "dedupe offsets must be multiples of %u", LH_BLOCK_SIZE);
	err = look_first(&c);
	return err ? err : clone_run(&c);
}
