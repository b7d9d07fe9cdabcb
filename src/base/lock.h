/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Locks with ranks. The list below is the documentation of who is inside whom, and what the checker enforces: a thread
 * may take a lock only when every lock it holds has a lower rank, or the same rank and a smaller order key (INODE locks
 * are taken by ascending inode number). The checker is on in builds with -Dlock_checks=true (CI's sanitizer build).
 */
#ifndef LH_BASE_LOCK_H
#define LH_BASE_LOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* Outermost first. */
#define LOCK_RANKS(X)                                                                                                  \
	X(MOUNT, "a mount: what the kernel was told and has open; a directory while it is listed")                     \
	X(MAPPING, "pointers into files: which pieces of a mapping are there")                                         \
	X(CLIENT, "a client session: its tables of calls, handles and cached leases")                                  \
	X(SESSION, "server: one client connection and its handle table")                                               \
	X(RENAME, "fs: moves of directories, one at a time")                                                           \
	X(FREEZE, "fs: shared inside every exclusive INODE, exclusive: nothing changes")                               \
	X(INODE, "fs: size, extent map and names of one inode; ascending by number")                                   \
	X(ITABLE, "fs: number to inode table")                                                                         \
	X(LIMIT, "fs: the table of limits")                                                                            \
	X(LEASE, "arbiter: leases and gates of one object")                                                            \
	X(LEDGER, "arbiter: sessions, lease numbers, timers")                                                          \
	X(PIN, "pins of one lease: which keys stand for which runs")                                                   \
	X(DEVICE, "what one device reaches, under its pin")                                                            \
	X(ALLOC, "free space of one group")                                                                            \
	X(JOURNAL, "the log's head")                                                                                   \
	X(FABRIC, "keys and completions of one peer")                                                                  \
	X(SIM, "the simulated pool's recorder")                                                                        \
	X(WATCH, "fs: the ring of changes that others are to hear of")                                                 \
	X(SEND, "the sending side of one socket")

enum lock_rank {
#define X(name, what) RANK_##name,
	LOCK_RANKS(X)
#undef X
	    LOCK_RANK_COUNT
};

struct lock {
	pthread_mutex_t mutex;
#ifdef LH_CHECK_LOCKS
	enum lock_rank rank;
	uint64_t key;
#endif
};

struct brlock;
struct rwlock {
	pthread_rwlock_t rw;
	uintptr_t outer; /* a struct brlock; its lowest bit: held exclusively, by who holds it so */
#ifdef LH_CHECK_LOCKS
	enum lock_rank rank;
	uint64_t key;
#endif
};

void lock_init(struct lock *l, enum lock_rank rank);
/* key orders locks of the same rank, ascending. */
void lock_init_keyed(struct lock *l, enum lock_rank rank, uint64_t key);
void lock_destroy(struct lock *l);
void lock_take(struct lock *l);
void lock_drop(struct lock *l);

void rwlock_init(struct rwlock *l, enum lock_rank rank, uint64_t key);
/* From now on its exclusive holders are inside b (base/brlock.h). */
void rwlock_set_outer(struct rwlock *l, struct brlock *b);
void rwlock_destroy(struct rwlock *l);
void rwlock_take_read(struct rwlock *l);
void rwlock_take_write(struct rwlock *l);
/* Never waits, and lets a writer who waits go first. Outside of the order of ranks, as nobody can be kept waiting. */
bool rwlock_try_read(struct rwlock *l);
void rwlock_drop(struct rwlock *l);

/* A condition waited for with one struct lock held; absolute CLOCK_MONOTONIC deadline, UINT64_MAX waits for ever. */
struct cond {
	pthread_cond_t cond;
};
void cond_init(struct cond *c);
void cond_destroy(struct cond *c);
void cond_wait(struct cond *c, struct lock *l);
/* 0, or -ETIMEDOUT. */
int cond_wait_until(struct cond *c, struct lock *l, uint64_t deadline_ns);
void cond_wake_all(struct cond *c);

/* Builds with lock checks: aborts with both names unless this thread holds (or holds no) lock of the rank. */
void lock_assert_held(enum lock_rank rank);
void lock_assert_not_held(enum lock_rank rank);
/* Asserts that this thread holds no lock at all: before waiting for a peer. A mount's are its own: it is a program that
 * uses the library, and of a peer wait only those who do the same with the same directory. */
void lock_assert_none(void);
const char *lock_rank_name(enum lock_rank rank);
/* For other kinds of locks: the checker hears of them. */
void lock_note_taken(const void *lock, enum lock_rank rank);
void lock_note_dropped(const void *lock);

#endif
