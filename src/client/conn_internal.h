/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of the control connection share: conn.c (life, calls), conn_send.c, conn_read.c, conn_link.c (losing
 * and getting back the socket), conn_renew.c (a new session), conn_handle.c (open files). */
#ifndef LH_CLIENT_CONN_INTERNAL_H
#define LH_CLIENT_CONN_INTERNAL_H

#include <pthread.h>

#include "base/error.h"
#include "client/conn.h"
#include "client/margin.h"

#define CONN_BUCKETS 256u
#define CONN_OUT_MAX ((size_t)2 << 20)  /* above it callers wait before they add to what waits to be sent */
#define CONN_OUT_END ((size_t)16 << 20) /* above it the server reads nothing at all: the connection ends */

/* A PROGRESS or LOSS on its way to the thread of the call that it is about. */
struct note {
	struct note *next;
	struct proto_header header;
	uint8_t body[];
};

/* A file or directory that is open (conn_handle.c). */
struct conn_handle {
	uint64_t server; /* its number there */
	uint64_t ino;
	int64_t btime_ns;
	uint32_t flags; /* PROTO_O_*, for opening it again */
	uint32_t generation, next_free;
	uint64_t changed_seq; /* the last request that changed it */
	bool used;
	bool stale;    /* the file was gone when the session was made anew */
	bool unsynced; /* changed by calls since the last sync */
	bool lost;     /* and then the server restarted; no call has said so */
};

/* Not to be sent from: a request that nobody waits for. */
struct told {
	struct call call;
	union proto_body body;
};

struct conn {
	const struct conn_ops *ops;
	void *ctx;
	const struct conn_dial *dial;
	int fd;
	int wake; /* eventfd: the background thread shall look again */
	uint64_t session, epoch, boot;
	uint8_t token[16];
	uint32_t version;
	bool resumable;
	uint64_t lease_ns; /* 0: a server without lease time */
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
	uint64_t
	    send_seq; /* the next one to be handed to the socket: what is behind it waits for room, or for a socket */
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
	/* The link. down: there is no socket that works; only the background thread changes that. */
	bool down;
	bool renew;    /* the session is gone at the server */
	bool renewing; /* numbers of the old session are no more, those of the new one not yet: nobody enters a call */
	bool reboot_known; /* while renewing: it is another server */
	uint64_t down_ns, retry_ns, pause_ns;
	uint64_t pinged_ns; /* the last heartbeat */
	char down_text[LH_ERROR_TEXT_MAX];
	struct conn_handle *handles;
	uint32_t handle_count, handle_free;
	bool unsynced, sync_lost; /* as a handle's, for all of the session's changes */
	uint64_t changed_seq;

	struct margin margin;   /* atomics inside */
	atomic_bool acts;       /* conn_acts */
	atomic_ullong received; /* messages of this session */
	atomic_size_t unacked;  /* bytes of them that no request has acknowledged */

	/* The reader's. */
	uint8_t *in;
	size_t in_start, in_end;
	uint64_t spin_ns;
};

/* Records why the connection ends and shuts the socket, so that the reader finds out. The first caller wins. */
void conn_break(struct conn *c, int err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Caller holds the lock. Enters call into pending and sends it, or keeps what the socket does not take. */
int conn_send(struct conn *c, struct call *call, unsigned flags, const union proto_body *body);
/* Caller holds the lock. Sends what is entered and was not, as far as there is room. */
void conn_pump(struct conn *c);
/* Caller holds the lock. The socket does not work any more. */
void conn_lost(struct conn *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Caller holds the lock, and knows that the session is gone at the server. */
void conn_lost_session(struct conn *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The background thread's, with the role: tries once to get the link back, if it is time. */
void conn_restore(struct conn *c);
/* The background thread's: a PING when it is time for one; notices a server that does not answer. */
void conn_heartbeat(struct conn *c);
/* Nanoseconds until the background thread should look at the link. */
uint64_t conn_link_due(struct conn *c);
/* Caller has the role, and the socket of a new session whose WELCOME is w. 0: everything is as before, but for what
 * renewed() said. */
int conn_renew(struct conn *c, int fd, const struct proto_welcome *w, uint64_t hello_ns);
/* Caller has the role; fails every call that waits. */
void conn_over(struct conn *c);
void conn_welcome_take(struct conn *c, const struct proto_welcome *w, uint64_t hello_ns);
/* For calls that nobody waits for. */
struct call *conn_told_new(unsigned type, const union proto_body *body);
/* Takes the call with this number out of pending. Caller holds the lock. */
struct call *conn_pending_find(struct conn *c, uint64_t seq);
void conn_pending_remove(struct conn *c, struct call *call);
void conn_pending_add(struct conn *c, struct call *call, uint64_t seq);

/* conn_handle.c. Caller holds the lock. */
/* Whether the call may go out: 0; 1: it is done already; or an error with a sentence. */
int conn_handle_check(struct conn *c, const struct call *call);
/* Puts the server's numbers into a copy of a request's body. */
void conn_handle_translate(struct conn *c, unsigned type, union proto_body *body);
/* The call was answered: its handle opens, closes, is synced. May change the answer. */
void conn_handle_answered(struct conn *c, struct call *call);
/* There is another session. rebooted: of another server, so what was not synced may be lost. */
void conn_handle_renewed(struct conn *c, bool rebooted);
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
