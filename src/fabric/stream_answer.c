/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The sending half of a stream's target end: one sendmsg carries many answers.
 *
 * Up to a chunk of payload is sent straight from exposed memory: the keys are held from gathering to the return of a
 * sendmsg that doesn't wait; the kernel has copied the bytes by then. More is first copied to the mover's stage, chunk
 * by chunk, each under a hold of its own. That costs a copy in the caches and saves most of what a TCP send costs: one
 * send of 1 MiB takes half the time of sixteen sends of 64 KiB. What the socket didn't take is not kept: it's copied
 * again later, under a new hold, and if there is none any more it's zeroes and a trailer that says so (F13).
 */
#include "fabric/stream_target.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include "fabric/move.h"

#define BATCH_ANSWERS 32u
#define HEAD_BYTES    sizeof(struct stream_w_answer)
#define TAIL_BYTES    sizeof(struct stream_w_trailer)

struct batch {
	struct iovec iov[4 * BATCH_ANSWERS]; /* an answer's head, zeroes and trailer, and one for every hold */
	unsigned pieces;
	uint64_t bytes, payload, payload_most;
	uint8_t *stage; /* NULL: from exposed memory */
	struct key_hold holds[BATCH_ANSWERS];
	unsigned held;
	struct stream_w_answer heads[BATCH_ANSWERS];
	struct stream_w_trailer tails[BATCH_ANSWERS];
	bool more; /* there is something to send after it */
};

void answer_push(struct stream_path *sp, const struct stream_request *req, int status)
{
	assert(answers_pending(sp) < FABRIC_DEPTH_MAX);
	sp->answers[sp->answer_tail++ % FABRIC_DEPTH_MAX] = (struct stream_answer){.req = *req, .status = status};
	if (req->dir == FABRIC_OP_READ)
		sp->reads++;
}

static uint64_t answer_bytes(const struct stream_answer *a)
{
	return HEAD_BYTES + (a->framed ? a->req.len + TAIL_BYTES : 0);
}

static void batch_add(struct batch *b, const void *mem, size_t len)
{
	b->iov[b->pieces++] = (struct iovec){.iov_base = (void *)(uintptr_t)mem, .iov_len = len};
	b->bytes += len;
}

/* Holds the next chunk of a read. False: the key is gone, and a->status says why. */
static bool answer_hold(struct stream_path *sp, struct stream_answer *a, uint64_t at, struct key_hold *hold)
{
	struct key_want want = {.owner = &sp->path.domain->owner,
				.number = a->req.key,
				.access = FABRIC_READ,
				.offset = a->req.offset + at,
				.len = a->req.len - at};

	if (a->status == 0)
		a->status = key_enter(sp->path.domain->target->keys, &want, hold);
	return a->status == 0;
}

/*
 * Adds at most len of exposed memory, held until the batch was sent, in as many pieces as it has places; zeroes from
 * where the key is gone. How many bytes.
 */
static uint64_t answer_expose(struct stream_path *sp, struct batch *b, struct stream_answer *a, uint64_t at,
			      uint64_t len)
{
	uint64_t done = 0, step;

	for (; done < len && b->held < BATCH_ANSWERS; done += step) {
		struct key_hold *hold = &b->holds[b->held];

		step = len - done;
		if (answer_hold(sp, a, at + done, hold)) {
			step = min_u64(step, hold->len);
			batch_add(b, hold->mem, step);
			b->held++;
		} else {
			batch_add(b, key_zeroes, step);
		}
	}
	return done;
}

/* The same by way of the stage: zeroes also from where the memory fails. All of len. */
static uint64_t answer_stage(struct stream_path *sp, struct batch *b, struct stream_answer *a, uint64_t at,
			     uint64_t len)
{
	uint8_t *stage = b->stage + b->payload;

	for (uint64_t done = 0, step; done < len; done += step) {
		struct key_hold hold;

		step = len - done;
		if (answer_hold(sp, a, at + done, &hold)) {
			step = min_u64(step, hold.len);
			a->status = move_exposed(stage + done, hold.mem, step, BUSGUARD_FROM);
			key_leave(&hold);
		}
		if (a->status != 0)
			memset(stage + done, 0, step);
	}
	batch_add(b, stage, len);
	return len;
}

