/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The initiator's end of a stream. Operations are sent and answered in one order, so it's known what comes next: one
 * recvmsg scatters the answers of many reads straight into their buffers, *guessing* that each will be what was asked
 * for. When a header says otherwise (an error has no payload) the bytes after it are gathered into rx, which is large
 * enough for everything that may stand behind an unread header, and parsed from there.
 *
 * Requests posted while others are in flight are collected and leave with the next progress, in one sendmsg.
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "fabric/conn.h"
#include "fabric/stream_wire.h"

#define SEND_OPS    32u
#define GUESS_OPS   32u
#define GUESS_BYTES 73728u /* 64 KiB of payload with its frames; the size of rx */
#define QUEUED_MAX  16u    /* posts that wait for company */
#define HEAD_BYTES  sizeof(struct stream_w_answer)
#define TAIL_BYTES  sizeof(struct stream_w_trailer)

enum part { PART_HEAD, PART_BODY, PART_TAIL };

struct stream_conn {
	struct fabric_conn conn;
	int fd;
	uint32_t next_tag;
	struct op_queue posted; /* oldest first; op->conn.parts is the tag */
	struct fabric_op *tx;   /* the first that was not sent whole */
	unsigned tx_queued;
	bool tx_blocked;
	enum part part; /* what comes next, of the oldest */
	size_t rx_start, rx_end;
	uint8_t rx[GUESS_BYTES];
};

/* One recvmsg. */
struct guess {
	struct iovec iov[3 * GUESS_OPS];
	enum part part[3 * GUESS_OPS];
	unsigned pieces;
	size_t asked, unsure; /* bytes; unsure: after a header that was not read yet */
	struct stream_w_answer heads[GUESS_OPS];
	struct stream_w_trailer tails[GUESS_OPS];
};

static struct stream_conn *stream_of(struct fabric_conn *c)
{
	return container_of(c, struct stream_conn, conn);
}

static struct stream_request op_request(const struct fabric_op *op)
{
	return (struct stream_request){
	    .dir = op->dir, .tag = op->conn.parts, .key = op->key, .offset = op->offset, .len = op->len};
}

/* --- sending --- */

static uint64_t op_send_bytes(const struct fabric_op *op)
{
	return sizeof(struct stream_w_request) + (op->dir == FABRIC_OP_WRITE ? op->len : 0);
}

static unsigned tx_gather(struct stream_conn *sc, struct iovec *iov, struct stream_w_request *heads, size_t *bytes)
{
	struct fabric_op *op = sc->tx;
	unsigned pieces = 0;

	*bytes = 0;
	for (unsigned i = 0; op && i < SEND_OPS; op = op->next, i++) {
		uint64_t head = sizeof(heads[i]), at = op->conn.sent, body = at > head ? at - head : 0;
		struct stream_request req = op_request(op);

		if (at < head) {
			stream_request_encode(&req, &heads[i]);
			iov[pieces++] = (struct iovec){.iov_base = (char *)&heads[i] + at, .iov_len = head - at};
		}
		if (op->dir == FABRIC_OP_WRITE)
			iov[pieces++] = (struct iovec){.iov_base = (char *)op->buf + body, .iov_len = op->len - body};
		*bytes += op_send_bytes(op) - at;
	}
	return pieces;
}

static void tx_advance(struct stream_conn *sc, uint64_t sent)
{
	while (sent > 0) {
		uint64_t step = min_u64(sent, op_send_bytes(sc->tx) - sc->tx->conn.sent);

		sc->tx->conn.sent += step;
		sent -= step;
		if (sc->tx->conn.sent < op_send_bytes(sc->tx))
			return;
		sc->tx = sc->tx->next;
		sc->tx_queued--;
	}
}

/* Sends what the socket takes. */
static bool tx_work(struct stream_conn *sc)
{
	struct stream_w_request heads[SEND_OPS];
	struct iovec iov[2 * SEND_OPS];
	size_t bytes;
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = tx_gather(sc, iov, heads, &bytes)};
	ssize_t n = sendmsg(sc->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		conn_die(&sc->conn, "the target hung up");
		return true;
	}
	sc->tx_blocked = n < (ssize_t)bytes;
	if (n <= 0)
		return false;
	tx_advance(sc, (uint64_t)n);
	return true;
}

/*
 * After the socket was full: whether it has room worth a send (a third of its buffer, says TCP). Trying all the time
 * would fight for its lock with the acknowledgements, and send in small pieces.
 */
static bool tx_writable(struct stream_conn *sc)
{
	struct pollfd pfd = {.fd = sc->fd, .events = POLLOUT};

	return poll(&pfd, 1, 0) > 0;
}

static void stream_submit(struct fabric_conn *c, struct fabric_op *op)
{
	struct stream_conn *sc = stream_of(c);
	bool first = !sc->posted.first;

	op->conn.parts = sc->next_tag++;
	op_queue_push(&sc->posted, op);
	if (!sc->tx)
		sc->tx = op;
	sc->tx_queued++;
	if (!sc->tx_blocked && (first || c->sleeping || sc->tx_queued >= QUEUED_MAX))
		tx_work(sc);
	/* The sleeper doesn't know that there is something to send. */
	if (sc->tx && c->sleeping)
		conn_nudge(c);
}

