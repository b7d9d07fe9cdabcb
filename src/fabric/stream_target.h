/* SPDX-License-Identifier: BSD-2-Clause */
/* The target end of a stream: what its receiving half (stream_target.c) and its sending half (stream_answer.c) share.
 */
#ifndef LH_FABRIC_STREAM_TARGET_H
#define LH_FABRIC_STREAM_TARGET_H

#include "fabric/stream_wire.h"
#include "fabric/target.h"

#define STREAM_RX_BYTES    16384u
#define STREAM_STAGE_BYTES 1048576u

/* A request whose answer has not left yet. */
struct stream_answer {
	struct stream_request req;
	int status;    /* so far */
	bool framed;   /* the header promised a payload; settled when its first byte is sent */
	uint64_t sent; /* bytes of header, payload and trailer */
};

struct stream_path {
	struct fabric_path path;
	int fd;
	/* Receiving. rx holds headers, and payload that came with them. */
	size_t rx_start, rx_end;
	size_t rx_want; /* how much to receive ahead: less while big writes come, as their payload is not copied then */
	bool landing;   /* the payload of `write` is on its way */
	struct stream_request write;
	int write_status;
	uint64_t landed;
	uint64_t tx_budget; /* payload that the socket is likely to take at once */
	/* Answers, oldest first; free running. */
	uint32_t answer_head, answer_tail;
	uint32_t reads; /* of the answers */
	bool blocked;   /* the socket takes no more until epoll says so */
	struct stream_answer answers[FABRIC_DEPTH_MAX];
	uint8_t rx[STREAM_RX_BYTES] __attribute__((aligned(64)));
};

static inline uint32_t answers_pending(const struct stream_path *sp)
{
	return sp->answer_tail - sp->answer_head;
}

/* There is room (asserted). */
void answer_push(struct stream_path *sp, const struct stream_request *req, int status);
/* Sends what the socket takes, at most one batch. */
enum turn answers_send(struct stream_path *sp);

#endif
