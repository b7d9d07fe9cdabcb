/* SPDX-License-Identifier: BSD-2-Clause */
#include "fs/perm.h"

#include <errno.h>

#include "base/error.h"
#include "format/format.h"
#include "fs/acl.h"

bool cred_in_group(const struct fs_cred *c, uint32_t gid)
{
	if (c->gid == gid)
		return true;
	for (uint32_t k = 0; k < c->group_count && k < FS_GROUPS_MAX; k++) {
		if (c->groups[k] == gid)
			return true;
	}
	return false;
}

int perm_check(const struct inode *i, const struct fs_cred *c, unsigned want)
{
	const struct inode_attr *a = &i->attr;
	unsigned have;

	if (cred_is_super(c)) {
		bool exec = S_ISDIR(a->mode) || (a->mode & (S_IXUSR | S_IXGRP | S_IXOTH));

		return (want & MAY_EXEC) && !exec ? -EACCES : 0;
	}
	if (c->uid == a->uid)
		have = a->mode >> 6;
	else if (xattrs_access(i))
		return acl_permits(xattrs_access(i), a, c, want);
	else if (cred_in_group(c, a->gid))
		have = a->mode >> 3;
	else
		have = a->mode;
	return (want & ~have) ? -EACCES : 0;
}

int inode_changeable(const struct fs *fs, const struct inode *i)
{
	if (fs->read_only)
		return fail(-EROFS, "the filesystem is mounted read-only");
	if (i->attr.flags & INODE_READ_ONLY)
		return fail(-EROFS, "it belongs to a read-only snapshot");
	return 0;
}

int perm_delete(const struct inode *dir, const struct inode *victim, const struct fs_cred *c)
{
	int err = perm_check(dir, c, MAY_WRITE | MAY_EXEC);

	if (err)
		return err;
	if ((dir->attr.mode & S_ISVTX) && !cred_is_super(c) && c->uid != victim->attr.uid && c->uid != dir->attr.uid)
		return fail(-EPERM, "the directory is sticky, and neither it nor what the name means is yours");
	return 0;
}

void perm_inherit(const struct inode_attr *dir, const struct fs_cred *c, struct inode_attr *child)
{
	child->uid = c->uid;
	child->gid = c->gid;
	child->tree = dir->tree;
	if (!(dir->mode & S_ISGID))
		return;
	child->gid = dir->gid;
	if (S_ISDIR(child->mode))
		child->mode |= S_ISGID;
	else if ((child->mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) && !cred_is_super(c) &&
		 !cred_in_group(c, dir->gid))
		child->mode &= ~(uint32_t)S_ISGID;
}

/* Without group execution, set-group-id means something else (mandatory locks) and stays for who is in the group. */
static uint32_t mode_without_setid(const struct inode_attr *a, const struct fs_cred *c)
{
	uint32_t mode = a->mode & ~(uint32_t)S_ISUID;

	if ((mode & S_IXGRP) || (!cred_is_super(c) && !cred_in_group(c, a->gid)))
		mode &= ~(uint32_t)S_ISGID;
	return mode;
}

uint32_t mode_after_write(const struct inode_attr *a, const struct fs_cred *c)
{
	if (likely(!(a->mode & (S_ISUID | S_ISGID))) || cred_is_super(c))
		return a->mode;
	return mode_without_setid(a, c);
}

static int set_owner(struct inode_attr *a, const struct fs_cred *c, const struct fs_setattr *set)
{
	if (((set->mask & FS_SET_UID) && set->uid == FS_ID_NONE) ||
	    ((set->mask & FS_SET_GID) && set->gid == FS_ID_NONE))
		return fail(-EINVAL, "%u is nobody's number", FS_ID_NONE);
	if ((set->mask & FS_SET_UID) && !cred_is_super(c) && (c->uid != a->uid || set->uid != a->uid))
		return -EPERM;
	if ((set->mask & FS_SET_GID) && !cred_is_super(c) &&
	    (c->uid != a->uid || (set->gid != a->gid && !cred_in_group(c, set->gid))))
		return -EPERM;
	if (!S_ISDIR(a->mode))
		a->mode = mode_without_setid(a, c);
	if (set->mask & FS_SET_UID)
		a->uid = set->uid;
	if (set->mask & FS_SET_GID)
		a->gid = set->gid;
	return 0;
}

static int set_mode(struct inode_attr *a, const struct fs_cred *c, const struct fs_setattr *set)
{
	uint32_t mode = set->mode & MODE_PERM;

	if (!cred_is_super(c) && c->uid != a->uid)
		return -EPERM;
	if (!cred_is_super(c) && !cred_in_group(c, a->gid))
		mode &= ~(uint32_t)S_ISGID;
	a->mode = (a->mode & S_IFMT) | mode;
	return 0;
}

static int set_times(const struct inode *i, struct inode_attr *a, const struct fs_cred *c, const struct fs_setattr *set,
		     int64_t now)
{
	bool explicit_time = ((set->mask & FS_SET_ATIME) && set->atime_ns != INT64_MIN) ||
			     ((set->mask & FS_SET_MTIME) && set->mtime_ns != INT64_MIN);
	bool both_now = !explicit_time && (set->mask & FS_SET_ATIME) && (set->mask & FS_SET_MTIME);

	if (!cred_is_super(c) && c->uid != a->uid) {
		if (!both_now)
			return -EPERM;
		if (perm_check(i, c, MAY_WRITE))
			return -EACCES;
	}
	if (set->mask & FS_SET_ATIME)
		a->atime_ns = set->atime_ns == INT64_MIN ? now : set->atime_ns;
	if (set->mask & FS_SET_MTIME)
		a->mtime_ns = set->mtime_ns == INT64_MIN ? now : set->mtime_ns;
	return 0;
}

int perm_setattr(const struct inode *i, const struct fs_cred *c, const struct fs_setattr *set, int64_t now,
		 struct inode_attr *a)
{
	int err = 0;

	*a = i->attr;
	if (set->mask & ~(FS_SET_MODE | FS_SET_UID | FS_SET_GID | FS_SET_ATIME | FS_SET_MTIME))
		return -EINVAL;
	if (set->mask & (FS_SET_UID | FS_SET_GID))
		err = set_owner(a, c, set);
	if (!err && (set->mask & FS_SET_MODE))
		err = set_mode(a, c, set);
	if (!err && (set->mask & (FS_SET_ATIME | FS_SET_MTIME)))
		err = set_times(i, a, c, set, now);
	a->ctime_ns = now;
	return err;
}
