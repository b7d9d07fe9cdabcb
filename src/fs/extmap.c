/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Extents in three shapes: one extent in the map itself; one chunk; an index of chunks.
 *
 * A chunk keeps keys (file block and flags, 8 bytes) apart from values (pool block and length, 8 bytes), so that a
 * search reads keys only. The index has one line an entry of 16 (first block, chunk), and above it the first block of
 * every 16th entry, which stays in cache: 10^6 extents are 16,000 entries and 1,000 of those. What a search in a large
 * map may touch is asked for before it starts, because its steps would wait for memory one after the other. Unused
 * places behind the last one hold the largest key, so that each search has a fixed number of steps without a branch
 * that could be guessed wrong.
 *
 * Invariants: no chunk of an index is empty; chunks of an index have room for CHUNK_MAX. A change adds at most two
 * extents (a cut in the middle and the new one), so it splits at most one chunk, so that one spare chunk and one free
 * index place a change are a sufficient reserve.
 *
 * Why no tree: a lookup is three searches in arrays, and most maps are one extent.
 */
#include "fs/extmap.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/types.h"
#include "pool/pool.h"

#define CHUNK_MAX   64u /* extents; a power of two */
#define CHUNK_FIRST 4u
#define WINDOW      16u /* index entries under one of `top` */
#define ADDED_MAX   2u  /* extents that one change may add */
#define KEY_FLAGS   2u  /* bits */
#define KEY_NONE    UINT64_MAX
#define CACHE_LINE  64u

static_assert(POOL_SIZE_MAX >> LH_BLOCK_SHIFT <= (uint64_t)1 << 32, "a value has 32 bits for a pool block");
static_assert((EXT_UNWRITTEN | EXT_ZEROED) < 1u << KEY_FLAGS, "a key has room for the flags");

enum shape { SHAPE_ONE, SHAPE_CHUNK, SHAPE_INDEX };

/* `room` keys, then `room` values. */
struct extmap_chunk {
	uint32_t count, room;
	struct extmap_chunk *next; /* spares only */
	uint64_t words[];
};

struct entry {
	uint64_t first; /* file block */
	struct extmap_chunk *chunk;
};

struct extmap_index {
	struct entry *entries; /* `room` of them, a multiple of WINDOW */
	uint64_t *top;         /* first of entries 0, WINDOW, 2 * WINDOW ... */
	uint32_t count, room;
	struct extmap_chunk *spare; /* by extmap_reserve */
	uint32_t spare_count;
};

/* A place between extents: before `slot` of chunk `chunk`. slot == count only in the last chunk. */
struct place {
	uint32_t chunk, slot;
};

void extmap_init(struct extmap *m)
{
	memset(m, 0, sizeof(*m));
}

static void index_free(struct extmap_index *x)
{
	for (uint32_t i = 0; i < x->count; i++)
		free(x->entries[i].chunk);
	while (x->spare != NULL) {
		struct extmap_chunk *c = x->spare;

		x->spare = c->next;
		free(c);
	}
	free(x->entries);
	free(x->top);
	free(x);
}

void extmap_fini(struct extmap *m)
{
	free(m->single);
	if (m->shape == SHAPE_INDEX)
		index_free(m->index);
	memset(m, 0, sizeof(*m));
}

static uint64_t extent_end(const struct extent *e)
{
	return e->off + e->blocks;
}

/* --- chunks --------------------------------------------------------------------------------------------------------
 */

static uint64_t *chunk_keys(struct extmap_chunk *c)
{
	return c->words;
}

static uint64_t *chunk_values(struct extmap_chunk *c)
{
	return c->words + c->room;
}

/* The largest key of an extent that begins at or before the block. */
static uint64_t key_upto(uint64_t block)
{
	return block < EXTMAP_OFF_MAX ? block << KEY_FLAGS | ((1u << KEY_FLAGS) - 1) : KEY_NONE - 1;
}

