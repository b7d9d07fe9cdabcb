/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Asynchronous direct access. An operation inside one run of the map goes to the fabric as it is; everything that needs
 * more (several runs, holes, a fault, the end of the file, a key that died meanwhile) is done by the wait call with the
 * same code as a synchronous access, so that a queue heals as well.
 *
 * A queue uses one data path; when that is lost the operations on it come back with -EPIPE and go through the healing,
 * and the next submission uses the path that works then.
 */
#include "client/client.h"

#include <assert.h>
#include <stdlib.h>

struct slot {
	struct data_op data; /* first: what comes back from the fabric */
	struct flight flight;
	struct slot *next;
	struct lh_lease *lease;
	char *buf;
	size_t len; /* READ: cut at the end of the file already, if in flight */
	uint64_t off;
	void *cookie;
	enum fabric_dir dir;
};

/* The oldest first. */
struct slot_list {
	struct slot *first, *last;
};

struct lh_queue {
	struct lh_queue_head head;
	unsigned depth;
	unsigned used;   /* slots not free */
	unsigned flying; /* of them: in the fabric */
	struct data_path *path;
	struct data_sink sink;
	struct slot *free;
	struct slot_list heal;  /* to be done by the wait call */
	struct slot_list ready; /* done, not handed out */
	struct slot slots[];
};

/* Anybody's thread may have found it complete: a recall of its range does not wait for the owner of the queue. */
static void slot_landed(struct data_op *o)
{
	struct slot *s = (struct slot *)o;

	if (s->dir == FABRIC_OP_WRITE && o->op.status == 0)
		client_dirty_add(s->lease->head.file, s->flight.range, s->flight.restarts);
	client_flight_end(s->lease, &s->flight);
}

int client_queue_new(struct lh_fs *fs, unsigned depth, struct lh_queue **out)
{
	struct lh_queue *q = calloc(1, sizeof(*q) + depth * sizeof(q->slots[0]));

	if (!q)
		return -ENOMEM;
	q->head.be = &client_backend;
	q->head.fs = fs;
	q->depth = depth;
	q->sink.finished = slot_landed;
	for (unsigned i = 0; i < depth; i++) {
		q->slots[i].next = q->free;
		q->free = &q->slots[i];
	}
	atomic_fetch_add(&fs->handles, 1);
	*out = q;
	return 0;
}

static void slot_put(struct lh_queue *q, struct slot *s)
{
	s->next = q->free;
	q->free = s;
	q->used--;
}

static void list_add(struct slot_list *l, struct slot *s)
{
	s->next = NULL;
	if (l->last)
		l->last->next = s;
	else
		l->first = s;
	l->last = s;
}

static struct slot *list_take(struct slot_list *l)
{
	struct slot *s = l->first;

	if (s)
		l->first = s->next;
	if (!l->first)
		l->last = NULL;
	return s;
}

/* A run that holds the whole operation: fills the fabric's part and enters the flight. */
static bool slot_look(struct slot *s)
{
	struct lh_lease *lease = s->lease;
	const struct run *run;
	bool ready;

	lock_take(&lease->lock);
	run = map_at(&lease->map, s->off);
	/* L34: without trust the wait call does it, and asks first. */
	ready = run && run->key && conn_trusted(lease_session(lease)->conn) && s->off + s->len <= run->range.end &&
		s->len <= FABRIC_OP_MAX &&
		(s->dir == FABRIC_OP_WRITE || (!lease->size_old && s->off + s->len <= lease->size));
	if (ready) {
		s->data.op = (struct fabric_op){.key = run->key,
						.offset = run->key_off + (s->off - run->range.start),
						.buf = s->buf,
						.len = s->len,
						.dir = s->dir};
		s->flight = (struct flight){.range = {s->off, s->off + s->len},
					    .restarts = client_restarts(lease_session(lease)),
					    .queued = true};
		TAILQ_INSERT_TAIL(&lease->flying, &s->flight, in_lease);
	}
	lock_drop(&lease->lock);
	return ready;
}

