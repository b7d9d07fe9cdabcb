/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Making blocks: writes into holes, unwritten and shared blocks, preallocation, and what a WRITE lease needs.
 *
 * A batch is: look at the blocks in front of pos, allocate what is missing, fill it, flush it (I1), write one record,
 * set the map, release what was replaced. While somebody leases the file a batch has at most one run that changes, so
 * that exactly that run is recalled (L4).
 *
 * In place data is stored before the record; a crash may leave a part of it. Everything else of a batch is whole or
 * absent.
 */
#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "fs/layout.h"
#include "fs/limit.h"
#include "fs/perm.h"

#define BATCH_PARTS  48u
#define BATCH_BLOCKS 16384u /* 64 MiB: bounds a record's data and the time under the lock */

enum part_kind {
	PART_SKIP,   /* as it should be */
	PART_KEEP,   /* store in place */
	PART_EXPOSE, /* zero in memory, beyond end of file: nothing for the log */
	PART_WRITE,  /* unwritten becomes written */
	PART_FILL,   /* hole becomes blocks */
	PART_COPY    /* shared blocks become own ones */
};

struct part {
	enum part_kind kind;
	struct extent e;    /* as it will be */
	uint64_t old_start; /* COPY */
	bool valid;         /* WRITE: memory holds the content already */
};

struct batch {
	struct store *s;
	struct part part[BATCH_PARTS];
	unsigned count;
	uint64_t next; /* block */
	struct gate_need need;
	struct inode_attr attr; /* as it will be */
	struct change change;
	bool changes_layout, records, grows, in_place, fills; /* fills: what was unwritten */
};

/* --- looking ------------------------------------------------------------------------------------------------------ */

static enum part_kind kind_of_hole(const struct store *s)
{
	return s->kind == STORE_ZEROES ? PART_SKIP : PART_FILL;
}

static enum part_kind kind_of_unwritten(const struct store *s, const struct extent *e, bool inside)
{
	bool zeroed = e->flags & EXT_ZEROED;

	switch (s->kind) {
	case STORE_DATA:
		return PART_WRITE;
	case STORE_ZEROES:
		return zeroed ? PART_KEEP : PART_SKIP;
	case STORE_RESERVE:
	case STORE_UNSHARE:
		return PART_SKIP;
	case STORE_LEASE:
		if (inside)
			return PART_WRITE;
		return zeroed ? PART_SKIP : PART_EXPOSE;
	}
	return PART_SKIP;
}

static enum part_kind kind_of_written(const struct store *s, struct extent *e)
{
	uint64_t alike;

	if (s->kind == STORE_RESERVE)
		return PART_SKIP;
	if (s->inode->may_share) {
		if (alloc_shared(s->fs->alloc, (struct run){e->start, e->blocks}, &alike)) {
			e->blocks = alike;
			return PART_COPY;
		}
		e->blocks = alike;
	}
	return s->kind == STORE_LEASE || s->kind == STORE_UNSHARE ? PART_SKIP : PART_KEEP;
}

/* The piece that starts at block b, alike in all that matters, up to `end`. e: old extent; of a hole, off and blocks.
 */
static enum part_kind look(const struct store *s, uint64_t b, uint64_t end, struct extent *e)
{
	uint64_t eof = block_up(s->inode->attr.size);

	if (s->kind == STORE_LEASE && b < eof && eof < end)
		end = eof;
	if (!extmap_find(&s->inode->map, b, e))
		e->off = end;
	if (e->off > b) {
		*e = (struct extent){.off = b, .blocks = min_u64(e->off, end) - b};
		return kind_of_hole(s);
	}
	e->start += b - e->off;
	e->blocks = min_u64(e->off + e->blocks, end) - b;
	e->off = b;
	if (e->flags & EXT_UNWRITTEN)
		return kind_of_unwritten(s, e, b < eof);
	return kind_of_written(s, e);
}

/* --- planning ----------------------------------------------------------------------------------------------------- */

static uint64_t goal_before(const struct inode *i, uint64_t block)
{
	struct extent e;

	if (block == 0 || !extmap_find(&i->map, block - 1, &e) || e.off > block - 1)
		return 0;
	return e.start + (block - e.off);
}

static uint32_t flags_of_fill(const struct store *s, uint64_t block)
{
	switch (s->kind) {
	case STORE_DATA:
	case STORE_ZEROES:
		return 0;
	case STORE_RESERVE:
	case STORE_UNSHARE:
		return EXT_UNWRITTEN;
	case STORE_LEASE:
		return block < block_up(s->inode->attr.size) ? 0 : EXT_UNWRITTEN | EXT_ZEROED;
	}
	return 0;
}

