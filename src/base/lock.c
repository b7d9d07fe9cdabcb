/* SPDX-License-Identifier: BSD-2-Clause */
/* The rank checker keeps a small stack of held locks per thread; an order violation aborts and names both locks. */
#include "base/lock.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/brlock.h"
#include "base/clock.h"
#include "base/types.h"

#define OUTER_EXCLUSIVE ((uintptr_t)1)
#define WAITING_SLOTS   256u

static const char *const rank_names[LOCK_RANK_COUNT] = {
#define X(name, what) [RANK_##name] = #name,
    LOCK_RANKS(X)
#undef X
};

const char *lock_rank_name(enum lock_rank rank)
{
	return rank_names[rank];
}

#ifdef LH_CHECK_LOCKS
#define HELD_MAX 16

#define rank_of(l) ((l)->rank)
#define key_of(l)  ((l)->key)

struct held {
	const void *lock;
	enum lock_rank rank;
	uint64_t key;
};
static _Thread_local struct held held[HELD_MAX];
static _Thread_local unsigned held_count;
/* Locks that were tried for: a mover has many inodes, shared, in any order; only how many is known. */
static _Thread_local unsigned tried_count;

static void held_push(const void *lock, enum lock_rank rank, uint64_t key)
{
	for (unsigned i = 0; i < held_count; i++) {
		const struct held *h = &held[i];

		if (h->lock == lock || h->rank > rank || (h->rank == rank && h->key >= key)) {
			fprintf(stderr, "lock order: taking %s key %llu while holding %s key %llu\n", rank_names[rank],
				(unsigned long long)key, rank_names[h->rank], (unsigned long long)h->key);
			abort();
		}
	}
	assert(held_count < HELD_MAX);
	held[held_count++] = (struct held){lock, rank, key};
}

/* Who only tries waits for nobody: the order does not matter. */
static void held_push_tried(void)
{
	tried_count++;
}

static void held_pop(const void *lock)
{
	for (unsigned i = held_count; i-- > 0;) {
		if (held[i].lock != lock)
			continue;
		held[i] = held[--held_count];
		return;
	}
	if (tried_count > 0) {
		tried_count--;
		return;
	}
	fprintf(stderr, "lock order: dropping a lock that this thread does not hold\n");
	abort();
}

static bool held_rank(enum lock_rank rank)
{
	for (unsigned i = 0; i < held_count; i++) {
		if (held[i].rank == rank)
			return true;
	}
	return false;
}

void lock_assert_held(enum lock_rank rank)
{
	assert(held_rank(rank));
}

void lock_assert_not_held(enum lock_rank rank)
{
	assert(!held_rank(rank));
}

void lock_assert_none(void)
{
	assert(tried_count == 0);
	for (unsigned i = 0; i < held_count; i++)
		assert(held[i].rank == RANK_MOUNT);
}
#else
static void held_push(const void *lock, enum lock_rank rank, uint64_t key)
{
}
static void held_push_tried(void)
{
}
#define rank_of(l) ((enum lock_rank)0)
#define key_of(l)  ((uint64_t)0)
static void held_pop(const void *lock)
{
}
void lock_assert_held(enum lock_rank rank)
{
}
void lock_assert_not_held(enum lock_rank rank)
{
}
void lock_assert_none(void)
{
}
#endif

void lock_note_taken(const void *lock, enum lock_rank rank)
{
	held_push(lock, rank, 0);
}

void lock_note_dropped(const void *lock)
{
	held_pop(lock);
}

/* A failing mutex call is a bug of ours (a bad pointer, a deadlock); there is nothing to recover. */
static void must(int err)
{
	if (unlikely(err != 0)) {
		fprintf(stderr, "lock: pthread call failed with %d\n", err);
		abort();
	}
}

void lock_init_keyed(struct lock *l, enum lock_rank rank, uint64_t key)
{
	must(pthread_mutex_init(&l->mutex, NULL));
#ifdef LH_CHECK_LOCKS
	l->rank = rank;
	l->key = key;
#endif
}

void lock_init(struct lock *l, enum lock_rank rank)
{
	lock_init_keyed(l, rank, 0);
}

void lock_destroy(struct lock *l)
{
	must(pthread_mutex_destroy(&l->mutex));
}

void lock_take(struct lock *l)
{
	held_push(l, rank_of(l), key_of(l));
	must(pthread_mutex_lock(&l->mutex));
}

