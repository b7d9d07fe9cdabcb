/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * leasehold conformance: one check for every rule L1-L36 of docs/semantics.md, by public calls and bytes on sockets
 * only.
 *
 * Three kinds of processes, all of them this program again (posix_spawn, never a bare fork):
 *   runner   has no session of its own: it starts the others, draws the table, and survives whatever they meet
 *   worker   makes the cases of one rule over one way; a case that fails ends its process (no state to repair), and the
 *            runner starts another one at the next case. Crashes and hangs are failures of the case that was running
 *   child    a server of our own, or a holder that is to be stopped or killed
 * They share a *board*: memory in which a process finds what it is to do and leaves what it saw; it outlives them.
 */
#ifndef LH_CLI_CONFORMANCE_H
#define LH_CLI_CONFORMANCE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <leasehold/leasehold.h>

#include "base/clock.h"

#define CF_RULES     36u
#define CF_LONG_RULE 37u /* the long mode counts as one more */
#define CF_CASES_MAX 96u /* results of one rule over one way: cases times variants */
#define CF_SAW_MAX   200u
#define CF_BLOCK     4096ull
#define CF_KIB       1024ull
#define CF_MIB       (1024ull * CF_KIB)
#define CF_DEADLINE                                                                                                    \
	(100 * NS_PER_MS)         /* of our servers' leases, and asked for with every lease that is not answered       \
				   */
#define CF_LONG (20 * NS_PER_SEC) /* of leases whose holder answers: nobody waits so long unless something is wrong */

/* --- what is tested --- */

enum cf_way { CF_PROCESS, CF_UNIX, CF_TCP, CF_WAYS };
const char *cf_way_name(enum cf_way way);

/* Who holds and who changes, over which data path. */
enum cf_end { CF_END_LOCAL, CF_END_RING, CF_END_STREAM, CF_END_TCP };
struct cf_variant {
	const char *name;
	enum cf_end holder, changer;
	bool faulting;
};

#define CF_ONCE     1u   /* the first variant only */
#define CF_FAULTING 2u   /* also with faulting leases */
#define CF_OWN      4u   /* starts servers of its own: POOL only, and once for all ways */
#define CF_ROOT     8u   /* needs root on this machine, in us and in the server */
#define CF_ADMIN    16u  /* needs a session that administers the pool */
#define CF_REMOTE   32u  /* not where the holder is in the process of the pool */
#define CF_LOCAL    64u  /* only in the process of the pool */
#define CF_STREAM   128u /* only where the holder's data goes over a stream */
#define CF_HERE     256u /* only while the pool is in this process */
#define CF_ALONE    512u /* nobody else may use the target: POOL only */

struct cf;
struct cf_child;
struct cf_case {
	const char *name; /* what it does, as a sentence */
	void (*run)(struct cf *c);
	unsigned flags;
	const char *fails; /* what would make it fail */
};
struct cf_rule {
	const char *text;
	const struct cf_case *cases;
	unsigned count;
};
/* number: 1 to CF_RULES. */
const struct cf_rule *cf_rule(unsigned number);
#define CF_RULE(n, words)                                                                                              \
	const struct cf_rule cf_rule_##n = {.text = words, .cases = cases_##n, .count = ARRAY_LEN(cases_##n)}

/* --- boards --- */

enum cf_result { CF_NONE, CF_RUNNING, CF_PASSED, CF_FAILED, CF_SKIPPED, CF_ABSENT /* skipped: not in this version */ };

struct cf_case_result {
	uint32_t result; /* enum cf_result */
	uint32_t index;  /* of the case in its rule */
	char variant[32];
	char saw[CF_SAW_MAX];
	uint64_t took_ns;
};

