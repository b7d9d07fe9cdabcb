/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The sending side of a session: send at once what the socket takes, queue the rest, never block (SEND).
 *
 * Whoever has something to say sends it itself, the thread of a break its recall, a worker its answer: no thread has to
 * be woken for a message. The queue is bounded twice (P20): above out_stall the loop reads no more requests, above
 * out_max, which only events can reach, the session ends. Messages are whole and in order: a queued rest blocks the
 * ones behind it.
 *
 * A session that can be resumed keeps what it has sent until the client acknowledges it (P51), in the same queue, and
 * begins anew behind what the client has had when it comes back. That costs a copy of every small answer, and nothing
 * for big ones, which are made in their own memory anyway.
 */
#include "server/server.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/log.h"
#include "base/types.h"

#define OUTPUT_IOVECS 32u
#define OUTPUT_STACK  1024u /* messages that are encoded without malloc */
#define OUTPUT_SLACK  4096u

/* Caller holds SEND. */
static void interest_update(struct session *s)
{
	uint32_t want = (s->in_wanted ? EPOLLIN : 0) | (s->out_next || s->kicked ? EPOLLOUT : 0);
	struct epoll_event ev = {.events = want, .data.ptr = s};

	if (s->fd < 0 || want == s->interest)
		return;
	s->interest = want;
	/* Cannot fail: the descriptor is ours and registered, and a change takes no memory. */
	if (epoll_ctl(s->server->epoll_fd, EPOLL_CTL_MOD, s->fd, &ev) < 0)
		log_error("server", "epoll_ctl: %s", strerror(errno));
}

/* The session cannot go on: the loop sees the hang-up, or if there is no connection its next tick, and ends it. Caller
 * holds SEND. */
static void give_up(struct session *s)
{
	atomic_store(&s->slow, true);
	if (s->fd >= 0)
		shutdown(s->fd, SHUT_RDWR);
}

