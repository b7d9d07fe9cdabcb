/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Calls that are done for somebody else, or from an inode on: what the thread's caller says goes with the request, and
 * what the server tells of the inode comes back with its answer. A call that the caller has nothing to say about goes
 * out as ever.
 *
 * The caller is copied into the call, because a call may have to be sent again after the thread has said, in a callback
 * of this same call, that it acts for somebody else.
 */
#include "client/client.h"

#include <string.h>

#include "base/caller.h"

static void identity(struct call *call, const struct lh_caller *who)
{
	uint32_t count = (uint32_t)min_u64(who->group_count, PROTO_GROUPS_MAX);

	static_assert(sizeof(struct proto_group) == sizeof(who->groups[0]), "a group is its number");
	call->as.flags |= PROTO_AS_IDENTITY | (who->flags & LH_CALLER_CHECKED ? PROTO_AS_CHECKED : 0);
	call->as.uid = who->uid;
	call->as.gid = who->gid;
	if (count)
		memcpy(call->groups, who->groups, count * sizeof(call->groups[0]));
	call->as.groups = (struct proto_list){.host = call->groups, .count = count};
}

static int caller_take(struct lh_fs *fs, struct call *call, unsigned uses, const struct lh_caller *who)
{
	struct proto_as *as = &call->as;

	if (uses & (USES_NAME | USES_TWO))
		as->at[0] = who->at[0];
	if (uses & USES_TWO)
		as->at[1] = who->at[1];
	if (uses & USES_MODE)
		as->umask = who->umask & 0777;
	if ((uses & USES_ATTR) && who->stat)
		as->flags |= PROTO_AS_ATTR;
	if (atomic_load_explicit(&fs->acts, memory_order_relaxed))
		identity(call, who);
	call->has_as = as->flags || as->umask || as->at[0] || as->at[1];
	if (call->has_as && !(atomic_load_explicit(&fs->features, memory_order_relaxed) & PROTO_FEATURE_AS))
		return fail(-EOPNOTSUPP, "%s: this server cannot act for others, nor start from an inode; update it",
			    fs->address.text);
	return 0;
}

int client_call_as(struct lh_fs *fs, struct call *call, unsigned type, unsigned flags, const union proto_body *body,
		   unsigned uses)
{
	struct lh_caller *who = thread_caller;
	int err;

	if (likely(!who))
		return conn_call(fs->conn, call, type, flags, body);
	err = caller_take(fs, call, uses, who);
	if (!err)
		err = conn_call(fs->conn, call, type, flags, body);
	if (!err && call->has_attr && who->stat)
		client_stat_of(&call->attr, who->stat);
	return err;
}

int client_do_as(struct lh_fs *fs, unsigned type, unsigned flags, const union proto_body *body, unsigned uses)
{
	struct call call;
	int err;

	call_init(&call);
	err = client_call_as(fs, &call, type, flags, body, uses);
	call_fini(&call);
	return err;
}

void client_tell(const struct proto_attr *attr)
{
	if (unlikely(thread_caller != NULL) && thread_caller->stat)
		client_stat_of(attr, thread_caller->stat);
}

int client_fs_act(struct lh_fs *fs)
{
	int err;

	if (!(atomic_load(&fs->features) & PROTO_FEATURE_AS))
		return fail(-EOPNOTSUPP, "%s: this server lets nobody act for others; update it", fs->address.text);
	err = conn_do(fs->conn, PROTO_ACT, 0, NULL);
	if (err)
		return err;
	conn_acts(fs->conn);
	atomic_store(&fs->acts, true);
	return 0;
}