/* Adds what is left of the answer, as far as the batch has room. False: not all of it. */
static bool batch_answer(struct stream_path *sp, struct batch *b, struct stream_answer *a, unsigned i)
{
	bool read = a->req.dir == FABRIC_OP_READ;
	uint64_t body = a->sent > HEAD_BYTES ? min_u64(a->sent - HEAD_BYTES, a->req.len) : 0;
	uint64_t left = read ? a->req.len - body : 0;
	uint64_t chunk = min_u64(left, b->payload_most - b->payload);
	uint64_t tail = a->sent > HEAD_BYTES + a->req.len ? a->sent - HEAD_BYTES - a->req.len : 0;
	uint64_t bytes;
	unsigned pieces;

	if (a->sent < HEAD_BYTES)
		batch_add(b, (const uint8_t *)&b->heads[i] + a->sent, HEAD_BYTES - a->sent);
	pieces = b->pieces;
	bytes = b->bytes;
	if (left > 0 && (a->sent == 0 || a->framed))
		chunk = b->stage ? answer_stage(sp, b, a, body, chunk) : answer_expose(sp, b, a, body, chunk);
	if (a->sent == 0)
		a->framed = read && a->status == 0;
	if (a->sent < HEAD_BYTES)
		stream_answer_encode(&a->req, a->framed ? 0 : a->status, &b->heads[i]);
	if (!a->framed) {
		/* The answer is its head alone. */
		b->pieces = pieces;
		b->bytes = bytes;
		return true;
	}
	b->payload += chunk;
	if (chunk < left)
		return false;
	stream_trailer_encode(&a->req, a->status, &b->tails[i]);
	batch_add(b, (const uint8_t *)&b->tails[i] + tail, TAIL_BYTES - tail);
	return true;
}

static struct stream_answer *answer_at(struct stream_path *sp, uint32_t i)
{
	return &sp->answers[(sp->answer_head + i) % FABRIC_DEPTH_MAX];
}

/* More than a chunk is waiting, and the socket is likely to take it. */
static bool batch_is_big(struct stream_path *sp, uint32_t n)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < n && bytes <= FABRIC_CHUNK; i++) {
		const struct stream_answer *a = answer_at(sp, i);

		if (a->req.dir == FABRIC_OP_READ && a->status == 0)
			bytes += a->req.len + HEAD_BYTES - min_u64(a->sent, a->req.len + HEAD_BYTES);
	}
	return bytes > FABRIC_CHUNK && sp->tx_budget > FABRIC_CHUNK;
}

static void batch_fill(struct stream_path *sp, struct batch *b, bool copied)
{
	uint32_t n = min_u64(answers_pending(sp), BATCH_ANSWERS), i;
	bool big = copied || batch_is_big(sp, n), whole = true;

	b->pieces = b->held = 0;
	b->bytes = b->payload = 0;
	b->stage = big ? sp->path.domain->target->stage : NULL;
	b->payload_most = big ? sp->tx_budget : FABRIC_CHUNK;
	for (i = 0; i < n && whole && b->payload < b->payload_most; i++)
		whole = batch_answer(sp, b, answer_at(sp, i), i);
	b->more = !whole || i < answers_pending(sp);
}

static void answers_advance(struct stream_path *sp, uint64_t sent)
{
	while (sent > 0) {
		struct stream_answer *a = answer_at(sp, 0);
		uint64_t step = min_u64(sent, answer_bytes(a) - a->sent);

		a->sent += step;
		sent -= step;
		if (a->sent < answer_bytes(a))
			return;
		if (a->req.dir == FABRIC_OP_READ)
			sp->reads--;
		target_count(sp->path.domain->target, a->req.dir, a->req.len, a->status);
		sp->answer_head++;
	}
}

static ssize_t batch_send(struct stream_path *sp, struct batch *b, bool copied)
{
	ssize_t sent;

	batch_fill(sp, b, copied);
	sent = move_send(sp->fd, b->iov, b->pieces, b->more ? MSG_MORE : 0);
	for (unsigned i = 0; i < b->held; i++)
		key_leave(&b->holds[i]);
	return sent;
}

enum turn answers_send(struct stream_path *sp)
{
	struct batch b;
	ssize_t sent = batch_send(sp, &b, false);

	/* Some of the memory fails: copying finds out where. */
	if (sent == -EFAULT)
		sent = batch_send(sp, &b, true);
	if (sent < 0 && sent != -EAGAIN)
		return TURN_END;
	if (sent > 0) {
		answers_advance(sp, (uint64_t)sent);
		sp->path.moved += (uint64_t)sent;
	}
	sp->blocked = sent < 0 || (uint64_t)sent < b.bytes;
	if (sp->blocked)
		sp->tx_budget = max_u64(FABRIC_CHUNK, sent > 0 ? (uint64_t)sent : 0);
	else if (b.payload == b.payload_most)
		sp->tx_budget = min_u64(2 * sp->tx_budget, STREAM_STAGE_BYTES);
	mover_watch(&sp->path, 0, EPOLLET | EPOLLIN | EPOLLRDHUP | (sp->blocked ? (unsigned)EPOLLOUT : 0));
	return sent > 0 ? TURN_MOVED : TURN_PARKED;
}
