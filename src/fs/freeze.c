/* SPDX-License-Identifier: BSD-2-Clause */
#include "fs/freeze.h"

#include <errno.h>
#include <stdlib.h>

#include "base/brlock.h"

struct freeze {
	struct brlock lock;
	_Atomic unsigned holds; /* who wants no new WRITE grants */
};

int freeze_init(struct fs *fs)
{
	struct freeze *f = aligned_alloc(_Alignof(struct freeze), sizeof(*f));

	if (!f)
		return -ENOMEM;
	brlock_init(&f->lock, RANK_FREEZE);
	atomic_init(&f->holds, 0);
	fs->freeze = f;
	return 0;
}

void freeze_fini(struct fs *fs)
{
	struct freeze *f = fs->freeze;

	if (!f)
		return;
	brlock_destroy(&f->lock);
	free(f);
	fs->freeze = NULL;
}

void freeze_join(struct fs *fs, struct rwlock *lock)
{
	rwlock_set_outer(lock, &fs->freeze->lock);
}

void freeze_begin(struct fs *fs)
{
	brlock_close(&fs->freeze->lock);
	journal_hold(fs->journal);
}

void freeze_end(struct fs *fs)
{
	journal_unhold(fs->journal);
	brlock_open(&fs->freeze->lock);
}

bool frozen_by_me(const struct fs *fs)
{
	return brlock_is_mine(&fs->freeze->lock);
}

bool freeze_try_enter(struct fs *fs)
{
	return brlock_try_enter(&fs->freeze->lock);
}

void freeze_leave(struct fs *fs)
{
	brlock_leave(&fs->freeze->lock);
}

void freeze_hold_grants(struct fs *fs)
{
	assert(frozen_by_me(fs));
	atomic_fetch_add(&fs->freeze->holds, 1);
}

void freeze_drop_grants(struct fs *fs)
{
	atomic_fetch_sub(&fs->freeze->holds, 1);
	lease_wake(fs->arbiter);
}

bool freeze_grants_held(const struct fs *fs)
{
	return atomic_load_explicit(&fs->freeze->holds, memory_order_relaxed) > 0;
}

static bool hold_over(const void *ctx)
{
	const struct freeze *f = ctx;

	return atomic_load(&f->holds) == 0;
}

int freeze_wait_grants(struct fs *fs, struct inode *i, const struct fs_caller *who)
{
	if (hold_over(fs->freeze))
		return 0;
	return lease_wait_for(fs->arbiter, &i->anchor, hold_over, fs->freeze, who->session, who->tag);
}
