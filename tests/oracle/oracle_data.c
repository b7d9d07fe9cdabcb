/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Contents of the reference filesystem. A file is a sorted list of blocks; a block names a cell's version. Sharing is
 * found by looking at every block of every file.
 *
 * Invariant: bytes of a file's last block behind its end are zero in its version.
 */
#include <errno.h>
#include <linux/falloc.h>
#include <unistd.h>

#include "base/crc.h"
#include "base/types.h"
#include "oracle_internal.h"

/* --- blocks ----------------------------------------------------------------------------------------------------------
 */

struct oblock *block_find(const struct onode *n, uint64_t no)
{
	for (unsigned i = 0; i < n->blocks; i++)
		if (n->block[i].no == no)
			return &n->block[i];
	return NULL;
}

static struct oblock *block_add(struct onode *n, uint64_t no)
{
	unsigned i = n->blocks;

	n->block = must_alloc(n->block, ++n->blocks * sizeof(n->block[0]));
	for (; i > 0 && n->block[i - 1].no > no; i--)
		n->block[i] = n->block[i - 1];
	n->block[i] = (struct oblock){.no = no};
	return &n->block[i];
}

/* Removes blocks [first, end) and moves those behind by `shift` blocks down (collapse) or up. */
static void blocks_remove(struct onode *n, uint64_t first, uint64_t end)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < n->blocks; i++) {
		if (n->block[i].no >= first && n->block[i].no < end)
			version_put(n->block[i].v);
		else
			n->block[kept++] = n->block[i];
	}
	n->blocks = kept;
}

static unsigned cell_refs(const struct oracle *o, uint64_t cell)
{
	unsigned refs = 0;

	for (unsigned k = 0; k < o->nodes; k++)
		for (unsigned i = 0; i < o->node[k].blocks; i++)
			refs += o->node[k].block[i].v && o->node[k].block[i].cell == cell;
	return refs;
}

static struct oversion *version_new(const struct oversion *like)
{
	struct oversion *v = must_alloc(NULL, sizeof(*v));

	memset(v, 0, sizeof(*v));
	v->refs = 1;
	if (like)
		memcpy(v->bytes, like->bytes, sizeof(v->bytes));
	return v;
}

/* A new version of the block's cell, its bytes those of the one before. */
static void version_push(struct oracle *o, struct oblock *b, unsigned from, unsigned to, bool barrier)
{
	struct oversion *v = version_new(b->v);

	v->time = o->time;
	v->from = from;
	v->to = to;
	v->barrier = barrier;
	v->older = b->v;
	b->v = v;
	if (!o->history) {
		version_put(v->older);
		v->older = NULL;
	}
}

static void cell_new(struct oracle *o, struct oblock *b)
{
	struct oversion *v = version_new(b->v);

	v->time = o->time;
	version_put(b->v);
	b->v = v;
	b->cell = (*o->next_cell)++;
	b->was_shared = false;
	b->durable = 0;
}

/* After an operation: who is alone with a cell now may store in place, but no state before may see that. */
void data_unshared(struct oracle *o)
{
	for (unsigned k = 0; k < o->nodes; k++) {
		for (unsigned i = 0; i < o->node[k].blocks; i++) {
			struct oblock *b = &o->node[k].block[i];

			if (!b->v || !b->was_shared || cell_refs(o, b->cell) > 1)
				continue;
			version_push(o, b, 0, LH_BLOCK_SIZE, true);
			b->was_shared = false;
		}
	}
}

/* The bytes of block `no`, for a store to [from, to) of it. */
static uint8_t *block_store(struct oracle *o, struct onode *n, uint64_t no, unsigned from, unsigned to)
{
	struct oblock *b = block_find(n, no);

	if (!b)
		b = block_add(n, no);
	if (!b->v || cell_refs(o, b->cell) > 1) {
		cell_new(o, b);
		return b->v->bytes;
	}
	if (b->was_shared)
		version_push(o, b, 0, LH_BLOCK_SIZE, true);
	b->was_shared = false;
	version_push(o, b, from, to, false);
	return b->v->bytes;
}

/* Bytes [off, end) change from now on, and no crash brings the old ones back: a cut, or what a growth brings into view.
 */
