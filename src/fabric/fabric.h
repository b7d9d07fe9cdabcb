/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The fabric: one-sided reads and writes of exposed memory, and their revocation with proof. Policy free.
 *
 * Target side: a *target* owns the key table and the mover threads. A *domain* is one client's protection domain: keys
 * belong to it, and its data paths attach to it (so a data path can be lost and rebuilt while the keys live on). A key
 * names [base, base + len) of memory with an access mask. Members: stream (unix or TCP socket), ring (memory that the
 * client shares), loop (in process, with injected faults). docs/protocol.md, part 2, is normative for stream and ring.
 *
 * The guarantee (L12, L13): after fabric_revoke has returned, no byte of the key's range is read or written by any
 * mover on behalf of that key, however the peer behaves. Movers hold a key only for one chunk of at most FABRIC_CHUNK
 * bytes that they finish without waiting for anybody. fabric_revoke therefore takes microseconds.
 *
 * Hostile peers: numbers, lengths, offsets, memory contents (ring) and timing of a peer are checked before use; the
 * worst that a peer can do is to have its own data path closed.
 */
#ifndef LH_FABRIC_FABRIC_H
#define LH_FABRIC_FABRIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FABRIC_CHUNK     65536u
#define FABRIC_OP_MAX    ((uint64_t)64 << 20) /* bytes of one operation; longer ones are -EMSGSIZE */
#define FABRIC_DEPTH_MAX 256                  /* operations outstanding on one data path */
#define FABRIC_KEYS_MAX  (1u << 20)           /* of one target */

enum fabric_access { FABRIC_READ = 1, FABRIC_WRITE = 2 };

struct fabric_target;
struct fabric_domain;
struct fabric_path; /* one attached data path, target side */
struct fabric_conn; /* the initiator's end */

/* 64 bits: slot and an unguessable part; never the same twice in a target's life. */
struct fabric_key {
	uint64_t number;
};

/* The proof that a key is dead and nobody moves through it. Only fabric_revoke makes one. */
struct fabric_receipt {
	uint64_t number;
	uint64_t dirty_start, dirty_end; /* hull of the bytes that peers wrote since expose or the last
					    fabric_dirty_take; start == end: none */
};

struct fabric_target_options {
	uint64_t spin_ns; /* how long an idle mover spins before it sleeps; 0: 50 µs. Movers sleep on epoll or futex */
};
struct fabric_stats {
	uint64_t read_ops, write_ops, read_bytes, write_bytes;
	uint64_t refused;         /* operations on dead, foreign or unknown keys, wrong range or direction */
	uint64_t faults;          /* operations that a resolver could not serve as things were */
	uint64_t protocol_errors; /* data paths that were closed for breaking the protocol */
	uint64_t keys, revoked;
};

int fabric_target_new(const struct fabric_target_options *opt, struct fabric_target **out);
/* Every domain must be freed. Joins the movers. */
void fabric_target_free(struct fabric_target *t);
void fabric_stats_read(struct fabric_target *t, struct fabric_stats *out);

int fabric_domain_new(struct fabric_target *t, struct fabric_domain **out);
/* L19: domains of one user share the number of keys that one user may have when keys get scarce. Before its first key.
 */
void fabric_domain_set_user(struct fabric_domain *d, uint32_t uid);
/* Kills and drains every key, detaches and closes every path. */
void fabric_domain_free(struct fabric_domain *d);

/* -ENOSPC: FABRIC_KEYS_MAX reached. base stays mapped until the key was revoked (the pool is). Takes FABRIC only. */
int fabric_expose(struct fabric_domain *d, void *base, uint64_t len, unsigned access, struct fabric_key *out);

/*
 * A *faulting* key (L33) names no memory but a place in something whose memory may change at any time; at + offset is
 * looked up for every chunk. enter fills a place for at most len bytes, which stay there and are nobody else's until
 * leave, by the same thread; it never waits, and a thread may be inside of several, of one resolver too. -EAGAIN: not
 * as things are; the operation then completes with that status, and what the initiator does about it is none of the
 * fabric's business. -EIO. The resolver lives until the key was revoked; fabric_revoke waits for who is inside, so
 * enter and leave must not need what the thread that revokes holds. at: where the key's offset 0 is.
 */
struct fabric_place {
	void *mem;    /* reads: NULL for zeroes */
	uint64_t len; /* 1 to what was asked for */
};
struct fabric_resolver {
	int (*enter)(struct fabric_resolver *r, enum fabric_access access, uint64_t at, uint64_t len,
		     struct fabric_place *out);
	void (*leave)(struct fabric_resolver *r, enum fabric_access access);
};
int fabric_expose_faulting(struct fabric_domain *d, struct fabric_resolver *r, uint64_t at, uint64_t len,
			   unsigned access, struct fabric_key *out);
/* -ESTALE: not a live key of this domain (out is still filled: the proof that it is dead). */
int fabric_revoke(struct fabric_domain *d, struct fabric_key key, struct fabric_receipt *out);

/*
 * The hull of what peers wrote through a live key since expose or the last take; start == end: nothing. Whatever a peer
 * was told is written is in it, or was in an earlier one. Rounded outwards to cache lines. -ESTALE: not a live key.
 */