static void chunk_get(struct extmap_chunk *c, uint32_t slot, struct extent *e)
{
	uint64_t key = chunk_keys(c)[slot];
	uint64_t value = chunk_values(c)[slot];

	*e = (struct extent){.off = key >> KEY_FLAGS,
			     .start = value >> 32,
			     .blocks = (uint32_t)value,
			     .flags = key & ((1u << KEY_FLAGS) - 1)};
}

static void chunk_put(struct extmap_chunk *c, uint32_t slot, const struct extent *e)
{
	assert(e->off < EXTMAP_OFF_MAX && e->start <= UINT32_MAX && e->blocks <= UINT32_MAX);
	chunk_keys(c)[slot] = e->off << KEY_FLAGS | e->flags;
	chunk_values(c)[slot] = e->start << 32 | e->blocks;
}

/* Moves `count` extents; the chunks may be the same. */
static void chunk_move(struct extmap_chunk *to, uint32_t at, struct extmap_chunk *from, uint32_t first, uint32_t count)
{
	memmove(chunk_keys(to) + at, chunk_keys(from) + first, count * sizeof(uint64_t));
	memmove(chunk_values(to) + at, chunk_values(from) + first, count * sizeof(uint64_t));
}

/* Keys behind the last extent: none. */
static void chunk_set_count(struct extmap_chunk *c, uint32_t count)
{
	for (uint32_t i = count; i < c->count; i++)
		chunk_keys(c)[i] = KEY_NONE;
	c->count = count;
}

static struct extmap_chunk *chunk_new(uint32_t room)
{
	struct extmap_chunk *c = malloc(sizeof(*c) + 2 * room * sizeof(uint64_t));

	if (c == NULL)
		return NULL;
	c->count = 0;
	c->room = room;
	c->next = NULL;
	memset(c->words, 0xff, room * sizeof(uint64_t));
	return c;
}

/* How many of the first `room` keys, a power of two, are at most `key`. */
static uint32_t keys_upto(const uint64_t *keys, uint32_t room, uint64_t key)
{
	uint32_t base = 0;

	for (uint32_t half = room / 2; half > 0; half /= 2)
		base += keys[base + half - 1] <= key ? half : 0;
	return base + (keys[base] <= key);
}

/* --- finding --------------------------------------------------------------------------------------------------------
 */

static struct extmap_chunk *chunk_at(const struct extmap *m, uint32_t i)
{
	return m->shape == SHAPE_INDEX ? m->index->entries[i].chunk : m->single;
}

static uint32_t chunk_count(const struct extmap *m)
{
	switch ((enum shape)m->shape) {
	case SHAPE_ONE:
		return 0;
	case SHAPE_CHUNK:
		return 1;
	case SHAPE_INDEX:
		return m->index->count;
	}
	return 0;
}

/* All lines at once, instead of one after the other as a search asks for them. */
static void prefetch(const void *from, size_t bytes)
{
	for (size_t at = 0; at < bytes; at += CACHE_LINE)
		__builtin_prefetch((const char *)from + at);
}

/* The last entry whose first block is at most `block`; the first one when there is none. */
static uint32_t index_find(const struct extmap_index *x, uint64_t block)
{
	uint32_t base = 0, n = (x->count + WINDOW - 1) / WINDOW;
	const struct entry *window;
	uint32_t at = 0;

	while (n > 1) {
		uint32_t half = n / 2;

		base += x->top[base + half] <= block ? half : 0;
		n -= half;
	}
	window = &x->entries[base * WINDOW];
	prefetch(window, WINDOW * sizeof(*window));
	for (uint32_t half = WINDOW / 2; half > 0; half /= 2)
		at += window[at + half].first <= block ? half : 0;
	return base * WINDOW + at;
}

/* The first extent that ends after block. */
static struct place locate(const struct extmap *m, uint64_t block)
{
	struct place p = {0, 0};
	struct extmap_chunk *c;

