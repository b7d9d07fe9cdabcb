/* SPDX-License-Identifier: BSD-2-Clause */
/* Gates, receipts, and the caller's own pins around a change. The protocol is in layout.h. */
#include "fs/layout.h"

#include <errno.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/log.h"
#include "fs/limit.h"
#include "fs/pin.h"

int inode_stale(const struct inode *i)
{
	if (likely(!i->gone))
		return 0;
	return fail(-ESTALE, "inode %llu was unlinked and its blocks were wanted back: it is gone",
		    (unsigned long long)ino_of(i));
}

int layout_denied(const struct inode *i, struct range range, int err)
{
	const char *whose =
	    "an EXCLUSIVE lease of somebody else denies changes of its layout: it has to be released first, "
	    "or its age to end, or an administrator to revoke it";

	if (err != -ETXTBSY && err != -EDEADLK)
		return err;
	if (err == -EDEADLK)
		whose = "your own EXCLUSIVE lease denies changes of its layout: release it or change it first";
	return fail(err, "inode %llu, bytes %llu to %llu: %s", (unsigned long long)ino_of(i),
		    (unsigned long long)range.start, (unsigned long long)range.end, whose);
}

int layout_check(const struct gate *g, struct inode *i, const struct gate_need *need, const struct fs_caller *who)
{
	int found;

	if (unlikely(i->gone))
		return inode_stale(i);
	if (likely(!lease_busy(&i->anchor)))
		return 0;
	if (g->brk && range_covers(g->range, need->range) && (need->modes & ~g->modes) == 0)
		return 0;
	found = lease_conflicts(&i->anchor, need->range, need->modes, who->session);
	return found > 0 ? NEED_GATE : layout_denied(i, need->range, found);
}

static int break_start(struct fs *fs, struct inode *i, const struct gate_need *need, const struct fs_caller *who,
		       struct lease_break **out)
{
	struct lease_break_args args = {.anchor = &i->anchor,
					.range = need->range,
					.modes = need->modes,
					.reason = need->reason,
					.kind = need->kind,
					.owner = who->session,
					.deadline_ns = who->deadline_ns,
					.tag = who->tag};

	return layout_denied(i, need->range, lease_break_start(fs->arbiter, &args, out));
}

static void gate_take(struct gate *g, struct lease_break *b, const struct gate_need *need)
{
	lease_break_end(g->brk);
	*g = (struct gate){b, need->range, need->modes};
}

static int would_block(void)
{
	return fail(-EWOULDBLOCK, "others hold leases on the range; they have been asked to release it: try again");
}

/* L9: the recalls go on for the caller who tries again. Denied, or out of memory, or nobody will: the gate opens. */
static void break_leave(struct lease_break *b, int err)
{
	if (err == -EWOULDBLOCK)
		lease_break_detach(b);
	else
		lease_break_end(b);
}

int gate_break(struct gate *g, struct fs *fs, struct inode *i, const struct gate_need *need,
	       const struct fs_caller *who)
{
	const struct gate_side side[2] = {{g, i, need}};

	return gate_break_two(fs, side, who);
}

int gate_break_two(struct fs *fs, const struct gate_side side[2], const struct fs_caller *who)
{
	struct lease_break *brk[2] = {0};
	int err = 0;

	lock_assert_none();
	for (unsigned k = 0; k < 2 && !err; k++) {
		if (side[k].need)
			err = break_start(fs, side[k].inode, side[k].need, who, &brk[k]);
	}
	for (unsigned k = 0; k < 2 && !err && who->nowait; k++) {
		if (brk[k] && !lease_break_done(brk[k]))
			err = would_block();
	}
	for (unsigned k = 0; k < 2; k++) {
		if (!brk[k])
			continue;
		if (!err)
			err = lease_break_wait(brk[k]);
		if (!err)
			gate_take(side[k].gate, brk[k], side[k].need);
		else
			break_leave(brk[k], err);
	}
	return err == -EINTR ? fail(-EINTR, "the wait for others' leases was ended; nothing has changed") : err;
}

void gate_end(struct gate *g)
{
	lease_break_end(g->brk);
	*g = (struct gate){0};
}

/* --- the caller's own pins ---------------------------------------------------------------------------------------- */

static void own_place(void *ctx, uint64_t lease, uint32_t seq, enum lease_mode mode, struct range part, void *pin)
{
	struct change *c = ctx;
	struct fs_run *runs = NULL;
	unsigned count = 0;
	int err;

	if (!pin)
		return;
	err = layout_expose(c->fs, c->inode, part);
	if (!err)
		err = layout_runs(c->fs, c->inode, part, mode, &runs, &count);
	if (!err)
		err = pin_place(pin, lease, seq, mode, part, runs, count);
	/* The pin reaches nothing of the part then: the holder's next access faults and asks anew (L15). */
	if (err)
		log_warn("fs", "inode %llu: lease %llu not placed anew: error %d", (unsigned long long)ino_of(c->inode),
			 (unsigned long long)lease, err);
	free(runs);
}

int change_begin_shared(struct change *c, struct fs *fs, struct inode *i, struct range range,
			const struct fs_caller *who)
{
	int err;

	*c = (struct change){.fs = fs, .inode = i, .range = range};
	if (likely(!lease_busy(&i->anchor)) || !who->session)
		return 0;
	err = lease_own_drain(&i->anchor, range, who->session);
	if (!err)
		c->owner = who->session;
	return err;
}

