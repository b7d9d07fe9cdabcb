/* SPDX-License-Identifier: BSD-2-Clause */
#include "fs/freeze.h"

#include <errno.h>
#include <stdlib.h>

#include "base/brlock.h"

struct freeze {
	struct brlock lock;
	_Atomic unsigned holds; /* who wants no new WRITE grants */
	struct lock hold_lock;
	struct cond hold_ended;
};

int freeze_init(struct fs *fs)
{
	struct freeze *f = aligned_alloc(_Alignof(struct freeze), sizeof(*f));

	if (!f)
		return -ENOMEM;
	brlock_init(&f->lock, RANK_FREEZE);
	atomic_init(&f->holds, 0);
	lock_init(&f->hold_lock, RANK_FREEZE);
	cond_init(&f->hold_ended);
	fs->freeze = f;
	return 0;
}

void freeze_fini(struct fs *fs)
{
	struct freeze *f = fs->freeze;

	if (!f)
		return;
	cond_destroy(&f->hold_ended);
	lock_destroy(&f->hold_lock);
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
	lock_take(&fs->freeze->hold_lock);
	atomic_fetch_sub(&fs->freeze->holds, 1);
	cond_wake_all(&fs->freeze->hold_ended);
	lock_drop(&fs->freeze->hold_lock);
}

bool freeze_grants_held(const struct fs *fs)
{
	return atomic_load_explicit(&fs->freeze->holds, memory_order_relaxed) > 0;
}

void freeze_wait_grants(struct fs *fs)
{
	lock_assert_none();
	lock_take(&fs->freeze->hold_lock);
	while (atomic_load(&fs->freeze->holds) > 0)
		cond_wait(&fs->freeze->hold_ended, &fs->freeze->hold_lock);
	lock_drop(&fs->freeze->hold_lock);
}
