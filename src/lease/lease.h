/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The lease arbiter: grants, breaks, recalls, deadlines, forced revocation, gates, receipts, and the table of who holds
 * what. It knows objects (numbers), byte ranges, sessions, handles and a clock; nothing of files, blocks, sockets,
 * devices.
 *
 * A lease is one number over a set of byte ranges of one object, in one mode, belonging to one handle of one session.
 * Recalls are for ranges (L4): releasing a part leaves the rest of the lease granted. Every change of a lease raises
 * its sequence number `seq`, which goes out with every grant and recall (L11).
 *
 * Who is the caller in "everyone but the caller" (L1, L5, L21)? The session: path calls have no handle, and a process
 * that cuts its own file needs no message to itself.
 *
 * States: docs/semantics.md figure 1; a part of a lease under recall makes the lease RECALLING until that part is gone.
 *
 * Locks: LEASE (of the object's shard), LEDGER. Callbacks (recall, revoked, drain, gone) are called with none of ours
 * held, and may be called with the fs's INODE lock held by the calling thread (lease_own_drain), so they must not take
 * INODE. recall and revoked may call lease_release; drain and gone must not call the arbiter at all.
 */
#ifndef LH_LEASE_LEASE_H
#define LH_LEASE_LEASE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/types.h"

struct lease_arbiter;
struct lease_session;
struct lease_object;
struct lease_break;

/* A lease has one of these. */
enum lease_mode { LEASE_READ = 1, LEASE_WRITE = 2 };
/*
 * What a break takes, besides bits of the modes. EXCLUSIVE: also leases that deny changes (L22); without it they make
 * the break fail. FAULTING: also leases whose device looks every chunk up (L33), which no move concerns.
 */
#define LEASE_EXCLUSIVE 4u
#define LEASE_FAULTING  8u
/* The owner's own leases deny it nothing: it is about to change one of them (L23). Others' do. */
#define LEASE_OWN_EXCLUSIVE 16u
#define LEASE_ANY_MODE      (LEASE_READ | LEASE_WRITE)
#define LEASE_ALL           (LEASE_ANY_MODE | LEASE_EXCLUSIVE | LEASE_FAULTING)

#define LEASE_STATES 4
enum lease_state { LEASE_GRANTED, LEASE_RECALLING, LEASE_RELEASED, LEASE_REVOKED };

/* L10: the holder's data stays valid until it releases, or is going away. */
enum lease_kind { LEASE_DRAIN, LEASE_STOP };

#define LEASE_REASONS(X)                                                                                               \
	X(TRUNCATE, "truncate")                                                                                        \
	X(PUNCH, "punch hole")                                                                                         \
	X(ZERO, "zero range")                                                                                          \
	X(CLONE_SOURCE, "clone source")                                                                                \
	X(CLONE_TARGET, "clone destination")                                                                           \
	X(COPY_ON_WRITE, "copy on write")                                                                              \
	X(ALLOCATE, "allocation into a hole")                                                                          \
	X(UNSHARE, "unshare")                                                                                          \
	X(RELOCATE, "relocate")                                                                                        \
	X(RECLAIM, "unlinked file reclaimed")                                                                          \
	X(UNMOUNT, "unmount")                                                                                          \
	X(ADMIN, "administrator")                                                                                      \
	X(SESSION_END, "session ended")                                                                                \
	X(COLLAPSE, "collapse range")                                                                                  \
	X(INSERT, "insert range")                                                                                      \
	X(EXCHANGE, "exchange range")                                                                                  \
	X(DEDUPE, "dedupe range")
enum lease_reason {
#define X(n, t) LEASE_FOR_##n,
	LEASE_REASONS(X)
#undef X
	    LEASE_REASON_COUNT
};
const char *lease_reason_name(enum lease_reason r);
const char *lease_state_name(enum lease_state s);

/* Now, in nanoseconds; tests give a fake one. */
struct lease_clock {
	uint64_t (*now_ns)(void *ctx);
	void *ctx;
};

struct lease_options {
	struct lease_clock clock;    /* now_ns NULL: CLOCK_MONOTONIC */
	uint64_t deadline_ns;        /* pool default D; 0: 1 s */
	uint64_t deadline_max_ns;    /* a lease or a break may not ask for more; 0: 60 s */
	uint64_t exclusive_max_ns;   /* L22: the longest that a lease may deny changes; 0: 60 s */
	uint32_t session_leases_max; /* 0: 65,536; over it grants get -EDQUOT */
	bool no_timer_thread;        /* tests with a fake clock drive expiry by lease_tick */
	/*
	 * A lease that denies changes, or did once, is about to lose the range, in whatever way: told before anybody
	 * who waits for that goes on. As drain: without our locks, not waiting for a peer, not calling the arbiter.
	 * NULL: nobody wants to know.
	 */
	void (*denier_gone)(void *ctx, uint64_t lease, struct range range);
	void *denier_ctx;
	/*
	 * A lease for writing of this session has come, changed or ended: told with LEASE held, so that only locks of
	 * an inner rank may be taken. NULL: nobody wants to know.
	 */
	void (*writer)(void *ctx, uint64_t object, uint64_t session);
	void *writer_ctx;
};

/* Embedded in what the fs leases (its inode). One atomic load tells that nothing was ever leased here (L3). */
struct lease_anchor {
	uint64_t object;
	struct lease_object *_Atomic state;
};

/* The notice. Valid during the callback only. */
struct lease_recall {
	uint64_t lease;
	uint32_t seq;
	uint64_t object;
	uint64_t handle;
	struct range range; /* the part of the lease that must go: break range cut with the lease */
	enum lease_mode mode;
	enum lease_reason reason;
	enum lease_kind kind;
	uint64_t deadline_ns; /* absolute, by the arbiter's clock */
	uint64_t now_ns;      /* so that the remaining time can be sent as a duration */
};

struct lease_session_ops {
	/* Send the notice. Must not block (queue it). */
	void (*recall)(void *ctx, const struct lease_recall *r);
	/* The range was taken by force: deadline, administrator, unmount. Its pins are drained already. Must not block.
	 */
	void (*revoked)(void *ctx, const struct lease_recall *r);
};

/* What a session looks like in listings, and what its uid may pin (L18). */
struct lease_identity {
	uint32_t uid, gid;
	int32_t pid;
	char host[64];
	/* RLIMIT_MEMLOCK of the peer: what its uid may have pinned when this session asks for more, where no
	 * administrator's limit says otherwise. 0: nothing given, no limit; UINT64_MAX: none either (CAP_IPC_LOCK). */
	uint64_t memlock_bytes;
};

/*
 * A pin consumer attached to a lease: something through which a device reaches the lease's bytes. drain must make
 * [range) of the lease unreachable and return only when the device has proven it; it never waits for a peer
 * (microseconds). What the device reaches of the lease outside the range must keep working, possibly under a new key.
 * Idempotent. gone tells that the whole lease ended and the pin will not be called again: the consumer frees itself.
 */
struct lease_pin_ops {
	const char *name; /* the kind of device, for listings: "key", "mapping", "io_uring"... NULL: "pin" */
	void (*drain)(void *pin, struct range range);
	void (*gone)(void *pin);
	const char *(*kind)(void *pin); /* may be NULL; the name, where it differs from pin to pin. Under LEASE */
};

/* L13: only lease_drained() makes one; the allocator's release takes it. Freeing pinned memory does not compile. */
struct drained {
	const struct lease_drain_proof *proof;
	uint64_t object;
	struct range range;
};

int lease_arbiter_new(const struct lease_options *opt, struct lease_arbiter **out);
/* Every session must be closed. */
void lease_arbiter_free(struct lease_arbiter *a);
/* Forces what is due by the clock. The timer thread calls it; with no_timer_thread the test does. */
void lease_tick(struct lease_arbiter *a);

void lease_anchor_init(struct lease_anchor *an, uint64_t object);
/* No lease may be left (asserted). */
void lease_anchor_fini(struct lease_anchor *an);

int lease_session_open(struct lease_arbiter *a, const struct lease_session_ops *ops, void *ctx,
		       const struct lease_identity *who, struct lease_session **out);
/* Drains and ends all its leases; no callback runs after it returned. Not from inside a callback. NULL is allowed. */
void lease_session_close(struct lease_session *s);
uint64_t lease_session_id(const struct lease_session *s);

struct lease_grant_args {
	struct lease_anchor *anchor;
	struct lease_session *session;
	uint64_t handle; /* the session's own number of the open handle */
	struct range range;
	enum lease_mode mode;
	uint64_t deadline_ns; /* 0: pool default; clipped to the maximum; LEASE_DEADLINE_NOW: at once (D = 0) */
	bool exclusive;       /* L22: who may is decided by the fs */
	bool faulting;        /* L33: only broken by LEASE_FAULTING; its pins count no bytes */
	uint64_t max_age_ns;  /* EXCLUSIVE: how long it denies changes, then it is an ordinary lease; 0, and above the
				 maximum: the maximum */
};
#define LEASE_DEADLINE_NOW UINT64_MAX
struct lease_grant {
	uint64_t lease; /* never reused */
	uint32_t seq;
};
/*
 * Grants, or -EAGAIN when a gate is closed on the range (then lease_gate_wait without locks, and try again), -EDQUOT,
 * -ENOMEM, -EINVAL (empty range, no mode), -ESHUTDOWN after lease_unmount or while the session closes. Never waits;
 * L18: -EDQUOT over an administrator's limit of leases. (Bytes are charged by lease_pin_attach.)
 * called with the fs's INODE lock held, so that what it promises is true.
 */
int lease_grant(struct lease_arbiter *a, const struct lease_grant_args *args, struct lease_grant *out);
/* Waits until no gate touches the range: 0; -ETIMEDOUT after deadline_ns (absolute, UINT64_MAX for ever); -EINTR:
 * lease_interrupt of who (may be NULL). No lock held.
 */
int lease_gate_wait(struct lease_arbiter *a, struct lease_anchor *an, struct range range, uint64_t deadline_ns,
		    struct lease_session *who, uint64_t tag);
/*
 * The same for something else than a gate that grants wait for: until over(ctx) is true. It is looked at under locks of
 * ours, and after every lease_wake, which whoever makes it true calls. 0, -EINTR.
 */
int lease_wait_for(struct lease_arbiter *a, struct lease_anchor *an, bool (*over)(const void *ctx), const void *ctx,
		   struct lease_session *who, uint64_t tag);
void lease_wake(struct lease_arbiter *a);
/*
 * Ends waiting: lease_gate_wait, lease_wait_for and lease_break_wait of this session with this tag (0: with any) return
 * -EINTR. Waits that begin later are not concerned, but with `for_good`: then all of the session's return -EINTR at
 * once from now on (its caller is gone). Any thread.
 */
void lease_interrupt(struct lease_session *s, uint64_t tag, bool for_good);
/*
 * For tags that count up: the same for all with a tag (0 is none) below this one, also where the wait only begins
 * later. So nothing that was asked for before escapes, and nothing that is asked for afterwards is hit.
 */
void lease_interrupt_below(struct lease_session *s, uint64_t tag);
/* In a tag: `for_good` does not end these waits (what an administrator began is finished without him). */
#define LEASE_TAG_STAYS (1ull << 63)
/*
 * L23: the mode of a lease, and whether it denies changes, become others at once; its seq rises. Under INODE exclusive,
 * with the layout fit for the mode (that is the fs's); its own pins must be drained (lease_own_drain) before and placed
 * anew after. -ESTALE: a part of it was recalled, released or revoked since the grant: nothing changed. -EAGAIN: a
 * gate.
 */
struct lease_change_args {
	enum lease_mode mode;
	bool exclusive;
	uint64_t max_age_ns;
};
/* Besides: -ETIMEDOUT: it has denied changes for the longest that is allowed already; -EINVAL, -ENOMEM, -ESHUTDOWN. */
int lease_change(struct lease_session *s, uint64_t lease, const struct lease_change_args *args,
		 struct lease_grant *out);

/*
 * Attaches a consumer: -ESTALE unless the lease is GRANTED and as it was granted: no part released, recalled, or moved
 * (lease_own_drain) since, that is, seq is still the grant's. Then the consumer takes back what it prepared; -ENOMEM
 * too. First attach, then let the device in: a key that works before the attach may outlive the receipt (I3). From the
 * attach on drain may be called at any moment, also before the first key exists; the consumer must not open what was
 * drained. Between grant and attach hold INODE (shared), or the blocks may have moved (then the attach fails).
 * The first pin whose bytes are not 0 (what it reaches) charges all that the lease covers to its uid, piece by piece
 * until each is drained: over a limit -EDQUOT, over RLIMIT_MEMLOCK -ENOMEM, with a sentence, and nothing is attached.
 */
int lease_pin_attach(struct lease_arbiter *a, uint64_t lease, const struct lease_pin_ops *ops, void *pin,
		     uint64_t bytes);

/*
 * The holder gives a range back (RANGE_ALL: everything). Drains the range's pins, then wakes breakers. A number that
 * this session does not hold counts as released: 0 (L11). The session's own releases only. -ENOMEM only when a part in
 * the middle is given back and there is no memory to remember two ends. Waits only for a drain that is under way.
 */
int lease_release(struct lease_session *s, uint64_t lease, struct range range);
/* L24: the last close of a handle. Its leases are drained and gone when it returns. */
void lease_handle_close(struct lease_session *s, uint64_t handle);

/* --- breaking: the fs's side ------------------------------------------------------------------------------------- */

/* false: nothing is leased or gated here, and nothing can be while the caller holds INODE exclusively (L3). One load.
 */
static inline bool lease_busy(const struct lease_anchor *an)
{
#ifdef LH_NO_ARBITER
	(void)an;
	return false;
#else
	return atomic_load_explicit(&an->state, memory_order_acquire) != NULL;
#endif
}
/*
 * Whether a lease that these modes take, of somebody other than `owner` (a session, or NULL), overlaps: 0 or 1. Without
 * LEASE_EXCLUSIVE among them: -ETXTBSY when an overlapping lease of another denies changes, -EDEADLK when one of the
 * owner's does (L22).
 */
int lease_conflicts(struct lease_anchor *an, struct range range, unsigned modes, const struct lease_session *owner);

struct lease_break_args {
	struct lease_anchor *anchor;
	struct range range;
	unsigned modes; /* bits of enum lease_mode that are broken */
	enum lease_reason reason;
	enum lease_kind kind;
	const struct lease_session *owner; /* not broken; NULL breaks everyone */
	uint64_t deadline_ns; /* how long at most; 0: each lease's own; LEASE_DEADLINE_NOW: force at once */
	uint64_t tag;         /* for lease_interrupt */
};
/*
 * Closes the gate (new grants on the range wait, I6; everyone's, the owner's too), sends the recalls. Never waits for a
 * holder. No lock held. The effective deadline of a lease is the smaller of its own and the break's, from now; whoever
 * has none left gets no recall but is forced before the call returns. -EINVAL (empty range, no modes); -ENOMEM, after
 * which some may have been recalled for nothing; -ETXTBSY, -EDEADLK as lease_conflicts, nothing was recalled.
 */
int lease_break_start(struct lease_arbiter *a, const struct lease_break_args *args, struct lease_break **out);
/* Waits until every one has released or was revoked (always ends, L7): 0; -EINTR: lease_interrupt of the owner. No lock
 * of ours or the fs's held (asserted). */
int lease_break_wait(struct lease_break *b);
/* true when lease_break_wait would return at once. */
bool lease_break_done(struct lease_break *b);
/* Opens the gate and frees b. The change is done, or given up (what was recalled stays recalled). NULL is allowed. */
void lease_break_end(struct lease_break *b);
/*
 * L9: leave the break to the arbiter: the recalls and deadlines go on, the gate opens when all are gone (so that the
 * caller who tries again finds nobody), b is freed by the arbiter.
 */
void lease_break_detach(struct lease_break *b);

/*
 * L5: the caller's own pins that reach the range are drained; its leases stay granted and their seq rises. Called under
 * INODE exclusive, always before lease_drained: it also makes sure that no pin prepared for the old blocks is attached.
 * After the move lease_own_each calls `each` for every pin of the caller's leases there (not for leases without one),
 * so that the fs can have it placed anew; from then on the pin counts as reaching the part again. -ENOMEM.
 */
int lease_own_drain(struct lease_anchor *an, struct range range, const struct lease_session *owner);
int lease_own_each(struct lease_anchor *an, struct range range, const struct lease_session *owner,
		   void (*each)(void *ctx, uint64_t lease, uint32_t seq, enum lease_mode mode, struct range part,
				void *pin),
		   void *ctx);
/*
 * Around lease_change: the same for all pins of this one lease, faulting or not. The second takes LEASE's mode as it is
 * now. No such lease: 0.
 */
int lease_change_drain(struct lease_anchor *an, const struct lease_session *owner, uint64_t lease);
int lease_change_place(struct lease_anchor *an, const struct lease_session *owner, uint64_t lease,
		       void (*each)(void *ctx, uint64_t lease, uint32_t seq, enum lease_mode mode, struct range part,
				    void *pin),
		       void *ctx);
/*
 * The receipt: 0 and *out when no pin of anybody reaches the range, and none can be attached that would (a lease as
 * fresh as granted counts as a pin in the making); else -EBUSY. Under INODE exclusive, or with the gate closed.
 */
int lease_drained(struct lease_anchor *an, struct range range, struct drained *out);

/* --- looking and administering ------------------------------------------------------------------------------------ */

struct lease_info {
	uint64_t lease, object, handle, session;
	uint32_t seq;
	struct lease_identity who;
	struct range range; /* hull of what is left */
	uint64_t bytes, pinned_bytes;
	enum lease_mode mode;
	enum lease_state state;
	uint64_t age_ns;
	uint64_t recall_left_ns; /* 0 when not recalled */
	bool exclusive, faulting;
	uint64_t exclusive_left_ns; /* 0: denies nothing (any more) */
	unsigned pins;
	char pin[32];                  /* what kind of device the first one is (lease_pin_ops.name); "" without one */
	uint64_t recalled_ns;          /* how long ago it was recalled last; UINT64_MAX: never */
	enum lease_reason last_reason; /* of that */
};
/* Calls each() for a snapshot of the matching leases (object 0: all; session 0: all). Without locks. 0, -ENOMEM. */
int lease_list(struct lease_arbiter *a, uint64_t object, uint64_t session,
	       void (*each)(void *ctx, const struct lease_info *info), void *ctx);

/* The same of one lease that this session holds. -ESTALE: it holds none of this number. */
int lease_look(struct lease_session *s, uint64_t lease, struct lease_info *out);

/* --- the ledger: who may pin how much (L18, L19) ------------------------------------------------------------------ */

/*
 * Every pinned byte is charged to its session's uid: the bytes that a lease covers, from the attach of its first pin
 * until their part is drained. UINT64_MAX: no limit. LEASE_LIMIT_UID: of one uid, instead of its RLIMIT_MEMLOCK.
 * LEASE_LIMIT_DEFAULT: of every uid without one. LEASE_LIMIT_POOL: of all together.
 * Over memlock_bytes: -ENOMEM; over one of these: -EDQUOT. What is over already stays.
 */
enum lease_limit_kind { LEASE_LIMIT_UID, LEASE_LIMIT_DEFAULT, LEASE_LIMIT_POOL };
struct lease_limit {
	enum lease_limit_kind kind;
	uint32_t uid; /* LEASE_LIMIT_UID */
	bool none;    /* set: takes it away; get: there is none, bytes and leases are UINT64_MAX */
	uint64_t bytes, leases;
	uint64_t bytes_used, leases_used; /* out */
};
/* 0, -ENOMEM. */
int lease_limit_set(struct lease_arbiter *a, const struct lease_limit *limit);
/* Fills what is used too. */
void lease_limit_get(struct lease_arbiter *a, struct lease_limit *limit);
/* For tests, while no other thread is at work here: whether what is charged is the sum over the live pins (I5). */
bool lease_ledger_holds(struct lease_arbiter *a);

struct lease_session_info {
	uint64_t session;
	struct lease_identity who;
	uint64_t leases, pinned_bytes, age_ns, recalls, forced;
	uint64_t slowest_ns;                /* of its answers to recalls */
	uint64_t bytes_limit, leases_limit; /* as they apply to it; UINT64_MAX: none */
};
/* By number, those above `after`. Without locks. 0, -ENOMEM. */
int lease_sessions(struct lease_arbiter *a, uint64_t after,
		   bool (*each)(void *ctx, const struct lease_session_info *info), void *ctx);

/* Every forced revocation: the last LEASE_AUDIT_MAX of them; the log has them too, as far as its rate allows. */
#define LEASE_AUDIT_MAX 16384
struct lease_audit {
	uint64_t number; /* 1, 2, 3... */
	int64_t at_ns;   /* CLOCK_REALTIME */
	uint64_t lease, object;
	struct lease_identity who; /* the holder */
	uint64_t session;
	enum lease_mode mode;
	struct range range;
	enum lease_reason reason;
	uint64_t took_ns; /* since the recall */
	uint64_t asker_session;
	uint32_t asker_uid;
	int32_t asker_pid;
	char asked_by[64]; /* an administrator's words; "" */
};
/* As lease_trace_read. */
unsigned lease_audit_read(struct lease_arbiter *a, uint64_t *cursor, struct lease_audit *out, unsigned max);
/*
 * L26: revokes by force now: filters that are 0 do not filter (uid: UINT32_MAX). Returns how many, when they are
 * drained; -ENOMEM, after which some may be left. Logged as audit lines.
 */
int lease_revoke(struct lease_arbiter *a, uint64_t lease, uint64_t object, uint64_t session, uint32_t uid,
		 const char *asked_by);
/* The same; the audit says whose session asked (NULL: none), and its words. */
int lease_revoke_for(struct lease_arbiter *a, uint64_t lease, uint64_t object, uint64_t session, uint32_t uid,
		     const struct lease_session *asker, const char *asked_by);
/*
 * L36: no more grants; revokes all with LEASE_FOR_UNMOUNT after at most deadline_ns of notice (0: at once); returns
 * when all are drained.
 */
void lease_unmount(struct lease_arbiter *a, uint64_t deadline_ns);

/* What happened, for people: a ring of the last LEASE_TRACE_MAX events. */
#define LEASE_TRACE_MAX 65536
enum lease_event { LEASE_EV_GRANT, LEASE_EV_RECALL, LEASE_EV_RELEASE, LEASE_EV_REVOKE, LEASE_EV_BREAK };
struct lease_trace {
	uint64_t at_ns; /* arbiter's clock */
	uint64_t lease, object, session;
	struct range range;
	uint64_t took_ns; /* release, revoke: since the recall; break: from start to the last holder gone */
	enum lease_event event;
	enum lease_reason reason; /* LEASE_REASON_COUNT: nobody wanted it (grant, release of one's own accord) */
	enum lease_mode mode;     /* 0 for breaks; their session is the caller's, 0 without one */
};
/* Copies up to max events after *cursor (start with 0) and advances it; returns how many. Events that fell out are
 * skipped. */
unsigned lease_trace_read(struct lease_arbiter *a, uint64_t *cursor, struct lease_trace *out, unsigned max);

struct lease_stats {
	uint64_t grants, releases, recalls, breaks, breaks_waited, released_in_time, forced, leases, sessions,
	    pinned_bytes;
};
void lease_stats_read(struct lease_arbiter *a, struct lease_stats *out);

#endif
