/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Entries by name: extendible hashing. The high bits of the hash choose a bucket, by an array that doubles; a bucket is
 * a small open addressing table that splits in two when it is three quarters full, and is joined with its twin when
 * both have become nearly empty. So that the most that ever moves at once is one bucket and the array of pointers.
 *
 * A cell is the entry's address and the low 16 bits of its hash above it: a foreign entry is looked at once in 256
 * times, and a removal can close the gap without looking at any.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/dir.h"

#define CELLS_MAX   256u
#define CELLS_FIRST 8u
#define DEPTH_MAX   24u
#define TAG_SHIFT   48
#define HASH_BITS   32
/* A small bucket is worth joining. */
#define JOIN_AT (CELLS_MAX / 8)

struct dir_bucket {
	uint16_t count, mask;
	uint32_t depth; /* bits of the hash that all its entries share */
	uint64_t cells[];
};

static struct entry *cell_entry(uint64_t cell)
{
	return (struct entry *)(uintptr_t)(cell & (((uint64_t)1 << TAG_SHIFT) - 1));
}

static uint64_t cell_of(struct entry *e)
{
	assert((uintptr_t)e >> TAG_SHIFT == 0);
	return (uint64_t)e->hash << TAG_SHIFT | (uintptr_t)e;
}

static struct dir_bucket *bucket_new(uint32_t room, uint32_t depth)
{
	struct dir_bucket *b = calloc(1, sizeof(*b) + room * sizeof(b->cells[0]));

	if (!b)
		return NULL;
	b->mask = (uint16_t)(room - 1);
	b->depth = depth;
	return b;
}

static void bucket_put(struct dir_bucket *b, uint64_t cell)
{
	uint32_t i = (uint32_t)(cell >> TAG_SHIFT) & b->mask;

	while (b->cells[i])
		i = (i + 1) & b->mask;
	b->cells[i] = cell;
	b->count++;
}

static bool bucket_crowded(const struct dir_bucket *b)
{
	return (b->count + 1u) * 4 > (b->mask + 1u) * 3;
}

static uint32_t index_of(const struct dir_names *n, uint32_t hash)
{
	return (uint32_t)((uint64_t)hash >> (HASH_BITS - n->depth));
}

/* --- finding --------------------------------------------------------------------------------------------------------
 */

struct entry *dir_names_find(const struct dir_names *n, uint32_t hash, const char *name, unsigned len)
{
	const struct dir_bucket *b;
	uint32_t mask;

	if (!n->at)
		return NULL;
	b = n->at[index_of(n, hash)];
	/* Of many buckets all are full-sized: their heads need not be read. */
	mask = n->depth > 0 ? CELLS_MAX - 1 : b->mask;
	for (uint32_t i = hash & mask; b->cells[i]; i = (i + 1) & mask) {
		struct entry *e;

		if (b->cells[i] >> TAG_SHIFT != (hash & 0xffff))
			continue;
		e = cell_entry(b->cells[i]);
		if (e->hash == hash && e->len == len && memcmp(e->name, name, len) == 0)
			return e;
	}
	return NULL;
}

void dir_names_prefetch(const struct dir_names *n, uint32_t hash)
{
	const struct dir_bucket *b = n->at[index_of(n, hash)];

	__builtin_prefetch(b);
	__builtin_prefetch(&b->cells[hash & (CELLS_MAX - 1)]);
}

/* --- growing --------------------------------------------------------------------------------------------------------
 */

/* A bucket that is alone and small: twice the cells. */
static int bucket_grow(struct dir_names *n)
{
	struct dir_bucket *old = n->at[0];
	struct dir_bucket *b = bucket_new((old->mask + 1u) * 2, 0);

	if (!b)
		return -ENOMEM;
	for (uint32_t i = 0; i <= old->mask; i++) {
		if (old->cells[i])
			bucket_put(b, old->cells[i]);
	}
	n->at[0] = b;
	free(old);
	return 0;
}

/* The array doubles: each bucket is there twice then. */
static int array_grow(struct dir_names *n)
{
	uint32_t count = 1u << n->depth;
	struct dir_bucket **at;

	at = realloc(n->at, 2 * (size_t)count * sizeof(*at));
	if (!at)
		return -ENOMEM;
	for (uint32_t i = count; i-- > 0;)
		at[2 * i + 1] = at[2 * i] = at[i];
	n->at = at;
	n->depth++;
	n->deepest = 0;
	return 0;
}

/* Points all that had the bits of `hash` above `depth` at b. */
static void array_set(struct dir_names *n, uint32_t hash, uint32_t depth, struct dir_bucket *b)
{
	uint32_t span = 1u << (n->depth - depth);
	uint32_t first = index_of(n, hash) & ~(span - 1);

	for (uint32_t i = first; i < first + span; i++)
		n->at[i] = b;
}

