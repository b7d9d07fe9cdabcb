/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * L25, L26: who holds what, revocation by hand, what was taken by force. The process that opened the pool owns it, so
 * nothing is hidden from it.
 */
#include "local/local.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"

#define AUDIT_BATCH 64u

/* path NULL: 0, which stands for all files. */
static int path_ino(struct lh_fs *fs, const char *path, uint64_t *ino)
{
	struct fs_attr attr;
	int err;

	*ino = 0;
	if (path == NULL)
		return 0;
	err = fs_stat(fs->fs, local_who(fs), path, true, &attr);
	if (!err)
		*ino = attr.ino;
	return err;
}

static uint64_t length(struct range r)
{
	return range_empty(r) ? 0 : r.end - r.start;
}

struct lister {
	const struct lh_revoke_filter *filter;
	void (*each)(void *ctx, const struct lh_lease_info *info);
	void *ctx;
};

static bool is_wanted(const struct lh_revoke_filter *f, const struct lease_info *in)
{
	return (f->number == 0 || f->number == in->lease) && (!f->by_uid || f->uid == in->who.uid);
}

static void lease_show(void *ctx, const struct lease_info *in)
{
	const struct lister *l = ctx;
	struct lh_lease_info out = {
	    .size = sizeof(out),
	    .mode = in->mode == LEASE_WRITE ? LH_LEASE_WRITE : LH_LEASE_READ,
	    .number = in->lease,
	    .ino = in->object,
	    .session = in->session,
	    .uid = in->who.uid,
	    .gid = in->who.gid,
	    .pid = in->who.pid,
	    .off = in->range.start,
	    .len = length(in->range),
	    .bytes = in->bytes,
	    .pinned_bytes = in->pinned_bytes,
	    .age_ns = in->age_ns,
	    .recall_left_ns = in->recall_left_ns,
	    .flags = (in->exclusive ? LH_LEASE_EXCLUSIVE : 0) | (in->faulting ? LH_LEASE_FAULTING : 0),
	    .pins = in->pins,
	    .handle = in->handle,
	    .exclusive_left_ns = in->exclusive_left_ns,
	    .recalled_ns = in->recalled_ns,
	};

	if (!is_wanted(l->filter, in))
		return;
	snprintf(out.host, sizeof(out.host), "%s", in->who.host);
	snprintf(out.state, sizeof(out.state), "%s", lease_state_name(in->state));
	snprintf(out.pin, sizeof(out.pin), "%s", in->pin);
	if (in->recalled_ns != UINT64_MAX)
		snprintf(out.last_reason, sizeof(out.last_reason), "%s", lease_reason_name(in->last_reason));
	l->each(l->ctx, &out);
}

int local_fs_leases_matching(struct lh_fs *fs, const struct lh_revoke_filter *filter,
			     void (*each)(void *ctx, const struct lh_lease_info *info), void *ctx)
{
	struct lister l = {filter, each, ctx};
	uint64_t ino;
	int err;

	err = path_ino(fs, filter->path, &ino);
	if (err)
		return err;
	err = lease_list(fs_arbiter(fs->fs), ino, filter->session, lease_show, &l);
	return err < 0 ? err : 0;
}

int local_fs_leases(struct lh_fs *fs, const char *path, void (*each)(void *ctx, const struct lh_lease_info *info),
		    void *ctx)
{
	struct lh_revoke_filter filter = {.size = sizeof(filter), .path = path};

	return local_fs_leases_matching(fs, &filter, each, ctx);
}

int local_fs_revoke(struct lh_fs *fs, const struct lh_revoke_filter *filter)
{
	uint64_t ino;
	int err;

	if (!filter->by_uid && filter->number == 0 && filter->session == 0 && filter->path == NULL)
		return fail(-EINVAL, "revoke: say which leases, by number, session, uid or path");
	err = path_ino(fs, filter->path, &ino);
	if (err)
		return err;
	return lease_revoke_for(fs_arbiter(fs->fs), filter->number, ino, filter->session,
				filter->by_uid ? filter->uid : UINT32_MAX, fs->session, "in process");
}

struct session_lister {
	void (*each)(void *ctx, const struct lh_session_info *info);
	void *ctx;
};

static bool session_show(void *ctx, const struct lease_session_info *in)
{
	const struct session_lister *l = ctx;
	struct lh_session_info out = {
	    .size = sizeof(out),
	    .uid = in->who.uid,
	    .gid = in->who.gid,
	    .pid = in->who.pid,
	    .state = "open",
	    .number = in->session,
	    .leases = in->leases,
	    .pinned_bytes = in->pinned_bytes,
	    .age_ns = in->age_ns,
	    .recalls = in->recalls,
	    .forced = in->forced,
	    .slowest_ns = in->slowest_ns,
	    .bytes_limit = in->bytes_limit,
	    .leases_limit = in->leases_limit,
	};

	snprintf(out.host, sizeof(out.host), "%s", in->who.host);
	l->each(l->ctx, &out);
	return true;
}

int local_fs_sessions(struct lh_fs *fs, void (*each)(void *ctx, const struct lh_session_info *info), void *ctx)
{
	struct session_lister l = {each, ctx};

	return lease_sessions(fs_arbiter(fs->fs), 0, session_show, &l);
}

static void audit_show(const struct lease_audit *in, struct lh_audit *out)
{
	*out = (struct lh_audit){
	    .size = sizeof(*out),
	    .mode = in->mode == LEASE_WRITE ? LH_LEASE_WRITE : LH_LEASE_READ,
	    .number = in->number,
	    .at_ns = in->at_ns,
	    .lease = in->lease,
	    .ino = in->object,
	    .session = in->session,
	    .off = in->range.start,
	    .len = length(in->range),
	    .took_ns = in->took_ns,
	    .uid = in->who.uid,
	    .pid = in->who.pid,
	    .asker_uid = in->asker_uid,
	    .asker_pid = in->asker_pid,
	    .asker_session = in->asker_session,
	};
	snprintf(out->reason, sizeof(out->reason), "%s", lease_reason_name(in->reason));
	snprintf(out->asked_by, sizeof(out->asked_by), "%s", in->asked_by);
}

int local_fs_audit(struct lh_fs *fs, uint64_t *cursor, struct lh_audit *out, unsigned max)
{
	struct lease_audit batch[AUDIT_BATCH];
	unsigned total = 0, n = 1;

	max = (unsigned)min_u64(max, INT32_MAX);
	while (total < max && n > 0) {
		n = lease_audit_read(fs_arbiter(fs->fs), cursor, batch, (unsigned)min_u64(max - total, AUDIT_BATCH));
		for (unsigned k = 0; k < n; k++)
			audit_show(&batch[k], &out[total++]);
	}
	return (int)total;
}
