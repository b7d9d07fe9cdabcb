/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The server: sessions of other processes over one in-process filesystem.
 *
 * Threads. One loop thread accepts, reads, checks and frames messages, and runs what cannot wait. What may wait for a
 * break, the medium or much memory runs on workers (workers.h), several per session. Leases are released in the loop or
 * on a lane of their own, so that a release never stands behind what waits for it. Anybody may send: sending never
 * blocks (output.c).
 *
 * Life of a session: FRESH (accepted; only HELLO, DATA_HELLO or RESUME is legal) -> OPEN <-> AWAY -> GONE. Only the
 * loop moves it. AWAY has lost its connection, and lives on until its lease time is over or RESUME brings another one
 * (away.c). GONE takes its descriptor away and hands it to a worker, which ends its leases at once and, when the last
 * running request has dropped its reference, frees the rest (session.c). A request that finishes in a GONE session has
 * its answer dropped.
 *
 * Locks, outermost first: SESSION (handle table, data paths; and the workers' queue, never together) > fs and arbiter >
 * PIN (which keys a lease has) > FABRIC > SEND (the output queue).
 */
#ifndef LH_SERVER_SERVER_H
#define LH_SERVER_SERVER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "api/backend.h"
#include "base/lock.h"
#include "fabric/fabric.h"
#include "fs/fs.h"
#include "lease/lease.h"
#include "proto/proto.h"
#include "server/told.h"

#define SERVER_PATHS_MAX 8u /* data paths of one session, P24 */
#define SERVER_RING_FDS  3u
/* What the loop reads at once: also how many small requests of one session keep the others waiting. */
#define SERVER_SCRATCH (16u << 10)

/* Named limits; tests lower them. */
struct server_limits {
	uint32_t sessions_max;    /* connections, HELLO or not */
	uint32_t outstanding_max; /* P18 */
	uint32_t running_max;     /* requests of one session on workers at once; the others wait */
	uint32_t handles_max;
	uint32_t workers_max;
	size_t out_stall;    /* P20: above it no more requests are read */
	size_t out_max;      /* P20: above it the session ends */
	size_t kept_max;     /* P53: the same for what is sent and not acknowledged */
	size_t watch_max;    /* P74: above it changes are not told one by one */
	uint64_t lease_ns;   /* L34: the lease time */
	uint64_t hello_ns;   /* P1 */
	uint64_t message_ns; /* P19 */
	/* What the lease time is measured by; NULL: clock_now_ns. */
	uint64_t (*clock_ns)(void);
};
extern const struct server_limits server_limits_default;

struct session;
struct workers;
struct pin;
struct fs_watch;

/* A message on its way out; or several, one behind the other. */
struct out_buf {
	struct out_buf *next;
	size_t len, sent, room;
	uint64_t last;  /* number of the last message in it (P51); 0: not numbered */
	uint32_t count; /* how many */
	uint8_t bytes[];
};

/* A request on its way through a worker. */
struct share;
struct job {
	struct job *next;
	struct session *session;
	void (*run)(struct job *job); /* frees the job */
	struct proto_header header;
	uint8_t *message;    /* header and body; owned */
	bool limited;        /* counts in session->running */
	struct share *share; /* workers.c: in whose it counts; NULL: in nobody's */
};

struct listener {
	int fd;
	int spare_fd; /* given up for a moment when descriptors run out, to turn a client away */
	bool is_unix;
	char path[108]; /* unix */
	dev_t dev;      /* of the socket file we made */
	ino_t ino;
	char address[160]; /* what server_address() says */
};

#define SESSION_BUCKETS 1024u
struct lh_server {
	struct lh_fs *lhfs;
	struct fs *fs;
	struct lease_arbiter *arbiter;
	struct fabric_target *target;
	struct server_limits limits;
	struct lh_server_options opt;
	struct listener listener;
	uint64_t boot; /* P28 */
	uint64_t spin_ns;

	struct local_served served; /* the handle knows of this server */

	int epoll_fd, wake_fd;
	pthread_t loop;
	bool loop_runs;
	atomic_bool stopping;
	atomic_bool asleep;      /* the loop, for good or until the next tick */
	struct workers *workers; /* what may wait */
	struct workers *lane;    /* big releases and ends of sessions: never behind what waits for a break */

	/* The loop's. */
	struct session *sessions;                 /* all that are not GONE */
	struct session *buckets[SESSION_BUCKETS]; /* OPEN ones by id */
	uint32_t session_count;
	uint32_t clocked;    /* sessions with a time limit running: FRESH, or in the middle of a message */
	uint64_t checked_ns; /* when the sessions' clocks were looked at */
	uint8_t *scratch;
	uint64_t no_tries_before_ns; /* dispatch.c */

	struct lock watch_lock; /* SEND: sessions that the loop is to tell of changes, with a reference each */
	struct session *watch_queue;
	bool watch_closed;
	atomic_bool watch_waiting;

	struct lock lock; /* SESSION; of alive, with done */
	struct cond done;
	uint32_t alive; /* sessions not freed yet */
};

enum session_state { SESSION_FRESH, SESSION_OPEN, SESSION_AWAY, SESSION_GONE };

struct handle_slot {
	struct fs_handle *fh; /* NULL: free */
	uint32_t generation;
	uint32_t refs; /* the table's and every running request's */
	bool closing;
	uint32_t next_free;
};
struct handle_table {
	struct handle_slot *slots;
	uint32_t count; /* slots that exist */
	uint32_t used;
	uint32_t free_head; /* index + 1; 0: none */
};

struct session {
	struct lh_server *server;
	atomic_uint refs; /* the loop's until GONE, every job's */
	enum session_state state;
	atomic_bool gone; /* state == GONE, for other threads */
	bool is_unix;

	/* Who it is. Fixed once OPEN. */
	struct fs_cred cred;
	int32_t pid;
	struct lease_session *leases;
	struct fabric_domain *domain;
	uint64_t id, epoch, features;
	uint8_t token[16];
	uint8_t client[16]; /* HELLO's: whose claims after a restart (L35) */
	bool read_only;
	bool resumable; /* P50 */
	bool expired;   /* GONE, because the lease time was over (L34) */
	atomic_bool away;
	atomic_ullong heard_ns; /* when something came from the client, by server_clock */
	int pid_fd;             /* AWAY, unix: tells when the client's process is gone; -1: not known */

	/* Input: the loop's. */
	struct session *next, **link;               /* lh_server.sessions */
	struct session *bucket_next, **bucket_link; /* lh_server.buckets */
	uint8_t *in;                                /* bytes of messages not handled yet */
	size_t in_len, in_cap;
	uint64_t began_ns; /* of the connection, or of the message that is incomplete; 0: nothing is clocked */
	uint64_t seq;      /* of the last request */
	int fds[SERVER_RING_FDS];
	unsigned fd_count;
	bool stalled; /* P20 */

	/* Output: SEND. */
	struct lock send;
	int fd;      /* -1: AWAY or GONE */
	bool closed; /* GONE: nothing is sent any more */
	bool keeps;  /* P51: what is sent is kept until it is acknowledged */
	/* [out_head, out_next) is sent and kept; from out_next on it waits to be sent, the first perhaps begun. */
	struct out_buf *out_head, *out_next, **out_tail;
	size_t out_bytes;         /* not sent */
	size_t kept_bytes;        /* sent and kept, with what keeping costs */
	uint64_t numbered, acked; /* P51: the last number given; the last one that the client has */
	uint32_t interest;        /* epoll's mask now */
	bool in_wanted;
	bool kicked;      /* the loop shall look at a stalled session again */
	atomic_bool slow; /* out_max was reached */

	atomic_uint outstanding;
	atomic_size_t reserved;  /* bytes of READ answers being made */
	atomic_uint wide_writes; /* granted WRITE leases whose release may have much to flush */

	/* Of the workers' lock: requests behind running_max. */
	unsigned running;
	struct job end_job; /* ending, then freeing */
	struct job *waiting_head, **waiting_tail;

	/* watch.c */
	struct lock watching; /* SESSION: from pulling changes to queueing them */
	struct fs_watch *watch;
	atomic_bool watches;        /* there is one */
	atomic_bool watch_ready;    /* the feed has something */
	atomic_bool watch_held;     /* and the client much to read */
	struct session *watch_next; /* of watch_lock */
	bool watch_queued;

	struct lock lock; /* SESSION: handles, told, paths, ring */
	struct handle_table handles;
	struct told told; /* P72 */
	struct fabric_path *paths[SERVER_PATHS_MAX];
	struct fabric_path *ring;
};

/* server.c: as backend.h's server_start, with other limits. */
int server_start_limited(struct lh_fs *fs, const char *address, const struct lh_server_options *opt,
			 const struct server_limits *limits, struct lh_server **out);

/* listen.c. listen_open fills l; -EADDRINUSE, -EACCES, -EOPNOTSUPP, -EINVAL, -ENAMETOOLONG with a sentence. */
int listen_open(const char *address, uint32_t socket_mode, struct listener *l);
/* Closes; removes the socket file if it is still the one we made. */
void listen_close(struct listener *l);
/* A connected, non-blocking descriptor; -EAGAIN none. Out of descriptors: turns one client away, -EMFILE. */
int listen_accept(struct listener *l);
/* Who is at the other end of a unix socket. */
int listen_identity(int fd, struct fs_cred *cred, int32_t *pid);

/* loop.c */
int loop_start(struct lh_server *server);
void loop_stop(struct lh_server *server);
/* An answer is about to come: the loop wakes up while the peer still thinks. Any thread. */
void loop_expect(struct lh_server *server);
/* The same for who has something for the loop to do, and said so before. */
void loop_wake(struct lh_server *server);

/* session.c */
int session_new(struct lh_server *server, int fd);
/* One too many: says so and closes. */
void session_refuse(struct lh_server *server, int fd);
/* HELLO was accepted: the arbiter's session, domain, token. */
int session_open(struct session *s, const struct proto_hello *hello, uint32_t version, struct proto_welcome *out);
/* Loop only. The connection has ended: AWAY if the session may be resumed, else the end. */
void session_lost(struct session *s);
bool session_token_is(const struct session *s, const uint8_t token[16]);
/* Any thread: whether there is such an open session, whether it is away, and since when nothing came from it. */
bool session_look(struct lh_server *server, uint64_t id, bool *away, uint64_t *idle_ns);
/* Loop only. Says GOODBYE with the reason unless text is NULL, takes the connection away. s may be freed on return. */
void session_end(struct session *s, enum proto_bye_reason reason, const char *text);
void session_get(struct session *s);
void session_put(struct session *s);
struct session *session_find(struct lh_server *server, uint64_t id);
/* The loop's: takes the descriptor out, for a data path; the session is ended without a word. */
int session_steal_fd(struct session *s);
void session_drop_fds(struct session *s);

/* away.c. Loop only. */
void away_resume(struct session *conn, const struct proto_header *h, const struct proto_resume *resume);
/* Something happened to the process of an AWAY session. May end it. */
void away_event(struct session *s);
/* No longer watches the client's process. */
void away_unwatch(struct session *s);
/* Ends AWAY and silent sessions whose time is over. late_ns: how long the loop itself was away, which does not count.
 */
void away_expire(struct lh_server *server, uint64_t late_ns);
/* Makes room: ends the AWAY session without open files that is silent for longest. false: there is none. */
bool away_evict(struct lh_server *server);
/* What lease times are measured by. */
uint64_t server_clock(const struct lh_server *server);
/* How often away_expire wants to be called. */
uint64_t away_tick_ns(const struct lh_server *server);

/* input.c. Loop only; both may end the session. */
void input_ready(struct session *s);
/* Goes on with what was read before a stall. */
void input_resume(struct session *s);
/* Forgets what was read of messages that are not handled: the connection is gone. */
void input_forget(struct session *s);

/* output.c */
/* Sends or queues a copy. A GONE session swallows it. */
void output_bytes(struct session *s, const void *bytes, size_t len);
/* The same, taking ownership of a malloc'ed buffer: no copy. */
void output_buf(struct session *s, struct out_buf *b);
struct out_buf *output_buf_new(size_t len);
void output_reply(struct session *s, const struct proto_header *request, int status, const union proto_body *body);
void output_event(struct session *s, unsigned type, unsigned flags, const union proto_body *body);
/* Loop: the socket takes bytes again. */
void output_ready(struct session *s);
/* Loop: sets whether input is wanted, and epoll's mask with it. */
void output_want_input(struct session *s, bool wanted);
/* A request finished without queueing: a stalled session may have room now. */
void output_kick(struct session *s);
bool output_full(struct session *s);
/* Bytes that the client has not had, or not acknowledged. */
size_t output_backlog(struct session *s);
/* No descriptor, no more output. Returns it. */
int output_detach(struct session *s);
/* No descriptor for now: what is said is kept. Returns it. */
int output_suspend(struct session *s);
/* P51: the session is welcomed; from now on messages are numbered and kept. */
void output_keep(struct session *s);
/* Loop: the client has had so many messages, modulo 2^32. false: more than were sent to it (P52). */
bool output_acked(struct session *s, uint32_t ack);
/* Loop: whether a client that has had so many messages can be sent what it misses (P55). */
bool output_can_resume(struct session *s, uint64_t received);
/* Loop: from here on over fd, beginning with what the client misses. */
void output_attach(struct session *s, int fd, uint64_t received);

/* workers.c */
int workers_new(unsigned threads_max, struct workers **out);
/* Runs what is queued, then joins. */
void workers_free(struct workers *w);
/* -ENOMEM only when there is no thread at all and none can be made. limit: at most so many of job->session's at once;
 * 0: any number. */
int workers_submit(struct workers *w, struct job *job, unsigned limit);

/* handles.c: SESSION inside. */
int handle_add(struct session *s, struct fs_handle *fh, uint64_t *number);
/* -EBADF. Give back with handle_put. */
int handle_get(struct session *s, uint64_t number, struct fs_handle **out);
void handle_put(struct session *s, uint64_t number);
int handle_close(struct session *s, uint64_t number);
/* GONE: ends the leases of every handle, so that nobody waits for them. */
void handles_end_leases(struct session *s);
/* Nobody else is there any more. */
void handles_free(struct session *s);

/* pin.c */
/* faulting: the open file of a faulting lease; else NULL. */
int pin_new(struct session *s, struct fs_handle *faulting, struct pin **out);
/* What fs_lease_get wants to know. */
void pin_describe(struct pin *pin, struct fs_pin *out);
/* P43: composes the grant from the pin's state at this moment and queues it, in parts if need be. */
int pin_announce(struct pin *pin, const struct proto_header *request, const struct fs_lease *lease);
/* The maker's reference. failed: the lease was not granted, and unless the arbiter took it the keys die here. */
void pin_put(struct pin *pin, bool failed);

/* watch.c */
/* Before an answer: changes from before are told first (P75). No lock held. */
void changes_answering(struct session *s);
/* Loop. The client has read something. */
void changes_drained(struct session *s);
/* Loop. Tells the sessions that have something to be told. */
void changes_run(struct lh_server *server);
/* The loop has ended. */
void changes_close(struct lh_server *server);
/* The session watches no more. */
void changes_end(struct session *s);

/* dispatch.c: answers, now or by a worker. Loop only; message is header and body, body the views into it. owned:
 * message is malloc'ed, and DISPATCH_TOOK when a worker has it now. DISPATCH_FULL: P18. */
enum dispatch_result { DISPATCH_DONE, DISPATCH_TOOK, DISPATCH_FULL };
enum dispatch_result dispatch(struct session *s, const struct proto_header *h, union proto_body *body,
			      const uint8_t *message, bool owned);

/* data.c. Loop only. */
void data_hello(struct session *s, const struct proto_header *h, const struct proto_data_hello *hello);
void data_ring_attach(struct session *s, const struct proto_header *h);
void data_close_paths(struct session *s);

#endif