/* --- receiving --- */

static void rx_finish(struct stream_conn *sc, int status)
{
	sc->part = PART_HEAD;
	conn_complete(&sc->conn, op_queue_pop(&sc->posted), status);
}

/* The oldest operation's answer header. */
static const char *rx_head(struct stream_conn *sc, const struct stream_w_answer *head)
{
	struct fabric_op *op = sc->posted.first;
	struct stream_request req;
	const char *broken;
	int status;

	if (!op || op == sc->tx)
		return "F15: answer to nothing";
	req = op_request(op);
	broken = stream_answer_decode(head, &req, &status);
	if (broken)
		return broken;
	if (op->dir == FABRIC_OP_WRITE || status != 0)
		rx_finish(sc, status);
	else
		sc->part = PART_BODY;
	return NULL;
}

static const char *rx_tail(struct stream_conn *sc, const struct stream_w_trailer *tail)
{
	struct stream_request req = op_request(sc->posted.first);
	int status;
	const char *broken = stream_trailer_decode(tail, &req, &status);

	if (!broken)
		rx_finish(sc, status);
	return broken;
}

static void rx_body(struct stream_conn *sc, size_t bytes)
{
	struct fabric_op *op = sc->posted.first;

	op->conn.done += bytes;
	if (op->conn.done == op->len)
		sc->part = PART_TAIL;
}

/* Takes len bytes out of rx, if they are there. */
static bool rx_take(struct stream_conn *sc, void *to, size_t len)
{
	if (sc->rx_end - sc->rx_start < len)
		return false;
	memcpy(to, &sc->rx[sc->rx_start], len);
	sc->rx_start += len;
	return true;
}

/* Works off rx as far as whole frames are in it. NULL, or the rule that was broken. */
static const char *rx_parse(struct stream_conn *sc)
{
	struct stream_w_answer head;
	struct stream_w_trailer tail;
	const char *broken = NULL;

	while (!broken && sc->rx_start < sc->rx_end) {
		struct fabric_op *op = sc->posted.first;
		size_t step;

		switch (sc->part) {
		case PART_HEAD:
			if (!rx_take(sc, &head, sizeof(head)))
				return NULL;
			broken = rx_head(sc, &head);
			break;
		case PART_BODY:
			step = min_u64(sc->rx_end - sc->rx_start, op->len - op->conn.done);
			rx_take(sc, (char *)op->buf + op->conn.done, step);
			rx_body(sc, step);
			break;
		case PART_TAIL:
			if (!rx_take(sc, &tail, sizeof(tail)))
				return NULL;
			broken = rx_tail(sc, &tail);
			break;
		}
	}
	return broken;
}

/* --- guessing --- */

static void guess_add(struct guess *g, enum part part, void *mem, size_t len)
{
	g->part[g->pieces] = part;
	g->iov[g->pieces++] = (struct iovec){.iov_base = mem, .iov_len = len};
	g->asked += len;
}

/* From `part` of the operation on; false: there is no room for more. sure: its header was read. */
static bool guess_op(struct guess *g, struct fabric_op *op, enum part part, unsigned i, bool sure)
{
	size_t body = op->len - op->conn.done, room = GUESS_BYTES - g->unsure;
	size_t frames = HEAD_BYTES + TAIL_BYTES;

	if (!sure && room < frames)
		return false;
	if (part == PART_HEAD)
		guess_add(g, PART_HEAD, &g->heads[i], HEAD_BYTES);
	if (op->dir == FABRIC_OP_WRITE) {
		g->unsure += HEAD_BYTES;
		return true;
	}
	if (part <= PART_BODY) {
		size_t take = sure ? body : min_u64(body, room - frames);

		if (take > 0)
			guess_add(g, PART_BODY, (char *)op->buf + op->conn.done, take);
		g->unsure += sure ? 0 : take;
		if (take < body)
			return false;
	}
	guess_add(g, PART_TAIL, &g->tails[i], TAIL_BYTES);
	g->unsure += sure ? 0 : frames;
	return true;
}

static void guess_build(struct stream_conn *sc, struct guess *g)
{
	struct fabric_op *op = sc->posted.first;
	enum part part = sc->part;

	g->pieces = 0;
	g->asked = g->unsure = 0;
	for (unsigned i = 0; i < GUESS_OPS && op && op != sc->tx; i++, op = op->next) {
		if (!guess_op(g, op, part, i, part != PART_HEAD))
			return;
		part = PART_HEAD;
	}
}

/* The bytes from piece i on, `n` of them, aren't what was guessed. */
static const char *guess_gather(struct stream_conn *sc, struct guess *g, unsigned i, size_t n)
{
	sc->rx_start = sc->rx_end = 0;
	for (; n > 0; i++) {
		size_t step = min_u64(n, g->iov[i].iov_len);

		assert(sc->rx_end + step <= sizeof(sc->rx));
		memcpy(&sc->rx[sc->rx_end], g->iov[i].iov_base, step);
		sc->rx_end += step;
		n -= step;
	}
	return rx_parse(sc);
}

