/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Snapshots, limits, resizing and evacuating. Lists go in pages that begin behind the last element of the page before,
 * so that nothing is kept between requests. Long work tells how far it is by PROGRESS events (P36); what it lost goes
 * out as LOSS events before the reply (P37), and waits here for the client to read them, because losses must not be
 * lost.
 *
 * Who may change limits and memory is decided here (root, or the owner of the root directory); the fs is then asked as
 * root.
 */
#include "server/calls.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <bsd/sys/queue.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/types.h"

/* Between two PROGRESS of a request. */
#define PROGRESS_NS  (100 * NS_PER_MS)
#define ROOM_LOOK_NS ((long)NS_PER_MS)

#define POOL_BYTES_MIN ((uint64_t)16 << 20)
#define POOL_BYTES_MAX ((uint64_t)16 << 40)

static struct fs *fs_of(const struct call *c)
{
	return c->session->server->fs;
}

static int administers(struct call *c, struct fs_caller *who)
{
	bool allowed;
	int err = call_is_administrator(c, &allowed);

	if (!err && !allowed)
		err = fail(-EPERM, "%s: only root and the owner of the filesystem's root directory may",
			   proto_type_name(c->header->type));
	*who = c->who;
	who->cred = (struct fs_cred){0};
	return err;
}

/* --- snapshots --- */

int call_fs_snapshot(struct call *c)
{
	const struct proto_rename *in = &c->in->rename;

	if (in->flags & ~LH_SNAPSHOT_READ_ONLY)
		return fail(-EINVAL, "snapshot: flags %u: 0 or 1 (read-only)", in->flags);
	return fs_snapshot(fs_of(c), &c->who, call_path(c, 0, in->from), call_path(c, 1, in->to), in->flags != 0);
}

int call_fs_snapshot_delete(struct call *c)
{
	return fs_snapshot_delete(fs_of(c), &c->who, call_path(c, 0, c->in->path.path));
}

/* The lowest numbers above `after`, ascending. */
struct shots {
	struct proto_snapshot_info at[PROTO_SHOTS_MAX];
	char *paths[PROTO_SHOTS_MAX]; /* of the same index */
	unsigned count;
	bool more, failed;
	uint64_t after;
};

static void shots_clear(struct shots *p)
{
	for (unsigned i = 0; i < p->count; i++)
		free(p->paths[i]);
	p->count = 0;
}

static void shot_add(void *ctx, const struct fs_snapshot_info *info)
{
	struct shots *p = ctx;
	unsigned i = p->count;
	char *path;

	if (info->ino <= p->after)
		return;
	while (i > 0 && p->at[i - 1].ino > info->ino)
		i--;
	if (p->count == PROTO_SHOTS_MAX) {
		p->more = true;
		if (i == PROTO_SHOTS_MAX)
			return;
		free(p->paths[--p->count]);
	}
	path = strdup(info->path ? info->path : "");
	if (!path)
		p->failed = true;
	memmove(&p->at[i + 1], &p->at[i], (p->count - i) * sizeof(p->at[0]));
	memmove(&p->paths[i + 1], &p->paths[i], (p->count - i) * sizeof(p->paths[0]));
	p->count++;
	p->paths[i] = path;
	p->at[i] = (struct proto_snapshot_info){.ino = info->ino,
						.inodes = info->inodes,
						.blocks = info->blocks,
						.created_ns = info->created_ns,
						.read_only = info->read_only,
						.path = proto_str_of(path)};
}

/* Whoever cannot reach a snapshot is not told where it is: its path is left out. */
static void shots_hide(struct call *c, struct shots *p)
{
	struct fs_attr attr;

	for (unsigned i = 0; i < p->count; i++) {
		if (fs_stat(fs_of(c), &c->who, p->paths[i], false, &attr) || attr.ino != p->at[i].ino)
			p->at[i].path = (struct proto_str){0};
	}
}

int call_fs_snapshots(struct call *c)
{
	struct shots *p = calloc(1, sizeof(*p));
	bool all;
	int err;

	c->scratch = p;
	if (!p)
		return -ENOMEM;
	p->after = c->in->after.number;
	err = call_is_administrator(c, &all);
	if (!err)
		err = fs_snapshots(fs_of(c), shot_add, p);
	if (err >= 0 && p->failed)
		err = -ENOMEM;
	if (err < 0) {
		shots_clear(p);
		return err;
	}
	if (!all)
		shots_hide(c, p);
	fail_clear();
	c->out.snapshots = (struct proto_snapshots){.more = p->more, .snapshots = {.host = p->at, .count = p->count}};
	call_answering(c);
	output_reply(c->session, c->header, 0, &c->out);
	shots_clear(p);
	return CALL_ANSWERED;
}

