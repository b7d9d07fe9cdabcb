/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The sending side. Sequence numbers are given and messages leave under one lock, so that they go out without gaps
 * (P8). The lock is held over a send that never waits; the rest that a full socket leaves is kept in order.
 */
#include "client/conn_internal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/types.h"

/* Two paths and their lengths are the longest request without data; and who it is done for. */
#define HEAD_MAX (PROTO_HEADER_SIZE + 2u * (PROTO_PATH_MAX + 2u) + 64u + 320u)

void conn_kick(struct conn *c)
{
	lock_assert_held(RANK_SEND);
	eventfd_write(c->wake, 1);
}

/* Keeps bytes behind what waits already. */
static int out_add(struct conn *c, const void *bytes, size_t len)
{
	size_t have = c->out_end - c->out_start;

	if (len == 0)
		return 0;
	if (c->out_start) {
		memmove(c->out, c->out + c->out_start, have);
		c->out_start = 0;
		c->out_end = have;
	}
	if (have + len > c->out_room) {
		size_t room = round_up_u64(have + len, 65536);
		uint8_t *out = room <= CONN_OUT_END ? realloc(c->out, room) : NULL;

		if (!out)
			return -ENOBUFS;
		c->out = out;
		c->out_room = room;
	}
	memcpy(c->out + have, bytes, len);
	c->out_end = have + len;
	return 0;
}

