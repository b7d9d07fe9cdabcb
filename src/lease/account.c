/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ledger's accounts: what every uid has pinned and leased, and what it may (L18, L19).
 *
 * Invariant I5: an account's bytes are the sum over the pieces of its charged leases, its leases the number of its
 * leases; the pool's are the sums over all accounts. A lease is charged from the attach of its first pin that reaches
 * bytes, piece by piece until the piece is removed, which is after its drain; that is, always under the LEASE lock of
 * its shard, together with the change that it stands for, so that no path can return a charge twice or forget it.
 *
 * The non-obvious decision: no lock of its own. A session finds its account once, when it opens, and counts by atomics;
 * a limit that may be reached is kept by compare and swap, so that threads together never pass it. Sums wrap as
 * uint64_t do: who is without a limit may hold leases "of everything", and what is added is subtracted again all the
 * same. Accounts appear and go under the arbiter's ledger lock; one lives as long as sessions or a limit of its own
 * need it.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/size.h"
#include "lease/lease_internal.h"

static uint64_t used(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

static bool take(_Atomic uint64_t *counter, uint64_t n, uint64_t max)
{
	uint64_t now;

	if (likely(max == UINT64_MAX)) {
		atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
		return true;
	}
	now = used(counter);
	do {
		if (now >= max || n > max - now)
			return false;
	} while (
	    !atomic_compare_exchange_weak_explicit(counter, &now, now + n, memory_order_relaxed, memory_order_relaxed));
	return true;
}

static void give(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_sub_explicit(counter, n, memory_order_relaxed);
}

/* --- accounts by uid; all hold the arbiter's ledger lock ------------------------------------------------------------
 */

static struct lease_account **chain_of(struct lease_arbiter *a, uint32_t uid)
{
	return &a->accounts[(uid * 2654435761u) >> (32 - LEASE_ACCOUNT_BITS)];
}

static struct lease_account *account_find(struct lease_arbiter *a, uint32_t uid)
{
	struct lease_account *acc = *chain_of(a, uid);

	while (acc && acc->uid != uid)
		acc = acc->next;
	return acc;
}

/* Which of the administrator's limits applies. Root has only those that name it: the default is for users. */
static void account_rule(const struct lease_arbiter *a, struct lease_account *acc)
{
	const struct lease_rule *r = acc->own.set ? &acc->own : &a->default_rule;
	bool ruled = r->set && (acc->own.set || acc->uid != 0);

	atomic_store(&acc->bytes_max, ruled ? r->bytes : UINT64_MAX);
	atomic_store(&acc->leases_max, ruled ? r->leases : UINT64_MAX);
	atomic_store(&acc->ruled, ruled);
}

struct lease_account *account_get(struct lease_arbiter *a, uint32_t uid)
{
	struct lease_account *acc = account_find(a, uid);
	struct lease_account **chain = chain_of(a, uid);

	lock_assert_held(RANK_LEDGER);
	if (!acc) {
		acc = calloc(1, sizeof(*acc));
		if (!acc)
			return NULL;
		acc->uid = uid;
		acc->next = *chain;
		*chain = acc;
		account_rule(a, acc);
	}
	acc->refs++;
	return acc;
}

void account_put(struct lease_arbiter *a, struct lease_account *acc)
{
	struct lease_account **at = chain_of(a, acc->uid);

	lock_assert_held(RANK_LEDGER);
	acc->refs--;
	if (acc->refs > 0)
		return;
	assert(used(&acc->bytes) == 0 && used(&acc->leases) == 0);
	while (*at != acc)
		at = &(*at)->next;
	*at = acc->next;
	free(acc);
}

void accounts_free(struct lease_arbiter *a)
{
	for (unsigned i = 0; i < LEASE_ACCOUNT_CHAINS; i++) {
		while (a->accounts[i]) {
			struct lease_account *acc = a->accounts[i];

			assert(acc->own.set && acc->refs == 1);
			a->accounts[i] = acc->next;
			free(acc);
		}
	}
}

/* --- charging ------------------------------------------------------------------------------------------------------
 */

int account_lease_take(struct lease_session *s)
{
	struct lease_account *acc = s->account;
	struct lease_arbiter *a = s->arbiter;

	if (!take(&acc->leases, 1, used(&acc->leases_max)))
		return fail(-EDQUOT,
			    "uid %u has %" PRIu64 " of the %" PRIu64
			    " leases that the administrator allows it (leasehold limits)",
			    acc->uid, used(&acc->leases), used(&acc->leases_max));
	if (take(&a->pool_leases, 1, used(&a->pool_leases_max)))
		return 0;
	give(&acc->leases, 1);
	return fail(-EDQUOT, "the pool has %" PRIu64 " leases, and the administrator allows no more (leasehold limits)",
		    used(&a->pool_leases_max));
}

void account_lease_give(struct lease_session *s)
{
	give(&s->account->leases, 1);
	give(&s->arbiter->pool_leases, 1);
}

static int over_memlock(const struct lease_session *s, uint64_t n)
{
	const struct lease_account *acc = s->account;
	char has[SIZE_TEXT_MAX], max[SIZE_TEXT_MAX], more[SIZE_TEXT_MAX];

	return fail(
	    -ENOMEM,
	    "uid %u has %s pinned and wants %s more, but its RLIMIT_MEMLOCK is %s: raise it (ulimit -l, "
	    "LimitMEMLOCK=), or give the uid a limit of its own: leasehold limit set --pins --uid %u --bytes SIZE",
	    acc->uid, size_text(used(&acc->bytes), has), size_text(n, more), size_text(s->who.memlock_bytes, max),
	    acc->uid);
}

static int over_rule(const struct lease_session *s, uint64_t n, bool pool)
{
	const struct lease_account *acc = s->account;
	const struct lease_arbiter *a = s->arbiter;
	char has[SIZE_TEXT_MAX], max[SIZE_TEXT_MAX], more[SIZE_TEXT_MAX];

	size_text(n, more);
	size_text(used(pool ? &a->pool_bytes : &acc->bytes), has);
	size_text(used(pool ? &a->pool_bytes_max : &acc->bytes_max), max);
	if (pool)
		return fail(-EDQUOT,
			    "%s of the pool are pinned and uid %u wants %s more; the administrator allows %s in all "
			    "(leasehold limits)",
			    has, acc->uid, more, max);
	return fail(-EDQUOT,
		    "uid %u has %s pinned and wants %s more; the administrator allows it %s (leasehold limits)",
		    acc->uid, has, more, max);
}

/* The limit of its session's uid, from whoever set one. *memlock: it is RLIMIT_MEMLOCK's. */
static uint64_t bytes_limit(const struct lease_session *s, bool *memlock)
{
	*memlock = !atomic_load(&s->account->ruled) && s->who.memlock_bytes != 0;
	return *memlock ? s->who.memlock_bytes : used(&s->account->bytes_max);
}

int account_bytes_take(struct lease_session *s, uint64_t n)
{
	struct lease_account *acc = s->account;
	struct lease_arbiter *a = s->arbiter;
	bool memlock;
	uint64_t max = bytes_limit(s, &memlock);

	if (!take(&acc->bytes, n, max))
		return memlock ? over_memlock(s, n) : over_rule(s, n, false);
	if (!take(&a->pool_bytes, n, used(&a->pool_bytes_max))) {
		give(&acc->bytes, n);
		return over_rule(s, n, true);
	}
	atomic_fetch_add_explicit(&s->pinned_bytes, n, memory_order_relaxed);
	return 0;
}

void account_bytes_give(struct lease_session *s, uint64_t n)
{
	give(&s->account->bytes, n);
	give(&s->arbiter->pool_bytes, n);
	give(&s->pinned_bytes, n);
}

/* --- limits ---------------------------------------------------------------------------------------------------------
 */

static struct lease_rule rule_of(const struct lease_limit *l)
{
	return l->none ? (struct lease_rule){.bytes = UINT64_MAX, .leases = UINT64_MAX}
		       : (struct lease_rule){.set = true, .bytes = l->bytes, .leases = l->leases};
}

static int uid_set(struct lease_arbiter *a, const struct lease_limit *l)
{
	struct lease_account *acc = account_find(a, l->uid);

	if (l->none && (!acc || !acc->own.set))
		return 0;
	/* A limit of its own keeps the account: one reference. */
	if (!acc || !acc->own.set)
		acc = account_get(a, l->uid);
	if (!acc)
		return -ENOMEM;
	acc->own = rule_of(l);
	account_rule(a, acc);
	if (l->none)
		account_put(a, acc);
	return 0;
}

static void default_set(struct lease_arbiter *a, const struct lease_limit *l)
{
	a->default_rule = rule_of(l);
	for (unsigned i = 0; i < LEASE_ACCOUNT_CHAINS; i++) {
		for (struct lease_account *acc = a->accounts[i]; acc; acc = acc->next)
			account_rule(a, acc);
	}
}

int lease_limit_set(struct lease_arbiter *a, const struct lease_limit *limit)
{
	int err = 0;

	lock_take(&a->ledger);
	switch (limit->kind) {
	case LEASE_LIMIT_UID:
		err = uid_set(a, limit);
		break;
	case LEASE_LIMIT_DEFAULT:
		default_set(a, limit);
		break;
	case LEASE_LIMIT_POOL:
		a->pool_rule = rule_of(limit);
		atomic_store(&a->pool_bytes_max, a->pool_rule.bytes);
		atomic_store(&a->pool_leases_max, a->pool_rule.leases);
		break;
	}
	lock_drop(&a->ledger);
	return err;
}

void lease_limit_get(struct lease_arbiter *a, struct lease_limit *limit)
{
	struct lease_rule rule = {.bytes = UINT64_MAX, .leases = UINT64_MAX};
	const struct lease_account *acc;

	limit->bytes_used = limit->leases_used = 0;
	lock_take(&a->ledger);
	switch (limit->kind) {
	case LEASE_LIMIT_UID:
		acc = account_find(a, limit->uid);
		if (!acc)
			break;
		if (acc->own.set)
			rule = acc->own;
		limit->bytes_used = used(&acc->bytes);
		limit->leases_used = used(&acc->leases);
		break;
	case LEASE_LIMIT_DEFAULT:
		rule = a->default_rule;
		break;
	case LEASE_LIMIT_POOL:
		rule = a->pool_rule;
		limit->bytes_used = used(&a->pool_bytes);
		limit->leases_used = used(&a->pool_leases);
		break;
	}
	lock_drop(&a->ledger);
	limit->none = !rule.set;
	limit->bytes = rule.bytes;
	limit->leases = rule.leases;
}

/* --- sessions -------------------------------------------------------------------------------------------------------
 */

static struct lease_session_info session_info(const struct lease_session *s, uint64_t now_ns)
{
	bool memlock;

	return (struct lease_session_info){
	    .session = s->id,
	    .who = s->who,
	    .leases = atomic_load_explicit(&s->leases, memory_order_relaxed),
	    .pinned_bytes = used(&s->pinned_bytes),
	    .age_ns = now_ns > s->opened_ns ? now_ns - s->opened_ns : 0,
	    .recalls = used(&s->recalls),
	    .forced = used(&s->forced),
	    .slowest_ns = used(&s->slowest_ns),
	    .bytes_limit = bytes_limit(s, &memlock),
	    .leases_limit = min_u64(used(&s->account->leases_max), s->arbiter->opt.session_leases_max),
	};
}

static int by_number(const void *x, const void *y)
{
	const struct lease_session_info *a = x, *b = y;

	return a->session < b->session ? -1 : a->session > b->session;
}

int lease_sessions(struct lease_arbiter *a, uint64_t after,
		   bool (*each)(void *ctx, const struct lease_session_info *info), void *ctx)
{
	uint64_t now = arbiter_now(a);
	const struct lease_session *s;
	struct lease_session_info *list;
	size_t n = 0;

	lock_take(&a->ledger);
	list = malloc((a->sessions_n + 1) * sizeof(*list));
	LIST_FOREACH (s, &a->sessions, link) {
		if (list && s->id > after)
			list[n++] = session_info(s, now);
	}
	lock_drop(&a->ledger);
	if (!list)
		return -ENOMEM;
	qsort(list, n, sizeof(*list), by_number);
	for (size_t i = 0; i < n; i++) {
		if (!each(ctx, &list[i]))
			break;
	}
	free(list);
	return 0;
}

void session_answered(struct lease_session *s, uint64_t took_ns)
{
	uint64_t old = used(&s->slowest_ns);

	while (old < took_ns && !atomic_compare_exchange_weak(&s->slowest_ns, &old, took_ns))
		;
}

/* --- I5, for tests --------------------------------------------------------------------------------------------------
 */

struct ledger_sum {
	uint64_t bytes, leases;
};

static void sum_lease(void *ctx, struct lease *l)
{
	struct ledger_sum *sum = ctx;
	struct lease_account *acc = l->session->account;
	const struct piece *p;
	uint64_t bytes = 0;

	LIST_FOREACH (p, &l->pieces, of_lease)
		bytes += l->charged ? p->range.end - p->range.start : 0;
	acc->check_bytes += bytes;
	acc->check_leases++;
	sum->bytes += bytes;
	sum->leases++;
}

bool lease_ledger_holds(struct lease_arbiter *a)
{
	struct ledger_sum sum = {0, 0};
	bool holds;

	for (unsigned i = 0; i < LEASE_SHARDS; i++) {
		lock_take(&a->shards[i].lock);
		number_each(&a->shards[i].leases, sum_lease, &sum);
		lock_drop(&a->shards[i].lock);
	}
	holds = sum.bytes == used(&a->pool_bytes) && sum.leases == used(&a->pool_leases);
	lock_take(&a->ledger);
	for (unsigned i = 0; i < LEASE_ACCOUNT_CHAINS; i++) {
		for (struct lease_account *acc = a->accounts[i]; acc; acc = acc->next) {
			holds =
			    holds && acc->check_bytes == used(&acc->bytes) && acc->check_leases == used(&acc->leases);
			acc->check_bytes = acc->check_leases = 0;
		}
	}
	lock_drop(&a->ledger);
	return holds;
}
