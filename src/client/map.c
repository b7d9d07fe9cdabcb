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

static int map_grow(struct map *m)
{
	unsigned room = m->room ? m->room * 2 : MAP_ROOM_FIRST;
	struct run *runs;

	if (m->count < m->room)
		return 0;
	if (m->count >= MAP_RUNS_MAX)
		return -ENOSPC;
	runs = realloc(m->runs, room * sizeof(*runs));
	if (!runs)
		return -ENOMEM;
	m->runs = runs;
	m->room = room;
	return 0;
}

static void map_remove(struct map *m, unsigned at)
{
	assert(at < m->count);
	memmove(&m->runs[at], &m->runs[at + 1], (m->count - at - 1) * sizeof(*m->runs));
	m->count--;
}

static int map_insert(struct map *m, unsigned at, const struct run *run)
{
	int err = map_grow(m);

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

/* Takes r out of the run at index at; returns the index behind what is left of it. */
static unsigned run_cut(struct map *m, unsigned at, struct range r)
{
	struct run *run = &m->runs[at];
	bool head = run->range.start < r.start;
	bool tail = run->range.end > r.end;
	struct run rest;

	if (tail)
		rest = run_tail(run, r.end);
	if (!head && !tail) {
		map_remove(m, at);
		return at;
	}
	if (!head) {
		*run = rest;
		return at + 1;
	}
	run->range.end = r.start;
	if (tail && map_insert(m, at + 1, &rest) == 0)
		return at + 2;
	return at + 1;
}

bool map_cut(struct map *m, struct range r, uint64_t lease)
{
	unsigned i = map_find(m, r.start);
	bool found = false;

	if (range_empty(r))
		return false;
	while (i < m->count && m->runs[i].range.start < r.end) {
		if (lease != MAP_ANY_LEASE && m->runs[i].lease != lease) {
			i++;
			continue;
		}
		found = true;
		i = run_cut(m, i, r);
	}
	return found;
}

int map_put(struct map *m, const struct run *run)
{
	assert(!range_empty(run->range));
	map_cut(m, run->range, MAP_ANY_LEASE);
	return map_insert(m, map_find(m, run->range.start), run);
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
