/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sessions: who holds what, by handle, and the end of both. Leases hang in buckets by handle number, so that closing
 * one handle of a session with 65,536 leases looks at its own leases only.
 *
 * A session outlives its callbacks: whoever is about to call one counts itself in session->calls while it still holds
 * the LEASE lock of one of the session's leases; lease_session_close waits for leases and calls to be zero.
 */
#include "lease/lease_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/error.h"

static struct lease_bucket *bucket_of(struct lease_session *s, uint64_t handle)
{
	return &s->buckets[((handle * 0x9e3779b97f4a7c15ull) >> 32) & (s->buckets_n - 1)];
}

static void buckets_grow(struct lease_session *s)
{
	uint32_t old_n = s->buckets_n;
	struct lease_bucket *old = s->buckets;
	struct lease_bucket *bigger = calloc((size_t)old_n * 4, sizeof(*bigger));

	if (!bigger)
		return; /* longer chains, nothing worse */
	s->buckets = bigger;
	s->buckets_n = old_n * 4;
	for (uint32_t i = 0; i < old_n; i++) {
		while (!LIST_EMPTY(&old[i])) {
			struct lease *l = LIST_FIRST(&old[i]);

			LIST_REMOVE(l, of_handle);
			LIST_INSERT_HEAD(bucket_of(s, l->handle), l, of_handle);
		}
	}
	free(old);
}

static void session_free(struct lease_session *s)
{
	cond_destroy(&s->idle);
	lock_destroy(&s->lock);
	free(s->buckets);
	free(s);
}

int lease_session_open(struct lease_arbiter *a, const struct lease_session_ops *ops, void *ctx,
		       const struct lease_identity *who, struct lease_session **out)
{
	struct lease_session *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->buckets_n = LEASE_BUCKETS_MIN;
	s->buckets = calloc(s->buckets_n, sizeof(*s->buckets));
	if (!s->buckets) {
		free(s);
		return -ENOMEM;
	}
	s->arbiter = a;
	s->ops = ops;
	s->ctx = ctx;
	if (who)
		s->who = *who;
	s->who.host[sizeof(s->who.host) - 1] = '\0';
	lock_init(&s->lock, RANK_LEDGER);
	cond_init(&s->idle);
	s->opened_ns = arbiter_now(a);
	lock_take(&a->ledger);
	s->account = account_get(a, s->who.uid);
	if (!s->account) {
		lock_drop(&a->ledger);
		session_free(s);
		return -ENOMEM;
	}
	s->id = ++a->session_last;
	a->sessions_n++;
	LIST_INSERT_HEAD(&a->sessions, s, link);
	lock_drop(&a->ledger);
	*out = s;
	return 0;
}

uint64_t lease_session_id(const struct lease_session *s)
{
	return s->id;
}

struct lease_asker asker_of(const struct lease_session *s)
{
	return s ? (struct lease_asker){s->id, s->who.uid, s->who.pid} : (struct lease_asker){0};
}

uint64_t session_id_or_0(const struct lease_session *s)
{
	return s ? s->id : 0;
}

/* Under the session's lock; others only look. */
static void leases_set(struct lease_session *s, uint32_t n)
{
	atomic_store_explicit(&s->leases, n, memory_order_relaxed);
}

int session_link(struct lease *l)
{
	struct lease_session *s = l->session;
	int err = 0;

	lock_take(&s->lock);
	if (s->closing) {
		err = -ESHUTDOWN;
	} else if (s->leases >= s->arbiter->opt.session_leases_max) {
		err = fail(-EDQUOT, "the session has %u leases, no session may have more; release some", s->leases);
	} else {
		err = account_lease_take(s);
	}
	if (err == 0) {
		if (s->leases >= s->buckets_n * 4 && s->buckets_n < LEASE_BUCKETS_MAX)
			buckets_grow(s);
		leases_set(s, s->leases + 1);
		LIST_INSERT_HEAD(bucket_of(s, l->handle), l, of_handle);
	}
	lock_drop(&s->lock);
	return err;
}

static void session_wake_if_idle(struct lease_session *s)
{
	if (s->closing && s->leases == 0 && s->calls == 0)
		cond_wake_all(&s->idle);
}

void session_unlink(struct lease *l)
{
	struct lease_session *s = l->session;

	lock_take(&s->lock);
	LIST_REMOVE(l, of_handle);
	leases_set(s, s->leases - 1);
	account_lease_give(s);
	if (l->pins)
		s->calls++; /* for pin->gone; lease_bury ends it */
	session_wake_if_idle(s);
	lock_drop(&s->lock);
}

void session_call_begin(struct lease_session *s)
{
	lock_take(&s->lock);
	s->calls++;
	lock_drop(&s->lock);
}

void session_call_end(struct lease_session *s)
{
	lock_take(&s->lock);
	s->calls--;
	session_wake_if_idle(s);
	lock_drop(&s->lock);
}

/* The number of a lease of that handle; 0: none. */
static uint64_t handle_any(struct lease_session *s, uint64_t handle)
{
	uint64_t number = 0;
	struct lease *l;

	lock_take(&s->lock);
	LIST_FOREACH (l, bucket_of(s, handle), of_handle) {
		if (l->handle == handle) {
			number = l->number;
			break;
		}
	}
	lock_drop(&s->lock);
	return number;
}

void lease_handle_close(struct lease_session *s, uint64_t handle)
{
	/* RANGE_ALL splits nothing, so releasing cannot fail. */
	for (uint64_t n = handle_any(s, handle); n; n = handle_any(s, handle))
		release_number(shard_of_lease(s->arbiter, n), NULL, n, RANGE_ALL);
}

/* The number of some lease of bucket i or later, which moves i there; 0: none. */
static uint64_t session_any(struct lease_session *s, uint32_t *i)
{
	uint64_t number = 0;

	lock_take(&s->lock);
	for (; !number && *i < s->buckets_n; *i += number ? 0 : 1) {
		if (!LIST_EMPTY(&s->buckets[*i]))
			number = LIST_FIRST(&s->buckets[*i])->number;
	}
	lock_drop(&s->lock);
	return number;
}

void lease_session_close(struct lease_session *s)
{
	struct lease_arbiter *a;
	uint32_t at = 0;

	if (!s)
		return;
	a = s->arbiter;
	lock_take(&s->lock);
	s->closing = true; /* from here on nothing is added, and the buckets stay where they are */
	lock_drop(&s->lock);
	for (uint64_t n = session_any(s, &at); n; n = session_any(s, &at))
		release_number(shard_of_lease(a, n), NULL, n, RANGE_ALL);

	lock_take(&s->lock);
	while (s->leases > 0 || s->calls > 0)
		cond_wait(&s->idle, &s->lock);
	lock_drop(&s->lock);

	lock_take(&a->ledger);
	LIST_REMOVE(s, link);
	a->sessions_n--;
	account_put(a, s->account);
	lock_drop(&a->ledger);
	session_free(s);
}