static void barrier(struct oracle *o, struct onode *n, uint64_t off, uint64_t end)
{
	for (uint64_t no = off / B; no * B < end; no++) {
		struct oblock *b = block_find(n, no);
		unsigned from = no == off / B ? (unsigned)(off % B) : 0;
		unsigned to = (unsigned)min_u64(end - no * B, B);

		if (b && b->v && b->v->older)
			version_push(o, b, from, to, true);
	}
}

static void store(struct oracle *o, struct onode *n, uint64_t off, uint64_t len, int fill)
{
	for (uint64_t at = off; at < off + len;) {
		unsigned from = (unsigned)(at % B), to = (unsigned)min_u64(B, from + (off + len - at));
		uint8_t *bytes = block_store(o, n, at / B, from, to);

		for (unsigned i = from; i < to; i++)
			bytes[i] = fill < 0 ? 0 : fsop_byte((uint8_t)fill, at - off + (i - from));
		at += to - from;
	}
}

/* Zeroes where there is something. */
static void zero(struct oracle *o, struct onode *n, uint64_t off, uint64_t end)
{
	while (off < end) {
		uint64_t stop = min_u64((off / B + 1) * B, end);
		const struct oblock *b = block_find(n, off / B);

		if (b && b->v)
			store(o, n, off, stop - off, -1);
		off = stop;
	}
}

void data_synced(struct oracle *o, struct onode *n)
{
	for (unsigned i = 0; i < n->blocks; i++)
		n->block[i].durable = o->time;
}

static struct onode *file_of(struct oracle *o, unsigned slot)
{
	return &o->node[o->h[slot].node];
}

/* A write by somebody who is not root takes set-user-id and set-group-id away. */
static void written(struct onode *n, const struct fsop *op)
{
	if (fsop_caller[op->who].cred.uid == 0)
		return;
	n->mode &= ~(uint32_t)S_ISUID;
	if (n->mode & S_IXGRP)
		n->mode &= ~(uint32_t)S_ISGID;
}

/* --- reading and writing ---------------------------------------------------------------------------------------------
 */

static uint8_t byte_at(const struct onode *n, uint64_t off)
{
	const struct oblock *b = block_find(n, off / B);

	return b && b->v ? b->v->bytes[off % B] : 0;
}

int64_t data_read(struct oracle *o, const struct fsop *op, uint32_t *crc)
{
	const struct onode *n = file_of(o, op->h);
	uint64_t len = min_u64(op->len, FSOP_WRITE_MAX);

	if (!S_ISREG(n->mode))
		return -EISDIR;
	if (!o->h[op->h].readable)
		return -EBADF;
	len = op->off >= n->size ? 0 : min_u64(len, n->size - op->off);
	for (uint64_t i = 0; i < len; i++) {
		uint8_t c = byte_at(n, op->off + i);

		*crc = crc32c(*crc, &c, 1);
	}
	return (int64_t)len;
}

static void grow(struct oracle *o, struct onode *n, uint64_t size)
{
	uint64_t old = n->size;

	if (size <= old)
		return;
	barrier(o, n, old, min_u64(size, (old / B + 1) * B));
	n->size = size;
}

static int64_t write_at(struct oracle *o, const struct fsop *op, uint64_t off)
{
	struct onode *n = file_of(o, op->h);
	uint64_t len = min_u64(op->len, FSOP_WRITE_MAX), old = n->size;

	written(n, op);
	grow(o, n, off);
	store(o, n, off, len, op->fill);
	if (off + len > old) {
		grow(o, n, off + len);
		barrier(o, n, off > old ? off : old, off + len);
	}
	return (int64_t)len;
}

int64_t data_write(struct oracle *o, const struct fsop *op)
{
	const struct onode *n = file_of(o, op->h);

	if (!S_ISREG(n->mode))
		return -EISDIR;
	if (!o->h[op->h].writable)
		return -EBADF;
	return op->len ? write_at(o, op, o->h[op->h].append ? n->size : op->off) : 0;
}

int64_t data_direct(struct oracle *o, const struct fsop *op)
{
	if (!S_ISREG(file_of(o, op->h)->mode))
		return -EINVAL;
	if (!o->h[op->h].writable)
		return -EBADF;
	return op->len ? write_at(o, op, op->off) : -EINVAL;
}

