/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Leases, the fs's side: permission (L17), the layout made fit for the mode (L27), the grant under INODE so that what
 * it promises is true, and the consumer told which runs it may reach.
 *
 * Between grant and attach another thread may start a break: it needs no INODE. Then the attach is refused, the
 * consumer drains what place() gave it, the lease is given back, and all begins again. The breaker cannot touch a block
 * meanwhile: for that it needs INODE.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "format/format.h"
#include "fs/claims.h"
#include "fs/freeze.h"
#include "fs/keeper.h"
#include "fs/layout.h"
#include "fs/limit.h"
#include "fs/pin.h"

struct pin_wrapper {
	struct fs_pin pin;
};

static void wrap_drain(void *ctx, struct range range)
{
	struct pin_wrapper *w = ctx;

	w->pin.ops->drain(w->pin.pin, range);
}

static void wrap_gone(void *ctx)
{
	struct pin_wrapper *w = ctx;

	w->pin.ops->gone(w->pin.pin);
	free(w);
}

static const char *wrap_kind(void *ctx)
{
	const struct pin_wrapper *w = ctx;

	return w->pin.ops->name;
}

const struct lease_pin_ops pin_wrap_ops = {.drain = wrap_drain, .gone = wrap_gone, .kind = wrap_kind};

void *pin_wrap(const struct fs_pin *pin)
{
	struct pin_wrapper *w = malloc(sizeof(*w));

	if (w)
		w->pin = *pin;
	return w;
}

int pin_place(void *wrap, uint64_t lease, uint32_t seq, enum lease_mode mode, struct range range,
	      const struct fs_run *runs, unsigned count)
{
	const struct pin_wrapper *w = wrap;

	return w->pin.place(w->pin.pin, lease, seq, mode, range, runs, count);
}

/* No errno: a break came between grant and attach. */
#define GRANT_AGAIN 2

struct grant {
	struct fs *fs;
	struct inode *inode;
	const struct fs_caller *who;
	const struct fs_lease_args *args;
	struct range range;     /* whole blocks */
	struct claim_back back; /* ghost NULL: nothing is reclaimed */
	struct fs_lease *out;
};

/* Under INODE: what a lease of the mode can cover. */
static int grant_range(struct grant *g, struct range *out)
{
	*out = g->range;
	if (g->args->mode == LEASE_READ)
		out->end = min_u64(out->end, block_bytes(block_up(g->inode->attr.size)));
	if (range_empty(*out))
		return -ENODATA;
	/* Who looks every chunk up sees a longer file too. */
	if (g->args->faulting)
		*out = g->range;
	return 0;
}

static uint64_t runs_bytes(const struct fs_run *runs, unsigned count)
{
	uint64_t sum = 0;

	for (unsigned k = 0; k < count; k++)
		sum += runs[k].len;
	return sum;
}

/* Under INODE, after the grant: place and attach. GRANT_AGAIN: the lease was recalled meanwhile. */
static int grant_pin(struct grant *g, struct range range, const struct lease_grant *lease)
{
	const struct fs_lease_args *a = g->args;
	struct fs_run *runs = NULL;
	unsigned count = 0;
	void *wrap;
	int err = a->faulting ? 0 : layout_runs(g->fs, g->inode, range, a->mode, &runs, &count);

	if (err)
		return err;
	wrap = pin_wrap(a->pin);
	err = wrap ? a->pin->place(a->pin->pin, lease->lease, lease->seq, a->mode, range, runs, count) : -ENOMEM;
	if (!err) {
		err = lease_pin_attach(g->fs->arbiter, lease->lease, &pin_wrap_ops, wrap, runs_bytes(runs, count));
		if (err)
			a->pin->ops->drain(a->pin->pin, range);
		if (err == -ESTALE)
			err = GRANT_AGAIN;
	}
	if (err)
		free(wrap);
	free(runs);
	return err;
}

