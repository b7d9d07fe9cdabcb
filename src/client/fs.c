/* SPDX-License-Identifier: BSD-2-Clause */
/* A session: from the address to WELCOME, and the calls about the whole filesystem. */
#include "client/client.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "client/cache.h"

#define CONNECT_TIMEOUT_NS (5 * NS_PER_SEC)
#define SPIN_NS            (50 * NS_PER_US)
#define RING_BYTES         ((uint64_t)16 << 20)
#define FEATURES           (PROTO_FEATURE_STREAM | PROTO_FEATURE_RING | PROTO_FEATURE_AS | PROTO_FEATURE_WATCH)

static const struct conn_ops session_ops = {
    .event = client_event, .tick = client_tick, .dead = client_dead, .renewed = client_renewed};

static void options_fill(struct lh_open_options *o)
{
	if (!o->connect_timeout_ns)
		o->connect_timeout_ns = CONNECT_TIMEOUT_NS;
	if (!o->spin_ns)
		o->spin_ns = SPIN_NS;
	if (!o->ring_bytes)
		o->ring_bytes = RING_BYTES;
}

static int session_data(struct lh_fs *fs)
{
	const struct data_args args = {.address = &fs->address,
				       .conn = fs->conn,
				       .welcome = &fs->welcome,
				       .fabric = fs->opt.fabric,
				       .spin_ns = fs->opt.spin_ns,
				       .ring_bytes = fs->opt.ring_bytes,
				       .timeout_ns = fs->opt.connect_timeout_ns};
	struct data *data;
	int err = data_new(&args, &data);

	if (err)
		return err;
	lock_take(&fs->lock);
	fs->data = data;
	lock_drop(&fs->lock);
	/* The connection may have died before there was something to shut down. */
	err = conn_error(fs->conn);
	if (err)
		data_shutdown(data);
	return err;
}

static void session_free(struct lh_fs *fs)
{
	struct remembered *next;

	client_cache_free(fs);
	client_reclaim_end(fs);
	conn_free(fs->conn);
	data_free(fs->data);
	for (struct remembered *r = fs->remembered; r; r = next) {
		next = r->next;
		free(r);
	}
	evqueue_free(fs->events);
	cond_destroy(&fs->unused);
	lock_destroy(&fs->lock);
	free(fs);
}

static int session_start(struct lh_fs *fs, const char *where)
{
	struct conn_args args = {.ops = &session_ops,
				 .ctx = fs,
				 .dial = &fs->dial,
				 .welcome = &fs->welcome,
				 .spin_ns = fs->opt.spin_ns,
				 .hello_ns = clock_now_ns()};
	int err = address_parse(where, &fs->address);

	if (err)
		return err;
	fs->dial = (struct conn_dial){.address = &fs->address,
				      .features = FEATURES,
				      .flags = (fs->opt.read_only ? PROTO_HELLO_READ_ONLY : 0) |
					       (fs->opt.no_resume ? PROTO_HELLO_NO_RESUME : 0),
				      .timeout_ns = fs->opt.connect_timeout_ns};
	if (getrandom(fs->dial.client, sizeof(fs->dial.client), 0) != sizeof(fs->dial.client))
		return fail(-EIO, "%s: the kernel gave no random bytes for this client's name", where);
	err = client_events_new(fs);
	if (err)
		return fail(err, "%s: no event queue: %s", where, strerror(-err));
	args.fd = conn_hello(&fs->dial, fs->opt.connect_timeout_ns, &fs->welcome);
	if (args.fd < 0)
		return args.fd;
	atomic_store(&fs->features, fs->welcome.features);
	err = conn_new(&args, &fs->conn);
	if (err)
		return err;
	err = session_data(fs);
	if (err || fs->opt.no_cache || !data_can(fs->data))
		return err;
	return client_cache_new(fs);
}

