/* SPDX-License-Identifier: BSD-2-Clause */
/* L25, L26: who holds what, in words and in records. */
#include "lease/lease_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const reason_names[LEASE_REASON_COUNT] = {
#define X(n, t) [LEASE_FOR_##n] = t,
    LEASE_REASONS(X)
#undef X
};

static const char *const state_names[LEASE_STATES] = {
    [LEASE_GRANTED] = "granted",
    [LEASE_RECALLING] = "recalling",
    [LEASE_RELEASED] = "released",
    [LEASE_REVOKED] = "revoked",
};

const char *lease_reason_name(enum lease_reason r)
{
	return (unsigned)r < LEASE_REASON_COUNT ? reason_names[r] : "none";
}

const char *lease_state_name(enum lease_state s)
{
	return (unsigned)s < LEASE_STATES ? state_names[s] : "unknown";
}

struct listing {
	uint64_t object, session; /* 0: all */
	uint64_t now_ns;
	struct lease_info *list;
	size_t n, max; /* n may exceed max: then it says how many there are */
};

static const char *pin_kind(const struct lease_pin *pin)
{
	const char *kind = pin->ops->kind ? pin->ops->kind(pin->pin) : pin->ops->name;

	return kind ? kind : "pin";
}

static void info_fill(struct lease_info *i, const struct lease *l, uint64_t now_ns)
{
	uint64_t due = UINT64_MAX;
	uint64_t recalled;
	const struct lease_pin *pin, *first = NULL;
	const struct piece *p;

	*i = (struct lease_info){.lease = l->number,
				 .object = l->object->number,
				 .handle = l->handle,
				 .session = l->session->id,
				 .seq = l->seq,
				 .who = l->session->who,
				 .range = {UINT64_MAX, 0},
				 .mode = (enum lease_mode)l->mode,
				 .exclusive = l->deny && l->deny->until_ns != 0,
				 .exclusive_left_ns = deny_left(l, now_ns),
				 .faulting = l->faulting,
				 .recalled_ns = UINT64_MAX,
				 .last_reason = (enum lease_reason)l->last_reason,
				 .state = (enum lease_state)l->state,
				 .age_ns = now_ns > l->granted_ns ? now_ns - l->granted_ns : 0};
	LIST_FOREACH (p, &l->pieces, of_lease) {
		i->range.start = min_u64(i->range.start, p->range.start);
		i->range.end = max_u64(i->range.end, p->range.end);
		i->bytes += p->range.end - p->range.start;
		if (l->charged)
			i->pinned_bytes += p->range.end - p->range.start;
		if (p->recall)
			due = min_u64(due, p->recall->deadline_ns);
	}
	for (pin = l->pins; pin; pin = pin->next) {
		i->pins++;
		/* The list begins with the newest. */
		first = pin;
	}
	if (first)
		snprintf(i->pin, sizeof(i->pin), "%s", pin_kind(first));
	recalled = l->granted_ns + l->recalled_at * LEASE_AGO_NS;
	if (l->last_reason != LEASE_REASON_COUNT)
		i->recalled_ns = now_ns > recalled ? now_ns - recalled : 0;
	if (due != UINT64_MAX)
		i->recall_left_ns = due > now_ns ? due - now_ns : 0;
}

static void list_lease(void *ctx, struct lease *l)
{
	struct listing *w = ctx;

	if ((w->object && w->object != l->object->number) || (w->session && w->session != l->session->id))
		return;
	if (w->n < w->max)
		info_fill(&w->list[w->n], l, w->now_ns);
	w->n++;
}

/* The shard's matching leases, in memory that the caller frees. */
static int list_shard(struct lease_arbiter *a, struct lease_shard *sh, struct listing *w)
{
	w->list = NULL;
	w->max = 0;
	for (;;) {
		lock_take(&sh->lock);
		w->n = 0;
		w->now_ns = arbiter_now(a);
		number_each(&sh->leases, list_lease, w);
		lock_drop(&sh->lock);
		if (w->n <= w->max)
			return 0;
		/* More than there was room for; some more may come meanwhile. */
		free(w->list);
		w->max = w->n + w->n / 8;
		w->list = malloc(w->max * sizeof(*w->list));
		if (!w->list)
			return -ENOMEM;
	}
}

int lease_list(struct lease_arbiter *a, uint64_t object, uint64_t session,
	       void (*each)(void *ctx, const struct lease_info *info), void *ctx)
{
	struct listing w = {.object = object, .session = session};

	for (unsigned i = 0; i < LEASE_SHARDS; i++) {
		struct lease_shard *sh = &a->shards[i];
		int err;

		if (object && sh != shard_of_object(a, object))
			continue;
		err = list_shard(a, sh, &w);
		if (err)
			return err;
		for (size_t k = 0; k < w.n; k++)
			each(ctx, &w.list[k]);
		free(w.list);
	}
	return 0;
}

int lease_look(struct lease_session *s, uint64_t lease, struct lease_info *out)
{
	struct lease_shard *sh = shard_of_lease(s->arbiter, lease);
	const struct lease *l;

	lock_take(&sh->lock);
	l = number_find(&sh->leases, lease);
	if (l && l->session != s)
		l = NULL;
	if (l)
		info_fill(out, l, arbiter_now(s->arbiter));
	lock_drop(&sh->lock);
	return l ? 0 : -ESTALE;
}
