/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A big-reader lock: shared holders pay one atomic addition in a cache line that few others touch; the exclusive holder
 * pays for all of them. Shared holding nests: a thread that is inside comes in again without looking, so that a waiting
 * exclusive holder and a nested shared one cannot wait for each other. One brlock at a time and thread.
 *
 * An rwlock may have one around it (rwlock_set_outer): whoever takes the rwlock exclusively is inside the brlock. So
 * nobody who forgets about the brlock can change what the rwlock protects while another thread holds it exclusively.
 */
#ifndef LH_BASE_BRLOCK_H
#define LH_BASE_BRLOCK_H

#include "base/lock.h"

#define BRLOCK_SLOTS 64u
#define CACHE_LINE   64u

struct brlock_slot {
	_Alignas(CACHE_LINE) _Atomic uint32_t inside;
};

struct brlock {
	struct brlock_slot slot[BRLOCK_SLOTS];
	_Alignas(CACHE_LINE) _Atomic bool closed;
	enum lock_rank rank;
	pthread_mutex_t mutex;
	pthread_cond_t changed;
};

void brlock_init(struct brlock *b, enum lock_rank rank);
void brlock_destroy(struct brlock *b);
void brlock_enter(struct brlock *b);
/* Never waits: false when somebody has it closed, or wants to. */
bool brlock_try_enter(struct brlock *b);
void brlock_leave(struct brlock *b);
/* Waits until everybody has left; newcomers wait. The holder may enter and leave too. Not from inside. */
void brlock_close(struct brlock *b);
void brlock_open(struct brlock *b);
/* Whether this thread has it closed. */
bool brlock_is_mine(const struct brlock *b);

#endif
