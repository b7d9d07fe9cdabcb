/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The reading side: from bytes to answers and events, and the thread that reads while no caller does.
 *
 * That thread must not be woken by every answer to a caller that reads for itself. When it finds the role taken it
 * turns away from the socket and looks again after a short while; only when calls have ceased does it come back. A
 * caller that keeps the role for long (its call waits for a break) parks the thread, and wakes it when it leaves.
 */
#include "client/conn_internal.h"

#include <assert.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/types.h"

#define LOOK_AGAIN_NS (250 * NS_PER_US)
#define PARK_AFTER    8u
#define PARKED_FOR_NS NS_PER_SEC
/* P52: so much is received without a request that acknowledges it; what a message costs the server to keep, besides. */
#define ACK_BYTES    ((size_t)256 << 10)
#define ACK_OVERHEAD 64u

struct call *conn_pending_find(struct conn *c, uint64_t seq)
{
	struct call *call = c->pending[seq % CONN_BUCKETS];

	while (call && call->seq != seq)
		call = call->next;
	return call;
}

void conn_pending_remove(struct conn *c, struct call *call)
{
	struct call **at = &c->pending[call->seq % CONN_BUCKETS];

	while (*at != call)
		at = &(*at)->next;
	*at = call->next;
	c->counted -= conn_counts(call->type);
	cond_wake_all(&c->room);
}

/* Unlinks the call that this answers. */
static struct call *pending_take(struct conn *c, uint64_t seq, unsigned type)
{
	struct call *call;

	lock_take(&c->lock);
	call = conn_pending_find(c, seq);
	if (call && ((call->has_as ? PROTO_AS : call->type) != type || seq >= c->send_seq))
		call = NULL;
	if (call) {
		conn_pending_remove(c, call);
		c->finished++;
		margin_confirm(&c->margin, call->sent_ns);
	}
	lock_drop(&c->lock);
	return call;
}

/* What an AS's answer carries takes its place. */
static const char *answer_unwrap(struct call *call, const struct proto_header *h)
{
	const struct proto_as_reply as = call->reply.as_reply;
	struct proto_header inner;
	uint32_t cursor = 0;

	if (as.inner.type != call->type)
		return "P70 the answer to another request than was carried";
	call->has_attr = proto_attr_next(&as.attr, &cursor, &call->attr);
	proto_inner_decode(h, &as.inner, &inner, &call->reply);
	return NULL;
}

/* Keeps the answer's bytes with the call and decodes them there, so that the views live as long as the call. */
static const char *answer_keep(struct call *call, const struct proto_header *h, const uint8_t *body)
{
	size_t len = h->length - PROTO_HEADER_SIZE;
	uint8_t *bytes = call->small;
	const char *rule;

	if (len > sizeof(call->small)) {
		bytes = call->memory = malloc(len);
		if (!bytes) {
			call->status = -ENOMEM;
			call->reply.error.text = proto_str_of("no memory for the server's answer");
			return NULL;
		}
	}
	memcpy(bytes, body, len);
	rule = proto_body_decode(h, bytes, &call->reply);
	return !rule && call->has_as && !h->status ? answer_unwrap(call, h) : rule;
}

static const char *answer_deliver(struct call *call, const struct proto_header *h, const uint8_t *bytes,
				  enum call_verdict *verdict)
{
	const char *rule;

	*verdict = CALL_DONE;
	call->status = -(int)h->status;
	if (h->status || (!call->into && !call->arrived))
		return answer_keep(call, h, bytes);
	rule = proto_body_decode(h, bytes, &call->reply);
	if (rule)
		return rule;
	if (call->arrived) {
		*verdict = call->arrived(call, h, &call->reply, &rule);
		return *verdict == CALL_BROKEN ? rule : NULL;
	}
	if (call->reply.data.data.len > call->into_room)
		return "P12 more bytes than were asked for";
	memcpy(call->into, call->reply.data.data.bytes, call->reply.data.data.len);
	call->into_len = call->reply.data.data.len;
	return NULL;
}

