/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * L5: the caller's own leases stay while its blocks move under them. Their pins are drained for the range, the fs moves
 * the blocks, then the pins are placed anew.
 *
 * Faulting leases are left alone (L33): their device finds the new place by itself.
 *
 * While a pin is being drained or placed its piece is PIECE_OWN: a break may put it under recall, but nobody takes it
 * out or cuts it, so that the pin and its range stay valid for the callback.
 */
#include "lease/lease_internal.h"

#include <errno.h>

/* The owner's pieces of the range, one after the other, by what shall be done with them. */
struct own {
	struct lease_object *object;
	struct range range;
	const struct lease_session *owner;
	uint64_t lease;       /* only this one, all of it, faulting or not; 0: all in the range that are not */
	struct piece *pieces; /* PIECE_OWN, by ->batch */
};

static bool own_wants(const void *ctx, const struct piece *p)
{
	const struct own *w = ctx;

	return p->lease->session == w->owner && !p->lease->faulting;
}

static bool own_pinned(const void *ctx, const struct piece *p)
{
	return own_wants(ctx, p) && p->lease->pins;
}

/* The one lease, if the owner holds it here. */
static struct lease *own_one(const struct own *w)
{
	struct lease *l = number_find(&w->object->shard->leases, w->lease);

	return l && l->session == w->owner && l->object == w->object ? l : NULL;
}

/* Whether another thread is at work on one of them. */
static bool own_held_up(const struct own *w)
{
	const struct lease *l = w->lease ? own_one(w) : NULL;
	struct piece *p;

	if (l) {
		LIST_FOREACH (p, &l->pieces, of_lease) {
			if (p->work != PIECE_IDLE)
				return true;
		}
	}
	if (w->lease)
		return false;
	for (p = interval_first(&w->object->index, w->range); p; p = interval_next(&w->object->index, p, w->range)) {
		if (own_wants(w, p) && p->work != PIECE_IDLE)
			return true;
	}
	return false;
}

static void own_mark(struct own *w, struct piece *p)
{
	/* Also without a pin: one whose keys are being made for the old place must not be attached any more. */
	p->lease->seq++;
	if (!p->lease->pins)
		return;
	p->work = PIECE_OWN;
	p->own_seq = p->lease->seq;
	p->batch = w->pieces;
	w->pieces = p;
}

/* Marks the owner's pinned pieces of the range, cut to it, and raises the seq of its leases: 0, -ENOMEM. */
static int own_collect(struct own *w)
{
	struct lease *l = w->lease ? own_one(w) : NULL;
	struct piece *p;
	int err;

	if (l) {
		LIST_FOREACH (p, &l->pieces, of_lease)
			own_mark(w, p);
	}
	if (w->lease)
		return 0;
	err = pieces_cut_at(w->object, w->range.start, own_pinned, w);
	if (err == 0)
		err = pieces_cut_at(w->object, w->range.end, own_pinned, w);
	if (err)
		return err;
	for (p = interval_first(&w->object->index, w->range); p; p = interval_next(&w->object->index, p, w->range)) {
		if (own_wants(w, p))
			own_mark(w, p);
	}
	return 0;
}

static void own_finish(struct own *w, bool pinned)
{
	while (w->pieces) {
		struct piece *p = w->pieces;

		w->pieces = p->batch;
		p->work = PIECE_IDLE;
		p->pinned = pinned;
		piece_merge(p);
	}
	shard_moved(w->object->shard);
}

/* Locks the shard and marks the pieces. false: there are none, or no memory (*err); nothing is locked. */
static bool own_begin(struct lease_anchor *an, struct own *w, int *err)
{
	struct lease_shard *sh;

	*err = 0;
	w->object = object_lock(an);
	if (!w->object)
		return false;
	sh = w->object->shard;
	while (own_held_up(w)) {
		shard_wait(sh);
		w->object = atomic_load_explicit(&an->state, memory_order_relaxed);
		if (!w->object)
			break;
	}
	if (w->object)
		*err = own_collect(w);
	lock_drop(&sh->lock);
	return w->pieces != NULL;
}

static int own_drain(struct lease_anchor *an, struct own *w)
{
	int err;

	if (!own_begin(an, w, &err))
		return err;
	for (struct piece *p = w->pieces; p; p = p->batch) {
		for (struct lease_pin *pin = p->lease->pins; pin; pin = pin->next)
			pin->ops->drain(pin->pin, p->range);
	}
	lock_take(&w->object->shard->lock);
	own_finish(w, false);
	lock_drop(&w->object->shard->lock);
	return 0;
}

static int own_each(struct lease_anchor *an, struct own *w,
		    void (*each)(void *ctx, uint64_t lease, uint32_t seq, enum lease_mode mode, struct range part,
				 void *pin),
		    void *ctx)
{
	int err;

	if (!own_begin(an, w, &err))
		return err;
	for (struct piece *p = w->pieces; p; p = p->batch) {
		const struct lease *l = p->lease;

		for (struct lease_pin *pin = l->pins; pin; pin = pin->next)
			each(ctx, l->number, p->own_seq, (enum lease_mode)l->mode, p->range, pin->pin);
	}
	lock_take(&w->object->shard->lock);
	own_finish(w, true);
	lock_drop(&w->object->shard->lock);
	return 0;
}

int lease_own_drain(struct lease_anchor *an, struct range range, const struct lease_session *owner)
{
	return own_drain(an, &(struct own){.range = range, .owner = owner});
}

int lease_own_each(struct lease_anchor *an, struct range range, const struct lease_session *owner,
		   void (*each)(void *ctx, uint64_t lease, uint32_t seq, enum lease_mode mode, struct range part,
				void *pin),
		   void *ctx)
{
	return own_each(an, &(struct own){.range = range, .owner = owner}, each, ctx);
}

int lease_change_drain(struct lease_anchor *an, const struct lease_session *owner, uint64_t lease)
{
	return own_drain(an, &(struct own){.owner = owner, .lease = lease});
}

int lease_change_place(struct lease_anchor *an, const struct lease_session *owner, uint64_t lease,
		       void (*each)(void *ctx, uint64_t lease, uint32_t seq, enum lease_mode mode, struct range part,
				    void *pin),
		       void *ctx)
{
	return own_each(an, &(struct own){.owner = owner, .lease = lease}, each, ctx);
}
