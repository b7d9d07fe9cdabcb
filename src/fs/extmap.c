/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Extents in a sorted array of sorted chunks.
 *
 * Invariants: no chunk is empty; only the single chunk of a small map may have less room than CHUNK_MAX; a change adds
 * at most two extents (a cut in the middle and the new one), so it splits at most one chunk, so that one spare chunk
 * and one free array place a change are a sufficient reserve.
 *
 * Why no tree: the inner loop of a lookup is a binary search in two arrays, and a map of a few extents is one
 * allocation.
 */
#include "fs/extmap.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_MAX   128u /* extents; 4 KiB */
#define CHUNK_FIRST 2u
#define ADDED_MAX   2u /* extents that one change may add */

struct extmap_chunk {
	uint32_t count, room;
	struct extmap_chunk *next; /* spares only */
	struct extent at[];
};

/* A place between extents: before `slot` of chunk `chunk`. slot == count only in the last chunk. */
struct place {
	uint32_t chunk, slot;
};

void extmap_init(struct extmap *m)
{
	memset(m, 0, sizeof(*m));
}

static struct extmap_chunk *chunk_get(const struct extmap *m, uint32_t i)
{
	return m->chunk_room == 0 ? m->single : m->chunks[i];
}

void extmap_fini(struct extmap *m)
{
	free(m->single);
	for (uint32_t i = 0; m->chunk_room != 0 && i < m->chunk_count; i++)
		free(m->chunks[i]);
	while (m->spare != NULL) {
		struct extmap_chunk *c = m->spare;

		m->spare = c->next;
		free(c);
	}
	free(m->chunks);
	free(m->firsts);
	memset(m, 0, sizeof(*m));
}

static uint64_t extent_end(const struct extent *e)
{
	return e->off + e->blocks;
}

/* The first extent that ends after block. */
static struct place locate(const struct extmap *m, uint64_t block)
{
	struct place p = {0, 0};
	const struct extmap_chunk *c;
	uint32_t low, high;

	if (m->chunk_count == 0)
		return p;
	low = 0;
	high = m->chunk_count;
	while (high - low > 1) {
		uint32_t mid = low + (high - low) / 2;

		if (m->firsts[mid] <= block)
			low = mid;
		else
			high = mid;
	}
	p.chunk = low;
	c = chunk_get(m, low);
	low = 0;
	high = c->count;
	while (low < high) {
		uint32_t mid = low + (high - low) / 2;

		if (extent_end(&c->at[mid]) > block)
			high = mid;
		else
			low = mid + 1;
	}
	p.slot = low;
	if (p.slot == c->count && p.chunk + 1 < m->chunk_count)
		p = (struct place){p.chunk + 1, 0};
	return p;
}

static struct extent *extent_at(const struct extmap *m, struct place p)
{
	struct extmap_chunk *c;

	if (p.chunk >= m->chunk_count)
		return NULL;
	c = chunk_get(m, p.chunk);
	return p.slot < c->count ? &c->at[p.slot] : NULL;
}

bool extmap_find(const struct extmap *m, uint64_t block, struct extent *out)
{
	const struct extent *e = extent_at(m, locate(m, block));

	if (e == NULL)
		return false;
	*out = *e;
	return true;
}

/* --- room -----------------------------------------------------------------------------------------------------------
 */

static struct extmap_chunk *chunk_new(uint32_t room)
{
	struct extmap_chunk *c = malloc(sizeof(*c) + room * sizeof(c->at[0]));

	if (c == NULL)
		return NULL;
	c->count = 0;
	c->room = room;
	c->next = NULL;
	return c;
}

/* The single chunk gets room for `need` extents. */
static int single_grow(struct extmap *m, uint32_t need)
{
	uint32_t room = m->single != NULL ? m->single->room : CHUNK_FIRST;
	struct extmap_chunk *c;

	if (m->single != NULL && m->single->room >= need)
		return 0;
	while (room < need)
		room *= 2;
	room = room < CHUNK_MAX ? room : CHUNK_MAX;
	c = realloc(m->single, sizeof(*c) + room * sizeof(c->at[0]));
	if (c == NULL)
		return -ENOMEM;
	if (m->single == NULL)
		c->count = 0;
	c->room = room;
	c->next = NULL;
	m->single = c;
	return 0;
}

