/* SPDX-License-Identifier: BSD-2-Clause */
/* Names: look-up, what makes, moves and removes them. */
#include "fuse/mount.h"

#include <limits.h>

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param none = {0};
	struct call c;
	int err;

	call_begin(&c, req, parent);
	none.entry_timeout = c.m->negative_s;
	do
		err = lh_path_stat(c.fs, name, false, c.st);
	while (call_again(&c, err));
	if (err == -ENOENT && none.entry_timeout > 0) {
		call_reply_none(&c, &none);
		return;
	}
	call_reply_entry(&c, err);
}

static void op_readlink(fuse_req_t req, fuse_ino_t ino)
{
	char target[PATH_MAX + 1];
	struct call c;
	ssize_t n;

	call_begin(&c, req, ino);
	do
		n = lh_path_readlink(c.fs, "", target, sizeof(target) - 1);
	while (call_again(&c, n));
	if (n < 0) {
		call_reply(&c, n);
		return;
	}
	target[n] = '\0';
	call_end(&c);
	fuse_reply_readlink(req, target);
}

static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	struct call c;
	int err;

	call_begin_waits(&c, req, parent);
	do
		err = lh_path_mknod(c.fs, name, mode, rdev);
	while (call_again(&c, err));
	call_reply_entry(&c, err);
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct call c;
	int err;

	call_begin_waits(&c, req, parent);
	do
		err = lh_path_mkdir(c.fs, name, mode & 07777);
	while (call_again(&c, err));
	call_reply_entry(&c, err);
}

static void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	struct call c;
	int err;

	call_begin_waits(&c, req, parent);
	do
		err = lh_path_symlink(c.fs, target, name);
	while (call_again(&c, err));
	call_reply_entry(&c, err);
}

static void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
	struct call c;
	int err;

	call_begin_waits(&c, req, ino);
	c.who->at[1] = parent;
	do
		err = lh_path_link(c.fs, "", name);
	while (call_again(&c, err));
	call_reply_entry(&c, err);
}

static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct call c;
	int err;

	call_begin_waits(&c, req, parent);
	do
		err = lh_path_unlink(c.fs, name);
	while (call_again(&c, err));
	call_reply(&c, err);
}

static void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct call c;
	int err;

	call_begin_waits(&c, req, parent);
	do
		err = lh_path_rmdir(c.fs, name);
	while (call_again(&c, err));
	call_reply(&c, err);
}

static void op_rename(fuse_req_t req, fuse_ino_t from, const char *name, fuse_ino_t to, const char *new_name,
		      unsigned flags)
{
	struct call c;
	int err;

	call_begin_waits(&c, req, from);
	c.who->at[1] = to;
	do
		err = flags & ~(LH_RENAME_NOREPLACE | LH_RENAME_EXCHANGE) ? -EINVAL
									  : lh_path_rename(c.fs, name, new_name, flags);
	while (call_again(&c, err));
	call_reply(&c, err);
}

void names_ops(struct fuse_lowlevel_ops *ops)
{
	ops->lookup = op_lookup;
	ops->readlink = op_readlink;
	ops->mknod = op_mknod;
	ops->mkdir = op_mkdir;
	ops->symlink = op_symlink;
	ops->link = op_link;
	ops->unlink = op_unlink;
	ops->rmdir = op_rmdir;
	ops->rename = op_rename;
}
