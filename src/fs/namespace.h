/* SPDX-License-Identifier: BSD-2-Clause */
/* Making and removing names. */
#ifndef LH_FS_NAMESPACE_H
#define LH_FS_NAMESPACE_H

#include "fs/path.h"

/* What is made: type and permissions, and what only some types have. */
struct node {
	uint32_t mode;
	uint32_t umask; /* of the caller; a default ACL stands in its place */
	uint64_t rdev;
	const char *target;
	uint32_t target_len;
	bool nameless; /* an orphan, for as long as nobody gives it a name */
	bool linkable; /* nameless: and somebody may */
};
/*
 * Under the exclusive lock of w->dir, the name is not there. Checks permission, makes the inode and its name in one
 * record. out: counted; NULL drops it. The new inode's lock is not held on return. nameless: the walk's name is not
 * looked at.
 */
int node_create(const struct walk *w, const struct node *n, struct inode **out);
/* node_create at the end of a path where nothing may be yet. */
int node_make(struct fs *fs, const struct fs_caller *who, const char *path, const struct node *n);
/* One more name for a counted inode that is no directory; `to` is the call's path `which`. */
int inode_link(struct fs *fs, const struct fs_caller *who, struct inode *i, unsigned which, const char *to);
/* Under the directory's exclusive lock: it takes new entries (it is not removed, the fs not read-only). */
int dir_writable(const struct walk *w);
/*
 * Under the exclusive locks of both: takes one link of a victim that has lost (or is about to lose) an entry into
 * account for the record. Returns whether the record forgets the inode at once.
 */
struct victim {
	struct inode *inode;
	struct inode_attr attr;
	bool last, forget;
};
void victim_plan(struct victim *v, struct inode *i, int64_t now, struct jtxn *t);
void victim_apply(struct fs *fs, struct victim *v, uint64_t seq, const struct fs_caller *who);
/* Locks dir and the child that the walk's name means, exclusively; the child is counted. -ENOENT, -EACCES: nothing
 * held. */
int lock_dir_child(struct walk *w, struct entry **entry, struct inode **child);

#endif
