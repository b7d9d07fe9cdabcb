/* SPDX-License-Identifier: BSD-2-Clause */
/* Names and directories: the fs's calls in the public header's types. A directory handle reads ahead a bounded batch.
 */
#include "local/local.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "base/error.h"

#define DIR_BATCH 64u

void local_stat_of(const struct fs_attr *attr, struct lh_stat *out)
{
	out->mode = attr->mode;
	out->ino = attr->ino;
	out->nlink = attr->nlink;
	out->uid = attr->uid;
	out->gid = attr->gid;
	out->reserved = 0;
	out->size = attr->size;
	out->blocks = attr->blocks;
	out->atime_ns = attr->atime_ns;
	out->mtime_ns = attr->mtime_ns;
	out->ctime_ns = attr->ctime_ns;
	out->btime_ns = attr->btime_ns;
	out->rdev = attr->rdev;
	static_assert(LH_STAT_SNAPSHOT == FS_ATTR_SNAPSHOT && LH_STAT_READ_ONLY == FS_ATTR_READ_ONLY, "same bits");
	out->flags = attr->flags;
	out->tree = attr->tree;
}

int local_path_stat(struct lh_fs *fs, const char *path, bool follow, struct lh_stat *out)
{
	struct fs_attr attr;
	int err;

	err = fs_stat(fs->fs, local_who(fs), path, follow, &attr);
	if (!err)
		local_stat_of(&attr, out);
	return err;
}

int local_path_mkdir(struct lh_fs *fs, const char *path, uint32_t mode)
{
	return local_told(fs_mkdir(fs->fs, local_who(fs), path, mode));
}

int local_path_rmdir(struct lh_fs *fs, const char *path)
{
	return fs_rmdir(fs->fs, local_who(fs), path);
}

int local_path_unlink(struct lh_fs *fs, const char *path)
{
	return fs_unlink(fs->fs, local_who(fs), path);
}

int local_path_rename(struct lh_fs *fs, const char *from, const char *to, unsigned flags)
{
	static_assert(LH_RENAME_NOREPLACE == RENAME_NOREPLACE && LH_RENAME_EXCHANGE == RENAME_EXCHANGE, "same bits");
	return fs_rename(fs->fs, local_who(fs), from, to, flags);
}

int local_path_link(struct lh_fs *fs, const char *from, const char *to)
{
	return local_told(fs_link(fs->fs, local_who(fs), from, to));
}

int local_path_symlink(struct lh_fs *fs, const char *target, const char *path)
{
	return local_told(fs_symlink(fs->fs, local_who(fs), target, path));
}

ssize_t local_path_readlink(struct lh_fs *fs, const char *path, char *buf, size_t size)
{
	return fs_readlink(fs->fs, local_who(fs), path, buf, size);
}

int local_path_chmod(struct lh_fs *fs, const char *path, uint32_t mode)
{
	struct fs_setattr set = {.mask = FS_SET_MODE, .mode = mode};

	return local_told(fs_setattr(fs->fs, local_who(fs), path, true, &set));
}

int local_path_chown(struct lh_fs *fs, const char *path, bool follow, uint32_t uid, uint32_t gid)
{
	struct fs_setattr set = {.uid = uid, .gid = gid};

	if (uid != UINT32_MAX)
		set.mask |= FS_SET_UID;
	if (gid != UINT32_MAX)
		set.mask |= FS_SET_GID;
	return local_told(fs_setattr(fs->fs, local_who(fs), path, follow, &set));
}

int local_path_mknod(struct lh_fs *fs, const char *path, uint32_t mode, uint64_t rdev)
{
	return local_told(fs_mknod(fs->fs, local_who(fs), path, mode, rdev));
}

ssize_t local_path_getxattr(struct lh_fs *fs, const char *path, bool follow, const char *name, void *value, size_t size)
{
	return fs_xattr_get(fs->fs, local_who(fs), path, follow, name, value, size);
}

int local_path_setxattr(struct lh_fs *fs, const char *path, bool follow, const char *name, const void *value,
			size_t size, unsigned flags)
{
	static_assert(LH_XATTR_CREATE == XATTR_CREATE && LH_XATTR_REPLACE == XATTR_REPLACE, "same bits");
	return fs_xattr_set(fs->fs, local_who(fs), path, follow, name, value, size, (int)flags);
}

