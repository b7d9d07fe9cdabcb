/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The receiving half of a stream's target end: requests in, write payload landed. Payload that follows its header in
 * one receive is copied from rx; the rest is received straight into exposed memory, one chunk under one hold, without
 * waiting.
 *
 * Memory is bounded: rx and 256 answers. A peer with 256 answers outstanding isn't read until it takes some (F6).
 */
#include "fabric/stream_target.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "fabric/move.h"

#define TURN_BYTES 262144u /* landed by one path before the next one's turn */
#define BIG_WRITE  131072u /* longer payloads are worth receiving the header alone, so that none of it is copied */

static struct stream_path *stream_of(struct fabric_path *p)
{
	return container_of(p, struct stream_path, path);
}

/* A hold on the next chunk of the write that is landing. Refused: the rest of it is dropped. */
static bool write_hold(struct stream_path *sp, struct key_hold *hold)
{
	struct key_want want = {.owner = &sp->path.domain->owner,
				.number = sp->write.key,
				.access = FABRIC_WRITE,
				.offset = sp->write.offset + sp->landed,
				.len = sp->write.len - sp->landed};

	if (sp->write_status == 0)
		sp->write_status = key_enter(sp->path.domain->target->keys, &want, hold);
	return sp->write_status == 0;
}

static void write_landed(struct stream_path *sp, uint64_t bytes)
{
	sp->landed += bytes;
	if (sp->landed < sp->write.len)
		return;
	sp->landing = false;
	answer_push(sp, &sp->write, sp->write_status);
}

/* Payload that is in rx already. */
static void write_copy(struct stream_path *sp)
{
	uint64_t step = min_u64(sp->rx_end - sp->rx_start, sp->write.len - sp->landed);
	struct key_hold hold;

	static_assert(STREAM_RX_BYTES <= FABRIC_CHUNK, "what is in rx is one chunk at most");
	if (write_hold(sp, &hold)) {
		step = min_u64(step, hold.len);
		sp->write_status = move_exposed(hold.mem, &sp->rx[sp->rx_start], step, BUSGUARD_TO);
		key_dirty(&hold, step);
		key_leave(&hold);
	}
	sp->rx_start += step;
	write_landed(sp, step);
}

static void request_start(struct stream_path *sp, const struct stream_request *req)
{
	struct key_want want = {.owner = &sp->path.domain->owner,
				.number = req->key,
				.access = req->dir == FABRIC_OP_READ ? FABRIC_READ : FABRIC_WRITE,
				.offset = req->offset};
	struct key_hold hold;
	int err;

	if (req->len == 0) {
		err = key_enter(sp->path.domain->target->keys, &want, &hold);
		if (!err)
			key_leave(&hold);
		answer_push(sp, req, err ? err : -EINVAL);
		return;
	}
	if (req->dir == FABRIC_OP_READ) {
		sp->rx_want = STREAM_RX_BYTES;
		answer_push(sp, req, 0);
		return;
	}
	sp->write = *req;
	sp->write_status = 0;
	sp->landed = 0;
	sp->landing = true;
	sp->rx_want = req->len > BIG_WRITE ? sizeof(struct stream_w_request) : STREAM_RX_BYTES;
}

static bool paused(const struct stream_path *sp)
{
	return !sp->landing && answers_pending(sp) == FABRIC_DEPTH_MAX;
}

/* Works off what is in rx. NULL, or the rule that was broken. */
static const char *rx_work(struct stream_path *sp)
{
	struct stream_w_request w;
	struct stream_request req;
	const char *broken;

	while (sp->rx_start < sp->rx_end && !paused(sp)) {
		if (sp->landing) {
			write_copy(sp);
			continue;
		}
		if (sp->rx_end - sp->rx_start < sizeof(w))
			return NULL;
		memcpy(&w, &sp->rx[sp->rx_start], sizeof(w));
		sp->rx_start += sizeof(w);
		broken = stream_request_decode(&w, &req);
		if (broken)
			return broken;
		request_start(sp, &req);
	}
	return NULL;
}

