/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Waits that can be interrupted: each is in its shard's list while it lasts. lease_interrupt need not know where
 * somebody waits; it looks into the shards that have waits at all.
 *
 * That nobody is missed who begins to wait while his session is interrupted for good: the waiter counts itself and then
 * looks at the session's mark, the interrupter sets the mark and then looks at the counts; both in one order for all.
 */
#include "lease/lease_internal.h"

#include <assert.h>

static bool is_hit(const struct lease_session *s, uint64_t tag)
{
	if (tag & LEASE_TAG_STAYS)
		tag &= ~LEASE_TAG_STAYS;
	else if (atomic_load(&s->interrupted))
		return true;
	return tag && tag < atomic_load(&s->interrupted_below);
}

void wait_begin(struct lease_shard *sh, struct lease_wait *w, struct cond *cond)
{
	lock_assert_held(RANK_LEASE);
	w->cond = cond;
	LIST_INSERT_HEAD(&sh->waits, w, link);
	atomic_fetch_add(&sh->waits_n, 1);
	atomic_init(&w->interrupted, w->who && is_hit(w->who, w->tag));
}

void wait_end(struct lease_shard *sh, struct lease_wait *w)
{
	lock_assert_held(RANK_LEASE);
	LIST_REMOVE(w, link);
	atomic_fetch_sub(&sh->waits_n, 1);
}

static void shard_interrupt(struct lease_shard *sh, const struct lease_session *s, uint64_t tag, bool everyone)
{
	struct lease_wait *w;

	lock_take(&sh->lock);
	LIST_FOREACH (w, &sh->waits, link) {
		if (w->who != s || !((tag && (w->tag & ~LEASE_TAG_STAYS) == tag) || everyone || is_hit(s, w->tag)))
			continue;
		atomic_store(&w->interrupted, true);
		cond_wake_all(w->cond);
	}
	lock_drop(&sh->lock);
}

static void interrupt(struct lease_session *s, uint64_t tag, bool everyone)
{
	for (unsigned i = 0; i < LEASE_SHARDS; i++) {
		struct lease_shard *sh = &s->arbiter->shards[i];

		if (atomic_load(&sh->waits_n) > 0)
			shard_interrupt(sh, s, tag, everyone);
	}
}

void lease_interrupt(struct lease_session *s, uint64_t tag, bool for_good)
{
	if (for_good)
		atomic_store(&s->interrupted, true);
	interrupt(s, tag, tag == 0 && !for_good);
}

void lease_interrupt_below(struct lease_session *s, uint64_t tag)
{
	unsigned long long old = atomic_load(&s->interrupted_below);

	while (old < tag && !atomic_compare_exchange_weak(&s->interrupted_below, &old, tag))
		;
	interrupt(s, 0, false);
}