void data_cut(struct oracle *o, struct onode *n, uint64_t size)
{
	unsigned from = (unsigned)(size % B);

	blocks_remove(n, (size + B - 1) / B, UINT64_MAX);
	if (from && size < n->size) {
		struct oblock *b = block_find(n, size / B);

		if (b && b->v && cell_refs(o, b->cell) > 1)
			cell_new(o, b);
		else if (b && b->v)
			version_push(o, b, from, LH_BLOCK_SIZE, true);
		if (b && b->v)
			memset(b->v->bytes + from, 0, LH_BLOCK_SIZE - from);
	}
	if (size > n->size)
		grow(o, n, size);
	n->size = size;
}

int64_t data_truncate(struct oracle *o, const struct fsop *op)
{
	struct onode *n = file_of(o, op->h);

	if (!S_ISREG(n->mode))
		return -EISDIR;
	if (!o->h[op->h].writable)
		return -EINVAL;
	written(n, op);
	data_cut(o, n, op->off);
	return 0;
}

/* --- fallocate
 * -------------------------------------------------------------------------------------------------------- */

static void preallocate(struct onode *n, uint64_t off, uint64_t end)
{
	for (uint64_t no = off / B; no * B < end; no++)
		if (!block_find(n, no))
			block_add(n, no);
}

static void punch(struct oracle *o, struct onode *n, uint64_t off, uint64_t end)
{
	uint64_t first = (off + B - 1) / B, last = end / B;

	if (first > last) {
		zero(o, n, off, end);
		return;
	}
	zero(o, n, off, first * B);
	zero(o, n, last * B, end);
	blocks_remove(n, first, last);
}

/* Whole blocks become unwritten, the edges zero; holes become unwritten. */
static void zero_range(struct oracle *o, struct onode *n, uint64_t off, uint64_t end)
{
	uint64_t first = (off + B - 1) / B, last = end >= n->size ? (end + B - 1) / B : end / B;

	for (uint64_t no = off / B; no * B < end; no++)
		if (!block_find(n, no))
			block_add(n, no);
	if (first >= last) {
		zero(o, n, off, end);
		return;
	}
	zero(o, n, off, first * B);
	zero(o, n, last * B, end);
	for (uint64_t no = first; no < last; no++) {
		struct oblock *b = block_find(n, no);

		version_put(b->v);
		*b = (struct oblock){.no = no};
	}
}

static int64_t collapse(struct onode *n, uint64_t off, uint64_t len)
{
	if (off % B || len % B || len == 0)
		return -EINVAL;
	if (off + len >= n->size)
		return -EINVAL;
	blocks_remove(n, off / B, (off + len) / B);
	for (unsigned i = 0; i < n->blocks; i++)
		if (n->block[i].no >= off / B)
			n->block[i].no -= len / B;
	n->size -= len;
	return 0;
}

static int64_t insert(struct onode *n, uint64_t off, uint64_t len)
{
	if (off % B || len % B || len == 0)
		return -EINVAL;
	if (off >= n->size)
		return -EINVAL;
	for (unsigned i = 0; i < n->blocks; i++)
		if (n->block[i].no >= off / B)
			n->block[i].no += len / B;
	n->size += len;
	return 0;
}

static void unshare(struct oracle *o, struct onode *n, uint64_t off, uint64_t end)
{
	for (uint64_t no = off / B; no * B < end; no++) {
		struct oblock *b = block_find(n, no);

		if (b && b->v && cell_refs(o, b->cell) > 1)
			cell_new(o, b);
	}
}

int64_t data_allocate(struct oracle *o, const struct fsop *op)
{
	struct onode *n = file_of(o, op->h);
	uint64_t end = op->off + op->len;
	int64_t err = 0;

	if (op->len == 0)
		return -EINVAL;
	if (op->flags == FALLOC_FL_PUNCH_HOLE)
		return -EOPNOTSUPP;
	if (!o->h[op->h].writable)
		return -EBADF;
	if (!S_ISREG(n->mode))
		return -EISDIR;
	switch (op->flags) {
	case 0:
	case FALLOC_FL_KEEP_SIZE:
		preallocate(n, op->off, end);
		break;
	case FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE:
		punch(o, n, op->off, end);
		break;
	case FALLOC_FL_ZERO_RANGE:
	case FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE:
		zero_range(o, n, op->off, end);
		break;
	case FALLOC_FL_COLLAPSE_RANGE:
		err = collapse(n, op->off, op->len);
		break;
	case FALLOC_FL_INSERT_RANGE:
		err = insert(n, op->off, op->len);
		break;
	case FALLOC_FL_UNSHARE_RANGE:
		preallocate(n, op->off, end);
		unshare(o, n, op->off, end);
		break;
	default:
		return -EOPNOTSUPP;
	}
	if (err)
		return err;
	written(n, op);
	if (op->flags == 0 || op->flags == FALLOC_FL_ZERO_RANGE || op->flags == FALLOC_FL_UNSHARE_RANGE)
		grow(o, n, end);
	return 0;
}

