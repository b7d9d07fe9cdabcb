/* SPDX-License-Identifier: BSD-2-Clause */
/* Who holds what, on the server: leases, sessions, the audit, revoking. Lists come in pages by number. */
#include "client/client.h"

#include <string.h>

#include "base/error.h"

/* A page that promises more must bring something above the one before, or the server would be asked for ever. */
static int page_check(bool more, uint64_t before, uint64_t after)
{
	if (!more || after > before)
		return 0;
	return fail(-EPROTO, "the server says there is more, and sends nothing new");
}

/* --- leases --- */

static void lease_of(const struct proto_lease_info *p, struct lh_lease_info *out)
{
	*out = (struct lh_lease_info){
	    .size = sizeof(*out),
	    .mode = p->mode == PROTO_WRITE ? LH_LEASE_WRITE : LH_LEASE_READ,
	    .number = p->number,
	    .ino = p->ino,
	    .session = p->session,
	    .uid = p->uid,
	    .gid = p->gid,
	    .pid = p->pid,
	    .off = p->range.off,
	    .len = p->range.len,
	    .bytes = p->bytes,
	    .pinned_bytes = p->pinned_bytes,
	    .age_ns = p->age_ns,
	    .recall_left_ns = p->recall_left_ns,
	    .flags = (p->flags & PROTO_LEASE_EXCLUSIVE ? LH_LEASE_EXCLUSIVE : 0) |
		     (p->flags & PROTO_LEASE_FAULTING ? LH_LEASE_FAULTING : 0),
	    .pins = p->pins,
	    .handle = p->handle,
	    .exclusive_left_ns = p->exclusive_left_ns,
	    .recalled_ns = p->recalled_ns,
	};
	proto_str_copy(p->host, out->host, sizeof(out->host));
	proto_str_copy(p->pin, out->pin, sizeof(out->pin));
	proto_str_copy(p->reason, out->last_reason, sizeof(out->last_reason));
	strcpy(out->state, p->state ? "recalling" : "granted");
}

int client_fs_leases_matching(struct lh_fs *fs, const struct lh_revoke_filter *filter,
			      void (*each)(void *ctx, const struct lh_lease_info *info), void *ctx)
{
	union proto_body body = {.fs_leases = {.number = filter->number,
					       .session = filter->session,
					       .by_uid = filter->by_uid,
					       .uid = filter->uid,
					       .path = proto_str_of(filter->path ? filter->path : "")}};
	bool more = true;
	int err = 0;

	while (more && !err) {
		uint64_t before = body.fs_leases.after;
		struct proto_lease_info p;
		struct lh_lease_info info;
		uint32_t cursor = 0;
		struct call call;

		call_init(&call);
		err = client_call_as(fs, &call, PROTO_FS_LEASES, 0, &body, filter->path ? USES_NAME : USES_WHO);
		while (!err && proto_lease_info_next(&call.reply.lease_list.leases, &cursor, &p)) {
			lease_of(&p, &info);
			each(ctx, &info);
			body.fs_leases.after = max_u64(body.fs_leases.after, p.number);
		}
		more = !err && call.reply.lease_list.more;
		call_fini(&call);
		if (!err)
			err = page_check(more, before, body.fs_leases.after);
	}
	return err;
}

int client_fs_leases(struct lh_fs *fs, const char *path, void (*each)(void *ctx, const struct lh_lease_info *info),
		     void *ctx)
{
	struct lh_revoke_filter filter = {.size = sizeof(filter), .path = path};

	return client_fs_leases_matching(fs, &filter, each, ctx);
}

int client_fs_revoke(struct lh_fs *fs, const struct lh_revoke_filter *filter)
{
	union proto_body body = {.fs_revoke = {.number = filter->number,
					       .session = filter->session,
					       .by_uid = filter->by_uid,
					       .uid = filter->uid,
					       .path = proto_str_of(filter->path ? filter->path : "")}};
	struct call call;
	int n;

	call_init(&call);
	n = client_call_as(fs, &call, PROTO_FS_REVOKE, 0, &body, filter->path ? USES_NAME : USES_WHO);
	if (!n)
		n = (int)min_u64(call.reply.count.count, INT32_MAX);
	call_fini(&call);
	return n;
}

