/* SPDX-License-Identifier: BSD-2-Clause */
/* Snapshots, limits, resizing and evacuating. Lists come in pages; what the server tells of a long request meanwhile
 * reaches the application in the thread that made the call. */
#include "client/client.h"

#include <stdlib.h>
#include <string.h>

int client_fs_snapshot(struct lh_fs *fs, const char *from, const char *to, unsigned flags)
{
	union proto_body body = {.rename = {.flags = flags, .from = proto_str_of(from), .to = proto_str_of(to)}};

	return client_do_as(fs, PROTO_FS_SNAPSHOT, client_flags(fs), &body, USES_TWO);
}

int client_fs_snapshot_delete(struct lh_fs *fs, const char *path)
{
	union proto_body body = {.path = {.path = proto_str_of(path)}};

	return client_do_as(fs, PROTO_FS_SNAPSHOT_DELETE, client_flags(fs), &body, USES_NAME);
}

/* --- lists in pages --- */

/* A page must bring something above the one before, or the server would be asked for ever. */
static int page_check(const struct proto_after *before, const struct proto_after *after)
{
	if (after->kind > before->kind || (after->kind == before->kind && after->number > before->number))
		return 0;
	return fail(-EPROTO, "the server says there is more, and sends nothing new");
}

static int snapshots_page(const struct proto_snapshots *page, struct lh_snapshot_info *info, struct proto_after *after,
			  void (*each)(void *ctx, const struct lh_snapshot_info *info), void *ctx)
{
	struct proto_snapshot_info s;
	uint32_t cursor = 0;
	int n = 0;

	while (proto_snapshot_info_next(&page->snapshots, &cursor, &s)) {
		*info = (struct lh_snapshot_info){.size = sizeof(*info),
						  .read_only = s.read_only,
						  .ino = s.ino,
						  .inodes = s.inodes,
						  .blocks = s.blocks,
						  .created_ns = s.created_ns};
		proto_str_copy(s.path, info->path, sizeof(info->path));
		after->number = max_u64(after->number, s.ino);
		each(ctx, info);
		n++;
	}
	return n;
}

int client_fs_snapshots(struct lh_fs *fs, void (*each)(void *ctx, const struct lh_snapshot_info *info), void *ctx)
{
	struct lh_snapshot_info *info = malloc(sizeof(*info));
	union proto_body body = {0};
	bool more = info != NULL;
	int err = info ? 0 : -ENOMEM;
	int n = 0;

	while (more && !err) {
		struct proto_after before = body.after;
		struct call call;

		call_init(&call);
		err = conn_call(fs->conn, &call, PROTO_FS_SNAPSHOTS, 0, &body);
		if (!err)
			n += snapshots_page(&call.reply.snapshots, info, &body.after, each, ctx);
		more = !err && call.reply.snapshots.more;
		call_fini(&call);
		if (more)
			err = page_check(&before, &body.after);
	}
	free(info);
	return err ? err : n;
}

static void limit_of(const struct proto_limit *in, struct lh_limit *out)
{
	out->kind = in->kind;
	out->id = in->id;
	out->reserved = 0;
	out->ino = in->ino;
	out->bytes = in->bytes;
	out->inodes = in->inodes;
	out->bytes_used = in->bytes_used;
	out->inodes_used = in->inodes_used;
}

static int limits_page(const struct proto_limits *page, struct proto_after *after,
		       void (*each)(void *ctx, const struct lh_limit *limit), void *ctx)
{
	struct proto_limit l;
	uint32_t cursor = 0;
	int n = 0;

	while (proto_limit_next(&page->limits, &cursor, &l)) {
		struct lh_limit limit = {.size = sizeof(limit)};

		limit_of(&l, &limit);
		*after = (struct proto_after){.kind = l.kind, .number = l.id};
		each(ctx, &limit);
		n++;
	}
	return n;
}