/* Blocks for a hole or a shared run; as many parts as the allocator makes of it. b->next moves on. */
static int take_blocks(struct batch *b, enum part_kind kind, const struct extent *old)
{
	struct store *s = b->s;
	uint64_t done = 0;
	uint64_t goal =
	    b->count ? b->part[b->count - 1].e.start + b->part[b->count - 1].e.blocks : goal_before(s->inode, old->off);

	while (done < old->blocks && b->count < BATCH_PARTS) {
		struct part *p = &b->part[b->count];
		uint64_t want = old->blocks - done;
		struct run r;
		int err = kind == PART_FILL ? limit_blocks(s->fs, s->inode, want, &want) : 0;

		if (!err)
			err = s->promised ? blocks_take_promised(s->fs, want, goal, &r)
					  : blocks_take(s->fs, want, goal, &r);
		if (err)
			return done ? 0 : err;
		*p = (struct part){.kind = kind, .e = {.off = old->off + done, .start = r.start, .blocks = r.blocks}};
		p->old_start = old->start + done;
		p->e.flags = kind == PART_COPY ? 0 : flags_of_fill(s, p->e.off);
		b->count++;
		done += r.blocks;
		goal = r.start + r.blocks;
		b->next = old->off + done;
	}
	return 0;
}

static struct gate_need need_of(const struct store *s, enum part_kind kind, const struct extent *e)
{
	enum lease_reason copies = s->kind == STORE_UNSHARE ? LEASE_FOR_UNSHARE : LEASE_FOR_COPY_ON_WRITE;

	return (struct gate_need){block_range(e->off, e->blocks), LEASE_ANY_MODE | s->spare,
				  kind == PART_COPY ? copies : LEASE_FOR_ALLOCATE, LEASE_DRAIN};
}

/* 0 and whether to go on; NEED_GATE: others must be broken first. */
static int plan_one(struct batch *b, uint64_t end, bool *more)
{
	struct store *s = b->s;
	struct extent e;
	enum part_kind kind = look(s, b->next, end, &e);
	int err;

	*more = true;
	switch (kind) {
	case PART_SKIP:
		b->next = e.off + e.blocks;
		return 0;
	case PART_KEEP:
	case PART_EXPOSE:
	case PART_WRITE:
		b->part[b->count] = (struct part){.kind = kind, .e = e, .valid = e.flags & EXT_ZEROED};
		if (kind == PART_WRITE)
			b->part[b->count].e.flags = 0;
		if (kind == PART_EXPOSE)
			b->part[b->count].e.flags |= EXT_ZEROED;
		b->count++;
		b->next = e.off + e.blocks;
		return 0;
	case PART_FILL:
	case PART_COPY:
		break;
	}
	b->need = need_of(s, kind, &e);
	err = layout_check(s->gate, s->inode, &b->need, s->who);
	if (err) {
		*more = false;
		return b->count ? 0 : err;
	}
	err = take_blocks(b, kind, &e);
	*more = !err && !lease_busy(&s->inode->anchor);
	return err && b->count ? 0 : err;
}

static void undo_blocks(struct batch *b)
{
	for (unsigned k = 0; k < b->count; k++) {
		const struct part *p = &b->part[k];

		if (p->kind == PART_FILL || p->kind == PART_COPY)
			alloc_undo(b->s->fs->alloc, (struct run){p->e.start, p->e.blocks});
	}
}

static int plan(struct batch *b)
{
	struct store *s = b->s;
	uint64_t first = block_of(s->pos);
	uint64_t end = min_u64(block_up(s->end), first + BATCH_BLOCKS);
	bool more = true;
	int err = 0;

	b->next = first;
	while (!err && more && b->next < end && b->count < BATCH_PARTS)
		err = plan_one(b, end, &more);
	return err;
}

/* --- filling ------------------------------------------------------------------------------------------------------ */

/* The bytes of the part that the caller's data covers. */
static struct range part_bytes(const struct store *s, const struct part *p)
{
	return range_cut((struct range){s->pos, s->end}, block_range(p->e.off, p->e.blocks));
}

/* What surrounds the caller's bytes in a new block: zeroes, or what was there. */
static void fill_edge(struct store *s, const struct part *p, uint64_t from, uint64_t to)
{
	uint64_t into = from - block_bytes(p->e.off);

	if (from >= to || p->valid)
		return;
	if (p->kind == PART_COPY)
		pool_copy(s->fs->pool, block_bytes(p->e.start) + into, block_bytes(p->old_start) + into, to - from);
	else
		pool_zero(s->fs->pool, block_bytes(p->e.start) + into, to - from);
}

