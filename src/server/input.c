/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The receiving side of a session: bytes to messages, each checked in full before anything acts on it (I8).
 *
 * Reads go to a scratch buffer that all sessions share, and complete messages are handled there; only the piece of a
 * message that has not come yet is kept, in memory of exactly that message's length, which its type bounds (P4). So an
 * idle session costs no buffer, and a big WRITE is received in place.
 */
#include "server/server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/types.h"

#define RULE_FIRST       "P1 a connection begins with HELLO, DATA_HELLO or RESUME"
#define RULE_MAGIC       "P1 wrong magic"
#define RULE_DIRECTION   "P3 not a message of a client"
#define RULE_SEQ         "P8 requests are numbered without gaps"
#define RULE_EPOCH       "P9 wrong session epoch"
#define RULE_DESCRIPTORS "P17 descriptors that no RING_ATTACH brought"
#define RULE_OUTSTANDING "P18 more requests outstanding than agreed"
#define RULE_ACK         "P52 acknowledges more than was sent"
#define RULE_AFTER       "P24 bytes before the answer of DATA_HELLO or RESUME"

/* --- what a message must be, before its body is looked at --- */

static bool is_event(unsigned type)
{
	return type == PROTO_RECALL || type == PROTO_REVOKED || type == PROTO_LAYOUT || type == PROTO_PROGRESS ||
	       type == PROTO_LOSS || type == PROTO_CHANGED;
}

/* NULL, or the rule. */
static const char *header_check(const struct session *s, const uint8_t *bytes, struct proto_header *h)
{
	const char *rule = proto_header_decode(bytes, h);
	bool first = s->state == SESSION_FRESH;
	bool greeting = h->type == PROTO_HELLO || h->type == PROTO_DATA_HELLO || h->type == PROTO_RESUME;

	if (first && !greeting)
		return RULE_FIRST;
	if (rule)
		return rule;
	if ((h->flags & PROTO_REPLY) || is_event(h->type))
		return RULE_DIRECTION;
	if (!first && greeting)
		return RULE_DIRECTION;
	if (h->epoch != s->epoch)
		return RULE_EPOCH;
	if (h->seq != (h->type == PROTO_GOODBYE ? 0 : s->seq + 1))
		return RULE_SEQ;
	return NULL;
}

/* --- the first message --- */

/* false: the session ended. */
static bool hello(struct session *s, const struct proto_header *h, const struct proto_hello *in)
{
	uint32_t version = in->version_max < PROTO_VERSION_MAX ? in->version_max : PROTO_VERSION_MAX;
	union proto_body out = {0};
	char text[PROTO_TEXT_MAX];
	int err;

	if (in->magic != PROTO_MAGIC) {
		session_end(s, PROTO_BYE_PROTOCOL, RULE_MAGIC);
		return false;
	}
	if (version < in->version_min || version < PROTO_VERSION_MIN) {
		snprintf(text, sizeof(text),
			 "P21 no common protocol version: the client speaks %u to %u, the server %u to %u; update one "
			 "of them",
			 in->version_min, in->version_max, PROTO_VERSION_MIN, PROTO_VERSION_MAX);
		session_end(s, PROTO_BYE_VERSION, text);
		return false;
	}
	err = session_open(s, in, version, &out.welcome);
	if (err) {
		session_end(s, PROTO_BYE_INTERNAL, "no memory for a session");
		return false;
	}
	/* WELCOME tells the epoch in its body: h still carries 0. */
	output_reply(s, h, 0, &out);
	if (s->resumable)
		output_keep(s);
	log_info("server", "session %llu: uid %u, pid %d, %s", (unsigned long long)s->id, s->cred.uid, (int)s->pid,
		 s->is_unix ? "unix" : "tcp");
	return true;
}

/* --- every message --- */