int client_fs_limits(struct lh_fs *fs, void (*each)(void *ctx, const struct lh_limit *limit), void *ctx)
{
	union proto_body body = {0};
	bool more = true;
	int err = 0;
	int n = 0;

	while (more && !err) {
		struct proto_after before = body.after;
		struct call call;

		call_init(&call);
		err = conn_call(fs->conn, &call, PROTO_FS_LIMITS, 0, &body);
		if (!err)
			n += limits_page(&call.reply.limits, &body.after, each, ctx);
		more = !err && call.reply.limits.more;
		call_fini(&call);
		if (more)
			err = page_check(&before, &body.after);
	}
	return err ? err : n;
}

static int limit_ask(struct lh_fs *fs, unsigned type, const char *tree, struct lh_limit *limit)
{
	union proto_body body = {.limit_ask = {.kind = limit->kind,
					       .id = limit->id,
					       .bytes = limit->bytes,
					       .inodes = limit->inodes,
					       .path = proto_str_of(tree ? tree : "")}};
	struct call call;
	int err;

	call_init(&call);
	err = client_call_as(fs, &call, type, 0, &body, tree ? USES_NAME : USES_WHO);
	if (!err)
		limit_of(&call.reply.limit.limit, limit);
	call_fini(&call);
	return err;
}

int client_fs_limit_set(struct lh_fs *fs, const char *tree, struct lh_limit *limit)
{
	return limit_ask(fs, PROTO_FS_LIMIT_SET, tree, limit);
}

int client_fs_limit_get(struct lh_fs *fs, const char *tree, struct lh_limit *limit)
{
	return limit_ask(fs, PROTO_FS_LIMIT_GET, tree, limit);
}

int client_fs_limit_clear(struct lh_fs *fs, struct lh_limit *limit)
{
	union proto_body body = {.limit_ask = {.kind = limit->kind, .id = limit->id, .path = proto_str_of("")}};

	return client_do_as(fs, PROTO_FS_LIMIT_CLEAR, 0, &body, USES_WHO);
}

/* --- long calls --- */

struct resize {
	lh_progress progress;
	void *ctx;
};

static void resize_told(struct call *call, const struct proto_header *h, const union proto_body *body)
{
	const struct resize *r = call->ctx;

	if (r->progress)
		r->progress(r->ctx, body->progress.done, body->progress.total);
}

int client_fs_resize(struct lh_fs *fs, uint64_t bytes, lh_progress progress, void *ctx)
{
	union proto_body body = {.resize = {.bytes = bytes}};
	struct resize r = {progress, ctx};
	struct call call;
	int err;

	call_init(&call);
	call.told = resize_told;
	call.ctx = &r;
	err = client_call_as(fs, &call, PROTO_FS_RESIZE, client_flags(fs), &body, USES_WHO);
	call_fini(&call);
	return err;
}

struct evacuation {
	void (*each)(void *ctx, const struct lh_loss *loss);
	void *ctx;
	struct lh_loss loss;
};

static void evacuation_told(struct call *call, const struct proto_header *h, const union proto_body *body)
{
	struct evacuation *e = call->ctx;
	struct proto_lost lost;
	uint32_t cursor = 0;

	if (h->type != PROTO_LOSS || !e->each)
		return;
	while (proto_lost_next(&body->loss.losses, &cursor, &lost)) {
		e->loss = (struct lh_loss){
		    .size = sizeof(e->loss), .ino = lost.ino, .off = lost.range.off, .len = lost.range.len};
		proto_str_copy(lost.path, e->loss.path, sizeof(e->loss.path));
		e->each(e->ctx, &e->loss);
	}
}

int client_fs_evacuate(struct lh_fs *fs, uint64_t off, uint64_t len,
		       void (*each)(void *ctx, const struct lh_loss *loss), void *ctx)
{
	union proto_body body = {.evacuate = {.range = {off, len}}};
	struct evacuation *e = calloc(1, sizeof(*e));
	struct call call;
	int n;

	if (!e)
		return -ENOMEM;
	e->each = each;
	e->ctx = ctx;
	call_init(&call);
	call.told = evacuation_told;
	call.ctx = e;
	n = client_call_as(fs, &call, PROTO_FS_EVACUATE, client_flags(fs), &body, USES_WHO);
	if (!n)
		n = (int)min_u64(call.reply.count.count, INT32_MAX);
	call_fini(&call);
	free(e);
	return n;
}