static void fill_part(struct store *s, const struct part *p)
{
	struct pool *pool = s->fs->pool;
	struct range whole = block_range(p->e.off, p->e.blocks);
	struct range mine = part_bytes(s, p);
	uint64_t at = block_bytes(p->e.start);

	if (s->kind == STORE_RESERVE || (s->kind == STORE_UNSHARE && p->kind != PART_COPY))
		return;
	if (s->kind == STORE_LEASE || s->kind == STORE_UNSHARE) {
		fill_edge(s, p, whole.start, whole.end);
		return;
	}
	if (p->kind != PART_KEEP) {
		fill_edge(s, p, whole.start, mine.start);
		fill_edge(s, p, mine.end, whole.end);
	}
	if (s->kind == STORE_DATA)
		pool_store(pool, at + (mine.start - whole.start), s->src + (mine.start - s->pos),
			   mine.end - mine.start);
	else
		pool_zero(pool, at + (mine.start - whole.start), mine.end - mine.start);
}

/* I1: what the record will name is durable first. Bytes in place wait for fsync, unless the size starts to cover them.
 */
static void flush_part(struct batch *b, const struct part *p)
{
	struct store *s = b->s;
	struct range mine = part_bytes(s, p);

	switch (p->kind) {
	case PART_SKIP:
	case PART_EXPOSE:
		return;
	case PART_KEEP:
		if (b->grows)
			journal_data(s->fs->journal, block_bytes(p->e.start) + (mine.start - block_bytes(p->e.off)),
				     mine.end - mine.start);
		else
			inode_dirty(s->inode, mine.start, mine.end);
		return;
	case PART_WRITE:
	case PART_FILL:
	case PART_COPY:
		if (!(p->e.flags & EXT_UNWRITTEN))
			journal_data(s->fs->journal, block_bytes(p->e.start), block_bytes(p->e.blocks));
		return;
	}
}

/* --- committing --------------------------------------------------------------------------------------------------- */

static void attr_after(struct batch *b)
{
	struct store *s = b->s;
	uint64_t reached = min_u64(s->end, block_bytes(b->next));

	b->attr = s->inode->attr;
	if (s->kind != STORE_DATA)
		return;
	b->attr.mtime_ns = time_now();
	b->attr.ctime_ns = b->attr.mtime_ns;
	b->grows = reached > b->attr.size;
	if (b->grows)
		b->attr.size = reached;
	b->attr.mode = mode_after_write(&b->attr, &s->who->cred);
}

static void look_at_changes(struct batch *b)
{
	struct range hull = {RANGE_MAX, 0};

	attr_after(b);
	b->records = b->grows || b->attr.mode != b->s->inode->attr.mode;
	for (unsigned k = 0; k < b->count; k++) {
		const struct part *p = &b->part[k];
		struct range r = block_range(p->e.off, p->e.blocks);

		b->records |= p->kind >= PART_WRITE;
		b->in_place |= p->kind == PART_KEEP;
		b->fills |= p->kind == PART_WRITE;
		if (p->kind < PART_FILL)
			continue;
		b->changes_layout = true;
		hull = (struct range){min_u64(hull.start, r.start), max_u64(hull.end, r.end)};
	}
	b->change.range = hull;
}

static int commit(struct batch *b, uint64_t *seq)
{
	struct jtxn t;
	int err;

	jtxn_init(&t);
	t.frees = b->s->promised;
	jtxn_inode(&t, &b->attr);
	for (unsigned k = 0; k < b->count; k++) {
		struct extent e = b->part[k].e;

		e.flags &= EXT_UNWRITTEN;
		if (b->part[k].kind >= PART_WRITE)
			jtxn_map(&t, b->attr.ino, &e);
	}
	err = commit_content(b->s->fs, &t, seq);
	jtxn_fini(&t);
	return err;
}

/* Cannot fail. */
static void apply(struct batch *b, uint64_t seq)
{
	struct store *s = b->s;
	struct inode *i = s->inode;
	uint64_t extents = i->map.extents;

	for (unsigned k = 0; k < b->count; k++) {
		const struct part *p = &b->part[k];

		if (p->kind >= PART_EXPOSE)
			extmap_set(&i->map, &p->e);
		if (p->kind == PART_COPY)
			alloc_release(s->fs->alloc, &b->change.gone, (struct run){p->old_start, p->e.blocks}, seq);
		if (p->kind == PART_COPY)
			hazard_note(s->fs, seq);
	}
	walk_account(s->fs, ((int64_t)i->map.extents - (int64_t)extents) * WALK_EXTENT_BYTES);
	if (s->kind == STORE_DATA || b->records) {
		inode_attr_set(s->fs, i, &b->attr, CHANGED_NOTHING, NULL); /* carry_out has told */
		atomic_store_explicit(&i->lazy, !b->records, memory_order_relaxed);
	}
}