/* false: the session ended. *took: the buffer is somebody else's now. */
static bool handle(struct session *s, const struct proto_header *h, const uint8_t *message, bool owned, bool *took)
{
	const uint8_t *bytes = message + PROTO_HEADER_SIZE;
	union proto_body body;
	const char *rule = proto_body_decode(h, bytes, &body);

	if (rule) {
		session_end(s, PROTO_BYE_PROTOCOL, rule);
		return false;
	}
	if (h->type == PROTO_GOODBYE) {
		session_end(s, PROTO_BYE_CLOSED, NULL);
		return false;
	}
	s->seq = h->seq;
	if (h->type == PROTO_HELLO)
		return hello(s, h, &body.hello);
	if (h->type == PROTO_DATA_HELLO) {
		data_hello(s, h, &body.data_hello);
		return false; /* a data path now, or refused */
	}
	if (h->type == PROTO_RESUME) {
		away_resume(s, h, &body.resume);
		return false; /* the connection of another session now, or refused */
	}
	if (h->type == PROTO_RING_ATTACH) {
		if (s->fd_count != 0 && s->fd_count != SERVER_RING_FDS) {
			session_end(s, PROTO_BYE_PROTOCOL, RULE_DESCRIPTORS);
			return false;
		}
		data_ring_attach(s, h);
		return true;
	}
	switch (dispatch(s, h, &body, message, owned)) {
	case DISPATCH_DONE:
		return true;
	case DISPATCH_TOOK:
		*took = true;
		return true;
	case DISPATCH_FULL:
		break;
	}
	session_end(s, PROTO_BYE_LIMIT, RULE_OUTSTANDING);
	return false;
}

/* P1, P19: a time limit runs while a message is incomplete. */
static void clock_set(struct session *s, bool running)
{
	if (running == (s->began_ns != 0))
		return;
	s->began_ns = running ? clock_now_ns() : 0;
	s->server->clocked += running ? 1u : -1u;
}

static int keep(struct session *s, size_t cap)
{
	uint8_t *grown;

	if (cap <= s->in_cap)
		return 0;
	grown = realloc(s->in, cap);
	if (!grown)
		return -ENOMEM;
	s->in = grown;
	s->in_cap = cap;
	return 0;
}

/*
 * Handles the complete messages of [bytes, bytes + len). Returns how many bytes they were; -1: the session ended.
 * owned: bytes is a malloc'ed buffer of exactly one message, *took tells whether it is somebody else's now.
 */
static ssize_t parse(struct session *s, const uint8_t *bytes, size_t len, bool owned, bool *took)
{
	struct proto_header h;
	const char *rule;
	size_t at = 0;

	while (len - at >= PROTO_HEADER_SIZE) {
		if (s->state == SESSION_OPEN && output_full(s)) {
			s->stalled = true;
			break;
		}
		rule = header_check(s, bytes + at, &h);
		if (!rule && s->state == SESSION_FRESH && h.type != PROTO_HELLO && len - at > h.length)
			rule = RULE_AFTER;
		if (!rule && s->state == SESSION_OPEN && !output_acked(s, h.ack))
			rule = RULE_ACK;
		else if (!rule)
			changes_drained(s);
		if (rule) {
			session_end(s, PROTO_BYE_PROTOCOL, rule);
			return -1;
		}
		if (len - at < h.length)
			break;
		if (!handle(s, &h, bytes + at, owned, took))
			return -1;
		at += h.length;
	}
	return (ssize_t)at;
}

/* Bytes that the message at the start of s->in has when it is complete, as far as its bytes tell. */
static size_t message_size(const struct session *s)
{
	le32 length;

	if (s->in_len < PROTO_HEADER_SIZE)
		return PROTO_HEADER_SIZE;
	memcpy(&length, s->in, sizeof(length));
	return le32_to(length); /* checked when it was kept */
}

/* Keeps what parse() left, and decides whether to read on. false: the session ended. */
static bool settle(struct session *s, const uint8_t *rest, size_t len)
{
	bool incomplete = len > 0 && !s->stalled;

	if (keep(s, len)) {
		session_end(s, PROTO_BYE_INTERNAL, "no memory for a message");
		return false;
	}
	if (len)
		memmove(s->in, rest, len);
	s->in_len = len;
	if (!len && s->fd_count) {
		session_end(s, PROTO_BYE_PROTOCOL, RULE_DESCRIPTORS);
		return false;
	}
	if (!len && s->in_cap > PROTO_PATH_MAX) {
		free(s->in);
		s->in = NULL;
		s->in_cap = 0;
	}
	if (s->state == SESSION_OPEN)
		clock_set(s, incomplete);
	if (s->stalled) {
		output_want_input(s, false);
		/* What filled it may have left between the look and the mask. */
		if (!output_full(s))
			output_kick(s);
	}
	return true;
}