struct cf_config {
	uint32_t way;
	bool owned; /* the servers are ours: nobody else is there, and they can be started anew */
	bool no_ring, no_stream, no_pinned, no_faulting;
	bool has_path; /* pool: a POOL was given */
	char pool[256];
	char unix_address[160], tcp_address[160]; /* of the target; "" none */
	char dir[96];                             /* ours, outside: sockets, scratch pools */
	char top[64];                             /* directory of the filesystem in which `work` is made */
	char work[160];                           /* ours, in the filesystem */
	int32_t server;                           /* pid of our server; 0: there is none */
	uint64_t seed;
	double scale;
	uint64_t revocations; /* the long mode; 0: not it */
};

struct cf_board {
	struct cf_config config;
	uint32_t rule;
	uint32_t first;         /* result to begin with */
	_Atomic uint32_t count; /* results so far */
	_Atomic uint64_t progress, progress_total;
	struct cf_case_result result[CF_CASES_MAX];
};

/* Memory that a child can map by the number of its descriptor. */
void *cf_board_make(size_t size, int *fd);
void *cf_board_map(const char *fd, size_t size);
/* This program again: `leasehold conformance --part NAME --board FD`. Ends when its parent does. -errno. */
int cf_spawn(const char *part, int fd, pid_t *pid);
/* The parts' main functions. */
int cf_worker_main(struct cf_board *board);
int cf_serve_main(const char *fd);
int cf_child_main(const char *fd);

/* --- servers of our own --- */

struct cf_server_board {
	char pool[256], unix_address[160];
	uint64_t deadline_ns, session_timeout_ns, grace_ns, orphan_limit_ns;
	uint32_t tcp_uid, tcp_gid;
	bool no_tcp;
	uint32_t socket_mode;
	/* Its own. */
	char tcp_address[160], text[256];
	_Atomic uint32_t ready; /* 1: serves; 2: failed */
	_Atomic uint32_t stop;
};
struct cf_server {
	struct cf_server_board *board;
	int fd;
	pid_t pid;
};
/* A board with defaults for a pool; then cf_server_start. */
int cf_server_new(struct cf_server *s, const char *dir, const char *pool, const char *name);
int cf_server_start(struct cf_server *s);
/* In order: its exit status, -1 when it was ended by a signal. */
int cf_server_stop(struct cf_server *s);
void cf_server_kill(struct cf_server *s);
void cf_server_free(struct cf_server *s);
/* On a pool file of the case's own, removed with it; filled like cf_server_new's board before it starts. */
struct cf;
void cf_scratch(struct cf *c, struct cf_server *s, uint64_t bytes);
void cf_scratch_end(struct cf *c, struct cf_server *s);
const char *cf_scratch_address(struct cf *c, const struct cf_server *s);

/* --- the frame of a case --- */

#define CF_KEEP_MAX 512u

struct cf_keep {
	enum { CF_KEEP_SESSION, CF_KEEP_FILE, CF_KEEP_LEASE, CF_KEEP_CHILD } kind;
	struct lh_file *file; /* of a lease */
	void *what;
};

struct cf {
	struct cf_board *board;
	const struct cf_config *config;
	const struct cf_case *now;
	struct cf_variant variant;
	struct cf_case_result *result;
	struct lh_fs *local; /* the filesystem in this process; NULL: remote target */
	struct lh_server *by_unix, *by_tcp;
	struct lh_fs *a, *b; /* the holder's session and the changer's */
	uint64_t seed;
	unsigned serial;
	struct cf_keep keep[CF_KEEP_MAX];
	unsigned kept;
	pthread_mutex_t lock; /* of keep */
};