/* The end of a connection whose peer breaks the protocol. */
static void broken(struct conn *c, const char *rule)
{
	conn_break(c, -EPROTO, "the server broke the protocol (rule %s); the session has ended", rule);
}

static const char *answer_continues(struct conn *c, struct call *call)
{
	bool second;

	lock_take(&c->lock);
	second = c->continued != NULL;
	if (!second)
		c->continued = call;
	lock_drop(&c->lock);
	return second ? "P41 an answer in parts inside another" : NULL;
}

static const char *read_answer(struct conn *c, const struct proto_header *h, const uint8_t *bytes)
{
	struct call *call = pending_take(c, h->seq, h->type);
	enum call_verdict verdict;
	const char *rule;

	if (!call)
		return "P8 an answer to no request that waits";
	rule = answer_deliver(call, h, bytes, &verdict);
	lock_take(&c->lock);
	conn_handle_answered(c, call);
	lock_drop(&c->lock);
	if (!rule && verdict == CALL_MORE)
		rule = answer_continues(c, call);
	if (rule) {
		broken(c, rule);
		call->status = -EPROTO;
	}
	if (call->forget) {
		if (call->status)
			log_warn("client", "%s was refused: %s", proto_type_name(call->type), strerror(-call->status));
		call_fini(call);
		free(call);
	} else if (rule || verdict == CALL_DONE) {
		conn_finish(c, call);
	}
	return rule;
}

/* P36, P37: keeps what is said about a long call for the thread that waits for it. */
static const char *read_note(struct conn *c, const struct proto_header *h, const uint8_t *bytes, uint64_t about)
{
	size_t len = h->length - PROTO_HEADER_SIZE;
	struct note *n = malloc(sizeof(*n) + len);
	const char *rule = NULL;
	struct call *call;

	if (!n) {
		conn_break(c, -ENOMEM, "no memory for what the server tells about a call; the session has ended");
		return NULL;
	}
	n->next = NULL;
	n->header = *h;
	memcpy(n->body, bytes, len);
	lock_take(&c->lock);
	call = conn_pending_find(c, about);
	if (!call || !call->told || (h->type == PROTO_LOSS && call->type != PROTO_FS_EVACUATE))
		rule = "P36 news about no long request that waits";
	else if (call->notes_bytes + len > CALL_NOTES_MAX)
		rule = "P37 more losses than can be kept";
	if (!rule) {
		*call->notes_tail = n;
		call->notes_tail = &n->next;
		call->notes_bytes += len + sizeof(*n);
		if (call->sleeping)
			cond_wake_all(&call->cond);
	}
	lock_drop(&c->lock);
	if (rule)
		free(n);
	return rule;
}

/* What ends the session but says nothing against a new one is as good as a lost connection (P57). */
static void read_goodbye(struct conn *c, const struct proto_goodbye *bye)
{
	unsigned reason = bye->reason;

	if (c->resumable &&
	    (reason == PROTO_BYE_SHUTDOWN || reason == PROTO_BYE_TIMEOUT || reason == PROTO_BYE_CLOSED)) {
		lock_take(&c->lock);
		conn_lost_session(c, "the server ended the session: %s: %.*s", proto_bye_name(reason),
				  (int)bye->text.len, bye->text.bytes);
		lock_drop(&c->lock);
		return;
	}
	conn_break(c, reason == PROTO_BYE_PROTOCOL ? -EPROTO : -ENOTCONN, "the server ended the session: %s: %.*s",
		   proto_bye_name(reason), (int)bye->text.len, bye->text.bytes);
}

static const char *read_event(struct conn *c, const struct proto_header *h, const uint8_t *bytes)
{
	union proto_body body;
	const char *rule = proto_body_decode(h, bytes, &body);

	if (rule)
		return rule;
	switch (h->type) {
	case PROTO_RECALL:
	case PROTO_REVOKED:
	case PROTO_LAYOUT:
	case PROTO_CHANGED:
		return h->seq ? "P2 an event has sequence 0" : c->ops->event(c->ctx, h, &body);
	case PROTO_PROGRESS:
		return h->seq ? "P2 an event has sequence 0" : read_note(c, h, bytes, body.progress.request);
	case PROTO_LOSS:
		return h->seq ? "P2 an event has sequence 0" : read_note(c, h, bytes, body.loss.request);
	case PROTO_GOODBYE:
		read_goodbye(c, &body.goodbye);
		return NULL;
	default:
		return "P3 a request from the server";
	}
}

