/* SPDX-License-Identifier: BSD-2-Clause */
/* Grants, the wait for a gate, pins, and the question who is in the way or forbids it. */
#include "lease/lease_internal.h"

#include <errno.h>
#include <stdlib.h>

static uint64_t lease_deadline(const struct lease_arbiter *a, uint64_t asked)
{
	if (asked == 0)
		return a->opt.deadline_ns;
	return asked == LEASE_DEADLINE_NOW ? 0 : min_u64(asked, a->opt.deadline_max_ns);
}

uint64_t exclusive_age(const struct lease_arbiter *a, uint64_t asked)
{
	return asked == 0 ? a->opt.exclusive_max_ns : min_u64(asked, a->opt.exclusive_max_ns);
}

static struct lease *lease_new(const struct lease_arbiter *a, const struct lease_grant_args *args)
{
	struct lease *l = malloc(sizeof(*l));

	if (!l)
		return NULL;
	*l = (struct lease){
	    .seq = LEASE_SEQ_FIRST,
	    .mode = (uint8_t)args->mode,
	    .state = LEASE_GRANTED,
	    .last_reason = LEASE_REASON_COUNT,
	    .faulting = args->faulting,
	    .pieces_n = 1,
	    .session = args->session,
	    .handle = args->handle,
	    .deadline_ns = lease_deadline(a, args->deadline_ns),
	    .granted_ns = arbiter_now(a),
	    .first = {.range = args->range, .pinned = true},
	};
	l->first.lease = l;
	LIST_INSERT_HEAD(&l->pieces, &l->first, of_lease);
	return l;
}

void writer_tell(const struct lease *l)
{
	const struct lease_options *opt = &l->session->arbiter->opt;

	if (opt->writer)
		opt->writer(opt->writer_ctx, l->object->number, l->session->id);
}

/* Enters l everywhere, or nowhere. Holds LEASE. */
static int lease_enter(struct lease_shard *sh, struct lease_anchor *an, struct lease *l)
{
	struct lease_object *o = atomic_load_explicit(&an->state, memory_order_relaxed);
	int err;

	if (sh->shut)
		return -ESHUTDOWN;
	if (o && gate_closed(o, l->first.range))
		return -EAGAIN;
	o = object_get(sh, an);
	if (!o)
		return -ENOMEM;
	l->object = o;
	l->number = ++sh->numbers << LEASE_SHARD_BITS | sh->index;
	err = interval_insert(&o->index, &l->first, lease_tag(l));
	if (err)
		goto put_object;
	err = number_insert(&sh->leases, l);
	if (err)
		goto remove_piece;
	err = session_link(l);
	if (err)
		goto remove_number;
	if (l->deny)
		o->denying++;
	sh->counts.grants++;
	trace_piece(&l->first, LEASE_EV_GRANT, l->granted_ns);
	if (l->mode == LEASE_WRITE)
		writer_tell(l);
	return 0;

remove_number:
	number_remove(&sh->leases, l);
remove_piece:
	interval_remove(&o->index, &l->first);
put_object:
	object_put_if_quiet(o);
	return err;
}

int lease_grant(struct lease_arbiter *a, const struct lease_grant_args *args, struct lease_grant *out)
{
	struct lease_shard *sh = shard_of_object(a, args->anchor->object);
	struct lease *l;
	int err;

	if (range_empty(args->range) || (args->mode != LEASE_READ && args->mode != LEASE_WRITE))
		return -EINVAL;
	l = lease_new(a, args);
	if (!l)
		return -ENOMEM;
	if (args->exclusive) {
		l->deny = malloc(sizeof(*l->deny));
		if (!l->deny) {
			free(l);
			return -ENOMEM;
		}
		*l->deny = (struct lease_deny){l->granted_ns,
					       deadline_after(l->granted_ns, exclusive_age(a, args->max_age_ns))};
	}
	lock_take(&sh->lock);
	err = lease_enter(sh, args->anchor, l);
	if (err == 0)
		*out = (struct lease_grant){.lease = l->number, .seq = l->seq};
	lock_drop(&sh->lock);
	if (err) {
		free(l->deny);
		free(l);
	}
	return err;
}

int lease_gate_wait(struct lease_arbiter *a, struct lease_anchor *an, struct range range, uint64_t deadline_ns,
		    struct lease_session *who, uint64_t tag)
{
	struct lease_shard *sh = shard_of_object(a, an->object);
	struct lease_wait wait = {.who = who, .tag = tag};
	int err = 0;

