/* SPDX-License-Identifier: BSD-2-Clause */
#include "fs/path.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "fs/perm.h"

static int path_check(const char *path, bool relative)
{
	if (path[0] == '\0' && !relative)
		return fail(-ENOENT, "the path is empty");
	if (strnlen(path, FS_PATH_MAX + 1) > FS_PATH_MAX)
		return fail(-ENAMETOOLONG, "the path is longer than %u bytes", FS_PATH_MAX);
	return 0;
}

/* The next component of w->rest: into name, len, last, slash. */
static int next_component(struct walk *w)
{
	const char *p = w->rest;

	while (*p == '/')
		p++;
	w->name = p;
	while (*p != '\0' && *p != '/')
		p++;
	w->len = (unsigned)(p - w->name);
	w->slash = *p == '/';
	while (*p == '/')
		p++;
	w->rest = p;
	w->last = LAST_NAME;
	if (w->len == 0)
		w->last = LAST_ROOT;
	else if (w->len == 1 && w->name[0] == '.')
		w->last = LAST_DOT;
	else if (w->len == 2 && w->name[0] == '.' && w->name[1] == '.')
		w->last = LAST_DOTDOT;
	if (w->len > FS_NAME_MAX)
		return fail(-ENAMETOOLONG, "the name \"%.40s...\" is longer than %u bytes", w->name, FS_NAME_MAX);
	return 0;
}

int walk_look(const struct walk *w, struct entry **out)
{
	int err = perm_check(w->dir, w->cred, MAY_EXEC);

	*out = NULL;
	if (err)
		return err;
	*out = dir_find(w->dir->dir, w->name, w->len);
	return *out ? 0 : -ENOENT;
}

/* The counted inode of the present component, "." and ".." too. */
static int step(struct walk *w, struct inode **out)
{
	struct entry *e;
	int err = 0;

	*out = NULL;
	rwlock_take_read(&w->dir->lock);
	switch (w->last) {
	case LAST_NAME:
		err = walk_look(w, &e);
		if (!err)
			*out = e->inode;
		break;
	case LAST_DOT:
		err = perm_check(w->dir, w->cred, MAY_EXEC);
		*out = w->dir;
		break;
	case LAST_ROOT:
		*out = w->dir;
		break;
	case LAST_DOTDOT:
		err = perm_check(w->dir, w->cred, MAY_EXEC);
		*out = w->dir->dir->parent;
		if (!err && !*out)
			err = -ENOENT;
		break;
	}
	if (!err)
		inode_get(*out);
	rwlock_drop(&w->dir->lock);
	return err;
}

static void enter(struct walk *w, struct inode *dir)
{
	inode_put(w->fs, w->dir);
	w->dir = dir;
}

/* What remains of the walk becomes target + "/" + rest, from the root or from where we are. */
static int splice(struct walk *w, const struct inode *link)
{
	size_t rest = strlen(w->rest);
	char *path;

	if (++w->links > FS_SYMLINKS_MAX)
		return fail(-ELOOP, "more than %u symbolic links in one path", FS_SYMLINKS_MAX);
	if (link->target_len + 1 + rest > FS_PATH_MAX)
		return fail(-ENAMETOOLONG, "the path behind a symbolic link is longer than %u bytes", FS_PATH_MAX);
	path = malloc(link->target_len + 2 + rest);
	if (!path)
		return -ENOMEM;
	memcpy(path, link->target, link->target_len);
	path[link->target_len] = '\0';
	if (w->slash)
		path[link->target_len] = '/';
	memcpy(path + link->target_len + (w->slash ? 1 : 0), w->rest, rest + 1);
	if (path[0] == '/') {
		inode_get(w->fs->root);
		enter(w, w->fs->root);
	}
	free(w->spliced);
	w->spliced = path;
	w->rest = path;
	return 0;
}

/* Goes through all components but the last. */
static int walk_on(struct walk *w)
{
	int err = next_component(w);

	while (!err && *w->rest != '\0') {
		struct inode *next;

		err = step(w, &next);
		if (err)
			break;
		if (next->type == DT_LNK) {
			err = splice(w, next);
			inode_put(w->fs, next);
		} else if (next->type == DT_DIR) {
			enter(w, next);
		} else {
			inode_put(w->fs, next);
			err = -ENOTDIR;
		}
		if (!err)
			err = next_component(w);
	}
	if (err)
		walk_end(w);
	return err;
}

/* Where a path starts, counted. */
static int walk_start(struct fs *fs, uint64_t at, const char *path, struct inode **out)
{
	if (at == 0) {
		inode_get(fs->root);
		*out = fs->root;
		return 0;
	}
	*out = itable_get(fs, at);
	if (!*out)
		return fail(-ESTALE, "inode %llu: there is no such file any more", (unsigned long long)at);
	if (path[0] != '\0' && (*out)->type != DT_DIR) {
		inode_put(fs, *out);
		return -ENOTDIR;
	}
	return 0;
}

int walk_path(struct walk *w, struct fs *fs, const struct fs_caller *who, unsigned which, const char *path)
{
	struct inode *start;
	int err = path_check(path, who->at[which] != 0);

	if (!err)
		err = walk_start(fs, who->at[which], path, &start);
	if (err)
		return err;
	*w = (struct walk){.fs = fs, .who = who, .cred = &who->cred, .dir = start, .rest = path};
	return walk_on(w);
}

int walk_follow(struct walk *w, struct inode *link)
{
	int err = splice(w, link);

	if (err) {
		walk_end(w);
		return err;
	}
	return walk_on(w);
}

void walk_end(struct walk *w)
{
	inode_put(w->fs, w->dir);
	w->dir = NULL;
	free(w->spliced);
	w->spliced = NULL;
}

int path_inode(struct fs *fs, const struct fs_caller *who, const char *path, bool follow, struct inode **out)
{
	struct walk w;
	struct inode *i;
	int err;

	if (path[0] == '\0' && who->at[0])
		return walk_start(fs, who->at[0], path, out);
	err = walk_path(&w, fs, who, 0, path);

	while (!err) {
		err = step(&w, &i);
		if (err) {
			walk_end(&w);
			break;
		}
		if (i->type == DT_LNK && (follow || w.slash)) {
			err = walk_follow(&w, i);
			inode_put(fs, i);
			continue;
		}
		if (w.slash && i->type != DT_DIR) {
			inode_put(fs, i);
			err = -ENOTDIR;
		}
		walk_end(&w);
		*out = i;
		break;
	}
	return err;
}
