/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Writing a repaired pool: chunks, header, then the root word, then superblocks.
 *
 *   1. chunks and header go into blocks in which nothing lies: no extent, no metadata, sound or not. Durable.
 *   2. root word: one store. From here on the repaired state is the pool
 *   3. the copy of the superblock, if it was bad: durable before
 *   4. block 0, if it was bad
 *
 * Crash before 2: everything is as it was, and repair finds the same again (a header that is complete is found by a
 * scan too, and is as good). Crash behind it: what names the pool is what was there, or is the copy; repair does the
 * rest again.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/error.h"
#include "tools/repair.h"
#include "tools/salvage.h"

#define BATCH_BYTES (64u << 10)

struct writer {
	struct repair *r;
	struct pool *pool;
	struct super super;
	struct runs gaps; /* by size, the largest first */
	uint64_t gap_at;
	uint8_t *buf; /* the chunk under construction */
	struct chunk_head chunk;
	bool open;
	struct run first;
	uint64_t number, bytes, items;
	uint32_t chunks;
};

/* --- room ----------------------------------------------------------------------------------------------------------
 */

static int used_extents(const struct repair *r, struct runs *used)
{
	struct extent e;
	int err = 0;

	for (struct fsck_inode *i = fsck_inode_first(r->s); err == 0 && i != NULL; i = fsck_inode_next(i)) {
		for (uint64_t at = 0; err == 0 && extmap_find(&i->map, at, &e); at = e.off + e.blocks)
			err = runs_add(used, (struct run){e.start, e.blocks}, "extent");
	}
	for (uint64_t at = 0; err == 0 && extmap_find(&r->s->bad, at, &e); at = e.off + e.blocks)
		err = runs_add(used, (struct run){e.start, e.blocks}, "bad blocks");
	return err;
}

static int used_collect(const struct repair *r, struct runs *used)
{
	const struct salvage *s = r->f->salvage;
	int err = used_extents(r, used);

	for (uint64_t i = 0; err == 0 && i < r->f->meta.count; i++)
		err = runs_add(used, r->f->meta.list[i].run, r->f->meta.list[i].what);
	/* Whatever looks like metadata: a second repair may want it. */
	for (uint64_t i = 0; err == 0 && s != NULL && i < s->found_count; i++)
		err = runs_add(used, (struct run){s->found[i].block, 1}, "found");
	if (err == 0)
		runs_sort(used);
	return err;
}

static int gap_cmp(const void *pa, const void *pb)
{
	const struct runs_one *a = pa, *b = pb;

	if (a->run.blocks != b->run.blocks)
		return a->run.blocks > b->run.blocks ? -1 : 1;
	return a->run.start < b->run.start ? -1 : a->run.start > b->run.start;
}

static int gaps_collect(struct writer *w)
{
	uint64_t at = 0, from = 1, end = w->super.blocks - 1;
	struct runs used = {0};
	struct run gap;
	int err = used_collect(w->r, &used);

	while (err == 0 && runs_gap(&used, &at, &from, end, FORMAT_CHUNK_BLOCKS_MAX, &gap))
		err = runs_add(&w->gaps, gap, "gap");
	runs_fini(&used);
	if (err == 0 && w->gaps.count > 0)
		qsort(w->gaps.list, w->gaps.count, sizeof(w->gaps.list[0]), gap_cmp);
	return err;
}

static int gap_take(struct writer *w, struct run *out)
{
	if (w->gap_at == w->gaps.count)
		return fail(-ENOSPC, "pool %s: no room for a repaired checkpoint; nothing was changed", w->pool->name);
	*out = w->gaps.list[w->gap_at++].run;
	return 0;
}

/* --- chunks --------------------------------------------------------------------------------------------------------
 */

static int bytes_store(struct writer *w, uint64_t block, const void *bytes, uint64_t len)
{
	pool_store(w->pool, block << LH_BLOCK_SHIFT, bytes, len);
	return pool_sync(w->pool, block << LH_BLOCK_SHIFT, len);
}

static int chunk_store(struct writer *w, const struct run *next)
{
	w->chunk.next_start = next != NULL ? next->start : 0;
	w->chunk.next_blocks = next != NULL ? (uint32_t)next->blocks : 0;
	chunk_seal(&w->chunk, w->buf);
	w->bytes += w->chunk.bytes;
	w->items += w->chunk.items;
	w->chunks++;
	return bytes_store(w, w->chunk.block, w->buf, sizeof(struct m_chunk) + w->chunk.bytes);
}

