/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The inodes of a directory tree, collected while the filesystem is frozen (freeze.h): each once, directories before
 * what is in them, breadth first, names in the order of their cookies. Whoever goes through the directories' entries in
 * the order of the list meets the members in that order too (tree_child).
 */
#ifndef LH_FS_TREE_H
#define LH_FS_TREE_H

#include "fs/core.h"
#include "fs/dir.h"

struct tree_member {
	struct inode *inode;
	struct inode *copy; /* the snapshot's */
	uint32_t names;     /* in the tree; the top's own is not counted */
	bool leaf;          /* a directory whose content is left out */
};

struct tree {
	struct tree_member *m;
	uint64_t count, room;
	uint32_t *hard; /* open addressing by number: index + 1 of members with several names; 0: free */
	uint64_t hard_count, hard_room;
	bool counted; /* the members are referenced */
};

enum tree_do { TREE_ENTER, TREE_LEAF, TREE_SKIP };
struct tree_filter {
	/* Of a directory below the top. NULL: all are entered. */
	enum tree_do (*dir)(void *ctx, const struct inode *i);
	/* Of every member; an error ends it. NULL: none. */
	int (*each)(void *ctx, struct inode *i);
	void *ctx;
};

#define TREE_MEMBERS_MAX ((uint64_t)1 << 31)

/* Frozen. -ENOMEM; -E2BIG; an error of each(). tree_fini also after a failure. */
int tree_collect(struct tree *t, struct inode *top, const struct tree_filter *f);
/* Before collecting: each member gets a reference, for tree_put. */
void tree_init(struct tree *t, bool counted);
/* Drops the references. Thawed, no lock held. */
void tree_put(struct fs *fs, struct tree *t);
void tree_fini(struct tree *t);

/* While going through the entries in the members' order, *next (1 at first): the member that the entry means. */
struct tree_member *tree_child(const struct tree *t, const struct inode *child, uint64_t *next);

#endif
