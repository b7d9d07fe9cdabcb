/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The control connection: requests of many threads, answers matched by sequence number, events in their order.
 *
 * Reading is a role, not a thread. A caller that waits for its answer takes the role when it is free and reads the
 * socket itself, for itself and for everybody (which saves a switch of threads per call); when its answer came it hands
 * the role on. While no caller reads, a background thread does. So hooks and events run in whichever thread reads, one
 * at a time, in the order of the wire, with no lock of conn held.
 *
 * Whoever reads never waits to send: what the socket does not take is kept and sent by the background thread, so that
 * two sides with full sockets cannot wait for each other. Callers wait (for room) before they send, not while.
 *
 * A lost socket is not the end (L16, protocol P50 to P59). The background thread gets another one: by RESUME when the
 * server still has the session, which the callers do not notice; else by HELLO, a new session in which what was open is
 * opened again (conn_handle.c) and the owner hears that every lease is gone (renewed). Meanwhile calls wait. What had
 * been sent and not answered when a session is lost is done again where that is right, and else fails: nobody knows
 * whether it was done (conn_renew.c).
 *
 * One end: the connection dies once, every call that waits and every later one fails with the same error and sentence.
 *
 * Handles in bodies are this file's numbers, not the server's: they outlive sessions.
 */
#ifndef LH_CLIENT_CONN_H
#define LH_CLIENT_CONN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/lock.h"
#include "client/address.h"
#include "proto/proto.h"

#define CALL_SMALL 520u /* bytes of an answer that are kept without malloc */
#define CALL_FDS   3u
/* What a server may tell about one call before its thread has listened. */
#define CALL_NOTES_MAX ((size_t)64 << 20)

struct conn;
struct call;
struct note;

struct conn_ops {
	/* RECALL, REVOKED, LAYOUT, CHANGED. NULL, or the rule that it breaks, which ends the connection. */
	const char *(*event)(void *ctx, const struct proto_header *h, const union proto_body *body);
	/* In the background thread, after conn_tick() and as long as it returns true. May take about a millisecond. */
	bool (*tick)(void *ctx);
	/* Once, when the connection died; conn_error() tells why. */
	void (*dead)(void *ctx);
	/* The old session is no more: its leases, keys and data paths are gone. w is the new one's; nothing was asked
	 * of it yet. rebooted: it is another server (L29). */
	void (*renewed)(void *ctx, const struct proto_welcome *w, bool rebooted);
};

/* How to reach the server, and who says hello. */
struct conn_dial {
	const struct address *address;
	uint64_t features;
	uint32_t flags; /* PROTO_HELLO_* */
	uint8_t client[16];
	uint64_t timeout_ns; /* of one attempt */
};
/* The socket of a session that WELCOME opened; every failure has a sentence. */
int conn_hello(const struct conn_dial *dial, uint64_t timeout_ns, struct proto_welcome *out);

struct conn_args {
	int fd;                       /* after HELLO; conn's from now on, also on error */
	uint64_t hello_ns;            /* when HELLO was sent */
	const struct conn_dial *dial; /* outlives conn */
	const struct proto_welcome *welcome;
	uint64_t spin_ns;
	const struct conn_ops *ops;
	void *ctx;
};

/*
 * What a hook decides. CALL_MORE: the answer continues in events; conn_finish() will complete the call. A rule's text
 * (in *rule) ends the connection.
 */
enum call_verdict { CALL_DONE, CALL_MORE, CALL_BROKEN };

struct call {
	/* The caller's, before. */
	void *into; /* FILE_READ: where its bytes go; more than room is a broken rule */
	size_t into_room;
	/* Runs in the reader, in order with the events, when the status is 0. May be NULL. */
	enum call_verdict (*arrived)(struct call *call, const struct proto_header *h, const union proto_body *body,
				     const char **rule);
	/* PROGRESS and LOSS about this call: in the caller's thread, while it waits, with no lock held. May be NULL. */
	void (*told)(struct call *call, const struct proto_header *h, const union proto_body *body);
	void *ctx;
	int fds[CALL_FDS];
	unsigned fd_count;
	bool has_as; /* it goes inside an AS, with these fields (not for calls with into or arrived) */
	struct proto_as as;
	/* The caller's, after success: the answer, with views into memory of the call. Not for calls with into. */
	union proto_body reply;
	size_t into_len;
	bool has_attr; /* the AS's answer told this */
	struct proto_attr attr;
	/* conn's. */
	struct call *next, *next_sleeper;
	struct note *notes, **notes_tail; /* not handed to told() yet */
	size_t notes_bytes;
	struct cond cond;
	uint64_t seq;
	uint64_t sent_ns; /* when it was handed to the socket; 0: it never was */
	const union proto_body *body;
	uint16_t type, flags;
	bool forget, sleeping, done;
	int status;
	void *memory;
	uint8_t small[CALL_SMALL]; /* from here on not zeroed */
	uint32_t groups[PROTO_GROUPS_MAX];
};

int conn_new(const struct conn_args *args, struct conn **out);
/* No call may be in progress. Says goodbye. NULL is allowed. */
void conn_free(struct conn *c);

/* Zeroes call; the answer lives until call_fini. */
void call_init(struct call *call);
void call_fini(struct call *call);
/* Sends and waits. 0, or -errno with a sentence: the server's, or why the connection died. No lock may be held. */
int conn_call(struct conn *c, struct call *call, unsigned type, unsigned flags, const union proto_body *body);
/* The same for calls without options whose answer is not looked at. */
int conn_do(struct conn *c, unsigned type, unsigned flags, const union proto_body *body);
/*
 * LEASE_RELEASE and others that the server does not count: sends, waits for nothing, forgets the answer. Never blocks;
 * for the reader and under locks above SEND. Fails only together with the connection.
 */
void conn_tell(struct conn *c, unsigned type, const union proto_body *body);
/* For hooks and events: completes a call whose hook said CALL_MORE. */
void conn_finish(struct conn *c, struct call *call);
/* The sequence of the oldest unanswered call of this type; UINT64_MAX: none. And of the newest; 0: none. */
uint64_t conn_oldest(struct conn *c, unsigned type);
uint64_t conn_newest(struct conn *c, unsigned type);
/*
 * L34: whether what the server said about leases may still be believed, by this process' clock: it has answered
 * something that was sent less than the lease time, minus a margin, ago. Cheap.
 */
bool conn_trusted(struct conn *c);
/* Asks the server, and waits: 0, and what was said before is true or was taken back. Or as conn_error. */
int conn_confirm(struct conn *c);
/* From now on files may have been opened with others' rights (P59: they are opened again with none asked for). */
void conn_acts(struct conn *c);
/* Asks for tick(). Never blocks. */
void conn_tick(struct conn *c);
/* 0 while alive; then the error, and fail_text() says why. */
int conn_error(struct conn *c);

#endif
