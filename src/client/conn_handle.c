/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The handles of a client: numbers of its own, which stay when a session is lost and the server gives others (P59).
 *
 * Requests carry our numbers until they are encoded, so that one that waits when the session is made anew goes out with
 * the right one. The file behind a handle is found again by inode and birth time; one that is gone makes the handle
 * stale.
 *
 * Changes that were made by calls and not synced may have been lost with their server. Like a disk's write error that
 * is told once, by the next sync or close of the handle (EIO); what was written directly has its own, exact memory
 * (dirty.c).
 */
#include "client/conn_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/types.h"

#define HANDLES_FIRST 16u

static struct conn_handle *find(struct conn *c, uint64_t number)
{
	uint32_t low = (uint32_t)number;
	struct conn_handle *h;

	if (low == 0 || low > c->handle_count)
		return NULL;
	h = &c->handles[low - 1];
	return h->used && h->generation == number >> 32 ? h : NULL;
}

static int table_grow(struct conn *c)
{
	uint32_t count = c->handle_count ? c->handle_count * 2 : HANDLES_FIRST;
	struct conn_handle *handles = reallocarray(c->handles, count, sizeof(*handles));

	if (!handles)
		return -ENOMEM;
	memset(handles + c->handle_count, 0, (count - c->handle_count) * sizeof(*handles));
	for (uint32_t i = count; i-- > c->handle_count;) {
		handles[i].next_free = c->handle_free;
		c->handle_free = i + 1;
	}
	c->handles = handles;
	c->handle_count = count;
	return 0;
}

static int add(struct conn *c, const struct proto_opened *opened, uint32_t flags, uint64_t *number)
{
	struct conn_handle *h;
	uint32_t index;

	if (!c->handle_free && table_grow(c))
		return -ENOMEM;
	index = c->handle_free - 1;
	h = &c->handles[index];
	c->handle_free = h->next_free;
	*h = (struct conn_handle){.server = opened->handle,
				  .ino = opened->attr.ino,
				  .btime_ns = opened->attr.btime_ns,
				  .flags = flags,
				  .generation = h->generation + 1,
				  .used = true};
	*number = (uint64_t)h->generation << 32 | (index + 1);
	return 0;
}

static void drop(struct conn *c, uint64_t number)
{
	struct conn_handle *h = find(c, number);

	if (!h)
		return;
	h->used = false;
	h->next_free = c->handle_free;
	c->handle_free = (uint32_t)number;
}

/* Where a request has handles: up to two. */
static unsigned fields(unsigned type, union proto_body *b, uint64_t *out[2])
{
	switch (type) {
	case PROTO_DIR_CLOSE:
	case PROTO_FILE_CLOSE:
	case PROTO_FILE_STAT:
	case PROTO_FILE_SYNC:
	case PROTO_FILE_DEFRAGMENT:
		out[0] = &b->handle.handle;
		return 1;
	case PROTO_DIR_READ:
	case PROTO_DIR_LIST:
		out[0] = &b->dir_read.handle;
		return 1;
	case PROTO_FILE_READ:
		out[0] = &b->file_read.handle;
		return 1;
	case PROTO_FILE_WRITE:
		out[0] = &b->file_write.handle;
		return 1;
	case PROTO_FILE_TRUNCATE:
		out[0] = &b->file_truncate.handle;
		return 1;
	case PROTO_FILE_ALLOCATE:
		out[0] = &b->file_allocate.handle;
		return 1;
	case PROTO_FILE_RELOCATE:
	case PROTO_LEASE_COMMIT:
		out[0] = &b->file_range.handle;
		return 1;
	case PROTO_FILE_EXTENTS:
		out[0] = &b->file_extents.handle;
		return 1;
	case PROTO_FILE_SEEK:
		out[0] = &b->file_seek.handle;
		return 1;
	case PROTO_FILE_LINK:
		out[0] = &b->file_link.handle;
		return 1;
	case PROTO_FILE_SETATTR:
		out[0] = &b->file_setattr.handle;
		return 1;
	case PROTO_LEASE_GET:
		out[0] = &b->lease_get.handle;
		return 1;
	case PROTO_FILE_CLONE_RANGE:
	case PROTO_FILE_DEDUPE_RANGE:
	case PROTO_FILE_EXCHANGE_RANGE:
	case PROTO_FILE_COPY_RANGE:
		out[0] = &b->clone_range.dst;
		out[1] = &b->clone_range.src;
		return 2;
	default:
		return 0;
	}
}

void conn_handle_translate(struct conn *c, unsigned type, union proto_body *body)
{
	uint64_t *at[2];
	unsigned n = fields(type, body, at);

	lock_assert_held(RANK_SEND);
	for (unsigned i = 0; i < n; i++) {
		const struct conn_handle *h = find(c, *at[i]);

		*at[i] = h && !h->stale ? h->server : 0; /* which is nobody's: EBADF */
	}
}

static bool closes(unsigned type)
{
	return type == PROTO_FILE_CLOSE || type == PROTO_DIR_CLOSE;
}

/* The loss is told, once. */
static int lost(struct conn_handle *h)
{
	h->lost = false;
	return fail(-EIO, "the server restarted after this file was changed and before it was synced: what was changed "
			  "may be lost; look, and write it again");
}