/* One receive. Bytes, or as move_recv. drained: the socket had less than was asked for. */
static ssize_t rx_fill(struct stream_path *sp, bool *drained)
{
	struct iovec iov[2];
	struct key_hold hold;
	size_t pieces = 0, have, chunk = 0, ahead = 0;
	ssize_t n;

	have = sp->rx_end - sp->rx_start;
	memmove(sp->rx, &sp->rx[sp->rx_start], have);
	sp->rx_start = 0;
	sp->rx_end = have;
	if (sp->landing && write_hold(sp, &hold)) {
		assert(have == 0);
		chunk = hold.len;
		iov[pieces++] = (struct iovec){.iov_base = hold.mem, .iov_len = chunk};
	}
	/* What comes after the chunk is a header, unless more of the payload does. */
	if (chunk == 0 || chunk == sp->write.len - sp->landed) {
		ahead = (sp->landing && chunk == 0 ? STREAM_RX_BYTES : sp->rx_want) - have;
		iov[pieces++] = (struct iovec){.iov_base = &sp->rx[have], .iov_len = ahead};
	}
	n = move_recv(sp->fd, iov, pieces);
	*drained = n < (ssize_t)(chunk + ahead);
	if (chunk > 0) {
		size_t direct = n > 0 ? min_u64((uint64_t)n, chunk) : 0;

		if (direct > 0)
			key_dirty(&hold, direct);
		key_leave(&hold);
		if (direct > 0)
			write_landed(sp, direct);
		sp->rx_end += n > 0 ? (size_t)n - direct : 0;
	} else if (n > 0) {
		sp->rx_end += (size_t)n;
	}
	return n;
}

static enum turn stream_receive(struct stream_path *sp)
{
	enum turn done = TURN_IDLE;
	bool drained = false;
	uint64_t bytes = 0;

	for (;;) {
		const char *broken = rx_work(sp);
		ssize_t n;

		if (broken) {
			target_broken(&sp->path, broken);
			return TURN_END;
		}
		/* A pending read is answered before more is received. */
		if (drained || bytes >= TURN_BYTES || sp->reads > 0 || paused(sp))
			return done;
		n = rx_fill(sp, &drained);
		if (n == -EAGAIN || n == -EINTR)
			return done;
		/* The kernel met memory that fails, and took nothing off the socket: the payload goes nowhere. */
		if (n == -EFAULT && sp->landing && sp->write_status == 0) {
			sp->write_status = -EIO;
			continue;
		}
		if (n <= 0)
			return TURN_END;
		done = TURN_MOVED;
		bytes += (uint64_t)n;
		sp->path.moved += (uint64_t)n;
	}
}

static enum turn stream_turn(struct fabric_path *p)
{
	struct stream_path *sp = stream_of(p);
	enum turn received = stream_receive(sp), sent = TURN_IDLE;

	if (received == TURN_END)
		return TURN_END;
	if (answers_pending(sp) > 0 && !sp->blocked)
		sent = answers_send(sp);
	if (sent == TURN_END)
		return TURN_END;
	if (received == TURN_MOVED || sent == TURN_MOVED)
		return TURN_MOVED;
	return sp->blocked ? TURN_PARKED : TURN_IDLE;
}

/* The last receive said EAGAIN, so whatever comes now is an edge for epoll. */
static bool stream_arm(struct fabric_path *p)
{
	return true;
}

/* Errors and hang-ups show in the next receive or send. */
static bool stream_event(struct fabric_path *p, uint32_t events)
{
	if (events & (EPOLLOUT | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		stream_of(p)->blocked = false;
	return true;
}

static void stream_hangup(struct fabric_path *p)
{
	close(stream_of(p)->fd);
}

static void stream_free(struct fabric_path *p)
{
	free(stream_of(p));
}

static const struct path_ops stream_ops = {
    .turn = stream_turn,
    .arm = stream_arm,
    .event = stream_event,
    .hangup = stream_hangup,
    .free = stream_free,
};

static int stream_check(int fd)
{
	socklen_t len = sizeof(int);
	int type = 0, one = 1;

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_STREAM)
		return fail(-EINVAL, "fabric: a stream path needs a connected stream socket");
	/* Not for unix sockets, which don't wait to fill a segment anyway. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return 0;
}

static int stage_make(struct fabric_target *t)
{
	lock_take(&t->lock);
	if (!t->stage)
		t->stage = aligned_alloc(LH_BLOCK_SIZE, STREAM_STAGE_BYTES);
	lock_drop(&t->lock);
	return t->stage ? 0 : -ENOMEM;
}

int fabric_stream_attach(struct fabric_domain *d, int fd, struct fabric_path **out)
{
	struct stream_path *sp = NULL;
	int err = stream_check(fd);

	if (err)
		goto close;
	err = -ENOMEM;
	sp = calloc(1, sizeof(*sp));
	if (!sp)
		goto close;
	err = stage_make(d->target);
	if (err)
		goto close;
	sp->fd = fd;
	sp->rx_want = STREAM_RX_BYTES;
	sp->tx_budget = STREAM_STAGE_BYTES;
	sp->path = (struct fabric_path){.ops = &stream_ops, .fds = {fd, -1}};
	sp->path.events[0] = EPOLLET | EPOLLIN | EPOLLRDHUP;
	err = target_attach(d, &d->target->stream, &sp->path);
	if (err) {
		free(sp);
		return err;
	}
	*out = &sp->path;
	return 0;
close:
	free(sp);
	close(fd);
	return err;
}
