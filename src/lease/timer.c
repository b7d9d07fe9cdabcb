/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The only owner of deadlines. Each shard keeps its recalled pieces by deadline, and publishes the first one in an
 * atomic; the timer thread sleeps until the smallest of these. It looks at them and goes to sleep under the arbiter's
 * ledger lock, and whoever brings a deadline forward takes that lock after publishing it, so that no wake-up is lost.
 */
#include "lease/lease_internal.h"

#include <assert.h>

#include "base/clock.h"
#include "base/error.h"

/* How many are told of their end before the timer looks whether somebody else's time is up. */
#define TELL_AT_ONCE 16

static int recall_cmp(const struct recall *a, const struct recall *b)
{
	if (a->deadline_ns != b->deadline_ns)
		return a->deadline_ns < b->deadline_ns ? -1 : 1;
	if (a == b)
		return 0;
	return (uintptr_t)a < (uintptr_t)b ? -1 : 1;
}

RB_GENERATE_INTERNAL(due_tree, recall, due, recall_cmp, __attribute__((unused)) static)

static void due_publish(struct lease_shard *sh)
{
	const struct recall *r = RB_MIN(due_tree, &sh->due);

	lock_assert_held(RANK_LEASE);
	atomic_store_explicit(&sh->next_due_ns, r ? r->deadline_ns : UINT64_MAX, memory_order_release);
}

void due_insert(struct lease_shard *sh, struct recall *r)
{
	struct recall *twin = RB_INSERT(due_tree, &sh->due, r);

	assert(!twin);
	(void)twin;
	due_publish(sh);
}

void due_remove(struct lease_shard *sh, struct recall *r)
{
	RB_REMOVE(due_tree, &sh->due, r);
	due_publish(sh);
}

struct recall *due_first(struct lease_shard *sh)
{
	return RB_MIN(due_tree, &sh->due);
}

struct recall *due_next(struct recall *r)
{
	return RB_NEXT(due_tree, NULL, r);
}

void timer_poke(struct lease_shard *sh)
{
	struct lease_arbiter *a = sh->arbiter;
	uint64_t due = atomic_load_explicit(&sh->next_due_ns, memory_order_acquire);

	if (due == UINT64_MAX || a->opt.no_timer_thread)
		return;
	lock_take(&a->ledger);
	if (due < a->timer_wakes_ns)
		cond_wake_all(&a->timer);
	lock_drop(&a->ledger);
}

static void take_due(struct lease_arbiter *a, struct batch *b)
{
	uint64_t now = arbiter_now(a);

	for (unsigned i = 0; i < LEASE_SHARDS; i++) {
		struct lease_shard *sh = &a->shards[i];

		if (atomic_load_explicit(&sh->next_due_ns, memory_order_acquire) <= now)
			force_due(sh, b);
	}
}

/* A fake clock wakes nobody by itself. */
static void wake_waiters(struct lease_arbiter *a)
{
	for (unsigned i = 0; i < LEASE_SHARDS; i++) {
		lock_take(&a->shards[i].lock);
		shard_moved(&a->shards[i]);
		lock_drop(&a->shards[i].lock);
	}
}

void lease_tick(struct lease_arbiter *a)
{
	struct batch b = {.how = LEASE_REVOKED};

	do {
		take_due(a, &b);
	} while (batch_tell(&b, TELL_AT_ONCE));
	if (a->opt.no_timer_thread)
		wake_waiters(a);
}

static uint64_t next_due(struct lease_arbiter *a)
{
	uint64_t first = UINT64_MAX;

	for (unsigned i = 0; i < LEASE_SHARDS; i++)
		first = min_u64(first, atomic_load_explicit(&a->shards[i].next_due_ns, memory_order_acquire));
	return first;
}

static void *timer_main(void *ctx)
{
	struct lease_arbiter *a = ctx;

	lock_take(&a->ledger);
	while (!a->timer_stop) {
		uint64_t due = next_due(a);
		uint64_t now = arbiter_now(a);

		if (due <= now) {
			lock_drop(&a->ledger);
			lease_tick(a);
			lock_take(&a->ledger);
			continue;
		}
		a->timer_wakes_ns = due;
		cond_wait_until(&a->timer, &a->ledger,
				due == UINT64_MAX ? UINT64_MAX : deadline_after(clock_now_ns(), due - now));
		a->timer_wakes_ns = 0; /* awake: nobody needs to wake it */
	}
	lock_drop(&a->ledger);
	return NULL;
}

int timer_start(struct lease_arbiter *a)
{
	int err;

	if (a->opt.no_timer_thread)
		return 0;
	err = pthread_create(&a->timer_thread, NULL, timer_main, a);
	return err ? fail(-err, "lease arbiter: cannot start its timer thread (error %d)", err) : 0;
}

void timer_stop(struct lease_arbiter *a)
{
	if (a->opt.no_timer_thread)
		return;
	lock_take(&a->ledger);
	a->timer_stop = true;
	cond_wake_all(&a->timer);
	lock_drop(&a->ledger);
	pthread_join(a->timer_thread, NULL);
}
