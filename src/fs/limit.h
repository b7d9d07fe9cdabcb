/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Limits of space and inodes, per uid and per directory tree. What is used is derived at mount and never recorded; the
 * limits are.
 *
 * Charged is what a file's extents name (map.blocks), shared or not, and one inode for each file until its last
 * reference goes. A change that makes a file longer charges before its record (limit_blocks), so that threads together
 * never get beyond a limit; change_end, where every change of a layout ends, settles what was charged against what the
 * file has now. So an operation that forgets to charge may pass a limit, but nothing is lost or returned twice:
 * inode.charged is what is counted for this file, and only this file's settling changes it.
 *
 * Which limits there are changes only while the filesystem is frozen; charging happens under some INODE exclusive.
 * So charging takes no lock, and without any limit it is one load.
 */
#ifndef LH_FS_LIMIT_H
#define LH_FS_LIMIT_H

#include "fs/core.h"

int limits_init(struct fs *fs);
void limits_fini(struct fs *fs);

/* For the owner and the tree of these attributes: 0 and charged, or -EDQUOT and nothing. */
int limit_charge(struct fs *fs, const struct inode_attr *a, uint64_t blocks, uint64_t inodes);
void limit_return(struct fs *fs, const struct inode_attr *a, uint64_t blocks, uint64_t inodes);

/*
 * Under INODE exclusive: the file is about to get up to `want` more blocks. *got (NULL: all or nothing): how many of
 * them there is room for. -EDQUOT: none. limit_settle, or change_end, after the change or instead of it.
 */
int limit_blocks(struct fs *fs, struct inode *i, uint64_t want, uint64_t *got);
void limit_settle(struct fs *fs, struct inode *i);
/* Under INODE: whether `blocks` more would fit now. 0 or -EDQUOT. */
int limit_fits(struct fs *fs, const struct inode *i, uint64_t blocks);
/* Under INODE exclusive: the inode is about to have these attributes; and does, or (err) keeps the old ones. */
int limit_owner_begin(struct fs *fs, const struct inode *i, const struct inode_attr *a);
void limit_owner_end(struct fs *fs, const struct inode *i, const struct inode_attr *a, int err);
/* Under INODE exclusive: the inode is forgotten. */
void limit_forget(struct fs *fs, struct inode *i);

/* -EXDEV when the two are in different trees. */
int limit_border(uint32_t tree, uint32_t other);

/* Replay. NULL or what is wrong. */
const char *limit_apply(void *ctx, uint32_t kind, uint32_t id, uint64_t root, uint64_t blocks, uint64_t inodes);
/* Mount: the arbiter hears of the limits of pins. -ENOMEM. */
int limit_pins_load(struct fs *fs);
/* The end of replay: drops limits of trees that are gone, counts what is used. */
void limit_finish(struct fs *fs);
/* Checkpoint: an item for each. -ENOMEM. */
int limit_walk(struct fs *fs, struct jtxn *t);
/* What is used, counted anew, differs: says so. Returns how many findings. No lock held. */
int limit_verify(struct fs *fs, void (*each)(void *ctx, const char *finding), void *ctx);

#endif
