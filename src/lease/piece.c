/* SPDX-License-Identifier: BSD-2-Clause */
/* Pieces and the state of their lease: cutting, joining, taking out, and the end of a lease. */
#include "lease/lease_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* docs/semantics.md figure 1 */
#define TO(s) (1u << LEASE_##s)
static const unsigned lease_next[LEASE_STATES] = {
    [LEASE_GRANTED] = TO(RECALLING) | TO(RELEASED),
    [LEASE_RECALLING] = TO(GRANTED) | TO(RELEASED) | TO(REVOKED),
    [LEASE_RELEASED] = 0,
    [LEASE_REVOKED] = 0,
};

/* The only writer of lease->state after the grant. */
void lease_move(struct lease *l, enum lease_state to)
{
	lock_assert_held(RANK_LEASE);
	assert(lease_next[l->state] & (1u << to));
	l->state = (uint8_t)to;
}

static struct recall *recall_copy(const struct recall *from, struct piece *p)
{
	struct recall *r = malloc(sizeof(*r));

	if (r) {
		*r = *from;
		r->piece = p;
	}
	return r;
}

struct piece *piece_split(struct piece *p, uint64_t at)
{
	struct lease *l = p->lease;
	struct lease_object *o = l->object;
	struct piece *q = malloc(sizeof(*q));

	assert(p->work == PIECE_IDLE && p->range.start < at && at < p->range.end);
	if (!q)
		return NULL;
	*q = (struct piece){.range = {at, p->range.end}, .lease = l, .pinned = p->pinned};
	if (p->recall) {
		q->recall = recall_copy(p->recall, q);
		if (!q->recall)
			goto no_memory;
	}
	if (interval_insert(&o->index, q, lease_tag(l)))
		goto no_memory;
	if (q->recall) {
		due_insert(o->shard, q->recall);
		l->recalled++;
	}
	interval_set_end(&o->index, p, at);
	LIST_INSERT_HEAD(&l->pieces, q, of_lease);
	l->pieces_n++;
	breaks_piece_split(o, p);
	return q;
no_memory:
	free(q->recall);
	free(q);
	return NULL;
}

/*
 * Two passes over the ends, not one over the range: the upper part of a cut begins further on in the index, and a walk
 * that went on from there would miss what it overtook.
 */
int pieces_cut_at(struct lease_object *o, uint64_t at, piece_filter *wants, const void *ctx)
{
	struct range below = {at - 1, at};
	struct piece *p;

	if (at == 0)
		return 0;
	for (p = interval_first(&o->index, below); p; p = interval_next(&o->index, p, below)) {
		if (p->range.end > at && p->work == PIECE_IDLE && wants(ctx, p) && !piece_split(p, at))
			return -ENOMEM;
	}
	return 0;
}

int piece_trim(struct piece **p, struct range range)
{
	struct piece *upper;

	assert(range_overlaps((*p)->range, range));
	if ((*p)->range.start < range.start) {
		upper = piece_split(*p, range.start);
		if (!upper)
			return -ENOMEM;
		*p = upper;
	}
	if ((*p)->range.end > range.end && !piece_split(*p, range.end))
		return -ENOMEM;
	return 0;
}

static void piece_free(struct piece *p)
{
	if (p != &p->lease->first)
		free(p);
}

static bool piece_alike(const struct piece *a, const struct piece *b)
{
	return a->work == PIECE_IDLE && b->work == PIECE_IDLE && !a->recall && !b->recall && a->pinned == b->pinned;
}

/* Joins upper, which begins where lower ends. */
static void piece_join(struct piece *lower, struct piece *upper)
{
	struct lease *l = lower->lease;
	uint64_t end = upper->range.end;

	interval_remove(&l->object->index, upper);
	LIST_REMOVE(upper, of_lease);
	l->pieces_n--;
	interval_set_end(&l->object->index, lower, end);
	piece_free(upper);
}

void piece_merge(struct piece *p)
{
	struct piece *lower = NULL, *upper = NULL;
	struct piece *q;

	LIST_FOREACH (q, &p->lease->pieces, of_lease) {
		if (q == p || !piece_alike(p, q))
			continue;
		if (q->range.start == p->range.end)
			upper = q;
		else if (q->range.end == p->range.start)
			lower = q;
	}
	if (upper)
		piece_join(p, upper);
	if (lower)
		piece_join(lower, p);
}

/* The last piece is gone. */
static void lease_end(struct lease *l, enum lease_state how)
{
	struct lease_shard *sh = l->object->shard;

	lease_move(l, how);
	number_remove(&sh->leases, l);
	session_unlink(l);
	if (sh->shut && sh->leases.count == 0)
		shard_moved(sh); /* lease_unmount waits for this */
}

struct lease *piece_remove(struct piece *p, enum lease_state how, uint64_t now_ns)
{
	struct lease *l = p->lease;
	struct lease_object *o = l->object;
	bool last;

	lock_assert_held(RANK_LEASE);
	trace_piece(p, how == LEASE_REVOKED ? LEASE_EV_REVOKE : LEASE_EV_RELEASE, now_ns);
	if (l->charged)
		account_bytes_give(l->session, p->range.end - p->range.start);
	if (p->recall)
		session_answered(l->session, now_ns - p->recall->since_ns);
	interval_remove(&o->index, p);
	LIST_REMOVE(p, of_lease);
	l->pieces_n--;
	if (p->recall)
		l->recalled--;
	/* Before lease_end, after which the session may be gone. */
	breaks_piece_gone(o, p, now_ns);
	last = l->pieces_n == 0;
	if (last) {
		if (l->deny)
			o->denying--;
		if (l->mode == LEASE_WRITE)
			writer_tell(l);
		/* Only a recall leads to force, but a piece can be given back while another one is under recall. */
		lease_end(l, how);
	} else if (l->recalled == 0 && l->state == LEASE_RECALLING) {
		lease_move(l, LEASE_GRANTED);
	}
	object_put_if_quiet(o);
	piece_free(p);
	return last ? l : NULL;
}

void lease_bury(struct lease *l)
{
	struct lease_pin *pin = l->pins;

	while (pin) {
		struct lease_pin *next = pin->next;

		pin->ops->gone(pin->pin);
		free(pin);
		pin = next;
	}
	if (l->pins)
		session_call_end(l->session);
	free(l->deny);
	free(l);
}