	if (chunk_count(m) == 0)
		return p;
	if (block >= EXTMAP_OFF_MAX)
		block = EXTMAP_OFF_MAX - 1;
	if (m->shape == SHAPE_INDEX)
		p.chunk = index_find(m->index, block);
	c = chunk_at(m, p.chunk);
	if (m->shape == SHAPE_INDEX)
		prefetch(c->words, 2 * CHUNK_MAX * sizeof(c->words[0]));
	p.slot = keys_upto(chunk_keys(c), c->room, key_upto(block));
	if (p.slot > 0) {
		uint64_t off = chunk_keys(c)[p.slot - 1] >> KEY_FLAGS;

		if (off + (uint32_t)chunk_values(c)[p.slot - 1] > block)
			p.slot--;
	}
	if (p.slot == c->count && p.chunk + 1 < chunk_count(m))
		p = (struct place){p.chunk + 1, 0};
	return p;
}

static bool extent_get(const struct extmap *m, struct place p, struct extent *e)
{
	struct extmap_chunk *c;

	if (p.chunk >= chunk_count(m))
		return false;
	c = chunk_at(m, p.chunk);
	if (p.slot >= c->count)
		return false;
	chunk_get(c, p.slot, e);
	return true;
}

bool extmap_find(const struct extmap *m, uint64_t block, struct extent *out)
{
	if (m->shape != SHAPE_ONE)
		return extent_get(m, locate(m, block), out);
	if (m->extents == 0 || extent_end(&m->one) <= block)
		return false;
	*out = m->one;
	return true;
}

unsigned extmap_read(const struct extmap *m, uint64_t block, struct extent *out, unsigned max)
{
	struct place p;
	unsigned n = 0;

	if (m->shape == SHAPE_ONE)
		return max > 0 && extmap_find(m, block, out);
	p = locate(m, block);
	while (n < max && extent_get(m, p, &out[n])) {
		n++;
		if (++p.slot == chunk_at(m, p.chunk)->count)
			p = (struct place){p.chunk + 1, 0};
	}
	return n;
}

/* --- room -----------------------------------------------------------------------------------------------------------
 */

/* The single chunk gets room for `need` extents, at most CHUNK_MAX. */
static int single_grow(struct extmap *m, uint32_t need)
{
	uint32_t room = m->single != NULL ? m->single->room : CHUNK_FIRST;
	struct extmap_chunk *c;

	if (m->single != NULL && room >= need)
		return 0;
	while (room < need && room < CHUNK_MAX)
		room *= 2;
	c = chunk_new(room);
	if (c == NULL)
		return -ENOMEM;
	if (m->single != NULL) {
		c->count = m->single->count;
		chunk_move(c, 0, m->single, 0, c->count);
		free(m->single);
	}
	m->single = c;
	return 0;
}

static int index_grow(struct extmap_index *x, uint32_t need)
{
	uint32_t room = x->room < WINDOW ? WINDOW : x->room;
	struct entry *entries;
	uint64_t *top;

	if (x->room >= need)
		return 0;
	while (room < need)
		room *= 2;
	top = realloc(x->top, room / WINDOW * sizeof(*top));
	if (top == NULL)
		return -ENOMEM;
	x->top = top;
	entries = realloc(x->entries, room * sizeof(*entries));
	if (entries == NULL)
		return -ENOMEM;
	for (uint32_t i = x->room; i < room; i++)
		entries[i] = (struct entry){KEY_NONE, NULL};
	x->entries = entries;
	x->room = room;
	return 0;
}

/* The entries from `from` on have changed: so does what is above them. */
static void index_update(struct extmap_index *x, uint32_t from)
{
	for (uint32_t w = from / WINDOW; w * WINDOW < x->count; w++)
		x->top[w] = x->entries[w * WINDOW].first;
}

/* What the map has goes into the first chunk of an index. */
static int index_begin(struct extmap *m)
{
	struct extmap_index *x = calloc(1, sizeof(*x));
	int err = x == NULL ? -ENOMEM : index_grow(x, 1);

	if (err == 0)
		err = single_grow(m, CHUNK_MAX);
	if (err != 0) {
		if (x != NULL)
			index_free(x);
		return err;
	}
	if (m->shape == SHAPE_ONE && m->extents != 0) {
		chunk_put(m->single, 0, &m->one);
		m->single->count = 1;
	}
	if (m->extents != 0) {
		x->entries[0] = (struct entry){chunk_keys(m->single)[0] >> KEY_FLAGS, m->single};
		x->count = 1;
		index_update(x, 0);
	} else {
		x->spare = m->single;
		x->spare_count = 1;
	}
	m->single = NULL;
	m->index = x;
	m->shape = SHAPE_INDEX;
	return 0;
}