void lock_drop(struct lock *l)
{
	held_pop(l);
	must(pthread_mutex_unlock(&l->mutex));
}

void rwlock_init(struct rwlock *l, enum lock_rank rank, uint64_t key)
{
	must(pthread_rwlock_init(&l->rw, NULL));
#ifdef LH_CHECK_LOCKS
	l->rank = rank;
	l->key = key;
#endif
	l->outer = 0;
}

void rwlock_set_outer(struct rwlock *l, struct brlock *b)
{
	assert(((uintptr_t)b & OUTER_EXCLUSIVE) == 0);
	l->outer = (uintptr_t)b;
}

void rwlock_destroy(struct rwlock *l)
{
	must(pthread_rwlock_destroy(&l->rw));
}

void rwlock_take_read(struct rwlock *l)
{
	held_push(l, rank_of(l), key_of(l));
	must(pthread_rwlock_rdlock(&l->rw));
}

/* An exclusive holder marks it, while others look what is around the lock. */
static uintptr_t outer_read(const struct rwlock *l)
{
	return __atomic_load_n(&l->outer, __ATOMIC_RELAXED);
}

static struct brlock *outer_of(uintptr_t outer)
{
	return (struct brlock *)(outer & ~OUTER_EXCLUSIVE);
}

/*
 * How many wait for exclusive locks, by the lock's address: two locks may share a count, which only makes a try fail.
 * The rwlocks of glibc prefer readers, so that those who come again and again without waiting would keep writers out.
 */
static _Atomic uint32_t writers_waiting[WAITING_SLOTS];

static _Atomic uint32_t *waiting_of(const struct rwlock *l)
{
	return &writers_waiting[((uintptr_t)l >> 6 ^ (uintptr_t)l >> 14) % WAITING_SLOTS];
}

void rwlock_take_write(struct rwlock *l)
{
	struct brlock *outer = outer_of(outer_read(l));

	if (outer)
		brlock_enter(outer);
	held_push(l, rank_of(l), key_of(l));
	if (unlikely(pthread_rwlock_trywrlock(&l->rw) != 0)) {
		atomic_fetch_add_explicit(waiting_of(l), 1, memory_order_relaxed);
		must(pthread_rwlock_wrlock(&l->rw));
		atomic_fetch_sub_explicit(waiting_of(l), 1, memory_order_relaxed);
	}
	__atomic_store_n(&l->outer, outer_read(l) | OUTER_EXCLUSIVE, __ATOMIC_RELAXED);
}

bool rwlock_try_read(struct rwlock *l)
{
	if (atomic_load_explicit(waiting_of(l), memory_order_relaxed) > 0 || pthread_rwlock_tryrdlock(&l->rw) != 0)
		return false;
	held_push_tried();
	return true;
}

void rwlock_drop(struct rwlock *l)
{
	uintptr_t outer = outer_read(l);

	/* Shared holders only read it. */
	if (outer & OUTER_EXCLUSIVE)
		__atomic_store_n(&l->outer, outer & ~OUTER_EXCLUSIVE, __ATOMIC_RELAXED);
	held_pop(l);
	must(pthread_rwlock_unlock(&l->rw));
	if ((outer & OUTER_EXCLUSIVE) && outer_of(outer))
		brlock_leave(outer_of(outer));
}

void cond_init(struct cond *c)
{
	pthread_condattr_t attr;

	must(pthread_condattr_init(&attr));
	must(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC));
	must(pthread_cond_init(&c->cond, &attr));
	must(pthread_condattr_destroy(&attr));
}

void cond_destroy(struct cond *c)
{
	must(pthread_cond_destroy(&c->cond));
}

void cond_wait(struct cond *c, struct lock *l)
{
	must(pthread_cond_wait(&c->cond, &l->mutex));
}

int cond_wait_until(struct cond *c, struct lock *l, uint64_t deadline_ns)
{
	struct timespec ts = {.tv_sec = (time_t)(deadline_ns / NS_PER_SEC),
			      .tv_nsec = (long)(deadline_ns % NS_PER_SEC)};
	int err;

	if (deadline_ns == UINT64_MAX) {
		cond_wait(c, l);
		return 0;
	}
	err = pthread_cond_timedwait(&c->cond, &l->mutex, &ts);
	if (err == ETIMEDOUT)
		return -ETIMEDOUT;
	must(err);
	return 0;
}

void cond_wake_all(struct cond *c)
{
	must(pthread_cond_broadcast(&c->cond));
}
