/* SPDX-License-Identifier: BSD-2-Clause */
/* Calls on open files. */
#include "server/calls.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/types.h"

/* A READ up to this size is done in the loop: it takes less than waking a worker. */
#define READ_INLINE 65536u
/* Header and length in front of a READ's data. */
#define READ_HEAD (PROTO_HEADER_SIZE + 4u)

int call_file_open(struct call *c)
{
	const struct proto_file_open *in = &c->in->file_open;
	struct session *s = c->session;
	struct fs_handle *fh;
	int err;

	if (!(in->flags & (PROTO_O_READ | PROTO_O_WRITE)))
		return fail(-EINVAL, "open: for reading, writing, or both");
	if (s->read_only && (in->flags & (PROTO_O_WRITE | PROTO_O_CREAT | PROTO_O_TRUNC)))
		return fail(-EROFS, "open: this session was opened read-only");
	if (!c->may_wait && (in->flags & (PROTO_O_CREAT | PROTO_O_TRUNC | PROTO_O_TMPFILE)))
		return CALL_LATER;
	err = fs_open(s->server->fs, &c->who, call_path(c, 0, in->path), proto_open_flags_to(in->flags), in->mode, &fh);
	if (!err)
		err = call_opened(c, fh);
	/* Without its flag FILE_OPEN is for files; directories are opened by DIR_OPEN. */
	if (!err && S_ISDIR(c->out.opened.attr.mode) && !(in->flags & PROTO_O_DIRECTORY)) {
		handle_close(s, c->out.opened.handle);
		err = fail(-EISDIR, "open: a directory");
	}
	return err;
}

/* What an earlier session of this client had open, before the server restarted or forgot it (P59). */
int call_file_reopen(struct call *c)
{
	const struct proto_file_reopen *in = &c->in->file_reopen;
	const uint32_t allowed = PROTO_O_READ | PROTO_O_WRITE | PROTO_O_APPEND | PROTO_O_DIRECTORY;
	struct session *s = c->session;
	struct fs_handle *fh;
	int err;

	if ((in->flags & ~allowed) || !(in->flags & (PROTO_O_READ | PROTO_O_WRITE)))
		return fail(-EINVAL, "reopen: flags that opening by number does not have");
	if (s->read_only && (in->flags & PROTO_O_WRITE))
		return fail(-EROFS, "reopen: this session was opened read-only");
	if (!c->may_wait)
		return CALL_LATER;
	err = fs_open_ino(s->server->fs, &c->who, in->ino, in->btime_ns, proto_open_flags_to(in->flags), &fh);
	return err ? err : call_opened(c, fh);
}

int call_handle_close(struct call *c)
{
	return handle_close(c->session, c->in->handle.handle);
}

int call_file_stat(struct call *c)
{
	uint64_t number = c->in->handle.handle;
	struct fs_handle *fh;
	struct fs_attr attr;
	int err = handle_get(c->session, number, &fh);

	if (err)
		return err;
	err = fs_fstat(fh, &attr);
	handle_put(c->session, number);
	if (!err)
		call_attr(&c->out.attr, &attr);
	return err;
}

/* The bytes are read to where they are sent from. */
int call_file_read(struct call *c)
{
	const struct proto_file_read *in = &c->in->file_read;
	struct proto_header h = {
	    .type = PROTO_FILE_READ, .flags = PROTO_REPLY, .seq = c->header->seq, .epoch = c->header->epoch};
	struct fs_handle *fh;
	struct out_buf *b;
	ssize_t n;
	int err;

	if (!c->may_wait && in->len > READ_INLINE)
		return CALL_LATER;
	err = handle_get(c->session, in->handle, &fh);
	if (err)
		return err;
	b = output_buf_new(READ_HEAD + in->len);
	n = b ? fs_read(fh, &c->who, b->bytes + READ_HEAD, in->len, in->off) : -ENOMEM;
	handle_put(c->session, in->handle);
	if (n < 0) {
		free(b);
		return (int)n;
	}
	c->out.data.data = (struct proto_data){.bytes = b->bytes + READ_HEAD, .len = (uint32_t)n};
	if (proto_encode_head(&h, &c->out, b->bytes, READ_HEAD) != READ_HEAD) {
		free(b);
		return -EIO;
	}
	b->len = READ_HEAD + (size_t)n;
	call_answering(c);
	output_buf(c->session, b);
	return CALL_ANSWERED;
}