static int index_reserve(struct extmap_index *x, unsigned changes)
{
	int err = index_grow(x, x->count + changes + 1);

	/* One more than the splits: the first chunk of a map that has been emptied. */
	while (err == 0 && x->spare_count < changes + (x->count == 0)) {
		struct extmap_chunk *c = chunk_new(CHUNK_MAX);

		if (c == NULL)
			return -ENOMEM;
		c->next = x->spare;
		x->spare = c;
		x->spare_count++;
	}
	return err;
}

int extmap_reserve(struct extmap *m, unsigned changes)
{
	uint64_t need = m->extents + (uint64_t)changes * ADDED_MAX;
	int err = 0;

	if (m->shape == SHAPE_INDEX && m->extents == 0 && changes == 1)
		extmap_fini(m);
	if (changes == 0 || (m->shape == SHAPE_ONE && m->extents == 0 && changes == 1))
		return 0;
	if (m->shape != SHAPE_INDEX) {
		if (need <= CHUNK_MAX)
			return single_grow(m, (uint32_t)need);
		err = index_begin(m);
	}
	return err != 0 ? err : index_reserve(m->index, changes);
}

static struct extmap_chunk *spare_take(struct extmap_index *x)
{
	struct extmap_chunk *c = x->spare;

	assert(c != NULL); /* extmap_reserve was forgotten */
	x->spare = c->next;
	x->spare_count--;
	c->next = NULL;
	return c;
}

/* --- changes -------------------------------------------------------------------------------------------------------
 */

static void first_update(struct extmap *m, uint32_t chunk)
{
	struct extmap_index *x = m->index;

	if (m->shape != SHAPE_INDEX)
		return;
	x->entries[chunk].first = chunk_keys(x->entries[chunk].chunk)[0] >> KEY_FLAGS;
	if (chunk % WINDOW == 0)
		x->top[chunk / WINDOW] = x->entries[chunk].first;
}

static void index_insert(struct extmap_index *x, uint32_t at, struct extmap_chunk *c)
{
	assert(x->count < x->room);
	memmove(&x->entries[at + 1], &x->entries[at], (x->count - at) * sizeof(x->entries[0]));
	x->entries[at] = (struct entry){chunk_keys(c)[0] >> KEY_FLAGS, c};
	x->count++;
	index_update(x, at);
}

/* Removes chunks [from, to) and frees them. A single chunk stays, empty, as reserve. */
static void chunks_remove(struct extmap *m, uint32_t from, uint32_t to)
{
	struct extmap_index *x = m->index;
	uint32_t left;

	if (from >= to)
		return;
	if (m->shape != SHAPE_INDEX) {
		chunk_set_count(m->single, 0);
		return;
	}
	for (uint32_t i = from; i < to; i++)
		free(x->entries[i].chunk);
	left = x->count - (to - from);
	memmove(&x->entries[from], &x->entries[to], (x->count - to) * sizeof(x->entries[0]));
	for (uint32_t i = left; i < x->count; i++)
		x->entries[i] = (struct entry){KEY_NONE, NULL};
	x->count = left;
	index_update(x, from);
}

/* Halves a full chunk; p keeps naming the same place. Appending at the end of the map leaves the left one full. */
static void chunk_split(struct extmap_index *x, struct place *p)
{
	struct extmap_chunk *left = x->entries[p->chunk].chunk;
	struct extmap_chunk *right = spare_take(x);
	bool last = p->chunk + 1 == x->count && p->slot == left->count;
	uint32_t keep = last ? left->count - 1 : left->count / 2;

	right->count = left->count - keep;
	chunk_move(right, 0, left, keep, right->count);
	chunk_set_count(left, keep);
	index_insert(x, p->chunk + 1, right);
	if (p->slot > keep) {
		p->chunk++;
		p->slot -= keep;
	}
}