/* --- two files
 * --------------------------------------------------------------------------------------------------------- */

static bool overlap(uint64_t a, uint64_t b, uint64_t len)
{
	return a / B < (b + len + B - 1) / B && b / B < (a + len + B - 1) / B;
}

/* Blocks of src at s become those of dst at d, shared. */
static void share(struct oracle *o, struct onode *dst, uint64_t d, struct onode *src, uint64_t s, uint64_t len)
{
	uint64_t count = (len + B - 1) / B;

	blocks_remove(dst, d / B, d / B + count);
	for (uint64_t k = 0; k < count; k++) {
		struct oblock *from = block_find(src, s / B + k), *to;

		if (!from || !from->v)
			continue;
		/* I1: it is durable before the record that names it again. */
		from->was_shared = true;
		from->durable = o->time;
		to = block_add(dst, d / B + k);
		from = block_find(src, s / B + k);
		*to = *from;
		to->no = d / B + k;
		to->v->refs++;
	}
}

static int two_check(const struct oracle *o, const struct fsop *op)
{
	const struct ohandle *d = &o->h[op->h], *s = &o->h[op->h2];

	if (!S_ISREG(o->node[d->node].mode) || !S_ISREG(o->node[s->node].mode))
		return -EISDIR;
	return !s->readable || !d->writable || d->append ? -EBADF : 0;
}

int64_t data_clone(struct oracle *o, const struct fsop *op)
{
	struct onode *dst = file_of(o, op->h), *src = file_of(o, op->h2);
	uint64_t len = op->len;
	int err = two_check(o, op);

	if (err)
		return err;
	if (op->off % B || op->off2 % B)
		return -EINVAL;
	if (op->off2 > src->size || len > src->size - op->off2)
		return -EINVAL;
	if (len == 0)
		len = src->size - op->off2;
	if (len % B && (op->off2 + len != src->size || op->off + len < dst->size))
		return -EINVAL;
	if (src == dst && overlap(op->off, op->off2, len))
		return -EINVAL;
	if (len == 0)
		return 0;
	grow(o, dst, op->off);
	share(o, dst, op->off, src, op->off2, len);
	written(dst, op);
	grow(o, dst, op->off + len);
	return 0;
}

int64_t data_dedupe(struct oracle *o, const struct fsop *op)
{
	struct onode *dst = file_of(o, op->h), *src = file_of(o, op->h2);
	const struct fs_cred *c = &fsop_caller[op->who].cred;

	if (!S_ISREG(dst->mode) || !S_ISREG(src->mode))
		return -EISDIR;
	if (!o->h[op->h2].readable)
		return -EBADF;
	if (op->off % B || op->off2 % B)
		return -EINVAL;
	if (!o->h[op->h].writable && c->uid != dst->uid && oracle_may(dst, c, MAY_W))
		return -EPERM;
	if (op->off2 > src->size || op->len > src->size - op->off2 || op->off > dst->size ||
	    op->len > dst->size - op->off)
		return -EINVAL;
	if (op->len % B && (op->off2 + op->len != src->size || op->off + op->len != dst->size))
		return -EINVAL;
	if (src == dst && overlap(op->off, op->off2, op->len))
		return -EINVAL;
	for (uint64_t i = 0; i < op->len; i++)
		if (byte_at(dst, op->off + i) != byte_at(src, op->off2 + i))
			return 1;
	share(o, dst, op->off, src, op->off2, op->len);
	return 0;
}

static void blocks_renumber(struct onode *n, uint64_t first, uint64_t end, uint64_t to, struct oblock *out,
			    unsigned *count)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < n->blocks; i++) {
		if (n->block[i].no < first || n->block[i].no >= end) {
			n->block[kept++] = n->block[i];
			continue;
		}
		out[*count] = n->block[i];
		out[(*count)++].no += to - first;
	}
	n->blocks = kept;
}