static ssize_t send_some(struct conn *c, const struct iovec iov[2], const struct call *call)
{
	char control[CMSG_SPACE(sizeof(int) * CALL_FDS)] = {0};
	struct msghdr m = {.msg_iov = (struct iovec *)iov, .msg_iovlen = 2};
	ssize_t n;

	if (call->fd_count) {
		struct cmsghdr *cm;

		m.msg_control = control;
		m.msg_controllen = CMSG_SPACE(sizeof(int) * call->fd_count);
		cm = CMSG_FIRSTHDR(&m);
		cm->cmsg_level = SOL_SOCKET;
		cm->cmsg_type = SCM_RIGHTS;
		cm->cmsg_len = CMSG_LEN(sizeof(int) * call->fd_count);
		memcpy(CMSG_DATA(cm), call->fds, sizeof(int) * call->fd_count);
	}
	do {
		n = sendmsg(c->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	if (n >= 0)
		return n;
	return errno == EAGAIN ? 0 : -errno;
}

/* Keeps what follows the first sent bytes of both. */
static int out_rest(struct conn *c, const struct iovec iov[2], size_t sent)
{
	int err = 0;

	for (unsigned i = 0; i < 2 && !err; i++) {
		size_t skip = min_u64(sent, iov[i].iov_len);

		if (iov[i].iov_len > skip)
			err = out_add(c, (const uint8_t *)iov[i].iov_base + skip, iov[i].iov_len - skip);
		sent -= skip;
	}
	return err;
}

static int send_bytes(struct conn *c, const struct iovec iov[2], const struct call *call)
{
	ssize_t n = 0;
	size_t sent;
	int err;

	if (c->out_end == c->out_start) {
		n = send_some(c, iov, call);
		if (n < 0) {
			conn_lost(c, "sending: %s", strerror((int)-n));
			return 0;
		}
	}
	sent = (size_t)n;
	if (likely(sent == iov[0].iov_len + iov[1].iov_len))
		return 0;
	if (call->fd_count && sent == 0)
		return -EAGAIN;
	err = out_rest(c, iov, sent);
	if (err)
		conn_lost(c, "it reads nothing");
	conn_kick(c);
	return 0;
}

/* The head of a request in buf; *tail: the data behind it, or NULL. */
static ssize_t encode(struct conn *c, const struct call *call, uint8_t buf[HEAD_MAX], struct proto_data *tail)
{
	struct proto_header h = {.type = call->has_as ? PROTO_AS : call->type,
				 .flags = call->flags,
				 .seq = call->seq,
				 .epoch = c->epoch,
				 .ack = c->resumable ? (uint32_t)atomic_load(&c->received) : 0};
	const struct proto_data *data;
	union proto_body inner = {0}, body;

	if (call->body)
		inner = *call->body;
	conn_handle_translate(c, call->type, &inner);
	body = inner;
	if (call->has_as) {
		body.as = call->as;
		body.as.inner = (struct proto_inner){.type = call->type, .host = &inner};
	}
	data = proto_tail(&h, &body);
	*tail = data ? *data : (struct proto_data){0};
	return data ? proto_encode_head(&h, &body, buf, HEAD_MAX) : proto_encode(&h, &body, buf, HEAD_MAX);
}

static int encode_check(struct conn *c, const struct call *call, uint8_t buf[HEAD_MAX], struct proto_data *tail)
{
	ssize_t n = encode(c, call, buf, tail);

	return n < 0 ? (int)n : 0;
}

/* Hands one request to the socket. -EAGAIN: only for calls with descriptors, which need room. */
static int hand_over(struct conn *c, struct call *call)
{
	uint8_t head[HEAD_MAX];
	struct iovec iov[2] = {{.iov_base = head}, {0}};
	struct proto_data tail;
	ssize_t n = encode(c, call, head, &tail);
	int err;

	if (n < 0)
		return fail((int)n, "%s: a value is over the limit of the protocol", proto_type_name(call->type));
	iov[0].iov_len = (size_t)n;
	iov[1].iov_base = (void *)(uintptr_t)tail.bytes;
	iov[1].iov_len = tail.len;
	atomic_store_explicit(&c->unacked, 0, memory_order_relaxed);
	call->sent_ns = clock_now_ns();
	err = send_bytes(c, iov, call);
	return err ? fail(err, "%s: the socket is full", proto_type_name(call->type)) : 0;
}

void conn_pump(struct conn *c)
{
	lock_assert_held(RANK_SEND);
	while (!c->down && !c->error && c->send_seq < c->next_seq && c->out_end - c->out_start < CONN_OUT_MAX) {
		struct call *call = conn_pending_find(c, c->send_seq);

		/* Descriptors go out with the first byte of their message (P17): nothing may wait before it. */
		if (call->fd_count && c->out_end > c->out_start)
			break;
		c->send_seq++;
		if (hand_over(c, call))
			conn_lost(c, "a request could not be sent again: %s", fail_text());
	}
}

void conn_pending_add(struct conn *c, struct call *call, uint64_t seq)
{
	struct call **at = &c->pending[seq % CONN_BUCKETS];

	call->seq = seq;
	call->next = *at;
	*at = call;
}

int conn_send(struct conn *c, struct call *call, unsigned flags, const union proto_body *body)
{
	uint8_t head[HEAD_MAX];
	struct proto_data tail;
	int err = 0;

	lock_assert_held(RANK_SEND);
	assert(!c->error);
	call->body = body;
	call->flags = (uint16_t)flags;
	call->sent_ns = 0;
	call->seq = call->type == PROTO_GOODBYE ? 0 : c->next_seq;
	if (call->type == PROTO_GOODBYE)
		return c->down ? 0 : hand_over(c, call);
	/* When its turn has not come, at least it is known now whether it can be said at all. */
	if (c->down || c->send_seq < c->next_seq)
		err = encode_check(c, call, head, &tail);
	else
		err = hand_over(c, call);
	if (err)
		return fail(err, "%s: a value is over the limit of the protocol, or the socket is full",
			    proto_type_name(call->type));
	if (call->sent_ns)
		c->send_seq = call->seq + 1;
	/* A send that failed takes the link down, and this call waits like all others. */
	c->next_seq = call->seq + 1;
	conn_pending_add(c, call, call->seq);
	c->counted += conn_counts(call->type);
	return 0;
}

void conn_flush(struct conn *c)
{
	lock_take(&c->lock);
	while (c->out_end > c->out_start && !c->error && !c->down) {
		ssize_t n = send(c->fd, c->out + c->out_start, c->out_end - c->out_start, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN)
			conn_lost(c, "sending: %s", strerror(errno));
		if (n <= 0)
			break;
		c->out_start += (size_t)n;
	}
	conn_pump(c);
	if (c->out_end - c->out_start < CONN_OUT_MAX)
		cond_wake_all(&c->room);
	lock_drop(&c->lock);
}
