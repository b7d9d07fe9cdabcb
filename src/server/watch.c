/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What others change, told to sessions that watch (P74, P75).
 *
 * Events are pulled from the fs's feed when they can be sent: by the loop, soon after the feed said that there are
 * some, and by whoever answers a request, so that every change from before a request is told before its answer. Both
 * hold WATCHING from pulling to queueing, so that events keep their order.
 *
 * Nobody waits for a client that does not read: above a limit (watch_max) the loop leaves events in the feed, which is
 * a ring, and makes "all" of what it has to forget. Answers go out in any case, and with them at most that one event.
 */
#include "server/calls.h"

#include <errno.h>

#include "base/error.h"
#include "fs/watch.h"

/* Messages at once: as many events as the feed's ring has. */
#define ROUNDS (FS_WATCH_RING / PROTO_CHANGES_MAX)

static_assert((int)FS_CHANGE_DATA == LH_CHANGE_DATA && (int)FS_CHANGE_ATTR == LH_CHANGE_ATTR &&
		  (int)FS_CHANGE_ENTRY == LH_CHANGE_ENTRY && (int)FS_CHANGE_ALL == LH_CHANGE_ALL,
	      "the wire's numbers");

/* A reference, unless the last one is gone already: the feed calls until the session, which is being freed, has left
 * it.
 */
static bool try_get(struct session *s)
{
	unsigned refs = atomic_load(&s->refs);

	while (refs && !atomic_compare_exchange_weak(&s->refs, &refs, refs + 1))
		;
	return refs != 0;
}

/* To the loop; once, until it has looked. Any locks may be held. */
static void enqueue(struct session *s)
{
	struct lh_server *server = s->server;
	bool added = false;

	lock_take(&server->watch_lock);
	if (!s->watch_queued && !server->watch_closed && try_get(s)) {
		s->watch_queued = added = true;
		s->watch_next = server->watch_queue;
		server->watch_queue = s;
		atomic_store(&server->watch_waiting, true);
	}
	lock_drop(&server->watch_lock);
	if (added)
		loop_wake(server);
}

static void on_ready(void *ctx)
{
	struct session *s = ctx;

	atomic_store(&s->watch_ready, true);
	enqueue(s);
}

static struct proto_change change_of(const struct fs_change *c)
{
	return (struct proto_change){
	    .type = c->type, .ino = c->ino, .writers = c->writers, .name = {.bytes = c->name, .len = c->name_len}};
}

/* Up to one message. Holds WATCHING. false: there was nothing. */
static bool tell_some(struct session *s, unsigned max)
{
	struct fs_change c[PROTO_CHANGES_MAX];
	struct proto_change out[PROTO_CHANGES_MAX];
	union proto_body body;
	unsigned n = 0;

	while (n < max && fs_watch_next(s->watch, &c[n]) == 1) {
		out[n] = change_of(&c[n]);
		n++;
	}
	if (n == 0)
		return false;
	body = (union proto_body){.changed = {.changes = {.host = out, .count = n}}};
	output_event(s, PROTO_CHANGED, 0, &body);
	return true;
}

/* Holds WATCHING. */
static void tell(struct session *s, bool answering)
{
	const size_t most = s->server->limits.watch_max;

	atomic_store(&s->watch_ready, false);
	for (unsigned round = 0; output_backlog(s) <= most && round < ROUNDS; round++) {
		if (!tell_some(s, PROTO_CHANGES_MAX))
			return;
	}
	/* The feed does not call again before it was asked to its end. */
	atomic_store(&s->watch_ready, true);
	if (output_backlog(s) <= most) {
		enqueue(s);
		return;
	}
	atomic_store(&s->watch_held, true);
	if (answering) {
		fs_watch_lose(s->watch);
		tell_some(s, 1);
	}
	/* It may have read everything before it was marked. */
	changes_drained(s);
}

void changes_answering(struct session *s)
{
	if (likely(!atomic_load_explicit(&s->watches, memory_order_relaxed)))
		return;
	lock_take(&s->watching);
	if (s->watch && atomic_load(&s->watch_ready))
		tell(s, true);
	lock_drop(&s->watching);
}

void changes_drained(struct session *s)
{
	if (likely(!atomic_load_explicit(&s->watch_held, memory_order_relaxed)))
		return;
	if (output_backlog(s) <= s->server->limits.watch_max / 2 && atomic_exchange(&s->watch_held, false))
		enqueue(s);
}

/* All that are queued now, so that those who join meanwhile wait for the next turn. */
static struct session *queue_take(struct lh_server *server)
{
	struct session *list;

	lock_take(&server->watch_lock);
	list = server->watch_queue;
	server->watch_queue = NULL;
	atomic_store(&server->watch_waiting, false);
	lock_drop(&server->watch_lock);
	return list;
}

/* From here on it may be queued again. Returns the next one. */
static struct session *queue_leave(struct session *s)
{
	struct session *next;

	lock_take(&s->server->watch_lock);
	next = s->watch_next;
	s->watch_queued = false;
	lock_drop(&s->server->watch_lock);
	return next;
}

void changes_run(struct lh_server *server)
{
	struct session *next;

	if (likely(!atomic_load(&server->watch_waiting)))
		return;
	for (struct session *s = queue_take(server); s; s = next) {
		next = queue_leave(s);
		lock_take(&s->watching);
		if (s->watch && atomic_load(&s->watch_ready) && !atomic_load(&s->gone))
			tell(s, false);
		lock_drop(&s->watching);
		session_put(s);
	}
}

void changes_close(struct lh_server *server)
{
	struct session *next;

	lock_take(&server->watch_lock);
	server->watch_closed = true;
	lock_drop(&server->watch_lock);
	for (struct session *s = queue_take(server); s; s = next) {
		next = queue_leave(s);
		session_put(s);
	}
}

void changes_end(struct session *s)
{
	struct fs_watch *w;

	lock_take(&s->watching);
	w = s->watch;
	s->watch = NULL;
	atomic_store(&s->watches, false);
	fs_watch_remove(w);
	lock_drop(&s->watching);
}

/* Once more begins anew: what was to be told is forgotten, and first comes what others write to. */
int call_watch(struct call *c)
{
	struct session *s = c->session;
	int err = 0;

	if (!(s->features & PROTO_FEATURE_WATCH))
		return fail(-EOPNOTSUPP, "WATCH: was not agreed on in HELLO");
	changes_end(s);
	if (!c->in->watch.on)
		return 0;
	lock_take(&s->watching);
	if (!s->watch)
		err = fs_watch_add(s->server->fs, s->leases, on_ready, s, &s->watch);
	if (!err)
		atomic_store(&s->watches, true);
	lock_drop(&s->watching);
	return err;
}
