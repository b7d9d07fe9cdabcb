/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One batch of moved blocks: look what is there, find new places, copy, one record, set the map, release the old
 * blocks. Holders are told to drain: what they wrote before they let go is copied (L10), also into blocks that only
 * memory calls zeroed.
 *
 * Shared blocks in a sweep: the first file's batch copies them; the batches of the other files only name the copy.
 * Until the pass over all files is done the sweep keeps a reference of the new blocks and, from the first file, one of
 * the old ones, so that nobody writes to either in place and both stay the same. A crash in between leaves some files
 * with the old blocks and some with the new ones: more space, nothing else.
 *
 * Blocks that cannot be read (sweep->salvage): the batch is copied block by block; the record maps the part to its new
 * place and unmaps the lost blocks again, so that both happen or neither.
 */
#include "fs/move.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/grow.h"

#define MOVE_BLOCKS 4096u /* 16 MiB a record: bounds the time under the lock */

/* --- looking ------------------------------------------------------------------------------------------------------ */

/* The next extent that is to move, cut to what is to; m->next moves over what is not. */
static bool next_extent(struct move *m, struct extent *e)
{
	while (layout_next(m->inode, m->next, m->end, e)) {
		uint64_t from = e->start, to = e->start + e->blocks;

		if (!m->sweep)
			return true;
		from = max_u64(from, m->sweep->run.start);
		to = min_u64(to, m->sweep->run.start + m->sweep->run.blocks);
		if (from < to) {
			*e = (struct extent){e->off + (from - e->start), from, to - from, e->flags};
			return true;
		}
		m->next = e->off + e->blocks;
	}
	m->next = m->end;
	return false;
}