static int chunk_next(struct writer *w)
{
	struct run run;
	int err = gap_take(w, &run);

	if (err == 0 && w->open)
		err = chunk_store(w, &run);
	if (err != 0)
		return err;
	if (!w->open)
		w->first = run;
	w->chunk = (struct chunk_head){.block = run.start,
				       .blocks = (uint32_t)run.blocks,
				       .number = w->number,
				       .index = w->open ? w->chunk.index + 1 : 0};
	w->open = true;
	return 0;
}

static int item_put(struct writer *w, const uint8_t *bytes, uint32_t len)
{
	int err = 0;

	if (len > FORMAT_CHUNK_BLOCKS_MAX * LH_BLOCK_SIZE - sizeof(struct m_chunk))
		return -EOVERFLOW;
	while (err == 0 &&
	       (!w->open || w->chunk.blocks * LH_BLOCK_SIZE - sizeof(struct m_chunk) - w->chunk.bytes < len))
		err = chunk_next(w);
	if (err != 0)
		return err;
	memcpy(w->buf + sizeof(struct m_chunk) + w->chunk.bytes, bytes, len);
	w->chunk.bytes += len;
	w->chunk.items++;
	return 0;
}

static int items_put(struct writer *w, struct jtxn *t)
{
	uint32_t at = sizeof(struct m_record);
	int err = t->error;

	while (err == 0 && at < t->len) {
		struct m_item m;

		memcpy(&m, t->buf + at, sizeof(m));
		err = item_put(w, t->buf + at, le16_to(m.it_length));
		at += le16_to(m.it_length);
	}
	t->len = sizeof(struct m_record);
	t->items = 0;
	return err;
}

static int inode_put(struct writer *w, struct jtxn *t, struct fsck_inode *i)
{
	struct fsck_entry *e = fsck_entry_from(w->r->s, i->ino, 0);
	struct extent x;
	int err = 0;

	jtxn_inode(t, &i->attr);
	if (i->target != NULL)
		jtxn_symlink(t, i->ino, i->target, i->target_len);
	for (const struct fsck_xattr *a = i->xattrs; err == 0 && a != NULL; a = a->next) {
		jtxn_xattr(t, i->ino, (const char *)a->bytes, a->name_len, a->bytes + a->name_len, a->value_len);
		err = t->len > BATCH_BYTES ? items_put(w, t) : 0;
	}
	for (uint64_t at = 0; err == 0 && extmap_find(&i->map, at, &x); at = x.off + x.blocks) {
		jtxn_map(t, i->ino, &x);
		err = t->len > BATCH_BYTES ? items_put(w, t) : 0;
	}
	for (; err == 0 && e != NULL && e->dir == i->ino; e = fsck_entry_next(e)) {
		jtxn_dirent(t, e->dir, e->cookie, e->ino, e->dtype, e->name, e->len);
		err = t->len > BATCH_BYTES ? items_put(w, t) : 0;
	}
	return err;
}

static int state_put(struct writer *w)
{
	uint64_t done = 0;
	struct jtxn t;
	struct extent x;
	int err = 0;

	jtxn_init(&t);
	for (struct fsck_inode *i = fsck_inode_first(w->r->s); err == 0 && i != NULL; i = fsck_inode_next(i)) {
		err = inode_put(w, &t, i);
		if (err == 0 && t.len > BATCH_BYTES)
			err = items_put(w, &t);
		fsck_progress(w->r->f, "writing inodes", ++done, w->r->f->inode_count);
	}
	for (struct fsck_limit *l = fsck_limit_first(w->r->s); l != NULL; l = fsck_limit_next(l))
		jtxn_limit(&t, l->kind, l->id, l->root, l->blocks, l->inodes);
	for (uint64_t at = 0; extmap_find(&w->r->s->bad, at, &x); at = x.off + x.blocks)
		jtxn_bad(&t, (struct run){x.start, x.blocks}, false);
	if (err == 0)
		err = items_put(w, &t);
	jtxn_fini(&t);
	return err == 0 && w->open ? chunk_store(w, NULL) : err;
}

/* --- header, superblocks -------------------------------------------------------------------------------------------
 */