/* P51, P52: the server keeps what it sent until it hears that it came. */
static void message_counted(struct conn *c, const struct proto_header *h)
{
	static const union proto_body nothing;

	if (!c->resumable || h->type == PROTO_GOODBYE)
		return;
	atomic_fetch_add(&c->received, 1);
	if (atomic_fetch_add(&c->unacked, h->length + ACK_OVERHEAD) > ACK_BYTES)
		conn_tell(c, PROTO_PING, &nothing);
}

/* One message if it is whole: its length; 0: more bytes are needed; -1: the connection is over. */
static ssize_t read_message(struct conn *c)
{
	const uint8_t *bytes = c->in + c->in_start;
	size_t have = c->in_end - c->in_start;
	struct proto_header h;
	const char *rule;

	if (have < PROTO_HEADER_SIZE)
		return 0;
	rule = proto_header_decode(bytes, &h);
	if (!rule && h.length > PROTO_MESSAGE_MAX)
		rule = "P4 a message over the limit";
	if (!rule && have < h.length)
		return 0;
	if (!rule && h.epoch != c->epoch)
		rule = "P9 a message of another session";
	if (!rule && (h.flags & PROTO_REPLY))
		rule = read_answer(c, &h, bytes + PROTO_HEADER_SIZE);
	else if (!rule)
		rule = read_event(c, &h, bytes + PROTO_HEADER_SIZE);
	if (!rule) {
		message_counted(c, &h);
		return h.length;
	}
	broken(c, rule);
	return -1;
}

/* false: the connection is over. */
static bool read_messages(struct conn *c)
{
	ssize_t n;

	for (;;) {
		n = read_message(c);
		if (n < 0)
			return false;
		if (n == 0)
			break;
		c->in_start += (size_t)n;
	}
	if (c->in_start == c->in_end) {
		c->in_start = c->in_end = 0;
	} else if (c->in_start > PROTO_MESSAGE_MAX / 2 || c->in_end == PROTO_MESSAGE_MAX) {
		memmove(c->in, c->in + c->in_start, c->in_end - c->in_start);
		c->in_end -= c->in_start;
		c->in_start = 0;
	}
	return true;
}