/* End the case, and this process. */
_Noreturn void cf_fail(struct cf *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
_Noreturn void cf_skip(struct cf *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
_Noreturn void cf_absent(struct cf *c, const char *what);
/* What a case that passes has seen; the last one counts. */
void cf_saw(struct cf *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int64_t cf_check(struct cf *c, int64_t result, const char *call);
void cf_check_is(struct cf *c, int64_t result, int64_t want, const char *call);

/* The call succeeds; its value. -EOPNOTSUPP: the case is skipped. */
#define OK(c, call)       cf_check((c), (call), #call)
#define IS(c, call, want) cf_check_is((c), (call), (want), #call)
#define NEED(c, cond, ...)                                                                                             \
	do {                                                                                                           \
		if (!(cond))                                                                                           \
			cf_fail((c), __VA_ARGS__);                                                                     \
	} while (0)

/* For the frame: a child is killed after the case; and everything that the case took is given back. */
void cf_keep_child(struct cf *c, struct cf_child *h);
void cf_give_back(struct cf *c);
void cf_keep_file(struct cf *c, struct lh_file *file);

uint64_t cf_draw(struct cf *c, uint64_t below); /* below `below`; 0: any */
void cf_sleep(uint64_t ns);
/* n times the scale, at least min. */
unsigned cf_scaled(const struct cf *c, unsigned n, unsigned min);

/* Sessions, closed after the case. */
struct lh_fs *cf_session(struct cf *c, enum cf_end end);
struct lh_fs *cf_session_with(struct cf *c, enum cf_end end, const struct lh_open_options *opt, const char *address);
const char *cf_address(const struct cf *c, enum cf_end end);
void cf_session_close(struct cf *c, struct lh_fs *fs);
bool cf_admin(struct cf *c, struct lh_fs *fs);

/* Files of the work directory: removed after the case. Blocks are stamped with their owner's number. */
struct cf_made {
	char path[224];
	uint64_t owner, size;
};
/* A new stamped file of size bytes, open for reading and writing. */
struct lh_file *cf_make(struct cf *c, struct lh_fs *fs, uint64_t size, struct cf_made *made);
struct lh_file *cf_open(struct cf *c, struct lh_fs *fs, const struct cf_made *made, int flags);
void cf_close(struct cf *c, struct lh_file *file);
/* Stamps of version 1, by calls. */
void cf_fill(struct cf *c, struct lh_file *file, uint64_t off, uint64_t len, uint64_t owner, uint64_t version);
uint64_t cf_owner(struct cf *c);
/* Reads by calls: every cell is the owner's. */
void cf_same(struct cf *c, struct lh_file *file, uint64_t off, uint64_t len, uint64_t owner);
void cf_lease_same(struct cf *c, struct lh_lease *lease, uint64_t off, uint64_t len, uint64_t owner);
struct lh_stat cf_stat(struct cf *c, struct lh_file *file);

/* A cell is 32 bytes: whose, which, version, and their sum. */
#define CF_CELL 32u
struct cf_seen {
	uint64_t own, zero, foreign; /* cells; foreign: anything else */
	uint64_t bad_off, bad_owner; /* of the first foreign one */
	uint64_t low, high;          /* versions of own ones */
};
void cf_stamp(void *buf, size_t len, uint64_t owner, uint64_t off, uint64_t version);
void cf_look(const void *buf, size_t len, uint64_t owner, uint64_t off, struct cf_seen *seen);
/* Cells of that owner, wherever they belong. */
uint64_t cf_cells_of(const void *buf, size_t len, uint64_t owner);

/* Leases; the variant's kind (pinned or faulting) is added. Released after the case. */
struct lh_lease *cf_lease(struct cf *c, struct lh_file *file, uint64_t off, uint64_t len, uint32_t flags);
struct lh_lease *cf_lease_within(struct cf *c, struct lh_file *file, uint64_t off, uint64_t len, uint32_t flags,
				 uint64_t deadline_ns);
/* -errno instead of a failed case. */
int cf_try_lease(struct cf *c, struct lh_file *file, uint64_t off, uint64_t len, const struct lh_lease_options *opt,
		 struct lh_lease **out);
void cf_release(struct cf *c, struct lh_lease *lease);
struct lh_lease_state cf_state(struct cf *c, struct lh_lease *lease);
struct lh_lease_extent cf_key(struct cf *c, struct lh_lease *lease);
struct lh_lease_stats cf_stats(struct cf *c, struct lh_fs *fs);
/* The next event within some seconds. */
struct lh_event cf_event(struct cf *c, struct lh_fs *fs);
bool cf_no_event(struct lh_fs *fs);
/* Waits until cond(arg) is true; false: it never was. */
bool cf_until(bool (*cond)(void *arg), void *arg, uint64_t within_ns);

/* One call in a thread of its own. */
struct cf_task {
	struct cf *c;
	int64_t (*run)(struct cf_task *t);
	struct lh_file *file, *other;
	struct lh_fs *fs;
	struct lh_lease *lease;
	uint64_t off, len;
	void *arg;
	int64_t result;
	uint64_t began_ns, took_ns;
	_Atomic bool done;
	char text[160];
	pthread_t thread;
};
void cf_go(struct cf *c, struct cf_task *t);
int64_t cf_join(struct cf *c, struct cf_task *t);
int64_t cf_run_relocate(struct cf_task *t);
int64_t cf_run_truncate(struct cf_task *t); /* to t->off */
int64_t cf_run_punch(struct cf_task *t);

/* --- conformance_late.c: how much of a delay the machine explains, and not what is tested --- */

#define CF_BUSY         (3 * NS_PER_MS) /* a plain timer that is so late: others want the processors */
#define CF_LATE_THREADS 2048u           /* of both processes; more are not looked at: then less is explained */

/* Of one thread: how long the kernel let it wait for a processor although it could run. */
struct cf_queued {
	pid_t tid;
	uint64_t ns;
};
struct cf_late {
	pid_t pid[2];       /* ours, and the server's; 0: not to be looked at */
	bool exact;         /* the kernel says how long threads waited; else only the timer is known */
	_Atomic pid_t self; /* the timer's thread, which disturbs nobody but itself */
	pthread_t thread;
	_Atomic bool stop;
	_Atomic uint64_t worst_ns;
	struct cf_queued before[CF_LATE_THREADS];
	unsigned count;
};
void cf_late_begin(struct cf *c, struct cf_late *l);
/* From here on. */
void cf_late_mark(struct cf_late *l);
/* What the machine explains since the mark. *timer_ns: by how much a plain timer was late at most; may be NULL. */
uint64_t cf_late_take(struct cf_late *l, uint64_t *timer_ns);
void cf_late_end(struct cf_late *l);

/* Numbers, and what people call p50, p99 and max of them. */
struct cf_numbers {
	uint64_t *v;
	unsigned count, room;
};
void cf_number(struct cf *c, struct cf_numbers *n, uint64_t v);
uint64_t cf_percentile(struct cf_numbers *n, double p);
void cf_numbers_free(struct cf_numbers *n);

/* --- holders in processes of their own --- */

enum cf_work {
	CF_HOLD,   /* holds and never answers */
	CF_READ,   /* reads in a loop; every byte must be the owner's or, if `zeroes`, zero */
	CF_WRITE,  /* writes its stamps in a loop */
	CF_ASK,    /* takes leases in a loop and never gives one back */
	CF_RAW,    /* gives everything back at once, and goes on with the keys that it had */
	CF_ATTACK, /* the long mode: conformance_long.c */
	CF_COME    /* opens sessions, takes leases, and vanishes, again and again */
};
#define CF_KEYS_MAX 16u
struct cf_child_board {
	uint32_t work; /* enum cf_work */
	char address[160], path[224];
	uint32_t fabric, flags, uid; /* uid: UINT32_MAX: ours */
	uint64_t off, len, deadline_ns, owner, seed;
	uint64_t memlock; /* its RLIMIT_MEMLOCK; 0: as ours */
	bool zeroes;
	/* Its own. */
	_Atomic uint32_t ready, stop, ended;
	_Atomic uint64_t rounds, refused, foreign, errors;
	struct lh_lease_extent keys[CF_KEYS_MAX];
	_Atomic uint32_t key_count;
	int32_t error;
	char text[256];
};
/* CF_ATTACK's main function. */
int cf_attack(struct cf_child_board *b);
struct cf_child {
	struct cf_child_board *board;
	int fd;
	pid_t pid;
};
/* A holder of made's file over the variant's holder's way. Killed after the case at the latest. */
struct cf_child *cf_child_new(struct cf *c, enum cf_work work, const struct cf_made *made);
void cf_child_start(struct cf *c, struct cf_child *h);
/* It cannot start, with this error. */
void cf_child_expect(struct cf *c, struct cf_child *h, int err);
void cf_child_rounds(struct cf *c, struct cf_child *h, uint64_t more);
void cf_child_signal(struct cf *c, struct cf_child *h, int sig);
/* Tells it to end and waits; fails the case when the child has something to complain about. */
void cf_child_end(struct cf *c, struct cf_child *h);
void cf_child_kill(struct cf_child *h);

/* --- the protocol by hand (docs/protocol.md), for what no well-behaved library would send --- */

struct cf_wire {
	int fd;
	uint64_t seq, epoch, session, boot;
	uint8_t token[16];
	uint32_t version;
	uint8_t in[1 << 16]; /* the last reply's body */
	size_t in_len;
	uint32_t status;            /* of the last reply */
	uint64_t recalled, revoked; /* the lease of the last such event; 0: none */
};
/* A connection of the variant's holder's way, without a word. -1: refused. */
int cf_wire_connect(struct cf *c, enum cf_end end);
/* And HELLO. */
void cf_wire_open(struct cf *c, struct cf_wire *w, enum cf_end end);
void cf_wire_open_at(struct cf *c, struct cf_wire *w, const char *address);
void cf_wire_close(struct cf_wire *w);
/* Sends a request with this body and waits for its answer: the status (positive errno), -1: the connection has ended.
 */
int cf_wire_call(struct cf_wire *w, unsigned type, const void *body, size_t len);
/* Takes events until there is none for this long; false: the connection has ended. */
bool cf_wire_events(struct cf_wire *w, uint64_t within_ns);
uint64_t cf_wire_file(struct cf *c, struct cf_wire *w, const char *path, bool write);
struct cf_wire_lease {
	uint64_t number, key, key_off, key_len, size;
};
int cf_wire_lease(struct cf_wire *w, uint64_t handle, uint64_t off, uint64_t len, uint32_t mode, uint64_t deadline_ns,
		  struct cf_wire_lease *out);
int cf_wire_release(struct cf_wire *w, uint64_t number);
/* Nobody else says for a session by hand that it lives: often enough for its lease time (L34). */
void cf_wire_alive(struct cf *c, struct cf_wire *w);
int cf_wire_file_close(struct cf_wire *w, uint64_t handle);
/* A data path of the session, stream. */
int cf_wire_data(struct cf *c, struct cf_wire *w, enum cf_end end);
/* docs/protocol-fabric.md: one request of 32 bytes. */
bool cf_stream_request(int fd, bool write, uint64_t key, uint64_t off, uint64_t len);
/* All of len, or less when nothing comes for long. */
size_t cf_stream_take(int fd, uint8_t *p, size_t len);

/* --- for the runner --- */

struct cf_report {
	bool json, terminal, color;
	void *list; /* json_t * */
	unsigned passed, failed, skipped;
	uint64_t began_ns, said_ns;
};
void cf_report_begin(struct cf_report *r, const struct cf_config *config, const char *target, bool json);
void cf_report_way(struct cf_report *r, const struct cf_config *config);
void cf_report_progress(struct cf_report *r, const struct cf_board *b, uint64_t began_ns);
void cf_report_rule(struct cf_report *r, const struct cf_board *b, uint64_t took_ns);
/* false: something failed. */
bool cf_report_end(struct cf_report *r, const struct cf_config *config, const char *target);

#endif
