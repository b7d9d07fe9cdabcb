/* SPDX-License-Identifier: BSD-2-Clause */
/* The arbiter itself: its shards, the objects of anchors, the unmount, the totals. */
#include "lease/lease_internal.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"

static uint64_t real_now(void *ctx)
{
	return clock_now_ns();
}

static void shard_init(struct lease_arbiter *a, struct lease_shard *sh, unsigned index)
{
	lock_init_keyed(&sh->lock, RANK_LEASE, index);
	cond_init(&sh->moved);
	sh->index = index;
	sh->arbiter = a;
	RB_INIT(&sh->due);
	LIST_INIT(&sh->spare_objects);
	LIST_INIT(&sh->waits);
	atomic_init(&sh->next_due_ns, UINT64_MAX);
}

static void shard_fini(struct lease_shard *sh)
{
	struct lease_object *o;

	assert(sh->objects_used == 0 && sh->waiters == 0 && LIST_EMPTY(&sh->waits));
	while (!LIST_EMPTY(&sh->spare_objects)) {
		o = LIST_FIRST(&sh->spare_objects);
		LIST_REMOVE(o, link);
		interval_fini(&o->index);
		free(o);
	}
	number_fini(&sh->leases);
	cond_destroy(&sh->moved);
	lock_destroy(&sh->lock);
}

static void options_fill(struct lease_options *to, const struct lease_options *from)
{
	if (from)
		*to = *from;
	if (!to->clock.now_ns)
		to->clock.now_ns = real_now;
	if (to->deadline_max_ns == 0)
		to->deadline_max_ns = LEASE_DEADLINE_LIMIT_NS;
	if (to->deadline_ns == 0)
		to->deadline_ns = LEASE_DEADLINE_DEFAULT_NS;
	to->deadline_ns = min_u64(to->deadline_ns, to->deadline_max_ns);
	if (to->exclusive_max_ns == 0)
		to->exclusive_max_ns = LEASE_EXCLUSIVE_LIMIT_NS;
	if (to->session_leases_max == 0)
		to->session_leases_max = LEASE_SESSION_LEASES_MAX;
}

int lease_arbiter_new(const struct lease_options *opt, struct lease_arbiter **out)
{
	struct lease_arbiter *a = calloc(1, sizeof(*a));
	int err = -ENOMEM;

	if (!a)
		return -ENOMEM;
	options_fill(&a->opt, opt);
	a->shards = calloc(LEASE_SHARDS, sizeof(*a->shards));
	if (!a->shards)
		goto free_arbiter;
	err = trace_new(&a->trace);
	if (err)
		goto free_shards;
	err = audit_new(&a->audit);
	if (err)
		goto free_trace;
	a->default_rule = a->pool_rule = (struct lease_rule){.bytes = UINT64_MAX, .leases = UINT64_MAX};
	atomic_init(&a->pool_bytes_max, UINT64_MAX);
	atomic_init(&a->pool_leases_max, UINT64_MAX);
	for (unsigned i = 0; i < LEASE_SHARDS; i++)
		shard_init(a, &a->shards[i], i);
	lock_init(&a->ledger, RANK_LEDGER);
	cond_init(&a->timer);
	LIST_INIT(&a->sessions);
	err = timer_start(a);
	if (err)
		goto free_locks;
	*out = a;
	return 0;

free_locks:
	cond_destroy(&a->timer);
	lock_destroy(&a->ledger);
	for (unsigned i = 0; i < LEASE_SHARDS; i++)
		shard_fini(&a->shards[i]);
	audit_free(a->audit);
free_trace:
	trace_free(a->trace);
free_shards:
	free(a->shards);
free_arbiter:
	free(a);
	return err;
}

void lease_arbiter_free(struct lease_arbiter *a)
{
	if (!a)
		return;
	timer_stop(a);
	assert(LIST_EMPTY(&a->sessions));
	for (unsigned i = 0; i < LEASE_SHARDS; i++)
		shard_fini(&a->shards[i]);
	cond_destroy(&a->timer);
	lock_destroy(&a->ledger);
	accounts_free(a);
	audit_free(a->audit);
	trace_free(a->trace);
	free(a->shards);
	free(a);
}

void shard_wait(struct lease_shard *sh)
{
	sh->waiters++;
	cond_wait(&sh->moved, &sh->lock);
	sh->waiters--;
}

int shard_wait_until(struct lease_shard *sh, uint64_t deadline_ns)
{
	uint64_t now = arbiter_now(sh->arbiter);

	if (now >= deadline_ns)
		return -ETIMEDOUT;
	if (deadline_ns == UINT64_MAX || sh->arbiter->opt.no_timer_thread) {
		shard_wait(sh); /* lease_tick wakes it when a fake clock moved */
		return 0;
	}
	sh->waiters++;
	cond_wait_until(&sh->moved, &sh->lock, deadline_after(clock_now_ns(), deadline_ns - now));
	sh->waiters--;
	return 0;
}

/* --- objects ------------------------------------------------------------------------------------------------------ */

struct lease_shard *shard_of_object(struct lease_arbiter *a, uint64_t object)
{
	/* Fibonacci hashing: neighbouring inode numbers go to different locks. */
	return &a->shards[(object * 0x9e3779b97f4a7c15ull) >> (64 - LEASE_SHARD_BITS)];
}

void lease_anchor_init(struct lease_anchor *an, uint64_t object)
{
	an->object = object;
	atomic_init(&an->state, NULL);
}

