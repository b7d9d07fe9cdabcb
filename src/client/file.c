/* SPDX-License-Identifier: BSD-2-Clause */
/* Calls on open files. Reads and writes longer than one message may carry go in pieces, as pread and pwrite may. */
#include "client/cache.h"
#include "client/client.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* What this session changed itself needs no notice (L5), but the size that its leases remember may be old now. */
static void sizes_are_old(struct lh_fs *fs, uint64_t ino)
{
	struct lh_file *file;
	struct lh_lease *lease;

	lock_take(&fs->lock);
	TAILQ_FOREACH (file, &fs->files, in_fs) {
		if (file->ino != ino)
			continue;
		TAILQ_FOREACH (lease, &file->leases, in_file) {
			lock_take(&lease->lock);
			lease->size_old = true;
			lease->changes++;
			if (lease->cache)
				client_cache_shrunk(fs, lease);
			lock_drop(&lease->lock);
		}
	}
	lock_drop(&fs->lock);
}

static struct lh_file *file_new(struct lh_fs *fs, int flags)
{
	struct lh_file *file = calloc(1, sizeof(*file));

	if (!file)
		return NULL;
	file->head.be = &client_backend;
	file->head.fs = fs;
	file->flags = flags;
	TAILQ_INIT(&file->leases);
	client_dirty_init(file);
	return file;
}

int client_file_open(struct lh_fs *fs, const char *path, int flags, uint32_t mode, struct lh_file **out)
{
	union proto_body body = {.file_open = {.mode = mode, .path = proto_str_of(path)}};
	struct doomed doomed;
	struct lh_file *file;
	struct call call;
	int err = proto_open_flags_of(flags, &body.file_open.flags);

	if (err)
		return fail(err, "%s: flags %#x cannot be sent to a server", path, flags);
	file = file_new(fs, flags);
	if (!file)
		return -ENOMEM;
	call_init(&call);
	err = client_call_as(fs, &call, PROTO_FILE_OPEN, client_flags(fs), &body, USES_NAME | USES_MODE);
	if (!err) {
		client_tell(&call.reply.opened.attr);
		file->handle = call.reply.opened.handle;
		file->ino = call.reply.opened.attr.ino;
	}
	call_fini(&call);
	if (err) {
		client_dirty_fini(file);
		free(file);
		return err;
	}
	if (flags & O_TRUNC) {
		client_dirty_doom(fs, file->ino, RANGE_ALL, &doomed);
		client_dirty_doomed(fs, file->ino, &doomed, true);
		sizes_are_old(fs, file->ino);
	}
	lock_take(&fs->lock);
	TAILQ_INSERT_TAIL(&fs->files, file, in_fs);
	lock_drop(&fs->lock);
	atomic_fetch_add(&fs->handles, 1);
	*out = file;
	return 0;
}

/* -EBUSY: queues have operations on its leases. */
static int close_check(struct lh_file *file)
{
	struct lh_fs *fs = file->head.fs;
	struct lh_lease *lease;
	unsigned queued = 0;

	lock_take(&fs->lock);
	TAILQ_FOREACH (lease, &file->leases, in_file)
		queued += atomic_load(&lease->queued);
	lock_drop(&fs->lock);
	return queued
		   ? fail(-EBUSY, "%u operations of queues on this file's leases are outstanding; wait for them first",
			  queued)
		   : 0;
}

static void close_leases(struct lh_file *file)
{
	struct lh_fs *fs = file->head.fs;
	struct lh_lease *lease;

	for (;;) {
		lock_take(&fs->lock);
		lease = TAILQ_FIRST(&file->leases);
		lock_drop(&fs->lock);
		if (!lease)
			return;
		client_lease_release(lease);
	}
}

int client_file_close(struct lh_file *file)
{
	struct lh_fs *fs = file->head.fs;
	union proto_body body = {.handle = {.handle = file->handle}};
	char why[LH_ERROR_TEXT_MAX];
	uint64_t size;
	int err = close_check(file);
	int uncommitted;

	if (err)
		return err;
	/* While the leases stand: nobody can have cut what is committed. */
	uncommitted = client_commit(file, RANGE_ALL, &size);
	if (uncommitted)
		snprintf(why, sizeof(why), "%s", fail_text());
	client_cache_close(file);
	close_leases(file);
	err = conn_do(fs->conn, PROTO_FILE_CLOSE, 0, &body);
	lock_take(&fs->lock);
	TAILQ_REMOVE(&fs->files, file, in_fs);
	while (file->users)
		cond_wait(&fs->unused, &fs->lock);
	lock_drop(&fs->lock);
	client_dirty_fini(file);
	free(file);
	atomic_fetch_sub(&fs->handles, 1);
	return uncommitted ? fail(uncommitted, "%s", why) : err;
}

