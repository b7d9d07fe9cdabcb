/* SPDX-License-Identifier: BSD-2-Clause */
/* Life of the control connection, and calls from entering to waking up. */
#include "client/conn_internal.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/types.h"

int conn_new(const struct conn_args *args, struct conn **out)
{
	struct conn *c = calloc(1, sizeof(*c));
	int err = -ENOMEM;

	if (!c)
		goto no_conn;
	c->in = malloc(PROTO_MESSAGE_MAX);
	if (!c->in)
		goto no_buffer;
	c->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	err = -errno;
	if (c->wake < 0)
		goto no_wake;
	c->ops = args->ops;
	c->ctx = args->ctx;
	c->dial = args->dial;
	c->fd = args->fd;
	c->spin_max_ns = c->spin_ns = args->spin_ns;
	conn_welcome_take(c, args->welcome, args->hello_ns);
	lock_init(&c->lock, RANK_SEND);
	cond_init(&c->room);
	err = -pthread_create(&c->thread, NULL, conn_thread, c);
	if (err)
		goto no_thread;
	c->thread_runs = true;
	*out = c;
	return 0;

no_thread:
	cond_destroy(&c->room);
	lock_destroy(&c->lock);
	close(c->wake);
no_wake:
	free(c->in);
no_buffer:
	free(c);
no_conn:
	close(args->fd);
	return fail(err, "cannot start the connection's thread: %s", strerror(-err));
}

/* Courtesy (P26): if the socket takes it at once. */
static void say_goodbye(struct conn *c)
{
	union proto_body body = {.goodbye = {.reason = PROTO_BYE_CLOSED}};

	if (conn_error(c) == 0)
		conn_tell(c, PROTO_GOODBYE, &body);
}

void conn_free(struct conn *c)
{
	if (!c)
		return;
	say_goodbye(c);
	conn_break(c, -ENOTCONN, "the filesystem was closed");
	pthread_join(c->thread, NULL);
	assert(c->over && !c->sleepers);
	close(c->fd);
	close(c->wake);
	cond_destroy(&c->room);
	lock_destroy(&c->lock);
	free(c->handles);
	free(c->out);
	free(c->in);
	free(c);
}

void conn_welcome_take(struct conn *c, const struct proto_welcome *w, uint64_t hello_ns)
{
	c->session = w->session;
	c->epoch = w->epoch;
	c->boot = w->boot;
	c->version = w->version;
	memcpy(c->token, w->token, sizeof(c->token));
	c->resumable = !(c->dial->flags & PROTO_HELLO_NO_RESUME) && w->session_timeout_ns;
	c->lease_ns = w->session_timeout_ns;
	c->outstanding_max = w->outstanding_max ? w->outstanding_max : 1;
	c->next_seq = c->send_seq = 2; /* HELLO was 1 */
	margin_init(&c->margin, w->session_timeout_ns, hello_ns);
	c->pinged_ns = hello_ns;
	atomic_store(&c->received, 0);
	atomic_store(&c->unacked, 0);
}

void conn_break(struct conn *c, int err, const char *fmt, ...)
{
	va_list ap;

	lock_take(&c->lock);
	if (!c->error) {
		va_start(ap, fmt);
		vsnprintf(c->text, sizeof(c->text), fmt, ap);
		va_end(ap);
		c->error = err;
		shutdown(c->fd, SHUT_RDWR);
		cond_wake_all(&c->room);
		conn_kick(c);
	}
	lock_drop(&c->lock);
}

void conn_acts(struct conn *c)
{
	atomic_store(&c->acts, true);
}

void conn_tick(struct conn *c)
{
	lock_take(&c->lock);
	if (!c->ticking) {
		c->ticking = true;
		conn_kick(c);
	}
	lock_drop(&c->lock);
}

int conn_error(struct conn *c)
{
	int err;

	lock_take(&c->lock);
	err = c->error;
	if (err)
		fail(err, "%s", c->text);
	lock_drop(&c->lock);
	return err;
}

bool conn_counts(unsigned type)
{
	return type != PROTO_LEASE_RELEASE && type != PROTO_PING && type != PROTO_CANCEL && type != PROTO_GOODBYE;
}

void call_init(struct call *call)
{
	memset(call, 0, offsetof(struct call, small));
	call->notes_tail = &call->notes;
	cond_init(&call->cond);
}

void call_fini(struct call *call)
{
	struct note *next;

	assert(!call->sleeping);
	for (struct note *n = call->notes; n; n = next) {
		next = n->next;
		free(n);
	}
	free(call->memory);
	cond_destroy(&call->cond);
}

static void sleeper_remove(struct conn *c, struct call *call)
{
	struct call **at = &c->sleepers;

	while (*at && *at != call)
		at = &(*at)->next_sleeper;
	if (*at)
		*at = call->next_sleeper;
	call->sleeping = false;
}

void conn_role_drop(struct conn *c)
{
	assert(c->reading);
	c->reading = false;
	if (c->sleepers)
		cond_wake_all(&c->sleepers->cond);
	else if (c->parked)
		conn_kick(c);
}

