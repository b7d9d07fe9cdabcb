/* SPDX-License-Identifier: BSD-2-Clause */
/* A sorted array, small enough that moving it costs less than a tree would. */
#include "client/ranges.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void ranges_init(struct ranges *s)
{
	s->more = NULL;
	s->count = 0;
	s->room = RANGES_SMALL;
}

void ranges_fini(struct ranges *s)
{
	free(s->more);
	ranges_init(s);
}

static struct range *all(struct ranges *s)
{
	return s->more ? s->more : s->small;
}

unsigned ranges_find(const struct ranges *s, uint64_t off)
{
	const struct range *at = ranges_at(s);
	unsigned low = 0;
	unsigned high = s->count;

	while (low < high) {
		unsigned mid = low + (high - low) / 2;

		if (at[mid].end > off)
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

/* Room for one more. */
static bool grow(struct ranges *s)
{
	unsigned room = s->room * 2 < RANGES_MAX ? s->room * 2 : RANGES_MAX;
	struct range *more;

	if (s->count < s->room)
		return true;
	if (s->room >= RANGES_MAX)
		return false;
	more = realloc(s->more, room * sizeof(*more));
	if (!more)
		return false;
	if (!s->more)
		memcpy(more, s->small, sizeof(s->small));
	s->more = more;
	s->room = room;
	return true;
}

static void take_out(struct ranges *s, unsigned first, unsigned n)
{
	struct range *at = all(s);

	assert(first + n <= s->count);
	memmove(&at[first], &at[first + n], (s->count - first - n) * sizeof(*at));
	s->count -= n;
}

static void put_in(struct ranges *s, unsigned at, struct range r)
{
	struct range *a = all(s);

	assert(s->count < s->room && at <= s->count);
	memmove(&a[at + 1], &a[at], (s->count - at) * sizeof(*a));
	a[at] = r;
	s->count++;
}

/* The two neighbours with the smallest gap become one, or r and its nearer neighbour, where r would stand at `at`.
 * true: r is in. */
static bool merge_nearest(struct ranges *s, unsigned at, struct range r)
{
	struct range *a = all(s);
	uint64_t gap_before = at > 0 ? r.start - a[at - 1].end : RANGE_MAX;
	uint64_t gap_after = at < s->count ? a[at].start - r.end : RANGE_MAX;
	uint64_t smallest = RANGE_MAX;
	unsigned which = 0;

	assert(s->count > 1);
	for (unsigned i = 1; i < s->count; i++) {
		uint64_t gap = a[i].start - a[i - 1].end;

		if (gap >= smallest)
			continue;
		smallest = gap;
		which = i;
	}
	if (gap_before <= smallest && gap_before <= gap_after) {
		a[at - 1].end = r.end;
		return true;
	}
	if (gap_after <= smallest) {
		a[at].start = r.start;
		return true;
	}
	a[which - 1].end = a[which].end;
	take_out(s, which, 1);
	return false;
}

void ranges_add(struct ranges *s, struct range r)
{
	struct range *a = all(s);
	unsigned first, last;

	if (range_empty(r))
		return;
	/* Touching counts: a range that ends where r starts is joined. */
	first = ranges_find(s, r.start);
	if (first > 0 && a[first - 1].end == r.start)
		first--;
	last = first;
	while (last < s->count && a[last].start <= r.end)
		last++;
	if (first < last) {
		a[first].start = min_u64(a[first].start, r.start);
		a[first].end = max_u64(a[last - 1].end, r.end);
		take_out(s, first + 1, last - first - 1);
		return;
	}
	if (!grow(s) && merge_nearest(s, first, r))
		return;
	put_in(s, ranges_find(s, r.start), r);
}

bool ranges_cut(struct ranges *s, struct range r)
{
	struct range *a = all(s);
	unsigned first = ranges_find(s, r.start);
	unsigned last;

	if (range_empty(r) || first == s->count || a[first].start >= r.end)
		return true;
	if (a[first].start < r.start && a[first].end > r.end) {
		struct range rest = {r.end, a[first].end};

		if (!grow(s))
			return false;
		all(s)[first].end = r.start;
		put_in(s, first + 1, rest);
		return true;
	}
	if (a[first].start < r.start)
		a[first++].end = r.start;
	last = first;
	while (last < s->count && a[last].end <= r.end)
		last++;
	if (last < s->count && a[last].start < r.end)
		a[last].start = r.end;
	take_out(s, first, last - first);
	return true;
}

void ranges_move(struct ranges *from, struct range r, struct ranges *to)
{
	const struct range *a = ranges_at(from);

	for (unsigned i = ranges_find(from, r.start); i < from->count && a[i].start < r.end; i++)
		ranges_add(to, range_cut(a[i], r));
	ranges_cut(from, r);
}

uint64_t ranges_bytes(const struct ranges *s)
{
	const struct range *a = ranges_at(s);
	uint64_t sum = 0;

	for (unsigned i = 0; i < s->count; i++)
		sum += a[i].end - a[i].start;
	return sum;
}
