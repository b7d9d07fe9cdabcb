/* SPDX-License-Identifier: BSD-2-Clause */
/* Calls on the whole filesystem: sync, space, totals. */
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

	*out = cred_is_super(&c->who.cred);
	if (*out)
		return 0;
	err = fs_stat(c->session->server->fs, &root, "/", true, &attr);
	if (!err)
		*out = attr.uid == c->who.cred.uid;
	return err;
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