/* Bytes that the socket took; -EAGAIN is 0. Caller holds SEND. */
static size_t send_now(struct session *s, const void *bytes, size_t len)
{
	size_t sent = 0;

	while (sent < len) {
		ssize_t n = send(s->fd, (const char *)bytes + sent, len - sent, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			break; /* full, or the peer is gone: then the loop hears of it */
		sent += (size_t)n;
	}
	return sent;
}

struct out_buf *output_buf_new(size_t len)
{
	struct out_buf *b = malloc(sizeof(*b) + len);

	if (b) {
		b->next = NULL;
		b->len = b->room = len;
		b->sent = 0;
		b->last = 0;
		b->count = 0;
	}
	return b;
}

/* The length of the message that begins at `at`: our own, so there is nothing to check. */
static size_t message_length(const struct out_buf *b, size_t at)
{
	le32 length;

	memcpy(&length, b->bytes + at, sizeof(length));
	assert(le32_to(length) >= PROTO_HEADER_SIZE);
	return le32_to(length);
}

static void number(struct session *s, struct out_buf *b)
{
	for (size_t at = 0; at < b->len; at += message_length(b, at))
		b->count++;
	s->numbered += b->count;
	b->last = s->numbered;
}

static size_t kept_size(const struct out_buf *b)
{
	return b->len + sizeof(*b);
}

/* Frees what was sent and need not be kept. Caller holds SEND. */
static void forget_sent(struct session *s)
{
	while (s->out_head != s->out_next && (!s->out_head->last || s->out_head->last <= s->acked)) {
		struct out_buf *b = s->out_head;

		s->out_head = b->next;
		s->kept_bytes -= kept_size(b);
		free(b);
	}
	if (!s->out_head)
		s->out_tail = &s->out_head;
}

/* Takes n bytes that were sent out of what waits. Caller holds SEND. */
static void consume(struct session *s, size_t n)
{
	s->out_bytes -= n;
	while (n) {
		struct out_buf *b = s->out_next;
		size_t part = min_u64(b->len - b->sent, n);

		b->sent += part;
		n -= part;
		if (b->sent < b->len)
			break;
		s->out_next = b->next;
		s->kept_bytes += kept_size(b);
	}
	forget_sent(s);
}

/* Sends what the socket takes. Caller holds SEND. */
static void pump(struct session *s)
{
	struct iovec iov[OUTPUT_IOVECS];
	struct msghdr msg = {.msg_iov = iov};
	ssize_t n = 1;

	while (s->fd >= 0 && s->out_next && n > 0) {
		msg.msg_iovlen = 0;
		for (struct out_buf *b = s->out_next; b && msg.msg_iovlen < OUTPUT_IOVECS; b = b->next)
			iov[msg.msg_iovlen++] = (struct iovec){b->bytes + b->sent, b->len - b->sent};
		n = sendmsg(s->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n > 0)
			consume(s, (size_t)n);
		else if (n < 0 && errno == EINTR)
			n = 1;
		/* Full, or the peer is gone: then the loop hears of it. */
	}
	interest_update(s);
}

/* Caller holds SEND. */
static void enqueue(struct session *s, struct out_buf *b)
{
	bool first = !s->out_next;

	if (s->keeps)
		number(s, b);
	*s->out_tail = b;
	s->out_tail = &b->next;
	if (first)
		s->out_next = b;
	s->out_bytes += b->len - b->sent;
	if (first)
		pump(s);
	if (s->out_bytes > s->server->limits.out_max || s->out_bytes + s->kept_bytes > s->server->limits.kept_max)
		give_up(s);
}

static bool swallows(const struct session *s)
{
	return s->closed || (s->fd < 0 && !s->keeps) || atomic_load_explicit(&s->slow, memory_order_relaxed);
}

void output_bytes(struct session *s, const void *bytes, size_t len)
{
	struct out_buf *b;
	size_t sent = 0;

	lock_take(&s->send);
	if (!swallows(s)) {
		if (!s->keeps && !s->out_next)
			sent = send_now(s, bytes, len);
		if (sent < len) {
			b = output_buf_new(len - sent);
			if (b) {
				memcpy(b->bytes, (const char *)bytes + sent, len - sent);
				enqueue(s, b);
			} else {
				give_up(s);
			}
		}
	}
	lock_drop(&s->send);
}

/* What is kept shall not take more memory than it is counted with. */
static struct out_buf *shrunk(struct out_buf *b)
{
	struct out_buf *smaller = b->room - b->len > OUTPUT_SLACK ? realloc(b, sizeof(*b) + b->len) : NULL;

	return smaller ? smaller : b;
}

void output_buf(struct session *s, struct out_buf *b)
{
	lock_take(&s->send);
	if (s->keeps)
		b = shrunk(b);
	if (!swallows(s)) {
		enqueue(s, b);
		b = NULL;
	}
	lock_drop(&s->send);
	free(b);
}

/* Encoding fails only for what the filesystem gave us and the protocol cannot carry. */
static void output_message(struct session *s, const struct proto_header *h, const union proto_body *body)
{
	uint8_t small[OUTPUT_STACK];
	ssize_t n = proto_encode(h, body, small, sizeof(small));
	struct out_buf *b;
	uint32_t max;

	if (n >= 0) {
		output_bytes(s, small, (size_t)n);
		return;
	}
	max = proto_length_max(h->type, h->flags);
	b = n == -EMSGSIZE ? output_buf_new(max) : NULL;
	n = b ? proto_encode(h, body, b->bytes, max) : n;
	if (n >= 0) {
		b->len = (size_t)n;
		output_buf(s, b);
		return;
	}
	free(b);
	log_error("server", "session %llu: a %s could not be encoded: error %zd", (unsigned long long)s->id,
		  proto_type_name(h->type), n);
	if ((h->flags & PROTO_REPLY) && !h->status) {
		struct proto_header failed = *h;

		failed.status = EIO;
		output_message(s, &failed, NULL);
	}
}

void output_reply(struct session *s, const struct proto_header *request, int status, const union proto_body *body)
{
	struct proto_header h = {.type = request->type,
				 .flags = PROTO_REPLY,
				 .seq = request->seq,
				 .epoch = request->epoch,
				 .status = (uint32_t)-status};

	assert(status <= 0);
	output_message(s, &h, body);
}

void output_event(struct session *s, unsigned type, unsigned flags, const union proto_body *body)
{
	struct proto_header h = {.type = (uint16_t)type, .flags = (uint16_t)flags, .epoch = s->epoch};

	output_message(s, &h, body);
}

void output_ready(struct session *s)
{
	lock_take(&s->send);
	s->kicked = false;
	pump(s);
	lock_drop(&s->send);
}

void output_want_input(struct session *s, bool wanted)
{
	lock_take(&s->send);
	s->in_wanted = wanted;
	interest_update(s);
	lock_drop(&s->send);
}

void output_kick(struct session *s)
{
	lock_take(&s->send);
	if (!s->in_wanted) {
		s->kicked = true;
		interest_update(s);
	}
	lock_drop(&s->send);
}

bool output_full(struct session *s)
{
	size_t queued;

	lock_take(&s->send);
	queued = s->out_bytes;
	lock_drop(&s->send);
	return queued + atomic_load(&s->reserved) > s->server->limits.out_stall;
}

size_t output_backlog(struct session *s)
{
	size_t bytes;

	lock_take(&s->send);
	bytes = s->out_bytes + s->kept_bytes;
	lock_drop(&s->send);
	return bytes;
}

int output_detach(struct session *s)
{
	int fd;

	lock_take(&s->send);
	fd = s->fd;
	s->fd = -1;
	s->closed = true;
	while (s->out_head) {
		struct out_buf *b = s->out_head;

		s->out_head = b->next;
		free(b);
	}
	s->out_next = NULL;
	s->out_tail = &s->out_head;
	s->out_bytes = s->kept_bytes = 0;
	lock_drop(&s->send);
	return fd;
}

/* --- sessions that outlive their connection (P50 to P55) --- */

void output_keep(struct session *s)
{
	lock_take(&s->send);
	s->keeps = true;
	lock_drop(&s->send);
}

int output_suspend(struct session *s)
{
	int fd;

	lock_take(&s->send);
	fd = s->fd;
	s->fd = -1;
	lock_drop(&s->send);
	return fd;
}

/* The last message of which anything was sent. Caller holds SEND. */
static uint64_t begun(const struct session *s)
{
	const struct out_buf *next = s->out_next;

	if (!next)
		return s->numbered;
	if (!next->last)
		return s->acked; /* the WELCOME is not out yet */
	return next->sent ? next->last : next->last - next->count;
}

bool output_acked(struct session *s, uint32_t ack)
{
	uint32_t more = ack - (uint32_t)s->acked; /* only the loop changes acked */
	bool ok;

	if (!more || !s->keeps)
		return true;
	lock_take(&s->send);
	ok = more <= begun(s) - s->acked;
	if (ok) {
		s->acked += more;
		forget_sent(s);
	}
	lock_drop(&s->send);
	return ok;
}

bool output_can_resume(struct session *s, uint64_t received)
{
	bool ok;

	lock_take(&s->send);
	ok = s->keeps && received >= s->acked && received <= begun(s);
	lock_drop(&s->send);
	return ok;
}

/* Everything that is kept waits to be sent again, but for the messages that the client has had. Caller holds SEND. */
static void rewind_to(struct session *s, uint64_t received)
{
	size_t at = 0;

	s->acked = received;
	forget_sent(s);
	s->out_next = s->out_head;
	s->out_bytes = s->kept_bytes = 0;
	for (struct out_buf *b = s->out_head; b; b = b->next) {
		b->sent = 0;
		s->out_bytes += b->len;
	}
	if (!s->out_head)
		return;
	for (uint64_t n = s->out_head->last - s->out_head->count; n < received; n++)
		at += message_length(s->out_head, at);
	consume(s, at);
}

void output_attach(struct session *s, int fd, uint64_t received)
{
	lock_take(&s->send);
	s->fd = fd;
	s->in_wanted = true;
	s->interest = EPOLLIN;
	s->kicked = false;
	rewind_to(s, received);
	pump(s);
	lock_drop(&s->send);
}