/* --- limits --- */

static uint64_t bytes_of(uint64_t blocks)
{
	return blocks > UINT64_MAX / LH_BLOCK_SIZE ? UINT64_MAX : blocks * LH_BLOCK_SIZE;
}

/* Their bytes are bytes. */
static bool of_pins(uint32_t kind)
{
	return kind >= LH_LIMIT_PINS && kind <= LH_LIMIT_PINS_POOL;
}

static struct proto_limit limit_wire(const struct fs_limit *l)
{
	bool pins = of_pins(l->kind);

	return (struct proto_limit){.kind = l->kind,
				    .id = l->id,
				    .ino = l->ino,
				    .bytes = pins ? l->blocks : bytes_of(l->blocks),
				    .inodes = l->inodes,
				    .bytes_used = pins ? l->blocks_used : bytes_of(l->blocks_used),
				    .inodes_used = l->inodes_used};
}

/* *tree: the directory's path; NULL for a uid. */
static int limit_asked(struct call *c, struct fs_limit *out, const char **tree)
{
	const struct proto_limit_ask *in = &c->in->limit_ask;

	bool of_tree = in->kind == LH_LIMIT_TREE;

	if (of_tree ? !in->path.len && !c->who.at[0] : in->path.len)
		return fail(-EINVAL, "limit: a tree needs its directory, a uid has none");
	*tree = of_tree ? call_path(c, 0, in->path) : NULL;
	*out = (struct fs_limit){.kind = (enum fs_limit_kind)in->kind,
				 .id = in->id,
				 .blocks = in->bytes / LH_BLOCK_SIZE + (in->bytes % LH_BLOCK_SIZE != 0),
				 .inodes = in->inodes};
	if (of_pins(in->kind))
		out->blocks = in->bytes;
	return 0;
}

int call_fs_limit_clear(struct call *c)
{
	struct fs_caller who;
	const char *tree = NULL;
	struct fs_limit l;
	int err = administers(c, &who);

	if (!err)
		err = limit_asked(c, &l, &tree);
	return err ? err : fs_limit_clear(fs_of(c), &who, &l);
}

int call_fs_limit_set(struct call *c)
{
	struct fs_caller who;
	const char *tree = NULL;
	struct fs_limit l;
	int err = administers(c, &who);

	if (!err)
		err = limit_asked(c, &l, &tree);
	if (!err)
		err = fs_limit_set(fs_of(c), &who, tree, &l);
	if (!err)
		c->out.limit.limit = limit_wire(&l);
	return err;
}

int call_fs_limit_get(struct call *c)
{
	const char *tree = NULL;
	struct fs_limit l;
	int err = limit_asked(c, &l, &tree);

	if (!err)
		err = fs_limit_get(fs_of(c), &c->who, tree, &l);
	if (!err)
		c->out.limit.limit = limit_wire(&l);
	return err;
}

/* The lowest (kind, id) above those given, ascending. */
struct limits {
	struct proto_limit at[PROTO_LIMITS_MAX];
	unsigned count;
	bool more;
	uint32_t kind;
	uint64_t id;
};

static bool limit_above(const struct proto_limit *l, uint32_t kind, uint64_t id)
{
	return l->kind != kind ? l->kind > kind : l->id > id;
}

static void limit_add(void *ctx, const struct fs_limit *limit)
{
	struct limits *p = ctx;
	struct proto_limit l = limit_wire(limit);
	unsigned i = p->count;

	if (p->kind && !limit_above(&l, p->kind, p->id))
		return;
	while (i > 0 && limit_above(&p->at[i - 1], l.kind, l.id))
		i--;
	if (p->count == PROTO_LIMITS_MAX) {
		p->more = true;
		if (i == PROTO_LIMITS_MAX)
			return;
		p->count--;
	}
	memmove(&p->at[i + 1], &p->at[i], (p->count - i) * sizeof(p->at[0]));
	p->count++;
	p->at[i] = l;
}