/* The bucket of `hash` becomes two. */
static int bucket_split(struct dir_names *n, uint32_t hash)
{
	struct dir_bucket *old = n->at[index_of(n, hash)];
	uint32_t depth = old->depth + 1;
	uint32_t bit = 1u << (HASH_BITS - depth);
	struct dir_bucket *zero = bucket_new(CELLS_MAX, depth), *one = bucket_new(CELLS_MAX, depth);
	int err = zero && one ? 0 : -ENOMEM;

	if (!err && depth > n->depth)
		err = array_grow(n);
	if (err) {
		free(zero);
		free(one);
		return err;
	}
	for (uint32_t i = 0; i <= old->mask; i++)
		__builtin_prefetch(cell_entry(old->cells[i]));
	for (uint32_t i = 0; i <= old->mask; i++) {
		if (old->cells[i])
			bucket_put(cell_entry(old->cells[i])->hash & bit ? one : zero, old->cells[i]);
	}
	array_set(n, hash & ~bit, depth, zero);
	array_set(n, hash | bit, depth, one);
	n->deepest += depth == n->depth ? 2 : 0;
	free(old);
	return 0;
}

int dir_names_reserve(struct dir_names *n, const struct entry *e)
{
	int err = n->at ? 0 : dir_names_presize(n, 1);

	while (!err) {
		const struct dir_bucket *b = n->at[index_of(n, e->hash)];

		if (!bucket_crowded(b))
			return 0;
		if (b->mask + 1u < CELLS_MAX)
			err = bucket_grow(n);
		else if (b->depth < DEPTH_MAX)
			err = bucket_split(n, e->hash);
		else
			return b->count < b->mask ? 0 : -ENOSPC; /* one cell stays free: searches end there */
	}
	return err;
}

int dir_names_presize(struct dir_names *n, uint32_t count)
{
	uint32_t depth = 0, room = CELLS_FIRST;

	assert(!n->at);
	while (depth < DEPTH_MAX && (uint64_t)count > (uint64_t)CELLS_MAX * 5 / 8 << depth)
		depth++;
	while (room < CELLS_MAX && (depth > 0 || count * 4ull > room * 3ull))
		room *= 2;
	n->at = calloc(1u << depth, sizeof(struct dir_bucket *));
	if (!n->at)
		return -ENOMEM;
	n->depth = depth;
	n->deepest = 1u << depth;
	for (uint32_t i = 0; i < 1u << depth; i++) {
		n->at[i] = bucket_new(room, depth);
		if (!n->at[i]) {
			dir_names_free(n);
			return -ENOMEM;
		}
	}
	return 0;
}

void dir_names_put(struct dir_names *n, struct entry *e)
{
	struct dir_bucket *b = n->at[index_of(n, e->hash)];

	assert(b->count < b->mask);
	bucket_put(b, cell_of(e));
}

/* --- shrinking -------------------------------------------------------------------------------------------------------
 */

/* Nobody uses the last bit of the array: half of it will do. Without memory it stays as it is. */
static void array_shrink(struct dir_names *n)
{
	while (n->depth > 0 && n->deepest == 0) {
		uint32_t count = 1u << (n->depth - 1);
		struct dir_bucket **smaller;

		for (uint32_t i = 0; i < count; i++) {
			n->at[i] = n->at[2 * i];
			n->deepest += n->at[i]->depth == n->depth - 1;
		}
		n->depth--;
		smaller = realloc(n->at, count * sizeof(*smaller));
		if (smaller)
			n->at = smaller;
	}
}

static void bucket_join(struct dir_names *n, uint32_t hash)
{
	struct dir_bucket *b = n->at[index_of(n, hash)], *twin;
	uint32_t depth = b->depth;

	if (depth == 0)
		return;
	twin = n->at[index_of(n, hash ^ 1u << (HASH_BITS - depth))];
	if (twin->depth != depth || b->count + twin->count > JOIN_AT)
		return;
	for (uint32_t i = 0; i <= twin->mask; i++) {
		if (twin->cells[i])
			bucket_put(b, twin->cells[i]);
	}
	b->depth--;
	array_set(n, hash, b->depth, b);
	free(twin);
	n->deepest -= depth == n->depth ? 2 : 0;
	array_shrink(n);
}

void dir_names_remove(struct dir_names *n, const struct entry *e)
{
	struct dir_bucket *b = n->at[index_of(n, e->hash)];
	uint32_t mask = b->mask;
	uint32_t i = e->hash & mask;

	while (cell_entry(b->cells[i]) != e)
		i = (i + 1) & mask;
	for (uint32_t k = (i + 1) & mask; b->cells[k]; k = (k + 1) & mask) {
		uint32_t home = (uint32_t)(b->cells[k] >> TAG_SHIFT) & mask;

		/* It may move to the gap unless it began behind it. */
		if (((k - home) & mask) < ((k - i) & mask))
			continue;
		b->cells[i] = b->cells[k];
		i = k;
	}
	b->cells[i] = 0;
	b->count--;
	if (b->count <= JOIN_AT / 2)
		bucket_join(n, e->hash);
}

void dir_names_free(struct dir_names *n)
{
	uint32_t step;

	for (uint32_t i = 0; n->at && i < 1u << n->depth; i += step) {
		step = n->at[i] ? 1u << (n->depth - n->at[i]->depth) : 1;
		free(n->at[i]);
	}
	free(n->at);
	*n = (struct dir_names){0};
}
