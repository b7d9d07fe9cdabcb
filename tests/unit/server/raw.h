/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A client that knows nothing but the protocol, and a server over a pool in memory to point it at. Every wait has a
 * limit (RAW_WAIT_NS) after which the test fails; it is generous because machines are busy.
 */
#ifndef TEST_SERVER_RAW_H
#define TEST_SERVER_RAW_H

#include "fs/fs.h"
#include "proto/proto.h"
#include "server/server.h"

#define RAW_WAIT_NS (15ull * 1000000000ull)
#define RAW_EVENTS  4096u
#define RAW_RUNS    8192u

/* An event, or a grant, with its runs copied out. */
struct raw_event {
	uint16_t type, flags;
	uint64_t lease;
	uint32_t seq, kind, reason, mode;
	uint64_t left_ns, size;
	struct proto_range range;
	unsigned run_count;
	struct proto_run run; /* the first */
	bool before_reply;    /* came before the reply of the call that was running */
};

struct raw {
	int fd;
	uint64_t seq, epoch, session, boot;
	uint64_t features;
	uint32_t uid, outstanding_max;
	uint8_t token[16];
	bool resumable;    /* before raw_hello: the session outlives its connection */
	bool silent_acks;  /* acknowledges nothing */
	uint64_t received; /* messages, as RESUME counts them */
	uint8_t *message;  /* the last one received; views of body point into it */
	struct proto_header h;
	union proto_body body;
	struct raw_event *events;
	unsigned event_count;
	struct proto_run *runs; /* of the last grant, all parts */
	unsigned run_count;
};

/* A connected descriptor; "unix:..." or "tcp:...". */
int raw_socket(const char *address);
/* Connects without HELLO. */
struct raw *raw_new(const char *address);
/* Connects and is welcomed. */
struct raw *raw_open(const char *address);
/* The same with a session that outlives its connection. */
struct raw *raw_open_resumable(const char *address);
/* The connection is lost. */
void raw_cut(struct raw *r);
/* RESUME on a new connection, saying to have had so many messages; 0 or -errno. After 0 the next request has the number
 * that the server asks for. */
int raw_resume(struct raw *r, const char *address, uint64_t received);
/* HELLO with these; the answer is in r->h, r->body. */
void raw_hello(struct raw *r, uint32_t min, uint32_t max, uint32_t flags, uint64_t features);
/* Closes, without a word. NULL is allowed. */
void raw_close(struct raw *r);

/* Sends; returns the sequence number. */
uint64_t raw_send(struct raw *r, unsigned type, unsigned flags, const union proto_body *body);
void raw_send_bytes(struct raw *r, const void *bytes, size_t len);
/* 1: a message is in r->h and r->body; 0: the connection ended; -ETIMEDOUT. */
int raw_recv(struct raw *r, uint64_t wait_ns);
/* Sends and waits for the answer, keeping events; returns 0 or -errno as answered. A GOODBYE fails the test. */
int raw_call(struct raw *r, unsigned type, unsigned flags, const union proto_body *body);
/* Waits for the answer of seq, as raw_call. */
int raw_answer(struct raw *r, uint64_t seq);
/* The next event of this type (kept, or waited for) into *out; false: none within wait_ns. */
bool raw_event(struct raw *r, unsigned type, uint64_t wait_ns, struct raw_event *out);
/* Reads on until GOODBYE; asserts the reason, and that its text begins with `text`; then that the connection ends. */
void raw_expect_goodbye(struct raw *r, unsigned reason, const char *text);

/* Short forms. All return 0 or -errno. */
int raw_ping(struct raw *r);
int raw_file_open(struct raw *r, const char *path, unsigned flags, uint64_t *handle);
int raw_file_close(struct raw *r, uint64_t handle);
int raw_write(struct raw *r, uint64_t handle, const void *bytes, uint32_t len, uint64_t off);
int raw_truncate(struct raw *r, uint64_t handle, uint64_t size);
/* deadline_ns as in the protocol; out may be NULL. */
int raw_lease(struct raw *r, uint64_t handle, unsigned mode, uint64_t off, uint64_t len, uint64_t deadline_ns,
	      struct raw_event *out);
int raw_release(struct raw *r, uint64_t lease, uint64_t off, uint64_t len);
/* A data path; its reply's status, and the descriptor when 0. */
int raw_data(struct raw *r, const char *address, const uint8_t token[16], int *fd);

/* --- the server --- */

struct rig {
	char dir[64];
	char address[128];
	struct lh_fs *lhfs;
	struct fs *fs;
	struct lh_server *server;
	struct fs_caller root; /* in this process, of no session */
};
/* Deadline D of the pool in ns; limits NULL: the defaults. address NULL: a unix socket in a new directory. */
void rig_start(struct rig *rig, uint64_t deadline_ns, const struct server_limits *limits, const char *address);
void rig_stop(struct rig *rig);
/* A file of len bytes of `fill`, mode 0644, of root. */
void rig_file(struct rig *rig, const char *path, uint64_t len, int fill);
/* An open handle in this process. */
struct fs_handle *rig_open(struct rig *rig, const char *path, int flags);
/* Waits until the arbiter has this many leases and sessions (the rig's own included). */
void rig_wait_stats(struct rig *rig, uint64_t leases, uint64_t sessions);

#endif