void conn_listen(struct conn *c, struct call *call)
{
	while (call->notes) {
		struct note *n = call->notes;
		union proto_body body;
		const char *rule;

		call->notes = NULL;
		call->notes_tail = &call->notes;
		call->notes_bytes = 0;
		lock_drop(&c->lock);
		while (n) {
			struct note *next = n->next;

			rule = proto_body_decode(&n->header, n->body, &body);
			assert(!rule); /* our own copy of what was checked */
			(void)rule;
			call->told(call, &n->header, &body);
			free(n);
			n = next;
		}
		lock_take(&c->lock);
	}
}

/* Caller holds the lock; returns with it held and the call done. */
static void call_wait(struct conn *c, struct call *call)
{
	while (!call->done) {
		conn_listen(c, call);
		if (call->done)
			break;
		if (!c->reading && !c->down) {
			c->reading = true;
			lock_drop(&c->lock);
			conn_read(c, call);
			lock_take(&c->lock);
			conn_role_drop(c);
			continue;
		}
		call->sleeping = true;
		call->next_sleeper = c->sleepers;
		c->sleepers = call;
		cond_wait(&call->cond, &c->lock);
		sleeper_remove(c, call);
	}
	conn_listen(c, call);
}

/* Caller holds the lock. Waits until one more call may go out. */
static int wait_for_room(struct conn *c, const struct call *call)
{
	while (!c->error) {
		bool slot = c->counted < c->outstanding_max || !conn_counts(call->type);
		bool space = c->out_end - c->out_start < CONN_OUT_MAX;

		/* Descriptors go out with the first byte of their message (P17): nothing may wait before it. */
		if (call->fd_count)
			space = c->out_end == c->out_start;
		if (slot && space && !c->renewing)
			return 0;
		cond_wait(&c->room, &c->lock);
	}
	return c->error;
}

/* The sentence of a call that failed. Caller holds the lock. */
static int call_failed(struct conn *c, const struct call *call)
{
	const struct proto_str *text = &call->reply.error.text;

	if (call->status == c->error)
		return fail(call->status, "%s", c->text);
	if (text->len)
		return fail(call->status, "%.*s", (int)text->len, text->bytes);
	fail_clear();
	return call->status;
}

int conn_call(struct conn *c, struct call *call, unsigned type, unsigned flags, const union proto_body *body)
{
	int err;

	lock_assert_none();
	call->type = (uint16_t)type;
	lock_take(&c->lock);
	err = wait_for_room(c, call);
	call->body = body;
	if (!err)
		err = conn_handle_check(c, call);
	if (!err)
		err = conn_send(c, call, flags, body);
	if (err) {
		if (c->error)
			fail(c->error, "%s", c->text);
		lock_drop(&c->lock);
		return err > 0 ? 0 : err;
	}
	call_wait(c, call);
	err = call->status ? call_failed(c, call) : 0;
	lock_drop(&c->lock);
	return err;
}

int conn_do(struct conn *c, unsigned type, unsigned flags, const union proto_body *body)
{
	struct call call;
	int err;

	call_init(&call);
	err = conn_call(c, &call, type, flags, body);
	call_fini(&call);
	return err;
}

struct call *conn_told_new(unsigned type, const union proto_body *body)
{
	struct told *t = malloc(sizeof(*t));

	if (!t)
		return NULL;
	call_init(&t->call);
	t->call.forget = true;
	t->call.type = (uint16_t)type;
	t->body = *body;
	t->call.body = &t->body;
	return &t->call;
}

void conn_tell(struct conn *c, unsigned type, const union proto_body *body)
{
	struct call *call = conn_told_new(type, body);
	int err;

	assert(!conn_counts(type));
	if (!call) {
		/* A release that cannot be sent would hold others up until the deadline, every time: better the end. */
		conn_break(c, -ENOMEM, "no memory to answer the server; the session has ended");
		return;
	}
	lock_take(&c->lock);
	/* What the old session had the new one knows nothing of. */
	err = c->error ? c->error : c->renewing ? -ESTALE : conn_send(c, call, 0, call->body);
	lock_drop(&c->lock);
	if (err || type == PROTO_GOODBYE) {
		call_fini(call);
		free(call);
	}
}

bool conn_trusted(struct conn *c)
{
	return margin_trusted(&c->margin, clock_now_ns());
}

int conn_confirm(struct conn *c)
{
	return conn_do(c, PROTO_PING, 0, NULL);
}

void conn_finish(struct conn *c, struct call *call)
{
	lock_take(&c->lock);
	if (c->continued == call)
		c->continued = NULL;
	call->done = true;
	if (call->sleeping)
		cond_wake_all(&call->cond);
	lock_drop(&c->lock);
}

static uint64_t pending_extreme(struct conn *c, unsigned type, bool newest)
{
	uint64_t found = newest ? 0 : UINT64_MAX;

	lock_take(&c->lock);
	for (unsigned i = 0; i < CONN_BUCKETS; i++) {
		for (const struct call *call = c->pending[i]; call; call = call->next) {
			if (call->type != type)
				continue;
			found = newest ? max_u64(found, call->seq) : min_u64(found, call->seq);
		}
	}
	lock_drop(&c->lock);
	return found;
}

uint64_t conn_oldest(struct conn *c, unsigned type)
{
	return pending_extreme(c, type, false);
}

uint64_t conn_newest(struct conn *c, unsigned type)
{
	return pending_extreme(c, type, true);
}
