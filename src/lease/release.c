/* SPDX-License-Identifier: BSD-2-Clause */
/* The holder's side of an end: it gives a range back. */
#include "lease/lease_internal.h"

#include <errno.h>
#include <stdlib.h>

/* Whether another thread works on the lease's part of range. */
static bool range_at_work(const struct lease *l, struct range range)
{
	const struct piece *p;

	LIST_FOREACH (p, &l->pieces, of_lease) {
		if (p->work != PIECE_IDLE && range_overlaps(p->range, range))
			return true;
	}
	return false;
}

/* Puts the lease's part of range into the batch: 0, -ENOMEM with what could be cut. */
static int collect_range(struct lease *l, struct range range, struct batch *b)
{
	struct piece *p, *next;
	int err;

	for (p = LIST_FIRST(&l->pieces); p; p = next) {
		next = LIST_NEXT(p, of_lease); /* what a cut adds comes before p */
		if (!range_overlaps(p->range, range))
			continue;
		err = piece_trim(&p, range);
		if (err)
			return err;
		batch_add(b, p);
	}
	return 0;
}

static void count_release(struct lease_shard *sh, const struct batch *b)
{
	const struct piece *p;

	sh->counts.releases++;
	for (p = b->pieces; p; p = p->batch) {
		if (p->recall) {
			sh->counts.released_in_time++;
			return;
		}
	}
}

/* No pin: nothing to drain, so that LEASE need not be dropped. The lease, when it ended. */
static struct lease *remove_unpinned(struct lease_shard *sh, struct batch *b)
{
	uint64_t now = arbiter_now(sh->arbiter);
	struct lease *ended = NULL;

	while (b->pieces) {
		struct piece *p = b->pieces;
		struct recall *r = p->recall;

		b->pieces = p->batch;
		ended = piece_remove(p, LEASE_RELEASED, now);
		free(r);
	}
	b->n = 0;
	return ended;
}

int release_number(struct lease_shard *sh, const struct lease_session *s, uint64_t number, struct range range)
{
	struct batch b = {.how = LEASE_RELEASED};
	struct lease *l;
	int err = 0;

	lock_take(&sh->lock);
	l = number_find(&sh->leases, number);
	while (l && (!s || l->session == s) && range_at_work(l, range)) {
		shard_wait(sh);
		l = number_find(&sh->leases, number);
	}
	if (l && (!s || l->session == s))
		err = collect_range(l, range, &b);
	if (b.pieces) {
		count_release(sh, &b);
		/* Of who denies changes somebody may want to know (denier_gone). */
		if (!l->pins && !l->deny)
			b.ended = remove_unpinned(sh, &b);
	}
	lock_drop(&sh->lock);
	if (b.pieces)
		batch_take(sh, &b);
	batch_tell(&b, 1); /* of one lease there is no more */
	return err;
}

int lease_release(struct lease_session *s, uint64_t lease, struct range range)
{
	if (range_empty(range))
		return 0;
	return release_number(shard_of_lease(s->arbiter, lease), s, lease, range);
}