int change_begin(struct change *c, struct fs *fs, struct inode *i, struct range range, const struct fs_caller *who)
{
	int err = change_begin_shared(c, fs, i, range, who);

	if (err)
		return err;
	err = lease_drained(&i->anchor, range, &c->gone);
	assert(err == 0);
	return err;
}

void change_end(struct change *c)
{
	int err;

	if (c->inode)
		limit_settle(c->fs, c->inode);
	if (!c->owner)
		return;
	/* The owner's device stores in place again from here on. Without that the pins stay drained: it asks anew. */
	err = hazard_settle(c->fs);
	if (!err)
		err = lease_own_each(&c->inode->anchor, c->range, c->owner, own_place, c);
	if (err)
		log_warn("fs", "inode %llu: own leases not placed anew: error %d", (unsigned long long)ino_of(c->inode),
			 err);
	c->owner = NULL;
}

/* --- what a lease sees -------------------------------------------------------------------------------------------- */

/* Writers do not see blocks that other files own too. */
static uint64_t visible(struct fs *fs, const struct inode *i, const struct extent *e, enum lease_mode mode,
			bool *hidden)
{
	uint64_t alike = e->blocks;

	*hidden = e->flags == EXT_UNWRITTEN;
	if (!*hidden && mode == LEASE_WRITE && i->may_share)
		*hidden = alloc_shared(fs->alloc, (struct run){e->start, e->blocks}, &alike);
	return alike;
}

bool layout_next(const struct inode *i, uint64_t b, uint64_t end, struct extent *e)
{
	if (b >= end || !extmap_find(&i->map, b, e) || e->off >= end)
		return false;
	if (e->off < b) {
		e->start += b - e->off;
		e->blocks -= b - e->off;
		e->off = b;
	}
	e->blocks = min_u64(e->blocks, end - e->off);
	return true;
}

uint64_t layout_missing(const struct inode *i, uint64_t first, uint64_t end)
{
	uint64_t count = 0;
	struct extent e;
	uint64_t b = first;

	while (b < end) {
		if (!extmap_find(&i->map, b, &e) || e.off >= end)
			return count + (end - b);
		if (e.off > b)
			count += e.off - b;
		b = e.off + e.blocks;
	}
	return count;
}

static uint64_t range_blocks_end(struct range r)
{
	return r.end >= FS_SIZE_MAX ? BLOCKS_END : block_up(r.end);
}

static int runs_add(struct fs_run **runs, unsigned *count, struct fs_run run)
{
	struct fs_run *last = *count ? &(*runs)[*count - 1] : NULL;

	if (last && last->file_off + last->len == run.file_off && last->pool_off + last->len == run.pool_off) {
		last->len += run.len;
		return 0;
	}
	if ((*count & (*count - 1)) == 0) {
		struct fs_run *more = realloc(*runs, (*count ? *count * 2ul : 1ul) * sizeof(*more));

		if (!more)
			return -ENOMEM;
		*runs = more;
	}
	(*runs)[(*count)++] = run;
	return 0;
}

int layout_runs(struct fs *fs, struct inode *i, struct range range, enum lease_mode mode, struct fs_run **runs,
		unsigned *count)
{
	uint64_t b = block_of(range.start);
	uint64_t end = range_blocks_end(range);
	struct extent e;
	int err = 0;

	*runs = NULL;
	*count = 0;
	while (!err && layout_next(i, b, end, &e)) {
		struct range part;
		bool hidden;

		e.blocks = visible(fs, i, &e, mode, &hidden);
		b = e.off + e.blocks;
		part = range_cut(range, block_range(e.off, e.blocks));
		if (!hidden && !range_empty(part))
			err = runs_add(runs, count,
				       (struct fs_run){part.start, part.end - part.start,
						       block_bytes(e.start) + (part.start - block_bytes(e.off))});
	}
	if (err) {
		free(*runs);
		*runs = NULL;
	}
	return err;
}

bool layout_cuts_in_two(const struct inode *i, uint64_t first, uint64_t end)
{
	struct extent e;

	return extmap_find(&i->map, first, &e) && e.off < first && e.off + e.blocks > end;
}

int layout_extents_fit(const struct fs *fs, uint64_t extents)
{
	if (likely(extents <= fs->extents_max))
		return 0;
	return fail(-EFBIG, "the file is in too many pieces (%u at most): copy it or defragment it", fs->extents_max);
}

bool layout_has_unwritten(const struct inode *i, struct range range)
{
	uint64_t end = range_blocks_end(range);
	struct extent e;

	for (uint64_t b = block_of(range.start); layout_next(i, b, end, &e); b = e.off + e.blocks) {
		if (e.flags == EXT_UNWRITTEN)
			return true;
	}
	return false;
}

int layout_expose(struct fs *fs, struct inode *i, struct range range)
{
	uint64_t b = block_of(range.start);
	uint64_t end = range_blocks_end(range);
	struct extent e;
	int err;

	while (layout_next(i, b, end, &e)) {
		b = e.off + e.blocks;
		if (e.flags != EXT_UNWRITTEN)
			continue;
		err = extmap_reserve(&i->map, 1);
		if (err)
			return err;
		pool_zero(fs->pool, block_bytes(e.start), block_bytes(e.blocks));
		if (unlikely(pool_fault(fs->pool)))
			return media_error(i, block_bytes(e.off), block_bytes(e.blocks));
		e.flags |= EXT_ZEROED;
		extmap_set(&i->map, &e);
		inode_dirty(i, block_bytes(e.off), block_bytes(b));
	}
	return 0;
}
