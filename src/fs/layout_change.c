/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * L23: a lease changes its mode, or begins or ceases to deny changes.
 *
 * The layout is made fit for the new mode while the lease is still what it was; whoever has to be broken for that is
 * waited for, so that everything is looked at again afterwards. Then, under one hold of INODE: the pins are drained,
 * the arbiter changes the lease, the pins are placed anew, as they may reach other runs now. When the arbiter refuses,
 * the same pins are placed as they were. What was allocated or copied for nothing stays so, as after a WRITE lease that
 * is given back.
 *
 * The key of a faulting lease takes INODE in the middle of its use, so whoever waits for its end must not hold it. It
 * names no blocks either; so it is drained before and made anew after all that.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "fs/claims.h"
#include "fs/keeper.h"
#include "fs/layout.h"
#include "fs/pin.h"

struct lease_edit {
	struct fs *fs;
	struct inode *inode;
	const struct fs_caller *who;
	const struct fs_lease_args *args;
	uint64_t lease;
	struct lease_info was;
	bool rekeyed; /* faulting: its key is to be made anew */
	struct fs_lease *out;
};

static int broken(void)
{
	return fail(-ESTALE, "the lease was recalled or released meanwhile, in part at least: get a new one");
}

/* Under INODE: it is ours, of this file, and whole. */
static int edit_look(struct lease_edit *c)
{
	int err = inode_stale(c->inode);

	if (err)
		return err;
	if (lease_look(c->who->session, c->lease, &c->was) || c->was.object != ino_of(c->inode))
		return fail(-ESTALE, "the session holds no such lease on this file");
	if (c->was.state != LEASE_GRANTED || c->was.bytes != c->was.range.end - c->was.range.start)
		return broken();
	return 0;
}

/* Under INODE exclusive, which may be dropped. */
static int edit_fit(struct lease_edit *c)
{
	struct gate gate = {0};
	const struct store like = {
	    .fs = c->fs, .inode = c->inode, .who = c->who, .gate = &gate, .spare = LEASE_OWN_EXCLUSIVE};

	if (c->args->mode == LEASE_READ)
		return 0;
	if (c->was.range.end > FS_SIZE_MAX - LH_BLOCK_SIZE)
		return fail(-EFBIG, "the range of a WRITE lease ends beyond the longest file");
	return lease_fit_write(&like, c->was.range);
}

/* Under INODE exclusive, the layout is fit. */
static int edit_now(struct lease_edit *c)
{
	const struct lease_change_args args = {
	    .mode = c->args->mode, .exclusive = c->args->exclusive, .max_age_ns = c->args->max_age_ns};
	bool moves = c->args->mode != c->was.mode && !c->was.faulting;
	struct change own = {0};
	struct lease_grant now;
	int err = 0;

	/* Other pins of the session in the range are drained and placed, too: they cannot be told apart. */
	if (moves)
		err = change_begin_shared(&own, c->fs, c->inode, c->was.range, c->who);
	if (!err)
		err = lease_change(c->who->session, c->lease, &args, &now);
	change_end(&own);
	if (err == -ESTALE)
		return broken();
	if (err == -ETIMEDOUT)
		return fail(-ETIMEDOUT,
			    "the lease has denied changes for as long as one may: release it, and get a new one");
	if (!err && !lease_look(c->who->session, c->lease, &c->was))
		now.seq = c->was.seq;
	if (!err)
		*c->out = (struct fs_lease){.lease = c->lease,
					    .seq = now.seq,
					    .range = c->was.range,
					    .size = c->inode->attr.size,
					    .exclusive_left_ns = c->was.exclusive_left_ns};
	return err;
}

static int edit_try(struct lease_edit *c)
{
	int err;

	rwlock_take_write(&c->inode->lock);
	err = lease_may_deny(c->inode, c->who, c->args);
	if (!err)
		err = edit_look(c);
	if (!err)
		err = edit_fit(c);
	if (!err)
		err = edit_look(c);
	if (!err)
		err = edit_now(c);
	rwlock_drop(&c->inode->lock);
	return err;
}

static void faulting_place(void *ctx, uint64_t lease, uint32_t seq, enum lease_mode mode, struct range part, void *pin)
{
	/* Without a key the holder asks anew, as after any loss. */
	(void)pin_place(pin, lease, seq, mode, part, NULL, 0);
}

/* Without locks. */
static int faulting_begin(struct lease_edit *c)
{
	if (lease_look(c->who->session, c->lease, &c->was) || !c->was.faulting || c->was.mode == c->args->mode)
		return 0;
	c->rekeyed = true;
	return lease_change_drain(&c->inode->anchor, c->who->session, c->lease);
}

static void faulting_end(struct lease_edit *c)
{
	char why[LH_ERROR_TEXT_MAX];

	if (!c->rekeyed)
		return;
	snprintf(why, sizeof(why), "%s", fail_text());
	lease_change_place(&c->inode->anchor, c->who->session, c->lease, faulting_place, NULL);
	fail(0, "%s", why);
}

static bool is_claimed(const struct fs_lease_args *a)
{
	return a->exclusive && a->client;
}

/* L35: the claim is durable before the lease denies anything. The age that it will have is at most this. */
static int edit_claim(const struct lease_edit *c, struct journal_claim *old)
{
	uint64_t most = c->fs->exclusive_max_ns;
	struct fs_lease lease = {.lease = c->lease};
	struct lease_info info;

	/* Not ours, or gone: the change says so. */
	if (!is_claimed(c->args) || lease_look(c->who->session, c->lease, &info))
		return 0;
	lease.range = info.range;
	lease.exclusive_left_ns = c->args->max_age_ns ? min_u64(c->args->max_age_ns, most) : most;
	return lease_claim(c->fs, c->inode, c->who, c->args, &lease, old);
}

/* No lock held. */
static int edit_run(struct fs_handle *h, struct lease_edit *c)
{
	int err = faulting_begin(c);
	bool again = !err;
	bool tried = false;

	while (again) {
		err = edit_try(c);
		again = err == -EAGAIN;
		/* A break that is going on may be for this very lease: then it is found broken. */
		if (again)
			err = lease_wait(h, c->who, c->was.range);
		again = (again && !err) || orphans_made_room(h->fs, err, &tried);
	}
	faulting_end(c);
	return err;
}

int fs_lease_change(struct fs_handle *h, const struct fs_caller *who, uint64_t lease, const struct fs_lease_args *args,
		    struct fs_lease *out)
{
	struct lease_edit c = {.fs = h->fs, .inode = h->inode, .who = who, .args = args, .lease = lease, .out = out};
	struct journal_claim old = {0};
	struct fs_caller impatient;
	int err = lease_check_args(h, who, args);

	if (err)
		return err;
	if (args->nowait && !who->nowait) {
		impatient = *who;
		impatient.nowait = true;
		c.who = &impatient;
	}
	err = edit_claim(&c, &old);
	if (err)
		return err;
	err = edit_run(h, &c);
	if (err && is_claimed(args))
		claim_restore(h->fs, lease, &old);
	else if (!err && is_claimed(args))
		(void)lease_claim(h->fs, h->inode, c.who, args, out, &old); /* the age as it is */
	else if (!err)
		claim_lost(h->fs, lease, RANGE_ALL);
	return err;
}
