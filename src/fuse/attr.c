/* SPDX-License-Identifier: BSD-2-Clause */
/* Attributes of inodes and of the filesystem. */
#include "fuse/mount.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/clock.h"

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct call c;
	int err;

	call_begin(&c, req, ino);
	do
		err = lh_path_stat(c.fs, "", false, c.st);
	while (call_again(&c, err));
	call_reply_attr(&c, err);
}

/* --- setattr: the kernel sends several changes in one, and each is a call --- */

static int set_size(struct call *c, struct handle *h, uint64_t size)
{
	struct lh_file *file;
	int err;

	told_wrote(c->m, c->who->at[0]);
	err = privileges_at_truncate(c);
	if (err)
		return err;
	if (h && (h->flags & O_ACCMODE) != O_RDONLY)
		return lh_file_truncate(h->file, size);
	err = lh_file_open(c->fs, "", O_WRONLY, 0, &file);
	if (err)
		return err;
	err = lh_file_truncate(file, size);
	if (err) {
		(void)lh_file_close(file);
		return err;
	}
	return lh_file_close(file);
}

static int64_t time_of(const struct timespec *t)
{
	int64_t ns;

	if (__builtin_mul_overflow((int64_t)t->tv_sec, (int64_t)NS_PER_SEC, &ns) ||
	    __builtin_add_overflow(ns, (int64_t)t->tv_nsec, &ns))
		ns = t->tv_sec < 0 ? INT64_MIN + 1 : INT64_MAX - 1;
	return ns;
}

static int set_times(struct call *c, const struct stat *attr, int set)
{
	int64_t atime = INT64_MAX, mtime = INT64_MAX;

	if (set & FUSE_SET_ATTR_ATIME_NOW)
		atime = INT64_MIN;
	else if (set & FUSE_SET_ATTR_ATIME)
		atime = time_of(&attr->st_atim);
	if (set & FUSE_SET_ATTR_MTIME_NOW)
		mtime = INT64_MIN;
	else if (set & FUSE_SET_ATTR_MTIME)
		mtime = time_of(&attr->st_mtim);
	return lh_path_set_times(c->fs, "", false, atime, mtime);
}

#define SET_OWNER (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)
#define SET_TIMES (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_ATIME_NOW | FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW)

/* Size first: it is what can fail, and what others' times follow from. The mode after the owner, who takes bits off. */
static int set_one(struct call *c, struct handle *h, const struct stat *attr, int *set)
{
	int now;

	if (*set & FUSE_SET_ATTR_SIZE) {
		*set &= ~FUSE_SET_ATTR_SIZE;
		return set_size(c, h, (uint64_t)attr->st_size);
	}
	if (*set & SET_OWNER) {
		now = *set;
		*set &= ~SET_OWNER;
		return lh_path_lchown(c->fs, "", now & FUSE_SET_ATTR_UID ? attr->st_uid : UINT32_MAX,
				      now & FUSE_SET_ATTR_GID ? attr->st_gid : UINT32_MAX);
	}
	if (*set & FUSE_SET_ATTR_MODE) {
		*set &= ~FUSE_SET_ATTR_MODE;
		return lh_path_chmod(c->fs, "", attr->st_mode & 07777);
	}
	now = *set;
	*set &= ~SET_TIMES;
	return set_times(c, attr, now);
}

static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi)
{
	struct handle *h = fi ? handle_of(fi) : NULL;
	struct call c;
	int err = 0;

	to_set &= FUSE_SET_ATTR_SIZE | SET_OWNER | FUSE_SET_ATTR_MODE | SET_TIMES;
	call_begin_waits(&c, req, ino);
	while (!err && to_set) {
		int before = to_set;

		do {
			to_set = before;
			err = set_one(&c, h, attr, &to_set);
		} while (call_again(&c, err));
	}
	if (!err)
		err = lh_path_stat(c.fs, "", false, c.st);
	call_reply_attr(&c, err);
}

/*
 * access(2) where the kernel does not check permissions: what can be tried without changing anything is tried. Whether
 * a directory may be written is known only to who writes.
 */
static int try_dir(struct call *c, int mask)
{
	struct lh_stat st = {.size_of = sizeof(st)};
	struct lh_dir *dir;
	int err = 0;

	if (mask & R_OK) {
		err = lh_dir_open(c->fs, "", &dir);
		if (!err)
			lh_dir_close(dir);
	}
	if (!err && (mask & X_OK))
		err = lh_path_stat(c->fs, "\001", false, &st) == -EACCES ? -EACCES : 0;
	return err;
}

static int try_file(struct call *c, int mask)
{
	struct lh_file *file;
	int err;

	if ((mask & X_OK) && !(c->st->mode & 0111))
		return -EACCES;
	if (!S_ISREG(c->st->mode) || !(mask & (R_OK | W_OK)))
		return 0;
	err = lh_file_open(c->fs, "", !(mask & W_OK) ? O_RDONLY : mask & R_OK ? O_RDWR : O_WRONLY, 0, &file);
	return err ? err : lh_file_close(file);
}

static void op_access(fuse_req_t req, fuse_ino_t ino, int mask)
{
	struct call c;
	int err;

	call_begin(&c, req, ino);
	do {
		err = lh_path_stat(c.fs, "", false, c.st);
		if (!err)
			err = S_ISDIR(c.st->mode) ? try_dir(&c, mask) : try_file(&c, mask);
	} while (call_again(&c, err));
	call_reply(&c, err);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct lh_statfs fs = {.size = sizeof(fs)};
	struct statvfs out = {0};
	struct call c;
	int err;

	call_begin(&c, req, ino);
	do
		err = lh_fs_stat(c.fs, &fs);
	while (call_again(&c, err));
	if (err) {
		call_reply(&c, err);
		return;
	}
	out.f_bsize = out.f_frsize = fs.block_size;
	out.f_blocks = fs.blocks;
	out.f_bfree = fs.free_blocks;
	out.f_bavail = fs.avail_blocks;
	/* Inodes are made as they are wanted; each takes space. */
	out.f_files = fs.files + fs.avail_blocks;
	out.f_ffree = out.f_favail = fs.avail_blocks;
	out.f_namemax = 255;
	call_end(&c);
	fuse_reply_statfs(req, &out);
}

void attr_ops(struct fuse_lowlevel_ops *ops)
{
	ops->getattr = op_getattr;
	ops->setattr = op_setattr;
	ops->access = op_access;
	ops->statfs = op_statfs;
}