int call_file_write(struct call *c)
{
	const struct proto_file_write *in = &c->in->file_write;
	struct fs_handle *fh;
	ssize_t n;
	int err = handle_get(c->session, in->handle, &fh);

	if (err)
		return err;
	n = fs_write(fh, &c->who, in->data.bytes, in->data.len, in->off);
	handle_put(c->session, in->handle);
	if (n < 0)
		return (int)n;
	c->out.count.count = (uint64_t)n;
	return 0;
}

int call_file_truncate(struct call *c)
{
	const struct proto_file_truncate *in = &c->in->file_truncate;
	struct fs_handle *fh;
	int err = handle_get(c->session, in->handle, &fh);

	if (err)
		return err;
	err = fs_truncate(fh, &c->who, in->size);
	handle_put(c->session, in->handle);
	return err;
}

int call_file_allocate(struct call *c)
{
	const struct proto_file_allocate *in = &c->in->file_allocate;
	struct fs_handle *fh;
	int err = handle_get(c->session, in->handle, &fh);

	if (err)
		return err;
	err = fs_allocate(fh, &c->who, (int)in->mode, in->range.off, in->range.len);
	handle_put(c->session, in->handle);
	return err;
}

int call_file_sync(struct call *c)
{
	struct fs_handle *fh;
	int err = handle_get(c->session, c->in->handle.handle, &fh);

	if (err)
		return err;
	err = fs_sync(fh, false);
	handle_put(c->session, c->in->handle.handle);
	return err;
}

/* Runs work on the two files of the request; returns what it does. */
static int64_t with_two(struct call *c, int64_t (*work)(struct call *c, struct fs_handle *dst, struct fs_handle *src))
{
	const struct proto_clone_range *in = &c->in->clone_range;
	struct fs_handle *dst, *src;
	int64_t n;

	if (in->dst_off > INT64_MAX || in->src_off > INT64_MAX ||
	    in->len > (uint64_t)INT64_MAX - max_u64(in->dst_off, in->src_off))
		return fail(-EFBIG, "%s: the range reaches past the largest file", proto_type_name(c->header->type));
	n = handle_get(c->session, in->dst, &dst);
	if (n)
		return n;
	n = handle_get(c->session, in->src, &src);
	if (!n) {
		n = work(c, dst, src);
		handle_put(c->session, in->src);
	}
	handle_put(c->session, in->dst);
	return n;
}

static int64_t do_clone(struct call *c, struct fs_handle *dst, struct fs_handle *src)
{
	const struct proto_clone_range *in = &c->in->clone_range;

	return fs_clone_range(dst, in->dst_off, src, in->src_off, in->len, &c->who);
}

int call_file_clone_range(struct call *c)
{
	return (int)with_two(c, do_clone);
}

static int64_t do_exchange(struct call *c, struct fs_handle *a, struct fs_handle *b)
{
	const struct proto_clone_range *in = &c->in->clone_range;

	return fs_exchange_range(a, in->dst_off, b, in->src_off, in->len, &c->who);
}

int call_file_exchange_range(struct call *c)
{
	return (int)with_two(c, do_exchange);
}

static int64_t do_dedupe(struct call *c, struct fs_handle *dst, struct fs_handle *src)
{
	const struct proto_clone_range *in = &c->in->clone_range;

	if (in->len > PROTO_STRETCH_MAX)
		return fail(-EINVAL, "dedupe: one request compares at most %llu bytes",
			    (unsigned long long)PROTO_STRETCH_MAX);
	return fs_dedupe_range(dst, in->dst_off, src, in->src_off, in->len, &c->who);
}

int call_file_dedupe_range(struct call *c)
{
	int64_t n = with_two(c, do_dedupe);

	if (n < 0)
		return (int)n;
	c->out.count.count = (uint64_t)n;
	return 0;
}

static int64_t do_copy(struct call *c, struct fs_handle *dst, struct fs_handle *src)
{
	const struct proto_clone_range *in = &c->in->clone_range;

	return fs_copy_range(dst, in->dst_off, src, in->src_off, min_u64(in->len, PROTO_STRETCH_MAX), &c->who);
}