int call_fs_limits(struct call *c)
{
	struct limits *p = calloc(1, sizeof(*p));
	int err;

	c->scratch = p;
	if (!p)
		return -ENOMEM;
	p->kind = c->in->after.kind;
	p->id = c->in->after.number;
	err = fs_limits(fs_of(c), limit_add, p);
	if (err < 0)
		return err;
	c->out.limits = (struct proto_limits){.more = p->more, .limits = {.host = p->at, .count = p->count}};
	return 0;
}

/* --- the size of the pool --- */

struct progress {
	struct call *call;
	uint64_t told_ns;
};

static void progress_tell(void *ctx, uint64_t done, uint64_t total)
{
	struct progress *p = ctx;
	uint64_t now = clock_now_ns();
	union proto_body body = {0};

	if (p->told_ns && now - p->told_ns < PROGRESS_NS)
		return;
	p->told_ns = now;
	body.progress = (struct proto_progress){.request = p->call->header->seq, .done = done, .total = total};
	output_event(p->call->session, PROTO_PROGRESS, 0, &body);
}

int call_fs_resize(struct call *c)
{
	struct progress p = {.call = c};
	struct fs_caller who;
	uint64_t bytes = c->in->resize.bytes;
	int err = administers(c, &who);

	if (err)
		return err;
	if (bytes % LH_BLOCK_SIZE || bytes < POOL_BYTES_MIN || bytes > POOL_BYTES_MAX)
		return fail(-EINVAL, "resize: %llu bytes: a pool has 16 MiB to 16 TiB, in whole blocks",
			    (unsigned long long)bytes);
	return fs_resize(fs_of(c), &who, bytes, progress_tell, &p);
}

/* --- failing memory --- */

struct loss {
	STAILQ_ENTRY(loss) next;
	struct proto_lost lost;
	char path[];
};
struct losses {
	STAILQ_HEAD(, loss) list;
	bool failed;
};

static void loss_add(void *ctx, const struct fs_loss *in)
{
	struct losses *l = ctx;
	const char *path = in->path ? in->path : "";
	size_t len = strnlen(path, PROTO_PATH_MAX);
	struct loss *loss = malloc(sizeof(*loss) + len);

	if (!loss) {
		l->failed = true;
		return;
	}
	memcpy(loss->path, path, len);
	loss->lost = (struct proto_lost){
	    .ino = in->ino, .range = {in->off, in->len}, .path = {.bytes = loss->path, .len = (uint32_t)len}};
	STAILQ_INSERT_TAIL(&l->list, loss, next);
}

/* P20: the client has time to read, as much as for a message of its own (P19). After that the events overflow, which
 * ends its session. */
static void wait_for_room(struct session *s)
{
	const struct timespec look = {.tv_nsec = ROOM_LOOK_NS};
	uint64_t until = clock_now_ns() + s->server->limits.message_ns;

	while (output_full(s) && !atomic_load(&s->gone) && clock_now_ns() < until)
		nanosleep(&look, NULL);
}

static void losses_tell(struct call *c, struct losses *l)
{
	struct proto_lost batch[PROTO_LOSSES_MAX];
	union proto_body body = {.loss = {.request = c->header->seq, .losses = {.host = batch}}};

	while (!STAILQ_EMPTY(&l->list)) {
		struct loss *loss;
		uint32_t n = 0;

		STAILQ_FOREACH (loss, &l->list, next) {
			if (n == PROTO_LOSSES_MAX)
				break;
			batch[n++] = loss->lost;
		}
		body.loss.losses.count = n;
		wait_for_room(c->session);
		output_event(c->session, PROTO_LOSS, 0, &body);
		while (n--) {
			loss = STAILQ_FIRST(&l->list);
			STAILQ_REMOVE_HEAD(&l->list, next);
			free(loss);
		}
	}
}

int call_fs_evacuate(struct call *c)
{
	struct proto_range range = c->in->evacuate.range;
	struct losses l = {.list = STAILQ_HEAD_INITIALIZER(l.list)};
	struct fs_caller who;
	int n = administers(c, &who);

	if (n)
		return n;
	n = fs_evacuate(fs_of(c), &who, range.off, range.len, loss_add, &l);
	/* Also of an evacuation that did not come to its end. */
	losses_tell(c, &l);
	if (n >= 0 && l.failed)
		n = fail(-ENOMEM, "the memory is evacuated, but there was no memory to name all %d losses", n);
	if (n < 0)
		return n;
	c->out.count.count = (uint64_t)n;
	return 0;
}