static void extent_insert(struct extmap *m, struct place p, const struct extent *e)
{
	struct extmap_chunk *c;

	if (m->shape == SHAPE_INDEX && m->index->count == 0) {
		c = spare_take(m->index);
		chunk_put(c, 0, e);
		index_insert(m->index, 0, c);
		p = (struct place){0, 0};
		memset(chunk_keys(c), 0xff, sizeof(uint64_t));
	}
	c = chunk_at(m, p.chunk);
	if (c->count == c->room) {
		assert(m->shape == SHAPE_INDEX);
		chunk_split(m->index, &p);
		c = chunk_at(m, p.chunk);
	}
	chunk_move(c, p.slot + 1, c, p.slot, c->count - p.slot);
	chunk_put(c, p.slot, e);
	c->count++;
	if (p.slot == 0)
		first_update(m, p.chunk);
	assert(m->extents < UINT32_MAX);
	m->extents++;
	m->blocks += e->blocks;
}

/* Joins a chunk with its right neighbour when both have become small. */
static void chunk_join(struct extmap *m, uint32_t i)
{
	struct extmap_chunk *left, *right;

	if (m->shape != SHAPE_INDEX || i + 1 >= m->index->count)
		return;
	left = chunk_at(m, i);
	right = chunk_at(m, i + 1);
	if (left->count + right->count > CHUNK_MAX / 2)
		return;
	chunk_move(left, left->count, right, 0, right->count);
	left->count += right->count;
	chunks_remove(m, i + 1, i + 2);
}

static void slots_discount(struct extmap *m, struct extmap_chunk *c, uint32_t from, uint32_t to)
{
	for (uint32_t i = from; i < to; i++)
		m->blocks -= (uint32_t)chunk_values(c)[i];
	m->extents -= to - from;
}

/* Removes slots [from, to) of one chunk, which may become empty only as the single one. */
static void slots_remove(struct extmap *m, uint32_t chunk, uint32_t from, uint32_t to)
{
	struct extmap_chunk *c = chunk_at(m, chunk);

	if (from >= to)
		return;
	slots_discount(m, c, from, to);
	chunk_move(c, from, c, to, c->count - to);
	chunk_set_count(c, c->count - (to - from));
	assert(c->count > 0);
	if (from == 0)
		first_update(m, chunk);
}

static void chunks_forget(struct extmap *m, uint32_t from, uint32_t to)
{
	for (uint32_t i = from; i < to; i++)
		slots_discount(m, chunk_at(m, i), 0, chunk_at(m, i)->count);
	chunks_remove(m, from, to);
}

/* Removes the extents from place a up to place b. */
static void places_remove(struct extmap *m, struct place a, struct place b)
{
	if (b.chunk < chunk_count(m) && b.slot == chunk_at(m, b.chunk)->count)
		b = (struct place){b.chunk + 1, 0};
	if (a.chunk == b.chunk) {
		slots_remove(m, a.chunk, a.slot, b.slot);
		chunk_join(m, a.chunk);
		return;
	}
	if (b.slot > 0)
		slots_remove(m, b.chunk, 0, b.slot);
	if (a.slot > 0) {
		slots_remove(m, a.chunk, a.slot, chunk_at(m, a.chunk)->count);
		a.chunk++;
	}
	chunks_forget(m, a.chunk, b.chunk);
	chunk_join(m, a.chunk);
	if (a.chunk > 0)
		chunk_join(m, a.chunk - 1);
}

/* Changes an extent in its place; its order among the others stays. */
static void extent_change(struct extmap *m, struct place p, const struct extent *e)
{
	struct extmap_chunk *c = chunk_at(m, p.chunk);

	m->blocks += e->blocks - (uint32_t)chunk_values(c)[p.slot];
	chunk_put(c, p.slot, e);
	if (p.slot == 0)
		first_update(m, p.chunk);
}