int call_file_copy_range(struct call *c)
{
	int64_t n = with_two(c, do_copy);

	if (n < 0)
		return (int)n;
	c->out.count.count = (uint64_t)n;
	return 0;
}

int call_file_seek(struct call *c)
{
	const struct proto_file_seek *in = &c->in->file_seek;
	struct fs_handle *fh;
	int64_t n = handle_get(c->session, in->handle, &fh);

	if (n)
		return (int)n;
	n = fs_seek(fh, in->off, in->whence == PROTO_SEEK_HOLE ? SEEK_HOLE : SEEK_DATA);
	handle_put(c->session, in->handle);
	if (n < 0)
		return (int)n;
	c->out.count.count = (uint64_t)n;
	return 0;
}

int call_file_link(struct call *c)
{
	const struct proto_file_link *in = &c->in->file_link;
	struct fs_handle *fh;
	int err = handle_get(c->session, in->handle, &fh);

	if (err)
		return err;
	err = fs_link_handle(fh, &c->who, call_path(c, 0, in->path));
	handle_put(c->session, in->handle);
	return err;
}

static_assert(PROTO_SET_MODE == FS_SET_MODE && PROTO_SET_UID == FS_SET_UID && PROTO_SET_GID == FS_SET_GID &&
		  PROTO_SET_ATIME == FS_SET_ATIME && PROTO_SET_MTIME == FS_SET_MTIME,
	      "same bits");

int call_file_setattr(struct call *c)
{
	const struct proto_file_setattr *in = &c->in->file_setattr;
	struct fs_setattr set = {.mask = in->mask,
				 .mode = in->mode,
				 .uid = in->uid,
				 .gid = in->gid,
				 .atime_ns = in->atime_ns,
				 .mtime_ns = in->mtime_ns};
	struct fs_handle *fh;
	int err = handle_get(c->session, in->handle, &fh);

	if (err)
		return err;
	err = fs_fsetattr(fh, &c->who, &set);
	handle_put(c->session, in->handle);
	return err;
}

int call_file_defragment(struct call *c)
{
	struct proto_defragmented *out = &c->out.defragmented;
	uint64_t number = c->in->handle.handle;
	struct fs_handle *fh;
	int err = handle_get(c->session, number, &fh);

	if (err)
		return err;
	err = fs_defragment(fh, &c->who, &out->before, &out->after);
	handle_put(c->session, number);
	return err;
}

int call_file_relocate(struct call *c)
{
	const struct proto_file_range *in = &c->in->file_range;
	struct fs_handle *fh;
	uint64_t moved = 0;
	int err = handle_get(c->session, in->handle, &fh);

	if (err)
		return err;
	err = fs_relocate(fh, &c->who, in->range.off, in->range.len, &moved);
	handle_put(c->session, in->handle);
	c->out.count.count = moved;
	return err;
}

struct extents {
	struct proto_extent at[PROTO_EXTENTS_MAX];
	unsigned count, max;
};

/* Where in the pool is nobody's business beyond this process. */
static bool add_extent(void *ctx, const struct fs_run *run, unsigned flags)
{
	struct extents *e = ctx;

	if (e->count == e->max)
		return false;
	e->at[e->count++] = (struct proto_extent){
	    .file_off = run->file_off,
	    .len = run->len,
	    .flags =
		(flags & FS_RUN_UNWRITTEN ? LH_EXTENT_UNWRITTEN : 0) | (flags & FS_RUN_SHARED ? LH_EXTENT_SHARED : 0),
	};
	return true;
}

int call_file_extents(struct call *c)
{
	const struct proto_file_extents *in = &c->in->file_extents;
	struct extents *e = malloc(sizeof(*e));
	struct fs_handle *fh;
	int err;

	c->scratch = e;
	if (!e)
		return -ENOMEM;
	e->count = 0;
	e->max = in->max;
	err = handle_get(c->session, in->handle, &fh);
	if (err)
		return err;
	err = fs_extents(fh, in->range.off, in->range.len, add_extent, e);
	handle_put(c->session, in->handle);
	c->out.extents.extents = (struct proto_list){.host = e->at, .count = e->count};
	return err;
}
