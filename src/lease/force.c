/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The end of pieces: draining their pins without a lock, then taking them out; and the three who do it by force, which
 * are the deadline, the administrator, and a break that gives no time.
 *
 * A piece in a batch is PIECE_GOING: it still stands in the index, blocks breaks and receipts, and belongs to the
 * thread that runs the batch. It leaves the index only after every pin of its lease has returned from drain.
 */
#include "lease/lease_internal.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

void batch_add(struct batch *b, struct piece *p)
{
	lock_assert_held(RANK_LEASE);
	assert(p->work == PIECE_IDLE && (p->recall || b->how == LEASE_RELEASED));
	p->work = PIECE_GOING;
	if (p->recall)
		due_remove(p->lease->object->shard, p->recall);
	/* From now on no pin can be attached (LEASE_SEQ_FIRST), so that the list of pins can be walked without LEASE.
	 */
	p->lease->seq++;
	p->lease->broken = true;
	p->batch = b->pieces;
	b->pieces = p;
	b->n++;
}

static void batch_drain(const struct lease_options *opt, const struct batch *b)
{
	for (struct piece *p = b->pieces; p; p = p->batch) {
		for (struct lease_pin *pin = p->lease->pins; pin; pin = pin->next)
			pin->ops->drain(pin->pin, p->range);
		if (unlikely(p->lease->deny) && opt->denier_gone)
			opt->denier_gone(opt->denier_ctx, p->lease->number, p->range);
	}
}

/* Keeps what the notice and the audit say beyond the lease's end. Holds LEASE. */
static void revoked_prepare(struct recall *r, uint64_t now_ns)
{
	const struct lease *l = r->piece->lease;

	r->session = l->session;
	session_call_begin(l->session);
	r->notice = (struct lease_recall){
	    .lease = l->number,
	    .seq = l->seq,
	    .object = l->object->number,
	    .handle = l->handle,
	    .range = r->piece->range,
	    .mode = (enum lease_mode)l->mode,
	    .reason = r->reason,
	    .kind = r->kind,
	    .deadline_ns = r->deadline_ns,
	    .now_ns = now_ns,
	};
}

static void tell_one(struct recall *r, const char *asked_by)
{
	if (r->session->ops->revoked)
		r->session->ops->revoked(r->session->ctx, &r->notice);
	audit_add(r->session->arbiter, r, asked_by);
	session_call_end(r->session);
	free(r);
}

bool batch_tell(struct batch *b, unsigned max)
{
	lock_assert_not_held(RANK_LEASE);
	for (unsigned i = 0; i < max && b->forced; i++) {
		struct recall *r = b->forced;

		b->forced = r->next;
		tell_one(r, b->asked_by);
	}
	for (unsigned i = 0; i < max && b->ended; i++) {
		struct lease *l = b->ended;

		b->ended = l->chain;
		lease_bury(l);
	}
	return b->forced || b->ended;
}

void batch_take(struct lease_shard *sh, struct batch *b)
{
	uint64_t now;

	lock_assert_not_held(RANK_LEASE);
	batch_drain(&sh->arbiter->opt, b);
	lock_take(&sh->lock);
	now = arbiter_now(sh->arbiter);
	while (b->pieces) {
		struct piece *p = b->pieces;
		struct recall *r = p->recall;
		struct lease *l;

		b->pieces = p->batch;
		if (b->how == LEASE_REVOKED) {
			revoked_prepare(r, now);
			r->next = b->forced;
			b->forced = r;
			sh->counts.forced++;
			r = NULL;
		}
		l = piece_remove(p, b->how, now);
		free(r);
		if (l) {
			l->chain = b->ended;
			b->ended = l;
		}
	}
	b->n = 0;
	shard_moved(sh);
	lock_drop(&sh->lock);
}