int64_t data_exchange(struct oracle *o, const struct fsop *op)
{
	struct onode *a = file_of(o, op->h), *b = file_of(o, op->h2);
	uint64_t len = op->len, count = (len + B - 1) / B, fa = op->off / B, fb = op->off2 / B;
	struct oblock from_a[64], from_b[64];
	unsigned na = 0, nb = 0;

	if (!S_ISREG(a->mode) || !S_ISREG(b->mode))
		return -EISDIR;
	for (unsigned k = 0; k < 2; k++) {
		const struct ohandle *h = &o->h[k ? op->h2 : op->h];

		if (!h->readable || !h->writable || h->append)
			return -EBADF;
	}
	if (op->off % B || op->off2 % B)
		return -EINVAL;
	if (op->off > a->size || len > a->size - op->off || op->off2 > b->size || len > b->size - op->off2)
		return -EINVAL;
	if (len % B && (op->off + len != a->size || op->off2 + len != b->size))
		return -EINVAL;
	if (a == b && overlap(op->off, op->off2, len))
		return -EINVAL;
	blocks_renumber(a, fa, fa + count, fb, from_a, &na);
	blocks_renumber(b, fb, fb + count, fa, from_b, &nb);
	for (unsigned i = 0; i < nb; i++)
		*block_add(a, from_b[i].no) = from_b[i];
	for (unsigned i = 0; i < na; i++)
		*block_add(b, from_a[i].no) = from_a[i];
	if (len) {
		written(a, op);
		written(b, op);
	}
	return 0;
}

/* Through a buffer, as a read and a write. */
static void copy_bytes(struct oracle *o, struct onode *dst, uint64_t d, const struct onode *src, uint64_t s,
		       uint64_t len)
{
	uint64_t old = dst->size;
	uint8_t *bytes = must_alloc(NULL, len);

	for (uint64_t i = 0; i < len; i++)
		bytes[i] = byte_at(src, s + i);
	grow(o, dst, d);
	store(o, dst, d, len, -1);
	for (uint64_t i = 0; i < len; i++)
		block_find(dst, (d + i) / B)->v->bytes[(d + i) % B] = bytes[i];
	free(bytes);
	grow(o, dst, d + len);
	if (d + len > old)
		barrier(o, dst, d > old ? d : old, d + len);
}

/* Whole blocks that lie alike are shared, the rest is copied. */
int64_t data_copy(struct oracle *o, const struct fsop *op)
{
	struct onode *dst = file_of(o, op->h), *src = file_of(o, op->h2);
	uint64_t d = op->off, s = op->off2, left = op->len, done;
	int err = two_check(o, op);

	if (err)
		return err;
	left = s < src->size ? min_u64(left, src->size - s) : 0;
	if (src == dst && left && d < s + left && s < d + left)
		return -EINVAL;
	done = left;
	if (left)
		written(dst, op);
	while (left) {
		uint64_t n = left / B * B, into = s % B;

		o->steps++;
		if (s % B || d % B)
			n = 0;
		else if (s + left == src->size && d + left >= dst->size)
			n = left;
		if (n) {
			grow(o, dst, d);
			share(o, dst, d, src, s, n);
			grow(o, dst, d + n);
		} else {
			n = into && into == d % B ? min_u64(left, B - into) : left;
			copy_bytes(o, dst, d, src, s, n);
		}
		d += n;
		s += n;
		left -= n;
	}
	return (int64_t)done;
}

int64_t data_seek(struct oracle *o, const struct fsop *op)
{
	const struct onode *n = file_of(o, op->h);
	uint64_t no = op->off / B, next = UINT64_MAX;

	if (!S_ISREG(n->mode))
		return -EISDIR;
	if (op->flags != SEEK_DATA && op->flags != SEEK_HOLE)
		return -EINVAL;
	if (op->off >= n->size)
		return -ENXIO;
	if (op->flags == SEEK_HOLE) {
		while (block_find(n, no) && block_find(n, no)->v)
			no++;
		return (int64_t)min_u64(no * B > op->off ? no * B : op->off, n->size);
	}
	for (unsigned i = 0; i < n->blocks; i++)
		if (n->block[i].v && n->block[i].no >= no)
			next = min_u64(next, n->block[i].no);
	if (next == UINT64_MAX || next * B >= n->size)
		return -ENXIO;
	return (int64_t)(next * B > op->off ? next * B : op->off);
}
