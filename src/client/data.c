/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A path is counted: by the session while it is the current one, by operations, and by buffers of its arena, which must
 * stay mapped when the path itself has long been replaced.
 *
 * One thread at a time attaches, without the lock, because it calls the server. After a failure nobody tries for a
 * while: a server that offers no data path any more must not cost a connection per read.
 */
#include "client/data.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/types.h"
#include "client/wire.h"

#define ATTACH_TRIES   3u /* for one operation */
#define RETRY_FIRST_NS (10 * NS_PER_MS)
#define RETRY_LAST_NS  (2 * NS_PER_SEC)
#define BUFFER_ALIGN   4096u
#define BUFFER_BUCKETS 64u
#define WAIT_NS        NS_PER_SEC
#define REAP_MAX       64u
#define PROGRESS_NS    (500 * NS_PER_US)

struct data_path {
	struct fabric_conn *conn;
	/* Under data.lock. */
	struct data_path *next;
	unsigned refs;
	bool reaping; /* somebody is in fabric_reap; who else collects waits for what it finds */
	struct cond reaped;
};

struct buffer {
	struct buffer *next;
	void *memory;
	struct data_path *path; /* NULL: ordinary memory */
};

struct data {
	struct data_args args;
	struct lock lock; /* FABRIC */
	uint64_t session;
	uint32_t version;
	uint8_t token[16];
	struct cond attached;
	struct data_path *current; /* NULL: none */
	struct data_path *paths;   /* current, and old ones that still have operations or buffers */
	bool attaching;
	bool closed;
	uint64_t retry_ns; /* not before */
	uint64_t pause_ns; /* after the next failure */
	struct buffer *buffers[BUFFER_BUCKETS];
};

struct fabric_conn *data_path_conn(struct data_path *p)
{
	return p->conn;
}

/* --- attaching --- */

static int attach_ring(struct data *d, struct fabric_conn **out)
{
	const struct fabric_conn_options o = {.spin_ns = d->args.spin_ns, .ring_bytes = d->args.ring_bytes};
	union proto_body body = {0};
	struct call call;
	int err;

	call_init(&call);
	err = fabric_ring_connect(&o, call.fds, out);
	if (err) {
		call_fini(&call);
		return err;
	}
	call.fd_count = CALL_FDS;
	err = conn_call(d->args.conn, &call, PROTO_RING_ATTACH, 0, &body);
	for (unsigned i = 0; i < CALL_FDS; i++)
		close(call.fds[i]);
	call_fini(&call);
	if (err)
		fabric_conn_close(*out);
	return err;
}

static int attach_stream(struct data *d, struct fabric_conn **out)
{
	const struct fabric_conn_options o = {.spin_ns = d->args.spin_ns};
	union proto_body body = {.data_hello = {.magic = PROTO_MAGIC}};
	struct wire_reply *reply = malloc(sizeof(*reply));
	int fd;

	if (!reply)
		return -ENOMEM;
	lock_take(&d->lock);
	body.data_hello.version = d->version;
	body.data_hello.session = d->session;
	memcpy(body.data_hello.token, d->token, sizeof(d->token));
	lock_drop(&d->lock);
	fd = wire_open(d->args.address, PROTO_DATA_HELLO, &body, d->args.timeout_ns, reply);
	free(reply);
	return fd < 0 ? fd : fabric_stream_connect(fd, &o, out);
}

static int attach(struct data *d, struct data_path **out)
{
	struct data_path *p = calloc(1, sizeof(*p));
	int err;

	if (!p)
		return -ENOMEM;
	if (d->args.fabric == LH_FABRIC_RING)
		err = attach_ring(d, &p->conn);
	else
		err = attach_stream(d, &p->conn);
	if (err) {
		free(p);
		return err;
	}
	p->refs = 1;
	cond_init(&p->reaped);
	*out = p;
	return 0;
}

/* AUTO becomes what this address has; NONE: nothing. */
static int choose(struct data_args *a)
{
	bool ring = (a->welcome->features & PROTO_FEATURE_RING) && a->address->is_unix;
	bool stream = a->welcome->features & PROTO_FEATURE_STREAM;

	if (a->fabric == LH_FABRIC_RING && !ring)
		return fail(-EOPNOTSUPP, "%s: the server offers no ring here%s; use stream or auto", a->address->text,
			    a->address->is_unix ? "" : " (it needs a unix socket)");
	if (a->fabric == LH_FABRIC_STREAM && !stream)
		return fail(-EOPNOTSUPP, "%s: the server offers no stream here; use auto", a->address->text);
	if (a->fabric == LH_FABRIC_AUTO)
		a->fabric = ring ? LH_FABRIC_RING : stream ? LH_FABRIC_STREAM : LH_FABRIC_NONE;
	return 0;
}

static void session_take(struct data *d, const struct proto_welcome *w)
{
	d->version = w->version;
	d->session = w->session;
	memcpy(d->token, w->token, sizeof(d->token));
}