static int arrays_grow(struct extmap *m, uint32_t need)
{
	uint32_t room = m->chunk_room < 8 ? 8 : m->chunk_room;
	struct extmap_chunk **chunks;
	uint64_t *firsts;

	if (m->chunk_room >= need)
		return 0;
	while (room < need)
		room *= 2;
	firsts = realloc(m->firsts, room * sizeof(*firsts));
	if (firsts == NULL)
		return -ENOMEM;
	m->firsts = firsts;
	chunks = realloc(m->chunks, room * sizeof(struct extmap_chunk *));
	if (chunks == NULL)
		return -ENOMEM;
	m->chunks = chunks;
	if (m->chunk_room == 0 && m->chunk_count == 1) {
		chunks[0] = m->single;
		firsts[0] = m->single->at[0].off;
	} else if (m->chunk_room == 0) {
		free(m->single);
	}
	m->single = NULL;
	m->chunk_room = room;
	return 0;
}

/* With the first chunk not yet in use (chunk_count 0) the single one is a reserve too. */
int extmap_reserve(struct extmap *m, unsigned changes)
{
	uint64_t need = m->extents + (uint64_t)changes * ADDED_MAX;
	int err;

	if (m->chunk_room == 0) {
		if (m->single != NULL && m->single->room >= need)
			return 0;
		err = single_grow(m, need < CHUNK_MAX ? (uint32_t)need : CHUNK_MAX);
		if (err != 0 || need <= CHUNK_MAX)
			return err;
	}
	err = arrays_grow(m, m->chunk_count + changes + 1);
	if (err != 0)
		return err;
	/* One more than the splits: the first chunk of a map that has been emptied. */
	while (m->spare_count < changes + (m->chunk_count == 0)) {
		struct extmap_chunk *c = chunk_new(CHUNK_MAX);

		if (c == NULL)
			return -ENOMEM;
		c->next = m->spare;
		m->spare = c;
		m->spare_count++;
	}
	return 0;
}

static struct extmap_chunk *spare_take(struct extmap *m)
{
	struct extmap_chunk *c = m->spare;

	assert(c != NULL); /* extmap_reserve was forgotten */
	m->spare = c->next;
	m->spare_count--;
	c->next = NULL;
	c->count = 0;
	return c;
}

/* --- changes --------------------------------------------------------------------------------------------------------
 */

static void first_update(struct extmap *m, uint32_t chunk)
{
	if (m->chunk_room != 0)
		m->firsts[chunk] = m->chunks[chunk]->at[0].off;
}

static void chunk_insert(struct extmap *m, uint32_t at, struct extmap_chunk *c)
{
	uint32_t behind = m->chunk_count - at;

	assert(m->chunk_count < m->chunk_room);
	memmove(&m->chunks[at + 1], &m->chunks[at], behind * sizeof(m->chunks[0]));
	memmove(&m->firsts[at + 1], &m->firsts[at], behind * sizeof(m->firsts[0]));
	m->chunks[at] = c;
	m->chunk_count++;
}

/* Removes chunks [from, to) from the arrays and frees them. A small map keeps its (empty) single chunk as reserve. */
static void chunks_remove(struct extmap *m, uint32_t from, uint32_t to)
{
	if (from >= to)
		return;
	if (m->chunk_room == 0) {
		m->chunk_count = 0;
		m->single->count = 0;
		return;
	}
	for (uint32_t i = from; i < to; i++)
		free(m->chunks[i]);
	memmove(&m->chunks[from], &m->chunks[to], (m->chunk_count - to) * sizeof(m->chunks[0]));
	memmove(&m->firsts[from], &m->firsts[to], (m->chunk_count - to) * sizeof(m->firsts[0]));
	m->chunk_count -= to - from;
}

