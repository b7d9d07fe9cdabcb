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
	struct lh_file *file;
	ssize_t n;

	call_begin(&c, req, ino);
	do {
		n = buf ? handle_file(&c, handle_of(fi), &file) : -ENOMEM;
		if (n == 0)
			n = lh_file_read(file, buf, size, (uint64_t)off);
	} while (call_again(&c, n));
	if (n < 0) {
		call_reply(&c, n);
		return;
	}
	call_end(&c);
	fuse_reply_buf(req, buf, (size_t)n);
}

/* The flag may be changed on an open file, and mapped pages that the kernel writes back have offsets of their own. */
static bool appends(const struct fuse_file_info *fi)
{
	return (fi->flags & O_APPEND) && !fi->writepage;
}

static void wrote(struct handle *h)
{
	if (!atomic_load_explicit(&h->written, memory_order_relaxed))
		atomic_store(&h->written, true);
}

static ssize_t write_some(struct call *c, const struct fuse_file_info *fi, const char *buf, size_t size, off_t off)
{
	struct handle *h = handle_of(fi);
	struct lh_file *file;
	ssize_t n = session_file(c, h, appends(fi), &file);

	if (n == 0)
		n = lh_file_write(file, buf, size, (uint64_t)off);
	if (n > 0)
		wrote(h);
	return n;
}

/*
 * A part may be stored when the rest has to wait for a lease, or another's request is interrupted: a program that was
 * promised all, and pages of a mapping, must get all. Fewer only where an error stands in the way.
 */
static ssize_t write_all(struct call *c, const struct fuse_file_info *fi, const char *buf, size_t size, off_t off)
{
	size_t done = 0;
	ssize_t n;

	/* An append in two parts could have somebody else's between them: it waits at once. */
	if (appends(fi))
		(void)call_patient(c);
	do {
		n = write_some(c, fi, buf + done, size - done, off + (off_t)done);
		if (n > 0)
			done += (size_t)n;
	} while (n > 0 ? done < size : call_again(c, n));
	return done ? (ssize_t)done : n;
}

/*
 * An append goes to where the file ends, and the kernel has put it into its pages where it thought that it did: when
 * somebody else has appended meanwhile, those pages are wrong. Only after the answer: they are locked until then.
 */
static bool went_elsewhere(struct call *c, struct handle *h, uint64_t end)
{
	struct lh_stat st = {.size_of = sizeof(st)};
	struct lh_file *file;

	return session_file(c, h, true, &file) == 0 && lh_file_stat(file, &st) == 0 && st.size != end;
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct handle *h = handle_of(fi);
	bool moved = false;
	struct call c;
	ssize_t n;
	int err;

	call_begin_waits(&c, req, ino);
	told_wrote(c.m, ino);
	do
		err = privileges_at_write(&c);
	while (call_again(&c, err));
	n = err;
	if (!err)
		n = write_all(&c, fi, buf, size, off);
	if (n > 0 && (fi->flags & O_DSYNC))
		err = handle_sync(&c, h);
	if (n < 0 || err) {
		call_reply(&c, n < 0 ? n : err);
		return;
	}
	if (n > 0 && appends(fi))
		moved = went_elsewhere(&c, h, (uint64_t)off + (uint64_t)n);
	call_end(&c);
	fuse_reply_write(req, (size_t)n);
	/* It waits for pages, thus for requests. */
	if (moved)
		loop_slow(c.m);
	if (moved)
		(void)fuse_lowlevel_notify_inval_inode(c.m->se, ino, 0, 0);
}

static void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len, struct fuse_file_info *fi)
{
	struct lh_file *file;
	struct call c;
	int err;

	call_begin_waits(&c, req, ino);
	told_wrote(c.m, ino);
	do {
		err = handle_file(&c, handle_of(fi), &file);
		if (!err)
			err = lh_file_fallocate(file, mode, (uint64_t)off, (uint64_t)len);
	} while (call_again(&c, err));
	if (!err)
		wrote(handle_of(fi));
	call_reply(&c, err);
}

static ssize_t copy(struct call *c, struct handle *from, off_t off, struct handle *to, off_t to_off, size_t len)
{
	struct lh_file *src, *dst;
	int err = handle_file(c, from, &src);

	if (!err)
		err = handle_file(c, to, &dst);
	return err ? err : lh_file_copy_range(dst, (uint64_t)to_off, src, (uint64_t)off, len);
}

static void op_copy(fuse_req_t req, fuse_ino_t ino, off_t off, struct fuse_file_info *from, fuse_ino_t to_ino,
		    off_t to_off, struct fuse_file_info *to, size_t len, int flags)
{
	struct call c;
	ssize_t n;

	call_begin_waits(&c, req, to_ino);
	told_wrote(c.m, to_ino);
	do
		n = flags ? -EINVAL : copy(&c, handle_of(from), off, handle_of(to), to_off, len);
	while (call_again(&c, n));
	if (n < 0) {
		call_reply(&c, n);
		return;
	}
	wrote(handle_of(to));
	call_end(&c);
	fuse_reply_write(req, (size_t)n);
}

static void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi)
{
	struct lh_file *file;
	struct call c;
	int64_t at;

	call_begin(&c, req, ino);
	do {
		at = handle_file(&c, handle_of(fi), &file);
		if (at == 0)
			at = lh_file_seek(file, (uint64_t)off, whence);
	} while (call_again(&c, at));
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
