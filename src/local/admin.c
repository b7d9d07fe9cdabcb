/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who holds what, revocation by hand, statistics and the trace. The process that opened the pool owns it, so nothing is
 * hidden from it.
 */
#include "local/local.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"

#define TRACE_BATCH 128u

int local_fs_stat(struct lh_fs *fs, struct lh_statfs *out)
{
	struct fs_statfs s;

	fs_statfs(fs->fs, &s);
	out->block_size = LH_BLOCK_SIZE;
	out->blocks = s.blocks;
	out->free_blocks = s.free_blocks;
	out->avail_blocks = s.avail_blocks;
	out->files = s.files;
	out->log_bytes = s.log_bytes;
	out->checkpoints = s.checkpoints;
	memcpy(out->uuid, s.uuid, sizeof(out->uuid));
	snprintf(out->pool_class, sizeof(out->pool_class), "%s", pool_class_name(fs->pool->class));
	snprintf(out->pool_kind, sizeof(out->pool_kind), "%s", pool_kind_name(fs->pool->kind));
	return 0;
}

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

struct lister {
	void (*each)(void *ctx, const struct lh_lease_info *info);
	void *ctx;
};

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
	    .pid = in->who.pid,
	    .off = in->range.start,
	    .len = range_empty(in->range) ? 0 : in->range.end - in->range.start,
	    .bytes = in->bytes,
	    .pinned_bytes = in->pinned_bytes,
	    .age_ns = in->age_ns,
	    .recall_left_ns = in->recall_left_ns,
	};

	snprintf(out.host, sizeof(out.host), "%s", in->who.host);
	snprintf(out.state, sizeof(out.state), "%s", lease_state_name(in->state));
	l->each(l->ctx, &out);
}

int local_fs_leases(struct lh_fs *fs, const char *path, void (*each)(void *ctx, const struct lh_lease_info *info),
		    void *ctx)
{
	struct lister l = {each, ctx};
	uint64_t ino;
	int err;

	err = path_ino(fs, path, &ino);
	if (err)
		return err;
	err = lease_list(fs_arbiter(fs->fs), ino, 0, lease_show, &l);
	return err < 0 ? err : 0;
}

int local_fs_revoke(struct lh_fs *fs, const struct lh_revoke_filter *filter)
{
	char asked_by[64];
	uint64_t ino;
	int err;

	if (!filter->by_uid && filter->number == 0 && filter->session == 0 && filter->path == NULL)
		return fail(-EINVAL, "revoke: say which leases, by number, session, uid or path");
	err = path_ino(fs, filter->path, &ino);
	if (err)
		return err;
	snprintf(asked_by, sizeof(asked_by), "uid %u in process", fs->callers[0].cred.uid);
	return lease_revoke(fs_arbiter(fs->fs), filter->number, ino, filter->session,
			    filter->by_uid ? filter->uid : UINT32_MAX, asked_by);
}

static void stats_add(struct lh_lease_stats *out, struct fabric_target *target)
{
	struct fabric_stats f;

	fabric_stats_read(target, &f);
	out->direct_reads += f.read_ops;
	out->direct_writes += f.write_ops;
	out->direct_read_bytes += f.read_bytes;
	out->direct_write_bytes += f.write_bytes;
	out->refused += f.refused;
	out->protocol_errors += f.protocol_errors;
}

int local_fs_lease_stats(struct lh_fs *fs, struct lh_lease_stats *out)
{
	uint32_t size = out->size;
	struct lease_stats s;

	memset(out, 0, sizeof(*out));
	out->size = size;
	lease_stats_read(fs_arbiter(fs->fs), &s);
	out->grants = s.grants;
	out->releases = s.releases;
	out->recalls = s.recalls;
	out->breaks = s.breaks;
	out->released_in_time = s.released_in_time;
	out->forced = s.forced;
	out->leases = s.leases;
	out->sessions = s.sessions;
	out->pinned_bytes = s.pinned_bytes;
	stats_add(out, fs->target);
	lock_take(&fs->table);
	for (const struct local_served *served = fs->served; served != NULL; served = served->next)
		stats_add(out, served->target);
	lock_drop(&fs->table);
	return 0;
}

static const char *event_name(enum lease_event event)
{
	switch (event) {
	case LEASE_EV_GRANT:
		return "grant";
	case LEASE_EV_RECALL:
		return "recall";
	case LEASE_EV_RELEASE:
		return "release";
	case LEASE_EV_REVOKE:
		return "revoke";
	case LEASE_EV_BREAK:
		return "break";
	}
	return "unknown";
}

static void trace_show(const struct lease_trace *in, struct lh_trace *out)
{
	/* A grant has no reason: its field is zero, which is a name too. */
	const char *reason = in->event == LEASE_EV_GRANT ? "" : lease_reason_name(in->reason);

	*out = (struct lh_trace){
	    .at_ns = in->at_ns,
	    .mode = in->mode == LEASE_WRITE  ? LH_LEASE_WRITE
		    : in->mode == LEASE_READ ? LH_LEASE_READ
					     : 0,
	    .number = in->lease,
	    .ino = in->object,
	    .session = in->session,
	    .off = in->range.start,
	    .len = range_empty(in->range) ? 0 : in->range.end - in->range.start,
	    .took_ns = in->took_ns,
	};
	snprintf(out->event, sizeof(out->event), "%s", event_name(in->event));
	snprintf(out->reason, sizeof(out->reason), "%s", reason);
}

int local_fs_trace(struct lh_fs *fs, uint64_t *cursor, struct lh_trace *out, unsigned max)
{
	struct lease_trace batch[TRACE_BATCH];
	unsigned n = 0;

	while (n < max) {
		unsigned want = max - n < TRACE_BATCH ? max - n : TRACE_BATCH;
		unsigned got = lease_trace_read(fs_arbiter(fs->fs), cursor, batch, want);

		for (unsigned i = 0; i < got; i++)
			trace_show(&batch[i], &out[n + i]);
		n += got;
		if (got < want)
			break;
	}
	return (int)n;
}