/* Drops the first `skip` blocks of an extent. */
static void extent_skip(struct extent *e, uint64_t skip)
{
	e->off += skip;
	e->start += skip;
	e->blocks -= skip;
}

/* Leaves [off, end) unmapped: trims, splits and removes. */
static void cut(struct extmap *m, uint64_t off, uint64_t end)
{
	struct place a = locate(m, off), b;
	struct extent e;

	if (!extent_get(m, a, &e) || e.off >= end)
		return;
	if (e.off < off) {
		struct extent right = e;

		e.blocks = off - e.off;
		extent_change(m, a, &e);
		if (extent_end(&right) > end) {
			extent_skip(&right, end - right.off);
			extent_insert(m, (struct place){a.chunk, a.slot + 1}, &right);
			return;
		}
		a = locate(m, off);
	}
	b = locate(m, end);
	if (extent_get(m, b, &e) && e.off < end) {
		extent_skip(&e, end - e.off);
		extent_change(m, b, &e);
	}
	places_remove(m, a, b);
}

static bool continues(const struct extent *a, const struct extent *b)
{
	return extent_end(a) == b->off && a->start + a->blocks == b->start && a->flags == b->flags;
}

/* The extent before a place; false at the start. */
static bool extent_before(const struct extmap *m, struct place p, struct place *where, struct extent *e)
{
	if (p.slot > 0) {
		*where = (struct place){p.chunk, p.slot - 1};
	} else {
		if (p.chunk == 0)
			return false;
		*where = (struct place){p.chunk - 1, chunk_at(m, p.chunk - 1)->count - 1};
	}
	return extent_get(m, *where, e);
}

/* Into unmapped space: joins neighbours. */
static void add(struct extmap *m, const struct extent *e)
{
	struct place p = locate(m, e->off), before;
	struct extent prev, next;
	bool has_next = extent_get(m, p, &next);

	if (extent_before(m, p, &before, &prev) && continues(&prev, e)) {
		prev.blocks += e->blocks;
		if (has_next && continues(&prev, &next)) {
			places_remove(m, p, (struct place){p.chunk, p.slot + 1});
			/* The removal may have joined chunks. */
			p = locate(m, prev.off);
			prev.blocks += next.blocks;
			extent_change(m, p, &prev);
			return;
		}
		extent_change(m, before, &prev);
		return;
	}
	if (has_next && continues(e, &next)) {
		next.off = e->off;
		next.start = e->start;
		next.blocks += e->blocks;
		extent_change(m, p, &next);
		return;
	}
	extent_insert(m, p, e);
}

/* Behind all others: without looking for the place. false: it is not. */
static bool append(struct extmap *m, const struct extent *e)
{
	struct place p = {chunk_count(m), 0};
	struct extent last;

	if (p.chunk-- == 0)
		return false;
	p.slot = chunk_at(m, p.chunk)->count - 1;
	if (!extent_get(m, p, &last) || extent_end(&last) > e->off)
		return false;
	if (continues(&last, e)) {
		last.blocks += e->blocks;
		extent_change(m, p, &last);
		return true;
	}
	p.slot++;
	extent_insert(m, p, e);
	return true;
}

/* --- the shape of one extent -----------------------------------------------------------------------------------------
 */

/* What only the chunk can hold comes next. */
static void one_to_chunk(struct extmap *m)
{
	assert(m->single != NULL); /* extmap_reserve was forgotten */
	chunk_put(m->single, 0, &m->one);
	m->single->count = 1;
	m->shape = SHAPE_CHUNK;
}

static void chunk_to_one(struct extmap *m)
{
	if (m->shape != SHAPE_CHUNK || m->extents > 1)
		return;
	if (m->extents == 1)
		chunk_get(m->single, 0, &m->one);
	chunk_set_count(m->single, 0);
	m->shape = SHAPE_ONE;
}

