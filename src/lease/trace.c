/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ring of what happened. Written on the hot path by threads of different shards, so without a lock: each slot has a
 * turn, odd while event number turn/2 is being written, even when it is complete. A writer that would overtake one who
 * still writes the same slot, LEASE_TRACE_MAX events ago, drops its event. The words of a slot are atomics with release
 * and acquire order, so that a reader who saw one word of a newer event also sees its turn.
 */
#include "lease/lease_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TRACE_WORDS (sizeof(struct lease_trace) / sizeof(uint64_t))
static_assert(sizeof(struct lease_trace) % sizeof(uint64_t) == 0, "copied as whole words");
static_assert((LEASE_TRACE_MAX & (LEASE_TRACE_MAX - 1)) == 0, "slots are chosen by the low bits");

struct trace_slot {
	_Atomic uint64_t turn;
	_Atomic uint64_t word[TRACE_WORDS];
};

struct trace_ring {
	_Atomic uint64_t head; /* events so far */
	struct trace_slot slot[LEASE_TRACE_MAX];
};

int trace_new(struct trace_ring **out)
{
	/* Zeroed pages that nobody touches before they are used. */
	*out = calloc(1, sizeof(**out));
	return *out ? 0 : -ENOMEM;
}

void trace_free(struct trace_ring *t)
{
	free(t);
}

void trace_add(struct lease_arbiter *a, const struct lease_trace *e)
{
	struct trace_ring *t = a->trace;
	uint64_t n = atomic_fetch_add_explicit(&t->head, 1, memory_order_relaxed);
	struct trace_slot *s = &t->slot[n % LEASE_TRACE_MAX];
	uint64_t turn = atomic_load_explicit(&s->turn, memory_order_relaxed);
	uint64_t words[TRACE_WORDS];

	if ((turn & 1) || turn > 2 * n)
		return;
	if (!atomic_compare_exchange_strong(&s->turn, &turn, 2 * n + 1))
		return;
	memcpy(words, e, sizeof(words));
	for (unsigned i = 0; i < TRACE_WORDS; i++)
		atomic_store_explicit(&s->word[i], words[i], memory_order_release);
	atomic_store_explicit(&s->turn, 2 * n + 2, memory_order_release);
}

void trace_piece(const struct piece *p, enum lease_event event, uint64_t now_ns)
{
	const struct lease *l = p->lease;
	const struct recall *r = p->recall;

	trace_add(l->session->arbiter, &(struct lease_trace){
					   .at_ns = now_ns,
					   .lease = l->number,
					   .object = l->object->number,
					   .session = l->session->id,
					   .range = p->range,
					   .took_ns = r && now_ns > r->since_ns ? now_ns - r->since_ns : 0,
					   .event = event,
					   .reason = r ? r->reason : LEASE_REASON_COUNT,
					   .mode = (enum lease_mode)l->mode,
				       });
}

/* 1: *out is event n; 0: it is not complete yet; -1: overwritten or dropped. */
static int slot_read(struct trace_ring *t, uint64_t n, struct lease_trace *out)
{
	struct trace_slot *s = &t->slot[n % LEASE_TRACE_MAX];
	uint64_t turn = atomic_load_explicit(&s->turn, memory_order_acquire);
	uint64_t words[TRACE_WORDS];

	if (turn > 2 * n + 2)
		return -1;
	if (turn < 2 * n + 2)
		return 0;
	for (unsigned i = 0; i < TRACE_WORDS; i++)
		words[i] = atomic_load_explicit(&s->word[i], memory_order_acquire);
	if (atomic_load_explicit(&s->turn, memory_order_relaxed) != turn)
		return -1;
	memcpy(out, words, sizeof(words));
	return 1;
}

unsigned lease_trace_read(struct lease_arbiter *a, uint64_t *cursor, struct lease_trace *out, unsigned max)
{
	uint64_t head = atomic_load_explicit(&a->trace->head, memory_order_acquire);
	unsigned n = 0;

	if (head > LEASE_TRACE_MAX && *cursor < head - LEASE_TRACE_MAX)
		*cursor = head - LEASE_TRACE_MAX;
	/* An event that is still being written is skipped with the next call's events before it, not waited for. */
	for (; *cursor < head && n < max; (*cursor)++) {
		if (slot_read(a->trace, *cursor, &out[n]) == 1)
			n++;
	}
	return n;
}