/* --- reading --- */

/* Takes the descriptors of a message over. -EPROTO: more than a RING_ATTACH has. */
static int take_fds(struct session *s, struct msghdr *msg)
{
	bool too_many = msg->msg_flags & MSG_CTRUNC;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		unsigned count = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		const unsigned char *data = CMSG_DATA(c);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (unsigned i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, data + i * sizeof(int), sizeof(int));
			if (s->fd_count < SERVER_RING_FDS) {
				s->fds[s->fd_count++] = fd;
			} else {
				close(fd);
				too_many = true;
			}
		}
	}
	return too_many ? -EPROTO : 0;
}

static ssize_t receive(struct session *s, void *buf, size_t len)
{
	union {
		char bytes[CMSG_SPACE((SERVER_RING_FDS + 1) * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = {buf, len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	if (!s->is_unix)
		n = recv(s->fd, buf, len, MSG_DONTWAIT);
	else {
		msg.msg_control = control.bytes;
		msg.msg_controllen = sizeof(control.bytes);
		n = recvmsg(s->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	}
	if (n < 0)
		return errno == EINTR || errno == EAGAIN ? -EAGAIN : -errno;
	if (s->is_unix && take_fds(s, &msg))
		return -EPROTO;
	return n;
}

/* The message at the start of s->in is complete: it may be given away whole. */
static void handle_kept(struct session *s)
{
	uint8_t *in = s->in;
	bool took = false;
	ssize_t n;

	/* While it is handled it is nobody's, so that ending the session does not free it under us. */
	size_t len = s->in_len, cap = s->in_cap;

	s->in = NULL;
	s->in_len = s->in_cap = 0;
	n = parse(s, in, len, true, &took);
	if (n < 0) {
		free(in);
		return;
	}
	if (!took) {
		s->in = in;
		s->in_cap = cap;
	}
	settle(s, took ? NULL : in + n, took ? 0 : len - (size_t)n);
}

void input_ready(struct session *s)
{
	uint8_t *to = s->server->scratch;
	size_t room = SERVER_SCRATCH;
	bool took = false;
	ssize_t n, handled;

	if (s->in_len) {
		size_t whole = message_size(s);

		if (keep(s, whole)) {
			session_end(s, PROTO_BYE_INTERNAL, "no memory for a message");
			return;
		}
		to = s->in + s->in_len;
		room = whole - s->in_len;
	}
	n = receive(s, to, room);
	if (n == -EAGAIN)
		return;
	if (n <= 0) {
		if (n == -EPROTO)
			session_end(s, PROTO_BYE_PROTOCOL, RULE_DESCRIPTORS);
		else
			session_lost(s);
		return;
	}
	atomic_store_explicit(&s->heard_ns, server_clock(s->server), memory_order_relaxed);
	if (s->in_len) {
		s->in_len += (size_t)n;
		if (n == (ssize_t)room)
			handle_kept(s);
		return;
	}
	handled = parse(s, to, (size_t)n, false, &took);
	if (handled >= 0)
		settle(s, to + handled, (size_t)(n - handled));
}

void input_resume(struct session *s)
{
	uint8_t *in = s->in;
	bool took = false;
	ssize_t n;

	s->stalled = false;
	output_want_input(s, true);
	n = parse(s, in, s->in_len, false, &took);
	if (n >= 0)
		settle(s, in + n, s->in_len - (size_t)n);
}

void input_forget(struct session *s)
{
	clock_set(s, false);
	free(s->in);
	s->in = NULL;
	s->in_len = s->in_cap = 0;
	s->stalled = false;
	session_drop_fds(s);
}
