/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From a path to inodes. A walk stops at each last component, for the operation to look at under the directory's lock;
 * when it is a symlink to be followed, walk_follow goes on behind it.
 */
#ifndef LH_FS_PATH_H
#define LH_FS_PATH_H

#include "fs/core.h"
#include "fs/dir.h"

enum last_kind { LAST_NAME, LAST_DOT, LAST_DOTDOT, LAST_ROOT };

struct walk {
	struct fs *fs;
	const struct fs_caller *who;
	const struct fs_cred *cred; /* his */
	struct inode *dir;          /* counted: the directory of the last component */
	const char *name;           /* the last component, in the path or in `spliced` */
	unsigned len;
	enum last_kind last;
	bool slash; /* slashes follow it: it must be a directory */
	const char *rest;
	char *spliced; /* target of a symlink and what followed it */
	unsigned links;
};

/* Walks to the last component, from who->at[which] on. On success walk_end; on failure nothing is held. */
int walk_path(struct walk *w, struct fs *fs, const struct fs_caller *who, unsigned which, const char *path);
/* The last component is this symlink: walks on behind it. On failure the walk has ended. */
int walk_follow(struct walk *w, struct inode *link);
void walk_end(struct walk *w);

/* Under the directory's lock, any kind: search permission, and the entry of a name. -ENOENT, -EACCES. */
int walk_look(const struct walk *w, struct entry **out);

/* The inode of a call's first path, counted. follow: the last component too; a slash behind it always follows, and
 * wants a directory. */
int path_inode(struct fs *fs, const struct fs_caller *who, const char *path, bool follow, struct inode **out);

#endif