int client_file_stat(struct lh_file *file, struct lh_stat *out)
{
	union proto_body body = {.handle = {.handle = file->handle}};
	struct call call;
	int err;

	call_init(&call);
	err = conn_call(file->head.fs->conn, &call, PROTO_FILE_STAT, 0, &body);
	if (!err)
		client_stat_of(&call.reply.attr, out);
	call_fini(&call);
	return err;
}

/* One message's worth. */
static ssize_t read_piece(struct lh_file *file, void *buf, size_t len, uint64_t off)
{
	struct lh_fs *fs = file->head.fs;
	union proto_body body = {.file_read = {.handle = file->handle, .off = off, .len = (uint32_t)len}};
	struct call call;
	ssize_t n;

	call_init(&call);
	call.into = buf;
	call.into_room = len;
	n = conn_call(fs->conn, &call, PROTO_FILE_READ, client_flags(fs), &body);
	if (!n)
		n = (ssize_t)call.into_len;
	call_fini(&call);
	return n;
}

ssize_t client_call_read(struct lh_file *file, void *buf, size_t len, uint64_t off)
{
	size_t most = file->head.fs->welcome.data_max;
	size_t done = 0;

	do {
		size_t want = min_u64(len - done, most);
		ssize_t n = read_piece(file, (char *)buf + done, want, off + done);

		if (n < 0)
			return done ? (ssize_t)done : n;
		done += (size_t)n;
		if ((size_t)n < want)
			break;
	} while (done < len);
	return (ssize_t)done;
}

static ssize_t write_piece(struct lh_file *file, const void *buf, size_t len, uint64_t off)
{
	struct lh_fs *fs = file->head.fs;
	union proto_body body = {
	    .file_write = {.handle = file->handle, .off = off, .data = {.bytes = buf, .len = (uint32_t)len}}};
	struct call call;
	ssize_t n;

	call_init(&call);
	n = client_call_as(fs, &call, PROTO_FILE_WRITE, client_flags(fs), &body, USES_WHO);
	if (!n && call.reply.count.count > len)
		n = fail(-EPROTO, "write: the server says it wrote more than it was given");
	else if (!n)
		n = (ssize_t)call.reply.count.count;
	call_fini(&call);
	return n;
}

ssize_t client_call_write(struct lh_file *file, const void *buf, size_t len, uint64_t off)
{
	size_t most = file->head.fs->welcome.data_max;
	size_t done = 0;

	do {
		size_t want = min_u64(len - done, most);
		ssize_t n = write_piece(file, (const char *)buf + done, want, off + done);

		if (n < 0)
			return done ? (ssize_t)done : n;
		done += (size_t)n;
		/* Of an append only what one message carries is sure to be in one piece: the rest is a short write. */
		if ((size_t)n < want || (file->flags & O_APPEND))
			break;
	} while (done < len);
	return (ssize_t)done;
}

/* Whether it takes away what was written behind the new end: growing does not. */
static bool truncate_shrinks(struct lh_file *file, uint64_t size)
{
	struct lh_stat st;

	return client_file_stat(file, &st) == 0 && size <= st.size;
}

int client_file_truncate(struct lh_file *file, uint64_t size)
{
	struct lh_fs *fs = file->head.fs;
	union proto_body body = {.file_truncate = {.handle = file->handle, .size = size}};
	struct doomed doomed;
	bool shrinks;
	int err;

	client_dirty_doom(fs, file->ino, (struct range){size, RANGE_MAX}, &doomed);
	shrinks = doomed.ranges.count == 0 || truncate_shrinks(file, size);
	if (!shrinks)
		client_dirty_doomed(fs, file->ino, &doomed, false);
	err = client_do_as(fs, PROTO_FILE_TRUNCATE, client_flags(fs), &body, USES_WHO);
	if (shrinks)
		client_dirty_doomed(fs, file->ino, &doomed, !err);
	if (!err)
		sizes_are_old(fs, file->ino);
	return err;
}