/* Halves a full chunk; p keeps naming the same place. Appending at the end of the map leaves the left one full. */
static void chunk_split(struct extmap *m, struct place *p)
{
	struct extmap_chunk *left = m->chunks[p->chunk];
	struct extmap_chunk *right = spare_take(m);
	bool last = p->chunk + 1 == m->chunk_count && p->slot == left->count;
	uint32_t keep = last ? left->count - 1 : left->count / 2;

	right->count = left->count - keep;
	memcpy(right->at, &left->at[keep], right->count * sizeof(right->at[0]));
	left->count = keep;
	chunk_insert(m, p->chunk + 1, right);
	first_update(m, p->chunk + 1);
	if (p->slot > keep) {
		p->chunk++;
		p->slot -= keep;
	}
}

static void extent_insert(struct extmap *m, struct place p, const struct extent *e)
{
	struct extmap_chunk *c;

	if (m->chunk_count == 0) {
		if (m->chunk_room != 0)
			m->chunks[0] = spare_take(m);
		assert(chunk_get(m, 0) != NULL);
		m->chunk_count = 1;
	}
	c = chunk_get(m, p.chunk);
	if (c->count == c->room) {
		assert(m->chunk_room != 0);
		chunk_split(m, &p);
		c = chunk_get(m, p.chunk);
	}
	memmove(&c->at[p.slot + 1], &c->at[p.slot], (c->count - p.slot) * sizeof(c->at[0]));
	c->at[p.slot] = *e;
	c->count++;
	if (p.slot == 0)
		first_update(m, p.chunk);
	m->extents++;
	m->blocks += e->blocks;
}

/* Joins a chunk with its right neighbour when both have become small. */
static void chunk_join(struct extmap *m, uint32_t i)
{
	struct extmap_chunk *left, *right;

	if (m->chunk_room == 0 || i + 1 >= m->chunk_count)
		return;
	left = m->chunks[i];
	right = m->chunks[i + 1];
	if (left->count + right->count > CHUNK_MAX / 2)
		return;
	memcpy(&left->at[left->count], right->at, right->count * sizeof(right->at[0]));
	left->count += right->count;
	chunks_remove(m, i + 1, i + 2);
}

/* Removes slots [from, to) of one chunk, which must not become empty. */
static void slots_remove(struct extmap *m, uint32_t chunk, uint32_t from, uint32_t to)
{
	struct extmap_chunk *c = chunk_get(m, chunk);

	if (from >= to)
		return;
	for (uint32_t i = from; i < to; i++)
		m->blocks -= c->at[i].blocks;
	m->extents -= to - from;
	memmove(&c->at[from], &c->at[to], (c->count - to) * sizeof(c->at[0]));
	c->count -= to - from;
	assert(c->count > 0);
	if (from == 0)
		first_update(m, chunk);
}

static void chunk_forget(struct extmap *m, uint32_t from, uint32_t to)
{
	for (uint32_t i = from; i < to; i++) {
		const struct extmap_chunk *c = chunk_get(m, i);

		for (uint32_t k = 0; k < c->count; k++)
			m->blocks -= c->at[k].blocks;
		m->extents -= c->count;
	}
	chunks_remove(m, from, to);
}

/* Removes the extents from place a up to place b. */
static void places_remove(struct extmap *m, struct place a, struct place b)
{
	uint32_t count;

	if (m->chunk_count == 0)
		return;
	if (b.chunk < m->chunk_count && b.slot == chunk_get(m, b.chunk)->count)
		b = (struct place){b.chunk + 1, 0};
	if (a.chunk == b.chunk) {
		slots_remove(m, a.chunk, a.slot, b.slot);
		chunk_join(m, a.chunk);
		return;
	}
	if (b.slot > 0)
		slots_remove(m, b.chunk, 0, b.slot);
	if (a.slot > 0) {
		count = chunk_get(m, a.chunk)->count;
		slots_remove(m, a.chunk, a.slot, count);
		a.chunk++;
	}
	chunk_forget(m, a.chunk, b.chunk);
	chunk_join(m, a.chunk);
	if (a.chunk > 0)
		chunk_join(m, a.chunk - 1);
}