int lease_may_deny(const struct inode *i, const struct fs_caller *who, const struct fs_lease_args *a)
{
	if (!a->exclusive || cred_is_super(&who->cred) || who->cred.uid == i->attr.uid)
		return 0;
	return fail(-EPERM, "an EXCLUSIVE lease is for the file's owner and for root");
}

static uint64_t now_left(int64_t until_ns)
{
	int64_t now = (int64_t)clock_real_ns();

	return until_ns > now ? (uint64_t)(until_ns - now) : 1;
}

/* L22: the age of a lease that is taken back goes on. */
static uint64_t age_left(const struct claim_back *b, uint64_t asked_ns)
{
	uint64_t left = now_left(b->until_ns);

	return asked_ns ? min_u64(asked_ns, left) : left;
}

/* Under INODE, the layout is fit. */
static int grant_now(struct grant *g, struct range range)
{
	struct lease_grant_args args = {.anchor = &g->inode->anchor,
					.session = g->who->session,
					.handle = g->args->handle_number,
					.range = range,
					.mode = g->args->mode,
					.deadline_ns = g->args->deadline_ns,
					.exclusive = g->args->exclusive,
					.max_age_ns = g->args->max_age_ns,
					.faulting = g->args->faulting};
	struct lease_info info;
	struct lease_grant lease;
	int err = lease_may_deny(g->inode, g->who, g->args);

	if (!err && g->back.ghost)
		args.max_age_ns = age_left(&g->back, args.max_age_ns);
	if (!err)
		err = lease_grant(g->fs->arbiter, &args, &lease);
	if (err)
		return err;
	*g->out =
	    (struct fs_lease){.lease = lease.lease, .seq = lease.seq, .range = range, .size = g->inode->attr.size};
	if (g->args->exclusive && !lease_look(g->who->session, lease.lease, &info))
		g->out->exclusive_left_ns = info.exclusive_left_ns;
	if (g->args->pin)
		err = grant_pin(g, range, &lease);
	if (err)
		lease_release(g->who->session, lease.lease, RANGE_ALL);
	return err;
}

int lease_fit_write(const struct store *like, struct range range)
{
	struct inode *i = like->inode;
	struct fs *fs = like->fs;
	uint64_t missing = layout_missing(i, block_of(range.start), block_of(range.end));
	struct store s;
	int err = freeze_grants_held(fs) ? -EAGAIN : limit_fits(fs, i, missing);

	if (!err && missing > alloc_avail_blocks(fs->alloc))
		err = fail(-ENOSPC, "not enough free space for a WRITE lease on %llu bytes",
			   (unsigned long long)(range.end - range.start));
	if (err)
		return err;
	do {
		s = *like;
		s.kind = STORE_LEASE;
		s.pos = range.start;
		s.end = range.end;
		s.dropped = false;
		err = store_run(&s);
	} while (!err && s.dropped);
	/* Our own gate must not keep our own grant waiting; nothing can come between while INODE is held. */
	gate_end(like->gate);
	if (!err && i->tail_stale && range_overlaps(range, block_range(block_of(i->attr.size), 1)))
		err = store_tail(fs, i);
	return err;
}

static int grant_write(struct grant *g)
{
	struct gate gate = {0};
	struct store like = {.fs = g->fs, .inode = g->inode, .who = g->who, .gate = &gate};
	struct fs_caller ghost;
	int err;

	/* What it denies for the client, it does not deny the client. */
	if (g->back.ghost) {
		ghost = *g->who;
		ghost.session = g->back.ghost;
		like.who = &ghost;
		like.spare = LEASE_OWN_EXCLUSIVE;
	}

	rwlock_take_write(&g->inode->lock);
	err = lease_may_deny(g->inode, g->who, g->args);
	if (!err)
		err = lease_fit_write(&like, g->range);
	if (!err)
		err = grant_now(g, g->range);
	rwlock_drop(&g->inode->lock);
	return err;
}