int fabric_dirty_take(struct fabric_domain *d, struct fabric_key key, uint64_t *start, uint64_t *end);

/* Target ends of data paths. Each takes ownership of the descriptors, also on error. */
int fabric_stream_attach(struct fabric_domain *d, int fd, struct fabric_path **out);
/*
 * The three descriptors that fabric_ring_connect made, as received from the peer; nothing about them is believed (F20,
 * F21): -EPERM memfd not sealed, -EINVAL anything else that is not what it should be.
 */
int fabric_ring_attach(struct fabric_domain *d, int memfd, int bell_target, int bell_conn, struct fabric_path **out);
/* Detaches and closes; the keys live on. Safe when the peer already went. */
void fabric_path_close(struct fabric_path *p);
bool fabric_path_alive(const struct fabric_path *p);

/* --- initiator -----------------------------------------------------------------------------------------------------
 */

/* Statuses that complete an operation. */
/*
 * 0; -ESTALE dead or unknown key; -EACCES wrong direction; -ERANGE outside the key; -EMSGSIZE; -EPIPE data path gone;
 * -EIO the memory fails; -EAGAIN fault: a faulting key whose place cannot be served as it is (some of it may have
 * been).
 */
enum fabric_dir { FABRIC_OP_READ, FABRIC_OP_WRITE };
struct fabric_op {
	uint64_t key;
	uint64_t offset; /* into the key's range */
	void *buf;       /* READ: filled, valid only when status is 0. WRITE: read until completion */
	uint64_t len;    /* 1 to FABRIC_OP_MAX */
	enum fabric_dir dir;
	int status;             /* set at completion. WRITE 0: the bytes are in the target's memory */
	void *cookie;           /* the caller's */
	unsigned flags;         /* FABRIC_OP_WAITED or 0 */
	struct fabric_op *next; /* the conn's while posted */
	struct {
		uint64_t sent, done; /* bytes */
		uint32_t parts, state;
	} conn; /* the conn's own */
};
/* The operation is waited for with fabric_wait; fabric_reap does not return it. */
#define FABRIC_OP_WAITED 1u

struct fabric_conn_options {
	uint64_t spin_ns;    /* how long fabric_reap spins before it sleeps; 0: 50 µs */
	uint64_t ring_bytes; /* ring: data arena; 0: 16 MiB */
};

/* fd: a connected socket whose far end was given to fabric_stream_attach. Takes ownership. */
int fabric_stream_connect(int fd, const struct fabric_conn_options *opt, struct fabric_conn **out);
/*
 * Makes the memory and the bells; fds_out[3] (memfd, bell_target, bell_conn) are to be sent to the target, in this
 * order, and closed by the caller (both, or the hang-up of the target goes unnoticed).
 */
int fabric_ring_connect(const struct fabric_conn_options *opt, int fds_out[3], struct fabric_conn **out);

/* Injected faults of the loop member; probabilities in 1/1000. A lost operation completes with -EPIPE after the path
 * "reconnects". */
struct fabric_loop_faults {
	uint64_t seed;
	uint32_t delay_permille, loss_permille, reorder_permille, stall_permille;
	uint64_t delay_ns, stall_ns; /* how long */
};
/* Both ends at once, in this process; to be closed before the domain is freed. faults NULL: none; then fabric_post
 * moves the bytes in the caller's thread, chunk by chunk. */
int fabric_loop_connect(struct fabric_domain *d, const struct fabric_loop_faults *faults, struct fabric_conn **out);

/*
 * Starts an operation; op is the conn's until fabric_reap returns it. -EBUSY: FABRIC_DEPTH_MAX outstanding (reap
 * first); -EPIPE: path gone; -EMSGSIZE; -EINVAL: no bytes, no buffer, offset + len wraps. Thread safe; may send but
 * never waits for the peer longer than the socket takes.
 */
int fabric_post(struct fabric_conn *c, struct fabric_op *op);
/*
 * Returns up to max finished operations; waits (spins, then sleeps) up to timeout_ns for the first. 0: none in time.
 * -EPIPE: the path is gone and nothing is left to return. Operations only make progress while somebody is in here or in
 * fabric_wait. Thread safe.
 */
int fabric_reap(struct fabric_conn *c, struct fabric_op **done, unsigned max, uint64_t timeout_ns);
/*
 * Waits until all of n operations that were posted with FABRIC_OP_WAITED are complete; several threads may wait at
 * once, and whoever polls completes the others' too. -ETIMEDOUT: some are still outstanding, and still the conn's.
 */
int fabric_wait(struct fabric_conn *c, struct fabric_op **ops, unsigned n, uint64_t timeout_ns);
/* Memory from which a member can move without another copy (ring: its arena). malloc'ed for the others. NULL: none
 * left. */
void *fabric_buffer_get(struct fabric_conn *c, size_t len);
void fabric_buffer_put(struct fabric_conn *c, void *buf);
/* Completes everything outstanding with -EPIPE (reap still returns it), then no more I/O. For another thread's use. */
void fabric_conn_shutdown(struct fabric_conn *c);
void fabric_conn_close(struct fabric_conn *c);
const char *fabric_conn_member(const struct fabric_conn *c); /* "stream", "ring", "loop" */

#endif
