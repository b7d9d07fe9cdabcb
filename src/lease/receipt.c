/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * L13: the receipt, and the only place that knows what its proof is made of, so that nobody else can make one.
 *
 * What counts as reaching a range: a pin that was not drained there, and also a lease without a pin to which one could
 * still be attached, because its keys may be in the making for the blocks of now. Breaks, releases and lease_own_drain
 * end that by raising seq, after which lease_pin_attach refuses.
 *
 * A faulting lease never does (L33): its device looks a chunk up and moves it under INODE (shared). So of such devices
 * the proof is INODE itself, exclusive.
 */
#include "lease/lease_internal.h"

#include <errno.h>

struct lease_drain_proof {
	char unused;
};
static const struct lease_drain_proof proof;

static bool piece_reaches(const struct piece *p)
{
	const struct lease *l = p->lease;

	if (l->faulting)
		return false;
	if (l->pins)
		return p->pinned;
	return l->state == LEASE_GRANTED && l->seq == LEASE_SEQ_FIRST;
}

int lease_drained(struct lease_anchor *an, struct range range, struct drained *out)
{
	struct lease_object *o = object_lock(an);
	struct piece *p = NULL;

	if (o) {
		p = interval_first(&o->index, range);
		while (p && !piece_reaches(p))
			p = interval_next(&o->index, p, range);
		lock_drop(&o->shard->lock);
	}
	if (p)
		return -EBUSY;
	*out = (struct drained){.proof = &proof, .object = an->object, .range = range};
	return 0;
}