int client_file_fallocate(struct lh_file *file, int mode, uint64_t off, uint64_t len)
{
	struct lh_fs *fs = file->head.fs;
	union proto_body body = {
	    .file_allocate = {.handle = file->handle, .range = {off, len}, .mode = (uint32_t)mode}};
	int err = 0;

	if (mode & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE))
		err = client_commit_inode(fs, file->ino);
	if (!err)
		err = client_do_as(fs, PROTO_FILE_ALLOCATE, client_flags(fs), &body, USES_WHO);

	/* Collapsing and inserting move the end, and the rest may. */
	if (!err)
		sizes_are_old(fs, file->ino);
	return err;
}

int client_file_sync(struct lh_file *file)
{
	union proto_body body = {.handle = {.handle = file->handle}};
	uint64_t size;
	int err = client_commit(file, RANGE_ALL, &size);

	return err ? err : conn_do(file->head.fs->conn, PROTO_FILE_SYNC, 0, &body);
}

/* CLONE, DEDUPE, EXCHANGE, COPY: the count that the answer carries; 0 when it has none. */
static int64_t two_files(unsigned type, struct lh_file *dst, uint64_t dst_off, struct lh_file *src, uint64_t src_off,
			 uint64_t len)
{
	struct lh_fs *fs = dst->head.fs;
	union proto_body body = {
	    .clone_range = {
		.dst = dst->handle, .dst_off = dst_off, .src = src->handle, .src_off = src_off, .len = len}};
	struct call call;
	int64_t n;

	call_init(&call);
	n = client_call_as(fs, &call, type, client_flags(fs), &body, USES_WHO);
	if (!n && (type == PROTO_FILE_DEDUPE_RANGE || type == PROTO_FILE_COPY_RANGE))
		n = (int64_t)min_u64(call.reply.count.count, INT64_MAX);
	call_fini(&call);
	if (n < 0)
		return n;
	sizes_are_old(fs, dst->ino);
	if (type == PROTO_FILE_EXCHANGE_RANGE)
		sizes_are_old(fs, src->ino);
	return n;
}

int client_file_clone_range(struct lh_file *dst, uint64_t dst_off, struct lh_file *src, uint64_t src_off, uint64_t len)
{
	return (int)two_files(PROTO_FILE_CLONE_RANGE, dst, dst_off, src, src_off, len);
}

int client_file_exchange_range(struct lh_file *a, uint64_t a_off, struct lh_file *b, uint64_t b_off, uint64_t len)
{
	int err = client_commit_inode(a->head.fs, a->ino);

	if (!err)
		err = client_commit_inode(a->head.fs, b->ino);
	return err ? err : (int)two_files(PROTO_FILE_EXCHANGE_RANGE, a, a_off, b, b_off, len);
}

/* In stretches (P38): those before the first difference share their blocks then. */
int client_file_dedupe_range(struct lh_file *dst, uint64_t dst_off, struct lh_file *src, uint64_t src_off, uint64_t len)
{
	uint64_t done = 0;
	int64_t n;

	do {
		uint64_t part = min_u64(len - done, PROTO_STRETCH_MAX);

		n = two_files(PROTO_FILE_DEDUPE_RANGE, dst, dst_off + done, src, src_off + done, part);
		done += part;
	} while (n == 0 && done < len);
	return n > 1 ? fail(-EPROTO, "dedupe: the server's answer is neither 0 nor 1") : (int)n;
}

ssize_t client_file_copy_range(struct lh_file *dst, uint64_t dst_off, struct lh_file *src, uint64_t src_off, size_t len)
{
	size_t done = 0;

	while (done < len) {
		uint64_t part = min_u64(len - done, PROTO_STRETCH_MAX);
		int64_t n = two_files(PROTO_FILE_COPY_RANGE, dst, dst_off + done, src, src_off + done, part);

		if (n > (int64_t)part)
			n = fail(-EPROTO, "copy: the server says it copied more than it was asked to");
		if (n < 0)
			return done ? (ssize_t)done : n;
		done += (size_t)n;
		if ((uint64_t)n < part)
			break;
	}
	return (ssize_t)done;
}