	lock_assert_none();
	lock_take(&sh->lock);
	wait_begin(sh, &wait, &sh->moved);
	while (err == 0) {
		const struct lease_object *o = atomic_load_explicit(&an->state, memory_order_relaxed);

		if (!o || !gate_closed(o, range))
			break;
		err = atomic_load(&wait.interrupted) ? -EINTR : shard_wait_until(sh, deadline_ns);
	}
	wait_end(sh, &wait);
	lock_drop(&sh->lock);
	return err;
}

int lease_wait_for(struct lease_arbiter *a, struct lease_anchor *an, bool (*over)(const void *ctx), const void *ctx,
		   struct lease_session *who, uint64_t tag)
{
	struct lease_shard *sh = shard_of_object(a, an->object);
	struct lease_wait wait = {.who = who, .tag = tag};
	int err = 0;

	lock_assert_none();
	lock_take(&sh->lock);
	wait_begin(sh, &wait, &sh->moved);
	/* It counts itself and then looks; whoever makes it true does so and then looks at the count. */
	while (err == 0 && !over(ctx)) {
		if (atomic_load(&wait.interrupted))
			err = -EINTR;
		else
			shard_wait(sh);
	}
	wait_end(sh, &wait);
	lock_drop(&sh->lock);
	return err;
}

void lease_wake(struct lease_arbiter *a)
{
	for (unsigned i = 0; i < LEASE_SHARDS; i++) {
		struct lease_shard *sh = &a->shards[i];

		if (atomic_load(&sh->waits_n) == 0)
			continue;
		lock_take(&sh->lock);
		cond_wake_all(&sh->moved);
		lock_drop(&sh->lock);
	}
}

/* L18: from the first pin that reaches bytes on. A faulting lease holds no memory in its place. Holds LEASE. */
static int pin_charge(struct lease *l, uint64_t bytes)
{
	const struct piece *p;
	uint64_t sum = 0;
	int err;

	if (l->charged || l->faulting || bytes == 0)
		return 0;
	LIST_FOREACH (p, &l->pieces, of_lease)
		sum += p->range.end - p->range.start;
	err = account_bytes_take(l->session, sum);
	l->charged = err == 0;
	return err;
}

int lease_pin_attach(struct lease_arbiter *a, uint64_t lease, const struct lease_pin_ops *ops, void *pin,
		     uint64_t bytes)
{
	struct lease_shard *sh = shard_of_lease(a, lease);
	struct lease_pin *mine = malloc(sizeof(*mine));
	struct lease *l;
	int err = -ESTALE;

	if (!mine)
		return -ENOMEM;
	*mine = (struct lease_pin){.ops = ops, .pin = pin};
	lock_take(&sh->lock);
	l = number_find(&sh->leases, lease);
	if (l && l->state == LEASE_GRANTED && l->seq == LEASE_SEQ_FIRST) {
		err = pin_charge(l, bytes);
		if (!err) {
			mine->next = l->pins;
			l->pins = mine;
		}
	}
	lock_drop(&sh->lock);
	if (err)
		free(mine);
	return err;
}

uint64_t deny_left(const struct lease *l, uint64_t now_ns)
{
	return l->deny && l->deny->until_ns > now_ns ? l->deny->until_ns - now_ns : 0;
}

/*
 * A lease that denies changes denies those that would take it, by its mode, and a faulting one those that would concern
 * it if it were pinned: what it is for is that the layout stays, not that its key does.
 */
int object_conflicts(const struct lease_object *o, struct range range, unsigned modes, uint64_t owner)
{
	bool may_deny = o->denying > 0 && !(modes & LEASE_EXCLUSIVE);
	uint64_t now;
	bool busy = false, denied = false;

	if (!may_deny)
		return interval_conflict(&o->index, range, modes, owner);
	now = arbiter_now(o->shard->arbiter);
	for (struct piece *p = interval_first(&o->index, range); p; p = interval_next(&o->index, p, range)) {
		const struct lease *l = p->lease;
		bool own = l->session->id == owner;

		if (!(l->mode & modes))
			continue;
		if (deny_left(l, now) > 0) {
			if (own && !(modes & LEASE_OWN_EXCLUSIVE))
				return -EDEADLK;
			denied |= !own;
		}
		if (!own && (!l->faulting || (modes & LEASE_FAULTING)))
			busy = true;
	}
	return denied ? -ETXTBSY : busy;
}

int lease_conflicts(struct lease_anchor *an, struct range range, unsigned modes, const struct lease_session *owner)
{
	struct lease_object *o = object_lock(an);
	int found;

	if (!o)
		return 0;
	found = object_conflicts(o, range, modes, session_id_or_0(owner));
	lock_drop(&o->shard->lock);
	return found;
}
