/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Requests that the kernel knows and libfuse 3.14 does not: a file without a name (O_TMPFILE), and the time of birth
 * (statx). They are answered before libfuse sees the message; it would say ENOSYS, and the kernel would never ask
 * again. The layouts are those of <linux/fuse.h>, protocol 7.39, whose header is not on every system that builds this.
 */
#include "fuse/mount.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>

#include "base/clock.h"

enum { OP_INTERRUPT = 36, OP_TMPFILE = 51, OP_STATX = 52 };

#define STATX_KNOWN (STATX_BASIC_STATS | STATX_BTIME)

struct in_header {
	uint32_t len, opcode;
	uint64_t unique, node;
	uint32_t uid, gid, pid;
	uint16_t extension, padding;
};
struct out_header {
	uint32_t len;
	int32_t error;
	uint64_t unique;
};
struct tmpfile_in {
	uint32_t flags, mode, umask, open_flags;
};
struct attr {
	uint64_t ino, size, blocks, atime, mtime, ctime;
	uint32_t atimensec, mtimensec, ctimensec, mode, nlink, uid, gid, rdev, blksize, flags;
};
struct tmpfile_out {
	uint64_t node, generation, entry_valid, attr_valid;
	uint32_t entry_valid_nsec, attr_valid_nsec;
	struct attr attr;
	uint64_t fh;
	uint32_t open_flags, padding;
};
struct sx_time {
	int64_t sec;
	uint32_t nsec;
	int32_t reserved;
};
struct statx_out {
	uint64_t attr_valid;
	uint32_t attr_valid_nsec, flags;
	uint64_t spare[2];
	uint32_t mask, blksize;
	uint64_t attributes;
	uint32_t nlink, uid, gid;
	uint16_t mode, spare_mode;
	uint64_t ino, size, blocks, attributes_mask;
	struct sx_time atime, btime, ctime, mtime;
	uint32_t rdev_major, rdev_minor, dev_major, dev_minor;
	uint64_t spare_end[14];
};
static_assert(sizeof(struct in_header) == 40 && sizeof(struct out_header) == 16, "fuse_in_header, fuse_out_header");
static_assert(sizeof(struct tmpfile_out) == 128 + 16, "fuse_entry_out, fuse_open_out");
static_assert(sizeof(struct statx_out) == 288, "fuse_statx_out");

static bool reply(int fd, uint64_t unique, int64_t err, const void *body, size_t size)
{
	struct out_header head = {.error = err < 0 ? (int32_t)err : 0, .unique = unique};
	struct iovec v[2] = {{&head, sizeof(head)}, {(void *)(uintptr_t)body, size}};

	if (err < 0)
		size = 0;
	head.len = (uint32_t)(sizeof(head) + size);
	return writev(fd, v, size ? 2 : 1) >= 0;
}

static void valid_for(double s, uint64_t *sec, uint32_t *nsec)
{
	*sec = (uint64_t)s;
	*nsec = (uint32_t)((s - (double)*sec) * 1e9);
}

static struct attr attr_of(const struct lh_stat *from)
{
	struct stat st;

	stat_to_kernel(from, &st);
	return (struct attr){
	    .ino = st.st_ino,
	    .size = (uint64_t)st.st_size,
	    .blocks = (uint64_t)st.st_blocks,
	    .atime = (uint64_t)st.st_atim.tv_sec,
	    .mtime = (uint64_t)st.st_mtim.tv_sec,
	    .ctime = (uint64_t)st.st_ctim.tv_sec,
	    .atimensec = (uint32_t)st.st_atim.tv_nsec,
	    .mtimensec = (uint32_t)st.st_mtim.tv_nsec,
	    .ctimensec = (uint32_t)st.st_ctim.tv_nsec,
	    .mode = st.st_mode,
	    .nlink = (uint32_t)st.st_nlink,
	    .uid = st.st_uid,
	    .gid = st.st_gid,
	    .blksize = LH_BLOCK_SIZE,
	};
}

static void do_tmpfile(struct call *c, int fd, const struct in_header *in, const struct tmpfile_in *arg)
{
	int flags = (int)(arg->flags & (O_ACCMODE | O_EXCL | O_APPEND)) | O_TMPFILE;
	struct handle *h = handle_new(c->m, in->node, flags & (O_ACCMODE | O_APPEND));
	struct tmpfile_out out = {0};
	struct lh_file *file = NULL;
	int err = h ? 0 : -ENOMEM;

	c->who->umask = arg->umask;
	while (h) {
		err = lh_file_open(c->fs, "", flags, arg->mode & 07777, &file);
		if (!call_again(c, err))
			break;
	}
	if (!err) {
		atomic_store(&h->file, file);
		handle_move(c->m, h, c->st->ino);
		told_attr(c->m, c->st);
		out.node = c->st->ino;
		out.attr = attr_of(c->st);
		valid_for(c->m->attr_s, &out.attr_valid, &out.attr_valid_nsec);
		out.fh = (uintptr_t)h;
	}
	/* A program that is gone closes nothing. */
	if ((!reply(fd, in->unique, err ? -call_errno(c, err) : 0, &out, sizeof(out)) || err) && h)
		(void)handle_free(c->m, h);
}

static struct sx_time sx_time_of(int64_t ns)
{
	struct timespec t;

	time_to_kernel(ns, &t);
	return (struct sx_time){.sec = t.tv_sec, .nsec = (uint32_t)t.tv_nsec};
}

static void do_statx(struct call *c, int fd, const struct in_header *in)
{
	struct statx_out out = {.mask = STATX_KNOWN, .blksize = LH_BLOCK_SIZE};
	const struct lh_stat *st = c->st;
	int err;

	do
		err = lh_path_stat(c->fs, "", false, c->st);
	while (call_again(c, err));
	if (!err) {
		valid_for(c->m->attr_s, &out.attr_valid, &out.attr_valid_nsec);
		out.nlink = st->nlink;
		out.uid = st->uid;
		out.gid = st->gid;
		out.mode = (uint16_t)st->mode;
		out.ino = st->ino;
		out.size = st->size;
		out.blocks = st->blocks * (LH_BLOCK_SIZE / 512);
		out.atime = sx_time_of(st->atime_ns);
		out.btime = sx_time_of(st->btime_ns);
		out.ctime = sx_time_of(st->ctime_ns);
		out.mtime = sx_time_of(st->mtime_ns);
		out.rdev_major = major(st->rdev);
		out.rdev_minor = minor(st->rdev);
		told_attr(c->m, st);
	}
	(void)reply(fd, in->unique, err ? -call_errno(c, err) : 0, &out, sizeof(out));
}

bool raw_request(struct mount *m, int fd, const void *message, size_t len)
{
	const struct in_header *in = message;
	const void *arg = in + 1;
	struct call c;

	if (len < sizeof(*in))
		return false;
	/* Of a request that is libfuse's: libfuse knows. */
	if (in->opcode == OP_INTERRUPT)
		return len >= sizeof(*in) + sizeof(uint64_t) && call_interrupt_raw(m, *(const uint64_t *)arg);
	if (in->opcode != OP_STATX && (in->opcode != OP_TMPFILE || len < sizeof(*in) + sizeof(struct tmpfile_in)))
		return false;
	call_begin_raw(&c, m, in->uid, in->gid, in->node, in->unique);
	if (in->opcode == OP_TMPFILE)
		do_tmpfile(&c, fd, in, arg);
	else
		do_statx(&c, fd, in);
	call_end(&c);
	return true;
}
