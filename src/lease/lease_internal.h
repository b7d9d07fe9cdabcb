/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The arbiter's inside: who owns which structure, and under which lock.
 *
 * A lease is a list of pieces, contiguous ranges that sit in their object's interval index. A piece is the unit of
 * everything that happens to ranges: it is recalled (piece->recall), drained, released, revoked. Invariants:
 *
 *  - Every idle piece is wholly inside or wholly outside every running break that matches it (lease_break_start splits
 * at the break's ends), so that a break counts pieces, and a removed piece takes one from each break that matches it.
 *  - A piece without a recall is counted by no break (the gate admits no new ones); only such pieces are ever merged.
 *  - A piece that is not PIECE_IDLE belongs to the thread that marked it, which works on it without any lock. Others
 * wait on shard->moved, for the microseconds of a drain.
 *  - lease->pins changes only while seq is LEASE_SEQ_FIRST; whoever drains has raised seq before, so that drains walk
 * the list without a lock.
 *
 * Locks. The LEASE lock of an object is that of its shard, one of LEASE_SHARDS, chosen by the object's number. A
 * lease's number holds its shard's index, so that number -> lock needs no look-up. Two shards are never locked at once.
 * Under LEASE come the LEDGER locks: each session's (list of leases, calls in flight), and the arbiter's (list of
 * sessions, timer); never two of them at once.
 *
 * Lifetime of lease_object, the non-obvious decision. An anchor's state points to an object only while something is
 * leased or gated there. Objects are taken from and returned to a list of their shard and go back to malloc only with
 * the arbiter, and object->shard never changes. So a stale pointer read from anchor->state still leads to the right
 * lock; under the lock the anchor is read again and is then exact. state leaves NULL only in lease_grant (called under
 * INODE) and in lease_break_start (a gate: harmless to a holder of INODE), which makes lease_busy() trustworthy under
 * INODE.
 */
#ifndef LH_LEASE_INTERNAL_H
#define LH_LEASE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include <bsd/sys/tree.h>

#include "base/lock.h"
#include "lease/interval.h"
#include "lease/lease.h"
#include "lease/number.h"

#define LEASE_SHARD_BITS 8
#define LEASE_SHARDS     (1u << LEASE_SHARD_BITS)
/* The seq that goes out with a grant. */
#define LEASE_SEQ_FIRST 1
/* Breaks left to the arbiter on one object; above it a detached break loses its gate (its recalls go on). */
#define LEASE_DETACHED_MAX 1024

#define LEASE_DEADLINE_DEFAULT_NS 1000000000ull
#define LEASE_DEADLINE_LIMIT_NS   60000000000ull
#define LEASE_EXCLUSIVE_LIMIT_NS  60000000000ull
#define LEASE_SESSION_LEASES_MAX  65536
#define LEASE_AGO_NS              10000000ull /* how exactly times are kept that are only looked at */

struct lease_pin {
	struct lease_pin *next;
	const struct lease_pin_ops *ops;
	void *pin;
};

/* L22: of a lease that is, or was, EXCLUSIVE. Most are not, and do not pay for it. */
struct lease_deny {
	uint64_t since_ns; /* when it denied changes first: no change of mode makes it longer than the maximum */
	uint64_t until_ns; /* 0: it was made an ordinary one */
};

struct lease {
	uint64_t number;
	uint32_t seq;
	uint32_t notice; /* scratch of lease_break_start: index + 1 of this lease's notice */
	uint8_t mode;
	uint8_t state;        /* enum lease_state; only lease_move writes it */
	uint8_t last_reason;  /* enum lease_reason of the last recall; LEASE_REASON_COUNT: never */
	bool faulting : 1;    /* L33: no move concerns it */
	bool broken : 1;      /* L23: a part was recalled, released or revoked since the grant */
	bool charged : 1;     /* L18: its pieces' bytes are, since the first pin that reaches some */
	uint32_t pieces_n;    /* length of pieces */
	uint32_t recalled;    /* how many of them are under recall */
	uint32_t recalled_at; /* the last time, in LEASE_AGO_NS since the grant: a lease is to be small (256 bytes) */
	struct lease_session *session;
	struct lease_object *object;
	uint64_t handle;
	uint64_t deadline_ns; /* how long a recall waits, at most */
	uint64_t granted_ns;
	struct lease_deny *deny;     /* NULL: never EXCLUSIVE */
	struct lease *chain;         /* number table; after the end: list of ended leases */
	LIST_ENTRY(lease) of_handle; /* session->buckets */
	struct lease_pin *pins;
	LIST_HEAD(, piece) pieces;
	struct piece first; /* most leases have one piece all their life */
};

/* What an administrator allows. */
struct lease_rule {
	bool set;
	uint64_t bytes, leases; /* UINT64_MAX: no limit */
};

/* account.c: of one uid. */
#define LEASE_ACCOUNT_BITS   10
#define LEASE_ACCOUNT_CHAINS (1u << LEASE_ACCOUNT_BITS)
struct lease_account {
	struct lease_account *next; /* this to own: the arbiter's ledger lock */
	uint32_t uid;
	uint32_t refs; /* sessions, and its own limit */
	struct lease_rule own;
	_Atomic uint64_t bytes, leases;
	_Atomic uint64_t bytes_max, leases_max; /* as an administrator's limit says, its own or the default */
	atomic_bool ruled;                      /* there is one: RLIMIT_MEMLOCK does not count */
	uint64_t check_bytes, check_leases;     /* scratch of lease_ledger_holds */
};

/* Who wanted it, for the audit; session 0: the filesystem itself. */
struct lease_asker {
	uint64_t session;
	uint32_t uid;
	int32_t pid;
};

/* One piece under recall. It also holds what the notice of a forced end needs, so that force allocates nothing. */
struct recall {
	RB_ENTRY(recall) due; /* shard->due, while the piece is not PIECE_GOING */
	struct recall *next;  /* batch of forced pieces */
	struct piece *piece;
	uint64_t deadline_ns; /* absolute */
	uint64_t since_ns;
	enum lease_reason reason;
	enum lease_kind kind;
	struct lease_asker asker;
	struct lease_session *session; /* this and the notice: filled in when forced */
	struct lease_recall notice;
};
RB_HEAD(due_tree, recall);

struct lease_break {
	LIST_ENTRY(lease_break) of_object;
	struct lease_shard *shard;
	struct lease_object *object;
	struct range range;
	unsigned modes;
	enum lease_reason reason;
	enum lease_kind kind;
	uint64_t owner;                     /* session number; 0: nobody is spared */
	const struct lease_session *waiter; /* the owner, as long as it waits itself; for lease_interrupt */
	uint64_t tag;
	uint64_t left;     /* pieces that are not gone yet */
	uint64_t limit_ns; /* how long a holder gets at most; UINT64_MAX: as its lease says */
	uint64_t start_ns;
	bool armed;       /* left is counted */
	atomic_bool done; /* written under the shard's lock */
	bool detached;
	struct cond over;
};

struct lease_object {
	struct lease_shard *shard; /* for ever */
	struct lease_anchor *anchor;
	uint64_t number;
	struct interval_index index;
	LIST_HEAD(, lease_break) breaks;
	unsigned detached;
	unsigned denying;              /* leases with deny: without any nobody looks at the clock */
	LIST_ENTRY(lease_object) link; /* shard->spare_objects */
};

struct lease_counts {
	uint64_t grants, releases, recalls, breaks, breaks_waited, released_in_time, forced;
};

struct lease_shard {
	struct lock lock;  /* LEASE */
	struct cond moved; /* a piece left its busy state or a gate opened */
	unsigned waiters;  /* on moved */
	LIST_HEAD(, lease_wait) waits;
	_Atomic unsigned waits_n; /* length of waits, for a look without the lock */
	unsigned index;
	struct lease_arbiter *arbiter;
	struct number_table leases;
	uint64_t numbers; /* last one given out */
	struct due_tree due;
	_Atomic uint64_t next_due_ns; /* copy of the first of due for the timer; UINT64_MAX: none */
	LIST_HEAD(, lease_object) spare_objects;
	unsigned objects_used;
	bool shut; /* L36: no more grants */
	struct lease_counts counts;
};

#define LEASE_BUCKETS_MIN 16u
#define LEASE_BUCKETS_MAX 16384u
LIST_HEAD(lease_bucket, lease);

struct lease_session {
	struct lease_arbiter *arbiter;
	uint64_t id;
	const struct lease_session_ops *ops;
	void *ctx;
	struct lease_identity who;
	LIST_ENTRY(lease_session) link; /* arbiter->sessions, its ledger lock */

	struct lock lock; /* LEDGER */
	struct cond idle;
	bool closing;
	atomic_bool interrupted;         /* for good */
	atomic_ullong interrupted_below; /* tags */
	unsigned calls;                  /* callbacks under way, or about to be */
	_Atomic uint32_t leases;         /* written under lock */
	uint32_t buckets_n;              /* power of two */
	struct lease_bucket *buckets;    /* by handle */

	struct lease_account *account;
	uint64_t opened_ns;
	_Atomic uint64_t pinned_bytes, recalls, forced, slowest_ns;
};

struct trace_ring;
struct audit_ring;

struct lease_arbiter {
	struct lease_options opt;
	struct lease_shard *shards;
	struct trace_ring *trace;
	struct audit_ring *audit;
	_Atomic uint64_t pool_bytes, pool_leases, pool_bytes_max, pool_leases_max;

	struct lock ledger; /* LEDGER: sessions, accounts, timer */
	struct lease_account *accounts[LEASE_ACCOUNT_CHAINS];
	struct lease_rule default_rule, pool_rule;
	LIST_HEAD(, lease_session) sessions;
	uint64_t sessions_n;
	uint64_t session_last;
	struct cond timer;
	uint64_t timer_wakes_ns; /* until when the timer sleeps */
	bool timer_stop;
	pthread_t timer_thread;
};

/* arbiter.c */
static inline uint64_t arbiter_now(const struct lease_arbiter *a)
{
	return a->opt.clock.now_ns(a->opt.clock.ctx);
}
struct lease_shard *shard_of_object(struct lease_arbiter *a, uint64_t object);
static inline struct lease_shard *shard_of_lease(struct lease_arbiter *a, uint64_t number)
{
	return &a->shards[number & (LEASE_SHARDS - 1)];
}
/* Waits for a busy piece or a gate to move. Holds LEASE; everything must be looked up again afterwards. */
void shard_wait(struct lease_shard *sh);
/* The same until deadline_ns of the arbiter's clock: 0, or -ETIMEDOUT. */
int shard_wait_until(struct lease_shard *sh, uint64_t deadline_ns);
static inline void shard_moved(struct lease_shard *sh)
{
	if (unlikely(sh->waiters > 0))
		cond_wake_all(&sh->moved);
}
/* The anchor's object with its shard locked; NULL (and nothing locked) when nothing is leased or gated there. */
struct lease_object *object_lock(struct lease_anchor *an);
/* Makes the anchor's object if there is none; NULL: no memory. Holds LEASE. */
struct lease_object *object_get(struct lease_shard *sh, struct lease_anchor *an);
/* Gives it back when nothing is leased or gated any more. Holds LEASE. */
void object_put_if_quiet(struct lease_object *o);

/* wait.c: a thread that waits for a gate or a break and can be interrupted. Both hold LEASE. */
struct lease_wait {
	LIST_ENTRY(lease_wait) link;
	const struct lease_session *who; /* NULL: cannot be */
	uint64_t tag;
	struct cond *cond; /* what it sleeps on */
	atomic_bool interrupted;
};
void wait_begin(struct lease_shard *sh, struct lease_wait *w, struct cond *cond);
void wait_end(struct lease_shard *sh, struct lease_wait *w);

/* timer.c: which pieces are due when. All but timer_poke hold LEASE. */
void due_insert(struct lease_shard *sh, struct recall *r);
void due_remove(struct lease_shard *sh, struct recall *r);
struct recall *due_first(struct lease_shard *sh);
struct recall *due_next(struct recall *r);
/* Tells the timer about the shard's first due time. Without LEASE. */
void timer_poke(struct lease_shard *sh);
int timer_start(struct lease_arbiter *a);
void timer_stop(struct lease_arbiter *a);

/* session.c */
uint64_t session_id_or_0(const struct lease_session *s);
struct lease_asker asker_of(const struct lease_session *s);
/* Links a new lease: 0, -ESHUTDOWN when the session closes, -EDQUOT. Holds LEASE. */
int session_link(struct lease *l);
void session_unlink(struct lease *l);
/* Keeps the session until session_call_end. The caller holds LEASE and knows a lease of it. */
void session_call_begin(struct lease_session *s);
void session_call_end(struct lease_session *s);

/* piece.c; all hold LEASE. */
void lease_move(struct lease *l, enum lease_state to);
/* Cuts p at `at`, strictly inside; the new piece is the upper part. NULL: no memory. p is idle. */
struct piece *piece_split(struct piece *p, uint64_t at);
typedef bool piece_filter(const void *ctx, const struct piece *p);
/* Cuts every idle piece that the filter wants and that has `at` inside it: 0, -ENOMEM. */
int pieces_cut_at(struct lease_object *o, uint64_t at, piece_filter *wants, const void *ctx);
/* Cuts p so that it lies in range, whose part of p is not empty: 0, -ENOMEM. */
int piece_trim(struct piece **p, struct range range);
/* Joins p with like neighbours of its lease that are under no recall; p may be gone afterwards. */
void piece_merge(struct piece *p);
/* Takes p out of everything. Returns its lease when that was the last piece: the caller buries it. */
struct lease *piece_remove(struct piece *p, enum lease_state how, uint64_t now_ns);
/* Tells the pins that it is over and frees the lease. No lock of ours is held. */
void lease_bury(struct lease *l);

/* force.c */
#define LEASE_BATCH_MAX 256
struct batch {
	unsigned n;
	struct piece *pieces;  /* PIECE_GOING, of one shard, by ->batch */
	enum lease_state how;  /* LEASE_RELEASED or LEASE_REVOKED */
	struct recall *forced; /* taken, not told yet */
	struct lease *ended;
	const char *asked_by; /* for the audit; NULL: the break's asker */
};
/* Marks p as going and adds it. Holds LEASE. */
void batch_add(struct batch *b, struct piece *p);
/* Drains the pieces and takes them out. No lock of ours is held. */
void batch_take(struct lease_shard *sh, struct batch *b);
/* Tells the holders and the pins of at most max of what was taken. false: nothing is left to tell. No lock of ours. */
bool batch_tell(struct batch *b, unsigned max);
/* Takes what is due in this shard; the caller tells. No lock of ours is held. */
void force_due(struct lease_shard *sh, struct batch *b);

/* grant.c */
/* Tells that l came, ended or changed, which is, or was, for writing. Holds LEASE. */
void writer_tell(const struct lease *l);
/* How long l denies changes yet; 0: it does not. */
uint64_t deny_left(const struct lease *l, uint64_t now_ns);
/* lease_conflicts in a locked object. */
int object_conflicts(const struct lease_object *o, struct range range, unsigned modes, uint64_t owner);
/* L22: how long a lease may deny changes that asked for so long. */
uint64_t exclusive_age(const struct lease_arbiter *a, uint64_t asked);

/* recall.c */
struct recall_why {
	enum lease_reason reason;
	enum lease_kind kind;
	struct lease_asker asker;
	uint64_t now_ns;
	uint64_t limit_ns; /* how long at most */
};
struct notice {
	struct lease *lease; /* until notices_seal */
	struct lease_session *session;
	struct lease_recall text;
};
/* What is to be sent once LEASE is dropped: one notice a lease. Small breaks stay on the stack. */
struct notices {
	unsigned n, max;
	struct notice *list;
	struct notice few[4];
};
void notices_init(struct notices *out);
/* Puts p under recall, or tightens the one it is under; adds a notice when the holder must hear of it. 0, -ENOMEM (then
 * nothing changed). A holder whose time is over at once gets no notice, only the end. Holds LEASE. */
int piece_recall(struct piece *p, const struct recall_why *why, struct notices *out);
/* Before LEASE is dropped. */
void notices_seal(struct notices *out);
/* After it. Frees the list. */
void notices_send(struct notices *out, uint64_t now_ns);

/* break.c */
/* One piece of that lease left; breaks that waited for it go on. Holds LEASE. */
void breaks_piece_gone(struct lease_object *o, const struct piece *p, uint64_t now_ns);
/* p was cut in two. Holds LEASE. */
void breaks_piece_split(struct lease_object *o, const struct piece *p);
bool gate_closed(const struct lease_object *o, struct range range);

/* release.c: gives up what the lease holds of range. s NULL: whoever holds it. 0, -ENOMEM (when it must be split). */
int release_number(struct lease_shard *sh, const struct lease_session *s, uint64_t number, struct range range);

/* account.c: take is 0, -EDQUOT or (bytes over RLIMIT_MEMLOCK) -ENOMEM, with a sentence. Hold LEASE. */
int account_lease_take(struct lease_session *s);
void account_lease_give(struct lease_session *s);
int account_bytes_take(struct lease_session *s, uint64_t n);
void account_bytes_give(struct lease_session *s, uint64_t n);
/* Hold the arbiter's ledger lock. NULL: no memory. */
struct lease_account *account_get(struct lease_arbiter *a, uint32_t uid);
void account_put(struct lease_arbiter *a, struct lease_account *acc);
void accounts_free(struct lease_arbiter *a);
/* A recall ended, by release or force. */
void session_answered(struct lease_session *s, uint64_t took_ns);

/* audit.c */
int audit_new(struct audit_ring **out);
void audit_free(struct audit_ring *ring);
/* One forced revocation: a record, and a line in the log unless it had too many lately. asked_by NULL: the break's
 * asker alone. No lock of ours. */
void audit_add(struct lease_arbiter *a, const struct recall *r, const char *asked_by);

/* trace.c */
int trace_new(struct trace_ring **out);
void trace_free(struct trace_ring *t);
void trace_add(struct lease_arbiter *a, const struct lease_trace *e);
void trace_piece(const struct piece *p, enum lease_event event, uint64_t now_ns);

/* For the index. */
static inline uint64_t lease_tag(const struct lease *l)
{
	return PIECE_TAG(l->session->id, l->mode | (l->faulting ? LEASE_FAULTING : 0u));
}

static inline uint64_t deadline_after(uint64_t now_ns, uint64_t ns)
{
	uint64_t at;

	return add_overflows(now_ns, ns, &at) ? UINT64_MAX - 1 : at;
}

#endif