ssize_t local_path_listxattr(struct lh_fs *fs, const char *path, bool follow, char *names, size_t size)
{
	return fs_xattr_list(fs->fs, local_who(fs), path, follow, names, size);
}

int local_path_removexattr(struct lh_fs *fs, const char *path, bool follow, const char *name)
{
	return fs_xattr_remove(fs->fs, local_who(fs), path, follow, name);
}

int local_path_set_times(struct lh_fs *fs, const char *path, bool follow, int64_t atime_ns, int64_t mtime_ns)
{
	struct fs_setattr set = {.atime_ns = atime_ns, .mtime_ns = mtime_ns};

	if (atime_ns != INT64_MAX)
		set.mask |= FS_SET_ATIME;
	if (mtime_ns != INT64_MAX)
		set.mask |= FS_SET_MTIME;
	return local_told(fs_setattr(fs->fs, local_who(fs), path, follow, &set));
}

/* --- directories --- */

struct lh_dir {
	struct lh_dir_head head;
	struct lh_fs *fs;
	struct fs_handle *handle;
	uint64_t number;
	uint64_t cookie; /* of the last entry in the batch */
	unsigned next, count;
	struct lh_dirent batch[DIR_BATCH];
};

int local_dir_open(struct lh_fs *fs, const char *path, struct lh_dir **out)
{
	struct lh_dir *dir = calloc(1, sizeof(*dir));
	int err;

	if (dir == NULL)
		return -ENOMEM;
	err = fs_open(fs->fs, local_who(fs), path, O_RDONLY | O_DIRECTORY, 0, &dir->handle);
	if (err) {
		free(dir);
		return err;
	}
	dir->head.be = fs->head.be;
	dir->head.fs = fs;
	dir->fs = fs;
	dir->number = atomic_fetch_add(&fs->serial, 1);
	atomic_fetch_add(&fs->open_handles, 1);
	*out = dir;
	return 0;
}

static bool dir_add(void *ctx, const struct fs_dirent *d)
{
	struct lh_dir *dir = ctx;
	struct lh_dirent *e = &dir->batch[dir->count];

	if (dir->count == DIR_BATCH)
		return false;
	assert(d->name_len < sizeof(e->name));
	e->ino = d->ino;
	e->cookie = d->cookie;
	e->type = d->type;
	memcpy(e->name, d->name, d->name_len);
	e->name[d->name_len] = '\0';
	dir->count++;
	return true;
}

int local_dir_next(struct lh_dir *dir, struct lh_dirent *out)
{
	int err;

	if (dir->next == dir->count) {
		dir->next = dir->count = 0;
		err = fs_readdir(dir->handle, local_who(dir->fs), dir->cookie, dir_add, dir);
		if (err < 0)
			return err;
		if (dir->count == 0)
			return 0;
		dir->cookie = dir->batch[dir->count - 1].cookie;
	}
	*out = dir->batch[dir->next++];
	return 1;
}

/* By number: a name that means another inode meanwhile does not matter. */
int local_dir_next_stat(struct lh_dir *dir, struct lh_dirent *out, struct lh_stat *st)
{
	struct fs_caller who = *local_who(dir->fs);
	struct fs_attr attr;
	int n;

	who.attr = NULL;
	for (;;) {
		n = local_dir_next(dir, out);
		if (n != 1)
			return n;
		who.at[0] = out->ino;
		if (fs_stat(dir->fs->fs, &who, "", false, &attr))
			continue;
		local_stat_of(&attr, st);
		return 1;
	}
}

void local_dir_seek(struct lh_dir *dir, uint64_t cookie)
{
	dir->cookie = cookie;
	dir->next = dir->count = 0;
}

void local_dir_close(struct lh_dir *dir)
{
	struct lh_fs *fs;

	if (dir == NULL)
		return;
	fs = dir->fs;
	fs_close(dir->handle, fs->session, dir->number);
	free(dir);
	atomic_fetch_sub(&fs->open_handles, 1);
}