int client_open(const char *where, const struct lh_open_options *opt, struct lh_fs **out)
{
	struct lh_fs *fs = calloc(1, sizeof(*fs));
	int err;

	if (!fs)
		return -ENOMEM;
	fs->head.be = &client_backend;
	if (opt)
		fs->opt = *opt;
	options_fill(&fs->opt);
	lock_init(&fs->lock, RANK_CLIENT);
	cond_init(&fs->unused);
	TAILQ_INIT(&fs->files);
	err = session_start(fs, where);
	if (err) {
		session_free(fs);
		return err;
	}
	*out = fs;
	return 0;
}

int client_fs_close(struct lh_fs *fs)
{
	unsigned open = atomic_load(&fs->handles);

	int err;

	if (open)
		return fail(-EBUSY, "%s: %u files, directories or queues are still open; close them first",
			    fs->address.text, open);
	err = client_watch_end(fs);
	if (!err)
		session_free(fs);
	return err;
}

unsigned client_flags(struct lh_fs *fs)
{
	return atomic_load_explicit(&fs->nowait, memory_order_relaxed) ? PROTO_NOWAIT : 0;
}

void client_fs_set_nowait(struct lh_fs *fs, bool nowait)
{
	atomic_store(&fs->nowait, nowait);
}

int client_fs_sync(struct lh_fs *fs)
{
	union proto_body body = {0};
	int err = client_commit_inode(fs, 0);

	return err ? err : conn_do(fs->conn, PROTO_FS_SYNC, 0, &body);
}

int client_fs_ping(struct lh_fs *fs)
{
	union proto_body body = {0};

	return conn_do(fs->conn, PROTO_PING, 0, &body);
}

int client_fs_stat(struct lh_fs *fs, struct lh_statfs *out)
{
	union proto_body body = {0};
	struct call call;
	int err;

	call_init(&call);
	err = conn_call(fs->conn, &call, PROTO_FS_STAT, 0, &body);
	if (!err) {
		const struct proto_fs_stat *s = &call.reply.fs_stat;

		out->block_size = s->block_size;
		out->blocks = s->blocks;
		out->free_blocks = s->free_blocks;
		out->avail_blocks = s->avail_blocks;
		out->files = s->files;
		out->log_bytes = s->log_bytes;
		out->checkpoints = s->checkpoints;
		memcpy(out->uuid, s->uuid, sizeof(out->uuid));
		proto_str_copy(s->pool_class, out->pool_class, sizeof(out->pool_class));
		proto_str_copy(s->pool_kind, out->pool_kind, sizeof(out->pool_kind));
	}
	call_fini(&call);
	return err;
}

int client_fs_lease_stats(struct lh_fs *fs, struct lh_lease_stats *out)
{
	union proto_body body = {0};
	struct call call;
	int err;

	call_init(&call);
	err = conn_call(fs->conn, &call, PROTO_FS_LEASE_STATS, 0, &body);
	if (!err) {
		const struct proto_lease_stats *s = &call.reply.lease_stats;

		*out = (struct lh_lease_stats){
		    .size = out->size,
		    .grants = s->grants,
		    .releases = s->releases,
		    .recalls = s->recalls,
		    .breaks = s->breaks,
		    .released_in_time = s->released_in_time,
		    .forced = s->forced,
		    .leases = s->leases,
		    .sessions = s->sessions,
		    .pinned_bytes = s->pinned_bytes,
		    .direct_reads = s->direct_reads,
		    .direct_writes = s->direct_writes,
		    .direct_read_bytes = s->direct_read_bytes,
		    .direct_write_bytes = s->direct_write_bytes,
		    .refused = s->refused,
		    .protocol_errors = s->protocol_errors,
		};
	}
	call_fini(&call);
	return err;
}

int client_fs_trace(struct lh_fs *fs, uint64_t *cursor, struct lh_trace *out, unsigned max)
{
	return fail(-EOPNOTSUPP, "%s: the trace is kept in the process that serves; ask there", fs->address.text);
}