/* Bytes; 0: none now; -1: the end. */
static ssize_t receive(struct conn *c)
{
	ssize_t n;

	do {
		n = recv(c->fd, c->in + c->in_end, PROTO_MESSAGE_MAX - c->in_end, MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	if (n > 0) {
		c->in_end += (size_t)n;
		return n;
	}
	if (n < 0 && errno == EAGAIN)
		return 0;
	lock_take(&c->lock);
	conn_lost(c, "%s", n < 0 ? strerror(errno) : "the server closed it");
	lock_drop(&c->lock);
	return -1;
}

/* Fails every call that waits. Everything that comes later is refused by conn->error. */
void conn_over(struct conn *c)
{
	struct call *list = NULL;
	struct call *next;

	lock_take(&c->lock);
	assert(c->error && c->reading);
	for (unsigned i = 0; i < CONN_BUCKETS; i++) {
		for (struct call *call = c->pending[i]; call; call = next) {
			next = call->next;
			call->next = list;
			list = call;
		}
		c->pending[i] = NULL;
	}
	if (c->continued) {
		c->continued->next = list;
		list = c->continued;
	}
	lock_drop(&c->lock);
	/* First what depends on the session: who waits for a call below finds its leases gone already. */
	c->ops->dead(c->ctx);
	for (; list; list = next) {
		next = list->next;
		if (list->forget) {
			call_fini(list);
			free(list);
			continue;
		}
		list->status = c->error;
		conn_finish(c, list);
	}
	lock_take(&c->lock);
	c->over = true;
	cond_wake_all(&c->room);
	lock_drop(&c->lock);
}

/* Spinning pays when answers come within its time; when they do not it costs somebody else a core. */
static void spin_adapt(struct conn *c, uint64_t took_ns)
{
	if (took_ns <= c->spin_max_ns)
		c->spin_ns = c->spin_max_ns;
	else
		c->spin_ns /= 2;
}

void conn_read(struct conn *c, const struct call *own)
{
	struct pollfd p = {.fd = c->fd, .events = POLLIN};
	uint64_t start = own ? clock_now_ns() : 0;

	while (!c->over) {
		ssize_t n = receive(c);

		if (n < 0 || (n > 0 && !read_messages(c))) {
			if (conn_error(c))
				conn_over(c);
			return;
		}
		if (own && own->done) {
			spin_adapt(c, clock_now_ns() - start);
			return;
		}
		if (own && own->notes)
			return;
		if (n > 0)
			continue;
		if (!own)
			return;
		if (clock_now_ns() - start < c->spin_ns)
			sched_yield();
		else
			poll(&p, 1, -1);
	}
}

/* What the background thread knows of itself. */
struct watch {
	uint64_t finished; /* answers when it looked last */
	unsigned idle;     /* looks in a row that found the same caller reading and no answer */
	bool away;         /* a caller reads: leave the socket alone */
};

/* Takes the role if nobody has it and calls have ceased. */
static bool watch_turn(struct conn *c, struct watch *w)
{
	bool mine = false;

	lock_take(&c->lock);
	c->parked = false;
	if (c->reading || (w->away && c->finished != w->finished)) {
		w->idle = c->finished == w->finished ? w->idle + 1 : 0;
		w->finished = c->finished;
		w->away = true;
		c->parked = c->reading && w->idle > PARK_AFTER;
	} else {
		mine = c->reading = true;
		w->away = false;
		w->idle = 0;
	}
	lock_drop(&c->lock);
	return mine;
}

static void watch_wait(struct conn *c, const struct watch *w)
{
	struct pollfd p[2] = {{.fd = c->fd}, {.fd = c->wake, .events = POLLIN}};
	uint64_t wait_ns = conn_link_due(c);
	struct timespec time;
	eventfd_t drop;

	lock_take(&c->lock);
	if (w->away)
		wait_ns = min_u64(wait_ns, c->parked ? PARKED_FOR_NS : LOOK_AGAIN_NS);
	if (c->ticking)
		wait_ns = 0;
	p[0].events = (short)((w->away ? 0 : POLLIN) | (c->out_end > c->out_start ? POLLOUT : 0));
	if (c->down || p[0].events == 0)
		p[0].fd = -1;
	lock_drop(&c->lock);
	time = (struct timespec){.tv_sec = (time_t)(wait_ns / NS_PER_SEC), .tv_nsec = (long)(wait_ns % NS_PER_SEC)};
	ppoll(p, 2, &time, NULL);
	if (p[1].revents)
		eventfd_read(c->wake, &drop);
	if (p[0].revents & POLLOUT)
		conn_flush(c);
}

static void watch_tick(struct conn *c)
{
	bool wanted;

	lock_take(&c->lock);
	wanted = c->ticking;
	c->ticking = false;
	lock_drop(&c->lock);
	if (wanted && c->ops->tick(c->ctx))
		conn_tick(c);
}

void *conn_thread(void *arg)
{
	struct conn *c = arg;
	struct watch w = {0};

	for (;;) {
		bool over;

		lock_take(&c->lock);
		over = c->over;
		lock_drop(&c->lock);
		if (over)
			return NULL;
		watch_wait(c, &w);
		watch_tick(c);
		conn_heartbeat(c);
		if (!watch_turn(c, &w))
			continue;
		conn_restore(c);
		conn_read(c, NULL);
		lock_take(&c->lock);
		conn_role_drop(c);
		lock_drop(&c->lock);
	}
}
