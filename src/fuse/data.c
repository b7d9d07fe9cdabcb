/* SPDX-License-Identifier: BSD-2-Clause */
/* Content of open files. */
#include "fuse/mount.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

/* A thread's buffer for what it reads; freed with it. */
static _Thread_local struct {
	char *bytes;
	size_t size;
} room;
static pthread_key_t room_key;
static pthread_once_t room_once = PTHREAD_ONCE_INIT;

static void room_make_key(void)
{
	(void)pthread_key_create(&room_key, free);
}

char *thread_room(size_t size)
{
	if (room.size >= size)
		return room.bytes;
	(void)pthread_once(&room_once, room_make_key);
	free(room.bytes);
	room.size = 0;
	/* Whole pages: copies to and from aligned memory are several times as fast. */
	room.bytes = aligned_alloc(LH_BLOCK_SIZE, (size + LH_BLOCK_SIZE - 1) / LH_BLOCK_SIZE * LH_BLOCK_SIZE);
	(void)pthread_setspecific(room_key, room.bytes);
	if (room.bytes)
		room.size = size;
	return room.bytes;
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct call c;
	char *buf = thread_room(size);
	ssize_t n;

	call_begin(&c, req, ino);
	do
		n = buf ? lh_file_read(handle_of(fi)->file, buf, size, (uint64_t)off) : -ENOMEM;
	while (call_again(&c, n));
	if (n < 0) {
		call_reply(&c, n);
		return;
	}
	call_end(&c);
	fuse_reply_buf(req, buf, (size_t)n);
}

/* What the handle is opened as, or its sibling: the flag may be changed on an open file, and mapped pages that the
 * kernel writes back have offsets of their own. */
static int file_for_write(struct call *c, struct handle *h, bool append, struct lh_file **out)
{
	struct lh_file *sibling, *none = NULL;
	int err;

	*out = h->file;
	if (append == !!(h->flags & O_APPEND))
		return 0;
	*out = atomic_load(&h->sibling);
	if (*out)
		return 0;
	err = lh_file_open(c->fs, "", O_WRONLY | (append ? O_APPEND : 0), 0, &sibling);
	if (err)
		return err;
	if (!atomic_compare_exchange_strong(&h->sibling, &none, sibling)) {
		(void)lh_file_close(sibling);
		sibling = none;
	}
	*out = sibling;
	return 0;
}

static ssize_t write_some(struct call *c, const struct fuse_file_info *fi, const char *buf, size_t size, off_t off)
{
	struct handle *h = handle_of(fi);
	struct lh_file *file;
	ssize_t n;
	int err;

	err = file_for_write(c, h, (fi->flags & O_APPEND) && !fi->writepage, &file);
	if (err)
		return err;
	n = lh_file_write(file, buf, size, (uint64_t)off);
	if (n > 0 && !atomic_load_explicit(&h->written, memory_order_relaxed))
		atomic_store(&h->written, true);
	return n;
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct call c;
	ssize_t n;
	int err = 0;

	call_begin_waits(&c, req, ino);
	told_wrote(c.m, ino);
	do
		n = write_some(&c, fi, buf, size, off);
	while (call_again(&c, n));
	if (n > 0 && (fi->flags & O_DSYNC))
		err = lh_file_sync(handle_of(fi)->file);
	if (n < 0 || err) {
		call_reply(&c, n < 0 ? n : err);
		return;
	}
	call_end(&c);
	fuse_reply_write(req, (size_t)n);
}

static void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len, struct fuse_file_info *fi)
{
	struct call c;
	int err;

	call_begin_waits(&c, req, ino);
	told_wrote(c.m, ino);
	do
		err = lh_file_fallocate(handle_of(fi)->file, mode, (uint64_t)off, (uint64_t)len);
	while (call_again(&c, err));
	call_reply(&c, err);
}

static void op_copy(fuse_req_t req, fuse_ino_t ino, off_t off, struct fuse_file_info *from, fuse_ino_t to_ino,
		    off_t to_off, struct fuse_file_info *to, size_t len, int flags)
{
	struct call c;
	ssize_t n;

	call_begin_waits(&c, req, to_ino);
	told_wrote(c.m, to_ino);
	do
		n = flags ? -EINVAL
			  : lh_file_copy_range(handle_of(to)->file, (uint64_t)to_off, handle_of(from)->file,
					       (uint64_t)off, len);
	while (call_again(&c, n));
	if (n < 0) {
		call_reply(&c, n);
		return;
	}
	atomic_store(&handle_of(to)->written, true);
	call_end(&c);
	fuse_reply_write(req, (size_t)n);
}

static void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi)
{
	struct call c;
	int64_t at;

	call_begin(&c, req, ino);
	do
		at = lh_file_seek(handle_of(fi)->file, (uint64_t)off, whence);
	while (call_again(&c, at));
	if (at < 0) {
		call_reply(&c, at);
		return;
	}
	call_end(&c);
	fuse_reply_lseek(req, at);
}

void data_ops(struct fuse_lowlevel_ops *ops)
{
	ops->read = op_read;
	ops->write = op_write;
	ops->fallocate = op_fallocate;
	ops->copy_file_range = op_copy;
	ops->lseek = op_lseek;
}
