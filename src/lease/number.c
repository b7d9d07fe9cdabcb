/* SPDX-License-Identifier: BSD-2-Clause */
/* The number table. Invariant: bucket_of() of a lease's number is the bucket whose chain it is in. */
#include "lease/lease_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

static unsigned bucket_of(const struct number_table *t, uint64_t number)
{
	uint64_t h = number >> LEASE_SHARD_BITS;
	unsigned b = (unsigned)(h & (2 * t->low - 1));

	return b < t->buckets ? b : b - t->low;
}

static struct lease **bucket_at(const struct number_table *t, unsigned b)
{
	return &t->segments[b / NUMBER_SEGMENT][b % NUMBER_SEGMENT];
}

/* Makes sure that bucket b has memory. */
static int segment_reserve(struct number_table *t, unsigned b)
{
	unsigned i = b / NUMBER_SEGMENT;

	if (i >= t->segments_max) {
		unsigned max = t->segments_max ? 2 * t->segments_max : 4;
		struct lease ***bigger = realloc(t->segments, max * sizeof(*bigger));

		if (!bigger)
			return -ENOMEM;
		for (unsigned k = t->segments_max; k < max; k++)
			bigger[k] = NULL;
		t->segments = bigger;
		t->segments_max = max;
	}
	if (!t->segments[i])
		t->segments[i] = calloc(NUMBER_SEGMENT, sizeof(struct lease *));
	return t->segments[i] ? 0 : -ENOMEM;
}

/* Adds bucket number `buckets` and moves there what belongs into it. Without memory the table just stays denser. */
static void table_grow(struct number_table *t)
{
	struct lease **from = bucket_at(t, t->buckets - t->low);
	struct lease *l = *from;

	if (segment_reserve(t, t->buckets) < 0)
		return;
	t->buckets++;
	*from = NULL;
	while (l) {
		struct lease *next = l->chain;
		struct lease **to = bucket_at(t, bucket_of(t, l->number));

		l->chain = *to;
		*to = l;
		l = next;
	}
	if (t->buckets == 2 * t->low)
		t->low *= 2;
}

/* Folds the last bucket into the one that it was split from. */
static void table_shrink(struct number_table *t)
{
	unsigned last = t->buckets - 1;
	struct lease **from = bucket_at(t, last);
	struct lease **to;

	if (last < t->low)
		t->low /= 2;
	to = bucket_at(t, last - t->low);
	while (*to)
		to = &(*to)->chain;
	*to = *from;
	*from = NULL;
	t->buckets = last;
	if (last % NUMBER_SEGMENT == 0) {
		free(t->segments[last / NUMBER_SEGMENT]);
		t->segments[last / NUMBER_SEGMENT] = NULL;
	}
}

int number_insert(struct number_table *t, struct lease *l)
{
	struct lease **b;

	if (t->buckets == 0) {
		if (segment_reserve(t, 0) < 0)
			return -ENOMEM;
		t->low = t->buckets = NUMBER_SEGMENT;
	}
	b = bucket_at(t, bucket_of(t, l->number));
	l->chain = *b;
	*b = l;
	t->count++;
	if (t->count > t->buckets)
		table_grow(t);
	return 0;
}

void number_remove(struct number_table *t, struct lease *l)
{
	struct lease **at = bucket_at(t, bucket_of(t, l->number));

	while (*at != l) {
		assert(*at);
		at = &(*at)->chain;
	}
	*at = l->chain;
	l->chain = NULL;
	t->count--;
	/* Two for one, so that the table keeps up with its leases down to the least. */
	for (int i = 0; i < 2 && t->buckets > NUMBER_SEGMENT && t->count < t->buckets / 2; i++)
		table_shrink(t);
}

struct lease *number_find(const struct number_table *t, uint64_t number)
{
	struct lease *l;

	if (t->count == 0)
		return NULL;
	l = *bucket_at(t, bucket_of(t, number));
	while (l && l->number != number)
		l = l->chain;
	return l;
}

void number_each(const struct number_table *t, void (*each)(void *ctx, struct lease *l), void *ctx)
{
	for (unsigned b = 0; b < t->buckets; b++) {
		for (struct lease *l = *bucket_at(t, b); l; l = l->chain)
			each(ctx, l);
	}
}

void number_fini(struct number_table *t)
{
	assert(t->count == 0);
	for (unsigned i = 0; i < t->segments_max; i++)
		free(t->segments[i]);
	free(t->segments);
}