/* What was planned, as one record at most. */
static int carry_out(struct batch *b)
{
	struct store *s = b->s;
	uint64_t seq = 0;
	int err = extmap_reserve(&s->inode->map, b->count);

	if (err)
		goto undo;
	look_at_changes(b);
	if (b->changes_layout || b->fills)
		err = layout_extents_fit(s->fs, s->inode->map.extents + b->count);
	if (b->in_place && !err && s->end > s->inode->attr.size)
		err = hazard_settle(s->fs);
	if ((b->in_place || b->fills) && !err)
		err = hazard_settle_in_place(s->fs, s->inode);
	if (err)
		goto undo;
	if (b->changes_layout)
		err = change_begin(&b->change, s->fs, s->inode, b->change.range, s->who);
	if (err)
		goto undo;
	for (unsigned k = 0; k < b->count; k++) {
		fill_part(s, &b->part[k]);
		flush_part(b, &b->part[k]);
	}
	/* Also when it fails from here on: what was stored in place is there. */
	if (s->kind == STORE_DATA || s->kind == STORE_ZEROES)
		inode_changed(s->fs, s->inode, CHANGED_DATA, s->who);
	if (unlikely(pool_fault(s->fs->pool)))
		err = media_error(s->inode, s->pos, s->end - s->pos);
	if (!err && b->records)
		err = commit(b, &seq);
	if (!err)
		apply(b, seq);
	if (b->changes_layout)
		change_end(&b->change);
	if (!err)
		return 0;
undo:
	undo_blocks(b);
	return err;
}

static int wait_for_others(struct store *s, const struct gate_need *need)
{
	int err;

	rwlock_drop(&s->inode->lock);
	err = gate_break(s->gate, s->fs, s->inode, need, s->who);
	rwlock_take_write(&s->inode->lock);
	s->dropped = true;
	return err ? err : inode_stale(s->inode);
}

static int run_batch(struct store *s)
{
	struct batch b;
	uint64_t reached;
	int err;

	b.s = s;
	b.count = 0;
	b.changes_layout = b.records = b.grows = b.in_place = b.fills = false;
	err = plan(&b);
	if (err == NEED_GATE)
		return wait_for_others(s, &b.need);
	if (!err && b.count)
		err = carry_out(&b);
	limit_settle(s->fs, s->inode);
	if (err)
		return err;
	reached = min_u64(s->end, block_bytes(b.next));
	if (s->kind == STORE_DATA)
		s->src += reached - s->pos;
	s->pos = reached;
	s->started = true;
	return 0;
}

/*
 * The hull of what changes in [first, end) while others lease it; empty: nothing does. -ETXTBSY, -EDEADLK: some of it
 * may not change.
 */
static int conflicts(const struct store *s, uint64_t first, uint64_t end, struct range *hull)
{
	*hull = (struct range){RANGE_MAX, 0};
	for (uint64_t b = first; b < end;) {
		struct extent e;
		enum part_kind kind = look(s, b, end, &e);
		struct gate_need need = need_of(s, kind, &e);
		int found = kind < PART_FILL ? 0 : layout_check(s->gate, s->inode, &need, s->who);

		if (found < 0)
			return found;
		b = e.off + e.blocks;
		if (!found)
			continue;
		hull->start = min_u64(hull->start, need.range.start);
		hull->end = need.range.end;
	}
	return 0;
}

/*
 * INODE exclusive. The record goes to where the file ends now, and INODE is not dropped until all of it is there:
 * whoever leases what changes for it is broken beforehand, or another appender would come between its parts.
 */
static int append_begin(struct store *s)
{
	uint64_t len = s->end - s->pos;
	int err = 0;

	while (!err) {
		struct range hull;

		s->pos = s->inode->attr.size;
		if (s->pos >= FS_SIZE_MAX)
			return fail(-EFBIG, "a file cannot be longer than %llu bytes", (unsigned long long)FS_SIZE_MAX);
		s->end = min_u64(len, FS_SIZE_MAX - s->pos) + s->pos;
		if (!lease_busy(&s->inode->anchor))
			return 0;
		err = conflicts(s, block_of(s->pos), block_up(s->end), &hull);
		if (err || range_empty(hull))
			return err;
		err = wait_for_others(s, &(struct gate_need){hull, LEASE_ANY_MODE, LEASE_FOR_ALLOCATE, LEASE_DRAIN});
	}
	return err;
}