int data_new(const struct data_args *args, struct data **out)
{
	struct data *d = calloc(1, sizeof(*d));
	int err;

	if (!d)
		return -ENOMEM;
	d->args = *args;
	lock_init(&d->lock, RANK_FABRIC);
	cond_init(&d->attached);
	session_take(d, args->welcome);
	err = choose(&d->args);
	if (!err && d->args.fabric != LH_FABRIC_NONE)
		err = attach(d, &d->current);
	if (err) {
		cond_destroy(&d->attached);
		lock_destroy(&d->lock);
		free(d);
		return err;
	}
	d->paths = d->current;
	d->pause_ns = RETRY_FIRST_NS;
	*out = d;
	return 0;
}

bool data_can(const struct data *d)
{
	return d->args.fabric != LH_FABRIC_NONE;
}

/* Caller holds the lock; returns the path that is to be freed without it. */
static struct data_path *unref(struct data *d, struct data_path *p)
{
	struct data_path **at = &d->paths;

	assert(p->refs > 0);
	if (--p->refs)
		return NULL;
	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	return p;
}

static void path_free(struct data_path *p)
{
	if (!p)
		return;
	fabric_conn_close(p->conn);
	cond_destroy(&p->reaped);
	free(p);
}

void data_free(struct data *d)
{
	if (!d)
		return;
	data_shutdown(d);
	for (unsigned i = 0; i < BUFFER_BUCKETS; i++) {
		while (d->buffers[i])
			data_buffer_put(d, d->buffers[i]->memory);
	}
	if (d->current)
		path_free(unref(d, d->current));
	cond_destroy(&d->attached);
	lock_destroy(&d->lock);
	free(d);
}

void data_shutdown(struct data *d)
{
	struct data_path *p;

	lock_take(&d->lock);
	d->closed = true;
	p = d->current;
	if (p)
		p->refs++;
	lock_drop(&d->lock);
	if (!p)
		return;
	fabric_conn_shutdown(p->conn);
	data_path_put(d, p);
}

void data_renew(struct data *d, const struct proto_welcome *w)
{
	struct data_path *p;

	lock_take(&d->lock);
	session_take(d, w);
	d->retry_ns = 0;
	d->pause_ns = RETRY_FIRST_NS;
	p = d->current;
	if (p)
		p->refs++;
	lock_drop(&d->lock);
	if (!p)
		return;
	data_path_lost(d, p);
	data_path_put(d, p);
}

/* Caller holds the lock, which is dropped in between. */
static void attach_again(struct data *d)
{
	struct data_path *p = NULL;
	int err;

	d->attaching = true;
	lock_drop(&d->lock);
	err = attach(d, &p);
	if (err)
		log_info("client", "%s: no data path now, direct access goes as calls: %s", d->args.address->text,
			 fail_text()[0] ? fail_text() : strerror(-err));
	lock_take(&d->lock);
	d->attaching = false;
	if (!err) {
		d->current = p;
		p->next = d->paths;
		d->paths = p;
		d->pause_ns = RETRY_FIRST_NS;
	} else {
		d->retry_ns = clock_now_ns() + d->pause_ns;
		d->pause_ns = min_u64(d->pause_ns * 2, RETRY_LAST_NS);
	}
	cond_wake_all(&d->attached);
}

struct data_path *data_path_get(struct data *d)
{
	struct data_path *p;

	lock_take(&d->lock);
	while (!d->current && !d->closed && d->args.fabric != LH_FABRIC_NONE) {
		if (d->attaching)
			cond_wait(&d->attached, &d->lock);
		else if (clock_now_ns() >= d->retry_ns)
			attach_again(d);
		else
			break;
	}
	p = d->closed ? NULL : d->current;
	if (p)
		p->refs++;
	lock_drop(&d->lock);
	return p;
}

void data_path_put(struct data *d, struct data_path *p)
{
	struct data_path *gone;

	lock_take(&d->lock);
	gone = unref(d, p);
	lock_drop(&d->lock);
	path_free(gone);
}

void data_path_lost(struct data *d, struct data_path *p)
{
	struct data_path *gone = NULL;

	fabric_conn_shutdown(p->conn);
	lock_take(&d->lock);
	if (d->current == p) {
		d->current = NULL;
		gone = unref(d, p);
	}
	lock_drop(&d->lock);
	assert(!gone);
}

/* --- moving --- */

/* Waits for what was posted. The operations are on somebody's stack: nobody leaves before they are complete. */
static void wait_all(struct fabric_conn *c, struct fabric_op **ops, unsigned n)
{
	while (fabric_wait(c, ops, n, WAIT_NS) == -ETIMEDOUT)
		;
}

