/* SPDX-License-Identifier: BSD-2-Clause */
/* A sorted array: looked up with every direct access, changed only by grants and notices. */
#include "client/map.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAP_ROOM_FIRST 8u

void map_free(struct map *m)
{
	free(m->runs);
	*m = (struct map){0};
}

unsigned map_find(const struct map *m, uint64_t off)
{
	unsigned low = 0;
	unsigned high = m->count;

	while (low < high) {
		unsigned mid = low + (high - low) / 2;

		if (m->runs[mid].range.end > off)
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

const struct run *map_at(const struct map *m, uint64_t off)
{
	unsigned i = map_find(m, off);

	return i < m->count && m->runs[i].range.start <= off ? &m->runs[i] : NULL;
}

/* Room for `more` runs. */
static int map_grow(struct map *m, unsigned more)
{
	unsigned room = m->room ? m->room : MAP_ROOM_FIRST;
	struct run *runs;

	if (more > MAP_RUNS_MAX - m->count)
		return -ENOSPC;
	if (m->count + more <= m->room)
		return 0;
	while (room < m->count + more)
		room *= 2;
	runs = realloc(m->runs, room * sizeof(*runs));
	if (!runs)
		return -ENOMEM;
	m->runs = runs;
	m->room = room;
	return 0;
}

static int map_insert(struct map *m, unsigned at, const struct run *run)
{
	int err = map_grow(m, 1);

	if (err)
		return err;
	assert(at <= m->count);
	memmove(&m->runs[at + 1], &m->runs[at], (m->count - at) * sizeof(*m->runs));
	m->runs[at] = *run;
	m->count++;
	return 0;
}

/* The part of run from off on. */
static struct run run_tail(const struct run *run, uint64_t off)
{
	struct run tail = *run;

	assert(off >= run->range.start && off < run->range.end);
	if (run->key)
		tail.key_off += off - run->range.start;
	tail.range.start = off;
	return tail;
}

/* The run at index at holds r and more on both sides. Without memory for its end that becomes unknown too. */
static void run_split(struct map *m, unsigned at, struct range r)
{
	struct run rest = run_tail(&m->runs[at], r.end);

	m->runs[at].range.end = r.start;
	map_insert(m, at + 1, &rest);
}

/* What stays of the run outside r, at one end of it at most: false: nothing. */
static bool run_trim(struct run *run, struct range r)
{
	if (run->range.start < r.start)
		run->range.end = r.start;
	else if (run->range.end > r.end)
		*run = run_tail(run, r.end);
	else
		return false;
	return true;
}

/* One pass: what stays moves down over what goes. */
bool map_cut(struct map *m, struct range r, uint64_t lease)
{
	unsigned i = map_find(m, r.start);
	unsigned keep = i;
	bool found = false;

	if (range_empty(r))
		return false;
	for (; i < m->count && m->runs[i].range.start < r.end; i++) {
		struct run *run = &m->runs[i];
		bool ours = lease == MAP_ANY_LEASE || run->lease == lease;

		found |= ours;
		if (ours && run->range.start < r.start && run->range.end > r.end) {
			run_split(m, i, r);
			return true; /* no other run is in r */
		}
		if (ours && !run_trim(run, r))
			continue;
		m->runs[keep++] = *run;
	}
	if (keep < i) {
		memmove(&m->runs[keep], &m->runs[i], (m->count - i) * sizeof(*m->runs));
		m->count -= i - keep;
	}
	return found;
}

int map_put(struct map *m, const struct run *run)
{
	assert(!range_empty(run->range));
	map_cut(m, run->range, MAP_ANY_LEASE);
	return map_insert(m, map_find(m, run->range.start), run);
}

void map_put_all(struct map *m, const struct run *runs, unsigned n)
{
	unsigned at;

	if (n == 0)
		return;
	at = map_find(m, runs[0].range.start);
	if ((at < m->count && m->runs[at].range.start < runs[n - 1].range.end) || map_grow(m, n)) {
		for (unsigned i = 0; i < n; i++)
			map_put(m, &runs[i]);
		return;
	}
	memmove(&m->runs[at + n], &m->runs[at], (m->count - at) * sizeof(*m->runs));
	memcpy(&m->runs[at], runs, n * sizeof(*runs));
	m->count += n;
}

struct range map_gap(const struct map *m, uint64_t off, struct range window)
{
	unsigned i = map_find(m, off);
	struct range gap = window;

	if (i > 0)
		gap.start = max_u64(gap.start, m->runs[i - 1].range.end);
	if (i < m->count) {
		if (m->runs[i].range.start <= off)
			return (struct range){off, off};
		gap.end = min_u64(gap.end, m->runs[i].range.start);
	}
	return gap;
}

bool map_covers(const struct map *m, struct range r)
{
	uint64_t at = r.start;

	for (unsigned i = map_find(m, at); at < r.end; i++) {
		if (i == m->count || m->runs[i].range.start > at)
			return false;
		at = m->runs[i].range.end;
	}
	return true;
}
