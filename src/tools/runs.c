/* SPDX-License-Identifier: BSD-2-Clause */
/* Lists of runs: sorted arrays. */
#include "tools/runs.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int runs_add(struct runs *r, struct run run, const char *what)
{
	if (run.blocks == 0)
		return 0;
	if (r->count == r->room) {
		uint64_t room = r->room == 0 ? 64 : r->room * 2;
		struct runs_one *bigger = reallocarray(r->list, room, sizeof(*bigger));

		if (bigger == NULL)
			return -ENOMEM;
		r->list = bigger;
		r->room = room;
	}
	r->list[r->count++] = (struct runs_one){run, what};
	r->sorted = false;
	return 0;
}

static int run_cmp(const void *pa, const void *pb)
{
	const struct runs_one *a = pa, *b = pb;

	if (a->run.start != b->run.start)
		return a->run.start < b->run.start ? -1 : 1;
	return a->run.blocks < b->run.blocks ? -1 : a->run.blocks > b->run.blocks;
}

void runs_sort(struct runs *r)
{
	if (r->count > 1)
		qsort(r->list, r->count, sizeof(r->list[0]), run_cmp);
	r->sorted = true;
}

uint64_t runs_longest(const struct runs *r)
{
	uint64_t longest = 0;

	for (uint64_t i = 0; i < r->count; i++)
		longest = r->list[i].run.blocks > longest ? r->list[i].run.blocks : longest;
	return longest;
}

const struct runs_one *runs_over(const struct runs *r, struct run run, uint64_t longest)
{
	uint64_t from = run.start > longest ? run.start - longest : 0, low = 0, high = r->count;

	assert(r->sorted || r->count == 0);
	while (low < high) {
		uint64_t mid = (low + high) / 2;

		if (r->list[mid].run.start < from)
			low = mid + 1;
		else
			high = mid;
	}
	for (; low < r->count && r->list[low].run.start < run.start + run.blocks; low++) {
		if (r->list[low].run.start + r->list[low].run.blocks > run.start)
			return &r->list[low];
	}
	return NULL;
}

bool runs_gap(const struct runs *r, uint64_t *at, uint64_t *from, uint64_t end, uint64_t want, struct run *out)
{
	assert(r->sorted || r->count == 0);
	while (*from < end) {
		uint64_t to = end;

		if (*at < r->count && r->list[*at].run.start <= *from) {
			uint64_t behind = r->list[*at].run.start + r->list[*at].run.blocks;

			*from = behind > *from ? behind : *from;
			(*at)++;
			continue;
		}
		if (*at < r->count && r->list[*at].run.start < end)
			to = r->list[*at].run.start;
		*out = (struct run){*from, to - *from < want ? to - *from : want};
		*from += out->blocks;
		return true;
	}
	return false;
}

void runs_fini(struct runs *r)
{
	free(r->list);
	*r = (struct runs){0};
}
