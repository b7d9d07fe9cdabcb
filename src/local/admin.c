/* SPDX-License-Identifier: BSD-2-Clause */
/* Statistics and the trace. */
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
