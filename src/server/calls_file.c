/* SPDX-License-Identifier: BSD-2-Clause */
/* Calls on open files. */
#include "server/calls.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

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
	if (!c->may_wait && (in->flags & (PROTO_O_CREAT | PROTO_O_TRUNC)))
		return CALL_LATER;
	err = fs_open(s->server->fs, &c->who, call_path(c, 0, in->path), proto_open_flags_to(in->flags), in->mode, &fh);
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

static int allocate(struct call *c, uint64_t number, int mode, struct proto_range range)
{
	struct fs_handle *fh;
	int err = handle_get(c->session, number, &fh);

	if (err)
		return err;
	err = fs_allocate(fh, &c->who, mode, range.off, range.len);
	handle_put(c->session, number);
	return err;
}

int call_file_punch(struct call *c)
{
	return allocate(c, c->in->file_range.handle, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			c->in->file_range.range);
}

int call_file_allocate(struct call *c)
{
	const struct proto_file_allocate *in = &c->in->file_allocate;

	return allocate(c, in->handle, in->keep_size ? FALLOC_FL_KEEP_SIZE : 0, in->range);
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

int call_file_clone_range(struct call *c)
{
	const struct proto_clone_range *in = &c->in->clone_range;
	struct fs_handle *dst, *src;
	int err = handle_get(c->session, in->dst, &dst);

	if (err)
		return err;
	err = handle_get(c->session, in->src, &src);
	if (!err) {
		err = fs_clone_range(dst, in->dst_off, src, in->src_off, in->len, &c->who);
		handle_put(c->session, in->src);
	}
	handle_put(c->session, in->dst);
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
