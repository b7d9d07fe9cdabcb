/* SPDX-License-Identifier: BSD-2-Clause */
/* What the three files of the control connection share: conn.c (life, calls), conn_send.c, conn_read.c. */
#ifndef LH_CLIENT_CONN_INTERNAL_H
#define LH_CLIENT_CONN_INTERNAL_H

#include <pthread.h>

#include "base/error.h"
#include "client/conn.h"

#define CONN_BUCKETS 256u
#define CONN_OUT_MAX ((size_t)2 << 20)  /* above it callers wait before they add to what waits to be sent */
#define CONN_OUT_END ((size_t)16 << 20) /* above it the server reads nothing at all: the connection ends */

/* A PROGRESS or LOSS on its way to the thread of the call that it is about. */
struct note {
	struct note *next;
	struct proto_header header;
	uint8_t body[];
};

struct conn {
	const struct conn_ops *ops;
	void *ctx;
	int fd;
	int wake; /* eventfd: the background thread shall look again */
	uint64_t epoch;
	unsigned outstanding_max;
	uint64_t spin_max_ns;
	pthread_t thread;
	bool thread_runs;

	struct lock lock; /* SEND: everything down to the reader's part */
	struct cond room; /* fewer calls outstanding, less to send, or the end */
	struct call *pending[CONN_BUCKETS];
	struct call *continued; /* answered with CALL_MORE: no longer pending, not done */
	struct call *sleepers;  /* calls whose threads wait for the reader to find their answer */
	uint64_t next_seq;
	uint64_t finished; /* answers so far */
	unsigned counted;  /* calls outstanding that the server counts (P18) */
	bool reading;      /* somebody has the role */
	bool parked;       /* the background thread left the socket to a caller and sleeps for long */
	bool ticking;      /* conn_tick was called */
	bool over;         /* every pending call was failed; set once, by the reader */
	int error;         /* 0 while alive */
	char text[LH_ERROR_TEXT_MAX];
	uint8_t *out; /* what the socket did not take */
	size_t out_start, out_end, out_room;

	/* The reader's. */
	uint8_t *in;
	size_t in_start, in_end;
	uint64_t spin_ns;
};

/* Records why the connection ends and shuts the socket, so that the reader finds out. The first caller wins. */
void conn_break(struct conn *c, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Caller holds the lock. Enters call into pending and sends it, or keeps what the socket does not take. */
int conn_send(struct conn *c, struct call *call, unsigned flags, const union proto_body *body);
/* The background thread's: sends what was kept. */
void conn_flush(struct conn *c);
/*
 * Caller has the role. With own: reads until own is done, or was told something, or the connection is over. Without: as
 * much as there is.
 */
void conn_read(struct conn *c, const struct call *own);
/* Caller holds the lock. Gives the role back and wakes who wants it. */
void conn_role_drop(struct conn *c);
/* Caller holds the lock. Wakes the background thread. */
void conn_kick(struct conn *c);
void *conn_thread(void *arg);
/* Hands the caller what was told about its call. Caller of this holds the lock, which is dropped meanwhile. */
void conn_listen(struct conn *c, struct call *call);
/* P18: what the server counts against outstanding_max. */
bool conn_counts(unsigned type);

#endif