/* Adds what is due. Returns true when something due is in the hands of lease_own_drain. Holds LEASE. */
static bool collect_due(struct lease_shard *sh, struct batch *b, uint64_t now_ns)
{
	struct recall *r, *next;
	bool held_up = false;

	for (r = due_first(sh); r && r->deadline_ns <= now_ns && b->n < LEASE_BATCH_MAX; r = next) {
		next = due_next(r);
		if (r->piece->work == PIECE_IDLE)
			batch_add(b, r->piece);
		else
			held_up = true;
	}
	return held_up;
}

void force_due(struct lease_shard *sh, struct batch *b)
{
	bool more;

	do {
		lock_take(&sh->lock);
		more = collect_due(sh, b, arbiter_now(sh->arbiter));
		if (!b->pieces && more)
			shard_wait(sh);
		lock_drop(&sh->lock);
		if (b->pieces) {
			batch_take(sh, b);
			more = true; /* there may be more than one batch */
		}
	} while (more);
}

/* --- the administrator ----------------------------------------------------------------------------------------------
 */

struct revoke {
	uint64_t lease, object, session;
	uint32_t uid;
	struct recall_why why;
	struct batch batch;
	int revoked; /* leases */
	bool again;  /* somebody else works on one of them, or the batch is full */
	int err;
};

static bool revoke_wants(const struct revoke *v, const struct lease *l)
{
	return (v->lease == 0 || v->lease == l->number) && (v->object == 0 || v->object == l->object->number) &&
	       (v->session == 0 || v->session == l->session->id) &&
	       (v->uid == UINT32_MAX || v->uid == l->session->who.uid);
}

static void revoke_lease(void *ctx, struct lease *l)
{
	struct revoke *v = ctx;
	struct piece *p;
	unsigned added = 0, held_up = 0;

	if (v->err || !revoke_wants(v, l))
		return;
	LIST_FOREACH (p, &l->pieces, of_lease) {
		if (p->work != PIECE_IDLE || v->batch.n >= LEASE_BATCH_MAX) {
			v->again = true;
			held_up += p->work != PIECE_GOING;
			continue;
		}
		v->err = piece_recall(p, &v->why, NULL);
		if (v->err)
			return;
		batch_add(&v->batch, p);
		added++;
	}
	if (added > 0 && held_up == 0)
		v->revoked++;
}

/* One pass; waits when all that is left is in other hands. */
static void revoke_pass(struct lease_shard *sh, struct revoke *v)
{
	v->again = false;
	lock_take(&sh->lock);
	v->why.now_ns = arbiter_now(sh->arbiter);
	if (v->lease) {
		struct lease *l = number_find(&sh->leases, v->lease);

		if (l)
			revoke_lease(v, l);
	} else {
		number_each(&sh->leases, revoke_lease, v);
	}
	if (v->again && !v->batch.pieces)
		shard_wait(sh);
	lock_drop(&sh->lock);
	if (v->batch.pieces)
		batch_take(sh, &v->batch);
	batch_tell(&v->batch, UINT_MAX);
}

int lease_revoke(struct lease_arbiter *a, uint64_t lease, uint64_t object, uint64_t session, uint32_t uid,
		 const char *asked_by)
{
	return lease_revoke_for(a, lease, object, session, uid, NULL, asked_by ? asked_by : "an administrator");
}

int lease_revoke_for(struct lease_arbiter *a, uint64_t lease, uint64_t object, uint64_t session, uint32_t uid,
		     const struct lease_session *asker, const char *asked_by)
{
	struct revoke v = {
	    .lease = lease,
	    .object = object,
	    .session = session,
	    .uid = uid,
	    .why = {.reason = LEASE_FOR_ADMIN, .kind = LEASE_STOP, .asker = asker_of(asker), .limit_ns = 0},
	    .batch = {.how = LEASE_REVOKED, .asked_by = asked_by}};

	for (unsigned i = 0; i < LEASE_SHARDS && v.err == 0; i++) {
		struct lease_shard *sh = &a->shards[i];

		if ((lease && sh != shard_of_lease(a, lease)) || (object && sh != shard_of_object(a, object)))
			continue;
		do {
			revoke_pass(sh, &v);
		} while (v.again && v.err == 0);
	}
	return v.err ? v.err : v.revoked;
}
