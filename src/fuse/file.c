/* SPDX-License-Identifier: BSD-2-Clause */
/* Open files: open, create, close, and making them durable. */
#include "fuse/mount.h"

#include <fcntl.h>

/* Of open(2)'s flags, what the library is told. Access mode 3 needs both rights and gives both. O_APPEND is added where
 * it counts: write-back of mapped pages knows its offsets. */
static int flags_of(const struct fuse_file_info *fi)
{
	int mode = fi->flags & O_ACCMODE;

	return (mode == O_ACCMODE ? O_RDWR : mode) | (fi->flags & (O_TRUNC | O_APPEND));
}

static void opened(struct call *c, struct handle *h, struct fuse_file_info *fi)
{
	if (fi->flags & O_TRUNC)
		told_wrote(c->m, h->ino);
	fi->keep_cache = told_open(c->m, c->st);
	fi->fh = (uintptr_t)h;
}

/* The program is gone and will not close it. */
static void replied(struct call *c, struct handle *h, int sent)
{
	if (sent == -ENOENT)
		(void)handle_free(c->m, h);
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct lh_file *file = NULL;
	struct handle *h;
	struct call c;
	int err;

	call_begin_waits(&c, req, ino);
	h = handle_new(c.m, ino, flags_of(fi));
	err = h ? mount_watch_before_open(&c, fi->flags) : -ENOMEM;
	if (!err) {
		do
			err = fi->flags & O_TRUNC ? privileges_at_open(&c) : 0;
		while (call_again(&c, err));
	}
	if (!err) {
		do
			err = lh_file_open(c.fs, "", h->flags, 0, &file);
		while (call_again(&c, err));
		atomic_store(&h->file, file);
	}
	if (!err)
		err = mount_watch_after_open(&c, fi->flags);
	if (err) {
		if (h)
			(void)handle_free(c.m, h);
		call_reply(&c, err);
		return;
	}
	opened(&c, h, fi);
	call_end(&c);
	replied(&c, h, fuse_reply_open(req, fi));
}

/*
 * The kernel asks for it where it has found no such name. When there is one by now, it has checked nothing of that
 * file: so the program opens it with its own rights.
 */
static int create(struct call *c, const char *name, int flags, mode_t mode, struct lh_file **out)
{
	gid_t groups[CALL_GROUPS_MAX];
	int err;

	err = lh_file_open(c->fs, name, flags | O_CREAT | O_EXCL | O_NOFOLLOW, mode & 07777, out);
	if (err != -EEXIST || (flags & O_EXCL))
		return err;
	call_as_itself(c, groups);
	err = lh_file_open(c->fs, name, (flags & ~O_CREAT) | O_NOFOLLOW, 0, out);
	call_as_checked(c);
	return err;
}

static void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	struct fuse_entry_param e = {0};
	struct lh_file *file = NULL;
	struct handle *h;
	struct call c;
	int err;

	call_begin_waits(&c, req, parent);
	h = handle_new(c.m, parent, flags_of(fi));
	err = h ? 0 : -ENOMEM;
	if (h) {
		do
			err = create(&c, name, h->flags | (fi->flags & O_EXCL), mode, &file);
		while (call_again(&c, err));
		atomic_store(&h->file, file);
	}
	if (err) {
		if (h)
			(void)handle_free(c.m, h);
		call_reply(&c, err);
		return;
	}
	handle_move(c.m, h, c.st->ino);
	e.ino = c.st->ino;
	e.attr_timeout = c.m->attr_s;
	e.entry_timeout = c.m->entry_s;
	stat_to_kernel(c.st, &e.attr);
	opened(&c, h, fi);
	call_end(&c);
	replied(&c, h, fuse_reply_create(req, &e, fi));
}

static void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct call c;

	call_begin(&c, req, ino);
	call_reply(&c, handle_free(c.m, handle_of(fi)));
}

static int sync_once(struct call *c, struct handle *h)
{
	struct lh_file *file, *sibling;
	int err = handle_file(c, h, &file);

	if (err)
		return err;
	if (atomic_exchange(&h->lost, false))
		return -EIO;
	atomic_store(&h->written, false);
	err = lh_file_sync(file);
	sibling = atomic_load(&h->sibling);
	if (!err && sibling && lh_file_fs(sibling) == c->fs)
		err = lh_file_sync(sibling);
	if (err)
		atomic_store(&h->written, true);
	return err;
}

int handle_sync(struct call *c, struct handle *h)
{
	int err;

	do
		err = sync_once(c, h);
	while (call_again(c, err));
	return err;
}

/* On a server: what was written shows its size to others by the time that close(2) returns, and a loss is told there.
 */
static void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct handle *h = handle_of(fi);
	struct call c;
	int err = 0;

	call_begin(&c, req, ino);
	if (atomic_load(&h->written) || atomic_load(&h->lost))
		err = handle_sync(&c, h);
	call_reply(&c, err);
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	struct call c;

	call_begin(&c, req, ino);
	call_reply(&c, handle_sync(&c, handle_of(fi)));
}

void file_ops(struct fuse_lowlevel_ops *ops)
{
	ops->open = op_open;
	ops->create = op_create;
	ops->release = op_release;
	ops->fsync = op_fsync;
}

void file_ops_remote(struct fuse_lowlevel_ops *ops)
{
	ops->flush = op_flush;
}
