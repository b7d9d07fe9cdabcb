/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Losing the socket and getting it back (protocol P50 to P58).
 *
 * Whoever finds that the socket does not work says so (conn_lost) and goes on: requests are entered as before and wait.
 * The background thread takes the role of the reader and tries, with pauses, RESUME or else HELLO, for at most the
 * lease time; then the connection dies, which everybody hears of.
 *
 * A server that takes connections and answers nothing is found out by the heartbeat, and treated the same.
 */
#include "client/conn_internal.h"

#include <assert.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/types.h"
#include "client/wire.h"

#define PAUSE_FIRST_NS   (2 * NS_PER_MS)
#define PAUSE_LAST_NS    (200 * NS_PER_MS)
#define ATTEMPT_FIRST_NS (200 * NS_PER_MS) /* an attempt takes no less than this, however short the lease time */

static void lost(struct conn *c, bool session, const char *fmt, va_list ap)
{
	lock_assert_held(RANK_SEND);
	if (c->error)
		return;
	c->renew |= session;
	if (c->down)
		return;
	vsnprintf(c->down_text, sizeof(c->down_text), fmt, ap);
	shutdown(c->fd, SHUT_RDWR);
	if (!c->resumable) {
		c->error = -ENOTCONN;
		snprintf(
		    c->text, sizeof(c->text),
		    "the connection to the server was lost: %.200s; its leases are gone, nothing acknowledged is lost",
		    c->down_text);
		cond_wake_all(&c->room);
		conn_kick(c);
		return;
	}
	log_info("client", "%s: the connection was lost: %s", c->dial->address->text, c->down_text);
	c->down = true;
	c->down_ns = clock_now_ns();
	c->retry_ns = 0;
	c->pause_ns = PAUSE_FIRST_NS;
	/* What waits to be sent is entered, and goes again as a whole. */
	c->out_start = c->out_end = 0;
	conn_kick(c);
}

void conn_lost(struct conn *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	lost(c, false, fmt, ap);
	va_end(ap);
}

void conn_lost_session(struct conn *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	lost(c, true, fmt, ap);
	va_end(ap);
}

/* --- the heartbeat --- */

/* When the next PING goes out, if nothing is answered until then. Caller holds the lock. */
static uint64_t heartbeat_at(const struct conn *c)
{
	return max_u64(atomic_load(&c->margin.confirmed_ns), c->pinged_ns) + margin_heartbeat_ns(c->lease_ns);
}

uint64_t conn_link_due(struct conn *c)
{
	uint64_t now = clock_now_ns(), at;

	lock_take(&c->lock);
	if (c->error)
		at = c->over ? UINT64_MAX : now;
	else if (c->down)
		at = c->retry_ns;
	else
		at = c->lease_ns ? heartbeat_at(c) : UINT64_MAX;
	lock_drop(&c->lock);
	return at <= now ? 0 : min_u64(at - now, NS_PER_SEC * 3600);
}

/* The server owes an answer since the last heartbeat, and there is nothing to be read. Caller holds the lock. */
static bool deaf(const struct conn *c, uint64_t now)
{
	struct pollfd p = {.fd = c->fd, .events = POLLIN};

	if (!c->resumable || atomic_load(&c->margin.confirmed_ns) >= c->pinged_ns ||
	    now - c->pinged_ns < margin_heartbeat_ns(c->lease_ns))
		return false;
	return poll(&p, 1, 0) == 0;
}

void conn_heartbeat(struct conn *c)
{
	static const union proto_body nothing;
	uint64_t now = clock_now_ns();
	bool ping = false;

	lock_take(&c->lock);
	if (!c->error && !c->down && c->lease_ns && now >= heartbeat_at(c)) {
		if (deaf(c, now)) {
			conn_lost(c, "the server does not answer");
		} else {
			ping = true;
			c->pinged_ns = now;
		}
	}
	lock_drop(&c->lock);
	if (ping)
		conn_tell(c, PROTO_PING, &nothing);
}

/* --- getting it back --- */

static uint64_t attempt_ns(const struct conn *c)
{
	return min_u64(max_u64(c->lease_ns / 4, ATTEMPT_FIRST_NS), c->dial->timeout_ns);
}