/* The path for the next operation. An old one is kept as long as something flies on it. */
static struct data_path *queue_path(struct lh_queue *q)
{
	struct data *d = q->head.fs->data;
	struct data_path *now;

	if (q->path && q->flying)
		return q->path;
	now = data_path_get(d);
	if (q->path)
		data_path_put(d, q->path);
	q->path = now;
	return now;
}

/* false: the operation must be done by the wait call. */
static bool slot_fly(struct lh_queue *q, struct slot *s)
{
	struct data_path *p = queue_path(q);

	if (!p || !slot_look(s))
		return false;
	if (likely(data_post(p, &s->data, &q->sink) == 0)) {
		q->flying++;
		return true;
	}
	client_flight_end(s->lease, &s->flight);
	return false;
}

static int queue_add(struct lh_queue *q, const struct slot *want)
{
	int err = client_lease_check(want->lease, want->len, want->off, want->dir);
	struct slot *s = q->free;

	if (err)
		return err;
	if (!s)
		return fail(-EBUSY, "queue: %u operations are outstanding already; wait for some", q->depth);
	q->free = s->next;
	q->used++;
	*s = *want;
	atomic_fetch_add(&s->lease->queued, 1);
	if (!slot_fly(q, s))
		list_add(&q->heal, s);
	return 0;
}

int client_queue_read(struct lh_queue *q, struct lh_lease *lease, void *buf, size_t len, uint64_t off, void *cookie)
{
	struct slot want = {
	    .lease = lease, .buf = buf, .len = len, .off = off, .cookie = cookie, .dir = FABRIC_OP_READ};

	return queue_add(q, &want);
}

int client_queue_write(struct lh_queue *q, struct lh_lease *lease, const void *buf, size_t len, uint64_t off,
		       void *cookie)
{
	struct slot want = {.lease = lease,
			    .buf = (char *)(uintptr_t)buf,
			    .len = len,
			    .off = off,
			    .cookie = cookie,
			    .dir = FABRIC_OP_WRITE};

	return queue_add(q, &want);
}

/* Takes what the fabric has finished, after at least min of them; what failed joins those that need healing. */
static void take_finished(struct lh_queue *q, unsigned min)
{
	struct data_op *list = data_collect(q->head.fs->data, q->path, &q->sink, min);

	while (list) {
		struct slot *s = (struct slot *)list;

		list = list->next;
		assert(q->flying > 0);
		q->flying--;
		if (s->data.op.status == -EPIPE)
			data_path_lost(q->head.fs->data, q->path);
		if (s->data.op.status)
			list_add(&q->heal, s);
		else
			list_add(&q->ready, s);
	}
}

/* What is ready, and then what the caller's thread must do itself. */
static unsigned hand_out(struct lh_queue *q, struct lh_completion *out, unsigned max)
{
	unsigned n = 0;

	while (n < max) {
		struct slot *s = list_take(&q->ready);
		ssize_t result = s ? (ssize_t)s->len : 0;

		if (!s) {
			s = list_take(&q->heal);
			if (!s)
				break;
			result = client_lease_move(s->lease, s->buf, s->len, s->off, s->dir);
		}
		out[n++] = (struct lh_completion){.cookie = s->cookie, .result = result};
		atomic_fetch_sub(&s->lease->queued, 1);
		slot_put(q, s);
	}
	return n;
}

int client_queue_wait(struct lh_queue *q, unsigned min, struct lh_completion *out, unsigned max)
{
	unsigned n = 0;

	if (min > q->used)
		min = q->used;
	for (;;) {
		bool wait = n < min && !q->ready.first && !q->heal.first;

		if (q->flying && n < max)
			take_finished(q, wait ? 1 : 0);
		n += hand_out(q, out + n, max - n);
		if (n >= min)
			return (int)n;
	}
}

void client_queue_free(struct lh_queue *q)
{
	struct lh_fs *fs = q->head.fs;
	struct lh_completion dropped;

	while (q->used)
		client_queue_wait(q, 1, &dropped, 1);
	if (q->path)
		data_path_put(fs->data, q->path);
	free(q);
	atomic_fetch_sub(&fs->handles, 1);
}