int64_t client_file_seek(struct lh_file *file, uint64_t off, int whence)
{
	union proto_body body = {.file_seek = {.handle = file->handle,
					       .off = off,
					       .whence = whence == SEEK_HOLE ? PROTO_SEEK_HOLE : PROTO_SEEK_DATA}};
	struct call call;
	int64_t n;

	call_init(&call);
	n = conn_call(file->head.fs->conn, &call, PROTO_FILE_SEEK, 0, &body);
	if (!n && call.reply.count.count > INT64_MAX)
		n = fail(-EPROTO, "seek: the server's offset is in no file");
	else if (!n)
		n = (int64_t)call.reply.count.count;
	call_fini(&call);
	return n;
}

int client_file_link(struct lh_file *file, const char *to)
{
	struct lh_fs *fs = file->head.fs;
	union proto_body body = {.file_link = {.handle = file->handle, .path = proto_str_of(to)}};

	return client_do_as(fs, PROTO_FILE_LINK, client_flags(fs), &body, USES_NAME | USES_ATTR);
}

static_assert(API_SET_MODE == PROTO_SET_MODE && API_SET_UID == PROTO_SET_UID && API_SET_GID == PROTO_SET_GID &&
		  API_SET_ATIME == PROTO_SET_ATIME && API_SET_MTIME == PROTO_SET_MTIME,
	      "same bits");

int client_file_setattr(struct lh_file *file, const struct api_setattr *set)
{
	struct lh_fs *fs = file->head.fs;
	union proto_body body = {.file_setattr = {.handle = file->handle,
						  .mask = set->mask,
						  .mode = set->mode,
						  .uid = set->uid,
						  .gid = set->gid,
						  .atime_ns = set->atime_ns,
						  .mtime_ns = set->mtime_ns}};

	return client_do_as(fs, PROTO_FILE_SETATTR, client_flags(fs), &body, USES_ATTR);
}

int client_file_defragment(struct lh_file *file, uint64_t extents[2])
{
	struct lh_fs *fs = file->head.fs;
	union proto_body body = {.handle = {.handle = file->handle}};
	struct call call;
	int err;

	call_init(&call);
	err = client_call_as(fs, &call, PROTO_FILE_DEFRAGMENT, client_flags(fs), &body, USES_WHO);
	if (!err) {
		extents[0] = call.reply.defragmented.before;
		extents[1] = call.reply.defragmented.after;
	}
	call_fini(&call);
	return err;
}

int64_t client_file_relocate(struct lh_file *file, uint64_t off, uint64_t len)
{
	struct lh_fs *fs = file->head.fs;
	union proto_body body = {.file_range = {.handle = file->handle, .range = {off, len}}};
	struct call call;
	int64_t n;

	call_init(&call);
	n = client_call_as(fs, &call, PROTO_FILE_RELOCATE, client_flags(fs), &body, USES_WHO);
	if (!n)
		n = (int64_t)min_u64(call.reply.count.count, INT64_MAX);
	call_fini(&call);
	return n;
}

/* One message's worth; *end: where the next one starts. */
static int extents_piece(struct lh_file *file, struct range range, struct lh_extent *out, unsigned max, uint64_t *end)
{
	union proto_body body = {
	    .file_extents = {.handle = file->handle, .range = {range.start, range.end - range.start}, .max = max}};
	struct proto_extent e;
	uint32_t cursor = 0;
	struct call call;
	int n;

	call_init(&call);
	n = conn_call(file->head.fs->conn, &call, PROTO_FILE_EXTENTS, 0, &body);
	if (!n && call.reply.extents.extents.count > max)
		n = fail(-EPROTO, "extents: the server sent more than were asked for");
	while (n >= 0 && proto_extent_next(&call.reply.extents.extents, &cursor, &e)) {
		out[n++] = (struct lh_extent){.file_off = e.file_off, .len = e.len, .flags = e.flags};
		*end = e.file_off + e.len;
	}
	call_fini(&call);
	return n;
}

int client_file_extents(struct lh_file *file, uint64_t off, uint64_t len, struct lh_extent *out, unsigned max)
{
	struct range range = {off, len > UINT64_MAX - off ? UINT64_MAX : off + len};
	unsigned n = 0;

	while (n < max && !range_empty(range)) {
		unsigned want = (unsigned)min_u64(max - n, PROTO_EXTENTS_MAX);
		uint64_t end = range.start;
		int got = extents_piece(file, range, out + n, want, &end);

		if (got < 0)
			return got;
		n += (unsigned)got;
		if ((unsigned)got < want || end <= range.start)
			break;
		range.start = end;
	}
	return (int)n;
}
