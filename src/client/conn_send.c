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

#include "base/types.h"

/* Two paths and their lengths are the longest request without data. */
#define HEAD_MAX (PROTO_HEADER_SIZE + 2u * (PROTO_PATH_MAX + 2u) + 64u)

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

/* The socket is gone or the server does not read: the reader ends the connection. The lock is held, so not conn_break.
 */
static void send_failed(struct conn *c, const char *why)
{
	if (c->error)
		return;
	c->error = -ENOTCONN;
	snprintf(c->text, sizeof(c->text),
		 "the connection to the server was lost while sending: %s; its leases are gone", why);
	shutdown(c->fd, SHUT_RDWR);
	cond_wake_all(&c->room);
	conn_kick(c);
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
			send_failed(c, strerror((int)-n));
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
		send_failed(c, "it reads nothing");
	conn_kick(c);
	return 0;
}

int conn_send(struct conn *c, struct call *call, unsigned flags, const union proto_body *body)
{
	struct proto_header h = {.type = call->type,
				 .flags = (uint16_t)flags,
				 .seq = call->type == PROTO_GOODBYE ? 0 : c->next_seq,
				 .epoch = c->epoch};
	const struct proto_data *tail = proto_tail(&h, body);
	uint8_t head[HEAD_MAX];
	struct iovec iov[2] = {{.iov_base = head}, {0}};
	ssize_t n;
	int err;

	lock_assert_held(RANK_SEND);
	assert(!c->error);
	n = tail ? proto_encode_head(&h, body, head, sizeof(head)) : proto_encode(&h, body, head, sizeof(head));
	if (n < 0)
		return fail((int)n, "%s: a value is over the limit of the protocol", proto_type_name(call->type));
	iov[0].iov_len = (size_t)n;
	if (tail) {
		iov[1].iov_base = (void *)tail->bytes;
		iov[1].iov_len = tail->len;
	}
	err = send_bytes(c, iov, call);
	if (err)
		return fail(err, "%s: the socket is full", proto_type_name(call->type));
	if (call->type == PROTO_GOODBYE)
		return 0;
	/* A send that failed ends the connection, and with it this call like all that wait. */
	call->seq = c->next_seq++;
	call->next = c->pending[call->seq % CONN_BUCKETS];
	c->pending[call->seq % CONN_BUCKETS] = call;
	c->counted += conn_counts(call->type);
	return 0;
}

void conn_flush(struct conn *c)
{
	lock_take(&c->lock);
	while (c->out_end > c->out_start && !c->error) {
		ssize_t n = send(c->fd, c->out + c->out_start, c->out_end - c->out_start, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN)
			send_failed(c, strerror(errno));
		if (n <= 0)
			break;
		c->out_start += (size_t)n;
	}
	if (c->out_end - c->out_start < CONN_OUT_MAX)
		cond_wake_all(&c->room);
	lock_drop(&c->lock);
}
