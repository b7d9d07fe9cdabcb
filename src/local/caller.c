/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Calls that are done for somebody else, or from an inode on: the fs's idea of a caller is made anew for every one, in
 * the memory that the public struct keeps for it.
 */
#include <string.h>

#include "base/error.h"
#include "local/local.h"

struct room {
	struct fs_caller who;
	struct fs_attr attr;
};

static void identity(struct fs_cred *cred, const struct lh_caller *caller)
{
	cred->uid = caller->uid;
	cred->gid = caller->gid;
	cred->group_count = (uint32_t)min_u64(caller->group_count, FS_GROUPS_MAX);
	cred->checked = caller->flags & LH_CALLER_CHECKED;
	if (cred->group_count)
		memcpy(cred->groups, caller->groups, cred->group_count * sizeof(cred->groups[0]));
}

const struct fs_caller *local_who_else(const struct lh_fs *fs, struct lh_caller *caller)
{
	bool nowait =
	    atomic_load_explicit(&fs->nowait, memory_order_relaxed) || (caller->flags & LH_CALLER_NOWAIT) != 0;
	struct room *room = (struct room *)caller->library;

	static_assert(sizeof(*room) <= sizeof(caller->library), "grow lh_caller.library");
	if (atomic_load_explicit(&fs->acts, memory_order_relaxed)) {
		identity(&room->who.cred, caller);
		room->who.session = fs->callers[nowait].session;
		room->who.nowait = nowait;
		room->who.deadline_ns = fs->callers[nowait].deadline_ns;
		room->who.tag = fs->callers[nowait].tag;
	} else {
		room->who = fs->callers[nowait];
	}
	room->who.umask = caller->umask;
	room->who.at[0] = caller->at[0];
	room->who.at[1] = caller->at[1];
	room->who.attr = caller->stat ? &room->attr : NULL;
	room->attr.ino = 0;
	return &room->who;
}

void local_caller_told(struct lh_caller *caller)
{
	const struct room *room = (const struct room *)caller->library;

	if (caller->stat && room->attr.ino)
		local_stat_of(&room->attr, caller->stat);
}