static int grant_read(struct grant *g)
{
	struct range range;
	bool expose;
	int err;

	rwlock_take_read(&g->inode->lock);
	err = inode_stale(g->inode);
	if (!err)
		err = grant_range(g, &range);
	expose = !err && !g->args->faulting && layout_has_unwritten(g->inode, range);
	if (!err && !expose)
		err = grant_now(g, range);
	rwlock_drop(&g->inode->lock);
	if (!expose)
		return err;
	rwlock_take_write(&g->inode->lock);
	err = inode_stale(g->inode);
	if (!err)
		err = grant_range(g, &range);
	if (!err)
		err = layout_expose(g->fs, g->inode, range);
	if (!err)
		err = grant_now(g, range);
	rwlock_drop(&g->inode->lock);
	return err;
}

int lease_claim(struct fs *fs, const struct inode *i, const struct fs_caller *who, const struct fs_lease_args *args,
		const struct fs_lease *lease, struct journal_claim *old)
{
	struct journal_claim c = {.ino = ino_of(i),
				  .start = lease->range.start,
				  .end = lease->range.end,
				  .until_ns = (int64_t)(clock_real_ns() + lease->exclusive_left_ns),
				  .uid = who->cred.uid,
				  .mode = args->mode == LEASE_WRITE ? ITEM_CLAIM_WRITE : ITEM_CLAIM_READ};
	struct lease_info info;
	int err;

	memcpy(c.client, args->client, sizeof(c.client));
	err = claim_set(fs, lease->lease, &c, old);
	/* What it lost before there was a claim, nobody told. */
	if (!err && (lease_look(who->session, lease->lease, &info) || info.bytes < c.end - c.start))
		claim_lost(fs, lease->lease, RANGE_ALL);
	return err;
}

/* After a grant: what must be so before the client hears of it. */
static int grant_claim(struct grant *g)
{
	struct journal_claim old;
	int err = 0;

	if (!g->args->exclusive || !g->args->client)
		return 0;
	if (g->back.ghost && !claim_back_stands(g->fs, &g->back))
		err = fail(-ESTALE, "the EXCLUSIVE lease was revoked while it was being taken back");
	if (!err)
		err = lease_claim(g->fs, g->inode, g->who, g->args, g->out, &old);
	if (err)
		lease_release(g->who->session, g->out->lease, RANGE_ALL);
	return err;
}

/* What the client says it had, by its request. */
static int grant_reclaim(struct grant *g)
{
	struct journal_claim wanted = {.ino = ino_of(g->inode),
				       .start = g->range.start,
				       .end = g->range.end,
				       .uid = g->who->cred.uid,
				       .mode = g->args->mode == LEASE_WRITE ? ITEM_CLAIM_WRITE : ITEM_CLAIM_READ};
	int err;

	if (!g->args->reclaim)
		return 0;
	if (!g->args->exclusive || !g->args->client)
		return fail(-EINVAL, "only an EXCLUSIVE lease of a client can be taken back after a crash");
	rwlock_take_read(&g->inode->lock);
	err = grant_range(g, &g->range);
	rwlock_drop(&g->inode->lock);
	wanted.end = g->range.end;
	memcpy(wanted.client, g->args->client, sizeof(wanted.client));
	return err ? err : claim_back_begin(g->fs, &wanted, &g->back);
}

int lease_check_args(const struct fs_handle *h, const struct fs_caller *who, const struct fs_lease_args *a)
{
	if (h->inode->type != DT_REG)
		return fail(-EINVAL, "leases are for regular files");
	if (!who->session)
		return fail(-EINVAL, "a lease needs a session");
	if (a->mode != LEASE_READ && a->mode != LEASE_WRITE)
		return fail(-EINVAL, "a lease is for reading or for writing");
	if (a->mode == LEASE_READ && !h->readable)
		return fail(-EBADF, "a READ lease needs a handle that is open for reading");
	if (a->mode == LEASE_WRITE && !h->writable)
		return fail(-EBADF, "a WRITE lease needs a handle that is open for writing");
	return 0;
}