/* --- sessions --- */

static void session_of(const struct proto_session_info *p, struct lh_session_info *out)
{
	*out = (struct lh_session_info){
	    .size = sizeof(*out),
	    .uid = p->uid,
	    .gid = p->gid,
	    .pid = p->pid,
	    .number = p->number,
	    .leases = p->leases,
	    .pinned_bytes = p->pinned_bytes,
	    .age_ns = p->age_ns,
	    .idle_ns = p->idle_ns,
	    .recalls = p->recalls,
	    .forced = p->forced,
	    .slowest_ns = p->slowest_ns,
	    .bytes_limit = p->bytes_limit,
	    .leases_limit = p->leases_limit,
	};
	proto_str_copy(p->host, out->host, sizeof(out->host));
	strcpy(out->state, p->state ? "away" : "open");
}

int client_fs_sessions(struct lh_fs *fs, void (*each)(void *ctx, const struct lh_session_info *info), void *ctx)
{
	union proto_body body = {0};
	bool more = true;
	int err = 0;

	while (more && !err) {
		uint64_t before = body.after.number;
		struct proto_session_info p;
		struct lh_session_info info;
		uint32_t cursor = 0;
		struct call call;

		call_init(&call);
		err = conn_call(fs->conn, &call, PROTO_FS_SESSIONS, 0, &body);
		while (!err && proto_session_info_next(&call.reply.sessions.sessions, &cursor, &p)) {
			session_of(&p, &info);
			each(ctx, &info);
			body.after.number = max_u64(body.after.number, p.number);
		}
		more = !err && call.reply.sessions.more;
		call_fini(&call);
		if (!err)
			err = page_check(more, before, body.after.number);
	}
	return err;
}

/* --- the audit --- */

static void audit_of(const struct proto_audit *p, struct lh_audit *out)
{
	*out = (struct lh_audit){
	    .size = sizeof(*out),
	    .mode = p->mode == PROTO_WRITE ? LH_LEASE_WRITE : LH_LEASE_READ,
	    .number = p->number,
	    .at_ns = p->at_ns,
	    .lease = p->lease,
	    .ino = p->ino,
	    .session = p->session,
	    .off = p->range.off,
	    .len = p->range.len,
	    .took_ns = p->took_ns,
	    .uid = p->uid,
	    .pid = p->pid,
	    .asker_uid = p->asker_uid,
	    .asker_pid = p->asker_pid,
	    .asker_session = p->asker_session,
	};
	proto_str_copy(p->reason, out->reason, sizeof(out->reason));
	proto_str_copy(p->asked_by, out->asked_by, sizeof(out->asked_by));
}

/* As much of one page as fits. *more: the server, or this page, has more. Returns how many. */
static int audit_page(struct lh_fs *fs, uint64_t *cursor, struct lh_audit *out, unsigned max, bool *more)
{
	union proto_body body = {.after = {.number = *cursor}};
	uint64_t before = *cursor;
	struct proto_audit p;
	uint32_t at = 0;
	struct call call;
	unsigned n = 0;
	int err;

	call_init(&call);
	err = conn_call(fs->conn, &call, PROTO_FS_AUDIT, 0, &body);
	while (!err && n < max && proto_audit_next(&call.reply.audits.audits, &at, &p)) {
		audit_of(&p, &out[n++]);
		*cursor = max_u64(*cursor, p.number);
	}
	*more = !err && call.reply.audits.more;
	call_fini(&call);
	if (!err)
		err = page_check(*more, before, *cursor);
	return err ? err : (int)n;
}

int client_fs_audit(struct lh_fs *fs, uint64_t *cursor, struct lh_audit *out, unsigned max)
{
	unsigned total = 0;
	bool more = true;

	max = (unsigned)min_u64(max, INT32_MAX);
	while (more && total < max) {
		int n = audit_page(fs, cursor, &out[total], max - total, &more);

		if (n < 0)
			return n;
		total += (unsigned)n;
	}
	return (int)total;
}