/* n bytes came. */
static const char *guess_work(struct stream_conn *sc, struct guess *g, size_t n)
{
	const char *broken = NULL;

	for (unsigned i = 0; n > 0 && !broken; i++) {
		size_t got = min_u64(n, g->iov[i].iov_len);

		/* Half a frame, or not the part that was expected here. */
		if (g->part[i] != sc->part || (sc->part != PART_BODY && got < g->iov[i].iov_len))
			return guess_gather(sc, g, i, n);
		n -= got;
		switch (g->part[i]) {
		case PART_HEAD:
			broken = rx_head(sc, g->iov[i].iov_base);
			break;
		case PART_BODY:
			rx_body(sc, got);
			break;
		case PART_TAIL:
			broken = rx_tail(sc, g->iov[i].iov_base);
			break;
		}
	}
	return broken;
}

static ssize_t rx_recv(struct stream_conn *sc, struct iovec *iov, unsigned pieces)
{
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = pieces};

	return recvmsg(sc->fd, &msg, MSG_DONTWAIT);
}

static bool rx_ended(struct stream_conn *sc, ssize_t n)
{
	if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
		return false;
	conn_die(&sc->conn, n == 0 ? "the target closed it" : strerror(errno));
	return true;
}

/* Something is left in rx, less than a frame. */
static bool rx_plain(struct stream_conn *sc)
{
	size_t have = sc->rx_end - sc->rx_start;
	struct iovec iov = {.iov_base = &sc->rx[have], .iov_len = sizeof(sc->rx) - have};
	const char *broken;
	ssize_t n;

	memmove(sc->rx, &sc->rx[sc->rx_start], have);
	sc->rx_start = 0;
	sc->rx_end = have;
	n = rx_recv(sc, &iov, 1);
	if (n <= 0)
		return rx_ended(sc, n);
	sc->rx_end += (size_t)n;
	broken = rx_parse(sc);
	if (broken)
		conn_die(&sc->conn, broken);
	return true;
}

static bool rx_guessed(struct stream_conn *sc)
{
	const char *broken;
	struct guess g;
	ssize_t n;

	guess_build(sc, &g);
	/* Nothing is expected; this notices the end. */
	if (g.pieces == 0)
		return rx_plain(sc);
	n = rx_recv(sc, g.iov, g.pieces);
	if (n <= 0)
		return rx_ended(sc, n);
	broken = guess_work(sc, &g, (size_t)n);
	if (broken)
		conn_die(&sc->conn, broken);
	return true;
}

/* --- the member --- */

static bool stream_progress(struct fabric_conn *c)
{
	struct stream_conn *sc = stream_of(c);
	bool moved = false;

	if (sc->tx && (!sc->tx_blocked || tx_writable(sc)))
		moved = tx_work(sc);
	if (atomic_load_explicit(&c->dead, memory_order_relaxed))
		return true;
	return (sc->rx_start < sc->rx_end ? rx_plain(sc) : rx_guessed(sc)) || moved;
}

static bool stream_arm(struct fabric_conn *c)
{
	return true;
}

static void stream_sleep(struct fabric_conn *c, uint64_t timeout_ns)
{
	struct stream_conn *sc = stream_of(c);
	short events;

	lock_take(&c->lock);
	events = POLLIN | (sc->tx ? POLLOUT : 0);
	lock_drop(&c->lock);
	conn_poll(c, sc->fd, events, timeout_ns);
}

static void stream_abandon(struct fabric_conn *c, int status)
{
	struct stream_conn *sc = stream_of(c);

	shutdown(sc->fd, SHUT_RDWR);
	sc->tx = NULL;
	sc->tx_queued = 0;
	for (struct fabric_op *op = op_queue_pop(&sc->posted); op; op = op_queue_pop(&sc->posted))
		conn_complete(c, op, status);
}

static void stream_free(struct fabric_conn *c)
{
	struct stream_conn *sc = stream_of(c);

	close(sc->fd);
	conn_fini(c);
	free(sc);
}

static const struct conn_ops stream_conn_ops = {
    .member = "stream",
    .submit = stream_submit,
    .progress = stream_progress,
    .arm = stream_arm,
    .sleep = stream_sleep,
    .abandon = stream_abandon,
    .free = stream_free,
    .buffer_get = conn_malloc,
    .buffer_put = conn_mfree,
};

int fabric_stream_connect(int fd, const struct fabric_conn_options *opt, struct fabric_conn **out)
{
	struct stream_conn *sc = calloc(1, sizeof(*sc));
	int err = -ENOMEM, one = 1;

	if (!sc)
		goto close;
	err = conn_init(&sc->conn, &stream_conn_ops, opt);
	if (err)
		goto free;
	/* Not for unix sockets, which don't wait to fill a segment anyway. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	sc->fd = fd;
	op_queue_init(&sc->posted);
	*out = &sc->conn;
	return 0;
free:
	free(sc);
close:
	close(fd);
	return err;
}