/* Whether the map still is at most one extent after it. */
static bool one_cut(struct extmap *m, uint64_t off, uint64_t end)
{
	struct extent *e = &m->one;

	if (m->extents == 0 || extent_end(e) <= off || e->off >= end)
		return true;
	if (e->off < off && extent_end(e) > end)
		return false;
	if (off <= e->off && extent_end(e) <= end)
		m->extents = 0;
	else if (e->off < off)
		e->blocks = off - e->off;
	else
		extent_skip(e, end - e->off);
	m->blocks = m->extents != 0 ? e->blocks : 0;
	return true;
}

static bool one_add(struct extmap *m, const struct extent *e)
{
	struct extent *one = &m->one;

	if (m->extents == 0) {
		assert(e->off < EXTMAP_OFF_MAX && e->start <= UINT32_MAX && e->blocks <= UINT32_MAX);
		*one = *e;
		m->extents = 1;
	} else if (continues(one, e)) {
		one->blocks += e->blocks;
	} else if (continues(e, one)) {
		*one = (struct extent){e->off, e->start, e->blocks + one->blocks, e->flags};
	} else {
		return false;
	}
	m->blocks = one->blocks;
	return true;
}

void extmap_set(struct extmap *m, const struct extent *e)
{
	uint64_t end;

	assert(e->blocks > 0 && !__builtin_add_overflow(e->off, e->blocks, &end));
	if (m->shape == SHAPE_ONE) {
		if (one_cut(m, e->off, extent_end(e)) && one_add(m, e))
			return;
		one_to_chunk(m);
	}
	if (!append(m, e)) {
		cut(m, e->off, extent_end(e));
		add(m, e);
	}
	chunk_to_one(m);
}

void extmap_clear(struct extmap *m, uint64_t off, uint64_t blocks)
{
	uint64_t end;

	if (__builtin_add_overflow(off, blocks, &end))
		end = UINT64_MAX;
	if (off >= end)
		return;
	if (m->shape == SHAPE_ONE) {
		if (one_cut(m, off, end))
			return;
		one_to_chunk(m);
	}
	cut(m, off, end);
	chunk_to_one(m);
}

/* --- checking -------------------------------------------------------------------------------------------------------
 */

static bool index_sound(const struct extmap_index *x)
{
	for (uint32_t i = 0; i < x->room; i++) {
		const struct entry *n = &x->entries[i];

		if (i >= x->count && n->first != KEY_NONE)
			return false;
		if (i < x->count && n->first != chunk_keys(n->chunk)[0] >> KEY_FLAGS)
			return false;
		if (i < x->count && i % WINDOW == 0 && x->top[i / WINDOW] != n->first)
			return false;
	}
	return true;
}

static bool chunk_sound(struct extmap_chunk *c)
{
	if (c->count == 0 || c->count > c->room || (c->room & (c->room - 1)) != 0)
		return false;
	for (uint32_t i = c->count; i < c->room; i++) {
		if (chunk_keys(c)[i] != KEY_NONE)
			return false;
	}
	return true;
}

bool extmap_sound(const struct extmap *m)
{
	struct extent prev = {0}, e;
	uint64_t extents = 0, blocks = 0;

	if (m->shape == SHAPE_ONE)
		return m->extents <= 1 && m->blocks == (m->extents != 0 ? m->one.blocks : 0) &&
		       (m->extents == 0 || m->one.blocks != 0);
	if (m->shape == SHAPE_CHUNK ? m->extents < 2 : !index_sound(m->index))
		return false;
	for (uint32_t i = 0; i < chunk_count(m); i++) {
		struct extmap_chunk *c = chunk_at(m, i);

		if (!chunk_sound(c) || (m->shape == SHAPE_INDEX && c->room != CHUNK_MAX))
			return false;
		for (uint32_t k = 0; k < c->count; k++) {
			chunk_get(c, k, &e);
			if (e.blocks == 0 || (extents > 0 && (extent_end(&prev) > e.off || continues(&prev, &e))))
				return false;
			extents++;
			blocks += e.blocks;
			prev = e;
		}
	}
	return extents == m->extents && blocks == m->blocks;
}