/* Leaves [off, end) unmapped: trims, splits and removes. */
static void cut(struct extmap *m, uint64_t off, uint64_t end)
{
	struct place a = locate(m, off), b;
	struct extent *e = extent_at(m, a);

	if (e == NULL || e->off >= end)
		return;
	if (e->off < off) {
		struct extent right = *e;
		uint64_t keep = off - e->off;

		m->blocks -= e->blocks - keep;
		e->blocks = keep;
		if (extent_end(&right) > end) {
			uint64_t skip = end - right.off;

			right.off += skip;
			right.start += skip;
			right.blocks -= skip;
			extent_insert(m, (struct place){a.chunk, a.slot + 1}, &right);
			return;
		}
		a = locate(m, off);
	}
	b = locate(m, end);
	e = extent_at(m, b);
	if (e != NULL && e->off < end) {
		uint64_t skip = end - e->off;

		e->off += skip;
		e->start += skip;
		e->blocks -= skip;
		m->blocks -= skip;
		if (b.slot == 0)
			first_update(m, b.chunk);
	}
	places_remove(m, a, b);
}

static bool continues(const struct extent *a, const struct extent *b)
{
	return extent_end(a) == b->off && a->start + a->blocks == b->start && a->flags == b->flags;
}

/* The extent before a place; NULL at the start. */
static struct extent *extent_before(const struct extmap *m, struct place p, struct place *where)
{
	if (p.slot > 0) {
		*where = (struct place){p.chunk, p.slot - 1};
	} else {
		if (p.chunk == 0)
			return NULL;
		*where = (struct place){p.chunk - 1, chunk_get(m, p.chunk - 1)->count - 1};
	}
	return extent_at(m, *where);
}

void extmap_set(struct extmap *m, const struct extent *e)
{
	struct place p, before;
	struct extent *prev, *next;
	uint64_t end;

	assert(e->blocks > 0 && !__builtin_add_overflow(e->off, e->blocks, &end));
	cut(m, e->off, extent_end(e));
	p = locate(m, e->off);
	next = extent_at(m, p);
	prev = m->chunk_count == 0 ? NULL : extent_before(m, p, &before);
	if (prev != NULL && continues(prev, e)) {
		prev->blocks += e->blocks;
		m->blocks += e->blocks;
		if (next != NULL && continues(prev, next)) {
			prev->blocks += next->blocks;
			m->blocks += next->blocks; /* places_remove takes it off again */
			places_remove(m, p, (struct place){p.chunk, p.slot + 1});
		}
		return;
	}
	if (next != NULL && continues(e, next)) {
		next->off = e->off;
		next->start = e->start;
		next->blocks += e->blocks;
		m->blocks += e->blocks;
		if (p.slot == 0)
			first_update(m, p.chunk);
		return;
	}
	extent_insert(m, p, e);
}

void extmap_clear(struct extmap *m, uint64_t off, uint64_t blocks)
{
	uint64_t end;

	if (__builtin_add_overflow(off, blocks, &end))
		end = UINT64_MAX;
	if (off < end)
		cut(m, off, end);
}

bool extmap_sound(const struct extmap *m)
{
	const struct extent *prev = NULL;
	uint64_t extents = 0, blocks = 0;

	for (uint32_t i = 0; i < m->chunk_count; i++) {
		const struct extmap_chunk *c = chunk_get(m, i);

		if (c->count == 0 || c->count > c->room || (m->chunk_room != 0 && m->firsts[i] != c->at[0].off))
			return false;
		for (uint32_t k = 0; k < c->count; k++) {
			const struct extent *e = &c->at[k];

			if (e->blocks == 0)
				return false;
			if (prev != NULL && (extent_end(prev) > e->off || continues(prev, e)))
				return false;
			extents++;
			blocks += e->blocks;
			prev = e;
		}
	}
	return extents == m->extents && blocks == m->blocks;
}