/* They are ordered by `from`: the first that ends behind the block. */
static uint64_t kept_from(const struct sweep *s, uint64_t block)
{
	uint64_t low = 0, high = s->kept_count;

	while (low < high) {
		uint64_t mid = low + (high - low) / 2;

		if (s->kept[mid].from + s->kept[mid].blocks > block)
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

/* There is room. */
static void kept_add(struct sweep *s, struct move_kept k)
{
	uint64_t at = kept_from(s, k.from);

	memmove(&s->kept[at + 1], &s->kept[at], (s->kept_count - at) * sizeof(k));
	s->kept[at] = k;
	s->kept_count++;
}

/* The new place of an old shared block, and how far it goes; or how far there is none. */
static bool kept_find(const struct sweep *s, uint64_t from, uint64_t *to, uint64_t *blocks)
{
	uint64_t at = kept_from(s, from);
	const struct move_kept *p;

	if (at == s->kept_count)
		return false;
	p = &s->kept[at];
	if (p->from > from) {
		*blocks = min_u64(*blocks, p->from - from);
		return false;
	}
	*to = p->to + (from - p->from);
	*blocks = min_u64(*blocks, p->from + p->blocks - from);
	return true;
}

static int take_place(struct move *m, uint64_t want, uint64_t goal, struct run *out)
{
	if (!m->into)
		return blocks_take(m->fs, want, goal, out);
	if (m->into_count == 0)
		return -ENOSPC;
	*out = (struct run){m->into->start, min_u64(want, m->into->blocks)};
	m->into->start += out->blocks;
	m->into->blocks -= out->blocks;
	if (m->into->blocks == 0) {
		m->into++;
		m->into_count--;
	}
	return 0;
}

/*
 * How the extent is moved, and how far that goes.
 */
static void plan_how(struct move *m, struct move_part *p, struct extent *e, uint64_t *to)
{
	struct sweep *s = m->sweep;
	uint64_t alike = e->blocks;

	p->how = MOVE_COPY;
	if (s && m->inode->may_share) {
		if (kept_find(s, e->start, to, &e->blocks))
			p->how = MOVE_SHARE;
		else if (alloc_shared(m->fs->alloc, (struct run){e->start, e->blocks}, &alike))
			p->how = MOVE_KEEP;
		if (p->how != MOVE_SHARE)
			e->blocks = min_u64(e->blocks, alike);
	}
	e->blocks = min_u64(e->blocks, MOVE_BLOCKS - m->blocks);
}

/* A part for the extent or its beginning. e->blocks is then what the part has. */
static int plan_part(struct move *m, struct extent *e, uint64_t goal)
{
	struct move_part *p = &m->part[m->count];
	struct sweep *s = m->sweep;
	struct run r = {0, 0};
	uint64_t to = 0;
	int err;

	plan_how(m, p, e, &to);
	if (p->how == MOVE_SHARE) {
		r = (struct run){to, e->blocks};
	} else {
		err = take_place(m, e->blocks, goal, &r);
		if (err)
			return err;
	}
	if (p->how != MOVE_COPY) {
		err =
		    p->how == MOVE_KEEP ? grow(&s->kept, s->kept_count + m->count, &s->kept_room, sizeof(*s->kept)) : 0;
		if (!err)
			err = alloc_share_prepare(m->fs->alloc, r);
		if (err) {
			if (p->how == MOVE_KEEP)
				alloc_undo(m->fs->alloc, r);
			return err;
		}
	}
	e->blocks = r.blocks;
	p->to = (struct extent){e->off, r.start, r.blocks, e->flags};
	p->from = e->start;
	return 0;
}

static int plan(struct move *m)
{
	uint64_t goal = 0, end = 0;
	struct extent e;

	while (m->count < MOVE_PARTS && m->blocks < MOVE_BLOCKS && next_extent(m, &e)) {
		int err;

		/* While somebody leases the file, exactly one run of it at a time is recalled (L4). */
		if (m->sweep && m->count > 0 && e.off != end && lease_busy(&m->inode->anchor))
			return 0;
		err = plan_part(m, &e, goal);
		if (err)
			return m->count ? 0 : err;
		goal = m->part[m->count].to.start + e.blocks;
		m->count++;
		m->blocks += e.blocks;
		m->next = e.off + e.blocks;
		end = m->next;
	}
	return 0;
}

static void plan_undo(struct move *m)
{
	for (unsigned k = 0; k < m->count; k++) {
		const struct move_part *p = &m->part[k];
		struct run r = {p->to.start, p->to.blocks};

		if (p->how != MOVE_COPY)
			alloc_share_cancel(m->fs->alloc, r);
		if (p->how != MOVE_SHARE)
			alloc_undo(m->fs->alloc, r);
	}
	m->count = 0;
	m->blocks = 0;
}

static struct range plan_range(const struct move *m)
{
	const struct extent *first = &m->part[0].to, *last = &m->part[m->count - 1].to;

	return block_range(first->off, last->off + last->blocks - first->off);
}

/* --- copying ------------------------------------------------------------------------------------------------------ */

static int lost_add(struct move *m, uint64_t off)
{
	struct move_loss *last = m->lost_count ? &m->lost[m->lost_count - 1] : NULL;
	int err;

	if (last && last->off + last->blocks == off) {
		last->blocks++;
		return 0;
	}
	err = grow(&m->lost, m->lost_count, &m->lost_room, sizeof(*m->lost));
	if (!err)
		m->lost[m->lost_count++] = (struct move_loss){ino_of(m->inode), off, 1};
	return err;
}

/* What of the part can be read. -EIO: the new place is bad. */
static int copy_salvage(struct move *m, struct move_part *p)
{
	struct pool *pool = m->fs->pool;
	bool lost = false;
	int err = 0;

	for (uint64_t k = 0; !err && k < p->to.blocks; k++) {
		uint64_t at = block_bytes(p->from + k), fault = 0;

		pool_copy(pool, block_bytes(p->to.start + k), at, LH_BLOCK_SIZE);
		if (likely(!pool_faulted(pool, &fault)))
			continue;
		err = pool_fault(pool);
		if (fault < at || fault >= at + LH_BLOCK_SIZE)
			return err;
		lost = true;
		err = lost_add(m, p->to.off + k);
	}
	/* The others that share it will find the same. */
	if (lost && p->how == MOVE_KEEP) {
		alloc_share_cancel(m->fs->alloc, (struct run){p->to.start, p->to.blocks});
		p->how = MOVE_COPY;
	}
	return err;
}

static int copy_parts(struct move *m)
{
	int err = 0;

	for (unsigned k = 0; !err && k < m->count; k++) {
		struct move_part *p = &m->part[k];
		const struct extent *e = &p->to;

		if (e->flags == EXT_UNWRITTEN || p->how == MOVE_SHARE)
			continue;
		pool_copy(m->fs->pool, block_bytes(e->start), block_bytes(p->from), block_bytes(e->blocks));
		err = pool_fault(m->fs->pool);
		if (unlikely(err) && m->sweep && m->sweep->salvage)
			err = copy_salvage(m, p);
		if (unlikely(err))
			return err == -EIO ? media_error(m->inode, block_bytes(e->off), block_bytes(e->blocks)) : err;
		if (!(e->flags & EXT_UNWRITTEN))
			journal_data(m->fs->journal, block_bytes(e->start), block_bytes(e->blocks));
	}
	return err;
}

/* --- committing --------------------------------------------------------------------------------------------------- */

static int commit(struct move *m, uint64_t *seq)
{
	struct jtxn t;
	int err;

	jtxn_init(&t);
	/* Space is given back, for every block that is taken: a full pool can be moved too. */
	t.frees = true;
	jtxn_inode(&t, &m->inode->attr);
	for (unsigned k = 0; k < m->count; k++) {
		struct extent e = m->part[k].to;

		e.flags &= EXT_UNWRITTEN;
		jtxn_map(&t, ino_of(m->inode), &e);
	}
	for (uint64_t k = 0; k < m->lost_count; k++)
		jtxn_unmap(&t, ino_of(m->inode), m->lost[k].off, m->lost[k].blocks);
	err = commit_content(m->fs, &t, seq);
	jtxn_fini(&t);
	return err;
}

/* The new blocks behind what was lost: no record names them, no key reached them. */
static void undo_lost(struct move *m)
{
	for (uint64_t k = 0; k < m->lost_count; k++) {
		const struct move_loss *l = &m->lost[k];
		uint64_t b = l->off;
		struct extent e;

		while (layout_next(m->inode, b, l->off + l->blocks, &e)) {
			alloc_undo(m->fs->alloc, (struct run){e.start, e.blocks});
			b = e.off + e.blocks;
		}
		extmap_clear(&m->inode->map, l->off, l->blocks);
	}
}

/* Cannot fail. */
static void apply(struct move *m, struct change *c, uint64_t seq)
{
	struct alloc *a = m->fs->alloc;
	struct inode *i = m->inode;
	struct sweep *s = m->sweep;

	for (unsigned k = 0; k < m->count; k++) {
		const struct move_part *p = &m->part[k];
		struct run r = {p->to.start, p->to.blocks};

		extmap_set(&i->map, &p->to);
		if (p->how != MOVE_COPY)
			alloc_share(a, r);
		if (p->how == MOVE_KEEP)
			kept_add(s, (struct move_kept){p->from, r.start, r.blocks});
		else
			alloc_release(a, &c->gone, (struct run){p->from, r.blocks}, seq);
	}
	undo_lost(m);
	for (uint64_t k = 0; k < m->lost_count; k++)
		s->losses[s->loss_count++] = m->lost[k];
	if (m->lost_count)
		inode_changed(m->fs, i, CHANGED_DATA, NULL);
	if (i->may_share)
		hazard_note(m->fs, seq);
}

static int losses_reserve(struct move *m)
{
	struct sweep *s = m->sweep;
	int err = 0;

	if (m->lost_count == 0)
		return 0;
	while (!err && s->loss_room < s->loss_count + m->lost_count)
		err = grow(&s->losses, s->loss_room, &s->loss_room, sizeof(*s->losses));
	return err ? err : extmap_reserve(&m->inode->map, (unsigned)(m->count + m->lost_count));
}

int move_batch(struct move *m)
{
	struct inode *i = m->inode;
	uint64_t extents = i->map.extents;
	uint64_t first = m->next;
	struct change c = {0};
	uint64_t seq;
	int err;

	m->count = 0;
	m->blocks = 0;
	m->lost_count = 0;
	err = plan(m);
	if (err || m->count == 0)
		return err;
	m->need = (struct gate_need){plan_range(m), MOVE_MODES, LEASE_FOR_RELOCATE, LEASE_DRAIN};
	err = layout_check(m->gate, i, &m->need, m->who);
	if (!err)
		err = extmap_reserve(&i->map, m->count);
	if (!err)
		err = change_begin(&c, m->fs, i, m->need.range, m->who);
	if (!err)
		err = copy_parts(m);
	if (!err)
		err = losses_reserve(m);
	if (!err)
		err = commit(m, &seq);
	if (!err) {
		apply(m, &c, seq);
		walk_account(m->fs, ((int64_t)i->map.extents - (int64_t)extents) * WALK_EXTENT_BYTES);
	} else {
		plan_undo(m);
		m->next = first;
	}
	change_end(&c);
	return err;
}

void move_fini(struct move *m)
{
	free(m->lost);
	m->lost = NULL;
}