void lease_anchor_fini(struct lease_anchor *an)
{
	assert(atomic_load(&an->state) == NULL);
	(void)an;
}

struct lease_object *object_lock(struct lease_anchor *an)
{
	struct lease_object *o = atomic_load_explicit(&an->state, memory_order_acquire);
	struct lease_shard *sh;

	if (!o)
		return NULL;
	/* o may have gone back to its shard's list meanwhile, or belong to another anchor of that shard. */
	sh = o->shard;
	lock_take(&sh->lock);
	o = atomic_load_explicit(&an->state, memory_order_acquire);
	if (!o)
		lock_drop(&sh->lock);
	assert(!o || o->shard == sh);
	return o;
}

struct lease_object *object_get(struct lease_shard *sh, struct lease_anchor *an)
{
	struct lease_object *o = atomic_load_explicit(&an->state, memory_order_relaxed);

	lock_assert_held(RANK_LEASE);
	if (o)
		return o;
	o = LIST_FIRST(&sh->spare_objects);
	if (o) {
		LIST_REMOVE(o, link);
	} else {
		o = calloc(1, sizeof(*o));
		if (!o)
			return NULL;
		o->shard = sh;
		interval_init(&o->index);
	}
	o->anchor = an;
	o->number = an->object;
	LIST_INIT(&o->breaks);
	o->detached = 0;
	o->denying = 0;
	sh->objects_used++;
	atomic_store_explicit(&an->state, o, memory_order_release);
	return o;
}

void object_put_if_quiet(struct lease_object *o)
{
	struct lease_shard *sh = o->shard;

	lock_assert_held(RANK_LEASE);
	if (!interval_empty(&o->index) || !LIST_EMPTY(&o->breaks))
		return;
	/* The store is the last touch of the anchor: its inode may be freed as soon as lease_busy() says false. */
	atomic_store_explicit(&o->anchor->state, NULL, memory_order_release);
	o->anchor = NULL;
	LIST_INSERT_HEAD(&sh->spare_objects, o, link);
	sh->objects_used--;
}

/* --- unmount and totals --------------------------------------------------------------------------------------------
 */

struct unmount {
	struct recall_why why;
	struct notices notices;
	uint64_t missed; /* a lease that could not be recalled for want of memory */
};

static void unmount_lease(void *ctx, struct lease *l)
{
	struct unmount *u = ctx;
	struct piece *p;

	LIST_FOREACH (p, &l->pieces, of_lease) {
		if (p->work != PIECE_GOING && piece_recall(p, &u->why, &u->notices) < 0)
			u->missed = l->number;
	}
}

/* Shuts the shard, recalls all. */
static void unmount_shard(struct lease_shard *sh, uint64_t deadline_ns)
{
	struct unmount u = {.why = {.reason = LEASE_FOR_UNMOUNT, .kind = LEASE_DRAIN, .limit_ns = deadline_ns}};

	do {
		u.missed = 0;
		notices_init(&u.notices);
		lock_take(&sh->lock);
		sh->shut = true;
		u.why.now_ns = sh->leases.count ? arbiter_now(sh->arbiter) : 0;
		number_each(&sh->leases, unmount_lease, &u);
		notices_seal(&u.notices);
		lock_drop(&sh->lock);
		notices_send(&u.notices, u.why.now_ns);
		/* Without memory for the notice the lease ends without one. */
		if (u.missed)
			release_number(sh, NULL, u.missed, RANGE_ALL);
	} while (u.missed);
	timer_poke(sh);
}

void lease_unmount(struct lease_arbiter *a, uint64_t deadline_ns)
{
	struct batch batch = {.how = LEASE_REVOKED};

	lock_assert_none();
	if (deadline_ns == LEASE_DEADLINE_NOW)
		deadline_ns = 0;
	deadline_ns = min_u64(deadline_ns, a->opt.deadline_max_ns);
	for (unsigned i = 0; i < LEASE_SHARDS; i++)
		unmount_shard(&a->shards[i], deadline_ns);
	for (unsigned i = 0; i < LEASE_SHARDS; i++) {
		struct lease_shard *sh = &a->shards[i];
		bool any;

		/* It is shut: none is added. */
		lock_take(&sh->lock);
		any = sh->leases.count > 0;
		lock_drop(&sh->lock);
		if (!any)
			continue;
		force_due(sh, &batch);
		lock_take(&sh->lock);
		while (sh->leases.count > 0)
			shard_wait(sh);
		lock_drop(&sh->lock);
	}
	batch_tell(&batch, UINT_MAX);
}

void lease_stats_read(struct lease_arbiter *a, struct lease_stats *out)
{
	*out = (struct lease_stats){0};
	for (unsigned i = 0; i < LEASE_SHARDS; i++) {
		struct lease_shard *sh = &a->shards[i];

		lock_take(&sh->lock);
		out->grants += sh->counts.grants;
		out->releases += sh->counts.releases;
		out->recalls += sh->counts.recalls;
		out->breaks += sh->counts.breaks;
		out->breaks_waited += sh->counts.breaks_waited;
		out->released_in_time += sh->counts.released_in_time;
		out->forced += sh->counts.forced;
		out->leases += sh->leases.count;
		lock_drop(&sh->lock);
	}
	out->pinned_bytes = atomic_load(&a->pool_bytes);
	lock_take(&a->ledger);
	out->sessions = a->sessions_n;
	lock_drop(&a->ledger);
}