int store_run(struct store *s)
{
	struct range hull;
	int err = inode_stale(s->inode);

	if (s->end > FS_SIZE_MAX)
		return fail(-EFBIG, "a file cannot be longer than %llu bytes", (unsigned long long)FS_SIZE_MAX);
	if (!err && s->append)
		err = append_begin(s);
	/* A denied part (L22) is found before anything is done to the others. */
	else if (!err && unlikely(lease_busy(&s->inode->anchor)) && s->pos < s->end)
		err = conflicts(s, block_of(s->pos), block_up(s->end), &hull);
	while (!err && s->pos < s->end) {
		if (s->kind == STORE_DATA && s->pos > s->inode->attr.size) {
			bool before = s->dropped;

			s->dropped = false;
			err = store_gap(s, s->pos);
			if (err || s->dropped)
				continue;
			s->dropped = before;
		}
		err = run_batch(s);
	}
	/* The device that is let in stores in place. */
	return err || s->kind != STORE_LEASE ? err : hazard_settle_in_place(s->fs, s->inode);
}

/* --- the gap between the end of file and what comes ------------------------------------------------------------------
 */

static bool write_leased(struct inode *i, struct range r)
{
	return lease_busy(&i->anchor) &&
	       lease_conflicts(&i->anchor, r, LEASE_WRITE | LEASE_EXCLUSIVE | LEASE_FAULTING, NULL) == 1;
}

/* Uncommitted direct writes of leases that are gone: their blocks become unwritten again. */
static int forget_uncommitted(struct inode *i, uint64_t first, uint64_t end)
{
	uint64_t b = first;
	struct extent e;
	int err;

	while (layout_next(i, b, end, &e)) {
		b = e.off + e.blocks;
		if (!(e.flags & EXT_ZEROED) || write_leased(i, block_range(e.off, e.blocks)))
			continue;
		err = extmap_reserve(&i->map, 1);
		if (err)
			return err;
		e.flags = EXT_UNWRITTEN;
		extmap_set(&i->map, &e);
	}
	return 0;
}

/* A crash must not bring old bytes back under the new size. [from, to) is inside one block. */
static void flush_range(struct store *s, uint64_t from, uint64_t to)
{
	struct extent e;
	uint64_t b = block_of(from);

	if (!extmap_find(&s->inode->map, b, &e) || e.off > b || e.flags == EXT_UNWRITTEN)
		return;
	journal_data(s->fs->journal, block_bytes(e.start) + (from - block_bytes(e.off)), to - from);
}

int store_tail(struct fs *fs, struct inode *i)
{
	uint64_t size = i->attr.size;
	uint64_t into = size % LH_BLOCK_SIZE;
	struct extent e;
	uint64_t alike;
	int err;

	i->tail_stale = false;
	if (into == 0 || !layout_next(i, block_of(size), block_of(size) + 1, &e) || e.flags == EXT_UNWRITTEN)
		return 0;
	i->tail_stale = true;
	if (i->may_share && alloc_shared(fs->alloc, (struct run){e.start, 1}, &alike))
		return 0;
	err = hazard_settle(fs);
	if (err)
		return err;
	i->tail_stale = false;
	pool_zero(fs->pool, block_bytes(e.start) + into, LH_BLOCK_SIZE - into);
	if (unlikely(pool_fault(fs->pool))) {
		i->tail_stale = true;
		return media_error(i, size, LH_BLOCK_SIZE - into);
	}
	journal_data(fs->journal, block_bytes(e.start) + into, LH_BLOCK_SIZE - into);
	return 0;
}

int store_gap(struct store *s, uint64_t up_to)
{
	struct inode *i = s->inode;
	uint64_t size = i->attr.size;
	uint64_t tail_end = block_bytes(block_up(size));
	struct store tail = *s;
	int err;

	if (size < tail_end && (i->tail_stale || !write_leased(i, (struct range){size, tail_end}))) {
		/* All of it, so that the mark can go. */
		tail.kind = STORE_ZEROES;
		tail.append = false;
		tail.pos = size;
		tail.end = tail_end;
		tail.dropped = false;
		err = store_run(&tail);
		s->dropped |= tail.dropped;
		if (err || tail.dropped)
			return err;
		flush_range(s, size, tail_end);
		i->tail_stale = false;
	}
	return forget_uncommitted(i, block_up(size), block_up(up_to));
}
