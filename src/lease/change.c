/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * L23: a lease changes its mode, or begins or ceases to deny changes, without a moment in between.
 *
 * Nobody may break a part of it meanwhile (gates), because a break counts by mode whom it waits for; and nobody may
 * have begun to take it, because the answer "you hold it in the new mode" would cross the recall of the old one.
 *
 * Age (L22): a lease denies changes for the maximum at most, counted from when it did so first. Else whoever changes
 * back and forth would deny them for ever.
 */
#include "lease/lease_internal.h"

#include <errno.h>
#include <stdlib.h>

static bool lease_gated(const struct lease *l)
{
	const struct piece *p;

	LIST_FOREACH (p, &l->pieces, of_lease) {
		if (gate_closed(l->object, p->range))
			return true;
	}
	return false;
}

/* Another thread has its pins in hand (lease_change_place): what it opens there must be of the mode that it read. */
static bool lease_at_work(const struct lease *l)
{
	const struct piece *p;

	LIST_FOREACH (p, &l->pieces, of_lease) {
		if (p->work == PIECE_OWN)
			return true;
	}
	return false;
}

/* fresh: memory that l takes when it has none. */
static int deny_begin(struct lease *l, struct lease_deny **fresh, uint64_t max_age_ns, uint64_t now_ns)
{
	const struct lease_arbiter *a = l->session->arbiter;
	uint64_t until = deadline_after(now_ns, exclusive_age(a, max_age_ns));

	if (l->deny)
		until = min_u64(until, deadline_after(l->deny->since_ns, a->opt.exclusive_max_ns));
	if (until <= now_ns)
		return -ETIMEDOUT;
	if (!l->deny) {
		l->deny = *fresh;
		l->deny->since_ns = now_ns;
		l->object->denying++;
		*fresh = NULL;
	}
	l->deny->until_ns = until;
	return 0;
}

/* Holds LEASE. */
static int change(struct lease_shard *sh, struct lease *l, const struct lease_change_args *args,
		  struct lease_deny **fresh)
{
	uint64_t now = arbiter_now(sh->arbiter);
	struct piece *p;
	uint8_t was;
	int err = 0;

	if (l->broken)
		return -ESTALE;
	if (sh->shut)
		return -ESHUTDOWN;
	if (lease_gated(l))
		return -EAGAIN;
	if (args->exclusive)
		err = deny_begin(l, fresh, args->max_age_ns, now);
	else if (l->deny)
		l->deny->until_ns = 0;
	if (err)
		return err;
	was = l->mode;
	l->mode = (uint8_t)args->mode;
	LIST_FOREACH (p, &l->pieces, of_lease)
		interval_set_tag(&l->object->index, p, lease_tag(l));
	if (was != l->mode)
		writer_tell(l);
	l->seq++;
	sh->counts.grants++;
	trace_piece(LIST_FIRST(&l->pieces), LEASE_EV_GRANT, now);
	return 0;
}

int lease_change(struct lease_session *s, uint64_t lease, const struct lease_change_args *args, struct lease_grant *out)
{
	struct lease_shard *sh = shard_of_lease(s->arbiter, lease);
	struct lease_deny *fresh = NULL;
	struct lease *l;
	int err = -ESTALE;

	if (args->mode != LEASE_READ && args->mode != LEASE_WRITE)
		return -EINVAL;
	if (args->exclusive) {
		fresh = malloc(sizeof(*fresh));
		if (!fresh)
			return -ENOMEM;
	}
	lock_take(&sh->lock);
	l = number_find(&sh->leases, lease);
	while (l && l->session == s && lease_at_work(l)) {
		shard_wait(sh);
		l = number_find(&sh->leases, lease);
	}
	if (l && l->session == s)
		err = change(sh, l, args, &fresh);
	if (err == 0)
		*out = (struct lease_grant){.lease = l->number, .seq = l->seq};
	lock_drop(&sh->lock);
	free(fresh);
	return err;
}
