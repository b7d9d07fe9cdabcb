/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Breaks: the gate, who must go, and when the last one has gone.
 *
 * A worked example. Session A holds lease 7 on [0, 64K) with a fabric key as its pin, session B lease 9 on [32K, 96K)
 * without one; D is 1 s. Session C punches [16K, 48K):
 *
 *  1. C calls lease_break_start. Under LEASE the break enters object->breaks: from here on lease_grant answers -EAGAIN
 *     for whatever overlaps [16K, 48K) (I6, L8). Lease 7 is cut into [0, 16K) [16K, 48K) [48K, 64K), lease 9 into
 *     [32K, 48K) [48K, 96K); the inner pieces are put under recall, due in 1 s; left = 2. Both leases are RECALLING.
 *  2. LEASE is dropped; the notices go out: 7 [16K, 48K) seq 2, and 9 [32K, 48K) seq 2. C waits, holding no lock.
 *  3. B answers lease_release(9, [32K, 48K)). There is no pin: the piece leaves the index, left = 1, lease 9 is GRANTED
 *     again with [48K, 96K). Its seq is 3.
 *  4. A is stopped and says nothing. At 1 s the timer marks A's piece PIECE_GOING, drops LEASE, and calls the key's
 *     drain([16K, 48K)). Were A to release just now, it would wait for the timer and find nothing left to do; were C
 *     to ask now, it would see the piece in the index still, so that nobody is let go before the pins are drained.
 *  5. The drain returned: under LEASE the piece leaves the index, left = 0, C is woken. A's session is told `revoked`
 *     and an audit line is written. Lease 7 is GRANTED with [0, 16K) and [48K, 64K): only the range was lost (L4, L16).
 *  6. C locks its inode, asks lease_drained for the receipt, frees the blocks, and calls lease_break_end: the gate
 * opens, and whoever waited in lease_gate_wait tries its grant again.
 *
 * If C had closed its session's file instead of going on, lease_break_end would open the gate all the same; what has
 * been recalled stays recalled, since the holders were told so.
 */
#include "lease/lease_internal.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdlib.h>

#include "base/clock.h"

/* How long a breaker looks before it sleeps. */
#define BREAK_SPIN_NS (100 * NS_PER_US)

/*
 * Nothing in here changes while a break is there: modes do not change inside a gate (change.c), and a break that lacks
 * LEASE_EXCLUSIVE began when nobody denied it, so that whoever denies changes elsewhere, or ceases to, is the same to
 * it.
 */
static bool break_matches(const struct lease_break *b, const struct piece *p)
{
	const struct lease *l = p->lease;

	return range_overlaps(b->range, p->range) && (b->modes & l->mode) && l->session->id != b->owner &&
	       (!l->faulting || (b->modes & LEASE_FAULTING));
}

bool gate_closed(const struct lease_object *o, struct range range)
{
	const struct lease_break *b;

	LIST_FOREACH (b, &o->breaks, of_object) {
		if (range_overlaps(b->range, range))
			return true;
	}
	return false;
}

/* Opens the gate and frees b. Holds LEASE; the caller looks after the object. */
static void break_drop(struct lease_break *b)
{
	LIST_REMOVE(b, of_object);
	if (b->detached)
		b->object->detached--;
	shard_moved(b->shard);
	cond_destroy(&b->over);
	free(b);
}

/* The last holder is gone. */
static void break_finish(struct lease_break *b, uint64_t now_ns)
{
	struct lease_arbiter *a = b->shard->arbiter;

	b->done = true;
	trace_add(a, &(struct lease_trace){.at_ns = now_ns,
					   .object = b->object->number,
					   .session = b->owner,
					   .range = b->range,
					   .took_ns = now_ns - b->start_ns,
					   .event = LEASE_EV_BREAK,
					   .reason = b->reason});
	if (b->detached)
		break_drop(b);
	else
		cond_wake_all(&b->over);
}

void breaks_piece_gone(struct lease_object *o, const struct piece *p, uint64_t now_ns)
{
	struct lease_break *b, *next;

	for (b = LIST_FIRST(&o->breaks); b; b = next) {
		next = LIST_NEXT(b, of_object);
		if (!b->armed || !break_matches(b, p))
			continue;
		assert(b->left > 0 && !b->done);
		b->left--;
		if (b->left == 0)
			break_finish(b, now_ns);
	}
}

void breaks_piece_split(struct lease_object *o, const struct piece *p)
{
	struct lease_break *b;

	LIST_FOREACH (b, &o->breaks, of_object) {
		if (b->armed && break_matches(b, p))
			b->left++;
	}
}

/* Whether a matching piece must be cut while another thread moves its pins. */
static bool must_wait_to_cut(const struct lease_break *b)
{
	struct piece *p;

	for (p = interval_first(&b->object->index, b->range); p; p = interval_next(&b->object->index, p, b->range)) {
		if (p->work == PIECE_OWN && break_matches(b, p) && !range_covers(b->range, p->range))
			return true;
	}
	return false;
}

static bool break_wants(const void *ctx, const struct piece *p)
{
	return break_matches(ctx, p);
}

/* Recalls and counts everyone who must go. On -ENOMEM some have been recalled already. Holds LEASE. */
static int break_arm(struct lease_break *b, struct lease_asker asker, struct notices *out)
{
	struct recall_why why = {
	    .reason = b->reason, .kind = b->kind, .asker = asker, .now_ns = b->start_ns, .limit_ns = b->limit_ns};
	struct piece *p;
	int err;

	err = pieces_cut_at(b->object, b->range.start, break_wants, b);
	if (err == 0)
		err = pieces_cut_at(b->object, b->range.end, break_wants, b);
	for (p = interval_first(&b->object->index, b->range); p && err == 0;
	     p = interval_next(&b->object->index, p, b->range)) {
		if (!break_matches(b, p))
			continue;
		/* What is on its way out is only waited for. */
		if (p->work != PIECE_GOING)
			err = piece_recall(p, &why, out);
		b->left++;
	}
	if (err)
		return err;
	b->armed = true;
	b->shard->counts.breaks++;
	if (b->left == 0)
		b->done = true;
	else
		b->shard->counts.breaks_waited++;
	return 0;
}

