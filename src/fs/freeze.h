/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A moment in which nothing changes: what a snapshot shows, and when whole trees change at once.
 *
 * Every exclusive INODE is inside the freeze lock (base/brlock.h), shared; the lock of an inode sees to it itself
 * (rwlock_set_outer). An operation is whole under its INODE locks, so that the thread that has frozen the filesystem
 * meets no half ones and may read every inode without a lock. Readers hold INODE shared and never wait here; for them
 * the frozen thread still takes the INODE of what it changes, exclusively.
 *
 * A checkpoint that has begun goes on: it writes what it sees, and the log behind its beginning has the rest. Only its
 * beginning must not fall between a record and the change of memory that belongs to it: it waits for the thaw.
 *
 * No waiting for leases while frozen. Who thaws to wait for a break may have new WRITE grants wait until it has come
 * back and finished (freeze_hold_grants): a holder that asks anew in a loop does not keep it from finishing (L8).
 */
#ifndef LH_FS_FREEZE_H
#define LH_FS_FREEZE_H

#include "fs/core.h"

int freeze_init(struct fs *fs);
void freeze_fini(struct fs *fs);
/* For an inode that is being made. */
void freeze_join(struct fs *fs, struct rwlock *lock);
/* No lock held, not from inside. */
void freeze_begin(struct fs *fs);
void freeze_end(struct fs *fs);
bool frozen_by_me(const struct fs *fs);
/* Who stores bytes without INODE exclusive is inside too, so that a snapshot is of one moment. Never waits. */
bool freeze_try_enter(struct fs *fs);
void freeze_leave(struct fs *fs);

/* Counted. hold: while frozen; drop: with no lock held. */
void freeze_hold_grants(struct fs *fs);
void freeze_drop_grants(struct fs *fs);
/* Under INODE exclusive. */
bool freeze_grants_held(const struct fs *fs);
/* No lock held. For a grant on i. -EINTR: lease_interrupt. */
int freeze_wait_grants(struct fs *fs, struct inode *i, const struct fs_caller *who);

#endif