/* Posts and waits for all of list. */
static void run_on(struct fabric_conn *c, struct fabric_op **list, unsigned n)
{
	unsigned first = 0;
	unsigned i = 0;

	while (i < n) {
		struct fabric_op *op = list[i];
		int err = fabric_post(c, op);

		if (!err) {
			i++;
			continue;
		}
		/* Busy: more operations of other threads are under way than the path is deep. Make room, or wait for
		 * it. */
		if (i > first)
			wait_all(c, &list[first], i - first);
		first = i;
		if (err == -EBUSY) {
			sched_yield();
			continue;
		}
		op->status = err;
		first = ++i;
	}
	if (n > first)
		wait_all(c, &list[first], n - first);
}

void data_run(struct data *d, struct fabric_op *ops, unsigned n)
{
	struct fabric_op *list[DATA_OPS_MAX];
	unsigned left = n;

	assert(n <= DATA_OPS_MAX);
	for (unsigned i = 0; i < n; i++) {
		list[i] = &ops[i];
		ops[i].flags = FABRIC_OP_WAITED;
		ops[i].status = -EPIPE;
	}
	for (unsigned try = 0; left && try < ATTACH_TRIES; try++) {
		struct data_path *p = data_path_get(d);

		if (!p)
			return;
		run_on(p->conn, list, left);
		left = 0;
		for (unsigned i = 0; i < n; i++) {
			if (ops[i].status == -EPIPE)
				list[left++] = &ops[i];
		}
		if (left)
			data_path_lost(d, p);
		data_path_put(d, p);
	}
}

/* --- operations in the background --- */

int data_post(struct data_path *p, struct data_op *o, struct data_sink *sink)
{
	o->sink = sink;
	o->op.cookie = o;
	o->op.flags = 0;
	return fabric_post(p->conn, &o->op);
}

/* Caller holds the lock, which is dropped in between. false: the path is gone and has nothing more to return. */
static bool reap(struct data *d, struct data_path *p, uint64_t timeout_ns)
{
	struct fabric_op *ops[REAP_MAX];
	int n;

	p->reaping = true;
	lock_drop(&d->lock);
	n = fabric_reap(p->conn, ops, REAP_MAX, timeout_ns);
	for (int i = 0; i < n; i++) {
		struct data_op *o = ops[i]->cookie;

		o->sink->finished(o);
	}
	lock_take(&d->lock);
	p->reaping = false;
	for (int i = 0; i < n; i++) {
		struct data_op *o = ops[i]->cookie;

		o->next = o->sink->done;
		o->sink->done = o;
		o->sink->count++;
	}
	cond_wake_all(&p->reaped);
	return n >= 0;
}

struct data_op *data_collect(struct data *d, struct data_path *p, struct data_sink *sink, unsigned min)
{
	struct data_op *list;
	bool alive = true;

	lock_take(&d->lock);
	if (!p->reaping && sink->count == 0)
		alive = reap(d, p, 0);
	while (sink->count < min && alive) {
		if (p->reaping)
			cond_wait(&p->reaped, &d->lock);
		else
			alive = reap(d, p, WAIT_NS);
	}
	list = sink->done;
	sink->done = NULL;
	sink->count = 0;
	lock_drop(&d->lock);
	return list;
}

void data_progress(struct data *d)
{
	struct data_path *gone = NULL;
	struct data_path *p;

	lock_take(&d->lock);
	p = d->paths;
	while (p) {
		p->refs++;
		/* Only the current path can have something to wait for. */
		if (!p->reaping)
			reap(d, p, p == d->current ? PROGRESS_NS : 0);
		gone = p;
		p = p->next;
		gone = unref(d, gone);
		if (gone)
			break; /* the list may have changed; the next turn sees the rest */
	}
	lock_drop(&d->lock);
	path_free(gone);
}

/* --- buffers --- */

static struct buffer **bucket(struct data *d, const void *memory)
{
	return &d->buffers[((uintptr_t)memory >> 12) % BUFFER_BUCKETS];
}

void *data_buffer_get(struct data *d, size_t len)
{
	struct buffer *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->path = data_path_get(d);
	if (b->path)
		b->memory = fabric_buffer_get(b->path->conn, len);
	if (!b->memory) {
		if (b->path)
			data_path_put(d, b->path);
		b->path = NULL;
		if (posix_memalign(&b->memory, BUFFER_ALIGN, len))
			b->memory = NULL;
	}
	if (!b->memory) {
		free(b);
		return NULL;
	}
	lock_take(&d->lock);
	b->next = *bucket(d, b->memory);
	*bucket(d, b->memory) = b;
	lock_drop(&d->lock);
	return b->memory;
}

void data_buffer_put(struct data *d, void *buf)
{
	struct buffer **at;
	struct buffer *b;

	lock_take(&d->lock);
	at = bucket(d, buf);
	while (*at && (*at)->memory != buf)
		at = &(*at)->next;
	b = *at;
	if (b)
		*at = b->next;
	lock_drop(&d->lock);
	assert(b);
	if (b->path) {
		fabric_buffer_put(b->path->conn, b->memory);
		data_path_put(d, b->path);
	} else {
		free(b->memory);
	}
	free(b);
}