static uint64_t break_limit(const struct lease_arbiter *a, uint64_t asked)
{
	if (asked == 0)
		return UINT64_MAX;
	return asked == LEASE_DEADLINE_NOW ? 0 : min_u64(asked, a->opt.deadline_max_ns);
}

/* Closes the gate, unless a lease forbids it (L22). Holds LEASE. */
static int break_enter(struct lease_break *b, struct lease_anchor *an)
{
	int found;

	b->object = object_get(b->shard, an);
	if (!b->object)
		return -ENOMEM;
	found = object_conflicts(b->object, b->range, b->modes, b->owner);
	if (found < 0)
		return found; /* the object is not quiet: a lease is there */
	LIST_INSERT_HEAD(&b->object->breaks, b, of_object);
	return 0;
}

int lease_break_start(struct lease_arbiter *a, const struct lease_break_args *args, struct lease_break **out)
{
	struct lease_shard *sh = shard_of_object(a, args->anchor->object);
	struct lease_break *b;
	struct batch batch = {.how = LEASE_REVOKED};
	struct notices notices;
	int err;

	if (range_empty(args->range) || (args->modes & LEASE_ANY_MODE) == 0 ||
	    (args->modes & ~(LEASE_ALL | LEASE_OWN_EXCLUSIVE)))
		return -EINVAL;
	b = malloc(sizeof(*b));
	if (!b)
		return -ENOMEM;
	*b = (struct lease_break){.shard = sh,
				  .range = args->range,
				  .modes = args->modes,
				  .reason = args->reason,
				  .kind = args->kind,
				  .owner = session_id_or_0(args->owner),
				  .waiter = args->owner,
				  .tag = args->tag,
				  .limit_ns = break_limit(a, args->deadline_ns)};
	cond_init(&b->over);
	notices_init(&notices);
	lock_take(&sh->lock);
	err = break_enter(b, args->anchor);
	if (err) {
		lock_drop(&sh->lock);
		cond_destroy(&b->over);
		free(b);
		return err;
	}
	while (must_wait_to_cut(b))
		shard_wait(sh);
	b->start_ns = arbiter_now(a);
	err = break_arm(b, asker_of(args->owner), &notices);
	notices_seal(&notices);
	lock_drop(&sh->lock);

	notices_send(&notices, b->start_ns);
	timer_poke(sh);
	if (err) {
		lease_break_end(b);
		return err;
	}
	/* Whose time is up at once (D = 0) goes now, not when the timer finds the time. */
	if (atomic_load_explicit(&sh->next_due_ns, memory_order_acquire) <= b->start_ns)
		force_due(sh, &batch);
	batch_tell(&batch, UINT_MAX);
	*out = b;
	return 0;
}

static bool break_over(const struct lease_break *b, const struct lease_wait *w)
{
	return atomic_load_explicit(&b->done, memory_order_acquire) || atomic_load(&w->interrupted);
}

int lease_break_wait(struct lease_break *b)
{
	uint64_t start = clock_now_ns(), spun = 0;
	struct lease_wait wait = {.who = b->waiter, .tag = b->tag};
	bool done;

	lock_assert_none();
	if (atomic_load_explicit(&b->done, memory_order_acquire))
		return 0;
	lock_take(&b->shard->lock);
	wait_begin(b->shard, &wait, &b->over);
	lock_drop(&b->shard->lock);
	/* A cooperative holder answers sooner than a sleeping thread wakes; it may need this very processor to do so.
	 */
	while (!break_over(b, &wait) && spun < BREAK_SPIN_NS) {
		sched_yield();
		spun = clock_now_ns() - start;
	}
	lock_take(&b->shard->lock);
	while (!break_over(b, &wait))
		cond_wait(&b->over, &b->shard->lock);
	done = b->done;
	wait_end(b->shard, &wait);
	lock_drop(&b->shard->lock);
	return done ? 0 : -EINTR;
}

bool lease_break_done(struct lease_break *b)
{
	bool done;

	lock_take(&b->shard->lock);
	done = b->done;
	lock_drop(&b->shard->lock);
	return done;
}

void lease_break_end(struct lease_break *b)
{
	struct lease_shard *sh;
	struct lease_object *o;

	if (!b)
		return;
	sh = b->shard;
	o = b->object;
	lock_take(&sh->lock);
	break_drop(b);
	object_put_if_quiet(o);
	lock_drop(&sh->lock);
}

/* Whether another detached break keeps the gate and waits for everyone for whom b does. */
static bool break_covered(const struct lease_break *b)
{
	const struct lease_break *c;

	LIST_FOREACH (c, &b->object->breaks, of_object) {
		if (c != b && c->detached && range_covers(c->range, b->range) && (b->modes & ~c->modes) == 0 &&
		    (c->owner == 0 || c->owner == b->owner))
			return true;
	}
	return false;
}

void lease_break_detach(struct lease_break *b)
{
	struct lease_shard *sh = b->shard;
	struct lease_object *o = b->object;

	lock_take(&sh->lock);
	/* A caller that tries again and again must not pile up breaks. */
	if (b->done || o->detached >= LEASE_DETACHED_MAX || break_covered(b)) {
		break_drop(b);
		object_put_if_quiet(o);
	} else {
		b->detached = true;
		o->detached++;
	}
	lock_drop(&sh->lock);
}
