/* SPDX-License-Identifier: BSD-2-Clause */
/* Calls on the whole filesystem: sync, space, who holds what, revoking. */
#include "server/calls.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

int call_fs_sync(struct call *c)
{
	return fs_sync_all(c->session->server->fs);
}

int call_fs_stat(struct call *c)
{
	struct lh_fs *lhfs = c->session->server->lhfs;
	struct lh_statfs *st = calloc(1, sizeof(*st));
	int err;

	c->scratch = st;
	if (!st)
		return -ENOMEM;
	st->size = sizeof(*st);
	err = ((struct lh_fs_head *)lhfs)->be->fs_stat(lhfs, st);
	if (err)
		return err;
	c->out.fs_stat = (struct proto_fs_stat){.block_size = st->block_size,
						.blocks = st->blocks,
						.free_blocks = st->free_blocks,
						.avail_blocks = st->avail_blocks,
						.files = st->files,
						.log_bytes = st->log_bytes,
						.checkpoints = st->checkpoints,
						.pool_class = proto_str_of(st->pool_class),
						.pool_kind = proto_str_of(st->pool_kind)};
	memcpy(c->out.fs_stat.uuid, st->uuid, sizeof(st->uuid));
	return 0;
}

int call_is_administrator(struct call *c, bool *out)
{
	struct fs_caller root = {0};
	struct fs_attr attr;
	int err;

	*out = c->who.cred.uid == 0;
	if (*out)
		return 0;
	err = fs_stat(c->session->server->fs, &root, "/", true, &attr);
	if (!err)
		*out = attr.uid == c->who.cred.uid;
	return err;
}

/* The number of the file that a filter names; 0 when it names none. */
static int object_of(struct call *c, struct proto_str path, uint64_t *object)
{
	struct fs_attr attr;
	int err;

	*object = 0;
	if (path.len == 0)
		return 0;
	err = fs_stat(c->session->server->fs, &c->who, call_path(c, 0, path), true, &attr);
	if (!err)
		*object = attr.ino;
	return err;
}

/* --- who holds what: a page of the lowest numbers above `after` --- */

struct page {
	struct proto_lease_info at[PROTO_LEASES_MAX];
	char hosts[PROTO_LEASES_MAX][PROTO_HOST_MAX + 1];
	unsigned count;
	bool more, all;
	uint64_t after;
	uint32_t uid;
};

static uint32_t state_of(enum lease_state s)
{
	return s == LEASE_RECALLING;
}

/* Where number belongs; the page is ascending. PROTO_LEASES_MAX: not on it. */
static unsigned page_place(struct page *p, uint64_t number)
{
	unsigned i = p->count;

	while (i > 0 && p->at[i - 1].number > number)
		i--;
	return i;
}

static void page_add(void *ctx, const struct lease_info *info)
{
	struct page *p = ctx;
	unsigned i;

	if (info->lease <= p->after || (!p->all && info->who.uid != p->uid))
		return;
	i = page_place(p, info->lease);
	if (p->count == PROTO_LEASES_MAX) {
		p->more = true;
		if (i == PROTO_LEASES_MAX)
			return;
		p->count--;
	}
	memmove(&p->at[i + 1], &p->at[i], (p->count - i) * sizeof(p->at[0]));
	memmove(&p->hosts[i + 1], &p->hosts[i], (p->count - i) * sizeof(p->hosts[0]));
	p->count++;
	snprintf(p->hosts[i], sizeof(p->hosts[i]), "%s", info->who.host);
	p->at[i] = (struct proto_lease_info){.number = info->lease,
					     .ino = info->object,
					     .session = info->session,
					     .mode = info->mode,
					     .state = state_of(info->state),
					     .uid = info->who.uid,
					     .pid = info->who.pid,
					     .range = {info->range.start, info->range.end - info->range.start},
					     .bytes = info->bytes,
					     .pinned_bytes = info->pinned_bytes,
					     .age_ns = info->age_ns,
					     .recall_left_ns = info->recall_left_ns};
}

int call_fs_leases(struct call *c)
{
	const struct proto_fs_leases *in = &c->in->fs_leases;
	struct page *p = calloc(1, sizeof(*p));
	uint64_t object;
	int err;

	c->scratch = p;
	if (!p)
		return -ENOMEM;
	p->after = in->after;
	p->uid = c->who.cred.uid;
	err = call_is_administrator(c, &p->all);
	if (!err)
		err = object_of(c, in->path, &object);
	if (!err)
		err = lease_list(c->session->server->arbiter, object, 0, page_add, p);
	if (err)
		return err;
	for (unsigned i = 0; i < p->count; i++)
		p->at[i].host = proto_str_of(p->hosts[i]);
	c->out.lease_list = (struct proto_lease_list){.more = p->more, .leases = {.host = p->at, .count = p->count}};
	return 0;
}

int call_fs_revoke(struct call *c)
{
	const struct proto_fs_revoke *in = &c->in->fs_revoke;
	struct session *s = c->session;
	char asked_by[64];
	uint64_t object;
	bool allowed;
	int n, err = call_is_administrator(c, &allowed);

	if (err)
		return err;
	if (!allowed)
		return fail(-EPERM, "revoke: only root and the owner of the filesystem's root directory may");
	if (!in->number && !in->session && !in->by_uid && !in->path.len)
		return fail(-EINVAL, "revoke: name a lease, a session, a uid or a file");
	err = object_of(c, in->path, &object);
	if (err)
		return err;
	snprintf(asked_by, sizeof(asked_by), "uid %u, pid %d, session %llu", s->cred.uid, (int)s->pid,
		 (unsigned long long)s->id);
	n = lease_revoke(s->server->arbiter, in->number, object, in->session, in->by_uid ? in->uid : UINT32_MAX,
			 asked_by);
	if (n < 0)
		return n;
	c->out.count.count = (uint64_t)n;
	return 0;
}

int call_fs_lease_stats(struct call *c)
{
	struct lease_stats l;
	struct fabric_stats f;

	lease_stats_read(c->session->server->arbiter, &l);
	fabric_stats_read(c->session->server->target, &f);
	c->out.lease_stats = (struct proto_lease_stats){
	    .grants = l.grants,
	    .releases = l.releases,
	    .recalls = l.recalls,
	    .breaks = l.breaks,
	    .released_in_time = l.released_in_time,
	    .forced = l.forced,
	    .leases = l.leases,
	    .sessions = l.sessions,
	    .pinned_bytes = l.pinned_bytes,
	    .direct_reads = f.read_ops,
	    .direct_writes = f.write_ops,
	    .direct_read_bytes = f.read_bytes,
	    .direct_write_bytes = f.write_bytes,
	    .refused = f.refused,
	    .protocol_errors = f.protocol_errors,
	};
	return 0;
}
