/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Requests that are done as somebody else, and from inodes on (P69 to P73).
 *
 * The right to be somebody else is the session's own identity's, asked for with every request: nothing is remembered
 * that a new session would have to be told again, or that would outlive a change of the root directory's owner.
 *
 * A number is as good as an open directory: who names an inode by it has not walked there. Root and the owner of the
 * root directory may name any; others those that an answer has described to this session, which they had walked to with
 * the right to.
 */
#include "server/calls.h"

#include <errno.h>
#include <string.h>

#include "base/error.h"

static int need_feature(const struct call *c)
{
	if (c->session->features & PROTO_FEATURE_AS)
		return 0;
	return fail(-EOPNOTSUPP, "%s: was not agreed on in HELLO", proto_type_name(c->as ? PROTO_AS : c->header->type));
}

static int may_be_others(struct call *c)
{
	bool allowed;
	int err = call_is_administrator(c, &allowed);

	if (!err && !allowed)
		err = fail(-EPERM, "acting for others: only root and the owner of the filesystem's root directory may");
	return err;
}

int call_act(struct call *c)
{
	int err = need_feature(c);

	return err ? err : may_be_others(c);
}

static bool was_told(struct session *s, uint64_t ino)
{
	bool told;

	if (ino == 0 || ino == FS_ROOT_INO)
		return true;
	lock_take(&s->lock);
	told = told_has(&s->told, ino);
	lock_drop(&s->lock);
	return told;
}

/* P72, by the session's own identity. */
static int may_start_at(struct call *c, const uint64_t at[2])
{
	unsigned which = was_told(c->session, at[0]) ? 1 : 0;
	bool allowed;
	int err;

	if (cred_is_super(&c->who.cred) || (which && was_told(c->session, at[1])))
		return 0;
	err = call_is_administrator(c, &allowed);
	if (err || allowed)
		return err;
	return fail(-ESTALE, "inode %llu: this session was not told of it, or long ago; look it up by name",
		    (unsigned long long)at[which]);
}

static void identity(struct fs_cred *cred, const struct proto_as *as)
{
	struct proto_group g;
	uint32_t cursor = 0;

	static_assert(PROTO_GROUPS_MAX == FS_GROUPS_MAX, "one limit");
	*cred = (struct fs_cred){.uid = as->uid, .gid = as->gid, .checked = as->flags & PROTO_AS_CHECKED};
	while (proto_group_next(&as->groups, &cursor, &g))
		cred->groups[cred->group_count++] = g.gid;
}

int call_as(struct call *c)
{
	const struct proto_as *as = c->as;
	int err = need_feature(c);

	if (!err && (as->flags & PROTO_AS_IDENTITY))
		err = may_be_others(c);
	else if (!err)
		err = may_start_at(c, as->at);
	if (err)
		return err;
	if (as->flags & PROTO_AS_IDENTITY)
		identity(&c->who.cred, as);
	c->who.umask = as->umask;
	c->who.at[0] = as->at[0];
	c->who.at[1] = as->at[1];
	c->who.attr = &c->attr;
	return 0;
}

void call_as_answer(struct call *c, const struct proto_header *h)
{
	union proto_body body = {.as_reply = {.inner = {.type = c->header->type, .host = &c->out}}};
	struct proto_attr attr;

	if ((c->as->flags & PROTO_AS_ATTR) && c->attr.ino) {
		call_attr(&attr, &c->attr);
		body.as_reply.attr = (struct proto_list){.host = &attr, .count = 1};
	}
	output_reply(c->session, h, 0, &body);
}

/* Administrators may name any inode; others' rights are not the session's own. */
void call_tell_of(struct call *c, uint64_t ino)
{
	struct session *s = c->session;

	if (ino == 0 || s->cred.uid == 0 || !(s->features & PROTO_FEATURE_AS) ||
	    (c->as && (c->as->flags & PROTO_AS_IDENTITY)))
		return;
	lock_take(&s->lock);
	told_add(&s->told, ino);
	lock_drop(&s->lock);
}

void call_tell(struct call *c)
{
	call_tell_of(c, c->attr.ino);
	switch (c->header->type) {
	case PROTO_PATH_STAT:
		call_tell_of(c, c->out.attr.ino);
		break;
	case PROTO_DIR_OPEN:
	case PROTO_FILE_OPEN:
	case PROTO_FILE_REOPEN:
		call_tell_of(c, c->out.opened.attr.ino);
		break;
	default:
		break;
	}
}