int conn_handle_check(struct conn *c, const struct call *call)
{
	uint64_t *at[2];
	unsigned n = call->body ? fields(call->type, (union proto_body *)(uintptr_t)call->body, at) : 0;

	lock_assert_held(RANK_SEND);
	if (call->type == PROTO_FS_SYNC && c->sync_lost) {
		c->sync_lost = false;
		return fail(-EIO,
			    "the server restarted after changes of this session that were not synced: some may be "
			    "lost");
	}
	for (unsigned i = 0; i < n; i++) {
		struct conn_handle *h = find(c, *at[i]);

		if (h && h->lost && call->type == PROTO_FILE_SYNC)
			return lost(h);
		if (!h || !h->stale)
			continue;
		if (!closes(call->type))
			return fail(-ESTALE, "the server restarted, and this file is no longer there; close it");
		n = h->lost;
		drop(c, *at[i]);
		return n ? lost(h) : 1;
	}
	return 0;
}

/* Whether a request changes something that a sync makes durable. */
static bool changes(const struct call *call)
{
	switch (call->type) {
	case PROTO_FS_SNAPSHOT:
	case PROTO_FS_SNAPSHOT_DELETE:
	case PROTO_PATH_MKDIR:
	case PROTO_PATH_RMDIR:
	case PROTO_PATH_UNLINK:
	case PROTO_PATH_RENAME:
	case PROTO_PATH_LINK:
	case PROTO_PATH_SYMLINK:
	case PROTO_PATH_CHMOD:
	case PROTO_PATH_CHOWN:
	case PROTO_PATH_SET_TIMES:
	case PROTO_PATH_MKNOD:
	case PROTO_PATH_SETXATTR:
	case PROTO_PATH_REMOVEXATTR:
	case PROTO_FILE_WRITE:
	case PROTO_FILE_TRUNCATE:
	case PROTO_FILE_ALLOCATE:
	case PROTO_FILE_CLONE_RANGE:
	case PROTO_FILE_EXCHANGE_RANGE:
	case PROTO_FILE_COPY_RANGE:
	case PROTO_FILE_LINK:
	case PROTO_FILE_SETATTR:
		return true;
	case PROTO_FILE_OPEN:
		return call->body->file_open.flags & (PROTO_O_CREAT | PROTO_O_TRUNC);
	default:
		return false;
	}
}

/* A call has changed something. One that failed has not, or says itself that nobody knows. */
static void changed(struct conn *c, const struct call *call)
{
	uint64_t *at[2];
	unsigned n;

	c->unsynced = true;
	c->changed_seq = max_u64(c->changed_seq, call->seq);
	n = fields(call->type, (union proto_body *)(uintptr_t)call->body, at);
	for (unsigned i = 0; i < n; i++) {
		struct conn_handle *h = find(c, *at[i]);

		if (!h)
			continue;
		h->unsynced = true;
		h->changed_seq = max_u64(h->changed_seq, call->seq);
	}
}

/* Others may have changed it since the sync went out: their own sync is still to come. */
static bool changing(struct conn *c, uint64_t handle)
{
	uint64_t *at[2];

	for (unsigned i = 0; i < CONN_BUCKETS; i++) {
		for (const struct call *call = c->pending[i]; call; call = call->next) {
			unsigned n =
			    changes(call) ? fields(call->type, (union proto_body *)(uintptr_t)call->body, at) : 0;

			for (unsigned k = 0; k < n; k++) {
				if (*at[k] == handle)
					return true;
			}
			if (changes(call) && !handle)
				return true;
		}
	}
	return false;
}

static void closed(struct conn *c, struct call *call)
{
	struct conn_handle *h = find(c, call->body->handle.handle);

	if (h && h->lost && !call->status) {
		call->status = lost(h);
		call->reply.error.text =
		    proto_str_of("the server restarted after this file was changed and before it was "
				 "synced: what was changed may be lost");
	}
	drop(c, call->body->handle.handle);
}

void conn_handle_answered(struct conn *c, struct call *call)
{
	struct conn_handle *h;
	uint32_t flags;

	lock_assert_held(RANK_SEND);
	if (!call->status && changes(call))
		changed(c, call);
	switch (call->type) {
	case PROTO_FILE_OPEN:
	case PROTO_DIR_OPEN:
		if (call->status)
			return;
		flags = call->type == PROTO_DIR_OPEN
			    ? PROTO_O_READ | PROTO_O_DIRECTORY
			    : call->body->file_open.flags &
				  ~(PROTO_O_CREAT | PROTO_O_EXCL | PROTO_O_TRUNC | PROTO_O_NOFOLLOW | PROTO_O_TMPFILE);
		call->status = add(c, &call->reply.opened, flags, &call->reply.opened.handle);
		if (call->status)
			call->reply.error.text = proto_str_of("no memory for another open file");
		return;
	case PROTO_FILE_CLOSE:
	case PROTO_DIR_CLOSE:
		closed(c, call);
		return;
	case PROTO_FILE_SYNC:
		h = find(c, call->body->handle.handle);
		if (h && !call->status && h->changed_seq < call->seq && !changing(c, call->body->handle.handle))
			h->unsynced = false;
		return;
	case PROTO_FS_SYNC:
		if (call->status || c->changed_seq > call->seq || changing(c, 0))
			return;
		c->unsynced = false;
		for (uint32_t i = 0; i < c->handle_count; i++)
			c->handles[i].unsynced = false;
		return;
	default:
		return;
	}
}

void conn_handle_renewed(struct conn *c, bool rebooted)
{
	/* Requests are numbered anew. */
	c->changed_seq = 0;
	for (uint32_t i = 0; i < c->handle_count; i++)
		c->handles[i].changed_seq = 0;
	if (!rebooted)
		return;
	c->sync_lost |= c->unsynced;
	c->unsynced = false;
	for (uint32_t i = 0; i < c->handle_count; i++) {
		c->handles[i].lost |= c->handles[i].used && c->handles[i].unsynced;
		c->handles[i].unsynced = false;
	}
}
