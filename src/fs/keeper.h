/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is due at a time: the end of the grace (claims.h), and unlinked files that have been open for too long (L1:
 * "unlinked file's blocks wanted"). A thread of its own where a mount has either; without threads (tests)
 * fs_keeper_run.
 *
 * Files that lost their last name while somebody had them open are remembered by number, with the time. When the limit
 * is over, or when an allocation finds no space and theirs is over too, their leases are broken, all of them, and their
 * blocks are given back; who still has a handle gets -ESTALE. Off by default: POSIX programs rely on open files without
 * a name.
 */
#ifndef LH_FS_KEEPER_H
#define LH_FS_KEEPER_H

#include "fs/core.h"

int keeper_init(struct fs *fs, uint64_t orphan_limit_ns);
/* The thread, if there is or can be anything for it to do. */
int keeper_start(struct fs *fs);
void keeper_stop(struct fs *fs);
void keeper_fini(struct fs *fs);

/* Under INODE exclusive: the file's last name went, and somebody has it open. */
void orphan_note(struct fs *fs, const struct inode *i);
/*
 * After an operation that takes space got `err`: true when space was made by reclaiming such files, and the operation
 * tries again. Once: *tried starts as false. No lock held.
 */
bool orphans_made_room(struct fs *fs, int err, bool *tried);

#endif