static int grant_check(const struct fs_handle *h, const struct fs_caller *who, const struct fs_lease_args *a)
{
	int err = lease_check_args(h, who, a);

	if (err)
		return err;
	if (range_empty(a->range))
		return fail(-EINVAL, "the range of a lease cannot be empty");
	if (a->mode == LEASE_WRITE && a->range.end > FS_SIZE_MAX - LH_BLOCK_SIZE)
		return fail(-EFBIG, "the range of a WRITE lease ends beyond the longest file");
	return 0;
}

int lease_wait(struct fs_handle *h, const struct fs_caller *who, struct range range)
{
	int err;

	if (who->nowait)
		return fail(-EAGAIN, "the layout of the range is being changed: try again");
	err = freeze_wait_grants(h->fs, h->inode, who);
	if (err)
		return err;
	return lease_gate_wait(h->fs->arbiter, &h->inode->anchor, range, UINT64_MAX, who->session, who->tag);
}

static int grant_wait(struct fs_handle *h, const struct grant *g)
{
	int err = lease_wait(h, g->who, g->range);

	return err ? err : GRANT_AGAIN;
}

int fs_lease_get(struct fs_handle *h, const struct fs_caller *who, const struct fs_lease_args *args,
		 struct fs_lease *out)
{
	struct fs_caller impatient;
	struct grant g = {.fs = h->fs, .inode = h->inode, .who = who, .args = args, .out = out};
	uint64_t last = min_u64(args->range.end, FS_SIZE_MAX - LH_BLOCK_SIZE);
	bool tried = false;
	int err = grant_check(h, who, args);

	if (err)
		return err;
	if (args->nowait && !who->nowait) {
		impatient = *who;
		impatient.nowait = true;
		g.who = &impatient;
	}
	g.range = (struct range){round_down_u64(args->range.start, LH_BLOCK_SIZE), round_up_u64(last, LH_BLOCK_SIZE)};
	err = grant_reclaim(&g);
	if (err)
		return err;
	do {
		err = args->mode == LEASE_WRITE ? grant_write(&g) : grant_read(&g);
		if (!err)
			err = grant_claim(&g);
		else if (err == -EAGAIN)
			err = grant_wait(h, &g);
		if (orphans_made_room(h->fs, err, &tried))
			err = GRANT_AGAIN;
	} while (err == GRANT_AGAIN);
	claim_back_end(g.fs, &g.back, !err);
	return err;
}

int fs_extents(struct fs_handle *h, uint64_t off, uint64_t len,
	       bool (*each)(void *ctx, const struct fs_run *run, unsigned flags), void *ctx)
{
	struct inode *i = h->inode;
	uint64_t end_byte;
	uint64_t b = block_of(off);
	struct extent e;

	if (i->type != DT_REG)
		return i->type == DT_DIR ? -EISDIR : -EINVAL;
	if (add_overflows(off, len, &end_byte) || end_byte > FS_SIZE_MAX)
		end_byte = FS_SIZE_MAX;
	for (;;) {
		unsigned flags;
		uint64_t alike;
		struct fs_run run;
		bool more;

		rwlock_take_read(&i->lock);
		more = layout_next(i, b, block_up(end_byte), &e);
		/* Not what a lease has shown to a device: that may hold something. */
		flags = more && e.flags == EXT_UNWRITTEN ? FS_RUN_UNWRITTEN : 0;
		alike = e.blocks;
		if (more && i->may_share && alloc_shared(h->fs->alloc, (struct run){e.start, e.blocks}, &alike))
			flags |= FS_RUN_SHARED;
		rwlock_drop(&i->lock);
		if (!more)
			return 0;
		run = (struct fs_run){block_bytes(e.off), block_bytes(alike), block_bytes(e.start)};
		if (!each(ctx, &run, flags))
			return 0;
		b = e.off + alike;
	}
}
