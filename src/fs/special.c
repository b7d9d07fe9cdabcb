/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is made without content or without a name: mknod, O_TMPFILE, and the name that a handle's file gets.
 *
 * A file without a name is on the medium from the start, as an orphan: a crash takes it, and linking it is one record
 * with an entry, as for any file.
 */
#include "fs/special.h"

#include <errno.h>
#include <fcntl.h>

#include "base/error.h"
#include "fs/namespace.h"
#include "fs/perm.h"

int fs_mknod(struct fs *fs, const struct fs_caller *who, const char *path, uint32_t mode, uint64_t rdev)
{
	struct node n = {.mode = (mode & S_IFMT) | (mode & MODE_PERM), .umask = who->umask};

	if ((mode & S_IFMT) == 0)
		n.mode |= S_IFREG;
	switch (n.mode & S_IFMT) {
	case S_IFREG:
	case S_IFIFO:
	case S_IFSOCK:
		break;
	case S_IFCHR:
	case S_IFBLK:
		if (!cred_is_super(&who->cred))
			return fail(-EPERM, "only root makes device nodes");
		n.rdev = rdev;
		break;
	case S_IFDIR:
		return fail(-EPERM, "directories are made by mkdir");
	default:
		return fail(-EINVAL, "mode 0%o names no type of node", mode);
	}
	return node_make(fs, who, path, &n);
}

int tmpfile_flags_check(int flags)
{
	if (flags & O_CREAT)
		return fail(-EINVAL, "O_TMPFILE does not go with O_CREAT");
	if ((flags & O_ACCMODE) == O_RDONLY)
		return fail(-EINVAL, "a file without a name must be opened for writing");
	return 0;
}

int tmpfile_make(struct fs *fs, const struct fs_caller *who, const char *path, int flags, uint32_t mode,
		 struct inode **out)
{
	struct node n = {
	    .mode = S_IFREG | (mode & MODE_PERM), .umask = who->umask, .nameless = true, .linkable = !(flags & O_EXCL)};
	struct walk w = {.fs = fs, .who = who, .cred = &who->cred};
	int err = path_inode(fs, who, path, !(flags & O_NOFOLLOW), &w.dir);

	if (err)
		return err;
	if (w.dir->type != DT_DIR) {
		err = -ENOTDIR;
	} else {
		rwlock_take_write(&w.dir->lock);
		err = node_create(&w, &n, out);
		rwlock_drop(&w.dir->lock);
	}
	inode_put(fs, w.dir);
	return err;
}

int fs_link_handle(struct fs_handle *h, const struct fs_caller *who, const char *to)
{
	return inode_link(h->fs, who, h->inode, 0, to);
}