/* A call whose descriptors cannot be sent again in its turn: its place is taken by a PING. Caller holds the lock. */
static int give_way(struct conn *c, struct call *call)
{
	static const union proto_body nothing;
	struct call *ping = conn_told_new(PROTO_PING, &nothing);

	if (!ping)
		return -ENOMEM;
	conn_pending_remove(c, call);
	conn_pending_add(c, ping, call->seq);
	call->status = -EAGAIN;
	call->reply.error.text = proto_str_of("the connection was lost meanwhile; try again");
	call->done = true;
	if (call->sleeping)
		cond_wake_all(&call->cond);
	return 0;
}

/* The server has had the requests up to had. Caller holds the lock. */
static int requests_after(struct conn *c, uint64_t had)
{
	if (had == 0 || had >= c->next_seq)
		return fail(-EPROTO, "P55 the server says to have had requests that were never sent");
	for (uint64_t seq = had + 1; seq < c->next_seq; seq++) {
		struct call *call = conn_pending_find(c, seq);

		if (!call)
			return fail(-EPROTO, "P55 the server has forgotten a request that it answered");
		if (call->fd_count && give_way(c, call))
			return -ENOMEM;
	}
	return 0;
}

/* The socket works; what the server has not had goes out. */
static int link_up(struct conn *c, int fd, uint64_t had, uint64_t asked_ns)
{
	int err;

	lock_take(&c->lock);
	err = c->error ? c->error : requests_after(c, had);
	if (err) {
		lock_drop(&c->lock);
		close(fd);
		return err;
	}
	close(c->fd);
	c->fd = fd;
	c->down = false;
	c->in_start = c->in_end = 0;
	c->out_start = c->out_end = 0;
	c->send_seq = had + 1;
	margin_confirm(&c->margin, asked_ns);
	c->pinged_ns = asked_ns;
	conn_pump(c);
	cond_wake_all(&c->room);
	lock_drop(&c->lock);
	return 0;
}

static int resume(struct conn *c)
{
	union proto_body body = {.resume = {.magic = PROTO_MAGIC,
					    .version = c->version,
					    .session = c->session,
					    .epoch = c->epoch,
					    .received = atomic_load(&c->received)}};
	struct wire_reply *reply = malloc(sizeof(*reply));
	uint64_t asked_ns = clock_now_ns();
	uint64_t had = 0;
	int fd;

	if (!reply)
		return -ENOMEM;
	memcpy(body.resume.token, c->token, sizeof(body.resume.token));
	fd = wire_open(c->dial->address, PROTO_RESUME, &body, attempt_ns(c), reply);
	if (fd >= 0)
		had = reply->body.resumed.received;
	free(reply);
	if (fd < 0)
		return fd;
	return link_up(c, fd, had, asked_ns);
}

/* The old session is gone. */
static int hello(struct conn *c)
{
	uint64_t asked_ns = clock_now_ns();
	struct proto_welcome w;
	int fd = conn_hello(c->dial, attempt_ns(c), &w);

	return fd < 0 ? fd : conn_renew(c, fd, &w, asked_ns);
}

/* Errors that no waiting mends. */
static bool is_final(int err)
{
	return err == -EPROTO || err == -EPROTONOSUPPORT || err == -EACCES || err == -EINVAL;
}

/* One attempt has failed. */
static void failed(struct conn *c, int err)
{
	uint64_t now = clock_now_ns();

	if (is_final(err)) {
		conn_break(c, err == -EACCES ? -ENOTCONN : err,
			   "the connection to the server was lost: %s; and it cannot be restored: %s", c->down_text,
			   fail_text());
		return;
	}
	if (now - c->down_ns > c->lease_ns) {
		conn_break(c, -ENOTCONN, "the connection to the server was lost: %s; and not restored in time: %s",
			   c->down_text, fail_text()[0] ? fail_text() : strerror(-err));
		return;
	}
	c->retry_ns = now + c->pause_ns;
	c->pause_ns = min_u64(c->pause_ns * 2, PAUSE_LAST_NS);
}

void conn_restore(struct conn *c)
{
	bool down, renew;
	int err, broken;

	lock_take(&c->lock);
	down = c->down;
	renew = c->renew;
	broken = c->error;
	lock_drop(&c->lock);
	if (!down || (!broken && clock_now_ns() < c->retry_ns))
		return;
	fail_clear();
	err = broken ? 0 : renew ? hello(c) : resume(c);
	if (err == -ESTALE && !renew) {
		lock_take(&c->lock);
		c->renew = true;
		lock_drop(&c->lock);
		err = hello(c);
	}
	if (err && !conn_error(c))
		failed(c, err);
	if (conn_error(c) && !c->over)
		conn_over(c);
}