static void head_fill(const struct writer *w, struct checkpoint_head *h)
{
	const struct salvage *s = w->r->f->salvage;
	const struct scan *scan = &w->r->f->scan;
	uint64_t next_seq = s != NULL ? s->next_seq : scan->end_seq;

	memcpy(h->uuid, w->super.uuid, sizeof(h->uuid));
	h->number = h->chunk_number = w->number;
	h->flags = CHECKPOINT_CLEAN;
	h->must_seq = next_seq > 0 ? next_seq - 1 : 0;
	h->log_seq = h->must_seq + 1;
	h->log_generation = s != NULL ? s->generation : scan->end_generation;
	h->log_salt = s != NULL ? s->salt : scan->end_salt;
	h->next_ino = w->r->next_ino;
	h->chunk_start = w->first.start;
	h->chunk_blocks = (uint32_t)w->first.blocks;
	h->chunks = w->chunks;
	h->bytes = w->bytes;
	h->items = w->items;
}

static int block_store(struct writer *w, uint64_t block, const void *bytes, uint64_t len)
{
	uint8_t whole[LH_BLOCK_SIZE] = {0};

	memcpy(whole, bytes, len);
	return bytes_store(w, block, whole, sizeof(whole));
}

/* 1 */
static int checkpoint_write(struct writer *w, uint64_t *where)
{
	struct checkpoint_head h = {0};
	struct m_checkpoint m;
	struct run run;
	int err = gaps_collect(w);

	/* The smallest gap is good for the header. */
	if (err == 0 && w->gaps.count == 0)
		err = gap_take(w, &run);
	if (err == 0) {
		struct runs_one *last = &w->gaps.list[w->gaps.count - 1];

		h.block = last->run.start;
		last->run.start++;
		if (--last->run.blocks == 0)
			w->gaps.count--;
		err = state_put(w);
	}
	if (err != 0)
		return err;
	head_fill(w, &h);
	checkpoint_encode(&h, &m);
	*where = h.block;
	return block_store(w, h.block, &m, sizeof(m));
}

static int super_write(struct writer *w, uint32_t copy, uint64_t root)
{
	uint64_t block = copy != 0 ? w->super.blocks - 1 : 0;
	uint8_t bytes[LH_BLOCK_SIZE];
	le64 word = root_encode(w->super.uuid, root);

	super_block_encode(&w->super, copy, bytes);
	if (copy == 0)
		memcpy(bytes + FORMAT_ROOT_OFFSET, &word, sizeof(word));
	repair_say(w->r, REPAIR_CHANGED, copy != 0 ? "last block" : "block 0", "the superblock%s is written anew",
		   copy != 0 ? "'s copy" : "");
	return bytes_store(w, block, bytes, sizeof(bytes));
}

static bool pool_has_uuid(const struct super *s)
{
	uint8_t any = 0;

	for (unsigned i = 0; i < sizeof(s->uuid); i++)
		any |= s->uuid[i];
	return any != 0;
}

int repair_write(struct repair *r)
{
	const struct salvage *s = r->f->salvage;
	struct writer w = {.r = r, .pool = r->f->pool, .super = s != NULL ? s->super : r->f->scan.super};
	bool super_bad = s != NULL && s->super_bad, copy_bad = s != NULL ? s->copy_bad : r->f->scan.copy_bad;
	const struct checkpoint_head *old = s != NULL ? &s->head : &r->f->scan.head;
	uint64_t root = old->block, there = w.pool->size >> LH_BLOCK_SHIFT;
	bool anew = repair_needs_checkpoint(r);
	int err = 0;

	/* A pool that was cut has as many blocks as are left. */
	if (w.super.blocks > there)
		w.super.blocks = there;
	if (!pool_has_uuid(&w.super) && getrandom(w.super.uuid, sizeof(w.super.uuid), 0) < 0)
		return fail(-EIO, "no random numbers for the pool's identity");
	w.number = old->number + 1;
	if (anew && (w.number >= (uint64_t)INT64_MAX || r->next_ino >= (uint64_t)INT64_MAX))
		return fail(-EOVERFLOW, "pool %s: numbers of checkpoints are used up", w.pool->name);
	w.buf = calloc(FORMAT_CHUNK_BLOCKS_MAX, LH_BLOCK_SIZE);
	if (w.buf == NULL)
		return -ENOMEM;
	if (anew)
		err = checkpoint_write(&w, &root);
	if (err == 0 && anew)
		err = pool_publish(w.pool, FORMAT_ROOT_OFFSET, root_encode(w.super.uuid, root));
	if (err == 0 && copy_bad)
		err = super_write(&w, 1, root);
	if (err == 0 && super_bad)
		err = super_write(&w, 0, root);
	if (err == 0)
		err = pool_sync_all(w.pool);
	runs_fini(&w.gaps);
	free(w.buf);
	return err;
}
