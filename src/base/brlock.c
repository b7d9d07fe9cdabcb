/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The two sides meet in sequentially consistent order: a newcomer counts itself in and then looks whether it is closed,
 * the closer closes and then counts. So at least one of them sees the other. Who counted itself in and finds it closed
 * counts itself out again and waits.
 */
#include "base/brlock.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/types.h"

/* This thread: which lock it is in, how often, and in whose slot it counts. */
struct here {
	const struct brlock *lock;
	uint32_t depth;
	uint32_t slot; /* 1 and up; 0: none yet */
	bool closer;
};
static _Thread_local struct here here __attribute__((tls_model("initial-exec")));

static void must(int err)
{
	if (unlikely(err != 0)) {
		fprintf(stderr, "brlock: pthread call failed with %d\n", err);
		abort();
	}
}

void brlock_init(struct brlock *b, enum lock_rank rank)
{
	for (unsigned k = 0; k < BRLOCK_SLOTS; k++)
		atomic_init(&b->slot[k].inside, 0);
	atomic_init(&b->closed, false);
	b->rank = rank;
	must(pthread_mutex_init(&b->mutex, NULL));
	must(pthread_cond_init(&b->changed, NULL));
}

void brlock_destroy(struct brlock *b)
{
	must(pthread_cond_destroy(&b->changed));
	must(pthread_mutex_destroy(&b->mutex));
}

static _Atomic uint32_t *my_slot(struct brlock *b)
{
	static _Atomic uint32_t threads;

	if (unlikely(here.slot == 0))
		here.slot = 1 + atomic_fetch_add(&threads, 1) % BRLOCK_SLOTS;
	return &b->slot[here.slot - 1].inside;
}

static void leave_slot(struct brlock *b)
{
	atomic_fetch_sub(my_slot(b), 1);
	if (likely(!atomic_load(&b->closed)))
		return;
	must(pthread_mutex_lock(&b->mutex));
	must(pthread_cond_broadcast(&b->changed));
	must(pthread_mutex_unlock(&b->mutex));
}

static void wait_open(struct brlock *b)
{
	must(pthread_mutex_lock(&b->mutex));
	while (atomic_load(&b->closed))
		must(pthread_cond_wait(&b->changed, &b->mutex));
	must(pthread_mutex_unlock(&b->mutex));
}

void brlock_enter(struct brlock *b)
{
	if (here.depth > 0) {
		assert(here.lock == b);
		here.depth++;
		return;
	}
	lock_note_taken(b, b->rank);
	for (;;) {
		atomic_fetch_add(my_slot(b), 1);
		if (likely(!atomic_load(&b->closed)))
			break;
		leave_slot(b);
		wait_open(b);
	}
	here.lock = b;
	here.depth = 1;
}

bool brlock_try_enter(struct brlock *b)
{
	if (here.depth == 0) {
		atomic_fetch_add(my_slot(b), 1);
		if (unlikely(atomic_load(&b->closed))) {
			leave_slot(b);
			return false;
		}
		lock_note_taken(b, b->rank);
		here.lock = b;
	}
	assert(here.lock == b);
	here.depth++;
	return true;
}

void brlock_leave(struct brlock *b)
{
	assert(here.lock == b && here.depth > 0);
	if (--here.depth > 0)
		return;
	here.lock = NULL;
	leave_slot(b);
	lock_note_dropped(b);
}

static bool anybody_inside(const struct brlock *b)
{
	for (unsigned k = 0; k < BRLOCK_SLOTS; k++) {
		if (atomic_load(&b->slot[k].inside) > 0)
			return true;
	}
	return false;
}

void brlock_close(struct brlock *b)
{
	assert(here.depth == 0);
	lock_note_taken(b, b->rank);
	must(pthread_mutex_lock(&b->mutex));
	while (atomic_load(&b->closed))
		must(pthread_cond_wait(&b->changed, &b->mutex));
	atomic_store(&b->closed, true);
	while (anybody_inside(b))
		must(pthread_cond_wait(&b->changed, &b->mutex));
	must(pthread_mutex_unlock(&b->mutex));
	here.lock = b;
	here.depth = 1;
	here.closer = true;
}

void brlock_open(struct brlock *b)
{
	assert(here.lock == b && here.depth == 1 && here.closer);
	here.lock = NULL;
	here.depth = 0;
	here.closer = false;
	must(pthread_mutex_lock(&b->mutex));
	atomic_store(&b->closed, false);
	must(pthread_cond_broadcast(&b->changed));
	must(pthread_mutex_unlock(&b->mutex));
	lock_note_dropped(b);
}

bool brlock_is_mine(const struct brlock *b)
{
	return here.closer && here.lock == b;
}
