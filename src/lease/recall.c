/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Recalls: putting pieces under a deadline, and the notices about it. Notices are collected under LEASE and sent
 * without any lock; a lease of many pieces gets one notice for the hull of what was recalled, which holds nothing else
 * of it because a break takes all of a lease's pieces in its range.
 */
#include "lease/lease_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void notices_init(struct notices *out)
{
	out->n = 0;
	out->max = ARRAY_LEN(out->few);
	out->list = out->few;
}

static int notices_reserve(struct notices *out)
{
	struct notice *bigger;

	if (out->n < out->max)
		return 0;
	bigger = malloc(2 * (size_t)out->max * sizeof(*bigger));
	if (!bigger)
		return -ENOMEM;
	memcpy(bigger, out->list, out->n * sizeof(*bigger));
	if (out->list != out->few)
		free(out->list);
	out->list = bigger;
	out->max *= 2;
	return 0;
}

/* There is room. */
static void notices_add(struct notices *out, const struct piece *p)
{
	struct lease *l = p->lease;
	const struct recall *r = p->recall;
	struct notice *n;

	if (l->notice > 0) {
		n = &out->list[l->notice - 1];
		n->text.range.start = min_u64(n->text.range.start, p->range.start);
		n->text.range.end = max_u64(n->text.range.end, p->range.end);
		n->text.deadline_ns = min_u64(n->text.deadline_ns, r->deadline_ns);
		if (r->kind > n->text.kind)
			n->text.kind = r->kind;
		return;
	}
	l->seq++;
	n = &out->list[out->n++];
	l->notice = out->n;
	session_call_begin(l->session);
	atomic_fetch_add_explicit(&l->session->recalls, 1, memory_order_relaxed);
	l->object->shard->counts.recalls++;
	*n = (struct notice){
	    .lease = l,
	    .session = l->session,
	    .text = {.lease = l->number,
		     .seq = l->seq,
		     .object = l->object->number,
		     .handle = l->handle,
		     .range = p->range,
		     .mode = (enum lease_mode)l->mode,
		     .reason = r->reason,
		     .kind = r->kind,
		     .deadline_ns = r->deadline_ns},
	};
}

void notices_seal(struct notices *out)
{
	lock_assert_held(RANK_LEASE);
	for (unsigned i = 0; i < out->n; i++)
		out->list[i].lease->notice = 0;
}

void notices_send(struct notices *out, uint64_t now_ns)
{
	for (unsigned i = 0; i < out->n; i++) {
		struct notice *n = &out->list[i];

		n->text.now_ns = now_ns;
		if (n->session->ops->recall)
			n->session->ops->recall(n->session->ctx, &n->text);
		session_call_end(n->session);
	}
	if (out->list != out->few)
		free(out->list);
}

static struct recall *recall_new(struct piece *p, const struct recall_why *why, uint64_t deadline_ns)
{
	struct recall *r = malloc(sizeof(*r));

	if (!r)
		return NULL;
	*r = (struct recall){.piece = p, .deadline_ns = deadline_ns, .since_ns = why->now_ns, .kind = why->kind};
	p->recall = r;
	p->lease->recalled++;
	if (p->lease->state == LEASE_GRANTED)
		lease_move(p->lease, LEASE_RECALLING);
	return r;
}

int piece_recall(struct piece *p, const struct recall_why *why, struct notices *out)
{
	struct lease *l = p->lease;
	struct lease_shard *sh = l->object->shard;
	uint64_t at = deadline_after(why->now_ns, min_u64(l->deadline_ns, why->limit_ns));
	struct recall *r = p->recall;

	lock_assert_held(RANK_LEASE);
	if (r && at >= r->deadline_ns && why->kind <= r->kind)
		return 0;
	if (out && notices_reserve(out) < 0)
		return -ENOMEM;
	if (r) {
		due_remove(sh, r);
		r->deadline_ns = min_u64(at, r->deadline_ns);
		r->kind = why->kind > r->kind ? why->kind : r->kind;
	} else {
		r = recall_new(p, why, at);
		if (!r)
			return -ENOMEM;
	}
	r->reason = why->reason;
	l->last_reason = (uint8_t)why->reason;
	l->recalled_at = (uint32_t)min_u64((why->now_ns - l->granted_ns) / LEASE_AGO_NS, UINT32_MAX);
	l->broken = true;
	r->asker = why->asker;
	due_insert(sh, r);
	trace_piece(p, LEASE_EV_RECALL, why->now_ns);
	if (out && r->deadline_ns > why->now_ns)
		notices_add(out, p);
	return 0;
}
